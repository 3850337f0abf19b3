//! Bugs drawn at random: one operator of a kernel file becomes another.

use crate::chance::Chance;

/// Kernel files and the families that are compiled with them; `mma/instructions.cuh` is instructions alone.
const FILES: [(&str, &[&str]); 49] = [
    ("bias.cu", &["bias"]),
    ("conv.cu", &["conv"]),
    ("decode.cu", &["decode"]),
    ("denoise.cu", &["denoise"]),
    ("dropout.cu", &["dropout"]),
    ("embed.cu", &["embed"]),
    ("guidance.cu", &["guidance"]),
    ("head.cu", &["head"]),
    ("latents.cu", &["latents"]),
    ("mma/attention.cu", &["mma/attention"]),
    ("mma/attention.cuh", &["mma/attention", "mma/attention_backward", "mma/attention_backward_fused"]),
    ("mma/attention_backward.cu", &["mma/attention_backward"]),
    ("mma/attention_backward.cuh", &["mma/attention_backward", "mma/attention_backward_fused"]),
    ("mma/attention_backward_fused.cu", &["mma/attention_backward_fused"]),
    ("mma/dense.cu", &["mma/dense"]),
    ("mma/head.cu", &["mma/head"]),
    ("mma/linear.cu", &["mma/linear"]),
    ("mma/linear_backward.cu", &["mma/linear_backward"]),
    ("mma/products.cuh", &["mma/dense", "mma/linear", "mma/linear_backward"]),
    ("mma/main_loop.cuh", &["mma/linear", "mma/linear_backward", "mma/weight_grads"]),
    ("mma/operands.cuh", &["mma/linear", "mma/linear_backward", "mma/weight_grads"]),
    ("mma/staging.cuh", &["mma/linear", "mma/linear_backward"]),
    ("mma/weight_grads.cu", &["mma/weight_grads"]),
    ("noise.cu", &["noise"]),
    ("norms.cu", &["norms"]),
    ("optimizer.cu", &["optimizer"]),
    ("plain/attention.cu", &["plain/attention"]),
    ("plain/dense.cu", &["plain/dense"]),
    ("plain/head.cu", &["plain/head"]),
    ("plain/linear.cu", &["plain/linear"]),
    ("plain/linear_backward.cu", &["plain/linear_backward"]),
    ("plain/product.cuh", &["plain/head", "plain/linear", "plain/linear_backward"]),
    ("positions.cu", &["positions"]),
    ("relaxed.cu", &["relaxed"]),
    ("sampling.cu", &["sampling"]),
    ("shared/dense_epilogues.cuh", &["mma/dense"]),
    ("shared/draws.cuh", &["latents", "sampling"]),
    ("shared/dropout.cuh", &["dropout", "plain/attention"]),
    ("shared/epilogues.cuh", &["mma/linear", "mma/linear_backward"]),
    ("shared/gelu.cuh", &["mma/dense", "plain/dense"]),
    ("shared/integers.cuh", &["noise", "sampling"]),
    ("shared/math.cuh", &["mma/attention", "optimizer"]),
    ("shared/philox.cuh", &["noise", "sampling"]),
    ("shared/reductions.cuh", &["embed", "mma/linear", "norms", "optimizer", "plain/linear"]),
    ("shared/softmax.cuh", &["mma/head", "plain/head"]),
    ("shared/types.cuh", &["embed", "mma/linear", "norms", "plain/linear"]),
    ("shared/vector_levels.cuh", &["latents", "vectors"]),
    ("shared/vectors.cuh", &["denoise", "latents", "vectors"]),
    ("vectors.cu", &["vectors"]),
];

/// What stands there, and what could as well.
const CHANGES: [(&str, &str); 24] = [
    (" < ", " <= "),
    (" <= ", " < "),
    (" > ", " >= "),
    (" >= ", " > "),
    (" == ", " != "),
    (" != ", " == "),
    (" + ", " - "),
    (" - ", " + "),
    (" * ", " / "),
    (" / ", " * "),
    (" / ", " % "),
    (" % ", " / "),
    (" && ", " || "),
    (" || ", " && "),
    (" ^ ", " | "),
    (" += ", " = "),
    (" + 1", " + 2"),
    (" - 1", " - 2"),
    ("min(", "max("),
    ("max(", "min("),
    ("fmaxf(", "fminf("),
    ("__syncthreads();", ""),
    ("copy_wait<0>();", ""),
    (" ? ", " ? 0 * "),
];

/// One bug.
pub(crate) struct Drawn {
    pub(crate) file: &'static str,
    pub(crate) family: &'static str,
    pub(crate) line: usize,
    /// Before and after.
    pub(crate) change: String,
    /// Of the whole file.
    pub(crate) text: String,
}

/// Draws a file, a line of code in it that can be changed, and the change.
pub(crate) fn draw(chance: &mut Chance, read: impl Fn(&str) -> String) -> Drawn {
    let (file, families) = *chance.pick(&FILES);
    let family = *chance.pick(families);
    let text = read(file);
    // Comments, what the compiler or the build alone reads, and launch bounds are no code that runs.
    let is_code = |line: &str| {
        let line = line.trim_start();
        let not = ["//", "#", "BLOCK", "static_assert", "template", "using", "asm", "extern"];
        !not.iter().any(|start| line.starts_with(start))
    };
    let code = |line: &str| line.split("//").next().unwrap_or_default().len();
    let mut sites = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| is_code(line)) {
        for (what, instead) in CHANGES {
            let places = line[..code(line)].match_indices(what);
            sites.extend(places.map(|(at, _)| (number, at, what, instead)));
        }
    }
    let (number, at, what, instead) = *chance.pick(&sites);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let before = lines[number].trim().to_owned();
    lines[number].replace_range(at..at + what.len(), instead);
    let change = format!("{before:?} is {:?}", lines[number].trim());
    Drawn { file, family, line: number + 1, change, text: lines.join("\n") + "\n" }
}
