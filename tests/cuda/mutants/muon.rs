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
        "gradient_scale(norm, args.clip, args.scale)",
        "gradient_scale(norm, args.clip, nullptr)",
    ),
    bug("the direction does not look ahead", MUON, "(args.momentum * m + g);", "m;"),
    bug("the direction is not magnified", MUON, "return args.magnified * (", "return ("),
    bug("a direction is larger than f16 holds", MUON, "fminf(fmaxf(value, -args.largest), args.largest)", "value"),
    bug(
        "a direction is made of what is no number",
        MUON,
        "const bool finite = fabsf(norm) < INFINITE;",
        "const bool finite = true;",
    ),
    bug("a chunk's squares are another's", MUON, "args.sumsq[blockIdx.x] = sum;", "args.sumsq[block] = sum;"),
    bug("a stack's matrices are taken for the first's", MUON, "places[stack.first + matrix]", "places[matrix]"),
    bug("the last of a chunk's numbers are not written", MUON, "if (k < left) {", "if (k + 1 < left) {"),
    bug("a direction is taken to be aligned", MUON, "aligned8 = aligned(x, 8);", "aligned8 = true;")
        .found_by("unaligned"),
    bug("the length is of the first chunks", MUON_STACKS, "i < chunks; i += WARP", "i < 1; i += WARP"),
    bug("the length is of other matrices' chunks", MUON_STACKS, "sumsq + size_t(matrix) * chunks", "sumsq"),
    bug("products are divided by a length once", MUON_PRODUCTS, "side, inverse * inverse}", "side, inverse}"),
    bug("x is added as long as it is", MUON_PRODUCTS, "inverse * args.linear, inverse}", "args.linear, inverse}"),
    bug("parameters move by what is no number", MUON_PRODUCTS, "if (!muon_steps(args)) {", "if (false) {"),
    bug(
        "tall matrices step as others do",
        MUON_STACKS,
        "sqrtf(fmaxf(float(stack.rows) / float(stack.cols), 1.0f))",
        "1.0f",
    ),
    bug("weights of matrices decay by no rate", MUON_STACKS, "1.0f - args.step->lr * args.weight_decay", "1.0f"),
    bug("matrices step at the others' rate", MUON_STACKS, "args.step->lr * args.rate * sqrtf", "args.step->lr * sqrtf"),
    bug(
        "matrices of a stack step as the first's do",
        MUON_STACKS,
        "args.places[stack.first + matrix]",
        "args.places[matrix]",
    ),
    bug("the step leaves out x", MUON_STACKS, "size * (linear * x + y)", "size * y"),
    bug(
        "neighbours get the halves that they have",
        MUON_PRODUCTS,
        "exchanged(if_odd(halves.of[0], halves.of[1]))",
        "exchanged(if_odd(halves.of[1], halves.of[0]))",
    ),
    bug(
        "neighbours give the halves that they keep",
        MUON_PRODUCTS,
        "exchanged(if_odd(low, high))",
        "exchanged(if_odd(high, low))",
    ),
    bug(
        "what is moved together is the lower half twice",
        MUON_PRODUCTS,
        "(odd ? other : own) + 4 * odd",
        "(odd ? other : own)",
    ),
    bug(
        "parameters beyond the matrix move",
        MUON_PRODUCTS,
        "inside[0] = odd ? other_inside : own_inside;",
        "inside[0] = true;",
    ),
    bug("parameters are taken to be aligned", MUON_PRODUCTS, "wide(aligned(move.params, 16))", "wide(true)")
        .found_by("unaligned"),
    bug(
        "a copy of matrices is taken to be aligned",
        MUON_PRODUCTS,
        "wide_stored(aligned(move.stored, 16))",
        "wide_stored(true)",
    )
    .found_by("unaligned"),
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
    bug("x is not added", MUON_PRODUCTS, "inverse * args.linear, inverse}", "0.0f, inverse}"),
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
    bug("a plain product is divided by a length once", MUON_PLAIN, "inverse * inverse * sum", "inverse * sum"),
    bug("a plain x is added as long as it is", MUON_PLAIN, "linear = inverse * args.linear;", "linear = args.linear;"),
    bug("plain parameters move by what is no number", MUON_PLAIN, "if (!muon_steps(args)) {", "if (false) {"),
    bug("a plain step leaves the copy", MUON_PLAIN, "move.stored[at] = narrow(p);", ""),
    bug("a plain b stands on the long side", MUON_PLAIN, "rows_of(tall ? x : b,", "rows_of(b,"),
];
