//! `metrics.jsonl`: what a run measured, one JSON object a line, each with its `step`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The file, open for appending.
///
/// Each record is handed to the operating system in one write, so that a killed process leaves whole lines but for at most
/// the last; [`Metrics::resume`] removes that one.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
    line: Vec<u8>,
}

/// The one field that every record has.
#[derive(Deserialize)]
struct Step {
    step: u64,
}

impl Metrics {
    /// Starts a new, empty file.
    pub fn create(path: impl Into<PathBuf>) -> Result<Metrics> {
        let path = path.into();
        let file = File::create(&path).map_err(Error::io("create the metrics", &path))?;
        Ok(Metrics { path, file, line: Vec::new() })
    }

    /// Goes on after the last record whose step is at most `step`, the checkpoint's; all after it is removed.
    ///
    /// What was measured after the checkpoint is measured again, and a line that a killed process left unfinished goes too.
    /// A missing file is started. Returns the step of the last record, too; 0 if there is none.
    pub fn resume(path: impl Into<PathBuf>, step: u64) -> Result<(Metrics, u64)> {
        let path = path.into();
        let open = OpenOptions::new().read(true).append(true).create(true).open(&path);
        let file = open.map_err(Error::io("open the metrics", &path))?;
        let (kept, last) = end_of_step(&file, step).map_err(Error::io("read the metrics", &path))?;
        file.set_len(kept).map_err(Error::io("shorten the metrics", &path))?;
        Ok((Metrics { path, file, line: Vec::new() }, last))
    }

    /// Appends a record, an object with a field `step`; numbers that are not finite become `null`.
    pub fn append(&mut self, record: &impl Serialize) -> Result<()> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record).expect("a record is plain data");
        debug_assert!(serde_json::from_slice::<Step>(&self.line).is_ok(), "a record has a step");
        self.line.push(b'\n');
        self.file.write_all(&self.line).map_err(Error::io("write the metrics", &self.path))
    }

    /// Whether a file holds a record of a step with a field; one that cannot be read holds none.
    pub fn holds(path: &Path, step: u64, field: &str) -> bool {
        let Ok(file) = File::open(path) else { return false };
        let records = BufReader::new(file).lines().map_while(|line| line.ok());
        let mut records = records.filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok());
        records.any(|record| record["step"].as_u64() == Some(step) && record.get(field).is_some())
    }

    /// Brings all records to the disk, as before a checkpoint that counts on them.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("write the metrics", &self.path))
    }
}

/// Where the last whole record with a step of at most `step` ends, in bytes, and its step.
fn end_of_step(file: &File, step: u64) -> std::io::Result<(u64, u64)> {
    let mut lines = BufReader::new(file);
    let (mut offset, mut kept, mut line) = (0, (0, 0), Vec::new());
    while lines.read_until(b'\n', &mut line)? > 0 {
        offset += line.len() as u64;
        // Anything else than a record, such as the zeros that a power cut may leave, goes with what follows it.
        if line.ends_with(b"\n")
            && let Ok(record) = serde_json::from_slice::<Step>(&line)
            && record.step <= step
        {
            kept = (offset, record.step);
        }
        line.clear();
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
