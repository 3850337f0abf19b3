//! `docs/kernels.md`: the figures, one line a kernel.

use crate::measure::{Compiled, GPUS, Products};
use crate::toolchain::{DTYPES, PINNED};
use std::fmt::Write;

/// The whole document; `kernels` has every dtype and GPU, kernel by kernel.
pub(crate) fn document(kernels: &[Compiled]) -> String {
    let mut out = format!(
        "# Kernels in figures\n\n\
         Read off the machine code by `tests/static_bars`, which holds bars over them; nothing here was run. Compiler: \
         {PINNED}.\nAfter a change of kernels `TEMPEST_BLESS=1 cargo test --test static_bars` writes this \
         file anew.\n\n\
         - **registers**: of a thread, f16/bf16 where they differ. A multiprocessor has 65,536.\n\
         - **shared**: KiB of a block, its static part included.\n\
         - **blocks**: what a multiprocessor holds at once by registers, shared memory and threads, for sm_80, 86, \
         89, 90, 120.\n\
         - **loop**: instructions of the loop with the tensor-core products (HMMA) on sm_80, f16; then its HMMA \
         and their share.\n\
         - **LDSM**, **integer**: fragment loads and integer instructions per HMMA there.\n\
         - **stall**: cycles that one warp takes over those of its products alone (8 a HMMA on sm_80, 6 on sm_90): \
         the rest is for other warps to fill.\n"
    );
    let per_kernel = GPUS.len() * DTYPES.len();
    let mut file = "";
    for of in kernels.chunks(per_kernel) {
        let first = &of[0];
        if first.file != file {
            file = &first.file;
            let _ = write!(
                out,
                "\n## {file}\n\n\
                 | kernel | threads | shared | {} | blocks | loop | HMMA | share | LDSM | integer | stall |\n\
                 |---|---|---|{}---|---|---|---|---|---|---|\n",
                GPUS.map(|gpu| format!("sm_{}", gpu.arch)).join(" | "),
                "---|".repeat(GPUS.len())
            );
        }
        let registers = GPUS.iter().map(|gpu| {
            let found: Vec<u32> =
                of.iter().filter(|one| one.gpu.arch == gpu.arch).map(|one| one.resources.registers).collect();
            if found.iter().all(|other| *other == found[0]) {
                found[0].to_string()
            } else {
                found.iter().map(u32::to_string).collect::<Vec<_>>().join("/")
            }
        });
        let blocks = GPUS.iter().map(|gpu| {
            let of = of.iter().filter(|one| one.gpu.arch == gpu.arch).map(Compiled::blocks);
            of.min().unwrap_or_default().to_string()
        });
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} |",
            first.name,
            first.launch.threads,
            kib(first.shared()),
            registers.collect::<Vec<_>>().join(" | "),
            blocks.collect::<Vec<_>>().join(" "),
            loop_cells(first, of)
        );
    }
    out
}

fn loop_cells(first: &Compiled, of: &[Compiled]) -> String {
    let Some(products) = first.products() else { return "| | | | |".into() };
    let Products { instructions, products: count, share, fragments, address, .. } = products;
    let stalls = of.iter().filter(|one| one.dtype == first.dtype).filter_map(|one| one.products()?.stall);
    let stalls: Vec<String> = stalls.map(|stall| format!("{stall:.2}")).collect();
    let stalls = stalls.join(", ");
    format!("{instructions} | {count} | {:.0} % | {fragments:.2} | {address:.2} | {stalls}", 100.0 * share)
}

fn kib(bytes: u32) -> String {
    match bytes {
        0 => String::new(),
        _ => format!("{:.1}", f64::from(bytes) / 1024.0).trim_end_matches(".0").to_owned(),
    }
}
