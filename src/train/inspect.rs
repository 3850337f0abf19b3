//! Looking at a model while it learns: how likely the validation split is, and what the model writes.

use super::Validation;
use crate::backend::Device;
use crate::config::{Measure, Policy, RunConfig};
use crate::data::{Corpus, Vocab};
use crate::denoiser::{Denoiser, Start};
use crate::error::Result;
use crate::eval::{self, Estimate, EvalConfig};
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
    /// What every sample begins with, where the run says so: tokens before it, and its start.
    prompt: Option<(Vec<u32>, Start)>,
}

const BATCH: usize = 16;

/// How samples are made on the way.
fn sampling(config: &RunConfig) -> SampleConfig {
    SampleConfig { temperature: sample::CAREFUL, ..SampleConfig::new(Policy::ANCESTRAL, config.seed, &config.process) }
}

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
            sample: sampling(config),
            prompt: Inspector::prompt(config, corpus.vocab())?,
        })
    }

    /// What a run's samples begin with, if it says so. Refuses a prompt that the vocabulary cannot hold.
    pub(super) fn prompt(config: &RunConfig, vocab: &Vocab) -> Result<Option<(Vec<u32>, Start)>> {
        let length = config.model.sequence_len;
        let overlap = sampling(config).overlap.min(length - 1);
        let text = config.train.sample_prompt.as_ref();
        text.map(|text| sample::end_of_prompt(vocab, text, length, overlap)).transpose()
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

    /// How likely the validation split is, by each of the process's measures.
    pub fn validate(&mut self, weights: &[f32]) -> Result<Vec<Validation>> {
        self.denoiser.set_weights(weights)?;
        self.measures().iter().map(|&measure| self.measure(measure)).collect()
    }

    fn measures(&self) -> &'static [Measure] {
        self.denoiser.process_config().family().measures()
    }

    fn measure(&mut self, measure: Measure) -> Result<Validation> {
        let (Estimate { nats, standard_error, .. }, misread) = match measure {
            Measure::Nelbo => {
                let (found, misread) = eval::nelbo(&mut self.denoiser, &self.corpus, &self.eval, &mut |_, _, _| {})?;
                (found.expect("there are as many passes as it needs"), misread)
            }
            Measure::Nll => (self.likelihood(self.eval.windows)?, None),
        };
        Ok(Validation { measure, nats, standard_error, misread: misread.map(|misread| misread.share) })
    }

    fn likelihood(&mut self, windows: usize) -> Result<Estimate> {
        let range = &self.eval.range;
        eval::likelihood(&mut self.denoiser, &self.corpus, range, windows, &mut |_, _, _| {}).map(|found| found.nll)
    }

    /// Refuses weights whose predictions for some windows of the validation split are not numbers.
    pub fn predicts_numbers(&mut self, weights: &[f32]) -> Result<()> {
        self.denoiser.set_weights(weights)?;
        self.measures().iter().try_for_each(|measure| match measure {
            Measure::Nelbo => {
                let some = EvalConfig { windows: BATCH, passes: Some(1), ..self.eval.clone() };
                eval::nelbo(&mut self.denoiser, &self.corpus, &some, &mut |_, _, _| {}).map(drop)
            }
            Measure::Nll => self.likelihood(BATCH.min(self.eval.windows)).map(drop),
        })
    }

    /// A text of the model's own, the same for the same weights and step. A model that learned with a context gets one
    /// from the validation split, unless the run says what its samples begin with.
    pub fn sample(&mut self, weights: &[f32], step: u64) -> Result<String> {
        self.denoiser.set_weights(weights)?;
        let (length, given) = (self.denoiser.config().sequence_len, self.denoiser.process_config().context_len());
        let number = step as u32;
        let range = self.corpus.validation();
        let (before, start) = match (&self.prompt, given) {
            (Some(prompt), _) => prompt.clone(),
            (None, 0) => (vec![], sample::open(length)),
            _ => (vec![], sample::from_corpus(&self.corpus, range, given, length, self.sample.seed, number)?),
        };
        let texts = sample::sample(&mut self.denoiser, &self.sample, &[start], number, Watch::Progress(&mut |_| {}))?;
        Ok(self.corpus.vocab().decode(&[&before[..], &texts[0].tokens].concat()))
    }
}
