//! Families of processes as files name them: what a model's process is.

use super::{
    Architecture, BlockLengths, Gamma, Levels, MaskShare, ModelConfig, Objective, Relaxation, Schedule, Stage, Target,
    Temperatures,
};
use crate::error::{Error, Result};
use crate::rng::{Stream, below, philox, threshold, uniform24};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use toml::Table;

/// A family of processes, by the name that options and files have for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Family {
    /// Tokens turn into the mask one by one, and are predicted back
    #[default]
    Masked,
    /// No noise: every token is predicted from those before it, and texts are written from left to right
    #[value(name = "ar")]
    Autoregressive,
    /// Both with one set of weights: a step of training is of masked diffusion or autoregressive, by a draw
    Joint,
    /// Masked diffusion within blocks, which are written from left to right
    Block,
    /// Tokens turn into random ones, and any may change again while a text is written
    Uniform,
    /// Tokens turn into the mask or into random ones, and any may change again
    Mixed,
    /// Tokens are vectors, which are learned, and Gaussian noise is added to them
    Gaussian,
    /// As uniform, trained on soft tokens: distributions over characters that become harder as training goes on
    Relaxed,
    /// Several tokens are one vector, by an autoencoder, and Gaussian noise is added to those
    Latent,
}

impl Family {
    /// Its process over a vocabulary, where nothing else is said of it.
    pub fn config(self, mask_token_id: u32) -> ProcessConfig {
        match self {
            Family::Masked => ProcessConfig::Masked { mask_token_id, context_len: 0, prompt_drop: 0.0 },
            Family::Autoregressive => ProcessConfig::Autoregressive { mask_token_id },
            Family::Joint => ProcessConfig::Joint { mask_token_id, causal_share: ProcessConfig::CAUSAL_SHARE },
            Family::Block => ProcessConfig::Block { mask_token_id, block_length: ProcessConfig::BLOCK_LENGTH.into() },
            Family::Uniform => ProcessConfig::Uniform { mask_token_id },
            Family::Mixed => ProcessConfig::Mixed { mask_token_id, mask_share: ProcessConfig::MASK_SHARE.into() },
            Family::Gaussian => ProcessConfig::Gaussian { mask_token_id, gamma: Gamma::USUAL },
            Family::Relaxed => ProcessConfig::Relaxed {
                mask_token_id,
                mask_share: MaskShare::default(),
                temperatures: Temperatures::USUAL,
                unroll: ProcessConfig::UNROLL,
                relaxation: Relaxation::Soft,
            },
            Family::Latent => ProcessConfig::Latent {
                mask_token_id,
                gamma: Gamma::OF_LATENTS,
                stage: Stage::Joint,
                char_drop: ProcessConfig::CHAR_DROP,
                margin: ProcessConfig::MARGIN,
            },
        }
    }

    /// Numbers of a vector, where nothing is said; 0 where models read tokens.
    pub fn vector_dims(self) -> usize {
        match self {
            Family::Gaussian => ProcessConfig::TOKEN_DIMS,
            Family::Latent => ProcessConfig::LATENT_DIMS,
            _ => 0,
        }
    }

    /// Whether Gaussian noise is added to vectors, and a text is read off them in the end.
    pub fn has_vectors(self) -> bool {
        matches!(self, Family::Gaussian | Family::Latent)
    }

    /// Whether texts come about by masks that are replaced, in an order that a policy chooses.
    pub fn has_policies(self) -> bool {
        matches!(self, Family::Masked | Family::Joint | Family::Block)
    }

    /// Timesteps of its models, where nothing is said; none to leave those of a preset. Masks tell how much of a text is noise,
    /// and other symbols do not.
    pub fn timesteps(self) -> Option<usize> {
        match self {
            Family::Masked => None,
            Family::Autoregressive | Family::Joint | Family::Block | Family::Gaussian | Family::Latent => Some(0),
            Family::Uniform | Family::Mixed | Family::Relaxed => Some(ProcessConfig::TIMESTEPS),
        }
    }

    /// What its models can be used as: it itself, or of a joint one masked diffusion, where nothing else is said, and
    /// autoregressive.
    pub fn parts(self) -> &'static [Family] {
        match self {
            Family::Masked => &[Family::Masked],
            Family::Autoregressive => &[Family::Autoregressive],
            Family::Joint => &[Family::Masked, Family::Autoregressive],
            Family::Block => &[Family::Block],
            Family::Uniform => &[Family::Uniform],
            Family::Mixed => &[Family::Mixed],
            Family::Gaussian => &[Family::Gaussian],
            Family::Relaxed => &[Family::Relaxed],
            Family::Latent => &[Family::Latent],
        }
    }

    /// What its models are validated by, one for each of its parts.
    pub fn measures(self) -> &'static [Measure] {
        match self {
            Family::Autoregressive => &[Measure::Nll],
            Family::Joint => &[Measure::Nelbo, Measure::Nll],
            _ => &[Measure::Nelbo],
        }
    }

    /// What training minimises under it, of a run whose configuration says this; of a joint one in the steps of masked
    /// diffusion.
    pub fn objective(self, said: Objective) -> Objective {
        match self {
            Family::Autoregressive => Objective::Nll,
            _ if said == Objective::Nll => Objective::simple(Schedule::Linear),
            _ => said,
        }
    }

    /// Refuses a file's process whose family this version does not know.
    pub(super) fn check(process: &Table) -> Result<()> {
        let Some(kind) = process.get("kind").and_then(|kind| kind.as_str()) else { return Ok(()) };
        if Family::from_str(kind, false).is_ok() {
            return Ok(());
        }
        let known: Vec<String> = Family::value_variants().iter().map(Family::to_string).collect();
        Err(Error::input(format!(
            "the process is {kind:?}, and this version knows {}; bring tempest up to date",
            known.join(", ")
        )))
    }
}

/// What is known of a text's cost, -log p.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// At most this: the evidence lower bound, negative.
    Nelbo,
    /// Exactly this: the negative log-likelihood.
    Nll,
}

impl Measure {
    /// Both.
    pub const ALL: [Measure; 2] = [Measure::Nelbo, Measure::Nll];

    /// In tables.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Nelbo => "NELBO",
            Measure::Nll => "NLL",
        }
    }

    /// The field of a run's metrics that has it, of the validation split.
    pub fn metric(self) -> &'static str {
        match self {
            Measure::Nelbo => "validation_nelbo_nats",
            Measure::Nll => "validation_nll_nats",
        }
    }
}

/// What turns text into noise, and so what the model's predictions mean. Stored in every `model.safetensors`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProcessConfig {
    /// Tokens turn into the mask one by one.
    Masked {
        /// The symbol that stands for an unknown token.
        mask_token_id: u32,
        /// Positions from 0 that training never masks: a prompt of this length is expected. 0 for a model that can start
        /// from nothing.
        context_len: usize,
        /// Share of training's texts whose context is unknown, so that the model learns what texts are without it: 0 to less
        /// than 1.
        #[serde(default, skip_serializing_if = "super::is_default")]
        prompt_drop: f32,
    },
    /// Nothing: a token is predicted from those before it.
    #[serde(rename = "ar")]
    Autoregressive {
        /// The symbol that no text holds: it stands in front of a window, so that the first token is predicted too.
        mask_token_id: u32,
    },
    /// Both with the same weights: attention sees all of a text in some steps of training and what is before in the others.
    Joint {
        /// The symbol of either.
        mask_token_id: u32,
        /// Probability of a step of training to be autoregressive, between 0 and 1.
        causal_share: f32,
    },
    /// Tokens of each block turn into the mask one by one, and are predicted from the block and those before it.
    Block {
        /// The symbol that stands for an unknown token.
        mask_token_id: u32,
        /// Tokens of a block; of several lengths a step of training has one.
        block_length: BlockLengths,
    },
    /// Tokens turn into others, all as likely.
    Uniform {
        /// The symbol that no text holds, noised or not.
        mask_token_id: u32,
    },
    /// Tokens turn into the mask or into others, all as likely.
    Mixed {
        /// The symbol that stands for an unknown token.
        mask_token_id: u32,
        /// Share of the noise that is the mask, more than 0.
        mask_share: MaskShare,
    },
    /// Gaussian noise is added to the tokens' vectors.
    Gaussian {
        /// The symbol that no text holds, noised or not.
        mask_token_id: u32,
        /// The least noise and the most.
        gamma: Gamma,
    },
    /// Tokens turn into others, all as likely, or into the mask, and training reads them as soft ones
    /// ([`SoftTokens`](crate::program::SoftTokens)); all else is of hard tokens.
    Relaxed {
        /// The symbol that stands for an unknown token, where noise has masks.
        mask_token_id: u32,
        /// Share of the noise that is the mask.
        #[serde(default)]
        mask_share: MaskShare,
        /// How soft they are.
        temperatures: Temperatures,
        /// Share of the steps of training that make a second pass, over noise of what the first one predicted.
        unroll: f32,
        /// What soft tokens are.
        #[serde(default)]
        relaxation: Relaxation,
    },
    /// Gaussian noise is added to the vectors of an autoencoder, each of several tokens.
    Latent {
        /// The symbol that no text holds; it stands for a token that the encoder is not told.
        mask_token_id: u32,
        /// The least noise, through which the decoder reads, and the most.
        gamma: Gamma,
        /// What is learned.
        stage: Stage,
        /// Share of the tokens that the encoder is not told while an autoencoder is learned by itself.
        char_drop: f32,
        /// Its decoder learns from as much more noise than the least, in units of γ, so that it bears what sampling does wrong.
        margin: f32,
    },
}

impl ProcessConfig {
    /// The share of autoregressive steps where none is said.
    pub const CAUSAL_SHARE: f32 = 0.5;

    /// Tokens of a block, where nothing else is said.
    pub const BLOCK_LENGTH: usize = 16;

    /// The share of masks of mixed noise where none is said.
    pub const MASK_SHARE: f32 = 0.8;

    /// Numbers of a token's vector, where nothing else is said.
    pub const TOKEN_DIMS: usize = 8;

    /// Numbers of a latent, where nothing else is said.
    pub const LATENT_DIMS: usize = 32;

    /// Share of the steps of training in which a model of vectors is told what it made of them before (Chen et al., "Analog
    /// Bits", 2022; the share of Plaid, Gulrajani & Hashimoto 2023).
    pub const TOLD_SHARE: f64 = 0.25;

    /// Share of the steps with a second pass, of relaxed tokens, where nothing else is said.
    pub const UNROLL: f32 = 0.5;

    /// Share of the tokens that an encoder is not told, where nothing else is said.
    pub const CHAR_DROP: f32 = 0.05;

    /// How much more noise than the least a decoder learns from, where nothing else is said.
    pub const MARGIN: f32 = 1.0;

    /// Timesteps of a model that cannot see how much of a text is noise, where nothing else is said.
    pub const TIMESTEPS: usize = 128;

    /// What steps of training learn, by its family: each of a joint one's parts, blocks of each length, vectors by themselves
    /// and with what was made of them before, and soft tokens in one pass and in two. An autoencoder is learned in one way.
    pub fn learned(&self) -> Vec<Family> {
        match self {
            ProcessConfig::Block { block_length, .. } => vec![Family::Block; block_length.all().len()],
            ProcessConfig::Gaussian { .. } => vec![Family::Gaussian; 2],
            ProcessConfig::Relaxed { .. } => vec![Family::Relaxed; 2],
            ProcessConfig::Latent { stage, .. } => vec![Family::Latent; 1 + usize::from(stage.learns_denoiser())],
            _ => self.family().parts().to_vec(),
        }
    }

    /// Which of [those](Self::learned) training step 0, 1, … of a run learns: a function of the run's seed and the step, so that
    /// all micro-batches of a step are of one kind, whenever they are made.
    pub fn part_of_step(&self, seed: u64, step: u64) -> usize {
        let words = || philox(seed, Stream::Part, step, 0);
        match *self {
            ProcessConfig::Joint { causal_share, .. } => {
                usize::from(uniform24(words()[0]) < threshold(causal_share.into()))
            }
            ProcessConfig::Block { block_length, .. } => below(words(), block_length.all().len() as u64) as usize,
            ProcessConfig::Gaussian { .. } | ProcessConfig::Latent { stage: Stage::Joint | Stage::Diffusion, .. } => {
                usize::from(uniform24(words()[0]) < threshold(ProcessConfig::TOLD_SHARE))
            }
            ProcessConfig::Relaxed { unroll, .. } => usize::from(uniform24(words()[0]) < threshold(unroll.into())),
            _ => 0,
        }
    }

    /// What training minimises, of a run whose configuration says this. Of latents no token is predicted, whose cross-entropy it may
    /// be: where they are learned with their denoiser it is the bound, which alone says what either owes to the other.
    pub fn objective(&self, said: Objective) -> Objective {
        let (schedule, levels) = (Schedule::Linear, Levels::UNIFORM);
        match (self, said) {
            (ProcessConfig::Latent { .. }, Objective::Nelbo { .. } | Objective::Squared { .. }) => said,
            (ProcessConfig::Latent { stage: Stage::Joint, .. }, _) => Objective::Nelbo { schedule, levels },
            (ProcessConfig::Latent { .. }, _) => Objective::Squared { target: Target::V, schedule, levels },
            _ => self.family().objective(said),
        }
    }

    /// It as a model is used: of blocks of several lengths those of the first.
    pub fn used(self) -> Self {
        match self {
            ProcessConfig::Block { block_length, .. } => self.of_blocks(block_length.first()),
            other => other,
        }
    }

    /// The same with blocks of this length, where it has blocks.
    pub fn of_blocks(mut self, length: usize) -> Self {
        if let ProcessConfig::Block { block_length, .. } = &mut self {
            *block_length = length.into();
        }
        self
    }

    /// Positions from 0 that training takes as given: a text is expected to begin with as many.
    pub fn context_len(&self) -> usize {
        match *self {
            ProcessConfig::Masked { context_len, .. } => context_len,
            _ => 0,
        }
    }

    /// The symbol that stands for an unknown token, or for what is before a text.
    pub fn mask_token_id(&self) -> u32 {
        match *self {
            ProcessConfig::Masked { mask_token_id, .. }
            | ProcessConfig::Autoregressive { mask_token_id }
            | ProcessConfig::Joint { mask_token_id, .. }
            | ProcessConfig::Block { mask_token_id, .. }
            | ProcessConfig::Uniform { mask_token_id }
            | ProcessConfig::Mixed { mask_token_id, .. }
            | ProcessConfig::Gaussian { mask_token_id, .. }
            | ProcessConfig::Relaxed { mask_token_id, .. }
            | ProcessConfig::Latent { mask_token_id, .. } => mask_token_id,
        }
    }

    /// The same over another vocabulary.
    pub fn with_mask(mut self, mask: u32) -> Self {
        match &mut self {
            ProcessConfig::Masked { mask_token_id, .. }
            | ProcessConfig::Autoregressive { mask_token_id }
            | ProcessConfig::Joint { mask_token_id, .. }
            | ProcessConfig::Block { mask_token_id, .. }
            | ProcessConfig::Uniform { mask_token_id }
            | ProcessConfig::Mixed { mask_token_id, .. }
            | ProcessConfig::Gaussian { mask_token_id, .. }
            | ProcessConfig::Relaxed { mask_token_id, .. }
            | ProcessConfig::Latent { mask_token_id, .. } => *mask_token_id = mask,
        }
        self
    }

    /// What it is one of.
    pub fn family(&self) -> Family {
        match self {
            ProcessConfig::Masked { .. } => Family::Masked,
            ProcessConfig::Autoregressive { .. } => Family::Autoregressive,
            ProcessConfig::Joint { .. } => Family::Joint,
            ProcessConfig::Block { .. } => Family::Block,
            ProcessConfig::Uniform { .. } => Family::Uniform,
            ProcessConfig::Mixed { .. } => Family::Mixed,
            ProcessConfig::Gaussian { .. } => Family::Gaussian,
            ProcessConfig::Relaxed { .. } => Family::Relaxed,
            ProcessConfig::Latent { .. } => Family::Latent,
        }
    }

    /// L, positions of a model's window that training may mask, or predicts; of each of its [`blocks`](Self::blocks).
    pub fn maskable(&self, model: &ModelConfig) -> usize {
        match *self {
            ProcessConfig::Block { block_length, .. } => block_length.first(),
            _ => model.sequence_len - self.context_len(),
        }
    }

    /// Parts of a model's window that have noise levels of their own, as it is [used](Self::used).
    pub fn blocks(&self, model: &ModelConfig) -> usize {
        match *self {
            ProcessConfig::Block { block_length, .. } => model.sequence_len / block_length.first(),
            _ => 1,
        }
    }

    /// Refuses a process that the model cannot have.
    pub fn validate(&self, model: &ModelConfig) -> Result<()> {
        let (mask_token_id, context_len) = (self.mask_token_id(), self.context_len());
        if mask_token_id as usize >= model.vocab_size {
            return Err(Error::input(format!(
                "mask token {mask_token_id} lies outside the vocabulary of {} symbols",
                model.vocab_size
            )));
        }
        if context_len >= model.sequence_len {
            return Err(Error::input(format!(
                "a context of {context_len} leaves nothing of {} positions to mask; wanted less",
                model.sequence_len
            )));
        }
        if self.family().timesteps() == Some(0) && model.diffusion_steps > 0 {
            return Err(Error::input(format!(
                "{} timesteps for {}; leave --timesteps out",
                model.diffusion_steps,
                match self.family() {
                    Family::Gaussian | Family::Latent =>
                        "a model of vectors, which is told how much noise they have as it is",
                    Family::Joint => "a jointly trained autoregressive model, which has no noise levels",
                    _ => "an autoregressive model, which has no noise levels",
                }
            )));
        }
        match *self {
            ProcessConfig::Gaussian { .. } | ProcessConfig::Latent { .. } if model.vector_dims == 0 => {
                return Err(Error::input("vectors of 0 numbers; wanted --dims at least 1"));
            }
            ProcessConfig::Gaussian { gamma, .. } | ProcessConfig::Latent { gamma, .. } => gamma.validate()?,
            _ if model.vector_dims > 0 => {
                return Err(Error::input(format!(
                    "vectors of {} numbers (vector_dims), and {} is of tokens; wanted 0, or --process gaussian or latent",
                    model.vector_dims,
                    self.family()
                )));
            }
            _ => {}
        }
        check_autoencoder(*self, model)?;
        if let ProcessConfig::Joint { causal_share, .. } = *self
            && !(causal_share > 0.0 && causal_share < 1.0)
        {
            return Err(Error::input(format!(
                "a causal share of {causal_share}; wanted more than 0 and less than 1, or --process masked or ar"
            )));
        }
        if let ProcessConfig::Mixed { mask_share: MaskShare::Constant(0.0), .. } = *self {
            return Err(Error::input("a share of masks of 0; wanted --mask-share above 0, or --process uniform"));
        }
        if let ProcessConfig::Mixed { mask_share, .. } | ProcessConfig::Relaxed { mask_share, .. } = *self {
            mask_share.validate()?;
        }
        match *self {
            ProcessConfig::Masked { prompt_drop, .. } => check_prompt_drop(prompt_drop, context_len),
            ProcessConfig::Relaxed { temperatures, unroll, relaxation, .. } => {
                temperatures.validate()?;
                check_relaxed(model, unroll, relaxation)
            }
            ProcessConfig::Block { block_length, .. } => {
                block_length.all().iter().try_for_each(|&length| check_blocks(length, model))
            }
            _ => Ok(()),
        }
    }

    /// Out of an object of JSON of its own.
    pub fn read(json: &str) -> Result<Self> {
        let unread = |e: &dyn std::fmt::Display| Error::input(e.to_string());
        let process: Table = serde_json::from_str(json).map_err(|e| unread(&e))?;
        Family::check(&process)?;
        process.try_into().map_err(|e| unread(&e))
    }

    /// Dimensions and process out of one object of JSON, as the original's configuration and files of format 1 have them.
    pub fn read_with_model(json: &str) -> Result<(ModelConfig, Self)> {
        let unread = |e: &dyn std::fmt::Display| Error::input(e.to_string());
        let mut model: Table = serde_json::from_str(json).map_err(|e| unread(&e))?;
        let process = Self::taken_out_of(&mut model);
        Ok((model.try_into().map_err(|e| unread(&e))?, process.try_into().map_err(|e| unread(&e))?))
    }

    /// The process among a model's dimensions, where it stood while there was one family only.
    pub(super) fn taken_out_of(model: &mut Table) -> Table {
        let mut process = Table::from_iter([("kind".to_owned(), "masked".into())]);
        process.extend(["mask_token_id", "context_len"].iter().filter_map(|key| model.remove_entry(*key)));
        process
    }
}

/// Refuses to drop what is always there, or never.
fn check_prompt_drop(share: f32, context_len: usize) -> Result<()> {
    if !(0.0..1.0).contains(&share) {
        return Err(Error::input(format!(
            "a share of {share} of the texts without their context; wanted --prompt-drop from 0 to less than 1"
        )));
    }
    if share > 0.0 && context_len == 0 {
        return Err(Error::input(format!(
            "a share of {share} of the texts without their context, and there is none; give --context N, the positions that a prompt \
             has, or leave --prompt-drop out: a model without a context learns every text with any of its parts unknown"
        )));
    }
    Ok(())
}

/// Refuses soft tokens that a model cannot have.
fn check_relaxed(model: &ModelConfig, unroll: f32, relaxation: Relaxation) -> Result<()> {
    if model.architecture != Architecture::Original {
        return Err(Error::input(
            "a gpt reads whole tokens, and no soft ones; give --model original, or another --process",
        ));
    }
    if !(0.0..=1.0).contains(&unroll) {
        return Err(Error::input(format!(
            "a share of steps with a second pass of {unroll}; wanted --unroll from 0 to 1"
        )));
    }
    if relaxation == Relaxation::StraightThrough && unroll == 0.0 {
        return Err(Error::input(
            "straight-through tokens have a gradient where they are predicted, in a second pass, and there is none; give --unroll \
             more than 0, or --process uniform, which this would be",
        ));
    }
    Ok(())
}

/// Refuses a model of latents without an autoencoder, any other with one, and what one cannot learn by.
fn check_autoencoder(process: ProcessConfig, model: &ModelConfig) -> Result<()> {
    let ProcessConfig::Latent { char_drop, margin, .. } = process else {
        return match model.autoencoder {
            None => Ok(()),
            Some(_) => Err(Error::input(format!(
                "a model with an autoencoder, and {} has no latents; leave the autoencoder out, or give --process latent",
                process.family()
            ))),
        };
    };
    if model.autoencoder.is_none() {
        return Err(Error::input("latents without an autoencoder ([model.autoencoder]); wanted its pool and n_layer"));
    }
    if !(0.0..1.0).contains(&char_drop) {
        return Err(Error::input(format!(
            "a share of characters that the encoder is not told of {char_drop}; wanted --char-drop from 0 to less than 1"
        )));
    }
    if !(0.0..=20.0).contains(&margin) {
        return Err(Error::input(format!(
            "a decoder that learns from noise up to {margin} above the least gamma; wanted a margin from 0 to 20"
        )));
    }
    Ok(())
}

/// Refuses blocks that a model cannot have.
fn check_blocks(length: usize, model: &ModelConfig) -> Result<()> {
    let ModelConfig { sequence_len, diffusion_steps, short_conv, .. } = *model;
    if model.architecture != Architecture::Original {
        return Err(Error::input(
            "blocks of a gpt, whose positions are learned for whole texts; give --model original, or another --process",
        ));
    }
    if length == 0 || !sequence_len.is_multiple_of(length) {
        return Err(Error::input(format!(
            "blocks of {length} tokens in a window of {sequence_len}; wanted a --block-length that divides it"
        )));
    }
    if diffusion_steps > 0 {
        return Err(Error::input(format!(
            "{diffusion_steps} timesteps for a model whose blocks have noise levels of their own; leave --timesteps out"
        )));
    }
    if short_conv > 0 {
        return Err(Error::input(format!(
            "convolutions of {short_conv} mix neighbouring positions, and the blocks of a text must not see each other's noise; \
             give --short-conv 0"
        )));
    }
    Ok(())
}
