//! Bugs to plant in the kernels, each of a sort that has been made somewhere before.

/// One bug: every one of the `times` places where `needle` stands in `file` becomes `instead`.
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    pub(crate) file: &'static str,
    pub(crate) needle: &'static str,
    pub(crate) times: usize,
    pub(crate) instead: &'static str,
    /// The family that is compiled with it.
    pub(crate) family: &'static str,
    /// The cases that are to find it.
    pub(crate) group: &'static str,
    /// When copies land: what is read before its wait may be there already.
    pub(crate) landing: &'static str,
}

const fn bug(
    name: &'static str,
    [file, family, group]: [&'static str; 3],
    needle: &'static str,
    instead: &'static str,
) -> Mutant {
    Mutant { name, file, needle, times: 1, instead, family, group, landing: "earliest" }
}

impl Mutant {
    const fn late(self) -> Self {
        Mutant { landing: "latest", ..self }
    }

    const fn times(self, times: usize) -> Self {
        Mutant { times, ..self }
    }
}

const GEMM: [&str; 3] = ["gemm.cuh", "linear", "products"];
const GEMM_BACK: [&str; 3] = ["gemm.cuh", "linear_backward", "products"];
const LINEAR: [&str; 3] = ["linear.cu", "linear", "products"];
const LINEAR_BACK: [&str; 3] = ["linear_backward.cu", "linear_backward", "products"];
const GRADS: [&str; 3] = ["weight_grads.cu", "weight_grads", "products"];
const PLAIN: [&str; 3] = ["plain.cu", "plain", "products"];
const HEAD: [&str; 3] = ["head.cu", "head", "losses"];
const LOSS: [&str; 3] = ["loss.cu", "loss", "losses"];
const ATTENTION: [&str; 3] = ["attention.cu", "attention", "long models"];
const ATTENTION_FREE: [&str; 3] = ["attention.cu", "attention", "attention"];
const PLAIN_ATTENTION: [&str; 3] = ["plain_attention.cu", "plain_attention", "small models"];
const BACKWARD: [&str; 3] = ["attention_backward.cu", "attention_backward", "long models"];
const STEPS: [&str; 3] = ["attention_backward.cuh", "attention_backward", "long models"];
const FUSED: [&str; 3] = ["attention_backward_fused.cu", "attention_backward_fused", "long models"];
const NOISE: [&str; 3] = ["noise.cu", "noise", "noise"];
const SAMPLING: [&str; 3] = ["sampling.cu", "sampling", "sampling"];
const COUNTS: [&str; 3] = ["integers.cuh", "noise", "noise"];
const COMMON: [&str; 3] = ["common.cuh", "noise", "noise"];
const NORMS: [&str; 3] = ["norms.cu", "norms", "norms"];
const EMBED: [&str; 3] = ["embed.cu", "embed", "norms"];
const OPTIMIZER: [&str; 3] = ["optimizer.cu", "optimizer", "optimizer"];

/// All of them.
pub(crate) const MUTANTS: &[Mutant] = &[
    // Barriers and waits.
    bug(
        "the product's loop has no barrier",
        GEMM,
        "copy_wait<AHEAD - 1>();\n            __syncthreads();",
        "copy_wait<AHEAD - 1>();",
    ),
    bug("the product's loop waits for a group too few", GEMM, "copy_wait<AHEAD - 1>();", "copy_wait<AHEAD>();").late(),
    bug("the product's loop does not wait", GEMM_BACK, "copy_wait<AHEAD - 1>();", "").late(),
    bug(
        "the product's rest is not waited for",
        GEMM,
        "copy_wait<0>();\n        __syncthreads();\n        multiply_stage<T>(sum, left, right, 0);",
        "__syncthreads();\n        multiply_stage<T>(sum, left, right, 0);",
    )
    .late(),
    bug(
        "the epilogue stages sums where others still multiply",
        GEMM,
        "    copy_wait<0>();\n    __syncthreads();\n    if (threadIdx.x < T::ROWS) {",
        "    if (threadIdx.x < T::ROWS) {",
    ),
    bug(
        "the epilogue reads sums that are not staged yet",
        GEMM,
        "stage_sums<T>(sum, shared, pass);\n        __syncthreads();",
        "stage_sums<T>(sum, shared, pass);",
    ),
    bug(
        "the plain product overwrites what others read",
        PLAIN,
        "__syncthreads(); // the tiles before have been read",
        "",
    ),
    bug(
        "the head's loop has no barrier",
        HEAD,
        "copy_wait<STAGES - 2>();\n            __syncthreads();",
        "copy_wait<STAGES - 2>();",
    ),
    bug("the head waits for a group too few", HEAD, "copy_wait<STAGES - 2>();", "copy_wait<STAGES - 1>();").late(),
    bug(
        "attention's loop has no barrier",
        ATTENTION,
        "        copy_wait<0>();\n        __syncthreads();\n        offset ^=",
        "        copy_wait<0>();\n        offset ^=",
    )
    .times(2),
    bug(
        "attention's loop does not wait",
        ATTENTION,
        "        copy_wait<0>();\n        __syncthreads();\n        offset ^=",
        "        __syncthreads();\n        offset ^=",
    )
    .times(2)
    .late(),
    bug("attention's backward does not wait", BACKWARD, "        copy_wait<0>();\n", "").times(2).late(),
    bug(
        "attention's backward has no barrier",
        BACKWARD,
        "        copy_wait<0>();\n        __syncthreads();\n    }",
        "        copy_wait<0>();\n    }",
    )
    .times(2),
    bug(
        "the counting over a block lacks a barrier",
        COUNTS,
        "__syncthreads(); // what was last put together may still be read",
        "",
    )
    .times(2),
    bug("the norms overwrite sums that others add", NORMS, "__syncthreads(); // the span before has been read", ""),
    bug(
        "the embedding's totals do not wait for partial rows",
        EMBED,
        "__syncthreads(); // the block reads its own partial rows",
        "",
    ),
    bug(
        "the truth is scored after its masks are cleared",
        SAMPLING,
        "__syncthreads(); // the masks are about to change",
        "",
    ),
    // Fragments and indices.
    bug(
        "two of the left fragment's registers are swapped",
        ["mma.cuh", "linear", "products"],
        r#""r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));"#,
        r#""r"(a[0]), "r"(a[2]), "r"(a[1]), "r"(a[3]), "r"(b0), "r"(b1));"#,
    ),
    bug(
        "the right fragment's halves are swapped",
        GEMM_BACK,
        "b[k][j / 2][j % 2 * 2], b[k][j / 2][j % 2 * 2 + 1]",
        "b[k][j / 2][j % 2 * 2 + 1], b[k][j / 2][j % 2 * 2]",
    ),
    bug("the epilogue finishes a column too many", GEMM, "column < bounds.cols}", "column <= bounds.cols}"),
    bug("logits have a row too many", LINEAR, "if (row >= rows) {", "if (row > rows) {"),
    bug("gradients of weights have a row too many", GRADS, "out < grad.out && col", "out <= grad.out && col"),
    bug(
        "the rest of the inner dimension is a chunk too short",
        GEMM,
        "at < rest ? 16 : 0);",
        "at + 8 < rest ? 16 : 0);",
    ),
    bug(
        "an odd number of symbols has an unwritten tail",
        HEAD,
        "if (left > 0) {\n                    to[i]",
        "if (left > 1) {\n                    to[i]",
    ),
    bug(
        "a plain product's last column is not written",
        PLAIN,
        "if (col < cols) {\n                logits",
        "if (col + 1 < cols) {\n                logits",
    ),
    bug(
        "the last columns of a row are not normed",
        NORMS,
        "for (u32 first = 0; first < cols; first += SPAN) {\n        Eight v",
        "for (u32 first = 0; first + SPAN < cols; first += SPAN) {\n        Eight v",
    )
    .times(2),
    // What is computed.
    bug("the residual is half dropped", LINEAR, "y.at[2 * i + 1] + around.at[2 * i + 1]", "y.at[2 * i + 1]"),
    bug("a row's factor is forgotten", LINEAR, "const float u = spot.factor * y.at[i],", "const float u = y.at[i],"),
    bug("heads are rotated backwards", LINEAR, "half_eights ? -1.0f : 1.0f", "half_eights ? 1.0f : -1.0f"),
    bug("the heads' norm has another ε", LINEAR, "* share + NORM_EPS)", "* share + 2.0f * NORM_EPS)"),
    bug(
        "sums of squares are of numbers before they are rounded",
        LINEAR,
        "unpack(stored[i]);",
        "make_float2(y.at[2 * i] + around.at[2 * i], y.at[2 * i + 1] + around.at[2 * i + 1]);",
    ),
    bug("a norm's pull lacks a part", LINEAR_BACK, "part < parts;", "part + 1 < parts;"),
    bug(
        "the square's slope is halved in s only",
        LINEAR_BACK,
        "+ blockIdx.x] = 2.0f * share;",
        "+ blockIdx.x] = share;",
    ),
    bug("slices of rows end too early", GRADS, "+ DEPTH - 1) / DEPTH * DEPTH;", ") / DEPTH * DEPTH;"),
    bug("the last slice is not added", GRADS, "slice < group.slices;", "slice + 1 < group.slices;"),
    bug("slices replace what was there", GRADS, "if (group.accumulate != 0) {", "if (group.accumulate > 1) {"),
    bug(
        "one slice replaces what was there",
        GRADS,
        "direct && group.accumulate != 0;",
        "direct && group.accumulate > 1;",
    ),
    bug("the loss scale is forgotten", HEAD, "(scale != nullptr ? scale[0] : 1.0f)", "1.0f"),
    bug("the dropped symbol has a gradient", HEAD, "place == places.drop ? 0.0f : share * term", "share * term"),
    bug("rows without a weight count", LOSS, "if (weight == 0.0f) {", "if (weight < 0.0f) {"),
    bug(
        "queries see the key behind them",
        ATTENTION,
        "causal ? smaller(query + 1, positions)",
        "causal ? smaller(query + 2, positions)",
    ),
    bug("the running sum does not follow the maximum", ATTENTION_FREE, "w.sum[m][2 * h] *= shrink;", ""),
    bug(
        "a plain query does not see itself",
        PLAIN_ATTENTION,
        "causal != 0 ? position : 0;",
        "causal != 0 ? position + 1 : 0;",
    ),
    bug("keys are seen by the query before them", STEPS, "int(j * 8) < before", "int(j * 8) + 1 < before"),
    bug("the heads' gradients are rotated on", STEPS, "a * angle.x - c * angle.y", "a * angle.x + c * angle.y"),
    bug("a short sequence's queries keep no part of s", FUSED, "lse[query + row] = s;", "lse[query + row] = 0.0f;"),
    bug("a norm forgets the mean of its gradient", NORMS, "Layer ? sum_g / float(cols) : 0.0f;", "0.0f;"),
    bug(
        "the embedding's last chunk is not added",
        EMBED,
        "min(units, (warp + 1) * share);",
        "min(units, (warp + 1) * share) - (warp == 0);",
    ),
    bug("AdamW does not correct its first moment", OPTIMIZER, "args->lr / args->bias1", "args->lr"),
    bug("gradients are never clipped", OPTIMIZER, "fminf(config.clip / (norm + CLIP_EPS), 1.0f)", "1.0f"),
    bug(
        "the gradient's norm has the loss scale in it",
        OPTIMIZER,
        "scale == nullptr ? 1.0f : 1.0f / scale[0];",
        "1.0f;",
    ),
    bug("the loss scale grows a step late", OPTIMIZER, "good >= GOOD_STEPS", "good > GOOD_STEPS"),
    // Decisions.
    bug(
        "a token at its threshold is masked",
        NOISE,
        "uniform24(drawn.x) < threshold;",
        "uniform24(drawn.x) <= threshold;",
    ),
    bug("positions beyond the last are counted", NOISE, "p < positions && uniform24", "uniform24"),
    bug("masks are drawn from another stream", COMMON, "STREAM_MASK = 4,", "STREAM_MASK = 7,"),
    bug("a constant of Philox is off by one", COMMON, "0xD2511F53u", "0xD2511F54u").times(2),
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
];
