use super::Random;
use super::exact::{Dyadic, rounds};
use crate::arith::float::Extremum;
use crate::arith::fp8::{self, Fp8};
use crate::arith::half::{self, Bf16, Half, Mode};
use crate::arith::soft::{self, Format, Round};

#[test]
fn every_half_widens_to_its_value() {
    for bits in 0..=u16::MAX {
        for (format, wide) in [(soft::F16, half::f16_to_f32(bits)), (soft::BF16, half::bf16_to_f32(bits))] {
            let magnitude = u64::from(bits) & 0x7fff;
            if magnitude > format.infinity() {
                assert!(wide.is_nan());
            } else if magnitude == format.infinity() {
                assert!(wide.is_infinite());
            } else {
                assert!(Dyadic::of(bits.into(), format).cmp(&Dyadic::f32(wide.to_bits())).is_eq(), "{bits:04x}");
            }
            assert_eq!(wide.is_sign_negative(), bits >> 15 == 1);
        }
    }
}

/// Narrowing is monotone, so its steps say everything: each number, each midpoint between
/// neighbours, and the `f32` next to the midpoint on either side.
fn steps_are_right<H: Half>() {
    for n in 0..H::INFINITY {
        let low = H::widen(n);
        let high = if n + 1 == H::INFINITY { low + (low - H::widen(n - 1)) } else { H::widen(n + 1) };
        let middle = ((f64::from(low) + f64::from(high)) / 2.0) as f32;
        let even = if n & 1 == 0 { n } else { n + 1 };
        for (x, expected) in [
            (low, n),
            (f32::from_bits(middle.to_bits() - 1), n),
            (middle, even),
            (f32::from_bits(middle.to_bits() + 1), n + 1),
        ] {
            assert_eq!(H::narrow(x), expected, "{x:e}");
            assert_eq!(H::narrow(-x), expected | 0x8000, "-{x:e}");
        }
    }
    assert_eq!(H::narrow(f32::INFINITY), H::INFINITY);
    assert_eq!(H::narrow(f32::MAX), H::INFINITY);
    assert_eq!(H::narrow(f32::from_bits(0xff80_0001)), half::NAN);
}

#[test]
fn f16_narrows_by_definition_at_every_step() {
    steps_are_right::<half::F16>();
}

#[test]
fn bf16_narrows_by_definition_at_every_step() {
    for n in 0..0x7f7f {
        let (low, high) = (Bf16::widen(n), Bf16::widen(n + 1));
        let middle = u32::from(n) << 16 | 0x8000;
        assert_eq!(Bf16::narrow(low), n);
        assert_eq!(Bf16::narrow(high), n + 1);
        assert_eq!(Bf16::narrow(f32::from_bits(middle)), if n & 1 == 0 { n } else { n + 1 });
        assert_eq!(Bf16::narrow(-f32::from_bits(middle - 1)), n | 0x8000);
        assert_eq!(Bf16::narrow(f32::from_bits(middle + 1)), n + 1);
    }
    assert_eq!(Bf16::narrow(f32::from_bits(0x7f7f_8000)), 0x7f80);
    assert_eq!(Bf16::narrow(f32::from_bits(0x7f7f_7fff)), 0x7f7f);
    assert_eq!(Bf16::narrow(f32::from_bits(0xff80_0001)), half::NAN);
}

fn arithmetic_rounds_once<H: Half>(format: Format) {
    let mode = Mode::default();
    let mut r = Random(5);
    let mut cases = Vec::new();
    let corners = [0u16, 1, 2, 0x3ff, 0x400, 0x7f, 0x80, H::ONE, H::ONE + 1, H::INFINITY - 1, H::INFINITY - 2];
    for a in corners {
        for b in corners {
            for c in corners {
                cases.push((a, b, c | 0x8000));
                cases.push((a | 0x8000, b, c | 0x8000));
            }
        }
    }
    for _ in 0..60_000 {
        let x = r.u64();
        let (a, b, c) = (x as u16, (x >> 16) as u16, (x >> 32) as u16);
        // An addend far below a product that is a tie decides the tie.
        cases.push(if x >> 63 == 0 { (a, b, c) } else { (a | 1, b | 1, c & 0x83ff) });
    }
    for (a, b, c) in cases {
        if [a, b, c].iter().any(|x| x & 0x7fff >= H::INFINITY) {
            continue;
        }
        let (x, y, z) = (Dyadic::of(a.into(), format), Dyadic::of(b.into(), format), Dyadic::of(c.into(), format));
        let check = |op: &str, v: &Dyadic, d: u16| {
            assert!(rounds(v, d.into(), format, Round::Rn), "{op} {a:04x} {b:04x} {c:04x} -> {d:04x}");
        };
        check("add", &x.plus(&y), half::add::<H>(a, b, mode));
        check("sub", &x.plus(&y.negated()), half::sub::<H>(a, b, mode));
        check("mul", &x.times(&y), half::mul::<H>(a, b, mode));
        check("fma", &x.times(&y).plus(&z), half::fma::<H>(a, b, c, mode));
    }
}

#[test]
fn f16_arithmetic_rounds_once() {
    arithmetic_rounds_once::<half::F16>(soft::F16);
}

#[test]
fn bf16_arithmetic_rounds_once() {
    arithmetic_rounds_once::<Bf16>(soft::BF16);
}

#[test]
fn a_bf16_tie_is_broken_by_a_far_addend() {
    let (a, b) = (0x3f83, 0x3fc0);
    let exact = f64::from(Bf16::widen(a)) * f64::from(Bf16::widen(b));
    let bits = (exact as f32).to_bits();
    assert_eq!(bits & 0xffff, 0x8000, "a tie");
    let down = (bits >> 16) as u16;
    assert_eq!(half::fma::<Bf16>(a, b, 0x0001, Mode::default()), down + 1);
    assert_eq!(half::fma::<Bf16>(a, b, 0x8001, Mode::default()), down);
}

#[test]
fn half_modifiers_clamp_flush_and_keep_nan() {
    type H = half::F16;
    let (one, minus, nan) = (0x3c00u16, 0xbc00u16, 0x7e01u16);
    let relu = Mode { relu: true, ..Mode::default() };
    let sat = Mode { sat: true, ..Mode::default() };
    let ftz = Mode { ftz: true, ..Mode::default() };
    assert_eq!(half::fma::<H>(one, minus, 0, relu), 0);
    assert_eq!(half::fma::<H>(0x8000, one, 0x8000, relu), 0, "minus zero is cleared too");
    assert_eq!(half::fma::<H>(nan, one, 0, relu), half::NAN);
    assert_eq!(half::fma::<H>(nan, one, 0, sat), 0);
    assert_eq!(half::add::<H>(one, one, sat), one);
    assert_eq!(half::add::<H>(minus, 0x3800, sat), 0);
    assert_eq!(half::add::<H>(0x8001, 0x8000, ftz), 0x8000);
    assert_eq!(half::mul::<H>(0x0400, 0xb800, ftz), 0x8000, "the result is subnormal");
    assert_eq!(half::mul::<H>(0x0400, 0xb800, Mode::default()), 0x8200);
    assert_eq!(half::add::<H>(0x7bff, 0x7bff, Mode::default()), 0x7c00);
    assert_eq!(half::add::<H>(0x7c00, 0xfc00, Mode::default()), half::NAN);
    let max = Extremum { max: true, ..Extremum::default() };
    assert_eq!(half::extremum::<H>(nan, one, max), one);
    assert_eq!(half::extremum::<H>(nan, one, Extremum { nan: true, ..max }), half::NAN);
    assert_eq!(half::extremum::<H>(0x8000, 0, max), 0);
    assert_eq!(half::extremum::<Bf16>(0x8001, 0x0001, Extremum::default()), 0x8001);
    assert_eq!(half::pair2(0x4000_3c00, 0x3c00_3c00, |a, b| half::add::<H>(a, b, Mode::default())), 0x4200_4000);
    assert_eq!(half::neg::<H>(nan, false), nan | 0x8000);
    assert_eq!(half::abs::<H>(0x8001, true), 0);
}

/// Value of a byte by the format's definition.
fn fp8_value(format: Fp8, bits: u8) -> Option<f64> {
    let (exponent_bits, mantissa_bits, bias) = if format == Fp8::E4m3 { (4, 3, 7) } else { (5, 2, 15) };
    let mantissa = i32::from(bits) & ((1 << mantissa_bits) - 1);
    let field = i32::from(bits) >> mantissa_bits & ((1 << exponent_bits) - 1);
    let special = field == (1 << exponent_bits) - 1;
    if special && (format == Fp8::E5m2 || mantissa == 7) {
        return None;
    }
    let (significand, power) = if field == 0 { (mantissa, 1) } else { (mantissa | 1 << mantissa_bits, field) };
    let value = f64::from(significand) * 2f64.powi(power - bias - mantissa_bits);
    Some(if bits >= 128 { -value } else { value })
}

#[test]
fn fp8_takes_the_nearest_value_and_stops_at_the_largest() {
    for (format, largest) in [(Fp8::E4m3, 448f32), (Fp8::E5m2, 57344.0)] {
        let values: Vec<(u8, f64)> = (0..=255).filter_map(|b| Some((b, fp8_value(format, b)?))).collect();
        for (bits, value) in &values {
            assert_eq!(f64::from(format.widen(*bits)), *value);
        }
        let mut r = Random(6);
        let mut tests: Vec<f32> = values.iter().map(|(_, v)| *v as f32).collect();
        let positive: Vec<f64> = values.iter().map(|(_, v)| *v).filter(|v| *v >= 0.0).collect();
        for pair in positive.windows(2) {
            let middle = ((pair[0] + pair[1]) / 2.0) as f32;
            tests.extend([middle, -middle, f32::from_bits(middle.to_bits() + 1), f32::from_bits(middle.to_bits() - 1)]);
        }
        tests.extend(
            (0..4000).map(|_| (r.u32() as f32 / 2f32.powi(31) - 1.0) * largest * 2f32.powi(-(r.u32() as i32 & 15))),
        );
        for x in tests {
            let got = format.narrow(x, false);
            let distance = |v: f64| (v - f64::from(x)).abs();
            let best = values.iter().map(|(_, v)| distance(*v)).fold(f64::MAX, f64::min);
            let value = fp8_value(format, got).unwrap();
            assert_eq!(distance(value), best, "{format:?} {x:e} -> {got:02x}");
            let tied = values.iter().filter(|(b, v)| distance(*v) == best && (b & 0x7f != 0)).count() > 1;
            assert!(!tied || got & 1 == 0, "{format:?} {x:e} -> {got:02x} is odd");
            assert_eq!(got >= 128, x.is_sign_negative());
        }
        for x in [f32::INFINITY, f32::MAX, largest * 2.0] {
            assert_eq!(format.widen(format.narrow(x, false)), largest);
            assert_eq!(format.widen(format.narrow(-x, false)), -largest);
            assert_eq!(format.narrow(-x, true), 0);
        }
        assert_eq!(format.narrow(f32::NAN, false), 0x7f);
        assert!(format.widen(0x7f).is_nan());
    }
    assert_eq!(fp8::pack(Fp8::E4m3, 1.0, 2.0, false), 0x3840);
    assert_eq!(fp8::unpack_f16x2(Fp8::E4m3, 0x38c0, false), 0x3c00_c000);
    assert_eq!(fp8::unpack_f16x2(Fp8::E5m2, 0x3cc0, true), 0x3c00_0000);
    assert_eq!(fp8::pack_f16x2(Fp8::E5m2, 0x3c00_c000, false), 0x3cc0);
}
