//! Numbers beyond all bounds, more memory than there is, and a driver that is none: a message, and no abort.

mod common;

use common::{fail, succeed, tempest, tiny_run};
use std::path::Path;
use std::process::{Command, Stdio};

/// A run of a step or so.
fn tiny_model(folder: &Path) -> String {
    let run = folder.join("run");
    succeed(&mut tempest(tiny_run(&run, 2)));
    run.display().to_string()
}

#[test]
fn numbers_without_bounds_are_refused_and_say_theirs() {
    let temp = tempfile::tempdir().unwrap();
    let run = tiny_model(temp.path());
    let max = u64::MAX.to_string();
    let out = temp.path().join("new").display().to_string();
    let train = ["train", "--out", &out];
    let (sample, eval) = (["sample", "--run", &run], ["eval", "--run", &run]);
    let profile = ["profile", "--run", &run];
    let half = (1_u64 << 63).to_string();
    for (command, option, value, wanted) in [
        (&train, "--heads", &half[..], "heads (n_head); wanted at most 64"),
        (&train, "--layers", &max, "wanted at most 1024"),
        (&train, "--width", &max, "wanted at most 65536"),
        (&train, "--positions", &max, "wanted at most 65536"),
        (&train, "--timesteps", &max, "wanted at most 65536"),
        (&train, "--batch", &max, "2³²"),
        (&train, "--accumulate", &max, "2³²"),
        (&train, "--threads", "1000000000", "at most 1024"),
        (&sample, "--length", &max, "1 to 16777216 tokens"),
        (&sample, "--texts", &max, "numbers end at 2³²"),
        (&eval, "--steps", "1000000000", "1 to 16384"),
        (&profile, "--steps", &max, "1 to 10000"),
        (&profile, "--batch", &max, "2³²"),
    ] {
        let said = fail(tempest(command).args([option, value]), 2);
        assert!(said.contains(wanted), "{option} {value}: {said}");
    }
    assert!(!Path::new(&out).exists());
}

#[test]
fn what_may_be_huge_costs_no_memory_before_its_time() {
    let temp = tempfile::tempdir().unwrap();
    let run = tiny_model(temp.path());
    // Batches are cut to what there is to do.
    let eval =
        ["eval", "--run", &run, "--windows", "3", "--passes", "1", "--duel-windows", "0", "--batch", "1000000000"];
    succeed(&mut tempest(eval));
    succeed(&mut tempest(["sample", "--run", &run, "--texts", "2", "--batch", "18446744073709551615"]));
    // The first texts of four thousand million come at once, and a reader that has enough ends it.
    let many = ["sample", "--run", &run, "--texts", "4294967295", "--json", "--steps", "3"];
    let mut child = tempest(many).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.next().unwrap().unwrap().starts_with('{'));
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn more_memory_than_there_is_names_the_batch_that_fits() {
    let temp = tempfile::tempdir().unwrap();
    let run = tiny_model(temp.path());
    let out = temp.path().join("new").display().to_string();
    // 2 GB of addresses, of which the machine need not have one.
    let limited = |args: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "ulimit -v 2000000; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_tempest")]).args(args);
        shell.env("TEMPEST_DEVICE", "cpu");
        fail(&mut shell, 2)
    };
    let fits = |said: &str| {
        let (_, fits) = said.split_once("--batch ").unwrap_or_else(|| panic!("{said}"));
        fits.split_whitespace().next().unwrap().to_owned()
    };
    let small =
        ["train", "--layers", "1", "--heads", "2", "--width", "16", "--positions", "16", "--steps", "1", "--out"];
    let said = limited(&[&small[..], &[&out, "--batch", "10000000"]].concat());
    assert!(said.contains("GB are free; --batch ") && !Path::new(&out).exists(), "{said}");
    let texts = ["sample", "--run", &run, "--texts", "10000000", "--batch"];
    for command in [&texts[..], &["profile", "--run", &run, "--batch"], &["check", "--run", &run, "--batch"]] {
        let batch: u64 = fits(&limited(&[command, &["10000000"]].concat())).parse().unwrap();
        assert!((1..10_000_000).contains(&batch), "{batch}");
    }
    let wide = ["train", "--layers", "1000", "--width", "65536", "--heads", "64", "--out", &out];
    assert!(limited(&wide).contains("muon updates at most 2³²; make the model smaller, or give --optimizer adamw"));
    let said = limited(&[&wide[..], &["--optimizer", "adamw"]].concat());
    assert!(said.contains("GB are free") && said.contains("make the model smaller"), "{said}");
}

#[cfg(all(target_os = "linux", kernels))]
#[test]
fn a_driver_that_lacks_a_function_is_no_driver_and_no_panic() {
    let temp = tempfile::tempdir().unwrap();
    let (source, library) = (temp.path().join("none.c"), temp.path().join("libcuda.so"));
    std::fs::write(&source, "int cuInit(unsigned flags) { return 0; }\n").unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so", "-o"]).args([&library, &source]);
    assert!(compiler.status().unwrap().success(), "a linker is there: it has linked this test");
    let with = |args: &[&str]| {
        let mut command = tempest(args);
        command.env("TEMPEST_CUDA_DRIVER", &library).env("TEMPEST_DEVICE", "auto");
        command
    };
    let devices = String::from_utf8(succeed(&mut with(&["devices"])).stdout).unwrap();
    assert!(devices.contains("lacks cuDriverGetVersion") && devices.contains("auto      is cpu"), "{devices}");
    let said = fail(&mut with(&["train", "--device", "cuda"]), 2);
    assert!(said.contains("lacks cuDriverGetVersion"), "{said}");
    let run = temp.path().join("run");
    let output = succeed(&mut with(&tiny_run(&run, 2).iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the CPU is used"));
}
