//! Masked (absorbing) diffusion: tokens turn into the mask one by one and are predicted back.
//!
//! D3PM's absorbing process (Austin et al. 2021) in the form of MDLM (Sahoo et al. 2024) and MD4 (Shi et al. 2024).

use super::{Batch, Diffusion, Generative, ReverseStep, SampleState};
use crate::config::{Density, Levels, Objective};
use crate::error::{Error, Result};
use crate::model::{Keep, Transformer};
use crate::program::{
    Accumulate, Builder, Commit, Corrupt, CountMasked, Crop, CrossEntropy, Guide, Level, LossSum, Mat, Mixing, Noise,
    SampleTime, SequenceLoss, Streams, TimeOrder, Unprompt, Weighting, Windows,
};
use std::ops::Range;

/// The process over one model.
#[derive(Clone, Debug)]
pub struct Masked {
    /// The transformer that predicts the masked tokens.
    pub model: Transformer,
    /// The symbol that stands for an unknown token.
    pub mask_token_id: u32,
    /// Positions from 0 that are never masked,
    pub context_len: usize,
    /// but all of them in so many texts of training, in units of 2⁻²⁴ of them.
    pub prompt_drop: u32,
}

impl Generative for Masked {
    fn model(&self) -> &Transformer {
        &self.model
    }

    fn mask_id(&self) -> u32 {
        self.mask_token_id
    }

    fn check_objective(&self, objective: Objective) -> Result<()> {
        if objective == Objective::Nll {
            return Err(Error::input(
                "the objective nll is of --process ar, and this is masked diffusion; wanted another --objective",
            ));
        }
        if let Objective::Squared { .. } = objective {
            return Err(Error::input(
                "the objective squared is of vectors with noise, --process gaussian, and this is masked diffusion; wanted another \
                 --objective",
            ));
        }
        if objective == Objective::Original && self.model.config.diffusion_steps == 0 {
            return Err(Error::input(
                "the original objective draws timesteps, but this model has none (diffusion_steps = 0); use --preset original, \
                 --timesteps 128 or another --objective",
            ));
        }
        Ok(())
    }

    fn corrupt(&self, b: &mut Builder<'_>, batch: Batch, objective: Objective, windows: Range<u64>, total: usize) {
        let config = &self.model.config;
        let (context, sequences) = (self.context_len as u32, total as u32);
        b.push(Crop { windows: Windows::Random(windows), x0: batch.x0 });
        let stratified = Level::Stratified { of: sequences };
        let simple = |schedule, levels: Levels| Weighting::Simple { mean_rate: levels.mean_mask_rate(schedule) };
        let (noise, level, density) = match objective {
            Objective::Original => {
                let (timesteps, positions) = (config.diffusion_steps as u32, config.sequence_len as u32);
                let inv_count = b.alloc(self.model.memory.stats, 1, 1);
                b.push(CountMasked { positions, context, sequences, timesteps, inv_count });
                (Noise::Timesteps { timesteps, inv_count }, Level::Independent, Density::Uniform)
            }
            Objective::Nelbo { schedule, levels } => {
                (Noise::Continuous { schedule, weighting: Weighting::Nelbo }, stratified, levels.density)
            }
            Objective::Simple { schedule, levels } => {
                (Noise::Continuous { schedule, weighting: simple(schedule, levels) }, stratified, levels.density)
            }
            Objective::NelboCount => (Noise::ExactCount, stratified, Density::Uniform),
            Objective::Squared { .. } | Objective::Nll => unreachable!("refused by check_objective"),
        };
        let quantiles = density.quantiles().map(|q| b.constant(self.model.memory.kept_ids, q.to_vec()));
        self.push_corrupt(b, batch, noise, (level, quantiles), Streams::Train, sequences);
    }

    fn learn(
        &self,
        b: &mut Builder<'_>,
        batch: Batch,
        objective: Objective,
        metrics: Mat,
        accumulate: Accumulate,
    ) -> Mat {
        let forward = self.model.forward(b, batch.xt, batch.t, Keep::All);
        let ce = self.model.loss_and_backward(b, &forward, batch.x0, batch.weight, self.drop(objective), accumulate);
        b.push(LossSum { cross_entropy: ce, weight: batch.weight, accumulate, metrics });
        ce
    }

    fn logits(&self, b: &mut Builder<'_>, state: SampleState) -> Mat {
        self.logits_at(b, state, self.time_order(state.x.cols))
    }
}

impl Diffusion for Masked {
    fn time_order(&self, positions: usize) -> TimeOrder {
        TimeOrder::Masked { maskable: positions.saturating_sub(self.context_len).max(1) as u32 }
    }

    fn evaluate(&self, b: &mut Builder<'_>, windows: Windows, level: Level, sums: Mat) {
        let batch = self.batch(b, sums.rows);
        b.push(Crop { windows, x0: batch.x0 });
        self.push_corrupt(b, batch, Noise::ExactCount, (level, None), Streams::Eval, sums.rows as u32);
        let cross_entropy = self.cross_entropy(b, batch);
        b.push(SequenceLoss { cross_entropy, weight: batch.weight, sums });
    }

    fn check_guidance(&self) -> Result<()> {
        if self.context_len > 0 && self.prompt_drop == 0 {
            return Err(Error::input(format!(
                "guidance (--guidance) of a model that has learned no text without its first {} tokens; wanted one of `tempest train \
                 --prompt-drop 0.1`, or one without a context, which has learned texts with any part unknown",
                self.context_len
            )));
        }
        Ok(())
    }

    fn reverse_step(&self, b: &mut Builder<'_>, state: SampleState, step: ReverseStep) -> Mat {
        let [rows, cols] = state.x.shape();
        let candidate = b.alloc(self.model.memory.ids, rows, cols);
        let logits = match step.is_guided {
            true => self.guided_logits(b, state, step.order),
            false => self.logits_at(b, state, step.order),
        };
        self.decide(b, logits, state, step, Commit::Candidates { candidate })
    }

    fn score_step(&self, b: &mut Builder<'_>, state: SampleState, step: ReverseStep) {
        let cross_entropy = b.alloc(self.model.memory.stats, state.x.len(), 1);
        let commit = Commit::Truth { target: state.truth, cross_entropy, nll: state.nll };
        let logits = self.logits_at(b, state, step.order);
        self.decide(b, logits, state, step, commit);
    }
}

impl Masked {
    /// Appends the noise over a batch, some of `sequences` in all; each of its blocks has a level of its own.
    pub(super) fn push_corrupt(
        &self,
        b: &mut Builder<'_>,
        batch: Batch,
        noise: Noise,
        (level, quantiles): (Level, Option<Mat>),
        streams: Streams,
        sequences: u32,
    ) {
        let (rows, blocks) = (batch.t.rows, (batch.t.rows / batch.x0.rows) as u32);
        let by_block = |mat: Mat| Mat { rows, cols: mat.len() / rows, ..mat };
        b.push(Corrupt {
            x0: by_block(batch.x0),
            blocks,
            noise,
            level: level.times(blocks),
            quantiles,
            streams,
            context: self.context_len as u32,
            context_drop: self.prompt_drop,
            mixing: Mixing::mask(self.mask_token_id),
            sequences: sequences * blocks,
            timesteps: self.model.config.diffusion_steps as u32,
            xt: by_block(batch.xt),
            rates: None,
            t: batch.t,
            weight: batch.weight,
        });
    }

    /// The original lets its head predict the mask; every bound on likelihood forbids it.
    fn drop(&self, objective: Objective) -> Option<u32> {
        (objective != Objective::Original).then(|| self.mask_id())
    }

    fn cross_entropy(&self, b: &mut Builder<'_>, batch: Batch) -> Mat {
        let forward = self.model.forward(b, batch.xt, batch.t, Keep::Last);
        let logits = self.model.head_logits(b, forward.last);
        let cross_entropy = b.alloc(self.model.memory.stats, logits.rows, 1);
        b.push(CrossEntropy { logits, target: batch.x0, drop: Some(self.mask_id()), cross_entropy });
        cross_entropy
    }

    fn logits_at(&self, b: &mut Builder<'_>, state: SampleState, order: TimeOrder) -> Mat {
        self.logits_of(b, state.x, state.masked, order)
    }

    /// The logits of texts, each told as noisy as its unknown positions say.
    fn logits_of(&self, b: &mut Builder<'_>, x: Mat, masked: Mat, order: TimeOrder) -> Mat {
        let t = b.alloc(self.model.memory.ids, x.rows, 1);
        let timesteps = self.model.config.diffusion_steps as u32;
        if timesteps > 0 {
            b.push(SampleTime { masked, order, timesteps, t });
        }
        let forward = self.model.forward(b, x, t, Keep::Last);
        self.model.head_logits(b, forward.last)
    }

    /// The logits of texts as what is given guides them.
    fn guided_logits(&self, b: &mut Builder<'_>, state: SampleState, order: TimeOrder) -> Mat {
        let [rows, cols] = state.x.shape();
        let [x_both, open] = [(); 2].map(|()| b.alloc(self.model.memory.ids, 2 * rows, cols));
        let SampleState { x, masked, committed_at, params, .. } = state;
        let (mask_id, context) = (self.mask_token_id, self.context_len as u32);
        b.push(Unprompt { x, masked, committed_at, mask_id, context, x_both, open });
        let both = self.logits_of(b, x_both, open, order);
        let [logits, unprompted] = [0, 1].map(|half| both.row_block(half * x.len(), x.len()));
        b.push(Guide { unprompted, params, logits });
        logits
    }
}
