//! Required factors: the runs of bytes that every match of a hex pattern or a
//! regular expression holds.
//!
//! In the manner of Russ Cox ("Regular Expression Matching with a Trigram
//! Index"): for each part either all strings it matches, while they are few, or
//! sets of strings one of which every match begins or ends with, and what else is
//! needed in between. Whole runs are kept rather than grams of a fixed length.

use super::need::{Need, Run};

/// Runs of fewer bytes are not indexed.
pub const RUN_BYTES_MIN: usize = 4;
pub const RUN_BYTES_MAX: usize = 4096;

/// One byte of a string, or with `FOLD` a lowercase letter that stands for both cases.
pub type Cell = u16;
pub const FOLD: Cell = 0x100;
type Text = Vec<Cell>;

/// A set of more strings is given up: cut where it stands.
const VARIANTS_MAX: usize = 256;
/// So many cells may all strings of a set have together.
const CELLS_MAX: usize = 1 << 16;
/// Repetitions that are written out; what comes after is not looked at.
const REPEATS_MAX: u32 = 64;

/// What is known of the strings that a part of a pattern matches.
#[derive(Clone, Debug)]
pub struct Part {
    shape: Shape,
    /// The longest match in bytes (before widening), if there is one.
    pub max: Option<usize>,
}

#[derive(Clone, Debug)]
enum Shape {
    /// It matches no other strings than these.
    Exact(Vec<Text>),
    /// Every match begins with one of `prefix`, ends with one of `suffix` (they may
    /// overlap) and has all `needs`.
    Open {
        prefix: Vec<Text>,
        suffix: Vec<Text>,
        needs: Vec<Need>,
    },
}

/// How strings become runs.
pub struct Factors {
    /// Classes of more bytes are not written out.
    pub class_max: usize,
    pub wide: bool,
    pub nocase: bool,
}

fn empty() -> Vec<Text> {
    vec![Text::new()]
}

fn fits(texts: &[Text]) -> bool {
    texts.len() <= VARIANTS_MAX && texts.iter().map(Vec::len).sum::<usize>() <= CELLS_MAX
}

/// Every string of `a` followed by every one of `b`, if they are few.
fn product(mut a: Vec<Text>, b: &[Text]) -> Result<Vec<Text>, Vec<Text>> {
    let cells = |texts: &[Text]| texts.iter().map(Vec::len).sum::<usize>();
    let count = a.len().saturating_mul(b.len());
    let total = cells(&a)
        .saturating_mul(b.len())
        .saturating_add(cells(b).saturating_mul(a.len()));
    if count > VARIANTS_MAX || total > CELLS_MAX {
        return Err(a);
    }
    if let [only] = b {
        for text in &mut a {
            text.extend(only);
        }
        return Ok(a);
    }
    let mut out = Vec::with_capacity(count);
    for head in &a {
        for tail in b {
            let mut text = head.clone();
            text.extend(tail);
            out.push(text);
        }
    }
    out.sort();
    out.dedup();
    Ok(out)
}

/// More is not asked of one pattern; what is left out only narrows less.
const NEEDS_MAX: usize = 4096;

fn push(needs: &mut Vec<Need>, need: Need) {
    if need != Need::True && needs.len() < NEEDS_MAX {
        needs.push(need);
    }
}

fn add_max(a: Option<usize>, b: Option<usize>) -> Option<usize> {
    a?.checked_add(b?)
}

impl Part {
    pub fn nothing() -> Part {
        Part::exact(empty())
    }

    fn exact(texts: Vec<Text>) -> Part {
        let max = texts.iter().map(Vec::len).max().unwrap_or(0);
        Part {
            shape: Shape::Exact(texts),
            max: Some(max),
        }
    }

    pub fn literal(bytes: &[u8]) -> Part {
        Part::exact(vec![bytes.iter().map(|b| Cell::from(*b)).collect()])
    }

    /// Anything, at most `max` bytes of it.
    pub fn gap(max: Option<usize>) -> Part {
        if max == Some(0) {
            return Part::nothing();
        }
        Part {
            shape: Shape::Open {
                prefix: empty(),
                suffix: empty(),
                needs: Vec::new(),
            },
            max,
        }
    }

    fn open(prefix: Vec<Text>, suffix: Vec<Text>, needs: Vec<Need>) -> Shape {
        Shape::Open {
            prefix,
            suffix,
            needs,
        }
    }

    pub fn concat(self, next: Part, factors: &Factors) -> Part {
        let max = add_max(self.max, next.max);
        let shape = match (self.shape, next.shape) {
            (Shape::Exact(a), Shape::Exact(b)) => match product(a, &b) {
                Ok(texts) => Shape::Exact(texts),
                Err(a) => Part::open(a, b, Vec::new()),
            },
            (
                Shape::Exact(a),
                Shape::Open {
                    prefix,
                    suffix,
                    mut needs,
                },
            ) => match product(a, &prefix) {
                Ok(prefix) => Part::open(prefix, suffix, needs),
                Err(a) => {
                    push(&mut needs, factors.flush(&prefix));
                    Part::open(a, suffix, needs)
                }
            },
            (
                Shape::Open {
                    prefix,
                    suffix,
                    mut needs,
                },
                Shape::Exact(b),
            ) => match product(suffix, &b) {
                Ok(suffix) => Part::open(prefix, suffix, needs),
                Err(suffix) => {
                    push(&mut needs, factors.flush(&suffix));
                    Part::open(prefix, b, needs)
                }
            },
            (
                Shape::Open {
                    prefix,
                    suffix: ends,
                    mut needs,
                },
                Shape::Open {
                    prefix: begins,
                    suffix,
                    needs: more,
                },
            ) => {
                match product(ends, &begins) {
                    Ok(texts) => push(&mut needs, factors.flush(&texts)),
                    Err(ends) => {
                        push(&mut needs, factors.flush(&ends));
                        push(&mut needs, factors.flush(&begins));
                    }
                }
                for need in more {
                    push(&mut needs, need);
                }
                Part::open(prefix, suffix, needs)
            }
        };
        Part { shape, max }
    }

    pub fn alternatives(parts: Vec<Part>, factors: &Factors) -> Part {
        let max = parts
            .iter()
            .try_fold(0, |most, part| Some(part.max?.max(most)));
        let mut exact = Vec::new();
        if parts
            .iter()
            .all(|part| matches!(part.shape, Shape::Exact(_)))
        {
            for part in &parts {
                if let Shape::Exact(texts) = &part.shape {
                    exact.extend(texts.iter().cloned());
                }
            }
            exact.sort();
            exact.dedup();
            if fits(&exact) {
                return Part {
                    shape: Shape::Exact(exact),
                    max,
                };
            }
        }
        let need = Need::any(parts.iter().map(|part| part.need(factors)).collect());
        let (mut prefixes, mut suffixes) = (Vec::new(), Vec::new());
        for part in parts {
            match part.shape {
                Shape::Exact(texts) => {
                    prefixes.extend(texts.iter().cloned());
                    suffixes.extend(texts);
                }
                Shape::Open { prefix, suffix, .. } => {
                    prefixes.extend(prefix);
                    suffixes.extend(suffix);
                }
            }
        }
        let few = |mut texts: Vec<Text>| {
            texts.sort();
            texts.dedup();
            if fits(&texts) {
                texts
            } else {
                empty()
            }
        };
        Part {
            shape: Shape::Open {
                prefix: few(prefixes),
                suffix: few(suffixes),
                needs: vec![need],
            },
            max,
        }
    }

    pub fn repeated(self, min: u32, max: Option<u32>, factors: &Factors) -> Part {
        let longest = match (self.max, max) {
            (Some(0), _) | (_, Some(0)) => Some(0),
            (Some(bytes), Some(times)) => bytes.checked_mul(times as usize),
            _ => None,
        };
        let whole = max == Some(min) && min <= REPEATS_MAX;
        let mut part = Part::nothing();
        for _ in 0..min.min(REPEATS_MAX) {
            part = part.concat(self.clone(), factors);
        }
        if min == 0 && max == Some(1) && matches!(self.shape, Shape::Exact(_)) {
            part = Part::alternatives(vec![Part::nothing(), self], factors);
        } else if !whole && longest != Some(0) {
            // The last copies are the end of the match too.
            let end = part.clone();
            part = part.concat(Part::gap(None), factors);
            if let (Shape::Open { suffix, .. }, Shape::Exact(texts)) = (&mut part.shape, end.shape)
            {
                *suffix = texts;
            }
        }
        part.max = longest;
        part
    }

    /// Everything a match of the part needs.
    pub fn need(&self, factors: &Factors) -> Need {
        match &self.shape {
            Shape::Exact(texts) => factors.flush(texts),
            Shape::Open {
                prefix,
                suffix,
                needs,
            } => {
                let mut all = vec![factors.flush(prefix), factors.flush(suffix)];
                all.extend(needs.iter().cloned());
                Need::all(all)
            }
        }
    }
}

impl Factors {
    /// A set of bytes, if it is small.
    pub fn class(&self, ranges: impl Iterator<Item = (u8, u8)>) -> Part {
        let mut has = [false; 256];
        for (from, to) in ranges {
            for b in from..=to {
                has[usize::from(b)] = true;
            }
        }
        as_the_engine_reads(&mut has);
        let mut cells = Vec::new();
        for b in 0..=255u8 {
            let other = b ^ 0x20;
            match has[usize::from(b)] {
                true if b.is_ascii_alphabetic() && has[usize::from(other)] => {
                    if b.is_ascii_lowercase() {
                        cells.push(Cell::from(b) | FOLD);
                    }
                }
                true => cells.push(Cell::from(b)),
                false => {}
            }
        }
        if cells.len() > self.class_max {
            return Part::gap(Some(1));
        }
        Part::exact(cells.into_iter().map(|cell| vec![cell]).collect())
    }

    /// One of the strings occurs.
    fn flush(&self, texts: &[Text]) -> Need {
        let mut runs = Vec::with_capacity(texts.len());
        for text in texts {
            match self.run(text) {
                Some(run) => runs.push(Need::Run(run)),
                None => return Need::True,
            }
        }
        Need::any(runs)
    }

    fn run(&self, text: &[Cell]) -> Option<Run> {
        let nocase = self.nocase || text.iter().any(|cell| cell & FOLD != 0);
        let mut bytes = Vec::with_capacity(text.len() * 2);
        for cell in text.iter().take(RUN_BYTES_MAX) {
            bytes.push((cell & 0xff) as u8);
            if self.wide {
                bytes.push(0);
            }
        }
        bytes.truncate(RUN_BYTES_MAX);
        run_of(&bytes, nocase)
    }
}

/// The engine takes a class for a byte with a mask where its least and greatest byte
/// and the number of all look like it, and then matches what has the mask's bytes (yara-x,
/// re/hir.rs `class_to_masked_byte`): `[acgm]` also matches `e`. What it matches is added.
fn as_the_engine_reads(has: &mut [bool; 256]) {
    let bytes = || (0..=255u8).filter(|b| has[usize::from(*b)]);
    let (Some(least), Some(greatest)) = (bytes().next(), bytes().last()) else {
        return;
    };
    let free = least ^ greatest;
    if bytes().count() == 1 << free.count_ones() && bytes().all(|b| b & least == least) {
        for b in 0..=255u8 {
            has[usize::from(b)] |= b & !free == least & !free;
        }
    }
}

/// A run of these bytes, or of the first 4,096; nothing if they are too few.
pub fn run_of(bytes: &[u8], nocase: bool) -> Option<Run> {
    if bytes.len() < RUN_BYTES_MIN {
        return None;
    }
    let mut bytes = bytes[..bytes.len().min(RUN_BYTES_MAX)].to_vec();
    let nocase = nocase && bytes.iter().any(u8::is_ascii_alphabetic);
    if nocase {
        bytes.make_ascii_lowercase();
    }
    Some(Run { bytes, nocase })
}
