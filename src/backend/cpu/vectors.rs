//! Vectors with Gaussian noise: the noise, what a model reads, what its predictions cost, and one reverse step.

use super::linear::rstds_or_one;
use super::math::{add, dot, softmax_weights, sum_squares, vectorized};
use super::noise::weighed_level;
use super::sampling::{first_largest, params};
use super::tiles::with_scratch;
use super::{Context, computed};
use crate::config::Gamma;
use crate::program::{
    Accumulate, BROKEN, DType, Denoise, Diffuse, DiffuseBackward, ErrorCost, GIVEN, LogitsGrad, Mat, ReadOff,
    RenoiseVectors, StepArgs, Streams, UnitRows, UnitsGrad, VectorCost, VectorInput, VectorLevel, VectorLoss,
    VectorStep,
};
use crate::raw::arena::Operands;
use crate::raw::cpu::element::Element;
use crate::rng::{Stream, UNIFORM_STEPS, cos_sin_turn, exp, normals, philox};
use rayon::prelude::*;

computed! {
    unit_rows(UnitRows);
    diffuse(Diffuse);
    vector_input(VectorInput) by y;
    denoise(Denoise);
    diffuse_backward(DiffuseBackward) by dy;
    renoise_vectors(RenoiseVectors);
}

impl Context<'_> {
    pub(super) fn vector_loss(&mut self, op: &VectorLoss) {
        match op.back.map(|(back, _)| self.o.dtype(back.dlogits)) {
            Some(DType::Bf16) => vector_loss::<half::bf16>(self, op),
            _ => vector_loss::<f32>(self, op),
        }
    }

    pub(super) fn read_off(&mut self, op: &ReadOff) {
        match op.back.map(|(.., units)| self.o.dtype(units.q)) {
            Some(DType::Bf16) => read_off::<half::bf16>(self, op),
            _ => read_off::<f32>(self, op),
        }
    }
}

/// The step that each sequence is at.
pub(super) fn steps<'a>(o: &Operands<'a>, mat: Mat, args: &StepArgs) -> impl Fn(usize) -> VectorStep + Sync + use<'a> {
    let all: &[VectorStep] = bytemuck::cast_slice(o.get::<f32>(mat));
    let (steps, at) = (mat.cols / VectorStep::COLS, args.step as usize);
    move |sequence| all[sequence * steps + at % steps]
}

impl VectorStep {
    /// α/σ², by which the output prior counts.
    fn sharpness(self) -> f32 {
        self.alpha / (self.sigma * self.sigma)
    }
}

fn unit_rows(Context { o, .. }: &mut Context<'_>, op: &UnitRows) {
    let d = op.table.cols;
    let rows = (o.get::<f32>(op.table).chunks_exact(d))
        .zip(o.take::<f32>(op.units).chunks_exact_mut(d))
        .zip(o.take::<f32>(op.rstd));
    for ((row, unit), rstd) in rows {
        let squares = sum_squares(row);
        *rstd = if squares > 0.0 { 1.0 / squares.sqrt() } else { 0.0 };
        unit.iter_mut().zip(row).for_each(|(unit, x)| *unit = x * *rstd);
    }
}

/// Standard normals of a sequence from element `first` on.
pub(super) fn draw_normals(args: &StepArgs, stream: Stream, sequence: usize, first: usize, to: &mut [f32]) {
    let step = args.step << 32 | u64::from(args.sequence + sequence as u32);
    let mut at = first;
    let mut rest = to;
    while !rest.is_empty() {
        let z = normals(philox(args.seed, stream, step, (at / 4) as u32));
        let four = &z[at % 4..];
        let (now, later) = rest.split_at_mut(four.len().min(rest.len()));
        now.copy_from_slice(&four[..now.len()]);
        (at, rest) = (at + now.len(), later);
    }
}

/// A level that is drawn, and how much its cost counts of a token.
pub(super) fn drawn(
    args: &StepArgs,
    sequence: u32,
    of: u32,
    quantiles: &[u32],
    gamma: Gamma,
    cost: ErrorCost,
) -> (VectorStep, f32) {
    let (level, importance) = weighed_level(args, sequence, of, quantiles);
    let place = level as f32 * (1.0 / UNIFORM_STEPS as f32);
    let noise_to_signal = exp(gamma.least + (gamma.most - gamma.least) * place);
    let [alpha2, sigma2] = [1.0, noise_to_signal].map(|share| share / (1.0 + noise_to_signal));
    let (cost, weight) = match cost {
        ErrorCost::Bound => (0.5 * (gamma.most - gamma.least) / noise_to_signal, importance),
        ErrorCost::Denoised => (1.0, 1.0),
        ErrorCost::Noise => (1.0 / noise_to_signal, 1.0),
        ErrorCost::Velocity => (1.0 / sigma2, 1.0),
    };
    (VectorStep { alpha: alpha2.sqrt(), sigma: sigma2.sqrt(), place, cost, ..VectorStep::default() }, weight)
}

fn diffuse(Context { o, args, .. }: &mut Context<'_>, op: &Diffuse) {
    let Diffuse { x0, units, level, streams, steps, z, weight } = *op;
    let ([sequences, positions], d) = (x0.shape(), units.cols);
    let stream = match streams {
        Streams::Train => Stream::Noise,
        Streams::Eval => Stream::EvalNoise,
    };
    let levels: Vec<(VectorStep, f32)> = match level {
        VectorLevel::Given => {
            let steps: &[VectorStep] = bytemuck::cast_slice(o.get::<f32>(steps));
            steps.iter().map(|&step| (step, 1.0)).collect()
        }
        VectorLevel::Drawn { of, quantiles, gamma, cost } => {
            let (quantiles, per_token) = (o.get::<u32>(quantiles), 1.0 / (f64::from(of) * positions as f64) as f32);
            let level = |b| drawn(args, args.sequence + b as u32, of, quantiles, gamma, cost);
            let levels: Vec<_> = (0..sequences).map(level).map(|(step, share)| (step, share * per_token)).collect();
            let to: &mut [VectorStep] = bytemuck::cast_slice_mut(o.take::<f32>(steps));
            to.iter_mut().zip(&levels).for_each(|(to, (step, _))| *to = *step);
            levels
        }
    };
    let (tokens, units) = (o.get::<u32>(x0), o.get::<f32>(units));
    let rows = o.take::<f32>(z).par_chunks_exact_mut(d).zip(o.take::<f32>(weight));
    rows.enumerate().with_min_len(64).for_each(|(row, (z, weight))| {
        let (step, share) = levels[row / positions];
        draw_normals(args, stream, row / positions, row % positions * d, z);
        noised(z, &units[tokens[row] as usize * d..][..d], step.alpha, step.sigma);
        *weight = share;
    });
}

/// `z = α·x + σ·ε` over ε.
pub(super) fn noised(z: &mut [f32], x: &[f32], alpha: f32, sigma: f32) {
    z.iter_mut().zip(x).for_each(|(z, x)| *z = alpha * x + sigma * *z);
}

fn vector_input<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &VectorInput) {
    let VectorInput { z, steps: mat, denoised, y } = *op;
    let (d, positions, step_of) = (z.cols, z.rows / mat.rows, steps(o, mat, args));
    let (z, denoised) = (o.get::<f32>(z), denoised.map(|mat| o.get::<f32>(mat)));
    let root = (d as f32).sqrt();
    o.take::<A>(y).par_chunks_exact_mut(y.cols).enumerate().with_min_len(64).for_each(|(row, y)| {
        let step = step_of(row / positions);
        let scale = step.scale(d);
        let (of_z, rest) = y.split_at_mut(d);
        let (of_denoised, features) = rest.split_at_mut(d);
        of_z.iter_mut().zip(&z[row * d..]).for_each(|(y, z)| *y = A::nearest(scale * z));
        match denoised {
            Some(x) => of_denoised.iter_mut().zip(&x[row * d..]).for_each(|(y, x)| *y = A::nearest(root * x)),
            None => of_denoised.fill(A::nearest(0.0)),
        }
        // Half turns in units of 2⁻²³ of one.
        let half = (step.place * (UNIFORM_STEPS / 2) as f32) as u32;
        for (k, y) in features.iter_mut().enumerate() {
            *y = A::nearest(cos_sin_turn(k as u32 * half % UNIFORM_STEPS)[0]);
        }
    });
}

/// What a row's prediction is made of.
#[derive(Clone, Copy)]
struct Seen<'a> {
    logits: &'a [f32],
    z: &'a [f32],
    units: &'a [f32],
    /// κ.
    sharpness: f32,
    drop: usize,
}

vectorized! {
/// `to[v] = logits[v] + κ·⟨z, E[v]⟩`, -∞ of the symbol that is dropped.
fn posterior_logits(seen: Seen, to: &mut [f32]) {
    let d = seen.z.len();
    for ((to, logit), unit) in to.iter_mut().zip(seen.logits).zip(seen.units.chunks_exact(d)) {
        *to = logit + seen.sharpness * dot(seen.z, unit);
    }
    if let Some(dropped) = to.get_mut(seen.drop) {
        *dropped = f32::NEG_INFINITY;
    }
}
}

vectorized! {
/// `to = Σ p[v]·(E[v] - from)`.
fn expected(p: &[f32], units: &[f32], from: Option<&[f32]>, to: &mut [f32]) {
    to.fill(0.0);
    let d = to.len();
    for (p, unit) in p.iter().zip(units.chunks_exact(d)) {
        match from {
            Some(from) => {
                for ((to, x), from) in to.iter_mut().zip(unit).zip(from) {
                    *to += p * (x - from);
                }
            }
            None => {
                for (to, x) in to.iter_mut().zip(unit) {
                    *to += p * x;
                }
            }
        }
    }
}
}

/// Softmax of what is in `kept` into `p`: probabilities. Returns the largest logit and the sum of what the others are to it.
fn probabilities(kept: &[f32], p: &mut [f32]) -> (f32, f32) {
    let (most, sum) = softmax_weights(kept, 1.0, p);
    p.iter_mut().for_each(|p| *p /= sum);
    (most, sum)
}

fn denoise(Context { o, args, .. }: &mut Context<'_>, op: &Denoise) {
    let Denoise { logits, z, units, steps: mat, drop, denoised } = *op;
    let (v, d, positions, step_of) = (logits.cols, z.cols, z.rows / mat.rows, steps(o, mat, args));
    let units = o.get::<f32>(units);
    let rows = (o.get::<f32>(logits).par_chunks_exact(v))
        .zip(o.get::<f32>(z).par_chunks_exact(d))
        .zip(o.take::<f32>(denoised).par_chunks_exact_mut(d));
    rows.enumerate().with_min_len(16).for_each(|(row, ((logits, z), denoised))| {
        with_scratch(2 * v, |scratch| {
            let (kept, p) = scratch.split_at_mut(v);
            let sharpness = step_of(row / positions).sharpness();
            posterior_logits(Seen { logits, z, units, sharpness, drop: drop as usize }, kept);
            probabilities(kept, p);
            expected(p, units, None, denoised);
        });
    });
}

/// A row of each matrix that gradients by the vectors go to.
struct UnitsRow<'a, A> {
    q: &'a mut [A],
    g: &'a mut [A],
}

impl<A: Element> UnitsRow<'_, A> {
    fn put(self, q: &[f32], factor: f32, g: &[f32]) {
        A::narrow(q, self.q);
        self.g.iter_mut().zip(g).for_each(|(to, g)| *to = A::nearest(factor * g));
    }
}

/// The products of every row: of row i those at i, N + i, ….
fn units_rows<'a, A: Element>(o: &Operands<'a>, units: UnitsGrad, n: usize) -> Vec<Vec<UnitsRow<'a, A>>> {
    let mut rows: Vec<Vec<UnitsRow<A>>> = (0..n).map(|_| Vec::new()).collect();
    let all =
        o.take::<A>(units.q).chunks_exact_mut(units.q.cols).zip(o.take::<A>(units.g).chunks_exact_mut(units.g.cols));
    all.enumerate().for_each(|(i, (q, g))| rows[i % n].push(UnitsRow { q, g }));
    rows
}

fn vector_loss<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &VectorLoss) {
    let VectorLoss { logits, target, z, units, steps: mat, drop, cost, loss, back } = *op;
    let ([n, v], d, positions, step_of) = (logits.shape(), z.cols, target.cols, steps(o, mat, args));
    let (target, units) = (o.get::<u32>(target), o.get::<f32>(units));
    // The loss of a row; p becomes what the loss is of, and what is beside it: x̂ - x.
    let cost_of = |i: usize, seen: Seen, kept: &mut [f32], p: &mut [f32], off: &mut [f32]| {
        posterior_logits(seen, kept);
        let (most, sum) = probabilities(kept, p);
        let x = target[i] as usize;
        match cost {
            VectorCost::CrossEntropy => sum.ln() - (kept[x] - most),
            VectorCost::SquaredError => {
                expected(p, units, Some(&units[x * d..][..d]), off);
                step_of(i / positions).cost * sum_squares(off)
            }
        }
    };
    let seen_of = |i: usize, logits, z| {
        let sharpness = step_of(i / positions).sharpness();
        Seen { logits, z, units, sharpness, drop: drop as usize }
    };
    let rows = (o.get::<f32>(logits).par_chunks_exact(v))
        .zip(o.get::<f32>(z).par_chunks_exact(d))
        .zip(o.take::<f32>(loss))
        .enumerate()
        .with_min_len(16);
    let Some((LogitsGrad { sumsq, width, weight, scale, dlogits, s }, of_units)) = back else {
        return rows.for_each(|(i, ((logits, z), loss))| {
            with_scratch(2 * v + d, |scratch| {
                let (kept, rest) = scratch.split_at_mut(v);
                let (p, off) = rest.split_at_mut(v);
                *loss = cost_of(i, seen_of(i, logits, z), kept, p, off);
            });
        });
    };
    let (sumsq, weight) = (sumsq.map(|sumsq| o.get::<f32>(sumsq)), o.get::<f32>(weight));
    let scale = scale.map_or(1.0, |scale| o.get::<f32>(scale)[0]);
    let outputs = (o.take::<A>(dlogits).par_chunks_exact_mut(v))
        .zip(o.take::<f32>(s))
        .zip(o.take::<f32>(of_units.own).par_chunks_exact_mut(d))
        .zip(units_rows::<A>(o, of_units, n));
    rows.zip(outputs).for_each(|((i, ((logits, z), loss)), (((dlogits, s), own), products))| {
        with_scratch(2 * v + d, |scratch| {
            let (kept, rest) = scratch.split_at_mut(v);
            let (p, off) = rest.split_at_mut(v);
            let (seen, step, x) = (seen_of(i, logits, z), step_of(i / positions), target[i] as usize);
            *loss = cost_of(i, seen, kept, p, off);
            let (weight, mut products) = (scale * weight[i], products.into_iter());
            let of_prior = products.next().expect("every cost has it");
            match cost {
                VectorCost::CrossEntropy => {
                    p.iter_mut().for_each(|p| *p *= weight);
                    p[x] -= weight;
                }
                VectorCost::SquaredError => {
                    off.iter_mut().for_each(|off| *off *= 2.0 * weight * step.cost);
                    // ⟨g, E[v] - x̂⟩ by way of differences from x, which stay small where x̂ is near it.
                    slopes(units, &units[x * d..][..d], off, kept);
                    let mean = dot(p, kept);
                    let of_x = p[x];
                    p[x] = of_x - 1.0;
                    products.next().expect("that of x̂").put(p, 1.0, off);
                    p[x] = of_x;
                    p.iter_mut().zip(&*kept).for_each(|(p, slope)| *p *= slope - mean);
                }
            }
            let mut r = [0.0];
            rstds_or_one(sumsq, width as usize, i, &mut r);
            *s = dot(p, logits);
            dlogits.iter_mut().zip(&*p).for_each(|(d, p)| *d = A::nearest(r[0] * p));
            of_prior.put(p, seen.sharpness, z);
            expected(p, units, None, own);
            own.iter_mut().for_each(|own| *own *= step.alpha * seen.sharpness);
        });
    });
}

vectorized! {
/// `to[v] = ⟨g, E[v] - x⟩`.
fn slopes(units: &[f32], x: &[f32], g: &[f32], to: &mut [f32]) {
    let d = x.len();
    let of_x = dot(g, x);
    for (to, unit) in to.iter_mut().zip(units.chunks_exact(d)) {
        *to = dot(g, unit) - of_x;
    }
}
}

fn read_off<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &ReadOff) {
    let ReadOff { target, units, gamma, drop, accumulate, loss, back } = *op;
    let (n, [v, d], positions) = (target.len(), units.shape(), target.cols);
    let (target, units) = (o.get::<u32>(target), o.get::<f32>(units));
    let step = VectorStep::level(gamma, gamma.least.into(), 0.0);
    let sharpness = step.sharpness();
    let none = vec![0.0; v];
    let cost_of = |i: usize, kept: &mut [f32], p: &mut [f32], z: &mut [f32]| {
        let x = target[i] as usize;
        draw_normals(args, Stream::Decode, i / positions, i % positions * d, z);
        noised(z, &units[x * d..][..d], step.alpha, step.sigma);
        posterior_logits(Seen { logits: &none, z, units, sharpness, drop: drop as usize }, kept);
        let (most, sum) = probabilities(kept, p);
        sum.ln() - (kept[x] - most)
    };
    let put = |loss: &mut f32, cost: f32| match accumulate {
        Accumulate::Overwrite => *loss = cost,
        Accumulate::Add => *loss += cost,
    };
    let rows = o.take::<f32>(loss).par_iter_mut().enumerate().with_min_len(16);
    let Some((weight, scale, of_units)) = back else {
        return rows.for_each(|(i, loss)| {
            with_scratch(2 * v + d, |scratch| {
                let (kept, rest) = scratch.split_at_mut(v);
                let (p, z) = rest.split_at_mut(v);
                put(loss, cost_of(i, kept, p, z));
            });
        });
    };
    let weight = o.get::<f32>(weight);
    let scale = scale.map_or(1.0, |scale| o.get::<f32>(scale)[0]);
    let outputs = o.take::<f32>(of_units.own).par_chunks_exact_mut(d).zip(units_rows::<A>(o, of_units, n));
    rows.zip(outputs).for_each(|((i, loss), (own, products))| {
        with_scratch(2 * v + 2 * d, |scratch| {
            let (kept, rest) = scratch.split_at_mut(v);
            let (p, rest) = rest.split_at_mut(v);
            let (z, by_z) = rest.split_at_mut(d);
            put(loss, cost_of(i, kept, p, z));
            let weight = scale * weight[i];
            p.iter_mut().for_each(|p| *p *= weight);
            p[target[i] as usize] -= weight;
            products.into_iter().for_each(|product| product.put(p, sharpness, z));
            expected(p, units, None, by_z);
            own.iter_mut().zip(by_z).for_each(|(own, by_z)| *own += step.alpha * sharpness * *by_z);
        });
    });
}

fn diffuse_backward<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &DiffuseBackward) {
    let DiffuseBackward { x0, steps: mat, dy, own, dunits, units, rstd, accumulate, dtable } = *op;
    let (d, positions, width, step_of) = (units.cols, x0.cols, dy.cols, steps(o, mat, args));
    let (tokens, dy, own) = (o.get::<u32>(x0), o.get::<A>(dy), o.get::<f32>(own));
    let mut rows_of = vec![Vec::new(); units.rows];
    tokens.iter().enumerate().for_each(|(row, &token)| rows_of[token as usize].push(row));
    let rows = (o.take::<f32>(dtable).par_chunks_exact_mut(d))
        .zip(o.get::<f32>(dunits).par_chunks_exact(d))
        .zip(o.get::<f32>(units).par_chunks_exact(d))
        .zip(o.get::<f32>(rstd))
        .zip(rows_of);
    rows.for_each(|((((to, dunits), unit), rstd), rows)| {
        with_scratch(d, |sum| {
            sum.copy_from_slice(dunits);
            for row in rows {
                let step = step_of(row / positions);
                let factor = step.alpha * step.scale(d);
                add(sum, &own[row * d..][..d]);
                sum.iter_mut().zip(&dy[row * width..]).for_each(|(sum, dy)| *sum += factor * dy.wide());
            }
            let along = dot(sum, unit);
            for ((to, sum), unit) in to.iter_mut().zip(&*sum).zip(unit) {
                let gradient = rstd * (sum - unit * along);
                *to = if accumulate == Accumulate::Add { *to + gradient } else { gradient };
            }
        });
    });
}

fn renoise_vectors(Context { o, args, .. }: &mut Context<'_>, op: &RenoiseVectors) {
    let RenoiseVectors { logits, params: of_texts, steps: mat, units, truth, drop, .. } = *op;
    let ([_, positions], v, d) = (op.x.shape(), logits.cols, units.cols);
    let (params, step_of, units) = (params(o, of_texts), steps(o, mat, args), o.get::<f32>(units));
    let texts = (o.get::<f32>(logits).par_chunks_exact(v * positions))
        .zip(o.get::<u32>(truth).par_chunks_exact(positions))
        .zip(o.take::<f32>(op.z).par_chunks_exact_mut(positions * d))
        .zip(o.take::<f32>(op.denoised).par_chunks_exact_mut(positions * d))
        .zip(o.take::<u32>(op.x).par_chunks_exact_mut(positions))
        .zip(o.take::<u32>(op.masked).par_chunks_exact_mut(positions))
        .zip(o.take::<u32>(op.committed_at).par_chunks_exact_mut(positions))
        .zip(o.take::<u32>(op.remaining));
    texts.enumerate().for_each(|(b, (((((((logits, truth), z), denoised), x), masked), committed_at), remaining))| {
        let (step, temperature) = (step_of(b), params[b].temperature);
        if matches!(*remaining, 0 | BROKEN) {
            return;
        }
        // A network's broken logits break all rows of a text alike.
        if logits.iter().any(|logit| logit.is_nan()) {
            *remaining = BROKEN;
            return;
        }
        let rows = z.chunks_exact_mut(d).zip(denoised.chunks_exact_mut(d)).zip(logits.chunks_exact(v));
        rows.enumerate().for_each(|(p, ((z, denoised), logits))| {
            with_scratch(2 * v + d, |scratch| {
                let (kept, rest) = scratch.split_at_mut(v);
                let (likely, noise) = rest.split_at_mut(v);
                draw_normals(args, Stream::Noise, b, p * d, noise);
                if masked[p] == 0 {
                    let unit = &units[truth[p] as usize * d..][..d];
                    denoised.copy_from_slice(unit);
                    noised(noise, unit, step.alpha_to, step.sigma_to);
                    return z.copy_from_slice(noise);
                }
                let (drop, sharpness) = (drop as usize, step.sharpness());
                posterior_logits(Seen { logits, z, units, sharpness, drop }, kept);
                let mut next = first_largest(kept);
                match temperature {
                    0.0 => denoised.copy_from_slice(&units[next * d..][..d]),
                    _ => {
                        let most = kept[next];
                        kept.iter_mut().for_each(|logit| *logit = (*logit - most) / temperature);
                        probabilities(kept, likely);
                        expected(likely, units, None, denoised);
                    }
                }
                if step.clamps != 0.0 {
                    let nearest = nearest(units, denoised, drop, kept);
                    denoised.copy_from_slice(&units[nearest * d..][..d]);
                }
                for ((z, x), n) in z.iter_mut().zip(&*denoised).zip(&*noise) {
                    *z = step.of_denoised * x + step.of_noisy * *z + step.of_noise * n;
                }
                if step.ends != 0.0 {
                    next = nearest(units, z, drop, kept);
                }
                if x[p] != next as u32 || committed_at[p] == GIVEN {
                    committed_at[p] = args.step as u32;
                }
                x[p] = next as u32;
            });
        });
        if step.ends != 0.0 {
            masked.fill(0);
            *remaining = 0;
        }
    });
}

/// The token whose vector is nearest: they have one length, and so the one of the largest product.
fn nearest(units: &[f32], z: &[f32], drop: usize, products: &mut [f32]) -> usize {
    for (product, unit) in products.iter_mut().zip(units.chunks_exact(z.len())) {
        *product = dot(z, unit);
    }
    if let Some(dropped) = products.get_mut(drop) {
        *dropped = f32::NEG_INFINITY;
    }
    first_largest(products)
}
