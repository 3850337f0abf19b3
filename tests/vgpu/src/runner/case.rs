//! `case.json`, read and checked.

use super::BadInput;
use crate::gpu::LaunchConfig;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What a buffer or variable holds before the launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Init {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Zeros, which count as initialised.
    Zero,
    /// Poison, which counts as uninitialised.
    Poison,
}

/// A buffer in global memory, passed by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Names its output file.
    pub name: String,
    /// Exact size.
    pub bytes: u64,
    /// Contents before the launch.
    pub init: Init,
    /// Only the kernel fills it.
    pub is_output: bool,
    /// Written to the output folder.
    pub is_kept: bool,
}

/// A value passed to the kernel: its bytes, and the one that continues it in a wider parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// Little-endian.
    pub bytes: Vec<u8>,
    /// 0xFF for negative integers, else 0.
    pub padding: u8,
}

/// A parameter of the launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Param {
    /// Address of a buffer.
    Buffer(Buffer),
    /// A number, or a struct by value.
    Scalar(Scalar),
}

/// A module variable to set before the launch or to read after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Name in the PTX.
    pub symbol: String,
    /// Names its output file.
    pub name: String,
    /// Contents to set, if any.
    pub init: Option<Vec<u8>>,
    /// Written to the output folder.
    pub is_kept: bool,
}

/// A launch as a folder describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Text of the module.
    pub ptx: String,
    /// Kernel to run; empty if the module has only one.
    pub kernel: String,
    /// Shape of the launch.
    pub config: LaunchConfig,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Module variables.
    pub globals: Vec<Global>,
}

impl Case {
    /// Reads a folder.
    pub fn read(folder: &Path) -> Result<Case, BadInput> {
        let path = folder.join("case.json");
        let text = read_text(&path)?;
        let json: Value = serde_json::from_str(&text).map_err(|e| bad(&path, &e.to_string()))?;
        let reader = Reader { folder, path };
        reader.case(&json)
    }
}

fn bad(path: &Path, what: &str) -> BadInput {
    BadInput(format!("{}: {what}", path.display()))
}

fn read_text(path: &Path) -> Result<String, BadInput> {
    std::fs::read_to_string(path).map_err(|e| bad(path, &e.to_string()))
}

/// Bytes of an element of this type.
fn type_bytes(name: &str) -> Option<usize> {
    Some(match name {
        "bool" | "i1" | "i8" | "u8" | "b8" | "e4m3" | "e5m2" => 1,
        "i16" | "u16" | "b16" | "f16" | "bf16" => 2,
        "i32" | "u32" | "b32" | "f32" => 4,
        "i64" | "u64" | "b64" | "f64" | "ptr" => 8,
        _ => return None,
    })
}

struct Reader<'a> {
    folder: &'a Path,
    path: PathBuf,
}

impl Reader<'_> {
    fn bad(&self, what: &str) -> BadInput {
        bad(&self.path, what)
    }

    fn case(&self, json: &Value) -> Result<Case, BadInput> {
        let list = |name: &str| json[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let indexed = |what: &'static str| move |(i, e): (usize, BadInput)| BadInput(format!("{}: {what} {i}", e.0));
        let params = list("params").iter().enumerate().map(|(i, p)| self.param(p).map_err(|e| (i, e)));
        let globals = list("globals").iter().enumerate().map(|(i, g)| self.global(g).map_err(|e| (i, e)));
        Ok(Case {
            ptx: read_text(&self.folder.join(json["ptx"].as_str().unwrap_or("kernel.ptx")))?,
            kernel: json["kernel"].as_str().unwrap_or_default().to_string(),
            config: LaunchConfig {
                grid: self.extent(json, "grid")?,
                block: self.extent(json, "block")?,
                dynamic_shared: self.number(json, "dynamic_shared", 0)?,
                cooperative: json["cooperative"].as_bool().unwrap_or(false),
                cluster: self.extent(json, "cluster")?,
            },
            params: params.collect::<Result<_, _>>().map_err(indexed("in parameter"))?,
            globals: globals.collect::<Result<_, _>>().map_err(indexed("in global"))?,
        })
    }

    /// One to three numbers; missing ones are 1.
    fn extent(&self, json: &Value, name: &str) -> Result<[u32; 3], BadInput> {
        let mut extent = [1; 3];
        let wanted = || self.bad(&format!("\"{name}\" is {}, wanted one to three numbers", json[name]));
        match &json[name] {
            Value::Null => {}
            Value::Array(list) if list.len() <= 3 => {
                for (to, from) in extent.iter_mut().zip(list) {
                    *to = from.as_u64().and_then(|n| u32::try_from(n).ok()).ok_or_else(wanted)?;
                }
            }
            Value::Number(_) => extent[0] = self.number(json, name, 1)?,
            _ => return Err(wanted()),
        }
        Ok(extent)
    }

    fn number(&self, json: &Value, name: &str, default: u32) -> Result<u32, BadInput> {
        match &json[name] {
            Value::Null => Ok(default),
            value => value
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| self.bad(&format!("\"{name}\" is {value}, wanted a number"))),
        }
    }

    fn param(&self, json: &Value) -> Result<Param, BadInput> {
        match json["kind"].as_str() {
            Some("buffer") => self.buffer(json).map(Param::Buffer),
            Some("scalar") => self.scalar(json).map(Param::Scalar),
            Some("bytes") => {
                let hex = json["hex"].as_str().ok_or_else(|| self.bad("\"hex\" is missing"))?;
                let bytes = from_hex(hex).ok_or_else(|| self.bad("\"hex\" is not pairs of hex digits"))?;
                Ok(Param::Scalar(Scalar { bytes, padding: 0 }))
            }
            _ => Err(self.bad(&format!("kind {} is not buffer, scalar or bytes", json["kind"]))),
        }
    }

    fn contents(&self, json: &Value) -> Result<Vec<u8>, BadInput> {
        let name = json["file"].as_str().ok_or_else(|| self.bad("\"file\" is missing"))?;
        let path = self.folder.join(name);
        std::fs::read(&path).map_err(|e| bad(&path, &e.to_string()))
    }

    fn buffer(&self, json: &Value) -> Result<Buffer, BadInput> {
        let name = json["name"].as_str().unwrap_or_default().to_string();
        let init = match json["init"].as_str() {
            Some("file") => Init::Bytes(self.contents(json)?),
            Some("zero") => Init::Zero,
            Some("poison") | None => Init::Poison,
            Some(other) => return Err(self.bad(&format!("init \"{other}\" is not file, zero or poison"))),
        };
        let bytes = json["bytes"].as_u64().ok_or_else(|| self.bad("\"bytes\" is missing"))?;
        if let Init::Bytes(data) = &init
            && data.len() as u64 > bytes
        {
            return Err(self.bad(&format!("\"{name}\" has {bytes} bytes, its file {}", data.len())));
        }
        let is_output = json["dir"] == "out";
        Ok(Buffer {
            name,
            bytes,
            init,
            is_output,
            is_kept: json.get("expect").is_some() || json["dir"] != "in" && json["dir"] != "scratch",
        })
    }

    fn scalar(&self, json: &Value) -> Result<Scalar, BadInput> {
        let ty = json["type"].as_str().unwrap_or_default();
        let size = type_bytes(ty).ok_or_else(|| self.bad(&format!("unknown scalar type \"{ty}\"")))?;
        let value = &json["value"];
        let wrong = || self.bad(&format!("{value} is not a value of type {ty}"));
        let bytes = match ty {
            "f64" => as_float(value).ok_or_else(wrong)?.to_le_bytes().to_vec(),
            "f32" => (as_float(value).ok_or_else(wrong)? as f32).to_le_bytes().to_vec(),
            "f16" | "bf16" => {
                use crate::arith::convert::{Cvt, Type, cvt};
                let to = if ty == "f16" { Type::F16 } else { Type::Bf16 };
                let x = as_float(value).ok_or_else(wrong)?;
                let half = cvt(Cvt::new(to, Type::F64, crate::arith::soft::Round::Rn), x.to_bits());
                half.to_le_bytes()[..2].to_vec()
            }
            _ => as_integer(value).ok_or_else(wrong)?.to_le_bytes()[..size].to_vec(),
        };
        let negative = ty.starts_with('i') && bytes.last().is_some_and(|b| b & 0x80 != 0);
        Ok(Scalar { bytes, padding: if negative { 0xff } else { 0 } })
    }

    fn global(&self, json: &Value) -> Result<Global, BadInput> {
        let symbol = json["symbol"].as_str().or(json["name"].as_str());
        let symbol = symbol.ok_or_else(|| self.bad("\"symbol\" is missing"))?.to_string();
        let name = json["name"].as_str().unwrap_or(&symbol).to_string();
        let init = match json["init"].as_str() {
            Some("zero") => {
                let shape = json["shape"].as_array().map(Vec::as_slice).unwrap_or_default();
                let elements: u64 = shape.iter().filter_map(Value::as_u64).product();
                let size = json["dtype"].as_str().and_then(type_bytes).unwrap_or(1);
                let bytes = json["bytes"].as_u64().unwrap_or(elements * size as u64);
                Some(vec![0; bytes as usize])
            }
            _ if json["file"].is_string() => Some(self.contents(json)?),
            _ => None,
        };
        Ok(Global { symbol, name, init, is_kept: json.get("expect").is_some() })
    }
}

/// A number, or a string that says one: `"0x10"`, `"inf"`, `"nan"`.
fn as_float(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn as_integer(value: &Value) -> Option<u64> {
    if let Some(b) = value.as_bool() {
        return Some(u64::from(b));
    }
    let number = value.as_u64().or(value.as_i64().map(|n| n as u64));
    let whole = |x: f64| (x.fract() == 0.0).then_some(x as i64 as u64);
    number.or_else(|| value.as_f64().and_then(whole)).or_else(|| {
        let text = value.as_str()?;
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(|n| n as u64)),
        }
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reader() -> Reader<'static> {
        Reader { folder: Path::new("."), path: "case.json".into() }
    }

    fn scalar(ty: &str, value: Value) -> Result<Scalar, BadInput> {
        reader().scalar(&json!({"type": ty, "value": value}))
    }

    #[test]
    fn scalars_become_little_endian_bytes() {
        assert_eq!(scalar("i32", json!(-2)), Ok(Scalar { bytes: vec![0xfe, 0xff, 0xff, 0xff], padding: 0xff }));
        assert_eq!(scalar("u64", json!(258)).unwrap().bytes, [2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(scalar("u64", json!("0xffffffffffffffff")).unwrap().bytes, [0xff; 8]);
        assert_eq!(scalar("f32", json!(1.5)).unwrap().bytes, 1.5f32.to_le_bytes());
        assert_eq!(scalar("f32", json!("inf")).unwrap().bytes, f32::INFINITY.to_le_bytes());
        assert_eq!(scalar("f16", json!(1)).unwrap().bytes, [0, 0x3c]);
        assert_eq!(scalar("i8", json!(-1)).unwrap(), Scalar { bytes: vec![0xff], padding: 0xff });
        assert!(scalar("i32", json!("x")).is_err());
        assert!(scalar("v7", json!(1)).is_err());
    }

    #[test]
    fn hex_ignores_spaces_and_refuses_halves() {
        assert_eq!(from_hex("01 ff\nA0"), Some(vec![1, 0xff, 0xa0]));
        assert_eq!(from_hex("012"), None);
        assert_eq!(from_hex("zz"), None);
    }

    #[test]
    fn extents_default_to_one() {
        let extent = |v: Value| reader().extent(&json!({"grid": v}), "grid");
        assert_eq!(extent(json!([2, 3])), Ok([2, 3, 1]));
        assert_eq!(extent(json!(7)), Ok([7, 1, 1]));
        assert_eq!(extent(Value::Null), Ok([1, 1, 1]));
        assert!(extent(json!([1, 2, 3, 4])).is_err());
        assert!(extent(json!(["x"])).is_err());
    }

    #[test]
    fn errors_name_the_file() {
        let error = Case::read(Path::new("no/such/folder")).unwrap_err();
        assert!(error.0.starts_with("no/such/folder/case.json: "), "{error}");
    }
}
