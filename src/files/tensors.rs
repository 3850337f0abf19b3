//! Safetensors: named tensors with string metadata, the format of checkpoints and of exchange with PyTorch.
//!
//! Written are 32-bit floats (or 16-bit ones), in the order of the names, metadata likewise, so that the same content is the
//! same bytes.
//! Read are 16-, 32- and 64-bit floats as any float type, and integers as any integer type that holds their values.
//!
//! Metadata holds a checksum of the whole file under [`CHECKSUM`], `crc32c:` and eight hexadecimal digits: the CRC-32C of all
//! its bytes, with these digits as zeros. Reading checks it; a file of another program, which has none, is taken as it is.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use safetensors::{SafeTensorError, SafeTensors};

use super::atomic::{self, Existing};
use super::pytorch;
use crate::error::{Error, Result};

/// One tensor to be written.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a, T = f32> {
    /// The name, as PyTorch's `state_dict` has it.
    pub name: &'a str,
    /// The length of each dimension; their product is `data.len()`.
    pub shape: &'a [usize],
    /// The values, row-major.
    pub data: &'a [T],
}

/// Metadata key of the checksum.
pub const CHECKSUM: &str = "tempest_checksum";

/// A checksum begins with this and goes on with eight hexadecimal digits.
const CRC32C: &str = "crc32c:";

/// Writes tensors and metadata as one safetensors file with its checksum, atomically (see [`atomic::write`]).
///
/// Panics if a name or key occurs twice or a shape does not match its data: all are faults of the caller.
#[track_caller]
pub fn write<T: Written>(
    path: &Path,
    existing: Existing,
    tensors: &[Tensor<'_, T>],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut sorted = tensors.to_vec();
    sorted.sort_by_key(|tensor| tensor.name);
    // A JSON object with its keys in order. The crate's own writer keeps metadata in a hash map, whose order varies.
    let mut metadata = metadata.clone();
    let twice = metadata.insert(CHECKSUM.into(), format!("{CRC32C}{:08x}", 0));
    assert!(twice.is_none(), "the checksum is made here");
    let mut header = BTreeMap::from([("__metadata__", serde_json::json!(metadata))]);
    let mut offset = 0;
    for tensor in &sorted {
        assert_eq!(tensor.shape.iter().product::<usize>(), tensor.data.len(), "shape of {:?}", tensor.name);
        let data_offsets = (offset, offset + size_of_val(tensor.data));
        let info = TensorInfo { dtype: T::DTYPE, shape: tensor.shape.to_vec(), data_offsets };
        let twice = header.insert(tensor.name, serde_json::json!(info));
        assert!(twice.is_none(), "two tensors are named {:?}", tensor.name);
        offset = data_offsets.1;
    }
    let mut header = serde_json::to_vec(&header).expect("strings and numbers are always JSON");
    header.resize(header.len().next_multiple_of(8), b' ');
    let put = |file: &mut dyn Write, header: &[u8]| -> std::io::Result<()> {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header)?;
        sorted.iter().try_for_each(|tensor| write_values(file, tensor.data))
    };
    let mut checksum = Checksum(0);
    put(&mut checksum, &header).expect("a checksum takes everything");
    let digits = digits(&header).expect("written above");
    header[digits].copy_from_slice(format!("{:08x}", checksum.0).as_bytes());
    atomic::write(path, "write the tensors", existing, |file| put(file, &header))
}

/// CRC-32C of what is written to it.
struct Checksum(u32);

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = crc32c::crc32c_append(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where a header that we wrote holds the digits of its checksum.
fn digits(header: &[u8]) -> Option<Range<usize>> {
    let before = format!("\"{CHECKSUM}\":\"{CRC32C}");
    let start = header.windows(before.len()).position(|w| w == before.as_bytes())? + before.len();
    (start + 8 <= header.len()).then_some(start..start + 8)
}

/// Whether a file is as it was written; so is one that has no checksum.
///
/// One flipped bit can hide the checksum's key or change its value, but not both, so that either of them shows that there
/// is one.
fn is_intact(bytes: &[u8], header_bytes: usize, metadata: &HashMap<String, String>) -> bool {
    let is_checksum = |value: &str| {
        value.strip_prefix(CRC32C).is_some_and(|digits| digits.len() == 8 && u32::from_str_radix(digits, 16).is_ok())
    };
    if !metadata.contains_key(CHECKSUM) {
        return !metadata.values().any(|value| is_checksum(value));
    }
    let Some(digits) = digits(&bytes[8..8 + header_bytes]) else { return false };
    let (start, end) = (8 + digits.start, 8 + digits.end);
    let parts: [&[u8]; 3] = [&bytes[..start], b"00000000", &bytes[end..]];
    let found = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
    bytes[start..end] == *format!("{found:08x}").as_bytes()
}

fn write_values<T: Written>(file: &mut dyn Write, data: &[T]) -> std::io::Result<()> {
    if cfg!(target_endian = "little") {
        return file.write_all(bytemuck::cast_slice(data));
    }
    data.iter().try_for_each(|value| file.write_all(bytemuck::bytes_of(&value.to_le())))
}

/// A type that tensors can be written as.
pub trait Written: bytemuck::Pod {
    #[doc(hidden)]
    const DTYPE: Dtype;
    /// The value in the byte order of files.
    #[doc(hidden)]
    fn to_le(self) -> Self;
}

macro_rules! written {
    ($type:ident, $dtype:ident) => {
        impl Written for $type {
            const DTYPE: Dtype = Dtype::$dtype;

            fn to_le(self) -> Self {
                Self::from_bits(self.to_bits().to_le())
            }
        }
    };
}

written!(f32, F32);
written!(f16, F16);

/// The metadata of a file, without its tensors. Nothing else is checked of it.
pub fn metadata(path: &Path) -> Result<BTreeMap<String, String>> {
    #[derive(serde::Deserialize)]
    struct Header {
        #[serde(rename = "__metadata__", default)]
        metadata: BTreeMap<String, String>,
    }
    let fail = || Error::io("read the metadata", path);
    let mut file = File::open(path).map_err(fail())?;
    let (mut length, mut header) = ([0; 8], Vec::new());
    file.read_exact(&mut length).map_err(fail())?;
    file.take(u64::from_le_bytes(length).min(MOST_HEADER_BYTES)).read_to_end(&mut header).map_err(fail())?;
    let parsed: Header = serde_json::from_slice(&header)
        .map_err(|e| Error::input(format!("{}: not a safetensors file ({e})", path.display())))?;
    Ok(parsed.metadata)
}

/// The longest header that readers of safetensors take.
const MOST_HEADER_BYTES: u64 = 100_000_000;

/// A safetensors file, read whole; or the tensors of a file that `torch.save` wrote.
pub struct TensorFile {
    path: PathBuf,
    /// What the names of its tensors begin with. Tensors of other names are none of its.
    prefix: String,
    bytes: Cow<'static, [u8]>,
    /// Where the tensors' data starts in `bytes`.
    data_start: usize,
    header: Metadata,
}

impl TensorFile {
    /// Reads a file and checks that it is whole: header, shapes and length agree, and the checksum if it has one.
    pub fn open(path: impl AsRef<Path>) -> Result<TensorFile> {
        let path = path.as_ref();
        let mut bytes = std::fs::read(path).map_err(Error::io("read the tensors", path))?;
        if pytorch::is_one(&bytes) {
            bytes = pytorch::to_safetensors(path)?;
        }
        TensorFile::parse(path, bytes)
    }

    /// The same of a file's bytes; messages call it `path`.
    pub fn parse(path: impl AsRef<Path>, bytes: impl Into<Cow<'static, [u8]>>) -> Result<TensorFile> {
        let (path, bytes) = (path.as_ref(), bytes.into());
        let (header_bytes, header) = SafeTensors::read_metadata(&bytes).map_err(|e| not_tensors(path, &bytes, &e))?;
        if !header.metadata().as_ref().is_none_or(|metadata| is_intact(&bytes, header_bytes, metadata)) {
            return Err(Error::input(format!(
                "{}: damaged, or changed by another program: its content is not that of its checksum; copy it again or go \
                 back to an earlier one (if the change was meant, leave out the metadata {CHECKSUM:?})",
                path.display()
            )));
        }
        Ok(TensorFile { path: path.to_owned(), prefix: String::new(), data_start: 8 + header_bytes, header, bytes })
    }

    /// The part of it whose names begin so, under what follows in the names.
    pub fn under(self, prefix: &str) -> Self {
        TensorFile { prefix: format!("{}{prefix}", self.prefix), ..self }
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The value of a metadata key.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// The names of the tensors, ascending.
    pub fn names(&self) -> BTreeSet<String> {
        let names = self.header.tensors().into_keys();
        names.filter_map(|name| name.strip_prefix(&self.prefix).map(String::from)).collect()
    }

    /// The shape of a tensor, if there is such a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.info(&format!("{}{name}", self.prefix)).map(|info| info.shape.as_slice())
    }

    /// The values of a tensor that must be there and have this shape, as a type of the same kind (float or integer).
    pub fn get<T: Element>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>> {
        let found = &self.info(name)?.shape;
        if found != shape {
            return Err(self.error(format_args!(
                "{name:?} is {found:?}, {shape:?} is wanted; was it written with another configuration?"
            )));
        }
        self.get_any(name)
    }

    /// The values of a tensor of whatever shape.
    pub fn get_any<T: Element>(&self, name: &str) -> Result<Vec<T>> {
        let info = self.info(name)?;
        let (start, end) = info.data_offsets;
        let bytes = &self.bytes[self.data_start + start..self.data_start + end];
        T::read(info.dtype, bytes).map_err(|reason| match reason {
            Unreadable::Kind => self.error(format_args!(
                "{name:?} holds {}, {} is wanted; convert it before it is saved",
                info.dtype.to_string().to_lowercase(),
                T::NAME
            )),
            Unreadable::Value(value, at) => {
                self.error(format_args!("{name:?} holds {value} at position {at}, more than {} holds", T::NAME))
            }
        })
    }

    /// Checks that the file holds no tensors but these.
    pub fn expect_only<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let mut unexpected = self.names();
        for name in names {
            unexpected.remove(name);
        }
        let Some(first) = unexpected.first() else { return Ok(()) };
        let shape = self.shape(first).unwrap_or_default();
        let more = match unexpected.len() - 1 {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Err(self.error(format_args!(
            "holds {first:?} {shape:?}{more}, which this model does not have; was it written with another configuration?"
        )))
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        self.header.info(&format!("{}{name}", self.prefix)).ok_or_else(|| {
            let names = self.names();
            // The name that agrees longest with the wanted one shows best what kind of file this is.
            let like = names.iter().max_by_key(|n| n.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count());
            let like = like.map_or(String::new(), |like| format!(" ({like:?} is the nearest name)"));
            self.error(format_args!(
                "holds no tensor {name:?} among its {}{like}; was it written with another configuration?",
                names.len()
            ))
        })
    }

    fn error(&self, what: std::fmt::Arguments<'_>) -> Error {
        Error::input(format!("{}: {what}", self.path.display()))
    }
}

fn not_tensors(path: &Path, bytes: &[u8], e: &SafeTensorError) -> Error {
    let path = path.display();
    let found = bytes.len();
    if let Some(wanted) = whole_length(bytes).filter(|&wanted| wanted > found as u64) {
        return Error::input(format!(
            "{path}: cut short, {found} bytes of at least {wanted} are there; copy or save it again"
        ));
    }
    Error::input(format!(
        "{path}: not a safetensors file ({found} bytes; {e}); give one that tempest or safetensors wrote"
    ))
}

/// How long the file should be by its own header; only if that header is as safetensors has it.
fn whole_length(bytes: &[u8]) -> Option<u64> {
    let header_bytes = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    if header_bytes > MOST_HEADER_BYTES || bytes.get(8).is_some_and(|&first| first != b'{') {
        return None;
    }
    let end = 8 + header_bytes;
    let Some(header) = bytes.get(8..end as usize) else { return Some(end) };
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let ends = header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .filter_map(|(_, info)| info["data_offsets"][1].as_u64());
    Some(end.saturating_add(ends.max().unwrap_or(0)))
}

/// Why a tensor cannot be had as the type that was asked for.
#[doc(hidden)]
#[derive(Debug)]
pub enum Unreadable {
    Kind,
    Value(i64, usize),
}

/// A type that tensors can be read as.
pub trait Element: Sized {
    /// The name in messages.
    const NAME: &'static str;
    /// Converts little-endian values of type `dtype`.
    #[doc(hidden)]
    fn read(dtype: Dtype, bytes: &[u8]) -> Result<Vec<Self>, Unreadable>;
}

macro_rules! values {
    ($bytes:expr, $type:ty, $convert:expr) => {
        Ok($bytes
            .as_chunks::<{ size_of::<$type>() }>()
            .0
            .iter()
            .map(|b| <$type>::from_le_bytes(*b))
            .map($convert)
            .collect())
    };
}

macro_rules! float_element {
    ($type:ident) => {
        impl Element for $type {
            const NAME: &'static str = stringify!($type);

            fn read(dtype: Dtype, bytes: &[u8]) -> Result<Vec<Self>, Unreadable> {
                match dtype {
                    Dtype::F16 => values!(bytes, f16, |v| v.to_f32() as $type),
                    Dtype::BF16 => values!(bytes, bf16, |v| v.to_f32() as $type),
                    Dtype::F32 => values!(bytes, f32, |v| v as $type),
                    Dtype::F64 => values!(bytes, f64, |v| v as $type),
                    _ => Err(Unreadable::Kind),
                }
            }
        }
    };
}

macro_rules! integer_element {
    ($type:ident) => {
        impl Element for $type {
            const NAME: &'static str = stringify!($type);

            fn read(dtype: Dtype, bytes: &[u8]) -> Result<Vec<Self>, Unreadable> {
                let wide: Result<Vec<i64>, _> = match dtype {
                    Dtype::U8 | Dtype::BOOL => values!(bytes, u8, i64::from),
                    Dtype::I8 => values!(bytes, i8, i64::from),
                    Dtype::U32 => values!(bytes, u32, i64::from),
                    Dtype::I32 => values!(bytes, i32, i64::from),
                    Dtype::I64 => values!(bytes, i64, |v| v),
                    _ => Err(Unreadable::Kind),
                };
                let narrow = |(i, v): (usize, i64)| $type::try_from(v).map_err(|_| Unreadable::Value(v, i));
                wide?.into_iter().enumerate().map(narrow).collect()
            }
        }
    };
}

float_element!(f32);
float_element!(f64);
integer_element!(u8);
integer_element!(i32);
integer_element!(u32);
integer_element!(i64);
