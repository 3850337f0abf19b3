//! Diffusion of latents: an encoder makes one vector of several tokens, of length 1, Gaussian noise is added to it, and a decoder reads
//! the tokens off (latent diffusion, Rombach et al. 2022; of text, Lovelace et al. 2023). Encoder and decoder are learned first, or
//! with the denoiser ([`Stage`]).
//!
//! The bound of a text w is that of VDM (Kingma et al. 2021) over its latents h: with q(z_0|w) = N(α₀h, σ₀²), the least noise,
//! -log p(w) ≤ E[-log p(w|z_0)] + KL(q(z_0|w) ‖ p(z_0)), where the second is what the most noise leaves and the integral of the
//! squared errors ([`LatentLoss`]). The first is the decoder's cross-entropy, and how many tokens it misreads caps everything.

use super::{Batch, Generative, SampleState, VectorDiffusion, VectorState};
use crate::config::{DENSITY_CELLS, Gamma, Levels, Objective, Schedule, Stage, Target};
use crate::error::{Error, Result};
use crate::model::{Block, Cost, Embedding, Keep, Stream, Transformer};
use crate::program::{
    Accumulate, Builder, Corrupt, Crop, CrossEntropy, DenoiseLatents, DiffuseLatents, DrawLevels, ErrorCost,
    LatentInput, LatentLoss, LatentsBackward, Level, LogitsGrad, LossSum, Mat, Misread, Mixing, Noise, NoisyGrad,
    ReadTokens, RenoiseLatents, SequenceLoss, Streams, UnitRows, VectorInput, VectorStep, Weighting, Windows,
};
use crate::rng::{self, threshold};
use std::ops::Range;

/// The process over one model.
#[derive(Clone, Debug)]
pub struct Latent {
    /// What predicts latents without noise.
    pub denoiser: Transformer,
    /// What makes them of tokens.
    pub encoder: Transformer,
    /// What reads tokens off them.
    pub decoder: Transformer,
    /// The symbol that no text holds.
    pub mask_token_id: u32,
    /// The least noise and the most.
    pub gamma: Gamma,
    /// What is learned.
    pub stage: Stage,
    /// Share of the tokens that the encoder is not told while an autoencoder is learned by itself.
    pub char_drop: f32,
    /// Its decoder learns from as much more noise than the least, in units of γ.
    pub margin: f32,
    /// Whether a pass is told what one before made of the latents.
    pub is_told: bool,
}

/// What a batch of latents has besides tokens.
#[derive(Clone, Copy, Debug)]
pub struct LatentBatch {
    /// `[B, 11]`: [`VectorStep`], of the denoiser's levels and of the decoder's.
    levels: [Mat; 2],
    /// `[M, 1]`: what a latent's error counts.
    weight: Mat,
}

/// What an encoder has made.
struct Encoded {
    embedding: Embedding,
    blocks: Vec<Block>,
    last: Stream,
    /// `[M, d]`.
    latents: Mat,
    /// `[M, 1]`.
    rstd: Mat,
}

/// What a denoiser has made.
struct Denoised {
    y: Mat,
    blocks: Vec<Block>,
    last: Stream,
    output: Mat,
}

impl Generative for Latent {
    fn model(&self) -> &Transformer {
        &self.denoiser
    }

    fn mask_id(&self) -> u32 {
        self.mask_token_id
    }

    fn batch(&self, b: &mut Builder<'_>, sequences: usize) -> Batch {
        let batch = Batch::new(b, &self.denoiser, sequences);
        let stats = self.denoiser.memory.stats;
        let levels = [(); 2].map(|()| b.alloc(stats, sequences, VectorStep::COLS));
        let weight = b.alloc(stats, self.rows(batch.x0.len()), 1);
        Batch { latents: Some(LatentBatch { levels, weight }), ..batch }
    }

    fn check_objective(&self, objective: Objective) -> Result<()> {
        if objective.learned_levels().is_some() {
            return Err(Error::input(
                "levels are learned of tokens' costs, and a latent is of several; give other --levels",
            ));
        }
        match objective {
            Objective::Nelbo { schedule, .. } | Objective::Squared { schedule, .. } => Gamma::check(schedule),
            Objective::Simple { .. } | Objective::Original | Objective::NelboCount | Objective::Nll => {
                Err(Error::input(format!(
                    "the objective {} is of predicted tokens, and latents are predicted; wanted --objective nelbo or squared",
                    objective.name()
                )))
            }
        }
    }

    fn corrupt(&self, b: &mut Builder<'_>, batch: Batch, objective: Objective, windows: Range<u64>, total: usize) {
        b.push(Crop { windows: Windows::Random(windows), x0: batch.x0 });
        let LatentBatch { levels: [of_denoiser, of_decoder], weight } = of(batch);
        if self.stage.learns_coder() {
            // With the denoiser it is learned by the bound, which is of whole texts and of the least noise.
            let [char_drop, margin] = match self.stage {
                Stage::Autoencoder => [self.char_drop, self.margin],
                Stage::Joint | Stage::Diffusion => [0.0; 2],
            };
            self.drop_tokens(b, batch, char_drop, total);
            let gamma = Gamma { most: self.gamma.least + margin, ..self.gamma };
            let each = (Schedule::Linear, Levels::UNIFORM, ErrorCost::Denoised);
            self.draw(b, gamma, each, total, of_decoder, batch.weight);
        }
        if self.stage.learns_denoiser() {
            let each = match objective {
                Objective::Nelbo { schedule, levels } => (schedule, levels, ErrorCost::Bound),
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
            self.draw(b, self.gamma, each, total, of_denoiser, weight);
        }
    }

    fn learn(
        &self,
        b: &mut Builder<'_>,
        batch: Batch,
        objective: Objective,
        metrics: Mat,
        accumulate: Accumulate,
    ) -> Mat {
        let LatentBatch { levels: [of_denoiser, of_decoder], weight } = of(batch);
        if !self.stage.learns_coder() {
            let encoded = self.encode(b, batch.x0, batch.t, Keep::Last);
            let (loss, _) = self.learn_denoiser(b, of_denoiser, weight, &encoded, accumulate);
            b.push(LossSum { cross_entropy: loss, weight, accumulate, metrics });
            return loss;
        }
        let encoded = self.encode(b, batch.xt, batch.t, Keep::All);
        let Encoded { latents, rstd, .. } = encoded;
        let (loss, dy) = self.learn_decoder(b, batch, of_decoder, &encoded, accumulate);
        b.push(LossSum { cross_entropy: loss, weight: batch.weight, accumulate, metrics });
        let decoder = NoisyGrad { steps: of_decoder, dy };
        let mut denoiser = None;
        if self.stage.learns_denoiser() {
            let (loss, [dy, own]) = self.learn_denoiser(b, of_denoiser, weight, &encoded, accumulate);
            b.push(LossSum { cross_entropy: loss, weight, accumulate: Accumulate::Add, metrics });
            // Latents that are learned by an error that is no part of the bound would be those that are easily predicted: all alike.
            if let Objective::Nelbo { .. } = objective {
                denoiser = Some((NoisyGrad { steps: of_denoiser, dy }, own));
            }
        }
        let dtable = b.alloc(self.denoiser.memory.acts, latents.rows, latents.cols);
        b.push(LatentsBackward { latents, rstd, decoder, denoiser, dtable });
        let encoder = &self.encoder;
        let dx = encoder.pool_backward(b, encoded.last, dtable, accumulate);
        encoder.blocks_backward(b, &encoded.blocks, dx, batch.x0.cols, accumulate);
        encoder.embed_backward(b, &encoded.embedding, dx, accumulate);
        loss
    }

    /// Of texts as they would be read off now.
    fn logits(&self, b: &mut Builder<'_>, state: SampleState) -> Mat {
        let VectorState { z, .. } = state.vectors.expect("its own state");
        let y = b.alloc(self.denoiser.memory.acts, z.rows, z.cols);
        b.push(LatentInput { z, gamma: self.gamma, y });
        let (_, _, last) = self.decode(b, y, state.x.cols, Keep::Last);
        self.decoder.head_logits(b, last)
    }

    fn sample_state(&self, b: &mut Builder<'_>, sequences: usize) -> SampleState {
        let (memory, config) = (&self.denoiser.memory, &self.denoiser.config);
        let (positions, dims) = (config.sequence_len, config.vector_dims);
        let [z, denoised, known] = [(); 3].map(|()| b.alloc(memory.kept, sequences * positions / config.pool(), dims));
        let steps = b.alloc(memory.kept, sequences, VectorStep::COLS * positions);
        let vectors = Some(VectorState { z, denoised, known: Some(known), steps });
        SampleState { vectors, ..SampleState::new(b, memory, sequences, positions) }
    }
}

impl VectorDiffusion for Latent {
    fn gamma(&self) -> Gamma {
        self.gamma
    }

    fn prior_nats(&self) -> f64 {
        let config = &self.denoiser.config;
        self.gamma.prior_nats(config.vector_dims) / config.pool() as f64
    }

    fn misreads(&self) -> bool {
        true
    }

    fn evaluate(&self, b: &mut Builder<'_>, windows: Windows, levels: Mat, [errors, readings, misread]: [Mat; 3]) {
        let batch = self.batch(b, errors.rows);
        let LatentBatch { levels: [_, least], .. } = of(batch);
        b.push(Crop { windows, x0: batch.x0 });
        let encoded = self.encode(b, batch.x0, batch.t, Keep::Last);
        let z = self.noisy(b, encoded.latents, levels, rng::Stream::EvalNoise);
        let output = self.denoise(b, z, levels, Keep::Last).output;
        let loss = b.alloc(self.denoiser.memory.stats, z.rows, 1);
        b.push(LatentLoss { output, z, latents: encoded.latents, steps: levels, loss, back: None });
        // At one level, whichever is drawn; every row weighs something.
        let gamma = Gamma { most: self.gamma.least, ..self.gamma };
        let each = (Schedule::Linear, Levels::UNIFORM, ErrorCost::Denoised);
        self.draw(b, gamma, each, errors.rows, least, batch.weight);
        b.push(SequenceLoss { cross_entropy: loss, weight: batch.weight.row_block(0, z.rows), sums: errors });
        let y = self.read_through(b, encoded.latents, least);
        let (_, _, last) = self.decode(b, y, batch.x0.cols, Keep::Last);
        let (logits, target, drop) = (self.decoder.head_logits(b, last), batch.x0, self.mask_token_id);
        let [cross_entropy, wrong] = [(); 2].map(|()| b.alloc(self.denoiser.memory.stats, logits.rows, 1));
        b.push(CrossEntropy { logits, target, drop: Some(drop), cross_entropy });
        b.push(SequenceLoss { cross_entropy, weight: batch.weight, sums: readings });
        b.push(Misread { logits, target, drop, wrong });
        b.push(SequenceLoss { cross_entropy: wrong, weight: batch.weight, sums: misread });
    }

    /// Latents of the tokens that are known, of a text whose other ones the encoder is not told.
    fn begin(&self, b: &mut Builder<'_>, state: SampleState) {
        let t = b.alloc(self.denoiser.memory.ids, state.x.rows, 1);
        let known = state.vectors.and_then(|vectors| vectors.known).expect("its own state");
        let table = self.encoded(b, state.truth, t, Keep::Last).3;
        let rstd = b.alloc(self.denoiser.memory.stats, known.rows, 1);
        b.push(UnitRows { table, units: known, rstd });
    }

    fn reverse_step(&self, b: &mut Builder<'_>, state: SampleState) -> Mat {
        let VectorState { z, denoised, known, steps } = state.vectors.expect("its own state");
        let output = self.pass(b, z, steps, Some(denoised), Keep::Last).output;
        b.push(RenoiseLatents {
            output,
            steps,
            known: known.expect("its own state"),
            masked: state.masked,
            z,
            denoised,
            remaining: state.remaining,
        });
        output
    }

    fn read(&self, b: &mut Builder<'_>, state: SampleState) {
        let logits = self.logits(b, state);
        b.push(ReadTokens {
            logits,
            params: state.params,
            remaining: state.remaining,
            drop: self.mask_token_id,
            x: state.x,
            masked: state.masked,
            committed_at: state.committed_at,
        });
    }
}

fn of(batch: Batch) -> LatentBatch {
    batch.latents.expect("its own batch")
}

impl Latent {
    /// Latents of so many tokens.
    fn rows(&self, tokens: usize) -> usize {
        tokens / self.denoiser.config.pool()
    }

    /// Appends what the encoder reads of a training batch: some tokens are masks.
    fn drop_tokens(&self, b: &mut Builder<'_>, batch: Batch, share: f32, total: usize) {
        let at = threshold(share.into());
        let quantiles = Some(b.constant(self.denoiser.memory.kept_ids, vec![at; DENSITY_CELLS + 1]));
        b.push(Corrupt {
            x0: batch.x0,
            blocks: 1,
            noise: Noise::Continuous { schedule: Schedule::Linear, weighting: Weighting::Even },
            level: Level::Stratified { of: total as u32 },
            quantiles,
            streams: Streams::Train,
            context: 0,
            context_drop: 0,
            mixing: Mixing::mask(self.mask_token_id),
            sequences: total as u32,
            timesteps: 0,
            xt: batch.xt,
            rates: None,
            t: batch.t,
            weight: batch.weight,
        });
    }

    /// Appends the drawing of a batch's levels between two ends.
    fn draw(
        &self,
        b: &mut Builder<'_>,
        gamma: Gamma,
        (schedule, levels, cost): (Schedule, Levels, ErrorCost),
        total: usize,
        steps: Mat,
        weight: Mat,
    ) {
        let places = gamma.quantiles(schedule, levels).to_vec();
        let quantiles = b.constant(self.denoiser.memory.kept_ids, places);
        let (of, tokens) = (total as u32, self.denoiser.config.sequence_len as u32);
        b.push(DrawLevels { of, tokens, quantiles, gamma, cost, steps, weight });
    }

    /// Appends a pass of the encoder over tokens `[B, T]`, and vectors of them that are not yet as long as one another, `[M, d]`.
    fn encoded(&self, b: &mut Builder<'_>, ids: Mat, t: Mat, keep: Keep) -> (Embedding, Vec<Block>, Stream, Mat) {
        let embedding = self.encoder.embed(b, ids, t);
        let (blocks, last) = self.encoder.blocks(b, embedding.first, ids.cols, keep);
        let table = self.encoder.pool(b, last, self.rows(ids.len()));
        (embedding, blocks, last, table)
    }

    fn encode(&self, b: &mut Builder<'_>, ids: Mat, t: Mat, keep: Keep) -> Encoded {
        let (embedding, blocks, last, table) = self.encoded(b, ids, t, keep);
        let stats = self.denoiser.memory.stats;
        let [latents, rstd] = [table.cols, 1].map(|cols| b.alloc(stats, table.rows, cols));
        b.push(UnitRows { table, units: latents, rstd });
        Encoded { embedding, blocks, last, latents, rstd }
    }

    /// Appends noise over latents, of a level for each text.
    fn noisy(&self, b: &mut Builder<'_>, latents: Mat, steps: Mat, stream: rng::Stream) -> Mat {
        let z = b.alloc(self.denoiser.memory.stats, latents.rows, latents.cols);
        b.push(DiffuseLatents { latents, steps, stream, z: Some(z), y: None });
        z
    }

    /// The same, not the denoiser's but a draw of its own, of what a decoder reads.
    fn read_through(&self, b: &mut Builder<'_>, latents: Mat, steps: Mat) -> Mat {
        let (y, stream) = (b.alloc(self.denoiser.memory.acts, latents.rows, latents.cols), rng::Stream::Decode);
        b.push(DiffuseLatents { latents, steps, stream, z: None, y: Some(y) });
        y
    }

    /// Appends a pass of the decoder over latents with noise as it reads them, up to the head.
    fn decode(&self, b: &mut Builder<'_>, y: Mat, positions: usize, keep: Keep) -> (Embedding, Vec<Block>, Stream) {
        let embedding = self.decoder.unpool(b, y, positions);
        let (blocks, last) = self.decoder.blocks(b, embedding.first, positions, keep);
        (embedding, blocks, last)
    }

    /// Appends a pass of the denoiser, which is told what is made of the latents, or nothing.
    fn pass(&self, b: &mut Builder<'_>, z: Mat, steps: Mat, denoised: Option<Mat>, keep: Keep) -> Denoised {
        let model = &self.denoiser;
        let y = b.alloc(model.memory.acts, z.rows, model.config.vector_inputs());
        b.push(VectorInput { z, steps, denoised, y });
        let first = model.project(b, y);
        let (blocks, last) = model.blocks(b, first, z.rows / steps.rows, keep);
        Denoised { y, blocks, last, output: model.head_logits(b, last) }
    }

    /// The same, told by a pass before where it is to be.
    fn denoise(&self, b: &mut Builder<'_>, z: Mat, steps: Mat, keep: Keep) -> Denoised {
        let denoised = self.is_told.then(|| {
            let output = self.pass(b, z, steps, None, Keep::Last).output;
            let denoised = b.alloc(self.denoiser.memory.stats, z.rows, z.cols);
            b.push(DenoiseLatents { output, z, steps, denoised });
            denoised
        });
        self.pass(b, z, steps, denoised, keep)
    }

    /// Appends the decoder's loss and its backward; returns the cross-entropy `[N, 1]` and the gradient of what it reads.
    fn learn_decoder(
        &self,
        b: &mut Builder<'_>,
        batch: Batch,
        steps: Mat,
        encoded: &Encoded,
        accumulate: Accumulate,
    ) -> (Mat, Mat) {
        let (model, positions) = (&self.decoder, batch.x0.cols);
        let y = self.read_through(b, encoded.latents, steps);
        let (embedding, blocks, last) = self.decode(b, y, positions, Keep::All);
        let cost = Cost::CrossEntropy { drop: Some(self.mask_token_id) };
        let (loss, dx) = model.head_loss(b, last, batch.x0, batch.weight, cost, accumulate);
        model.blocks_backward(b, &blocks, dx, positions, accumulate);
        (loss, model.unpool_backward(b, y, &embedding, dx, accumulate))
    }

    /// Appends the denoiser's loss and its backward; returns what each latent costs `[M, 1]`, and the gradients of what it reads and of
    /// the latents besides.
    fn learn_denoiser(
        &self,
        b: &mut Builder<'_>,
        steps: Mat,
        weight: Mat,
        encoded: &Encoded,
        accumulate: Accumulate,
    ) -> (Mat, [Mat; 2]) {
        let (model, memory, latents) = (&self.denoiser, &self.denoiser.memory, encoded.latents);
        let [m, d] = latents.shape();
        let z = self.noisy(b, latents, steps, rng::Stream::Noise);
        let Denoised { y, blocks, last, output } = self.denoise(b, z, steps, Keep::All);
        let [loss, s] = [(); 2].map(|()| b.alloc(memory.stats, m, 1));
        let (dlogits, own) = (b.alloc(memory.acts, m, d), b.alloc(memory.stats, m, d));
        let scale = memory.training.as_ref().and_then(|training| training.scale);
        let (sumsq, width) = (Some(last.sumsq), last.x.cols as u32);
        let back = Some((LogitsGrad { sumsq, width, weight, scale, dlogits, s }, own));
        b.push(LatentLoss { output, z, latents, steps, loss, back });
        let (dx, positions) = (model.head_backward(b, last, dlogits, s, accumulate), m / steps.rows);
        model.blocks_backward(b, &blocks, dx, positions, accumulate);
        (loss, [model.project_backward(b, y, dx, accumulate), own])
    }
}
