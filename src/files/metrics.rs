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

    /// The records of a file in order, without lines that are none; of a file that cannot be read, none.
    pub fn records(path: &Path) -> impl Iterator<Item = serde_json::Value> {
        let lines = File::open(path).into_iter().flat_map(|file| BufReader::new(file).lines());
        lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok())
    }

    /// The loss of each step that a file has it of.
    pub fn losses(path: &Path) -> Vec<(u64, f64)> {
        Metrics::records(path).filter_map(|record| record["step"].as_u64().zip(record["loss"].as_f64())).collect()
    }

    /// Whether a file holds a record of a step with a field.
    pub fn holds(path: &Path, step: u64, field: &str) -> bool {
        Metrics::records(path).any(|record| record["step"].as_u64() == Some(step) && record.get(field).is_some())
    }

    /// The value of a field in the last record that has it.
    pub fn last(path: &Path, field: &str) -> Option<f64> {
        Metrics::records(path).filter_map(|record| record[field].as_f64()).last()
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
