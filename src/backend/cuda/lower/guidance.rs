//! Guidance of masked diffusion.

use super::super::call::{GuideArgs, Launch, UnpromptArgs, call};
use super::{Lowering, args, size};
use crate::program::{Guide, Unprompt};

impl Lowering<'_> {
    pub(super) fn unprompt(&mut self, op: &Unprompt) -> Launch {
        let Unprompt { x, masked, committed_at, mask_id, context, x_both, open } = *op;
        let (positions, count) = (x.cols, x.len());
        let args =
            args!(self, UnpromptArgs { x, masked, committed_at, x_both, open, mask_id, context, positions, count });
        call::unprompt(args).cover_rows(count)
    }

    pub(super) fn guide(&mut self, op: &Guide) -> Launch {
        let Guide { unprompted, params, logits } = *op;
        let numbers = logits.len() / params.rows;
        call::guide(args!(self, GuideArgs { unprompted, params, logits, numbers }))
            .cover_each(size(params.rows), numbers)
    }
}
