//! Every kernel against f64, at odd shapes and strides.

use super::super::unit::Level;
use super::*;

fn levels() -> impl Iterator<Item = Level> {
    let best = Level::of_this_processor();
    #[cfg(target_arch = "x86_64")]
    let all = [Level::Portable, Level::Avx512, Level::Avx512Bf16, Level::Amx];
    #[cfg(not(target_arch = "x86_64"))]
    let all = [Level::Portable];
    all.into_iter().filter(move |level| *level <= best)
}

/// Numbers that bf16 holds exactly, so that f32 and bf16 agree but for the order of sums.
fn numbers<T: Element>(len: usize, salt: u32) -> Vec<T> {
    (0..len as u32)
        .map(|i| {
            let hash = (i ^ salt << 20).wrapping_mul(0x9e37_79b9);
            T::nearest(((hash >> 16) % 33) as f32 / 16.0 - 1.0)
        })
        .collect()
}

#[derive(Clone, Copy, Debug)]
enum Layout {
    RowMajor,
    ColMajor,
    Sparse,
}

/// `[rows, cols]` in one of the layouts, and the slice length that it takes.
fn view<T>(data: &[T], rows: usize, cols: usize, layout: Layout) -> View<'_, T> {
    match layout {
        Layout::RowMajor => View::strided(data, rows, cols, cols + 3),
        Layout::ColMajor => View::strided(data, cols, rows, rows + 5).transposed(),
        Layout::Sparse => View { col_stride: 2, ..View::strided(data, rows, 2 * cols, 2 * cols) },
    }
    .rows(0..rows)
    .cols(0..cols)
}

fn check<A: Element, B: Element>(m: usize, k: usize, n: usize, layouts: [Layout; 2]) {
    let extent = |rows: usize, cols: usize| (rows + 6) * (cols + 6) * 2;
    let (a, b) = (numbers::<A>(extent(m, k), 1), numbers::<B>(extent(k, n), 2));
    let (a, b) = (view(&a, m, k, layouts[0]), view(&b, k, n, layouts[1]));
    let expected = |terms: Range<usize>, i: usize, j: usize| -> f64 {
        let term = |l: usize| {
            let x = a.data[i * a.row_stride + l * a.col_stride].wide();
            let y = b.data[l * b.row_stride + j * b.col_stride].wide();
            f64::from(x) * f64::from(y)
        };
        terms.map(term).sum()
    };
    // Sums of k multiples of 1/256 below 1: exact in f32 as long as they stay below 2^16.
    let stride = n + 2;
    let compare_sums = |out: &[f32], terms: Range<usize>, start: usize, cols: usize, before: f32, what: &str| {
        for i in 0..m {
            for j in 0..stride {
                let found = out[i * stride + j];
                let wanted = if j < cols { expected(terms.clone(), i, start + j) as f32 + before } else { 7.0 };
                assert_eq!(found, wanted, "{what} [{m}, {k}, {n}] {layouts:?} at ({i}, {j})");
            }
        }
    };
    let compare = |out: &[f32], start: usize, cols: usize, before: f32, what: &str| {
        compare_sums(out, 0..k, start, cols, before, what);
    };
    for level in levels() {
        let unit = Unit::new(level, B::FORMAT);
        let mut out = vec![7.0; m * stride];
        matmul_tile(unit, a, b, Tile::new(&mut out, m, n, stride, Accumulate::Overwrite));
        compare(&out, 0, n, 0.0, &format!("{level:?} overwrite"));
        let mut out = vec![7.0; m * stride];
        matmul_tile(unit, a, b, Tile::new(&mut out, m, n, stride, Accumulate::Add));
        compare(&out, 0, n, 7.0, &format!("{level:?} add"));
        let mut panels = Panels::default();
        let rhs = Rhs::prepare_for(unit, if m.is_multiple_of(2) { Workers::One } else { Workers::All }, b, &mut panels);
        for start in (0..n).step_by(PANEL) {
            let cols = (n - start).min(70);
            let mut out = vec![7.0; m * stride];
            rhs.multiply(a, start..start + cols, &mut out, stride, Accumulate::Add);
            compare(&out, start, cols, 7.0, &format!("{level:?} columns {start}.."));
        }
        for terms in [0..32, 32..k, 32..64].into_iter().filter(|terms| terms.start < terms.end && terms.end <= k) {
            let mut out = vec![7.0; m * stride];
            rhs.rows(terms.clone()).multiply(a.cols(terms.clone()), 0..n, &mut out, stride, Accumulate::Overwrite);
            compare_sums(&out, terms.clone(), 0, n, 0.0, &format!("{level:?} terms {terms:?}"));
        }
    }
}

#[test]
fn every_kernel_multiplies_exactly_at_odd_shapes_and_strides() {
    let shapes = [(1, 1, 1), (7, 3, 5), (12, 32, 32), (33, 65, 31), (37, 130, 67), (64, 64, 64), (100, 33, 96)];
    for (m, k, n) in shapes {
        for a in [Layout::RowMajor, Layout::ColMajor, Layout::Sparse] {
            for b in [Layout::RowMajor, Layout::ColMajor, Layout::Sparse] {
                check::<f32, f32>(m, k, n, [a, b]);
                check::<bf16, bf16>(m, k, n, [a, b]);
                check::<f32, bf16>(m, k, n, [a, b]);
                check::<bf16, f32>(m, k, n, [a, b]);
            }
        }
    }
}

#[test]
fn sums_longer_than_a_block_and_rows_beyond_a_block_are_exact() {
    for layouts in [[Layout::RowMajor; 2], [Layout::ColMajor; 2]] {
        check::<f32, f32>(5, 1100, 33, layouts);
        check::<bf16, bf16>(5, 1100, 33, layouts);
        check::<f32, f32>(300, 20, 33, layouts);
        check::<bf16, bf16>(300, 20, 33, layouts);
    }
}

#[test]
fn a_product_over_no_terms_is_zero() {
    let none: [f32; 0] = [];
    let mut out = [7.0; 6];
    matmul(View::row_major(&none, 2, 0), View::row_major(&none, 0, 3), &mut out, 3, Accumulate::Overwrite);
    assert_eq!(out, [0.0; 6]);
}
