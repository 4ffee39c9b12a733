//! What a sample must have so that a pattern or a rule can match: a tree that is
//! monotone (more in the sample never makes it false) and errs only towards true.

use std::collections::HashSet;

/// Bytes that must occur in the sample.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    pub bytes: Vec<u8>,
    /// In any case of A-Z; the bytes are lowercase then.
    pub nocase: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    True,
    /// Nothing has it. Only in conditions.
    Never,
    All(Vec<Need>),
    Any(Vec<Need>),
    AtLeast(usize, Vec<Need>),
    Run(Run),
    /// A pattern, by its place among all patterns of the source.
    Pattern(u32),
    /// An earlier rule of the source.
    Rule(u32),
    /// The sample's size in bytes, both included.
    Size(u64, u64),
    /// From an offset: values and masks; offset + n <= 16, n <= 8.
    Bytes(u8, Vec<(u8, u8)>),
    Feature(u64),
}

/// Trees of so many nodes are looked at for parts that say the same.
const PAIRWISE_MAX: usize = 64;

impl Need {
    pub fn all(needs: Vec<Need>) -> Need {
        let mut out = Vec::with_capacity(needs.len());
        let mut seen = HashSet::new();
        let mut size = (0, u64::MAX);
        for need in flat(needs, |need| match need {
            Need::All(inner) => Ok(inner),
            other => Err(other),
        }) {
            match need {
                Need::True => {}
                Need::Never => return Need::Never,
                Need::Size(least, most) => size = (size.0.max(least), size.1.min(most)),
                need => {
                    if seen.insert(need.clone()) {
                        out.push(need);
                    }
                }
            }
        }
        match size {
            (0, u64::MAX) => {}
            (least, most) if least > most => return Need::Never,
            (least, most) => out.push(Need::Size(least, most)),
        }
        // What another operand says already.
        drop_where(&mut out, implied);
        one_or(out, Need::True, Need::All)
    }

    pub fn any(needs: Vec<Need>) -> Need {
        let mut out = Vec::with_capacity(needs.len());
        let mut seen = HashSet::new();
        for need in flat(needs, |need| match need {
            Need::Any(inner) => Ok(inner),
            other => Err(other),
        }) {
            match need {
                Need::Never => {}
                Need::True => return Need::True,
                need => {
                    if seen.insert(need.clone()) {
                        out.push(need);
                    }
                }
            }
        }
        // What says more than another way is no way of its own.
        drop_where(&mut out, |one, other| implied(other, one));
        one_or(out, Need::Never, Need::Any)
    }

    pub fn at_least(k: usize, needs: Vec<Need>) -> Need {
        let sure = needs.iter().filter(|need| **need == Need::True).count();
        let k = k.saturating_sub(sure);
        let rest: Vec<Need> = needs
            .into_iter()
            .filter(|need| !matches!(need, Need::True | Need::Never))
            .collect();
        match k {
            0 => Need::True,
            _ if k > rest.len() => Need::Never,
            1 => Need::any(rest),
            _ if k == rest.len() => Need::all(rest),
            _ => Need::AtLeast(k, rest),
        }
    }

    /// Nodes of the tree.
    pub fn nodes(&self) -> usize {
        match self {
            Need::All(inner) | Need::Any(inner) | Need::AtLeast(_, inner) => {
                inner.iter().map(Need::nodes).sum::<usize>() + 1
            }
            _ => 1,
        }
    }

    /// About how many bits of a sample's contents it fixes.
    pub fn bits(&self) -> f64 {
        let least = |inner: &[Need]| inner.iter().map(Need::bits).fold(f64::INFINITY, f64::min);
        match self {
            Need::True => 0.0,
            Need::Run(run) => run.bytes.len() as f64 * 8.0,
            Need::All(inner) => inner.iter().map(Need::bits).sum(),
            Need::Any(inner) => least(inner) - (inner.len() as f64).log2(),
            Need::AtLeast(k, inner) => least(inner) * *k as f64 - (inner.len() as f64).log2(),
            _ => 8.0,
        }
    }

    /// The same tree with other leaves.
    pub fn map(self, leaf: &mut impl FnMut(Need) -> Need) -> Need {
        let mut each = |inner: Vec<Need>| -> Vec<Need> {
            inner.into_iter().map(|need| need.map(leaf)).collect()
        };
        match self {
            Need::All(inner) => Need::all(each(inner)),
            Need::Any(inner) => Need::any(each(inner)),
            Need::AtLeast(k, inner) => Need::at_least(k, each(inner)),
            other => leaf(other),
        }
    }
}

fn flat(needs: Vec<Need>, open: impl Fn(Need) -> Result<Vec<Need>, Need>) -> Vec<Need> {
    let mut out = Vec::with_capacity(needs.len());
    for need in needs {
        match open(need) {
            Ok(inner) => out.extend(inner),
            Err(need) => out.push(need),
        }
    }
    out
}

fn one_or(mut needs: Vec<Need>, none: Need, many: impl Fn(Vec<Need>) -> Need) -> Need {
    match needs.len() {
        0 => none,
        1 => needs.remove(0),
        _ => many(needs),
    }
}

/// Whether a sample that has `b` has `a`; false may be an error, true is not.
fn implied(a: &Need, b: &Need) -> bool {
    match (a, b) {
        (Need::Run(a), Need::Run(b)) => run_implied(a, b),
        (_, Need::Any(ways)) => ways.iter().all(|way| implied(a, way)),
        (Need::Any(ways), Need::All(parts)) => {
            ways.iter().any(|way| implied(way, b)) || parts.iter().any(|part| implied(a, part))
        }
        (_, Need::All(parts)) => parts.iter().any(|part| implied(a, part)),
        (Need::Any(ways), _) => ways.iter().any(|way| implied(way, b)),
        _ => a == b,
    }
}

fn run_implied(a: &Run, b: &Run) -> bool {
    (a.nocase || !b.nocase)
        && a.bytes.len() <= b.bytes.len()
        && b.bytes.windows(a.bytes.len()).any(|window| {
            if a.nocase {
                window.eq_ignore_ascii_case(&a.bytes)
            } else {
                window == a.bytes
            }
        })
}

/// Leave out the operands that are idle beside another.
fn drop_where(needs: &mut Vec<Need>, idle: impl Fn(&Need, &Need) -> bool) {
    if needs.len() < 2 || needs.iter().map(Need::nodes).sum::<usize>() > PAIRWISE_MAX {
        return;
    }
    let mut i = 0;
    while i < needs.len() {
        let mut others = needs.iter().enumerate().filter(|(j, _)| *j != i);
        if others.any(|(_, other)| idle(&needs[i], other)) {
            needs.remove(i);
        } else {
            i += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Need {
        Need::Run(Run {
            bytes: text.as_bytes().to_vec(),
            nocase: false,
        })
    }

    #[test]
    fn what_is_sure_goes_away() {
        assert_eq!(Need::all(vec![]), Need::True);
        assert_eq!(Need::any(vec![]), Need::Never);
        assert_eq!(Need::all(vec![Need::True, run("abcd")]), run("abcd"));
        assert_eq!(Need::any(vec![Need::True, run("abcd")]), Need::True);
        assert_eq!(Need::any(vec![Need::Never, run("abcd")]), run("abcd"));
        assert_eq!(Need::all(vec![Need::Never, run("abcd")]), Need::Never);
        let two = vec![run("abcd"), run("efgh")];
        assert_eq!(Need::at_least(1, two.clone()), Need::Any(two.clone()));
        assert_eq!(Need::at_least(2, two.clone()), Need::All(two.clone()));
        assert_eq!(Need::at_least(3, two.clone()), Need::Never);
        assert_eq!(
            Need::at_least(2, vec![Need::True, run("abcd"), run("efgh")]),
            Need::Any(two)
        );
        assert_eq!(Need::at_least(1, vec![Need::True, Need::Never]), Need::True);
    }

    #[test]
    fn the_same_is_asked_once() {
        assert_eq!(
            Need::all(vec![run("bcde"), run("abcdef"), run("bcde")]),
            run("abcdef")
        );
        assert_eq!(
            Need::any(vec![run("bcde"), Need::Any(vec![run("bcde"), run("xxxx")])]),
            Need::Any(vec![run("bcde"), run("xxxx")])
        );
    }
}
