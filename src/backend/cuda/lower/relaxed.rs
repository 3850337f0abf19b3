//! Relaxed tokens: noise over them, what predictions cost, and the way back.

use super::super::call::{Launch, RelaxedLossArgs, SoftTokensArgs, SoftTokensBackwardArgs, call};
use super::{Lowering, args};
use crate::program::{LogitsGrad, RelaxedLoss, Relaxing, SoftTokens, SoftTokensBackward};

impl Lowering<'_> {
    pub(super) fn soft_tokens(&mut self, op: &SoftTokens) -> Launch {
        let SoftTokens { of, rates, mixing, temperatures, relaxation, soft } = *op;
        let [rows, symbols] = soft.shape();
        let (tokens, predicted) = match of {
            Relaxing::Tokens(tokens) => (Some(tokens), None),
            Relaxing::Predicted { logits, before } => (None, Some((logits, before))),
        };
        let (logits, before) = predicted.unzip();
        let args = args!(
            self,
            SoftTokensArgs {
                step: self.step(),
                tokens,
                logits,
                before,
                rates,
                scores: self.partials(0, soft.len()),
                soft,
                temperatures,
                relaxation,
                rows,
                positions: rows / rates.rows,
                symbols,
                mixing,
            }
        );
        call::soft_tokens(args).cover_rows(rows)
    }

    pub(super) fn relaxed_loss(&mut self, op: &RelaxedLoss) -> Launch {
        let RelaxedLoss { logits, target, soft, rates, mixing, loss, back, dsoft } = *op;
        let LogitsGrad { sumsq, width, weight, scale, dlogits, s } = back;
        let [rows, symbols] = logits.shape();
        let args = args!(
            self,
            RelaxedLossArgs {
                logits,
                target,
                soft,
                rates,
                loss,
                sumsq,
                weight,
                scale,
                dlogits,
                s,
                dsoft,
                rows,
                positions: rows / rates.rows,
                symbols,
                width,
                mixing,
            }
        );
        call::relaxed_loss(args).cover_rows(rows)
    }

    pub(super) fn soft_tokens_backward(&mut self, op: &SoftTokensBackward) -> Launch {
        let SoftTokensBackward { logits, before, rates, mixing, temperatures, dsoft, sumsq, width, dlogits, s } = *op;
        let [rows, symbols] = logits.shape();
        let [by_input, by_rule] = dsoft;
        let args = args!(
            self,
            SoftTokensBackwardArgs {
                step: self.step(),
                logits,
                before,
                rates,
                by_input,
                by_rule,
                sumsq,
                scores: self.partials(0, logits.len()),
                dlogits,
                s,
                temperatures,
                rows,
                positions: rows / rates.rows,
                symbols,
                width,
                mixing,
            }
        );
        call::soft_tokens_backward(args).cover_rows(rows)
    }
}
