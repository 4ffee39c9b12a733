//! Values that are known before any sample is seen.

use yara_x_parser::ast::Expr;

use super::condition::{Scope, What};

/// Deeper expressions are not looked into.
pub const DEPTH_MAX: usize = 200;

/// The value of an integer expression. Only what no reading of signs, widths or
/// overflow can make different: every intermediate value fits an i64.
pub fn integer<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>, depth: usize) -> Option<i64> {
    if depth > DEPTH_MAX {
        return None;
    }
    let of = |expr: &'a Expr<'a>| integer(expr, scope, depth + 1);
    let fold = |operands: &'a [Expr<'a>], f: &dyn Fn(i64, i64) -> Option<i64>| {
        let mut operands = operands.iter();
        let first = of(operands.next()?)?;
        operands.try_fold(first, |value, next| f(value, of(next)?))
    };
    let natural = |value: i64| (value >= 0).then_some(value);
    match expr {
        Expr::LiteralInteger(literal) if !literal.is_unsigned => Some(literal.value),
        Expr::Minus(unary) => of(&unary.operand)?.checked_neg(),
        Expr::Add(e) => fold(e.as_slice(), &i64::checked_add),
        Expr::Sub(e) => fold(e.as_slice(), &i64::checked_sub),
        Expr::Mul(e) => fold(e.as_slice(), &i64::checked_mul),
        Expr::Div(e) => fold(e.as_slice(), &|a, b| natural(a)?.checked_div(natural(b)?)),
        Expr::Mod(e) => fold(e.as_slice(), &|a, b| natural(a)?.checked_rem(natural(b)?)),
        Expr::Shl(e) => {
            let (value, by) = (natural(of(&e.lhs)?)?, natural(of(&e.rhs)?)?);
            if by > 62 || value > i64::MAX >> by {
                return None;
            }
            Some(value << by)
        }
        Expr::Shr(e) => {
            let (value, by) = (natural(of(&e.lhs)?)?, natural(of(&e.rhs)?)?);
            (by <= 62).then(|| value >> by)
        }
        Expr::BitwiseAnd(e) => Some(natural(of(&e.lhs)?)? & natural(of(&e.rhs)?)?),
        Expr::BitwiseOr(e) => Some(natural(of(&e.lhs)?)? | natural(of(&e.rhs)?)?),
        Expr::BitwiseXor(e) => Some(natural(of(&e.lhs)?)? ^ natural(of(&e.rhs)?)?),
        Expr::Ident(ident) => match scope.find(ident.name)? {
            (What::Expr(expr), scope) => integer(expr, scope, depth + 1),
            _ => None,
        },
        _ => None,
    }
}

/// The value of a literal number as a float.
pub fn float<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>) -> Option<f64> {
    match expr {
        Expr::LiteralFloat(literal) => Some(literal.value),
        Expr::Ident(ident) => match scope.find(ident.name)? {
            (What::Expr(Expr::LiteralFloat(literal)), _) => Some(literal.value),
            _ => None,
        },
        _ => None,
    }
}

/// `uint16be(4)`: bytes of the sample as a number.
pub struct Read {
    pub offset: i64,
    pub bytes: u32,
    pub signed: bool,
    pub big: bool,
}

pub fn read_function(name: &str) -> Option<(u32, bool, bool)> {
    let (signed, rest) = match name.strip_prefix("uint") {
        Some(rest) => (false, rest),
        None => (true, name.strip_prefix("int")?),
    };
    let (big, bits) = match rest.strip_suffix("be") {
        Some(bits) => (true, bits),
        None => (false, rest),
    };
    let bytes = match bits {
        "8" => 1,
        "16" => 2,
        "32" => 4,
        "64" => 8,
        _ => return None,
    };
    Some((bytes, signed, big))
}

/// A read at an offset that is known, if `expr` is one.
pub fn read<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>) -> Option<Read> {
    let Expr::FuncCall(call) = expr else {
        return None;
    };
    let [offset] = call.args.as_slice() else {
        return None;
    };
    if call.object.is_some() || scope.find(call.identifier.name).is_some() {
        return None;
    }
    let (bytes, signed, big) = read_function(call.identifier.name)?;
    let offset = integer(offset, scope, 0)?;
    (offset >= 0).then_some(Read {
        offset,
        bytes,
        signed,
        big,
    })
}
