//! As much JSON as the messages and the metadata need.

use std::fmt::Write;

/// Append `s` as a JSON string.
pub fn string(out: &mut String, s: &str) {
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Append `"key":"value"`, after a comma where one is due.
pub fn member(out: &mut String, key: &str, value: &str) {
    if !out.ends_with('{') {
        out.push(',');
    }
    string(out, key);
    out.push(':');
    string(out, value);
}

/// Append `"key":number`.
pub fn member_number(out: &mut String, key: &str, value: usize) {
    if !out.ends_with('{') {
        out.push(',');
    }
    string(out, key);
    let _ = write!(out, ":{value}");
}

/// Append a float; JSON has no infinity and no NaN.
pub fn float(out: &mut String, f: f64) {
    if f.is_finite() {
        let _ = write!(out, "{f:?}");
    } else {
        out.push_str("null");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn strings_are_escaped() {
        let mut out = String::from("{");
        super::member(&mut out, "a", "q\" b\\ n\n t\t z\0 é");
        super::member_number(&mut out, "b", 7);
        assert_eq!(out, "{\"a\":\"q\\\" b\\\\ n\\n t\\t z\\u0000 é\",\"b\":7");
    }

    #[test]
    fn floats_are_json() {
        let mut out = String::new();
        for f in [1.0, -0.5, 1e300, f64::INFINITY] {
            super::float(&mut out, f);
            out.push(' ');
        }
        assert_eq!(out, "1.0 -0.5 1e300 null ");
    }
}
