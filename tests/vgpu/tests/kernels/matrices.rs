//! Tensor cores through `wmma`.

use crate::harness::{harness, numbers, signed};
use half::{bf16, f16};

/// 2·(a·b + c) for integers small enough that every format holds them exactly.
fn product(a: &[i32], b: impl Fn(usize, usize) -> i32, c: &[i32], depth: usize) -> Vec<i32> {
    (0..256)
        .map(|at| {
            let (row, column) = (at / 16, at % 16);
            let sum: i32 = (0..depth).map(|k| a[row * depth + k] * b(k, column)).sum();
            2 * (sum + c[at])
        })
        .collect()
}

#[test]
fn wmma_products_are_exact_on_small_integers() {
    let b = harness("matrices");
    let depth = 32;
    let d = depth as i32;
    let (x, y, c) = (signed(16 * depth, 0, 4), signed(16 * depth, 900, 4), signed(256, 2000, 9));
    let by_column = product(&x, |k, n| y[n * depth + k], &c, depth);
    let by_row = product(&x, |k, n| y[k * 16 + n], &c, depth);
    macro_rules! case {
        ($kernel:ident, $in:ty, $out:ty, $to:expr, $up:expr, $down:expr, $expected:expr) => {{
            let (x, y): (Vec<$in>, Vec<$in>) = (x.iter().map($to).collect(), y.iter().map($to).collect());
            let c: Vec<$out> = c.iter().map($up).collect();
            let (dx, dy, mut dc) = (b.put(&x), b.put(&y), b.put(&c));
            run!(b, $kernel(&dx, &dy, &mut dc, &d), 1, 32);
            let got: Vec<i32> = b.get(&dc).into_iter().map($down).collect();
            assert_eq!(got, $expected, stringify!($kernel));
        }};
    }
    let to_half = |&v: &i32| f16::from_f32(v as f32);
    let to_bfloat = |&v: &i32| bf16::from_f32(v as f32);
    let to_float = |&v: &i32| v as f32;
    let from_float = |v: f32| v as i32;
    case!(wmma_half, f16, f32, to_half, to_float, from_float, by_column);
    case!(wmma_half_half, f16, f16, to_half, to_half, |v: f16| v.to_f32() as i32, by_row);
    case!(wmma_bfloat, bf16, f32, to_bfloat, to_float, from_float, by_column);
    case!(wmma_bytes, i8, i32, |&v: &i32| v as i8, |&v: &i32| v, |v: i32| v, by_row);
    case!(wmma_tf32, f32, f32, to_float, to_float, from_float, by_row);
}

#[test]
fn wmma_doubles_keep_double_precision() {
    let b = harness("matrices");
    let x: Vec<f64> = numbers(64).iter().map(|&v| f64::from(v) * 1e-9 - 2.0).collect();
    let (a, c) = x.split_at(32);
    let mut out = b.fresh::<f64>(64);
    let (da, dc) = (b.put(a), b.put(c));
    run!(b, wmma_double(&da, &dc, &mut out), 1, 32);
    let out = b.get(&out);
    for (row, column) in (0..8).flat_map(|r| (0..8).map(move |c| (r, c))) {
        let exact: f64 = (0..4).map(|k| a[row * 4 + k] * c[column * 4 + k]).sum::<f64>() + 1.0;
        assert!((out[column * 8 + row] - exact).abs() < 1e-13, "{row}, {column}");
    }
}
