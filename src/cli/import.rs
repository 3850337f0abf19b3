//! `tempest import`.

use super::useless;
use clap::Args;
use std::path::{Path, PathBuf};
use tempest::config::{Architecture, ModelConfig, Preset, ProcessConfig, Unknown, VocabKind};
use tempest::data::{Corpus, Source, Vocab};
use tempest::files::atomic::{self, Existing};
use tempest::files::tensors::TensorFile;
use tempest::store::{SavedModel, read_weights};
use tempest::terminal::{self, thousands};
use tempest::{Error, Result};

/// Bring in a checkpoint of tiny-diffusion or nanoGPT
///
/// Shapes tell the layers, the width, the symbols and the timesteps or positions; of tiny-diffusion's, heads, positions and
/// context must be said, by --preset original for the original's own (6 heads, 256 positions, a context of 16) or one by one; of
/// nanoGPT's and of Hugging Face's GPT-2 the heads, and what their symbols are.
#[derive(Args, Debug)]
#[command(after_help = super::help::IMPORT)]
pub(crate) struct ImportArgs {
    /// The checkpoint: a .pt file of torch.save, or safetensors. Names may stand under prefixes, as _orig_mod. of a compiled
    /// model and module. of a parallel one
    file: PathBuf,
    /// The model to write
    #[arg(short, long, value_name = "FILE", default_value = "model.safetensors")]
    out: PathBuf,
    /// Replace that file if it is there already
    #[arg(long)]
    force: bool,
    /// The text whose characters are the symbols of a nanoGPT model [default: Tiny Shakespeare]
    #[arg(short, long, value_name = "FILE", conflicts_with = "tokenizer")]
    data: Option<PathBuf>,
    /// The tokenizer.json whose tokens are the symbols of a GPT-2
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Take what the shapes do not tell from this preset
    #[arg(short, long, value_enum)]
    preset: Option<Preset>,
    /// Attention heads
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Positions of a window
    #[arg(long, value_name = "N")]
    positions: Option<usize>,
    /// Positions at the start of a window that training never masked
    #[arg(long, value_name = "N")]
    context: Option<usize>,
}

pub(crate) fn run(args: &ImportArgs) -> Result<()> {
    let (kind, file) = model_in(TensorFile::open(&args.file)?)?;
    refuse_self(&args.file, &args.out)?;
    let is_gpt = |preset: &Preset| matches!(preset.model(1).architecture, Architecture::Gpt { .. });
    if let Some(preset) = args.preset.filter(|preset| is_gpt(preset) != matches!(kind, Kind::Gpt)) {
        let whose = if is_gpt(&preset) {
            "nanoGPT's, and the file holds none"
        } else {
            "tiny-diffusion's, and the file holds a gpt"
        };
        return Err(useless(&format!("--preset {preset}"), &format!("is of a model like {whose}")));
    }
    let model = match kind {
        Kind::Original => original(&file, args)?,
        Kind::Gpt => gpt(&file, args)?,
    };
    let existing = Existing::forced(args.force);
    atomic::check_place(&args.out, existing)?;
    let step = STEPS.iter().find_map(|name| file.metadata(name)?.parse().ok()).unwrap_or(0);
    let model = SavedModel { step, ..model };
    model.write(&args.out, existing)?;
    let after = if step > 0 { format!(", after {} steps", thousands(step)) } else { String::new() };
    terminal::say(format!("{}: {}{after}", args.out.display(), model.config.describe()));
    Ok(())
}

/// Whose model a file holds.
#[derive(Clone, Copy)]
enum Kind {
    Original,
    Gpt,
}

/// What programs call the number of optimizer steps beside their weights.
const STEPS: [&str; 5] = ["step", "steps", "global_step", "iter_num", "iter"];

/// The tensor that is found first of all.
const FIRST: &str = "token_emb.weight";

/// What tells whose model it is; the last where GPT-2's names have no `transformer.` in front.
const KINDS: [(&str, Kind); 3] =
    [(FIRST, Kind::Original), ("transformer.wte.weight", Kind::Gpt), ("wte.weight", Kind::Gpt)];

/// The model's own tensors: those under the prefix, if there is one, that its embedding stands under.
fn model_in(file: TensorFile) -> Result<(Kind, TensorFile)> {
    let names = file.names();
    let under = |first: &str| -> Vec<&str> {
        let prefixes = names.iter().filter_map(|name| name.strip_suffix(first));
        prefixes.filter(|p| p.is_empty() || p.ends_with('.')).collect()
    };
    let (first, kind) = KINDS.into_iter().find(|(first, _)| !under(first).is_empty()).unwrap_or(KINDS[0]);
    match under(first)[..] {
        [] | [""] => Ok((kind, file)),
        [prefix] => {
            terminal::say(format!("note: the model's tensors are those under {prefix:?}"));
            Ok((kind, file.under(prefix)))
        }
        ref several => Err(Error::input(format!(
            "{}: holds a model under each of {several:?}; save the one that is wanted by itself",
            file.path().display()
        ))),
    }
}

/// A GPT, of which shapes tell all but the heads.
fn gpt(file: &TensorFile, args: &ImportArgs) -> Result<SavedModel> {
    for (option, given) in [("--positions", args.positions), ("--context", args.context)] {
        if given.is_some() {
            return Err(useless(option, "is for tiny-diffusion's checkpoints, and this is a gpt"));
        }
    }
    let vocab = match &args.tokenizer {
        Some(path) => {
            let json = std::fs::read_to_string(path).map_err(Error::io("read the tokenizer", path))?;
            Vocab::bpe(&json).map_err(|e| Error::input(format!("{}: {e}", path.display())))?
        }
        None => {
            let source = args.data.clone().map_or(Source::Embedded, Source::Path);
            Corpus::open(&source, VocabKind::Chars, Unknown::Error)?.vocab().clone()
        }
    };
    let Some(heads) = args.heads.or(args.preset.map(|preset| preset.model(vocab.size()).n_head)) else {
        return Err(Error::input(format!(
            "{}: its shapes do not tell its heads; add --heads N, or --preset gpt for nanoGPT's",
            args.file.display()
        )));
    };
    SavedModel::of_gpt(file, heads, vocab)
}

/// A model of the original's, whose configuration shapes and arguments tell.
fn original(file: &TensorFile, args: &ImportArgs) -> Result<SavedModel> {
    for (option, given) in [("--data", &args.data), ("--tokenizer", &args.tokenizer)] {
        if given.is_some() {
            return Err(useless(option, "tells the symbols of a gpt, and this is none"));
        }
    }
    let refuse = |message: String| Err(Error::input(format!("{}: {message}", args.file.display())));
    let Some(&[vocab_size, n_embd]) = file.shape(FIRST) else {
        return refuse("holds no [symbols, width] \"token_emb.weight\"; is it a tiny-diffusion checkpoint?".into());
    };
    let vocab = match [Vocab::ascii(), Vocab::bytes()].into_iter().find(|v| v.size() == vocab_size) {
        Some(vocab) => vocab,
        None => {
            return refuse(format!(
                "has {vocab_size} symbols; what they mean is known of 128 (ascii, mask 0) and 257 (bytes, mask 256) only"
            ));
        }
    };
    let diffusion_steps = file.shape("time_emb.weight").map_or(0, |shape| shape[0]);
    let n_layer = (0..).take_while(|i| file.shape(&format!("blocks.{i}.attn.c_q.weight")).is_some()).count();
    let told = |given: Option<usize>, of: fn(ModelConfig) -> usize| {
        given.or(args.preset.map(|preset| of(preset.model(vocab_size))))
    };
    let (heads, positions, context) = (
        told(args.heads, |p| p.n_head),
        told(args.positions, |p| p.sequence_len),
        args.context.or(args.preset.map(|preset| preset.context_len())),
    );
    let (Some(n_head), Some(sequence_len), Some(context_len)) = (heads, positions, context) else {
        let missing = [("--heads N", heads), ("--positions N", positions), ("--context N", context)];
        let missing: Vec<_> = missing.iter().filter(|m| m.1.is_none()).map(|m| m.0).collect();
        return refuse(format!(
            "its shapes do not tell everything; add {}, or --preset original for the original's",
            missing.join(", ")
        ));
    };
    let config = ModelConfig {
        n_layer,
        n_head,
        n_embd,
        sequence_len,
        vocab_size,
        diffusion_steps,
        short_conv: 0,
        vector_dims: 0,
        autoencoder: None,
        architecture: Architecture::Original,
    };
    let process = ProcessConfig::Masked { mask_token_id: vocab.mask_id(), context_len, prompt_drop: 0.0 };
    config.validate().and_then(|()| process.validate(&config)).map_err(|e| {
        let cure = if n_embd > 0 && !config.heads_fit() { "; give other --heads" } else { "" };
        Error::input(format!("{}: {e}{cure}", args.file.display()))
    })?;
    let weights = read_weights(file, &config)?;
    Ok(SavedModel { config, process, vocab, weights, step: 0 })
}

/// A checkpoint is not written over itself.
fn refuse_self(file: &Path, out: &Path) -> Result<()> {
    match (file.canonicalize(), out.canonicalize()) {
        (Ok(a), Ok(b)) if a == b => {
            Err(Error::input(format!("{}: would be written over itself; give another --out", file.display())))
        }
        _ => Ok(()),
    }
}
