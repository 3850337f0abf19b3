//! Guidance by the wrong texts, or by too much.

use super::*;

pub(super) const BUGS: &[Mutant] = &[
    bug("what was written is taken for given", GUIDANCE, "!is_open && args.committed_at[i] == GIVEN", "!is_open"),
    bug("a prompt stays where it is not to be", GUIDANCE, "is_given ? args.mask_id : token", "token"),
    bug("a context is noise", GUIDANCE, " && i % args.positions >= args.context)", ")"),
    bug("all texts are guided as the first", GUIDANCE, "args.params[text].guidance", "args.params[0].guidance"),
    bug("guidance goes the wrong way", GUIDANCE, "(with - args.unprompted[at])", "(args.unprompted[at] - with)"),
    bug(
        "a prompt that is dropped stays",
        NOISE,
        "masked = is_context ? is_dropped : hit;",
        "masked = !is_context && hit;",
    ),
    bug(
        "an evaluation drops prompts",
        NOISE,
        "!eval && uniform24(philox(seed, Stream::PromptDrop",
        "uniform24(philox(seed, Stream::PromptDrop",
    ),
    bug("a prompt that is dropped is learned", NOISE, "is_context ? 0.0f : masked ? each", "masked ? each"),
];
