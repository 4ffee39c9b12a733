//! Random patterns, and bytes that they match.

use std::fmt::Write;

use super::{quoted, widened, Dice};

/// A random pattern, and bytes that it may match.
pub struct Made {
    pub text: String,
    pub matching: Vec<Vec<u8>>,
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

/// Four bytes that look like one with a mask to the engine, and one that it may match.
fn four_of_a_kind(dice: &mut Dice) -> (Vec<u8>, u8) {
    let least = *dice.pick(&[0x81u8, 0x61, 0x30, 0x41, 0]);
    loop {
        let bits: Vec<u8> = (0..7).map(|i| 1 << i).filter(|b| least & b == 0).collect();
        let (a, b) = (*dice.pick(&bits), *dice.pick(&bits));
        let greatest = least | a | b;
        let mut all: Vec<u8> = (least..=greatest).filter(|c| c & least == least).collect();
        if a == b || all.len() < 4 {
            continue;
        }
        let found = least | if dice.one_in(2) { a } else { b };
        while all.len() > 4 {
            let i = 1 + dice.below(all.len() - 2);
            all.remove(i);
        }
        return (all, found);
    }
}

/// Tokens of a hex pattern, and a string they match.
fn hex_tokens(dice: &mut Dice, depth: usize, text: &mut String, bytes: &mut Vec<u8>) {
    let n = 1 + dice.below(8);
    for i in 0..n {
        let b = dice.byte();
        let inside = i > 0 && i + 1 < n;
        match dice.below(16) {
            14 => {
                let (four, found) = four_of_a_kind(dice);
                let four: Vec<String> = four.iter().map(|b| format!("{b:02X}")).collect();
                write!(text, "( {} ) ", four.join(" | ")).unwrap();
                bytes.push(found);
            }
            15 if inside && depth == 0 && dice.one_in(2) => {
                // The engine counts bytes of a jump with 16 bits.
                let n = dice.below(3);
                text.push_str(dice.word(&["[65535][1] ", "[65536] ", "[65530-65537] "]));
                text.push_str("41 ");
                bytes.extend(dice.bytes(n));
                bytes.push(0x41);
            }
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
        match dice.below(22) {
            20 | 21 => {
                let (four, found) = four_of_a_kind(dice);
                let four: String = four.iter().map(|b| format!("\\x{b:02x}")).collect();
                write!(text, "[{four}]").unwrap();
                bytes.push(found);
            }
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

/// What stands at the entry points of samples.
const CODE: &[(&str, &[u8])] = &[
    ("{ 55 8B EC 83 EC 10 53 }", b"\x55\x8b\xec\x83\xec\x10\x53"),
    (
        "{ 55 8B EC ?? EC 10 53 56 57 }",
        b"\x55\x8b\xec\x83\xec\x10\x53\x56\x57",
    ),
    ("{ EC 10 53 56 57 [1] 00 }", b"\xec\x10\x53\x56\x57\xe8\x00"),
    (
        "\"\\x31\\xed\\x49\\x89\\xd1\\x5e\"",
        b"\x31\xed\x49\x89\xd1\x5e",
    ),
    (
        "{ 31 ED 49 ?? D1 5E 48 89 }",
        b"\x31\xed\x49\x89\xd1\x5e\x48\x89",
    ),
    (
        "{ 89 D1 5E 48 89 ( E2 | E3 ) }",
        b"\x89\xd1\x5e\x48\x89\xe2",
    ),
];

pub fn pattern(dice: &mut Dice) -> Made {
    if dice.one_in(8) {
        let (text, matching) = *dice.pick(CODE);
        return Made {
            text: text.into(),
            matching: vec![matching.to_vec()],
        };
    }
    match dice.below(3) {
        0 => text_pattern(dice),
        1 => hex_pattern(dice),
        _ => regexp_pattern(dice),
    }
}
