//! Plans against the engine: random rules over random and planted samples. Wherever
//! a rule matches, its program must say that it can.
//!
//! WEIR_PLAN_SECONDS makes it long, WEIR_PLAN_SEED starts elsewhere. A failure
//! prints the source and the sample.

use std::fmt::Write;
use std::time::{Duration, Instant};

use super::plan;
use super::reading::{Program, Sample};

/// xorshift64*: any order that repeats will do.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    fn word(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    fn byte(&mut self) -> u8 {
        // Few values, so that things meet.
        match self.below(8) {
            0 => self.below(256) as u8,
            1 => 0,
            2 => *self.pick(b"=.\n\xff "),
            3 => b'A' + self.below(4) as u8,
            _ => b'a' + self.below(4) as u8,
        }
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.byte()).collect()
    }
}

/// A random pattern, and bytes that it may match.
struct Made {
    text: String,
    matching: Vec<Vec<u8>>,
}

fn quoted(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'.' => out.push(*b as char),
            b => write!(out, "\\x{b:02x}").unwrap(),
        }
        out
    })
}

fn widened(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|b| [*b, 0]).collect()
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Plain base64 of all of it.
fn base64(bytes: &[u8], alphabet: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for group in bytes.chunks(3) {
        let n = group.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - group.len()));
        for i in 0..=group.len() {
            out.push(alphabet[(n >> (18 - 6 * i) & 63) as usize]);
        }
        out.extend(std::iter::repeat_n(b'=', 3 - group.len()));
    }
    out
}

fn any_case(dice: &mut Dice, bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .map(|b| {
            if dice.one_in(2) {
                b.to_ascii_uppercase()
            } else {
                b.to_ascii_lowercase()
            }
        })
        .collect()
}

fn text_pattern(dice: &mut Dice) -> Made {
    let n = 1 + dice.below(12);
    let bytes = dice.bytes(n);
    let mut text = format!("\"{}\"", quoted(&bytes));
    let mut forms = Vec::new();
    let (mut ascii, mut wide) = (true, false);
    if dice.one_in(3) {
        text += " wide";
        wide = true;
        ascii = dice.one_in(2);
        if ascii {
            text += " ascii";
        }
    }
    if ascii {
        forms.push(bytes.clone());
    }
    if wide {
        forms.push(widened(&bytes));
    }
    let kind = dice.below(6);
    let mut matching = Vec::new();
    match kind {
        0 => {
            text += " nocase";
            matching.extend(forms.iter().map(|form| any_case(dice, form)));
        }
        1 => {
            let from = dice.below(256);
            let to = from + dice.below(256 - from);
            write!(text, " xor({from}-{to})").unwrap();
            let key = (from + dice.below(to - from + 1)) as u8;
            matching.extend(
                forms
                    .iter()
                    .map(|form| form.iter().map(|b| b ^ key).collect()),
            );
        }
        2 if bytes.len() >= 3 => {
            let mut alphabet = *STANDARD;
            let custom = dice.one_in(3);
            if custom {
                alphabet.rotate_left(dice.below(64));
            }
            let argument = if custom {
                format!("(\"{}\")", String::from_utf8_lossy(&alphabet))
            } else {
                String::new()
            };
            let wide64 = dice.one_in(2);
            write!(
                text,
                " base64{}{argument}",
                if wide64 { "wide" } else { "" }
            )
            .unwrap();
            for form in &forms {
                let before = dice.below(4);
                let mut all = dice.bytes(before);
                all.extend(form);
                let after = dice.below(4);
                all.extend(dice.bytes(after));
                let mut coded = base64(&all, &alphabet);
                if wide64 && dice.one_in(2) {
                    // The engine looks past these.
                    for _ in 0..=dice.below(2) {
                        coded.insert(dice.below(coded.len() + 1), b'=');
                    }
                }
                matching.push(if wide64 { widened(&coded) } else { coded });
            }
        }
        3 => {
            text += " fullword";
            matching.extend(forms.iter().map(|form| [b" ", &form[..], b" "].concat()));
        }
        _ => matching.extend(forms),
    }
    if dice.one_in(8) {
        text += " private";
    }
    Made { text, matching }
}

/// Tokens of a hex pattern, and a string they match.
fn hex_tokens(dice: &mut Dice, depth: usize, text: &mut String, bytes: &mut Vec<u8>) {
    let n = 1 + dice.below(8);
    for i in 0..n {
        let b = dice.byte();
        let inside = i > 0 && i + 1 < n;
        match dice.below(14) {
            0 if inside || depth > 0 => {
                text.push_str("?? ");
                bytes.push(b);
            }
            1 => {
                write!(text, "{:X}? ", b >> 4).unwrap();
                bytes.push(b & 0xf0 | dice.below(16) as u8);
            }
            2 => {
                write!(text, "?{:X} ", b & 15).unwrap();
                bytes.push(b & 0x0f | (dice.below(16) as u8) << 4);
            }
            3 => {
                write!(text, "~{b:02X} ").unwrap();
                bytes.push(b.wrapping_add(1 + dice.below(255) as u8));
            }
            4 if inside => {
                let from = 1 + dice.below(6);
                let to = from + dice.below(10);
                match dice.below(4) {
                    0 => write!(text, "[{from}] ").unwrap(),
                    1 if depth == 0 => write!(text, "[{from}-] ").unwrap(),
                    2 => write!(text, "[{from}-{}] ", to + 300).unwrap(),
                    _ => write!(text, "[{from}-{to}] ").unwrap(),
                }
                bytes.extend(dice.bytes(from));
                write!(text, "{b:02X} ").unwrap();
                bytes.push(b);
            }
            5 if depth < 3 => {
                text.push('(');
                let (ways, taken) = (1 + dice.below(3), dice.below(3));
                for way in 0..=ways {
                    if way > 0 {
                        text.push('|');
                    }
                    let mut other = Vec::new();
                    hex_tokens(dice, depth + 1, text, &mut other);
                    if way == taken.min(ways) {
                        bytes.extend(other);
                    }
                }
                text.push_str(") ");
            }
            _ => {
                write!(text, "{b:02X} ").unwrap();
                bytes.push(b);
            }
        }
    }
}

fn hex_pattern(dice: &mut Dice) -> Made {
    let (mut text, mut bytes) = (String::from("{ "), Vec::new());
    hex_tokens(dice, 0, &mut text, &mut bytes);
    text.push('}');
    Made {
        text,
        matching: vec![bytes],
    }
}

/// A regular expression, and a string it matches.
fn regexp(dice: &mut Dice, depth: usize, text: &mut String, bytes: &mut Vec<u8>) {
    for _ in 0..1 + dice.below(7) {
        let b = b'a' + dice.below(4) as u8;
        match dice.below(20) {
            0 => {
                text.push('.');
                bytes.push(b'x');
            }
            1 => {
                text.push_str("[a-c]");
                bytes.push(b'a' + dice.below(3) as u8);
            }
            2 => {
                text.push_str("[^a]");
                bytes.push(b'b');
            }
            3 => {
                write!(text, "[{}{}]", b as char, (b as char).to_ascii_uppercase()).unwrap();
                bytes.push(b.to_ascii_uppercase());
            }
            4 => {
                text.push_str(dice.word(&["\\b", "\\B", "^", "$"]));
            }
            5 => {
                text.push_str(dice.word(&["\\x00", "\\n", "\\<", "\\xff", "é", "\\d"]));
                bytes.extend(*dice.pick(&[&b"\0"[..], b"\n", b"<", b"\xff", "é".as_bytes(), b"7"]));
            }
            6 | 7 if depth < 3 => {
                text.push_str(dice.word(&["(", "(?:", "(?i:"]));
                let (ways, taken) = (dice.below(3), dice.below(3));
                for way in 0..=ways {
                    if way > 0 {
                        text.push('|');
                    }
                    let mut other = Vec::new();
                    if !dice.one_in(8) {
                        regexp(dice, depth + 1, text, &mut other);
                    }
                    if way == taken.min(ways) {
                        bytes.extend(other);
                    }
                }
                text.push(')');
                let (from, to) = (dice.below(3), dice.below(3));
                match dice.below(5) {
                    0 => write!(text, "{{{from},{}}}", from + to).unwrap(),
                    1 => text.push('?'),
                    2 => write!(text, "{{{}}}", from + 1).unwrap(),
                    _ => {}
                }
            }
            8 => {
                write!(text, "{}+", b as char).unwrap();
                let n = 1 + dice.below(3);
                bytes.extend(std::iter::repeat_n(b, n));
            }
            9 => {
                write!(text, "{}.*{0}", b as char).unwrap();
                bytes.extend([b, b'z', b]);
            }
            10 => {
                write!(text, "{}?", b as char).unwrap();
            }
            _ => {
                text.push(b as char);
                bytes.push(b);
            }
        }
    }
}

fn regexp_pattern(dice: &mut Dice) -> Made {
    let (mut text, mut bytes) = (String::from("/"), Vec::new());
    regexp(dice, 0, &mut text, &mut bytes);
    text.push('/');
    text.push_str(dice.word(&["", "", "i", "s", "is"]));
    let mut matching = vec![bytes.clone(), any_case(dice, &bytes)];
    match dice.below(6) {
        0 => text += " wide",
        1 => text += " ascii wide",
        2 => text += " nocase",
        3 => text += " nocase wide",
        4 => text += " fullword",
        _ => {}
    }
    if text.ends_with("wide") {
        matching.extend(matching.clone().iter().map(|form| widened(form)));
    }
    Made { text, matching }
}

fn pattern(dice: &mut Dice) -> Made {
    match dice.below(3) {
        0 => text_pattern(dice),
        1 => hex_pattern(dice),
        _ => regexp_pattern(dice),
    }
}

fn number(dice: &mut Dice, depth: usize, vars: &[&str]) -> String {
    if depth > 3 {
        return dice.below(20).to_string();
    }
    let sub = |dice: &mut Dice| number(dice, depth + 1, vars);
    match dice.below(22) {
        0 => "filesize".into(),
        1 => format!("#{}", dice.pick(&["a", "b", "c"])),
        2 => format!("@{}", dice.pick(&["a", "b", "c"])),
        3 => format!("!{}", dice.pick(&["a", "b", "c"])),
        4 => format!("@{}[{}]", dice.pick(&["a", "b"]), 1 + dice.below(3)),
        5 => format!("#a in ({}..{})", dice.below(5), 5 + dice.below(200)),
        6 => format!("({} + {})", sub(dice), sub(dice)),
        7 => format!("({} - {})", sub(dice), sub(dice)),
        8 => format!("({} * {})", sub(dice), sub(dice)),
        9 => format!("({} & {})", sub(dice), sub(dice)),
        10 => format!("({} \\ {})", sub(dice), sub(dice)),
        11 => format!(
            "{}int{}{}({})",
            dice.pick(&["", "u"]),
            dice.pick(&["8", "16", "32", "64"]),
            dice.pick(&["", "be"]),
            sub(dice)
        ),
        12 => format!("-{}", sub(dice)),
        13 if !vars.is_empty() => dice.pick(vars).to_string(),
        14 => format!("({} | {})", sub(dice), sub(dice)),
        15 => format!("({} % {})", sub(dice), sub(dice)),
        16 => format!("({} << {})", sub(dice), dice.below(4)),
        17 => format!("0x{:x}", dice.next() as u32),
        18 => "0xffffffffffffffff".into(),
        19 => format!("{}KB", dice.below(3)),
        _ => dice.below(300).to_string(),
    }
}

const OPERATORS: [&str; 6] = ["==", "!=", "<", "<=", ">", ">="];

fn quantifier(dice: &mut Dice) -> String {
    match dice.below(10) {
        0 => "none".into(),
        1 | 2 => "all".into(),
        3 | 4 => "any".into(),
        5 => format!("{}%", dice.below(101)),
        6 => format!("({})", number(dice, 3, &[])),
        7 => format!("({} - #a)", dice.below(4)),
        _ => dice.below(4).to_string(),
    }
}

fn pattern_set(dice: &mut Dice) -> &'static str {
    dice.word(&["them", "($a, $b)", "($a)", "($*)", "($a*, $c)", "($c)"])
}

struct Names<'a> {
    vars: Vec<&'a str>,
    rules: usize,
    in_loop: bool,
}

fn condition(dice: &mut Dice, depth: usize, names: &mut Names) -> String {
    if depth > 4 {
        return format!("${}", dice.pick(&["a", "b", "c"]));
    }
    let pick = |dice: &mut Dice| *dice.pick(&["a", "b", "c"]);
    match dice.below(26) {
        0..=2 => {
            let n = 2 + dice.below(2);
            let of: Vec<String> = (0..n).map(|_| condition(dice, depth + 1, names)).collect();
            format!("({})", of.join(" and "))
        }
        3 | 4 => {
            let n = 2 + dice.below(2);
            let of: Vec<String> = (0..n).map(|_| condition(dice, depth + 1, names)).collect();
            format!("({})", of.join(" or "))
        }
        5 => format!("not {}", condition(dice, depth + 1, names)),
        6 => format!("defined {}", condition(dice, depth + 1, names)),
        7 => format!("{} of {}", quantifier(dice), pattern_set(dice)),
        8 => format!(
            "{} of {} at {}",
            quantifier(dice),
            pattern_set(dice),
            dice.below(20)
        ),
        9 => format!(
            "{} of {} in (0..{})",
            quantifier(dice),
            pattern_set(dice),
            dice.below(90)
        ),
        10 => {
            let n = 1 + dice.below(3);
            let of: Vec<String> = (0..n).map(|_| condition(dice, depth + 1, names)).collect();
            format!("{} of ({})", quantifier(dice), of.join(", "))
        }
        11 => {
            let outer = std::mem::replace(&mut names.in_loop, true);
            let body = condition(dice, depth + 1, names);
            names.in_loop = outer;
            format!(
                "for {} of {} : ({body})",
                quantifier(dice),
                pattern_set(dice)
            )
        }
        12 | 13 => {
            let name = *dice.pick(&["i", "j", "r0"]);
            let over = match dice.below(4) {
                0 => "(1..#a)".into(),
                1 => format!("({}, {}, 3)", dice.below(5), dice.below(300)),
                2 => format!("({}..@b)", dice.below(4)),
                _ => format!("({}..{})", dice.below(4), 4 + dice.below(9)),
            };
            names.vars.push(name);
            let body = condition(dice, depth + 1, names);
            names.vars.pop();
            format!("for {} {name} in {over} : ({body})", quantifier(dice))
        }
        14 => {
            let name = *dice.pick(&["i", "j", "r0"]);
            let value = number(dice, 1, &names.vars);
            names.vars.push(name);
            let body = condition(dice, depth + 1, names);
            names.vars.pop();
            format!("with {name} = {value} : ({body})")
        }
        15 => format!("${} at {}", pick(dice), number(dice, 2, &names.vars)),
        16 => format!(
            "${} in ({}..{})",
            pick(dice),
            dice.below(4),
            4 + dice.below(90)
        ),
        17 | 18 => format!(
            "{} {} {}",
            number(dice, 0, &names.vars),
            dice.pick(&OPERATORS),
            number(dice, 0, &names.vars)
        ),
        19 => {
            let added = match dice.below(4) {
                0 => format!("(filesize + {})", dice.below(400)),
                1 => format!("(filesize - {})", dice.below(400)),
                _ => "filesize".into(),
            };
            let than = match dice.below(4) {
                0 => format!("{}.5", dice.below(100)),
                1 => format!("-{}", dice.below(300)),
                _ => dice.below(400).to_string(),
            };
            let not = dice.word(&["", "", "not "]);
            format!("{not}{added} {} {than}", dice.pick(&OPERATORS))
        }
        20 => format!(
            "#{} {} {}",
            pick(dice),
            dice.pick(&OPERATORS),
            dice.below(4)
        ),
        21 if names.rules > 0 => format!("r{}", dice.below(names.rules)),
        22 if names.in_loop => dice
            .pick(&["$", "# > 1", "@ < 30", "$ at 0", "! > 3", "#"])
            .to_string(),
        23 => format!(
            "(uint{}(0) & 0x{:x}) == 0x{:x}",
            dice.pick(&["8", "16be", "32"]),
            dice.below(256),
            dice.below(256)
        ),
        24 => dice
            .pick(&["true", "filesize", "#b", "filesize < 90.5"])
            .to_string(),
        _ => format!("${}", pick(dice)),
    }
}

struct Case {
    source: String,
    matching: Vec<Vec<u8>>,
}

fn case(dice: &mut Dice) -> Case {
    let (mut source, mut matching) = (String::new(), Vec::new());
    for i in 0..1 + dice.below(3) {
        source.push_str(match dice.below(12) {
            0 => "global ",
            1 => "private ",
            _ => "",
        });
        write!(source, "rule r{i} {{ strings: ").unwrap();
        for name in ["$a", "$b", "$c", "$"] {
            let made = pattern(dice);
            write!(source, "{name} = {} ", made.text).unwrap();
            matching.extend(made.matching);
        }
        let mut names = Names {
            vars: Vec::new(),
            rules: i,
            in_loop: false,
        };
        // All patterns are used, whatever the condition leaves out.
        let condition = condition(dice, 0, &mut names);
        let tail = dice.pick(&[
            "or (filesize == 7 and all of them)",
            "and any of them",
            "or all of them",
        ]);
        write!(source, "condition: ({condition}) {tail} }}\n").unwrap();
    }
    Case { source, matching }
}

fn sample(dice: &mut Dice, matching: &[Vec<u8>]) -> Vec<u8> {
    let n = dice.below(40);
    let mut data = dice.bytes(n);
    for _ in 0..dice.below(6) {
        if dice.one_in(4) {
            data.extend(dice.pick(&[&b"MZ"[..], b"\0\0", b" ", b"="]).iter());
        }
        let piece = dice.pick(matching);
        let at = if dice.one_in(3) {
            0
        } else {
            dice.below(data.len() + 1)
        };
        let tail = data.split_off(at);
        data.extend(piece);
        data.extend(tail);
        let n = dice.below(4);
        data.extend(dice.bytes(n));
    }
    data
}

/// What a run of it saw.
#[derive(Default, Debug)]
struct Seen {
    sources: usize,
    refused: usize,
    matches: usize,
    ruled_out: usize,
    narrowed: usize,
    rules: usize,
}

fn run_case(dice: &mut Dice, seen: &mut Seen) {
    let case = case(dice);
    let mut compiler = yara_x::Compiler::new();
    let compiled = compiler.add_source(case.source.as_str()).is_ok();
    let program = plan(case.source.as_bytes());
    if !compiled {
        seen.refused += 1;
        return;
    }
    let program = match program {
        Ok(bytes) => Program::read(&bytes),
        Err(failure) => panic!("{}\n{}", failure.text, case.source),
    };
    let rules = compiler.build();
    seen.sources += 1;
    seen.rules += program.rules.len();
    seen.narrowed += program.rules.iter().filter(|row| row.note == 0).count();
    let mut scanner = yara_x::Scanner::new(&rules);
    scanner.set_timeout(Duration::from_secs(20));
    for _ in 0..12 {
        let data = sample(dice, &case.matching);
        let Ok(results) = scanner.scan(&data) else {
            return;
        };
        let possible = program.candidates(&Sample {
            data: &data,
            features: Default::default(),
        });
        seen.ruled_out += possible.iter().filter(|can| !**can).count();
        let matched = results.matching_rules().include_private(true);
        for rule in matched {
            seen.matches += 1;
            let index = program
                .rules
                .iter()
                .position(|row| row.name == rule.identifier())
                .unwrap();
            assert!(
                possible[index],
                "{} matches but is ruled out\n{}\n{}\nsample \"{}\"",
                rule.identifier(),
                case.source,
                program.print(&|hash| format!("{hash:x}")),
                quoted(&data)
            );
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_match_is_ruled_out() {
    let seconds = setting("WEIR_PLAN_SECONDS");
    let seed = setting("WEIR_PLAN_SEED").unwrap_or(1);
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seen = Seen::default();
    for round in 0u64.. {
        match until {
            Some(until) if Instant::now() > until => break,
            None if seen.sources >= 100 => break,
            _ => {}
        }
        run_case(
            &mut Dice::new(seed.wrapping_mul(1 << 32) + round),
            &mut seen,
        );
    }
    println!("{seen:?}");
    // The test can fail only if there is enough to be wrong about.
    assert!(
        seen.matches > 2 * seen.sources && seen.ruled_out > 2 * seen.sources,
        "{seen:?}"
    );
}

/// Sources that are damaged anywhere are planned or refused, never a panic.
#[test]
fn damaged_sources_do_no_harm() {
    let mut planned = 0;
    for round in 0..3000 {
        let mut dice = Dice::new(round);
        let mut source = case(&mut dice).source.into_bytes();
        for _ in 0..1 + dice.below(3) {
            let at = dice.below(source.len().max(1)).min(source.len() - 1);
            match dice.below(4) {
                0 => source[at] = b' ' + dice.below(95) as u8,
                1 if source.len() > 1 => drop(source.remove(at)),
                2 => source.truncate(at.max(1)),
                _ => {
                    let part = source[at..].to_vec();
                    let to = dice.below(source.len() + 1);
                    source.truncate(to);
                    source.extend(part);
                    source.push(b' ');
                }
            }
        }
        if let Ok(bytes) = plan(&source) {
            Program::read(&bytes);
            planned += 1;
        }
    }
    assert!(planned > 100, "{planned}");
}
