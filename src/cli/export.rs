//! `tempest export`.

use super::model::SavedModelArgs;
use super::print;
use clap::Args;
use std::path::{Path, PathBuf};
use tempest::config::{Architecture, Family, Preset, VocabKind};
use tempest::files::atomic::{self, Existing};
use tempest::store::SavedModel;
use tempest::terminal;
use tempest::{Error, Result};

/// Write a model for tiny-diffusion's PyTorch code, or nanoGPT's, and print the lines that load it there
///
/// A gpt is for nanoGPT. The original's class is of masked diffusion without short convolutions. Its model always has a time embedding; a model
/// without one gets one of zeros, with which it predicts the same.
#[derive(Args, Debug)]
#[command(after_help = super::help::EXPORT)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    model: SavedModelArgs,
    /// The file to write: safetensors, under the original's names
    #[arg(short, long, value_name = "FILE", default_value = "exported.safetensors")]
    out: PathBuf,
    /// Replace that file if it is there already
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &ExportArgs) -> Result<()> {
    let existing = Existing::forced(args.force);
    atomic::check_place(&args.out, existing)?;
    let model = args.model.load(None)?.saved;
    if let Architecture::Gpt { bias } = model.config.architecture {
        model.write_gpt(&args.out, existing)?;
        terminal::say(format!("{}: {}", args.out.display(), model.config.describe()));
        return print(&gpt_lines(&model, bias, &args.out));
    }
    let family = model.process.family();
    if family != Family::Masked {
        return Err(Error::input(format!(
            "the model's process is {family}, and the original's class is of masked diffusion; train one with --process masked"
        )));
    }
    if model.config.short_conv > 0 {
        return Err(Error::input(
            "the model has short convolutions, which the original's class lacks; train one with --short-conv 0",
        ));
    }
    let timesteps = Preset::Original.model(model.config.vocab_size).diffusion_steps;
    let model = match model.config.diffusion_steps {
        0 => model.with_time_embedding(timesteps),
        _ => model,
    };
    model.write(&args.out, existing)?;
    terminal::say(format!("{}: {}", args.out.display(), model.config.describe()));
    print(&lines(&model, &args.out))
}

/// A string of Python.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string is plain data")
}

/// What the first so many ids are, in Python.
fn symbols(model: &SavedModel, count: usize) -> String {
    match model.vocab.kind() {
        VocabKind::Ascii => "# an id is the ASCII code of its character".into(),
        VocabKind::Bytes => "# an id is a byte of UTF-8".into(),
        VocabKind::Bpe => {
            let mask = model.process.mask_token_id();
            format!("# an id is one of the tokenizer.json that it learned with; {mask} masks")
        }
        VocabKind::Chars => {
            let symbols: Vec<String> = (0..count as u32).map(|id| model.vocab.decode(&[id])).collect();
            format!(
                "symbols = {}  # of ids 0, 1, 2, …",
                serde_json::to_string(&symbols).expect("strings are plain data")
            )
        }
    }
}

/// Python that loads a model into nanoGPT's class, which lacks the symbol in front of a text.
fn gpt_lines(model: &SavedModel, bias: bool, path: &Path) -> String {
    let c = &model.config;
    format!(
        "from safetensors.torch import load_file\n\
         from model import GPT, GPTConfig  # nanoGPT's model.py\n\
         \n\
         config = GPTConfig(\n    \
         block_size={}, vocab_size={}, n_layer={}, n_head={}, n_embd={}, dropout=0.0, bias={},\n\
         )\n\
         model = GPT(config).eval()\n\
         model.load_state_dict(load_file({}))\n\
         {}\n",
        c.sequence_len,
        c.vocab_size - 1,
        c.n_layer,
        c.n_head,
        c.n_embd,
        if bias { "True" } else { "False" },
        quoted(&path.to_string_lossy()),
        symbols(model, c.vocab_size - 1),
    )
}

/// Python that loads a model into the original's class.
fn lines(model: &SavedModel, path: &Path) -> String {
    let (c, p) = (&model.config, &model.process);
    let symbols = symbols(model, c.vocab_size);
    format!(
        "from safetensors.torch import load_file\n\
         from model import DiffusionConfig, DiffusionTransformer  # tiny-diffusion's model.py\n\
         \n\
         config = DiffusionConfig(\n    \
         sequence_len={}, vocab_size={}, mask_token_id={}, n_layer={}, n_head={}, n_embd={},\n    \
         diffusion_steps={}, context_len={},\n\
         )\n\
         model = DiffusionTransformer(config).eval()\n\
         model.load_state_dict(load_file({}))\n\
         {symbols}\n",
        c.sequence_len,
        c.vocab_size,
        p.mask_token_id(),
        c.n_layer,
        c.n_head,
        c.n_embd,
        c.diffusion_steps,
        p.context_len(),
        quoted(&path.to_string_lossy()),
    )
}
