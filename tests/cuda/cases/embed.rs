//! The embedding, forward and backward.

use super::norms::WIDTHS;
use crate::harness::Harness;
use crate::watch::Watch;
use tempest::program::{
    Accumulate, BROKEN, Embed, EmbedBackward, EmbedPositions, EmbedPositionsBackward, EmbedRowsBackward, sumsq_slots,
};

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for cols in WIDTHS {
        let mut b = Harness::new(dtype);
        for shape in [[1, 1, 2], [7, 1, 67], [1, 33, 129], [3, 70, 67], [20, 2, 5]] {
            embeddings(&mut b, shape, cols);
            positions(&mut b, shape, cols);
        }
        b.run(watch, &format!("embeddings of {cols} in {dtype:?}"));
    }
}

/// Tokens with learned positions, in tables longer than the texts.
fn positions(b: &mut Harness, [sequences, positions, symbols]: [usize; 3], cols: usize) {
    let (rows, places) = (sequences * positions, positions + 3);
    let ids = b.some_ids(sequences, positions, symbols as u32);
    let [token, position] = [symbols, places].map(|rows| b.stored(rows, cols, 1.0));
    let x = b.stored_out(rows, cols);
    b.push(EmbedPositions { ids, open: None, token, position, x });
    let (ids_of_rows, x) = (b.some_ids(rows, 1, symbols as u32), b.stored_out(rows, cols));
    let left = (0..rows as u32).map(|i| if i % 5 == 4 { BROKEN } else { i % (places as u32 + 1) });
    let open = Some((b.ids(rows, 1, left.collect()), places as u32));
    b.push(EmbedPositions { ids: ids_of_rows, open, token, position, x });
    let dx = b.stored(rows, cols, 1.0);
    for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
        let [dtoken, dposition] = [symbols, places].map(|rows| match accumulate {
            Accumulate::Overwrite => b.float_out(rows, cols),
            Accumulate::Add => b.normal(rows, cols, 1.0),
        });
        b.push(EmbedPositionsBackward { ids, dx, accumulate, dtoken, dposition });
    }
}

pub(super) fn embeddings(b: &mut Harness, [sequences, positions, symbols]: [usize; 3], cols: usize) {
    let rows = sequences * positions;
    let ids = b.some_ids(sequences, positions, symbols as u32);
    // Where the tables are as small as they may be after long decay, the ε of the norm counts.
    let std = if sequences == 7 { 3e-4 } else { 1.0 };
    let token = b.stored(symbols, cols, std);
    let (t, table) = (b.some_ids(sequences, 1, 5), b.stored(5, cols, std));
    for (time, accumulate) in [(None, Accumulate::Overwrite), (Some((t, table)), Accumulate::Add)] {
        let (x, sumsq, rstd) = (b.stored_out(rows, cols), b.float_out(rows, sumsq_slots(cols)), b.float_out(rows, 1));
        b.push(Embed { ids, time, token, x, sumsq, rstd });
        let dx = b.stored(rows, cols, 1.0);
        let dtime = time.map(|_| (t, b.normal(5, cols, 1.0)));
        let dtoken = match accumulate {
            Accumulate::Overwrite => b.float_out(symbols, cols),
            Accumulate::Add => b.normal(symbols, cols, 1.0),
        };
        b.push(EmbedBackward { ids, time: dtime, dx, x, rstd, accumulate, dtoken });
        let (de, time) = (b.stored_out(rows, cols), time.map(|_| (t, b.normal(5, cols, 1.0))));
        b.push(EmbedRowsBackward { time, dx, x, rstd, accumulate, de });
    }
}
