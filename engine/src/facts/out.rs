//! A writer of JSON members that keeps every bound by itself.

use crate::json;

/// Entries of one list; VirusTotal's own limit in pe_info.
pub const LIST_MAX: usize = 256;
/// Bytes of one text.
pub const TEXT_MAX: usize = 1024;
/// Lists end here, however many entries are left …
const LISTS_END: usize = 640 << 10;
/// … so that the whole stays below: the deepest open lists and one entry of each.
pub const MEMBERS_MAX: usize = 1 << 20;

pub struct Out {
    text: String,
}

impl Out {
    pub fn new() -> Self {
        Self {
            text: String::new(),
        }
    }

    pub fn finish(self) -> String {
        debug_assert!(self.text.len() <= MEMBERS_MAX);
        self.text
    }

    fn comma(&mut self) {
        if !matches!(self.text.as_bytes().last(), None | Some(b'{' | b'[' | b':')) {
            self.text.push(',');
        }
    }

    fn key(&mut self, key: &str) {
        self.comma();
        json::string(&mut self.text, cut(key));
        self.text.push(':');
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.item(value);
    }

    /// Only if there is something to tell.
    pub fn text_if(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text(key, value);
        }
    }

    pub fn int(&mut self, key: &str, value: impl Into<i128>) {
        self.key(key);
        self.text.push_str(&value.into().to_string());
    }

    pub fn float(&mut self, key: &str, value: f64) {
        self.key(key);
        json::float(&mut self.text, value);
    }

    pub fn object(&mut self, key: &str, write: impl FnOnce(&mut Self)) {
        self.key(key);
        self.braces(write);
    }

    fn braces(&mut self, write: impl FnOnce(&mut Self)) {
        self.text.push('{');
        write(self);
        self.text.push('}');
    }

    /// A list, or nothing for one without entries.
    pub fn list<T>(
        &mut self,
        key: &str,
        entries: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        let mut entries = entries.into_iter().take(LIST_MAX).peekable();
        if entries.peek().is_none() {
            return;
        }
        self.key(key);
        self.text.push('[');
        for entry in entries {
            if self.text.len() > LISTS_END {
                break;
            }
            write(self, entry);
        }
        self.text.push(']');
    }

    /// An object whose keys come from the sample; of equal ones the first counts.
    pub fn map<T>(
        &mut self,
        key: &str,
        entries: impl IntoIterator<Item = (String, T)>,
        mut write: impl FnMut(&mut Self, &str, T),
    ) {
        let mut seen = Vec::new();
        for (name, value) in entries.into_iter().take(LIST_MAX) {
            let name = cut(&name).to_string();
            if !seen.iter().any(|(known, _)| *known == name) {
                seen.push((name, value));
            }
        }
        if seen.is_empty() {
            return;
        }
        self.object(key, |out| {
            for (name, value) in seen {
                if out.text.len() <= LISTS_END {
                    write(out, &name, value);
                }
            }
        });
    }

    /// Members of the object at hand whose names come from the sample: once each, and
    /// none that is taken.
    pub fn map_members<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (String, &'a String)>,
        taken: &[&str],
    ) {
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in entries.into_iter().take(LIST_MAX) {
            let name = cut(&name).to_string();
            let is_new = !taken.contains(&name.as_str()) && !seen.contains(&name);
            if is_new && !name.is_empty() && self.text.len() <= LISTS_END {
                self.text(&name, value);
                seen.push(name);
            }
        }
    }

    pub fn item(&mut self, value: &str) {
        self.comma();
        json::string(&mut self.text, cut(value));
    }

    pub fn item_object(&mut self, write: impl FnOnce(&mut Self)) {
        self.comma();
        self.braces(write);
    }
}

fn cut(text: &str) -> &str {
    if text.len() <= TEXT_MAX {
        return text;
    }
    let end = (0..=TEXT_MAX)
        .rfind(|i| text.is_char_boundary(*i))
        .unwrap_or(0);
    &text[..end]
}

/// Bytes that ought to be text, up to the first NUL.
pub fn lossy(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end.min(TEXT_MAX)]).into_owned()
}

/// UTF-16LE as resources have it.
pub fn lossy_utf16(bytes: &[u8]) -> String {
    let units = bytes
        .chunks_exact(2)
        .take(TEXT_MAX)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|unit| *unit != 0);
    char::decode_utf16(units)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_lists_and_objects() {
        let mut out = Out::new();
        out.text("a", "x{");
        out.object("b", |out| {
            out.int("c", 1);
            out.list("d", ["e", "["], |out, s| out.item(s));
            out.list("none", Vec::<&str>::new(), |out, s| out.item(s));
        });
        out.list("f", [1, 2], |out, i| out.item_object(|out| out.int("g", i)));
        assert_eq!(
            out.finish(),
            r#""a":"x{","b":{"c":1,"d":["e","["]},"f":[{"g":1},{"g":2}]"#
        );
    }

    #[test]
    fn everything_is_bounded() {
        let mut out = Out::new();
        let long = "\u{1}é".repeat(TEXT_MAX);
        for key in ["a", "b", "c", "d"] {
            out.list(key, 0..100_000, |out, _| {
                out.item_object(|out| out.list("inner", 0..100_000, |out, _| out.item(&long)));
            });
            out.map(key, (0..100_000).map(|i| (format!("{i}{long}"), i)), |out, k, _| {
                out.text(k, &long);
            });
        }
        assert!(out.finish().len() <= MEMBERS_MAX);
    }

    #[test]
    fn equal_keys_are_written_once() {
        let mut out = Out::new();
        out.map("m", [("a".into(), 1), ("a".into(), 2)], |out, k, v| out.int(k, v));
        assert_eq!(out.finish(), r#""m":{"a":1}"#);
    }
}
