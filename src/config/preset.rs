//! Models and their ways of training, by name.

use super::{
    Architecture, Averages, BatchGrowth, DType, DataConfig, Density, Levels, LrSchedule, ModelConfig, MuonConfig,
    Objective, OptimizerConfig, ProcessConfig, RunConfig, Schedule, TrainConfig, VocabKind,
};

/// A model and how it is trained, as far as nothing else is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// 5 layers, 4 heads, 128 wide, 128 positions: 1 M parameters, minutes on a laptop's CPU
    #[default]
    Nano,
    /// 6 layers, 6 heads, 192 wide, 256 positions: 2.7 M parameters
    Small,
    /// 6 layers, 6 heads, 384 wide, 256 positions: 10.8 M parameters, the original's size, for a GPU
    Large,
    /// tiny-diffusion's model, objective and optimizer: 6 layers, 6 heads, 384 wide, 256 positions, 10.8 M parameters
    #[value(alias = "seed")]
    Original,
    /// nanoGPT's shakespeare_char, autoregressive: a gpt of 6 layers, 6 heads, 384 wide, 256 positions, 10.7 M parameters
    Gpt,
    /// nanoGPT's for a CPU: a gpt of 4 layers, 4 heads, 128 wide, 64 positions, 0.8 M parameters
    GptCpu,
}

/// A preset's way of training.
#[derive(Clone, Debug)]
pub struct Training {
    /// Which symbols the text is made of.
    pub vocab: VocabKind,
    /// What is minimised.
    pub objective: Objective,
    /// Sequences of a step.
    pub batch: usize,
    /// Number of optimizer steps.
    pub steps: u64,
    /// How the parameters are updated.
    pub optimizer: OptimizerConfig,
}

impl Preset {
    /// Its dimensions for a vocabulary.
    pub fn model(self, vocab_size: usize) -> ModelConfig {
        let (n_layer, n_head, n_embd, sequence_len, diffusion_steps, short_conv) = match self {
            Preset::Nano => (5, 4, 128, 128, 0, 7),
            Preset::Small => (6, 6, 192, 256, 0, 7),
            Preset::Large => (6, 6, 384, 256, 0, 7),
            Preset::Original => (6, 6, 384, 256, 128, 0),
            Preset::Gpt => (6, 6, 384, 256, 0, 0),
            Preset::GptCpu => (4, 4, 128, 64, 0, 0),
        };
        let architecture = match self {
            Preset::Nano | Preset::Small | Preset::Large | Preset::Original => Architecture::Original,
            Preset::Gpt | Preset::GptCpu => Architecture::GPT,
        };
        ModelConfig {
            n_layer,
            n_head,
            n_embd,
            sequence_len,
            vocab_size,
            diffusion_steps,
            short_conv,
            vector_dims: 0,
            autoencoder: None,
            architecture,
        }
    }

    /// Positions from 0 that training never masks.
    pub fn context_len(self) -> usize {
        if self == Preset::Original { 16 } else { 0 }
    }

    /// Its process for a vocabulary.
    pub fn process(self, mask_token_id: u32) -> ProcessConfig {
        match self {
            Preset::Nano | Preset::Small | Preset::Large | Preset::Original => {
                ProcessConfig::Masked { mask_token_id, context_len: self.context_len(), prompt_drop: 0.0 }
            }
            Preset::Gpt | Preset::GptCpu => ProcessConfig::Autoregressive { mask_token_id },
        }
    }

    /// How it is trained.
    pub fn training(self) -> Training {
        // What docs/speedrun.md found to learn fastest at nano's size. AdamW's rate falls as the width grows.
        let nano = Training {
            vocab: VocabKind::Chars,
            objective: Objective::Simple {
                schedule: Schedule::Linear,
                levels: Levels::from(Density::Beta { a: 3, b: 5 }),
            },
            batch: 16,
            steps: 2000,
            optimizer: OptimizerConfig {
                lr: 1.2e-2,
                min_lr: 0.0,
                schedule: LrSchedule::Linear,
                warmup: 100,
                beta1: 0.9,
                beta2: 0.99,
                eps: 1e-8,
                weight_decay: 0.1,
                clip: 1.0,
                dropout: 0.0,
                ema: Averages::default(),
                muon: Some(MuonConfig { lr: MuonConfig::LR }),
            },
        };
        // nanoGPT's config/train_shakespeare_char.py.
        let gpt = Training {
            vocab: VocabKind::Chars,
            objective: Objective::Nll,
            batch: 64,
            steps: 5000,
            optimizer: OptimizerConfig {
                lr: 1e-3,
                min_lr: 1e-4,
                schedule: LrSchedule::Cosine,
                dropout: 0.2,
                muon: None,
                ..nano.optimizer.clone()
            },
        };
        let at_lr = |lr| OptimizerConfig { lr, ..nano.optimizer.clone() };
        match self {
            Preset::Nano => nano,
            Preset::Small => Training { batch: 32, steps: 4000, optimizer: at_lr(8e-3), ..nano },
            Preset::Large => Training { batch: 64, steps: 8000, optimizer: at_lr(4e-3), ..nano },
            Preset::Gpt => gpt,
            Preset::GptCpu => {
                let optimizer = OptimizerConfig { dropout: 0.0, ..gpt.optimizer };
                Training { batch: 12, steps: 2000, optimizer, ..gpt }
            }
            Preset::Original => Training {
                vocab: VocabKind::Ascii,
                objective: Objective::Original,
                batch: 64,
                steps: 20_000,
                optimizer: OptimizerConfig {
                    lr: 3e-4,
                    min_lr: 3e-4,
                    schedule: LrSchedule::Constant,
                    warmup: 0,
                    beta2: 0.999,
                    weight_decay: 0.01,
                    clip: 0.0,
                    muon: None,
                    ..nano.optimizer
                },
            },
        }
    }

    /// A whole run of it on the embedded text, as far as it can be said without having read the text: of two symbols.
    pub fn run(self, dtype: DType) -> RunConfig {
        let Training { vocab, objective, batch, steps, optimizer } = self.training();
        RunConfig {
            version: env!("CARGO_PKG_VERSION").into(),
            seed: 1,
            dtype,
            model: self.model(2),
            process: self.process(0),
            data: DataConfig::embedded(vocab),
            objective,
            optimizer,
            train: TrainConfig {
                steps,
                batch,
                batch_growth: BatchGrowth::default(),
                accumulate: 1,
                eval_every: 500,
                eval_windows: 256,
                sample_every: 500,
                checkpoint_every: 250,
                sample_prompt: None,
            },
            from: None,
        }
    }
}
