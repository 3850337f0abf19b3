//! Half precision, alone and in pairs.

use crate::harness::{harness, numbers};
use half::{bf16, f16};

/// Finite halves of every magnitude.
fn halves(n: usize) -> Vec<f16> {
    numbers(2 * n).into_iter().map(|v| f16::from_bits((v >> 7) as u16)).filter(|v| v.is_finite()).take(n).collect()
}

/// One rounding from f64 to half: f64 is exact for sums and products of halves.
fn round(v: f64) -> f16 {
    f16::from_f64(v)
}

#[track_caller]
fn same_half(got: f16, expected: f16, what: &str) {
    let equal = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
    assert!(equal, "{what}: {got} ({:#06x}), expected {expected} ({:#06x})", got.to_bits(), expected.to_bits());
}

#[test]
fn half_scalars_round_once() {
    let b = harness("halves");
    let n = 500;
    let all = halves(2 * n);
    let (x, y) = all.split_at(n);
    let bits = |v: &[f16]| v.iter().map(|h| h.to_bits()).collect::<Vec<u16>>();
    let mut out = b.fresh::<u16>(n * 16);
    let (dx, dy) = (b.put(&bits(x)), b.put(&bits(y)));
    run!(b, half_scalars(&dx, &dy, &mut out, &(n as i32)), 4, 128);
    let out = b.get(&out);
    for i in 0..n {
        let (a, c) = (x[i].to_f64(), y[i].to_f64());
        let o = |at: usize| f16::from_bits(out[i * 16 + at]);
        let what = format!("{a}, {c}");
        same_half(o(0), round(a + c), &what);
        same_half(o(1), round(a - c), &what);
        same_half(o(2), round(a * c), &what);
        same_half(o(3), round(a * c + 1.0), &what);
        same_half(o(5), round(if a > c { a } else { c }), &what);
        same_half(o(6), round(if a < c { a } else { c }), &what);
        same_half(o(7), round((a + c).clamp(0.0, 1.0)), &what);
        let relu = round(a * c + a).to_f64().max(0.0);
        same_half(o(8), round(relu), &what);
        same_half(o(9), round(-a.abs()), &what);
        same_half(o(10), round(f64::from(x[i].to_bits()) - 32768.0), &what);
        assert_eq!(o(11).to_f64(), a.trunc());
        let flags = u16::from(a < c) | u16::from(a >= c) << 1 | u16::from(a == c) << 2 | u16::from(a != c) << 3;
        assert_eq!(out[i * 16 + 12], flags);
        assert_eq!(out[i * 16 + 13], a as i32 as u16);
        // Division and root go through single precision; both are right to half an ulp or so.
        let close = |got: f16, exact: f64| {
            let ulp = (exact.abs() * 2f64.powi(-10)).max(2f64.powi(-24));
            let overflow = exact.abs() > 65_504.0 && got.is_infinite();
            assert!(overflow || (got.to_f64() - exact).abs() <= ulp, "{what}: {got}, expected {exact}");
        };
        if c != 0.0 {
            close(o(4), a / c);
        }
        close(o(14), a.abs().sqrt());
        let cut = o(15).to_f64().abs();
        let exact = f64::from(x[i].to_f32() * 1.0001f32).abs();
        assert!(cut <= exact && exact - cut <= (exact * 2f64.powi(-10)).max(2f64.powi(-24)) || exact > 65_504.0);
    }
}

#[test]
fn half_pairs_work_on_both_halves() {
    let b = harness("halves");
    let n = 256;
    let all = halves(4 * n);
    let (x, y) = all.split_at(2 * n);
    let mut out = b.fresh::<f16>(n * 16);
    let (dx, dy) = (b.put(x), b.put(y));
    run!(b, half_pairs(&dx, &dy, &mut out, &(n as i32)), 2, 128);
    let out = b.get(&out);
    for i in 0..n {
        for side in 0..2 {
            let (a, c) = (x[2 * i + side].to_f64(), y[2 * i + side].to_f64());
            let o = |at: usize| out[i * 16 + at * 2 + side];
            let what = format!("{a}, {c}");
            same_half(o(0), round(a + c), &what);
            same_half(o(1), round(a * c + c), &what);
            same_half(o(2), round(a * c), &what);
            same_half(o(3), round(if a > c { a } else { c }), &what);
            same_half(o(4), x[2 * i + 1 - side], &what);
            same_half(o(5), round(f64::from(u8::from(a > c))), &what);
            same_half(o(6), round(a - c), &what);
            same_half(o(7), if side == 0 { x[2 * i] } else { y[2 * i + 1] }, &what);
        }
    }
}

#[test]
fn bfloats_round_once() {
    let b = harness("halves");
    let n = 256;
    let all: Vec<bf16> = numbers(4 * n)
        .into_iter()
        .map(|v| bf16::from_f32((v as i32 as f32) * 2f32.powi((v % 40) as i32 - 50)))
        .collect();
    let (x, y) = all.split_at(2 * n);
    let mut out = b.fresh::<bf16>(n * 12);
    let (dx, dy) = (b.put(x), b.put(y));
    run!(b, bfloats(&dx, &dy, &mut out, &(n as i32)), 2, 128);
    let out = b.get(&out);
    for i in 0..n {
        for side in 0..2 {
            let (a, c) = (x[2 * i + side].to_f64(), y[2 * i + side].to_f64());
            let o = |at: usize| out[i * 12 + at * 2 + side].to_f64();
            // Products of bfloats are exact in f64, and so are these sums: 16 bits plus
            // 40 powers of two apart.
            let rounded = |v: f64| bf16::from_f64(v).to_f64();
            assert_eq!(o(0), rounded(a + c), "{a} + {c}");
            assert_eq!(o(1), rounded(a * c), "{a} · {c}");
            assert_eq!(o(2), rounded(a * c + a), "{a} · {c} + {a}");
            assert_eq!(o(3), a.max(c));
            let (first, second) = (x[2 * i].to_f32() * 3.0, y[2 * i + 1].to_f32() / 3.0);
            let expected = bf16::from_f32(if side == 0 { first } else { second });
            assert_eq!(o(4), expected.to_f64());
            assert_eq!(o(5), -a.min(c));
        }
    }
}

#[test]
fn half_atomics_add_up() {
    let b = harness("halves");
    let mut sum = b.zeros::<f16>(2);
    let mut one = b.zeros::<f16>(2);
    let mut bsum = b.zeros::<bf16>(2);
    run!(b, half_atomics(&mut sum, &mut one, &mut bsum), 1, 96);
    assert_eq!(b.get(&sum).iter().map(|v| v.to_f32()).collect::<Vec<_>>(), [96.0, 48.0]);
    assert_eq!(b.get(&one)[0].to_f32(), 24.0);
    assert_eq!(b.get(&bsum).iter().map(|v| v.to_f32()).collect::<Vec<_>>(), [96.0, 192.0]);
}
