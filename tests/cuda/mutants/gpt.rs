//! Bugs in what GPTs alone have: biases, GELU, learned positions, attention and heads that no norm stands at.

use super::*;

const BIAS: Place = ["bias.cu", "bias", "dense"];
const DENSE: Place = ["shared/dense_epilogues.cuh", "mma/dense", "dense"];
const DROPOUT: Place = ["dropout.cu", "dropout", "dropout"];
const LOTS: Place = ["shared/dropout.cuh", "dropout", "dropout"];
const GELU: Place = ["shared/gelu.cuh", "mma/dense", "dense"];
const PLAIN_DENSE: Place = ["plain/dense.cu", "plain/dense", "dense"];
const POSITIONS: Place = ["positions.cu", "positions", "embed"];

pub(super) const BUGS: &[Mutant] = &[
    bug(
        "GELU has no bias before it",
        DENSE,
        "const Eight u = biased(spot.sums(), bias);",
        "const Eight u = spot.sums();",
    ),
    bug(
        "a product with a bias has no residual",
        DENSE,
        "biased(biased(spot.sums(), ahead.bias), ahead.residual)",
        "biased(spot.sums(), ahead.bias)",
    ),
    bug(
        "the last of eight columns has no bias",
        DENSE,
        "for (u32 i = 0; i < 8; ++i) {\n        y.at[i] += b",
        "for (u32 i = 0; i < 7; ++i) {\n        y.at[i] += b",
    ),
    bug("what GELU keeps is behind it", DENSE, "store8(args.u + at, u);", "store8(args.u + at, h);"),
    bug("gradients pass GELU by", DENSE, "dh.at[i] * gelu_slope(u.at[i])", "dh.at[i]"),
    bug(
        "a gradient through weights is its neighbour's",
        DENSE,
        "spot.column, spot.sums());",
        "spot.column, spot.sums(spot.eight ^ 1));",
    ),
    bug(
        "GELU is that of the logistic function",
        GELU,
        "0.5f + 0.5f * erff(u * 0.70710678118654752440f)",
        "1.0f / (1.0f + expf(-1.702f * u))",
    ),
    bug("GELU's slope lacks the density", GELU, "u * 0.39894228040143267794f", "0.0f"),
    bug("a plain product has no bias", PLAIN_DENSE, "y + bias + around", "y + around"),
    bug("a plain product has no residual", PLAIN_DENSE, "y + bias + around", "y + bias"),
    bug(
        "plain GELU has no bias before it",
        PLAIN_DENSE,
        "args.bias != nullptr ? widen(args.bias[col]) : 0.0f);",
        "0.0f);",
    ),
    bug("plain gradients pass GELU by", PLAIN_DENSE, "dh * gelu_slope(widen(args.u[at]))", "dh"),
    bug(
        "a plain gradient is turned",
        PLAIN_DENSE,
        "b = columns_of(args.w, args.cols);\n    finished_product(args, a, b, [&](size_t at, u32, float y)",
        "b = rows_of(args.w, args.cols, args.inner);\n    finished_product(args, a, b, [&](size_t at, u32, float y)",
    ),
    bug("the last warp's rows are no part of a bias", BIAS, "w < WARPS; ++w", "w + 1 < WARPS; ++w"),
    bug("a bias forgets the micro-batch before", BIAS, "total, args.accumulate", "total, Accumulate::Overwrite"),
    bug(
        "the last part of a bias's rows is forgotten",
        BIAS,
        "part < min(parts, (warp + 1) * share)",
        "part + 1 < min(parts, (warp + 1) * share)",
    ),
    bug(
        "pairs of a bias are exchanged",
        BIAS,
        "low += two.x;\n            high += two.y;",
        "low += two.y;\n            high += two.x;",
    ),
    bug(
        "every text begins at its batch's place",
        POSITIONS,
        "? row % args.positions",
        "? min(row, args.positions - 1)",
    ),
    bug("a text's row stands a place too far", POSITIONS, "args.of), args.of - 1)", "args.of) + 1, args.of - 1)"),
    bug("a place's gradient is that of the first", POSITIONS, "found * positions + index", "found * positions"),
    bug("gradients of tables are replaced", POSITIONS, "total, args.accumulate", "total, Accumulate::Overwrite"),
    bug("a table's gradient lacks an eighth", POSITIONS, "w < WARPS; ++w", "w + 1 < WARPS; ++w"),
    bug("the gradient around a norm is lost", NORMS, "out.at[i] += around.at[i];", ""),
    bug(
        "rows of partial sums lie as without biases",
        NORMS,
        "args.mean == nullptr ? 1 : 2",
        "args.dbias == nullptr ? 1 : 2",
    ),
    bug(
        "keys' gradients lack the scale",
        STEPS,
        "put_sums<D>(dk[m], h, k_tile, tile_row, SCORE_SCALE<D>)",
        "put_sums<D>(dk[m], h, k_tile, tile_row, 1.0f)",
    )
    .found_by("attention"),
    bug(
        "queries' gradients lack the scale",
        ["mma/attention_backward.cu", "mma/attention_backward", "attention"],
        "warp_row + m * 16 + h * 8, SCORE_SCALE<D>);",
        "warp_row + m * 16 + h * 8, 1.0f);",
    ),
    bug(
        "values get the gradients of keys",
        PLAIN_ATTENTION,
        "store_head(dv, out + width",
        "store_head(dk, out + width",
    )
    .found_by("plain attention"),
    bug("a query's gradient is not stored", PLAIN_ATTENTION, "return store_head(dq,", "return store_head(dq + 1,")
        .found_by("plain attention"),
    bug("normed rows are halved in the loss", HEAD_LOSS, "slots, inner) : 1.0f", "slots, inner) : 0.5f"),
    bug(
        "normed rows are halved in a plain head",
        PLAIN_HEAD,
        "row_rstd(sumsq, row, cols) : 1.0f",
        "row_rstd(sumsq, row, cols) : 0.5f",
    )
    .found_by("head"),
    bug("normed rows are halved in logits", LINEAR, "args.inner) : 1.0f", "args.inner) : 0.5f").found_by("head"),
    bug("what is not rotated is turned", DECODE, "make_float2(1.0f, 0.0f)", "make_float2(0.0f, 1.0f)"),
    bug("what is kept is not made larger", LOTS, "? 0.0f : scale", "? 0.0f : 1.0f"),
    bug("lots are of other bits", LOTS, "uniform24(word) <", "uniform24(word ^ 0x80000000u) <"),
    bug("every place has the same lots", LOTS, "* lots.places + lots.place +", "* lots.places +"),
    bug("sequences of a micro-batch begin anew", LOTS, "(lots.step->sequence + sequence)", "sequence"),
    bug("every step has the same lots", LOTS, "lots.step->step << 32", "u64(1) << 32"),
    bug("four numbers have the lot of one", LOTS, "of == 2 ? words.z : words.w", "of == 2 ? words.z : words.z"),
    bug("the third has the second's lot", DROPOUT, "x.z * draws.factor(words.z)", "x.z * draws.factor(words.y)"),
    bug("a text without noise has the lots of the one with it", DROPOUT, " + copy * args.positions", ""),
    bug("the last of four has no square", DROPOUT, "+ (b.x * b.x + b.y * b.y)", "+ b.x * b.x"),
    bug("what is added to is dropped too", DROPOUT, "around + widen(args.x[at])", "(around + widen(args.x[at]))"),
    bug(
        "dropped weights are no part of their sum",
        PLAIN_ATTENTION,
        "factor * sum + group_sum(weight)",
        "factor * sum + group_sum(weight * drops.factor_of_weight(args.positions, position, first + lane))",
    )
    .found_by("dropout"),
    bug(
        "a key's lots are those of a query",
        PLAIN_ATTENTION,
        "(args.positions, first + lane, position)",
        "(args.positions, position, first + lane)",
    )
    .found_by("dropout"),
    bug(
        "gradients of scores see what was dropped",
        PLAIN_ATTENTION,
        "(kept * dot_product(d_o, v, head_dim) - dot)",
        "(dot_product(d_o, v, head_dim) - dot)",
    )
    .found_by("dropout"),
    bug("what is dropped has a gradient", PLAIN_ATTENTION, "Weights{p * kept,", "Weights{p,").found_by("dropout"),
    bug(
        "all heads have the first one's lots",
        PLAIN_ATTENTION,
        "Draws(*lots, sequence, head)",
        "Draws(*lots, sequence)",
    )
    .found_by("dropout"),
    bug(
        "queries share draws across their rows",
        ["shared/dropout.cuh", "plain/attention", "dropout"],
        "(positions + 3) / 4 * 4",
        "positions",
    ),
];
