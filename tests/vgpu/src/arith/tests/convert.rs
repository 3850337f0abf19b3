use super::Random;
use super::exact::{Dyadic, rounds};
use crate::arith::compare::{self, Relation};
use crate::arith::convert::{Cvt, Type, cvt, cvt_pair, pack};
use crate::arith::soft::{self, Format, Round};

const ROUNDS: [Round; 4] = [Round::Rn, Round::Rz, Round::Rm, Round::Rp];
const INTEGERS: [Type; 8] = [Type::U8, Type::U16, Type::U32, Type::U64, Type::S8, Type::S16, Type::S32, Type::S64];

fn format(ty: Type) -> Format {
    match ty {
        Type::F16 => soft::F16,
        Type::Bf16 => soft::BF16,
        Type::F32 => soft::F32,
        _ => soft::F64,
    }
}

/// Bits of interest for any type: corners of every width and random ones.
fn words() -> Vec<u64> {
    let mut r = Random(7);
    let mut all: Vec<u64> = Vec::new();
    for shift in 0..64 {
        let p = 1u64 << shift;
        all.extend([p, p - 1, p + 1, !p, p.wrapping_neg(), p | p >> 1]);
    }
    for x in [0.0f64, -0.0, 0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999999999994, 255.5, 65504.0, 65519.9, 65520.0, 1e-8] {
        all.extend([x.to_bits(), (x as f32).to_bits().into(), (-x as f32).to_bits().into()]);
    }
    for x in [127.5, 32767.5, 2147483647.5, -2147483648.5, 4294967295.5, 9.3e18, 1.9e19, 1e30, 3.5e38, 1e-310, 1e-45] {
        all.extend([f64::to_bits(x), (-x).to_bits(), (x as f32).to_bits().into(), (-x as f32).to_bits().into()]);
    }
    all.extend((0..3000).map(|_| r.u64() >> (r.u32() % 64)));
    // f32 and f64 numbers of moderate size.
    all.extend((0..3000).map(|_| {
        let x = (r.u32() as f64 - 2e9) * 2f64.powi(r.u32() as i32 % 40 - 36);
        if r.u32() & 1 == 0 { x.to_bits() } else { (x as f32).to_bits().into() }
    }));
    all
}

fn value(bits: u64, ty: Type) -> i128 {
    let width = ty.bits();
    let low = i128::from(bits) & ((1 << width) - 1);
    if ty.is_signed() && low >> (width - 1) == 1 { low - (1 << width) } else { low }
}

fn range(ty: Type) -> (i128, i128) {
    let width = ty.bits();
    if ty.is_signed() { (-(1 << (width - 1)), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) }
}

#[test]
fn integers_chop_or_saturate_and_extend() {
    for to in INTEGERS {
        for from in INTEGERS {
            let (low, high) = range(to);
            for bits in words() {
                let x = value(bits, from);
                let c = Cvt::new(to, from, Round::Rn);
                assert_eq!(cvt(c, bits), value(x as u64, to) as u64, "{from:?} to {to:?} {bits:x}");
                assert_eq!(cvt(Cvt { sat: true, ..c }, bits), x.clamp(low, high) as u64, "{from:?} to {to:?} {bits:x}");
            }
        }
    }
}

#[test]
fn integers_become_floats_rounded_by_definition() {
    for to in [Type::F16, Type::Bf16, Type::F32, Type::F64] {
        for from in INTEGERS {
            for round in ROUNDS {
                for bits in words().into_iter().step_by(3) {
                    let x = value(bits, from);
                    let d = cvt(Cvt::new(to, from, round), bits);
                    let exact = Dyadic::new(x < 0, x.unsigned_abs() as u64, 0);
                    assert!(rounds(&exact, d, format(to), round), "{from:?} to {to:?} {round:?} {x} -> {d:x}");
                }
            }
        }
    }
}

/// The integer next to a number in a direction, by definition, clamped.
fn expected_integer(x: f64, round: Round, to: Type) -> u64 {
    if x.is_nan() {
        return 0;
    }
    let (low, high) = range(to);
    if x.abs() >= 2f64.powi(100) {
        return if x < 0.0 { low as u64 } else { high as u64 };
    }
    // |x| < 2^100 and x is a multiple of 2^-1074; split at the binary point.
    let whole = if x.abs() >= 2f64.powi(52) { x as i128 } else { i128::from(x as i64) };
    let fraction = if x.abs() >= 2f64.powi(52) { 0.0 } else { x - whole as f64 };
    let step = match round {
        Round::Rz => 0,
        Round::Rm => -i128::from(fraction < 0.0),
        Round::Rp => i128::from(fraction > 0.0),
        _ if fraction.abs() > 0.5 || fraction.abs() == 0.5 && whole & 1 == 1 => fraction.signum() as i128,
        _ => 0,
    };
    (whole + step).clamp(low, high) as u64
}

#[test]
fn floats_become_integers_clamped_with_nan_as_zero() {
    for from in [Type::F16, Type::Bf16, Type::F32, Type::F64] {
        for to in INTEGERS {
            for round in ROUNDS {
                for bits in words().into_iter().step_by(2) {
                    let x = match from {
                        Type::F64 => f64::from_bits(bits),
                        Type::F32 => f64::from(f32::from_bits(bits as u32)),
                        _ => f64::from_bits(cvt(Cvt::new(Type::F64, from, Round::Rn), bits)),
                    };
                    let d = cvt(Cvt::new(to, from, round), bits);
                    assert_eq!(d, expected_integer(x, round, to), "{from:?} to {to:?} {round:?} {x:e}");
                }
            }
        }
    }
}

#[test]
fn floats_become_floats_rounded_by_definition() {
    let floats = [Type::F16, Type::Bf16, Type::F32, Type::F64];
    for from in floats {
        for to in floats {
            for round in ROUNDS {
                for bits in words() {
                    let bits = bits & (u64::MAX >> (64 - from.bits()));
                    let d = cvt(Cvt::new(to, from, round), bits);
                    let magnitude = bits & (format(from).sign() - 1);
                    let sign = if bits & format(from).sign() != 0 { format(to).sign() } else { 0 };
                    if magnitude > format(from).infinity() {
                        assert_eq!(d, format(to).nan());
                    } else if magnitude == format(from).infinity() {
                        assert_eq!(d, format(to).infinity() | sign);
                    } else {
                        let exact = Dyadic::of(bits, format(from));
                        assert!(rounds(&exact, d, format(to), round), "{from:?} to {to:?} {round:?} {bits:x} -> {d:x}");
                        assert_eq!(d & format(to).sign(), sign);
                    }
                }
            }
        }
    }
}

#[test]
fn tf32_keeps_ten_bits_of_mantissa() {
    let rna = |x: u32| cvt(Cvt::new(Type::Tf32, Type::F32, Round::Rna), x.into()) as u32;
    assert_eq!(rna(0x3f80_0fff), 0x3f80_0000);
    assert_eq!(rna(0x3f80_1000), 0x3f80_2000, "ties go away from zero");
    assert_eq!(rna(0xbf80_1000), 0xbf80_2000);
    assert_eq!(rna(0x7f7f_ffff), 0x7f80_0000);
    assert_eq!(rna(0x0000_1000), 0x0000_2000);
    assert_eq!(rna(0x7f80_0001), 0x7fff_ffff);
    let rn = Cvt::new(Type::Tf32, Type::F32, Round::Rn);
    assert_eq!(cvt(rn, 0x3f80_1000), 0x3f80_0000, "ties go to even");
    assert_eq!(cvt(Cvt { relu: true, ..rn }, 0xbf80_1000), 0);
}

#[test]
fn integral_rounding_stays_in_the_format() {
    let rounding = |round, x: f32| {
        let c = Cvt { integral: true, ..Cvt::new(Type::F32, Type::F32, round) };
        f32::from_bits(cvt(c, x.to_bits().into()) as u32)
    };
    assert_eq!([0.5, 1.5, 2.5, -2.5, 1e30].map(|x| rounding(Round::Rn, x)), [0.0, 2.0, 2.0, -2.0, 1e30]);
    assert_eq!([0.5, -0.5, 2.9].map(|x| rounding(Round::Rz, x)), [0.0, -0.0, 2.0]);
    assert_eq!(rounding(Round::Rz, -0.5).to_bits(), 1 << 31);
    assert_eq!([0.5, -0.5].map(|x| rounding(Round::Rm, x)), [0.0, -1.0]);
    assert_eq!([0.5, -1.5].map(|x| rounding(Round::Rp, x)), [1.0, -1.0]);
    assert_eq!(rounding(Round::Rn, f32::NAN).to_bits(), 0x7fff_ffff);
    let c = Cvt { integral: true, ..Cvt::new(Type::F64, Type::F64, Round::Rm) };
    assert_eq!(cvt(c, (-1.25f64).to_bits()), (-2f64).to_bits());
}

#[test]
fn modifiers_flush_saturate_and_clear() {
    let c = Cvt::new(Type::F32, Type::F32, Round::Rn);
    let sat = Cvt { sat: true, ..c };
    assert_eq!(
        [2f32, -1.0, 0.25, f32::NAN].map(|x| cvt(sat, x.to_bits().into()) as u32),
        [0x3f80_0000, 0, 0x3e80_0000, 0]
    );
    let ftz = Cvt { ftz: true, ..Cvt::new(Type::F64, Type::F32, Round::Rn) };
    assert_eq!(cvt(ftz, 0x8000_0001), 1 << 63);
    let ftz = Cvt { ftz: true, ..Cvt::new(Type::F32, Type::F64, Round::Rn) };
    assert_eq!(cvt(ftz, (-1e-40f64).to_bits()), 1 << 31);
    let ftz = Cvt { ftz: true, ..Cvt::new(Type::S32, Type::F32, Round::Rp) };
    assert_eq!(cvt(ftz, 1), 0);
    let half = Cvt::new(Type::F16, Type::F32, Round::Rn);
    let minus = u64::from((-1f32).to_bits());
    assert_eq!(cvt(Cvt { relu: true, ..half }, minus), 0);
    assert_eq!(cvt(Cvt { relu: true, ..half }, 0x7fc0_0000), 0x7fff);
    assert_eq!(cvt(Cvt { sat: true, ..half }, u64::from(7f32.to_bits())), 0x3c00);
    assert_eq!(cvt(Cvt { satfinite: true, ..half }, u64::from((-1e9f32).to_bits())), 0xfbff);
    assert_eq!(cvt_pair(half, 1f32.to_bits(), 2f32.to_bits()), 0x3c00_4000);
    assert_eq!(cvt_pair(Cvt::new(Type::Bf16, Type::F32, Round::Rz), 0xbfff_ffff, 0x3fff_ffff), 0xbfff_3fff);
}

#[test]
fn pack_saturates_both_and_keeps_the_rest_of_c() {
    assert_eq!(pack(8, true, true, 300, -300i32 as u32, 0xaabb_ccdd), 0xccdd_7f80);
    assert_eq!(pack(8, false, true, 300, -300i32 as u32, 0xaabb_ccdd), 0xccdd_ff00);
    assert_eq!(pack(16, true, true, 40000, -40000i32 as u32, 9), 0x7fff_8000);
    assert_eq!(pack(16, false, true, 5, -1i32 as u32, 9), 0x0005_0000);
    assert_eq!(pack(4, true, true, 9, -9i32 as u32, 0x123), 0x0001_2378);
    assert_eq!(pack(2, false, true, 9, 1, 0x123), 0x123 << 4 | 0b1101);
}

#[test]
fn relations_treat_nan_as_their_name_says() {
    use Relation::*;
    let all = [Eq, Ne, Lt, Le, Gt, Ge, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, Nan];
    let with = |a: f32, b: f32| all.map(|r| u8::from(compare::f32(r, a.to_bits(), b.to_bits(), false)));
    assert_eq!(with(1.0, 2.0), [0, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0]);
    assert_eq!(with(2.0, 1.0), [0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0]);
    assert_eq!(with(-0.0, 0.0), [1, 0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 0]);
    for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN), (f32::NAN, f32::NAN)] {
        assert_eq!(with(a, b), [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 1]);
    }
    assert!(compare::f32(Eq, 1, 0x8000_0000, true), "flushed subnormals are zero");
    assert!(!compare::f32(Eq, 1, 0x8000_0000, false));
    assert!(compare::half::<crate::arith::half::F16>(Lt, 0xbc00, 0x3c00, false));
    assert!(compare::half::<crate::arith::half::Bf16>(Nan, 0x7f81, 0x3c00, false));
    assert!(compare::f64(Geu, f64::NAN.to_bits(), 0));
    assert!(compare::integer(Lt, -1i32, 0) && compare::integer(Hi, u32::MAX, 0) && compare::integer(Hs, 3u64, 3));
    for name in ["eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu"] {
        assert_eq!(format!("{:?}", Relation::parse(name).unwrap()).to_lowercase(), name);
    }
}
