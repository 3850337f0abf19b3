//! What a training step does, seen from outside.

use std::sync::Arc;
use tempest::backend::Device;
use tempest::config::{
    Averages, BatchGrowth, DataConfig, LrSchedule, ModelConfig, MuonConfig, Objective, OptimizerConfig, ProcessConfig,
    RunConfig, Schedule, TrainConfig, Unknown, VocabKind,
};
use tempest::data::{Corpus, Source};
use tempest::model::{Params, Role};
use tempest::program::DType;
use tempest::train::Trainer;

fn corpus() -> Arc<Corpus> {
    Arc::new(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error).unwrap())
}

fn config(objective: Objective) -> RunConfig {
    let original = objective == Objective::Original;
    RunConfig {
        version: String::new(),
        seed: 11,
        dtype: DType::F32,
        model: ModelConfig {
            n_layer: 2,
            n_head: 2,
            n_embd: 32,
            sequence_len: 32,
            vocab_size: 66,
            diffusion_steps: if original { 16 } else { 0 },
            vector_dims: 0,
            autoencoder: None,
            short_conv: if original { 0 } else { 3 },
            architecture: Default::default(),
        },
        process: ProcessConfig::Masked {
            mask_token_id: 65,
            context_len: if original { 4 } else { 0 },
            prompt_drop: if original { 0.25 } else { 0.0 },
        },
        data: DataConfig { newlines: None, ..DataConfig::embedded(VocabKind::Chars) },
        objective,
        optimizer: OptimizerConfig {
            lr: 1e-2,
            min_lr: 1e-3,
            schedule: LrSchedule::Cosine,
            warmup: 10,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.01,
            clip: 1.0,
            dropout: 0.0,
            ema: Averages::of(0.9),
            muon: None,
        },
        train: TrainConfig {
            steps: 200,
            batch: 8,
            batch_growth: BatchGrowth::default(),
            accumulate: 1,
            eval_every: 0,
            eval_windows: 8,
            sample_every: 0,
            checkpoint_every: 100,
            sample_prompt: None,
        },
        from: None,
    }
}

fn with_muon(config: RunConfig) -> RunConfig {
    let optimizer = OptimizerConfig { muon: Some(MuonConfig { lr: 0.03 }), ..config.optimizer };
    RunConfig { optimizer, ..config }
}

fn trainer(config: &RunConfig) -> Trainer {
    Trainer::new(config, corpus(), &Device::Cpu).unwrap()
}

const OBJECTIVES: [Objective; 5] = [
    Objective::Original,
    Objective::nelbo(Schedule::Linear),
    Objective::nelbo(Schedule::Cosine),
    Objective::NelboCount,
    Objective::simple(Schedule::LogLinear),
];

#[test]
fn an_untrained_model_has_the_loss_of_a_guess() {
    // The head starts at zero: every masked token costs ln of the symbols it may be. The original's head may guess the mask.
    for objective in [Objective::Original, Objective::NelboCount] {
        let loss = trainer(&config(objective)).step().unwrap().loss;
        let symbols = if objective == Objective::Original { 66.0_f32 } else { 65.0 };
        // Both weigh masked tokens so that their weights sum to 1; ε·(sum of 256 terms) of rounding.
        assert!((loss - symbols.ln()).abs() < 1e-5, "{objective:?}: {loss}");
    }
}

#[test]
fn every_objective_learns_more_than_which_letters_are_frequent() {
    for objective in OBJECTIVES {
        let config = RunConfig { train: TrainConfig { batch: 32, ..config(objective).train }, ..config(objective) };
        let mut trainer = trainer(&config);
        let losses: Vec<f32> = (0..200).map(|_| trainer.step().unwrap().loss).collect();
        let last = losses[180..].iter().sum::<f32>() / 20.0;
        // Unigram entropy is 3.31 nats; ln 65 = 4.17 is where it starts.
        assert!(last < 3.3, "{objective:?}: {last}");
    }
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    for objective in OBJECTIVES {
        let mut whole = config(objective);
        // What is dropped of a sequence does not depend on its micro-batch.
        whole.optimizer.dropout = if objective == OBJECTIVES[0] { 0.0 } else { 0.1 };
        let parts =
            RunConfig { train: TrainConfig { batch: 2, accumulate: 4, ..whole.train.clone() }, ..whole.clone() };
        let (mut whole, mut parts) = (trainer(&whole), trainer(&parts));
        for _ in 0..5 {
            let (a, b) = (whole.step().unwrap(), parts.step().unwrap());
            assert_eq!(a.masked, b.masked, "{objective:?}");
            // The same terms in another order of sums: a few ε·√terms, carried on by five AdamW steps.
            assert!((a.loss - b.loss).abs() < 1e-4 * a.loss, "{objective:?}: {a:?} {b:?}");
            assert!((a.grad_norm - b.grad_norm).abs() < 1e-3 * a.grad_norm, "{objective:?}: {a:?} {b:?}");
        }
    }
}

#[test]
fn a_restored_state_goes_on_as_if_nothing_had_happened() {
    let process = ProcessConfig::Masked { mask_token_id: 65, context_len: 4, prompt_drop: 0.5 };
    let adamw = RunConfig { process, ..config(Objective::nelbo(Schedule::Linear)) };
    for config in [adamw.clone(), with_muon(adamw)] {
        let (mut one, mut two) = (trainer(&config), trainer(&config));
        for _ in 0..7 {
            one.step().unwrap();
        }
        two.restore(&one.state().unwrap()).unwrap();
        assert_eq!(one.step().unwrap(), two.step().unwrap());
        assert!(one.state().unwrap() == two.state().unwrap());
    }
}

#[test]
fn a_batch_that_has_grown_is_that_of_a_run_of_its_size() {
    for accumulate in [1, 2] {
        let with = |batch: usize, growth: &str| {
            let base = config(Objective::simple(Schedule::Linear));
            let train = TrainConfig { batch, batch_growth: growth.parse().unwrap(), accumulate, ..base.train.clone() };
            trainer(&RunConfig { train, ..base })
        };
        let (mut growing, mut small, mut large) = (with(3, "2:5"), with(3, "none"), with(5, "none"));
        for _ in 0..2 {
            assert_eq!(growing.step().unwrap(), small.step().unwrap());
        }
        large.restore(&growing.state().unwrap()).unwrap();
        let mut resumed = with(3, "2:5");
        resumed.restore(&growing.state().unwrap()).unwrap();
        for _ in 0..2 {
            let step = growing.step().unwrap();
            assert_eq!([large.step().unwrap(), resumed.step().unwrap()], [step; 2]);
        }
    }
    let train =
        TrainConfig { batch_growth: "2:16,4:32".parse().unwrap(), accumulate: 3, ..config(OBJECTIVES[0]).train };
    assert_eq!([0, 1, 2, 3, 5, 7].map(|steps| train.sequences(steps)), [0, 24, 48, 96, 240, 432]);
}

#[test]
fn annealed_levels_begin_as_their_density_and_end_uniform() {
    let with = |levels: &str| {
        let base = config(Objective::Nelbo { schedule: Schedule::Linear, levels: levels.parse().unwrap() });
        let train = TrainConfig { steps: 4, ..base.train.clone() };
        trainer(&RunConfig { train, ..base })
    };
    let (mut annealed, mut bell) = (with("beta:3:5:anneal:0.5"), with("beta:3:5"));
    for _ in 0..2 {
        assert_eq!(annealed.step().unwrap(), bell.step().unwrap());
    }
    let (between, beside) = (annealed.step().unwrap(), bell.step().unwrap());
    assert_ne!((between.masked, between.loss), (beside.masked, beside.loss));
    let mut uniform = with("uniform");
    uniform.restore(&annealed.state().unwrap()).unwrap();
    assert_eq!(annealed.step().unwrap(), uniform.step().unwrap());
}

#[test]
fn learned_levels_begin_uniform_and_follow_the_losses_of_the_run() {
    for (accumulate, growth) in [(1, "none"), (2, "120:10")] {
        let with = |levels: &str| {
            let base = config(Objective::Nelbo { schedule: Schedule::Linear, levels: levels.parse().unwrap() });
            let train = TrainConfig { accumulate, batch_growth: growth.parse().unwrap(), ..base.train.clone() };
            trainer(&RunConfig { train, ..base })
        };
        // A table of equal parts, which stays.
        let (mut learned, mut even) = (with("learned"), with("beta:1:1"));
        for step in 0..100 {
            assert_eq!(learned.step().unwrap(), even.step().unwrap(), "{step}");
        }
        let (learning, staying) = (learned.step().unwrap(), even.step().unwrap());
        assert_ne!((learning.masked, learning.loss), (staying.masked, staying.loss));
        // What it has learned goes through a checkpoint, and with it what it learns from then on.
        for _ in 0..49 {
            learned.step().unwrap();
        }
        let mut resumed = with("learned");
        resumed.restore(&learned.state().unwrap()).unwrap();
        for step in 150..210 {
            assert_eq!(learned.step().unwrap(), resumed.step().unwrap(), "{step}");
        }
        assert!(learned.state().unwrap() == resumed.state().unwrap());
    }
    let simple = Objective::Simple { schedule: Schedule::Linear, levels: "learned".parse().unwrap() };
    assert!(config(simple).validate().unwrap_err().to_string().contains("use --objective nelbo, or other --levels"));
}

#[test]
fn muon_takes_the_matrices_of_blocks_and_leaves_the_rest_to_adamw() {
    for dtype in [DType::F32, DType::Bf16] {
        let adamw = RunConfig { dtype, ..config(Objective::NelboCount) };
        let muon = with_muon(adamw.clone());
        let step = |config: &RunConfig| {
            let mut trainer = trainer(config);
            // The head starts at zero, and gradients pass through it from the second step on.
            trainer.step().and_then(|_| trainer.step()).unwrap();
            trainer.state().unwrap()
        };
        let (a, b) = (step(&adamw), step(&muon));
        let mut of_second = 0;
        for param in Params::new(&adamw.model).iter() {
            let [a, b] = [&a.weights, &b.weights].map(|weights| &weights[param.range()]);
            let moved = b.iter().any(|&w| w != 0.0);
            match param.role {
                Role::Table | Role::Columns | Role::Vector => {
                    assert!(a == b, "{}", param.name);
                    of_second += a.len();
                }
                // And the projections behind each branch, beyond which there are none yet.
                Role::Matrices(_) if param.name.ends_with("c_proj.weight") => {
                    assert!(moved && a != b, "{}", param.name)
                }
                Role::Matrices(_) => {}
            }
        }
        assert_eq!((a.v.len(), b.v.len()), (a.weights.len(), of_second));
    }
}

#[test]
fn muon_learns_more_than_adamw_in_as_many_steps() {
    let adamw = config(Objective::NelboCount);
    let last = |config: &RunConfig| {
        let mut trainer = trainer(config);
        let losses: Vec<f32> = (0..150).map(|_| trainer.step().unwrap().loss).collect();
        losses[130..].iter().sum::<f32>() / 20.0
    };
    let (a, b) = (last(&adamw), last(&with_muon(adamw.clone())));
    // The same texts and masks: what a mean of 20 losses scatters by at this batch, 0.03, is common to most of it.
    assert!(b < a, "{b} with, {a} without");
}

#[test]
fn the_average_of_the_weights_follows_its_definition() {
    let config = config(Objective::NelboCount);
    let mut trainer = trainer(&config);
    let mut average = trainer.state().unwrap().weights;
    for step in 0..20 {
        trainer.step().unwrap();
        let decay = 0.9_f32.min((1.0 + step as f32) / (10.0 + step as f32));
        let state = trainer.state().unwrap();
        average.iter_mut().zip(&state.weights).for_each(|(e, w)| *e = decay * *e + (1.0 - decay) * w);
    }
    let kept = trainer.weights().unwrap();
    // 20 steps of two roundings each, of numbers of size 1.
    assert!(average.iter().zip(&kept).all(|(a, b)| (a - b).abs() < 40.0 * f32::EPSILON * a.abs().max(1.0)));
}

#[test]
fn bf16_takes_the_same_first_steps_and_learns_as_much() {
    let f32 = config(Objective::NelboCount);
    let bf16 = RunConfig { dtype: DType::Bf16, ..f32.clone() };
    let (mut a, mut b) = (trainer(&f32), trainer(&bf16));
    let mut last = [0.0; 2];
    for step in 0..150 {
        let (a, b) = (a.step().unwrap(), b.step().unwrap());
        // A stored number is off by up to 2⁻⁹ of itself; some ten roundings in a row, independent: 2⁻⁹·√10 = 0.6 %.
        // Later the two runs part, as any two that differ in the last bit.
        assert!(step >= 5 || (a.loss - b.loss).abs() < 0.01 * a.loss, "step {step}: {a:?} {b:?}");
        if step >= 130 {
            last = [last[0] + a.loss / 20.0, last[1] + b.loss / 20.0];
        }
    }
    // The standard error of a mean of 20 losses, which scatter by 0.15 at this batch, is 0.03: three of them.
    assert!((last[0] - last[1]).abs() < 0.1, "{last:?}");
}

#[test]
fn clipping_bounds_the_gradient_and_not_its_report() {
    let mut config = config(Objective::NelboCount);
    config.optimizer.clip = 1e-3;
    let mut trainer = trainer(&config);
    let report = trainer.step().unwrap();
    assert!(report.grad_norm > 1e-2, "{report:?}");
    // After one step the first moment is (1 - β₁) times the clipped gradient.
    let m = trainer.state().unwrap().m;
    let norm = m.iter().map(|&m| f64::from(m).powi(2)).sum::<f64>().sqrt();
    assert!((norm - 0.1 * 1e-3).abs() < 1e-3 * norm, "{norm}");
}
