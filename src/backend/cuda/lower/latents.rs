//! Latents, which have no kernels yet.

use super::super::call::Launch;
use super::{Lowering, without_kernels};
use crate::program::{
    DenoiseLatents, DiffuseLatents, DrawLevels, LatentInput, LatentLoss, LatentsBackward, Misread, ReadTokens,
    RenoiseLatents,
};

without_kernels! {
    draw_levels(DrawLevels);
    diffuse_latents(DiffuseLatents);
    latent_input(LatentInput);
    latents_backward(LatentsBackward);
    denoise_latents(DenoiseLatents);
    latent_loss(LatentLoss);
    renoise_latents(RenoiseLatents);
    read_tokens(ReadTokens);
    misread(Misread);
}
