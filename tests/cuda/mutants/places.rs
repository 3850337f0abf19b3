//! Numbers that are read from, or written to, a wrong place.

use super::*;

pub(super) const BUGS: &[Mutant] = &[
    bug(
        "two of the left fragment's registers are swapped",
        INSTRUCTIONS,
        r#""r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));"#,
        r#""r"(a[0]), "r"(a[2]), "r"(a[1]), "r"(a[3]), "r"(b0), "r"(b1));"#,
    ),
    bug(
        "the right fragment's halves are swapped",
        MAIN_LOOP_BACK,
        "b[k][j / 2][j % 2 * 2], b[k][j / 2][j % 2 * 2 + 1]",
        "b[k][j / 2][j % 2 * 2 + 1], b[k][j / 2][j % 2 * 2]",
    ),
    bug("the epilogue finishes a column too many", STAGING, "column < bounds.cols}", "column <= bounds.cols}"),
    bug("logits have a row too many", LINEAR, "if (row >= args.rows) {", "if (row > args.rows) {"),
    bug("gradients of weights have a row too many", GRADS, "out < grad.out && col", "out <= grad.out && col"),
    bug(
        "the rest of the inner dimension is a chunk too short",
        OPERANDS,
        "at < rest ? 16 : 0);",
        "at + 8 < rest ? 16 : 0);",
    ),
    bug(
        "an odd number of symbols has an unwritten tail",
        HEAD_LOSS,
        "if (left > 0) {\n                    to[i]",
        "if (left > 1) {\n                    to[i]",
    ),
    bug(
        "a plain product's last column is not written",
        PLAIN_HEAD,
        "if (col < args.cols) {\n                args.logits",
        "if (col + 1 < args.cols) {\n                args.logits",
    ),
    bug(
        "the last columns of a row are not normed",
        NORMS,
        "for (u32 first = 0; first < cols; first += SPAN) {\n        Eight v",
        "for (u32 first = 0; first + SPAN < cols; first += SPAN) {\n        Eight v",
    )
    .times(2),
    bug(
        "a rest is not cleared",
        HEAD,
        "i < args.count && i < first + CLEARED",
        "i + 1 < args.count && i < first + CLEARED",
    ),
    // Sixteen bytes at once where they do not start at a multiple of 16.
    bug("logits are taken to be aligned", HEAD, "aligned16(args.logits)", "true").found_by("unaligned"),
    bug("weights of losses are taken to be aligned", HEAD, "aligned16(ce, weight)", "aligned16(ce)")
        .found_by("unaligned"),
    bug("the stored copy is taken to be aligned", OPTIMIZER, " && aligned(args.stored, 8);", ";").found_by("unaligned"),
    bug(
        "the average is taken to be aligned",
        AVERAGE,
        "aligned16(args.params, args.average)",
        "aligned16(args.params)",
    )
    .found_by("unaligned"),
    bug("gradients are taken to be aligned", OPTIMIZER, "aligned(args.grads, 16) ? count / 4 : 0", "count / 4")
        .found_by("unaligned"),
    bug(
        "a convolution's weights are taken to be aligned",
        CONV,
        "aligned16(args.x, args.w, args.out, args.out)",
        "aligned16(args.x, args.x, args.out, args.out)",
    )
    .found_by("unaligned"),
    bug("sequences see the beginning of the next", CONV, "at - before < positions ?", "at - before <= positions ?"),
    bug(
        "a convolution that looks back looks ahead",
        CONV,
        "args.x, args.w, args.taps, args.before);",
        "args.x, args.w, args.taps, args.taps / 2);",
    ),
    bug(
        "positions go on beyond a sequence",
        CONV,
        "position[i - 1] + 1 == positions ? 0 : position[i - 1] + 1",
        "position[i - 1] + 1",
    ),
    bug(
        "a norm's output is taken to be aligned",
        NORMS,
        "aligned16(args.x, args.gain, args.y)",
        "aligned16(args.x, args.gain)",
    )
    .found_by("unaligned"),
    bug(
        "a layer's output is taken to be aligned",
        NORMS,
        "aligned16(args.x, args.gain, args.bias, args.y)",
        "aligned16(args.x, args.gain, args.bias)",
    )
    .found_by("unaligned"),
    bug(
        "a norm's gradient is taken to be aligned",
        NORMS,
        "aligned16(args.dy, args.x, args.gain, args.dx)",
        "aligned16(args.dy, args.x, args.gain)",
    )
    .found_by("unaligned"),
    bug(
        "embeddings are taken to be aligned",
        EMBED,
        "aligned16(args.token, args.time, args.x)",
        "aligned16(args.token, args.time, nullptr)",
    )
    .found_by("unaligned"),
    bug("normal noise is taken to be aligned", NOISE, "left >= 4 && aligned16(to)", "left >= 4").found_by("unaligned"),
    // Ragged ends.
    bug(
        "the rest takes a row too many",
        OPERANDS_GRADS,
        "const bool inside = row < rest;\n            copy16",
        "const bool inside = row <= rest;\n            copy16",
    ),
    bug(
        "the rest of pairs takes a row too many",
        OPERANDS_GRADS,
        "const bool inside = row < rest;\n            copy4",
        "const bool inside = row <= rest;\n            copy4",
    ),
    bug(
        "the rest of a row takes a pair too many",
        OPERANDS_BACK,
        "const bool inside = at < rest;",
        "const bool inside = at <= rest;",
    ),
    bug("rows beyond the last are read", OPERANDS, "32 * i, count - 1)", "32 * i, count)"),
    bug(
        "columns beyond the last are read",
        OPERANDS_BACK,
        "min(first + threadIdx.x % CHUNKS * 8, count - 8)",
        "(first + threadIdx.x % CHUNKS * 8)",
    ),
    bug(
        "pairs beyond the last are read",
        OPERANDS_GRADS,
        "min(first + threadIdx.x % WORDS * 2, count - 2)",
        "(first + threadIdx.x % WORDS * 2)",
    ),
    bug("the zeros behind a row are not filled in", INSTRUCTIONS, "16, %2;", "16;"),
    bug("the last slice is as long as the others", GRADS, "min(length, group.rows - begin)", "length"),
    bug("slices are added up to one number too far", GRADS, "at - grad.partial < u64", "at - grad.partial <= u64")
        .found_by("weight gradients"),
    bug(
        "keys beyond the last are read",
        ATTENTION_PARTS,
        "smaller(first + row + i, last), row_len",
        "first + row + i, row_len",
    ),
    bug("a row beyond the last query is written", ATTENTION_PARTS, "if (first + i < end) {", "if (first + i <= end) {"),
    bug("a chunk has rows of the next sequence", EMBED, "min(EMBED_CHUNK, positions - first)", "EMBED_CHUNK"),
    bug(
        "the norm lacks the last of four gradients",
        OPTIMIZER,
        "i = quads * 4 + threadIdx.x; i < count;",
        "i = quads * 4 + threadIdx.x; i + 1 < count;",
    ),
    bug(
        "the last parameters are not written",
        ["shared/types.cuh", "optimizer", "optimizer"],
        "if (i < left) {",
        "if (i + 1 < left) {",
    ),
    bug(
        "columns beyond the last have a variance",
        NORMS,
        "column<Wide>(first, lane, i) < cols ? v.at[i] - mean : 0.0f;",
        "v.at[i] - mean;",
    ),
    // Tiles, stages and fragments.
    bug(
        "a product's pointers advance a tile too few",
        MAIN_LOOP,
        "left.advance(T::STAGES);",
        "left.advance(T::STAGES - 1);",
    )
    .found_by("heads"),
    bug("pairs of a row do not advance", OPERANDS_BACK, "done += tiles * DEPTH;", ""),
    bug(
        "the second half of a stage is the first",
        OPERANDS_GRADS,
        "fragments[i] + stage + k * 16 * ROW_BYTES",
        "fragments[i] + stage",
    )
    .times(2),
    bug(
        "the second pass finishes the first's rows",
        STAGING_BACK,
        "T::WARP_ROWS + pass * 32 + staged",
        "T::WARP_ROWS + staged",
    ),
    bug(
        "a chunk's place in shared memory is another when it is read",
        OPERANDS,
        "((2 * k + half) ^ (line / 2 % 4)) * 16",
        "((2 * k + half) ^ (line % 4)) * 16",
    ),
    bug(
        "the last two of eight numbers are the two before",
        TYPES,
        "c = unpack(words.z), d = unpack(words.w);\n    return Eight{{a.x, a.y, b.x",
        "c = unpack(words.z), d = unpack(words.z);\n    return Eight{{a.x, a.y, b.x",
    ),
    bug("a plain sum is of the first value alone", WEIGHTED, "++j, vector += stride", "++j"),
    bug("v is not transposed", ["mma/instructions.cuh", "mma/attention", "attention"], "x4.trans.shared", "x4.shared"),
    bug(
        "positions are counted on into the next sequence",
        EPILOGUES,
        "while (position >= args.positions) {",
        "while (position > args.positions) {",
    )
    .found_by("heads"),
    bug("a sequence has its neighbour's time", EMBED, "args.t[row / args.positions]", "args.t[row % args.positions]"),
    bug(
        "partial rows of few symbols stand as far apart as those of many",
        EMBED,
        "const u32 kept = min(EMBED_CHUNK, symbols);",
        "const u32 kept = EMBED_CHUNK;",
    ),
    bug(
        "keys are normed as queries were",
        STEPS,
        "n * 2 * args.heads + args.heads + place.head",
        "n * 2 * args.heads + place.head",
    ),
    bug(
        "do is the first columns' in every step of heads of 64",
        BACKWARD,
        "HeadTile<D>::advance(at.a, step) + m",
        "HeadTile<D>::advance(at.a, 0) + m",
    ),
    bug(
        "pairs of bfloat16 are swapped",
        ["shared/types.cuh", "norms", "norms"],
        r#"bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low)"#,
        r#"bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(low), "f"(high)"#,
    )
    .bf16(),
];
