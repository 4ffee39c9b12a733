//! Patterns whose place is known: `$a at 0`.

use yara_x_parser::ast::{HexToken, Pattern, PatternModifiers};

use super::compare::HEAD_BYTES;
use super::need::Need;
use super::pattern::widen;

/// The first bytes that a match of a pattern can have, each variant as values and masks.
#[derive(Default)]
pub struct Head {
    variants: Vec<Vec<(u8, u8)>>,
}

/// What is kept of each: no place is looked at for more.
const KEPT_BYTES: usize = 32;
/// Bytes of one test.
const BYTES_MAX: usize = 8;

impl Head {
    pub fn of(pattern: &Pattern) -> Head {
        match pattern {
            Pattern::Text(text) => Head::of_text(text.text.value.as_ref(), &text.modifiers),
            Pattern::Hex(hex) => Head {
                variants: vec![hex_head(hex.sub_patterns.iter())],
            },
            Pattern::Regexp(_) => Head::default(),
        }
    }

    fn of_text(text: &[u8], modifiers: &PatternModifiers) -> Head {
        let coded = [modifiers.xor(), modifiers.base64(), modifiers.base64wide()];
        if coded.iter().any(Option::is_some) {
            return Head::default();
        }
        let text = &text[..text.len().min(KEPT_BYTES)];
        let (wide, ascii) = (modifiers.wide().is_some(), modifiers.ascii().is_some());
        let nocase = modifiers.nocase().is_some();
        let pairs = |bytes: &[u8]| -> Vec<(u8, u8)> {
            bytes
                .iter()
                .map(|b| match b {
                    b if nocase && b.is_ascii_alphabetic() => (b & !0x20, !0x20),
                    b => (*b, 0xff),
                })
                .collect()
        };
        let mut variants = Vec::new();
        if wide {
            variants.push(pairs(&widen(text)));
        }
        if ascii || !wide {
            variants.push(pairs(text));
        }
        Head { variants }
    }

    /// What holds of a match whatever its variant.
    pub fn each(&self, need: impl Fn(&[(u8, u8)]) -> Need) -> Need {
        if self.variants.is_empty() {
            return Need::True;
        }
        Need::any(self.variants.iter().map(|pairs| need(pairs)).collect())
    }

    /// What a sample has that has a match at this offset.
    pub fn at(&self, offset: u64) -> Need {
        let room = HEAD_BYTES.saturating_sub(offset) as usize;
        self.each(|pairs| {
            let pairs = &pairs[..pairs.len().min(room)];
            let tests = pairs.chunks(BYTES_MAX).enumerate().map(|(i, part)| {
                if part.iter().all(|(_, mask)| *mask == 0) {
                    return Need::True;
                }
                Need::Bytes((offset as usize + i * BYTES_MAX) as u8, part.to_vec())
            });
            Need::all(tests.collect())
        })
    }
}

/// Up to the first token whose length or bytes are not certain. Jumps that stand side by
/// side are one to the engine, and it counts the bytes of one with 16 bits.
fn hex_head<'a>(tokens: impl Iterator<Item = &'a HexToken>) -> Vec<(u8, u8)> {
    let mut pairs = Vec::new();
    let mut tokens = tokens.peekable();
    while let Some(token) = tokens.next() {
        match token {
            HexToken::Byte(byte) => pairs.push((byte.value, byte.mask)),
            HexToken::NotByte(_) => pairs.push((0, 0)),
            HexToken::Jump(jump) if jump.end.is_some() && jump.start == jump.end => {
                let n = jump.end.unwrap_or(0);
                if n > KEPT_BYTES as u32 || matches!(tokens.peek(), Some(HexToken::Jump(_))) {
                    break;
                }
                pairs.extend((0..n).map(|_| (0, 0)));
            }
            _ => break,
        }
        if pairs.len() >= KEPT_BYTES {
            pairs.truncate(KEPT_BYTES);
            break;
        }
    }
    pairs
}
