//! Windows of the corpus, what is masked in them, and normal noise: bits, not numbers.

use super::ROWS;
use crate::harness::Harness;
use crate::watch::Watch;
use std::io::Write;
use std::sync::Arc;
use tempest::config::{Density, MaskShare, Schedule, Unknown, VocabKind};
use tempest::data::{Corpus, Source, Tokens};
use tempest::program::{
    Corrupt, CountMasked, Crop, DType, Level, Mixing, Noise, NormalNoise, StepArgs, Streams, Weighting, Windows,
};
use tempest::rng::{Stream, philox, uniform24};

pub(crate) fn cases(watch: &mut Watch) {
    crops(watch);
    corruptions(watch);
    edge(watch);
    normals(watch);
}

/// The embedded text.
pub(crate) fn corpus() -> Arc<Corpus> {
    Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap())
}

/// A text of more symbols than a byte tells apart.
fn wide_corpus() -> Arc<Corpus> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let symbol = |i: u32| char::from_u32(0x4e00 + i * 7919 % 301).unwrap();
    let text: String = (0..5000).map(symbol).collect();
    file.write_all(text.as_bytes()).unwrap();
    let corpus = Corpus::open(&Source::Path(file.path().into()), VocabKind::Chars, Unknown::Error).unwrap();
    assert!(matches!(corpus.tokens(), Tokens::U16(_)));
    Arc::new(corpus)
}

fn crops(watch: &mut Watch) {
    for (name, corpus) in [("bytes", corpus()), ("words", wide_corpus())] {
        let mut b = Harness::new(DType::F16);
        b.args.sequence = 5;
        b.args.seed = 0xdead_beef_0123_4567;
        for (rows, positions) in [(1, 1), (7, 33), (33, 7), (3, 300)] {
            for windows in [
                Windows::Random(corpus.train()),
                Windows::Random(100..100 + positions as u64),
                Windows::Spaced { range: corpus.validation(), windows: 9 },
                Windows::Spaced { range: corpus.validation(), windows: 1 },
                Windows::Spaced { range: 3..4 + positions as u64, windows: 1000 },
            ] {
                let x0 = b.ids_out(rows, positions);
                b.push(Crop { windows, x0 });
            }
        }
        b.corpus = Some(corpus);
        b.run(watch, &format!("crop from {name}"));
    }
}

fn corruptions(watch: &mut Watch) {
    // The last has more positions than are kept in shared memory between counts.
    for (rows, positions, context, step) in
        [(1, 1, 0, 0), (7, 33, 4, 3), (33, 7, 6, 1 << 33), (3, 300, 0, 2), (1, 4111, 15, 9)]
    {
        let mut b = Harness::new(DType::F16);
        (b.args.step, b.args.sequence) = (step, 4);
        b.args.uniform_share = if context == 4 { 0 } else { 0x60_0001 };
        // Texts of one sequence or of three.
        let blocks = if rows % 3 == 0 { 3 } else { 1 };
        let sequences = rows as u32 + 9;
        let inv_count = b.float_out(1, 1);
        let (t, whole) = (positions as u32, sequences);
        b.push(CountMasked { positions: t, context, sequences: whole, timesteps: 7, inv_count });
        let continuous = |schedule, weighting| Noise::Continuous { schedule, weighting };
        let density = Density::Beta { a: 3, b: 5 };
        let mut noises = vec![Noise::Timesteps { timesteps: 7, inv_count }, Noise::ExactCount];
        for schedule in Schedule::ALL {
            let simple = Weighting::Simple { mean_rate: density.mean_mask_rate(schedule) };
            noises.extend([Weighting::Nelbo, simple].map(|weighting| continuous(schedule, weighting)));
        }
        let levels =
            [Level::Independent, Level::Stratified { of: sequences }, Level::Spread { windows: sequences, passes: 3 }];
        let bell = density.quantiles().unwrap();
        for (i, noise) in noises.into_iter().enumerate() {
            for (j, level) in levels.into_iter().enumerate() {
                let quantiles = (i % 3 == j).then(|| b.ids(1, bell.len(), bell.to_vec()));
                let x0 = b.some_ids(rows, positions, 65);
                let (xt, t, weight) =
                    (b.ids_out(rows, positions), b.ids_out(rows, 1), b.float_out(rows * positions, 1));
                b.push(Corrupt {
                    blocks,
                    x0,
                    noise,
                    level,
                    quantiles,
                    streams: [Streams::Train, Streams::Eval][(i + j) % 2],
                    context,
                    // Never, in half of the texts, in all.
                    context_drop: [0, 1 << 23, 1 << 24][j],
                    mixing: match noise {
                        Noise::Continuous { .. } if (i + j) % 3 == 0 => Mixing::new(7, 65, MaskShare::Gidd(0.5)),
                        _ => [Mixing::mask(65), Mixing::uniform(65, 65)][i % 2],
                    },
                    rates: None,
                    sequences,
                    timesteps: [0, 5, 128][j],
                    xt,
                    t,
                    weight,
                });
            }
        }
        b.run(watch, &format!("corrupt {rows} of {positions}"));
    }
}

/// A token whose random number is the very threshold: it is not masked.
fn edge(watch: &mut Watch) {
    let (positions, position) = (300, 219);
    let mut b = Harness::new(DType::F16);
    b.args = StepArgs { seed: 39_331, ..StepArgs::default() };
    let uniform = |stream, index| uniform24(philox(b.args.seed, stream, 0, index)[0]);
    assert_eq!(uniform(Stream::Mask, position), uniform(Stream::Level, 0));
    let x0 = b.some_ids(1, positions, 65);
    let (xt, t, weight) = (b.ids_out(1, positions), b.ids_out(1, 1), b.float_out(positions, 1));
    b.push(Corrupt {
        blocks: 1,
        x0,
        noise: Noise::Continuous { schedule: Schedule::Linear, weighting: Weighting::Nelbo },
        level: Level::Independent,
        quantiles: None,
        streams: Streams::Train,
        context: 0,
        context_drop: 0,
        mixing: Mixing::mask(65),
        rates: None,
        sequences: 1,
        timesteps: 0,
        xt,
        t,
        weight,
    });
    b.run(watch, "a token at the threshold");
}

fn normals(watch: &mut Watch) {
    let mut b = Harness::new(DType::F16);
    b.args.step = 1 << 20;
    for rows in ROWS {
        for cols in [1, 2, 6, 96, 301] {
            let out = b.float_out(3 * rows, cols);
            b.push(NormalNoise { positions: rows as u32, out });
        }
    }
    b.run(watch, "normal noise");
}
