//! Comparisons: sizes, bytes at fixed places, and numbers that cannot be zero.

use yara_x_parser::ast::Expr;

use super::condition::{operands, Conditions, Scope};
use super::fields;
use super::need::Need;
use super::value::{self, Read};

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Op {
    fn of(expr: &Expr) -> Option<Op> {
        Some(match expr {
            Expr::Eq(_) => Op::Eq,
            Expr::Ne(_) => Op::Ne,
            Expr::Lt(_) => Op::Lt,
            Expr::Le(_) => Op::Le,
            Expr::Gt(_) => Op::Gt,
            Expr::Ge(_) => Op::Ge,
            _ => return None,
        })
    }

    /// The operator with its sides changed.
    fn mirrored(self) -> Op {
        match self {
            Op::Lt => Op::Gt,
            Op::Le => Op::Ge,
            Op::Gt => Op::Lt,
            Op::Ge => Op::Le,
            same => same,
        }
    }

    fn negated(self) -> Op {
        match self {
            Op::Eq => Op::Ne,
            Op::Ne => Op::Eq,
            Op::Lt => Op::Ge,
            Op::Le => Op::Gt,
            Op::Gt => Op::Le,
            Op::Ge => Op::Lt,
        }
    }
}

/// What holds where the comparison is true, beside that both sides are defined.
pub fn need<'a>(
    conditions: &Conditions<'a>,
    expr: &'a Expr<'a>,
    scope: &Scope<'a>,
    depth: usize,
) -> Need {
    let (Some(op), Some(e)) = (Op::of(expr), operands(expr)) else {
        return Need::True;
    };
    Need::all(vec![
        sided(conditions, op, &e.lhs, &e.rhs, scope, depth),
        sided(conditions, op.mirrored(), &e.rhs, &e.lhs, scope, depth),
    ])
}

/// What holds where the comparison is false though both sides are defined: of
/// sizes, which always are.
pub fn need_not<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>) -> Need {
    let (Some(op), Some(e)) = (Op::of(expr), operands(expr)) else {
        return Need::True;
    };
    Need::all(vec![
        size(op.negated(), &e.lhs, &e.rhs, scope),
        size(op.mirrored().negated(), &e.rhs, &e.lhs, scope),
    ])
}

fn sided<'a>(
    conditions: &Conditions<'a>,
    op: Op,
    left: &'a Expr<'a>,
    right: &'a Expr<'a>,
    scope: &Scope<'a>,
    depth: usize,
) -> Need {
    let mut needs = vec![size(op, left, right, scope)];
    if op == Op::Eq {
        needs.push(bytes(left, right, scope));
        needs.push(fields::equal(left, right, scope));
    }
    if is_not_zero(op, right, scope) {
        needs.push(conditions.need(left, scope, depth + 1));
    }
    Need::all(needs)
}

/// Whether `x op right` says that x is not zero (false, empty).
fn is_not_zero<'a>(op: Op, right: &'a Expr<'a>, scope: &Scope<'a>) -> bool {
    let known = value::integer(right, scope, 0);
    match (op, right) {
        (Op::Eq, Expr::True { .. }) | (Op::Ne, Expr::False { .. }) => true,
        (Op::Eq, _) => known.is_some_and(|n| n != 0),
        (Op::Ne, _) => known == Some(0),
        // Counts and sizes are never negative.
        (Op::Gt, Expr::PatternCount(_) | Expr::Filesize { .. }) => true,
        (Op::Gt, _) => known.is_some_and(|n| n >= 0),
        (Op::Ge, _) => known.is_some_and(|n| n >= 1),
        _ => false,
    }
}

/// Floats are exact to here.
const EXACT_FLOAT: f64 = (1u64 << 52) as f64;
/// No sample is so large; sums below it do not overflow.
const SIZE_MAX: u64 = 1 << 60;

/// `filesize op n`, also with a number added to it.
fn size<'a>(op: Op, left: &'a Expr<'a>, right: &'a Expr<'a>, scope: &Scope<'a>) -> Need {
    let added = match left {
        Expr::Filesize { .. } => 0,
        Expr::Add(e) | Expr::Sub(e) => match e.as_slice() {
            [Expr::Filesize { .. }, by] => {
                let by = value::integer(by, scope, 0).filter(|by| by.unsigned_abs() < SIZE_MAX);
                match (by, left) {
                    (Some(by), Expr::Add(_)) => by,
                    (Some(by), _) => -by,
                    (None, _) => return Need::True,
                }
            }
            _ => return Need::True,
        },
        _ => return Need::True,
    };
    let (low, high) = match (value::integer(right, scope, 0), value::float(right, scope)) {
        (Some(n), _) if n.unsigned_abs() < SIZE_MAX => (n, n),
        (_, Some(f)) if f.abs() < EXACT_FLOAT => (f.floor() as i64, f.ceil() as i64),
        _ => return Need::True,
    };
    // Between `low` and `high` where the number is no integer.
    let (least, most) = match op {
        Op::Eq => (low, high),
        Op::Ne => return Need::True,
        Op::Lt => (i64::MIN, if low == high { high - 1 } else { high }),
        Op::Le => (i64::MIN, high),
        Op::Gt => (if low == high { low + 1 } else { low }, i64::MAX),
        Op::Ge => (low, i64::MAX),
    };
    let most = if most == i64::MAX {
        u64::MAX
    } else {
        match u64::try_from(most - added) {
            Ok(most) => most,
            Err(_) => return Need::Never,
        }
    };
    let least = u64::try_from(least.saturating_sub(added)).unwrap_or(0);
    match (least, most) {
        (0, u64::MAX) => Need::True,
        (least, most) if least > most => Need::Never,
        (least, most) => Need::Size(least, most),
    }
}

/// Bytes of the head that the index keeps.
pub const HEAD_BYTES: u64 = 16;

/// `uint16(0) == n`, also behind a mask.
fn bytes<'a>(left: &'a Expr<'a>, right: &'a Expr<'a>, scope: &Scope<'a>) -> Need {
    let Some(wanted) = constant(right, scope) else {
        return Need::True;
    };
    let (read, mask) = match left {
        Expr::BitwiseAnd(e) => {
            let sides = [(&e.lhs, &e.rhs), (&e.rhs, &e.lhs)];
            let masked = sides.into_iter().find_map(|(read, mask)| {
                let mask = constant(mask, scope).filter(|mask| *mask >= 0)?;
                Some((value::read(read, scope)?, mask))
            });
            match masked {
                Some((read, mask)) => (read, Some(mask)),
                None => return Need::True,
            }
        }
        _ => match value::read(left, scope) {
            Some(read) => (read, None),
            None => return Need::True,
        },
    };
    bytes_at(&read, mask, wanted)
}

/// An integer as it is written: up to u64::MAX.
fn constant<'a>(expr: &'a Expr<'a>, scope: &Scope<'a>) -> Option<i128> {
    match expr {
        Expr::LiteralInteger(literal) if literal.is_unsigned => {
            Some(i128::from(literal.value as u64))
        }
        _ => value::integer(expr, scope, 0).map(i128::from),
    }
}

fn bytes_at(read: &Read, mask: Option<i128>, wanted: i128) -> Need {
    let n = read.bytes as usize;
    if read.offset as u64 + n as u64 > HEAD_BYTES {
        return Need::True;
    }
    let bits = 8 * read.bytes;
    let range = 1i128 << bits;
    let possible = match (read.signed, mask) {
        // A mask beyond the width would look at the bits of the sign.
        (true, Some(mask)) if mask >= range => return Need::True,
        (true, None) => -range / 2..range / 2,
        _ => 0..range,
    };
    if !possible.contains(&wanted) {
        return Need::True;
    }
    let mask = mask.map_or(u64::MAX, |mask| mask as u64);
    let (value, mask) = (wanted as u64, mask);
    let mut pairs: Vec<(u8, u8)> = (0..n)
        .map(|i| ((value >> (8 * i)) as u8, (mask >> (8 * i)) as u8))
        .collect();
    if read.big {
        pairs.reverse();
    }
    if pairs.iter().any(|(value, mask)| value & !mask != 0) {
        return Need::True;
    }
    Need::Bytes(read.offset as u8, pairs)
}
