//! Looking at a model while it learns: how likely the validation split is, and what the model writes.

use super::Validation;
use crate::backend::Device;
use crate::config::{Policy, RunConfig, Schedule};
use crate::data::{Corpus, Vocab};
use crate::denoiser::Denoiser;
use crate::error::Result;
use crate::eval::{self, EvalConfig};
use crate::program::Storage;
use crate::sample::{self, SampleConfig, Watch};
use crate::stop::Stop;
use crate::store::SavedModel;
use std::sync::Arc;

/// A second, smaller layout of the model beside the one in training, which gets its weights when it is asked.
pub struct Inspector {
    denoiser: Denoiser,
    corpus: Arc<Corpus>,
    eval: EvalConfig,
    sample: SampleConfig,
}

const BATCH: usize = 16;

impl Inspector {
    /// Lays the model out on a device.
    pub fn new(config: &RunConfig, corpus: &Arc<Corpus>, device: &Device) -> Result<Self> {
        let model = &config.model;
        let blank = SavedModel {
            config: model.clone(),
            process: config.process,
            vocab: corpus.vocab().clone(),
            weights: vec![0.0; model.n_params()],
            step: 0,
        };
        let denoiser = Denoiser::new(&blank, config.dtype, BATCH, device)?;
        let ancestral = Policy::Ancestral { steps: None, schedule: Schedule::Cosine };
        Ok(Inspector {
            denoiser,
            corpus: Arc::clone(corpus),
            eval: EvalConfig::nelbo_only(
                model,
                &config.process,
                corpus.validation(),
                config.train.eval_windows,
                config.seed,
            ),
            sample: SampleConfig {
                temperature: sample::CAREFUL,
                ..SampleConfig::new(ancestral, config.seed, &config.process)
            },
        })
    }

    /// Bytes on a device.
    pub(super) fn bytes(config: &RunConfig, storage: Storage) -> usize {
        Denoiser::bytes(&config.model, &config.process, storage, BATCH)
    }

    pub(super) fn vocab(&self) -> &Vocab {
        self.corpus.vocab()
    }

    /// From now on looking ends when somebody asks to stop.
    pub fn heed(&mut self, stop: &Stop) {
        self.denoiser.heed(stop);
    }

    /// NELBO on the validation split.
    pub fn validate(&mut self, weights: &[f32]) -> Result<Validation> {
        self.denoiser.set_weights(weights)?;
        let passes = eval::passes(&mut self.denoiser, &self.corpus, &self.eval, &mut |_, _, _| {})?;
        let nelbo = passes.nelbo().expect("there are as many passes as it needs");
        Ok(Validation { nelbo_nats: nelbo.nats, standard_error: nelbo.standard_error })
    }

    /// Refuses weights whose predictions for some windows of the validation split are not numbers.
    pub fn predicts_numbers(&mut self, weights: &[f32]) -> Result<()> {
        self.denoiser.set_weights(weights)?;
        let some = EvalConfig { windows: BATCH, passes: Some(1), ..self.eval.clone() };
        eval::passes(&mut self.denoiser, &self.corpus, &some, &mut |_, _, _| {}).map(drop)
    }

    /// A text of the model's own, the same for the same weights and step. A model that learned with a context gets one
    /// from the validation split.
    pub fn sample(&mut self, weights: &[f32], step: u64) -> Result<String> {
        self.denoiser.set_weights(weights)?;
        let (length, given) = (self.denoiser.config().sequence_len, self.denoiser.process_config().context_len());
        let number = step as u32;
        let range = self.corpus.validation();
        let start = match given {
            0 => sample::open(length),
            _ => sample::from_corpus(&self.corpus, range, given, length, self.sample.seed, number)?,
        };
        let texts = sample::sample(&mut self.denoiser, &self.sample, &[start], number, Watch::Progress(&mut |_| {}))?;
        Ok(self.corpus.vocab().decode(&texts[0].tokens))
    }
}
