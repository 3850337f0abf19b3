//! Numbers that are wrong: terms forgotten, signs, factors.

use super::*;

pub(super) const BUGS: &[Mutant] = &[
    bug("a term near 1 has another second place", NOISED, "(0.5f - d * (1.0f / 3.0f", "(0.5f + d * (1.0f / 3.0f"),
    bug("what stands there is not favoured", NOISED, "* (v == z ? favour : 1.0f) -", "-"),
    bug("slopes keep their mean", NOISED, ": slope) - mean);", ": slope));"),
    bug("the bound's last term has a weight", NOISED, "-at_z.apart}.term() / at_z.model;", "-at_z.apart}.term();"),
    bug("jumps of gidd all lead to masks", MIXING, "others = mixing.hump * time.left,", "others = 0.0f,"),
    bug("time left and time past are exchanged", MIXING, "Time{past, left,", "Time{left, past,"),
    bug("other symbols are as likely as all of them", MIXING, "float(max(mixing.symbols, 1u))", "1.0f"),
    bug(
        "noise of the rate before is not taken off",
        MIXING,
        "late.noise.other - stays * early.noise.other",
        "late.noise.other",
    ),
    bug(
        "known tokens have the last rate's masks",
        MIXING_DRAWN,
        "float(UNIFORM_STEPS));",
        "float(UNIFORM_STEPS / 2));",
    ),
    bug("a step's law is not normalised", NOISED, "(of.apart * at_z.q - of.q * at_z.apart)", "of.apart * at_z.q"),
    bug("the residual is half dropped", EPILOGUES, "y.at[2 * i + 1] + around.at[2 * i + 1]", "y.at[2 * i + 1]"),
    bug("a row's factor is forgotten", EPILOGUES, "const float u = factor * y.at[i],", "const float u = y.at[i],"),
    bug("heads are rotated backwards", EPILOGUES, "half_eights ? -1.0f : 1.0f", "half_eights ? 1.0f : -1.0f")
        .found_by("heads"),
    bug("the heads' norm has another ε", EPILOGUES, "* share + NORM_EPS)", "* share + 2.0f * NORM_EPS)")
        .found_by("heads"),
    bug(
        "sums of squares are of numbers before they are rounded",
        EPILOGUES,
        "unpack(stored[i]);",
        "make_float2(y.at[2 * i] + around.at[2 * i], y.at[2 * i + 1] + around.at[2 * i + 1]);",
    ),
    bug("a norm's pull lacks a part", EPILOGUES_BACK, "part < args.parts;", "part + 1 < args.parts;"),
    bug(
        "the square's slope is halved in s only",
        EPILOGUES_BACK,
        "/ SUMSQ_COLS] = 2.0f * share;",
        "/ SUMSQ_COLS] = share;",
    ),
    bug("slices of rows end too early", GRADS, "+ DEPTH - 1) / DEPTH * DEPTH;", ") / DEPTH * DEPTH;"),
    bug("the last slice is not added", GRADS, "slice < group.slices;", "slice + 1 < group.slices;")
        .found_by("weight gradients"),
    bug("slices replace what was there", GRADS, "if (group.accumulate != Accumulate::Overwrite) {", "if (false) {")
        .found_by("weight gradients"),
    bug("one slice replaces what was there", GRADS, "direct && group.accumulate != Accumulate::Overwrite;", "false;"),
    bug("the loss scale is forgotten", HEAD_LOSS, "(args.scale != nullptr ? args.scale[0] : 1.0f)", "1.0f"),
    bug("the dropped symbol has a gradient", HEAD_LOSS, "place == places.drop ? 0.0f : share * term", "share * term"),
    bug("rows without a weight count", HEAD, "if (weight == 0.0f) {", "if (weight < 0.0f) {"),
    bug(
        "queries see the key behind them",
        ATTENTION,
        "args.causal ? smaller(query + 1, args.positions)",
        "args.causal ? smaller(query + 2, args.positions)",
    ),
    bug("the running sum does not follow the maximum", ATTENTION_FREE, "w.sum[m][2 * h] *= shrink;", ""),
    bug("a plain query does not see itself", SPANS, "causal != 0 ? first : 0", "causal != 0 ? first + 1 : 0"),
    bug("a block sees itself without noise", SPANS, "args.half, 0, start}", "args.half, 0, start + args.block}"),
    bug("a text with noise sees itself without", SPANS, "Span{row + args.half, 0", "Span{row, 0"),
    bug("a block's first query sees no key", SPANS, "Span{row, first - first % args.block, n", "Span{row, first, n"),
    bug("keys without noise miss queries with", SPANS, "start + args.block, args.positions}", "args.positions, 0}"),
    bug("earlier queries see later keys", BLOCK_STEPS, "a < before || a >= end", "a >= end"),
    bug("a block sees the next one", BLOCK_STEPS, "b < before || b >= end", "b < before"),
    bug("keys beyond a block are seen", BLOCK_FORWARD, "limit[m][h] += args.block;", "limit[m][h] += 2 * args.block;"),
    bug(
        "own keys are taken from the text without noise",
        BLOCK_FORWARD,
        "fetched++ == first_stages",
        "fetched++ > stages",
    ),
    bug("queries with noise are read from the text without", BACKWARD, "q -= size_t(args.half) * row_len;", "")
        .found_by("block models"),
    bug(
        "own keys begin at the first",
        BACKWARD,
        "first = own.start + (step - clean_steps) * STEP;",
        "first = (step - clean_steps) * STEP;",
    )
    .found_by("long attention"),
    bug("keys are seen by the query before them", STEPS, "int(j * 8) < before", "int(j * 8) + 1 < before"),
    bug("the heads' gradients are rotated on", STEPS, "a * angle.x - c * angle.y", "a * angle.x + c * angle.y"),
    bug("a short sequence's queries keep no part of s", FUSED, "lse[query + row] = s;", "lse[query + row] = 0.0f;"),
    bug(
        "the last tap is forgotten",
        CONV,
        "for (u32 tap = 0; tap < taps; ++tap) {",
        "for (u32 tap = 0; tap + 1 < taps; ++tap) {",
    ),
    bug("gradients flow to the wrong neighbour", CONV, "mix<true>(rows", "mix<false>(rows"),
    bug(
        "the convolution replaces what was there",
        CONV,
        "put(args.dw[at], total, args.accumulate);",
        "args.dw[at] = total;",
    ),
    bug("a norm forgets the mean of its gradient", NORMS, "Layer ? sum_g / float(cols) : 0.0f;", "0.0f;"),
    bug(
        "the embedding's last chunk is not added",
        EMBED,
        "min(units, (warp + 1) * share);",
        "min(units, (warp + 1) * share) - (warp == 0);",
    ),
    bug("AdamW does not correct its first moment", OPTIMIZER, "args.step->lr / args.step->bias1", "args.step->lr"),
    bug("gradients are never clipped", UPDATE, "fminf(clip / (norm + CLIP_EPS), 1.0f)", "1.0f"),
    bug(
        "the gradient's norm has the loss scale in it",
        OPTIMIZER,
        "args.scale == nullptr ? 1.0f : 1.0f / args.scale[0];",
        "1.0f;",
    ),
    bug("the loss scale grows a step late", OPTIMIZER, "good >= GOOD_STEPS", "good > GOOD_STEPS"),
    // Losses and what they are made of.
    bug("the second of four symbols is not dropped", HEAD, "v.y = drop % 4 == 1 ? -INFINITE : v.y;", ""),
    bug("a loss near 0 has a fast logarithm", SOFTMAX, "return logf(sum)", "return __logf(sum)"),
    bug("a loss of logits near 0 has a fast logarithm", HEAD, "logf(sum) - (one(", "__logf(sum) - (one("),
    bug("what a sum's roundings lost is dropped", HEAD, "? high + low : high;", "? high : high;"),
    // What is not a number.
    bug("relu² makes a number of what is none", EPILOGUES, "u > 0.0f ? u : 0.0f * u;", "fmaxf(u, 0.0f);")
        .found_by("no numbers"),
    bug("the plain relu² makes a number of what is none", PLAIN_LINEAR, "u > 0.0f ? u : 0.0f * u;", "fmaxf(u, 0.0f);")
        .found_by("no numbers"),
    // Common headers.
    bug(
        "the last partial sum of squares is forgotten",
        REDUCTIONS,
        "for (u32 slot = 0; slot < slots; ++slot) {",
        "for (u32 slot = 0; slot < 1; ++slot) {",
    ),
    bug("a row's norm has no ε", REDUCTIONS, "__fdividef(sum, float(cols)) + NORM_EPS", "__fdividef(sum, float(cols))"),
    bug("an embedding's norm has no ε", EMBED, "float(cols) + NORM_EPS", "float(cols)").times(2),
    bug(
        "the last warp is not in a block's sum",
        ["shared/reductions.cuh", "optimizer", "optimizer"],
        "w < warps; ++w",
        "w + 1 < warps; ++w",
    ),
    bug(
        "sums of lanes leave out every second pair",
        REDUCTIONS,
        "offset = Lanes / 2; offset > 0; offset /= 2) {\n        value +=",
        "offset = Lanes / 2; offset > 1; offset /= 2) {\n        value +=",
    ),
    bug(
        "the largest of some lanes leaves out every second pair",
        REDUCTIONS_HEAD,
        "offset = Lanes / 2; offset > 0; offset /= 2) {\n        value = fmaxf",
        "offset = Lanes / 2; offset > 1; offset /= 2) {\n        value = fmaxf",
    ),
    bug(
        "heads' sums leave out half of the lanes",
        EPILOGUES,
        "offset = lanes / 2; offset > 0",
        "offset = lanes / 4; offset > 0",
    )
    .found_by("heads"),
    bug("a moment does not follow the maximum", SOFTMAX, "(moment + shift * sum) * factor", "moment * factor"),
    bug(
        "lanes do not tell each other the target's logit",
        SOFTMAX,
        "target_logit = group_sum<Lanes>(target_logit);",
        "",
    ),
    // One stored type, one head dimension.
    bug("bfloat16 is cut off instead of rounded", TYPES, "cvt.rn.bf16x2.f32", "cvt.rz.bf16x2.f32").bf16(),
    bug("the upper of two bfloat16 keeps the lower's bits", TYPES, "packed & 0xffff0000u", "packed").bf16(),
    bug("half precision is cut off instead of rounded", TYPES, "cvt.rn.f16x2.f32", "cvt.rz.f16x2.f32"),
    bug("row sums multiply half precision's ones", ATTENTION_FREE, "0x3f803f80u", "0x3c003c00u").bf16(),
    bug(
        "the backward's first products take bfloat16 for half",
        ["mma/instructions.cuh", "mma/attention_backward", "long models"],
        "f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, \"\n#else",
        "f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, \"\n#else",
    )
    .bf16(),
    bug("heads of 128 are scaled as if they were of 256", ATTENTION_PARTS, "0.08838834764831845f", "0.0625f"),
    bug(
        "heads of 128 are normed by halves",
        EPILOGUES,
        "lanes_sum(squares, args.head_dim / 8)",
        "lanes_sum(squares, min(args.head_dim / 8, 8u))",
    )
    .found_by("heads"),
    bug(
        "heads of 128 have half of dot",
        EPILOGUES_BACK,
        "lanes_sum(product, args.head_dim / 8)",
        "lanes_sum(product, min(args.head_dim / 8, 8u))",
    )
    .found_by("heads"),
    bug(
        "heads beyond a tile are finished from their last piece",
        PLAIN_LINEAR,
        "if (half > HALF_COLS) {",
        "if (half > 2 * HALF_COLS) {",
    )
    .found_by("heads"),
    // Adding to what is there.
    bug("every second number of what was there is lost", GRADS, "before.y + value.y", "value.y"),
    bug("the last of four numbers that were there is lost", GRADS, "before.w + sum.w", "sum.w")
        .found_by("weight gradients"),
    bug(
        "the tokens of the last micro-batch alone are counted",
        HEAD,
        "float(sum.count), args.accumulate);",
        "float(sum.count), Accumulate::Overwrite);",
    ),
    bug(
        "the time table's gradient is replaced",
        EMBED,
        "total, args.accumulate);",
        "total, is_token ? args.accumulate : Accumulate::Overwrite);",
    ),
    bug(
        "a norm's gain forgets the micro-batch before",
        NORMS,
        "total, args.accumulate);",
        "total, Accumulate::Overwrite);",
    ),
    bug(
        "a plain weight's gradient is replaced",
        PLAIN_BACK,
        "group.accumulate != Accumulate::Overwrite ? *to + y.at[r][c] :",
        "",
    ),
    bug("a plain query's share replaces s", PLAIN_ATTENTION, "s[at] += q_share;", "s[at] = q_share;"),
    // The optimizer's options.
    bug("weights decay by no rate", OPTIMIZER, "1.0f - args.step->lr * args.weight_decay", "1.0f"),
    bug(
        "the second moment decays as the first",
        OPTIMIZER,
        "v = beta2 * v + (1.0f - beta2) * g * g",
        "v = beta1 * v + (1.0f - beta1) * g * g",
    ),
    bug(
        "ε is under the root",
        OPTIMIZER,
        "sqrt_fast(v) * inverse_root_bias2 + eps",
        "sqrt_fast(v + eps) * inverse_root_bias2",
    ),
    bug(
        "AdamW's second moment is corrected without a root",
        OPTIMIZER,
        "1.0f / sqrtf(args.step->bias2)",
        "1.0f / args.step->bias2",
    ),
    bug(
        "the average moves as fast as it should stay",
        AVERAGE,
        "1.0f - fminf(args.decay, args.step->ema_warmup)",
        "fminf(args.decay, args.step->ema_warmup)",
    ),
    bug("the loss scale falls below 1", OPTIMIZER, "fmaxf(now * 0.5f, 1.0f)", "now * 0.5f"),
    bug(
        "a loss scale that fell keeps its age",
        OPTIMIZER,
        "fmaxf(now * 0.5f, 1.0f);\n        scale[1] = 0.0f;",
        "fmaxf(now * 0.5f, 1.0f);",
    ),
    // Attention.
    bug(
        "e is taken for 2",
        ATTENTION,
        "constexpr float SCALE = SCORE_SCALE<D> * LOG2_E;\n                    w.q",
        "constexpr float SCALE = SCORE_SCALE<D>;\n                    w.q",
    ),
    bug("lse is of unscaled scores", ATTENTION_FREE, "w.max[m][h] * SCORE_SCALE<D> : 0.0f", "w.max[m][h] : 0.0f"),
    bug(
        "a warp's last queries under a causal mask miss their last keys",
        ATTENTION,
        "first_query + warp_row + ROW_TILES * 16)",
        "first_query + warp_row + ROW_TILES * 16 - 16)",
    ),
    bug(
        "keys are not seen by the queries of their own block",
        BACKWARD,
        "args.causal ? first_key / STEP : 0",
        "args.causal ? first_key / STEP + 1 : 0",
    ),
    bug(
        "keys on the diagonal of a short sequence are not masked",
        FUSED,
        "args.causal ? smaller(positions, query + 1) : positions);\n            keys",
        "positions);\n            keys",
    ),
    bug(
        "gradients of values lack r",
        STEPS,
        "pack(sum[j][2 * h] * r, sum[j][2 * h + 1] * r)",
        "pack(sum[j][2 * h], sum[j][2 * h + 1])",
    )
    .found_by("attention"),
    bug(
        "the mean of an embedding's gradient is over a piece",
        EMBED,
        "mean[i] = sum / float(cols);",
        "mean[i] = sum / float(PIECE);",
    ),
];
