//! The embedding and its backward.

use crate::harness::{Harness, Want};
use crate::number::{Table, dot, exact, sum};
use tempest::program::{
    Accumulate, BROKEN, DType, Embed, EmbedBackward, EmbedPositions, EmbedPositionsBackward, EmbedRowsBackward, Mat,
    NORM_EPS, SUMSQ_COLS, sumsq_slots,
};

/// (B, T, C), odd on purpose; the last fills several of any worker's shares.
const SIZES: [(usize, usize, usize); 6] = [(1, 1, 2), (7, 1, 6), (1, 33, 130), (3, 5, 257), (2, 70, 64), (5, 67, 20)];

const SYMBOLS: usize = 11;
const TIMESTEPS: usize = 5;

/// Every size, with and without a time table, in every dtype of the tables.
fn each(mut f: impl FnMut(&str, (usize, usize, usize), bool, DType)) {
    for size in SIZES {
        for timed in [false, true] {
            for dtype in [DType::F32, DType::Bf16] {
                f(&format!("B, T, C = {size:?} timed {timed} {dtype:?}"), size, timed, dtype);
            }
        }
    }
}

#[test]
fn embed_norms_the_sum_of_token_and_time() {
    each(|case, (sequences, positions, c), timed, dtype| {
        let mut b = Harness::default();
        let n = sequences * positions;
        let (ids, tokens) = b.some_ids(sequences, positions, SYMBOLS as u32);
        // Some rows so short that the norm's ε, 1.2e-7, is most of what is under the root.
        let std = if n == 7 { 2e-4 } else { 1.0 };
        let (token, table) = b.normal(dtype, SYMBOLS, c, std);
        let time = timed.then(|| (b.some_ids(sequences, 1, TIMESTEPS as u32), b.normal(dtype, TIMESTEPS, c, std)));
        let outputs = [c, sumsq_slots(c), 1].map(|cols| b.output(DType::F32, n, cols));
        let e = Table::new(n, c, |i, j| {
            let token = table.at(tokens[i] as usize, j);
            time.as_ref().map_or(token, |((_, t), (_, table))| token + table.at(t[i / positions] as usize, j))
        });
        let r = Table::new(n, 1, |i, _| {
            let mean = dot(e.row(i), e.row(i)) / exact(c as f64);
            exact(1.0) / (mean + exact(f64::from(NORM_EPS))).sqrt()
        });
        let x = e.map(|i, _, e| r.at(i, 0) * e);
        let squares = Table::new(n, sumsq_slots(c), |i, slot| {
            let cols = slot * SUMSQ_COLS..((slot + 1) * SUMSQ_COLS).min(c);
            sum(cols.map(|j| x.at(i, j) * x.at(i, j)))
        });
        let time = time.map(|((t, _), (table, _))| (t, table));
        let op = Embed { ids, time, token, x: outputs[0], sumsq: outputs[1], rstd: outputs[2] };
        let wants = [&x, &squares, &r].into_iter().zip(outputs).map(|(table, mat)| Want::table(mat, table));
        b.check(case, op, &wants.collect::<Vec<_>>());
    });
}

/// Inputs of a backward, and de of every row.
struct Backward {
    dx: Mat,
    x: Mat,
    rstd: Mat,
    de: Table,
}

fn backward(b: &mut Harness, n: usize, c: usize) -> Backward {
    let (dx, gradient) = b.normal(DType::F32, n, c, 1.0);
    let (x, values) = b.normal(DType::F32, n, c, 1.0);
    let r_values: Vec<f32> = b.normals(n, 0.25).iter().map(|z| z.exp()).collect();
    let (rstd, r) = b.input(DType::F32, n, 1, &r_values);
    let de = gradient.map(|i, j, dx| {
        let mean = dot(gradient.row(i), values.row(i)) / exact(c as f64);
        r.at(i, 0) * (dx - values.at(i, j) * mean)
    });
    Backward { dx, x, rstd, de }
}

/// A table's gradient that the rows of de are gathered into.
fn gathered(
    b: &mut Harness,
    accumulate: Accumulate,
    rows: usize,
    de: &Table,
    [n, c]: [usize; 2],
    hits: impl Fn(usize) -> usize,
) -> (Mat, Table) {
    let (mat, before) = match accumulate {
        Accumulate::Overwrite => (b.output(DType::F32, rows, c), None),
        Accumulate::Add => {
            let (mat, before) = b.normal(DType::F32, rows, c, 3.0);
            (mat, Some(before))
        }
    };
    let want = Table::new(rows, c, |v, j| {
        let terms = (0..n).filter(|&i| hits(i) == v).map(|i| de.at(i, j));
        sum(before.iter().map(|table| table.at(v, j)).chain(terms))
    });
    (mat, want)
}

#[test]
fn embed_backward_gathers_the_rows_of_each_symbol_and_timestep() {
    each(|case, (sequences, positions, c), timed, _| {
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            let mut b = Harness::default();
            let n = sequences * positions;
            let (ids, tokens) = b.some_ids(sequences, positions, SYMBOLS as u32);
            let t = timed.then(|| b.some_ids(sequences, 1, TIMESTEPS as u32));
            let Backward { dx, x, rstd, de } = backward(&mut b, n, c);
            let (dtoken, want) = gathered(&mut b, accumulate, SYMBOLS, &de, [n, c], |i| tokens[i] as usize);
            let mut wants = vec![Want::table(dtoken, &want)];
            let time = t.map(|(t, steps)| {
                let of_row = |i: usize| steps[i / positions] as usize;
                let (dtime, want) = gathered(&mut b, accumulate, TIMESTEPS, &de, [n, c], of_row);
                wants.push(Want::table(dtime, &want));
                (t, dtime)
            });
            let op = EmbedBackward { ids, time, dx, x, rstd, accumulate, dtoken };
            b.check(&format!("{case} {accumulate:?}"), op, &wants);
        }
    });
}

#[test]
fn embed_rows_backward_stores_each_row_and_gathers_those_of_each_timestep() {
    each(|case, (sequences, positions, c), timed, dtype| {
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            let mut b = Harness::default();
            let n = sequences * positions;
            let t = timed.then(|| b.some_ids(sequences, 1, TIMESTEPS as u32));
            let Backward { dx, x, rstd, de } = backward(&mut b, n, c);
            let stored = b.output(dtype, n, c);
            let mut wants = vec![Want::table(stored, &de)];
            let time = t.map(|(t, steps)| {
                let of_row = |i: usize| steps[i / positions] as usize;
                let (dtime, want) = gathered(&mut b, accumulate, TIMESTEPS, &de, [n, c], of_row);
                wants.push(Want::table(dtime, &want));
                (t, dtime)
            });
            let op = EmbedRowsBackward { time, dx, x, rstd, accumulate, de: stored };
            b.check(&format!("{case} {accumulate:?}"), op, &wants);
        }
    });
}

/// Rows of the table of positions: more than any text has.
const POSITIONS: usize = 75;

#[test]
fn embed_positions_adds_the_row_of_each_place() {
    each(|case, (sequences, positions, c), _, dtype| {
        let mut b = Harness::default();
        let n = sequences * positions;
        let (ids, tokens) = b.some_ids(sequences, positions, SYMBOLS as u32);
        let [(token, table), (position, places)] = [SYMBOLS, POSITIONS].map(|rows| b.normal(dtype, rows, c, 1.0));
        let x = b.output(DType::F32, n, c);
        let want = Table::new(n, c, |i, j| table.at(tokens[i] as usize, j) + places.at(i % positions, j));
        b.check(case, EmbedPositions { ids, open: None, token, position, x }, &[Want::table(x, &want)]);
    });
}

#[test]
fn embed_positions_puts_a_texts_row_where_its_next_token_goes() {
    let mut b = Harness::default();
    // Of nine positions all are open, some, one, none, and of a broken text.
    let (left, places, c) = ([9, 4, 1, 0, BROKEN], [0, 5, 8, 8, 8], 6);
    let (ids, tokens) = b.some_ids(left.len(), 1, SYMBOLS as u32);
    let remaining = b.ids(left.len(), 1, &left);
    let [(token, table), (position, rows)] = [SYMBOLS, POSITIONS].map(|rows| b.normal(DType::Bf16, rows, c, 1.0));
    let x = b.output(DType::F32, left.len(), c);
    let want = Table::new(left.len(), c, |i, j| table.at(tokens[i] as usize, j) + rows.at(places[i], j));
    let op = EmbedPositions { ids, open: Some((remaining, 9)), token, position, x };
    b.check("five texts", op, &[Want::table(x, &want)]);
}

#[test]
fn embed_positions_backward_gathers_the_rows_of_each_symbol_and_place() {
    each(|case, (sequences, positions, c), _, _| {
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            let mut b = Harness::default();
            let n = sequences * positions;
            let (ids, tokens) = b.some_ids(sequences, positions, SYMBOLS as u32);
            let (dx, gradient) = b.normal(DType::F32, n, c, 1.0);
            let (dtoken, of_tokens) = gathered(&mut b, accumulate, SYMBOLS, &gradient, [n, c], |i| tokens[i] as usize);
            let (dposition, of_places) = gathered(&mut b, accumulate, POSITIONS, &gradient, [n, c], |i| i % positions);
            let wants = [Want::table(dtoken, &of_tokens), Want::table(dposition, &of_places)];
            let op = EmbedPositionsBackward { ids, dx, accumulate, dtoken, dposition };
            b.check(&format!("{case} {accumulate:?}"), op, &wants);
        }
    });
}
