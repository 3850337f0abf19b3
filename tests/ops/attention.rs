//! Attention and its backward.

use crate::dropout::{args, factor};
use crate::harness::{Harness, Want, unit};
use crate::linear::rotate;
use crate::number::{Num, Table, dot, exact, sum};
use tempest::program::{
    Attention, AttentionBackward, AttentionMask, DType, Lots, NORM_EPS, QkvNorms, Scores, sumsq_slots, weight_number,
};

/// Sizes of one case.
#[derive(Clone, Copy, Debug)]
struct Size {
    sequences: usize,
    positions: usize,
    heads: usize,
    head_dim: usize,
}

const fn size(sequences: usize, positions: usize, heads: usize, head_dim: usize) -> Size {
    Size { sequences, positions, heads, head_dim }
}

const SIZES: [Size; 8] = [
    size(1, 1, 1, 2),
    size(7, 1, 3, 4),
    size(2, 5, 2, 6),
    size(1, 33, 3, 10),
    size(3, 33, 1, 32),
    size(1, 70, 1, 16),
    size(2, 65, 2, 66),
    size(1, 131, 1, 8),
];

/// Blocks of one position, of some and of all; the sequences are texts with noise and without.
fn masks(size: Size) -> Vec<(Size, AttentionMask)> {
    let blocks = [1, 5, size.positions].into_iter().filter(|length| size.positions.is_multiple_of(*length));
    let doubled = Size { sequences: 2 * size.sequences, ..size };
    let blocks = blocks.map(|length| (doubled, AttentionMask::Blocks { length: length as u32 }));
    [AttentionMask::Bidirectional, AttentionMask::Causal].map(|mask| (size, mask)).into_iter().chain(blocks).collect()
}

fn each(mut f: impl FnMut(&str, Size, DType, AttentionMask)) {
    for (size, mask) in SIZES.into_iter().flat_map(masks) {
        for dtype in [DType::F32, DType::Bf16] {
            f(&format!("{size:?} {dtype:?} {mask:?}"), size, dtype, mask);
        }
    }
}

/// Rows that attend to each other: of a sequence, or of a text's two copies.
fn groups(n: usize, t: usize, mask: AttentionMask) -> Vec<Vec<usize>> {
    let sequences = |first: usize, end: usize| (first..end).step_by(t).map(|first| (first..first + t).collect());
    match mask {
        AttentionMask::Blocks { .. } => {
            let [noised, clean] = [(0, n / 2), (n / 2, n)].map(|(first, end)| sequences(first, end));
            noised.zip(clean).map(|(noised, clean): (Vec<usize>, Vec<usize>)| [noised, clean].concat()).collect()
        }
        _ => sequences(0, n).collect(),
    }
}

/// Whether the first of two members of a group of sequences of `t` sees the second.
fn sees(mask: AttentionMask, t: usize, query: usize, key: usize) -> bool {
    match mask {
        AttentionMask::Bidirectional => true,
        AttentionMask::Causal => key <= query,
        AttentionMask::Blocks { length } => {
            let [of_query, of_key] = [query, key].map(|i| i % t / length as usize);
            match (query < t, key < t) {
                (true, true) => of_key == of_query,
                (true, false) => of_key < of_query,
                (false, false) => of_key <= of_query,
                (false, true) => false,
            }
        }
    }
}

/// One head's columns of some rows: `[T, D]`.
fn head(all: &Table, rows: &[usize], first_col: usize, cols: usize) -> Table {
    Table::new(rows.len(), cols, |i, j| all.at(rows[i], first_col + j))
}

fn put(all: &mut Table, first_row: usize, first_col: usize, part: &Table) {
    for i in 0..part.rows {
        for j in 0..part.cols {
            all.data[(first_row + i) * all.cols + first_col + j] = part.at(i, j);
        }
    }
}

fn scores(q: &Table, k: &Table) -> Table {
    let root = exact(k.cols as f64).sqrt();
    q.times_transposed(k).map(|_, _, s| s / root)
}

/// A quarter of the weights is dropped, where there is a place for it.
const DROPOUT: Option<Lots> = Some(Lots { rate: 0.25, place: 2, places: 9 });

/// Without dropout, and with it where weights may be dropped.
fn dropouts(mask: AttentionMask) -> &'static [Option<Lots>] {
    if let AttentionMask::Blocks { .. } = mask { &[None] } else { &[None, DROPOUT] }
}

/// What a weight of a sequence's head is multiplied by.
fn left(dropout: Option<Lots>, t: usize, [first_row, head]: [usize; 2], [query, key]: [usize; 2]) -> Num {
    dropout.map_or(exact(1.0), |lots| {
        let lots = Lots { place: lots.place + head as u32, ..lots };
        factor(lots, first_row / t, weight_number(t, query, key))
    })
}

/// `(o, lse)`.
fn attend(size: Size, mask: AttentionMask, dropout: Option<Lots>, unit: f64, qkv: &Table) -> (Table, Table) {
    let (n, t, d) = (qkv.rows, size.positions, size.head_dim);
    let c = size.heads * d;
    let mut o = Table::new(n, c, |_, _| exact(0.0));
    let mut lse = Table::new(n, size.heads, |_, _| exact(0.0));
    for rows in groups(n, t, mask) {
        for h in 0..size.heads {
            let [q, k, v] = [0, c, 2 * c].map(|part| head(qkv, &rows, part + h * d, d));
            let scores = scores(&q, &k);
            for (i, row) in rows.iter().enumerate() {
                let keys: Vec<usize> = (0..rows.len()).filter(|&j| sees(mask, t, i, j)).collect();
                let max = keys.iter().map(|&j| scores.at(i, j).v).fold(f64::MIN, f64::max);
                let p: Vec<Num> = keys.iter().map(|&j| (scores.at(i, j) - exact(max)).exp()).collect();
                let total = sum(p.iter().copied());
                lse.data[row * size.heads + h] = exact(max) + total.ln();
                for col in 0..d {
                    let left = |j: usize| left(dropout, t, [rows[0], h], [i, j]);
                    let terms = keys.iter().zip(&p).map(|(&j, p)| {
                        let p = (*p / total).factor(unit);
                        (if dropout.is_some() { (p * left(j)).factor(unit) } else { p }) * v.at(j, col)
                    });
                    o.data[row * c + h * d + col] = sum(terms);
                }
            }
        }
    }
    (o, lse)
}

#[test]
fn attention_is_softmax_over_the_keys_that_each_query_sees() {
    each(|case, size, dtype, mask| {
        for &dropout in dropouts(mask) {
            let mut b = Harness::default();
            b.args = args();
            let (n, c) = (size.sequences * size.positions, size.heads * size.head_dim);
            let (qkv, values) = b.normal(dtype, n, 3 * c, 1.0);
            let (o, lse) = (b.output(dtype, n, c), b.output(DType::F32, n, size.heads));
            let (want, want_lse) = attend(size, mask, dropout, unit(dtype), &values);
            let (positions, heads) = (size.positions as u32, size.heads as u32);
            let op = Attention { qkv, positions, heads, mask, scores: Scores::Free, dropout, o, lse };
            b.check(case, op, &[Want::table(o, &want), Want::table(lse, &want_lse)]);
        }
    });
}

#[test]
fn attention_backward_goes_through_head_norm_and_rotation_where_there_are() {
    each(|case, size, dtype, mask| {
        backward(case, size, dtype, mask, (true, None));
        if !matches!(mask, AttentionMask::Blocks { .. }) {
            backward(case, size, dtype, mask, (false, None));
            backward(case, size, dtype, mask, (false, DROPOUT));
        }
    });
}

fn backward(case: &str, size: Size, dtype: DType, mask: AttentionMask, (through_norms, dropout): (bool, Option<Lots>)) {
    let mut b = Harness::default();
    b.args = args();
    let (n, t, heads, d) = (size.sequences * size.positions, size.positions, size.heads, size.head_dim);
    let c = heads * d;
    let (qkv, values) = b.normal(dtype, n, 3 * c, 1.0);
    // Where r is a thousand, the norm's ε counts: 1.2e-7·r² = 0.12.
    let short = if t == 5 { 1000.0 } else { 1.0 };
    let r_values: Vec<f32> = b.normals(n * 2 * heads, 0.25).iter().map(|z| short * z.exp()).collect();
    let (qk_rstd, head_r) = b.input(DType::F32, n, 2 * heads, &r_values);
    let (o, lse_values) = attend(size, mask, dropout, unit(DType::F32), &values);
    let (d_o, gradient) = b.normal(dtype, n, c, 1.0);
    let stored = |table: &Table| table.data.iter().map(|x| x.v as f32).collect::<Vec<_>>();
    let (lse, lse_values) = b.input(DType::F32, n, heads, &stored(&lse_values));
    let dots = Table::new(n, heads, |i, h| dot(gradient.row(i).skip(h * d).take(d), o.row(i).skip(h * d).take(d)));
    let (dot_in, dots) = b.input(DType::F32, n, heads, &stored(&dots));
    let lengths: Vec<f32> = (0..n * sumsq_slots(c)).map(|i| c as f32 * (0.5 + i as f32 * 0.01)).collect();
    let (sumsq, lengths) = b.input(DType::F32, n, sumsq_slots(c), &lengths);
    let (dqkv, s) = (b.output(dtype, n, 3 * c), b.output(DType::F32, n, heads));

    let unit = unit(dtype);
    let eps = exact(f64::from(NORM_EPS));
    let mut want = Table::new(n, 3 * c, |_, _| exact(0.0));
    let mut want_s = Table::new(n, heads, |_, _| exact(0.0));
    for rows in groups(n, t, mask) {
        for h in 0..heads {
            let [q, k, v] = [0, c, 2 * c].map(|part| head(&values, &rows, part + h * d, d));
            let d_o = head(&gradient, &rows, h * d, d);
            let zero = exact(0.0);
            let p = scores(&q, &k)
                .map(|i, j, s| if sees(mask, t, i, j) { (s - lse_values.at(rows[i], h)).exp() } else { zero });
            let dp = d_o.times_transposed(&v);
            let root = exact(d as f64).sqrt();
            let left = |i: usize, j: usize| left(dropout, t, [rows[0], h], [i, j]);
            let ds = p.map(|i, j, p| (p * (left(i, j) * dp.at(i, j) - dots.at(rows[i], h)) / root).factor(unit));
            let p = p.map(|i, j, p| match dropout {
                None => p.factor(unit),
                Some(_) => (p.factor(unit) * left(i, j)).factor(unit),
            });
            let dv = Table::new(rows.len(), d, |j, col| dot(p.col(j), d_o.col(col)));
            let dk = Table::new(rows.len(), d, |j, col| dot(ds.col(j), q.col(col)));
            let dq = ds.times(&k);
            for (i, &row) in rows.iter().enumerate() {
                let r = exact(1.0) / (sum(lengths.row(row)) / exact(c as f64) + eps).sqrt();
                let mut total = dot(dv.row(i), v.row(i));
                for (part, (gradient, normed)) in [(&dq, &q), (&dk, &k)].into_iter().enumerate() {
                    let head_r = head_r.at(row, part * heads + h);
                    let along = dot(gradient.row(i), normed.row(i));
                    total = total + eps * head_r * head_r * along;
                    if !through_norms {
                        let dy = Table { rows: 1, cols: d, data: gradient.row(i).collect() };
                        put(&mut want, row, part * c + h * d, &dy);
                        continue;
                    }
                    let before_norm: Vec<Num> = (gradient.row(i).zip(normed.row(i)))
                        .map(|(g, y)| head_r * (g - y * along / exact(d as f64)))
                        .collect();
                    let back = Table { rows: 1, cols: d, data: rotate_back(i % t, &before_norm) };
                    put(&mut want, row, part * c + h * d, &back.map(|_, _, g| r * g));
                }
                put(
                    &mut want,
                    row,
                    2 * c + h * d,
                    &Table {
                        rows: 1,
                        cols: d,
                        data: dv.row(i).map(|g| if through_norms { r * g } else { g }).collect(),
                    },
                );
                want_s.data[row * heads + h] = total;
            }
        }
    }
    let norms = through_norms.then_some(QkvNorms { qk_rstd, sumsq, s });
    let (positions, heads) = (t as u32, heads as u32);
    let op = AttentionBackward { qkv, lse, d_o, dot: dot_in, positions, heads, mask, norms, dropout, dqkv };
    let mut wants = vec![Want::table(dqkv, &want)];
    wants.extend(through_norms.then(|| Want::table(s, &want_s)));
    b.check(case, op, &wants);
}

/// The inverse of a rotation is the rotation by the opposite angle: exchange the halves, rotate, exchange them back.
fn rotate_back(position: usize, head: &[Num]) -> Vec<Num> {
    let half = head.len() / 2;
    let exchange = |x: &[Num]| x[half..].iter().chain(&x[..half]).copied().collect::<Vec<_>>();
    exchange(&rotate(position, &exchange(head)))
}
