//! What `tempest train` is asked to train: a preset or a file of configuration, and options that change it.

use super::text::{self, absolute};
use super::useless;
use clap::Args;
use std::path::{Path, PathBuf};
use tempest::config::{
    Architecture, Assignment, Autoencoder, Averages, BatchGrowth, BlockLengths, DType, DataConfig, Family, FromConfig,
    Levels, LrSchedule, MaskShare, ModelConfig, Objective, Optimizer, OptimizerConfig, Preset, ProcessConfig,
    Relaxation, RunConfig, Schedule, Stage, Temperatures, TrainConfig,
};
use tempest::data::{Corpus, Reading, Selection, VocabChoice};
use tempest::store::{self, RunPaths, SavedModel};
use tempest::{Error, Result, files, terminal};
use tempfile::NamedTempFile;

/// A run's configuration. What an option does not say is the file's or the preset's.
#[derive(Args, Debug)]
pub(crate) struct Recipe {
    /// Take from this file what no other option says: the config.toml of a run, as it is or changed; a run stands for its own.
    /// With nothing else said the new run is equal to that one, bit by bit
    #[arg(short, long, value_name = "RUN|FILE")]
    config: Option<PathBuf>,
    /// Change one value of the configuration, by its name in config.toml: optimizer.eps=1e-6. May be given several times,
    /// and has the last word
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Assignment>,
    /// Begin with the weights of this model instead of random ones: a run, or a model.safetensors of one or of `tempest
    /// import`. Its dimensions and its symbols are the new run's
    #[arg(long, value_name = "RUN|FILE", conflicts_with_all = ["layers", "heads", "width", "timesteps", "short_conv", "model", "process", "causal_share", "dims", "pool", "coder_layers", "vocab", "tokenizer"])]
    from: Option<PathBuf>,
    /// Key of every random number: the same seed gives the same run [default: 1]
    #[arg(short, long)]
    seed: Option<u64>,
    #[command(flatten)]
    text: text::Text,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    learning: Learning,
    #[command(flatten)]
    schedule: Loop,
}

/// The denoiser's dimensions.
#[derive(Args, Debug)]
#[group(id = "Model", multiple = true)]
#[command(next_help_heading = "Model")]
struct Model {
    /// A model and its way of training [default: nano]
    #[arg(short, long, value_enum, conflicts_with = "config")]
    preset: Option<Preset>,
    /// Transformer blocks
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Attention heads
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Width of the residual stream
    #[arg(long, value_name = "N")]
    width: Option<usize>,
    /// Positions of a window
    #[arg(long, value_name = "N")]
    positions: Option<usize>,
    /// Taps of convolutions that mix neighbouring positions before attention and MLP: 5 or 7; 0 for none
    #[arg(long, value_name = "N")]
    short_conv: Option<usize>,
    /// What the model is built of [default: the preset's]
    #[arg(long, value_enum)]
    model: Option<Architecture>,
    /// How text is learned: masked diffusion; ar (autoregressive), the next character from those before it; joint, each in
    /// some steps; block, masked diffusion of one block of characters from those before it; uniform, whose noise are random
    /// characters, and any may change again; mixed, of masks and random characters; gaussian, whose characters are vectors that
    /// Gaussian noise is added to; relaxed, as uniform, trained on distributions over characters; or latent, as gaussian, with one
    /// vector for several characters, by an autoencoder [default: masked]
    #[arg(long, value_enum)]
    process: Option<Family>,
    /// Share of the steps of --process joint that are autoregressive [default: 0.5]
    #[arg(long, value_name = "P")]
    causal_share: Option<f32>,
    /// Share of the noise of --process mixed and relaxed that is the mask, or gidd:P, from none at first to all of it, with at most a
    /// share P of other characters halfway [default: 0.8 for mixed, 0 for relaxed]
    #[arg(long, value_name = "P")]
    mask_share: Option<MaskShare>,
    /// Temperature of the soft tokens of --process relaxed, from the first step to the last, or over so many steps
    /// [default: 1:0.1]
    #[arg(long, value_name = "FIRST:LAST[:STEPS]")]
    tau: Option<Temperatures>,
    /// Share of the steps of --process relaxed that make a second pass, over noise of what the first one predicted [default: 0.5]
    #[arg(long, value_name = "P")]
    unroll: Option<f32>,
    /// Make the tokens of --process relaxed hard, with the gradient of soft ones
    #[arg(long)]
    straight_through: bool,
    /// Numbers of a vector of --process gaussian and latent [default: 8 of a character's, 32 of a latent]
    #[arg(long, value_name = "N")]
    dims: Option<usize>,
    /// What --process latent learns: autoencoder, which makes vectors of characters and characters of vectors; diffusion, of the
    /// vectors of a model that has learned that (--from); or joint, both at once [default: joint]
    #[arg(long, value_enum)]
    stage: Option<Stage>,
    /// Characters of a vector of --process latent, a divisor of a window's [default: 4]
    #[arg(long, value_name = "N")]
    pool: Option<usize>,
    /// Transformer blocks of the encoder of --process latent, and of its decoder [default: 1, and two fewer than the preset's of the
    /// denoiser]
    #[arg(long, value_name = "N")]
    coder_layers: Option<usize>,
    /// Share of the characters that the encoder is not told while --stage autoencoder learns [default: 0.05]
    #[arg(long, value_name = "P")]
    char_drop: Option<f32>,
    /// Positions of a block of --process block, a divisor of a window's; of several lengths each step trains one [default: 16]
    #[arg(long, value_name = "N,…")]
    block_length: Option<BlockLengths>,
    /// Positions at the start of a window that are never masked
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Share of the texts that are learned without what stands at those positions, for `sample --guidance` [default: 0]
    #[arg(long, value_name = "P")]
    prompt_drop: Option<f32>,
    /// Timesteps of a learned time embedding; 0 for none
    #[arg(long, value_name = "N")]
    timesteps: Option<usize>,
}

/// The objective and its optimizer.
#[derive(Args, Debug)]
#[group(id = "Learning", multiple = true)]
#[command(next_help_heading = "Learning")]
struct Learning {
    /// What is minimised [default: the preset's]
    #[arg(long, value_enum)]
    objective: Option<Objective>,
    /// Noise schedule of --objective nelbo, simple and squared [default: linear]
    #[arg(long, value_enum)]
    schedule: Option<Schedule>,
    /// How often --objective nelbo and simple train on each noise level: uniform; beta:A:B, a bell around (A-1)/(A+B-2) of the
    /// masks; or, under nelbo, learned, as the loss varies least. With :anneal:SHARE behind, ever more of them are uniform
    /// over this last share of the run. Under nelbo a level weighs less as it is drawn more often, under simple more [default:
    /// the preset's]
    #[arg(long, value_name = "DENSITY")]
    levels: Option<Levels>,
    /// What updates the parameters [default: the preset's]
    #[arg(long, value_enum)]
    optimizer: Option<Optimizer>,
    /// Peak learning rate of the blocks' matrices under --optimizer muon [default: 0.03]
    #[arg(long, value_name = "LR")]
    muon_lr: Option<f32>,
    /// Peak learning rate, of what --optimizer muon leaves to AdamW [default: the preset's, as for all below; a quarter of it
    /// where the preset's Muon is left out, four times where it is put in]
    #[arg(long)]
    lr: Option<f32>,
    /// Last learning rate of a schedule that goes down [default: the preset's for cosine, 0 for linear and wsd]
    #[arg(long)]
    min_lr: Option<f32>,
    /// Learning rate after the warm-up
    #[arg(long, value_enum)]
    lr_schedule: Option<LrSchedule>,
    /// Steps of linear warm-up
    #[arg(long, value_name = "STEPS")]
    warmup: Option<u64>,
    /// Decay of AdamW's first moment
    #[arg(long)]
    beta1: Option<f32>,
    /// Decay of AdamW's second moment
    #[arg(long)]
    beta2: Option<f32>,
    /// Decoupled weight decay
    #[arg(long)]
    weight_decay: Option<f32>,
    /// Largest global gradient norm; 0 for no clipping
    #[arg(long)]
    clip: Option<f32>,
    /// Probability of a number to be dropped while the model learns: of what MLPs add to the stream, and of --model gpt of the
    /// embedding, attention's weights and what attention adds too; 0 for none
    #[arg(long, value_name = "P")]
    dropout: Option<f32>,
    /// Decay of the weights' average, which is the model that is kept; 0 for none. Of several all are averaged: `eval` and
    /// `sample --ema` take the others
    #[arg(long, value_name = "DECAY,…")]
    ema: Option<Averages>,
}

/// How long, and what happens on the way.
#[derive(Args, Debug)]
#[group(id = "Loop", multiple = true)]
#[command(next_help_heading = "Loop")]
struct Loop {
    /// Optimizer steps [default: the preset's]
    #[arg(short = 'n', long)]
    steps: Option<u64>,
    /// Sequences of a micro-batch [default: the preset's]
    #[arg(short, long)]
    batch: Option<usize>,
    /// What the micro-batch grows to after so many steps, such as 500:32,1000:64; none for a batch that stays [default: none]
    #[arg(long, value_name = "STEP:BATCH,…")]
    batch_growth: Option<BatchGrowth>,
    /// Micro-batches of a step [default: 1]
    #[arg(long)]
    accumulate: Option<usize>,
    /// Steps between validations; 0 for only at the end [default: 500]
    #[arg(long, value_name = "STEPS")]
    eval_every: Option<u64>,
    /// Windows of the validation split in each validation; 0 for all. Fewer than have every noise level get several passes
    /// [default: 256]
    #[arg(long, value_name = "N")]
    eval_windows: Option<usize>,
    /// Steps between samples; 0 for only at the end [default: 500]
    #[arg(long, value_name = "STEPS")]
    sample_every: Option<u64>,
    /// What the samples begin with, such as $'ROMEO:\n'
    #[arg(long, value_name = "TEXT")]
    sample_prompt: Option<String>,
    /// Steps between checkpoints [default: 250]
    #[arg(long, value_name = "STEPS")]
    checkpoint_every: Option<u64>,
}

/// A run that is asked for, and the model that it begins with.
pub(crate) struct Draft {
    pub(crate) config: RunConfig,
    pub(crate) from: Option<SavedModel>,
    /// Whether its text is one that the configuration says the hash of.
    hashed: bool,
    /// The text, where it came on standard input.
    pub(crate) stdin: Option<NamedTempFile>,
}

impl Recipe {
    /// The configuration, over a text that is not read yet. `dtype` is what was asked for, `preferred` what the device does
    /// best.
    pub(crate) fn draft(&self, dtype: Option<DType>, preferred: DType) -> Result<Draft> {
        let mut config = match &self.config {
            Some(given) => RunConfig::open(&store::file_of(given, RunPaths::config))?,
            None => self.model.preset.unwrap_or_default().run(dtype.unwrap_or(preferred)),
        };
        config.version = env!("CARGO_PKG_VERSION").into();
        put(&mut config.seed, self.seed);
        put(&mut config.dtype, dtype);
        self.text.put_into(&mut config.data)?;
        let from = self.begin(&mut config)?;
        self.model.put_into(&mut config.model, &mut config.process)?;
        if self.model.process.is_some() || self.from.is_some() {
            config.objective = config.process.objective(config.objective);
        }
        self.learning.put_into(&mut config.objective, &mut config.optimizer)?;
        self.schedule.put_into(&mut config.train);
        if let ProcessConfig::Relaxed { temperatures, .. } = &mut config.process
            && temperatures.steps == 0
        {
            temperatures.steps = config.train.steps.min(u32::MAX.into()) as u32;
        }
        let config = self.set.iter().try_fold(config, |config, set| set.apply(&config))?;
        match &from {
            Some(model) => check_same(&config, model)?,
            None => self.text.check_unknown(config.data.vocab)?,
        }
        check_dimensions(&config.model, &config.process)?;
        config.validate()?;
        Ok(Draft { config, from, hashed: self.config.is_some() && !self.text.is_named(), stdin: None })
    }

    /// The model to begin with, and what it fixes of the configuration.
    fn begin(&self, config: &mut RunConfig) -> Result<Option<SavedModel>> {
        if let Some(given) = &self.from {
            let path = store::file_of(given, RunPaths::model);
            config.from = Some(FromConfig { model: absolute(&path)?, sha256: files::sha256(&path)? });
        }
        let Some(from) = &config.from else { return Ok(None) };
        let model = first_model(from)?;
        // The process of another family would be another run's; its context is this one's own.
        config.model = ModelConfig { sequence_len: config.model.sequence_len, ..model.config.clone() };
        if self.from.is_some() {
            config.model.sequence_len = model.config.sequence_len;
            config.process = model.process;
            (config.data.vocab, config.data.tokenizer) = (model.vocab.kind(), None);
        }
        Ok(Some(model))
    }

    /// The configuration of a run that goes on, with what may change on the way: the place of its text, its length, and what
    /// happens meanwhile.
    pub(crate) fn carry_on(&self, config: &RunConfig) -> Result<RunConfig> {
        let mut config = config.clone();
        self.text.carry_on(&mut config.data)?;
        self.schedule.put_into(&mut config.train);
        config.validate()?;
        Ok(config)
    }
}

/// Reads the model that a run begins with.
pub(crate) fn first_model(from: &FromConfig) -> Result<SavedModel> {
    let path = Path::new(&from.model);
    let model = SavedModel::read(path)?;
    if files::sha256(path)? != from.sha256 {
        return Err(Error::input(format!(
            "{}: is another model than the one that the run begins with (SHA-256 {}); restore it, or name a model with --from \
             in a new run",
            from.model, from.sha256
        )));
    }
    Ok(model)
}

/// Refuses a run whose dimensions or symbols are not those of the model that it begins with.
fn check_same(config: &RunConfig, from: &SavedModel) -> Result<()> {
    let wanted = ModelConfig { sequence_len: config.model.sequence_len, ..from.config.clone() };
    if (&wanted, from.vocab.kind()) == (&config.model, config.data.vocab) {
        return Ok(());
    }
    Err(Error::input(format!(
        "the model to begin with has {} and {} symbols, the run {} and {} symbols; leave out what makes them differ",
        from.config.describe(),
        from.vocab.kind(),
        config.model.describe(),
        config.data.vocab
    )))
}

impl Draft {
    /// Reads the text, and writes down what it tells of the run.
    pub(crate) fn read_text(&mut self) -> Result<Corpus> {
        let (data, config) = (self.config.data.clone(), &mut self.config);
        let vocab = match &self.from {
            Some(model) => VocabChoice::from(model.vocab.clone()),
            None => text::vocabulary(&data)?,
        };
        if data.source == DataConfig::STDIN {
            terminal::say("reading   standard input");
            self.stdin = Some(tempest::data::stdin()?);
        }
        let stdin = self.stdin.as_ref().map_or(Path::new(""), |copy| copy.path());
        let corpus = match self.hashed {
            true => text::of_run(&data, stdin, vocab, "name the text to train on with --data")?,
            false => {
                let reading = Reading { unknown: data.unknown, newlines: data.newlines };
                text::read(&Selection::of(&data, stdin), vocab, reading)?
            }
        };
        config.data.sha256 = corpus.sha256().into();
        config.model.vocab_size = corpus.vocab().size();
        config.process = config.process.with_mask(corpus.vocab().mask_id());
        config.validate()?;
        corpus.check_window(config.model.sequence_len)?;
        Ok(corpus)
    }
}

/// A value over the one that is there, if one was given.
pub(super) fn put<T>(place: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *place = value;
    }
}

impl Model {
    fn put_into(&self, model: &mut ModelConfig, process: &mut ProcessConfig) -> Result<()> {
        put(&mut model.n_layer, self.layers);
        put(&mut model.n_head, self.heads);
        put(&mut model.n_embd, self.width);
        put(&mut model.sequence_len, self.positions);
        put(&mut model.diffusion_steps, self.timesteps);
        put(&mut model.short_conv, self.short_conv);
        if let Some(family) = self.process.filter(|&family| family != process.family()) {
            *process = family.config(process.mask_token_id());
            // A preset's timesteps and convolutions are for its own process.
            let timesteps = family.timesteps().filter(|_| model.architecture == Architecture::Original);
            put(&mut model.diffusion_steps, self.timesteps.or(timesteps));
            if family == Family::Block {
                model.short_conv = self.short_conv.unwrap_or(0);
            }
            model.vector_dims = family.vector_dims();
            model.autoencoder = (family == Family::Latent).then_some(Autoencoder::USUAL);
            if let (Some(coder), None) = (model.autoencoder, self.layers) {
                // A preset's layers are those of the whole model.
                let n_layer = self.coder_layers.unwrap_or(coder.n_layer);
                model.n_layer = model.n_layer.saturating_sub(2 * n_layer).max(1);
            }
        }
        if let Some(architecture) = self.model.filter(|wanted| kind(*wanted) != kind(model.architecture)) {
            model.architecture = architecture;
            if architecture != Architecture::Original {
                // A preset's convolutions and timesteps are for its own architecture.
                (model.short_conv, model.diffusion_steps) = (self.short_conv.unwrap_or(0), self.timesteps.unwrap_or(0));
            }
        }
        let family = process.family();
        let useless = |option: &str, what: &str| useless(option, &format!("{what}, and this is --process {family}"));
        match (&mut *process, self.context) {
            (ProcessConfig::Masked { context_len, .. }, context) => put(context_len, context),
            (_, None) => {}
            (_, Some(_)) => return Err(useless("--context", "says what --process masked never masks")),
        }
        match (&mut *process, self.prompt_drop) {
            (ProcessConfig::Masked { prompt_drop, .. }, share) => put(prompt_drop, share),
            (_, None) => {}
            (_, Some(_)) => return Err(useless("--prompt-drop", "is for --process masked with a --context")),
        }
        match (&mut *process, self.causal_share) {
            (ProcessConfig::Joint { causal_share, .. }, share) => put(causal_share, share),
            (_, None) => {}
            (_, Some(_)) => return Err(useless("--causal-share", "is for --process joint")),
        }
        match (&mut *process, self.mask_share) {
            (ProcessConfig::Mixed { mask_share, .. } | ProcessConfig::Relaxed { mask_share, .. }, share) => {
                put(mask_share, share)
            }
            (_, None) => {}
            (_, Some(_)) => return Err(useless("--mask-share", "is for --process mixed and relaxed")),
        }
        match process {
            ProcessConfig::Relaxed { temperatures, unroll, relaxation, .. } => {
                put(temperatures, self.tau);
                put(unroll, self.unroll);
                put(relaxation, self.straight_through.then_some(Relaxation::StraightThrough));
            }
            _ if self.tau.is_some() => return Err(useless("--tau", "is for --process relaxed")),
            _ if self.unroll.is_some() => return Err(useless("--unroll", "is for --process relaxed")),
            _ if self.straight_through => return Err(useless("--straight-through", "is for --process relaxed")),
            _ => {}
        }
        match (&*process, self.dims) {
            (ProcessConfig::Gaussian { .. } | ProcessConfig::Latent { .. }, dims) => put(&mut model.vector_dims, dims),
            (_, None) => {}
            (_, Some(_)) => return Err(useless("--dims", "is for --process gaussian and latent")),
        }
        match (&mut *process, &mut model.autoencoder) {
            (ProcessConfig::Latent { stage, char_drop, .. }, Some(coder)) => {
                put(stage, self.stage);
                if self.char_drop.is_some() && *stage != Stage::Autoencoder {
                    return Err(super::useless(
                        "--char-drop",
                        &format!("is for --stage autoencoder, and this is {stage}"),
                    ));
                }
                put(char_drop, self.char_drop);
                put(&mut coder.pool, self.pool);
                put(&mut coder.n_layer, self.coder_layers);
            }
            _ => {
                let said = [
                    ("--stage", self.stage.is_some()),
                    ("--pool", self.pool.is_some()),
                    ("--coder-layers", self.coder_layers.is_some()),
                    ("--char-drop", self.char_drop.is_some()),
                ];
                if let Some((option, _)) = said.into_iter().find(|(_, said)| *said) {
                    return Err(useless(option, "is for --process latent"));
                }
            }
        }
        match (process, self.block_length) {
            (ProcessConfig::Block { block_length, .. }, length) => put(block_length, length),
            (_, None) => {}
            (_, Some(_)) => return Err(useless("--block-length", "is for --process block")),
        }
        Ok(())
    }
}

/// It without what may be chosen of it.
fn kind(architecture: Architecture) -> std::mem::Discriminant<Architecture> {
    std::mem::discriminant(&architecture)
}

impl Learning {
    fn put_into(&self, objective: &mut Objective, optimizer: &mut OptimizerConfig) -> Result<()> {
        self.put_into_objective(objective)?;
        self.put_into_optimizer(optimizer)
    }

    fn put_into_objective(&self, objective: &mut Objective) -> Result<()> {
        if let Some(mut wanted) = self.objective {
            if let Some((wanted, noise)) = wanted.noise().zip(objective.noise()) {
                (*wanted.0, *wanted.1) = (*noise.0, *noise.1);
            }
            *objective = wanted;
        }
        let why = format!("is for --objective nelbo, simple and squared, and this is {}", objective.name());
        if let Some(schedule) = self.schedule {
            *objective.noise().ok_or_else(|| useless("--schedule", &why))?.0 = schedule;
        }
        if let Some(levels) = self.levels {
            *objective.noise().ok_or_else(|| useless("--levels", &why))?.1 = levels;
        }
        Ok(())
    }

    fn put_into_optimizer(&self, o: &mut OptimizerConfig) -> Result<()> {
        if let Some(optimizer) = self.optimizer {
            o.update_by(optimizer);
        }
        put(&mut o.lr, self.lr);
        put(&mut o.schedule, self.lr_schedule);
        let last = match self.lr_schedule {
            Some(LrSchedule::Linear | LrSchedule::Wsd) => 0.0,
            _ => o.min_lr.min(o.lr),
        };
        o.min_lr = self.min_lr.unwrap_or(last);
        if self.min_lr.is_some() && o.schedule == LrSchedule::Constant {
            return Err(useless("--min-lr", "is where --lr-schedule cosine, linear and wsd end, and this is constant"));
        }
        put(&mut o.warmup, self.warmup);
        put(&mut o.beta1, self.beta1);
        put(&mut o.beta2, self.beta2);
        put(&mut o.weight_decay, self.weight_decay);
        put(&mut o.clip, self.clip);
        put(&mut o.dropout, self.dropout);
        put(&mut o.ema, self.ema.clone());
        match (&mut o.muon, self.muon_lr) {
            (Some(muon), lr) => put(&mut muon.lr, lr),
            (None, None) => {}
            (None, Some(_)) => return Err(useless("--muon-lr", "is for --optimizer muon, and this is adamw")),
        }
        Ok(())
    }
}

impl Loop {
    fn put_into(&self, train: &mut TrainConfig) {
        put(&mut train.steps, self.steps);
        put(&mut train.batch, self.batch);
        put(&mut train.batch_growth, self.batch_growth.clone());
        put(&mut train.accumulate, self.accumulate);
        put(&mut train.eval_every, self.eval_every);
        put(&mut train.eval_windows, self.eval_windows);
        put(&mut train.sample_every, self.sample_every);
        put(&mut train.checkpoint_every, self.checkpoint_every);
        train.sample_prompt = self.sample_prompt.clone().or(train.sample_prompt.take());
    }
}

fn check_dimensions(model: &ModelConfig, process: &ProcessConfig) -> Result<()> {
    model.validate().and_then(|()| process.validate(model)).map_err(|error| match model.n_head.checked_mul(2) {
        Some(columns) if (1..=1 << 16).contains(&columns) && model.n_embd > 0 && !model.heads_fit() => {
            let width = (model.n_embd / columns).max(1) * columns;
            Error::input(format!("{error}; try --width {width}, or another --heads"))
        }
        _ => error,
    })
}
