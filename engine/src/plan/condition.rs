//! Conditions to what a sample must have for them to be true.
//!
//! `need(e)` holds for every sample for which e is true (for numbers and strings:
//! neither zero nor empty), and `defined(e)` for every one for which e is not
//! undefined. In the engine an undefined operand makes all of an expression undefined
//! up to the nearest `and`, `or`, `defined`, rule or turn of a loop, which take it for
//! false (yara-x, compiler/emit.rs `catch_undef`).

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::Rc;

use yara_x_parser::ast::{
    BinaryExpr, Expr, ForIn, ForOf, FuncCall, IdentWithRange, Iterable, MatchAnchor, Of, OfItems,
    PatternMatch, PatternSet, Quantifier, Range, With,
};

use super::compare;
use super::fields::{self, Path};
use super::need::Need;
use super::value::{self, DEPTH_MAX};
use super::Patterns;

/// Expressions looked at for one rule; bodies of loops count for each turn.
const STEPS_MAX: usize = 200_000;
const SCOPE_DEPTH_MAX: usize = 256;
/// Turns of a `for … in (…)` that are told apart.
const TURNS_MAX: usize = 256;
/// Operands of an `of` that are counted; of more, any one must hold.
const COUNTED_MAX: usize = 512;

/// What a name inside `for` or `with` stands for.
pub enum What<'a> {
    Unknown,
    Expr(&'a Expr<'a>),
    /// `$` in the body of `for … of`.
    Pattern(u32),
    /// An element of a list or map in `for … in`.
    Field(Path),
}

struct Frame<'a> {
    name: &'a str,
    what: What<'a>,
    /// Where the expression behind the name stands.
    at: Scope<'a>,
    outer: Scope<'a>,
    depth: usize,
}

/// Names that hide those of rules and modules, innermost first.
#[derive(Clone)]
pub struct Scope<'a>(Option<Rc<Frame<'a>>>);

impl<'a> Scope<'a> {
    pub fn outermost() -> Self {
        Scope(None)
    }

    pub fn find(&self, name: &str) -> Option<(&What<'a>, &Scope<'a>)> {
        let mut scope = self;
        while let Some(frame) = scope.0.as_deref() {
            if frame.name == name {
                return Some((&frame.what, &frame.at));
            }
            scope = &frame.outer;
        }
        None
    }

    /// Nothing: too many names.
    fn with(&self, name: &'a str, what: What<'a>, at: &Scope<'a>) -> Option<Scope<'a>> {
        let depth = self.0.as_ref().map_or(0, |frame| frame.depth) + 1;
        (depth <= SCOPE_DEPTH_MAX).then(|| {
            Scope(Some(Rc::new(Frame {
                name,
                what,
                at: at.clone(),
                outer: self.clone(),
                depth,
            })))
        })
    }
}

/// How many of n must hold; nothing where that may be none.
fn count_of<'a>(quantifier: &'a Quantifier<'a>, n: usize, scope: &Scope<'a>) -> Option<usize> {
    let k = match quantifier {
        Quantifier::None { .. } => return None,
        Quantifier::All { .. } => n,
        Quantifier::Any { .. } => 1,
        Quantifier::Percentage(expr) => {
            let percent = usize::try_from(value::integer(expr, scope, 0)?).ok()?;
            (n * percent.min(100)).div_ceil(100)
        }
        Quantifier::Expr(expr) => usize::try_from(value::integer(expr, scope, 0)?).ok()?,
    };
    (k > 0).then_some(k)
}

/// Whether it asks for one turn at least, whatever the number of turns.
fn asks_for_one<'a>(quantifier: &'a Quantifier<'a>, scope: &Scope<'a>) -> bool {
    // A loop without turns is false, also with `all` (emit_for_in_range and its kin).
    count_of(quantifier, 1, scope).is_some()
}

/// So many variables have a flag of their own that says whether they are undefined: from
/// here on they share those of the first (yara-x, compiler/emit.rs `set_var_undef`).
const SLOTS_TOLD_APART: usize = 64;

/// No fewer than the variables of a condition: those of each loop and quantifier (yara-x,
/// compiler/context.rs `VarStack`), and one for each sign that `with` declares one by.
fn slots(text: &str) -> usize {
    let times = |word: &str| text.matches(word).count();
    7 * times("for") + 5 * times("of") + times("=")
}

pub struct Conditions<'a> {
    patterns: &'a Patterns<'a>,
    rules: &'a HashMap<&'a str, u32>,
    /// A variable may be taken for defined that is not.
    has_many_slots: bool,
    steps: Cell<usize>,
}

impl<'a> Conditions<'a> {
    /// `text`: the condition as it is written.
    pub fn new(
        patterns: &'a Patterns<'a>,
        rules: &'a HashMap<&'a str, u32>,
        text: Option<&str>,
    ) -> Self {
        Self {
            patterns,
            rules,
            has_many_slots: text.is_none_or(|text| slots(text) > SLOTS_TOLD_APART),
            steps: Cell::new(STEPS_MAX),
        }
    }

    pub fn plan(&self, condition: &'a Expr<'a>) -> Need {
        self.need(condition, &Scope::outermost(), 0)
    }

    fn may_go_on(&self, depth: usize) -> bool {
        let steps = self.steps.get();
        self.steps.set(steps.saturating_sub(1));
        steps > 0 && depth <= DEPTH_MAX
    }

    fn each<'b>(
        &self,
        exprs: impl IntoIterator<Item = &'a Expr<'a>>,
        scope: &'b Scope<'a>,
        depth: usize,
        of: fn(&Self, &'a Expr<'a>, &Scope<'a>, usize) -> Need,
    ) -> Vec<Need> {
        exprs
            .into_iter()
            .map(|expr| of(self, expr, scope, depth + 1))
            .collect()
    }

    pub fn need(&self, expr: &'a Expr<'a>, scope: &Scope<'a>, depth: usize) -> Need {
        if !self.may_go_on(depth) {
            return Need::True;
        }
        match expr {
            Expr::False { .. } => Need::Never,
            Expr::Filesize { .. } => Need::Size(1, u64::MAX),
            Expr::LiteralInteger(literal) if literal.value == 0 => Need::Never,
            Expr::Ident(ident) => match scope.find(ident.name) {
                Some((What::Expr(bound), at)) => self.need(bound, at, depth + 1),
                Some(_) => fields::truth(expr, scope, depth),
                None => self
                    .rules
                    .get(ident.name)
                    .map_or(Need::True, |r| Need::Rule(*r)),
            },
            Expr::PatternCount(count) => self.counted(count, scope, depth),
            Expr::And(e) => Need::all(self.each(e.operands(), scope, depth, Self::need)),
            Expr::Or(e) => Need::any(self.each(e.operands(), scope, depth, Self::need)),
            Expr::Not(e) => self.need_not(&e.operand, scope, depth + 1),
            Expr::Defined(e) => self.defined(&e.operand, scope, depth + 1),
            // A product of integers that is not zero has no factor that is; so with bits.
            // Of floats it may: zero times infinity is not a number, which is not zero.
            Expr::Mul(e) if e.operands().all(is_integer) => {
                Need::all(self.each(e.operands(), scope, depth, Self::need))
            }
            Expr::BitwiseAnd(e) => Need::all(self.each([&e.lhs, &e.rhs], scope, depth, Self::need)),
            Expr::Add(e) if e.operands().all(|e| matches!(e, Expr::PatternCount(_))) => {
                Need::any(self.each(e.operands(), scope, depth, Self::need))
            }
            Expr::Of(of) => self.need_of(of, scope, depth),
            Expr::ForOf(for_of) => self.need_for_of(for_of, scope, depth),
            Expr::ForIn(for_in) => self.need_for_in(for_in, scope, depth),
            Expr::With(with) => self.need_with(with, scope, depth),
            Expr::PatternMatch(p) => Need::all(vec![
                self.defined(expr, scope, depth + 1),
                self.matched(p, scope),
            ]),
            Expr::FieldAccess(_) | Expr::Lookup(_) => Need::all(vec![
                self.defined(expr, scope, depth + 1),
                fields::truth(expr, scope, depth),
            ]),
            Expr::FuncCall(call) => Need::all(vec![
                self.defined(expr, scope, depth + 1),
                fields::call_truth(call, scope),
            ]),
            Expr::Contains(e) | Expr::StartsWith(e) | Expr::EndsWith(e) => Need::all(vec![
                self.defined(expr, scope, depth + 1),
                fields::contained(&e.lhs, &e.rhs, scope),
            ]),
            Expr::IContains(e) | Expr::IStartsWith(e) | Expr::IEndsWith(e) => Need::all(vec![
                self.defined(expr, scope, depth + 1),
                fields::icontained(&e.lhs, &e.rhs, scope),
            ]),
            Expr::IEquals(e) => Need::all(vec![
                self.defined(expr, scope, depth + 1),
                fields::iequal(&e.lhs, &e.rhs, scope),
                fields::iequal(&e.rhs, &e.lhs, scope),
            ]),
            Expr::Matches(e) => Need::all(vec![
                self.defined(expr, scope, depth + 1),
                fields::matching(&e.lhs, &e.rhs, scope),
            ]),
            Expr::Eq(_) | Expr::Ne(_) | Expr::Lt(_) | Expr::Le(_) | Expr::Gt(_) | Expr::Ge(_) => {
                Need::all(vec![
                    self.defined(expr, scope, depth + 1),
                    compare::need(self, expr, scope, depth + 1),
                ])
            }
            _ => self.defined(expr, scope, depth + 1),
        }
    }

    /// What holds where `not e` is true.
    fn need_not(&self, expr: &'a Expr<'a>, scope: &Scope<'a>, depth: usize) -> Need {
        if !self.may_go_on(depth) {
            return Need::True;
        }
        match expr {
            Expr::True { .. } => Need::Never,
            Expr::Not(e) => self.need(&e.operand, scope, depth + 1),
            Expr::Or(e) => Need::all(
                e.operands()
                    .map(|operand| compare::need_not(operand, scope))
                    .collect(),
            ),
            _ => Need::all(vec![
                self.defined(expr, scope, depth + 1),
                compare::need_not(expr, scope),
            ]),
        }
    }

    /// What holds where `e` has a value.
    pub fn defined(&self, expr: &'a Expr<'a>, scope: &Scope<'a>, depth: usize) -> Need {
        if !self.may_go_on(depth) {
            return Need::True;
        }
        let all =
            |exprs: Vec<&'a Expr<'a>>| Need::all(self.each(exprs, scope, depth, Self::defined));
        match expr {
            Expr::Ident(ident) => match scope.find(ident.name) {
                Some((What::Expr(bound), at)) => self.defined(bound, at, depth + 1),
                _ => fields::defined(expr, scope, depth),
            },
            Expr::FieldAccess(_) => fields::defined(expr, scope, depth),
            Expr::Lookup(e) => Need::all(vec![
                fields::defined(expr, scope, depth),
                self.defined(&e.index, scope, depth + 1),
            ]),
            Expr::PatternOffset(p) | Expr::PatternLength(p) => {
                let mut needs = vec![self.pattern(p.identifier.name, scope)];
                needs.extend(p.index.iter().map(|e| self.defined(e, scope, depth + 1)));
                Need::all(needs)
            }
            Expr::PatternCount(p) => self.range_defined(p.range.as_ref(), scope, depth),
            Expr::PatternMatch(p) => self.anchor_defined(p.anchor.as_ref(), scope, depth),
            Expr::Not(e) | Expr::Minus(e) | Expr::BitwiseNot(e) => all(vec![&e.operand]),
            Expr::Add(e) | Expr::Sub(e) | Expr::Mul(e) | Expr::Div(e) | Expr::Mod(e) => {
                all(e.operands().collect())
            }
            Expr::Shl(e)
            | Expr::Shr(e)
            | Expr::BitwiseAnd(e)
            | Expr::BitwiseOr(e)
            | Expr::BitwiseXor(e)
            | Expr::Eq(e)
            | Expr::Ne(e)
            | Expr::Lt(e)
            | Expr::Gt(e)
            | Expr::Le(e)
            | Expr::Ge(e)
            | Expr::Contains(e)
            | Expr::IContains(e)
            | Expr::StartsWith(e)
            | Expr::IStartsWith(e)
            | Expr::EndsWith(e)
            | Expr::IEndsWith(e)
            | Expr::IEquals(e)
            | Expr::Matches(e) => all(vec![&e.lhs, &e.rhs]),
            Expr::FuncCall(call) => self.call_defined(expr, call, scope, depth),
            _ => Need::True,
        }
    }

    fn call_defined(
        &self,
        expr: &'a Expr<'a>,
        call: &'a FuncCall<'a>,
        scope: &Scope<'a>,
        depth: usize,
    ) -> Need {
        let mut needs = self.each(&call.args, scope, depth, Self::defined);
        if let Some(read) = value::read(expr, scope) {
            let end = read.offset as u64 + u64::from(read.bytes);
            needs.push(Need::Size(end, u64::MAX));
        }
        needs.push(fields::call_defined(call, scope));
        Need::all(needs)
    }

    fn range_defined(&self, range: Option<&'a Range<'a>>, scope: &Scope<'a>, depth: usize) -> Need {
        let Some(range) = range else {
            return Need::True;
        };
        let bounds = [&range.lower_bound, &range.upper_bound];
        Need::all(self.each(bounds, scope, depth, Self::defined))
    }

    fn anchor_defined(
        &self,
        anchor: Option<&'a MatchAnchor<'a>>,
        scope: &Scope<'a>,
        depth: usize,
    ) -> Need {
        match anchor {
            Some(MatchAnchor::At(at)) => self.defined(&at.expr, scope, depth + 1),
            Some(MatchAnchor::In(range)) => self.range_defined(Some(&range.range), scope, depth),
            None => Need::True,
        }
    }

    /// The pattern behind `$a`, `#a`, `@a`, `!a`; in a loop also `$` and its kin.
    fn pattern(&self, name: &str, scope: &Scope<'a>) -> Need {
        let name = name.get(1..).unwrap_or("");
        if name.is_empty() {
            return match scope.find("$") {
                Some((What::Pattern(p), _)) => Need::Pattern(*p),
                _ => Need::True,
            };
        }
        self.patterns
            .names
            .iter()
            .zip(self.patterns.first..)
            .find(|(known, _)| known.get(1..) == Some(name))
            .map_or(Need::True, |(_, p)| Need::Pattern(p))
    }

    fn counted(&self, count: &'a IdentWithRange<'a>, scope: &Scope<'a>, depth: usize) -> Need {
        Need::all(vec![
            self.pattern(count.identifier.name, scope),
            self.range_defined(count.range.as_ref(), scope, depth),
        ])
    }

    fn matched(&self, p: &'a PatternMatch<'a>, scope: &Scope<'a>) -> Need {
        let pattern = self.pattern(p.identifier.name, scope);
        self.anchored(pattern, p.anchor.as_ref(), scope)
    }

    /// The pattern where the anchor asks for it.
    fn anchored(
        &self,
        pattern: Need,
        anchor: Option<&'a MatchAnchor<'a>>,
        scope: &Scope<'a>,
    ) -> Need {
        let at = match anchor {
            Some(MatchAnchor::At(at)) => value::integer(&at.expr, scope, 0),
            Some(MatchAnchor::In(range)) => {
                let range = &range.range;
                let first = value::integer(&range.lower_bound, scope, 0);
                first.filter(|at| Some(*at) == value::integer(&range.upper_bound, scope, 0))
            }
            None => None,
        };
        let Need::Pattern(p) = pattern else {
            return pattern;
        };
        let Some(head) = self.patterns.heads.get((p - self.patterns.first) as usize) else {
            return pattern;
        };
        let there = match (at.and_then(|at| u64::try_from(at).ok()), anchor) {
            (Some(at), _) => head.at(at),
            (None, Some(MatchAnchor::At(at))) => fields::placed(&at.expr, head, scope),
            _ => Need::True,
        };
        Need::all(vec![pattern, there])
    }

    fn pattern_set(&self, set: &'a PatternSet<'a>) -> Vec<u32> {
        self.patterns
            .idents
            .iter()
            .zip(self.patterns.first..)
            .filter(|(ident, _)| match set {
                PatternSet::Them { .. } => true,
                PatternSet::Set(items) => items.iter().any(|item| item.matches(ident)),
            })
            .map(|(_, p)| p)
            .collect()
    }

    fn at_least(k: usize, needs: Vec<Need>) -> Need {
        if k > 1 && k < needs.len() && needs.len() > COUNTED_MAX {
            return Need::any(needs);
        }
        Need::at_least(k, needs)
    }

    fn need_of(&self, of: &'a Of<'a>, scope: &Scope<'a>, depth: usize) -> Need {
        let anchor = of.anchor.as_ref();
        let needs = match &of.items {
            OfItems::PatternSet(set) => self
                .pattern_set(set)
                .into_iter()
                .map(|p| self.anchored(Need::Pattern(p), anchor, scope))
                .collect(),
            OfItems::BoolExprTuple(exprs) => self.each(exprs, scope, depth, Self::need),
        };
        match count_of(&of.quantifier, needs.len(), scope) {
            Some(k) => Need::all(vec![
                Self::at_least(k, needs),
                self.anchor_defined(anchor, scope, depth),
            ]),
            None => Need::True,
        }
    }

    fn need_for_of(&self, for_of: &'a ForOf<'a>, scope: &Scope<'a>, depth: usize) -> Need {
        let set = self.pattern_set(&for_of.pattern_set);
        let Some(k) = count_of(&for_of.quantifier, set.len(), scope) else {
            return Need::True;
        };
        let mut needs = Vec::with_capacity(set.len());
        for p in set {
            let Some(inner) = scope.with("$", What::Pattern(p), scope) else {
                return Need::True;
            };
            needs.push(self.need(&for_of.body, &inner, depth + 1));
        }
        Self::at_least(k, needs)
    }

    fn need_for_in(&self, for_in: &'a ForIn<'a>, scope: &Scope<'a>, depth: usize) -> Need {
        if !asks_for_one(&for_in.quantifier, scope) {
            return Need::True;
        }
        if let (Iterable::ExprTuple(items), [name]) = (&for_in.iterable, &for_in.variables[..]) {
            if items.len() <= TURNS_MAX && items.iter().all(is_plain_literal) {
                let turns = items
                    .iter()
                    .map(|item| {
                        let inner = scope.with(name.name, What::Expr(item), scope);
                        inner.map_or(Need::True, |inner| {
                            self.need(&for_in.body, &inner, depth + 1)
                        })
                    })
                    .collect();
                let k = count_of(&for_in.quantifier, items.len(), scope);
                return k.map_or(Need::True, |k| Self::at_least(k, turns));
            }
        }
        let bounds = match &for_in.iterable {
            Iterable::Range(range) => self.range_defined(Some(range), scope, depth),
            _ => Need::True,
        };
        let element = match &for_in.iterable {
            Iterable::Expr(list) => fields::path(list, scope, depth).map(|path| path.element()),
            _ => None,
        };
        let mut inner = scope.clone();
        for (variable, i) in for_in.variables.iter().zip(1..) {
            // Of a map's key and value, and of a list's element, the last.
            let what = match &element {
                Some(path) if i == for_in.variables.len() => What::Field(path.clone()),
                _ => What::Unknown,
            };
            match inner.with(variable.name, what, scope) {
                Some(next) => inner = next,
                None => return bounds,
            }
        }
        Need::all(vec![bounds, self.need(&for_in.body, &inner, depth + 1)])
    }

    fn need_with(&self, with: &'a With<'a>, scope: &Scope<'a>, depth: usize) -> Need {
        let mut inner = scope.clone();
        for declaration in &with.declarations {
            let what = match &declaration.expression {
                expr if self.has_many_slots && !is_plain_literal(expr) => What::Unknown,
                expr => What::Expr(expr),
            };
            match inner.with(declaration.identifier.name, what, &inner) {
                Some(next) => inner = next,
                None => return Need::True,
            }
        }
        self.need(&with.body, &inner, depth + 1)
    }
}

/// Whether it is an integer whatever the sample is.
fn is_integer(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::PatternCount(_) | Expr::Filesize { .. } | Expr::LiteralInteger(_)
    )
}

/// A value that stays what it is whatever stands beside it in a tuple.
fn is_plain_literal(expr: &Expr) -> bool {
    match expr {
        Expr::LiteralString(_) => true,
        Expr::LiteralInteger(literal) => !literal.is_unsigned && literal.value >= 0,
        _ => false,
    }
}

/// Both sides of a comparison.
pub fn operands<'a>(expr: &'a Expr<'a>) -> Option<&'a BinaryExpr<'a>> {
    match expr {
        Expr::Eq(e) | Expr::Ne(e) | Expr::Lt(e) | Expr::Le(e) | Expr::Gt(e) | Expr::Ge(e) => {
            Some(e)
        }
        _ => None,
    }
}
