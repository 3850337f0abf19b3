//! Products of whole fragments with the sums of [`super::sums`].
//!
//! Each element is decoded once. Then a row's largest exponents and aligned terms, of eight columns at
//! once, are vectors of the host. Terms are whole `f64`s below 4·2²⁵, so that their sums are exact: their
//! cutting off is one instruction, where a conversion to integers, which must saturate, is many.
//! Fragments that hold infinities or NaNs are left to [`Rules::add`].
#![allow(clippy::needless_range_loop)] // rows and columns index several arrays at once

use super::element::Row;
use super::sums::{Rules, ZERO, power};

/// What decodes an element: the word it lies in and its place there.
pub(super) trait Value: Fn(u32, usize) -> f32 {}
impl<F: Fn(u32, usize) -> f32> Value for F {}

/// The factors that a register holds, `I` rows of `J`, and their exponents.
#[derive(Clone, Copy)]
struct Factors<const I: usize, const J: usize> {
    values: [[f64; J]; I],
    exponents: [[f32; J]; I],
}

impl<const I: usize, const J: usize> Factors<I, J> {
    const ZERO: Self = Factors { values: [[0.0; J]; I], exponents: [[0.0; J]; I] };

    #[inline(always)]
    fn turned(&self) -> Factors<J, I> {
        let mut turned = Factors::ZERO;
        for i in 0..I {
            for j in 0..J {
                turned.values[j][i] = self.values[i][j];
                turned.exponents[j][i] = self.exponents[i][j];
            }
        }
        turned
    }

    #[inline(always)]
    fn is_finite(&self) -> bool {
        self.values.as_flattened().iter().fold(true, |all, x| all & x.is_finite())
    }
}

/// Adds the product of `A` (blocks of 8 rows, down first) and 8 columns of `B` to `acc`, in blocks of
/// `R` registers, each with `W` elements of a row.
#[inline(always)]
pub(super) fn multiply<const W: usize, const R: usize>(
    rules: Rules,
    acc: &mut [[f32; 8]],
    (a, value_a): (&[Row], impl Value),
    (b, value_b): (&[Row], impl Value),
) {
    let down = acc.len() / 8;
    for (a, b) in a.chunks_exact(R * down).zip(b.as_chunks::<R>().0) {
        let mut columns = [Factors::<W, 8>::ZERO; R];
        for r in 0..R {
            columns[r] = decode(&b[r], rules.least.1, &value_b).turned();
        }
        for (block, sums) in acc.chunks_exact_mut(8).enumerate() {
            let mut rows = [Factors::<8, W>::ZERO; R];
            for r in 0..R {
                rows[r] = decode(&a[r * down + block], rules.least.0, &value_a);
            }
            let mut finite = sums.as_flattened().iter().fold(true, |all, x| all & x.is_finite());
            for r in 0..R {
                finite &= rows[r].is_finite() & columns[r].is_finite();
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                if finite {
                    row(rules, i, &rows, &columns, sums);
                } else {
                    any_row(rules, i, &rows, &columns, sums);
                }
            }
        }
    }
}

/// The factors of a register, whose lanes hold eight rows (of `B`: columns) one after the other.
#[inline(always)]
fn decode<const W: usize>(register: &Row, least: i32, value: impl Value) -> Factors<8, W> {
    let mut factors = Factors::ZERO;
    let (values, exponents) = (factors.values.as_flattened_mut(), factors.exponents.as_flattened_mut());
    let per = W / 4;
    for lane in 0..32 {
        for i in 0..per {
            let value = value(register[lane], i);
            values[lane * per + i] = f64::from(value);
            exponents[lane * per + i] = Rules::exponent(value, least);
        }
    }
    factors
}

/// Adds one row's products with eight columns to its sums; all are finite.
#[inline(always)]
fn row<const W: usize, const R: usize>(
    rules: Rules,
    i: usize,
    rows: &[Factors<8, W>; R],
    columns: &[Factors<W, 8>; R],
    sums: &mut [f32; 8],
) {
    let mut largest = [2.0 * ZERO; 8];
    for r in 0..R {
        for k in 0..W {
            for n in 0..8 {
                let exponent = rows[r].exponents[i][k] + columns[r].exponents[k][n];
                largest[n] = if exponent > largest[n] { exponent } else { largest[n] };
            }
        }
    }
    let (mut scale, mut unscale) = ([0.0; 8], [0.0; 8]);
    for n in 0..8 {
        let last = rules.fraction - largest[n].max(Rules::accumulator_exponent(sums[n]));
        scale[n] = power(last);
        unscale[n] = power(-last);
    }
    let mut total = [0.0; 8];
    for r in 0..R {
        for k in 0..W {
            for n in 0..8 {
                // Below 4·2^largest·2^(25 - largest).
                total[n] += (rows[r].values[i][k] * columns[r].values[k][n] * scale[n]).trunc();
            }
        }
    }
    for n in 0..8 {
        let c = f64::from(sums[n]);
        let sum = (total[n] + (c * scale[n]).trunc()) * unscale[n];
        // Without products nothing is aligned, and a tiny sum stays.
        total[n] = if largest[n] < ZERO { c } else { sum };
    }
    *sums = rules.narrow(&total);
}

/// The same for any numbers.
#[cold]
fn any_row<const W: usize, const R: usize>(
    rules: Rules,
    i: usize,
    rows: &[Factors<8, W>; R],
    columns: &[Factors<W, 8>; R],
    sums: &mut [f32; 8],
) {
    for n in 0..8 {
        let x = rows.iter().flat_map(|rows| rows.values[i]);
        let y = columns.iter().flat_map(|columns| columns.values.map(|row| row[n]));
        sums[n] = rules.add(x.zip(y).map(|(x, y)| (x as f32, y as f32)), sums[n]);
    }
}
