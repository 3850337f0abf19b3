//! Families of processes, one module for those of a kind. A process says what a model reads of a text, what the loss is, and
//! how a text comes about; it pushes ops and never touches a backend.
//!
//! What every family has to say is [`Generative`]. A family of masked diffusion, whose texts come out of masks in any order, is a
//! [`Diffusion`] too; one whose noise are other symbols is an [`Interpolating`], with a π of its own, that may be trained on
//! [`Relaxed`] tokens; one whose noise is added to vectors is a [`VectorDiffusion`], of vectors of single tokens ([`Gaussian`]) or of
//! several ([`Latent`]); [`Autoregressive`] has neither noise nor an order to choose, and an exact likelihood instead of bounds. A
//! [`Joint`] model is of two kinds, as it is asked for.
//!
//! A further family is a variant of [`ProcessConfig`] and of [`Family`] beside it, a module here that
//! implements its traits, and an arm in each of [`Process`]'s matches: three files.

mod autoregressive;
mod block;
mod gaussian;
mod interpolating;
mod joint;
mod latent;
mod masked;
mod relaxed;

pub use autoregressive::{Autoregressive, Past};
pub use block::Block;
pub use gaussian::{Gaussian, VectorState};
pub use interpolating::Interpolating;
pub use joint::Joint;
pub use latent::{Latent, LatentBatch};
pub use masked::Masked;
pub use relaxed::Relaxed;

use crate::config::{Family, Gamma, MaskShare, ModelConfig, Objective, ProcessConfig};
use crate::error::{Error, Result};
use crate::model::{Forward, Keep, Memory, Transformer, Use};
use crate::program::{
    Accumulate, AttentionMask, Builder, Commit, CommitTokens, Level, Mat, Mixing, Plan, Predict, SamplingParams,
    Storage, TimeOrder, Windows,
};
use crate::rng::threshold;
use std::ops::Range;

/// The process of a model, whichever it is.
#[derive(Clone, Debug)]
pub enum Process {
    /// [`Masked`].
    Masked(Masked),
    /// [`Autoregressive`].
    Autoregressive(Autoregressive),
    /// [`Joint`].
    Joint(Box<Joint>),
    /// [`Block`], one for each length of blocks that is learned.
    Block(Vec<Block>),
    /// [`Interpolating`]; trained on [`Relaxed`] tokens, one for steps of one pass and one for those of two.
    Interpolating(Vec<Interpolating>),
    /// [`Gaussian`], which is told nothing, and which is told what it made of the vectors before.
    Gaussian(Box<[Gaussian; 2]>),
    /// [`Latent`]; where its denoiser learns, one that is told nothing and one that is told what it made of the latents before.
    Latent(Vec<Latent>),
}

impl Process {
    /// Lays a model out in a plan as its process wants it.
    pub fn new(plan: &mut Plan, process: &ProcessConfig, model: &ModelConfig, storage: Storage, used: Use) -> Self {
        if let ProcessConfig::Latent { mask_token_id, gamma, stage, char_drop, margin } = *process {
            let [denoiser, encoder, decoder] = Transformer::of_latents(plan, model, process, storage, used);
            let told =
                Latent { denoiser, encoder, decoder, mask_token_id, gamma, stage, char_drop, margin, is_told: true };
            let untold = stage.learns_denoiser().then(|| Latent { is_told: false, ..told.clone() });
            return Process::Latent(untold.into_iter().chain([told]).collect());
        }
        let vocab_size = model.vocab_size;
        let mut model = |mask| Transformer::new(plan, model, mask, storage, used);
        let mixing = |mask: u32, masks: MaskShare| Mixing::new(mask, vocab_size as u32 - 1, masks);
        match *process {
            ProcessConfig::Masked { mask_token_id, context_len, prompt_drop } => {
                let model = model(AttentionMask::Bidirectional);
                Process::Masked(Masked {
                    model,
                    mask_token_id,
                    context_len,
                    prompt_drop: threshold(prompt_drop.into()),
                })
            }
            ProcessConfig::Autoregressive { mask_token_id } => {
                let model = model(AttentionMask::Causal);
                Process::Autoregressive(Autoregressive { model, mask_token_id })
            }
            ProcessConfig::Joint { mask_token_id, .. } => {
                Process::Joint(Joint::new(&model(AttentionMask::Bidirectional), mask_token_id).into())
            }
            ProcessConfig::Block { mask_token_id, block_length } => {
                let model = model(AttentionMask::Bidirectional);
                Process::Block(
                    block_length.all().iter().map(|&length| Block::new(&model, mask_token_id, length)).collect(),
                )
            }
            ProcessConfig::Mixed { mask_token_id, mask_share } => Process::Interpolating(vec![Interpolating {
                mixing: mixing(mask_token_id, mask_share),
                model: model(AttentionMask::Bidirectional),
                relaxed: None,
            }]),
            ProcessConfig::Relaxed { mask_token_id, mask_share, temperatures, relaxation, .. } => {
                let model = model(AttentionMask::Bidirectional);
                let of = |is_unrolled| Interpolating {
                    mixing: mixing(mask_token_id, mask_share),
                    model: model.clone(),
                    relaxed: Some(Relaxed { temperatures, relaxation, is_unrolled }),
                };
                Process::Interpolating([false, true].map(of).into())
            }
            ProcessConfig::Gaussian { mask_token_id, gamma } => {
                let model = model(AttentionMask::Bidirectional);
                let told = |is_told| Gaussian { model: model.clone(), mask_token_id, gamma, is_told };
                Process::Gaussian([false, true].map(told).into())
            }
            ProcessConfig::Uniform { mask_token_id } => Process::Interpolating(vec![Interpolating {
                mixing: mixing(mask_token_id, MaskShare::default()),
                model: model(AttentionMask::Bidirectional),
                relaxed: None,
            }]),
            ProcessConfig::Latent { .. } => unreachable!("laid out above"),
        }
    }

    /// Every process that it can be used as: those that [`ProcessConfig::learned`] names, in their order.
    pub fn parts(&self) -> Vec<Kind<'_>> {
        match self {
            Process::Masked(process) => vec![Kind::Diffusion(process)],
            Process::Autoregressive(process) => vec![Kind::Autoregressive(process)],
            Process::Joint(joint) => vec![Kind::Diffusion(&joint.masked), Kind::Autoregressive(&joint.causal)],
            Process::Block(lengths) => lengths.iter().map(|process| Kind::Diffusion(process)).collect(),
            Process::Interpolating(all) => all.iter().map(Kind::Interpolating).collect(),
            Process::Gaussian(both) => both.iter().map(|process| Kind::Vectors(process)).collect(),
            Process::Latent(all) => all.iter().map(|process| Kind::Vectors(process)).collect(),
        }
    }

    /// It as one of its parts, the first of this family: a process with noise, or one without; panics where it is not that.
    #[track_caller]
    pub fn part(&self, family: Family) -> Kind<'_> {
        match (self, family) {
            (Process::Masked(process), Family::Masked) => Kind::Diffusion(process),
            (Process::Autoregressive(process), Family::Autoregressive) => Kind::Autoregressive(process),
            (Process::Joint(joint), Family::Masked) => Kind::Diffusion(&joint.masked),
            (Process::Joint(joint), Family::Autoregressive) => Kind::Autoregressive(&joint.causal),
            (Process::Block(lengths), Family::Block) => Kind::Diffusion(&lengths[0]),
            (Process::Interpolating(all), Family::Uniform | Family::Mixed | Family::Relaxed) => {
                Kind::Interpolating(&all[all.len() - 1])
            }
            (Process::Gaussian(both), Family::Gaussian) => Kind::Vectors(&both[1]),
            (Process::Latent(all), Family::Latent) => Kind::Vectors(&all[all.len() - 1]),
            _ => panic!("{family} is no part of this process"),
        }
    }

    /// It as a family of masked diffusion; panics where it is none.
    #[track_caller]
    pub fn diffusion(&self) -> &dyn Diffusion {
        match self.parts()[0] {
            Kind::Diffusion(process) => process,
            Kind::Autoregressive(_) | Kind::Interpolating(_) | Kind::Vectors(_) => panic!("a process without masks"),
        }
    }

    /// It as an autoregressive one; panics where it is none.
    #[track_caller]
    pub fn autoregressive(&self) -> &Autoregressive {
        match self {
            Process::Autoregressive(process) => process,
            Process::Joint(joint) => &joint.causal,
            _ => panic!("a process with noise is not autoregressive"),
        }
    }

    /// It as one whose noise turns tokens into others; panics where it is none.
    #[track_caller]
    pub fn interpolating(&self) -> &Interpolating {
        match self {
            Process::Interpolating(all) => &all[0],
            _ => panic!("a process whose noise is none but masks"),
        }
    }

    /// It as one whose noise is added to vectors, told what it made of them before; panics where it is none.
    #[track_caller]
    pub fn vectors(&self) -> &dyn VectorDiffusion {
        match self {
            Process::Gaussian(both) => &both[1],
            Process::Latent(all) => &all[all.len() - 1],
            _ => panic!("a process of tokens"),
        }
    }

    /// The network of every part.
    pub fn model(&self) -> &Transformer {
        self.parts()[0].generative().model()
    }

    /// The symbol of every part that is no text.
    pub fn mask_id(&self) -> u32 {
        self.parts()[0].generative().mask_id()
    }

    /// Memory for B texts of T positions for every part; it outlives programs.
    pub fn sample_state(&self, b: &mut Builder<'_>, sequences: usize) -> SampleState {
        self.parts()[self.parts().len() - 1].generative().sample_state(b, sequences)
    }
}

/// How the texts of a process come about.
#[derive(Clone, Copy)]
pub enum Kind<'a> {
    /// Out of masks, in any order.
    Diffusion(&'a dyn Diffusion),
    /// Out of other symbols, all at once and again and again.
    Interpolating(&'a Interpolating),
    /// Out of vectors of noise, all at once and again and again.
    Vectors(&'a dyn VectorDiffusion),
    /// From left to right.
    Autoregressive(&'a Autoregressive),
}

impl<'a> Kind<'a> {
    /// What every process has to say.
    pub fn generative(self) -> &'a dyn Generative {
        match self {
            Kind::Diffusion(process) => process,
            Kind::Interpolating(process) => process,
            Kind::Vectors(process) => process,
            Kind::Autoregressive(process) => process,
        }
    }
}

/// What training asks of every process, and what all of them sample texts in.
pub trait Generative {
    /// The network that predicts tokens.
    fn model(&self) -> &Transformer;

    /// The symbol that is no text: it stands for an unknown token, or before the first, and is never predicted by a model that
    /// respects the process.
    fn mask_id(&self) -> u32;

    /// Memory for a batch of B sequences, filled by [`Generative::corrupt`] or from outside.
    fn batch(&self, b: &mut Builder<'_>, sequences: usize) -> Batch {
        Batch::new(b, self.model(), sequences)
    }

    /// Appends a forward pass over a batch; of the stream behind it the first rows, one for each token, predict them.
    fn forward(&self, b: &mut Builder<'_>, batch: Batch, keep: Keep) -> Forward {
        self.model().forward(b, batch.xt, batch.t, keep)
    }

    /// Refuses an objective that a model of this process cannot be trained by. To be asked before [`Generative::corrupt`].
    fn check_objective(&self, objective: Objective) -> Result<()>;

    /// Appends the cutting of a training batch, and what the model reads of it; `total` sequences make the whole batch of a
    /// step.
    fn corrupt(&self, b: &mut Builder<'_>, batch: Batch, objective: Objective, windows: Range<u64>, total: usize);

    /// Appends forward, loss and backward over such a batch; returns the unweighted cross-entropy `[N, 1]`.
    fn learn(
        &self,
        b: &mut Builder<'_>,
        batch: Batch,
        objective: Objective,
        metrics: Mat,
        accumulate: Accumulate,
    ) -> Mat;

    /// Appends a pass over texts that are known in part; row i of a text's logits `[N, V]` is what the model says of its token i.
    /// The op that writes them is the last.
    fn logits(&self, b: &mut Builder<'_>, state: SampleState) -> Mat;

    /// Memory for B texts of T positions; it outlives programs.
    fn sample_state(&self, b: &mut Builder<'_>, sequences: usize) -> SampleState {
        SampleState::new(b, &self.model().memory, sequences, self.model().config.sequence_len)
    }
}

/// What evaluation and sampling ask of a process whose noise are masks.
pub trait Diffusion: Generative {
    /// The timestep order that matches training, for texts of `positions`.
    fn time_order(&self, positions: usize) -> TimeOrder;

    /// Tokens that are written together, where texts are not written as wholes: a stretch behind the other, and what is
    /// known of those before is kept.
    fn stretch(&self) -> Option<usize> {
        None
    }

    /// Appends one pass over windows, each of whose blocks, of which it may be one, has an exact number of corrupted tokens,
    /// into `sums` `[B, 2]` f32, a row for each block: those tokens' cross-entropy in nats, and their number. Where that number
    /// k is uniform in 1..=maskable, `maskable/k · sum` is an unbiased estimate of the block's NELBO.
    fn evaluate(&self, b: &mut Builder<'_>, windows: Windows, level: Level, sums: Mat);

    /// Refuses to guide texts by what is given, of a model that does not know what they are without it.
    fn check_guidance(&self) -> Result<()> {
        Err(Error::input(
            "guidance (--guidance) of a model that keeps what stands before; wanted one of masked diffusion of whole texts, --process \
             masked",
        ))
    }

    /// Appends one reverse step; returns the logits `[N, V]` that it decided on.
    fn reverse_step(&self, b: &mut Builder<'_>, state: SampleState, step: ReverseStep) -> Mat;

    /// Appends what a step does with the logits of every position: decides which are committed, and to what. Returns them.
    fn decide(&self, b: &mut Builder<'_>, logits: Mat, state: SampleState, step: ReverseStep, commit: Commit) -> Mat {
        b.push(Predict {
            logits,
            masked: state.masked,
            params: state.params,
            remaining: state.remaining,
            drop: step.drop,
            commit,
            confidence: state.confidence,
        });
        b.push(CommitTokens {
            confidence: state.confidence,
            params: state.params,
            lots: state.lots,
            mask_id: self.mask_id(),
            commit,
            x: state.x,
            masked: state.masked,
            committed_at: state.committed_at,
            remaining: state.remaining,
        });
        logits
    }

    /// Appends one step of the exact likelihood of a policy that commits by p alone: the true tokens are revealed at the
    /// positions that it picks, and -log of the probability that they are drawn with is added to `state.nll` (DUEL).
    fn score_step(&self, b: &mut Builder<'_>, state: SampleState, step: ReverseStep);
}

/// What evaluation and sampling ask of a process whose noise is added to vectors.
pub trait VectorDiffusion: Generative {
    /// The least noise and the most.
    fn gamma(&self) -> Gamma;

    /// What the most noise leaves, nats of a token.
    fn prior_nats(&self) -> f64;

    /// Whether an evaluation counts the tokens that are read off wrong.
    fn misreads(&self) -> bool {
        false
    }

    /// Appends one pass over windows with noise of given levels, a [`VectorStep`](crate::program::VectorStep) of each, into three
    /// `[B, 2]` f32: the sum of each window's squared errors, as its step says that they count; what it costs to read its tokens off;
    /// and, where they are [counted](Self::misreads), those that are read off wrong; each with the number of its terms.
    fn evaluate(&self, b: &mut Builder<'_>, windows: Windows, steps: Mat, sums: [Mat; 3]);

    /// Appends the making of the known tokens' vectors, into [`VectorState::known`], where they are not those of a table.
    fn begin(&self, _b: &mut Builder<'_>, _state: SampleState) {}

    /// Appends one reverse step, from a level to a lower one; returns what the network said, `[N, V]` logits or `[M, d]`.
    fn reverse_step(&self, b: &mut Builder<'_>, state: SampleState) -> Mat;

    /// Appends the reading of tokens off the vectors where steps do not read them.
    fn read(&self, _b: &mut Builder<'_>, _state: SampleState) {}
}

/// A batch in memory, and what the model reads of it.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// `[B, T]` true tokens.
    pub x0: Mat,
    /// `[B, T]` what the model sees of them.
    pub xt: Mat,
    /// `[B, 1]` timesteps; of a process whose blocks have levels of their own, one for each.
    pub t: Mat,
    /// `[B, 2]` noise rates in units of 2⁻²⁴, of a process whose loss asks for them; the second ones are where a step leads.
    pub rates: Option<Mat>,
    /// Tokens as vectors, of a process that adds noise to those.
    pub vectors: Option<gaussian::VectorBatch>,
    /// Levels of a process of latents.
    pub latents: Option<LatentBatch>,
    /// `[N, 1]` weight of each row in the loss.
    pub weight: Mat,
}

impl Batch {
    /// Memory for B whole windows of a model, whose loss asks for no rates.
    fn new(b: &mut Builder<'_>, model: &Transformer, sequences: usize) -> Self {
        let (memory, positions) = (&model.memory, model.config.sequence_len);
        Batch {
            x0: b.alloc(memory.ids, sequences, positions),
            xt: b.alloc(memory.ids, sequences, positions),
            t: b.alloc(memory.ids, sequences, 1),
            rates: None,
            vectors: None,
            latents: None,
            weight: b.alloc(memory.stats, sequences * positions, 1),
        }
    }
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
    /// `[B, T]` f32: how sure the model is of what is unknown, and was of the rest when it was written.
    pub confidence: Mat,
    /// `[B, 1]` unknown positions: a text is done when it has none, and so the host knows.
    pub remaining: Mat,
    /// `[B, T]` true tokens, for likelihoods; where known tokens get noise, those.
    pub truth: Mat,
    /// `[B, 1]` f32 negative log-likelihood so far.
    pub nll: Mat,
    /// `[B, 11]` f32: [`SamplingParams`].
    pub params: Mat,
    /// `[B, 2·T]` u32: which lots commit or mask a position in a step, as [`CommitTokens`] says; or from which noise rate to
    /// which one it leads ([`Renoise`](crate::program::Renoise)).
    pub lots: Mat,
    /// `[L·B·T, 2C]`: keys and values of every layer, one after another, of a process that keeps them.
    pub cache: Option<Mat>,
    /// `[B, 1]` positions of the window from the text's first one on, where the text is a stretch of a window; the cache is the
    /// window's then.
    pub ahead: Option<Mat>,
    /// What a window begins with, of a process whose texts are stretches of one: `[K·B, L]` tokens of all stretches, those at a
    /// place of every text before those at the next, and `[K·B, 1]` what is `ahead` of each.
    pub begun: Option<[Mat; 2]>,
    /// The texts' vectors, of a process that adds noise to those.
    pub vectors: Option<VectorState>,
}

/// One reverse step; the numbers of each text are data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReverseStep {
    /// Timestep that a model with a time embedding is told.
    pub order: TimeOrder,
    /// A symbol that is never predicted.
    pub drop: Option<u32>,
    /// Whether [`SamplingParams::guidance`] counts: of a process that [has one](Diffusion::check_guidance). Each text takes the
    /// memory of two.
    pub is_guided: bool,
}

impl SampleState {
    /// Memory for B texts of T positions, without any for keys and values.
    fn new(b: &mut Builder<'_>, memory: &Memory, sequences: usize, positions: usize) -> Self {
        let ids = memory.kept_ids;
        SampleState {
            x: b.alloc(ids, sequences, positions),
            masked: b.alloc(ids, sequences, positions),
            committed_at: b.alloc(ids, sequences, positions),
            confidence: b.alloc(memory.kept, sequences, positions),
            remaining: b.alloc(ids, sequences, 1),
            truth: b.alloc(ids, sequences, positions),
            nll: b.alloc(memory.kept, sequences, 1),
            params: b.alloc(memory.kept, sequences, SamplingParams::COLS),
            lots: b.alloc(ids, sequences, 2 * positions),
            cache: None,
            ahead: None,
            begun: None,
            vectors: None,
        }
    }

    /// Of [`SampleState::begun`] the first stretches of each text.
    pub fn begun_of(&self, stretches: usize) -> [Mat; 2] {
        let begun = self.begun.expect("texts are stretches of a window");
        begun.map(|mat| mat.row_block(0, stretches * self.x.rows))
    }

    /// The cache of some layer, of a process that keeps one.
    fn cache_of(&self, layer: usize, layers: usize) -> Mat {
        let cache = self.cache.expect("the process keeps keys and values");
        let rows = cache.rows / layers;
        cache.row_block(layer * rows, rows)
    }

    /// The state of fewer or shorter texts, in the same memory.
    #[track_caller]
    pub fn part(self, sequences: usize, positions: usize) -> Self {
        let cut = |mat: Mat, cols: usize| {
            assert!(sequences <= mat.rows && cols <= mat.cols, "[{sequences}, {cols}] of {:?}", mat.shape());
            Mat { rows: sequences, cols, ..mat }
        };
        let kept = if self.ahead.is_some() { self.x.cols } else { positions };
        SampleState {
            cache: self.cache.map(|mat| Mat { rows: mat.rows / self.x.len() * sequences * kept, ..mat }),
            ahead: self.ahead.map(|mat| cut(mat, 1)),
            begun: self.begun,
            vectors: self.vectors.map(|vectors| vectors.part(sequences, positions)),
            x: cut(self.x, positions),
            masked: cut(self.masked, positions),
            committed_at: cut(self.committed_at, positions),
            confidence: cut(self.confidence, positions),
            remaining: cut(self.remaining, 1),
            truth: cut(self.truth, positions),
            nll: cut(self.nll, 1),
            params: cut(self.params, SamplingParams::COLS),
            lots: cut(self.lots, 2 * positions),
        }
    }
}
