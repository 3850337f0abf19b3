//! What is checked where nobody names a model: small models and batches, and ops alone, that together launch every kernel
//! there is.
//!
//! Which kernel an op becomes depends on its shapes: there are small tiles where rows are few, large ones where they are many,
//! plain kernels where widths are no multiples of 8, and attentions for heads of 32, 64 and 128, short and long. Some ops no
//! model has: norms with weights, normal noise, attention whose scores are not bounded. They have kernels all the same, and
//! nothing else would ever run those on a card.

mod alone;
mod models;

use super::Trial;
use crate::config::{Unknown, VocabKind};
use crate::data::{Corpus, Source, TINY_SHAKESPEARE, Vocab};
use crate::error::Result;
use crate::program::Storage;
use std::sync::Arc;

/// Ops alone, as a device stores them.
pub fn ops_alone(storage: Storage) -> Result<Vec<Trial>> {
    Ok(alone::trials(storage, &Texts::open()?.wide))
}

/// All of them; the quick ones first.
pub fn every_kernel(storage: Storage) -> Result<Vec<Trial>> {
    let texts = Texts::open()?;
    let mut trials = alone::trials(storage, &texts.wide);
    trials.extend(models::trials(storage, &texts)?);
    Ok(trials)
}

/// The built-in text.
struct Texts {
    /// In its own characters: 66 symbols.
    chars: Arc<Corpus>,
    /// In ASCII: 128 symbols.
    ascii: Arc<Corpus>,
    /// In more symbols than a byte tells apart: two bytes a token.
    wide: Arc<Corpus>,
}

impl Texts {
    fn open() -> Result<Self> {
        let more: String = ('\u{4e00}'..).take(256).collect();
        let wide = Vocab::chars(&(TINY_SHAKESPEARE.to_owned() + &more))?;
        let open = |corpus: Result<Corpus>| corpus.map(Arc::new);
        Ok(Texts {
            chars: open(Corpus::open(&Source::Embedded, VocabKind::Chars, Unknown::Error))?,
            ascii: open(Corpus::open(&Source::Embedded, VocabKind::Ascii, Unknown::Error))?,
            wide: open(Corpus::open(&Source::Embedded, wide, Unknown::Error))?,
        })
    }
}
