//! Diffusion of vectors: a token is a vector of length 1, which is learned, and Gaussian noise is added to it. Diffusion-LM (Li
//! et al. 2022) with the parameters and the bound of Plaid (Gulrajani & Hashimoto 2023).
//!
//! The network reads vectors with noise and predicts tokens, from which the vectors without noise follow
//! ([`Denoise`]). A pass may be told what one before made of the same vectors (self-conditioning, Chen et al. 2022): in a share of
//! the steps of training, and always when it is used.
//!
//! The bound of a text is what the most noise leaves of it, a constant ([`Gamma::prior_nats`]); the integral of the squared errors;
//! and what it costs to read its tokens off their vectors at the least noise ([`ReadOff`]).

use super::{Batch, Generative, SampleState, VectorDiffusion};
use crate::config::{Gamma, Objective, Schedule, Target};
use crate::error::{Error, Result};
use crate::model::{Cost, Keep, Last, Transformer, Vectors};
use crate::program::{
    Accumulate, Builder, Crop, Denoise, Diffuse, DiffuseBackward, ErrorCost, LossSum, Mat, ReadOff, RenoiseVectors,
    SequenceLoss, Streams, UnitRows, UnitsGrad, VectorCost, VectorInput, VectorLevel, VectorLoss, VectorStep,
    WeightGrad, WeightGrads, Windows,
};
use std::ops::Range;

/// The process over one model.
#[derive(Clone, Debug)]
pub struct Gaussian {
    /// The transformer that predicts the tokens.
    pub model: Transformer,
    /// The symbol that no text holds.
    pub mask_token_id: u32,
    /// The least noise and the most.
    pub gamma: Gamma,
    /// Whether a pass is told what one before made of the vectors.
    pub is_told: bool,
}

/// The tokens' vectors, all of one length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Units {
    /// `[V, d]`.
    units: Mat,
    /// `[V, 1]`.
    rstd: Mat,
}

/// A batch of vectors.
#[derive(Clone, Copy, Debug)]
pub struct VectorBatch {
    of_tokens: Units,
    /// `[B, 11]`: [`VectorStep`].
    steps: Mat,
    /// `[N, d]`, with noise.
    z: Mat,
}

/// Texts in the making, as vectors.
#[derive(Clone, Copy, Debug)]
pub struct VectorState {
    /// `[M, d]` with noise: a row for each token, or for several that one vector is of.
    pub z: Mat,
    /// `[M, d]`: what the last step made of them.
    pub denoised: Mat,
    /// `[M, d]`: vectors of the known tokens, where they are not those of a table.
    pub known: Option<Mat>,
    /// `[B, 11·T]`: [`VectorStep`]s, of which number `step mod T` is that of a step.
    pub steps: Mat,
}

impl VectorState {
    /// That of fewer or shorter texts, in the same memory.
    pub(super) fn part(self, sequences: usize, positions: usize) -> Self {
        // Tokens of a vector: there is a step for each token.
        let pool = self.steps.len() / VectorStep::COLS / self.z.rows;
        let rows = |mat: Mat| mat.row_block(0, sequences * positions / pool);
        let steps = Mat { rows: sequences, cols: VectorStep::COLS * positions, ..self.steps };
        VectorState { z: rows(self.z), denoised: rows(self.denoised), known: self.known.map(rows), steps }
    }
}

impl Generative for Gaussian {
    fn model(&self) -> &Transformer {
        &self.model
    }

    fn mask_id(&self) -> u32 {
        self.mask_token_id
    }

    fn batch(&self, b: &mut Builder<'_>, sequences: usize) -> Batch {
        let batch = Batch::new(b, &self.model, sequences);
        Batch { vectors: Some(self.vectors(b, batch)), ..batch }
    }

    fn check_objective(&self, objective: Objective) -> Result<()> {
        if objective.learned_levels().is_some_and(|schedule| schedule != Schedule::Linear) {
            return Err(Error::input(
                "levels of Gaussian noise are learned over gamma itself, whose schedule is linear; give --schedule linear, or other \
                 --levels",
            ));
        }
        match objective {
            Objective::Nelbo { schedule, .. }
            | Objective::Simple { schedule, .. }
            | Objective::Squared { schedule, .. } => Gamma::check(schedule),
            Objective::Original | Objective::NelboCount | Objective::Nll => Err(Error::input(format!(
                "the objective {} is of masks or of none, and this noise is Gaussian; wanted --objective nelbo, simple or squared",
                objective.name()
            ))),
        }
    }

    fn corrupt(&self, b: &mut Builder<'_>, batch: Batch, objective: Objective, windows: Range<u64>, total: usize) {
        b.push(Crop { windows: Windows::Random(windows), x0: batch.x0 });
        let (schedule, levels, cost) = match objective {
            Objective::Nelbo { schedule, levels } => (schedule, levels, ErrorCost::Bound),
            Objective::Simple { schedule, levels } => (schedule, levels, ErrorCost::Denoised),
            Objective::Squared { target, schedule, levels } => (
                schedule,
                levels,
                match target {
                    Target::X0 => ErrorCost::Denoised,
                    Target::Noise => ErrorCost::Noise,
                    Target::V => ErrorCost::Velocity,
                },
            ),
            _ => unreachable!("refused by check_objective"),
        };
        let places = self.gamma.quantiles(schedule, levels).to_vec();
        let quantiles = b.constant(self.model.memory.kept_ids, places);
        let level = VectorLevel::Drawn { of: total as u32, quantiles, gamma: self.gamma, cost };
        self.diffuse(b, batch, level, Streams::Train);
    }

    fn learn(
        &self,
        b: &mut Builder<'_>,
        batch: Batch,
        objective: Objective,
        metrics: Mat,
        accumulate: Accumulate,
    ) -> Mat {
        let (model, VectorBatch { of_tokens: Units { units, rstd }, steps, z }) = (&self.model, of(batch));
        let positions = batch.x0.cols;
        let cost = match objective {
            Objective::Simple { .. } => VectorCost::CrossEntropy,
            _ => VectorCost::SquaredError,
        };
        let denoised = self.is_told.then(|| self.first_pass(b, batch));
        let y = self.input(b, z, steps, denoised);
        let first = model.project(b, y);
        let (blocks, last) = model.blocks(b, first, positions, Keep::All);
        // Gradients by the tokens' vectors: of the loss, and of reading tokens off where the loss is an error of vectors.
        let (n, [v, d]) = (z.rows, units.shape());
        let of_loss = VectorLoss::products(cost);
        let products = of_loss + usize::from(cost == VectorCost::SquaredError);
        let [q, g] = [v, d].map(|cols| b.alloc(model.memory.acts, products * n, cols));
        let own = b.alloc(model.memory.stats, n, d);
        let some = |first: usize, count: usize| {
            let [q, g] = [q, g].map(|mat| mat.row_block(first * n, count * n));
            UnitsGrad { q, g, own }
        };
        let drop = self.mask_token_id;
        let vectors = Vectors { z, units, steps, drop, cost, of_units: some(0, of_loss) };
        let (loss, dx) = model.head_loss(b, last, batch.x0, batch.weight, Cost::Vectors(vectors), accumulate);
        if of_loss < products {
            let scale = model.memory.training.as_ref().and_then(|training| training.scale);
            b.push(ReadOff {
                target: batch.x0,
                units,
                gamma: self.gamma,
                drop,
                accumulate: Accumulate::Add,
                loss,
                back: Some((batch.weight, scale, some(of_loss, 1))),
            });
        }
        b.push(LossSum { cross_entropy: loss, weight: batch.weight, accumulate, metrics });
        let dunits = b.alloc(model.memory.stats, v, d);
        let grads = vec![WeightGrad { dy: q, x: g, dw: dunits }];
        b.push(WeightGrads { grads, accumulate: Accumulate::Overwrite });
        model.blocks_backward(b, &blocks, dx, positions, accumulate);
        let dy = model.project_backward(b, y, dx, accumulate);
        let grads = model.memory.training.as_ref().expect("laid out for training").grads;
        b.push(DiffuseBackward {
            x0: batch.x0,
            steps,
            dy,
            own,
            dunits,
            units,
            rstd,
            accumulate,
            dtable: model.vector_table(grads),
        });
        loss
    }

    /// Of texts with noise of the level that the current step begins at.
    fn logits(&self, b: &mut Builder<'_>, state: SampleState) -> Mat {
        let VectorState { z, denoised, steps, .. } = state.vectors.expect("its own state");
        self.pass(b, z, steps, Some(denoised), state.x.cols)
    }

    fn sample_state(&self, b: &mut Builder<'_>, sequences: usize) -> SampleState {
        let (memory, config) = (&self.model.memory, &self.model.config);
        let (positions, dims) = (config.sequence_len, config.vector_dims);
        let [z, denoised] = [(); 2].map(|()| b.alloc(memory.kept, sequences * positions, dims));
        let steps = b.alloc(memory.kept, sequences, VectorStep::COLS * positions);
        let vectors = Some(VectorState { z, denoised, known: None, steps });
        SampleState { vectors, ..SampleState::new(b, memory, sequences, positions) }
    }
}

fn of(batch: Batch) -> VectorBatch {
    batch.vectors.expect("its own batch")
}

impl VectorDiffusion for Gaussian {
    fn gamma(&self) -> Gamma {
        self.gamma
    }

    fn prior_nats(&self) -> f64 {
        self.gamma.prior_nats(self.model.config.vector_dims)
    }

    fn evaluate(&self, b: &mut Builder<'_>, windows: Windows, steps: Mat, [errors, readings, _]: [Mat; 3]) {
        let batch = Batch::new(b, &self.model, errors.rows);
        let vectors = VectorBatch { steps, ..self.vectors(b, batch) };
        let batch = Batch { vectors: Some(vectors), ..batch };
        b.push(Crop { windows, x0: batch.x0 });
        self.diffuse(b, batch, VectorLevel::Given, Streams::Eval);
        let VectorBatch { of_tokens: Units { units, .. }, z, .. } = vectors;
        let denoised = self.is_told.then(|| self.first_pass(b, batch));
        let logits = self.pass(b, z, steps, denoised, batch.x0.cols);
        let loss = b.alloc(self.model.memory.stats, logits.rows, 1);
        let (target, weight, gamma, drop) = (batch.x0, batch.weight, self.gamma, self.mask_token_id);
        b.push(VectorLoss { logits, target, z, units, steps, drop, cost: VectorCost::SquaredError, loss, back: None });
        b.push(SequenceLoss { cross_entropy: loss, weight, sums: errors });
        b.push(ReadOff { target, units, gamma, drop, accumulate: Accumulate::Overwrite, loss, back: None });
        b.push(SequenceLoss { cross_entropy: loss, weight, sums: readings });
    }

    fn reverse_step(&self, b: &mut Builder<'_>, state: SampleState) -> Mat {
        let Units { units, .. } = self.units(b);
        let logits = self.logits(b, state);
        let VectorState { z, denoised, steps, .. } = state.vectors.expect("its own state");
        b.push(RenoiseVectors {
            logits,
            params: state.params,
            steps,
            units,
            truth: state.truth,
            drop: self.mask_token_id,
            z,
            denoised,
            x: state.x,
            masked: state.masked,
            committed_at: state.committed_at,
            remaining: state.remaining,
        });
        logits
    }
}

impl Gaussian {
    /// Memory for the vectors of a batch.
    fn vectors(&self, b: &mut Builder<'_>, batch: Batch) -> VectorBatch {
        let (memory, config) = (&self.model.memory, &self.model.config);
        let of_tokens = Units {
            units: b.alloc(memory.stats, config.vocab_size, config.vector_dims),
            rstd: b.alloc(memory.stats, config.vocab_size, 1),
        };
        let steps = b.alloc(memory.stats, batch.x0.rows, VectorStep::COLS);
        VectorBatch { of_tokens, steps, z: b.alloc(memory.stats, batch.x0.len(), config.vector_dims) }
    }

    /// Appends the making of vectors of one length.
    fn units(&self, b: &mut Builder<'_>) -> Units {
        let (memory, config) = (&self.model.memory, &self.model.config);
        let units = b.alloc(memory.stats, config.vocab_size, config.vector_dims);
        let units = Units { units, rstd: b.alloc(memory.stats, config.vocab_size, 1) };
        self.push_units(b, units);
        units
    }

    fn push_units(&self, b: &mut Builder<'_>, Units { units, rstd }: Units) {
        b.push(UnitRows { table: self.model.vector_table(self.model.memory.weights), units, rstd });
    }

    /// Appends the vectors of a batch's tokens, and noise over them.
    fn diffuse(&self, b: &mut Builder<'_>, batch: Batch, level: VectorLevel, streams: Streams) {
        let VectorBatch { of_tokens, steps, z } = of(batch);
        self.push_units(b, of_tokens);
        let (x0, units, weight) = (batch.x0, of_tokens.units, batch.weight);
        b.push(Diffuse { x0, units, level, streams, steps, z, weight });
    }

    fn input(&self, b: &mut Builder<'_>, z: Mat, steps: Mat, denoised: Option<Mat>) -> Mat {
        let y = b.alloc(self.model.memory.acts, z.rows, self.model.config.vector_inputs());
        b.push(VectorInput { z, steps, denoised, y });
        y
    }

    /// Appends a pass that nobody learns from; returns its logits.
    fn pass(&self, b: &mut Builder<'_>, z: Mat, steps: Mat, denoised: Option<Mat>, positions: usize) -> Mat {
        let y = self.input(b, z, steps, denoised);
        let first = self.model.project(b, y);
        let (_, last) = self.model.blocks(b, first, positions, Keep::Last);
        self.model.head_logits(b, Last::from(last))
    }

    /// Appends a pass that is told nothing; returns what it makes of the vectors.
    fn first_pass(&self, b: &mut Builder<'_>, batch: Batch) -> Mat {
        let VectorBatch { of_tokens: Units { units, .. }, steps, z } = of(batch);
        let logits = self.pass(b, z, steps, None, batch.x0.cols);
        let denoised = b.alloc(self.model.memory.stats, z.rows, z.cols);
        b.push(Denoise { logits, z, units, steps, drop: self.mask_token_id, denoised });
        denoised
    }
}
