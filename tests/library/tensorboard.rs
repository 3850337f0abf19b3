//! Event files, decoded field by field.

use std::path::{Path, PathBuf};
use tempest::files::tensorboard::EventWriter;

/// CRC-32C bit by bit, from its polynomial (RFC 3720, appendix B.4), independent of the crate.
fn crc_by_bits(data: &[u8]) -> u32 {
    !data.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

/// A decoded field: its number and the value by wire type.
#[derive(Debug, PartialEq)]
enum Field<'a> {
    Varint(u64, u64),
    Fixed64(u64, u64),
    Bytes(u64, &'a [u8]),
    Fixed32(u64, u32),
}

fn take<'a>(data: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (head, tail) = data.split_at(len);
    *data = tail;
    head
}

fn varint(data: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(data, 1)[0];
        value += u64::from(byte % 128) << shift;
        if byte < 128 {
            break;
        }
    }
    value
}

fn fields(mut data: &[u8]) -> Vec<Field<'_>> {
    let mut fields = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let number = key / 8;
        fields.push(match key % 8 {
            0 => Field::Varint(number, varint(&mut data)),
            1 => Field::Fixed64(number, u64::from_le_bytes(take(&mut data, 8).try_into().unwrap())),
            2 => {
                let len = varint(&mut data) as usize;
                Field::Bytes(number, take(&mut data, len))
            }
            5 => Field::Fixed32(number, u32::from_le_bytes(take(&mut data, 4).try_into().unwrap())),
            other => panic!("wire type {other}"),
        });
    }
    fields
}

/// The content of a message that is one length-delimited field.
fn only(data: &[u8], number: u64) -> &[u8] {
    match fields(data)[..] {
        [Field::Bytes(n, content)] if n == number => content,
        ref other => panic!("{other:?}"),
    }
}

/// The events of a file: step, and the third field's number and content.
fn events(bytes: &[u8]) -> Vec<(u64, u64, Vec<u8>)> {
    let mut rest = bytes;
    let mut events = Vec::new();
    while !rest.is_empty() {
        let length = take(&mut rest, 8);
        let check = |data: &[u8], masked: &[u8]| {
            let crc = crc_by_bits(data);
            let expected = crc.rotate_right(15).wrapping_add(0xa282_ead8);
            assert_eq!(masked, expected.to_le_bytes());
        };
        check(length, take(&mut rest, 4));
        let data = take(&mut rest, u64::from_le_bytes(length.try_into().unwrap()) as usize);
        check(data, take(&mut rest, 4));
        let [Field::Fixed64(1, wall_time), Field::Varint(2, step), Field::Bytes(number, content)] = fields(data)[..]
        else {
            panic!("{data:?}")
        };
        assert!(f64::from_bits(wall_time) > 1.7e9, "seconds since 1970");
        events.push((step, number, content.to_vec()));
    }
    events
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn the_checksum_that_records_are_held_against_is_crc32c() {
    // The check value that catalogues of CRCs give.
    assert_eq!(crc_by_bits(b"123456789"), 0xe306_9283);
}

#[test]
fn scalars_and_texts_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::create(folder.path()).unwrap();
    writer.scalar(1, "loss/train", 2.5).unwrap();
    writer.scalar(u64::MAX / 2, "loss/train", f32::NAN).unwrap();
    let long = "ROMEO:\né".repeat(100);
    writer.text(300, "sample", &long).unwrap();
    let [path] = &files(folder.path())[..] else { panic!("one file") };
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("events.out.tfevents."), "{name}");

    let events = events(&std::fs::read(path).unwrap());
    assert_eq!(events[0], (0, 3, b"brain.Event:2".to_vec()));
    let (step, number, summary) = &events[1];
    assert_eq!((*step, *number), (1, 5));
    assert_eq!(fields(only(summary, 1)), [Field::Bytes(1, b"loss/train"), Field::Fixed32(2, 2.5_f32.to_bits())]);
    assert_eq!(events[2].0, u64::MAX / 2);
    let (step, _, summary) = &events[3];
    assert_eq!(*step, 300);
    let [Field::Bytes(1, b"sample"), Field::Bytes(8, tensor), Field::Bytes(9, metadata)] = fields(only(summary, 1))[..]
    else {
        panic!("{summary:?}")
    };
    let [Field::Varint(1, 7), Field::Bytes(2, shape), Field::Bytes(8, text)] = fields(tensor)[..] else {
        panic!("{tensor:?}")
    };
    assert_eq!(fields(only(shape, 2)), [Field::Varint(1, 1)]);
    assert_eq!(text, long.as_bytes());
    assert_eq!(only(only(metadata, 1), 1), b"text");
    assert_eq!(events.len(), 4);
}

#[test]
fn a_resumed_run_gets_a_later_file_that_voids_the_steps_after_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    EventWriter::create(folder.path()).unwrap().scalar(12, "loss", 1.0).unwrap();
    EventWriter::resume(folder.path(), 10).unwrap().scalar(11, "loss", 1.0).unwrap();
    let [_, second] = &files(folder.path())[..] else { panic!("two files") };
    let events = events(&std::fs::read(second).unwrap());
    assert_eq!(events[1], (11, 7, vec![8, 1]));
    assert_eq!((events[2].0, events[2].1), (11, 5));
}

#[cfg(target_os = "linux")]
#[test]
fn an_unwritable_folder_says_so() {
    let error = EventWriter::create(Path::new("/proc")).unwrap_err().to_string();
    assert!(error.contains("cannot create the TensorBoard events"), "{error}");
}
