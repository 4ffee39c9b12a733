//! Random rules and samples: what the plans are tried on.
//!
//! Patterns come with bytes that they match (`patterns`), samples are files that the
//! modules read (`samples`), and conditions are made (`making`) after a table
//! (`grammar`) whose rows ask for what some sample has (`facts`).

pub mod facts;
pub mod grammar;
pub mod making;
pub mod patterns;
pub mod samples;

use std::fmt::Write;

/// xorshift64*: any order that repeats will do.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub fn word(&mut self, of: &[&'static str]) -> &'static str {
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

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.byte()).collect()
    }
}

pub fn quoted(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, b| {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'.' => out.push(*b as char),
            b => write!(out, "\\x{b:02x}").unwrap(),
        }
        out
    })
}

pub fn widened(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|b| [*b, 0]).collect()
}

/// One rule, and the rows of the grammar that it was made with.
pub struct Rule {
    pub text: String,
    pub rows: Vec<usize>,
}

pub const IMPORTS: &str = "import \"pe\" import \"elf\" import \"macho\" import \"dotnet\" \
     import \"lnk\" import \"hash\" import \"math\" import \"string\" import \"time\"\n";

/// Patterns of one rule as its section, and bytes that they match.
fn strings(dice: &mut Dice, matching: &mut Vec<Vec<u8>>) -> String {
    let mut text = String::from("strings: ");
    for name in ["$a", "$b", "$c", "$"] {
        let made = patterns::pattern(dice);
        write!(text, "{name} = {} ", made.text).unwrap();
        matching.extend(made.matching);
    }
    text
}

/// The section of a rule's patterns: all rules of a source have the same few, so that
/// samples match many of them.
pub struct Source {
    pub strings: Vec<String>,
    pub samples: Vec<Vec<u8>>,
    pub facts: facts::Facts,
}

impl Source {
    pub fn new(dice: &mut Dice) -> Source {
        let mut matching = Vec::new();
        let strings = (0..3).map(|_| strings(dice, &mut matching)).collect();
        let mut samples = Vec::new();
        let mut facts = facts::Facts::default();
        for i in 0..24 {
            let data = match i % 3 {
                0 => samples::planted(dice, &matching),
                _ => samples::file(dice, &matching),
            };
            facts.learn(&data);
            samples.push(data);
        }
        Source {
            strings,
            samples,
            facts,
        }
    }

    /// Another rule, which may refer to earlier ones. `counts`: matches that rows of the
    /// grammar had; `turn`: how many rules were made before.
    pub fn rule(
        &self,
        dice: &mut Dice,
        name: &str,
        earlier: &[String],
        counts: &[usize],
        turn: usize,
    ) -> Rule {
        let strings = dice.pick(&self.strings).clone();
        let flags = match dice.below(50) {
            0 => "global ",
            1 => "global private ",
            2..=5 => "private ",
            _ => "",
        };
        let mut maker = making::Maker::new(dice, &self.facts, earlier, counts);
        // By turns: of each row one, and whatever comes.
        let condition = match turn % 2 {
            0 => maker.with_row(turn / 2 % grammar::rows().count()),
            _ => maker.make("top", 0),
        };
        let rows = maker.rows;
        // A global rule that is never true leaves nothing to see.
        let (open, close) = if flags.starts_with("global") {
            ("(filesize < 20 or uint8(0) != 0x4d or ", ")")
        } else {
            ("(", ")")
        };
        let asks = |text: &str| {
            text.replace("!=", "").contains(['$', '#', '@', '!']) || text.contains("them")
        };
        let (strings, tail) = if asks(&condition) {
            // All patterns are used, whatever the condition leaves out.
            let tails = [
                "or (filesize == 7 and all of them)",
                "and (filesize >= 0 or any of them)",
                "or all of them",
            ];
            (strings, dice.word(&tails))
        } else {
            (String::new(), "")
        };
        Rule {
            text: format!(
                "{flags}rule {name} {{ {strings} condition: {open}{condition}{close} {tail} }}\n"
            ),
            rows,
        }
    }
}
