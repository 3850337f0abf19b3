//! Vectors with Gaussian noise: runs, evaluation and texts.

#[path = "common/steps.rs"]
mod steps;

use std::sync::Arc;
use steps::shakespeare;
use tempest::backend::Device;
use tempest::config::{DType, Family, Gamma, Levels, ModelConfig, Objective, Preset, RunConfig, Schedule, Target};
use tempest::data::{Corpus, Vocab};
use tempest::denoiser::{Denoiser, Start};
use tempest::eval::{self, EvalConfig};
use tempest::model::Params;
use tempest::program::StepArgs;
use tempest::rng::{Stream, normals, philox};
use tempest::sample::{self, Policy, SampleConfig, Text, VectorSampling, Watch};
use tempest::store::SavedModel;
use tempest::train::Trainer;

const OBJECTIVES: [Objective; 3] = [
    Objective::nelbo(Schedule::Linear),
    Objective::simple(Schedule::Cosine),
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
    let report = eval::evaluate(&mut denoiser, &corpus, &eval, &mut |_, _, _| {}).unwrap();
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
    for (policy, clamps) in [("ddpm:40", false), ("ddim:9", true), ("ddim:9:0.5:cosine", false), ("ancestral", true)] {
        let vectors = VectorSampling { score_temperature: 0.9, clamps };
        let sampling = SampleConfig { vectors, ..SampleConfig::new(policy.parse().unwrap(), 9, &model.process) };
        let together = texts(&model, &sampling, 4, &starts);
        assert_eq!(together, texts(&model, &sampling, 1, &starts), "{policy}");
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
    assert!(of_objective(Objective::nelbo(Schedule::Quadratic)).contains("wanted linear or cosine"));
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
    assert!(of(of_policy("ancestral:9:quadratic")).contains("wanted linear or cosine"));
    assert!(of(SampleConfig { top_p: 0.9, ..of_policy("ddpm") }).contains("wanted a --temperature below 1"));
    let cold = VectorSampling { score_temperature: 0.0, clamps: false };
    assert!(of(SampleConfig { vectors: cold, ..of_policy("ddpm") }).contains("above 0"));
}
