//! Token and time embedding with its norm, and its backward.

use super::tiles::{row_block, with_scratch};
use crate::program::{Accumulate, Mat, NORM_EPS, SUMSQ_COLS};
use crate::raw::arena::Operands;
use crate::raw::element::Element;
use rayon::prelude::*;

pub(super) fn embed<W: Element>(
    o: &Operands<'_>,
    ids: Mat,
    time: Option<(Mat, Mat)>,
    token: Mat,
    x: Mat,
    sumsq: Mat,
    rstd: Mat,
) {
    let (c, positions) = (token.cols, ids.cols);
    let (tokens, token) = (o.get::<u32>(ids), o.get::<W>(token));
    let time = time.map(|(t, table)| (o.get::<u32>(t), o.get::<W>(table)));
    let rows = (o.take::<f32>(x).par_chunks_exact_mut(c))
        .zip(o.take::<f32>(sumsq).par_chunks_exact_mut(sumsq.cols))
        .zip(o.take::<f32>(rstd));
    rows.enumerate().with_min_len(64).for_each(|(row, ((x, sumsq), rstd))| {
        W::widen(&token[tokens[row] as usize * c..][..c], x);
        if let Some((t, table)) = time {
            let time = &table[t[row / positions] as usize * c..][..c];
            x.iter_mut().zip(time).for_each(|(x, e)| *x += e.wide());
        }
        *rstd = 1.0 / (x.iter().map(|x| x * x).sum::<f32>() / c as f32 + NORM_EPS).sqrt();
        x.iter_mut().for_each(|x| *x *= *rstd);
        sum_squares(x, sumsq);
    });
}

/// Partial sums of squares of a row, as its consumer wants them.
pub(super) fn sum_squares(x: &[f32], sumsq: &mut [f32]) {
    for (part, sum) in x.chunks(SUMSQ_COLS).zip(sumsq) {
        *sum = part.iter().map(|x| x * x).sum();
    }
}

/// Columns that one worker sums over all rows: a fixed cut, so that the order of every sum is the order of the rows.
const EMBED_COLS: usize = 64;

#[allow(clippy::too_many_arguments, reason = "the op's fields, in the op's order")]
pub(super) fn embed_backward(
    o: &Operands<'_>,
    ids: Mat,
    time: Option<(Mat, Mat)>,
    dx: Mat,
    x: Mat,
    rstd: Mat,
    accumulate: Accumulate,
    dtoken: Mat,
) {
    let (n, c, positions) = (dx.rows, dx.cols, ids.cols);
    let (tokens, dx, x, rstd) = (o.get::<u32>(ids), o.get::<f32>(dx), o.get::<f32>(x), o.get::<f32>(rstd));
    let dtoken = o.take::<f32>(dtoken);
    let mut tables = vec![dtoken];
    let t = time.map(|(t, dtime)| {
        tables.push(o.take::<f32>(dtime));
        o.get::<u32>(t)
    });
    if accumulate == Accumulate::Overwrite {
        tables.iter_mut().for_each(|table| table.fill(0.0));
    }
    // ⟨dx, x⟩/C per row.
    let mut means = vec![0.0_f32; n];
    means.par_chunks_mut(row_block(n)).enumerate().for_each(|(block, means)| {
        let first = block * row_block(n);
        for (i, mean) in means.iter_mut().enumerate() {
            let range = (first + i) * c..(first + i + 1) * c;
            *mean = dx[range.clone()].iter().zip(&x[range]).map(|(a, b)| a * b).sum::<f32>() / c as f32;
        }
    });
    // Each worker owns a band of columns of both tables.
    let n_bands = c.div_ceil(EMBED_COLS);
    let mut bands: Vec<Vec<Vec<&mut [f32]>>> = (0..n_bands).map(|_| Vec::new()).collect();
    for table in tables {
        bands.iter_mut().for_each(|band| band.push(Vec::new()));
        for row in table.chunks_exact_mut(c) {
            for (band, part) in bands.iter_mut().zip(row.chunks_mut(EMBED_COLS)) {
                band.last_mut().expect("one list a table").push(part);
            }
        }
    }
    bands.into_par_iter().enumerate().for_each(|(band, mut tables)| {
        let cols = band * EMBED_COLS..((band + 1) * EMBED_COLS).min(c);
        with_scratch(cols.len(), |de| {
            for row in 0..n {
                let range = row * c + cols.start..row * c + cols.end;
                for ((de, dx), x) in de.iter_mut().zip(&dx[range.clone()]).zip(&x[range]) {
                    *de = rstd[row] * (dx - x * means[row]);
                }
                let add = |to: &mut [f32]| to.iter_mut().zip(&*de).for_each(|(to, de)| *to += de);
                add(tables[0][tokens[row] as usize]);
                if let Some(t) = t {
                    add(tables[1][t[row / positions] as usize]);
                }
            }
        });
    });
}
