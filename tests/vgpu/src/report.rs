//! Reports of launches as JSON and as text.
//!
//! One finding of the JSON stands for one kind of fault: `threads` is the sum over all its sites,
//! the place is that of the first one, and `sites` lists them all.

use crate::check::Finding;
use crate::count::{CLASSES, Counters};
use crate::gpu::{LaunchReport, Trap};
use serde_json::{Map, Value, json};

/// The name of a trap in reports.
pub fn trap_name(trap: Trap) -> &'static str {
    match trap {
        Trap::Assert => "assert",
        Trap::Trap => "trap",
        Trap::Timeout => "timeout",
    }
}

/// One line: `kernel (file:line): kind: message (block, thread, address)`.
pub fn describe(finding: &Finding) -> String {
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

/// One finding.
pub fn finding(finding: &Finding) -> Value {
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

/// All findings, one entry a kind.
pub fn findings(all: &[Finding]) -> Value {
    let mut kinds: Vec<Value> = Vec::new();
    for one in all {
        let name = one.kind.name();
        let site = finding(one);
        match kinds.iter_mut().find(|entry| entry["kind"] == name) {
            Some(entry) => {
                entry["threads"] = json!(entry["threads"].as_u64().unwrap_or(0) + one.threads);
                if let Some(sites) = entry["sites"].as_array_mut() {
                    sites.push(site);
                }
            }
            None => {
                let mut entry = site.clone();
                entry["sites"] = json!([site]);
                kinds.push(entry);
            }
        }
    }
    Value::Array(kinds)
}

/// All counters; `instructions` is an object by class.
pub fn counters(c: &Counters) -> Value {
    let by_class = |(name, count): (&&str, u64)| ((*name).to_string(), Value::from(count));
    let classes: Map<String, Value> = CLASSES.iter().zip(c.instructions).map(by_class).collect();
    let mut map = Map::from_iter([("instructions".to_string(), Value::from(classes))]);
    map.extend(c.named().map(|(name, value)| (name.to_string(), value.into())));
    map.into()
}

/// The report of a launch.
pub fn launch(report: &LaunchReport) -> Map<String, Value> {
    Map::from_iter([
        ("findings".to_string(), findings(&report.findings)),
        ("counters".to_string(), counters(&report.counters)),
        ("stdout".to_string(), json!(report.stdout)),
        ("trap".to_string(), json!(report.trap.map(trap_name))),
        ("seconds".to_string(), json!(report.seconds)),
    ])
}

/// The counters that are not zero, as a table.
pub fn table(c: &Counters) -> String {
    let classes = CLASSES.iter().zip(c.instructions).map(|(name, n)| (format!("instructions: {name}"), n));
    let rest = c.named().into_iter().map(|(name, n)| (name.to_string(), n));
    let mut text = String::new();
    for (name, n) in classes.chain(rest).filter(|(_, n)| *n != 0) {
        text += &format!("  {name:<28} {:>16}\n", grouped(n));
    }
    text
}

/// `1234567` as `1,234,567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Kind, Site};

    fn oob(threads: u64, line: u32) -> Finding {
        let site = Site { ptx_line: line, address: 0x100, bytes: 4, ..Site::default() };
        Finding { kind: Kind::GlobalOobRead, threads, kernel: "k".into(), site, message: "past the end".into() }
    }

    #[test]
    fn findings_of_one_kind_are_one_entry() {
        let mut race = oob(3, 9);
        race.kind = Kind::SharedRace;
        let json = findings(&[oob(1, 7), race, oob(4, 12)]);
        assert_eq!(json.as_array().unwrap().len(), 2);
        assert_eq!((&json[0]["kind"], &json[0]["threads"]), (&json!("global_oob_read"), &json!(5)));
        assert_eq!(json[0]["line"], 7);
        assert_eq!(json[0]["sites"][1]["line"], 12);
        assert_eq!(json[1]["threads"], 3);
    }

    #[test]
    fn tables_leave_zeros_out_and_group_digits() {
        let c = Counters { mma_flops: 1_234_567, barriers: 12, ..Counters::default() };
        let text = table(&c);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains("1,234,567") && text.contains("barriers"));
        assert_eq!(counters(&c)["mma_flops"], 1_234_567);
        assert_eq!(counters(&c)["instructions"]["tensor"], 0);
    }
}
