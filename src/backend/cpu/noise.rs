//! Windows of the corpus, what is masked in them, and Gaussian noise. What is masked is decided by comparing integers.

use super::{Context, computed};
use crate::config::DENSITY_CELLS;
use crate::program::{Corrupt, CountMasked, Crop, Level, Noise, NormalNoise, StepArgs, Streams, Weighting, Windows};
use crate::rng::{Stream, UNIFORM_STEPS, below, normals, philox, uniform24};
use rayon::prelude::*;

computed! {
    crop(Crop);
    count_masked(CountMasked);
    corrupt(Corrupt);
    normal_noise(NormalNoise);
}

fn crop(Context { o, args, corpus, .. }: &mut Context<'_>, op: &Crop) {
    let corpus = corpus.expect("looked at before an op is run");
    let (windows, x0) = (&op.windows, op.x0);
    let (tokens, len) = (corpus.tokens(), x0.cols as u64);
    for (b, row) in o.take::<u32>(x0).chunks_exact_mut(x0.cols).enumerate() {
        let sequence = args.sequence + b as u32;
        let start = match windows {
            Windows::Random(range) => {
                let starts = range.end - range.start - len + 1;
                range.start + below(philox(args.seed, Stream::Crop, args.step, sequence), starts)
            }
            Windows::Spaced { range, windows } => {
                let (i, gaps) = (u64::from(sequence.min(windows - 1)), u64::from(windows - 1));
                range.start + i * (range.end - range.start - len) / gaps.max(1)
            }
        };
        row.iter_mut().enumerate().for_each(|(p, x)| *x = tokens.get(start as usize + p));
    }
}

/// Timestep of a sequence, uniform in 0..timesteps, and the 24-bit threshold of masking probability (t+1)/timesteps.
fn timestep(args: &StepArgs, sequence: u32, timesteps: u32) -> (u32, u32) {
    let word = philox(args.seed, Stream::Level, args.step, sequence)[0];
    let t = ((u64::from(word) * u64::from(timesteps)) >> 32) as u32;
    (t, (u64::from(t + 1) * u64::from(UNIFORM_STEPS) / u64::from(timesteps)) as u32)
}

fn count_masked(Context { o, args, .. }: &mut Context<'_>, op: &CountMasked) {
    let CountMasked { positions, context, sequences, timesteps, inv_count } = *op;
    let masked_in = |sequence: u32| {
        let (_, threshold) = timestep(args, sequence, timesteps);
        let first = sequence * positions;
        let masked = |p: &u32| uniform24(philox(args.seed, Stream::Mask, args.step, first + p)[0]) < threshold;
        (context..positions).filter(masked).count()
    };
    let count: usize = (0..sequences).into_par_iter().map(masked_in).sum();
    o.take::<f32>(inv_count)[0] = 1.0 / count.max(1) as f32;
}

fn corrupt(Context { o, args, .. }: &mut Context<'_>, op: &Corrupt) {
    let Corrupt {
        x0,
        noise,
        level,
        quantiles,
        streams,
        context,
        context_drop,
        mixing,
        sequences,
        rates,
        timesteps,
        xt,
        t,
        weight,
        ..
    } = *op;
    let positions = x0.cols;
    let draw = Draw { args, streams, level, blocks: op.blocks };
    let quantiles = quantiles.map(|mat| o.get::<u32>(mat));
    let maskable = positions - context as usize;
    let per_token = 1.0 / (f64::from(sequences) * maskable as f64) as f32;
    let inv_count = match noise {
        Noise::Timesteps { inv_count, .. } => o.get::<f32>(inv_count)[0],
        _ => 0.0,
    };
    let given = rates.filter(|_| noise == Noise::Given).map(|rates| o.get::<u32>(rates).as_chunks::<2>().0);
    let mut found = match rates {
        Some(rates) if given.is_none() => o.take::<u32>(rates).as_chunks_mut::<2>().0.iter_mut().map(Some).collect(),
        _ => (0..x0.rows).map(|_| None).collect::<Vec<_>>(),
    };
    let rows = (o.get::<u32>(x0).par_chunks_exact(positions))
        .zip(o.take::<u32>(xt).par_chunks_exact_mut(positions))
        .zip(o.take::<f32>(weight).par_chunks_exact_mut(positions))
        .zip(o.take::<u32>(t).par_iter_mut())
        .zip(found.par_iter_mut());
    rows.enumerate().for_each(|(b, ((((x0, xt), weight), t), found))| {
        let sequence = args.sequence * op.blocks + b as u32;
        let (level, importance) = mapped(draw.level24(sequence), quantiles, args.uniform_share);
        let mut words = vec![[0; 3]; positions];
        draw.mask_words(sequence, &mut words);
        // What of a position's random word means "masked", how much such a position weighs and another, and the timestep.
        let (cut, [hits, rest], timestep) = match noise {
            Noise::Timesteps { timesteps: of, .. } => {
                let (t, threshold) = timestep(args, sequence, of);
                (Cut::Below(threshold), [inv_count, 0.0], timestep_above(t + 1, of, timesteps))
            }
            Noise::Continuous { schedule, weighting } => {
                let (rate, nelbo) = schedule.mask_rate_and_weight(level as f32 * (1.0 / UNIFORM_STEPS as f32));
                let each = match weighting {
                    Weighting::Nelbo => [nelbo * per_token * importance, 0.0],
                    Weighting::NelboByRate => [nelbo * rate * per_token * importance; 2],
                    Weighting::Even => [per_token; 2],
                    // The mean of the rate over levels turns the sum over a batch into a mean over masked tokens.
                    Weighting::Simple { mean_rate } => {
                        let uniform = args.uniform_share as f32 * (1.0 / UNIFORM_STEPS as f32);
                        [per_token / (mean_rate + uniform * (schedule.mean_mask_rate() - mean_rate)), 0.0]
                    }
                };
                let threshold = (rate * UNIFORM_STEPS as f32) as u32;
                (Cut::Below(threshold), each, timestep_above(threshold, UNIFORM_STEPS, timesteps))
            }
            Noise::Given => {
                let threshold = given.expect("the contract says so")[b][0];
                (Cut::Below(threshold), [1.0; 2], timestep_above(threshold, UNIFORM_STEPS, timesteps))
            }
            Noise::ExactCount => {
                let k = 1 + (u64::from(level) * maskable as u64 / u64::from(UNIFORM_STEPS)) as u32;
                let mut order: Vec<(u32, u32)> =
                    (context as usize..positions).map(|p| (words[p][0], p as u32)).collect();
                let last = *order.select_nth_unstable(k as usize - 1).1;
                let each = maskable as f32 / k as f32 * per_token * importance;
                (Cut::UpTo(last), [each, 0.0], timestep_above(k, maskable as u32, timesteps))
            }
        };
        let is_dropped = draw.drops_context(sequence, context_drop);
        let masks = match cut {
            Cut::Below(rate) => mixing.masks_at(rate),
            Cut::UpTo(_) => mixing.mask_share,
        };
        for p in 0..positions {
            let hit = match cut {
                Cut::Below(threshold) => uniform24(words[p][0]) < threshold,
                Cut::UpTo(last) => (words[p][0], p as u32) <= last,
            };
            let is_context = p < context as usize;
            let masked = if is_context { is_dropped } else { hit };
            xt[p] = if masked { mixing.draw(words[p][1], words[p][2], masks) } else { x0[p] };
            weight[p] = match () {
                () if is_context => 0.0,
                () if masked => hits,
                () => rest,
            };
        }
        if let (Some(rates), Cut::Below(threshold)) = (found, cut) {
            **rates = [threshold, 0];
        }
        *t = timestep;
    });
}

/// Elements that one worker draws at a time: whole groups of four.
const NORMALS_BLOCK: usize = 1 << 12;

fn normal_noise(Context { o, args, .. }: &mut Context<'_>, op: &NormalNoise) {
    let NormalNoise { positions, out } = *op;
    let sequences = o.take::<f32>(out).par_chunks_exact_mut(positions as usize * out.cols);
    sequences.enumerate().for_each(|(b, out)| {
        let step = args.step << 32 | u64::from(args.sequence + b as u32);
        out.par_chunks_mut(NORMALS_BLOCK).enumerate().for_each(|(block, out)| {
            for (i, four) in out.chunks_mut(4).enumerate() {
                let index = (block * (NORMALS_BLOCK / 4) + i) as u32;
                let z = normals(philox(args.seed, Stream::Noise, step, index));
                four.copy_from_slice(&z[..four.len()]);
            }
        });
    });
}

/// The timestep whose masking probability (t+1)/timesteps is the nearest that is at least `count/of`; 0 without
/// timesteps. In integers: a rounded quotient times its divisor can lie above what was divided.
pub(super) fn timestep_above(count: u32, of: u32, timesteps: u32) -> u32 {
    let above = (u64::from(count) * u64::from(timesteps)).div_ceil(u64::from(of)) as u32;
    above.clamp(1, timesteps.max(1)) - 1
}

/// (u₀ + i/n) mod 1 in units of 2⁻²⁴.
fn stratum(offset: u32, i: u64, n: u64) -> u32 {
    let shift = u128::from(i) * u128::from(UNIFORM_STEPS) / u128::from(n);
    ((u128::from(offset) + shift) % u128::from(UNIFORM_STEPS)) as u32
}

/// A uniform level as one of the density that has these quantiles, but for the last `uniform_share` of them, and one over the
/// density there: within a cell levels are as much rarer as the cell is wider than 1/256.
fn mapped(level: u32, quantiles: Option<&[u32]>, uniform_share: u32) -> (u32, f32) {
    const CELL: u32 = UNIFORM_STEPS / DENSITY_CELLS as u32;
    let Some(quantiles) = quantiles else { return (level, 1.0) };
    let stretched = |level: u32, of: u32| (u64::from(level) * u64::from(UNIFORM_STEPS) / u64::from(of)) as u32;
    let shaped = UNIFORM_STEPS - uniform_share;
    if level >= shaped {
        return (stretched(level - shaped, uniform_share), 1.0);
    }
    let level = stretched(level, shaped);
    let (cell, within) = ((level / CELL) as usize, level % CELL);
    let width = quantiles[cell + 1] - quantiles[cell];
    let mapped = quantiles[cell] + (u64::from(width) * u64::from(within) / u64::from(CELL)) as u32;
    (mapped, width as f32 * (1.0 / CELL as f32))
}

/// The level, in units of 2⁻²⁴, that [`Corrupt`] draws for a training sequence under [`Level::Stratified`].
pub fn stratified_level(args: &StepArgs, sequence: u32, of: u32, quantiles: &[u32]) -> u32 {
    weighed_level(args, sequence, of, quantiles).0
}

/// It, and one over the density there.
pub(super) fn weighed_level(args: &StepArgs, sequence: u32, of: u32, quantiles: &[u32]) -> (u32, f32) {
    let draw = Draw { args, streams: Streams::Train, level: Level::Stratified { of }, blocks: 1 };
    mapped(draw.level24(sequence), Some(quantiles), args.uniform_share)
}

#[derive(Clone, Copy)]
enum Cut {
    /// A 24-bit uniform below this.
    Below(u32),
    /// (word, position) up to this: the k smallest.
    UpTo((u32, u32)),
}

struct Draw<'a> {
    args: &'a StepArgs,
    streams: Streams,
    level: Level,
    blocks: u32,
}

impl Draw<'_> {
    /// Level u in [0, 1) of a sequence in units of 2⁻²⁴, so that shift, wrap and counts are exact.
    fn level24(&self, sequence: u32) -> u32 {
        let stream = match self.streams {
            Streams::Train => Stream::Level,
            Streams::Eval => Stream::EvalLevel,
        };
        let word = |index: u32| uniform24(philox(self.args.seed, stream, self.args.step, index)[0]);
        match self.level {
            Level::Independent => word(sequence),
            Level::Stratified { of } => stratum(word(0), self.by_block(sequence, of), u64::from(of)),
            Level::Spread { windows, passes } => {
                let place = self.by_block(sequence, windows);
                let (windows, passes) = (u64::from(windows), u64::from(passes));
                let offset = uniform24(philox(self.args.seed, stream, 0, 0)[0]);
                stratum(offset, self.args.step % passes * windows + place, windows * passes)
            }
        }
    }

    /// The place of a sequence among `of`, where the first blocks of all texts come first.
    fn by_block(&self, sequence: u32, of: u32) -> u64 {
        u64::from(sequence % self.blocks) * u64::from(of / self.blocks) + u64::from(sequence / self.blocks)
    }

    /// Whether a sequence is learned without its context.
    fn drops_context(&self, sequence: u32, below: u32) -> bool {
        let trains = self.streams == Streams::Train;
        trains && uniform24(philox(self.args.seed, Stream::PromptDrop, self.args.step, sequence)[0]) < below
    }

    /// Three random words for each position of a sequence: whether it is hit, and two that say what it becomes.
    fn mask_words(&self, sequence: u32, words: &mut [[u32; 3]]) {
        let n = words.len() as u32;
        let (stream, step, first) = match self.streams {
            Streams::Train => (Stream::Mask, self.args.step, sequence * n),
            Streams::Eval => (Stream::EvalMask, self.args.step << 32 | u64::from(sequence), 0),
        };
        for (p, word) in words.iter_mut().enumerate() {
            let [hit, symbol, mask, _] = philox(self.args.seed, stream, step, first + p as u32);
            *word = [hit, symbol, mask];
        }
    }
}
