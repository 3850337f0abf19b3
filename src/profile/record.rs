//! A profile as JSON, for programs: what was run on what, and what it took.

use super::{OpCounts, Roofline, Times, kinds};
use crate::backend::Device;
use crate::backend::cuda::virtual_gpu::Counts;
use crate::error::Result;
use crate::files::atomic::{self, Existing};
use crate::workload::Workload;
use serde_json::{Value, json};
use std::path::Path;

/// Raised when a field changes its meaning or goes.
const FORMAT: u32 = 1;

/// What a profile found.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// On the CPU or a GPU.
    Times(&'a Times),
    /// On the virtual GPU.
    Counts(&'a [OpCounts]),
}

/// Writes it. Fields that the device has no answer for are null; times are in ms, `roofline` is measured and `peak` by the highest clocks, flops and bytes those of the op's definition,
/// each operand moved once. Ops of one name and size are one entry, in the order of the program; so are the launches of a
/// kernel in one of these.
pub fn write_record(
    path: &Path,
    existing: Existing,
    workload: &Workload,
    device: &Device,
    described: &str,
    found: Found,
) -> Result<()> {
    let mut record = head(workload, device, described);
    let (more, ops) = match found {
        Found::Times(times) => timed(workload, times),
        Found::Counts(counts) => counted(workload, counts),
    };
    let fields = record.as_object_mut().expect("made as one");
    fields.extend(more.as_object().cloned().unwrap_or_default());
    fields.insert("ops".into(), ops);
    let text = serde_json::to_string_pretty(&record).expect("plain values") + "\n";
    atomic::write_text(path, "write the profile", existing, &text)
}

fn head(workload: &Workload, device: &Device, described: &str) -> Value {
    json!({
        "format": FORMAT,
        "version": env!("CARGO_PKG_VERSION"),
        "what": workload.step,
        "subject": workload.subject_name(),
        "batch": workload.sequences,
        "positions": workload.tokens() / workload.sequences,
        "dtype": workload.storage().acts,
        "device": device.record(described),
        "model_flops": workload.model_flops(),
    })
}

fn timed(workload: &Workload, times: &Times) -> (Value, Value) {
    let seconds = times.step_ms / 1e3;
    let sum = times.ops_ms();
    let head = json!({
        "step_ms": times.step_ms,
        "steps": times.steps,
        "ops_ms": sum,
        "tokens_per_s": workload.tokens() as f64 / seconds,
        "model_tflops": workload.model_flops() / seconds / 1e12,
        "clocks": {"sm_mhz": times.clock_ghz.map(|ghz| 1e3 * ghz)},
        "empty_ms": times.empty_ms,
        "roofline": times.roofline.map(limits),
        "peak": times.peak.map(limits),
        "mfu": times.peak.map(|peak| workload.model_flops() / seconds / 1e12 / peak.tflops),
        "launches": times.ops.iter().map(|op| op.kernels.len()).sum::<usize>(),
    });
    let ops = kinds(workload, &times.ops).into_iter().map(|kind| {
        let (ms, work) = (kind.sum(|op| op.ms), kind.sum(|op| op.work));
        let least_ms = times.roofline.map(|limit| limit.least_ms(work));
        let mut kernels: Vec<(&str, Vec<_>)> = Vec::new();
        for kernel in kind.found.iter().flat_map(|op| &op.kernels) {
            match kernels.iter_mut().find(|(name, _)| *name == kernel.name) {
                Some((_, list)) => list.push(kernel),
                None => kernels.push((kernel.name, vec![kernel])),
            }
        }
        let kernels = kernels.iter().map(|(name, list)| {
            json!({
                "kernel": name,
                "launches": list.len(),
                "ms": list.iter().map(|kernel| kernel.ms).sum::<f64>(),
                "grid": list[0].grid,
                "threads": list[0].threads,
                "registers": list[0].resources.registers,
                "blocks_per_multiprocessor": list[0].resources.blocks,
            })
        });
        json!({
            "op": kind.name,
            "detail": kind.detail,
            "times": kind.found.len(),
            "ms": ms,
            "share": ms / sum,
            "flops": work.flops,
            "bytes": work.bytes,
            "least_ms": least_ms,
            "of_roofline": least_ms.map(|least| least / ms),
            "launches": kind.sum(|op| op.kernels.len()),
            "kernels": kernels.collect::<Vec<_>>(),
        })
    });
    (head, ops.collect())
}

fn limits(limit: Roofline) -> Value {
    json!({"tflops": limit.tflops, "bandwidth_gb": limit.bandwidth_gb})
}

fn counted(workload: &Workload, counts: &[OpCounts]) -> (Value, Value) {
    let launches = |op: &OpCounts| op.kernels.iter().map(|kernel| kernel.launches).sum::<u64>();
    let head = json!({
        "step_ms": null,
        "clocks": {"sm_mhz": null},
        "roofline": null,
        "launches": counts.iter().map(launches).sum::<u64>(),
    });
    let ops = kinds(workload, counts).into_iter().map(|kind| {
        let work = kind.sum(|op| op.work);
        let kernels = Counts::by_kernel(kind.found.iter().flat_map(|op| &op.kernels)).into_iter().map(|sum| {
            json!({
                "kernel": sum.kernel,
                "launches": sum.launches,
                "blocks": sum.blocks,
                "instructions": sum.instructions,
                "mma_flops": sum.mma_flops,
                "requests": sum.requests,
                "sectors": sum.sectors,
                "sectors_ideal": sum.sectors_ideal,
                "bank_conflicts": sum.bank_conflicts,
                "dram_bytes": sum.dram_bytes,
                "findings": sum.findings,
            })
        });
        json!({
            "op": kind.name,
            "detail": kind.detail,
            "times": kind.found.len(),
            "ms": null,
            "flops": work.flops,
            "bytes": work.bytes,
            "launches": kind.sum(launches),
            "kernels": kernels.collect::<Vec<_>>(),
        })
    });
    (head, ops.collect())
}
