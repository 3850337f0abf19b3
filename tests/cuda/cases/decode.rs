//! Texts from left to right: shapes that no model has, and whole models step by step.

use super::models::{Shape, fill_weights};
use super::noise::corpus;
use crate::chance::seed;
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::config::{Architecture, ModelConfig, Policy};
use tempest::model::{Transformer, Use};
use tempest::process::{Autoregressive, Generative, Past};
use tempest::program::{
    AppendToken, AttentionMask, BROKEN, Builder, CachedAttention, Counted, DType, FillCache, LastToken, OpenRow, Plan,
    SamplingParams, Shift, StepArgs, Storage, sumsq_slots,
};

pub(crate) fn cases(watch: &mut Watch) {
    shifts(watch);
    rows(watch);
    tokens(watch);
    caches(watch);
    for (i, shape) in SHAPES.into_iter().enumerate() {
        texts(watch, shape, i);
    }
    texts(watch, SHAPES[2], 4);
}

fn shifts(watch: &mut Watch) {
    let mut b = Harness::new(DType::F16);
    for (rows, positions) in [(1, 1), (7, 33), (33, 7), (3, 300)] {
        for counted in [
            Counted::Mean { sequences: 40 },
            Counted::Once { range: 100..100 + positions as u64, windows: 9 },
            Counted::Once { range: 100..10_000, windows: 1 },
            Counted::Once { range: 3..4001, windows: 300 },
            Counted::Once { range: 0..7_000_000_000, windows: 5 },
        ] {
            for weighs in [true, false] {
                let (x0, xt) = (b.some_ids(rows, positions, 65), b.ids_out(rows, positions));
                let weight = weighs.then(|| b.float_out(rows * positions, 1));
                b.push(Shift { x0, start: 65, counted: counted.clone(), xt, weight });
            }
        }
    }
    b.run(watch, "shift");
}

/// Tokens that are left of each text: all, some, one, none, and what is broken.
fn left(texts: usize, positions: usize) -> Vec<u32> {
    let of = |text: usize| match text % 5 {
        0 => positions as u32,
        1 => 1,
        2 => 0,
        3 => BROKEN,
        _ => (positions as u32).div_ceil(2),
    };
    (0..texts).map(of).collect()
}

fn rows(watch: &mut Watch) {
    let mut b = Harness::new(watch.dtype());
    for (texts, positions, cols) in [(1, 1, 2), (7, 5, 96), (33, 3, 130), (5, 2, 301)] {
        let (n, slots) = (texts * positions, sumsq_slots(cols));
        let (x, sumsq) = (b.stored(n, cols, 1.0), b.normal(n, slots, 1.0));
        let remaining = b.ids(texts, 1, left(texts, positions));
        let (out, out_sumsq) = (b.stored_out(texts, cols), b.float_out(texts, slots));
        for sumsq in [Some([sumsq, out_sumsq]), None] {
            b.push(OpenRow { x, sumsq, remaining, out });
        }
    }
    b.run(watch, "rows of the next tokens");
}

fn tokens(watch: &mut Watch) {
    let mut b = Harness::new(watch.dtype());
    b.args.step = 1 << 20;
    for (texts, positions) in [(1, 1), (7, 33), (300, 3)] {
        let candidate = b.some_ids(texts, 1, 65);
        let sure = |text: usize| if text % 7 == 4 { f32::NAN } else { 0.5 };
        let confidence = b.float(texts, 1, (0..texts).map(sure).collect());
        let remaining = b.ids(texts, 1, left(texts, positions));
        let [x, masked, committed_at] = [65, 2, 9].map(|n| b.some_ids(texts, positions, n));
        b.push(AppendToken { candidate, confidence, x, masked, committed_at, remaining });
    }
    b.run(watch, "next tokens");
}

fn caches(watch: &mut Watch) {
    let mut b = Harness::new(watch.dtype());
    for (texts, positions, heads, head_dim) in
        [(1, 1, 1, 2), (7, 5, 3, 6), (5, 33, 2, 32), (6, 130, 1, 64), (5, 300, 1, 34), (3, 65, 2, 130)]
    {
        let (c, t) = (heads * head_dim, positions as u32);
        let x = b.some_ids(texts, positions, 65);
        let remaining = b.ids(texts, 1, left(texts, positions));
        let ids = b.ids_out(texts, 1);
        b.push(LastToken { x, remaining, start: 65, ids });
        for filled in [1, positions.div_ceil(2), positions] {
            let (qkv, cache) = (b.stored(texts * filled, 3 * c, 1.0), b.stored(texts * positions, 2 * c, 1.0));
            b.push(FillCache { qkv, positions: t, cache });
        }
        for rotated in [true, false] {
            let (qkv, cache, o) =
                (b.stored(texts, 3 * c, 1.0), b.stored(texts * positions, 2 * c, 1.0), b.stored_out(texts, c));
            b.push(CachedAttention { qkv, remaining, positions: t, heads: heads as u32, rotated, cache, o });
        }
        // Several at a time.
        let next = positions.div_ceil(3);
        let (qkv, cache, o) = (
            b.stored(texts * next, 3 * c, 1.0),
            b.stored(texts * positions, 2 * c, 1.0),
            b.stored_out(texts * next, c),
        );
        b.push(CachedAttention { qkv, remaining, positions: t, heads: heads as u32, rotated: true, cache, o });
    }
    b.run(watch, "keys and values that are kept");
}

#[rustfmt::skip]
const SHAPES: [Shape; 4] = [
    Shape { layers: 2, heads: [3, 2], positions: 7, symbols: 67, timesteps: 0, context: 0, sequences: 3 },
    Shape { layers: 1, heads: [3, 32], positions: 33, symbols: 66, timesteps: 0, context: 0, sequences: 2 },
    Shape { layers: 2, heads: [1, 64], positions: 130, symbols: 129, timesteps: 0, context: 0, sequences: 1 },
    Shape { layers: 1, heads: [1, 128], positions: 65, symbols: 257, timesteps: 0, context: 0, sequences: 2 },
];

/// Three tokens of each of some texts, and a pass over windows of the text.
fn texts(watch: &mut Watch, shape: Shape, way: usize) {
    let dtype = watch.dtype();
    // What is kept is kept of models that do not convolve.
    let architecture = [Architecture::Original, Architecture::Gpt { bias: way == 1 }][usize::from(way % 3 == 1)];
    let config = ModelConfig { short_conv: 0, architecture, ..shape.config() };
    let mut plan = Plan::new();
    let model = Transformer::new(&mut plan, &config, AttentionMask::Causal, Storage::uniform(dtype), Use::Inference);
    let process = Autoregressive { model, mask_token_id: shape.symbols as u32 - 1 };
    let (texts, positions) = (shape.sequences, shape.positions);
    let mut b = Builder::new(&mut plan, "texts");
    let state = process.sample_state(&mut b, texts);
    let sums = b.alloc(process.model.memory.kept, texts, 2);
    process.fill_cache(&mut b, state, state.truth);
    let fill = b.finish();
    let [kept, recomputed] = [Past::Kept, Past::Recomputed].map(|past| {
        let mut b = Builder::new(&mut plan, "next token");
        process.next_token(&mut b, state, past);
        b.finish()
    });
    let mut b = Builder::new(&mut plan, "likelihood");
    process.likelihood(&mut b, corpus().validation(), 7, sums);
    let measure = b.finish();
    let open = |text: usize| [positions, positions / 2, 1][(way + text) % 3];
    let ways = [(0.0, 1.0), (1.0, 1.0), (0.8, 0.9)];
    let params = |text: usize| {
        let (temperature, top_p) = ways[(way + text) % 3];
        SamplingParams { temperature, top_p, ..SamplingParams::greedy(Policy::top_k(1), positions) }
    };
    let params: Vec<SamplingParams> = (0..texts).map(params).collect();
    let each = |f: &dyn Fn(usize, usize) -> u32| -> Vec<u32> {
        (0..texts).flat_map(|text| (0..positions).map(move |p| f(text, p))).collect()
    };
    let what = format!("texts from left to right of {config:?} in {dtype:?}");
    watch.attempt(&what, |watch| {
        let mut twins = watch.twins(plan)?;
        fill_weights(&mut twins, &process.model)?;
        twins.bind_corpus(&corpus())?;
        let is_open = |text: usize, p: usize| p >= positions - open(text);
        let token = |text: usize, p: usize| ((text * 31 + p * 7) % 64) as u32;
        let x = each(&|text, p| if is_open(text, p) { process.mask_token_id } else { token(text, p) });
        twins.write_u32(state.x, &x)?;
        twins.write_u32(state.truth, &x)?;
        twins.write_u32(state.masked, &each(&|text, p| u32::from(is_open(text, p))))?;
        twins.write_u32(state.committed_at, &each(&|_, _| 0))?;
        twins.write_u32(state.remaining, &(0..texts).map(|text| open(text) as u32).collect::<Vec<_>>())?;
        twins.write_f32(state.params, bytemuck::cast_slice(&params))?;
        watch.run(&what, &mut twins, &fill, &StepArgs::default())?;
        for (step, program) in [&kept, &kept, &recomputed].into_iter().enumerate() {
            let args = StepArgs { seed: 3 + seed(), step: step as u64, sequence: 7, ..StepArgs::default() };
            watch.run(&what, &mut twins, program, &args)?;
        }
        watch.run(&what, &mut twins, &measure, &StepArgs { sequence: 2, ..StepArgs::default() })
    });
}
