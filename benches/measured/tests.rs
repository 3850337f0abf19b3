//! What a run's folder becomes.

use crate::report;
use std::fs;
use std::path::Path;

fn docs() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs"))
}

/// A run's results on a card, as its parts write them.
fn results(folder: &Path) {
    let figures = folder.join("figures");
    fs::create_dir_all(&figures).unwrap();
    let op = r#"{"op": "qkv", "detail": "384→1152", "times": 6, "ms": 0.39, "share": 0.1, "of_roofline": 0.5, "flops": 1,
        "kernels": [{"kernel": "qkv", "launches": 6, "ms": 0.39, "threads": 256}]}"#;
    let profile = |what: &str, batch: usize, ms: f64| {
        format!(
            r#"{{"what": "{what}", "batch": {batch}, "dtype": "f16", "step_ms": {ms}, "tokens_per_s": 3.5e6, "model_tflops": 250,
            "clocks": {{"sm_mhz": 1755}}, "roofline": {{"tflops": 610, "bandwidth_gb": 3000}}, "ops": [{op}]}}"#
        )
    };
    for (name, text) in [
        ("card.csv", "NVIDIA H100 80GB HBM3, 580.1, 81559, 1980, 2619, 9.0\n".to_owned()),
        ("run.txt", "date=2026-01-02\ncommit=0123456789ab\ndevice=cuda\n".to_owned()),
        ("time_train_f16.json", profile("train", 64, 4.0)),
        ("time_denoise_1.json", profile("denoise", 1, 0.25)),
        (
            "peers_train.json",
            r#"{"torch": "2.11", "attention": "CUDNN_ATTENTION", "failed": [],
            "steps": [{"what": "train", "way": "captured", "dtype": "bf16", "batch": 64, "median_ms": 5.0}]}"#
                .to_owned(),
        ),
        (
            "check_f16.json",
            r#"{"dtype": "f16", "goldens": [], "kernels": {"qkv": {"launches": 2, "failed": 0,
            "worst": {"ratio": 0.5, "error": 2.1e-4, "tolerance": 4.2e-4, "op": "qkv", "of": "train"}}}}"#
                .to_owned(),
        ),
        (
            "golden_f16.json",
            r#"{"dtype": "f16", "kernels": {}, "goldens": [{"what": "logits", "error": 1e-3, "tolerance": 4e-3}]}"#
                .to_owned(),
        ),
        ("learn.json", r#"{"nelbo": {"nats": 1.5, "bits": 2.164, "standard_error": 0.01}}"#.to_owned()),
        ("learn.jsonl", "{\"step\":1,\"loss\":4}\n{\"step\":1,\"validation_nelbo_nats\":4}\n".to_owned()),
        ("learn.seconds", "93\n".to_owned()),
        ("learn.txt", "To be\n".to_owned()),
        ("learn_original.json", r#"{"nelbo": {"nats": null, "bits": null, "standard_error": null}}"#.to_owned()),
        ("learn_original.seconds", "7\n".to_owned()),
    ] {
        fs::write(figures.join(name), text).unwrap();
    }
    fs::write(folder.join("parts.tsv"), "san_memcheck\tok\t0\t31\tERROR SUMMARY: 0 errors\n").unwrap();
}

#[test]
fn the_page_is_what_the_command_writes_where_nothing_was_measured() {
    let temp = tempfile::tempdir().unwrap();
    let (empty, written) = (temp.path().join("results"), temp.path().join("docs"));
    fs::create_dir(&empty).unwrap();
    fs::create_dir(&written).unwrap();
    fs::copy(docs().join("measured.json"), written.join("measured.json")).unwrap();
    let said = report(&empty, &written).unwrap();
    assert!(said.contains("nothing in"), "{said}");
    for name in ["measured.json", "measured.md"] {
        let [old, new] = [docs(), &written].map(|folder| fs::read_to_string(folder.join(name)).unwrap());
        assert!(old == new, "docs/{name} is not what `./prove-gpu report` writes");
    }
}

#[test]
fn a_run_becomes_a_page_with_every_figure_and_a_second_one_replaces_it() {
    let temp = tempfile::tempdir().unwrap();
    let (run, written) = (temp.path().join("results"), temp.path().join("docs"));
    fs::create_dir(&written).unwrap();
    results(&run);
    report(&run, &written).unwrap();
    let page = fs::read_to_string(written.join("measured.md")).unwrap();
    for line in [
        "## NVIDIA H100 80GB HBM3",
        "2026-01-02, commit 0123456789ab; driver 580.1, 81559 MiB, at most 1980 MHz (memory 2619 MHz).",
        "| train B=64 f16 | 4.000 | 3.50 | 250.0 | 1755 | 610, 3000 |",
        "### PyTorch 2.11, attention by CUDNN_ATTENTION",
        "| train B=64 | captured bf16 | 5.000 | 4.000 | 1.25 |",
        "| qkv 384→1152 | 6 | 0.390 | 10.0 % | 50.0 % | `qkv` 65.0 |",
        "| `qkv` | 2 | 0 | 2.1e-4 | 4.2e-4 | qkv |",
        "| f16 | 1 | 0.250 | logits |",
        "| learn | 1 | 93 | 1.500 ± 0.010 | 2.164 |",
        "| learn_original | 0 | 7 | – | – |",
        "To be",
        "| san_memcheck | ok | 31 | ERROR SUMMARY: 0 errors |",
    ] {
        assert!(page.lines().any(|found| found == line), "no line {line:?} in\n{page}");
    }
    assert!(!page.contains("None yet"), "{page}");
    report(&run, &written).unwrap();
    assert_eq!(page, fs::read_to_string(written.join("measured.md")).unwrap());
}

#[test]
fn figures_that_are_cut_off_are_named() {
    let temp = tempfile::tempdir().unwrap();
    let (run, written) = (temp.path().join("results"), temp.path().join("docs"));
    fs::create_dir(&written).unwrap();
    results(&run);
    fs::write(run.join("figures/time_train_f16.json"), "{\"what\": \"tra").unwrap();
    let why = report(&run, &written).unwrap_err();
    assert!(why.contains("time_train_f16.json is not what the run writes"), "{why}");
    assert!(!written.join("measured.md").exists());
}
