//! Crops, noise levels, masks, weights and Gaussian noise: exact, from an evaluation of their definitions over `rng::philox`.

use crate::harness::{Harness, Want};
use crate::number::{Num, exact};
use std::sync::{Arc, OnceLock};
use tempest::backend::{Backend, Cpu};
use tempest::config::{Density, Schedule, Unknown, VocabKind};
use tempest::data::{Corpus, Source};
use tempest::program::{
    Builder, Corrupt, CountMasked, Crop, DType, Level, Mat, Mixing, Noise, NormalNoise, Op, Persistence, Plan,
    StepArgs, Streams, Weighting, Windows,
};
use tempest::rng::{Stream, normals, philox};

/// 2²⁴: how many values a uniform has.
const STEPS: u64 = 1 << 24;
const BELL: Density = Density::Beta { a: 3, b: 5 };
const MASK: u32 = 999;

/// What the streams say, by themselves.
#[derive(Clone, Copy)]
struct Draws {
    seed: u64,
    step: u64,
    streams: Streams,
    level: Level,
    density: Density,
    /// Of all levels, in units of 2⁻²⁴: the last of them are uniform.
    uniform_share: u64,
    blocks: u32,
}

impl Draws {
    /// The level of a sequence in units of 2⁻²⁴, and one over the density there.
    fn level(self, sequence: u32) -> (u64, Num) {
        let uniform = self.uniform_level(sequence);
        let Some(quantiles) = self.density.quantiles() else { return (uniform, exact(1.0)) };
        let shaped = STEPS - self.uniform_share;
        if uniform >= shaped {
            return ((uniform - shaped) * STEPS / self.uniform_share, exact(1.0));
        }
        let uniform = uniform * STEPS / shaped;
        // The straight line between the quantiles of the two nearest shares; its slope is one over the density.
        let (cell, cells) = ((uniform * 256 / STEPS) as usize, STEPS / 256);
        let [from, to] = [cell, cell + 1].map(|i| u64::from(quantiles[i]));
        (from + (to - from) * (uniform - cell as u64 * cells) / cells, exact((to - from) as f64 / cells as f64))
    }

    fn uniform_level(self, sequence: u32) -> u64 {
        let stream = if self.streams == Streams::Train { Stream::Level } else { Stream::EvalLevel };
        let word = |index: u32| u64::from(philox(self.seed, stream, self.step, index)[0] >> 8);
        match self.level {
            Level::Independent => word(sequence),
            Level::Stratified { of } => (word(0) + self.place(sequence, of) * STEPS / u64::from(of)) % STEPS,
            Level::Spread { windows, passes } => {
                let offset = u64::from(philox(self.seed, stream, 0, 0)[0] >> 8);
                let place = self.place(sequence, windows);
                let [windows, passes] = [windows, passes].map(u64::from);
                let place = self.step % passes * windows + place;
                (offset + place * STEPS / (windows * passes)) % STEPS
            }
        }
    }

    /// The first blocks of all texts, then the second ones, and so on.
    fn place(self, sequence: u32, of: u32) -> u64 {
        let (text, block) = (sequence / self.blocks, sequence % self.blocks);
        u64::from(block * (of / self.blocks) + text)
    }

    /// The words that decide about one token: whether it is hit, and what it becomes.
    fn words(self, sequence: u32, position: u32, positions: u32) -> [u32; 2] {
        let [hit, symbol, ..] = match self.streams {
            Streams::Train => philox(self.seed, Stream::Mask, self.step, sequence * positions + position),
            Streams::Eval => philox(self.seed, Stream::EvalMask, self.step << 32 | u64::from(sequence), position),
        };
        [hit, symbol]
    }

    /// The original's timestep of a sequence.
    fn timestep(self, sequence: u32, timesteps: u32) -> u64 {
        (u64::from(philox(self.seed, Stream::Level, self.step, sequence)[0]) * u64::from(timesteps)) >> 32
    }
}

/// One corrupted sequence: which positions are masked, each one's weight, the timestep.
struct Expected {
    masked: Vec<bool>,
    weight: Num,
    /// Of the others behind the context.
    rest: Num,
    t: u32,
}

/// A batch to be corrupted.
#[derive(Clone, Copy, Debug)]
struct Shape {
    sequences: u32,
    positions: u32,
    context: u32,
    /// Timesteps of the model's time embedding.
    timesteps: u32,
}

const SHAPES: [Shape; 5] = [
    Shape { sequences: 1, positions: 1, context: 0, timesteps: 0 },
    Shape { sequences: 7, positions: 5, context: 2, timesteps: 128 },
    Shape { sequences: 3, positions: 33, context: 0, timesteps: 49 },
    Shape { sequences: 12, positions: 100, context: 1, timesteps: 100 },
    Shape { sequences: 5, positions: 64, context: 16, timesteps: 0 },
];

/// The timestep whose mask rate (t+1)/timesteps is the nearest that is at least `numerator/denominator`.
fn timestep_above(numerator: u64, denominator: u64, timesteps: u32) -> u32 {
    let steps = u64::from(timesteps);
    ((numerator * steps).div_ceil(denominator)).clamp(1, steps.max(1)) as u32 - 1
}

fn expected(shape: Shape, draws: Draws, noise: Noise, inv_count: f32, sequence: u32) -> Expected {
    let open = shape.context..shape.positions;
    let maskable = u64::from(shape.positions - shape.context);
    let word = |p: u32| draws.words(sequence, p, shape.positions)[0];
    let below = |threshold: u64| {
        (0..shape.positions).map(|p| open.contains(&p) && u64::from(word(p) >> 8) < threshold).collect::<Vec<_>>()
    };
    let per_token = exact(1.0) / exact(f64::from(shape.sequences) * maskable as f64);
    match noise {
        Noise::Timesteps { timesteps, .. } => {
            let t = draws.timestep(sequence, timesteps);
            let masked = below((t + 1) * STEPS / u64::from(timesteps));
            Expected {
                masked,
                weight: exact(f64::from(inv_count)),
                rest: exact(0.0),
                t: timestep_above(t + 1, timesteps.into(), shape.timesteps),
            }
        }
        Noise::Continuous { schedule, weighting } => {
            let (level, importance) = draws.level(sequence);
            let u = level as f32 / STEPS as f32;
            let (rate, nelbo) = schedule.mask_rate_and_weight(u);
            let threshold = (f64::from(rate) * STEPS as f64) as u64;
            let (weight, rest) = match weighting {
                Weighting::Nelbo => (exact(f64::from(nelbo)) * per_token * importance, exact(0.0)),
                Weighting::NelboByRate => {
                    let weight = exact(f64::from(nelbo)) * exact(f64::from(rate)) * per_token * importance;
                    (weight, weight)
                }
                Weighting::Even => (per_token, per_token),
                Weighting::Simple { mean_rate } => {
                    let [mean, uniform] = [mean_rate, schedule.mean_mask_rate()].map(|rate| exact(f64::from(rate)));
                    let share = exact(draws.uniform_share as f64 / STEPS as f64);
                    (per_token / (mean + share * (uniform - mean)), exact(0.0))
                }
            };
            // The rate that tokens are really masked with is the threshold's.
            let t = timestep_above(threshold, STEPS, shape.timesteps);
            Expected { masked: below(threshold), weight, rest, t }
        }
        Noise::Given => unreachable!("not tried here"),
        Noise::ExactCount => {
            let (level, importance) = draws.level(sequence);
            let k = 1 + level * maskable / STEPS;
            let mut order: Vec<(u32, u32)> = open.clone().map(|p| (word(p), p)).collect();
            order.sort_unstable();
            let mut masked = vec![false; shape.positions as usize];
            order[..k as usize].iter().for_each(|(_, p)| masked[*p as usize] = true);
            let weight = exact(maskable as f64) / exact(k as f64) * per_token * importance;
            Expected { masked, weight, rest: exact(0.0), t: timestep_above(k, maskable, shape.timesteps) }
        }
    }
}

/// A name for a matrix where none is needed.
fn nowhere() -> Mat {
    let mut plan = Plan::new();
    let region = plan.region("nowhere", DType::F32, Persistence::Kept);
    plan.alloc(region, 1, 1)
}

fn noises(timesteps: u32, inv_count: Mat) -> Vec<Noise> {
    let mut all = vec![Noise::ExactCount];
    if timesteps > 0 {
        all.push(Noise::Timesteps { timesteps, inv_count });
    }
    for schedule in Schedule::ALL {
        let simple = Weighting::Simple { mean_rate: BELL.mean_mask_rate(schedule) };
        let by_rate = (schedule == Schedule::Cosine).then_some([Weighting::NelboByRate, Weighting::Even]);
        let weightings = [Weighting::Nelbo, simple].into_iter().chain(by_rate.into_iter().flatten());
        all.extend(weightings.map(|weighting| Noise::Continuous { schedule, weighting }));
    }
    all
}

#[test]
fn corrupt_masks_what_the_streams_say_under_every_noise() {
    for shape in SHAPES {
        for streams in [Streams::Train, Streams::Eval] {
            let spread = Level::Spread { windows: shape.sequences, passes: 3 };
            for level in [Level::Independent, Level::Stratified { of: shape.sequences }, spread] {
                // The last two are replayed from their second sequence on: a later micro-batch.
                let first = u32::from(shape.sequences > 3);
                let rows = shape.sequences - first;
                let count = noises(shape.timesteps, nowhere()).len();
                for which in 0..count {
                    corrupt_once(shape, streams, level, first, rows, which);
                }
                // Texts of four blocks each, the last two of three.
                if shape.sequences == 12 {
                    corrupt_blocks(shape, 4, streams, level, 1, 8, 0);
                }
            }
        }
    }
}

fn corrupt_once(shape: Shape, streams: Streams, level: Level, first: u32, rows: u32, which: usize) {
    corrupt_blocks(shape, 1, streams, level, first, rows, which);
}

/// The same over texts of so many sequences, of which the first is number `first`.
fn corrupt_blocks(shape: Shape, blocks: u32, streams: Streams, level: Level, first: u32, rows: u32, which: usize) {
    let mut b = Harness::default();
    b.args = StepArgs { seed: 1 << 40 | 3, step: 1 << 33 | 17, sequence: first, ..StepArgs::default() };
    if streams == Streams::Eval {
        b.args.step = 2;
    }
    let density = if which % 3 == 1 { BELL } else { Density::Uniform };
    // None, some, all.
    let uniform_share = [0, 0x60_0001, 1 << 24][which / 3 % 3];
    b.args.uniform_share = uniform_share;
    let uniform_share = u64::from(uniform_share);
    let draws = Draws { seed: b.args.seed, step: b.args.step, streams, level, density, uniform_share, blocks };
    let first = first * blocks;
    let (n, positions) = (rows as usize, shape.positions as usize);
    let (x0, tokens) = b.some_ids(n, positions, 900);
    let (inv_count, _) = b.input(DType::F32, 1, 1, &[0.0375]);
    let quantiles = density.quantiles().map(|q| b.ids(1, q.len(), &q));
    let noise = noises(shape.timesteps, inv_count)[which];
    // In training a third of the texts are learned without their context.
    let context_drop = (STEPS / 3) as u32;
    let mixing = if which.is_multiple_of(2) { Mixing::mask(MASK) } else { Mixing::uniform(901, 901) };
    let (xt, t) = (b.output(DType::U32, n, positions), b.output(DType::U32, n, 1));
    let weight = b.output(DType::F32, n * positions, 1);
    let (mut xt_want, mut t_want, mut weight_want) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..n {
        let e = expected(shape, draws, noise, 0.0375, first + row as u32);
        t_want.push(e.t);
        let is_dropped = streams == Streams::Train
            && philox(draws.seed, Stream::PromptDrop, draws.step, first + row as u32)[0] >> 8 < context_drop;
        for (p, &hit) in e.masked.iter().enumerate() {
            let is_context = p < shape.context as usize;
            let masked = hit || (is_context && is_dropped);
            let [_, word] = draws.words(first + row as u32, p as u32, shape.positions);
            xt_want.push(match mixing {
                _ if !masked => tokens[row * positions + p],
                Mixing { symbols: 0, mask, .. } => mask,
                Mixing { symbols, .. } => ((u64::from(word) * u64::from(symbols)) >> 32) as u32,
            });
            weight_want.push(match () {
                () if is_context => exact(0.0),
                () if masked => e.weight,
                () => e.rest,
            });
        }
    }
    let op = Corrupt {
        blocks,
        x0,
        noise,
        level,
        quantiles,
        streams,
        context: shape.context,
        context_drop,
        mixing,
        rates: None,
        sequences: shape.sequences,
        timesteps: shape.timesteps,
        xt,
        t,
        weight,
    };
    let wants = [Want::Ids(xt, xt_want), Want::Ids(t, t_want), Want::Numbers(weight, weight_want)];
    b.check(&format!("{shape:?} {streams:?} {level:?} {noise:?}"), op, &wants);
}

/// A batch on the CPU, corrupted as often as one likes.
struct Machine {
    cpu: Cpu,
    op: Op,
    count: Op,
    shape: Shape,
    mats: [Mat; 4],
}

impl Machine {
    /// `rows` of the `shape.sequences`.
    fn new(shape: Shape, rows: u32, streams: Streams, level: Level, noise: impl Fn(Mat) -> Noise) -> Machine {
        Machine::over(Density::Uniform, shape, rows, streams, level, noise)
    }

    /// The same over another density of levels.
    fn over(
        density: Density,
        shape: Shape,
        rows: u32,
        streams: Streams,
        level: Level,
        noise: impl Fn(Mat) -> Noise,
    ) -> Machine {
        let mut plan = Plan::new();
        let ids = plan.region("ids", DType::U32, Persistence::Kept);
        let numbers = plan.region("numbers", DType::F32, Persistence::Kept);
        let (n, positions) = (rows as usize, shape.positions as usize);
        let [x0, xt] = [(); 2].map(|()| plan.alloc(ids, n, positions));
        let t = plan.alloc(ids, n, 1);
        let (weight, inv_count) = (plan.alloc(numbers, n * positions, 1), plan.alloc(numbers, 1, 1));
        let Shape { sequences, context, timesteps, .. } = shape;
        let mut b = Builder::new(&mut plan, "corrupt");
        b.push(CountMasked { positions: shape.positions, context, sequences, timesteps: timesteps.max(1), inv_count });
        let noise = noise(inv_count);
        let quantiles = density.quantiles().map(|q| b.constant(ids, q.to_vec()));
        b.push(Corrupt {
            blocks: 1,
            x0,
            noise,
            level,
            quantiles,
            streams,
            context,
            context_drop: 0,
            mixing: Mixing::mask(MASK),
            rates: None,
            sequences,
            timesteps,
            xt,
            t,
            weight,
        });
        let ops = b.finish().ops;
        let cpu = Cpu::new(Arc::new(plan));
        let [count, op] = <[Op; 2]>::try_from(ops).unwrap();
        Machine { cpu, op, count, shape, mats: [xt, t, weight, inv_count] }
    }

    /// `(masked, timesteps, weights)` of the sequences from `first` on.
    fn run(&mut self, seed: u64, step: u64, first: u32) -> (Vec<bool>, Vec<u32>, Vec<f32>) {
        let args = StepArgs { seed, step, sequence: first, ..StepArgs::default() };
        let cpu: &mut dyn Backend = &mut self.cpu;
        cpu.run_op(&self.count, &args).unwrap();
        cpu.run_op(&self.op, &args).unwrap();
        let [xt, t, weight, _] = self.mats;
        let masked = cpu.read_u32(xt).unwrap().iter().map(|&id| id == MASK).collect();
        (masked, cpu.read_u32(t).unwrap(), cpu.read_f32(weight).unwrap())
    }
}

#[test]
fn micro_batches_draw_what_one_large_batch_draws() {
    let shape = Shape { sequences: 12, positions: 33, context: 3, timesteps: 50 };
    for streams in [Streams::Train, Streams::Eval] {
        for level in [Level::Independent, Level::Stratified { of: 12 }, Level::Spread { windows: 12, passes: 5 }] {
            for which in 0..noises(50, nowhere()).len() {
                let noise = |inv_count| noises(50, inv_count)[which];
                let whole = Machine::new(shape, 12, streams, level, noise).run(5, 9, 0);
                let mut part = Machine::new(shape, 4, streams, level, noise);
                let (mut masked, mut t, mut weight) = (Vec::new(), Vec::new(), Vec::new());
                for first in [0, 4, 8] {
                    let (m, s, w) = part.run(5, 9, first);
                    masked.extend(m);
                    t.extend(s);
                    weight.extend(w);
                }
                assert!((masked, t, weight) == whole, "{streams:?} {level:?} {:?}", noise(nowhere()));
            }
        }
    }
}

#[test]
fn count_masked_is_the_count_over_all_micro_batches() {
    for shape in SHAPES.into_iter().filter(|s| s.timesteps > 0) {
        let timesteps = shape.timesteps;
        let noise = |inv_count| Noise::Timesteps { timesteps, inv_count };
        let mut machine = Machine::new(shape, 1, Streams::Train, Level::Independent, noise);
        for step in 0..4 {
            let mut masked = 0;
            for sequence in 0..shape.sequences {
                masked += machine.run(8, step, sequence).0.iter().filter(|m| **m).count();
            }
            let inv_count = (&mut machine.cpu as &mut dyn Backend).read_f32(machine.mats[3]).unwrap()[0];
            assert_eq!(inv_count, 1.0 / masked.max(1) as f32, "{:?} step {step}", machine.shape);
        }
    }
}

#[test]
fn no_masked_token_at_all_divides_by_one() {
    let shape = Shape { sequences: 1, positions: 1, context: 0, timesteps: 1000 };
    let noise = |inv_count| Noise::Timesteps { timesteps: 1000, inv_count };
    let mut machine = Machine::new(shape, 1, Streams::Train, Level::Independent, noise);
    let none = (0..).find(|&step| !machine.run(1, step, 0).0[0]).unwrap();
    let (_, _, weight) = machine.run(1, none, 0);
    let inv_count = (&mut machine.cpu as &mut dyn Backend).read_f32(machine.mats[3]).unwrap()[0];
    assert_eq!((inv_count, weight[0]), (1.0, 0.0));
}

#[test]
fn exact_counts_are_exact_and_stratified_levels_meet_every_count() {
    // 24 sequences of 24 maskable positions: one in each stratum of 1/24, so every count once.
    let shape = Shape { sequences: 24, positions: 27, context: 3, timesteps: 0 };
    for streams in [Streams::Train, Streams::Eval] {
        let level = Level::Stratified { of: 24 };
        let mut machine = Machine::new(shape, 24, streams, level, |_| Noise::ExactCount);
        for step in 0..20 {
            let (masked, _, weight) = machine.run(2, step, 0);
            let mut counts: Vec<usize> = masked.chunks(27).map(|row| row.iter().filter(|m| **m).count()).collect();
            counts.sort_unstable();
            assert_eq!(counts, (1..=24).collect::<Vec<_>>(), "{streams:?} step {step}");
            assert!(masked.chunks(27).all(|row| row[..3] == [false; 3]), "the context is never masked");
            // Each sequence weighs L/k · k = L of B·L tokens: together exactly 1, but for 24·24 f32 roundings.
            let total: f64 = weight.iter().map(|&w| f64::from(w)).sum();
            assert!((total - 1.0).abs() < 2.0_f64.powi(-22), "{total}");
        }
    }
}

/// Masked share and total weight of a batch, averaged over steps, and their standard errors.
fn averages(density: Density, shape: Shape, level: Level, noise: impl Fn(Mat) -> Noise, steps: u64) -> [(f64, f64); 2] {
    let mut machine = Machine::over(density, shape, shape.sequences, Streams::Train, level, noise);
    let tokens = f64::from(shape.sequences * (shape.positions - shape.context));
    let samples: Vec<[f64; 2]> = (0..steps)
        .map(|step| {
            let (masked, _, weight) = machine.run(11, step, 0);
            let share = masked.iter().filter(|m| **m).count() as f64 / tokens;
            [share, weight.iter().map(|&w| f64::from(w)).sum()]
        })
        .collect();
    [0, 1].map(|what| {
        let mean = samples.iter().map(|s| s[what]).sum::<f64>() / steps as f64;
        let variance = samples.iter().map(|s| (s[what] - mean).powi(2)).sum::<f64>() / (steps - 1) as f64;
        (mean, (variance / steps as f64).sqrt())
    })
}

#[test]
fn mask_shares_and_weights_have_their_expectations() {
    let shape = Shape { sequences: 8, positions: 32, context: 0, timesteps: 0 };
    let level = Level::Stratified { of: 8 };
    let cases =
        [(Level::Independent, Density::Uniform), (level, Density::Uniform), (level, Density::Beta { a: 3, b: 5 })];
    for (schedule, (level, density)) in
        Schedule::ALL.into_iter().flat_map(|schedule| cases.map(|case| (schedule, case)))
    {
        let mean_rate = density.mean_mask_rate(schedule);
        for weighting in [Weighting::Nelbo, Weighting::Simple { mean_rate }] {
            let noise = |_| Noise::Continuous { schedule, weighting };
            let [(share, share_error), (weight, weight_error)] = averages(density, shape, level, noise, 400);
            // ∫μ·p du tokens are masked. The weights sum to ∫ -α'/(1-α)/p·μ·p du = ∫ μ' du = μ(1) under NELBO, whatever p, and
            // to E[masked]/∫μ·p = 1 under simple weighting. 1e-4: levels below MIN_LEVEL are drawn as that.
            let rate = f64::from(mean_rate);
            let total = if weighting == Weighting::Nelbo { schedule.mask_rate(1.0) } else { 1.0 };
            let case = format!("{schedule:?} {level:?} {density} {weighting:?}");
            assert!((share - rate).abs() < 5.0 * share_error + 1e-4, "{case}: share {share} ± {share_error}, {rate}");
            assert!((weight - total).abs() < 5.0 * weight_error + 1e-4, "{case}: weight {weight} ± {weight_error}");
        }
    }
    // The original masks (t+1)/T of the tokens, t uniform: (T+1)/(2T) on average, and the weights always sum to 1.
    let shape = Shape { timesteps: 10, ..shape };
    let noise = |inv_count| Noise::Timesteps { timesteps: 10, inv_count };
    let [(share, error), (weight, _)] = averages(Density::Uniform, shape, Level::Independent, noise, 400);
    assert!((share - 0.55).abs() < 5.0 * error, "{share} ± {error}");
    assert!((weight - 1.0).abs() < 1e-6, "{weight}");
}

#[test]
fn stratified_levels_vary_less_than_independent_ones() {
    let shape = Shape { sequences: 16, positions: 64, context: 0, timesteps: 0 };
    let noise = |_| Noise::Continuous { schedule: Schedule::Linear, weighting: Weighting::Nelbo };
    let [(_, independent), _] = averages(Density::Uniform, shape, Level::Independent, noise, 200);
    let [(_, stratified), _] = averages(Density::Uniform, shape, Level::Stratified { of: 16 }, noise, 200);
    // Standard deviation of a share: √(1/12/16 + 1/6/1024) against √(1/6/1024) and the offset's little.
    assert!(stratified < independent / 3.0, "{stratified} against {independent}");
}

fn corpus() -> Arc<Corpus> {
    static CORPUS: OnceLock<Arc<Corpus>> = OnceLock::new();
    let open = || Corpus::open(&Source::Embedded, VocabKind::Ascii, Unknown::Error).unwrap();
    Arc::clone(CORPUS.get_or_init(|| Arc::new(open())))
}

fn crop(windows: &Windows, rows: usize, positions: usize, args: StepArgs) -> Vec<Vec<u32>> {
    let mut plan = Plan::new();
    let ids = plan.region("ids", DType::U32, Persistence::Kept);
    let x0 = plan.alloc(ids, rows, positions);
    let mut cpu = Cpu::new(Arc::new(plan));
    cpu.bind_corpus(corpus()).unwrap();
    cpu.run_op(&Crop { windows: windows.clone(), x0 }.into(), &args).unwrap();
    let all = (&mut cpu as &mut dyn Backend).read_u32(x0).unwrap();
    all.chunks(positions).map(<[u32]>::to_vec).collect()
}

#[test]
fn random_crops_start_where_their_stream_says() {
    let corpus = corpus();
    for (range, positions) in [(corpus.train(), 33), (corpus.validation(), 1), (100..107, 5), (100..105, 5)] {
        let args = StepArgs { seed: 3, step: 1 << 35, sequence: 4, ..StepArgs::default() };
        for (b, row) in crop(&Windows::Random(range.clone()), 7, positions, args).iter().enumerate() {
            let words = philox(3, Stream::Crop, 1 << 35, 4 + b as u32);
            let wide = u128::from(words[0]) << 32 | u128::from(words[1]);
            let start =
                range.start + ((wide * u128::from(range.end - range.start - positions as u64 + 1)) >> 64) as u64;
            assert!(start + positions as u64 <= range.end);
            let window = start as usize..start as usize + positions;
            assert_eq!(*row, corpus.tokens().window(window), "{range:?} sequence {b}");
        }
    }
}

#[test]
fn small_ranges_are_cropped_everywhere_alike() {
    let corpus = corpus();
    // 8 starts, 8000 draws: 1000 each, standard deviation √(8000·⅛·⅞) = 30; windows of 16 differ by their text.
    let range = 0..23;
    let mut hits = [0; 8];
    for step in 0..80 {
        let args = StepArgs { seed: 1, step, ..StepArgs::default() };
        for row in crop(&Windows::Random(range.clone()), 100, 16, args) {
            hits[(0..8).find(|&s| corpus.tokens().window(s..s + 16) == row).expect("a window of the range")] += 1;
        }
    }
    assert!(hits.iter().all(|&n: &i32| (n - 1000).abs() < 5 * 30), "{hits:?}");
}

#[test]
fn spaced_crops_reach_from_one_end_to_the_other() {
    let corpus = corpus();
    let args = StepArgs { sequence: 1, ..StepArgs::default() };
    let spaced = |windows| Windows::Spaced { range: 1000..1030, windows };
    // ⌊i·22/3⌋ for i = 1, 2, 3, and beyond the last the last again.
    let rows = crop(&spaced(4), 4, 8, args);
    for (row, start) in rows.iter().zip([1007, 1014, 1022, 1022]) {
        assert_eq!(*row, corpus.tokens().window(start..start + 8));
    }
    // A later batch goes on where the one before stopped.
    assert_eq!(crop(&spaced(4), 2, 8, StepArgs { sequence: 2, ..args })[..], rows[1..3]);
    assert_eq!(crop(&spaced(1), 1, 8, args)[0], corpus.tokens().window(1000..1008));
}

#[test]
fn the_passes_of_an_evaluation_give_each_window_evenly_spaced_levels() {
    // 3 windows of 12 maskable positions in 4 passes: 12 levels in all, one in each twelfth; each window's a quarter apart.
    let shape = Shape { sequences: 3, positions: 12, context: 0, timesteps: 0 };
    let level = Level::Spread { windows: 3, passes: 4 };
    let mut machine = Machine::new(shape, 3, Streams::Eval, level, |_| Noise::ExactCount);
    let counts: Vec<Vec<usize>> = (0..4)
        .map(|pass| {
            let (masked, ..) = machine.run(2, pass, 0);
            masked.chunks(12).map(|row| row.iter().filter(|m| **m).count()).collect()
        })
        .collect();
    let mut all = counts.concat();
    all.sort_unstable();
    assert_eq!(all, (1..=12).collect::<Vec<_>>());
    for window in 0..3 {
        let mut own: Vec<usize> = counts.iter().map(|pass| pass[window]).collect();
        own.sort_unstable();
        assert!(own.windows(2).all(|pair| pair[1] - pair[0] == 3), "{own:?}");
    }
}

#[test]
fn normal_noise_is_what_the_stream_says_in_whatever_batch_a_sequence_is() {
    // T·C in whole groups of four and not, and more of them than one worker draws at a time.
    for (positions, c) in [(1, 1), (7, 1), (3, 2), (33, 130), (5, 257)] {
        for (sequence, sequences) in [(0, 1), (4, 3), (5, 1), (u32::MAX, 1)] {
            let mut b = Harness::default();
            b.args = StepArgs { seed: 1 << 40 | 3, step: 17, sequence, ..StepArgs::default() };
            let out = b.output(DType::F32, sequences * positions, c);
            let element = |i: usize| {
                let (b, e) = (i / (positions * c), i % (positions * c));
                let step = 17 << 32 | u64::from(sequence + b as u32);
                normals(philox(1 << 40 | 3, Stream::Noise, step, e as u32 / 4))[e % 4]
            };
            let want = (0..sequences * positions * c).map(element).collect();
            let case = format!("[{sequences}·{positions}, {c}] from sequence {sequence}");
            b.check(&case, NormalNoise { positions: positions as u32, out }, &[Want::Bits(out, want)]);
        }
    }
}
