//! Runs a launch described in JSON: `case.json`, its PTX and its inputs in, outputs and a report
//! out.

mod case;
mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use case::{Case, Init, Param};
pub use report::{Report, table};

use crate::check::Kind;
use crate::gpu::{Gpu, LaunchConfig, Module, Options, Profile};

/// A case that cannot be run: what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCase(pub String);

impl core::fmt::Display for BadCase {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadCase {}

/// A buffer on the device.
struct Buffer {
    name: String,
    address: u64,
    bytes: u64,
    expected: bool,
    output: bool,
    poisoned: bool,
}

fn read(path: &Path) -> Result<Vec<u8>, BadCase> {
    std::fs::read(path).map_err(|e| BadCase(format!("{}: {e}", path.display())))
}

/// Runs the case of a folder and writes its outputs and `report.json` into another.
pub fn run(folder: &Path, out: &Path, profile: Profile, options: Options) -> Result<Report, BadCase> {
    let case = Case::read(&folder.join("case.json"))?;
    let path = folder.join(&case.ptx);
    let ptx = String::from_utf8(read(&path)?)
        .map_err(|_| BadCase(format!("{} is not UTF-8", path.display())))?;
    let checks_outputs = options.checks(Kind::UnwrittenOutput);
    let gpu = Gpu::new(profile, options);
    let module = gpu.load(&ptx).map_err(|e| {
        let place = e.kernel.map_or(String::new(), |k| format!(" in `{k}`"));
        BadCase(format!("{}:{}{place}: {}", path.display(), e.line, e.message))
    })?;
    let kernel = module
        .kernel(&case.kernel)
        .ok_or_else(|| BadCase(format!("{} has no kernel `{}`", path.display(), case.kernel)))?;
    let mut buffers = set_up_globals(&gpu, &module, &case, folder)?;
    let mut params = Vec::new();
    for (i, param) in case.params.iter().enumerate() {
        let formal = kernel
            .params
            .get(i)
            .ok_or_else(|| BadCase(format!("`{}` has {} parameters", kernel.name, kernel.params.len())))?;
        params.resize((formal.offset as usize).max(params.len()), 0);
        let bytes = match param {
            Param::Bytes(bytes) => bytes.clone(),
            Param::Buffer(buffer) => {
                let made = allocate(&gpu, buffer, folder)?;
                let address = made.address;
                buffers.push(made);
                address.to_le_bytes().to_vec()
            }
        };
        if bytes.len() > formal.size as usize {
            return Err(BadCase(format!(
                "parameter {i} has {} bytes, `{}` takes {}",
                bytes.len(),
                kernel.name,
                formal.size
            )));
        }
        params.extend_from_slice(&bytes);
        params.resize((formal.offset + formal.size) as usize, 0);
    }
    let config = LaunchConfig {
        grid: case.grid,
        block: case.block,
        dynamic_shared: case.dynamic_shared,
        cooperative: case.cooperative,
        cluster: case.cluster,
    };
    let launched = gpu
        .launch(&kernel, &config, &params)
        .map_err(|e| BadCase(format!("`{}` cannot be launched: {e:?}", kernel.name)))?;
    std::fs::create_dir_all(out).map_err(|e| BadCase(format!("{}: {e}", out.display())))?;
    for buffer in buffers.iter().filter(|b| b.expected) {
        let mut bytes = vec![0; buffer.bytes as usize];
        let copied = gpu.read(buffer.address, &mut bytes);
        copied.map_err(|e| BadCase(format!("{}: {e:?}", buffer.name)))?;
        write(&out.join(format!("{}.bin", buffer.name)), &bytes)?;
    }
    let unwritten = buffers.iter().filter(|b| {
        b.output && b.poisoned && b.bytes > 0 && checks_outputs && !gpu.stored_to(b.address)
    });
    let unwritten: Vec<String> = match launched.trap {
        Some(_) => Vec::new(),
        None => unwritten.map(|b| b.name.clone()).collect(),
    };
    let report = Report::new(launched, &kernel, &config, gpu.profile(), unwritten);
    write(&out.join("report.json"), report.json().as_bytes())?;
    Ok(report)
}

fn write(path: &PathBuf, bytes: &[u8]) -> Result<(), BadCase> {
    std::fs::write(path, bytes).map_err(|e| BadCase(format!("{}: {e}", path.display())))
}

fn allocate(gpu: &Gpu, buffer: &case::Buffer, folder: &Path) -> Result<Buffer, BadCase> {
    let name = buffer.name.clone();
    let address =
        gpu.alloc(buffer.bytes).map_err(|_| BadCase(format!("{name}: no room on the device")))?;
    let fault = |e| BadCase(format!("{name}: {e:?}"));
    match &buffer.init {
        Init::File(file) => {
            let path = folder.join(file);
            let bytes = read(&path)?;
            if bytes.len() as u64 > buffer.bytes {
                return Err(BadCase(format!(
                    "{} has {} bytes, `{name}` has {}",
                    path.display(),
                    bytes.len(),
                    buffer.bytes
                )));
            }
            gpu.write(address, &bytes).map_err(fault)?;
        }
        Init::Zero => gpu.fill(address, 0, 1, buffer.bytes).map_err(fault)?,
        Init::Poison => {}
    }
    Ok(Buffer {
        name: buffer.name.clone(),
        address,
        bytes: buffer.bytes,
        expected: buffer.expected,
        output: buffer.output,
        poisoned: buffer.init == Init::Poison,
    })
}

fn set_up_globals(
    gpu: &Gpu,
    module: &Arc<Module>,
    case: &Case,
    folder: &Path,
) -> Result<Vec<Buffer>, BadCase> {
    let mut buffers = Vec::new();
    for global in &case.globals {
        let (address, bytes) = module
            .global(&global.symbol)
            .ok_or_else(|| BadCase(format!("there is no variable `{}`", global.symbol)))?;
        if let Some(file) = &global.file {
            let path = folder.join(file);
            let contents = read(&path)?;
            gpu.write(address, &contents).map_err(|_| {
                BadCase(format!("{} does not fit into `{}`", path.display(), global.symbol))
            })?;
        }
        buffers.push(Buffer {
            name: global.name.clone(),
            address,
            bytes: global.bytes.unwrap_or(bytes).min(bytes),
            expected: global.expected,
            output: false,
            poisoned: false,
        });
    }
    Ok(buffers)
}
