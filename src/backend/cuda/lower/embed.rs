//! The embedding of tokens and timesteps.

use super::super::call::{Launch, Ptr, PtrMut, call};
use super::{Lowering, blocks, size};
use crate::program::{Accumulate, Embed, EmbedBackward};

/// Rows of a block with a warp for each.
const WARPS: usize = 8;

/// Rows that a block of the embedding's backward orders by symbol.
const CHUNK: usize = 64;

/// Columns of a block of its reduction.
const REDUCE_COLS: usize = 128;

impl Lowering<'_> {
    pub(super) fn embed(&mut self, op: &Embed) -> Launch {
        let Embed { ids, time, token, x, sumsq, rstd } = *op;
        let call = call::embed(
            self.ids(ids),
            time.map_or(Ptr::NULL, |(t, _)| self.ids(t)),
            time.map_or(Ptr::NULL, |(_, table)| self.store(table)),
            self.store(token),
            self.store_mut(x),
            self.float_mut(sumsq),
            self.float_mut(rstd),
            size(x.rows),
            size(ids.cols),
            size(x.cols),
        );
        call.over([blocks(x.rows, WARPS), 1, 1])
    }

    pub(super) fn embed_backward(&mut self, op: &EmbedBackward) -> Vec<Launch> {
        let EmbedBackward { ids, time, dx, x, rstd, accumulate, dtoken } = *op;
        let (symbols, cols, chunks) = (dtoken.rows, dtoken.cols, ids.cols.div_ceil(CHUNK));
        let all = ids.rows * chunks;
        let rows = all * CHUNK.min(symbols) * cols;
        let partials = self.partials(0, rows);
        let totals = if time.is_some() { self.partials(rows, all * cols) } else { PtrMut::NULL };
        let slots = PtrMut::at(self.partials(rows + all * cols, all * symbols).address());
        let sums = call::embed_backward(
            self.ids(ids),
            self.store(dx),
            self.store(x),
            self.float(rstd),
            partials,
            totals,
            slots,
            size(ids.cols),
            size(cols),
            size(symbols),
        );
        let reduce = call::embed_backward_reduce(
            time.map_or(Ptr::NULL, |(t, _)| self.ids(t)),
            Ptr::at(partials.address()),
            Ptr::at(totals.address()),
            Ptr::at(slots.address()),
            self.float_mut(dtoken),
            time.map_or(PtrMut::NULL, |(_, dtime)| self.float_mut(dtime)),
            size(ids.rows),
            size(chunks),
            size(cols),
            size(symbols),
            u32::from(accumulate == Accumulate::Add),
        );
        let tables = symbols + time.map_or(0, |(_, dtime)| dtime.rows);
        vec![sums.over([size(all), 1, 1]), reduce.over([size(tables), blocks(cols, REDUCE_COLS), 1])]
    }
}
