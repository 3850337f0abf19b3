//! `metrics.jsonl`, through crashes and on full disks.

use serde::Serialize;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use tempest::files::metrics::Metrics;

#[derive(Serialize)]
struct Record {
    step: u64,
    loss_nats: f32,
}

fn written(metrics: &mut Metrics, steps: std::ops::RangeInclusive<u64>) {
    steps.for_each(|step| metrics.append(&Record { step, loss_nats: 0.5 }).unwrap());
}

fn lines(steps: std::ops::RangeInclusive<u64>) -> String {
    steps.map(|step| format!("{{\"step\":{step},\"loss_nats\":0.5}}\n")).collect()
}

fn at() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.jsonl");
    (folder, path)
}

#[test]
fn a_resumed_file_is_as_if_never_interrupted() {
    let (_folder, path) = at();
    written(&mut Metrics::create(&path).unwrap(), 1..=12);
    for torn in ["", "{\"step\":13,\"lo", "\0\0\0\0", "{\"step\":13}", "\0\n{\"step\":99}\n"] {
        OpenOptions::new().append(true).open(&path).unwrap().write_all(torn.as_bytes()).unwrap();
        let (mut metrics, last) = Metrics::resume(&path, 10).unwrap();
        assert_eq!(last, 10);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines(1..=10), "{torn:?}");
        written(&mut metrics, 11..=12);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines(1..=12), "{torn:?}");
    }
}

#[test]
fn several_records_of_the_checkpoints_step_all_stay() {
    let (_folder, path) = at();
    let mut metrics = Metrics::create(&path).unwrap();
    for step in [5, 10, 10, 11] {
        written(&mut metrics, step..=step);
    }
    Metrics::resume(&path, 10).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap().matches("\"step\":10").count(), 2);
    Metrics::resume(&path, 0).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
}

#[test]
fn resuming_without_a_file_starts_one_and_creating_starts_afresh() {
    let (_folder, path) = at();
    let (mut metrics, last) = Metrics::resume(&path, 10).unwrap();
    assert_eq!(last, 0);
    written(&mut metrics, 11..=11);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), lines(11..=11));
    Metrics::create(&path).unwrap().sync().unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
}

#[test]
fn a_loss_that_is_not_a_number_is_null() {
    let (_folder, path) = at();
    Metrics::create(&path).unwrap().append(&Record { step: 1, loss_nats: f32::NAN }).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"step\":1,\"loss_nats\":null}\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_and_an_unwritable_folder_say_so() {
    let mut full = Metrics::create("/dev/full").unwrap();
    let error = full.append(&Record { step: 1, loss_nats: 1.0 }).unwrap_err().to_string();
    assert!(error.contains("/dev/full: cannot write the metrics: No space left on device"), "{error}");
    let error = Metrics::create("/proc/none/metrics.jsonl").unwrap_err().to_string();
    assert!(error.contains("/proc/none/metrics.jsonl: cannot create the metrics: No such file"), "{error}");
}
