//! Relaxed tokens, which have no kernels yet.

use super::super::call::Launch;
use super::{Lowering, without_kernels};
use crate::program::{RelaxedLoss, SoftTokens, SoftTokensBackward};

without_kernels! {
    soft_tokens(SoftTokens);
    relaxed_loss(RelaxedLoss);
    soft_tokens_backward(SoftTokensBackward);
}
