//! The output head, its loss, and sums of losses.

use crate::harness::{Harness, Want};
use crate::linear::{Stream, each, scaled, stream};
use crate::number::{Num, Table, dot, exact, sum};
use tempest::program::{
    Accumulate, Clear, CrossEntropy, DType, HeadLogits, HeadLoss, LossSum, Mat, SequenceLoss, StepArgs,
};

#[test]
fn head_logits_are_the_normed_rows_times_the_symbols() {
    each(|case, size, dtype| {
        for normed in [true, false] {
            let mut b = Harness::default();
            let (s, sumsq, r) = normed_stream(&mut b, size.rows(), size.width, normed);
            let (w, weights) = b.normal(dtype, size.wide, size.width, 1.0 / (size.width as f32).sqrt());
            let logits = b.output(DType::F32, size.rows(), size.wide);
            let want = scaled(s.values.times_transposed(&weights), &r);
            b.check(case, HeadLogits { x: s.x, sumsq, w, logits }, &[Want::table(logits, &want)]);
        }
    });
}

/// A stream, and the sums and the factors that the head takes: those of its norm, or none and 1.
fn normed_stream(b: &mut Harness, rows: usize, cols: usize, normed: bool) -> (Stream, Option<Mat>, Vec<Num>) {
    if normed {
        let s = stream(b, rows, cols);
        let (sumsq, r) = (s.sumsq, s.r.clone());
        return (s, Some(sumsq), r);
    }
    let (x, values) = b.normal(DType::F32, rows, cols, 1.0);
    (Stream { x, sumsq: x, values, r: Vec::new() }, None, vec![exact(1.0); rows])
}

/// Probabilities of one row of logits and ln Σ exp.
pub(crate) fn softmax(logits: &[Num], drop: Option<u32>) -> (Vec<Num>, Num) {
    let kept = |i: usize| Some(i as u32) != drop;
    let max = (0..logits.len()).filter(|&i| kept(i)).map(|i| logits[i].v).fold(f64::NEG_INFINITY, f64::max);
    let zero = exact(0.0);
    let p: Vec<Num> = (0..logits.len()).map(|i| if kept(i) { (logits[i] - exact(max)).exp() } else { zero }).collect();
    let total = sum(p.iter().copied());
    (p.iter().map(|p| *p / total).collect(), exact(max) + total.ln())
}

#[test]
fn head_loss_is_the_cross_entropy_and_its_gradient() {
    each(|case, size, dtype| {
        for drop in [None, Some(1_u32)] {
            let mut b = Harness::default();
            let (n, v) = (size.rows(), size.wide);
            let (s, sumsq, r) = normed_stream(&mut b, n, size.width, size.heads != 2);
            let (w, weights) = b.normal(dtype, v, size.width, 1.0 / (size.width as f32).sqrt());
            let (target, targets) = b.some_targets(n, 1, v as u32, drop);
            let weights_of_rows: Vec<f32> = (0..n).map(|i| [0.25, 0.0, 0.75][i % 3]).collect();
            let (weight, row_weights) = b.input(DType::F32, n, 1, &weights_of_rows);
            let logits = scaled(s.values.times_transposed(&weights), &r);
            // Half of the cases have a loss scale, which multiplies every gradient.
            let factor = if drop.is_some() { 1024.0 } else { 1.0 };
            let scale = drop.map(|_| b.input(DType::F32, 1, 2, &[factor, 7.0]).0);
            let factor = exact(f64::from(factor));
            let cross_entropy = b.output(DType::F32, n, 1);
            let (dlogits, s_out) = (b.output(dtype, n, v), b.output(DType::F32, n, 1));
            let (mut ce, mut sums) = (Vec::new(), Vec::new());
            let mut gradient = logits.clone();
            for (row, &target) in targets.iter().enumerate() {
                let y: Vec<Num> = logits.row(row).collect();
                let (p, lse) = softmax(&y, drop);
                let target = target as usize;
                ce.push(lse - y[target]);
                let d: Vec<Num> = (p.iter().enumerate())
                    .map(|(i, p)| factor * row_weights.at(row, 0) * (*p - exact(f64::from(u8::from(i == target)))))
                    .collect();
                sums.push(dot(d.iter().copied(), y.iter().copied()));
                d.iter().enumerate().for_each(|(i, d)| gradient.data[row * v + i] = r[row] * *d);
            }
            let op = HeadLoss { x: s.x, sumsq, w, target, weight, scale, drop, cross_entropy, dlogits, s: s_out };
            let wants = [Want::Numbers(cross_entropy, ce), Want::table(dlogits, &gradient), Want::Numbers(s_out, sums)];
            b.check(&format!("{case} without {drop:?}"), op, &wants);
        }
    });
}

#[test]
fn cross_entropy_is_minus_the_logarithm_of_the_targets_share() {
    for (n, v) in [(1, 2), (7, 65), (33, 129), (200, 11)] {
        // Logits near a thousand: who forgets to take the largest off first overflows.
        for (drop, std) in [(None, 3.0), (Some(1), 3.0), (Some(0), 0.0), (Some(1), 300.0)] {
            let mut b = Harness::default();
            let (logits, values) = b.normal(DType::F32, n, v, std);
            let (target, targets) = b.some_targets(n, 1, v as u32, drop);
            let cross_entropy = b.output(DType::F32, n, 1);
            let want: Vec<Num> = (0..n)
                .map(|row| {
                    let y: Vec<Num> = values.row(row).collect();
                    // In f32 what is taken off first is the largest, so errors are of the size of the differences.
                    let kept = (0..v).filter(|&i| Some(i as u32) != drop).map(|i| y[i].v);
                    let max = exact(kept.fold(f64::NEG_INFINITY, f64::max));
                    let shifted: Vec<Num> = y.iter().map(|y| *y - max).collect();
                    softmax(&shifted, drop).1 - shifted[targets[row] as usize]
                })
                .collect();
            let op = CrossEntropy { logits, target, drop, cross_entropy };
            b.check(&format!("[{n}, {v}] std {std} without {drop:?}"), op, &[Want::Numbers(cross_entropy, want)]);
        }
    }
}

#[test]
fn a_dropped_symbol_has_no_probability_at_all() {
    let mut b = Harness::default();
    let (logits, _) = b.normal(DType::F32, 1, 3, 1.0);
    let target = b.ids(1, 1, &[2]);
    let cross_entropy = b.output(DType::F32, 1, 1);
    let op = CrossEntropy { logits, target, drop: Some(2), cross_entropy };
    b.check("target is dropped", op, &[Want::Numbers(cross_entropy, vec![exact(f64::INFINITY)])]);
}

/// A third of the rows do not count; theirs is a cross-entropy that must not be looked at.
fn losses(b: &mut Harness, n: usize) -> [(Mat, Table); 2] {
    let mut ce: Vec<f32> = b.normals(n, 1.0).iter().map(|z| z.abs()).collect();
    let weight: Vec<f32> = (0..n).map(|i| [0.5, 0.0, 0.125][i % 3]).collect();
    ce.iter_mut().zip(&weight).filter(|(_, w)| **w == 0.0).for_each(|(ce, _)| *ce = f32::INFINITY);
    [b.input(DType::F32, n, 1, &ce), b.input(DType::F32, n, 1, &weight)]
}

fn weighed(rows: std::ops::Range<usize>, weight: &Table) -> impl Iterator<Item = usize> + '_ {
    rows.filter(|&i| weight.at(i, 0).v != 0.0)
}

#[test]
fn loss_sum_goes_to_the_steps_own_row_of_the_ring() {
    for n in [1, 7, 33, 1000] {
        for (step, ring, accumulate) in
            [(0, 1, Accumulate::Overwrite), (11, 4, Accumulate::Overwrite), (7, 4, Accumulate::Add)]
        {
            let mut b = Harness::default();
            b.args = StepArgs { step, ..StepArgs::default() };
            let [(cross_entropy, ce), (weight, w)] = losses(&mut b, n);
            let (metrics, mut want) = b.normal(DType::F32, ring, 4, 1.0);
            let row = step as usize % ring * 4;
            let loss = weighed(0..n, &w).map(|i| ce.at(i, 0) * w.at(i, 0));
            let before = |i: usize| (accumulate == Accumulate::Add).then(|| want.data[row + i]);
            let loss = sum(before(0).into_iter().chain(loss));
            let count = sum(before(1).into_iter().chain([exact(weighed(0..n, &w).count() as f64)]));
            (want.data[row], want.data[row + 1]) = (loss, count);
            let op = LossSum { cross_entropy, weight, accumulate, metrics };
            b.check(
                &format!("{n} rows, step {step} of a ring of {ring}, {accumulate:?}"),
                op,
                &[Want::table(metrics, &want)],
            );
        }
    }
}

#[test]
fn sequence_loss_sums_and_counts_each_sequence() {
    for (sequences, positions) in [(1, 1), (7, 3), (3, 33), (1, 1000)] {
        let mut b = Harness::default();
        let [(cross_entropy, ce), (weight, w)] = losses(&mut b, sequences * positions);
        let sums = b.output(DType::F32, sequences, 2);
        let want = Table::new(sequences, 2, |s, what| {
            let rows = weighed(s * positions..(s + 1) * positions, &w);
            if what == 0 { sum(rows.map(|i| ce.at(i, 0))) } else { exact(rows.count() as f64) }
        });
        let op = SequenceLoss { cross_entropy, weight, sums };
        b.check(&format!("{sequences} sequences of {positions}"), op, &[Want::table(sums, &want)]);
    }
}

#[test]
fn clear_leaves_zeros() {
    for dtype in [DType::F32, DType::Bf16] {
        let mut b = Harness::default();
        let out = b.output(dtype, 3, 5);
        b.check(&format!("{dtype:?}"), Clear { out }, &[Want::Numbers(out, vec![exact(0.0); 15])]);
    }
}
