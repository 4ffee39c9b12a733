//! Some of a source's rules, as a source of their own.
//!
//! The engine evaluates all rules of a set over all bytes, so rules that ask for few
//! samples and rules that ask for many are scanned apart. What a rule needs to match as
//! it does among all others stays with it: the rules its condition names, what those
//! name in turn, the global ones, and the imports of the modules in their conditions.
//! Everything else becomes blanks, so that lines stay where they are.
//!
//! What a condition names is decided by its words: an identifier that is a rule's name
//! counts as that rule, whatever it is there (a loop variable, a field). Too much only
//! costs time.

use std::collections::{HashMap, HashSet};
use std::ffi::c_char;
use std::ops::Range;

use yara_x_parser::cst::{Event, SyntaxKind};
use yara_x_parser::Parser;

use crate::depth;
use crate::ffi::{self, fail, Answer, Buffer, Code};

/// Modules that go through the sample, whether a condition gets to them or not.
const PARSERS: [&str; 6] = ["pe", "elf", "dotnet", "lnk", "macho", "magic"];

struct Rule<'a> {
    range: Range<usize>,
    name: &'a str,
    global: bool,
    words: HashSet<&'a str>,
}

struct Import<'a> {
    range: Range<usize>,
    /// None: spelled with escapes.
    module: Option<&'a str>,
}

/// The rules and imports of a source, by its tokens.
#[derive(Default)]
pub struct Outline<'a> {
    rules: Vec<Rule<'a>>,
    imports: Vec<Import<'a>>,
}

impl<'a> Outline<'a> {
    pub fn of(text: &'a str) -> Answer<Self> {
        let mut outline = Self::default();
        let (mut in_rule, mut in_import, mut in_condition) = (false, false, false);
        for event in Parser::new(text.as_bytes()) {
            match event {
                Event::Begin { kind, span } => match kind {
                    SyntaxKind::RULE_DECL => {
                        in_rule = true;
                        outline.rules.push(Rule {
                            range: span.range(),
                            name: "",
                            global: false,
                            words: HashSet::new(),
                        });
                    }
                    SyntaxKind::IMPORT_STMT => {
                        in_import = true;
                        let range = span.range();
                        outline.imports.push(Import {
                            range,
                            module: None,
                        });
                    }
                    SyntaxKind::INCLUDE_STMT => {
                        return fail(Code::Compile, "includes are not accepted")
                    }
                    SyntaxKind::CONDITION_BLK => in_condition = true,
                    _ => (),
                },
                Event::End { kind, .. } => match kind {
                    SyntaxKind::RULE_DECL => in_rule = false,
                    SyntaxKind::IMPORT_STMT => in_import = false,
                    SyntaxKind::CONDITION_BLK => in_condition = false,
                    _ => (),
                },
                Event::Token { kind, span } => {
                    let word = &text[span.range()];
                    match (kind, outline.rules.last_mut(), outline.imports.last_mut()) {
                        (SyntaxKind::STRING_LIT, _, Some(import)) if in_import => {
                            import.module = plain(word);
                        }
                        (SyntaxKind::GLOBAL_KW, Some(rule), _) if in_rule => rule.global = true,
                        (SyntaxKind::IDENT, Some(rule), _) if in_rule => {
                            if rule.name.is_empty() {
                                rule.name = word;
                            } else if in_condition {
                                rule.words.insert(word);
                            }
                        }
                        _ => (),
                    }
                }
                Event::Error { message, .. } => {
                    return fail(Code::Compile, format!("syntax error: {message}"))
                }
            }
        }
        Ok(outline)
    }

    fn by_name(&self) -> HashMap<&str, usize> {
        let rules = self.rules.iter().enumerate();
        rules.map(|(i, rule)| (rule.name, i)).collect()
    }

    /// By rule: is it one of these, or do they need it?
    fn needed(&self, wanted: impl Iterator<Item = usize>) -> Vec<bool> {
        let by_name = self.by_name();
        let mut needed = vec![false; self.rules.len()];
        let globals = (0..self.rules.len()).filter(|i| self.rules[*i].global);
        let mut todo: Vec<usize> = wanted.chain(globals).collect();
        while let Some(i) = todo.pop() {
            if std::mem::replace(&mut needed[i], true) {
                continue;
            }
            let words = self.rules[i].words.iter();
            todo.extend(words.filter_map(|word| by_name.get(word)));
        }
        needed
    }

    /// By rule: does it need a module that goes through the sample?
    pub fn parsing(&self) -> Vec<bool> {
        let by_name = self.by_name();
        let asks = |rule: &Rule| PARSERS.iter().any(|module| rule.words.contains(module));
        let mut parsing: Vec<bool> = self.rules.iter().map(asks).collect();
        // Rules name earlier ones: once is enough, but for words that are no such names.
        loop {
            let mut more = false;
            for (i, rule) in self.rules.iter().enumerate() {
                let mut named = rule.words.iter().filter_map(|word| by_name.get(word));
                if !parsing[i] && named.any(|other| parsing[*other]) {
                    parsing[i] = true;
                    more = true;
                }
            }
            if !more {
                break;
            }
        }
        let mut rules = self.rules.iter().zip(&parsing);
        if rules.any(|(rule, parses)| rule.global && *parses) {
            parsing.fill(true);
        }
        parsing
    }

    fn names(&self, needed: &[bool], word: &str) -> bool {
        let mut rules = self.rules.iter().zip(needed);
        rules.any(|(rule, needed)| *needed && rule.words.contains(word))
    }

    /// The text with all else blank.
    fn cut(&self, text: &str, needed: &[bool]) -> Vec<u8> {
        let mut out = text.as_bytes().to_vec();
        let rules = self.rules.iter().zip(needed);
        let rules = rules.filter(|(_, needed)| !**needed).map(|(r, _)| &r.range);
        let unused = |import: &&Import| import.module.is_some_and(|m| !self.names(needed, m));
        let imports = self.imports.iter().filter(unused).map(|i| &i.range);
        for range in rules.chain(imports) {
            for b in &mut out[range.clone()] {
                if *b != b'\n' {
                    *b = b' ';
                }
            }
        }
        out
    }
}

/// What stands between the quotes, where it is that simple.
fn plain(literal: &str) -> Option<&str> {
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    let simple = inner
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_');
    simple.then_some(inner)
}

pub fn part(source: &[u8], wanted: &[u32]) -> Answer<Vec<u8>> {
    let Ok(text) = std::str::from_utf8(source) else {
        return fail(Code::Compile, "the source is not UTF-8");
    };
    let run = || {
        let outline = Outline::of(text)?;
        if wanted.iter().any(|i| *i as usize >= outline.rules.len()) {
            return fail(Code::Invalid, "there is no such rule");
        }
        let needed = outline.needed(wanted.iter().map(|i| *i as usize));
        Ok(outline.cut(text, &needed))
    };
    if depth::may_be_deep(text) {
        depth::on_large_stack(run)
    } else {
        run()
    }
}

#[no_mangle]
pub unsafe extern "C" fn engine_part(
    source: *const c_char,
    source_len: usize,
    rules: *const u32,
    rule_count: usize,
    ret: *mut Buffer,
) -> Code {
    ffi::barrier(|| {
        ffi::check_place(ret)?;
        let wanted = ffi::bytes(rules.cast(), rule_count * 4)?;
        let wanted: Vec<u32> = wanted
            .chunks_exact(4)
            .map(|four| u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        ffi::give(
            ret,
            Buffer::new(part(ffi::bytes(source.cast(), source_len)?, &wanted)?),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(source: &str, wanted: &[u32]) -> String {
        String::from_utf8(part(source.as_bytes(), wanted).unwrap()).unwrap()
    }

    /// The names of the rules that are left, by compiling it.
    fn left(source: &str, wanted: &[u32]) -> String {
        let text = cut(source, wanted);
        assert_eq!(text.len(), source.len());
        assert_eq!(text.matches('\n').count(), source.matches('\n').count());
        let rules = yara_x::compile(text.as_str()).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let names: Vec<&str> = rules.iter().map(|rule| rule.identifier()).collect();
        names.join(" ")
    }

    #[test]
    fn a_rule_keeps_its_place() {
        let source = "rule a { condition: true }\n// é\nrule b {\n strings: $a = \"rule a { }\"\n condition: $a\n} rule c { condition: true }";
        assert_eq!(left(source, &[1]), "b");
        assert_eq!(
            cut(source, &[1]),
            format!(
                "{}\n// é\nrule b {{\n strings: $a = \"rule a {{ }}\"\n condition: $a\n}} {}",
                " ".repeat(26),
                " ".repeat(26)
            )
        );
        assert_eq!(cut(source, &[0, 1, 2]), source);
        assert_eq!(left(source, &[0, 2]), "a c");
        assert_eq!(left(source, &[]), "");
    }

    #[test]
    fn what_a_rule_needs_stays_with_it() {
        let source = r#"
            private rule base { strings: $a = "one" condition: $a }
            rule mid { condition: base and filesize > 3 }
            rule top : mid other { meta: base = "x" strings: $mid = "alone" condition: mid and $mid }
            rule alone : mid { meta: mid = "base" strings: $base = "alone" condition: $base }
            rule none_of { condition: not (mid) }
            rule every { condition: 1 of (mid, alone) }
            rule looped { condition: for any alone in (1..2) : (alone == 2) }"#;
        for (wanted, names) in [
            (0, "base"),
            (1, "base mid"),
            (2, "base mid top"),
            (3, "alone"),
            (4, "base mid none_of"),
            (5, "base mid alone every"),
            (6, "alone looped"),
        ] {
            assert_eq!(left(source, &[wanted]), names, "{wanted}");
        }
        assert_eq!(left(source, &[6, 0]), "base alone looped");
    }

    #[test]
    fn global_rules_stay_with_all() {
        let source = r#"
            rule before { condition: true }
            private rule helper { condition: filesize > 1 }
            global private rule first { condition: helper }
            global rule second { strings: $a = "x" condition: $a }
            rule after { condition: true }"#;
        assert_eq!(left(source, &[0]), "before helper first second");
        assert_eq!(left(source, &[4]), "helper first second after");
        assert_eq!(left(source, &[]), "helper first second");
    }

    #[test]
    fn modules_go_where_they_are_asked() {
        let source = r#"import "pe" import "math"
            import "\x70e"
            rule a { strings: $pe = "pe" condition: $pe }
            rule b { condition: pe.is_pe and math.abs(1) == 1 }
            rule c { condition: math.abs(filesize) == 1 }"#;
        assert!(cut(source, &[0])
            .trim_start()
            .starts_with("import \"\\x70e\"\n"));
        assert!(cut(source, &[1]).starts_with("import \"pe\" import \"math\"\n"));
        assert!(cut(source, &[2]).starts_with("            import \"math\"\n"));
        assert_eq!(Outline::of(source).unwrap().parsing(), [false, true, false]);
        let source =
            r#"import "pe" private rule p { condition: pe.is_pe } rule r { condition: p }"#;
        assert_eq!(left(source, &[1]), "p r");
        assert_eq!(Outline::of(source).unwrap().parsing(), [true, true]);
        let source =
            r#"import "elf" rule a { condition: true } global rule g { condition: elf.type == 1 }"#;
        assert_eq!(Outline::of(source).unwrap().parsing(), [true, true]);
    }

    #[test]
    fn what_is_no_source_is_refused() {
        let code = |source: &[u8], wanted: &[u32]| part(source, wanted).unwrap_err().code;
        assert_eq!(code(b"rule a { condition: }", &[0]), Code::Compile);
        assert_eq!(
            code(b"rule a { condition: true } \xff", &[0]),
            Code::Compile
        );
        assert_eq!(
            code(b"include \"x\" rule a { condition: true }", &[0]),
            Code::Compile
        );
        assert_eq!(code(b"rule a { condition: true }", &[1]), Code::Invalid);
    }

    #[test]
    fn deep_rules_are_read_on_a_large_stack() {
        let deep = format!(
            "rule a {{ condition: true }} rule b {{ condition: {}true{} }}",
            "(".repeat(2500),
            ")".repeat(2500)
        );
        assert_eq!(cut(&deep, &[0]).trim_end(), "rule a { condition: true }");
    }

    /// Rules by lot that name others, with some global and some private ones.
    fn by_lot(dice: &mut impl FnMut(usize) -> usize) -> String {
        let mut out = String::from("import \"math\"\n");
        let count = 2 + dice(7);
        for i in 0..count {
            let mut terms = vec![match dice(5) {
                0 => "$a".to_string(),
                1 => format!("filesize > {}", dice(12)),
                2 => "#a > 1 and $a".to_string(),
                3 => format!("math.abs({}) < filesize and $a", dice(9)),
                _ => format!("$a at {}", dice(3)),
            }];
            while i > 0 && dice(2) == 0 {
                let other = dice(i);
                terms.push(match dice(4) {
                    0 => format!("not r{other}"),
                    1 => format!("1 of (r{other}, r{})", dice(i)),
                    2 => format!("for any r{other} in (1..2) : (r{other} == 1)"),
                    _ => format!("r{other}"),
                });
            }
            let kind = ["", "", "", "private ", "global ", "private global "][dice(6)];
            let joined = terms.join([" and ", " or "][dice(2)]);
            let text = (0..1 + dice(2)).map(|_| char::from(b'a' + dice(3) as u8));
            let text: String = text.collect();
            out += &format!(
                "{kind}rule r{i} {{ meta: r0 = \"r1\" strings: $a = \"{text}\" condition: ({joined}) or ($a and false) }}\n"
            );
        }
        out
    }

    fn found(text: &str, samples: &[Vec<u8>]) -> Vec<Vec<String>> {
        let rules = yara_x::compile(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let mut scanner = yara_x::Scanner::new(&rules);
        let names = |sample: &Vec<u8>| {
            let results = scanner.scan(sample).unwrap();
            let mut names: Vec<String> = results
                .matching_rules()
                .map(|r| r.identifier().to_string())
                .collect();
            names.sort();
            names
        };
        samples.iter().map(names).collect()
    }

    #[test]
    fn rules_match_alone_what_they_match_among_all() {
        let mut state = 7u64;
        let mut dice = |n: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as usize % n
        };
        let mut matches = 0;
        for _ in 0..150 {
            let source = by_lot(&mut dice);
            let samples: Vec<Vec<u8>> = (0..12)
                .map(|_| (0..dice(9)).map(|_| b'a' + dice(3) as u8).collect())
                .collect();
            let whole = found(&source, &samples);
            let count = source.matches("rule r").count();
            for _ in 0..4 {
                let wanted: Vec<u32> = (0..count as u32).filter(|_| dice(3) == 0).collect();
                let part = found(&cut(&source, &wanted), &samples);
                for (all, some) in whole.iter().zip(&part) {
                    for i in &wanted {
                        let name = format!("r{i}");
                        assert_eq!(
                            all.contains(&name),
                            some.contains(&name),
                            "{name} of {wanted:?} in\n{source}"
                        );
                        matches += usize::from(all.contains(&name));
                    }
                }
            }
        }
        assert!(matches > 300, "{matches}");
    }
}
