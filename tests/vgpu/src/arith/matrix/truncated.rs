//! Products of whole fragments with the sums of [`super::sums`].
//!
//! Largest exponents and aligned terms of a row by eight columns are vectors of the host. Terms are
//! integers: below 4·2²⁵ each, so that 16 of them fit 32 bits. Longer blocks, and whatever does not
//! lie in the middle of `f32`'s range, are left to [`Rules::add`].
#![allow(clippy::needless_range_loop)] // rows and columns index several arrays at once

use super::element::{Element, Row};
use super::sums::{ORDINARY, Rules, ZERO, power};
use crate::arith::half;

/// Products of one block at most.
const MOST: usize = 32;
/// Products whose terms fit.
const FIT: usize = 16;

/// Eight rows of `A`, or eight columns of `B` turned: values of a block and their exponents.
struct Values<const I: usize, const J: usize> {
    values: [[f32; J]; I],
    exponents: [[i32; J]; I],
}

impl<const I: usize, const J: usize> Values<I, J> {
    #[inline(always)]
    fn new() -> Self {
        Values { values: [[0.0; J]; I], exponents: [[0; J]; I] }
    }
}

/// Adds the product of `A` (blocks of 8 rows, down first) and 8 columns of `B` to `acc`, a number of
/// registers of `B` at once.
#[inline(always)]
pub(super) fn multiply(
    rules: Rules,
    at_once: usize,
    acc: &mut [[f32; 8]],
    (a, a_type): (&[Row], Element),
    (b, b_type): (&[Row], Element),
) {
    let down = acc.len() / 8;
    let per = a_type.per_register();
    let mut columns = Values::<MOST, 8>::new();
    let mut rows = Values::<8, MOST>::new();
    for (a, b) in a.chunks(at_once * down).zip(b.chunks(at_once)) {
        let depth = 4 * per * b.len();
        for (r, register) in b.iter().enumerate() {
            unpack(b_type, register, |lane, i, value| columns.values[(4 * r + lane % 4) * per + i][lane / 4] = value);
        }
        for (exponents, values) in columns.exponents.iter_mut().zip(&columns.values).take(depth) {
            *exponents = values.map(|x| Rules::exponent(x, rules.least.1));
        }
        for (block, sums) in acc.chunks_exact_mut(8).enumerate() {
            for r in 0..b.len() {
                let register = &a[r * down + block];
                unpack(a_type, register, |lane, i, x| rows.values[lane / 4][(4 * r + lane % 4) * per + i] = x);
            }
            for (exponents, values) in rows.exponents.iter_mut().zip(&rows.values) {
                for (exponent, x) in exponents.iter_mut().zip(values).take(depth) {
                    *exponent = Rules::exponent(*x, rules.least.0);
                }
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = (&rows.values[i][..depth], &rows.exponents[i][..depth]);
                row(rules, x, (&columns.values[..depth], &columns.exponents[..depth]), sums);
            }
        }
    }
}

/// Gives each number of a register to `put`: its lane, its place in the word, its value.
#[inline(always)]
fn unpack(element: Element, register: &Row, mut put: impl FnMut(usize, usize, f32)) {
    // The match is outside of the loops, so that these become vector code.
    macro_rules! each {
        ($per:literal, $value:expr) => {
            for lane in 0..32 {
                for i in 0..$per {
                    put(lane, i, $value(register[lane], i));
                }
            }
        };
    }
    match element {
        Element::F16 => each!(2, |word: u32, i: usize| half::f16_to_f32((word >> (16 * i)) as u16)),
        Element::Bf16 => each!(2, |word: u32, i: usize| half::bf16_to_f32((word >> (16 * i)) as u16)),
        Element::Tf32 => each!(1, |word: u32, _| Element::Tf32.value(word)),
        _ => each!(4, |word: u32, i: usize| element.value(word >> (8 * i))),
    }
}

/// Adds one row's products with eight columns to its sums.
#[inline(always)]
fn row(rules: Rules, x: (&[f32], &[i32]), columns: (&[[f32; 8]], &[[i32; 8]]), sums: &mut [f32; 8]) {
    let mut largest = [2 * ZERO; 8];
    for (e, columns) in x.1.iter().zip(columns.1) {
        for n in 0..8 {
            largest[n] = largest[n].max(e + columns[n]);
        }
    }
    let own = sums.map(Rules::accumulator_exponent);
    let mut ordinary = true;
    for n in 0..8 {
        let product = largest[n];
        ordinary &= (product < ZERO) | (product.abs() <= ORDINARY);
        ordinary &= own[n] <= ORDINARY;
    }
    if !ordinary || x.0.len() > FIT {
        for n in 0..8 {
            let column = columns.0.iter().map(|values| values[n]);
            sums[n] = rules.add(x.0.iter().copied().zip(column), sums[n]);
        }
        return;
    }
    let mut exponent = [0; 8];
    let mut scale = [0f32; 8];
    for n in 0..8 {
        exponent[n] = largest[n].max(own[n]).max(-ORDINARY);
        scale[n] = f32::from_bits(((127 + rules.fraction as i32 - exponent[n]) as u32) << 23);
    }
    let mut total = [0i32; 8];
    for (x, columns) in x.0.iter().zip(columns.0) {
        for n in 0..8 {
            // Below 4·2^largest·2^(25 - largest). The conversion cuts off.
            total[n] += (x * columns[n] * scale[n]) as i32;
        }
    }
    for n in 0..8 {
        let kept = (sums[n] * scale[n]) as i32;
        let sum = (f64::from(total[n]) + f64::from(kept)) * power(exponent[n] - rules.fraction as i32);
        let narrow = rules.narrow_ordinary(sum);
        // Without products nothing is aligned, and a tiny sum stays.
        sums[n] = if largest[n] < ZERO { sums[n] } else { narrow };
    }
}
