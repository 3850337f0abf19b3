//! What is masked, drawn and committed: decisions, which are not a matter of rounding.

use super::*;

pub(super) const BUGS: &[Mutant] = &[
    bug(
        "a token at its threshold is masked",
        NOISE,
        "uniform24(drawn.x) < threshold;",
        "uniform24(drawn.x) <= threshold;",
    ),
    bug("positions beyond the last are counted", NOISE, "p < positions && uniform24", "uniform24"),
    bug("masks are drawn from another stream", PHILOX, "STREAM_MASK = 4,", "STREAM_MASK = 7,"),
    bug("a constant of Philox is off by one", PHILOX, "0xD2511F53u", "0xD2511F54u").times(2),
    bug(
        "the last of an exact number stays",
        COUNTS,
        "other == word && at <= position",
        "other == word && at < position",
    ),
    bug(
        "ties go to the higher symbol",
        SAMPLING,
        "mine.bits == bits ? mine.symbol : ~0u",
        "mine.bits == bits && mine.symbol % 32 > 0 ? mine.symbol : ~0u",
    ),
    bug("equal confidences are all committed", SAMPLING, "cut.holds(rank(p), p);", "cut.holds(rank(p), 0);"),
    bug(
        "the least sure is committed where none is sure",
        SAMPLING,
        "total_order(confidence[p] + 0.0f) == most",
        "total_order(confidence[p] + 0.0f) <= most",
    ),
    bug(
        "true tokens are scored from the last to the first",
        SAMPLING,
        "left != 0; left &= left - 1) {\n                    sum += __shfl_sync(FULL_MASK, loss, __ffs(left) - 1);",
        "left != 0; left &= ~(1u << (31 - __clz(left)))) {\n                    sum += __shfl_sync(FULL_MASK, loss, 31 - __clz(left));",
    ),
    bug(
        "a text goes on where a confidence is no number",
        SAMPLING,
        "broken |= open(p) && confidence[p] != confidence[p] ? 1 : 0;",
        "",
    ),
    bug("what was broken is whole again", SAMPLING, "remaining[b] == BROKEN ? 1 : 0", "0"),
    bug(
        "a draw is as sure as its temperature makes it",
        SAMPLING,
        "config.confidence_at != config.temperature",
        "false",
    ),
    bug("a row without numbers has a candidate", SAMPLING, "if (sum != sum) {", "if (false) {"),
    bug(
        "a nucleus is drawn from all of the mass",
        SAMPLING,
        "const float goal = u * mass;",
        "const float goal = u * sum;",
    ),
    // Random numbers.
    bug("a round of Philox is left out", PHILOX, "round < 10;", "round < 9;"),
    bug("the upper half of the seed is not used", PHILOX, "k1 = u32(seed >> 32)", "k1 = 0"),
    bug("steps beyond 2³² are those before", PHILOX, "u32(step >> 32), stream", "0, stream"),
    bug("the lowest bits of a word are its uniform", PHILOX, "word >> 8;", "word & 0xffffffu;"),
    bug("evaluation draws its levels from training's stream", PHILOX, "STREAM_EVAL_LEVEL = 6", "STREAM_EVAL_LEVEL = 3"),
    bug(
        "sampling draws from the stream of masks",
        ["shared/philox.cuh", "sampling", "sampling"],
        "STREAM_REVEAL = 5",
        "STREAM_REVEAL = 4",
    ),
    bug("a text's random words depend on its batch", SAMPLING, "(u64(args->sequence) + b) << 32", "u64(b) << 32"),
    bug(
        "evaluation's masks depend on the batch",
        NOISE,
        "first = eval ? 0 : sequence * positions",
        "first = sequence * positions",
    ),
    bug(
        "every pass has the first's levels",
        NOISE,
        "args->step % config.level_passes * windows + sequence",
        "sequence",
    ),
    bug(
        "words beyond those kept are the first again",
        NOISE,
        "p < KEPT_WORDS ? kept[p] : draw(p)",
        "kept[p % KEPT_WORDS]",
    ),
    bug(
        "a simple weight is not divided by the mean rate",
        NOISE,
        "__fdiv_rn(config.per_token, config.mean_rate)",
        "config.per_token",
    ),
    // Selections and policies.
    bug("a timestep is the one below", COUNTS_SAMPLING, "whole * of != product ? 1 : 0", "0"),
    bug("the search for a word takes one too many", COUNTS_SAMPLING, "if (count < k) {", "if (count <= k) {"),
    bug("the search for a position forgets what lies below", COUNTS_SAMPLING, "            below = count;\n", ""),
    bug(
        "the search for a position starts too low",
        COUNTS_SAMPLING,
        "bit = 1u << (31 - __clz(end))",
        "bit = 1u << (30 - __clz(end))",
    ),
    bug(
        "what is just sure enough is not committed",
        SAMPLING,
        "return threshold ? confidence[p] >= config.least",
        "return threshold ? confidence[p] > config.least",
    ),
    bug("the temperature is 1", SAMPLING, "__fdiv_rn(logit(v) - most, temperature)", "logit(v) - most"),
    bug("a nucleus ends with what the lanes remember", SAMPLING, "if (hits != 0 || kept <= WARP) {", "if (true) {"),
    bug("tokens known from the beginning remain", SAMPLING, "left += masked[p];", "left += 1;"),
    bug("the timestep goes on after the last", SAMPLING, "u32(min(args->step, u64(timesteps) - 1))", "u32(args->step)"),
];
