//! Safetensors: what is written, what is read, and what is refused.

use half::{bf16, f16};
use proptest::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use tempest::Result;
use tempest::files::atomic::Existing;
use tempest::files::tensors::{CHECKSUM, Tensor, TensorFile, write};

fn at(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

/// A file as other programs write it, here the crate's own writer.
fn foreign(tensors: &[(&str, Dtype, &[usize], &[u8])]) -> (tempfile::TempDir, PathBuf) {
    let (folder, path) = at("foreign.safetensors");
    let views =
        tensors.iter().map(|&(name, dtype, shape, data)| (name, TensorView::new(dtype, shape.into(), data).unwrap()));
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    (folder, path)
}

fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn said<T>(result: Result<T>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_crate_reads_what_we_write() {
    let (_folder, path) = at("model.safetensors");
    let tensors = [
        Tensor { name: "b", shape: &[2, 3], data: &[0.0, -1.5, f32::MIN_POSITIVE, 3.0, f32::INFINITY, 5.0] },
        Tensor { name: "a", shape: &[], data: &[7.0] },
        Tensor { name: "empty", shape: &[0, 4], data: &[] },
    ];
    write(&path, Existing::Keep, &tensors, &metadata(&[("config", "{\"n_layer\": 6}"), ("vocab", "\"é\"\n")])).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.len(), 3);
    for tensor in tensors {
        let view = read.tensor(tensor.name).unwrap();
        assert_eq!((view.dtype(), view.shape()), (Dtype::F32, tensor.shape));
        assert_eq!(view.data(), bytemuck::cast_slice::<_, u8>(tensor.data));
    }
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["vocab"], "\"é\"\n");
    // Data must start at a multiple of 8 bytes so that readers can map it.
    assert_eq!(u64::from_le_bytes(bytes[..8].try_into().unwrap()) % 8, 0);
}

#[test]
fn the_same_content_is_the_same_bytes() {
    let (_folder, path) = at("a.safetensors");
    let (one, two) =
        (Tensor { name: "one", shape: &[1], data: &[1.0] }, Tensor { name: "two", shape: &[1], data: &[2.0] });
    let notes = metadata(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
    let mut seen = BTreeSet::new();
    for tensors in [[one, two], [two, one]] {
        write(&path, Existing::Replace, &tensors, &notes).unwrap();
        seen.insert(std::fs::read(&path).unwrap());
    }
    assert_eq!(seen.len(), 1);
}

#[test]
fn every_float_type_reads_as_f32_and_every_integer_type_as_u32() {
    let halves: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
    let brains: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
    let doubles: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let floats: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let longs: Vec<u8> = [3i64, 200].iter().flat_map(|v| v.to_le_bytes()).collect();
    let ints: Vec<u8> = [3i32, 200].iter().flat_map(|v| v.to_le_bytes()).collect();
    let (_folder, path) = foreign(&[
        ("f16", Dtype::F16, &[2], &halves),
        ("bf16", Dtype::BF16, &[2], &brains),
        ("f32", Dtype::F32, &[2], &floats),
        ("f64", Dtype::F64, &[2], &doubles),
        ("i64", Dtype::I64, &[2], &longs),
        ("i32", Dtype::I32, &[2], &ints),
        ("u32", Dtype::U32, &[2], &ints),
        ("u8", Dtype::U8, &[2], &[3, 200]),
    ]);
    let file = TensorFile::open(&path).unwrap();
    for name in ["f16", "bf16", "f32", "f64"] {
        assert_eq!(file.get::<f32>(name, &[2]).unwrap(), [1.5, -2.0]);
        assert_eq!(file.get::<f64>(name, &[2]).unwrap(), [1.5, -2.0]);
        assert!(
            said(file.get::<u32>(name, &[2]))
                .ends_with(&format!("\"{name}\" holds {name}, u32 is wanted; convert it before it is saved"))
        );
    }
    for name in ["i64", "i32", "u32", "u8"] {
        assert_eq!(file.get::<u32>(name, &[2]).unwrap(), [3, 200]);
        assert_eq!(file.get::<u8>(name, &[2]).unwrap(), [3, 200]);
        assert_eq!(file.get::<i64>(name, &[2]).unwrap(), [3, 200]);
        assert!(said(file.get::<f32>(name, &[2])).contains("f32 is wanted"));
    }
    assert_eq!(file.metadata("config"), None);
    assert_eq!(file.names().len(), 8);
}

#[test]
fn an_integer_that_does_not_fit_is_named_with_its_place() {
    let ints: Vec<u8> = [3i32, -1].iter().flat_map(|v| v.to_le_bytes()).collect();
    let (_folder, path) = foreign(&[("ids", Dtype::I32, &[2], &ints)]);
    let file = TensorFile::open(&path).unwrap();
    assert!(said(file.get::<u32>("ids", &[2])).ends_with("\"ids\" holds -1 at position 1, more than u32 holds"));
    assert_eq!(file.get::<i32>("ids", &[2]).unwrap(), [3, -1]);
}

#[test]
fn missing_unexpected_and_misshapen_tensors_are_named() {
    let (_folder, path) =
        foreign(&[("blocks.0.fc.weight", Dtype::F32, &[2, 1], &[0; 8]), ("time", Dtype::F32, &[1], &[0; 4])]);
    let file = TensorFile::open(&path).unwrap();
    let name = path.display();
    assert_eq!(
        said(file.get::<f32>("blocks.1.fc.weight", &[2, 1])),
        format!(
            "{name}: holds no tensor \"blocks.1.fc.weight\" among its 2 (\"blocks.0.fc.weight\" is the nearest name); was \
             it written with another configuration?"
        )
    );
    assert_eq!(
        said(file.get::<f32>("blocks.0.fc.weight", &[4, 1])),
        format!(
            "{name}: \"blocks.0.fc.weight\" is [2, 1], [4, 1] is wanted; was it written with another configuration?"
        )
    );
    assert_eq!(
        said(file.expect_only(["blocks.0.fc.weight"])),
        format!(
            "{name}: holds \"time\" [1], which this model does not have; was it written with another configuration?"
        )
    );
    assert!(said(file.expect_only([])).contains("\"blocks.0.fc.weight\" [2, 1] and 1 more, which"));
    assert!(file.expect_only(["time", "blocks.0.fc.weight", "other"]).is_ok());
}

#[test]
fn a_truncated_file_says_how_much_is_missing_wherever_it_is_cut() {
    let (_folder, path) = at("a.safetensors");
    let data: Vec<f32> = (0..100).map(|i| i as f32).collect();
    write(&path, Existing::Replace, &[Tensor { name: "w", shape: &[10, 10], data: &data }], &metadata(&[("k", "v")]))
        .unwrap();
    let whole = std::fs::read(&path).unwrap();
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = said(TensorFile::open(&path));
        let expected = match len {
            0..8 => format!("not a safetensors file ({len} bytes; header too small)"),
            _ => format!("cut short, {len} bytes of at least "),
        };
        assert!(error.contains(&expected), "{len}: {error}");
    }
    std::fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    assert!(said(TensorFile::open(&path)).contains("not a safetensors file"));
}

#[test]
fn any_flipped_bit_of_a_file_is_noticed() {
    let (_folder, path) = at("a.safetensors");
    let notes = metadata(&[("step", "40"), ("vocab", "\"é\"\n")]);
    let (a, b) = ([0.0, -1.5, 3.25], [f32::MIN_POSITIVE]);
    let list = [Tensor { name: "a", shape: &[3], data: &a }, Tensor { name: "b", shape: &[1], data: &b }];
    write(&path, Existing::Keep, &list, &notes).unwrap();
    assert!(TensorFile::open(&path).is_ok());
    let whole = std::fs::read(&path).unwrap();
    for bit in 0..8 * whole.len() {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &bytes).unwrap();
        assert!(TensorFile::open(&path).is_err(), "bit {} of byte {}", bit % 8, bit / 8);
    }
    let flipped = [&whole[..whole.len() - 1], &[!whole[whole.len() - 1]]].concat();
    std::fs::write(&path, flipped).unwrap();
    assert!(said(TensorFile::open(&path)).contains("damaged, or changed by another program"));
}

#[test]
fn a_file_without_a_checksum_is_taken_as_it_is() {
    let (_folder, path) = at("old.safetensors");
    let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    let notes = HashMap::from([("step".to_owned(), "3".to_owned())]);
    std::fs::write(&path, safetensors::serialize([("w", view)], Some(notes)).unwrap()).unwrap();
    assert_eq!(TensorFile::open(&path).unwrap().metadata("step"), Some("3"));
}

#[test]
fn foreign_files_are_recognised() {
    let (_folder, path) = at("model.pt");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        said(TensorFile::open(&path))
    };
    assert!(open(b"PK\x03\x04 and so on").contains("a PyTorch file that cannot be read: "));
    assert!(
        open(b"a text file that somebody mistook for a model")
            .contains("not a safetensors file (45 bytes; header too large)")
    );
    assert!(open(b"\x0a\0\0\0\0\0\0\0{\"a\": 123}").contains("not a safetensors file"));
    let overlong = br#"{"a":{"dtype":"F32","shape":[18446744073709551615,4],"data_offsets":[0,4]}}"#;
    let bytes = [&(overlong.len() as u64).to_le_bytes()[..], overlong, &[0; 4]].concat();
    assert!(open(&bytes).contains("not a safetensors file"));
    std::fs::remove_file(&path).unwrap();
    assert!(said(TensorFile::open(&path)).contains("model.pt: cannot read the tensors: No such file"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_fails_the_write() {
    let error = said(write(
        Path::new("/dev/full"),
        Existing::Keep,
        &[Tensor { name: "w", shape: &[1], data: &[1.0] }],
        &BTreeMap::new(),
    ));
    assert!(error.contains("/dev/full: cannot write the tensors: No space left on device"), "{error}");
}

proptest! {
    #[test]
    fn tensors_survive_writing_and_reading(
        tensors in prop::collection::btree_map("\\PC{1,12}", (1usize..4, prop::collection::vec(any::<f32>(), 0..5)), 0..5),
        notes in prop::collection::btree_map("\\PC{1,12}", "\\PC{0,20}", 0..4),
    ) {
        let (_folder, path) = at("a.safetensors");
        let expanded: Vec<_> = tensors
            .iter()
            .filter(|(name, _)| *name != "__metadata__")
            .map(|(name, (rows, row))| (name, [*rows, row.len()], row.repeat(*rows)))
            .collect();
        let given: Vec<_> = expanded.iter().map(|(name, shape, data)| Tensor { name, shape, data }).collect();
        write(&path, Existing::Keep, &given, &notes).unwrap();
        let file = TensorFile::open(&path).unwrap();
        prop_assert!(file.expect_only(given.iter().map(|t| t.name)).is_ok());
        for (name, value) in &notes {
            prop_assert_eq!(file.metadata(name), Some(value.as_str()));
        }
        for tensor in given {
            let read = file.get::<f32>(tensor.name, tensor.shape).unwrap();
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&read), bits(tensor.data));
        }
        // The same content, read as the crate's types, is the same for its own reader.
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let mut found = header.metadata().clone().unwrap_or_default();
        prop_assert!(found.remove(CHECKSUM).is_some());
        let expected: HashMap<_, _> = notes.into_iter().collect();
        prop_assert_eq!(found, expected);
    }
}
