//! Chrome's trace format, for `chrome://tracing` and <https://ui.perfetto.dev>.

use super::Times;
use crate::error::Result;
use crate::files::atomic::{self, Existing};
use crate::workload::Workload;
use serde_json::{Value, json};
use std::path::Path;

/// Rows of the trace.
const OPS: u32 = 1;
const KERNELS: u32 = 2;

/// Writes the last timed step: a row of ops and, on a GPU, a row of kernels.
pub fn write_trace(path: &Path, existing: Existing, workload: &Workload, times: &Times, device: &str) -> Result<()> {
    let text = events(workload, times, device).to_string();
    atomic::write_text(path, "write the trace", existing, &text)
}

fn events(workload: &Workload, times: &Times, device: &str) -> Value {
    let named = |what: &str, row: u32, name: &str| json!({"name": what, "ph": "M", "pid": 1, "tid": row, "args": {"name": name}});
    let mut events = vec![named("process_name", OPS, &format!("{}, {device}", workload.describe()))];
    events.push(named("thread_name", OPS, "ops"));
    if times.ops.iter().any(|op| !op.kernels.is_empty()) {
        events.push(named("thread_name", KERNELS, "kernels"));
    }
    // The format counts in microseconds.
    let event = |name: &str, row: u32, span_ms: [f64; 2], args: Value| {
        let (start, length) = (1e3 * span_ms[0], 1e3 * (span_ms[1] - span_ms[0]));
        json!({"name": name, "ph": "X", "pid": 1, "tid": row, "ts": start, "dur": length, "args": args})
    };
    for (op, time) in workload.program.ops.iter().zip(&times.ops) {
        let args =
            json!({"detail": op.detail(), "flops": time.work.flops, "bytes": time.work.bytes, "median_ms": time.ms});
        events.push(event(op.name(), OPS, time.span_ms, args));
        for kernel in &time.kernels {
            let args = json!({
                "op": op.name(),
                "grid": kernel.grid,
                "threads": kernel.threads,
                "registers": kernel.resources.registers,
                "blocks_per_sm": kernel.resources.blocks,
            });
            events.push(event(kernel.name, KERNELS, kernel.span_ms, args));
        }
    }
    json!({"displayTimeUnit": "ms", "traceEvents": events})
}
