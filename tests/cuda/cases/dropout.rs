//! Dropout.

use super::norms::WIDTHS;
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{Dropout, Lots, sumsq_slots};

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for cols in WIDTHS.into_iter().chain([1, 131]) {
        let mut b = Harness::new(dtype);
        (b.args.step, b.args.sequence) = (77, 5);
        for (sequences, positions, copies) in [(1, 1, 1), (7, 5, 1), (3, 11, 2)] {
            rows(&mut b, [sequences, positions, copies], cols);
        }
        b.run(watch, &format!("dropout of {cols} columns in {dtype:?}"));
    }
}

fn rows(b: &mut Harness, [sequences, positions, copies]: [usize; 3], cols: usize) {
    let n = sequences * positions * copies;
    let x = b.stored(n, cols, 1.0);
    for (rate, around, summed) in [(0.2, true, true), (0.5, false, true), (0.9, true, false)] {
        let lots = Lots { rate, place: 3, places: 11 };
        let residual = around.then(|| b.stored(n, cols, 1.0));
        let (y, sumsq) = (b.stored_out(n, cols), summed.then(|| b.float_out(n, sumsq_slots(cols))));
        let (positions, sequences) = (positions as u32, sequences as u32);
        b.push(Dropout { x, residual, positions, sequences, lots, y, sumsq });
    }
}
