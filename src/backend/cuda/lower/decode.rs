//! Texts from left to right.

use super::super::call::{
    AppendTokenArgs, CachedAttentionArgs, FillCacheArgs, LastTokenArgs, Launch, OpenRowArgs, Ptr, ShiftArgs, call,
};
use super::{Lowering, args};
use crate::program::{AppendToken, CachedAttention, Counted, FillCache, LastToken, OpenRow, Shift};

impl Lowering<'_> {
    pub(super) fn shift(&mut self, op: &Shift) -> Launch {
        let Shift { x0, start, ref counted, xt, weight } = *op;
        let (step, [sequences, positions]) = (self.step(), x0.shape());
        let (windows, span, mean) = match counted {
            // As the CPU divides.
            Counted::Mean { sequences } => (0, 0, (1.0 / (f64::from(*sequences) * positions as f64)) as f32),
            Counted::Once { range, windows } => (*windows, range.end - range.start - positions as u64, 0.0),
        };
        let args = args!(self, ShiftArgs { step, x0, xt, weight, span, windows, mean, start, sequences, positions });
        call::shift(args).cover_rows(x0.len())
    }

    pub(super) fn open_row(&mut self, op: &OpenRow) -> Launch {
        let OpenRow { x, sumsq, remaining, out } = *op;
        let (texts, width, slots) = (out.rows, x.cols, sumsq.map_or(0, |[sumsq, _]| sumsq.cols));
        let [sumsq, out_sumsq] = sumsq.map_or([None; 2], |both| both.map(Some));
        let positions = x.rows / texts;
        let args = args!(self, OpenRowArgs { x, sumsq, remaining, out, out_sumsq, positions, width, slots });
        call::open_row(args).cover_rows(texts)
    }

    pub(super) fn last_token(&mut self, op: &LastToken) -> Launch {
        let LastToken { x, remaining, start, ids } = *op;
        let [texts, positions] = x.shape();
        call::last_token(args!(self, LastTokenArgs { x, remaining, ids, start, texts, positions })).cover_rows(texts)
    }

    pub(super) fn fill_cache(&mut self, op: &FillCache) -> Launch {
        let FillCache { qkv, positions, cache } = *op;
        let (width, filled) = (qkv.cols / 3, qkv.rows * positions as usize / cache.rows);
        call::fill_cache(args!(self, FillCacheArgs { qkv, cache, filled, positions, width })).cover_rows(qkv.rows)
    }

    pub(super) fn cached_attention(&mut self, op: &CachedAttention) -> Launch {
        let CachedAttention { qkv, remaining, positions, heads, rotated, cache, o } = *op;
        let head_dim = o.cols / heads as usize;
        let rope = if rotated { self.rope(positions, head_dim) } else { Ptr::NULL };
        let texts = remaining.rows;
        let rows = o.rows / texts;
        let args =
            args!(self, CachedAttentionArgs { qkv, remaining, rope, cache, o, rows, positions, heads, head_dim });
        let kernel = if rotated { call::cached_attention } else { call::cached_attention_free };
        kernel(args).cover_rows(texts * heads as usize)
    }

    pub(super) fn append_token(&mut self, op: &AppendToken) -> Launch {
        let AppendToken { candidate, confidence, x, masked, committed_at, remaining } = *op;
        let (step, [texts, positions]) = (self.step(), x.shape());
        let args = args!(
            self,
            AppendTokenArgs { step, candidate, confidence, x, masked, committed_at, remaining, texts, positions }
        );
        call::append_token(args).cover_rows(texts)
    }
}
