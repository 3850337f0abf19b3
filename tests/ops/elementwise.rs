//! Embedding, losses and the optimizer: what goes row by row or number by number.

use crate::harness::{Bench, Want};
use crate::linear::softmax;
use crate::number::{F32, Num, Table, dot, exact, sum};
use tempest::program::{
    Accumulate, AdamW, AdamWStep, CrossEntropy, DType, Embed, EmbedBackward, GradNorm, LossScale, LossSum,
    MAX_LOSS_SCALE, Mat, NORM_EPS, SCALE_GROWTH_STEPS, SUMSQ_COLS, SequenceLoss, StepArgs, sumsq_slots,
};

/// (B, T, C), odd on purpose; the last fills several of any worker's shares.
const SIZES: [(usize, usize, usize); 6] = [(1, 1, 2), (7, 1, 6), (1, 33, 130), (3, 5, 257), (2, 70, 64), (5, 67, 20)];

const SYMBOLS: usize = 11;
const TIMESTEPS: usize = 5;

/// Every size, with and without a time table, in every dtype of the tables.
fn each(mut f: impl FnMut(&str, (usize, usize, usize), bool, DType)) {
    for size in SIZES {
        for timed in [false, true] {
            for dtype in [DType::F32, DType::Bf16] {
                f(&format!("B, T, C = {size:?} timed {timed} {dtype:?}"), size, timed, dtype);
            }
        }
    }
}

#[test]
fn embed_norms_the_sum_of_token_and_time() {
    each(|case, (sequences, positions, c), timed, dtype| {
        let mut b = Bench::default();
        let n = sequences * positions;
        let (ids, tokens) = b.some_ids(sequences, positions, SYMBOLS as u32);
        // Some rows so short that the norm's ε, 1.2e-7, is most of what is under the root.
        let std = if n == 7 { 2e-4 } else { 1.0 };
        let (token, table) = b.normal(dtype, SYMBOLS, c, std);
        let time = timed.then(|| (b.some_ids(sequences, 1, TIMESTEPS as u32), b.normal(dtype, TIMESTEPS, c, std)));
        let outputs = [c, sumsq_slots(c), 1].map(|cols| b.output(DType::F32, n, cols));
        let e = Table::new(n, c, |i, j| {
            let token = table.at(tokens[i] as usize, j);
            time.as_ref().map_or(token, |((_, t), (_, table))| token + table.at(t[i / positions] as usize, j))
        });
        let r = Table::new(n, 1, |i, _| {
            let mean = dot(e.row(i), e.row(i)) / exact(c as f64);
            exact(1.0) / (mean + exact(f64::from(NORM_EPS))).sqrt()
        });
        let x = e.map(|i, _, e| r.at(i, 0) * e);
        let squares = Table::new(n, sumsq_slots(c), |i, slot| {
            let cols = slot * SUMSQ_COLS..((slot + 1) * SUMSQ_COLS).min(c);
            sum(cols.map(|j| x.at(i, j) * x.at(i, j)))
        });
        let time = time.map(|((t, _), (table, _))| (t, table));
        let op = Embed { ids, time, token, x: outputs[0], sumsq: outputs[1], rstd: outputs[2] };
        let wants = [&x, &squares, &r].into_iter().zip(outputs).map(|(table, mat)| Want::table(mat, table));
        b.check(case, op, &wants.collect::<Vec<_>>());
    });
}

#[test]
fn embed_backward_gathers_the_rows_of_each_symbol_and_timestep() {
    each(|case, (sequences, positions, c), timed, _| {
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            let mut b = Bench::default();
            let n = sequences * positions;
            let (ids, tokens) = b.some_ids(sequences, positions, SYMBOLS as u32);
            let t = timed.then(|| b.some_ids(sequences, 1, TIMESTEPS as u32));
            let (dx, gradient) = b.normal(DType::F32, n, c, 1.0);
            let (x, values) = b.normal(DType::F32, n, c, 1.0);
            let r_values: Vec<f32> = b.normals(n, 0.25).iter().map(|z| z.exp()).collect();
            let (rstd, r) = b.input(DType::F32, n, 1, &r_values);
            let de = gradient.map(|i, j, dx| {
                let mean = dot(gradient.row(i), values.row(i)) / exact(c as f64);
                r.at(i, 0) * (dx - values.at(i, j) * mean)
            });
            let mut gathered = |rows: usize, hits: &dyn Fn(usize) -> usize| -> (Mat, Table) {
                let (mat, before) = match accumulate {
                    Accumulate::Overwrite => (b.output(DType::F32, rows, c), None),
                    Accumulate::Add => {
                        let (mat, before) = b.normal(DType::F32, rows, c, 3.0);
                        (mat, Some(before))
                    }
                };
                let want = Table::new(rows, c, |v, j| {
                    let terms = (0..n).filter(|&i| hits(i) == v).map(|i| de.at(i, j));
                    sum(before.iter().map(|table| table.at(v, j)).chain(terms))
                });
                (mat, want)
            };
            let (dtoken, dtoken_want) = gathered(SYMBOLS, &|i| tokens[i] as usize);
            let time = t.map(|(t, steps)| (t, gathered(TIMESTEPS, &|i| steps[i / positions] as usize)));
            let mut wants = vec![Want::table(dtoken, &dtoken_want)];
            wants.extend(time.iter().map(|(_, (mat, want))| Want::table(*mat, want)));
            let time = time.map(|(t, (dtime, _))| (t, dtime));
            let op = EmbedBackward { ids, time, dx, x, rstd, accumulate, dtoken };
            b.check(&format!("{case} {accumulate:?}"), op, &wants);
        }
    });
}

#[test]
fn cross_entropy_is_minus_the_logarithm_of_the_targets_share() {
    for (n, v) in [(1, 2), (7, 65), (33, 129), (200, 11)] {
        // Logits near a thousand: who forgets to take the largest off first overflows.
        for (drop, std) in [(None, 3.0), (Some(1), 3.0), (Some(0), 0.0), (Some(1), 300.0)] {
            let mut b = Bench::default();
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
    let mut b = Bench::default();
    let (logits, _) = b.normal(DType::F32, 1, 3, 1.0);
    let target = b.ids(1, 1, &[2]);
    let cross_entropy = b.output(DType::F32, 1, 1);
    let op = CrossEntropy { logits, target, drop: Some(2), cross_entropy };
    b.check("target is dropped", op, &[Want::Numbers(cross_entropy, vec![exact(f64::INFINITY)])]);
}

/// A third of the rows do not count; theirs is a cross-entropy that must not be looked at.
fn losses(b: &mut Bench, n: usize) -> [(Mat, Table); 2] {
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
            let mut b = Bench::default();
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
        let mut b = Bench::default();
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
fn grad_norm_is_the_length_of_all_gradients_together() {
    for (n, factor) in [(1, None), (33, Some(4.0_f32)), (1000, None), (40_001, Some(65_536.0))] {
        let mut b = Bench::default();
        b.args = StepArgs { step: 5, ..StepArgs::default() };
        let scale = factor.map(|factor| b.input(DType::F32, 1, 2, &[factor, 3.0]).0);
        let factor = factor.unwrap_or(1.0);
        let (grads, values) = b.normal(DType::F32, 1, n, 0.01);
        let (metrics, mut want) = b.normal(DType::F32, 3, 4, 1.0);
        let squares: f64 = values.data.iter().map(|g| g.v * g.v).sum();
        // However it is summed, an f32 sum in blocks of 128 and less is within 256 roundings.
        let norm = squares.sqrt() / f64::from(factor);
        want.data[2 * 4 + 2] = Num { v: norm, e: 256.0 * F32 * norm };
        want.data[2 * 4 + 3] = exact(f64::from(factor));
        b.check(&format!("{n} gradients"), GradNorm { grads, scale, metrics }, &[Want::table(metrics, &want)]);
    }
}

/// PyTorch's `clip_grad_norm_` divides by the norm and this.
const CLIP_EPS: f64 = 1e-6;

#[test]
fn adamw_moves_decays_averages_and_stores() {
    for n in [1, 33, 16_385, 40_001] {
        for (clip, ema, stored) in
            [(f32::INFINITY, None, None), (1.0, Some(DType::F32), None), (1e9, Some(DType::F32), Some(DType::Bf16))]
        {
            let mut b = Bench::default();
            let args = StepArgs { step: 6, lr: 0.01, ema_decay: 0.75, bias1: 0.5, bias2: 0.25, ..StepArgs::default() };
            b.args = args;
            let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-3, weight_decay: 0.1, clip };
            let (grads, g) = b.normal(DType::F32, 1, n, 0.5);
            let norm = g.data.iter().map(|g| g.v * g.v).sum::<f64>().sqrt() as f32;
            let mut row = vec![f32::NAN; 4 * 4];
            row[2 * 4 + 2] = norm;
            let (metrics, _) = b.input(DType::F32, 4, 4, &row);
            let (params, p) = b.normal(DType::F32, 1, n, 1.0);
            let (m, m_before) = b.normal(DType::F32, 1, n, 0.1);
            let second: Vec<f32> = b.normals(n, 0.3).iter().map(|z| z * z).collect();
            let (v, v_before) = b.input(DType::F32, 1, n, &second);
            let ema = ema.map(|dtype| b.normal(dtype, 1, n, 1.0));
            let factor = if n % 2 == 0 { 1.0 } else { 512.0 };
            let loss_scale = (n % 2 == 1).then(|| b.input(DType::F32, 1, 2, &[factor, 0.0]).0);
            let stored = stored.map(|dtype| b.output(dtype, 1, n));

            let [lr, decay, bias1, bias2] =
                [args.lr, args.ema_decay, args.bias1, args.bias2].map(|x| exact(f64::from(x)));
            let [beta1, beta2, eps, wd] =
                [adamw.beta1, adamw.beta2, adamw.eps, adamw.weight_decay].map(|x| exact(f64::from(x)));
            let one = exact(1.0);
            let ratio = exact(f64::from(clip)) / (exact(f64::from(norm)) + exact(CLIP_EPS));
            let scale = if ratio.v < 1.0 { ratio } else { one };
            let (mut p_want, mut m_want, mut v_want) = (p.clone(), m_before.clone(), v_before.clone());
            let mut ema_want = ema.as_ref().map(|(_, table)| table.clone());
            for i in 0..n {
                let g = scale * g.data[i] / exact(f64::from(factor));
                let m = beta1 * m_before.data[i] + (one - beta1) * g;
                let v = beta2 * v_before.data[i] + (one - beta2) * g * g;
                let step = lr / bias1 * m / (v.sqrt() / bias2.sqrt() + eps);
                (m_want.data[i], v_want.data[i]) = (m, v);
                p_want.data[i] = (one - lr * wd) * p.data[i] - step;
                if let Some(table) = &mut ema_want {
                    table.data[i] = decay * table.data[i] + (one - decay) * p_want.data[i];
                }
            }
            let mut wants = vec![Want::table(params, &p_want), Want::table(m, &m_want), Want::table(v, &v_want)];
            wants.extend(ema.iter().zip(&ema_want).map(|((mat, _), want)| Want::table(*mat, want)));
            wants.extend(stored.iter().map(|mat| Want::table(*mat, &p_want)));
            let ema = ema.map(|(mat, _)| mat);
            let op = AdamWStep { grads, metrics, scale: loss_scale, adamw, params, m, v, ema, stored };
            b.check(&format!("{n} parameters clipped to {clip}"), op, &wants);
        }
    }
}

#[test]
fn a_gradient_that_is_no_number_leaves_everything_as_it_was() {
    for norm in [f32::NAN, f32::INFINITY] {
        let mut b = Bench::default();
        let (grads, _) = b.input(DType::F32, 1, 3, &[f32::NAN, 1.0, 2.0]);
        let (metrics, _) = b.input(DType::F32, 1, 4, &[0.0, 0.0, norm, 0.0]);
        let [(params, p), (m, m_before), (v, v_before)] = [(); 3].map(|()| b.normal(DType::F32, 1, 3, 1.0));
        let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };
        b.args = StepArgs { lr: 0.1, bias1: 0.1, bias2: 0.01, ..StepArgs::default() };
        let wants = [Want::table(params, &p), Want::table(m, &m_before), Want::table(v, &v_before)];
        let op = AdamWStep { grads, metrics, scale: None, adamw, params, m, v, ema: None, stored: None };
        b.check(&format!("norm {norm}"), op, &wants);
    }
}

#[test]
fn the_loss_scale_halves_at_infinity_and_doubles_after_many_good_steps() {
    let last = SCALE_GROWTH_STEPS - 1.0;
    for (norm, before, after) in [
        (1.0, [65_536.0, 0.0], [65_536.0, 1.0]),
        (1.0, [65_536.0, last], [131_072.0, 0.0]),
        (1.0, [MAX_LOSS_SCALE, last], [MAX_LOSS_SCALE, 0.0]),
        (f32::INFINITY, [65_536.0, 77.0], [32_768.0, 0.0]),
        (f32::NAN, [1.0, last], [1.0, 0.0]),
    ] {
        let mut b = Bench::default();
        b.args = StepArgs { step: 4, ..StepArgs::default() };
        let (metrics, _) = b.input(DType::F32, 3, 4, &[0.0, 0.0, 9.0, 9.0, 0.0, 0.0, norm, 0.0, 0.0, 0.0, 9.0, 9.0]);
        let (scale, _) = b.input(DType::F32, 1, 2, &before);
        let want = Table { rows: 1, cols: 2, data: after.map(|x| exact(f64::from(x))).to_vec() };
        b.check(&format!("norm {norm} at {before:?}"), LossScale { metrics, scale }, &[Want::table(scale, &want)]);
    }
}
