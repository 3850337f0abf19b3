//! Dropout.

use crate::harness::{Harness, Want};
use crate::number::{Num, Table, exact, sum};
use tempest::program::{DType, Dropout, Lots, SUMSQ_COLS, StepArgs, sumsq_slots};
use tempest::rng::{Stream, philox, threshold, uniform24};

/// The step and the first sequence of these tests.
pub(crate) fn args() -> StepArgs {
    StepArgs { seed: 0x1234_5678_9abc, step: 77, sequence: 5, ..StepArgs::default() }
}

/// What number `i` of a sequence of the batch is multiplied by.
pub(crate) fn factor(lots: Lots, sequence: usize, i: usize) -> Num {
    let StepArgs { seed, step, sequence: first, .. } = args();
    let low = (first + sequence as u32) * lots.places + lots.place;
    let words = philox(seed, Stream::Dropout, step << 32 | u64::from(low), (i / 4) as u32);
    let dropped = uniform24(words[i % 4]) < threshold(lots.rate.into());
    if dropped { exact(0.0) } else { exact(1.0) / (exact(1.0) - exact(f64::from(lots.rate))) }
}

#[test]
fn dropout_keeps_by_lots_and_makes_up_for_what_it_drops() {
    for (sequences, positions, copies, c) in
        [(1, 1, 1, 1), (3, 5, 2, 6), (2, 7, 1, 128), (2, 3, 1, 131), (1, 11, 3, 257)]
    {
        for (x_type, y_type) in [(DType::F32, DType::F32), (DType::Bf16, DType::F32), (DType::F32, DType::Bf16)] {
            for (rate, around) in [(0.0, true), (0.2, false), (0.5, true), (0.9, false)] {
                let mut b = Harness::default();
                b.args = args();
                let n = copies * sequences * positions;
                let lots = Lots { rate, place: 3, places: 11 };
                let (x, values) = b.normal(x_type, n, c, 1.0);
                let residual = around.then(|| b.normal(y_type, n, c, 1.0));
                let y = b.output(y_type, n, c);
                let want = values.map(|row, col, x| {
                    let (run, position) = (row / positions, row % positions);
                    let number = (run / sequences * positions + position) * c + col;
                    let kept = x * factor(lots, run % sequences, number);
                    residual.as_ref().map_or(kept, |(_, around)| around.at(row, col) + kept)
                });
                // Of what is stored: where that is bf16, nobody says how each was rounded.
                let sums = (y_type == DType::F32).then(|| b.output(DType::F32, n, sumsq_slots(c)));
                let squares = Table::new(n, sumsq_slots(c), |i, slot| {
                    let cols = slot * SUMSQ_COLS..((slot + 1) * SUMSQ_COLS).min(c);
                    sum(cols.map(|j| want.at(i, j) * want.at(i, j)))
                });
                let what = format!("{copies}x {sequences} of {positions}, {c} columns, rate {rate}");
                let (residual, positions, sequences) =
                    (residual.map(|(mat, _)| mat), positions as u32, sequences as u32);
                let mut wants = vec![Want::table(y, &want)];
                wants.extend(sums.map(|sums| Want::table(sums, &squares)));
                let op = Dropout { x, residual, positions, sequences, lots, y, sumsq: sums };
                b.check(&what, op, &wants);
            }
        }
    }
}

#[test]
fn lots_drop_their_share_keep_the_mean_and_differ_by_place_step_and_sequence() {
    const N: usize = 40_000;
    let lots = Lots { rate: 0.2, place: 0, places: 2 };
    let left = |lots: Lots, step: u64, sequence: u32| {
        let mut b = Harness::default();
        b.args = StepArgs { step, sequence, ..args() };
        let (x, _) = b.input(DType::F32, N / 4, 4, &[1.0; N]);
        let y = b.output(DType::F32, N / 4, 4);
        let positions = (N / 4) as u32;
        b.run(&[Dropout { x, residual: None, positions, sequences: 1, lots, y, sumsq: None }.into()], &[y]).remove(0)
    };
    let found = [left(lots, 3, 5), left(Lots { place: 1, ..lots }, 3, 5), left(lots, 4, 5), left(lots, 3, 6)];
    let n = N as f64;
    for left in &found {
        // Five standard errors: √(0.2·0.8/n) of the share, and of the mean of numbers that are 0 or 1.25 as much times 1.25.
        let share = left.iter().filter(|y| **y == 0.0).count() as f64 / n;
        assert!((share - 0.2).abs() < 5.0 * (0.16 / n).sqrt(), "{share}");
        let mean = left.iter().map(|y| f64::from(*y)).sum::<f64>() / n;
        assert!((mean - 1.0).abs() < 5.0 * 1.25 * (0.16 / n).sqrt(), "{mean}");
    }
    for other in &found[1..] {
        // Independent ones agree in 0.2² + 0.8² = 0.68 of all.
        let same = found[0].iter().zip(other).filter(|(a, b)| a == b).count() as f64 / n;
        assert!((same - 0.68).abs() < 5.0 * (0.68 * 0.32 / n).sqrt(), "{same}");
    }
}
