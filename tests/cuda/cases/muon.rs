//! Muon's ops, over stacks that one launch takes and more, whose products are made by tensor cores, without them, and both.

use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{Gram, MuonMomentum, MuonStep, NEWTON_SCHULZ, NewtonSchulz, Stack};

/// Matrices, rows and columns of each stack, the norm of all gradients, and whether products divide by lengths.
const CASES: [(&[[usize; 3]], f32, bool); 7] = [
    (&[[1, 1, 1]], f32::INFINITY, true),
    (&[[3, 5, 5], [2, 7, 40], [1, 40, 7]], 0.01, false),
    // Within a tile and across some, in whole steps of 32 and with a rest; the largest are several chunks.
    (&[[1, 264, 136], [1, 136, 200], [2, 136, 136], [3, 24, 24]], 3.0, true),
    // Three tiles down: of six in the lower half one is whole and beside the diagonal.
    (&[[1, 264, 272], [2, 160, 64], [1, 64, 8]], 0.01, false),
    // More stacks than a launch takes, for either sort of products.
    (
        &[
            [1, 24, 40],
            [1, 4, 4],
            [2, 16, 8],
            [8, 3, 3],
            [1, 8, 48],
            [1, 40, 32],
            [2, 8, 8],
            [1, 33, 130],
            [1, 2, 9],
            [1, 9, 2],
        ],
        3.0,
        true,
    ),
    (&[[1, 130, 66]], 2.0, true),
    (&[[2, 24, 16]], f32::NAN, true),
];

pub(crate) fn cases(watch: &mut Watch) {
    for (case, norm, divided) in CASES {
        let mut b = Harness::new(watch.dtype());
        update(&mut b, case, norm, divided);
        let dtype = watch.dtype();
        b.run(watch, &format!("muon of {case:?} in {dtype:?}, norm {norm}"));
    }
}

/// Each op once.
pub(super) fn update(b: &mut Harness, stacks: &[[usize; 3]], norm: f32, divided: bool) {
    let stacks: Vec<Stack> = stacks.iter().map(|&[matrices, rows, cols]| Stack { matrices, rows, cols }).collect();
    (b.args.step, b.args.lr) = (5, 3e-3);
    let metrics = b.float(3, 4, [[1.0, 2.0, f32::NAN, 3.0], [1.0, 2.0, f32::NAN, 3.0], [1.0, 2.0, norm, 3.0]].concat());
    // The last matrix first, with something before, between and behind them; some begin where 16 bytes do, some do not.
    let mut places = Vec::new();
    let mut all = 4;
    for (i, stack) in stacks.iter().flat_map(|stack| vec![stack; stack.matrices]).rev().enumerate() {
        places.push(all as u32);
        all += stack.len() + if i % 3 == 1 { 5 } else { 4 };
    }
    places.reverse();
    let places = b.ids(1, places.len(), places);
    let elements = |stacks: &[Stack]| stacks.iter().map(|stack| stack.matrices * stack.len()).sum::<usize>();
    let squares: Vec<Stack> = stacks.iter().map(|stack| stack.squares()).collect();

    let chunks = stacks.iter().map(|stack| stack.matrices * stack.chunks()).sum();
    // Without a clip, some of them larger than f16 holds.
    for (scale, clip, size) in [(Some(vec![128.0, 3.0]), 1.0, [100.0, 0.3]), (None, f32::INFINITY, [4e4, 6e4])] {
        let scale = scale.map(|scale| b.float(1, 2, scale));
        let [grads, m] = size.map(|size| b.normal(1, all, size));
        let (x, sumsq) = (b.stored_out(1, elements(&stacks)), b.float_out(1, chunks));
        b.push(MuonMomentum { grads, metrics, scale, places, stacks: stacks.clone(), clip, m, x, sumsq });
    }

    let (values, symmetric) = (short(b, &stacks), symmetric(b, &squares));
    let x = b.stored_values(1, values.len(), values);
    let square = b.stored_values(1, symmetric.len(), symmetric);
    // Not of x, and not the same for all matrices.
    let lengths = (0..chunks).map(|chunk| 0.25 + chunk as f32 % 7.0).collect();
    let [a, terms @ ..] = NEWTON_SCHULZ[0];
    let sumsq = divided.then(|| b.float(1, chunks, lengths));
    let [gram, sum] = [(); 2].map(|()| b.stored_out(1, elements(&squares)));
    let out = b.stored_out(1, elements(&stacks));
    b.push(Gram { x, sumsq, stacks: stacks.clone(), terms: None, out: gram });
    b.push(Gram { x: square, sumsq: None, stacks: squares, terms: Some(terms), out: sum });
    b.push(NewtonSchulz { x, sumsq, b: square, stacks: stacks.clone(), a, out });

    for (weight_decay, copied) in [(0.1, true), (0.0, false)] {
        let (params, stored) = (b.normal(1, all, 0.02), copied.then(|| b.stored(1, all, 0.02)));
        let stacks = stacks.clone();
        b.push(MuonStep { metrics, x, b: square, places, stacks, a, rate: 5.0, weight_decay, params, stored });
    }
}

/// Matrices whose rows and columns are about 1 long, as those of normalised ones are at most.
fn short(b: &mut Harness, stacks: &[Stack]) -> Vec<f32> {
    let values = stacks
        .iter()
        .map(|stack| b.normals(stack.matrices * stack.len(), 1.0 / (stack.rows.max(stack.cols) as f32).sqrt()));
    values.collect::<Vec<_>>().concat()
}

fn symmetric(b: &mut Harness, squares: &[Stack]) -> Vec<f32> {
    let mut values = short(b, squares);
    let mut rest = &mut values[..];
    for Stack { rows: side, .. } in squares.iter().flat_map(|stack| vec![stack; stack.matrices]) {
        let (matrix, after) = rest.split_at_mut(side * side);
        (0..side * side)
            .for_each(|at| matrix[at] = matrix[(at / side).max(at % side) * side + (at / side).min(at % side)]);
        rest = after;
    }
    values
}
