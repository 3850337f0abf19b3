//! `tempest devices`, `check` and `profile` from the outside: on the CPU, and on the virtual GPU.

mod common;

use common::{fail, succeed, tempest, tiny_run};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn said(output: std::process::Output) -> String {
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

fn read(json: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap()
}

/// Where the driver that was asked for is not there.
fn without_driver<'a>(args: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = tempest(args);
    command.env_remove("TEMPEST_DEVICE").env("TEMPEST_CUDA_DRIVER", "nowhere/libcuda.so");
    command
}

#[test]
fn devices_without_a_gpu_are_the_cpu_and_a_cure() {
    let listed = said(succeed(&mut without_driver(["devices"])));
    says(&listed, &["cpu       ", " threads, ", "kernels   ", "cuda      none: ", "unset it", "auto      is cpu"]);
    let mut plain = tempest(["devices"]);
    let listed = said(succeed(plain.env_remove("TEMPEST_DEVICE")));
    // This machine may have a GPU.
    if !listed.contains("cuda:0") {
        says(&listed, &["cuda      none: ", "use --device cpu"]);
    }
}

#[test]
fn without_a_driver_the_cpu_is_used_and_a_gpu_that_was_asked_for_is_not_there() {
    let output = succeed(&mut without_driver(["check", "--batch", "1", "-v"]));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    says(&told, &["no GPU: ", "TEMPEST_CUDA_DRIVER", "the CPU is used", "compared with itself"]);
    for device in ["cuda", "cuda:7"] {
        for command in ["check", "profile"] {
            says(&fail(&mut without_driver([command, "--device", device]), 2), &["cannot load", "unset it"]);
        }
    }
    for garbage in ["gpu", "cuda:", "cuda:x", "cpu:1", "CUDA", ""] {
        let told = fail(&mut tempest(["profile", "--device", garbage]), 2);
        assert!(told.contains("wanted auto, cpu, cuda, cuda:N or vgpu") || told.contains("is no number"), "{told}");
    }
}

#[test]
fn a_profile_of_the_cpu_is_a_table_and_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace.json");
    let record = folder.path().join("profile.json");
    let args = ["profile", "--batch", "2", "--steps", "2", "--device", "cpu", "--trace"];
    let table = said(succeed(tempest(args).arg(&trace).arg("--json").arg(&record)));
    says(
        &table,
        &[
            "train step of preset nano, 2 sequences of 128, f32",
            "TFLOP/s",
            "qkv ",
            "tokens/s",
            "128→512",
            "model's flops",
        ],
    );
    let total = table.lines().find(|line| line.starts_with("all ")).expect("a total");
    says(total, &["100.0 %"]);
    let trace = read(&trace);
    let events = trace["traceEvents"].as_array().unwrap();
    let ops: Vec<&Value> = events.iter().filter(|event| event["ph"] == "X").collect();
    let count: usize = total.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(ops.len(), count);
    let edges = |event: &Value| [&event["ts"], &event["dur"]].map(|n| n.as_f64().unwrap());
    assert!(ops.iter().all(|op| edges(op)[1] >= 0.0));
    assert!(ops.windows(2).all(|two| edges(two[1])[0] >= edges(two[0])[0] + edges(two[0])[1] - 1e-3));

    let record = read(&record);
    assert_eq!(record["device"]["kind"], "cpu");
    assert_eq!([&record["what"], &record["dtype"]], ["train", "f32"]);
    assert_eq!([&record["batch"], &record["positions"], &record["steps"]], [2, 128, 2]);
    let ops = record["ops"].as_array().unwrap();
    let sum = |field: &str| ops.iter().map(|op| op[field].as_f64().unwrap()).sum::<f64>();
    assert_eq!(sum("times"), count as f64);
    assert!((sum("share") - 1.0).abs() < 1e-9 && (sum("ms") - record["ops_ms"].as_f64().unwrap()).abs() < 1e-9);
    assert!(record["step_ms"].as_f64().unwrap() > 0.0 && record["roofline"].is_null(), "{record}");

    let denoise = said(succeed(&mut tempest(["profile", "--what", "denoise", "--batch", "1", "--steps", "1"])));
    says(&denoise, &["denoise step of preset nano, 1 sequence of 128", "commit_tokens", "one step"]);
}

#[test]
fn what_cannot_be_profiled_or_checked_is_said_in_a_line() {
    let refused = |args: &[&str]| fail(&mut tempest(args), 2);
    says(&refused(&["profile", "--preset", "huge"]), &["huge", "nano, small, large, original"]);
    says(&refused(&["profile", "--run", "nowhere"]), &["nowhere", "holds no run"]);
    says(&refused(&["profile", "--batch", "0"]), &["--batch 0", "wanted 1"]);
    says(&refused(&["profile", "--steps", "0"]), &["--steps is 0"]);
    says(&refused(&["profile", "--batch", "99999999999"]), &["--batch 99999999999", "2³²"]);
    says(&refused(&["profile", "--preset", "nano", "--run", "x"]), &["cannot be used with"]);
    says(&refused(&["check", "--against", "x", "--preset", "nano"]), &["cannot be used with"]);
    says(&refused(&["profile", "--device", "cpu", "--batch", "1", "--trace", "Cargo.toml/x"]), &["Cargo.toml"]);
}

#[test]
fn a_trained_run_is_checked_in_half_precision_on_the_cpu() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(&mut tempest(tiny_run(&run, 5)));
    let json = folder.path().join("check.json");
    let table = said(succeed(
        tempest(["check", "--dtype", "bf16", "--batch", "3", "--run"]).arg(&run).arg("--json").arg(&json),
    ));
    says(&table, &["train step of", "3 sequences of 16, bf16", "denoise step of", "outputs agree"]);
    let found = read(&json);
    assert_eq!((&found["device"]["kind"], &found["dtype"]), (&"cpu".into(), &"bf16".into()));
    let lines = table.lines().filter(|line| line.ends_with("  ok") || line.ends_with("(all zero)")).count();
    assert_eq!(found["outputs"].as_array().unwrap().len(), lines);
    assert_eq!(found["kernels"], serde_json::json!({}), "a CPU has none");
}

#[cfg(all(unix, kernels))]
mod on_the_virtual_gpu {
    use super::*;
    use crate::common::on_virtual_gpu as on_gpu;

    #[test]
    fn devices_names_the_gpu_and_what_would_run() {
        let listed = said(succeed(&mut on_gpu(["devices"])));
        let parts =
            ["driver    CUDA ", "cuda:0    NVIDIA A100", "sm_80", "2039 GB/s, 312 TFLOP/s", "auto      is cuda:0"];
        says(&listed, &parts);
        says(&listed, &["f16 runs from PTX", "bf16 runs from PTX"]);
    }

    #[test]
    fn a_driver_that_is_a_stub_or_tells_no_clocks_is_said_to_be() {
        let told = fail(on_gpu(["profile"]).env("VGPU_STUB", "1"), 2);
        says(&told, &["stub", "LD_LIBRARY_PATH", "TEMPEST_CUDA_DRIVER"]);
        let listed = said(succeed(on_gpu(["devices"]).env("VGPU_STUB", "1")));
        says(&listed, &["cuda      none: ", "stub", "auto      is cpu"]);
        let listed = said(succeed(on_gpu(["devices"]).env("VGPU_CLOCKS", "0")));
        says(&listed, &["tells no clocks; tempest profile measures its speed", "auto      is cuda:0"]);
    }

    #[test]
    fn a_check_names_the_gpus_that_there_are() {
        let told = fail(&mut on_gpu(["check", "--device", "cuda:7"]), 2);
        says(&told, &["there is one GPU, cuda:0", "tempest devices"]);
    }

    #[test]
    fn a_check_of_no_model_in_particular_tells_of_every_kernel() {
        let folder = tempfile::tempdir().unwrap();
        let json = folder.path().join("check.json");
        let told = said(succeed(on_gpu(["check", "--json"]).arg(&json)));
        let found = read(&json);
        let kernels = found["kernels"].as_object().unwrap();
        says(&told, &["train step of a model of 3 heads of 64", &format!("of {} kernels agree", kernels.len())]);
        // That these are all there are is tested beside the kernels.
        for name in kernels.keys() {
            let mut lines = told.lines().filter(|line| !line.contains(" step of "));
            let line = lines.find(|line| line.split_whitespace().next() == Some(name)).expect(name);
            assert!(line.ends_with(" %  ok") || line.ends_with("brings the arguments of all others"), "{line}");
        }
        let ops = found["outputs"].as_array().unwrap().iter().map(|output| (&output["of"], &output["index"]));
        let launches = kernels["next_step"]["launches"].as_u64().unwrap() as usize;
        assert_eq!(launches, ops.collect::<std::collections::HashSet<_>>().len(), "one for each op");
    }

    #[test]
    fn a_profile_is_made_of_counts() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("profile.json");
        let table = said(succeed(on_gpu(["profile", "--json"]).arg(&record)));
        says(
            &table,
            &[
                "train step of preset nano, 1 sequence of 128, f16",
                "no times",
                "mma/useful",
                "a virtual GPU plays",
                "adamw_step",
            ],
        );
        // Launches of an op, once for each of five blocks; matrix instructions that do no more than the product needs.
        let after = table.split("linear_relu2 128→512 ×5\n").nth(1).expect("the op");
        let kernel: Vec<&str> = after.lines().next().unwrap().split_whitespace().collect();
        assert_eq!((kernel[1], kernel[4]), ("5", "1.00"), "{kernel:?}");
        let record = read(&record);
        assert_eq!(record["device"]["kind"], "virtual");
        let ops = record["ops"].as_array().unwrap();
        let op = ops.iter().find(|op| op["op"] == "linear_relu2").expect("the op");
        assert_eq!([&op["times"], &op["launches"], &op["kernels"][0]["launches"]], [5, 5, 5]);
        assert_eq!(op["kernels"][0]["mma_flops"].as_f64(), op["flops"].as_f64());
        assert!(record["step_ms"].is_null() && op["ms"].is_null(), "{op}");
        let told = fail(&mut on_gpu(["profile", "--trace", "trace.json"]), 2);
        says(&told, &["has no times", "--device cpu"]);
    }

    #[test]
    fn only_kernels_with_shared_memory_take_it_from_the_l1_cache() {
        let folder = tempfile::tempdir().unwrap();
        let reports = folder.path().join("reports");
        succeed(on_gpu(["profile"]).env("VGPU_REPORT", &reports));
        let reports = std::fs::read_to_string(reports).unwrap();
        let mut seen = [0, 0];
        for line in reports.lines() {
            let launch: Value = serde_json::from_str(line).unwrap();
            let bytes = |field: &str| launch[field].as_u64().unwrap();
            let shared = bytes("static_shared") + bytes("dynamic_shared") > 0;
            assert_eq!(launch["carveout"], if shared { 100 } else { -1 }, "{}", launch["kernel"]);
            seen[usize::from(shared)] += 1;
        }
        assert!(seen.iter().all(|&launches| launches > 0), "{seen:?}");
    }

    #[test]
    fn launches_stand_in_the_range_of_their_op() {
        let folder = tempfile::tempdir().unwrap();
        let reports = folder.path().join("reports");
        let library = vgpu::driver::library_path().unwrap();
        let mut command = on_gpu(["profile", "--what", "denoise", "--nvtx"]);
        succeed(command.env("VGPU_REPORT", &reports).env("NVTX_INJECTION64_PATH", library));
        let reports = std::fs::read_to_string(reports).unwrap();
        let launches: Vec<Value> = reports.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let named = |kernel: &str| {
            let of = launches.iter().filter(|launch| launch["kernel"].as_str().unwrap().starts_with(kernel));
            of.map(|launch| launch["ranges"].clone()).collect::<Vec<_>>()
        };
        for op in ["qkv", "attention", "commit_tokens"] {
            assert!(!named(op).is_empty() && named(op).iter().all(|ranges| *ranges == serde_json::json!([op])), "{op}");
        }
        let told = fail(on_gpu(["profile", "--nvtx"]).env_remove("NVTX_INJECTION64_PATH"), 2);
        says(&told, &["no profiler watches", "nsys profile", "leave --nvtx out"]);
        let told = fail(on_gpu(["profile", "--nvtx"]).env("NVTX_INJECTION64_PATH", "nowhere/lib.so"), 2);
        says(&told, &["NVTX_INJECTION64_PATH", "nowhere/lib.so"]);
    }

    #[test]
    fn the_virtual_gpu_is_found_beside_the_program() {
        let table = said(succeed(&mut tempest(["profile", "--device", "vgpu", "--what", "denoise"])));
        says(&table, &["denoise step of preset nano", "A100", "commit_tokens"]);
    }
}
