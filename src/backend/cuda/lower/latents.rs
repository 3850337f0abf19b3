//! Latents: levels and noise, what predictions cost, the way back, one reverse step, and what is read off.

use super::super::call::{
    DenoiseLatentsArgs, DiffuseLatentsArgs, DrawLevelsArgs, LatentInputArgs, LatentLossArgs, LatentsBackwardArgs,
    Launch, MisreadArgs, ReadTokensArgs, RenoiseLatentsArgs, call,
};
use super::vectors::row_steps;
use super::{Lowering, args, size};
use crate::program::{
    DenoiseLatents, DiffuseLatents, DrawLevels, LatentInput, LatentLoss, LatentsBackward, Misread, ReadTokens,
    RenoiseLatents, VectorStep,
};

impl Lowering<'_> {
    pub(super) fn draw_levels(&mut self, op: &DrawLevels) -> Launch {
        let DrawLevels { of, tokens, quantiles, gamma, cost, steps, weight } = *op;
        let args = args!(
            self,
            DrawLevelsArgs {
                step: self.step(),
                quantiles,
                steps,
                weight,
                cost,
                level_of: of,
                gamma_least: gamma.least,
                gamma_most: gamma.most,
                // As the CPU divides.
                per_token: (1.0 / (f64::from(of) * f64::from(tokens))) as f32,
                rows: weight.rows / steps.rows,
            }
        );
        call::draw_levels(args).cover_rows(steps.rows)
    }

    pub(super) fn diffuse_latents(&mut self, op: &DiffuseLatents) -> Launch {
        let DiffuseLatents { latents, steps, stream, z, y } = *op;
        let (step, row_steps, dims) = (self.step(), row_steps(steps), latents.cols);
        let numbers = latents.len() / steps.rows;
        call::diffuse_latents(args!(
            self,
            DiffuseLatentsArgs { step, latents, steps, z, y, stream, row_steps, numbers, dims }
        ))
        .cover_each(size(steps.rows), numbers)
    }

    pub(super) fn latent_input(&mut self, op: &LatentInput) -> Launch {
        let LatentInput { z, gamma, y } = *op;
        let (scale, numbers) = (VectorStep::level(gamma, gamma.least.into(), 0.0).scale(z.cols), z.len());
        call::latent_input(args!(self, LatentInputArgs { z, y, numbers, scale })).cover_each(1, numbers)
    }

    pub(super) fn denoise_latents(&mut self, op: &DenoiseLatents) -> Launch {
        let DenoiseLatents { output, z, steps, denoised } = *op;
        let (step, row_steps, dims) = (self.step(), row_steps(steps), z.cols);
        let numbers = z.len() / steps.rows;
        call::denoise_latents(args!(
            self,
            DenoiseLatentsArgs { step, output, z, steps, denoised, row_steps, numbers, dims }
        ))
        .cover_each(size(steps.rows), numbers)
    }

    pub(super) fn latent_loss(&mut self, op: &LatentLoss) -> Launch {
        let LatentLoss { output, z, latents, steps, loss, back } = *op;
        let ([rows, dims], (back, own)) = (z.shape(), back.unzip());
        let args = args!(
            self,
            LatentLossArgs {
                step: self.step(),
                output,
                z,
                latents,
                steps,
                loss,
                sumsq: back.and_then(|back| back.sumsq),
                weight: back.map(|back| back.weight),
                scale: back.and_then(|back| back.scale),
                doutput: back.map(|back| back.dlogits),
                s: back.map(|back| back.s),
                own,
                rows,
                per_text: rows / steps.rows,
                row_steps: row_steps(steps),
                dims,
                width: back.map_or(0, |back| back.width),
            }
        );
        call::latent_loss(args).cover_rows(rows)
    }

    pub(super) fn latents_backward(&mut self, op: &LatentsBackward) -> Launch {
        let LatentsBackward { latents, rstd, decoder, denoiser, dtable } = *op;
        let ([rows, dims], (denoiser, own)) = (latents.shape(), denoiser.unzip());
        let args = args!(
            self,
            LatentsBackwardArgs {
                step: self.step(),
                latents,
                rstd,
                steps: decoder.steps,
                dy: decoder.dy,
                denoiser_steps: denoiser.map(|denoiser| denoiser.steps),
                denoiser_dy: denoiser.map(|denoiser| denoiser.dy),
                own,
                dtable,
                rows,
                per_text: rows / decoder.steps.rows,
                row_steps: row_steps(decoder.steps),
                dims,
                cols: decoder.dy.cols,
                denoiser_cols: denoiser.map_or(0, |denoiser| denoiser.dy.cols),
            }
        );
        call::latents_backward(args).cover_rows(rows)
    }

    pub(super) fn renoise_latents(&mut self, op: &RenoiseLatents) -> Launch {
        let RenoiseLatents { output, steps, known, masked, z, denoised, remaining } = *op;
        let args = args!(
            self,
            RenoiseLatentsArgs {
                step: self.step(),
                output,
                steps,
                known,
                masked,
                z,
                denoised,
                remaining,
                per_text: z.rows / steps.rows,
                pool: masked.len() / z.rows,
                row_steps: row_steps(steps),
                dims: z.cols,
            }
        );
        call::renoise_latents(args).cover_rows(steps.rows)
    }

    pub(super) fn read_tokens(&mut self, op: &ReadTokens) -> Launch {
        let ReadTokens { logits, params, remaining, drop, x, masked, committed_at } = *op;
        let ([texts, positions], symbols, step) = (x.shape(), logits.cols, self.step());
        call::read_tokens(args!(
            self,
            ReadTokensArgs { step, logits, params, remaining, x, masked, committed_at, positions, symbols, drop }
        ))
        .cover_rows(texts)
    }

    pub(super) fn misread(&mut self, op: &Misread) -> Launch {
        let Misread { logits, target, drop, wrong } = *op;
        let [rows, symbols] = logits.shape();
        call::misread(args!(self, MisreadArgs { logits, target, wrong, rows, symbols, drop })).cover_rows(rows)
    }
}
