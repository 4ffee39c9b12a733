//! Features: hashes of what conditions ask of a sample beside its bytes, such as an
//! import, the name of a section, a signer. Kept for each sample and asked for by plans.

mod extract;
pub mod table;

pub use extract::extract;

/// Of what is extracted: features are asked for only where they are of this version.
pub const VERSION: u32 = 2;

const SEED: u64 = 0x7765_6972_6665_6174;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of a kind and a value. Part of the format: stored with samples.
pub fn hash(kind: &str, value: &[u8]) -> u64 {
    let hash = hash_of(kind, value);
    #[cfg(test)]
    names::note(hash, kind, value);
    hash
}

fn hash_of(kind: &str, value: &[u8]) -> u64 {
    let mut state = SEED;
    for part in [kind.as_bytes(), value] {
        state = mix(state ^ part.len() as u64);
        for word in part.chunks(8) {
            let word = word.iter().rev().fold(0u64, |w, b| w << 8 | u64::from(*b));
            state = mix(state ^ word);
        }
    }
    state ^ state >> 29
}

fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(MULTIPLIER);
    (word ^ word >> 32).wrapping_mul(MULTIPLIER).rotate_left(23)
}

pub fn number(kind: &str, value: i64) -> u64 {
    hash(kind, &value.to_le_bytes())
}

/// A text in any case of A-Z.
pub fn text(kind: &str, value: &[u8]) -> u64 {
    hash(kind, &value.to_ascii_lowercase())
}

pub const GRAM_BYTES: usize = 4;

/// Every four bytes of a text, folded.
pub fn grams<'a>(kind: &str, value: &'a [u8]) -> impl Iterator<Item = u64> + 'a {
    let kind = format!("{kind}~");
    value.windows(GRAM_BYTES).map(move |gram| text(&kind, gram))
}

/// Four bytes that stand `at` bytes after a place.
pub fn placed(place: &str, at: usize, bytes: &[u8]) -> u64 {
    hash(&format!("{place}+{at}"), bytes)
}

/// The value of one key of a map.
pub fn keyed(map: &str, key: &[u8]) -> String {
    format!(
        "{map}{}",
        String::from_utf8_lossy(&key.to_ascii_lowercase())
    )
}

/// What a call with a library and a function asks for.
pub fn pair(library: &[u8], function: &[u8]) -> Vec<u8> {
    [library, b"\0", function].concat()
}

/// What hashes were made of, for tests that print them.
#[cfg(test)]
pub mod names {
    use std::collections::HashMap;
    use std::sync::Mutex;

    type Named = HashMap<u64, (String, Vec<u8>)>;

    static KEPT: Mutex<Option<Named>> = Mutex::new(None);

    /// From now on.
    pub fn keep() {
        *KEPT.lock().unwrap() = Some(HashMap::new());
    }

    pub fn note(hash: u64, kind: &str, value: &[u8]) {
        if let Some(kept) = KEPT.lock().unwrap().as_mut() {
            kept.entry(hash)
                .or_insert_with(|| (kind.to_string(), value.to_vec()));
        }
    }

    pub fn of(hash: u64) -> Option<(String, Vec<u8>)> {
        KEPT.lock().unwrap().as_ref()?.get(&hash).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_stay_what_they_are() {
        // Stored ones are compared with these in later versions.
        assert_eq!(hash("", b""), 6_558_626_856_749_658_353);
        assert_eq!(
            text("pe.sections[].name", b".TEXT"),
            10_177_940_290_698_683_721
        );
    }

    #[test]
    fn kind_and_value_are_apart() {
        assert_ne!(hash("a", b"bc"), hash("ab", b"c"));
        assert_ne!(hash("a", b"\0"), hash("a", b""));
        assert_ne!(number("a", 0), number("a", 1));
        assert_eq!(text("k", b"aBc"), text("k", b"AbC"));
    }

    #[test]
    fn every_row_of_the_table_is_a_field() {
        extract::check_table();
    }
}
