//! Conditions by lot out of the table's rows (`grammar`), about what some sample has (`facts`).

use super::facts::{escaped, Facts, Value};
use super::grammar::{rows, TABLE};
use super::samples::{VERSION_KEYS, WORDS};
use super::Dice;

/// Numbers at which sums run over.
const EDGES: &[&str] = &[
    "(-9223372036854775807 - 1)",
    "(-9223372036854775807 - 1)",
    "(-9223372036854775807)",
    "0x7fffffffffffffff",
    "0x7ffffffffffffff0",
    "0",
    "1",
    "5",
    "-5",
    "0.5",
    "4000",
];

const DEPTH_MAX: usize = 4;

fn is_condition(kind: &str) -> bool {
    let known = [
        "top",
        "loop",
        "bool",
        "call",
        "callpe",
        "callelf",
        "callmacho",
    ];
    known.contains(&kind) || kind.starts_with("fact-")
}

pub struct Maker<'a> {
    dice: &'a mut Dice,
    facts: &'a Facts,
    earlier: &'a [String],
    /// How often each row was in a match: rare ones are preferred.
    counts: &'a [usize],
    /// Names in loops and the kinds of what they stand for.
    names: Vec<(String, &'static str)>,
    fresh: usize,
    fact: (String, Option<Value>),
    /// Rows used so far.
    pub rows: Vec<usize>,
}

impl<'a> Maker<'a> {
    pub fn new(
        dice: &'a mut Dice,
        facts: &'a Facts,
        earlier: &'a [String],
        counts: &'a [usize],
    ) -> Self {
        Maker {
            dice,
            facts,
            earlier,
            counts,
            names: Vec::new(),
            fresh: 0,
            fact: (String::new(), None),
            rows: Vec::new(),
        }
    }

    /// An expression of a kind.
    pub fn make(&mut self, kind: &str, depth: usize) -> String {
        if let Some(made) = self.special(kind, depth) {
            return made;
        }
        let known: Vec<String> = self
            .names
            .iter()
            .filter(|(_, of)| *of == kind || (*of == "text" && kind == "str"))
            .map(|(name, _)| name.clone())
            .collect();
        if !known.is_empty() && !self.dice.one_in(3) {
            return self.dice.pick(&known).clone();
        }
        let mut first = 0;
        let (flat, deep) = TABLE
            .iter()
            .find_map(|(name, flat, deep)| {
                let found = (*name == kind).then_some((*flat, *deep));
                if found.is_none() {
                    first += flat.len() + deep.len();
                }
                found
            })
            .unwrap_or_else(|| panic!("no kind {kind}"));
        let mut any = || {
            let shallow = depth >= DEPTH_MAX || deep.is_empty() || self.dice.one_in(2);
            if shallow {
                self.dice.below(flat.len())
            } else {
                flat.len() + self.dice.below(deep.len())
            }
        };
        let (one, other) = (any(), any());
        let count = |at: &usize| self.counts.get(first + *at).copied().unwrap_or(0);
        let at = [one, other].into_iter().min_by_key(count).unwrap();
        self.rows.push(first + at);
        self.fill(flat.iter().chain(deep).nth(at).unwrap(), depth)
    }

    /// A condition made with the row of this number, so that none is passed over.
    pub fn with_row(&mut self, number: usize) -> String {
        let (kind, row) = rows().nth(number).unwrap();
        if kind.starts_with("fact-") && !self.choose_fact(kind) {
            return self.make("top", 0);
        }
        self.rows.push(number);
        let made = self.fill(row, 1);
        match kind {
            "int" | "small" | "num" | "float" => {
                let (cmp, than) = (self.make("cmp", 0), self.make("num", DEPTH_MAX));
                format!("{made} {cmp} {than}")
            }
            "str" => format!("{made} {} {}", self.make("cmp", 0), self.make("text", 0)),
            "machine" => format!("elf.machine == {made}"),
            "each" => format!("for any of them : ({made})"),
            "q" => format!("{made} of ($a, $b, $c)"),
            "set" => format!("any of {made}"),
            "importname" => format!("pe.imports({made}, {})", self.make("func", 0)),
            "flags" => format!("pe.imports({made}, {}) > 0", self.make("lib", 0)),
            kind if is_condition(kind) => made,
            _ => self.make("top", 0),
        }
    }

    /// A field that rows of this kind can be about.
    fn choose_fact(&mut self, kind: &str) -> bool {
        for _ in 0..200 {
            let (field, value) = self.facts.field(self.dice).clone();
            let of = match &value {
                Value::Number(_) => "fact-number",
                Value::Truth(_) => "fact-truth",
                Value::Text(_) => "fact-text",
            };
            let has_key = field.ends_with("\"]");
            let fits = match kind.strip_prefix(of) {
                Some("-list") => !has_key && field.contains('['),
                Some("-key") => has_key,
                rest => rest == Some(""),
            };
            if fits {
                self.fact = (field, Some(value));
                return true;
            }
        }
        false
    }

    fn fill(&mut self, row: &str, depth: usize) -> String {
        let outer = self.names.len();
        let mut coming = Vec::new();
        let mut out = String::new();
        let mut rest = row;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (part, after) = after.split_once('}').unwrap();
            rest = after;
            match part.split_once(' ') {
                Some((_, kind)) => {
                    let kind = TABLE
                        .iter()
                        .map(|row| row.0)
                        .chain(["text", "lib"])
                        .find(|k| *k == kind);
                    self.fresh += 1;
                    let name = match self.dice.below(12) {
                        0 => "r0".into(),
                        1 => "r1".into(),
                        _ => format!("v{}", self.fresh),
                    };
                    out.push_str(&name);
                    coming.push((name, kind.unwrap()));
                }
                None => match part {
                    "in" => self.names.append(&mut coming),
                    "inset" => self.names.push(("$".into(), "inset")),
                    part => out.push_str(&self.make(part, depth + 1)),
                },
            }
        }
        out.push_str(rest);
        self.names.truncate(outer);
        out
    }

    fn text(&mut self) -> &'static str {
        self.dice.word(WORDS)
    }

    /// Kinds that are not in the table.
    fn special(&mut self, kind: &str, depth: usize) -> Option<String> {
        let facts = self.facts;
        Some(match kind {
            // Far down: no more than one more row.
            "bool0" => self.make("bool", DEPTH_MAX),
            "num0" => self.make("num", DEPTH_MAX),
            "each" if !self.names.iter().any(|(_, kind)| *kind == "inset") => {
                format!("${}", self.make("p", depth))
            }
            "rule" => match self.earlier {
                [] => "true".into(),
                earlier => self.dice.pick(earlier).clone(),
            },
            "text" | "lib"
                if self.names.iter().any(|(_, of)| *of == kind) && self.dice.one_in(2) =>
            {
                let known = self.names.iter().rev().find(|(_, of)| *of == kind);
                known?.0.clone()
            }
            "text" => match self.dice.below(8) {
                0 => "\"\"".into(),
                1 => escaped(self.dice.word(VERSION_KEYS).as_bytes()),
                2 if !facts.digests.is_empty() => {
                    escaped(self.dice.pick(&facts.digests).1.as_bytes())
                }
                _ => {
                    let word = self.text();
                    escaped(word.as_bytes())
                }
            },
            "lib" | "func" if !facts.imports.is_empty() => {
                let (library, function) = self.dice.pick(&facts.imports);
                let name = if kind == "lib" { library } else { function };
                self.any_case(name.as_bytes())
            }
            "export" if !facts.exports.is_empty() => {
                let name = self.dice.pick(&facts.exports);
                self.any_case(name.as_bytes())
            }
            "sectionname" if !facts.sections.is_empty() => {
                let name: &Vec<u8> = self.dice.pick(&facts.sections);
                escaped(name)
            }
            "lib" | "func" | "export" | "sectionname" => "\"abc\"".into(),
            "filesize" => self.dice.pick(&facts.sizes).to_string(),
            "digest" => {
                let wanted = self.dice.word(&["md5", "sha256", "imphash"]);
                let of = |one: &&(&str, String)| one.0.contains(wanted);
                let some: Vec<_> = facts.digests.iter().filter(of).collect();
                let Some((call, value)) = some.get(self.dice.below(some.len().max(1))) else {
                    return Some("true".into());
                };
                let value = match self.dice.below(3) {
                    0 => value.to_uppercase(),
                    _ => value.clone(),
                };
                match self.dice.below(4) {
                    0 => format!("\"{value}\" == {call}"),
                    1 => format!("{call} iequals \"{value}\""),
                    2 => format!("with d = \"{value}\" : ({call} == d)"),
                    _ => format!("{call} == \"{value}\""),
                }
            }
            "size" => self.size(depth),
            "many" => self.many(),
            "head" => self.head(depth),
            "regexp" => {
                let word = self.text();
                self.regexp(word.as_bytes())
            }
            "fact" => self.fact(depth),
            "field" => self.fact.0.clone(),
            "list" | "element" | "rest" | "key" => self.place(kind),
            "value" | "part" | "start" | "end" | "anycase" | "anypart" | "anystart" | "anyend"
            | "partregexp" => self.value(kind),
            _ => return None,
        })
    }

    /// Many names, of which one stands for something that may be undefined.
    fn many(&mut self) -> String {
        let n = 60 + self.dice.below(14);
        let odd = self.dice.below(20);
        let mut names = Vec::new();
        for i in 0..n {
            let value = if i == odd {
                self.make("num", DEPTH_MAX)
            } else {
                format!("uint8({})", i % 3)
            };
            names.push(format!("n{i} = {value}"));
        }
        let used: Vec<String> = (0..n).map(|i| format!("n{i} >= 0")).collect();
        let than = self.dice.word(&["== 0", ">= 0", "< 9"]);
        format!(
            "with {} : ({} and n{odd} {than})",
            names.join(", "),
            used.join(" and ").replace(&format!("n{odd} >= 0"), "true")
        )
    }

    /// The size of some sample, nearly.
    fn size(&mut self, depth: usize) -> String {
        let size = *self.dice.pick(&self.facts.sizes) as i64;
        let added = self.dice.below(400) as i64;
        let op = self.make("cmp", depth);
        let near = size + self.dice.below(3) as i64 - 1;
        let not = self.dice.word(&["", "", "not "]);
        match self.dice.below(12) {
            0 => format!("{not}filesize {op} {near}.5"),
            1 => format!("{not}{near} {op} filesize"),
            2 => format!("{not}filesize + {added} {op} {}", near + added),
            3 => format!("{not}filesize - {added} {op} {}", near - added),
            4 => format!("{not}(filesize {op} {near} or filesize < 3)"),
            5 => format!("{not}{}.5 {op} filesize - {added}", (near - added).max(0)),
            6 | 9..=11 => {
                let (a, b) = (self.dice.word(EDGES), self.dice.word(EDGES));
                let added = self.dice.word(&["+", "-"]);
                format!("{not}filesize {added} {a} {op} {b}")
            }
            7 => format!("{not}filesize {op} {}", self.make("int", depth)),
            _ => format!("{not}filesize {op} {near}"),
        }
    }

    /// Bytes at the beginning of some sample, as a number.
    fn head(&mut self, depth: usize) -> String {
        let head = self.dice.pick(&self.facts.heads);
        let read = self.make("read", depth);
        let (bytes, signed, big) = super::super::value::read_function(&read).unwrap();
        let n = bytes as usize;
        if head.len() < n {
            return format!("{read}({}) >= 0", self.dice.below(24));
        }
        let at = self.dice.below(head.len() - n + 1);
        let part = &head[at..at + n];
        let fold = |n: u64, b: &u8| n << 8 | u64::from(*b);
        let raw = if big {
            part.iter().fold(0, fold)
        } else {
            part.iter().rev().fold(0, fold)
        };
        let low = 64 - 8 * bytes;
        let value = if signed {
            ((raw << low) as i64) >> low
        } else {
            raw as i64
        };
        let shown = Value::Number(value).shown();
        let mask = *self.dice.pick(&[
            0xffu64,
            0xf0,
            0xff00,
            0xffff,
            0x7fff_ffff,
            0xffff_ffff,
            0x8000_0000_0000_0000,
            u64::MAX,
        ]);
        let masked = (value as u64 & mask) as i64;
        let masked = match self.dice.below(2) {
            0 => format!("0x{:x}", masked as u64),
            _ => Value::Number(masked).shown(),
        };
        match self.dice.below(9) {
            0 => format!("{shown} == {read}({at})"),
            1 => format!("({read}({at}) & 0x{mask:x}) == {masked}"),
            2 => format!("{masked} == (0x{mask:x} & {read}({at}))"),
            3 => format!("not {read}({at}) != {shown}"),
            4 => format!("{read}({at}) == 0x{:x}", value as u64),
            5 => format!("{read}({at}) >= {shown}"),
            6 => format!("with o = {at} : ({read}(o) == {shown})"),
            7 => format!(
                "for any o in ({at}, {}) : ({read}(o) == {shown})",
                self.dice.below(20)
            ),
            _ => format!("{read}({at}) == {shown}"),
        }
    }

    fn fact(&mut self, depth: usize) -> String {
        if self.facts.fields.is_empty() {
            return "true".into();
        }
        let (field, value) = self.facts.field(self.dice).clone();
        let kind = match &value {
            Value::Number(_) => "fact-number",
            Value::Truth(_) => "fact-truth",
            Value::Text(_) => "fact-text",
        };
        let has_key = field.ends_with("\"]");
        let has_list = !has_key && field.contains('[');
        self.fact = (field, Some(value));
        let kind = match (has_key, has_list) {
            (true, _) if self.dice.one_in(2) => "fact-text-key".into(),
            (_, true) if kind != "fact-truth" && self.dice.one_in(2) => format!("{kind}-list"),
            _ => kind.to_string(),
        };
        self.make(&kind, depth)
    }

    /// Parts of the field's expression.
    fn place(&mut self, part: &str) -> String {
        let field = &self.fact.0;
        // A list in an element of a list is one only of the first's element.
        let at = field.rfind('[').unwrap();
        let end = at + field[at..].find(']').unwrap() + 1;
        match part {
            "list" => field[..at].into(),
            "element" => field[..end].into(),
            "key" => field[at + 1..end - 1].into(),
            _ => field[end..].into(),
        }
    }

    fn value(&mut self, what: &str) -> String {
        let bytes = match self.fact.1.clone().unwrap() {
            Value::Text(bytes) => bytes,
            other => return other.shown(),
        };
        let mut cut = |most: usize| self.dice.below(most + 1);
        let part = match what {
            "part" | "anypart" | "partregexp" => {
                let from = cut(bytes.len() / 2);
                let to = bytes.len() - cut((bytes.len() - from) / 2);
                bytes[from..to].to_vec()
            }
            "start" | "anystart" => bytes[..cut(bytes.len())].to_vec(),
            "end" | "anyend" => bytes[cut(bytes.len())..].to_vec(),
            _ => bytes,
        };
        match what {
            "partregexp" => self.regexp(&part),
            what if what.starts_with("any") => self.any_case(&part),
            _ => escaped(&part),
        }
    }

    /// A text that is the same where case is not minded, as Unicode has it or nearly.
    fn any_case(&mut self, bytes: &[u8]) -> String {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return escaped(bytes);
        };
        let how = self.dice.below(7);
        let mut out = String::new();
        for c in text.chars() {
            match (how, c) {
                (0, c) => out.push(c),
                (1, c) => out.push(c.to_ascii_uppercase()),
                (2, c) => out.extend(c.to_uppercase()),
                (3 | 4, 'k' | 'K' | '\u{212a}') => {
                    out.push(*self.dice.pick(&['k', 'K', '\u{212a}']))
                }
                (3 | 4, 'i' | 'I' | '\u{130}') => {
                    out.push_str(self.dice.word(&["i", "I", "i\u{307}", "\u{130}"]))
                }
                (_, c) if self.dice.one_in(2) => out.extend(c.to_lowercase()),
                (_, c) => out.extend(c.to_uppercase()),
            }
        }
        escaped(out.as_bytes())
    }

    /// A regular expression that the text, or most of it, matches.
    fn regexp(&mut self, bytes: &[u8]) -> String {
        let mut out = String::new();
        for b in bytes {
            let c = *b as char;
            match self.dice.below(16) {
                0 => out.push('.'),
                1 if c.is_ascii_alphabetic() => {
                    out.push_str(&format!(
                        "[{}{}]",
                        c.to_ascii_lowercase(),
                        c.to_ascii_uppercase()
                    ));
                }
                2 if c.is_ascii_alphanumeric() => out.push_str(&format!("({c}|xyz)")),
                3 if c.is_ascii_alphanumeric() => out.push_str(&format!("{c}+")),
                4 => out.push_str(".*"),
                5 if c.is_ascii_alphabetic() => out.push(c.to_ascii_uppercase()),
                _ if c.is_ascii_alphanumeric() => out.push(c),
                _ => out.push_str(&format!("\\x{b:02x}")),
            }
        }
        if out.is_empty() {
            out.push_str("a?");
        }
        let head = self.dice.word(&["", "", "^", ".*", "(a|)"]);
        let tail = self.dice.word(&["", "", "$", ".?", "(zzzzz)?"]);
        let flags = self.dice.word(&["", "i", "s", "is"]);
        format!("/{head}{out}{tail}/{flags}")
    }
}
