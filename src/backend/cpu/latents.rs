//! Latents: noise over them, what predictions of them cost, one reverse step, and what is read off in the end.

use super::linear::rstds_or_one;
use super::math::{dot, sum_squares};
use super::sampling::{draw_of_all, first_largest, params, weights};
use super::tiles::with_scratch;
use super::vectors::{draw_normals, drawn, noised, steps};
use super::{Context, computed};
use crate::program::{
    BROKEN, DType, DenoiseLatents, DiffuseLatents, DrawLevels, GIVEN, LatentInput, LatentLoss, LatentsBackward,
    LogitsGrad, Misread, NoisyGrad, ReadTokens, RenoiseLatents, VectorStep, reveal_words,
};
use crate::raw::cpu::element::Element;
use crate::rng::{Stream, uniform};
use rayon::prelude::*;

computed! {
    draw_levels(DrawLevels);
    diffuse_latents(DiffuseLatents);
    latent_input(LatentInput) by y;
    latents_backward(LatentsBackward) by dtable;
    denoise_latents(DenoiseLatents);
    renoise_latents(RenoiseLatents);
    read_tokens(ReadTokens);
    misread(Misread);
}

impl Context<'_> {
    pub(super) fn latent_loss(&mut self, op: &LatentLoss) {
        match op.back.map(|(back, _)| self.o.dtype(back.dlogits)) {
            Some(DType::Bf16) => latent_loss::<half::bf16>(self, op),
            _ => latent_loss::<f32>(self, op),
        }
    }
}

fn draw_levels(Context { o, args, .. }: &mut Context<'_>, op: &DrawLevels) {
    let DrawLevels { of, tokens, quantiles, gamma, cost, steps, weight } = *op;
    let (quantiles, per_token) = (o.get::<u32>(quantiles), 1.0 / (f64::from(of) * f64::from(tokens)) as f32);
    let rows = weight.rows / steps.rows;
    let to: &mut [VectorStep] = bytemuck::cast_slice_mut(o.take::<f32>(steps));
    for (b, (to, weight)) in to.iter_mut().zip(o.take::<f32>(weight).chunks_exact_mut(rows)).enumerate() {
        let (step, share) = drawn(args, args.sequence + b as u32, of, quantiles, gamma, cost);
        *to = step;
        weight.fill(share * per_token);
    }
}

fn diffuse_latents(context: &mut Context<'_>, op: &DiffuseLatents) {
    match op.y.map(|y| context.o.dtype(y)) {
        Some(DType::Bf16) => diffuse_latents_to::<half::bf16>(context, op),
        _ => diffuse_latents_to::<f32>(context, op),
    }
}

fn diffuse_latents_to<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &DiffuseLatents) {
    let DiffuseLatents { latents, steps: mat, stream, z, y } = *op;
    let (d, per_text, step_of) = (latents.cols, latents.rows / mat.rows, steps(o, mat, args));
    // Rows of what is wanted, and of nothing.
    let mut noisy = z.map(|z| o.take::<f32>(z).chunks_exact_mut(d));
    let mut read = y.map(|y| o.take::<A>(y).chunks_exact_mut(d));
    let rows: Vec<_> = (o.get::<f32>(latents).chunks_exact(d))
        .map(|latent| (latent, noisy.as_mut().and_then(Iterator::next), read.as_mut().and_then(Iterator::next)))
        .collect();
    rows.into_par_iter().enumerate().with_min_len(16).for_each(|(row, (latent, z, y))| {
        with_scratch(d, |noise| {
            let step = step_of(row / per_text);
            draw_normals(args, stream, row / per_text, row % per_text * d, noise);
            noised(noise, latent, step.alpha, step.sigma);
            if let Some(z) = z {
                z.copy_from_slice(noise);
            }
            let scale = step.scale(d);
            y.into_iter().flatten().zip(noise).for_each(|(y, z)| *y = A::nearest(scale * *z));
        });
    });
}

fn latent_input<A: Element>(Context { o, .. }: &mut Context<'_>, op: &LatentInput) {
    let LatentInput { z, gamma, y } = *op;
    let scale = VectorStep::level(gamma, gamma.least.into(), 0.0).scale(z.cols);
    o.take::<A>(y).iter_mut().zip(o.get::<f32>(z)).for_each(|(y, z)| *y = A::nearest(scale * z));
}

fn latents_backward<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &LatentsBackward) {
    let LatentsBackward { latents, rstd, decoder, denoiser, dtable } = *op;
    let (d, per_text) = (latents.cols, latents.rows / decoder.steps.rows);
    // `g += α·c·dy` of a row.
    let by_noise = |NoisyGrad { steps: mat, dy }: NoisyGrad| {
        let (step_of, cols, dy) = (steps(o, mat, args), dy.cols, o.get::<A>(dy));
        move |row: usize, g: &mut [f32]| {
            let step = step_of(row / per_text);
            let factor = step.alpha * step.scale(d);
            g.iter_mut().zip(&dy[row * cols..]).for_each(|(g, dy)| *g += factor * dy.wide());
        }
    };
    let of_decoder = by_noise(decoder);
    let of_denoiser = denoiser.map(|(noisy, own)| (by_noise(noisy), o.get::<f32>(own)));
    let rows = (o.take::<A>(dtable).par_chunks_exact_mut(d))
        .zip(o.get::<f32>(latents).par_chunks_exact(d))
        .zip(o.get::<f32>(rstd));
    rows.enumerate().with_min_len(16).for_each(|(row, ((to, latent), rstd))| {
        with_scratch(d, |g| {
            g.fill(0.0);
            of_decoder(row, g);
            if let Some((of_denoiser, own)) = &of_denoiser {
                of_denoiser(row, g);
                g.iter_mut().zip(&own[row * d..]).for_each(|(g, own)| *g += own);
            }
            let along = dot(g, latent);
            for ((to, g), h) in to.iter_mut().zip(&*g).zip(latent) {
                *to = A::nearest(rstd * (g - h * along));
            }
        });
    });
}

/// `x̂ = skip·z + out·o`.
fn guess(step: VectorStep, output: &[f32], z: &[f32], to: &mut [f32]) {
    let [skip, out] = step.skip_and_out(to.len());
    for ((to, o), z) in to.iter_mut().zip(output).zip(z) {
        *to = skip * z + out * o;
    }
}

fn denoise_latents(Context { o, args, .. }: &mut Context<'_>, op: &DenoiseLatents) {
    let DenoiseLatents { output, z, steps: mat, denoised } = *op;
    let (d, per_text, step_of) = (z.cols, z.rows / mat.rows, steps(o, mat, args));
    let rows = (o.take::<f32>(denoised).par_chunks_exact_mut(d))
        .zip(o.get::<f32>(output).par_chunks_exact(d))
        .zip(o.get::<f32>(z).par_chunks_exact(d));
    rows.enumerate()
        .with_min_len(16)
        .for_each(|(row, ((denoised, output), z))| guess(step_of(row / per_text), output, z, denoised));
}

fn latent_loss<A: Element>(Context { o, args, .. }: &mut Context<'_>, op: &LatentLoss) {
    let LatentLoss { output, z, latents, steps: mat, loss, back } = *op;
    let (d, per_text, step_of) = (z.cols, z.rows / mat.rows, steps(o, mat, args));
    let rows = (o.get::<f32>(output).par_chunks_exact(d))
        .zip(o.get::<f32>(z).par_chunks_exact(d))
        .zip(o.get::<f32>(latents).par_chunks_exact(d))
        .zip(o.take::<f32>(loss))
        .enumerate()
        .with_min_len(16);
    // What x̂ is off by, and what that costs.
    let off = |row: usize, output: &[f32], z: &[f32], latent: &[f32], to: &mut [f32]| {
        let step = step_of(row / per_text);
        guess(step, output, z, to);
        to.iter_mut().zip(latent).for_each(|(to, h)| *to -= h);
        step.cost * sum_squares(to)
    };
    let Some((LogitsGrad { sumsq, width, weight, scale, dlogits, s }, own)) = back else {
        return rows.for_each(|(row, (((output, z), latent), loss))| {
            with_scratch(d, |to| *loss = off(row, output, z, latent, to));
        });
    };
    let (sumsq, weight) = (sumsq.map(|sumsq| o.get::<f32>(sumsq)), o.get::<f32>(weight));
    let scale = scale.map_or(1.0, |scale| o.get::<f32>(scale)[0]);
    let outputs = (o.take::<A>(dlogits).par_chunks_exact_mut(d))
        .zip(o.take::<f32>(s))
        .zip(o.take::<f32>(own).par_chunks_exact_mut(d));
    rows.zip(outputs).for_each(|((row, (((output, z), latent), loss)), ((doutput, s), own))| {
        with_scratch(d, |error| {
            *loss = off(row, output, z, latent, error);
            let step = step_of(row / per_text);
            let [skip, out] = step.skip_and_out(d);
            let slope = 2.0 * scale * weight[row] * step.cost;
            let by_latent = slope * (skip * step.alpha - 1.0);
            own.iter_mut().zip(&*error).for_each(|(own, error)| *own = by_latent * error);
            error.iter_mut().for_each(|error| *error *= slope * out);
            let mut r = [0.0];
            rstds_or_one(sumsq, width as usize, row, &mut r);
            *s = dot(error, output);
            doutput.iter_mut().zip(&*error).for_each(|(to, d)| *to = A::nearest(r[0] * d));
        });
    });
}

fn renoise_latents(Context { o, args, .. }: &mut Context<'_>, op: &RenoiseLatents) {
    let RenoiseLatents { output, steps: mat, known, masked, z, denoised, remaining } = *op;
    let (d, per_text, step_of) = (z.cols, z.rows / mat.rows, steps(o, mat, args));
    let pool = masked.len() / z.rows;
    let texts = (o.take::<f32>(z).par_chunks_exact_mut(per_text * d))
        .zip(o.take::<f32>(denoised).par_chunks_exact_mut(per_text * d))
        .zip(o.get::<f32>(output).par_chunks_exact(per_text * d))
        .zip(o.get::<f32>(known).par_chunks_exact(per_text * d))
        .zip(o.get::<u32>(masked).par_chunks_exact(masked.cols))
        .zip(o.take::<u32>(remaining));
    texts.enumerate().for_each(|(b, (((((z, denoised), output), known), masked), remaining))| {
        let step = step_of(b);
        if matches!(*remaining, 0 | BROKEN) {
            return;
        }
        // A network's broken numbers break all rows of a text alike.
        if output.iter().any(|x| x.is_nan()) {
            *remaining = BROKEN;
            return;
        }
        let rows = z.chunks_exact_mut(d).zip(denoised.chunks_exact_mut(d)).zip(output.chunks_exact(d));
        let rows = rows.zip(known.chunks_exact(d)).zip(masked.chunks_exact(pool));
        rows.enumerate().for_each(|(row, ((((z, denoised), output), known), masked))| {
            with_scratch(d, |noise| {
                draw_normals(args, Stream::Noise, b, row * d, noise);
                if masked.iter().all(|&masked| masked == 0) {
                    denoised.copy_from_slice(known);
                    noised(noise, known, step.alpha_to, step.sigma_to);
                    return z.copy_from_slice(noise);
                }
                guess(step, output, z, denoised);
                if step.clamps != 0.0 {
                    let squares = sum_squares(denoised);
                    let rstd = if squares > 0.0 { 1.0 / squares.sqrt() } else { 0.0 };
                    denoised.iter_mut().for_each(|x| *x *= rstd);
                }
                for ((z, x), n) in z.iter_mut().zip(&*denoised).zip(&*noise) {
                    *z = step.of_denoised * x + step.of_noisy * *z + step.of_noise * n;
                }
            });
        });
        if step.ends != 0.0 {
            *remaining = 0;
        }
    });
}

fn read_tokens(Context { o, args, .. }: &mut Context<'_>, op: &ReadTokens) {
    let ReadTokens { logits, params: of_texts, remaining, drop, x, masked, committed_at } = *op;
    let ([_, positions], v) = (x.shape(), logits.cols);
    let params = params(o, of_texts);
    let texts = (o.get::<f32>(logits).par_chunks_exact(v * positions))
        .zip(o.take::<u32>(remaining))
        .zip(o.take::<u32>(x).par_chunks_exact_mut(positions))
        .zip(o.take::<u32>(masked).par_chunks_exact_mut(positions))
        .zip(o.take::<u32>(committed_at).par_chunks_exact_mut(positions));
    texts.enumerate().for_each(|(b, ((((logits, remaining), x), masked), committed_at))| {
        if *remaining == BROKEN {
            return;
        }
        if logits.iter().any(|logit| !logit.is_finite()) {
            *remaining = BROKEN;
            return;
        }
        let temperature = if *remaining == 0 { params[b].temperature } else { 0.0 };
        for (p, logits) in logits.chunks_exact(v).enumerate().filter(|(p, _)| masked[*p] != 0) {
            let next = with_scratch(3 * v, |scratch| {
                let (kept, rest) = scratch.split_at_mut(v);
                let (scaled, likely) = rest.split_at_mut(v);
                kept.copy_from_slice(logits);
                kept[drop as usize] = f32::NEG_INFINITY;
                let best = first_largest(kept);
                if temperature == 0.0 {
                    return best;
                }
                let most = kept[best];
                kept.iter_mut().for_each(|logit| *logit -= most);
                let sum = weights(kept, temperature, scaled, likely);
                draw_of_all(likely, sum, uniform(reveal_words(args, b, p)[1]))
            }) as u32;
            if x[p] != next || committed_at[p] == GIVEN {
                committed_at[p] = args.step as u32;
            }
            x[p] = next;
        }
        if *remaining == 0 {
            masked.fill(0);
        }
    });
}

fn misread(Context { o, .. }: &mut Context<'_>, op: &Misread) {
    let Misread { logits, target, drop, wrong } = *op;
    let v = logits.cols;
    let rows = (o.get::<f32>(logits).par_chunks_exact(v)).zip(o.get::<u32>(target)).zip(o.take::<f32>(wrong));
    rows.with_min_len(64).for_each(|((logits, &target), wrong)| {
        with_scratch(v, |kept| {
            kept.copy_from_slice(logits);
            kept[drop as usize] = f32::NEG_INFINITY;
            *wrong = f32::from(u8::from(first_largest(kept) != target as usize));
        });
    });
}
