//! What launches left behind: findings and counters, for people and for tests.
//!
//! Findings go to standard error as they come. Every launch's report is kept until it is
//! cleared; `VGPU_REPORT` names a file to which each one is appended as a line of JSON.
//! With `VGPU_STRICT=1` any finding fails its launch, as a fault would.

use super::abi::CText;
use super::handles::lock;
use crate::check::Finding;
use crate::count::{CLASSES, Counters};
use crate::gpu::{Kernel, LaunchConfig, LaunchReport, Trap};
use serde_json::{Map, Value, json};
use std::ffi::CString;
use std::io::Write;
use std::sync::{Mutex, OnceLock};

/// Older reports than this many are forgotten: a training run launches for hours.
const KEPT: usize = 10_000;

static REPORTS: Mutex<Vec<Value>> = Mutex::new(Vec::new());
/// Texts handed to C, alive until the next one is asked for.
static HANDED_OUT: Mutex<Option<CString>> = Mutex::new(None);
static STRICT: Mutex<Option<bool>> = Mutex::new(None);

/// Whether any finding fails its launch.
pub(super) fn is_strict() -> bool {
    *lock(&STRICT)
        .get_or_insert_with(|| std::env::var("VGPU_STRICT").is_ok_and(|value| value == "1"))
}

/// Keeps a launch's report, and tells people what is wrong.
pub(super) fn add(kernel: &Kernel, config: &LaunchConfig, report: LaunchReport) {
    for line in &report.stdout {
        println!("{line}");
    }
    for finding in &report.findings {
        eprintln!("vgpu: {}", describe(finding));
    }
    if let Some(trap) = report.trap {
        eprintln!("vgpu: {}: ended by {}", kernel.name, trap_name(trap));
    }
    let value = to_json(kernel, config, &report);
    if let Some(path) = report_file() {
        let line = format!("{value}\n");
        let written = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()));
        if let Err(error) = written {
            eprintln!("vgpu: cannot append to VGPU_REPORT={path}: {error}");
        }
    }
    let mut reports = lock(&REPORTS);
    if reports.len() == KEPT {
        reports.remove(0);
    }
    reports.push(value);
}

fn report_file() -> Option<&'static str> {
    static FILE: OnceLock<Option<String>> = OnceLock::new();
    FILE.get_or_init(|| {
        std::env::var("VGPU_REPORT")
            .ok()
            .filter(|path| !path.is_empty())
    })
    .as_deref()
}

fn trap_name(trap: Trap) -> &'static str {
    match trap {
        Trap::Assert => "assert",
        Trap::Trap => "trap",
        Trap::Timeout => "timeout",
    }
}

/// One line: `kernel (file:line): kind: message, block [..], thread [..], address`.
fn describe(finding: &Finding) -> String {
    let site = &finding.site;
    let place = match &site.source {
        Some((file, line)) => format!("{file}:{line}"),
        None => format!("PTX line {}", site.ptx_line),
    };
    format!(
        "{} ({place}): {}: {} (block {:?}, thread {:?}, address {:#x}, {} bytes; {} lane accesses)",
        finding.kernel,
        finding.kind.name(),
        finding.message,
        site.block,
        site.thread,
        site.address,
        site.bytes,
        finding.threads,
    )
}

fn finding_json(finding: &Finding) -> Value {
    let site = &finding.site;
    let (file, line) = match &site.source {
        Some((file, line)) => (Some(file), *line),
        None => (None, site.ptx_line),
    };
    json!({
        "kind": finding.kind.name(),
        "threads": finding.threads,
        "kernel": finding.kernel,
        "file": file,
        "line": line,
        "ptx_line": site.ptx_line,
        "block": site.block,
        "thread": site.thread,
        "address": site.address,
        "bytes": site.bytes,
        "message": finding.message,
    })
}

fn counters_json(counters: &Counters) -> Value {
    let mut map = Map::new();
    let classes: Map<String, Value> = CLASSES
        .iter()
        .zip(counters.instructions)
        .map(|(name, count)| ((*name).into(), count.into()))
        .collect();
    map.insert("instructions".into(), classes.into());
    let c = counters;
    for (name, value) in [
        ("lane_instructions", c.lane_instructions),
        ("branches", c.branches),
        ("divergent_branches", c.divergent_branches),
        ("global_load_requests", c.global_load_requests),
        ("global_load_sectors", c.global_load_sectors),
        ("global_load_sectors_ideal", c.global_load_sectors_ideal),
        ("global_store_requests", c.global_store_requests),
        ("global_store_sectors", c.global_store_sectors),
        ("global_store_sectors_ideal", c.global_store_sectors_ideal),
        ("shared_load_requests", c.shared_load_requests),
        ("shared_load_wavefronts", c.shared_load_wavefronts),
        ("shared_store_requests", c.shared_store_requests),
        ("shared_store_wavefronts", c.shared_store_wavefronts),
        ("shared_bank_conflicts", c.shared_bank_conflicts),
        ("dram_bytes_read", c.dram_bytes_read),
        ("dram_bytes_written", c.dram_bytes_written),
        ("mma_flops", c.mma_flops),
        ("barriers", c.barriers),
        ("atomics", c.atomics),
    ] {
        map.insert(name.into(), value.into());
    }
    map.into()
}

fn to_json(kernel: &Kernel, config: &LaunchConfig, report: &LaunchReport) -> Value {
    json!({
        "kernel": kernel.name,
        "grid": config.grid,
        "block": config.block,
        "dynamic_shared": config.dynamic_shared,
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "counters": counters_json(&report.counters),
        "stdout": report.stdout,
        "trap": report.trap.map(trap_name),
        "seconds": report.seconds,
    })
}

/// The reports of all launches since the last clearing, as a JSON array. The text lives
/// until the next call of this function.
#[unsafe(no_mangle)]
pub extern "C" fn vgpu_reports_json() -> CText {
    let text = Value::Array(lock(&REPORTS).clone()).to_string();
    let mut handed_out = lock(&HANDED_OUT);
    let text = handed_out.insert(CString::new(text).unwrap_or_default());
    CText::borrowed(text)
}

/// Forgets all reports.
#[unsafe(no_mangle)]
pub extern "C" fn vgpu_reports_clear() {
    lock(&REPORTS).clear();
}

/// Whether any finding fails its launch from now on.
#[unsafe(no_mangle)]
pub extern "C" fn vgpu_set_strict(strict: bool) {
    *lock(&STRICT) = Some(strict);
}
