//! Rules that the engine would drop without a word.
//!
//! yara-x-parser gives up on a rule whose syntax tree is deeper than 3,000
//! nodes: no error, the rule is just not there (ast/cst2ast.rs,
//! `MaxDepthReached`). The compiler does not tell how many rules it took, so a
//! source that could be that deep is parsed once more here, and the rules the
//! parser saw are compared with those of the tree it built.
//!
//! The parser recurses without any limit of its own, so such sources are also
//! parsed and compiled on a thread with a large stack.

use std::cell::RefCell;

use yara_x_parser::ast::{Item, WithSpan, AST};
use yara_x_parser::cst::{CSTStream, Event, SyntaxKind};
use yara_x_parser::Parser;

use crate::ffi::{caught, fail, Answer, Code};

/// So few tokens that can open a level cannot reach 3,000 nodes: each adds at
/// most `NODES_PER_OPENER` (a call, `f(`, has the most), above a dozen around
/// the whole condition. Both are measured by the test below.
const OPENERS_HARMLESS: usize = 450;
#[cfg(test)]
const NODES_PER_OPENER: usize = 6;

/// Stack for a source that may be deep. 10,000 levels need about 40 MB (measured
/// for each kind of token); only the pages that are touched cost memory.
const STACK_BYTES: usize = 256 << 20;

/// Whether the source has so many tokens that open a level that one of its
/// rules may be too deep. Counts more than there are (strings, comments).
pub fn may_be_deep(source: &str) -> bool {
    let bytes = source.as_bytes();
    let mut openers = 0;
    for (i, b) in bytes.iter().enumerate() {
        openers += match b {
            b'(' | b'[' | b'{' | b'-' | b'~' => 1,
            b'n' if bytes[i..].starts_with(b"not") => 1,
            b'd' if bytes[i..].starts_with(b"defined") => 1,
            _ => 0,
        };
        if openers > OPENERS_HARMLESS {
            return true;
        }
    }
    false
}

/// Byte offset of the first rule that the parser saw but its tree has not.
/// Only for sources without errors: those have fewer rules for good reasons.
pub fn dropped_rule(source: &str) -> Option<usize> {
    let seen = RefCell::new(Vec::new());
    let events = Parser::new(source.as_bytes()).inspect(|event| {
        if let Event::Begin {
            kind: SyntaxKind::RULE_DECL,
            span,
        } = event
        {
            seen.borrow_mut().push(span.range());
        }
    });
    let tree = AST::from(CSTStream::new(source.as_bytes(), events));
    let mut kept = tree.items().filter_map(|item| match item {
        Item::Rule(rule) => Some(rule.identifier.span().start()),
        _ => None,
    });
    let mut next = kept.next();
    for range in seen.borrow().iter() {
        match next {
            Some(at) if range.contains(&at) => next = kept.next(),
            _ => return Some(range.start),
        }
    }
    None
}

/// Line and column (in characters) of a byte offset, both from 1.
pub fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = &source[..offset];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

struct Lent<T>(T);
// SAFETY: used only by on_large_stack, whose caller waits for the thread that
// borrows the value; nothing is ever used by two threads at the same time.
unsafe impl<T> Send for Lent<T> {}

impl<T> Lent<T> {
    fn take(self) -> T {
        self.0
    }
}

/// Run `f` on a thread with a large stack and wait for it. A panic in it is a
/// failure as everywhere. Where no such thread can be had, `f` runs on this
/// stack: at worst the process dies of a source that needs more.
pub fn on_large_stack<T>(f: impl FnOnce() -> Answer<T>) -> Answer<T> {
    let mut work = Some(f);
    let mut answer = None;
    let lent = Lent((&mut work, &mut answer));
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK_BYTES);
        let _ = builder.spawn_scoped(scope, move || {
            let (work, answer) = lent.take();
            *answer = work.take().map(caught);
        });
    });
    match (answer, work) {
        (Some(answer), _) => answer,
        (None, Some(f)) => f(),
        (None, None) => fail(Code::Panic, "panic in the engine"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(open: &str, close: &str, n: usize) -> String {
        format!(
            "rule a {{ condition: true }}\nrule b {{ condition: {}1 == 1{} }}\n  rule c {{ condition: true }}",
            open.repeat(n),
            close.repeat(n)
        )
    }

    #[test]
    fn a_deep_rule_is_found() {
        let source = nested("(", ")", 4000);
        let at = on_large_stack(|| Ok(dropped_rule(&source)))
            .unwrap()
            .unwrap();
        assert_eq!(position(&source, at), (2, 1));
    }

    #[test]
    fn nothing_is_found_in_shallow_rules() {
        assert_eq!(dropped_rule(&nested("(", ")", 20)), None);
        assert_eq!(
            dropped_rule("import \"pe\" // rule x { condition: true }"),
            None
        );
        assert_eq!(dropped_rule(""), None);
    }

    fn tree_depth(source: &str) -> usize {
        let (mut depth, mut most) = (0usize, 0);
        for event in CSTStream::new(source.as_bytes(), Parser::new(source.as_bytes())) {
            match event {
                Event::Begin { .. } => depth += 1,
                Event::End { .. } => depth -= 1,
                Event::Error { message, .. } => panic!("{message} in {source}"),
                Event::Token { .. } => (),
            }
            most = most.max(depth);
        }
        most
    }

    #[test]
    fn no_token_opens_more_levels_than_counted_on() {
        for (open, close, leaf) in [
            ("(", ")", "1 == 1"),
            ("not ", "", "true"),
            ("defined ", "", "true"),
            ("-", "", "1"),
            ("~", "", "1"),
            ("not (", ")", "true"),
            ("-(", ")", "1"),
            ("(true or ", ")", "true"),
            ("f(", ")", "1"),
            ("f[", "]", "1"),
            ("f[f(-", ")]", "1"),
            ("any of (true, ", ")", "true"),
            ("for any i in (1..2) : (", ")", "true"),
            ("with a = 1 : (", ")", "true"),
            ("@a[", "]", "1"),
            ("#a in (0..", ")", "1"),
        ] {
            let source = |n: usize| {
                let (open, close) = (open.repeat(n), close.repeat(n));
                format!("rule r {{ strings: $a = \"abc\" condition: {open}{leaf}{close} }}")
            };
            // Calls in calls take time that grows with a power: few will do.
            let (few, more) = (tree_depth(&source(3)), tree_depth(&source(5)));
            let openers = open.matches(['(', '[', '-', '~']).count()
                + open.matches("not").count()
                + open.matches("defined").count();
            assert!(
                more - few <= 2 * openers * NODES_PER_OPENER,
                "{open}: {few} to {more}"
            );
            assert!(few <= 3 * openers * NODES_PER_OPENER + 12, "{open}: {few}");
        }
        assert!(OPENERS_HARMLESS * NODES_PER_OPENER + 12 < 3000);
    }

    #[test]
    fn the_count_of_openers_decides() {
        assert!(!may_be_deep(&"(".repeat(OPENERS_HARMLESS)));
        assert!(may_be_deep(&"(".repeat(OPENERS_HARMLESS + 1)));
        assert!(may_be_deep(
            &"not defined ~-[{".repeat(OPENERS_HARMLESS / 6 + 1)
        ));
    }

    #[test]
    fn positions_count_characters() {
        assert_eq!(position("é\nüx", 5), (2, 2));
        assert_eq!(position("abc", 0), (1, 1));
    }

    #[test]
    fn a_panic_on_the_other_thread_is_a_failure() {
        let failure = on_large_stack::<()>(|| panic!("over there")).unwrap_err();
        assert_eq!(failure.code, Code::Panic);
        assert!(failure.text.contains("over there"));
    }
}
