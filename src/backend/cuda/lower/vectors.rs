//! Vectors with Gaussian noise: noise, what models read and make of them, and one reverse step.

use super::super::call::{
    DenoiseArgs, DiffuseArgs, DiffuseBackwardArgs, Launch, ReadOffArgs, RenoiseVectorsArgs, UnitRowsArgs,
    VectorInputArgs, VectorLossArgs, call,
};
use super::{Lowering, args};
use crate::config::Gamma;
use crate::program::{
    Denoise, Diffuse, DiffuseBackward, ErrorCost, Mat, ReadOff, RenoiseVectors, UnitRows, VectorInput, VectorLevel,
    VectorLoss, VectorStep,
};

/// Steps of a row.
pub(super) fn row_steps(steps: Mat) -> usize {
    steps.cols / VectorStep::COLS
}

impl Lowering<'_> {
    pub(super) fn unit_rows(&mut self, op: &UnitRows) -> Launch {
        let UnitRows { table, units, rstd } = *op;
        let [rows, cols] = table.shape();
        call::unit_rows(args!(self, UnitRowsArgs { table, units, rstd, rows, cols })).cover_rows(rows)
    }

    pub(super) fn diffuse(&mut self, op: &Diffuse) -> Launch {
        let Diffuse { x0, units, level, streams, steps, z, weight } = *op;
        let ([sequences, positions], dims) = (x0.shape(), units.cols);
        let (quantiles, level_of, gamma, cost) = match level {
            VectorLevel::Given => (None, 0, Gamma::USUAL, ErrorCost::Denoised),
            VectorLevel::Drawn { of, quantiles, gamma, cost } => (Some(quantiles), of, gamma, cost),
        };
        let args = args!(
            self,
            DiffuseArgs {
                step: self.step(),
                x0,
                units,
                quantiles,
                steps,
                z,
                weight,
                level,
                cost,
                level_of,
                gamma_least: gamma.least,
                gamma_most: gamma.most,
                // As the CPU divides.
                per_token: (1.0 / (f64::from(level_of) * positions as f64)) as f32,
                streams,
                sequences,
                positions,
                dims,
            }
        );
        call::diffuse(args).cover_each(args.sequences, positions * dims)
    }

    pub(super) fn vector_input(&mut self, op: &VectorInput) -> Launch {
        let VectorInput { z, steps, denoised, y } = *op;
        let ([rows, dims], positions) = (z.shape(), z.rows / steps.rows);
        let (step, row_steps) = (self.step(), row_steps(steps));
        call::vector_input(args!(
            self,
            VectorInputArgs { step, z, steps, denoised, y, rows, positions, row_steps, dims }
        ))
        .cover_rows(rows)
    }

    pub(super) fn denoise(&mut self, op: &Denoise) -> Launch {
        let Denoise { logits, z, units, steps, drop, denoised } = *op;
        let ([rows, symbols], dims, positions) = (logits.shape(), z.cols, z.rows / steps.rows);
        let (step, row_steps, kept) = (self.step(), row_steps(steps), self.partials(0, logits.len()));
        let args = args!(
            self,
            DenoiseArgs {
                step,
                logits,
                z,
                units,
                steps,
                kept,
                denoised,
                rows,
                positions,
                row_steps,
                symbols,
                dims,
                drop
            }
        );
        call::denoise(args).cover_rows(rows)
    }

    pub(super) fn vector_loss(&mut self, op: &VectorLoss) -> Launch {
        let VectorLoss { logits, target, z, units, steps, drop, cost, loss, back } = *op;
        let [rows, symbols] = logits.shape();
        let (back, of_units) = back.unzip();
        let args = args!(
            self,
            VectorLossArgs {
                step: self.step(),
                logits,
                target,
                z,
                units,
                steps,
                loss,
                sumsq: back.and_then(|back| back.sumsq),
                weight: back.map(|back| back.weight),
                scale: back.and_then(|back| back.scale),
                kept: self.partials(0, logits.len()),
                dlogits: back.map(|back| back.dlogits),
                s: back.map(|back| back.s),
                q: of_units.map(|units| units.q),
                g: of_units.map(|units| units.g),
                own: of_units.map(|units| units.own),
                rows,
                positions: target.cols,
                row_steps: row_steps(steps),
                symbols,
                dims: z.cols,
                width: back.map_or(0, |back| back.width),
                drop,
                cost,
            }
        );
        call::vector_loss(args).cover_rows(rows)
    }

    pub(super) fn read_off(&mut self, op: &ReadOff) -> Launch {
        let ReadOff { target, units, gamma, drop, accumulate, loss, back } = *op;
        let VectorStep { alpha, sigma, .. } = VectorStep::level(gamma, gamma.least.into(), 0.0);
        let (rows, [symbols, dims]) = (target.len(), units.shape());
        let args = args!(
            self,
            ReadOffArgs {
                step: self.step(),
                target,
                units,
                loss,
                weight: back.map(|(weight, ..)| weight),
                scale: back.and_then(|(_, scale, _)| scale),
                kept: self.partials(0, rows * symbols),
                noised: self.partials(rows * symbols, rows * dims),
                q: back.map(|(.., units)| units.q),
                g: back.map(|(.., units)| units.g),
                own: back.map(|(.., units)| units.own),
                alpha,
                sigma,
                rows,
                positions: target.cols,
                symbols,
                dims,
                drop,
                accumulate,
            }
        );
        call::read_off(args).cover_rows(rows)
    }

    pub(super) fn diffuse_backward(&mut self, op: &DiffuseBackward) -> Launch {
        let DiffuseBackward { x0, steps, dy, own, dunits, units, rstd, accumulate, dtable } = *op;
        let (rows, [symbols, dims]) = (x0.len(), units.shape());
        let args = args!(
            self,
            DiffuseBackwardArgs {
                step: self.step(),
                x0,
                steps,
                dy,
                own,
                dunits,
                units,
                rstd,
                dtable,
                rows,
                positions: x0.cols,
                row_steps: row_steps(steps),
                symbols,
                dims,
                accumulate,
            }
        );
        call::diffuse_backward(args).cover_rows(symbols)
    }

    pub(super) fn renoise_vectors(&mut self, op: &RenoiseVectors) -> Launch {
        let RenoiseVectors { logits, params, steps, units, truth, drop, .. } = *op;
        let RenoiseVectors { z, denoised, x, masked, committed_at, remaining, .. } = *op;
        let [symbols, dims] = units.shape();
        let args = args!(
            self,
            RenoiseVectorsArgs {
                step: self.step(),
                logits,
                params,
                steps,
                units,
                truth,
                kept: self.partials(0, logits.len()),
                z,
                denoised,
                x,
                masked,
                committed_at,
                remaining,
                positions: x.cols,
                row_steps: row_steps(steps),
                symbols,
                dims,
                drop,
            }
        );
        call::renoise_vectors(args).cover_rows(x.rows)
    }
}
