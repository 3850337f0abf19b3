//! Noise that turns tokens into others: what predictions cost, and one reverse step.

use super::super::call::{Launch, NoisedLossArgs, RenoiseArgs, call};
use super::{Lowering, args};
use crate::program::{NoisedLoss, Renoise};

impl Lowering<'_> {
    pub(super) fn noised_loss(&mut self, op: &NoisedLoss) -> Launch {
        let NoisedLoss { logits, target, z, rates, mixing, cost, loss, back } = *op;
        let [rows, symbols] = logits.shape();
        let args = args!(
            self,
            NoisedLossArgs {
                logits,
                target,
                z,
                rates,
                loss,
                sumsq: back.and_then(|back| back.sumsq),
                weight: back.map(|back| back.weight),
                scale: back.and_then(|back| back.scale),
                dlogits: back.map(|back| back.dlogits),
                s: back.map(|back| back.s),
                rows,
                positions: z.cols,
                symbols,
                width: back.map_or(0, |back| back.width),
                mixing,
                cost,
            }
        );
        call::noised_loss(args).cover_rows(rows)
    }

    pub(super) fn renoise(&mut self, op: &Renoise) -> Launch {
        let Renoise { logits, params, rates, truth, mixing, x, masked, committed_at, remaining } = *op;
        let args = args!(
            self,
            RenoiseArgs {
                step: self.step(),
                logits,
                params,
                rates,
                truth,
                x,
                masked,
                committed_at,
                remaining,
                positions: x.cols,
                symbols: logits.cols,
                steps: rates.cols / 2,
                mixing,
            }
        );
        call::renoise(args).cover_rows(x.rows)
    }
}
