//! Relaxed tokens: noise over them, what predictions cost, and the way back.

use super::ROWS;
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::config::{MaskShare, Relaxation, Temperatures};
use tempest::program::{LogitsGrad, Mat, Mixing, RelaxedLoss, Relaxing, SoftTokens, SoftTokensBackward};
use tempest::rng::UNIFORM_STEPS;

/// Symbols with the mask: fewer than a warp has lanes, one more, and several times as many.
const SYMBOLS: [u32; 4] = [3, 33, 66, 257];

/// Below its first step, on the way, and beyond its last.
const TAUS: [Temperatures; 3] = [
    Temperatures { first: 1.0, last: 0.25, steps: 1000 },
    Temperatures { first: 2.0, last: 0.5, steps: 9 },
    Temperatures { first: 1.0, last: 0.7, steps: 0 },
];

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for (i, symbols) in SYMBOLS.into_iter().enumerate() {
        let mut b = Harness::new(dtype);
        b.args.step = 4;
        let others = symbols - 1;
        let mixing = match i {
            1 => Mixing::new(others / 2, others, 0.2.into()),
            2 => Mixing::new(others / 2, others, MaskShare::Gidd(0.2)),
            _ => Mixing::uniform(others, others),
        };
        for (j, (positions, sequences)) in ROWS.into_iter().zip([1, 3, 2]).enumerate() {
            passes(&mut b, mixing, [sequences, positions, symbols as usize], TAUS[(i + j) % 3]);
        }
        b.run(watch, &format!("relaxed tokens of {symbols} symbols in {dtype:?}"));
    }
}

/// Rows that each sum to about 1, with a symbol that holds most of it.
fn distributions(b: &mut Harness, rows: usize, symbols: usize) -> Mat {
    let mut values = vec![0.2 / symbols as f32; rows * symbols];
    (0..rows).for_each(|row| values[row * symbols + row * 5 % symbols] += 0.8);
    b.stored_values(rows, symbols, values)
}

fn passes(b: &mut Harness, mixing: Mixing, [sequences, positions, symbols]: [usize; 3], temperatures: Temperatures) {
    let (rows, width) = (sequences * positions, 136);
    let real = |i: usize| {
        let id = i as u32 * 7 % mixing.symbols;
        id + u32::from(id >= mixing.mask)
    };
    let target = b.ids(sequences, positions, (0..rows).map(real).collect());
    // From one that is brought back from where noise is all to little of it.
    let rate = |i: usize| [UNIFORM_STEPS, UNIFORM_STEPS / 2, UNIFORM_STEPS / 9][(i + positions) % 3];
    let rates = b.ids(sequences, 2, (0..sequences).flat_map(|i| [rate(i), 5]).collect());
    let logits = b.normal(rows, symbols, 2.0);
    let before = distributions(b, rows, symbols);
    for of in [Relaxing::Tokens(target), Relaxing::Predicted { logits, before }] {
        for relaxation in [Relaxation::Soft, Relaxation::StraightThrough] {
            let soft = b.stored_out(rows, symbols);
            b.push(SoftTokens { of, rates, mixing, temperatures, relaxation, soft });
        }
    }
    for of_soft in [false, true] {
        let sumsq = of_soft.then(|| b.sumsq(rows, width));
        let scale = of_soft.then(|| b.float(1, 2, vec![64.0, 5.0]));
        let weight = b.float(rows, 1, (0..rows).map(|i| 1.0 / (i + 1) as f32).collect());
        let (loss, s) = (b.float_out(rows, 1), b.float_out(rows, 1));
        let (dlogits, dsoft) = (b.stored_out(rows, symbols), of_soft.then(|| b.float_out(rows, symbols)));
        let back = LogitsGrad { sumsq, width: width as u32, weight, scale, dlogits, s };
        b.push(RelaxedLoss { logits, target, soft: before, rates, mixing, loss, back, dsoft });
        let dsoft = [0.7, 1.5].map(|std| b.normal(rows, symbols, std));
        let (dlogits, s) = (b.stored(rows, symbols, 0.5), b.normal(rows, 1, 1.0));
        let width = width as u32;
        b.push(SoftTokensBackward { logits, before, rates, mixing, temperatures, dsoft, sumsq, width, dlogits, s });
    }
}
