//! `report.json` and the tables for people.

use core::fmt::Write;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::check::{Finding, Kind};
use crate::count::{CLASSES, Counters};
use crate::gpu::{Kernel, LaunchConfig, LaunchReport, Profile, Trap};

/// What a case did.
#[derive(Clone, Debug)]
pub struct Report {
    /// The launch's own report.
    pub launch: LaunchReport,
    /// Outputs that the kernel never wrote.
    pub unwritten: Vec<String>,
    /// Name of the kernel.
    pub kernel: String,
    /// Resident blocks of an SM, resident warps of an SM and the most there could be.
    pub occupancy: (u32, u32, u32),
    /// Registers of a thread (estimated) and shared memory of a block.
    pub resources: (u32, u32),
}

impl Report {
    pub(super) fn new(
        launch: LaunchReport,
        kernel: &Kernel,
        config: &LaunchConfig,
        profile: &Profile,
        unwritten: Vec<String>,
    ) -> Report {
        let threads = config.block.iter().product::<u32>().max(1);
        let shared = kernel.static_shared + config.dynamic_shared;
        let warps = threads.div_ceil(32);
        let unit = profile.register_unit.max(1);
        let registers = (kernel.registers * 32).next_multiple_of(unit) * warps;
        let reserved = (shared + profile.shared_reserved_per_block)
            .next_multiple_of(profile.shared_unit.max(1));
        let blocks = [
            profile.blocks_per_sm,
            profile.threads_per_sm / (warps * 32),
            profile.registers_per_sm / registers.max(1),
            profile.shared_per_sm / reserved.max(1),
        ];
        let blocks = blocks.into_iter().min().unwrap_or(0);
        Report {
            launch,
            unwritten,
            kernel: kernel.name.clone(),
            occupancy: (blocks, blocks * warps, profile.threads_per_sm / 32),
            resources: (kernel.registers, shared),
        }
    }

    /// Whether anything was found.
    pub fn has_findings(&self) -> bool {
        !self.launch.findings.is_empty() || !self.unwritten.is_empty()
    }

    /// `report.json`: one entry for each kind of finding, with all its places.
    pub fn json(&self) -> String {
        let mut kinds: BTreeMap<Kind, Vec<&Finding>> = BTreeMap::new();
        for finding in &self.launch.findings {
            kinds.entry(finding.kind).or_default().push(finding);
        }
        let mut findings: Vec<Value> = kinds.values().map(|all| entry(all)).collect();
        for name in &self.unwritten {
            findings.push(json!({
                "kind": Kind::UnwrittenOutput.name(),
                "kernel": self.kernel,
                "message": format!("the kernel wrote nothing to `{name}`"),
            }));
        }
        let value = json!({
            "findings": findings,
            "counters": counters(&self.launch.counters, self),
            "stdout": self.launch.stdout,
            "trap": trap(self.launch.trap),
            "seconds": self.launch.seconds,
        });
        format!("{value:#}\n")
    }
}

fn trap(trap: Option<Trap>) -> Value {
    match trap {
        None => Value::Null,
        Some(Trap::Assert) => "assert".into(),
        Some(Trap::Trap) => "trap".into(),
        Some(Trap::Timeout) => "timeout".into(),
    }
}

/// All findings of one kind: the total, the first place, and every place.
fn entry(all: &[&Finding]) -> Value {
    let threads: u64 = all.iter().map(|f| f.threads).sum();
    let mut value = place(all[0]);
    value.insert("kind".into(), all[0].kind.name().into());
    value.insert("threads".into(), threads.into());
    let places = all.iter().map(|f| {
        let mut value = place(f);
        value.insert("threads".into(), f.threads.into());
        Value::Object(value)
    });
    value.insert("places".into(), places.collect());
    Value::Object(value)
}

fn place(f: &Finding) -> Map<String, Value> {
    let value = json!({
        "kernel": f.kernel,
        "line": f.site.ptx_line,
        "source": f.site.source.as_ref().map(|(path, line)| format!("{path}:{line}")),
        "block": f.site.block,
        "thread": f.site.thread,
        "address": f.site.address,
        "bytes": f.site.bytes,
        "message": f.message,
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn counters(c: &Counters, report: &Report) -> Value {
    let mut map = Map::new();
    for (name, value) in c.named() {
        map.insert(name.into(), value.into());
    }
    let mut classes = Map::new();
    for (name, value) in CLASSES.iter().zip(c.instructions) {
        classes.insert((*name).into(), value.into());
        map.insert(format!("instructions_{name}"), value.into());
    }
    map.insert("instructions".into(), Value::Object(classes));
    map.insert("registers_per_thread_estimate".into(), report.resources.0.into());
    map.insert("shared_bytes_per_block".into(), report.resources.1.into());
    map.insert("resident_blocks_per_sm".into(), report.occupancy.0.into());
    map.insert("resident_warps_per_sm".into(), report.occupancy.1.into());
    Value::Object(map)
}

/// Findings and counters as text.
pub fn table(report: &Report) -> String {
    let mut out = String::new();
    for f in &report.launch.findings {
        let [bx, by, bz] = f.site.block;
        let [tx, ty, tz] = f.site.thread;
        let source = f.site.source.as_ref();
        let source = source.map_or(String::new(), |(path, line)| format!(" ({path}:{line})"));
        let _ = writeln!(
            out,
            "{}: `{}` line {}{source}, block ({bx}, {by}, {bz}) thread ({tx}, {ty}, {tz}), {} lanes: {}",
            f.kind.name(),
            f.kernel,
            f.site.ptx_line,
            f.threads,
            f.message
        );
    }
    for name in &report.unwritten {
        let _ = writeln!(out, "unwritten_output: `{}` wrote nothing to `{name}`", report.kernel);
    }
    let c = &report.launch.counters;
    for (name, value) in c.named() {
        if value > 0 {
            let _ = writeln!(out, "{name:28} {value:>14}");
        }
    }
    for (name, value) in CLASSES.iter().zip(c.instructions) {
        if value > 0 {
            let _ = writeln!(out, "  {name:26} {value:>14}");
        }
    }
    let (blocks, warps, most) = report.occupancy;
    let (registers, shared) = report.resources;
    let _ = writeln!(out, "registers per thread (estimate) {registers}, shared memory {shared} B");
    let _ = writeln!(out, "resident on an SM: {blocks} blocks, {warps} of {most} warps");
    out
}
