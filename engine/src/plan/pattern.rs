//! Patterns (`$a = …`) to what a sample must have for a match of one.

use regex_syntax::ast::{Assertion, AssertionKind, Ast, Literal, LiteralKind};
use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Dot, Hir, HirKind, Repetition};
use yara_x_parser::ast::{
    HexSubPattern, HexToken, Pattern, PatternModifier, PatternModifiers, Regexp, TextPattern,
};

use super::encoded;
use super::factor::{run_of, Factors, Part, RUN_BYTES_MAX};
use super::need::Need;
use super::Note;

/// One pattern of a rule.
pub struct Planned {
    pub need: Need,
    pub note: Note,
    /// No match is longer than `RUN_BYTES_MAX`.
    pub local: bool,
}

impl Planned {
    fn unknown(note: Note) -> Self {
        Self {
            need: Need::True,
            note,
            local: false,
        }
    }

    fn new(need: Need, longest: Option<usize>, why_not: Note) -> Self {
        match need {
            // A pattern that cannot match: rare enough to be looked for.
            Need::Never => Self::unknown(Note::Unclear),
            Need::True => Self::unknown(why_not),
            need => Self {
                need,
                note: Note::None,
                local: longest.is_some_and(|n| n <= RUN_BYTES_MAX),
            },
        }
    }
}

pub fn plan(pattern: &Pattern) -> Planned {
    match pattern {
        Pattern::Text(text) => plan_text(text),
        Pattern::Hex(hex) => match hex_hir(&hex.sub_patterns, 0) {
            Some(hir) => plan_parts((true, false), false, Note::Short, &|factors| {
                Some(hir_part(&hir, factors))
            }),
            None => Planned::unknown(Note::Unclear),
        },
        Pattern::Regexp(regexp) => plan_regexp(&regexp.regexp, &regexp.modifiers),
    }
}

// ---- Text ----

/// Runs of the keys of `xor` are cut to this: 256 long ones would only cost.
const XOR_RUN_BYTES_MAX: usize = 32;

pub fn widen(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().flat_map(|b| [*b, 0]).collect()
}

fn plan_text(pattern: &TextPattern) -> Planned {
    let modifiers = &pattern.modifiers;
    let text = pattern.text.value.as_ref();
    let (ascii, wide) = encodings(modifiers);
    let mut variants: Vec<Vec<u8>> = Vec::new();
    if ascii {
        variants.push(text.to_vec());
    }
    if wide {
        variants.push(widen(text));
    }
    let longest = variants.iter().map(Vec::len).max().unwrap_or(0);
    let runs = |nocase: bool| -> Need {
        Need::any(
            variants
                .iter()
                .map(|bytes| run_of(bytes, nocase).map_or(Need::True, Need::Run))
                .collect(),
        )
    };
    if let Some(PatternModifier::Xor { start, end, .. }) = modifiers.xor() {
        let mut needs = Vec::new();
        for bytes in &variants {
            let bytes = &bytes[..bytes.len().min(XOR_RUN_BYTES_MAX)];
            for key in *start..=*end {
                let coded: Vec<u8> = bytes.iter().map(|b| b ^ key).collect();
                needs.push(run_of(&coded, false).map_or(Need::True, Need::Run));
            }
        }
        return Planned::new(Need::any(needs), Some(longest), Note::Short);
    }
    if modifiers.base64().is_none() && modifiers.base64wide().is_none() {
        return Planned::new(
            runs(modifiers.nocase().is_some()),
            Some(longest),
            Note::Short,
        );
    }
    let mut needs = Vec::new();
    for modifier in modifiers.iter() {
        let (alphabet, wide) = match modifier {
            PatternModifier::Base64 { alphabet, .. } => (alphabet, false),
            PatternModifier::Base64Wide { alphabet, .. } => (alphabet, true),
            _ => continue,
        };
        let alphabet = alphabet
            .as_ref()
            .map(|literal| literal.value.as_ref().to_vec());
        for bytes in &variants {
            match encoded::base64(bytes, alphabet.as_deref(), wide) {
                Some(need) => needs.push(need),
                None => return Planned::unknown(Note::Unclear),
            }
        }
    }
    let coded = longest.saturating_add(4).saturating_mul(3);
    Planned::new(Need::any(needs), Some(coded), Note::Short)
}

/// Whether the pattern is looked for as it stands, and with zeros in between.
fn encodings(modifiers: &PatternModifiers) -> (bool, bool) {
    let wide = modifiers.wide().is_some();
    (!wide || modifiers.ascii().is_some(), wide)
}

// ---- Hex and regular expressions ----

/// Classes of up to so many bytes are written out: few, unless that leaves
/// little to look for.
const CLASS_LADDER: [usize; 2] = [4, 16];
const BITS_GOOD: f64 = 64.0;

/// Plan by the parts of a pattern, in each encoding that is looked for.
fn plan_parts(
    (ascii, wide): (bool, bool),
    nocase: bool,
    why_not: Note,
    part_of: &dyn Fn(&Factors) -> Option<Part>,
) -> Planned {
    let (mut needs, mut longest) = (Vec::new(), Some(0usize));
    for wide in [(ascii, false), (wide, true)]
        .into_iter()
        .filter_map(|(wanted, wide)| wanted.then_some(wide))
    {
        let mut best: Option<(Need, f64)> = None;
        for class_max in CLASS_LADDER {
            let factors = Factors {
                class_max,
                wide,
                nocase,
            };
            let Some(part) = part_of(&factors) else {
                return Planned::unknown(Note::Unclear);
            };
            let max = part
                .max
                .and_then(|n| n.checked_mul(if wide { 2 } else { 1 }));
            longest = longest.and_then(|most| Some(most.max(max?)));
            let need = part.need(&factors);
            let bits = need.bits();
            if best.as_ref().is_none_or(|(_, most)| bits > *most) {
                best = Some((need, bits));
            }
            if bits >= BITS_GOOD {
                break;
            }
        }
        needs.extend(best.map(|(need, _)| need));
    }
    Planned::new(Need::any(needs), longest, why_not)
}

/// Alternatives in alternatives; rules go a few deep.
const HEX_DEPTH_MAX: usize = 64;

/// The pattern as the engine reads it (yara-x, compiler/ir/hex2hir.rs): what becomes one
/// class, and so what it matches, is decided by regex-syntax.
fn hex_hir(tokens: &HexSubPattern, depth: usize) -> Option<Hir> {
    if depth > HEX_DEPTH_MAX {
        return None;
    }
    let mut parts = Vec::with_capacity(tokens.len());
    for token in tokens.iter() {
        parts.push(match token {
            HexToken::Byte(byte) if byte.mask == 0xff => Hir::literal([byte.value]),
            HexToken::Byte(byte) => Hir::class(masked(byte.value, byte.mask)),
            HexToken::NotByte(byte) => {
                let mut class = masked(byte.value, byte.mask);
                class.negate();
                Hir::class(class)
            }
            HexToken::Jump(jump) => Hir::repetition(Repetition {
                min: jump.start.unwrap_or(0),
                max: jump.end,
                greedy: false,
                sub: Box::new(Hir::dot(Dot::AnyByte)),
            }),
            HexToken::Alternative(alternative) => Hir::alternation(
                alternative
                    .alternatives
                    .iter()
                    .map(|tokens| hex_hir(tokens, depth + 1))
                    .collect::<Option<_>>()?,
            ),
        });
    }
    Some(Hir::concat(parts))
}

fn masked(value: u8, mask: u8) -> Class {
    let bytes = (0..=255u8).filter(|b| b & mask == value & mask);
    Class::Bytes(ClassBytes::new(bytes.map(|b| ClassBytesRange::new(b, b))))
}

fn plan_regexp(regexp: &Regexp, modifiers: &PatternModifiers) -> Planned {
    let nocase = modifiers.nocase().is_some() || regexp.case_insensitive;
    match regexp_hir(regexp, nocase) {
        // The engine takes the flag for all of it, also where `(?-i)` says otherwise.
        Some(hir) => plan_parts(encodings(modifiers), nocase, Note::NoText, &|factors| {
            Some(hir_part(&hir, factors))
        }),
        None => Planned::unknown(Note::NoText),
    }
}

/// The regular expression as the engine reads it (yara-x, re/parser.rs).
pub fn regexp_hir(regexp: &Regexp, nocase: bool) -> Option<Hir> {
    let mut ast = regex_syntax::ast::parse::ParserBuilder::new()
        .empty_min_range(true)
        .build()
        .parse(regexp.src)
        .ok()?;
    angles_are_literal(&mut ast);
    regex_syntax::hir::translate::TranslatorBuilder::new()
        .case_insensitive(nocase)
        .dot_matches_new_line(regexp.dot_matches_new_line)
        .unicode(false)
        .utf8(false)
        .build()
        .translate(regexp.src, &ast)
        .ok()
}

/// `\<` and `\>` are word boundaries to regex-syntax, and characters to YARA.
fn angles_are_literal(ast: &mut Ast) {
    match ast {
        Ast::Assertion(assertion) => {
            let Assertion { span, ref kind } = **assertion;
            let c = match kind {
                AssertionKind::WordBoundaryStartAngle => '<',
                AssertionKind::WordBoundaryEndAngle => '>',
                _ => return,
            };
            *ast = Ast::literal(Literal {
                span,
                kind: LiteralKind::Verbatim,
                c,
            });
        }
        Ast::Repetition(repetition) => angles_are_literal(&mut repetition.ast),
        Ast::Group(group) => angles_are_literal(&mut group.ast),
        Ast::Alternation(alternation) => alternation.asts.iter_mut().for_each(angles_are_literal),
        Ast::Concat(concat) => concat.asts.iter_mut().for_each(angles_are_literal),
        _ => {}
    }
}

pub fn hir_part(hir: &Hir, factors: &Factors) -> Part {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Part::nothing(),
        HirKind::Literal(literal) => Part::literal(&literal.0),
        HirKind::Class(Class::Bytes(class)) => {
            factors.class(class.iter().map(|range| (range.start(), range.end())))
        }
        HirKind::Class(Class::Unicode(class)) => {
            let chars = class.iter().map(|range| range.len()).sum::<usize>();
            if chars > factors.class_max * 2 {
                return Part::gap(Some(4));
            }
            let mut parts = vec![factors.class(
                class
                    .iter()
                    .flat_map(|range| range.start()..=range.end())
                    .filter(char::is_ascii)
                    .map(|c| (c as u8, c as u8)),
            )];
            parts.extend(
                class
                    .iter()
                    .flat_map(|range| range.start()..=range.end())
                    .filter(|c| !c.is_ascii())
                    .map(|c| Part::literal(c.encode_utf8(&mut [0; 4]).as_bytes())),
            );
            Part::alternatives(parts, factors)
        }
        HirKind::Repetition(repetition) => {
            hir_part(&repetition.sub, factors).repeated(repetition.min, repetition.max, factors)
        }
        HirKind::Capture(capture) => hir_part(&capture.sub, factors),
        HirKind::Concat(parts) => parts.iter().fold(Part::nothing(), |part, next| {
            part.concat(hir_part(next, factors), factors)
        }),
        HirKind::Alternation(parts) => Part::alternatives(
            parts.iter().map(|part| hir_part(part, factors)).collect(),
            factors,
        ),
    }
}
