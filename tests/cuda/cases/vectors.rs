//! Tokens as vectors with Gaussian noise: noise, what models read and make of them, and one reverse step.

use crate::harness::Harness;
use crate::watch::Watch;
use tempest::config::{Density, Gamma, Levels, NOISE_FEATURES, Schedule};
use tempest::program::{
    Accumulate, BROKEN, Denoise, Diffuse, DiffuseBackward, ErrorCost, GIVEN, LogitsGrad, Mat, ReadOff, RenoiseVectors,
    SamplingParams, Streams, UnitRows, UnitsGrad, VectorCost, VectorInput, VectorLevel, VectorLoss, VectorStep,
};

/// Sequences, positions, symbols, and numbers of a vector: fewer than a warp has lanes, one more, several times as many.
const SHAPES: [[usize; 4]; 5] = [[1, 1, 2, 1], [3, 7, 33, 6], [2, 33, 66, 32], [1, 5, 257, 33], [2, 3, 40, 71]];

/// Vectors of one length, noise, what a model reads, and the table's gradient.
pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    let mut b = Harness::new(dtype);
    for (symbols, dims) in [(1, 1), (7, 6), (9, 32), (66, 33), (257, 64)] {
        let mut rows = b.normals(symbols * dims, 1.5);
        // A row without a direction.
        rows[..if symbols > 7 { dims } else { 0 }].fill(0.0);
        let table = b.float(symbols, dims, rows);
        let (units, rstd) = (b.float_out(symbols, dims), b.float_out(symbols, 1));
        b.push(UnitRows { table, units, rstd });
    }
    b.args.uniform_share = 0x60_0001;
    for (i, shape) in SHAPES.into_iter().enumerate() {
        noise(&mut b, shape, i);
        inputs(&mut b, shape);
    }
    // Rows for every warp of a block that sums them up.
    inputs(&mut b, [2, 250, 3, 2]);
    b.run(watch, &format!("vectors of one length in {dtype:?}"));
}

/// What predictions make of vectors and cost, and the last term of the bound.
pub(crate) fn costs(watch: &mut Watch) {
    let dtype = watch.dtype();
    let mut b = Harness::new(dtype);
    for shape in SHAPES {
        predictions(&mut b, shape);
    }
    b.run(watch, &format!("costs of vectors in {dtype:?}"));
}

/// One reverse step.
pub(crate) fn steps(watch: &mut Watch) {
    let dtype = watch.dtype();
    let mut b = Harness::new(dtype);
    for shape in SHAPES {
        reverse(&mut b, shape);
    }
    b.run(watch, &format!("steps of vectors in {dtype:?}"));
}

/// Vectors of about one length.
fn units(b: &mut Harness, symbols: usize, dims: usize) -> Mat {
    b.normal(symbols, dims, 1.0 / (dims as f32).sqrt())
}

/// So many steps for each sequence, from much noise to little, or the levels alone.
pub(super) fn levels(
    b: &mut Harness,
    sequences: usize,
    steps: usize,
    change: impl Fn(VectorStep, usize) -> VectorStep,
) -> Mat {
    let count = sequences * steps;
    let level = |i: usize| {
        let gamma = [2.5, -1.0, 0.5, 5.5, -3.5][i % 5];
        change(VectorStep::level(Gamma::USUAL, gamma, 0.7 + i as f64), i)
    };
    let rows: Vec<VectorStep> = (0..count).map(level).collect();
    b.float(sequences, VectorStep::COLS * steps, bytemuck::cast_slice(&rows).to_vec())
}

fn noise(b: &mut Harness, [sequences, positions, symbols, dims]: [usize; 4], which: usize) {
    let (x0, units) = (b.some_ids(sequences, positions, symbols as u32), units(b, symbols, dims));
    let bell = Gamma::USUAL.quantiles(Schedule::Cosine, Levels { density: Density::Beta { a: 3, b: 5 }, anneal: 0.0 });
    let quantiles = b.ids(1, bell.len(), bell.to_vec());
    let gamma = Gamma { least: -3.0, most: 5.0 };
    let of = sequences as u32 + 9;
    let costs = [ErrorCost::Bound, ErrorCost::Denoised, ErrorCost::Noise, ErrorCost::Velocity];
    let drawn = |cost| VectorLevel::Drawn { of, quantiles, gamma, cost };
    for (level, streams) in [
        (VectorLevel::Given, Streams::Eval),
        (drawn(costs[which % 4]), Streams::Train),
        (drawn(costs[(which + 1) % 4]), Streams::Train),
    ] {
        let steps = match level {
            VectorLevel::Given => levels(b, sequences, 1, |step, _| step),
            VectorLevel::Drawn { .. } => b.float_out(sequences, VectorStep::COLS),
        };
        let (z, weight) = (b.float_out(sequences * positions, dims), b.float_out(sequences * positions, 1));
        b.push(Diffuse { x0, units, level, streams, steps, z, weight });
    }
}

fn inputs(b: &mut Harness, [sequences, positions, symbols, dims]: [usize; 4]) {
    let (rows, cols) = (sequences * positions, 2 * dims + NOISE_FEATURES);
    let [z, x] = [1.3, 0.4].map(|std| b.normal(rows, dims, std));
    for (steps, denoised) in [(1, None), (3, Some(x))] {
        let steps = levels(b, sequences, steps, |step, _| step);
        let y = b.stored_out(rows, cols);
        b.push(VectorInput { z, steps, denoised, y });
    }
    let (x0, steps) = (b.some_ids(sequences, positions, symbols as u32), levels(b, sequences, 1, |step, _| step));
    let (dy, own, units) = (b.stored(rows, cols, 0.5), b.normal(rows, dims, 0.5), units(b, symbols, dims));
    let (dunits, rstd) = (b.normal(symbols, dims, 1.0), b.uniform(symbols, 1, 0.5, 1.5));
    for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
        let dtable = b.normal(symbols, dims, 1.0);
        b.push(DiffuseBackward { x0, steps, dy, own, dunits, units, rstd, accumulate, dtable });
    }
}

fn predictions(b: &mut Harness, [sequences, positions, symbols, dims]: [usize; 4]) {
    let rows = sequences * positions;
    // The first symbol is never drawn, or none is dropped.
    let drop = if symbols % 2 == 0 { 0 } else { u32::MAX };
    let target = (0..rows).map(|i| 1 + (i * 7) as u32 % (symbols as u32 - 1)).collect();
    let target = b.ids(sequences, positions, target);
    let (logits, z, units) = (b.normal(rows, symbols, 2.0), b.normal(rows, dims, 0.6), units(b, symbols, dims));
    for steps in [1, 2] {
        let steps = levels(b, sequences, steps, |step, _| step);
        let denoised = b.float_out(rows, dims);
        b.push(Denoise { logits, z, units, steps, drop, denoised });
    }
    let steps = levels(b, sequences, 1, |step, _| step);
    let weight = b.float(rows, 1, (0..rows).map(|i| 1.0 / (i + 1) as f32).collect());
    for (cost, learns) in
        [(VectorCost::SquaredError, true), (VectorCost::SquaredError, false), (VectorCost::CrossEntropy, true)]
    {
        let squares = cost == VectorCost::SquaredError;
        let products = VectorLoss::products(cost);
        let scale = squares.then(|| b.float(1, 2, vec![64.0, 5.0]));
        let own = b.float_out(rows, dims);
        let (q, g) = (b.stored_out((products + 1) * rows, symbols), b.stored_out((products + 1) * rows, dims));
        let some = |first: usize, count: usize| {
            let [q, g] = [q, g].map(|mat| mat.row_block(first * rows, count * rows));
            UnitsGrad { q, g, own }
        };
        let back = learns.then(|| {
            let width = 136;
            let sumsq = squares.then(|| b.sumsq(rows, width));
            let (dlogits, s) = (b.stored_out(rows, symbols), b.float_out(rows, 1));
            (LogitsGrad { sumsq, width: width as u32, weight, scale, dlogits, s }, some(0, products))
        });
        let loss = b.float_out(rows, 1);
        b.push(VectorLoss { logits, target, z, units, steps, drop, cost, loss, back });
        let accumulate = if learns { Accumulate::Add } else { Accumulate::Overwrite };
        let back = learns.then(|| (weight, scale, some(products, 1)));
        let gamma = Gamma { least: -3.0, ..Gamma::USUAL };
        b.push(ReadOff { target, units, gamma, drop, accumulate, loss, back });
    }
}

fn reverse(b: &mut Harness, [sequences, positions, symbols, dims]: [usize; 4]) {
    let rows = sequences * positions;
    let drop = if symbols % 2 == 0 { 0 } else { u32::MAX };
    // Every symbol's vector is that of the one that the same lane has before it: the first of equals is the nearest.
    let mut vectors = b.normals(symbols * dims, 1.0 / (dims as f32).sqrt());
    (32 * dims..vectors.len()).for_each(|i| vectors[i] = vectors[i - 32 * dims]);
    let units = b.float(symbols, dims, vectors);
    let numbers = b.normals(rows * symbols, 2.0);
    let mut broken = numbers.clone();
    broken[rows * symbols - 1] = f32::NAN;
    let [logits, broken] = [numbers, broken].map(|numbers| b.float(rows, symbols, numbers));
    // Some of the first steps' tokens stay in later ones.
    let [truth, x] = [(); 2].map(|()| b.some_ids(sequences, positions, symbols as u32));
    for (logits, temperature, clamps, ends) in [
        (logits, 1.0, 0.0, 0.0),
        (logits, 0.7, 1.0, 0.0),
        (logits, 0.0, 0.0, 0.0),
        (broken, 1.0, 0.0, 0.0),
        (logits, 1.0, 0.0, 1.0),
    ] {
        let steps = levels(b, sequences, 2, |step, i| {
            let to = Gamma::squares(-2.0 - i as f64);
            let from = [step.alpha, step.sigma].map(|of| f64::from(of).powi(2));
            VectorStep { clamps, ends, ..step.leading(from, to, 0.5, 0.9) }
        });
        let params = SamplingParams { temperature, ..SamplingParams::MOST_PROBABLE };
        let params = bytemuck::cast_slice(&vec![params; sequences]).to_vec();
        let params = b.float(sequences, SamplingParams::COLS, params);
        let (z, denoised) = (b.normal(rows, dims, 0.6), b.normal(rows, dims, 0.3));
        let masked = b.ids(sequences, positions, (0..rows).map(|i| u32::from(i % 4 != 1)).collect());
        let at = (0..rows).map(|i| if i % 3 == 0 { GIVEN } else { 1 }).collect();
        let committed_at = b.ids(sequences, positions, at);
        // Of several texts the first is finished, and of three the second is broken already.
        let open = |text: usize| match sequences - text {
            1 => 1,
            2 if sequences == 3 => BROKEN,
            _ => 0,
        };
        let remaining = b.ids(sequences, 1, (0..sequences).map(open).collect());
        b.push(RenoiseVectors {
            logits,
            params,
            steps,
            units,
            truth,
            drop,
            z,
            denoised,
            x,
            masked,
            committed_at,
            remaining,
        });
    }
}
