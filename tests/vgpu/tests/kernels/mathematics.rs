//! The mathematics library within its error bounds, roundings, integer intrinsics.

use crate::harness::{harness, numbers};

/// The functions of `mathematics.cu`, in its order, in double precision.
fn functions(x: f64, y: f64, single: bool) -> Vec<f64> {
    // Arguments that the kernel computes in its own precision.
    let own = |v: f64| if single { f64::from(v as f32) } else { v };
    let (eighth, large) = (own(x / 8.0), own(x * 100_000.0));
    let remainder = x - y * (x / y).round_ties_even();
    vec![
        x.sin(),
        x.cos(),
        x.tan(),
        eighth.asin(),
        eighth.acos(),
        x.atan(),
        x.sinh(),
        x.cosh(),
        x.tanh(),
        x.exp(),
        x.exp2(),
        x.exp_m1(),
        y.ln(),
        y.log2(),
        y.log10(),
        y.ln_1p(),
        y.sqrt(),
        x.cbrt(),
        y.powf(x),
        x.atan2(y),
        x.hypot(y),
        x % y,
        remainder,
        x.floor(),
        x.ceil(),
        x.trunc(),
        x.round(),
        x.round_ties_even(),
        x.abs(),
        x.max(y),
        x.min(y),
        y.copysign(x),
        (x - y).max(0.0),
        x.mul_add(y, x),
        x * 32.0,
        x / y,
        1.0 / y,
        1.0 / y.sqrt(),
        large.sin(),
        large.cos(),
    ]
}

/// Arguments on a grid fine enough that x - y·k is exact: x in ±8, y in 0.25 to 4.
fn arguments(n: usize) -> (Vec<f64>, Vec<f64>) {
    let raw = numbers(2 * n);
    let x = raw[..n].iter().map(|&v| f64::from(v as i32 >> 12) / 65_536.0).collect();
    let y = raw[n..].iter().map(|&v| f64::from((v >> 14) + (1 << 14)) / 65_536.0).collect();
    (x, y)
}

#[test]
fn mathematics_stay_within_their_error_bounds() {
    let b = harness("mathematics");
    let n = 300;
    let (x, y) = arguments(n);
    let single = |v: &[f64]| v.iter().map(|&v| v as f32).collect::<Vec<_>>();
    let mut floats = b.fresh::<f32>(40 * n);
    run!(b, floats(&b.put(&single(&x)), &b.put(&single(&y)), &mut floats, &(n as i32)), 3, 128);
    let mut doubles = b.fresh::<f64>(40 * n);
    run!(b, doubles(&b.put(&x), &b.put(&y), &mut doubles, &(n as i32)), 3, 128);
    let (floats, doubles) = (b.get(&floats), b.get(&doubles));
    for i in 0..n {
        let narrow = functions(f64::from(x[i] as f32), f64::from(y[i] as f32), true);
        for (at, (exact, precise)) in narrow.iter().zip(functions(x[i], y[i], false)).enumerate() {
            // The CUDA C++ guide bounds each of these by a few ulps; 16 for powers.
            let ulps = if at == 18 { 16.0 } else { 5.0 };
            let off = |got: f64, exact: f64, bits: i32| (got - exact).abs() / (exact.abs() + 1e-30) * 2f64.powi(bits);
            let what = format!("function {at} of {}, {}", x[i], y[i]);
            let got = f64::from(floats[at * n + i]);
            assert!(off(got, *exact, 23) <= ulps || (got - exact).abs() < 1e-30, "{what}: {got}, expected {exact}");
            let got = doubles[at * n + i];
            assert!(
                off(got, precise, 52) <= ulps || (got - precise).abs() < 1e-300,
                "{what}: {got}, expected {precise}"
            );
        }
    }
}

#[test]
fn roundings_bracket_the_exact_value() {
    let b = harness("mathematics");
    let n = 500;
    let raw = numbers(2 * n);
    let float = |v: &u32| f32::from_bits(v & 0x807f_ffff | (((v >> 24) & 0x1f) + 112) << 23);
    let (x, y): (Vec<f32>, Vec<f32>) = (raw[..n].iter().map(float).collect(), raw[n..].iter().map(float).collect());
    let mut out = b.fresh::<f32>(12 * n);
    run!(b, roundings(&b.put(&x), &b.put(&y), &mut out, &(n as i32)), 4, 128);
    let out = b.get(&out);
    // The largest float not above, and the smallest not below, a value known to more bits.
    let down = |v: f64| if f64::from(v as f32) > v { (v as f32).next_down() } else { v as f32 };
    let up = |v: f64| if f64::from(v as f32) < v { (v as f32).next_up() } else { v as f32 };
    let zero = |v: f64| if v < 0.0 { up(v) } else { down(v) };
    for i in 0..n {
        let (a, c) = (f64::from(x[i]), f64::from(y[i]));
        let (sum, product, root) = (a + c, a * c, a.abs().sqrt());
        // Sums and products are exact in double precision here; quotients and roots are not,
        // but are never within a double's rounding of a float unless they are one.
        let expected = [
            zero(sum),
            up(sum),
            down(sum),
            zero(product),
            up(product),
            down(product),
            zero(a / c),
            up(a / c),
            down(a / c),
            down(root),
            up(root),
        ];
        assert_eq!(out[i * 12..][..11], expected, "{a}, {c}");
    }
}

#[test]
fn integer_intrinsics_follow_their_definitions() {
    let b = harness("mathematics");
    let n = 400;
    let raw = numbers(2 * n);
    let (x, y) = raw.split_at(n);
    let mut out = b.fresh::<u32>(24 * n);
    run!(b, integers(&b.put(x), &b.put(y), &mut out, &(n as i32)), 4, 128);
    let out = b.get(&out);
    for i in 0..n {
        let (a, c) = (x[i], y[i]);
        let (sa, sc) = (a as i32, c as i32);
        let w = u64::from(a) << 32 | u64::from(c);
        let v = w.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes = |v: u32| v.to_le_bytes();
        let pairs = || bytes(a).into_iter().zip(bytes(c));
        let all = u64::from(c) << 32 | u64::from(a);
        let permuted = [4, 1, 6, 3].map(|k: u32| (all >> (8 * k)) as u8);
        let shift = (c % 40).min(32);
        let halves = |v: u32| [v as i16, (v >> 16) as i16];
        let most = [0, 1].map(|k| halves(a)[k].max(halves(c)[k]) as u16);
        let quads = |f: fn(u8, u8) -> u8| u32::from_le_bytes(std::array::from_fn(|k| f(bytes(a)[k], bytes(c)[k])));
        let expected = [
            a.reverse_bits(),
            a.leading_zeros(),
            a.count_ones(),
            if a == 0 { 0 } else { a.trailing_zeros() + 1 },
            u32::from_le_bytes(permuted),
            ((all << (a & 31)) >> 32) as u32,
            (all >> shift) as u32,
            ((i64::from(sa) * i64::from(sc)) >> 32) as u32,
            ((u64::from(a) * u64::from(c)) >> 32) as u32,
            ((u128::from(w) * u128::from(v)) >> 96) as u32,
            sa.abs_diff(sc).wrapping_add(7),
            a.abs_diff(c).wrapping_add(9),
            (11 + pairs().map(|(p, q)| i32::from(p as i8) * i32::from(q as i8)).sum::<i32>()) as u32,
            12 + pairs().map(|(p, q)| u32::from(p) * u32::from(q)).sum::<u32>(),
            (a & 0xff_ffff).wrapping_mul(c & 0xff_ffff),
            ((i64::from(sa) + i64::from(sc)) >> 1) as u32,
            ((u64::from(a) + u64::from(c) + 1) >> 1) as u32,
            (sa / (sc | 1)) as u32,
            (sa % (sc | 1)) as u32,
            (a / (c | 1)).wrapping_add(a % (c | 1)),
            (w / (v >> 40 | 1)) as u32,
            (w as i64 % (v as i64 >> 33 | 1)) as u32,
            (v >> (a & 31)).leading_zeros(),
            quads(u8::saturating_add) ^ (u32::from(most[1]) << 16 | u32::from(most[0])) ^ quads(u8::abs_diff),
        ];
        assert_eq!(out[i * 24..][..24], expected, "{a:#x}, {c:#x}");
    }
}
