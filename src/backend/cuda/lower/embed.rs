//! The embedding of tokens and timesteps, or of tokens and their positions.

use super::super::call::{
    EMBED_CHUNK, EmbedArgs, EmbedBackwardArgs, EmbedPositionsArgs, EmbedPositionsBackwardArgs, Launch, PtrMut, call,
};
use super::{Lowering, args};
use crate::program::{Embed, EmbedBackward, EmbedPositions, EmbedPositionsBackward};

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
