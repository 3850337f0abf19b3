//! One set of weights that learns masked diffusion in some steps of training and the next token in the others, and can be used
//! as either.
//!
//! What differs is who sees whom: attention is bidirectional in the one, causal in the other. Short convolutions look back
//! alone in both, because a tap is a weight, and stands for one place.

use super::{Autoregressive, Masked};
use crate::model::{Taps, Transformer};
use crate::program::AttentionMask;

/// Both processes over the same parameters and the same memory.
#[derive(Clone, Debug)]
pub struct Joint {
    /// Of the steps in which attention sees all of a text.
    pub masked: Masked,
    /// Of the steps in which it sees what is before.
    pub causal: Autoregressive,
}

impl Joint {
    /// Both ways to use a transformer.
    pub(super) fn new(model: &Transformer, mask_token_id: u32) -> Self {
        let seeing = |mask| model.seeing(mask, Taps::Before);
        Joint {
            masked: Masked {
                model: seeing(AttentionMask::Bidirectional),
                mask_token_id,
                context_len: 0,
                prompt_drop: 0,
            },
            causal: Autoregressive { model: seeing(AttentionMask::Causal), mask_token_id },
        }
    }
}
