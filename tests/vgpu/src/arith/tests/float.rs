use super::Random;
use super::exact::{Dyadic, rounds, rounds_quotient, rounds_root};
use crate::arith::approx;
use crate::arith::float::*;
use crate::arith::soft::{F32, F64, Round};

const ROUNDS: [Round; 4] = [Round::Rn, Round::Rz, Round::Rm, Round::Rp];

const CORNERS_32: [u32; 26] = [
    0,
    0x8000_0000,
    1,
    2,
    0x8000_0001,
    0x007f_ffff,
    0x0080_0000,
    0x0080_0001,
    0x3f80_0000,
    0xbf80_0000,
    0x3f80_0001,
    0x3f7f_ffff,
    0x4b80_0000,
    0xcb80_0001,
    0x3380_0000,
    0x3400_0000,
    0x3300_0001,
    0x7f7f_ffff,
    0xff7f_ffff,
    0x7f00_0000,
    0x7e80_0001,
    0x2000_0000,
    0x1fff_ffff,
    0x5f80_0000,
    0x4040_0000,
    0x8080_0000,
];

fn operands_32() -> Vec<(u32, u32, u32)> {
    let mut all = Vec::new();
    let mut r = Random(1);
    for a in CORNERS_32 {
        for b in CORNERS_32 {
            all.push((a, b, CORNERS_32[r.u32() as usize % CORNERS_32.len()]));
        }
    }
    while all.len() < 6000 {
        let (a, b, c) = (r.u32(), r.u32(), r.u32());
        // Exponents close to each other cancel and tie more often.
        let near = (a & 0x7f80_0000).wrapping_add((r.u32() % 50) << 23) & 0x7fff_ffff;
        let b = if r.u32() & 1 == 0 { b } else { b & 0x807f_ffff | near };
        if [a, b, c].iter().all(|x| f32::from_bits(*x).is_finite()) {
            all.push((a, b, c));
        }
    }
    all
}

#[test]
fn f32_results_are_rounded_by_definition() {
    for (a, b, c) in operands_32() {
        let (x, y, z) = (Dyadic::f32(a), Dyadic::f32(b), Dyadic::f32(c));
        for round in ROUNDS {
            let mode = Mode::rounding(round);
            let show = |op: &str, d: u32| format!("{op} {a:08x} {b:08x} {c:08x} {round:?} -> {d:08x}");
            let check = |op: &str, v: &Dyadic, d: u32| assert!(rounds(v, d.into(), F32, round), "{}", show(op, d));
            check("add", &x.plus(&y), add_f32(a, b, mode));
            check("sub", &x.plus(&y.negated()), sub_f32(a, b, mode));
            check("mul", &x.times(&y), mul_f32(a, b, mode));
            check("fma", &x.times(&y).plus(&z), fma_f32(a, b, c, mode));
            if a << 1 != 0 && b << 1 != 0 {
                let d = div_f32(a, b, mode);
                assert!(rounds_quotient(&x, &y, d.into(), F32, round), "{}", show("div", d));
                let d = sqrt_f32(a & 0x7fff_ffff, mode);
                assert!(rounds_root(&Dyadic::f32(a & 0x7fff_ffff), d.into(), F32, round), "{}", show("sqrt", d));
            }
        }
    }
}

#[test]
fn f64_results_are_rounded_by_definition() {
    let corners: Vec<u64> = [0, 1, 3, (1 << 52) - 1, 1 << 52, (1 << 52) + 1]
        .into_iter()
        .chain([1.0f64, 1.0 + f64::EPSILON, 3.0, f64::MAX, f64::MAX / 2.0, 1e-160, 2f64.powi(-53)].map(f64::to_bits))
        .flat_map(|x| [x, x | 1 << 63])
        .collect();
    let mut all = Vec::new();
    let mut r = Random(2);
    for a in &corners {
        for b in &corners {
            all.push((*a, *b, corners[r.u32() as usize % corners.len()]));
        }
    }
    while all.len() < 3000 {
        let (a, b, c) = (r.u64(), r.u64(), r.u64());
        let near = (a >> 52 & 0x7ff).wrapping_add(u64::from(r.u32() % 120)).min(0x7fe) << 52;
        let b = if r.u32() & 1 == 0 { b } else { b & 0x800f_ffff_ffff_ffff | near };
        if [a, b, c].iter().all(|x| f64::from_bits(*x).is_finite()) {
            all.push((a, b, c));
        }
    }
    for (a, b, c) in all {
        let (x, y, z) = (Dyadic::f64(a), Dyadic::f64(b), Dyadic::f64(c));
        for round in ROUNDS {
            let mode = Mode::rounding(round);
            let show = |op: &str, d: u64| format!("{op} {a:016x} {b:016x} {c:016x} {round:?} -> {d:016x}");
            let check = |op: &str, v: &Dyadic, d: u64| assert!(rounds(v, d, F64, round), "{}", show(op, d));
            check("add", &x.plus(&y), add_f64(a, b, mode));
            check("sub", &x.plus(&y.negated()), sub_f64(a, b, mode));
            check("mul", &x.times(&y), mul_f64(a, b, mode));
            check("fma", &x.times(&y).plus(&z), fma_f64(a, b, c, mode));
            if a << 1 != 0 && b << 1 != 0 {
                let d = div_f64(a, b, mode);
                assert!(rounds_quotient(&x, &y, d, F64, round), "{}", show("div", d));
                let d = sqrt_f64(a & !(1 << 63), mode);
                assert!(rounds_root(&Dyadic::f64(a & !(1 << 63)), d, F64, round), "{}", show("sqrt", d));
            }
        }
    }
}

#[test]
fn an_exact_zero_is_negative_only_when_rounding_down() {
    let (one, minus) = (1f32.to_bits(), (-1f32).to_bits());
    let zeros = [0u32, 1 << 31];
    for round in ROUNDS {
        let mode = Mode::rounding(round);
        let expected = if round == Round::Rm { 1 << 31 } else { 0 };
        assert_eq!(add_f32(one, minus, mode), expected);
        assert_eq!(fma_f32(one, minus, one, mode), expected);
        assert_eq!(add_f32(zeros[0], zeros[1], mode), expected);
        assert_eq!(add_f32(zeros[1], zeros[1], mode), 1 << 31);
        assert_eq!(add_f32(zeros[0], zeros[0], mode), 0);
        let (one, minus) = (1f64.to_bits(), (-1f64).to_bits());
        let expected = if round == Round::Rm { 1 << 63 } else { 0 };
        assert_eq!(add_f64(one, minus, mode), expected);
        assert_eq!(fma_f64(one, minus, one, mode), expected);
        assert_eq!(add_f64(0, 1 << 63, mode), expected);
        assert_eq!(fma_f64(0, minus, 1 << 63, mode), 1 << 63);
    }
}

#[test]
fn special_values_follow_ieee_and_nan_is_canonical() {
    let (inf, nan) = (f32::INFINITY.to_bits(), 0xffc0_1234);
    for round in ROUNDS {
        let mode = Mode::rounding(round);
        assert_eq!(add_f32(inf, inf | 1 << 31, mode), NAN_F32);
        assert_eq!(add_f32(nan, 0, mode), NAN_F32);
        assert_eq!(mul_f32(inf, 0, mode), NAN_F32);
        assert_eq!(fma_f32(inf, 1f32.to_bits(), 3, mode), inf);
        assert_eq!(div_f32(1f32.to_bits(), 1 << 31, mode), inf | 1 << 31);
        assert_eq!(div_f32(0, 0, mode), NAN_F32);
        assert_eq!(sqrt_f32(1 << 31, mode), 1 << 31);
        assert_eq!(sqrt_f32(0xbf80_0000, mode), NAN_F32);
        assert_eq!(rcp_f32(inf, mode), 0);
        assert_eq!(rcp_f64(1 << 63, mode), (-f64::INFINITY).to_bits());
        assert_eq!(sqrt_f64((-1f64).to_bits(), mode), NAN_F64);
        assert_eq!(div_f64(f64::INFINITY.to_bits(), 3, mode), f64::INFINITY.to_bits());
    }
}

#[test]
fn ftz_flushes_inputs_and_results_and_keeps_signs() {
    let ftz = Mode { ftz: true, ..Mode::default() };
    let tiny = 0x8000_0001u32;
    assert_eq!(add_f32(tiny, 0x8000_0000, ftz), 0x8000_0000);
    assert_eq!(mul_f32(tiny, 0x7f00_0000, ftz), 0x8000_0000);
    assert_eq!(mul_f32(0x0080_0000, 0xbf00_0000, ftz), 0x8000_0000, "the result is subnormal");
    assert_eq!(fma_f32(tiny, 0x3f80_0000, 0x3f80_0000, ftz), 0x3f80_0000);
    assert_eq!(div_f32(0x3f80_0000, tiny, ftz), 0xff80_0000);
    assert_eq!(sqrt_f32(tiny, ftz), 0x8000_0000);
    assert_eq!(abs_f32(tiny, true), 0);
    assert_eq!(neg_f32(tiny, true), 0);
}

#[test]
fn sat_clamps_to_the_unit_interval() {
    let sat = Mode { sat: true, ..Mode::default() };
    let add = |a: f32, b: f32| f32::from_bits(add_f32(a.to_bits(), b.to_bits(), sat));
    assert_eq!(add(0.25, 0.5), 0.75);
    assert_eq!(add(0.75, 0.5), 1.0);
    assert_eq!(add(-0.75, 0.5).to_bits(), 0);
    assert_eq!(add(-0.0, -0.0).to_bits(), 0);
    assert_eq!(add(f32::NAN, 0.5).to_bits(), 0);
    assert_eq!(add(f32::INFINITY, 0.5), 1.0);
}

#[test]
fn min_and_max_order_zeros_and_lose_nan() {
    let f = |a: f32, b: f32, max, nan| {
        f32::from_bits(extremum_f32(a.to_bits(), b.to_bits(), Extremum { max, nan, ..Extremum::default() }))
    };
    let nan = f32::NAN;
    for (a, b) in [(0.0, -0.0), (-0.0, 0.0)] {
        assert_eq!(f(a, b, false, false).to_bits(), 1 << 31);
        assert_eq!(f(a, b, true, false).to_bits(), 0);
    }
    assert_eq!(f(1.0, 2.0, false, false), 1.0);
    assert_eq!(f(1.0, 2.0, true, false), 2.0);
    assert_eq!(f(2.0, 1.0, false, true), 1.0);
    for max in [false, true] {
        assert_eq!(f(nan, 2.0, max, false), 2.0);
        assert_eq!(f(2.0, nan, max, false), 2.0);
        assert_eq!(f(2.0, nan, max, true).to_bits(), NAN_F32);
        assert_eq!(f(nan, 2.0, max, true).to_bits(), NAN_F32);
        assert_eq!(f(nan, -nan, max, false).to_bits(), NAN_F32);
        assert_eq!(extremum_f64(f64::NAN.to_bits(), 2f64.to_bits(), max), 2f64.to_bits());
    }
    assert_eq!(extremum_f64(0, 1 << 63, false), 1 << 63);
    let xorsign = Extremum { max: true, xorsign: true, ..Extremum::default() };
    let g = |a: f32, b: f32| f32::from_bits(extremum_f32(a.to_bits(), b.to_bits(), xorsign));
    assert_eq!(g(-3.0, 2.0), -3.0);
    assert_eq!(g(-2.0, -3.0), 3.0);
    assert_eq!(g(2.0, -3.0), -3.0);
    assert_eq!(f32::from_bits(copysign_f32((-1f32).to_bits(), 2f32.to_bits())), -2.0);
    assert_eq!(f64::from_bits(copysign_f64(1f64.to_bits(), (-2f64).to_bits())), 2.0);
}

#[test]
fn testp_tells_the_classes_apart() {
    use Property::*;
    let table = [
        (0u32, [true, false, true, false, false, false]),
        (1, [true, false, true, false, false, true]),
        (0x3f80_0000, [true, false, true, false, true, false]),
        (0xff80_0000, [false, true, true, false, false, false]),
        (0x7fc0_0000, [false, false, false, true, false, false]),
    ];
    for (bits, expected) in table {
        let all = [Finite, Infinite, Number, NotANumber, Normal, Subnormal];
        assert_eq!(all.map(|p| testp_f32(bits, p)), expected, "{bits:08x}");
    }
    assert!(testp_f64(1, Subnormal) && !testp_f64(1, Normal));
}

/// Distance in units of the last place.
fn ulps(a: u32, b: u32) -> u32 {
    let order = |x: u32| if x >> 31 == 1 { -i64::from(x & 0x7fff_ffff) } else { i64::from(x) };
    (order(a) - order(b)).unsigned_abs() as u32
}

/// PTX ISA 9.0, lg2: an absolute error of 2^-22 for inputs in (0.5, 2), elsewhere a relative one.
#[test]
fn logarithms_near_zero_are_as_far_off_as_they_may_be() {
    let mut r = Random(4);
    let mut most = 0.0_f64;
    for _ in 0..20_000 {
        let x = 0.5 + r.u32() as f32 / 2f32.powi(32) * 1.5;
        let off = f64::from(f32::from_bits(approx::lg2_f32(x.to_bits(), false))) - f64::from(x).log2();
        most = most.max(off.abs());
        let far = x * f32::from_bits((r.u32() % 100 + 130) << 23);
        let expected = f64::from(far).log2() as f32;
        assert!(ulps(approx::lg2_f32(far.to_bits(), false), expected.to_bits()) <= 1, "{far:e}");
    }
    assert!(most > 2f64.powi(-24) && most <= 2f64.powi(-22), "{most:e}");
}

/// `approx` is computed in f64 with an error far below half a unit of f32: at most one unit from
/// the rounded libm result.
#[test]
fn approximations_are_within_one_unit_of_libm() {
    type Case = (fn(u32, bool) -> u32, fn(f64) -> f64, f32);
    let cases: [Case; 6] = [
        (approx::ex2_f32, f64::exp2, 150.0),
        (approx::sin_f32, f64::sin, 100.0),
        (approx::cos_f32, f64::cos, 100.0),
        (approx::rcp_f32, f64::recip, f32::MAX),
        (approx::sqrt_f32, f64::sqrt, f32::MAX),
        (approx::rsqrt_f32, |x| 1.0 / x.sqrt(), f32::MAX),
    ];
    let mut r = Random(3);
    for (i, (f, g, range)) in cases.into_iter().enumerate() {
        for n in 0..20_000 {
            let x = match n % 3 {
                0 => f32::from_bits(r.u32() & 0x7fff_ffff),
                1 => (r.u32() as f32 / 2f32.powi(32) - 0.5) * 8.0 + 1.0,
                _ => (r.u32() as f32 / 2f32.powi(31) - 1.0) * range,
            };
            let expected = g(f64::from(x)) as f32;
            let got = f(x.to_bits(), false);
            if expected.is_nan() {
                assert_eq!(got, NAN_F32);
            } else if x.abs() <= range {
                assert!(
                    ulps(got, expected.to_bits()) <= 1,
                    "case {i}: {x:e} -> {:e}, {expected:e}",
                    f32::from_bits(got)
                );
            }
        }
    }
}

#[test]
fn approximations_have_their_special_values() {
    let (inf, minf, zero, mzero, sub) = (0x7f80_0000, 0xff80_0000, 0, 1 << 31, 0x8000_0001);
    let one = 0x3f80_0000;
    assert_eq!([zero, mzero, sub, inf, minf].map(|x| approx::ex2_f32(x, true)), [one, one, one, inf, 0]);
    assert_eq!(approx::ex2_f32((-140f32).to_bits(), false), 1 << 9);
    assert_eq!(approx::ex2_f32((-140f32).to_bits(), true), 0);
    assert_eq!(approx::ex2_f32(128f32.to_bits(), false), inf);
    assert_eq!([zero, mzero, inf, minf].map(|x| approx::lg2_f32(x, false)), [minf, minf, inf, NAN_F32]);
    assert_eq!(approx::lg2_f32(1, false), (-149f32).to_bits());
    assert_eq!(approx::lg2_f32(1, true), minf);
    assert_eq!([zero, mzero, inf, minf].map(|x| approx::rcp_f32(x, false)), [inf, minf, 0, mzero]);
    assert_eq!(approx::rcp_f32(sub, true), minf);
    assert_eq!([zero, mzero, inf, minf].map(|x| approx::rsqrt_f32(x, false)), [inf, minf, 0, NAN_F32]);
    assert_eq!([mzero, inf].map(|x| approx::sin_f32(x, false)), [mzero, NAN_F32]);
    assert_eq!([zero, inf].map(|x| approx::cos_f32(x, false)), [one, NAN_F32]);
    assert_eq!([zero, inf, minf].map(approx::tanh_f32), [0, one, one | 1 << 31]);
    assert_eq!(approx::div_approx_f32(one, 0x7f00_0000, false), 0, "the reciprocal vanishes");
    assert_eq!(approx::div_approx_f32(inf, 0x7f00_0000, false), NAN_F32);
    assert_eq!(approx::div_full_f32(0x7f00_0000, 0x7f00_0000, false), one);
    assert_eq!(approx::rcp_ftz_f64(3f64.to_bits()), (1f64 / 3.0).to_bits() >> 32 << 32);
    assert_eq!(approx::rcp_ftz_f64(1), f64::INFINITY.to_bits());
    assert_eq!(approx::rcp_ftz_f64(f64::MAX.to_bits()), 0);
    assert_eq!(approx::rsqrt_f64(4f64.to_bits()), 0.5f64.to_bits());
    assert_eq!(approx::rsqrt_ftz_f64((-4f64).to_bits()), 0x7fff_ffff_0000_0000);
}
