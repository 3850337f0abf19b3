//! Makes a byte-level BPE tokenizer of a text, for `tempest train --tokenizer`:
//!
//! ```sh
//! cargo run --release --features bpe --example tokenizer -- data/tinyshakespeare.txt 1024 tokenizer.json
//! ```

use std::process::ExitCode;
use tempest::terminal;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerBuilder};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let made = match &words[..] {
        [text, size, out] => make(text, size, out),
        _ => Err("wanted a text, a number of tokens and the file to write".into()),
    };
    match made {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            terminal::complain(format!("tokenizer: {error}"));
            ExitCode::from(2)
        }
    }
}

fn make(text: &str, size: &str, out: &str) -> Result<(), tokenizers::Error> {
    let bytes = ByteLevel::default().add_prefix_space(false);
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(size.parse()?)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    TokenizerBuilder::<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>::new()
        .with_model(BPE::default())
        .with_pre_tokenizer(Some(bytes.into()))
        .with_decoder(Some(bytes.into()))
        .build()?
        .train_from_files(&mut trainer, vec![text.into()])?
        .save(out, true)?;
    Ok(())
}
