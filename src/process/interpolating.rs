//! Diffusion whose noise turns tokens into others: every token stays what it is, or becomes a draw of π ([`Mixing`]). Uniform
//! noise is D3PM's (Austin et al. 2021), with the bound of UDLM (Schiff et al. 2024).
//!
//! What noise made of a token is not to be seen, so all of them are predicted, and any may change in any step. The network's
//! logits are leave-one-out, as [`NoisedLoss`](crate::program::NoisedLoss) says: the loss takes the posterior or the bound from
//! them, and one set of weights has both. Known positions of a text are noised like the others while it is written, as training
//! had them.

use super::{Batch, Generative, Relaxed, SampleState};
use crate::config::{Objective, Schedule};
use crate::error::{Error, Result};
use crate::model::{Cost, Keep, Noised, Transformer};
use crate::program::{
    Accumulate, Builder, Corrupt, Crop, Level, LossSum, Mat, Mixing, Noise, NoisedCost, NoisedLoss, Renoise,
    SampleTime, SequenceLoss, Streams, TimeOrder, Weighting, Windows,
};
use std::ops::Range;

/// The process over one model.
#[derive(Clone, Debug)]
pub struct Interpolating {
    /// The transformer that predicts the tokens.
    pub model: Transformer,
    /// What noise turns them into.
    pub mixing: Mixing,
    /// Where it is trained on soft tokens.
    pub relaxed: Option<Relaxed>,
}

impl Generative for Interpolating {
    fn model(&self) -> &Transformer {
        &self.model
    }

    fn mask_id(&self) -> u32 {
        self.mixing.mask
    }

    fn batch(&self, b: &mut Builder<'_>, sequences: usize) -> Batch {
        Batch { rates: Some(b.alloc(self.model.memory.ids, sequences, 2)), ..Batch::new(b, &self.model, sequences) }
    }

    fn check_objective(&self, objective: Objective) -> Result<()> {
        if objective.learned_levels().is_some() {
            return Err(Error::input(
                "levels are learned of masked tokens' costs, and this noise is of other symbols; give other --levels",
            ));
        }
        match objective {
            Objective::Nelbo { .. } if self.relaxed.is_some() => Err(Error::input(
                "the objective nelbo is a bound, and the loss of soft tokens is a bound on nothing; wanted --objective simple, whose model \
                 is validated by the bound of hard tokens all the same",
            )),
            Objective::Nelbo { .. } | Objective::Simple { .. } => Ok(()),
            Objective::Original | Objective::NelboCount | Objective::Squared { .. } | Objective::Nll => {
                Err(Error::input(format!(
                    "the objective {} is of other noise or of none, and this noise is of other symbols; wanted --objective nelbo or simple",
                    objective.name()
                )))
            }
        }
    }

    fn corrupt(&self, b: &mut Builder<'_>, batch: Batch, objective: Objective, windows: Range<u64>, total: usize) {
        b.push(Crop { windows: Windows::Random(windows), x0: batch.x0 });
        let (schedule, weighting, levels) = match objective {
            Objective::Nelbo { schedule, levels } => (schedule, Weighting::NelboByRate, levels),
            Objective::Simple { schedule, levels } => (schedule, Weighting::Even, levels),
            _ => unreachable!("refused by check_objective"),
        };
        let quantiles = levels.density.quantiles().map(|q| b.constant(self.model.memory.kept_ids, q.to_vec()));
        let (noise, level) = (Noise::Continuous { schedule, weighting }, Level::Stratified { of: total as u32 });
        // Each of several passes counts for its share.
        let total = total * self.relaxed.map_or(1, Relaxed::passes);
        b.push(Corrupt { quantiles, level, ..self.noise(batch, noise, Streams::Train, total) });
    }

    fn learn(
        &self,
        b: &mut Builder<'_>,
        batch: Batch,
        objective: Objective,
        metrics: Mat,
        accumulate: Accumulate,
    ) -> Mat {
        if let Some(relaxed) = self.relaxed {
            return self.learn_relaxed(b, relaxed, batch, metrics, accumulate);
        }
        let cost = match objective {
            Objective::Nelbo { .. } => NoisedCost::Bound,
            _ => NoisedCost::CrossEntropy,
        };
        let forward = self.model.forward(b, batch.xt, batch.t, Keep::All);
        let noised = Noised { z: batch.xt, rates: batch.rates.expect("its own batch"), mixing: self.mixing, cost };
        let cost = Cost::Noised(noised);
        let cost = self.model.loss_and_backward(b, &forward, batch.x0, batch.weight, cost, accumulate);
        b.push(LossSum { cross_entropy: cost, weight: batch.weight, accumulate, metrics });
        cost
    }

    /// Of texts with noise of the rate that the current step's first is.
    fn logits(&self, b: &mut Builder<'_>, state: SampleState) -> Mat {
        let t = b.alloc(self.model.memory.ids, state.x.rows, 1);
        let timesteps = self.model.config.diffusion_steps as u32;
        if timesteps > 0 {
            b.push(SampleTime { masked: state.masked, order: TimeOrder::Rate { rates: state.lots }, timesteps, t });
        }
        let forward = self.model.forward(b, state.x, t, Keep::Last);
        self.model.head_logits(b, forward.last)
    }
}

impl Interpolating {
    /// A noise rate is drawn as the square of what is uniform: the cost goes like its logarithm towards 0, where it has weight,
    /// and the change of variable leaves nothing of that.
    pub const EVALUATED: Schedule = Schedule::Quadratic;

    /// Appends one pass over windows with noise of given rates, `[B, 2]`, into `sums` `[B, 2]` f32: the sum of each window's
    /// costs, and its tokens.
    pub fn evaluate(&self, b: &mut Builder<'_>, windows: Windows, rates: Mat, cost: NoisedCost, sums: Mat) {
        let batch = Batch { rates: Some(rates), ..Batch::new(b, &self.model, sums.rows) };
        b.push(Crop { windows, x0: batch.x0 });
        b.push(self.noise(batch, Noise::Given, Streams::Eval, sums.rows));
        let forward = self.model.forward(b, batch.xt, batch.t, Keep::Last);
        let logits = self.model.head_logits(b, forward.last);
        let loss = b.alloc(self.model.memory.stats, logits.rows, 1);
        let (target, z, mixing) = (batch.x0, batch.xt, self.mixing);
        b.push(NoisedLoss { logits, target, z, rates, mixing, cost, loss, back: None });
        b.push(SequenceLoss { cross_entropy: loss, weight: batch.weight, sums });
    }

    /// Appends one reverse step, from a noise rate to a lower one; returns the logits `[N, V]` that it was drawn from.
    pub fn reverse_step(&self, b: &mut Builder<'_>, state: SampleState) -> Mat {
        let logits = self.logits(b, state);
        b.push(Renoise {
            logits,
            params: state.params,
            rates: state.lots,
            truth: state.truth,
            mixing: self.mixing,
            x: state.x,
            masked: state.masked,
            committed_at: state.committed_at,
            remaining: state.remaining,
        });
        logits
    }

    fn noise(&self, batch: Batch, noise: Noise, streams: Streams, sequences: usize) -> Corrupt {
        Corrupt {
            x0: batch.x0,
            blocks: 1,
            noise,
            level: Level::Independent,
            quantiles: None,
            streams,
            context: 0,
            context_drop: 0,
            mixing: self.mixing,
            sequences: sequences as u32,
            timesteps: self.model.config.diffusion_steps as u32,
            xt: batch.xt,
            rates: batch.rates,
            t: batch.t,
            weight: batch.weight,
        }
    }
}
