//! Matrix products with biases, GELU, and their backwards.

use crate::harness::{Harness, Want};
use crate::linear::each;
use crate::number::{Num, Table, exact, sum};
use tempest::program::{Accumulate, BiasGrad, DType, GeluBackward, Linear, LinearBackward, LinearGelu};

#[test]
fn linear_adds_what_it_is_given_to_the_product() {
    each(|case, size, dtype| {
        for (biased, around) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut b = Harness::default();
            let (n, inner, cols) = (size.rows(), size.width, size.wide);
            let (x, values) = b.normal(dtype, n, inner, 1.0);
            let (w, weights) = b.normal(dtype, cols, inner, 1.0 / (inner as f32).sqrt());
            let bias = biased.then(|| b.normal(dtype, 1, cols, 1.0));
            // The stream is f32 whatever the activations are.
            let residual = around.then(|| b.normal(DType::F32, n, cols, 1.0));
            let y = b.output(if around { DType::F32 } else { dtype }, n, cols);
            let want = values.times_transposed(&weights).map(|i, j, y| {
                let y = bias.as_ref().map_or(y, |(_, bias)| y + bias.at(0, j));
                residual.as_ref().map_or(y, |(_, around)| y + around.at(i, j))
            });
            let (bias, residual) = (bias.map(|(mat, _)| mat), residual.map(|(mat, _)| mat));
            b.check(case, Linear { x, w, bias, residual, y }, &[Want::table(y, &want)]);
        }
    });
}

/// u·Φ(u) and its derivative.
fn gelu(u: Num) -> [Num; 2] {
    [u * u.normal_cdf(), u.normal_cdf() + u * u.normal_density()]
}

#[test]
fn gelus_slope_is_that_of_gelu() {
    for i in -400..=400 {
        let (u, h) = (0.01 * f64::from(i), 1e-5);
        let [above, below] = [u + h, u - h].map(|u| gelu(exact(u))[0].v);
        // h²/6 of a third derivative below 1, and ε/h of values below 5.
        assert!(((above - below) / (2.0 * h) - gelu(exact(u))[1].v).abs() < 2e-10, "at {u}");
    }
}

#[test]
fn linear_gelu_keeps_what_its_backward_needs() {
    each(|case, size, dtype| {
        for biased in [false, true] {
            let mut b = Harness::default();
            let (n, inner, cols) = (size.rows(), size.width, size.wide);
            let (x, values) = b.normal(dtype, n, inner, 1.0);
            let (w, weights) = b.normal(dtype, cols, inner, 1.0 / (inner as f32).sqrt());
            let bias = biased.then(|| b.normal(dtype, 1, cols, 1.0));
            let [u, h] = [(); 2].map(|()| b.output(dtype, n, cols));
            let product = values.times_transposed(&weights);
            let sums = product.map(|_, j, y| bias.as_ref().map_or(y, |(_, bias)| y + bias.at(0, j)));
            let want = sums.map(|_, _, u| gelu(u)[0]);
            let bias = bias.map(|(mat, _)| mat);
            b.check(case, LinearGelu { x, w, bias, u, h }, &[Want::table(u, &sums), Want::table(h, &want)]);
        }
    });
}

#[test]
fn linear_backward_is_the_product_with_the_same_weights() {
    each(|case, size, dtype| {
        let mut b = Harness::default();
        let (n, inner, cols) = (size.rows(), size.wide, size.width);
        let (dy, gradient) = b.normal(dtype, n, inner, 1.0);
        let (w, weights) = b.normal(dtype, inner, cols, 1.0 / (inner as f32).sqrt());
        let dx = b.output(dtype, n, cols);
        b.check(case, LinearBackward { dy, w, dx }, &[Want::table(dx, &gradient.times(&weights))]);
    });
}

#[test]
fn gelu_backward_multiplies_by_the_slope_at_what_was_kept() {
    each(|case, size, dtype| {
        let mut b = Harness::default();
        let (n, c, f) = (size.rows(), size.width, size.wide);
        let (dx, gradient) = b.normal(DType::F32, n, c, 1.0);
        let (w, weights) = b.normal(dtype, c, f, 1.0 / (c as f32).sqrt());
        let (u, hidden) = b.normal(dtype, n, f, 1.5);
        let du = b.output(dtype, n, f);
        let want = gradient.times(&weights).map(|i, j, dh| dh * gelu(hidden.at(i, j))[1]);
        b.check(case, GeluBackward { dx, w, u, du }, &[Want::table(du, &want)]);
    });
}

#[test]
fn bias_grad_sums_columns() {
    each(|case, size, dtype| {
        for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
            let mut b = Harness::default();
            let (dy, gradient) = b.normal(dtype, size.rows(), size.wide, 1.0);
            let (db, before) = match accumulate {
                Accumulate::Overwrite => (b.output(DType::F32, 1, size.wide), None),
                Accumulate::Add => {
                    let (mat, before) = b.normal(DType::F32, 1, size.wide, 3.0);
                    (mat, Some(before))
                }
            };
            let want = Table::new(1, size.wide, |_, j| {
                sum(before.iter().map(|before| before.at(0, j)).chain(gradient.col(j)))
            });
            b.check(case, BiasGrad { dy, accumulate, db }, &[Want::table(db, &want)]);
        }
    });
}
