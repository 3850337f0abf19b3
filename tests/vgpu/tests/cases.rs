//! Whole launches, described by folders under `cases/`: outputs, findings, counters and printed
//! lines must be what `case.json` says, under any order of warps and blocks.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vgpu::arith::half::{bf16_to_f32, f16_to_f32};
use vgpu::gpu::{Landing, Options};
use vgpu::report;
use vgpu::runner::{Case, Settings, run};

fn folders() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")];
    while let Some(folder) = left.pop() {
        if folder.join("case.json").exists() {
            found.push(folder);
        } else {
            left.extend(folder.read_dir().unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()));
        }
    }
    found.sort();
    found
}

/// The numbers of a raw array; exact for all types but 64-bit integers.
fn numbers(bytes: &[u8], ty: &str) -> Vec<f64> {
    let size = match ty {
        "i8" | "u8" => 1,
        "i16" | "u16" | "f16" | "bf16" => 2,
        "i64" | "u64" | "f64" => 8,
        _ => 4,
    };
    let number = |b: &[u8]| {
        let mut word = [0; 8];
        word[..size].copy_from_slice(b);
        let x = u64::from_le_bytes(word);
        match ty {
            "f32" => f32::from_bits(x as u32).into(),
            "f64" => f64::from_bits(x),
            "f16" => f16_to_f32(x as u16).into(),
            "bf16" => bf16_to_f32(x as u16).into(),
            "i8" => (x as i8).into(),
            "i16" => (x as i16).into(),
            "i32" => (x as i32).into(),
            "i64" => x as i64 as f64,
            _ => x as f64,
        }
    };
    bytes.chunks_exact(size).map(number).collect()
}

/// What is wrong with an output.
fn differs(name: &str, json: &Value, folder: &Path, got: &[u8]) -> Option<String> {
    let wanted = std::fs::read(folder.join(json["expect"].as_str()?)).unwrap();
    let ty = json["expect_dtype"].as_str().unwrap_or("u8");
    let compare = &json["compare"];
    let (x, y) = (numbers(got, ty), numbers(&wanted, ty));
    if x.len() != y.len() {
        return Some(format!("{name}: {} elements, wanted {}", x.len(), y.len()));
    }
    let mode = compare["mode"].as_str().unwrap_or("exact");
    let row = |i: usize| {
        let rows = compare["rows"].as_array()?;
        rows.get(i * rows.len() / x.len())
    };
    let fine = |i: usize| {
        let (a, b) = (x[i], y[i]);
        let (rtol, atol) = match mode {
            "close" => (compare["rtol"].as_f64().unwrap_or(0.0), compare["atol"].as_f64().unwrap_or(0.0)),
            "rows" => row(i).map_or((0.0, 0.0), |r| (r[0].as_f64().unwrap_or(0.0), r[1].as_f64().unwrap_or(0.0))),
            _ => (0.0, 0.0),
        };
        let same = if mode == "exact" && !ty.contains('f') { got_at(got, &wanted, i, x.len()) } else { a == b };
        same || a.is_nan() && b.is_nan() || (a - b).abs() <= atol + rtol * b.abs()
    };
    let wrong: Vec<usize> = (0..x.len()).filter(|i| !fine(*i)).collect();
    let first = *wrong.first()?;
    Some(format!("{name}: {} of {} wrong, [{first}] is {}, wanted {}", wrong.len(), x.len(), x[first], y[first]))
}

/// Whether element `i` of `n` has the same bytes.
fn got_at(got: &[u8], wanted: &[u8], i: usize, n: usize) -> bool {
    let size = wanted.len() / n;
    got[i * size..][..size] == wanted[i * size..][..size]
}

/// Runs a case; what is wrong with it.
fn faults(folder: &Path, options: Options) -> Vec<String> {
    let json: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("case.json")).unwrap()).unwrap();
    let settings = Settings { profile: None, options };
    let outcome = match Case::read(folder).and_then(|case| run(&case, &settings)) {
        Ok(outcome) => outcome,
        Err(error) => return vec![error.to_string()],
    };
    let mut faults = Vec::new();
    let trap = outcome.report.trap.map(report::trap_name);
    if trap != json["expect_trap"].as_str() {
        faults.push(format!("trap {trap:?}"));
    }
    let empty = Vec::new();
    let described = |key: &str| json[key].as_array().unwrap_or(&empty).clone();
    for entry in described("params").iter().chain(&described("globals")).filter(|_| trap.is_none()) {
        if entry.get("expect").is_some() {
            let name = entry["name"].as_str().unwrap();
            let (_, got) = outcome.outputs.iter().find(|(n, _)| n == name).expect("an output");
            faults.extend(differs(name, entry, folder, got));
        }
    }
    let mut found = BTreeMap::new();
    for finding in &outcome.report.findings {
        *found.entry(finding.kind.name()).or_insert(0) += finding.threads;
    }
    let mut wanted = BTreeMap::new();
    for entry in described("expect_findings") {
        wanted.insert(entry["kind"].as_str().unwrap().to_string(), entry["threads"].as_u64());
    }
    for (kind, threads) in &wanted {
        match found.get(kind.as_str()) {
            None => faults.push(format!("{kind} missed")),
            Some(got) if threads.is_some_and(|n| n != *got) => faults.push(format!("{kind}: {got} lanes")),
            _ => {}
        }
    }
    for finding in outcome.report.findings.iter().filter(|f| !wanted.contains_key(f.kind.name())) {
        faults.push(format!("false alarm: {}", report::describe(finding)));
    }
    let counters = report::counters(&outcome.report.counters);
    for (name, value) in json["expect_counters"].as_object().into_iter().flatten() {
        if counters[name] != *value {
            faults.push(format!("{name} is {}, wanted {value}", counters[name]));
        }
    }
    if let Some(lines) = json["expect_stdout"].as_array() {
        let mut wanted: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
        let mut got: Vec<&str> = outcome.report.stdout.iter().map(String::as_str).collect();
        wanted.sort_unstable();
        got.sort_unstable();
        if wanted != got {
            faults.push(format!("printed {got:?}"));
        }
    }
    faults
}

#[test]
fn every_case_comes_out_as_described_under_any_schedule() {
    let folders = folders();
    assert!(folders.len() >= 12, "only {} cases found", folders.len());
    let mut all = Vec::new();
    for folder in folders {
        for seed in 0..3 {
            let landing = if seed == 1 { Landing::Latest } else { Landing::Earliest };
            let faults = faults(&folder, Options { seed, landing, ..Options::default() });
            all.extend(faults.iter().map(|f| format!("{} (seed {seed}): {f}", folder.display())));
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

/// The command itself: files, report and exit status.
#[test]
fn the_command_writes_outputs_and_a_report() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("command");
    let vgpu = |case: &Path, more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vgpu"));
        command.arg("run").arg(case).arg(&out).args(more).output().unwrap()
    };
    let fine = cases.join("counters/sectors_coalesced");
    let output = vgpu(&fine, &["--strict"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(std::fs::read(out.join("o.bin")).unwrap(), std::fs::read(fine.join("o.expect.bin")).unwrap());
    let report: Value = serde_json::from_str(&std::fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["counters"]["global_load_sectors"], 8);
    assert_eq!(report["findings"], serde_json::json!([]));

    let faulty = cases.join("sanitize/oob_global_read");
    assert_eq!(vgpu(&faulty, &[]).status.code(), Some(0));
    let output = vgpu(&faulty, &["--strict"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("global_oob_read"));
    assert_eq!(vgpu(&cases.join("no such case"), &[]).status.code(), Some(2));
    assert_eq!(vgpu(&fine, &["--bogus"]).status.code(), Some(2));
}
