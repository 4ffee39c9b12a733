//! Texts that are looked for inside base64.

use super::factor::run_of;
use super::need::Need;
use super::pattern::widen;

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Characters of a piece of wide base64; one begins with each.
const PIECE_CHARS: usize = 4;

/// What a sample has that holds `text` in base64, at any of the three places it can
/// have in a group. Nothing: the alphabet is none.
///
/// Characters that depend on what stands around the text are left out.
pub fn base64(text: &[u8], alphabet: Option<&[u8]>, wide: bool) -> Option<Need> {
    let alphabet = alphabet.unwrap_or(STANDARD);
    if alphabet.len() != 64 || text.len() < 2 {
        return None;
    }
    let mut needs = Vec::new();
    for padding in 0..3 {
        let chars = sure_chars(text, padding, alphabet);
        needs.push(if wide {
            wide_need(&chars, slack(text.len(), padding))
        } else {
            run_need(&chars)
        });
    }
    Some(Need::any(needs))
}

/// The characters that `text` alone decides when `padding` bytes stand before it
/// in its first group of three.
fn sure_chars(text: &[u8], padding: usize, alphabet: &[u8]) -> Vec<u8> {
    let bit = |at: usize| -> Option<u8> {
        let at = at.checked_sub(padding * 8)?;
        Some(text.get(at / 8)? >> (7 - at % 8) & 1)
    };
    let chars = ((padding + text.len()) * 8).div_ceil(6);
    (0..chars)
        .filter_map(|i| {
            (i * 6..i * 6 + 6)
                .try_fold(0u8, |value, at| Some(value << 1 | bit(at)?))
                .map(|value| alphabet[usize::from(value)])
        })
        .collect()
}

fn run_need(bytes: &[u8]) -> Need {
    run_of(bytes, false).map_or(Need::True, Need::Run)
}

/// Characters that the engine decodes beyond those it needs.
///
/// It drops '=' wherever it stands in what it decodes of wide base64 (yara-x 1.22.1,
/// scanner/context.rs `verify_base64`), so up to this many may stand inside a match.
fn slack(text_len: usize, padding: usize) -> usize {
    let len = (text_len * 8).div_ceil(6);
    let decoded = match (padding, len % 4) {
        (0, 0) => len,
        (0 | 1 | 2, 2) => len + 2,
        (0 | 1, 3) => len + 1,
        (1 | 2, 0) => len + 4,
        _ => len + 5,
    };
    decoded.saturating_sub(((padding + text_len) * 8).div_ceil(6))
}

/// Wide characters with up to `slack` others among them: each spoils the pieces that it
/// stands in.
fn wide_need(chars: &[u8], slack: usize) -> Need {
    // The zero after the last character is not asked for at the end of a sample.
    let wide = widen(chars);
    let wide = &wide[..wide.len().saturating_sub(1)];
    if slack == 0 {
        return run_need(wide);
    }
    let count = (chars.len() + 1).saturating_sub(PIECE_CHARS);
    let pieces: Vec<Need> = (0..count)
        .map(|i| &wide[2 * i..wide.len().min(2 * (i + PIECE_CHARS))])
        .map(run_need)
        .collect();
    Need::at_least(count.saturating_sub((PIECE_CHARS - 1) * slack), pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_left_out() {
        let chars = |text: &str, padding| {
            String::from_utf8(sure_chars(text.as_bytes(), padding, STANDARD)).unwrap()
        };
        assert_eq!(chars("ipsum", 0), "aXBzdW");
        assert_eq!(chars("ipsum", 1), "lwc3Vt");
        assert_eq!(chars("ipsum", 2), "pcHN1b");
        assert_eq!(chars("foobar", 0), "Zm9vYmFy");
        assert_eq!(chars("foobar", 1), "Zvb2Jhc");
        assert_eq!(chars("foobar", 2), "mb29iYX");
    }

    #[test]
    fn what_stands_between_spoils_three_pieces() {
        let chars = b"abcdefgh";
        let Need::AtLeast(2, pieces) = wide_need(chars, 1) else {
            panic!("{:?}", wide_need(chars, 1));
        };
        for at in 0..=chars.len() {
            let mut with = chars.to_vec();
            with.insert(at, b'=');
            let with = widen(&with);
            let with = &with[..with.len() - 1];
            let there = pieces.iter().filter(|piece| match piece {
                Need::Run(run) => with.windows(run.bytes.len()).any(|w| w == run.bytes),
                _ => panic!("{piece:?}"),
            });
            assert!(there.count() >= 2, "{at}");
        }
        assert_eq!(wide_need(b"abcdef", 1), Need::True);
    }

    #[test]
    fn an_alphabet_has_64_characters() {
        assert!(base64(b"foobar", Some(b"abc"), false).is_none());
    }
}
