//! `case.json`.

use std::path::Path;

use serde_json::Value;

use super::BadCase;
use crate::arith::half::{f32_to_bf16, f32_to_f16};

/// What memory holds before the launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Init {
    /// A file's bytes.
    File(String),
    /// Zeros.
    Zero,
    /// Nothing.
    Poison,
}

/// A buffer parameter.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) init: Init,
    pub(super) expected: bool,
    pub(super) output: bool,
}

/// A parameter.
#[derive(Clone, Debug)]
pub(super) enum Param {
    Buffer(Buffer),
    Bytes(Vec<u8>),
}

/// A module variable.
#[derive(Clone, Debug)]
pub(super) struct Global {
    pub(super) symbol: String,
    pub(super) name: String,
    pub(super) file: Option<String>,
    pub(super) bytes: Option<u64>,
    pub(super) expected: bool,
}

/// A launch.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) ptx: String,
    pub(super) kernel: String,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) cluster: [u32; 3],
    pub(super) cooperative: bool,
    pub(super) dynamic_shared: u32,
    pub(super) params: Vec<Param>,
    pub(super) globals: Vec<Global>,
}

fn text(value: &Value, key: &str) -> Result<String, BadCase> {
    let found = value.get(key).and_then(Value::as_str).map(str::to_string);
    found.ok_or_else(|| BadCase(format!("case.json: `{key}` is not a string")))
}

fn extents(value: &Value, key: &str) -> Result<Option<[u32; 3]>, BadCase> {
    let Some(list) = value.get(key).filter(|v| !v.is_null()) else { return Ok(None) };
    let bad = || BadCase(format!("case.json: `{key}` is not three numbers"));
    let list = list.as_array().ok_or_else(bad)?;
    let mut extents = [1; 3];
    if list.is_empty() || list.len() > 3 {
        return Err(bad());
    }
    for (extent, number) in extents.iter_mut().zip(list) {
        *extent = number.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(bad)?;
    }
    Ok(Some(extents))
}

impl Case {
    pub(super) fn read(path: &Path) -> Result<Case, BadCase> {
        let bytes = super::read(path)?;
        let json: Value = serde_json::from_slice(&bytes)
            .map_err(|e| BadCase(format!("{}: {e}", path.display())))?;
        let list = |key: &str| json.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let needed = |key: &str| {
            extents(&json, key)?.ok_or_else(|| BadCase(format!("case.json: `{key}` is missing")))
        };
        let shared = json.get("dynamic_shared").and_then(Value::as_u64).unwrap_or(0);
        Ok(Case {
            ptx: json.get("ptx").and_then(Value::as_str).unwrap_or("kernel.ptx").to_string(),
            kernel: text(&json, "kernel")?,
            grid: needed("grid")?,
            block: needed("block")?,
            cluster: extents(&json, "cluster")?.unwrap_or([1; 3]),
            cooperative: json.get("cooperative").and_then(Value::as_bool).unwrap_or(false),
            dynamic_shared: u32::try_from(shared)
                .map_err(|_| BadCase("case.json: `dynamic_shared` is too large".into()))?,
            params: list("params").iter().map(param).collect::<Result<_, _>>()?,
            globals: list("globals").iter().map(global).collect::<Result<_, _>>()?,
        })
    }
}

fn param(value: &Value) -> Result<Param, BadCase> {
    match text(value, "kind")?.as_str() {
        "buffer" => Ok(Param::Buffer(buffer(value)?)),
        "scalar" => Ok(Param::Bytes(scalar(&text(value, "type")?, value.get("value"))?)),
        "bytes" => hex(&text(value, "hex")?).map(Param::Bytes),
        other => Err(BadCase(format!("case.json: a parameter cannot be a `{other}`"))),
    }
}

fn buffer(value: &Value) -> Result<Buffer, BadCase> {
    let name = text(value, "name")?;
    let bytes = value.get("bytes").and_then(Value::as_u64);
    let bytes = bytes.ok_or_else(|| BadCase(format!("case.json: `{name}` has no `bytes`")))?;
    let direction = value.get("dir").and_then(Value::as_str).unwrap_or("in");
    let init = match value.get("init").and_then(Value::as_str) {
        Some("file") => Init::File(text(value, "file")?),
        Some("zero") => Init::Zero,
        Some("poison") => Init::Poison,
        None if value.get("file").is_some() => Init::File(text(value, "file")?),
        None => Init::Poison,
        Some(other) => return Err(BadCase(format!("case.json: `{name}` cannot start as `{other}`"))),
    };
    let expected = value.get("expect").is_some();
    Ok(Buffer { name, bytes, init, expected, output: direction == "out" })
}

fn global(value: &Value) -> Result<Global, BadCase> {
    let symbol = text(value, "symbol")?;
    let name = value.get("name").and_then(Value::as_str).unwrap_or(&symbol).to_string();
    let file = value.get("file").and_then(Value::as_str).map(str::to_string);
    let bytes = value.get("bytes").and_then(Value::as_u64);
    Ok(Global { symbol, name, file, bytes, expected: value.get("expect").is_some() })
}

/// A number of a type as bytes; floats may be given as text (`nan`, `inf`).
fn scalar(ty: &str, value: Option<&Value>) -> Result<Vec<u8>, BadCase> {
    let bad = || BadCase(format!("case.json: {value:?} is not an `{ty}`"));
    let float = || match value {
        Some(Value::Number(n)) => n.as_f64(),
        Some(Value::String(s)) => s.parse().ok(),
        Some(Value::Bool(b)) => Some(f64::from(u8::from(*b))),
        _ => None,
    };
    let integer = || match value {
        Some(Value::Number(n)) => n
            .as_i64()
            .map(|x| x as u64)
            .or(n.as_u64())
            .or(n.as_f64().filter(|x| x.fract() == 0.0).map(|x| x as i64 as u64)),
        Some(Value::Bool(b)) => Some(u64::from(*b)),
        Some(Value::String(s)) => match s.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => s.parse::<i64>().ok().map(|x| x as u64).or_else(|| s.parse().ok()),
        },
        Some(Value::Null) | None => Some(0),
        _ => None,
    };
    Ok(match ty {
        "f64" => float().ok_or_else(bad)?.to_le_bytes().to_vec(),
        "f32" => (float().ok_or_else(bad)? as f32).to_le_bytes().to_vec(),
        "f16" => f32_to_f16(float().ok_or_else(bad)? as f32).to_le_bytes().to_vec(),
        "bf16" => f32_to_bf16(float().ok_or_else(bad)? as f32).to_le_bytes().to_vec(),
        _ => {
            let bits: usize = match ty {
                "bool" => 8,
                "ptr" => 64,
                _ => ty.get(1..).and_then(|d| d.parse().ok()).ok_or_else(bad)?,
            };
            if !matches!(bits, 8 | 16 | 32 | 64) {
                return Err(bad());
            }
            integer().ok_or_else(bad)?.to_le_bytes()[..bits / 8].to_vec()
        }
    })
}

fn hex(digits: &str) -> Result<Vec<u8>, BadCase> {
    let digits: Vec<u8> = digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| {
        let text = core::str::from_utf8(pair).ok().filter(|t| t.len() == 2);
        text.and_then(|t| u8::from_str_radix(t, 16).ok())
    });
    let bytes: Option<Vec<u8>> = pairs.collect();
    bytes.ok_or_else(|| BadCase("case.json: `hex` is not pairs of digits".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_become_little_endian_bytes() {
        let value = |text: &str| serde_json::from_str::<Value>(text).ok();
        assert_eq!(scalar("i32", value("-2").as_ref()), Ok(vec![254, 255, 255, 255]));
        assert_eq!(scalar("u64", value("18446744073709551615").as_ref()), Ok(vec![255; 8]));
        assert_eq!(scalar("f16", value("1.5").as_ref()), Ok(vec![0, 0x3e]));
        assert_eq!(scalar("f32", value("\"inf\"").as_ref()), Ok(f32::INFINITY.to_le_bytes().to_vec()));
        assert!(scalar("i31", value("1").as_ref()).is_err());
    }

    #[test]
    fn hex_needs_pairs() {
        assert_eq!(hex("01 ff"), Ok(vec![1, 255]));
        assert!(hex("012").is_err());
    }
}
