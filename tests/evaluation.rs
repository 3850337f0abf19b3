//! Estimates against truths that are known otherwise.

use std::sync::Arc;
use tempest::backend::Device;
use tempest::config::{ModelConfig, Policy, ProcessConfig, Schedule, Unknown, VocabKind};
use tempest::data::{Corpus, Source, Vocab};
use tempest::denoiser::{Denoiser, Start};
use tempest::eval::{self, EvalConfig, Passes};
use tempest::model::Params;
use tempest::process::ReverseStep;
use tempest::program::{DType, SamplingParams, StepArgs};
use tempest::rng::{Stream, UNIFORM_STEPS, normals, philox};
use tempest::store::SavedModel;

/// A small model without weights.
fn tiny(vocab: &Vocab, sequence_len: usize, diffusion_steps: usize, context_len: usize) -> SavedModel {
    let vocab_size = vocab.size();
    SavedModel {
        config: ModelConfig {
            n_layer: 1,
            n_head: 2,
            n_embd: 16,
            sequence_len,
            vocab_size,
            diffusion_steps,
            vector_dims: 0,
            autoencoder: None,
            short_conv: 0,
            architecture: Default::default(),
        },
        process: ProcessConfig::Masked { mask_token_id: vocab.mask_id(), context_len, prompt_drop: 0.0 },
        vocab: vocab.clone(),
        weights: Vec::new(),
        step: 0,
    }
}

/// A denoiser with random weights, all of them, or with none but zeros.
fn denoiser(model: &SavedModel, scale: f32, batch: usize) -> Denoiser {
    let n = Params::new(&model.config).len();
    let random = (0..n.div_ceil(4)).flat_map(|i| normals(philox(8, Stream::Init, 1, i as u32)));
    let model = SavedModel { weights: random.take(n).map(|z| scale * z).collect(), ..model.clone() };
    Denoiser::new(&model, DType::F32, batch, &Device::Cpu).unwrap()
}

fn embedded() -> Arc<Corpus> {
    Arc::new(Corpus::open(&Source::Embedded, VocabKind::Ascii, Unknown::Error).unwrap())
}

fn whole(corpus: &Corpus, windows: usize) -> EvalConfig {
    EvalConfig {
        range: corpus.validation(),
        windows,
        passes: Some(2),
        seed: 7,
        steps: vec![1, 2, 8, 50],
        schedule: Schedule::Cosine,
        duel: vec![Policy::threshold(0.5), Policy::top_k(1), Policy::top_k(3)],
        duel_temperature: 1.0,
        duel_windows: 5,
    }
}

#[test]
fn a_model_that_knows_nothing_scores_the_logarithm_of_its_symbols() {
    let corpus = embedded();
    for (timesteps, context) in [(0, 0), (10, 4)] {
        let tiny = tiny(corpus.vocab(), 16, timesteps, context);
        let mut model = denoiser(&tiny, 0.0, 6);
        let report = eval::evaluate(&mut model, &corpus, &whole(&corpus, 40), &mut |_, _, _| {}).unwrap();
        // f32 logarithms and sums of up to 16 of them: a few parts in 10⁷.
        let truth = 127.0_f64.ln();
        let is_truth = |e: eval::Estimate| {
            assert!((e.nats - truth).abs() < 1e-5, "{e:?}");
            assert!((e.bits - truth / 2.0_f64.ln()).abs() < 1e-5);
            assert!(e.standard_error.unwrap_or(0.0) < 1e-5);
        };
        is_truth(report.nelbo.unwrap());
        is_truth(report.masked_cross_entropy.unwrap());
        report.step_bounds.iter().for_each(|b| is_truth(b.bound.unwrap()));
        report.duel.iter().for_each(|d| is_truth(d.nll));
        assert_eq!((report.step_bounds.len(), report.duel.len(), report.tokens_per_window), (4, 3, 16 - context));
        assert_eq!((report.duel[1].steps, report.duel[2].windows), ((16 - context) as f64, 5));
    }
}

/// Subsets of 0..n as bit sets.
fn subsets(n: usize) -> impl Iterator<Item = usize> {
    1..1 << n
}

fn choose(n: usize, k: usize) -> f64 {
    (1..=k).map(|i| (n - k + i) as f64 / i as f64).product()
}

#[test]
fn the_exact_count_form_of_exact_conditionals_is_the_likelihood_and_few_steps_are_looser() {
    // A distribution over 3 tokens of 2 symbols, and its own conditionals.
    let p = [0.30, 0.02, 0.10, 0.08, 0.05, 0.15, 0.01, 0.29];
    const L: usize = 3;
    let agree = |x: usize, y: usize, known: usize| (x ^ y) & known == 0;
    let marginal = |x: usize, known: usize| (0..8).filter(|&y| agree(x, y, known)).map(|y| p[y]).sum::<f64>();
    let sum_ce = |x: usize, masked: usize| {
        let known = 7 ^ masked;
        let ce = |i: usize| -(marginal(x, known | 1 << i) / marginal(x, known)).ln();
        (0..L).filter(|i| masked >> i & 1 == 1).map(ce).sum::<f64>()
    };
    // E[Σ CE | k masked].
    let with_count = |x: usize, k: usize| {
        let of_size = subsets(L).filter(|s| s.count_ones() as usize == k);
        of_size.map(|s| sum_ce(x, s)).sum::<f64>() / choose(L, k)
    };
    for (x, p) in p.iter().enumerate() {
        let nelbo: f64 = (1..=L).map(|k| with_count(x, k) / k as f64).sum();
        assert!((nelbo + p.ln()).abs() < 1e-12, "{x}: {nelbo} {}", -p.ln());
    }
    let entropy: f64 = p.iter().map(|p| -p * p.ln()).sum();
    for schedule in Schedule::ALL {
        let mut before = f64::INFINITY;
        for steps in [1, 2, 4, 16, 64, 4096] {
            let weights = eval::step_weights(L, steps, schedule);
            // The definition: at rate μ each token is masked by itself, and the step's KL is its share of Σ CE.
            let by_definition = |x: usize| -> f64 {
                let at = |i: u32| {
                    let mu = schedule.rate_at(i, steps);
                    let chance = |s: usize| mu.powi(s.count_ones() as i32) * (1.0 - mu).powi(3 - s.count_ones() as i32);
                    let share = (mu - schedule.rate_at(i - 1, steps)) / mu;
                    share * subsets(L).map(|s| chance(s) * sum_ce(x, s)).sum::<f64>()
                };
                (1..=steps).map(at).sum()
            };
            let by_count = |x: usize| (1..=L).map(|k| weights[k - 1] / k as f64 * with_count(x, k)).sum::<f64>();
            let bound: f64 = (0..8).map(|x| p[x] * by_count(x)).sum();
            let definition: f64 = (0..8).map(|x| p[x] * by_definition(x)).sum();
            assert!((bound - definition).abs() < 1e-11, "{schedule:?} {steps}: {bound} {definition}");
            assert!(bound < before && bound > entropy, "{schedule:?} {steps}: {bound} after {before}, above {entropy}");
            before = bound;
        }
        assert!(before - entropy < 1e-3, "{schedule:?}: {before} {entropy}");
    }
}

#[test]
fn step_weights_are_one_on_average_and_everywhere_in_the_limit() {
    for schedule in Schedule::ALL {
        for (maskable, steps) in [(1, 1), (7, 3), (128, 1), (128, 64), (112, 1000)] {
            let weights = eval::step_weights(maskable, steps, schedule);
            let mean = weights.iter().sum::<f64>() / maskable as f64;
            // Σ_k k·Bin(k; L, μ) = L·μ, so the mean is Σᵢ (μᵢ - μᵢ₋₁) = 1 but for rounding in exp and ln.
            assert!((mean - 1.0).abs() < 1e-10, "{schedule:?} {maskable} {steps}: {mean}");
        }
        // Off by as much as the first step's rate, which for a root is that of its steps.
        let weights = eval::step_weights(16, 400_000, schedule);
        assert!(weights.iter().all(|w| (w - 1.0).abs() < 2e-3), "{schedule:?} {weights:?}");
    }
    let one = eval::step_weights(5, 1, Schedule::Linear);
    assert_eq!(one, [0.0, 0.0, 0.0, 0.0, 5.0]);
}

#[test]
fn estimates_of_a_known_curve_are_right_within_their_own_standard_errors() {
    const L: usize = 64;
    let f = |k: usize| 1.4 + 1.9 * (k as f64 / L as f64).powf(1.7);
    let noise = |trial: u64, i: u32| f64::from(normals(philox(3, Stream::Init, trial, i))[0]);
    let passes = |trial: u64, windows: usize, passes: usize| {
        let offset = f64::from(philox(4, Stream::EvalLevel, trial, 0)[0]) / 2.0_f64.powi(32);
        let of_window = |w: usize| {
            let hard = 0.15 * noise(trial, w as u32);
            (0..passes)
                .map(|p| {
                    let level = (offset + (p * windows + w) as f64 / (windows * passes) as f64) % 1.0;
                    let k = 1 + (level * L as f64) as usize;
                    let ce = f(k) + hard + noise(trial, (windows * (p + 1) + w) as u32) / (k as f64).sqrt();
                    [(ce * k as f64) as f32, k as f32]
                })
                .collect()
        };
        Passes { maskable: L, sums: (0..windows).map(of_window).collect() }
    };
    let truth = |weights: &[f64]| (1..=L).map(|k| weights[k - 1] * f(k)).sum::<f64>() / L as f64;
    let masked_truth = (1..=L).map(|k| k as f64 * f(k)).sum::<f64>() / (1..=L).sum::<usize>() as f64;
    let nelbo_truth = truth(&[1.0; L]);
    for (windows, n_passes) in [(700, 1), (250, 3)] {
        let mut squares = [0.0; 5];
        let trials = 200;
        for trial in 0..trials {
            let measured = passes(trial, windows, n_passes);
            let bound = |steps| (measured.step_bound(steps, Schedule::Linear).unwrap(), steps);
            let masked = measured.masked_cross_entropy().unwrap();
            let mut estimates = vec![(measured.nelbo().unwrap(), nelbo_truth), (masked, masked_truth)];
            for (estimate, steps) in [bound(1), bound(4), bound(32)] {
                estimates.push((estimate, truth(&eval::step_weights(L, steps, Schedule::Linear))));
            }
            for (square, (estimate, truth)) in squares.iter_mut().zip(estimates) {
                let z = (estimate.nats - truth) / estimate.standard_error.unwrap();
                *square += z * z / f64::from(trials as u32);
            }
        }
        // The root mean square of 200 z-scores is 1 ± 5 %. One step looks at a few windows with everything masked only, and
        // its standard error is as rough as their number.
        for (i, (square, range)) in
            squares.iter().zip([0.75..1.3, 0.75..1.3, 0.7..1.7, 0.75..1.4, 0.75..1.3]).enumerate()
        {
            assert!(range.contains(&square.sqrt()), "estimate {i}: z-scores of {}", square.sqrt());
        }
    }
    let error = |estimate: Option<eval::Estimate>| estimate.unwrap().standard_error.unwrap();
    let measured = passes(0, 150, 1);
    // Of a window's noise, 0.15 and 1/√k, (0.15² + H₆₄/64)^½ = 0.31 is left on average; levels leave nothing.
    assert!(error(measured.nelbo()) < 1.2 * 0.31 / 150.0_f64.sqrt());
    // Noise of √(0.15² + 1/64) on every 64th window; plain weighting would leave √(64·3.3²/700) = 1.
    assert!(error(passes(0, 700, 1).step_bound(1, Schedule::Linear)) < 2.0 * 0.2 * (64.0_f64 / 700.0).sqrt());
    let none = |estimate: Option<eval::Estimate>| estimate.unwrap().standard_error.is_none();
    assert!(none(measured.step_bound(1, Schedule::Linear)), "two or three windows say nothing");
    assert!(none(passes(0, 1, 100).nelbo()) && none(passes(0, 7, 100).nelbo()) && !none(passes(0, 8, 100).nelbo()));
}

#[test]
fn an_estimate_is_none_where_a_number_of_masked_tokens_that_counts_was_never_drawn() {
    const L: usize = 40;
    let passes_of =
        |ks: &[usize]| Passes { maskable: L, sums: vec![ks.iter().map(|&k| [k as f32, k as f32]).collect()] };
    let all: Vec<usize> = (1..=L).collect();
    let is_one = |estimate: Option<eval::Estimate>| (estimate.unwrap().nats - 1.0).abs() < 1e-9;
    let whole = passes_of(&all);
    assert!(is_one(whole.nelbo()) && is_one(whole.masked_cross_entropy()));
    assert!([1, 2, 64].into_iter().all(|steps| is_one(whole.step_bound(steps, Schedule::Linear))));
    // Without the last, one step has nothing; without the first, few steps lose nothing that is seen.
    let short = passes_of(&all[..L - 1]);
    assert_eq!(
        (short.nelbo(), short.masked_cross_entropy(), short.step_bound(1, Schedule::Linear)),
        (None, None, None)
    );
    let few = passes_of(&all[1..]);
    assert_eq!((few.nelbo(), few.step_bound(64, Schedule::Linear)), (None, None));
    assert!(is_one(few.step_bound(1, Schedule::Linear)) && is_one(few.step_bound(2, Schedule::Linear)));
    // How often a number was drawn does not say how much it counts: those of few masks are drawn five times here.
    let uneven = Passes {
        maskable: 4,
        sums: vec![[1, 1, 1, 1, 1, 2, 3, 4].iter().map(|&k| [(k * k) as f32, k as f32]).collect()],
    };
    assert!((uneven.nelbo().unwrap().nats - 2.5).abs() < 1e-9);
    assert!((uneven.step_bound(1, Schedule::Linear).unwrap().nats - 4.0).abs() < 1e-9);
}

#[test]
fn the_passes_needed_draw_every_number_of_masked_tokens() {
    for maskable in (1..=300).chain([1000, 4095, 60_000]) {
        for windows in [1_usize, 3, 256] {
            let passes = eval::passes_needed(windows, maskable) as usize;
            assert!((passes - 1) * windows <= maskable + maskable / 100 + 1, "{maskable}: no more than it takes");
            let (n, steps) = ((passes * windows) as u64, u64::from(UNIFORM_STEPS));
            for trial in 0..3 {
                // `Level::Spread`, and the number of masked tokens that `Noise::ExactCount` makes of a level.
                let offset = u64::from(philox(5, Stream::EvalLevel, trial, maskable as u32)[0] >> 8);
                let level = |i: u64| (offset + i * steps / n) % steps;
                let mut drawn = vec![false; maskable];
                (0..n).for_each(|i| drawn[(level(i) * maskable as u64 / steps) as usize] = true);
                assert!(drawn.iter().all(|&d| d), "{maskable} in {passes} passes over {windows} windows");
            }
        }
    }
}

#[test]
fn a_short_text_gets_the_passes_that_its_bounds_need_and_says_so_where_they_are_forbidden() {
    // 1000 symbols as likely as each other, and a model that knows that: no bound may lie below ln 1000.
    let symbols: String = (0..1000).map(|i| char::from_u32(0x4e00 + i).unwrap()).collect();
    let corpus = ab_corpus(&symbols);
    let tiny = tiny(corpus.vocab(), 48, 0, 0);
    let mut model = denoiser(&tiny, 0.0, 8);
    let mut report = |passes| {
        let config = EvalConfig { range: 0..100, passes, duel: vec![], ..whole(&corpus, 1024) };
        eval::evaluate(&mut model, &corpus, &config, &mut |_, _, _| {}).unwrap()
    };
    let good = report(None);
    assert_eq!((good.windows, good.passes, good.passes_needed), (3, 131, 17));
    let bounds = good.step_bounds.iter().map(|b| b.bound).chain([good.nelbo, good.masked_cross_entropy]);
    for bound in bounds {
        let bound = bound.unwrap();
        // f32 logarithms and sums of up to 48 of them.
        assert!((bound.nats - 1000.0_f64.ln()).abs() < 1e-5, "{bound:?}");
        assert_eq!(bound.standard_error, None, "three windows say too little");
    }
    let few = report(Some(2));
    assert_eq!((few.nelbo, few.masked_cross_entropy, few.passes_needed), (None, None, 17));
    let json = serde_json::to_value(&few).unwrap();
    assert!(json["nelbo"]["nats"].is_null() && json["step_bounds"][3]["nats"].is_null(), "{json}");
    assert_eq!(json["step_bounds"][3]["steps"], 50);
    let trained = EvalConfig::nelbo_only(&tiny.config, &tiny.process, 0..100, 0, 1);
    assert_eq!((trained.windows, trained.passes), (3, Some(17)), "validation in training");
}

fn ab_corpus(text: &str) -> Arc<Corpus> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ab.txt");
    std::fs::write(&path, text).unwrap();
    Arc::new(Corpus::open(&Source::Path(path), VocabKind::Chars, Unknown::Error).unwrap())
}

#[test]
fn the_likelihood_of_a_policy_sums_to_one_over_all_texts() {
    let vocab = Vocab::chars("abc").unwrap();
    for (timesteps, context) in [(0, 0), (7, 1)] {
        let tiny = tiny(&vocab, 5, timesteps, context);
        let mut model = denoiser(&tiny, 1.0, 27);
        let texts: Vec<Vec<u32>> =
            (0..243_u32).map(|n| (0..5).map(|place| n / 3_u32.pow(place) % 3).collect()).collect();
        for policy in [Policy::top_k(1), Policy::top_k(2), Policy::threshold(0.4), Policy::threshold(0.0)] {
            for (given, temperature) in [(context, 1.0), (2, 0.6)] {
                let mut total = 0.0;
                let mut seen = std::collections::BTreeSet::new();
                for batch in texts.chunks(27) {
                    for (nll, steps) in eval::score(&mut model, batch, given, policy, temperature).unwrap() {
                        total += (-f64::from(nll)).exp();
                        seen.insert(nll.to_bits());
                        assert!((1..=5).contains(&steps));
                    }
                }
                // Each start has its own sum of 1; f32 probabilities, five to a text.
                let starts = 3.0_f64.powi(given as i32);
                assert!((total / starts - 1.0).abs() < 1e-5, "{policy:?} given {given}: {total}");
                assert!(seen.len() > 20, "the model has preferences");
            }
        }
    }
}

#[test]
fn the_nelbo_is_that_of_every_mask_enumerated() {
    let corpus = ab_corpus(&"abbaababba".repeat(12));
    let tiny = tiny(corpus.vocab(), 5, 0, 0);
    let mut model = denoiser(&tiny, 1.0, 31);
    let text = corpus.tokens().window(0..5);
    // One step that commits everything adds up the cross-entropy of exactly what is masked.
    let starts: Vec<Start> =
        subsets(5).map(|s| (0..5).map(|p| (s >> p & 1 == 0).then_some(text[p])).collect()).collect();
    let step = ReverseStep {
        order: model.process().diffusion().time_order(5),
        drop: Some(corpus.vocab().mask_id()),
        is_guided: false,
    };
    let everything = SamplingParams { temperature: 1.0, ..SamplingParams::greedy(Policy::threshold(0.0), 5) };
    let mut canvas = model.canvas(&starts, &[everything; 31]).unwrap();
    canvas.set_truth(&text.repeat(31)).unwrap();
    canvas.score_step(step, &StepArgs::default()).unwrap();
    let sums = canvas.nll().unwrap();
    let with_count = |k: u32| {
        let of_size = subsets(5).zip(&sums).filter(|(s, _)| s.count_ones() == k);
        of_size.map(|(_, sum)| f64::from(*sum)).sum::<f64>() / choose(5, k as usize)
    };
    let truth = (1..=5).map(|k| with_count(k) / f64::from(k)).sum::<f64>() / 5.0;
    let config = EvalConfig {
        range: 0..5,
        windows: 9,
        passes: Some(3000),
        ..EvalConfig::nelbo_only(&tiny.config, &tiny.process, 0..5, 0, 3)
    };
    let measured = eval::passes(&mut model, &corpus, &config, &mut |_, _, _| {}).unwrap();
    assert_eq!(measured.sums.len(), 1, "the range holds one window");
    let each: Vec<f64> = measured.sums[0].iter().map(|s| f64::from(s[0] / s[1])).collect();
    let mean = each.iter().sum::<f64>() / 3000.0;
    let deviation = (each.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 2999.0).sqrt();
    assert!((mean - truth).abs() < 5.0 * deviation / 3000.0_f64.sqrt(), "{mean} {truth} ± {deviation}/√3000");
    assert!((measured.nelbo().unwrap().nats - truth).abs() < 5.0 * deviation / 3000.0_f64.sqrt());
    let counts = |k: f32| measured.sums[0].iter().filter(|s| s[1] == k).count();
    assert_eq!([1.0, 2.0, 3.0, 4.0, 5.0].map(counts), [600; 5], "levels are evenly spaced");
}

#[test]
fn an_evaluation_is_the_same_whatever_the_batch() {
    let corpus = embedded();
    let tiny = tiny(corpus.vocab(), 16, 10, 4);
    let report = |batch| {
        let mut model = denoiser(&tiny, 0.5, batch);
        eval::evaluate(&mut model, &corpus, &whole(&corpus, 23), &mut |_, _, _| {}).unwrap()
    };
    assert_eq!(report(4), report(23));
}

#[test]
fn windows_cover_the_range_once_when_all_are_asked_for() {
    let corpus = embedded();
    let tiny = tiny(corpus.vocab(), 16, 0, 0);
    let mut model = denoiser(&tiny, 0.5, 8);
    let measured = eval::passes(
        &mut model,
        &corpus,
        &EvalConfig::nelbo_only(&tiny.config, &tiny.process, 100..421, 0, 1),
        &mut |_, _, _| {},
    )
    .unwrap();
    assert_eq!(measured.sums.len(), 21);
    assert_eq!(eval::windows_in(&(100..420), 16), 20);
}

#[test]
fn evaluations_that_measure_nothing_are_refused() {
    let corpus = embedded();
    let tiny = tiny(corpus.vocab(), 16, 0, 0);
    let mut model = denoiser(&tiny, 0.5, 2);
    let good = whole(&corpus, 2);
    let mut said =
        |config: EvalConfig| eval::evaluate(&mut model, &corpus, &config, &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(said(EvalConfig { windows: 0, ..good.clone() }).contains("--windows"));
    assert!(said(EvalConfig { passes: Some(0), ..good.clone() }).contains("--passes"));
    assert!(said(EvalConfig { steps: vec![4, 0], ..good.clone() }).contains("0 steps"));
    assert!(said(EvalConfig { duel_windows: 0, ..good.clone() }).contains("--duel-windows"));
    assert!(said(EvalConfig { duel: vec![Policy::top_k(0)], ..good.clone() }).contains("top-k"));
    assert!(
        said(EvalConfig {
            duel: vec![Policy::Ancestral { steps: Some(3), schedule: Schedule::Cosine }],
            ..good.clone()
        })
        .contains("NELBO")
    );
    let candidate = vec!["top-k:2:candidate".parse().unwrap()];
    assert!(said(EvalConfig { duel: candidate, ..good.clone() }).contains("top-k:2 commits by probabilities"));
    for duel_temperature in [0.0, f32::NAN, f32::INFINITY] {
        assert!(said(EvalConfig { duel_temperature, ..good.clone() }).contains("wanted a finite number above 0"));
    }
    assert!(said(EvalConfig { range: 0..15, ..good.clone() }).contains("one window of this model needs 16"));
}
