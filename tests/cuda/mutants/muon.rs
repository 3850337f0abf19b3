//! Wrong momenta, directions and steps; matrices and tiles that are taken for others.

use super::*;

pub(super) const BUGS: &[Mutant] = &[
    // Momentum and step.
    bug(
        "the momentum takes the gradient whole",
        MUON,
        "fresh * (g.x * factor), fresh * (g.y",
        "g.x * factor, fresh * (g.y",
    ),
    bug(
        "the momentum keeps the loss scale",
        MUON,
        "const float factor = gradient_scale(norm, args.clip, args.scale), fresh = 1.0f - args.momentum;\n    float sum",
        "const float factor = gradient_scale(norm, args.clip, nullptr), fresh = 1.0f - args.momentum;\n    float sum",
    ),
    bug("the direction does not look ahead", MUON, "return args.momentum * m + g;", "return m;"),
    bug(
        "a momentum is averaged with what is no number",
        MUON,
        "    if (!(fabsf(norm) < INFINITE)) {\n        return;\n    }\n    const float factor",
        "    const float factor",
    ),
    bug(
        "a direction is made of what is no number",
        MUON,
        "const bool finite = fabsf(norm) < INFINITE;",
        "const bool finite = true;",
    ),
    bug(
        "parameters move by what is no number",
        MUON,
        "    if (!(fabsf(norm) < INFINITE)) {\n        return;\n    }\n    float *const params",
        "    float *const params",
    ),
    bug("the norm is of the first chunk", MUON, "i < chunk.chunks; i += THREADS", "i < 1; i += THREADS"),
    bug("the norm is of other matrices' chunks", MUON, "args.partials + (blockIdx.x - chunk.number)", "args.partials"),
    bug("tall matrices step as others do", MUON, "sqrtf(fmaxf(float(stack.rows) / float(stack.cols), 1.0f))", "1.0f"),
    bug("weights of matrices decay by no rate", MUON, "1.0f - args.step->lr * args.weight_decay", "1.0f"),
    bug(
        "matrices step at the others' rate",
        MUON,
        "args.step->lr * args.rate * chunk.shape",
        "args.step->lr * chunk.shape",
    ),
    bug("a stack's matrices are taken for the first's", MUON, "places[stack.first + matrix]", "places[matrix]"),
    bug("the last of a chunk's numbers are not written", MUON, "if (k < left) {", "if (k + 1 < left) {"),
    bug("a copy of matrices is taken to be aligned", MUON, "copies_wide = aligned(copies, 8)", "copies_wide = true")
        .found_by("unaligned"),
    bug("a direction is taken to be aligned", MUON, "wide = aligned(x, 8);", "wide = true;").found_by("unaligned"),
    // Products.
    bug("a tall matrix is taken for a wide one", MUON_PRODUCTS, "SHAPES == SQUARE || stack.rows <= stack.cols", "true"),
    bug("the other half is not written", MUON_PRODUCTS, "    if (mirrors) {", "    if (false) {"),
    bug(
        "the other half is the half itself",
        MUON_PRODUCTS,
        "Bounds{side, side, bounds.first_col, bounds.first_row}",
        "Bounds{side, side, bounds.first_row, bounds.first_col}",
    ),
    bug("a tile beside the diagonal has its left side for both", MUON_PRODUCTS, "mirrors ? T::LEFT_BYTES : 0", "0"),
    bug("tiles of the lower half are counted wrongly", MUON_PRODUCTS, "across -= down + 1;", "across -= 1;"),
    bug("b stands on the long side", MUON_PRODUCTS, "left(tall ? x : b,", "left(b,"),
    bug("x is not added", MUON_PRODUCTS, "stack.cols, args.linear, 1.0f}", "stack.cols, 0.0f, 1.0f}"),
    bug("A is not added to its square", MUON_PRODUCTS, "side, args.linear, args.square}", "side, 0.0f, args.square}"),
    bug("a stack has a matrix too many", MUON_STACKS, "if (block < passed) {", "if (block <= passed) {"),
    bug(
        "the turned tile's rows are exchanged in pairs",
        MUON_PRODUCTS,
        "put(j * 8 + 1, i * 16, four[1]);",
        "put(j * 8, i * 16, four[1]);",
    ),
    bug("the turned tile lacks the second half of a fragment", MUON_PRODUCTS, "put(j * 8, i * 16 + 8, four[2]);", ""),
    bug("the second pass turns the first's columns", MUON_PRODUCTS, "sum[i][4 * pass + j]", "sum[i][j]"),
    // Without tensor cores.
    bug("a plain product's other half is not written", MUON_PLAIN, "out[size_t(col) * side + row] = value;", ""),
    bug(
        "plain products take tall matrices for wide ones",
        MUON_PLAIN,
        "tall ? columns_of(x, side) : rows_of",
        "false ? columns_of(x, side) : rows_of",
    ),
    bug("a plain b stands on the long side", MUON_PLAIN, "rows_of(tall ? x : b,", "rows_of(b,"),
];
