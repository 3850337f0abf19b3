//! Floating-point arithmetic: the result is the exact one, rounded as the name says.

use crate::arith::soft::{BF16, F16, F32, F64, Format, Round, Value};
use crate::exact::{Dyadic, rounds, rounds_quotient, rounds_root};
use crate::harness::{Kind, Row, check, equals};

/// Format of a scalar of this type; of each half of a pair.
pub(crate) fn format(ty: &str) -> Format {
    match ty {
        "f16" | "f16x2" => F16,
        "bf16" | "bf16x2" => BF16,
        "f32" | "f32x2" => F32,
        _ => F64,
    }
}

pub(crate) fn round(mods: &[&str]) -> Round {
    let has = |m: &str| mods.contains(&m);
    if has("rz") {
        Round::Rz
    } else if has("rm") {
        Round::Rm
    } else if has("rp") {
        Round::Rp
    } else {
        Round::Rn
    }
}

/// The value of an encoding; exact, as no format is wider than f64.
pub(crate) fn value(bits: u64, format: Format) -> f64 {
    let magnitude = match format.decode(bits) {
        Value::Nan => f64::NAN,
        Value::Infinite { .. } => f64::INFINITY,
        Value::Finite(x) => {
            // Two steps, so that neither power leaves the range of f64.
            let half = x.exp / 2;
            x.mant as f64 * 2f64.powi(half) * 2f64.powi(x.exp - half)
        }
    };
    if bits & format.sign() != 0 { -magnitude } else { magnitude }
}

/// What modifiers of a floating-point instruction do to operands and results.
#[derive(Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) format: Format,
    pub(crate) round: Round,
    pub(crate) ftz: bool,
    pub(crate) sat: bool,
    pub(crate) relu: bool,
}

impl Spec {
    pub(crate) fn new(mods: &[&str], ty: &str) -> Spec {
        let has = |m: &str| mods.contains(&m);
        Spec { format: format(ty), round: round(mods), ftz: has("ftz"), sat: has("sat"), relu: has("relu") }
    }

    pub(crate) fn flush(&self, bits: u64) -> u64 {
        let subnormal = bits & self.format.infinity() == 0;
        if self.ftz && subnormal { bits & self.format.sign() } else { bits }
    }

    /// Is `got` the result whose `f64` approximation is `near`, and of which `is` says whether
    /// some bits are the exact result, rounded?
    pub(crate) fn accepts(&self, got: u64, near: f64, is: impl Fn(u64) -> bool) -> bool {
        let sign = self.format.sign();
        let one = (self.format.bias() as u64) << self.format.mantissa;
        let least_normal = value(1 << self.format.mantissa, self.format);
        if near.is_nan() {
            return if self.sat { got == 0 } else { got & (sign - 1) > self.format.infinity() };
        }
        if self.sat && (near <= 0.0 || near >= 1.0) {
            return got == if near >= 1.0 { one } else { 0 };
        }
        if self.relu && near <= 0.0 {
            return got == 0;
        }
        if near.is_infinite() && got & (sign - 1) == self.format.infinity() {
            return (got & sign != 0) == (near < 0.0);
        }
        if self.ftz && got & (sign - 1) == 0 && near.abs() < least_normal * (1.0 + 1e-9) {
            return (got & sign != 0) == near.is_sign_negative() || near == 0.0;
        }
        // The sign of an exact zero is that of the host, except when rounding down.
        if near == 0.0 && got & (sign - 1) == 0 && self.round == Round::Rn {
            return (got & sign != 0) == near.is_sign_negative();
        }
        is(got)
    }
}

/// Judges one scalar: operation, operands, result.
fn scalar(op: &str, s: Spec, v: &[u64], got: u64) -> bool {
    let bits: Vec<u64> = v.iter().map(|x| s.flush(*x)).collect();
    let x: Vec<f64> = bits.iter().map(|b| value(*b, s.format)).collect();
    let near = match op {
        "add" => x[0] + x[1],
        "sub" => x[0] - x[1],
        "mul" => x[0] * x[1],
        "fma" | "mad" => x[0].mul_add(x[1], x[2]),
        "div" => x[0] / x[1],
        "rcp" => 1.0 / x[0],
        "sqrt" => x[0].sqrt(),
        other => panic!("no expectation for {other}"),
    };
    let e: Vec<Dyadic> = bits.iter().map(|b| Dyadic::of(*b, s.format)).collect();
    let special = x.iter().any(|x| !x.is_finite());
    s.accepts(got, near, |got| {
        if special
            || (op == "div" && (x[0] == 0.0 || x[1] == 0.0))
            || (op != "add" && op != "sub" && near == 0.0 && x[0] == 0.0)
        {
            return value(got, s.format) == near;
        }
        match op {
            "add" => rounds(&e[0].plus(&e[1]), got, s.format, s.round),
            "sub" => rounds(&e[0].plus(&e[1].negated()), got, s.format, s.round),
            "mul" => rounds(&e[0].times(&e[1]), got, s.format, s.round),
            "fma" | "mad" => rounds(&e[0].times(&e[1]).plus(&e[2]), got, s.format, s.round),
            "div" => rounds_quotient(&e[0], &e[1], got, s.format, s.round),
            "rcp" => x[0] == 0.0 || rounds_quotient(&Dyadic::new(false, 1, 0), &e[0], got, s.format, s.round),
            _ => rounds_root(&e[0], got, s.format, s.round),
        }
    })
}

/// Applies a judge of scalars to a scalar, or to both halves of a pair.
pub(crate) fn each(ty: &str, v: &[u64], got: u64, judge: impl Fn(&[u64], u64) -> bool) -> bool {
    if !ty.ends_with("x2") {
        return judge(v, got);
    }
    let width = if ty == "f32x2" { 32 } else { 16 };
    let half = (1 << width) - 1;
    [0, width].iter().all(|shift| {
        let part: Vec<u64> = v.iter().map(|x| x >> shift & half).collect();
        judge(&part, got >> shift & half)
    })
}

fn arithmetic(name: &str) -> Row {
    let mods: Vec<&str> = name.split('.').collect();
    let (op, ty) = (mods[0].to_string(), mods[mods.len() - 1].to_string());
    let spec = Spec::new(&mods, &ty);
    let kind = Kind::of(&ty);
    let operands = match op.as_str() {
        "rcp" | "sqrt" => 1,
        "fma" | "mad" => 3,
        _ => 2,
    };
    let judge = move |v: &[u64], got: u64| {
        let fine = each(&ty, v, got, |v, got| scalar(&op, spec, v, got));
        if fine { Ok(()) } else { Err("the exact result, rounded".to_string()) }
    };
    Row::new(name, kind, &vec![kind; operands], Box::new(judge))
}

fn all(names: &str) -> Vec<Row> {
    names.split_whitespace().map(arithmetic).collect()
}

#[test]
fn sums_and_differences_are_rounded() {
    check(all("add.f16 add.f16x2 add.f32 add.f64 add.rm.f32 add.rn.f32 add.rn.f64 add.rn.ftz.f32 add.rn.sat.f32
        add.rp.f32 add.rz.f32 add.rz.f64 add.rm.f64 add.rp.f64 add.ftz.f32 add.sat.f32 add.ftz.sat.f32 add.rz.ftz.f32
        add.bf16 add.bf16x2 add.rn.f16 add.rn.bf16x2 add.sat.f16 add.ftz.f16x2 add.ftz.sat.f16x2
        sub.f16 sub.f16x2 sub.f32 sub.f64 sub.rn.f32 sub.rz.f32 sub.rm.f32 sub.rp.f32 sub.rz.f64 sub.ftz.f32 sub.sat.f32
        sub.bf16 sub.bf16x2 sub.rn.ftz.f32 sub.rn.f16x2 sub.rn.f64"));
}

#[test]
fn products_are_rounded() {
    check(all(
        "mul.f16 mul.f16x2 mul.f32 mul.f64 mul.ftz.f32 mul.rm.f32 mul.rm.f64 mul.rn.f32 mul.rn.f64 mul.rn.ftz.f32
        mul.rp.f32 mul.rz.f32 mul.rz.f64 mul.rp.f64 mul.sat.f32 mul.rn.ftz.sat.f32 mul.bf16 mul.bf16x2 mul.sat.f16x2
        mul.ftz.f16x2 mul.rn.f16x2 mul.rn.bf16x2",
    ));
}

#[test]
fn fused_products_and_sums_are_rounded_once() {
    check(all(
        "fma.rm.f32 fma.rn.bf16x2 fma.rn.f16 fma.rn.f16x2 fma.rn.f32 fma.rn.f64 fma.rn.ftz.f32 fma.rn.relu.bf16x2
        fma.rn.relu.f16x2 fma.rn.sat.f16x2 fma.rp.f32 fma.rp.f64 fma.rz.f32 fma.rm.f64 fma.rz.f64 fma.rn.sat.f32
        fma.rn.ftz.sat.f32 fma.rz.ftz.f32 fma.rn.bf16 fma.rn.relu.bf16 fma.rn.relu.f16 fma.rn.ftz.f16 fma.rn.ftz.f16x2
        fma.rn.ftz.sat.f16x2 fma.rn.ftz.relu.f16x2 mad.rn.f32 mad.rz.f32 mad.rn.f64",
    ));
}

#[test]
fn pairs_of_singles_are_computed_apart() {
    check(all(
        "add.f32x2 add.rn.f32x2 add.rn.ftz.f32x2 add.rz.f32x2 sub.f32x2 sub.rn.f32x2 sub.rn.ftz.f32x2 sub.rp.f32x2
        mul.f32x2 mul.rn.ftz.f32x2 mul.rm.f32x2 fma.rn.f32x2 fma.rn.ftz.f32x2 fma.rz.f32x2",
    ));
}

#[test]
fn quotients_and_roots_are_rounded() {
    check(all("div.rn.f32 div.rn.f64 div.rz.f32 div.rm.f32 div.rp.f32 div.rz.f64 div.rm.f64 div.rp.f64 div.rn.ftz.f32
        rcp.rn.f32 rcp.rn.f64 rcp.rp.f32 rcp.rz.f64 rcp.rm.f32 rcp.rz.f32 rcp.rn.ftz.f32
        sqrt.rn.f32 sqrt.rn.f64 sqrt.rn.ftz.f32 sqrt.rz.f32 sqrt.rm.f32 sqrt.rp.f32 sqrt.rm.f64"));
    let judge = |v: &[u64], got: u64| {
        let fine = scalar("div", Spec::new(&["ftz"], "f32"), v, got);
        if fine { Ok(()) } else { Err("the quotient".into()) }
    };
    check(vec![Row::new("div.ftz.rn.f32", Kind::F32, &[Kind::F32; 2], Box::new(judge))]);
}

/// Sign operations keep every other bit; `.ftz` flushes. A NaN may come back as any NaN.
#[test]
fn signs_change_and_nothing_else() {
    let row = |name: &str| {
        let mods: Vec<&str> = name.split('.').collect();
        let (op, ty) = (mods[0].to_string(), mods[mods.len() - 1].to_string());
        let spec = Spec::new(&mods, &ty);
        let kind = Kind::of(&ty);
        let judge = move |v: &[u64], got: u64| {
            let fine = each(&ty, v, got, |v, got| {
                let (sign, bits) = (spec.format.sign(), spec.flush(v[0]));
                let wanted = match op.as_str() {
                    "abs" => bits & !sign,
                    "neg" => bits ^ sign,
                    _ => bits & sign | v[1] & !sign,
                };
                let nan = |x: u64| x & (sign - 1) > spec.format.infinity();
                got == wanted || op != "copysign" && nan(wanted) && nan(got)
            });
            if fine { Ok(()) } else { Err("the other sign".to_string()) }
        };
        let operands = if name.starts_with("copysign") { 2 } else { 1 };
        Row::new(name, kind, &vec![kind; operands], Box::new(judge))
    };
    let names =
        "abs.f16 abs.f16x2 abs.f32 abs.f64 abs.ftz.f32 abs.bf16 abs.bf16x2 neg.bf16 neg.bf16x2 neg.f16 neg.f16x2
        neg.f32 neg.f64 neg.ftz.f32 copysign.f32 copysign.f64 abs.ftz.f16x2 neg.ftz.f16";
    check(names.split_whitespace().map(row).collect());
}

#[test]
fn minimum_and_maximum_order_zeros_and_treat_nan_as_told() {
    let row = |name: &str| {
        let mods: Vec<&str> = name.split('.').collect();
        let (max, ty) = (mods[0] == "max", mods[mods.len() - 1].to_string());
        let spec = Spec::new(&mods, &ty);
        let (keeps_nan, xorsign) = (mods.contains(&"NaN"), mods.contains(&"xorsign"));
        let kind = Kind::of(&ty);
        let judge = move |v: &[u64], got: u64| {
            let fine = each(&ty, v, got, |v, got| {
                let sign = spec.format.sign();
                let nan = |x: u64| x & (sign - 1) > spec.format.infinity();
                let (mut a, mut b) = (spec.flush(v[0]), spec.flush(v[1]));
                let product = (a ^ b) & sign;
                if nan(a) && nan(b) || keeps_nan && (nan(a) || nan(b)) {
                    return nan(got);
                }
                if xorsign {
                    (a, b) = (a & !sign, b & !sign);
                }
                // Ordered as sign and magnitude.
                let order = |x: u64| if x & sign != 0 { -((x & !sign) as i64) - 1 } else { x as i64 };
                let first = nan(b) || !nan(a) && (order(a) > order(b)) == max;
                let pick = if first { a } else { b };
                got == if xorsign { pick | product } else { pick }
            });
            if fine { Ok(()) } else { Err("the other operand".to_string()) }
        };
        Row::new(name, kind, &[kind; 2], Box::new(judge))
    };
    let names =
        "max.NaN.f32 max.bf16x2 max.f16 max.f16x2 max.f32 max.f64 max.ftz.f32 max.bf16 max.NaN.f16x2 max.NaN.bf16
        max.ftz.NaN.f32 min.NaN.f32 min.bf16x2 min.f16 min.f16x2 min.f32 min.f64 min.ftz.f32 min.bf16 min.NaN.bf16x2
        max.xorsign.abs.f32 min.xorsign.abs.f32 max.NaN.xorsign.abs.f16x2 min.ftz.f16";
    check(names.split_whitespace().map(row).collect());
}

/// The error allowed is that of computing in f64 and rounding once, plus one unit: hardware is
/// allowed more, so a kernel must not depend on the last bits.
fn near(got: f64, wanted: f64, unit: f64) -> bool {
    got == wanted || got.is_nan() && wanted.is_nan() || (got - wanted).abs() <= unit
}

#[test]
fn approximations_are_close() {
    let row = |name: &str| {
        let mods: Vec<&str> = name.split('.').collect();
        let (op, ty) = (mods[0].to_string(), mods[mods.len() - 1].to_string());
        let spec = Spec::new(&mods, &ty);
        let kind = Kind::of(&ty);
        let operands = if op == "div" { 2 } else { 1 };
        let approx = mods.contains(&"approx");
        let judge = move |v: &[u64], got: u64| {
            let fine = each(&ty, v, got, |v, got| {
                let x: Vec<f64> = v.iter().map(|b| value(spec.flush(*b), spec.format)).collect();
                let exact = match op.as_str() {
                    "ex2" => x[0].exp2(),
                    "lg2" => x[0].log2(),
                    "sin" => x[0].sin(),
                    "cos" => x[0].cos(),
                    "tanh" => x[0].tanh(),
                    "rsqrt" => 1.0 / x[0].sqrt(),
                    "rcp" => 1.0 / x[0],
                    "sqrt" => x[0].sqrt(),
                    // The reciprocal of a divisor beyond 2^126 is zero.
                    _ if approx && x[1].is_finite() && x[1].abs() > 2f64.powi(126) => x[0] * 0f64.copysign(x[1]),
                    _ => x[0] / x[1],
                };
                let largest = value(spec.format.infinity() - 1, spec.format);
                let least = value(1 << spec.format.mantissa, spec.format);
                let tiny = value(1, spec.format);
                let got = value(got, spec.format);
                let overflow = exact.abs() > largest && got.is_infinite() && (got > 0.0) == (exact > 0.0);
                let flushed = spec.ftz && exact.abs() < least && got == 0.0;
                // PTX ISA 9.0, lg2: inputs in (0.5, 2) have an absolute bound.
                let least_unit = if op == "lg2" && x[0] > 0.5 && x[0] < 2.0 { 2f64.powi(-22) } else { tiny };
                let unit = (exact.abs() * 2f64.powi(-(spec.format.mantissa as i32))).max(least_unit);
                overflow || flushed || near(got, exact, unit)
            });
            if fine { Ok(()) } else { Err("a value close to libm's".to_string()) }
        };
        Row::new(name, kind, &vec![kind; operands], Box::new(judge))
    };
    let names =
        "ex2.approx.f32 ex2.approx.ftz.f32 ex2.approx.f16 ex2.approx.f16x2 ex2.approx.ftz.bf16 ex2.approx.ftz.bf16x2
        lg2.approx.f32 lg2.approx.ftz.f32 sin.approx.f32 sin.approx.ftz.f32 cos.approx.f32 cos.approx.ftz.f32
        tanh.approx.f32 tanh.approx.f16 tanh.approx.f16x2 tanh.approx.bf16x2 rsqrt.approx.f32 rsqrt.approx.ftz.f32
        rsqrt.approx.f64 rcp.approx.f32 rcp.approx.ftz.f32 sqrt.approx.f32 sqrt.approx.ftz.f32 div.approx.f32
        div.approx.ftz.f32 div.full.f32 div.full.ftz.f32";
    check(names.split_whitespace().map(row).collect());
}

/// The `.approx.ftz.f64` forms read and write high words only: 20 bits of mantissa.
#[test]
fn high_word_approximations_have_no_low_word() {
    let rows = ["rcp.approx.ftz.f64", "rsqrt.approx.ftz.f64"].map(|name| {
        let judge = move |v: &[u64], got: u64| {
            let spec = Spec::new(&["ftz"], "f64");
            let x = f64::from_bits(spec.flush(v[0] & !0xffff_ffff));
            let x = if f64::from_bits(v[0]).is_nan() { f64::NAN } else { x };
            let exact = if name.starts_with("rcp") { 1.0 / x } else { 1.0 / x.sqrt() };
            let got_value = f64::from_bits(got);
            let flushed = exact.abs() < f64::MIN_POSITIVE && got_value == 0.0;
            let fine = flushed || near(got_value, exact, exact.abs() * 2f64.powi(-19));
            if fine && got & 0xffff_ffff == 0 { Ok(()) } else { Err(format!("about {exact:e}")) }
        };
        Row::new(name, Kind::F64, &[Kind::F64], Box::new(judge))
    });
    check(rows.into());
}

#[test]
fn testp_knows_the_classes() {
    let rows = ["finite", "infinite", "number", "notanumber", "normal", "subnormal"].iter().flat_map(|property| {
        ["f32", "f64"].map(|ty| {
            let format = format(ty);
            let judge = equals(Kind::Pred, move |v| {
                let (e, m) = (v[0] & format.infinity(), v[0] & ((1 << format.mantissa) - 1));
                let special = e == format.infinity();
                u64::from(match *property {
                    "finite" => !special,
                    "infinite" => special && m == 0,
                    "number" => !(special && m != 0),
                    "notanumber" => special && m != 0,
                    "normal" => !special && e != 0,
                    _ => e == 0 && m != 0,
                })
            });
            Row::new(&format!("testp.{property}.{ty}"), Kind::Pred, &[Kind::of(ty)], judge)
        })
    });
    check(rows.collect());
}
