//! Wrong noise over soft tokens, wrong losses of them, wrong ways back.

use super::*;

pub(super) const BUGS: &[Mutant] = &[
    // Embedded as rows.
    bug("rows of soft tokens lie where the first chunk's do", EMBED, "args.de + chunk.row * cols", "args.de"),
    bug("rows of soft tokens keep their mean", EMBED, "r[row] * (dx - x * mean[row])", "r[row] * dx"),
    bug("a chunk's sum of soft tokens is its last row", EMBED, "sum[1] += high;", "sum[1] = high;"),
    bug(
        "a row's scale is read before it is there",
        EMBED,
        "        __syncthreads();\n    }\n\n    DEVICE float gradient",
        "    }\n\n    DEVICE float gradient",
    ),
    // Noise.
    bug("soft tokens end as they began", RELAXED, "        return of.last;", "        return of.first;"),
    bug(
        "temperatures fall by equal steps",
        RELAXED,
        "of.first * exp_exact(ln(__fdiv_rn(of.last, of.first)) * done)",
        "of.first + (of.last - of.first) * done",
    ),
    bug("noise that is all stays so", RELAXED, "min(max(rate, 1u), UNIFORM_STEPS - 1)", "max(rate, 1u)"),
    bug(
        "the way back reads a rate's second number",
        RELAXED,
        "args.rates[2 * size_t(b)]",
        "args.rates[2 * size_t(b) + 1]",
    ),
    bug("soft tokens predict the mask", RELAXED, "v == mask ? -INFINITE : logits[v]", "logits[v]"),
    bug(
        "positions share their Gumbel numbers",
        RELAXED,
        "const u64 first = u64(row - b * args.positions) * symbols;\n    Scores",
        "const u64 first = 0;\n    Scores",
    ),
    bug(
        "a second pass draws the first one's numbers",
        RELAXED,
        "lane, Stream::GumbelAgain, [=]",
        "lane, Stream::Gumbel, [=]",
    ),
    bug("hard tokens are soft", RELAXED, "args.relaxation == Relaxation::StraightThrough", "false"),
    bug(
        "soft tokens of later rounds of lanes are not in the sum",
        RELAXED,
        "            mine += weight(v);",
        "            mine = weight(v);",
    )
    .times(2),
    // Losses.
    bug("soft tokens' own gradient is that of logits", RELAXED, "predicted.favour * d;", "d;"),
    bug(
        "a relaxed loss's s is one lane's",
        RELAXED,
        "    s = group_sum(s);\n    if (lane == 0) {\n        args.loss[row]",
        "    if (lane == 0) {\n        args.loss[row]",
    ),
    // The way back.
    bug(
        "the way back draws other numbers",
        RELAXED,
        "args.step, Stream::GumbelAgain, b, first",
        "args.step, Stream::Gumbel, b, first",
    ),
    bug("gradients of soft tokens keep their mean", RELAXED, "(given(v) - mean)", "given(v)"),
    bug(
        "the way back does not count what noise replaces",
        RELAXED,
        "temperature) * law.marginal.keep, q)",
        "temperature), q)",
    ),
    bug("the loss's own gradient is replaced", RELAXED, "widen(args.dlogits[base + v]) + r * d", "r * d"),
];
