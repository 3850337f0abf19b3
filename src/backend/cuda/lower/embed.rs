//! The embedding of tokens and timesteps, or of tokens and their positions.

use super::super::call::{
    EMBED_CHUNK, EmbedArgs, EmbedBackwardArgs, EmbedPositionsArgs, EmbedPositionsBackwardArgs, EmbedRowsBackwardArgs,
    Launch, Ptr, PtrMut, call,
};
use super::{Lowering, args};
use crate::program::{Embed, EmbedBackward, EmbedPositions, EmbedPositionsBackward, EmbedRowsBackward};

impl Lowering<'_> {
    pub(super) fn embed(&mut self, op: &Embed) -> Launch {
        let Embed { ids, time, token, x, sumsq, rstd } = *op;
        let (t, time) = time.unzip();
        let (positions, cols) = (ids.cols, x.cols);
        let args = args!(self, EmbedArgs { ids, t, token, time, x, sumsq, rstd, rows: x.rows, positions, cols });
        call::embed(args).cover_rows(x.rows)
    }

    pub(super) fn embed_backward(&mut self, op: &EmbedBackward) -> Vec<Launch> {
        let EmbedBackward { ids, time, dx, x, rstd, accumulate, dtoken } = *op;
        let (t, dtime) = time.unzip();
        let [sequences, positions] = ids.shape();
        let [symbols, cols] = dtoken.shape();
        let chunks = sequences * positions.div_ceil(EMBED_CHUNK);
        let (sums, totals) = (chunks * EMBED_CHUNK.min(symbols) * cols, chunks * cols);
        let args = args!(
            self,
            EmbedBackwardArgs {
                ids,
                t,
                dx,
                x,
                rstd,
                partials: self.partials(0, sums),
                totals: if time.is_some() { self.partials(sums, totals) } else { PtrMut::NULL },
                slots: self.partials(sums + totals, chunks * symbols),
                dtoken,
                dtime,
                sequences,
                positions,
                cols,
                symbols,
                accumulate,
            }
        );
        vec![
            call::embed_backward(args).cover_each(args.sequences, positions),
            call::embed_backward_reduce(args).cover(symbols + dtime.map_or(0, |dtime| dtime.rows), cols),
        ]
    }

    pub(super) fn embed_rows_backward(&mut self, op: &EmbedRowsBackward) -> Vec<Launch> {
        let EmbedRowsBackward { time, dx, x, rstd, accumulate, de } = *op;
        let [rows, cols] = dx.shape();
        let sequences = time.map_or(1, |(t, _)| t.rows);
        let positions = rows / sequences;
        let sums = sequences * positions.div_ceil(EMBED_CHUNK) * cols;
        let totals = if time.is_some() { self.partials(0, sums) } else { PtrMut::NULL };
        let of_rows = args!(self, EmbedRowsBackwardArgs { dx, x, rstd, totals, de, positions, cols });
        let mut launches = vec![call::embed_rows_backward(of_rows).cover_each(self.arg(sequences), positions)];
        if let Some((t, dtime)) = time {
            // Of no tokens: the timesteps' rows alone.
            let args = args!(
                self,
                EmbedBackwardArgs {
                    ids: Ptr::NULL,
                    t,
                    dx,
                    x,
                    rstd,
                    partials: PtrMut::NULL,
                    totals,
                    slots: PtrMut::NULL,
                    dtoken: PtrMut::NULL,
                    dtime,
                    sequences,
                    positions,
                    cols,
                    symbols: 0_u32,
                    accumulate,
                }
            );
            launches.push(call::embed_backward_reduce(args).cover(dtime.rows, cols));
        }
        launches
    }

    pub(super) fn embed_positions(&mut self, op: &EmbedPositions) -> Launch {
        let EmbedPositions { ids, open, token, position, x } = *op;
        let (open, of) = open.unzip();
        let (rows, positions, cols, of) = (x.rows, ids.cols, x.cols, of.unwrap_or(0));
        call::embed_positions(args!(
            self,
            EmbedPositionsArgs { ids, open, token, position, x, of, rows, positions, cols }
        ))
        .cover_rows(rows)
    }

    pub(super) fn embed_positions_backward(&mut self, op: &EmbedPositionsBackward) -> Launch {
        let EmbedPositionsBackward { ids, dx, accumulate, dtoken, dposition } = *op;
        let ([sequences, positions], [symbols, cols]) = (ids.shape(), dtoken.shape());
        call::embed_positions_backward(args!(
            self,
            EmbedPositionsBackwardArgs { ids, dx, dtoken, dposition, sequences, positions, cols, symbols, accumulate }
        ))
        .cover(symbols + dposition.rows, cols)
    }
}
