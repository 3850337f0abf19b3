//! Latents with Gaussian noise against their formulas in double precision: draws, gradients by central differences, a reverse step,
//! and the law of what is read off.
//!
//! A few roundings of f32 of numbers of a few units: 10⁻⁵ of the largest, where nothing else is said.

use crate::harness::Harness;
use tempest::backend::Backend;
use tempest::config::{Gamma, Levels, Policy, Schedule};
use tempest::program::{
    BROKEN, DType, DenoiseLatents, Diffuse, DiffuseLatents, DrawLevels, ErrorCost, GIVEN, LatentInput, LatentLoss,
    LatentsBackward, LogitsGrad, Mat, Misread, NoisyGrad, Op, ReadTokens, RenoiseLatents, SamplingParams, StepArgs,
    Streams, UnitRows, VectorLevel, VectorStep,
};
use tempest::rng::{Stream, normals, philox};

/// Texts, latents of each, tokens of a latent, numbers of it.
const B: usize = 3;
const L: usize = 2;
const R: usize = 2;
const D: usize = 5;
const M: usize = B * L;
const T: usize = L * R;
const ARGS: StepArgs =
    StepArgs { seed: 9, step: 3, sequence: 4, uniform_share: 0, lr: 0.0, ema_warmup: 0.0, bias1: 0.0, bias2: 0.0 };
const GAMMA: Gamma = Gamma { least: -2.0, most: 3.0 };

/// Ops, run anew for what is read behind them.
#[derive(Default)]
struct Bench {
    h: Harness,
    ops: Vec<Op>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Bench::default();
        bench.h.args = ARGS;
        bench
    }

    fn run(&mut self, op: impl Into<Op>) {
        self.ops.push(op.into());
    }

    fn read(&mut self, mat: Mat) -> Vec<f32> {
        let cpu: &mut dyn Backend = &mut self.h.ran(&self.ops);
        cpu.read_f32(mat).unwrap()
    }

    fn read_ids(&mut self, mat: Mat) -> Vec<u32> {
        let cpu: &mut dyn Backend = &mut self.h.ran(&self.ops);
        cpu.read_u32(mat).unwrap()
    }

    fn input(&mut self, rows: usize, cols: usize, values: &[f32]) -> Mat {
        self.h.input(DType::F32, rows, cols, values).0
    }

    fn output(&mut self, rows: usize, cols: usize) -> Mat {
        self.h.output(DType::F32, rows, cols)
    }
}

fn levels(h: &mut Bench, gammas: [f64; B]) -> (Mat, Vec<VectorStep>) {
    let steps = gammas.map(|gamma| VectorStep::level(GAMMA, gamma, 0.7 * f64::exp(-gamma))).to_vec();
    (h.input(B, VectorStep::COLS, bytemuck::cast_slice(&steps)), steps)
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

#[track_caller]
fn near(what: &str, found: &[f32], wanted: &[f64]) {
    assert_eq!(found.len(), wanted.len());
    let largest = wanted.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!((f64::from(*found) - wanted).abs() < 1e-5 * largest, "{what}: number {i} is {found}, wanted {wanted}");
    }
}

/// skip and out, by their definition: the mean and the deviation of a number of variance 1/D of which z is known.
fn guess(step: VectorStep) -> [f64; 2] {
    let ([alpha, sigma], variance) = ([step.alpha, step.sigma].map(f64::from), 1.0 / D as f64);
    let of_z = alpha * alpha * variance + sigma * sigma;
    [alpha * variance / of_z, (variance - (alpha * variance).powi(2) / of_z).sqrt()]
}

/// A latent is to these ops what a token of a table with a row for each is to `diffuse`.
#[test]
fn levels_and_noise_are_those_of_single_tokens_vectors() {
    for (cost, weight_rows) in [(ErrorCost::Bound, M), (ErrorCost::Velocity, B * T)] {
        let mut h = Bench::new();
        let table = h.h.normals(M * D, 1.0);
        let table = h.input(M, D, &table);
        let (units, rstd) = (h.output(M, D), h.output(M, 1));
        h.run(UnitRows { table, units, rstd });
        let quantiles = h.h.ids(1, 257, &GAMMA.quantiles(Schedule::Cosine, Levels::UNIFORM));
        let x0 = h.h.ids(B, L, &(0..M as u32).collect::<Vec<_>>());
        let [steps, of_latents] = [(); 2].map(|()| h.output(B, VectorStep::COLS));
        let [z, z_of_latents, y] = [(); 3].map(|()| h.output(M, D));
        let (weight, of_rows) = (h.output(M, 1), h.output(weight_rows, 1));
        let (of, gamma) = (7, GAMMA);
        let level = VectorLevel::Drawn { of, quantiles, gamma, cost };
        h.run(Diffuse { x0, units, level, streams: Streams::Train, steps, z, weight });
        h.run(DrawLevels { of, tokens: T as u32, quantiles, gamma, cost, steps: of_latents, weight: of_rows });
        let noise = |z, y| DiffuseLatents { latents: units, steps: of_latents, stream: Stream::Noise, z, y };
        h.run(noise(Some(z_of_latents), None));
        h.run(noise(None, Some(y)));
        assert_eq!(h.read(steps), h.read(of_latents));
        assert_eq!(h.read(z), h.read(z_of_latents));
        let steps: Vec<VectorStep> = bytemuck::cast_slice(&h.read(steps)).to_vec();
        let scaled: Vec<f64> = (h.read(z).iter().enumerate())
            .map(|(i, &z)| {
                let [alpha, sigma] = [steps[i / D / L].alpha, steps[i / D / L].sigma].map(f64::from);
                f64::from(z) / (alpha * alpha / D as f64 + sigma * sigma).sqrt()
            })
            .collect();
        near("what a decoder reads", &h.read(y), &scaled);
        // Of a token, of which a latent has so many.
        let shares: Vec<f64> = h.read(weight).iter().step_by(L).map(|&w| f64::from(w) / R as f64).collect();
        let each: Vec<f64> = shares.iter().flat_map(|share| vec![*share; weight_rows / B]).collect();
        near("weights", &h.read(of_rows), &each);
    }
}

#[test]
fn gradients_of_latents_are_the_slopes_of_their_loss() {
    let mut h = Bench::new();
    let [of_table, of_output] = [1.0, 0.8].map(|scale| h.h.normals(M * D, scale));
    let of_dy = h.h.normals(M * (D + 3), 1.0);
    let of_decoder_dy = h.h.normals(M * D, 1.0);
    let of_weight: Vec<f32> = (0..M).map(|i| [0.5, 0.0, 1.25][i % 3]).collect();
    let (steps, of_steps) = levels(&mut h, [-1.5, 0.3, 2.0]);
    let (decoder_steps, of_decoder) = levels(&mut h, [0.7, -2.0, -0.6]);
    let mut input = |rows, cols, values: &[f32]| h.input(rows, cols, values);
    let (table, output) = (input(M, D, &of_table), input(M, D, &of_output));
    let (dy, weight, decoder_dy) = (input(M, D + 3, &of_dy), input(M, 1, &of_weight), input(M, D, &of_decoder_dy));
    let mut made = |cols| h.output(M, cols);
    let [latents, z, dlogits, own, dtable, by_decoder, denoised] = [(); 7].map(|()| made(D));
    let [rstd, loss, alone, s] = [(); 4].map(|()| made(1));
    h.run(UnitRows { table, units: latents, rstd });
    h.run(DiffuseLatents { latents, steps, stream: Stream::Noise, z: Some(z), y: None });
    let back = LogitsGrad { sumsq: None, width: 1, weight, scale: None, dlogits, s };
    h.run(LatentLoss { output, z, latents, steps, loss, back: Some((back, own)) });
    h.run(LatentLoss { output, z, latents, steps, loss: alone, back: None });
    h.run(DenoiseLatents { output, z, steps, denoised });
    let decoder = NoisyGrad { steps: decoder_steps, dy: decoder_dy };
    let denoiser = Some((NoisyGrad { steps, dy }, own));
    h.run(LatentsBackward { latents, rstd, decoder, denoiser, dtable });
    h.run(LatentsBackward { latents, rstd, decoder, denoiser: None, dtable: by_decoder });
    assert_eq!(h.read(loss), h.read(alone));

    let noise = |row: usize, c: usize| {
        let (step, e) = (ARGS.step << 32 | (u64::from(ARGS.sequence) + (row / L) as u64), row % L * D + c);
        f64::from(normals(philox(ARGS.seed, Stream::Noise, step, (e / 4) as u32))[e % 4])
    };
    let scale = |step: VectorStep| {
        let [alpha, sigma] = [step.alpha, step.sigma].map(f64::from);
        (alpha * alpha / D as f64 + sigma * sigma).powf(-0.5)
    };
    let length = |row: usize, table: &[f64]| (0..D).map(|c| table[row * D + c].powi(2)).sum::<f64>().sqrt();
    // What else depends on a row: what a decoder reads, but for noise, which does not.
    let decoded = |row: usize, table: &[f64]| {
        let step = of_decoder[row / L];
        let factor = f64::from(step.alpha) * scale(step) / length(row, table);
        (0..D).map(|c| f64::from(of_decoder_dy[row * D + c]) * table[row * D + c] * factor).sum::<f64>()
    };
    // Of a row: its loss, what the denoiser reads, and x̂.
    let of_row = |row: usize, table: &[f64], output: &[f64]| {
        let step = of_steps[row / L];
        let ([skip, out], [alpha, sigma]) = (guess(step), [step.alpha, step.sigma].map(f64::from));
        let (length, scale) = (length(row, table), scale(step));
        let (mut error, mut beside, mut guessed) = (0.0, 0.0, vec![]);
        for c in 0..D {
            let h = table[row * D + c] / length;
            let z = alpha * h + sigma * noise(row, c);
            guessed.push(skip * z + out * output[row * D + c]);
            error += (guessed[c] - h).powi(2);
            beside += f64::from(of_dy[row * (D + 3) + c]) * scale * z;
        }
        (f64::from(step.cost) * error, beside, guessed)
    };
    let (table, output) = (wide(&of_table), wide(&of_output));
    let rows: Vec<_> = (0..M).map(|row| of_row(row, &table, &output)).collect();
    near("loss", &h.read(loss), &rows.iter().map(|row| row.0).collect::<Vec<_>>());
    near("x̂", &h.read(denoised), &rows.iter().flat_map(|row| row.2.clone()).collect::<Vec<_>>());
    let slope = |of: &dyn Fn(f64) -> f64| (of(1e-5) - of(-1e-5)) / 2e-5;
    let moved = |numbers: &[f64], i: usize, by: f64| {
        let mut numbers = numbers.to_vec();
        numbers[i] += by;
        numbers
    };
    let weighed = |row: usize, (loss, beside, _): (f64, f64, Vec<f64>)| f64::from(of_weight[row]) * loss + beside;
    let by_output: Vec<f64> =
        (0..M * D).map(|i| slope(&|by| weighed(i / D, of_row(i / D, &table, &moved(&output, i, by))))).collect();
    near("by what the network says", &h.read(dlogits), &by_output);
    let products: Vec<f64> =
        (0..M).map(|row| (0..D).map(|c| by_output[row * D + c] * output[row * D + c]).sum()).collect();
    near("s", &h.read(s), &products);
    let wanted: Vec<f64> = (0..M * D).map(|i| slope(&|by| decoded(i / D, &moved(&table, i, by)))).collect();
    near("by what the decoder reads", &h.read(by_decoder), &wanted);
    let by_table = |i: usize| {
        let denoised = |by| weighed(i / D, of_row(i / D, &moved(&table, i, by), &output));
        slope(&|by| denoised(by) + decoded(i / D, &moved(&table, i, by)))
    };
    near("by the table", &h.read(dtable), &(0..M * D).map(by_table).collect::<Vec<_>>());
}

#[test]
fn a_reverse_step_moves_open_latents_and_known_ones_get_their_noise() {
    for (clamps, ends) in [(0.0, 0.0), (1.0, 1.0)] {
        let mut h = Bench::new();
        let [of_output, of_known, of_z] = [0.9, 0.4, 0.6].map(|scale| h.h.normals(M * D, scale));
        let step = VectorStep { clamps, ends, ..VectorStep::level(GAMMA, 0.5, 0.0) };
        let step = step.leading(Gamma::squares(0.5), Gamma::squares(-0.7), 1.0, 1.0);
        let mut input = |values: &[f32], rows, cols| h.input(rows, cols, values);
        let (output, known) = (input(&of_output, M, D), input(&of_known, M, D));
        let (z, denoised) = (input(&of_z, M, D), input(&[0.0; M * D], M, D));
        let steps = input(bytemuck::cast_slice(&[step; B]), B, VectorStep::COLS);
        // Of the first text the second latent is known, of the third half of each; the second is done.
        let of_masked = [1, 1, 0, 0, 1, 1, 1, 1, 1, 0, 0, 1];
        let (masked, remaining) = (h.h.ids(B, T, &of_masked), h.h.ids(B, 1, &[2, 0, 2]));
        h.run(RenoiseLatents { output, steps, known, masked, z, denoised, remaining });
        let [skip, out] = guess(step);
        let (mut wanted_z, mut wanted_x) = (wide(&of_z), vec![0.0; M * D]);
        for row in [0, 1, 4, 5] {
            let at = row * D..(row + 1) * D;
            let noise = |c: usize| {
                let (text, e) = (u64::from(ARGS.sequence) + (row / L) as u64, row % L * D + c);
                f64::from(normals(philox(ARGS.seed, Stream::Noise, ARGS.step << 32 | text, (e / 4) as u32))[e % 4])
            };
            let guessed: Vec<f64> =
                at.clone().map(|i| skip * f64::from(of_z[i]) + out * f64::from(of_output[i])).collect();
            let length = guessed.iter().map(|x| x * x).sum::<f64>().sqrt();
            for (c, i) in at.enumerate() {
                let [x, z] = match row {
                    1 => {
                        let x = f64::from(of_known[i]);
                        [x, f64::from(step.alpha_to) * x + f64::from(step.sigma_to) * noise(c)]
                    }
                    _ => {
                        let x = if clamps > 0.0 { guessed[c] / length } else { guessed[c] };
                        let [of_x, of_z_, of_n] = [step.of_denoised, step.of_noisy, step.of_noise].map(f64::from);
                        [x, of_x * x + of_z_ * f64::from(of_z[i]) + of_n * noise(c)]
                    }
                };
                (wanted_x[i], wanted_z[i]) = (x, z);
            }
        }
        near("z", &h.read(z), &wanted_z);
        near("x̂", &h.read(denoised), &wanted_x);
        assert_eq!(h.read_ids(remaining), if ends > 0.0 { [0, 0, 0] } else { [2, 0, 2] });
        let broken = h.input(M, D, &[f32::NAN; M * D]);
        let remaining = h.h.ids(B, 1, &[2, 0, 2]);
        h.run(RenoiseLatents { output: broken, steps, known, masked, z, denoised, remaining });
        near("z of what is broken", &h.read(z), &wanted_z);
        assert_eq!(h.read_ids(remaining), [BROKEN, 0, BROKEN]);
    }
}

#[test]
fn the_likeliest_tokens_are_read_off_and_drawn_in_the_end() {
    const V: usize = 4;
    const TEXTS: usize = 600;
    let p = [0.5_f32, 0.2, 0.0, 0.3];
    let row = [p[0].ln(), p[1].ln(), 9.0, p[3].ln()];
    let mut h = Bench::new();
    let logits = h.input(TEXTS * T, V, &row.repeat(TEXTS * T));
    let params = SamplingParams { temperature: 0.5, ..SamplingParams::greedy(Policy::top_k(1), T) };
    let params = h.input(TEXTS, SamplingParams::COLS, bytemuck::cast_slice(&vec![params; TEXTS]));
    let masked: Vec<u32> = (0..TEXTS * T).map(|i| u32::from(i % T != 1)).collect();
    let read = |h: &mut Bench, logits: Mat, left: u32| {
        let [x, committed_at] = [1, GIVEN].map(|value| h.h.ids(TEXTS, T, &[value; TEXTS * T]));
        let (masked, remaining) = (h.h.ids(TEXTS, T, &masked), h.h.ids(TEXTS, 1, &[left; TEXTS]));
        h.run(ReadTokens { logits, params, remaining, drop: 2, x, masked, committed_at });
        [x, masked, committed_at, remaining].map(|mat| h.read_ids(mat))
    };
    let open = |i: usize| i % T != 1;
    let [x, still, at, left] = read(&mut h, logits, 3);
    assert_eq!(left, [3; TEXTS]);
    assert!((0..TEXTS * T).all(|i| (x[i], at[i]) == if open(i) { (0, 3) } else { (1, GIVEN) }));
    assert_eq!(still, masked);
    let mut broken = row.repeat(TEXTS * T);
    broken[T * V] = f32::INFINITY;
    broken[2 * T * V] = f32::NAN;
    let broken = h.input(TEXTS * T, V, &broken);
    let [x, still, _, left] = read(&mut h, broken, 0);
    assert!((0..TEXTS).all(|text| (left[text] == BROKEN) == (text == 1 || text == 2)));
    assert!((T..3 * T).all(|i| x[i] == 1 && still[i] == masked[i]), "a broken text changes");
    let [x, still, ..] = read(&mut h, logits, 0);
    assert_eq!(still, [0; TEXTS * T]);
    // At temperature ½ probabilities are as their squares: 25, 4 and 9 of 38. Five standard deviations of a share.
    for (symbol, wanted) in [(0, 25.0 / 38.0), (1, 4.0 / 38.0), (2, 0.0), (3, 9.0 / 38.0)] {
        let drawn = (0..TEXTS * T).filter(|&i| open(i) && x[i] == symbol).count() as f64;
        let n = (TEXTS * (T - 1)) as f64;
        assert!((drawn / n - wanted).abs() <= 5.0 * (wanted * (1.0 - wanted) / n).sqrt(), "{symbol}: {drawn} of {n}");
    }
    let (target, wrong) = (h.h.ids(1, T, &[0, 1, 3, 0]), h.output(T, 1));
    h.run(Misread { logits: logits.row_block(0, T), target, drop: 2, wrong });
    assert_eq!(h.read(wrong), [0.0, 1.0, 1.0, 0.0]);
    let (z, y) = (h.input(1, V, &[0.5; V]), h.output(1, V));
    h.run(LatentInput { z, gamma: GAMMA, y });
    let [alpha2, sigma2] = Gamma::squares(-2.0);
    near("what a decoder reads", &h.read(y), &[0.5 / (alpha2 / 4.0 + sigma2).sqrt(); V]);
}
