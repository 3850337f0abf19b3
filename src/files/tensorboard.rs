//! Event files that TensorBoard reads: scalars and texts by step.
//!
//! An event file is a run of records, each `u64 length, u32 crc(length), bytes, u32 crc(bytes)` in little-endian order, with
//! CRC-32C masked as `rotate_right(crc, 15) + 0xa282ead8` (TensorFlow, `lib/io/record_writer.h`, `lib/hash/crc32c.h`). The bytes are
//! one `Event` message in protocol-buffer encoding (TensorFlow, `util/event.proto` and `framework/summary.proto`), of which
//! we write the few fields that we need by hand.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::atomic;
use crate::error::{Error, Result};

/// What TensorBoard must find in a file's name.
const FILE_PREFIX: &str = "events.out.tfevents";

/// Whether a file of this name is one that TensorBoard reads.
pub fn is_event_file(name: &str) -> bool {
    name.contains(FILE_PREFIX)
}

/// An event file, open for appending. Each record is one write, which TensorBoard shows while the run goes on.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Starts an event file in a run's folder. Files that are there stay: TensorBoard reads all of a folder as one run.
    pub fn create(folder: &Path) -> Result<EventWriter> {
        // The order of the names is the order in which TensorBoard reads them, whatever becomes of the clock.
        let seconds = latest(folder)?.max(wall_time() as u64);
        let name = |number| folder.join(format!("{FILE_PREFIX}.{seconds:010}.{number:03}.tempest"));
        let created = atomic::create_numbered(File::options().append(true), name);
        let (file, path) = created.map_err(Error::io("create the TensorBoard events in", folder))?;
        let mut writer = EventWriter { path, file };
        writer.event(0, FILE_VERSION, b"brain.Event:2")?;
        Ok(writer)
    }

    /// Goes on after `step`, the checkpoint's: TensorBoard drops what earlier files hold of later steps.
    pub fn resume(folder: &Path, step: u64) -> Result<EventWriter> {
        let mut writer = EventWriter::create(folder)?;
        writer.event(step + 1, SESSION_LOG, &Message::default().varint(STATUS, STATUS_START).0)?;
        Ok(writer)
    }

    /// Records a number under a tag, such as `loss/train`.
    pub fn scalar(&mut self, step: u64, tag: &str, value: f32) -> Result<()> {
        let value = Message::default().bytes(TAG, tag.as_bytes()).fixed32(SIMPLE_VALUE, value.to_bits());
        self.summary(step, &value)
    }

    /// Records a text under a tag; TensorBoard shows it as Markdown.
    pub fn text(&mut self, step: u64, tag: &str, text: &str) -> Result<()> {
        let plugin = Message::default().bytes(PLUGIN_NAME, b"text");
        let metadata = Message::default().bytes(PLUGIN_DATA, &plugin.0);
        let shape = Message::default().bytes(SHAPE_DIM, &Message::default().varint(DIM_SIZE, 1).0);
        let tensor = Message::default().varint(TENSOR_DTYPE, DT_STRING).bytes(TENSOR_SHAPE, &shape.0);
        let tensor = tensor.bytes(TENSOR_STRING_VAL, text.as_bytes());
        let value = Message::default().bytes(TAG, tag.as_bytes()).bytes(TENSOR, &tensor.0);
        self.summary(step, &value.bytes(METADATA, &metadata.0))
    }

    /// Brings all records to the disk, as before a checkpoint that counts on them.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io("write the TensorBoard events", &self.path))
    }

    fn summary(&mut self, step: u64, value: &Message) -> Result<()> {
        self.event(step, SUMMARY, &Message::default().bytes(SUMMARY_VALUE, &value.0).0)
    }

    fn event(&mut self, step: u64, field: u64, content: &[u8]) -> Result<()> {
        let event = Message::default().fixed64(WALL_TIME, wall_time().to_bits()).varint(STEP, step);
        let record = record(&event.bytes(field, content).0);
        self.file.write_all(&record).map_err(Error::io("write the TensorBoard events", &self.path))
    }
}

// Field numbers of the messages Event, SessionLog, Summary, Summary.Value, SummaryMetadata, TensorProto, TensorShapeProto.
const WALL_TIME: u64 = 1;
const STEP: u64 = 2;
const FILE_VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const SESSION_LOG: u64 = 7;
const STATUS: u64 = 1;
const STATUS_START: u64 = 1;
const SUMMARY_VALUE: u64 = 1;
const TAG: u64 = 1;
const SIMPLE_VALUE: u64 = 2;
const TENSOR: u64 = 8;
const METADATA: u64 = 9;
const PLUGIN_DATA: u64 = 1;
const PLUGIN_NAME: u64 = 1;
const TENSOR_DTYPE: u64 = 1;
const DT_STRING: u64 = 7;
const TENSOR_SHAPE: u64 = 2;
const TENSOR_STRING_VAL: u64 = 8;
const SHAPE_DIM: u64 = 2;
const DIM_SIZE: u64 = 1;

/// The latest seconds that the name of one of our event files in a folder tells; 0 if there is none.
fn latest(folder: &Path) -> Result<u64> {
    let fail = || Error::io("look for TensorBoard events", folder);
    let mut latest = 0;
    for entry in std::fs::read_dir(folder).map_err(fail())? {
        let name = entry.map_err(fail())?.file_name();
        let name = name.to_str().and_then(|name| name.strip_prefix(FILE_PREFIX)?.strip_prefix('.')?.split('.').next());
        latest = latest.max(name.and_then(|seconds| seconds.parse().ok()).unwrap_or(0));
    }
    Ok(latest)
}

/// Seconds since 1970, for people to see when something was measured; nothing is computed from it.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length).to_le_bytes(), data, &masked_crc(data).to_le_bytes()].concat()
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A protocol-buffer message under construction: fields as `key = number << 3 | wire type`, then the value.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(self, field: u64, value: u64) -> Self {
        self.raw_varint(field << 3).raw_varint(value)
    }

    fn fixed64(self, field: u64, bits: u64) -> Self {
        self.raw_varint(field << 3 | 1).raw(&bits.to_le_bytes())
    }

    fn bytes(self, field: u64, bytes: &[u8]) -> Self {
        self.raw_varint(field << 3 | 2).raw_varint(bytes.len() as u64).raw(bytes)
    }

    fn fixed32(self, field: u64, bits: u32) -> Self {
        self.raw_varint(field << 3 | 5).raw(&bits.to_le_bytes())
    }

    fn raw_varint(mut self, mut value: u64) -> Self {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.raw(&[value as u8])
    }

    fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }
}
