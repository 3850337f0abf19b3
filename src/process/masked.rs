//! Masked (absorbing) diffusion: tokens turn into the mask one by one and are predicted back.
//!
//! D3PM's absorbing process (Austin et al. 2021) in the form of MDLM (Sahoo et al. 2024) and MD4 (Shi et al. 2024).

use crate::config::Objective;
use crate::model::{Keep, Transformer};
use crate::program::{
    Accumulate, Builder, Choice, Commit, CommitTokens, Corrupt, Corruption, CountMasked, Crop, CrossEntropy, Level,
    LossSum, Mat, Noise, Policy, Predict, SampleTime, SequenceLoss, Streams, TimeOrder, Weighting, Windows,
};
use std::ops::Range;

/// The process over one model.
#[derive(Clone, Debug)]
pub struct Masked {
    /// The denoiser.
    pub model: Transformer,
}

/// A corrupted batch in memory.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// `[B, T]` true tokens.
    pub x0: Mat,
    /// `[B, T]` with masks.
    pub xt: Mat,
    /// `[B, 1]` timesteps.
    pub t: Mat,
    /// `[N, 1]` weight of each row in the loss.
    pub weight: Mat,
}

/// Texts in the making.
#[derive(Clone, Copy, Debug)]
pub struct SampleState {
    /// `[B, T]` tokens; the mask where unknown.
    pub x: Mat,
    /// `[B, T]` 1 where unknown.
    pub masked: Mat,
    /// `[B, T]` the denoising step that committed a position.
    pub committed_at: Mat,
    /// `[B, 1]` unknown positions.
    pub remaining: Mat,
    /// `[B, T]` true tokens, for likelihoods.
    pub truth: Mat,
    /// `[B, 1]` f32 negative log-likelihood so far.
    pub nll: Mat,
}

/// One reverse step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReverseStep {
    /// Timestep that a model with a time embedding is told.
    pub order: TimeOrder,
    /// A symbol that is never predicted.
    pub drop: Option<u32>,
    /// How a candidate is taken.
    pub choice: Choice,
    /// Temperature of its confidence, by which policies decide: 1 for the model's own probability.
    pub confidence_at: f32,
    /// Which candidates are committed.
    pub policy: Policy,
}

impl SampleState {
    /// The state of fewer or shorter texts, in the same memory.
    #[track_caller]
    pub fn part(self, sequences: usize, positions: usize) -> Self {
        let cut = |mat: Mat, cols: usize| {
            assert!(sequences <= mat.rows && cols <= mat.cols, "[{sequences}, {cols}] of {:?}", mat.shape());
            Mat { rows: sequences, cols, ..mat }
        };
        SampleState {
            x: cut(self.x, positions),
            masked: cut(self.masked, positions),
            committed_at: cut(self.committed_at, positions),
            remaining: cut(self.remaining, 1),
            truth: cut(self.truth, positions),
            nll: cut(self.nll, 1),
        }
    }
}

impl Masked {
    /// The mask, which a denoiser that respects the process never predicts.
    pub fn mask_id(&self) -> u32 {
        self.model.config.mask_token_id
    }

    /// The timestep order that matches training, for texts of `positions`.
    pub fn time_order(&self, positions: usize) -> TimeOrder {
        TimeOrder::Masked { maskable: positions.saturating_sub(self.model.config.context_len).max(1) as u32 }
    }

    /// Memory for a batch of B sequences, filled by [`Masked::corrupt`] or from outside.
    pub fn batch(&self, b: &mut Builder<'_>, sequences: usize) -> Batch {
        let (ids, positions) = (self.model.memory.ids, self.model.config.sequence_len);
        Batch {
            x0: b.alloc(ids, sequences, positions),
            xt: b.alloc(ids, sequences, positions),
            t: b.alloc(ids, sequences, 1),
            weight: b.alloc(self.model.memory.stats, sequences * positions, 1),
        }
    }

    /// Appends the cutting and masking of a training batch; `total` sequences make the whole batch of a step.
    pub fn corrupt(&self, b: &mut Builder<'_>, batch: Batch, objective: Objective, windows: Range<u64>, total: usize) {
        let config = &self.model.config;
        let (context, sequences) = (config.context_len as u32, total as u32);
        b.push(Crop { windows: Windows::Random(windows), x0: batch.x0 });
        let stratified = Level::Stratified { of: sequences };
        let (noise, level) = match objective {
            Objective::Original => {
                let (timesteps, positions) = (config.diffusion_steps as u32, config.sequence_len as u32);
                let inv_count = b.alloc(self.model.memory.stats, 1, 1);
                b.push(CountMasked { positions, context, sequences, timesteps, inv_count });
                (Noise::Timesteps { timesteps, inv_count }, Level::Independent)
            }
            Objective::Nelbo { schedule } => (Noise::Continuous { schedule, weighting: Weighting::Nelbo }, stratified),
            Objective::Simple { schedule } => {
                (Noise::Continuous { schedule, weighting: Weighting::Simple }, stratified)
            }
            Objective::NelboCount => (Noise::ExactCount, stratified),
        };
        self.push_corrupt(b, batch, noise, level, Streams::Train, sequences);
    }

    fn push_corrupt(
        &self,
        b: &mut Builder<'_>,
        batch: Batch,
        noise: Noise,
        level: Level,
        streams: Streams,
        sequences: u32,
    ) {
        let config = &self.model.config;
        b.push(Corrupt {
            x0: batch.x0,
            noise,
            level,
            streams,
            context: config.context_len as u32,
            corruption: Corruption::Mask(config.mask_token_id),
            sequences,
            timesteps: config.diffusion_steps as u32,
            xt: batch.xt,
            t: batch.t,
            weight: batch.weight,
        });
    }

    /// Appends forward, loss and backward over a corrupted batch; returns the unweighted cross-entropy `[N, 1]`.
    pub fn learn(
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

    /// The original lets its head predict the mask; every bound on likelihood forbids it.
    fn drop(&self, objective: Objective) -> Option<u32> {
        (objective != Objective::Original).then(|| self.mask_id())
    }

    /// Appends one pass over B windows, each with an exact number of masked tokens, into `sums` `[B, 2]` f32: the masked
    /// tokens' cross-entropy in nats, and their number. Where that number k is uniform in 1..=maskable,
    /// `maskable/k · sum` is an unbiased estimate of the window's NELBO.
    pub fn evaluate(&self, b: &mut Builder<'_>, windows: Windows, level: Level, sums: Mat) {
        let batch = self.batch(b, sums.rows);
        b.push(Crop { windows, x0: batch.x0 });
        self.push_corrupt(b, batch, Noise::ExactCount, level, Streams::Eval, sums.rows as u32);
        let cross_entropy = self.cross_entropy(b, batch);
        b.push(SequenceLoss { cross_entropy, weight: batch.weight, sums });
    }

    fn cross_entropy(&self, b: &mut Builder<'_>, batch: Batch) -> Mat {
        let forward = self.model.forward(b, batch.xt, batch.t, Keep::Last);
        let logits = self.model.head_logits(b, forward.last);
        self.push_cross_entropy(b, logits, batch.x0)
    }

    fn push_cross_entropy(&self, b: &mut Builder<'_>, logits: Mat, target: Mat) -> Mat {
        let cross_entropy = b.alloc(self.model.memory.stats, logits.rows, 1);
        b.push(CrossEntropy { logits, target, drop: Some(self.mask_id()), cross_entropy });
        cross_entropy
    }

    /// Memory for B texts of T positions; it outlives programs.
    pub fn sample_state(&self, b: &mut Builder<'_>, sequences: usize) -> SampleState {
        let (ids, positions) = (self.model.memory.kept_ids, self.model.config.sequence_len);
        SampleState {
            x: b.alloc(ids, sequences, positions),
            masked: b.alloc(ids, sequences, positions),
            committed_at: b.alloc(ids, sequences, positions),
            remaining: b.alloc(ids, sequences, 1),
            truth: b.alloc(ids, sequences, positions),
            nll: b.alloc(self.model.memory.kept, sequences, 1),
        }
    }

    /// Appends one reverse step; returns the logits `[N, V]` that it decided on.
    pub fn reverse_step(&self, b: &mut Builder<'_>, state: SampleState, step: ReverseStep) -> Mat {
        let (logits, candidate, confidence) = self.predict(b, state, step);
        self.push_commit(b, state, confidence, step.policy, Commit::Candidates { candidate });
        logits
    }

    /// Appends one step of the exact likelihood of a deterministic policy: the policy picks positions by its own
    /// predictions, the true tokens are revealed there and their -log p is added to `state.nll` (DUEL).
    pub fn score_step(&self, b: &mut Builder<'_>, state: SampleState, step: ReverseStep) {
        assert!(step.choice == Choice::Greedy, "a likelihood needs a deterministic policy");
        let (logits, _, confidence) = self.predict(b, state, step);
        let cross_entropy = self.push_cross_entropy(b, logits, state.truth);
        let commit = Commit::Truth { target: state.truth, cross_entropy, nll: state.nll };
        self.push_commit(b, state, confidence, step.policy, commit);
    }

    fn predict(&self, b: &mut Builder<'_>, state: SampleState, step: ReverseStep) -> (Mat, Mat, Mat) {
        let (ids, stats) = (self.model.memory.ids, self.model.memory.stats);
        let [rows, cols] = state.x.shape();
        let t = b.alloc(ids, rows, 1);
        let timesteps = self.model.config.diffusion_steps as u32;
        if timesteps > 0 {
            b.push(SampleTime { masked: state.masked, order: step.order, timesteps, t });
        }
        let forward = self.model.forward(b, state.x, t, Keep::Last);
        let logits = self.model.head_logits(b, forward.last);
        let (candidate, confidence) = (b.alloc(ids, rows, cols), b.alloc(stats, rows, cols));
        b.push(Predict {
            logits,
            masked: state.masked,
            drop: step.drop,
            choice: step.choice,
            confidence_at: step.confidence_at,
            candidate,
            confidence,
        });
        (logits, candidate, confidence)
    }

    fn push_commit(&self, b: &mut Builder<'_>, state: SampleState, confidence: Mat, policy: Policy, commit: Commit) {
        b.push(CommitTokens {
            confidence,
            policy,
            commit,
            x: state.x,
            masked: state.masked,
            committed_at: state.committed_at,
            remaining: state.remaining,
        });
    }
}
