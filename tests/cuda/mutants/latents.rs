//! Wrong levels and noise of latents, wrong costs of what is made of them, wrong ways back, wrong steps and readings.

use super::*;

pub(super) const BUGS: &[Mutant] = &[
    // Levels and noise.
    bug(
        "a text's weights are read before they are there",
        LATENTS,
        "    __syncthreads();\n    for (u32 i = t",
        "    for (u32 i = t",
    ),
    bug(
        "a later block has the first one's noise",
        LATENTS,
        "- text * blocks) * THREADS + threadIdx.x",
        "- text * blocks) * 0 + threadIdx.x",
    ),
    bug(
        "a decoder reads the denoiser's noise",
        LATENTS,
        "philox(at->seed, args.stream,",
        "philox(at->seed, Stream::Noise,",
    ),
    bug(
        "a decoder reads latents as they are",
        LATENTS,
        "const float scale = scale_of(step, args.dims);",
        "const float scale = 1.0f;",
    ),
    bug(
        "four numbers are stored where fewer are left",
        LATENTS,
        "left >= 4 && aligned16(to + at)",
        "aligned16(to + at)",
    ),
    bug("the last of four numbers is read as it is", LATENTS, "args.scale * z.w));", "z.w));"),
    // What predictions cost.
    bug("z is no part of what is made of a latent", GUESSES, "return skip * z + out * output;", "return out * output;"),
    bug(
        "latents of all texts have the first's level",
        LATENTS,
        "step_of(args.steps, row / args.per_text",
        "step_of(args.steps, 0",
    ),
    bug(
        "a latent's loss does not count its cost",
        LATENTS,
        "args.loss[row] = step.cost * squares;",
        "args.loss[row] = squares;",
    ),
    bug("a latent's s is one lane's", LATENTS, "    s = group_sum(s);\n", ""),
    // The way back.
    bug("a latent's gradient keeps its length's", LATENTS, " - args.latents[base + c] * along)", ")"),
    bug(
        "the denoiser's level is the decoder's",
        LATENTS,
        "denoises ? of(args.denoiser_steps)",
        "denoises ? of(args.steps)",
    ),
    // Steps.
    bug(
        "latents of a finished text move",
        LATENT_STEPS,
        "if (remaining == 0 || remaining == BROKEN) {",
        "if (remaining == BROKEN) {",
    ),
    bug("an output that is no number is taken", LATENT_STEPS, "broken |= output != output ? 1 : 0;", ""),
    bug(
        "a latent with one open token is known",
        LATENT_STEPS,
        "!__any_sync(FULL_MASK, open)",
        "!__all_sync(FULL_MASK, open)",
    ),
    bug(
        "latents are as open as their first 32 tokens",
        LATENT_STEPS,
        "i < args.pool; i += WARP",
        "i < min(args.pool, WARP); i += WARP",
    ),
    bug(
        "a known latent keeps the noise of before",
        LATENT_STEPS,
        "step.alpha_to * x + step.sigma_to",
        "step.alpha_to * x + step.sigma",
    ),
    bug("a step of latents does not end", LATENT_STEPS, "threadIdx.x == 0 && step.ends != 0.0f", "false"),
    // Readings.
    bug("an infinite logit is read", LATENT_STEPS, "< INFINITE ? 0 : 1", "<= INFINITE ? 0 : 1"),
    bug(
        "texts that go on are drawn",
        LATENT_STEPS,
        "ends ? args.params[b].temperature : 0.0f",
        "args.params[b].temperature",
    ),
    bug("a finished text stays open", LATENT_STEPS, "ends ? 0 : args.masked[row]", "args.masked[row]"),
    bug("the mask is read", DRAWS, "v == drop ? -INFINITE : logits[v]", "logits[v]"),
    bug(
        "what is misread is right",
        LATENT_STEPS,
        "!= args.target[row] ? 1.0f : 0.0f",
        "!= args.target[row] ? 0.0f : 1.0f",
    ),
];
