//! The convolution over neighbouring positions and its backward.

use crate::harness::{Harness, Want};
use crate::number::{Num, Table, sum};
use tempest::program::{Accumulate, DType, SUMSQ_COLS, ShortConv, ShortConvBackward, sumsq_slots};

/// (B, T, C), odd on purpose, the last fills several of any worker's shares; taps, some more than there are positions; and how
/// many of them see what is before.
const SIZES: [(usize, usize, usize, Taps); 8] = [
    (1, 1, 2, Taps { all: 3, before: 1 }),
    (7, 1, 6, Taps { all: 1, before: 0 }),
    (5, 2, 20, Taps { all: 5, before: 2 }),
    (1, 33, 130, Taps { all: 7, before: 3 }),
    (1, 33, 130, Taps { all: 4, before: 3 }),
    (3, 5, 257, Taps { all: 7, before: 6 }),
    (3, 5, 257, Taps { all: 5, before: 0 }),
    (2, 70, 64, Taps { all: 3, before: 1 }),
];

#[derive(Clone, Copy, Debug)]
struct Taps {
    all: usize,
    before: usize,
}

/// Every size, with weights of every dtype.
fn each(mut f: impl FnMut(&str, (usize, usize, usize, Taps), DType)) {
    for size in SIZES {
        for dtype in [DType::F32, DType::Bf16] {
            f(&format!("B, T, C, taps = {size:?} {dtype:?}"), size, dtype);
        }
    }
}

/// The row that a tap of `row` sees, if it is of the same sequence.
fn seen(positions: usize, row: usize, tap: usize, taps: Taps) -> Option<usize> {
    let other = (row + tap).checked_sub(taps.before)?;
    (other / positions == row / positions).then_some(other)
}

/// Every row and its neighbours by their weights.
fn mixed(x: &Table, positions: usize, taps: Taps, weight: impl Fn(usize, usize) -> Num) -> Table {
    x.map(|row, col, own| {
        let others = (0..taps.all).filter_map(|tap| Some((tap, seen(positions, row, tap, taps)?)));
        sum([own].into_iter().chain(others.map(|(tap, other)| weight(tap, col) * x.at(other, col))))
    })
}

#[test]
fn short_conv_mixes_each_position_with_its_neighbours_in_the_sequence() {
    each(|case, (sequences, positions, c, taps), dtype| {
        let mut b = Harness::default();
        let n = sequences * positions;
        let (x, values) = b.normal(DType::F32, n, c, 1.0);
        let (w, weights) = b.normal(dtype, taps.all, c, 0.5);
        let [out, sumsq] = [c, sumsq_slots(c)].map(|cols| b.output(DType::F32, n, cols));
        let out_want = mixed(&values, positions, taps, |tap, col| weights.at(tap, col));
        let squares = Table::new(n, sumsq_slots(c), |i, slot| {
            let cols = slot * SUMSQ_COLS..((slot + 1) * SUMSQ_COLS).min(c);
            sum(cols.map(|j| out_want.at(i, j) * out_want.at(i, j)))
        });
        let op = ShortConv { x, w, positions: positions as u32, before: taps.before as u32, out, sumsq };
        b.check(case, op, &[Want::table(out, &out_want), Want::table(sumsq, &squares)]);
    });
}

#[test]
fn short_conv_backward_gives_each_neighbour_its_share_back() {
    each(|case, (sequences, positions, c, taps), dtype| {
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            let mut b = Harness::default();
            let n = sequences * positions;
            let (dout, gradient) = b.normal(DType::F32, n, c, 1.0);
            let (x, values) = b.normal(DType::F32, n, c, 1.0);
            let (w, weights) = b.normal(dtype, taps.all, c, 0.5);
            let dx = b.output(DType::F32, n, c);
            let (dw, before) = match accumulate {
                Accumulate::Overwrite => (b.output(DType::F32, taps.all, c), None),
                Accumulate::Add => {
                    let (mat, before) = b.normal(DType::F32, taps.all, c, 3.0);
                    (mat, Some(before))
                }
            };
            // x_t went to the position before it with that one's weight of what is behind.
            let back = Taps { before: taps.all - 1 - taps.before, ..taps };
            let dx_want = mixed(&gradient, positions, back, |tap, col| weights.at(taps.all - 1 - tap, col));
            let dw_want = Table::new(taps.all, c, |tap, col| {
                let terms = (0..n)
                    .filter_map(|row| Some(gradient.at(row, col) * values.at(seen(positions, row, tap, taps)?, col)));
                sum(before.iter().map(|table| table.at(tap, col)).chain(terms))
            });
            let (positions, before) = (positions as u32, taps.before as u32);
            let op = ShortConvBackward { dout, x, w, positions, before, accumulate, dx, dw };
            b.check(&format!("{case} {accumulate:?}"), op, &[Want::table(dx, &dx_want), Want::table(dw, &dw_want)]);
        }
    });
}
