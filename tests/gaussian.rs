//! Vectors with Gaussian noise, of single characters and of several: runs, evaluation and texts.

#[path = "common/steps.rs"]
mod steps;

use std::sync::Arc;
use steps::shakespeare;
use tempest::backend::{Backend, Cpu, Device};
use tempest::config::{
    Autoencoder, DType, Family, Gamma, Levels, ModelConfig, Objective, Preset, ProcessConfig, RunConfig, Schedule,
    Stage, Target, Unknown, VocabKind,
};
use tempest::data::{Corpus, Source, Vocab};
use tempest::denoiser::{Denoiser, Start};
use tempest::eval::{self, EvalConfig};
use tempest::model::{Params, Use};
use tempest::process::{Process, VectorDiffusion};
use tempest::program::{Builder, Plan, StepArgs, Storage};
use tempest::rng::{Stream, normals, philox};
use tempest::sample::{self, Policy, SampleConfig, Text, VectorSampling, Watch};
use tempest::store::SavedModel;
use tempest::train::Trainer;

const OBJECTIVES: [Objective; 3] = [
    Objective::nelbo(Schedule::Linear),
    Objective::simple(Schedule::Sqrt),
    Objective::Squared { target: Target::V, schedule: Schedule::Linear, levels: Levels::UNIFORM },
];

fn run(objective: Objective) -> (RunConfig, Arc<Corpus>) {
    let corpus = shakespeare();
    let mut config = Preset::Nano.run(DType::F32);
    config.model = ModelConfig { n_layer: 1, n_head: 2, n_embd: 32, sequence_len: 24, vector_dims: 8, ..config.model };
    config.model.vocab_size = corpus.vocab().size();
    config.process = Family::Gaussian.config(corpus.vocab().mask_id());
    (config.train.steps, config.train.batch, config.train.accumulate) = (60, 8, 2);
    config.objective = objective;
    (config, corpus)
}

fn model(config: &RunConfig, vocab: &Vocab, scale: f32) -> SavedModel {
    let params = Params::new(&config.model);
    let mut weights = vec![0.0; params.len()];
    for (i, param) in params.iter().enumerate() {
        // Vectors have a length, whatever it is: a model that knows nothing knows them.
        let scale = if param.name == "token_emb.weight" { 1.0 } else { scale };
        let random = (0..).flat_map(|j| normals(philox(5, Stream::Init, i as u64, j)));
        weights[param.range()].iter_mut().zip(random).for_each(|(w, z)| *w = scale * z);
    }
    SavedModel { config: config.model.clone(), process: config.process, vocab: vocab.clone(), weights, step: 0 }
}

/// Latents, each of four characters.
fn latents(stage: Stage, objective: Objective) -> (RunConfig, Arc<Corpus>) {
    let (mut config, corpus) = run(objective);
    config.optimizer.warmup = 0;
    config.model.autoencoder = Some(Autoencoder { pool: 4, n_layer: 1 });
    let (mask_token_id, gamma) = (corpus.vocab().mask_id(), Gamma { least: -3.0, most: 4.0 });
    config.process = ProcessConfig::Latent { mask_token_id, gamma, stage, char_drop: 0.1, margin: 1.0 };
    (config, corpus)
}

const STAGES: [(Stage, Objective); 4] = [
    (Stage::Autoencoder, OBJECTIVES[0]),
    (Stage::Joint, OBJECTIVES[0]),
    (Stage::Diffusion, OBJECTIVES[2]),
    (Stage::Joint, OBJECTIVES[2]),
];

/// As below; latents that are learned beside the denoiser by another loss than the bound leave out what that says of them.
#[test]
fn a_whole_step_of_latents_has_the_slopes_of_its_loss() {
    for (stage, objective) in STAGES {
        let (mut config, corpus) = latents(stage, objective);
        config.model.short_conv = 3;
        let start = model(&config, corpus.vocab(), 0.2).weights;
        let args = StepArgs { seed: 3, step: 5, ..StepArgs::default() };
        for part in 0..config.process.learned().len() {
            let whole = stage != Stage::Joint || objective == OBJECTIVES[0];
            // An autoencoder has one part, which tells nothing.
            let has_slopes = whole && (part == 0 || stage == Stage::Autoencoder);
            steps::check(&config, &corpus, part, &start, &args, has_slopes);
        }
    }
}

#[test]
fn every_stage_of_latents_learns_its_part_and_goes_on_as_if_it_had_never_stopped() {
    for ((stage, objective), dtype) in STAGES.into_iter().zip([DType::Bf16, DType::F32].into_iter().cycle()) {
        let (mut config, corpus) = latents(stage, objective);
        config.dtype = dtype;
        let trainer = || Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).unwrap();
        let mut whole = trainer();
        let first = whole.state().unwrap().weights;
        let losses: Vec<f32> = (0..60).map(|_| whole.step().unwrap().loss).collect();
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        // Of latents that an encoder without learning makes there is little to be predicted.
        let factor = if stage == Stage::Diffusion { 0.98 } else { 0.95 };
        assert!(mean(&losses[40..]) < factor * mean(&losses[..10]), "{stage:?}: {losses:?}");
        let mut begun = trainer();
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        alone.install(|| (0..25).for_each(|_| assert!(begun.step().is_ok())));
        let mut second = trainer();
        second.restore(&begun.state().unwrap()).unwrap();
        (25..60).for_each(|_| assert!(second.step().is_ok()));
        let state = whole.state().unwrap();
        assert_eq!(second.state().unwrap(), state);
        for param in Params::of_run(&config.model, &config.process).iter() {
            let is_of_coder = param.name.starts_with("encoder.") || param.name.starts_with("decoder.");
            let learns = if is_of_coder { stage.learns_coder() } else { stage.learns_denoiser() };
            let moved = state.weights[param.range()] != first[param.range()];
            assert_eq!((moved, param.is_frozen), (learns, !learns), "{stage:?}: {}", param.name);
        }
    }
}

/// A toy of two characters that are one latent of two numbers. Its denoiser says nothing of its own: the law of its latents with the
/// least noise is normal, N(0, s²), s² = α₀²/2 + σ₀², whose likelihood is an integral over a plane. Where the most noise leaves
/// nothing to speak of, the bound is KL(N(α₀h, σ₀²) ‖ N(0, s²)) = ln(s²/σ₀²) for |h| = 1, and what the decoder's reading costs.
#[test]
fn the_bound_of_a_toy_of_latents_is_what_an_integral_says_and_above_the_exact_likelihood() {
    const SIDE: usize = 61;
    let text: String = (0..400).map(|i| ["a", "b", "c"][(i * i + i / 3) % 3]).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let corpus = Corpus::open(&Source::Path(file.path().into()), VocabKind::Chars, Unknown::Error).unwrap();
    let (corpus, (mut config, _)) = (Arc::new(corpus), latents(Stage::Joint, OBJECTIVES[0]));
    let (v, mask) = (corpus.vocab().size(), corpus.vocab().mask_id());
    let gamma = Gamma { least: -1.5, most: 10.0 };
    let coder = Some(Autoencoder { pool: 2, n_layer: 1 });
    let of = ModelConfig { sequence_len: 2, vector_dims: 2, vocab_size: v, autoencoder: coder, ..config.model };
    config.model = of;
    config.process =
        ProcessConfig::Latent { mask_token_id: mask, gamma, stage: Stage::Joint, char_drop: 0.0, margin: 0.0 };
    let mut saved = model(&config, corpus.vocab(), 0.3);
    for (name, factor) in [("output_head.weight", 0.0), ("decoder.output_head.weight", 0.2)] {
        let param =
            Params::new(&config.model).iter().find(|param| param.name == name).map(|param| param.range()).unwrap();
        saved.weights[param].iter_mut().for_each(|w| *w *= factor);
    }

    // What the decoder says on a grid of the plane, and the latents of all texts.
    let ([alpha2, sigma2], texts) = (Gamma::squares(-1.5), [0, 1, 2].map(|a| [0, 1, 2].map(|b| [a, b])).concat());
    let (s2, width) = (alpha2 / 2.0 + sigma2, 6.0);
    let place = |i: usize| (2.0 * i as f64 / (SIDE - 1) as f64 - 1.0) * width * s2.sqrt();
    let grid: Vec<[f64; 2]> = (0..SIDE * SIDE).map(|i| [place(i / SIDE), place(i % SIDE)]).collect();
    let mut plan = Plan::new();
    let process =
        Process::new(&mut plan, &config.process, &config.model, Storage::wide_stream(DType::F32), Use::Inference);
    let Process::Latent(parts) = &process else { panic!("a process of latents") };
    let mut b = Builder::new(&mut plan, "toy");
    let state = process.sample_state(&mut b, grid.len());
    let (vectors, some) = (state.vectors.unwrap(), state.part(texts.len(), 2));
    parts[0].begin(&mut b, some);
    let logits = process.part(Family::Latent).generative().logits(&mut b, state);
    let program = b.finish();
    let cpu: &mut dyn Backend = &mut Cpu::new(Arc::new(plan));
    cpu.write_f32(process.model().memory.weights, &saved.weights).unwrap();
    cpu.write_f32(vectors.z, &grid.iter().flatten().map(|&x| x as f32).collect::<Vec<_>>()).unwrap();
    cpu.write_u32(some.truth, &texts.concat()).unwrap();
    cpu.run(&program, &StepArgs::default()).unwrap();
    let (logits, known) = (cpu.read_f32(logits).unwrap(), cpu.read_f32(some.vectors.unwrap().known.unwrap()).unwrap());
    let ln_p = |at: usize, text: [u32; 2]| -> f64 {
        let of = |p: usize| {
            let row = &logits[(2 * at + p) * v..][..v];
            let sum: f64 = (0..v).filter(|&id| id != mask as usize).map(|id| f64::from(row[id]).exp()).sum();
            f64::from(row[text[p] as usize]) - sum.ln()
        };
        of(0) + of(1)
    };
    let cell = (place(1) - place(0)).powi(2);
    let normal = |z: [f64; 2], mean: [f64; 2], variance: f64| {
        let square: f64 = (0..2).map(|c| (z[c] - mean[c]).powi(2)).sum();
        cell * (-0.5 * square / variance).exp() / (std::f64::consts::TAU * variance)
    };
    let kl = (s2 / sigma2).ln();
    // Of each text: what it costs exactly, and the bound's reconstruction.
    let costs: Vec<[f64; 2]> = texts
        .iter()
        .zip(known.chunks_exact(2))
        .map(|(&text, h)| {
            let mean = [0, 1].map(|c| alpha2.sqrt() * f64::from(h[c]));
            let p: f64 = grid.iter().enumerate().map(|(i, &z)| normal(z, [0.0; 2], s2) * ln_p(i, text).exp()).sum();
            let cost = |(i, &z): (usize, &[f64; 2])| -normal(z, mean, sigma2) * ln_p(i, text);
            [-p.ln(), grid.iter().enumerate().map(cost).sum()]
        })
        .collect();
    let all: f64 = costs.iter().map(|[exact, _]| (-exact).exp()).sum();
    assert!((all - 1.0).abs() < 1e-5, "all texts together have probability {all}");
    for ([exact, reconstruction], text) in costs.iter().zip(&texts) {
        assert!(kl + reconstruction > *exact, "{text:?}: {kl} + {reconstruction}, exactly {exact}");
    }

    let mut denoiser = Denoiser::new(&saved, DType::F32, 64, &Device::Cpu).unwrap();
    let windows = 200;
    let eval =
        EvalConfig { passes: Some(24), ..EvalConfig::nelbo_only(&config.model, &config.process, 0..400, windows, 3) };
    let report = eval::evaluate(&mut denoiser, &corpus, &eval, &mut |_, _, _| {}).unwrap();
    let (terms, nelbo) = (report.terms.unwrap(), report.nelbo.unwrap());
    // Windows are evenly spaced; a text's nats are those of two characters. Texts differ by more than noise adds to their mean.
    let mean = |of: usize| {
        let window = |i: usize| corpus.tokens().window(i * 398 / (windows - 1)..i * 398 / (windows - 1) + 2);
        (0..windows).map(|i| costs[texts.iter().position(|text| *text == window(i)[..]).unwrap()][of]).sum::<f64>()
            / (2 * windows) as f64
    };
    let error = terms.reconstruction.standard_error.unwrap();
    let found = terms.reconstruction.nats;
    assert!((found - mean(1)).abs() < error && error < 0.03, "{found} ± {error}, wanted {}", mean(1));
    let (found, error) = (terms.prior + terms.diffusion.nats, terms.diffusion.standard_error.unwrap());
    assert!((found - 0.5 * kl).abs() < 5.0 * error + 1e-4 && error < 0.02, "{found} ± {error}, wanted {}", 0.5 * kl);
    assert!(nelbo.nats + 5.0 * nelbo.standard_error.unwrap() > mean(0), "{nelbo:?} bounds {}", mean(0));
    let misread = terms.misread.unwrap().share;
    assert!((0.01..0.99).contains(&misread), "{misread} of a decoder that has learned nothing");
}

#[test]
fn a_text_of_latents_keeps_what_is_known_of_it_and_is_the_same_alone_and_among_others() {
    let (config, corpus) = latents(Stage::Joint, OBJECTIVES[0]);
    let model = model(&config, corpus.vocab(), 0.3);
    // Whole latents of some, single characters of others, nothing of the first.
    let known = |number: usize, p: usize| (p < 3 * number || p % 7 < number).then_some(((number + p) % 60) as u32);
    let starts: Vec<Start> = (0..4).map(|number| (0..24).map(|p| known(number, p)).collect()).collect();
    for (policy, clamps) in [("ddpm:30", false), ("ddim:5", true), ("ancestral:3", false)] {
        let vectors = VectorSampling { clamps, ..VectorSampling::default() };
        let sampling = SampleConfig { vectors, ..SampleConfig::new(policy.parse().unwrap(), 9, &model.process) };
        let together = texts(&model, &sampling, 4, &starts);
        assert_eq!(together, texts(&model, &sampling, 1, &starts), "{policy}");
        for (text, start) in together.iter().zip(&starts) {
            for ((token, known), at) in text.tokens.iter().zip(start).zip(&text.committed_at) {
                assert!(known.is_none_or(|known| known == *token) && known.is_some() == at.is_none());
                assert_ne!(*token, model.process.mask_token_id());
            }
        }
        // Who looks on sees tokens after every step, and the same in the end.
        let mut denoiser = Denoiser::new(&model, DType::F32, 4, &Device::Cpu).unwrap();
        let mut seen = Vec::new();
        let watch = Watch::Steps(&mut |frame| seen = frame.tokens.to_vec());
        let watched = sample::sample(&mut denoiser, &sampling, &starts, 0, watch).unwrap();
        let tokens = |all: &[Text]| all.iter().flat_map(|text| text.tokens.clone()).collect::<Vec<_>>();
        assert_eq!((tokens(&watched), seen), (tokens(&together), tokens(&together)), "{policy}");
    }
}

#[test]
fn what_latents_cannot_have_is_refused() {
    let (config, corpus) = latents(Stage::Joint, OBJECTIVES[0]);
    let refused = |model: ModelConfig, process: ProcessConfig, objective: Objective| {
        let config = RunConfig { model, process, objective, ..config.clone() };
        Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).err().expect("refused").to_string()
    };
    let of_coder = |autoencoder| {
        let model = ModelConfig { autoencoder, ..config.model.clone() };
        refused(model, config.process, config.objective)
    };
    assert!(of_coder(None).contains("wanted its pool and n_layer"));
    assert!(of_coder(Some(Autoencoder { pool: 5, n_layer: 1 })).contains("wanted a --pool that divides it"));
    let of_objective = |objective| refused(config.model.clone(), config.process, objective);
    assert!(of_objective(OBJECTIVES[1]).contains("wanted --objective nelbo or squared"));
    let levels: Levels = "learned".parse().unwrap();
    assert!(of_objective(Objective::Nelbo { schedule: Schedule::Linear, levels }).contains("give other --levels"));
    let mask_token_id = corpus.vocab().mask_id();
    let gaussian = refused(config.model.clone(), Family::Gaussian.config(mask_token_id), config.objective);
    assert!(gaussian.contains("or give --process latent"));
    let of_drop = |char_drop, margin| {
        let (gamma, stage) = (Gamma::OF_LATENTS, Stage::Joint);
        let process = ProcessConfig::Latent { mask_token_id, gamma, stage, char_drop, margin };
        refused(config.model.clone(), process, config.objective)
    };
    assert!(of_drop(1.0, 1.0).contains("wanted --char-drop from 0 to less than 1"));
    assert!(of_drop(0.0, -1.0).contains("wanted a margin from 0 to 20"));
    let model = model(&config, corpus.vocab(), 0.3);
    let mut denoiser = Denoiser::new(&model, DType::F32, 1, &Device::Cpu).unwrap();
    let mut of = |policy: &str, length: usize| {
        let sampling = SampleConfig::new(policy.parse().unwrap(), 1, &model.process);
        sample::sample(&mut denoiser, &sampling, &[sample::open(length)], 0, Watch::Progress(&mut |_| {}))
            .unwrap_err()
            .to_string()
    };
    assert!(of("ddpm", 22).contains("wanted a --length of 24"));
    assert!(of("top-k:1", 24).contains("give --sampler ddim:STEPS, ddpm:STEPS or ancestral:STEPS"));
}

/// Along the gradient of a tensor the loss has its length as slope: one that points elsewhere is shorter there. Where a pass tells the
/// model what another made of its input, no gradient goes by that way, and slopes are no measure.
#[test]
fn a_whole_step_has_the_slopes_of_its_loss() {
    let (mut config, corpus) = run(OBJECTIVES[0]);
    config.model.short_conv = 3;
    let untold = OBJECTIVES.map(|objective| (objective, false));
    let start = model(&config, corpus.vocab(), 0.2).weights;
    for (objective, is_told) in untold.into_iter().chain([(OBJECTIVES[0], true)]) {
        config.objective = objective;
        let args = StepArgs { seed: 3, step: 5, ..StepArgs::default() };
        steps::check(&config, &corpus, usize::from(is_told), &start, &args, !is_told);
    }
}

/// A model that knows nothing but its vectors is the exact denoiser of a uniform law, of which what a vector tells of itself is all
/// that there is to know: the bound of each text is that of a choice among all characters, as in VDM's limit of many steps.
#[test]
fn evaluation_of_a_model_that_knows_nothing_finds_the_logarithm_of_its_symbols() {
    let (config, corpus) = run(OBJECTIVES[0]);
    let mut denoiser = Denoiser::new(&model(&config, corpus.vocab(), 0.0), DType::F32, 16, &Device::Cpu).unwrap();
    let eval = EvalConfig {
        steps: vec![4, 64],
        passes: Some(48),
        ..EvalConfig::nelbo_only(&config.model, &config.process, 0..32 * 24, 0, 3)
    };
    let mut measure = |eval: &EvalConfig| eval::evaluate(&mut denoiser, &corpus, eval, &mut |_, _, _| {}).unwrap();
    let report = measure(&eval);
    let symbols = f64::from(corpus.vocab().size() as u32 - 1).ln();
    let (found, terms) = (report.nelbo.unwrap(), report.terms.unwrap());
    assert_eq!(found.nats, terms.prior + terms.diffusion.nats + terms.reconstruction.nats);
    assert_eq!(terms.prior, Gamma::USUAL.prior_nats(8));
    let error = found.standard_error.unwrap();
    // Every text has the same bound, whatever its characters; the most noise leaves 10⁻³ nats too much.
    assert!((found.nats - symbols).abs() < 5.0 * error + 2e-3 && error < 0.15, "{found:?}, wanted {symbols}");
    let few = report.step_bounds[0].bound.unwrap();
    assert!(few.nats > found.nats + 1.0, "4 steps cost {few:?}, infinitely many {found:?}");
    let many = report.step_bounds[1].bound.unwrap();
    assert!(many.nats < few.nats, "64 steps cost {many:?}, 4 cost {few:?}");
    // The last step of a root is long, and costs most: what few cost is finite, far above the limit, and falls towards it.
    let bounds = measure(&EvalConfig { schedule: Schedule::Sqrt, steps: vec![1, 4], ..eval }).step_bounds;
    let [one, few] = [0, 1].map(|i| bounds[i].bound.unwrap());
    let error = few.standard_error.unwrap();
    assert!(one.nats.is_finite() && few.nats < one.nats, "4 steps cost {few:?}, one {one:?}");
    assert!(few.nats - 5.0 * error > symbols, "4 steps cost {few:?}, infinitely many {symbols}");
}

#[test]
fn a_run_learns_by_every_objective_and_goes_on_as_if_it_had_never_stopped() {
    for (objective, dtype) in OBJECTIVES.into_iter().zip([DType::F32, DType::Bf16].into_iter().cycle()) {
        let (mut config, corpus) = run(objective);
        config.dtype = dtype;
        let trainer = || Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).unwrap();
        let mut whole = trainer();
        let losses: Vec<f32> = (0..60).map(|_| whole.step().unwrap().loss).collect();
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        assert!(mean(&losses[40..]) < 0.95 * mean(&losses[..10]), "{losses:?}");
        let parts: Vec<usize> = (0..60).map(|step| config.process.part_of_step(config.seed, step)).collect();
        assert!(parts[..25].contains(&1) && parts[25..].contains(&1), "a pass is told in some steps of both halves");
        let mut first = trainer();
        (0..25).for_each(|_| assert!(first.step().is_ok()));
        let mut second = trainer();
        second.restore(&first.state().unwrap()).unwrap();
        (25..60).for_each(|_| assert!(second.step().is_ok()));
        assert_eq!(second.state().unwrap(), whole.state().unwrap());
    }
}

/// What is learned after a hundred steps is drawn from then on: of γ, where the bound varies most.
#[test]
fn the_density_of_gamma_is_learned_and_goes_on_as_if_it_had_never_stopped() {
    let levels: Levels = "learned".parse().unwrap();
    let (mut config, corpus) = run(Objective::Nelbo { schedule: Schedule::Linear, levels });
    (config.train.steps, config.train.accumulate) = (130, 1);
    let trainer = || Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).unwrap();
    let mut whole = trainer();
    (0..90).for_each(|_| assert!(whole.step().is_ok()));
    let mut second = trainer();
    second.restore(&whole.state().unwrap()).unwrap();
    for _ in 90..130 {
        assert_eq!(whole.step().unwrap(), second.step().unwrap());
    }
    let state = whole.state().unwrap();
    assert_eq!(second.state().unwrap(), state);
    // Of 257 places, the last of what a checkpoint has of levels, more than half lie in the half with less noise: at its end
    // nothing is known, and nothing varies.
    let known = state.levels.unwrap();
    let places = &known[known.len() - 257..];
    let below = places.iter().filter(|&&place| place < (1 << 23) as f32).count();
    assert!(below > 140, "{below} of 257 places lie in the half with less noise");
}

fn texts(model: &SavedModel, config: &SampleConfig, batch: usize, starts: &[Start]) -> Vec<Text> {
    let mut denoiser = Denoiser::new(model, DType::F32, batch, &Device::Cpu).unwrap();
    sample::sample(&mut denoiser, config, starts, 0, Watch::Progress(&mut |_| {})).unwrap()
}

#[test]
fn a_text_keeps_what_is_known_of_it_and_is_the_same_alone_and_among_others() {
    let (config, corpus) = run(OBJECTIVES[0]);
    let model = model(&config, corpus.vocab(), 0.3);
    let known = |number: usize, p: usize| (p % 5 < number || p < 3).then_some(((number + p) % 60) as u32);
    let starts: Vec<Start> = (0..4).map(|number| (0..24).map(|p| known(number, p)).collect()).collect();
    // More steps than a text has positions, and fewer.
    for (policy, clamps, resample) in
        [("ddpm:40", false, 1), ("ddim:9", true, 1), ("ddim:9:0.5:cosine", false, 3), ("ancestral", true, 1)]
    {
        let vectors = VectorSampling { score_temperature: 0.9, clamps };
        let once = SampleConfig { vectors, ..SampleConfig::new(policy.parse().unwrap(), 9, &model.process) };
        let sampling = SampleConfig { resample, ..once.clone() };
        let together = texts(&model, &sampling, 4, &starts);
        assert_eq!(together, texts(&model, &sampling, 1, &starts), "{policy}");
        assert_eq!(together == texts(&model, &once, 4, &starts), resample == 1, "{policy}");
        for (text, start) in together.iter().zip(&starts) {
            for ((token, known), at) in text.tokens.iter().zip(start).zip(&text.committed_at) {
                assert!(known.is_none_or(|known| known == *token) && known.is_some() == at.is_none());
                assert_ne!(*token, model.process.mask_token_id());
            }
            assert!(text.committed_at.iter().flatten().any(|&at| at > 0), "tokens change again");
        }
        let policy: Policy = policy.parse().unwrap();
        assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
    }
}

/// What is random of a text without noise in its steps is what it begins with: those of η = 0 draw nothing, and with η = 1 and
/// all steps they are those of DDPM, number for number.
#[test]
fn ddim_draws_what_its_eta_says() {
    let (config, corpus) = run(OBJECTIVES[0]);
    let model = model(&config, corpus.vocab(), 0.3);
    let of = |policy: &str| {
        let sampling = SampleConfig::new(policy.parse().unwrap(), 9, &model.process);
        texts(&model, &sampling, 2, &[sample::open(24), sample::open(24)])
    };
    assert_eq!(of("ddim:24:1"), of("ddpm:24"));
    assert_eq!(of("ddpm:24"), of("ancestral:24:linear"));
    assert_eq!(of("ddim:24:0"), of("ddim:24"));
    assert_ne!(of("ddim:24"), of("ddpm:24"));
}

#[test]
fn what_vectors_cannot_have_is_refused() {
    let (config, corpus) = run(OBJECTIVES[0]);
    let refused = |config: RunConfig| {
        Trainer::new(&config, Arc::clone(&corpus), &Device::Cpu).err().expect("refused").to_string()
    };
    let of_objective = |objective: Objective| refused(RunConfig { objective, ..config.clone() });
    assert!(of_objective(Objective::NelboCount).contains("wanted --objective nelbo, simple or squared"));
    assert!(of_objective(Objective::nelbo(Schedule::Quadratic)).contains("wanted linear, cosine or sqrt"));
    let levels: Levels = "learned".parse().unwrap();
    assert!(of_objective(Objective::Nelbo { schedule: Schedule::Cosine, levels }).contains("give --schedule linear"));
    let of_model = |vector_dims, diffusion_steps| {
        refused(RunConfig {
            model: ModelConfig { vector_dims, diffusion_steps, ..config.model.clone() },
            ..config.clone()
        })
    };
    assert!(of_model(0, 0).contains("wanted --dims at least 1"));
    assert!(of_model(8, 4).contains("leave --timesteps out"));
    let masked = RunConfig { process: Family::Masked.config(corpus.vocab().mask_id()), ..config.clone() };
    assert!(refused(masked).contains("or --process gaussian"));
    let tokens = RunConfig {
        model: ModelConfig { vector_dims: 0, ..config.model.clone() },
        process: Family::Masked.config(corpus.vocab().mask_id()),
        objective: OBJECTIVES[2],
        ..config.clone()
    };
    assert!(refused(tokens).contains("--process gaussian"));

    let model = model(&config, corpus.vocab(), 0.3);
    let mut denoiser = Denoiser::new(&model, DType::F32, 1, &Device::Cpu).unwrap();
    let mut of = |config: SampleConfig| {
        sample::sample(&mut denoiser, &config, &[sample::open(24)], 0, Watch::Progress(&mut |_| {}))
            .unwrap_err()
            .to_string()
    };
    let of_policy = |policy: &str| SampleConfig::new(policy.parse().unwrap(), 1, &model.process);
    assert!(of(of_policy("top-k:1")).contains("give --sampler ddim:STEPS, ddpm:STEPS or ancestral:STEPS"));
    assert!(of(of_policy("ancestral:9:quadratic")).contains("wanted linear, cosine or sqrt"));
    assert!(of(SampleConfig { top_p: 0.9, ..of_policy("ddpm") }).contains("wanted a --temperature below 1"));
    let cold = VectorSampling { score_temperature: 0.0, clamps: false };
    assert!(of(SampleConfig { vectors: cold, ..of_policy("ddpm") }).contains("above 0"));
}
