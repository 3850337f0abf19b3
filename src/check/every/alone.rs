//! Ops alone, in every way in which they may be asked for: those that no model has, and those that models ask for in few ways.

use crate::backend::Backend;
use crate::check::Trial;
use crate::config::{
    Density, Gamma, Levels, MaskShare, NOISE_FEATURES, Policy, Relaxation, Schedule, Score, Temperatures,
};
use crate::data::Corpus;
use crate::error::Result;
use crate::program::{
    Accumulate, AdamW, AdamWStep, AppendToken, Attention, AttentionMask, Builder, CachedAttention, Clear, Commit,
    CommitTokens, Corrupt, CountMasked, Counted, Crop, CrossEntropy, DType, Denoise, DenoiseLatents, Diffuse,
    DiffuseBackward, DiffuseLatents, DrawLevels, ErrorCost, FillCache, GIVEN, GradNorm, Gram, Guide, LastToken,
    LatentInput, LatentLoss, LatentsBackward, LayerNorm, LayerNormBackward, Level, LogitsGrad, LossScale, Mat, Misread,
    Mixing, MuonMomentum, MuonStep, NEWTON_SCHULZ, NewtonSchulz, Noise, NoisedCost, NoisedLoss, NoisyGrad, NormalNoise,
    Op, OpenRow, Persistence, Plan, Predict, ReadOff, ReadTokens, RegionId, RelaxedLoss, Relaxing, Renoise,
    RenoiseLatents, RenoiseVectors, RmsNorm, RmsNormBackward, SCALE_GROWTH_STEPS, SampleTime, SamplingParams, Scores,
    SequenceLoss, Shift, ShortConv, ShortConvBackward, SoftTokens, SoftTokensBackward, Stack, StepArgs, Storage,
    Streams, TimeOrder, UnitRows, UnitsGrad, Unprompt, VectorCost, VectorInput, VectorLevel, VectorLoss, VectorStep,
    WeightAverage, Weighting, Windows, sumsq_slots,
};
use crate::rng::{Stream, UNIFORM_STEPS, normals, philox, uniform};
use std::sync::Arc;

/// Sequences, their positions, and symbols: none a multiple of a tile's.
const SEQUENCES: usize = 3;
const POSITIONS: usize = 75;
const SYMBOLS: usize = 67;
const ROWS: usize = SEQUENCES * POSITIONS;

/// What is checked, and who writes its ops.
type Group = (&'static str, fn(&mut Alone));

pub(super) fn trials(storage: Storage, text: &Arc<Corpus>) -> Vec<Trial> {
    let groups: [Group; 14] = [
        ("windows and noise of every kind", noise),
        ("noise that turns tokens into others", noised),
        ("tokens relaxed to distributions", relaxed),
        ("convolution over neighbouring positions", convolution),
        ("norms with weights", norms),
        ("attention whose scores are not bounded", attention),
        ("losses of an evaluation", losses),
        ("optimizers with and without what they may have", optimizers),
        ("muon of matrices of every sort", muon),
        ("choices and policies of sampling", sampling),
        ("texts guided by what is given", guidance),
        ("texts from left to right", decode),
        ("vectors with Gaussian noise", vectors),
        ("latents of several tokens with Gaussian noise", latents),
    ];
    let trial = |(name, write): Group| {
        let mut alone = Alone::new(storage.acts, text);
        write(&mut alone);
        alone.into_trial(name)
    };
    groups.into_iter().map(trial).collect()
}

fn noise(a: &mut Alone) {
    let text = Arc::clone(&a.text);
    for windows in [Windows::Random(text.train()), Windows::Spaced { range: text.validation(), windows: 9 }] {
        let x0 = a.ids_out(SEQUENCES, POSITIONS);
        a.push(Crop { windows, x0 });
    }
    let (positions, context, sequences, timesteps) = (POSITIONS as u32, 4, 9, 7);
    let inv_count = a.float_out(1, 1);
    a.push(CountMasked { positions, context, sequences, timesteps, inv_count });
    let mut noises = vec![Noise::Timesteps { timesteps, inv_count }, Noise::ExactCount];
    for schedule in Schedule::ALL {
        for weighting in [Weighting::Nelbo, Weighting::Simple { mean_rate: schedule.mean_mask_rate() }] {
            noises.push(Noise::Continuous { schedule, weighting });
        }
    }
    let levels =
        [Level::Independent, Level::Stratified { of: sequences }, Level::Spread { windows: sequences, passes: 3 }];
    let bell = Density::Beta { a: 3, b: 5 }.quantiles().expect("it is not uniform");
    for (i, noise) in noises.into_iter().enumerate() {
        for (j, level) in levels.into_iter().enumerate() {
            let quantiles = (i % 3 == j).then(|| a.ids(1, bell.len(), bell.to_vec()));
            let x0 = a.some_ids(SEQUENCES, POSITIONS, 65);
            let (xt, t, weight) = (a.ids_out(SEQUENCES, POSITIONS), a.ids_out(SEQUENCES, 1), a.float_out(ROWS, 1));
            a.push(Corrupt {
                blocks: 1,
                x0,
                noise,
                level,
                quantiles,
                streams: [Streams::Train, Streams::Eval][(i + j) % 2],
                context,
                context_drop: UNIFORM_STEPS / 2,
                mixing: [Mixing::mask(65), Mixing::uniform(65, 65)][i % 2],
                rates: None,
                sequences,
                timesteps: [0, 5, 128][j],
                xt,
                t,
                weight,
            });
        }
    }
    let out = a.float_out(ROWS, 6);
    a.push(NormalNoise { positions, out });
}

fn noised(a: &mut Alone) {
    let mask = SYMBOLS as u32 - 1;
    let rate = |i: usize| (i as u32 + 1) * (UNIFORM_STEPS / 5);
    let pairs = (0..SEQUENCES).flat_map(|b| [rate(b + 1), rate(b)]).collect::<Vec<_>>();
    let given = a.ids(SEQUENCES, 2, pairs.clone());
    let ending = a.ids(SEQUENCES, 2, [pairs[0], 0].repeat(SEQUENCES));
    let continuous = |weighting| Noise::Continuous { schedule: Schedule::Cosine, weighting };
    for (mixing, noise) in [
        (Mixing::uniform(mask, mask), continuous(Weighting::NelboByRate)),
        (Mixing::new(2, mask, 0.25.into()), continuous(Weighting::Even)),
        (Mixing::new(mask, mask, MaskShare::Gidd(0.2)), Noise::Given),
    ] {
        let real = |a: &mut Alone| {
            let ids = a.words(ROWS).map(|words| words[0] % mask).map(|id| id + u32::from(id >= mixing.mask)).collect();
            a.ids(SEQUENCES, POSITIONS, ids)
        };
        let x0 = real(a);
        let (xt, t, weight) = (a.ids_out(SEQUENCES, POSITIONS), a.ids_out(SEQUENCES, 1), a.float_out(ROWS, 1));
        let rates = Some(if noise == Noise::Given { given } else { a.ids_out(SEQUENCES, 2) });
        a.push(Corrupt {
            x0,
            blocks: 1,
            noise,
            level: Level::Stratified { of: 9 },
            quantiles: None,
            streams: Streams::Train,
            context: 4,
            context_drop: 0,
            mixing,
            sequences: 9,
            timesteps: 16,
            xt,
            rates,
            t,
            weight,
        });
        let logits = a.normal(ROWS, SYMBOLS, 2.0);
        for (i, cost) in [NoisedCost::CrossEntropy, NoisedCost::Bound, NoisedCost::Step].into_iter().enumerate() {
            let (width, weight) = (136, a.uniform(ROWS, 1, 1.0));
            let sumsq = (i == 0).then(|| a.uniform(ROWS, sumsq_slots(width), 90.0));
            let scale = (i == 1).then(|| a.float(1, 2, vec![128.0, 0.0]));
            let (dlogits, s) = (a.stored_out(ROWS, SYMBOLS), a.float_out(ROWS, 1));
            let back = LogitsGrad { sumsq, width: width as u32, weight, scale, dlogits, s };
            let (target, z, rates, loss) = (x0, xt, given, a.float_out(ROWS, 1));
            let back = (cost != NoisedCost::Step).then_some(back);
            a.push(NoisedLoss { logits, target, z, rates, mixing, cost, loss, back });
        }
        let (t, open) = (a.ids_out(SEQUENCES, 1), (0..ROWS).map(|row| u32::from(row % 3 != 1)).collect::<Vec<_>>());
        let masked = a.ids(SEQUENCES, POSITIONS, open.clone());
        a.push(SampleTime { masked, order: TimeOrder::Rate { rates: given }, timesteps: 128, t });
        for (temperature, rates) in [(0.8, ending), (1.0, given), (0.0, given)] {
            let params = a.params(SamplingParams { temperature, greedy_tail: 20.0, ..SamplingParams::MOST_PROBABLE });
            let (x, truth, masked) = (real(a), real(a), a.ids(SEQUENCES, POSITIONS, open.clone()));
            let (committed_at, remaining) = (a.some_ids(SEQUENCES, POSITIONS, 9), a.some_ids(SEQUENCES, 1, 50));
            a.push(Renoise { logits, params, rates, truth, mixing, x, masked, committed_at, remaining });
        }
    }
}

/// Soft tokens and hard ones, of known tokens and of predicted ones, their loss and the way back.
fn relaxed(a: &mut Alone) {
    let mask = SYMBOLS as u32 - 1;
    let rates = a.ids(SEQUENCES, 2, vec![UNIFORM_STEPS / 5, 0, UNIFORM_STEPS / 2, 0, UNIFORM_STEPS, 0]);
    let temperatures = Temperatures { first: 1.0, last: 0.25, steps: 6 };
    let target = a.some_ids(SEQUENCES, POSITIONS, mask);
    let (logits, before) = (a.normal(ROWS, SYMBOLS, 2.0), a.stored_out(ROWS, SYMBOLS));
    for mixing in [Mixing::new(mask, mask, 0.25.into()), Mixing::uniform(mask, mask)] {
        let of = Relaxing::Tokens(target);
        a.push(SoftTokens { of, rates, mixing, temperatures, relaxation: Relaxation::Soft, soft: before });
        for (of, relaxation) in [
            (of, Relaxation::StraightThrough),
            (Relaxing::Predicted { logits, before }, Relaxation::Soft),
            (Relaxing::Predicted { logits, before }, Relaxation::StraightThrough),
        ] {
            let soft = a.stored_out(ROWS, SYMBOLS);
            a.push(SoftTokens { of, rates, mixing, temperatures, relaxation, soft });
        }
        let (width, weight) = (136, a.uniform(ROWS, 1, 1.0));
        let sumsq = Some(a.uniform(ROWS, sumsq_slots(width), 90.0));
        let scale = Some(a.float(1, 2, vec![128.0, 0.0]));
        let (dlogits, s, loss) = (a.stored_out(ROWS, SYMBOLS), a.float_out(ROWS, 1), a.float_out(ROWS, 1));
        let (by_input, by_rule) = (a.normal(ROWS, SYMBOLS, 1.0), a.float_out(ROWS, SYMBOLS));
        let width = width as u32;
        let back = LogitsGrad { sumsq, width, weight, scale, dlogits, s };
        a.push(RelaxedLoss { logits, target, soft: before, rates, mixing, loss, back, dsoft: Some(by_rule) });
        let dsoft = [by_input, by_rule];
        a.push(SoftTokensBackward { logits, before, rates, mixing, temperatures, dsoft, sumsq, width, dlogits, s });
    }
}

fn convolution(a: &mut Alone) {
    for (cols, taps, before) in [(136, 5, 2), (66, 7, 6)] {
        let (x, w, dout) = (a.stored(ROWS, cols, 1.0), a.stored(taps, cols, 0.5), a.stored(ROWS, cols, 1.0));
        let (out, sumsq, positions) =
            (a.stored_out(ROWS, cols), a.float_out(ROWS, sumsq_slots(cols)), POSITIONS as u32);
        a.push(ShortConv { x, w, positions, before, out, sumsq });
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            let (dx, dw) = (a.stored_out(ROWS, cols), a.normal(taps, cols, 1.0));
            a.push(ShortConvBackward { dout, x, w, positions, before, accumulate, dx, dw });
        }
    }
}

/// Vectors that one lane of a warp has two numbers of, at three levels of noise.
fn vectors(a: &mut Alone) {
    let (dims, drop, gamma) = (33, SYMBOLS as u32 - 1, Gamma::USUAL);
    let (table, units, rstd) = (a.normal(SYMBOLS, dims, 1.5), a.float_out(SYMBOLS, dims), a.float_out(SYMBOLS, 1));
    a.push(UnitRows { table, units, rstd });
    let quantiles = gamma.quantiles(Schedule::Cosine, Levels::UNIFORM);
    let quantiles = a.ids(1, quantiles.len(), quantiles.to_vec());
    let steps = [-1.0, 1.0, 3.0].map(|from| {
        let step = VectorStep::level(gamma, from, 0.7);
        step.leading(Gamma::squares(from), Gamma::squares(from - 1.0), 0.5, 0.9)
    });
    let given = a.float(SEQUENCES, VectorStep::COLS, bytemuck::cast_slice(&steps).to_vec());
    let (x0, rows_of_z) = (a.some_ids(SEQUENCES, POSITIONS, drop), |a: &mut Alone| a.float_out(ROWS, dims));
    let drawn = |cost| VectorLevel::Drawn { of: 9, quantiles, gamma, cost };
    for (level, streams) in [
        (VectorLevel::Given, Streams::Eval),
        (drawn(ErrorCost::Bound), Streams::Train),
        (drawn(ErrorCost::Velocity), Streams::Train),
    ] {
        let steps = if level == VectorLevel::Given { given } else { a.float_out(SEQUENCES, VectorStep::COLS) };
        let (z, weight) = (rows_of_z(a), a.float_out(ROWS, 1));
        a.push(Diffuse { x0, units, level, streams, steps, z, weight });
    }
    let (z, leading, steps) = (a.normal(ROWS, dims, 0.3), steps, given);
    let logits = a.normal(ROWS, SYMBOLS, 2.0);
    let denoised = rows_of_z(a);
    a.push(Denoise { logits, z, units, steps, drop, denoised });
    for denoised in [None, Some(denoised)] {
        let y = a.stored_out(ROWS, 2 * dims + NOISE_FEATURES);
        a.push(VectorInput { z, steps, denoised, y });
    }
    let (weight, own) = (a.uniform(ROWS, 1, 1.0), rows_of_z(a));
    for (cost, learns) in
        [(VectorCost::SquaredError, false), (VectorCost::CrossEntropy, true), (VectorCost::SquaredError, true)]
    {
        let (target, products) = (x0, VectorLoss::products(cost));
        let back = learns.then(|| {
            let scale = (products == 2).then(|| a.float(1, 2, vec![128.0, 0.0]));
            let (dlogits, s) = (a.stored_out(ROWS, SYMBOLS), a.float_out(ROWS, 1));
            let (q, g) = (a.stored_out(products * ROWS, SYMBOLS), a.stored_out(products * ROWS, dims));
            (LogitsGrad { sumsq: None, width: 136, weight, scale, dlogits, s }, UnitsGrad { q, g, own })
        });
        let loss = a.float_out(ROWS, 1);
        a.push(VectorLoss { logits, target, z, units, steps, drop, cost, loss, back });
        let accumulate = if learns { Accumulate::Add } else { Accumulate::Overwrite };
        let back = back.map(|(LogitsGrad { weight, scale, .. }, _)| {
            let (q, g) = (a.stored_out(ROWS, SYMBOLS), a.stored_out(ROWS, dims));
            (weight, scale, UnitsGrad { q, g, own })
        });
        a.push(ReadOff { target, units, gamma, drop, accumulate, loss, back });
    }
    let (dy, dunits) = (a.stored(ROWS, 2 * dims + NOISE_FEATURES, 0.5), a.normal(SYMBOLS, dims, 1.0));
    for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
        let dtable = a.normal(SYMBOLS, dims, 1.0);
        a.push(DiffuseBackward { x0, steps, dy, own, dunits, units, rstd, accumulate, dtable });
    }
    for (temperature, clamps, ends) in [(0.8, 0.0, 0.0), (0.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 0.0, 1.0)] {
        let steps = leading.map(|step| VectorStep { clamps, ends, ..step });
        let steps = a.float(SEQUENCES, VectorStep::COLS, bytemuck::cast_slice(&steps).to_vec());
        let params = a.params(SamplingParams { temperature, ..SamplingParams::MOST_PROBABLE });
        let (z, denoised) = (a.normal(ROWS, dims, 0.3), a.normal(ROWS, dims, 0.2));
        let [truth, x] = [(); 2].map(|()| a.some_ids(SEQUENCES, POSITIONS, drop));
        let masked = a.ids(SEQUENCES, POSITIONS, (0..ROWS).map(|row| u32::from(row % 3 != 1)).collect());
        let committed_at = a.some_ids(SEQUENCES, POSITIONS, 9);
        // The first text is finished.
        let remaining = a.ids(SEQUENCES, 1, (0..SEQUENCES as u32).collect());
        a.push(RenoiseVectors {
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

/// Latents that one lane of a warp has two numbers of, each of three tokens, at three levels of noise.
fn latents(a: &mut Alone) {
    let (dims, pool, drop, gamma) = (33, 3, SYMBOLS as u32 - 1, Gamma::OF_LATENTS);
    let rows = ROWS / pool;
    let quantiles = gamma.quantiles(Schedule::Cosine, Levels::UNIFORM);
    let quantiles = a.ids(1, quantiles.len(), quantiles.to_vec());
    for (cost, weights) in [(ErrorCost::Bound, rows), (ErrorCost::Noise, rows), (ErrorCost::Denoised, ROWS)] {
        let (steps, weight) = (a.float_out(SEQUENCES, VectorStep::COLS), a.float_out(weights, 1));
        a.push(DrawLevels { of: 9, tokens: POSITIONS as u32, quantiles, gamma, cost, steps, weight });
    }
    let leading = [-1.0, 1.0, 3.0].map(|from| {
        let step = VectorStep::level(gamma, from, 0.7);
        step.leading(Gamma::squares(from), Gamma::squares(from - 1.0), 0.5, 0.9)
    });
    let steps = a.float(SEQUENCES, VectorStep::COLS, bytemuck::cast_slice(&leading).to_vec());
    let (latents, known) = (a.normal(rows, dims, 0.17), a.normal(rows, dims, 0.17));
    let (z, y, stored) = (a.float_out(rows, dims), a.stored_out(rows, dims), a.stored_out(rows, dims));
    a.push(DiffuseLatents { latents, steps, stream: Stream::Noise, z: Some(z), y: None });
    a.push(DiffuseLatents { latents, steps, stream: Stream::Decode, z: None, y: Some(y) });
    a.push(LatentInput { z, gamma, y: stored });
    let (output, denoised) = (a.normal(rows, dims, 1.0), a.float_out(rows, dims));
    a.push(DenoiseLatents { output, z, steps, denoised });
    let (weight, own) = (a.uniform(rows, 1, 1.0), a.float_out(rows, dims));
    for learns in [false, true] {
        let loss = a.float_out(rows, 1);
        let back = learns.then(|| {
            let (width, scale) = (136, Some(a.float(1, 2, vec![128.0, 0.0])));
            let sumsq = Some(a.uniform(rows, sumsq_slots(width), 90.0));
            let (dlogits, s) = (a.stored_out(rows, dims), a.float_out(rows, 1));
            (LogitsGrad { sumsq, width: width as u32, weight, scale, dlogits, s }, own)
        });
        a.push(LatentLoss { output, z, latents, steps, loss, back });
    }
    let rstd = a.uniform(rows, 1, 1.0);
    let decoder = NoisyGrad { steps, dy: a.stored(rows, dims, 0.5) };
    let denoiser = NoisyGrad { steps, dy: a.stored(rows, 2 * dims + NOISE_FEATURES, 0.5) };
    for denoiser in [None, Some((denoiser, own))] {
        let dtable = a.stored_out(rows, dims);
        a.push(LatentsBackward { latents, rstd, decoder, denoiser, dtable });
    }
    let (logits, open) = (a.normal(ROWS, SYMBOLS, 2.0), (0..ROWS).map(|row| u32::from(row % 5 == 1)));
    let open: Vec<u32> = open.collect();
    for (clamps, ends, temperature) in [(0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (0.0, 1.0, 0.8)] {
        let steps = leading.map(|step| VectorStep { clamps, ends, ..step });
        let steps = a.float(SEQUENCES, VectorStep::COLS, bytemuck::cast_slice(&steps).to_vec());
        let (z, denoised) = (a.normal(rows, dims, 0.3), a.normal(rows, dims, 0.2));
        let masked = a.ids(SEQUENCES, POSITIONS, open.clone());
        // The first text is finished.
        let remaining = a.ids(SEQUENCES, 1, (0..SEQUENCES as u32).collect());
        a.push(RenoiseLatents { output, steps, known, masked, z, denoised, remaining });
        let params = a.params(SamplingParams { temperature, ..SamplingParams::MOST_PROBABLE });
        let x = a.some_ids(SEQUENCES, POSITIONS, drop);
        let committed_at = a.some_ids(SEQUENCES, POSITIONS, 9);
        a.push(ReadTokens { logits, params, remaining, drop, x, masked, committed_at });
    }
    let (target, wrong) = (a.some_ids(ROWS, 1, drop), a.float_out(ROWS, 1));
    a.push(Misread { logits, target, drop, wrong });
}

fn norms(a: &mut Alone) {
    let cols = 136;
    let (dy, x, gain) = (a.stored(ROWS, cols, 1.0), a.stored(ROWS, cols, 1.0), a.stored(1, cols, 1.0));
    let (y, rstd) = (a.stored_out(ROWS, cols), a.float_out(ROWS, 1));
    a.push(RmsNorm { x, gain, eps: 1e-5, y, rstd });
    for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
        let (dx, dgain) = (a.stored_out(ROWS, cols), a.normal(1, cols, 1.0));
        a.push(RmsNormBackward { dy, x, gain, rstd, accumulate, dx, dgain });
    }
    let (x, bias) = (a.stored(ROWS, cols, 2.0), a.stored(1, cols, 0.5));
    let (y, mean, rstd) = (a.stored_out(ROWS, cols), a.float_out(ROWS, 1), a.float_out(ROWS, 1));
    a.push(LayerNorm { x, gain, bias: Some(bias), eps: 1e-5, y, mean, rstd });
    for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
        let (dx, dgain, dbias) = (a.stored_out(ROWS, cols), a.normal(1, cols, 1.0), a.normal(1, cols, 1.0));
        let (residual, dbias) = match accumulate {
            Accumulate::Overwrite => (None, Some(dbias)),
            Accumulate::Add => (Some(a.stored(ROWS, cols, 1.0)), None),
        };
        a.push(LayerNormBackward { dy, x, gain, mean, rstd, residual, accumulate, dx, dgain, dbias });
    }
}

fn attention(a: &mut Alone) {
    let heads = 2;
    for head_dim in [32, 64, 128] {
        // Blocks are of texts that have two copies.
        let blocks = AttentionMask::Blocks { length: 5 };
        for (mask, rows) in
            [(AttentionMask::Bidirectional, ROWS), (AttentionMask::Causal, ROWS), (blocks, 2 * POSITIONS)]
        {
            let width = heads * head_dim;
            // Scores of a standard deviation of 4: the running maximum has to follow them.
            let qkv = a.stored(rows, 3 * width, 2.0);
            let (o, lse) = (a.stored_out(rows, width), a.float_out(rows, heads));
            let (positions, heads) = (POSITIONS as u32, heads as u32);
            a.push(Attention { qkv, positions, heads, mask, scores: Scores::Free, dropout: None, o, lse });
        }
    }
}

fn losses(a: &mut Alone) {
    let (logits, target) = (a.normal(ROWS, SYMBOLS, 3.0), a.some_ids(ROWS, 1, SYMBOLS as u32 - 1));
    for drop in [None, Some(SYMBOLS as u32 - 1)] {
        let cross_entropy = a.float_out(ROWS, 1);
        a.push(CrossEntropy { logits, target, drop, cross_entropy });
        let weight =
            a.float(ROWS, 1, (0..ROWS).map(|i| if i % 4 == 2 { 0.0 } else { 1.0 / (i % 9 + 1) as f32 }).collect());
        let sums = a.float_out(SEQUENCES, 2);
        a.push(SequenceLoss { cross_entropy, weight, sums });
        let out = a.stored_out(SEQUENCES, POSITIONS);
        a.push(Clear { out });
    }
}

fn optimizers(a: &mut Alone) {
    // More gradients than a block of the norm.
    let n = 20_003;
    for (scaled, clip) in [(true, 1.0), (false, f32::INFINITY)] {
        let scale = scaled.then(|| a.float(1, 2, vec![128.0, SCALE_GROWTH_STEPS - 1.0]));
        let (grads, metrics) = (a.normal(1, n, if scaled { 300.0 } else { 0.001 }), a.normal(3, 4, 1.0));
        a.push(GradNorm { grads, scale, metrics });
        let (params, m, v) = (a.normal(1, n, 0.02), a.normal(1, n, 0.01), a.uniform(1, n, 1e-4));
        let stored = scaled.then(|| a.stored_out(1, n));
        let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip };
        a.push(AdamWStep { grads, metrics, scale, adamw, params, m, v, stored });
        let average = a.normal(1, n, 0.02);
        a.push(WeightAverage { metrics, params, decay: 0.99, average });
        if let Some(scale) = scale {
            a.push(LossScale { metrics, scale });
        }
    }
}

/// Square, tall and wide matrices, whose rows the tensor cores' kernels can read and cannot.
fn muon(a: &mut Alone) {
    let stacks = [[2, 136, 136], [1, 200, 72], [1, 24, 160], [2, 33, 20], [1, 7, 35]];
    let stacks = stacks.map(|[matrices, rows, cols]| Stack { matrices, rows, cols }).to_vec();
    let squares: Vec<Stack> = stacks.iter().map(|stack| stack.squares()).collect();
    let elements = |stacks: &[Stack]| stacks.iter().map(|stack| stack.matrices * stack.len()).sum();
    let (mut places, mut all) = (Vec::new(), 3);
    for stack in stacks.iter().flat_map(|stack| vec![stack; stack.matrices]) {
        places.push(all as u32);
        all += stack.len() + 5;
    }
    let (metrics, places) = (a.uniform(3, 4, 9.0), a.ids(1, places.len(), places));
    let (grads, m, params) = (a.normal(1, all, 0.1), a.normal(1, all, 0.1), a.normal(1, all, 0.02));
    let [x, out] = [(); 2].map(|()| a.stored_out(1, elements(&stacks)));
    let [gram, sum] = [(); 2].map(|()| a.stored_out(1, elements(&squares)));
    let sumsq = a.float_out(1, stacks.iter().map(|stack| stack.matrices * stack.chunks()).sum());
    let ([linear, terms @ ..], clip) = (NEWTON_SCHULZ[0], 1.0);
    a.push(MuonMomentum { grads, metrics, scale: None, places, stacks: stacks.clone(), clip, m, x, sumsq });
    let sumsq = Some(sumsq);
    a.push(Gram { x, sumsq, stacks: stacks.clone(), terms: None, out: gram });
    a.push(Gram { x: gram, sumsq: None, stacks: squares, terms: Some(terms), out: sum });
    a.push(NewtonSchulz { x, sumsq, b: sum, stacks: stacks.clone(), a: linear, out });
    let (x, b, rate, weight_decay, stored) = (out, sum, 5.0, 0.1, Some(a.stored(1, all, 0.02)));
    a.push(MuonStep { metrics, x, b, places, stacks, a: linear, rate, weight_decay, params, stored });
}

fn sampling(a: &mut Alone) {
    let open = |row: usize| u32::from(row % 3 != 1);
    let masked = a.ids(SEQUENCES, POSITIONS, (0..ROWS).map(open).collect());
    for order in [TimeOrder::Original, TimeOrder::Masked { maskable: POSITIONS as u32 }] {
        let t = a.ids_out(SEQUENCES, 1);
        a.push(SampleTime { masked, order, timesteps: 128, t });
    }
    let logits = a.normal(ROWS, SYMBOLS, 2.0);
    let some = SamplingParams::greedy(Policy::top_k(5), POSITIONS);
    let remaining = a.some_ids(SEQUENCES, 1, 5);
    for (temperature, top_p, confidence_at, score, drop) in [
        (0.0, 1.0, 0.7, Score::Max, Some(0)),
        (1.3, 1.0, 1.3, Score::Candidate, None),
        (0.8, 0.9, 1.0, Score::Margin, Some(SYMBOLS as u32 - 1)),
        (0.8, 0.9, 1.0, Score::Entropy, None),
        (1.0, 1.0, 1.0, Score::Random, Some(0)),
    ] {
        let (score, min_p, greedy_tail) = (f32::from(score as u8), 1.0 - top_p, 2.0);
        let top_symbols = if drop.is_some() { 3.0 } else { 0.0 };
        let way = SamplingParams { temperature, top_p, min_p, top_symbols, greedy_tail, confidence_at, score, ..some };
        let params = a.params(way);
        let (candidate, confidence) = (a.ids_out(SEQUENCES, POSITIONS), a.float_out(SEQUENCES, POSITIONS));
        let commit = Commit::Candidates { candidate };
        a.push(Predict { logits, masked, params, remaining, drop, commit, confidence });
    }
    let (params, target) =
        (a.params(SamplingParams { temperature: 0.9, ..some }), a.some_ids(SEQUENCES, POSITIONS, 65));
    let (confidence, nll) = (a.float_out(SEQUENCES, POSITIONS), a.float_out(SEQUENCES, 1));
    let commit = Commit::Truth { target, cross_entropy: a.float_out(ROWS, 1), nll };
    a.push(Predict { logits, masked, params, remaining, drop: None, commit, confidence });
    let confidence = a.uniform(SEQUENCES, POSITIONS, 1.0);
    let ancestral = Policy::ANCESTRAL;
    let adaptive = [Policy::Factor(1.0, Score::Max), Policy::EntropyBounded(0.5)];
    let usual = [Policy::threshold(0.5), Policy::threshold(2.0), Policy::top_k(5), ancestral];
    for policy in usual.into_iter().chain(adaptive) {
        let params = a.params(SamplingParams::greedy(policy, POSITIONS));
        let lots = a.ids(SEQUENCES, 2, vec![if policy == ancestral { 1 << 22 } else { 0 }; 2 * SEQUENCES]);
        for truth in [false, true] {
            let tokens = a.some_ids(SEQUENCES, POSITIONS, 65);
            let commit = if truth {
                let (cross_entropy, nll) = (a.uniform(ROWS, 1, 5.0), a.uniform(SEQUENCES, 1, 9.0));
                Commit::Truth { target: tokens, cross_entropy, nll }
            } else {
                Commit::Candidates { candidate: tokens }
            };
            let masked = a.ids(SEQUENCES, POSITIONS, (0..ROWS).map(open).collect());
            let (x, committed_at) = (a.some_ids(SEQUENCES, POSITIONS, 65), a.some_ids(SEQUENCES, POSITIONS, 9));
            let remaining = a.ids_out(SEQUENCES, 1);
            a.push(CommitTokens { confidence, params, lots, mask_id: 65, commit, x, masked, committed_at, remaining });
        }
    }
}

fn guidance(a: &mut Alone) {
    let x = a.some_ids(SEQUENCES, POSITIONS, 65);
    // Unknown, given, and written.
    let (masked, committed_at) = (0..ROWS).map(|row| [(1, GIVEN), (0, GIVEN), (0, 2)][row % 3]).unzip();
    let [masked, committed_at] = [masked, committed_at].map(|ids| a.ids(SEQUENCES, POSITIONS, ids));
    let [x_both, open] = [(); 2].map(|()| a.ids_out(2 * SEQUENCES, POSITIONS));
    a.push(Unprompt { x, masked, committed_at, mask_id: 65, context: 20, x_both, open });
    let (unprompted, logits) = (a.normal(ROWS, SYMBOLS, 2.0), a.normal(ROWS, SYMBOLS, 2.0));
    let params = a.params(SamplingParams { guidance: 1.5, ..SamplingParams::MOST_PROBABLE });
    a.push(Guide { unprompted, params, logits });
}

fn decode(a: &mut Alone) {
    for counted in [Counted::Mean { sequences: 9 }, Counted::Once { range: a.text.validation(), windows: 7 }] {
        let (x0, xt) = (a.some_ids(SEQUENCES, POSITIONS, 65), a.ids_out(SEQUENCES, POSITIONS));
        let weight = a.float_out(ROWS, 1);
        a.push(Shift { x0, start: 65, counted, xt, weight: Some(weight) });
    }
    let cols = 136;
    let (x, sumsq) = (a.stored(ROWS, cols, 1.0), a.normal(ROWS, sumsq_slots(cols), 1.0));
    // All open, half of it, nothing.
    let remaining = a.ids(SEQUENCES, 1, vec![POSITIONS as u32, POSITIONS as u32 / 2, 0]);
    let (out, out_sumsq) = (a.stored_out(SEQUENCES, cols), a.float_out(SEQUENCES, sumsq_slots(cols)));
    a.push(OpenRow { x, sumsq: Some([sumsq, out_sumsq]), remaining, out });
    let (x, ids) = (a.some_ids(SEQUENCES, POSITIONS, 65), a.ids_out(SEQUENCES, 1));
    a.push(LastToken { x, remaining, start: 65, ids });
    let (positions, heads) = (POSITIONS as u32, 2);
    let (qkv, cache) = (a.stored(SEQUENCES * 9, 3 * cols, 1.0), a.stored(ROWS, 2 * cols, 1.0));
    a.push(FillCache { qkv, positions, cache });
    for (rows, rotated) in [(SEQUENCES, true), (SEQUENCES * 5, true), (SEQUENCES, false)] {
        let (qkv, o) = (a.stored(rows, 3 * cols, 1.0), a.stored_out(rows, cols));
        a.push(CachedAttention { qkv, remaining, positions, heads, rotated, cache, o });
    }
    let (candidate, confidence) = (a.some_ids(SEQUENCES, 1, 65), a.uniform(SEQUENCES, 1, 1.0));
    let [x, masked, committed_at] = [65, 2, 9].map(|n| a.some_ids(SEQUENCES, POSITIONS, n));
    a.push(AppendToken { candidate, confidence, x, masked, committed_at, remaining });
}

/// Ops in the making, over memory and inputs of their own.
struct Alone {
    plan: Plan,
    stored: RegionId,
    floats: RegionId,
    ids: RegionId,
    inputs: Vec<(Mat, Input)>,
    ops: Vec<Op>,
    text: Arc<Corpus>,
    draws: u64,
}

enum Input {
    Numbers(Vec<f32>),
    Ids(Vec<u32>),
}

impl Alone {
    fn new(stored: DType, text: &Arc<Corpus>) -> Self {
        let mut plan = Plan::new();
        let stored = plan.region("activations", stored, Persistence::Kept);
        let floats = plan.region("statistics", DType::F32, Persistence::Kept);
        let ids = plan.region("ids", DType::U32, Persistence::Kept);
        let (inputs, ops) = Default::default();
        Alone { plan, stored, floats, ids, inputs, ops, text: Arc::clone(text), draws: 0 }
    }

    fn push(&mut self, op: impl Into<Op>) {
        self.ops.push(op.into());
    }

    fn stored_out(&mut self, rows: usize, cols: usize) -> Mat {
        self.plan.alloc(self.stored, rows, cols)
    }

    fn float_out(&mut self, rows: usize, cols: usize) -> Mat {
        self.plan.alloc(self.floats, rows, cols)
    }

    fn ids_out(&mut self, rows: usize, cols: usize) -> Mat {
        self.plan.alloc(self.ids, rows, cols)
    }

    fn input(&mut self, mat: Mat, input: Input) -> Mat {
        self.inputs.push((mat, input));
        mat
    }

    fn float(&mut self, rows: usize, cols: usize, values: Vec<f32>) -> Mat {
        let mat = self.float_out(rows, cols);
        self.input(mat, Input::Numbers(values))
    }

    fn ids(&mut self, rows: usize, cols: usize, values: Vec<u32>) -> Mat {
        let mat = self.ids_out(rows, cols);
        self.input(mat, Input::Ids(values))
    }

    fn params(&mut self, of: SamplingParams) -> Mat {
        let values = bytemuck::cast_slice(&[of; SEQUENCES]).to_vec();
        self.float(SEQUENCES, SamplingParams::COLS, values)
    }

    /// Normal numbers as activations are stored.
    fn stored(&mut self, rows: usize, cols: usize, std: f32) -> Mat {
        let (mat, values) = (self.stored_out(rows, cols), self.normals(rows * cols, std));
        self.input(mat, Input::Numbers(values))
    }

    /// Normal f32 numbers.
    fn normal(&mut self, rows: usize, cols: usize, std: f32) -> Mat {
        let values = self.normals(rows * cols, std);
        self.float(rows, cols, values)
    }

    /// f32 numbers within [0, to).
    fn uniform(&mut self, rows: usize, cols: usize, to: f32) -> Mat {
        let values = self.words(rows * cols).map(|words| to * uniform(words[0])).collect();
        self.float(rows, cols, values)
    }

    /// Ids below `n`.
    fn some_ids(&mut self, rows: usize, cols: usize, n: u32) -> Mat {
        let values = self.words(rows * cols).map(|words| words[0] % n).collect();
        self.ids(rows, cols, values)
    }

    fn normals(&mut self, n: usize, std: f32) -> Vec<f32> {
        self.words(n.div_ceil(4)).flat_map(normals).take(n).map(|z| z * std).collect()
    }

    fn words(&mut self, n: usize) -> impl Iterator<Item = [u32; 4]> + use<> {
        self.draws += 1;
        let draw = self.draws;
        (0..n).map(move |i| philox(77, Stream::Init, draw, i as u32))
    }

    fn into_trial(mut self, name: &str) -> Trial {
        let mut b = Builder::new(&mut self.plan, name);
        self.ops.drain(..).for_each(|op| b.push(op));
        let program = b.finish();
        let rates = StepArgs { lr: 3e-3, ema_warmup: 0.9, bias1: 0.19, bias2: 0.02, ..StepArgs::default() };
        let args = StepArgs { seed: 11, step: 3, sequence: 2, uniform_share: 0x60_0001, ..rates };
        let (inputs, text) = (self.inputs, self.text);
        let fill = move |backend: &mut dyn Backend| -> Result<()> {
            for (mat, input) in &inputs {
                match input {
                    Input::Numbers(values) => backend.write_f32(*mat, values)?,
                    Input::Ids(values) => backend.write_u32(*mat, values)?,
                }
            }
            backend.bind_corpus(Arc::clone(&text))
        };
        Trial::new(name.to_owned(), self.plan, program, args, fill)
    }
}
