//! Norms with weights and embeddings, forward and backward.

use super::ROWS;
use crate::bench::Bench;
use crate::watch::Watch;
use tempest::program::{
    Accumulate, Embed, EmbedBackward, LayerNorm, LayerNormBackward, RmsNorm, RmsNormBackward, sumsq_slots,
};

/// Widths: odd ones, whole 16-byte pieces, more than a warp's span.
const WIDTHS: [usize; 6] = [2, 6, 24, 130, 136, 264];

pub(crate) fn cases(watch: &mut Watch) {
    let dtype = watch.dtype();
    for cols in WIDTHS {
        let mut b = Bench::new(dtype);
        for rows in ROWS.into_iter().chain([70]) {
            norms(&mut b, rows, cols);
        }
        b.run(watch, &format!("norms of {cols} in {dtype:?}"));
        let mut b = Bench::new(dtype);
        for shape in [[1, 1, 2], [7, 1, 67], [1, 33, 129], [3, 70, 67], [20, 2, 5]] {
            embeddings(&mut b, shape, cols);
        }
        b.run(watch, &format!("embeddings of {cols} in {dtype:?}"));
    }
    // More partial rows than the reduction has warps.
    let mut b = Bench::new(dtype);
    norms(&mut b, 700, 40);
    b.run(watch, &format!("norms of many rows in {dtype:?}"));
}

pub(super) fn norms(b: &mut Bench, rows: usize, cols: usize) {
    let (x, gain) = (b.stored(rows, cols, 1.0), b.stored(1, cols, 1.0));
    let (y, rstd) = (b.stored_out(rows, cols), b.float_out(rows, 1));
    b.push(RmsNorm { x, gain, eps: 1e-5, y, rstd });
    let dy = b.stored(rows, cols, 1.0);
    for (accumulate, dgain) in
        [(Accumulate::Overwrite, b.float_out(1, cols)), (Accumulate::Add, b.normal(1, cols, 1.0))]
    {
        let dx = b.stored_out(rows, cols);
        b.push(RmsNormBackward { dy, x, gain, rstd, accumulate, dx, dgain });
    }
    if cols == 2 {
        // Two columns about their mean are ±1, whatever they are: their gradients are nothing but rounding errors.
        return;
    }
    let (x, bias) = (b.stored(rows, cols, 2.0), b.stored(1, cols, 0.5));
    let (y, mean, rstd) = (b.stored_out(rows, cols), b.float_out(rows, 1), b.float_out(rows, 1));
    b.push(LayerNorm { x, gain, bias, eps: 1e-5, y, mean, rstd });
    for (accumulate, dgain, dbias) in [
        (Accumulate::Overwrite, b.float_out(1, cols), b.float_out(1, cols)),
        (Accumulate::Add, b.normal(1, cols, 1.0), b.normal(1, cols, 1.0)),
    ] {
        let dx = b.stored_out(rows, cols);
        b.push(LayerNormBackward { dy, x, gain, mean, rstd, accumulate, dx, dgain, dbias });
    }
}

pub(super) fn embeddings(b: &mut Bench, [sequences, positions, symbols]: [usize; 3], cols: usize) {
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
    }
}
