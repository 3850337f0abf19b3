//! Bugs drawn at random: one operator of a kernel file becomes another.

use crate::chance::Chance;

/// Kernel files and the families that are compiled with them; `mma.cuh` is instructions alone.
const FILES: [(&str, &[&str]); 21] = [
    ("attention.cu", &["attention"]),
    ("attention.cuh", &["attention", "attention_backward", "attention_backward_fused"]),
    ("attention_backward.cu", &["attention_backward"]),
    ("attention_backward.cuh", &["attention_backward", "attention_backward_fused"]),
    ("attention_backward_fused.cu", &["attention_backward_fused"]),
    ("common.cuh", &["embed", "linear", "noise", "norms", "optimizer", "plain"]),
    ("embed.cu", &["embed"]),
    ("gemm.cuh", &["linear", "linear_backward", "weight_grads"]),
    ("head.cu", &["head"]),
    ("integers.cuh", &["noise", "sampling"]),
    ("linear.cu", &["linear"]),
    ("linear_backward.cu", &["linear_backward"]),
    ("loss.cu", &["loss"]),
    ("noise.cu", &["noise"]),
    ("norms.cu", &["norms"]),
    ("optimizer.cu", &["optimizer"]),
    ("plain.cu", &["plain"]),
    ("plain_attention.cu", &["plain_attention"]),
    ("sampling.cu", &["sampling"]),
    ("softmax.cuh", &["head", "plain"]),
    ("weight_grads.cu", &["weight_grads"]),
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
    // Comments, what the compiler alone reads, and launch bounds are no code that runs.
    let is_code = |line: &str| {
        let line = line.trim_start();
        !["//", "#", "static_assert", "template", "using", "asm", "extern"].iter().any(|start| line.starts_with(start))
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
