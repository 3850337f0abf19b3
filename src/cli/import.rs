//! `tempest import`.

use clap::Args;
use std::path::{Path, PathBuf};
use tempest::config::{ModelConfig, Preset, ProcessConfig};
use tempest::data::Vocab;
use tempest::files::atomic::{self, Existing};
use tempest::files::tensors::TensorFile;
use tempest::store::{SavedModel, read_weights};
use tempest::terminal::{self, thousands};
use tempest::{Error, Result};

/// Bring in a tiny-diffusion checkpoint
///
/// Shapes tell the layers, the width, the symbols and the timesteps; heads, positions and context must be said, by
/// --preset original for the original's own (6 heads, 256 positions, a context of 16) or one by one.
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
    let file = model_in(TensorFile::open(&args.file)?)?;
    let (config, process, vocab) = infer(&file, args)?;
    let existing = Existing::forced(args.force);
    atomic::check_place(&args.out, existing)?;
    let weights = read_weights(&file, &config)?;
    let step = STEPS.iter().find_map(|name| file.metadata(name)?.parse().ok()).unwrap_or(0);
    SavedModel { config: config.clone(), process, vocab, weights, step }.write(&args.out, existing)?;
    let after = if step > 0 { format!(", after {} steps", thousands(step)) } else { String::new() };
    terminal::say(format!("{}: {}{after}", args.out.display(), config.describe()));
    Ok(())
}

/// What programs call the number of optimizer steps beside their weights.
const STEPS: [&str; 5] = ["step", "steps", "global_step", "iter_num", "iter"];

/// The tensor that is found first of all.
const FIRST: &str = "token_emb.weight";

/// The model's own tensors: those under the prefix, if there is one, that its embedding stands under.
fn model_in(file: TensorFile) -> Result<TensorFile> {
    let names = file.names();
    let prefixes =
        names.iter().filter_map(|name| name.strip_suffix(FIRST)).filter(|p| p.is_empty() || p.ends_with('.'));
    match prefixes.collect::<Vec<_>>()[..] {
        [] | [""] => Ok(file),
        [prefix] => {
            terminal::say(format!("note: the model's tensors are those under {prefix:?}"));
            Ok(file.under(prefix))
        }
        ref several => Err(Error::input(format!(
            "{}: holds a model under each of {several:?}; save the one that is wanted by itself",
            file.path().display()
        ))),
    }
}

/// The configuration that the shapes and the arguments tell.
fn infer(file: &TensorFile, args: &ImportArgs) -> Result<(ModelConfig, ProcessConfig, Vocab)> {
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
    let config = ModelConfig { n_layer, n_head, n_embd, sequence_len, vocab_size, diffusion_steps, short_conv: 0 };
    let process = ProcessConfig::Masked { mask_token_id: vocab.mask_id(), context_len };
    config.validate().and_then(|()| process.validate(&config)).map_err(|e| {
        let cure = if n_embd > 0 && !config.heads_fit() { "; give other --heads" } else { "" };
        Error::input(format!("{}: {e}{cure}", args.file.display()))
    })?;
    refuse_self(&args.file, &args.out)?;
    Ok((config, process, vocab))
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
