//! What launches left behind: findings and counters, for people and for tests.
//!
//! Findings go to standard error as they come. Every launch's report is kept until it is
//! cleared; `VGPU_REPORT` names a file to which each one is appended as a line of JSON.
//! With `VGPU_STRICT=1` any finding fails its launch, as a fault would.

use super::abi::CText;
use super::function::Function;
use super::handles::lock;
use super::nvtx;
use crate::gpu::{LaunchConfig, LaunchReport};
use crate::report::{describe, trap_name};
use serde_json::{Value, json};
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
    *lock(&STRICT).get_or_insert_with(|| std::env::var("VGPU_STRICT").is_ok_and(|value| value == "1"))
}

/// Keeps a launch's report, and tells people what is wrong.
pub(super) fn add(function: &Function, config: &LaunchConfig, report: LaunchReport) {
    let kernel = &*function.kernel;
    for line in &report.stdout {
        println!("{line}");
    }
    for finding in &report.findings {
        eprintln!("vgpu: {}", describe(finding));
    }
    if let Some(trap) = report.trap {
        eprintln!("vgpu: {}: ended by {}", kernel.name, trap_name(trap));
    }
    let value = to_json(function, config, &report);
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
    FILE.get_or_init(|| std::env::var("VGPU_REPORT").ok().filter(|path| !path.is_empty())).as_deref()
}

fn to_json(function: &Function, config: &LaunchConfig, report: &LaunchReport) -> Value {
    let mut value = crate::report::launch(report);
    value.insert("kernel".into(), function.kernel.name.clone().into());
    // Percent of the memory shared with L1 that the launcher asked for; -1 if it left that to the driver.
    value.insert("carveout".into(), function.carveout().into());
    value.insert("ranges".into(), nvtx::ranges().into());
    value.insert("static_shared".into(), function.static_shared().into());
    value.insert("grid".into(), json!(config.grid));
    value.insert("block".into(), json!(config.block));
    value.insert("dynamic_shared".into(), config.dynamic_shared.into());
    value.into()
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
