//! GPTs in other programs' files: nanoGPT's, and Hugging Face's of GPT-2, whose matrices are transposed.
//!
//! Their text begins with nothing, where a model here reads a symbol that no text holds in front of it. That symbol gets the
//! embedding of a line's end, so that a text begins as it does behind an empty line, as nanoGPT's own sampling has it; its row is
//! the last of the table, and is left out again where a model is written.

use super::SavedModel;
use crate::config::{Architecture, Family, ModelConfig};
use crate::data::Vocab;
use crate::error::{Error, Result};
use crate::files::atomic::Existing;
use crate::files::tensors::{self, Tensor, TensorFile};
use crate::model::{Param, Params, Role, gpt};
use std::collections::BTreeMap;
use std::path::Path;

/// The tables of tokens and of positions, behind `transformer.` where it is there.
const TOKENS: &str = "wte.weight";
const POSITIONS: &str = "wpe.weight";

/// What a file may hold that is no parameter: causal masks.
const MASKS: [&str; 2] = [".attn.bias", ".attn.masked_bias"];

/// What every name but the head's begins with.
const STEM: &str = "transformer.";

impl SavedModel {
    /// Takes a GPT out of its file, whose names stand under no prefix. What its ids mean is told by `vocab`.
    pub fn of_gpt(file: &TensorFile, n_head: usize, vocab: Vocab) -> Result<Self> {
        let refuse = |message: String| Error::input(format!("{}: {message}", file.path().display()));
        let stem = if file.shape(&format!("{STEM}{TOKENS}")).is_some() { STEM } else { "" };
        let in_file = |name: &str| name.strip_prefix(STEM).map_or(name.to_owned(), |part| format!("{stem}{part}"));
        let shape = |name: &str| file.shape(&format!("{stem}{name}"));
        let (Some(&[symbols, n_embd]), Some(&[sequence_len, _])) = (shape(TOKENS), shape(POSITIONS)) else {
            return Err(refuse(format!("holds no [symbols, width] {TOKENS:?} and [positions, width] {POSITIONS:?}")));
        };
        if symbols + 1 != vocab.size() {
            return Err(refuse(format!(
                "has {symbols} symbols, and the vocabulary {}; name the text that it learned with --data, or its tokenizer with \
                 --tokenizer",
                vocab.size() - 1
            )));
        }
        let config = ModelConfig {
            n_layer: (0..).take_while(|i| shape(&format!("h.{i}.attn.c_attn.weight")).is_some()).count(),
            n_head,
            n_embd,
            sequence_len,
            vocab_size: symbols + 1,
            diffusion_steps: 0,
            short_conv: 0,
            vector_dims: 0,
            autoencoder: None,
            architecture: Architecture::Gpt { bias: shape("ln_f.bias").is_some() },
        };
        let process = Family::Autoregressive.config(vocab.mask_id());
        config.validate().and_then(|()| process.validate(&config)).map_err(|e| refuse(e.to_string()))?;
        let params = Params::new(&config);
        let names: Vec<String> = params.iter().map(|p| in_file(&p.name)).collect();
        let others: Vec<String> =
            file.names().into_iter().filter(|n| MASKS.iter().any(|mask| n.ends_with(mask))).collect();
        let tied = gpt::TIED.iter().filter(|(copy, _)| file.shape(copy).is_some());
        file.expect_only(names.iter().chain(&others).map(String::as_str).chain(tied.clone().map(|(copy, _)| *copy)))?;
        for (copy, of) in tied {
            if file.get_any::<f32>(copy)? != file.get_any::<f32>(&in_file(of))? {
                return Err(refuse(format!("{copy:?} is not {of:?}, and a gpt has one matrix for both")));
            }
        }
        let is_transposed = shape("h.0.attn.c_attn.weight") == Some(&[n_embd, 3 * n_embd]);
        let mut weights = Vec::with_capacity(params.len());
        for (param, name) in params.iter().zip(&names) {
            if param.name.ends_with(TOKENS) {
                weights.extend(file.get::<f32>(name, &[symbols, n_embd])?);
                let start = start_of(&vocab) as usize * n_embd;
                weights.extend_from_within(start..start + n_embd);
            } else {
                weights.extend(read(file, name, param, is_transposed && matches!(param.role, Role::Matrices(_)))?);
            }
        }
        Ok(SavedModel { config, process, vocab, weights, step: 0 })
    }

    /// Writes a GPT under nanoGPT's names, with the head's copy of the table and without the symbol in front of a text. Panics if
    /// it is none.
    pub fn write_gpt(&self, path: &Path, existing: Existing) -> Result<()> {
        assert_ne!(self.config.architecture, Architecture::Original);
        let params = Params::new(&self.config);
        let (last, width) = (self.vocab.mask_id() as usize, self.config.n_embd);
        let mut table = self.weights[..self.config.vocab_size * width].to_vec();
        table.drain(last * width..(last + 1) * width);
        let shape = [self.config.vocab_size - 1, width];
        let tensors = params.iter().map(|p| match p.name.ends_with(TOKENS) {
            true => Tensor { name: &p.name, shape: &shape, data: &table },
            false => Tensor { name: &p.name, shape: p.dimensions(), data: &self.weights[p.range()] },
        });
        let tied = gpt::TIED.map(|(name, _)| Tensor { name, shape: &shape, data: &table });
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        tensors::write(path, existing, &tensors.chain(tied).collect::<Vec<_>>(), &metadata)
    }
}

/// The symbol whose embedding is that of what stands before a text.
fn start_of(vocab: &Vocab) -> u32 {
    match vocab.encode("\n").as_deref() {
        Ok(&[id]) => id,
        _ => 0,
    }
}

fn read(file: &TensorFile, name: &str, param: &Param, is_transposed: bool) -> Result<Vec<f32>> {
    if !is_transposed {
        return file.get(name, param.dimensions());
    }
    let [rows, cols] = param.shape;
    let values = file.get::<f32>(name, &[cols, rows])?;
    Ok((0..rows * cols).map(|i| values[i % cols * rows + i / cols]).collect())
}
