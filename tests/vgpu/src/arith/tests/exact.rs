//! Rounding by definition, on binary numbers of any length.

use std::cmp::Ordering;

use crate::arith::soft::{Format, Round};

/// `±mant · 2^exp`; the magnitude in 32-bit digits, least significant first.
#[derive(Clone, Debug)]
pub(super) struct Dyadic {
    negative: bool,
    mant: Vec<u32>,
    exp: i32,
}

fn compare(a: &[u32], b: &[u32]) -> Ordering {
    let digit = |x: &[u32], i: usize| x.get(i).copied().unwrap_or(0);
    let n = a.len().max(b.len());
    (0..n).rev().map(|i| digit(a, i).cmp(&digit(b, i))).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

impl Dyadic {
    pub(super) fn new(negative: bool, mant: u64, exp: i32) -> Dyadic {
        Dyadic { negative, mant: vec![mant as u32, (mant >> 32) as u32], exp }
    }

    /// The value of the bits of a format; the exponent field of infinity counts as one more
    /// binade, which is what rounding to nearest compares with.
    pub(super) fn of(bits: u64, format: Format) -> Dyadic {
        let (m, e) = (format.mantissa, format.exponent);
        let field = bits >> m & ((1 << e) - 1);
        let frac = bits & ((1 << m) - 1);
        let bias = (1 << (e - 1)) - 1;
        let (mant, exp) = if field == 0 { (frac, 1 - bias) } else { (frac | 1 << m, field as i32 - bias) };
        Dyadic::new(bits >> (m + e) & 1 == 1, mant, exp - m as i32)
    }

    pub(super) fn f32(bits: u32) -> Dyadic {
        Dyadic::of(bits.into(), crate::arith::soft::F32)
    }

    pub(super) fn f64(bits: u64) -> Dyadic {
        Dyadic::of(bits, crate::arith::soft::F64)
    }

    fn is_zero(&self) -> bool {
        self.mant.iter().all(|d| *d == 0)
    }

    fn with_exp(&self, exp: i32) -> Vec<u32> {
        let shift = (self.exp - exp) as usize;
        let mut out = vec![0; shift / 32];
        let mut carry = 0u64;
        for d in &self.mant {
            carry |= u64::from(*d) << (shift % 32);
            out.push(carry as u32);
            carry >>= 32;
        }
        out.push(carry as u32);
        out
    }

    pub(super) fn plus(&self, other: &Dyadic) -> Dyadic {
        if self.is_zero() {
            return other.clone();
        }
        if other.is_zero() {
            return self.clone();
        }
        let exp = self.exp.min(other.exp);
        let (mut a, mut b) = (self.with_exp(exp), other.with_exp(exp));
        let n = a.len().max(b.len()) + 1;
        a.resize(n, 0);
        b.resize(n, 0);
        let mut negative = self.negative;
        if self.negative != other.negative && compare(&a, &b).is_lt() {
            std::mem::swap(&mut a, &mut b);
            negative = other.negative;
        }
        let mut carry = 0i64;
        for (x, y) in a.iter_mut().zip(&b) {
            let y = i64::from(*y);
            carry += i64::from(*x) + if self.negative == other.negative { y } else { -y };
            *x = carry as u32;
            carry >>= 32;
        }
        Dyadic { negative, mant: a, exp }
    }

    pub(super) fn times(&self, other: &Dyadic) -> Dyadic {
        let mut mant = vec![0u32; self.mant.len() + other.mant.len() + 1];
        for (i, x) in self.mant.iter().enumerate() {
            let mut carry = 0u64;
            for (j, y) in other.mant.iter().enumerate() {
                carry += u64::from(mant[i + j]) + u64::from(*x) * u64::from(*y);
                mant[i + j] = carry as u32;
                carry >>= 32;
            }
            let mut at = i + other.mant.len();
            while carry != 0 {
                carry += u64::from(mant[at]);
                mant[at] = carry as u32;
                carry >>= 32;
                at += 1;
            }
        }
        Dyadic { negative: self.negative != other.negative, mant, exp: self.exp + other.exp }
    }

    pub(super) fn negated(&self) -> Dyadic {
        Dyadic { negative: !self.negative, ..self.clone() }
    }

    fn abs(&self) -> Dyadic {
        Dyadic { negative: false, ..self.clone() }
    }

    pub(super) fn cmp(&self, other: &Dyadic) -> Ordering {
        let difference = self.plus(&other.negated());
        match (difference.is_zero(), difference.negative) {
            (true, _) => Ordering::Equal,
            (false, true) => Ordering::Less,
            (false, false) => Ordering::Greater,
        }
    }
}

/// Is `bits` the number that `against` describes (its order to a given number), rounded?
/// Holds for non-zero numbers; `negative` is the number's sign.
pub(super) fn is_rounded(
    bits: u64,
    negative: bool,
    against: impl Fn(&Dyadic) -> Ordering,
    format: Format,
    round: Round,
) -> bool {
    let sign = 1u64 << (format.mantissa + format.exponent);
    let n = bits & (sign - 1);
    let infinity = ((1 << format.exponent) - 1) << format.mantissa;
    if (bits & sign != 0) != negative || n > infinity {
        return false;
    }
    let order = |t: Dyadic| if negative { against(&t.negated()).reverse() } else { against(&t) };
    let value = |n: u64| Dyadic::of(n, format);
    let middle = |n: u64| {
        let sum = value(n).plus(&value(n + 1));
        Dyadic { exp: sum.exp - 1, ..sum }
    };
    let toward = round == Round::Rz || round == Round::Rm && !negative || round == Round::Rp && negative;
    match round {
        Round::Rn | Round::Rna => {
            let even = n & 1 == 0;
            let low = n == 0
                || match order(middle(n - 1)) {
                    Ordering::Greater => true,
                    Ordering::Equal => even || round == Round::Rna,
                    Ordering::Less => false,
                };
            let high = n == infinity
                || match order(middle(n)) {
                    Ordering::Less => true,
                    Ordering::Equal => even && round == Round::Rn,
                    Ordering::Greater => false,
                };
            low && high
        }
        _ if toward => n != infinity && order(value(n)).is_ge() && (n + 1 == infinity || order(value(n + 1)).is_lt()),
        _ => n != 0 && order(value(n - 1)).is_gt() && (n == infinity || order(value(n)).is_le()),
    }
}

/// Is `bits` the sum, product or other dyadic number `v` rounded? Zeros need the right magnitude.
pub(super) fn rounds(v: &Dyadic, bits: u64, format: Format, round: Round) -> bool {
    if v.is_zero() {
        return bits & ((1 << (format.mantissa + format.exponent)) - 1) == 0;
    }
    is_rounded(bits, v.negative, |t| v.cmp(t), format, round)
}

/// Is `bits` the quotient `a / b` rounded? Neither is zero.
pub(super) fn rounds_quotient(a: &Dyadic, b: &Dyadic, bits: u64, format: Format, round: Round) -> bool {
    let (x, y) = (a.abs(), b.abs());
    let negative = a.negative != b.negative;
    let against = |t: &Dyadic| {
        let t = if negative { t.negated() } else { t.clone() };
        let order = if t.negative { Ordering::Greater } else { x.cmp(&t.times(&y)) };
        if negative { order.reverse() } else { order }
    };
    is_rounded(bits, negative, against, format, round)
}

/// Is `bits` the root of the positive number `a`, rounded?
pub(super) fn rounds_root(a: &Dyadic, bits: u64, format: Format, round: Round) -> bool {
    is_rounded(bits, false, |t| a.cmp(&t.times(t)), format, round)
}

#[test]
fn the_judge_knows_a_third() {
    let (one, three) = (Dyadic::new(false, 1, 0), Dyadic::new(true, 3, 0));
    let format = crate::arith::soft::F32;
    assert!(rounds_quotient(&one, &three, 0xbeaa_aaab, format, Round::Rn));
    assert!(!rounds_quotient(&one, &three, 0xbeaa_aaaa, format, Round::Rn));
    assert!(rounds_quotient(&one, &three, 0xbeaa_aaaa, format, Round::Rz));
    assert!(rounds_quotient(&one, &three, 0xbeaa_aaaa, format, Round::Rp));
    assert!(rounds_quotient(&one, &three, 0xbeaa_aaab, format, Round::Rm));
}
