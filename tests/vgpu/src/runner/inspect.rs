//! What a PTX file holds, as text.

use super::BadInput;
use super::run::{load, profile_for};
use crate::count::CLASSES;
use crate::gpu::{Gpu, Kernel, Options};
use std::fmt::Write;

/// Lists the kernels of a module with their parameters and needs.
pub fn inspect(ptx: &str) -> Result<String, BadInput> {
    let profile = profile_for(ptx);
    let gpu = Gpu::new(profile.clone(), Options::default());
    let module = load(&gpu, ptx)?;
    let (major, minor) = module.ptx_version();
    let mut text = format!("PTX {major}.{minor}, {} kernels\n", module.kernels().len());
    for kernel in module.kernels() {
        let threads = kernel.max_threads.min(profile.threads_per_block).max(1);
        let blocks = profile.resident_blocks(threads, kernel.registers, kernel.static_shared);
        describe(kernel, &mut text);
        let _ = writeln!(text, "  occupancy     {blocks} blocks of {threads} threads per SM of {}", profile.name);
    }
    Ok(text)
}

fn describe(kernel: &Kernel, text: &mut String) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "\n{} (sm_{})", kernel.name, kernel.target);
    for (i, p) in kernel.params.iter().enumerate() {
        let _ = writeln!(text, "  parameter {i:<3} {} bytes at {}, align {}", p.size, p.offset, p.align);
    }
    let _ = writeln!(text, "  registers     {} (estimate)", kernel.registers);
    let _ = writeln!(text, "  shared memory {} bytes, static", kernel.static_shared);
    let _ = writeln!(text, "  local memory  {} bytes", kernel.local_bytes);
    let _ = match kernel.required_block {
        Some(block) => writeln!(text, "  block         {block:?}, required"),
        None => writeln!(text, "  block         at most {} threads", kernel.max_threads),
    };
    let mix = CLASSES.iter().zip(kernel.mix()).filter(|(_, n)| *n > 0).map(|(name, n)| format!("{n} {name}"));
    let _ = writeln!(text, "  instructions  {}", mix.collect::<Vec<_>>().join(", "));
}
