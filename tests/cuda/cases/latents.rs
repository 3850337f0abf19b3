//! Latents with Gaussian noise: levels and noise, what predictions cost, the way back, one reverse step, and what is read off.

use super::alone;
use super::vectors::levels;
use crate::harness::Harness;
use crate::insight;
use crate::watch::Watch;
use tempest::config::{
    Autoencoder, Density, Family, Gamma, Levels, ModelConfig, NOISE_FEATURES, Objective, Policy, ProcessConfig,
    Schedule, Stage,
};
use tempest::program::{
    BROKEN, DenoiseLatents, DiffuseLatents, DrawLevels, ErrorCost, GIVEN, LatentInput, LatentLoss, LatentsBackward,
    LogitsGrad, Misread, NoisyGrad, ReadTokens, RenoiseLatents, SamplingParams, Storage, VectorStep,
};
use tempest::rng::Stream;
use tempest::workload::{Step, Subject, Workload};

/// Texts, latents of each, tokens of one, its numbers, and symbols: fewer than a warp has lanes, one more, several times as many; a
/// text has more tokens than a block has threads in the last but one, and more numbers in the last.
const SHAPES: [[usize; 5]; 5] =
    [[1, 1, 1, 1, 2], [3, 3, 2, 5, 33], [2, 9, 4, 32, 66], [1, 8, 35, 33, 40], [2, 15, 1, 71, 257]];

/// Levels, noise, costs and gradients.
pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    let mut b = Harness::new(dtype);
    b.args.uniform_share = 0x60_0001;
    for (i, shape) in SHAPES.into_iter().enumerate() {
        noise(&mut b, shape, i);
        predictions(&mut b, shape);
    }
    b.run(watch, &format!("latents in {dtype:?}"));
}

/// One reverse step, and reading.
pub(crate) fn steps(watch: &mut Watch) {
    let dtype = watch.dtype();
    let mut b = Harness::new(dtype);
    for shape in SHAPES {
        reverse(&mut b, shape);
        reading(&mut b, shape);
    }
    b.run(watch, &format!("steps of latents in {dtype:?}"));
}

/// Whole steps of training, of each stage, and one of sampling; latents of as many numbers as tensor cores read at once, and of fewer.
pub(crate) fn models(watch: &mut Watch) {
    let (nelbo, base) = (Objective::nelbo(Schedule::Linear), insight::subject());
    for (stage, vector_dims, step) in [
        (Stage::Joint, 16, Step::Train),
        (Stage::Autoencoder, 6, Step::Train),
        (Stage::Diffusion, 6, Step::Train),
        (Stage::Joint, 6, Step::Denoise),
    ] {
        let autoencoder = Some(Autoencoder { pool: 3, n_layer: 1 });
        let model = ModelConfig { n_embd: 32, sequence_len: 12, vector_dims, autoencoder, ..base.model.clone() };
        let ProcessConfig::Latent { mask_token_id, gamma, char_drop, margin, .. } = Family::Latent.config(65) else {
            unreachable!("the family of latents")
        };
        let process = ProcessConfig::Latent { mask_token_id, gamma, stage, char_drop, margin };
        let name = format!("latents in stage {stage:?}");
        let subject = Subject { name, model, process, part: Family::Latent, objective: nelbo, ..base.clone() };
        let workload = Workload::new(&subject, step, Storage::uniform(watch.dtype()), 2).unwrap();
        alone::attempt(watch, &workload.into());
    }
}

fn noise(b: &mut Harness, [texts, per_text, pool, dims, _]: [usize; 5], which: usize) {
    let rows = texts * per_text;
    let bell = Gamma::USUAL.quantiles(Schedule::Cosine, Levels { density: Density::Beta { a: 3, b: 5 }, anneal: 0.0 });
    let quantiles = b.ids(1, bell.len(), bell.to_vec());
    let (gamma, tokens) = (Gamma { least: -3.0, most: 5.0 }, (per_text * pool) as u32);
    let costs = [ErrorCost::Bound, ErrorCost::Denoised, ErrorCost::Noise, ErrorCost::Velocity];
    for (cost, weights) in [(costs[which % 4], rows), (costs[(which + 1) % 4], rows * pool)] {
        let (steps, weight) = (b.float_out(texts, VectorStep::COLS), b.float_out(weights, 1));
        b.push(DrawLevels { of: texts as u32 + 9, tokens, quantiles, gamma, cost, steps, weight });
    }
    let latents = b.normal(rows, dims, 1.0 / (dims as f32).sqrt());
    for (steps, stream) in [(1, Stream::Noise), (2, Stream::Decode)] {
        let steps = levels(b, texts, steps, |step, _| step);
        let (z, y) = (b.float_out(rows, dims), b.stored_out(rows, dims));
        b.push(DiffuseLatents { latents, steps, stream, z: Some(z), y: None });
        b.push(DiffuseLatents { latents, steps, stream, z: None, y: Some(y) });
    }
    let (z, steps) = (b.normal(rows, dims, 0.6), levels(b, texts, 1, |step, _| step));
    let (all, y) = (b.float_out(rows, dims), b.stored_out(rows, dims));
    b.push(DiffuseLatents { latents, steps, stream: Stream::EvalNoise, z: Some(all), y: Some(y) });
    let y = b.stored_out(rows, dims);
    b.push(LatentInput { z, gamma, y });
}

fn predictions(b: &mut Harness, [texts, per_text, _, dims, _]: [usize; 5]) {
    let rows = texts * per_text;
    let (output, z) = (b.normal(rows, dims, 1.0), b.normal(rows, dims, 0.6));
    let latents = b.normal(rows, dims, 1.0 / (dims as f32).sqrt());
    for steps in [1, 2] {
        let steps = levels(b, texts, steps, |step, _| step);
        let denoised = b.float_out(rows, dims);
        b.push(DenoiseLatents { output, z, steps, denoised });
    }
    let steps = levels(b, texts, 1, |step, _| step);
    let weight = b.float(rows, 1, (0..rows).map(|i| 1.0 / (i + 1) as f32).collect());
    for (learns, is_scaled) in [(false, false), (true, false), (true, true)] {
        let loss = b.float_out(rows, 1);
        let back = learns.then(|| {
            let width = 136;
            let sumsq = is_scaled.then(|| b.sumsq(rows, width));
            let scale = is_scaled.then(|| b.float(1, 2, vec![64.0, 5.0]));
            let (dlogits, s) = (b.stored_out(rows, dims), b.float_out(rows, 1));
            (LogitsGrad { sumsq, width: width as u32, weight, scale, dlogits, s }, b.float_out(rows, dims))
        });
        b.push(LatentLoss { output, z, latents, steps, loss, back });
    }
    let rstd = b.uniform(rows, 1, 0.5, 1.5);
    let decoder = NoisyGrad { steps, dy: b.stored(rows, dims, 0.5) };
    let others = levels(b, texts, 1, |step, i| VectorStep { alpha: step.alpha / (i + 2) as f32, ..step });
    let denoiser = NoisyGrad { steps: others, dy: b.stored(rows, 2 * dims + NOISE_FEATURES, 0.5) };
    let own = b.normal(rows, dims, 0.5);
    for denoiser in [None, Some((denoiser, own))] {
        let dtable = b.stored_out(rows, dims);
        b.push(LatentsBackward { latents, rstd, decoder, denoiser, dtable });
    }
}

/// One text is open, the last of two; of three, one is broken already and one is finished, as the first of two is.
fn remaining(texts: usize) -> Vec<u32> {
    match texts {
        1 => vec![7],
        2 => vec![0, 7],
        _ => vec![7, BROKEN, 0],
    }
}

fn reverse(b: &mut Harness, [texts, per_text, pool, dims, _]: [usize; 5]) {
    let (rows, tokens) = (texts * per_text, per_text * pool);
    // Of the first latent nothing is made where z is 0.
    let mut numbers = b.normals(rows * dims, 1.0);
    numbers[..dims].fill(0.0);
    let mut broken = numbers.clone();
    broken[(texts - 1) % 2 * per_text * dims] = f32::NAN;
    let [output, broken] = [numbers, broken].map(|numbers| b.float(rows, dims, numbers));
    let known = b.normal(rows, dims, 1.0 / (dims as f32).sqrt());
    // Latents none of whose tokens are known, all of them, all but the last, all but the first.
    let open = |i: usize| match i / pool % 4 {
        0 => 1,
        1 => 0,
        2 => u32::from(i % pool + 1 == pool),
        _ => u32::from(i.is_multiple_of(pool)),
    };
    for (output, clamps, ends) in
        [(output, 0.0, 0.0), (output, 1.0, 0.0), (broken, 0.0, 1.0), (output, 0.0, 1.0), (output, 1.0, 1.0)]
    {
        let steps = levels(b, texts, 2, |step, i| {
            let to = Gamma::squares(-2.0 - i as f64);
            let from = [step.alpha, step.sigma].map(|of| f64::from(of).powi(2));
            VectorStep { clamps, ends, ..step.leading(from, to, 0.5, 0.9) }
        });
        let (mut z, denoised) = (b.normals(rows * dims, 0.6), b.normal(rows, dims, 0.3));
        z[..dims].fill(0.0);
        let z = b.float(rows, dims, z);
        let masked = b.ids(texts, tokens, (0..texts * tokens).map(open).collect());
        let remaining = b.ids(texts, 1, remaining(texts));
        b.push(RenoiseLatents { output, steps, known, masked, z, denoised, remaining });
    }
}

fn reading(b: &mut Harness, [texts, per_text, pool, _, symbols]: [usize; 5]) {
    let positions = per_text * pool;
    let rows = texts * positions;
    // Every symbol is as likely as that which the same lane has before it: the first of equals is read.
    let mut numbers = b.normals(rows * symbols, 2.0);
    for row in numbers.chunks_exact_mut(symbols) {
        (32..symbols).for_each(|v| row[v] = row[v - 32]);
    }
    // The first text breaks.
    let mut broken = numbers.clone();
    broken[0] = f32::INFINITY;
    let [logits, broken] = [numbers, broken].map(|numbers| b.float(rows, symbols, numbers));
    let drop = symbols as u32 - 1;
    let x = b.some_ids(texts, positions, drop);
    for (logits, temperature, ended) in
        [(logits, 0.7, false), (logits, 0.7, true), (logits, 0.0, true), (broken, 1.0, true)]
    {
        let params = SamplingParams { temperature, ..SamplingParams::greedy(Policy::top_k(1), positions) };
        let params = bytemuck::cast_slice(&vec![params; texts]).to_vec();
        let params = b.float(texts, SamplingParams::COLS, params);
        let masked = b.ids(texts, positions, (0..rows).map(|i| u32::from(i % 4 != 1)).collect());
        let at = (0..rows).map(|i| if i % 3 == 0 { GIVEN } else { 1 }).collect();
        let committed_at = b.ids(texts, positions, at);
        let mut remaining = remaining(texts);
        remaining[0] = if ended { 0 } else { 7 };
        let remaining = b.ids(texts, 1, remaining);
        b.push(ReadTokens { logits, params, remaining, drop, x, masked, committed_at });
    }
    for drop in [drop, 0] {
        let (target, wrong) = (b.ids(1, rows, (0..rows).map(|i| i as u32 % 3).collect()), b.float_out(rows, 1));
        b.push(Misread { logits, target, drop, wrong });
    }
}
