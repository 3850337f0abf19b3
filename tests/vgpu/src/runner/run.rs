//! A described launch, executed.

use super::BadInput;
use super::case::{Buffer, Case, Init, Param};
use crate::check::{Finding, Kind, Site};
use crate::gpu::{Gpu, Kernel, LaunchConfig, LaunchError, LaunchReport, Module, Options, Profile};
use crate::report;
use std::path::Path;
use std::sync::Arc;

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The device to play; by the PTX's target if none.
    pub profile: Option<Profile>,
    /// How it runs and what it checks.
    pub options: Options,
}

/// What a block takes, and how many fit on an SM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Registers of a thread, estimated from liveness.
    pub registers: u32,
    /// Static and dynamic shared memory of a block, in bytes.
    pub shared: u32,
    /// Blocks resident on an SM.
    pub blocks: u32,
    /// Warps resident on an SM.
    pub warps: u32,
    /// Warps an SM has room for.
    pub warps_limit: u32,
}

impl Resources {
    fn new(kernel: &Kernel, config: &LaunchConfig, profile: &Profile) -> Resources {
        let threads = config.block.iter().fold(1, |n: u32, &side| n.saturating_mul(side));
        let shared = kernel.static_shared + config.dynamic_shared;
        let blocks = profile.resident_blocks(threads, kernel.registers, shared);
        let warps_limit = profile.threads_per_sm / 32;
        Resources { registers: kernel.registers, shared, blocks, warps: blocks * threads.div_ceil(32), warps_limit }
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The launch's report, with findings about outputs added.
    pub report: LaunchReport,
    /// What a block of the launch takes of the device.
    pub resources: Resources,
    /// Contents of the kept buffers and variables after the launch, by name.
    pub outputs: Vec<(String, Vec<u8>)>,
}

impl Outcome {
    /// Writes `NAME.bin` for every output, and `report.json`.
    pub fn write(&self, folder: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        for (name, bytes) in &self.outputs {
            std::fs::write(folder.join(format!("{name}.bin")), bytes)?;
        }
        let mut json = report::launch(&self.report);
        let r = self.resources;
        json["counters"]["registers_per_thread_estimate"] = r.registers.into();
        json["counters"]["shared_bytes_per_block"] = r.shared.into();
        json["counters"]["resident_blocks_per_sm"] = r.blocks.into();
        json["counters"]["resident_warps_per_sm"] = r.warps.into();
        let json = serde_json::Value::from(json);
        std::fs::write(folder.join("report.json"), format!("{json:#}\n"))
    }
}

/// The device that runs code for this target: `sm_80` in a `.target` line.
pub(super) fn profile_for(ptx: &str) -> Profile {
    let target = ptx.split("sm_").nth(1).unwrap_or_default();
    let number: String = target.chars().take_while(char::is_ascii_digit).collect();
    match number.parse().unwrap_or(80) {
        90.. => Profile::h100(),
        86..=89 => Profile::rtx4090(),
        _ => Profile::a100(),
    }
}

/// Runs the launch.
pub fn run(case: &Case, settings: &Settings) -> Result<Outcome, BadInput> {
    let profile = settings.profile.clone().unwrap_or_else(|| profile_for(&case.ptx));
    let gpu = Gpu::new(profile, settings.options.clone());
    let module = load(&gpu, &case.ptx)?;
    let kernel = match (case.kernel.as_str(), module.kernels()) {
        ("", [only]) => Arc::clone(only),
        (name, _) => module.kernel(name).ok_or_else(|| BadInput(format!("the PTX has no kernel \"{name}\"")))?,
    };
    for global in &case.globals {
        if let Some(bytes) = &global.init {
            let (address, size) = find(&module, &global.symbol)?;
            let bytes = &bytes[..bytes.len().min(size as usize)];
            gpu.write(address, bytes).map_err(|e| BadInput(format!("{}: {e:?}", global.symbol)))?;
        }
    }
    let (params, placed) = place(&gpu, &kernel, &case.params)?;
    let mut report = gpu.launch(&kernel, &case.config, &params).map_err(|e| refused(e, &kernel, case))?;

    let mut outputs = Vec::new();
    for (buffer, address) in &placed {
        let bytes = read(&gpu, *address, buffer.bytes)?;
        let untouched = buffer.is_output && buffer.init == Init::Poison && !bytes.is_empty();
        if untouched && report.trap.is_none() && !gpu.stored_to(*address) {
            report.findings.push(unwritten(buffer, *address, &kernel));
        }
        if buffer.is_kept {
            outputs.push((buffer.name.clone(), bytes));
        }
    }
    for global in case.globals.iter().filter(|g| g.is_kept) {
        let (address, size) = find(&module, &global.symbol)?;
        outputs.push((global.name.clone(), read(&gpu, address, size)?));
    }
    if !settings.options.checks(Kind::UnwrittenOutput) {
        report.findings.retain(|f| f.kind != Kind::UnwrittenOutput);
    }
    let resources = Resources::new(&kernel, &case.config, gpu.profile());
    Ok(Outcome { report, resources, outputs })
}

/// Loads a module; the error says where it fails.
pub(super) fn load(gpu: &Gpu, ptx: &str) -> Result<Arc<Module>, BadInput> {
    gpu.load(ptx).map_err(|e| {
        let place = e.kernel.map(|k| format!(" in {k}")).unwrap_or_default();
        BadInput(format!("PTX line {}{place}: {}", e.line, e.message))
    })
}

fn find(module: &Module, symbol: &str) -> Result<(u64, u64), BadInput> {
    module.global(symbol).ok_or_else(|| BadInput(format!("the PTX has no variable \"{symbol}\"")))
}

fn read(gpu: &Gpu, address: u64, size: u64) -> Result<Vec<u8>, BadInput> {
    let mut bytes = vec![0; size as usize];
    gpu.read(address, &mut bytes).map_err(|e| BadInput(format!("cannot read {size} bytes at {address:#x}: {e:?}")))?;
    Ok(bytes)
}

/// Buffers and where they stand in device memory.
type Placed<'a> = Vec<(&'a Buffer, u64)>;

/// Allocates and fills the buffers; lays the parameters out as the kernel declares them.
fn place<'a>(gpu: &Gpu, kernel: &Kernel, params: &'a [Param]) -> Result<(Vec<u8>, Placed<'a>), BadInput> {
    if params.len() < kernel.params.len() {
        let (found, wanted) = (params.len(), kernel.params.len());
        return Err(BadInput(format!("{found} parameters given, kernel {} wants {wanted}", kernel.name)));
    }
    let end = kernel.params.iter().map(|p| p.offset + p.size).max().unwrap_or(0);
    let mut block = vec![0u8; end as usize];
    let mut placed = Vec::new();
    for (i, param) in params.iter().enumerate() {
        let (bytes, padding) = match param {
            Param::Scalar(scalar) => (scalar.bytes.clone(), scalar.padding),
            Param::Buffer(buffer) => {
                let address = allocate(gpu, buffer)?;
                placed.push((buffer, address));
                (address.to_le_bytes().to_vec(), 0)
            }
        };
        // Like cuLaunchKernel, what the kernel does not declare is not looked at.
        if let Some(formal) = kernel.params.get(i) {
            let to = &mut block[formal.offset as usize..][..formal.size as usize];
            to.fill(padding);
            let n = to.len().min(bytes.len());
            to[..n].copy_from_slice(&bytes[..n]);
        }
    }
    Ok((block, placed))
}

fn allocate(gpu: &Gpu, buffer: &Buffer) -> Result<u64, BadInput> {
    let refused = |what: &dyn std::fmt::Debug| BadInput(format!("buffer \"{}\": {what:?}", buffer.name));
    let address = gpu.alloc(buffer.bytes).map_err(|e| refused(&e))?;
    match &buffer.init {
        Init::Bytes(bytes) => gpu.write(address, bytes).map_err(|e| refused(&e))?,
        Init::Zero => gpu.fill(address, 0, 1, buffer.bytes).map_err(|e| refused(&e))?,
        Init::Poison => {}
    }
    Ok(address)
}

fn refused(error: LaunchError, kernel: &Kernel, case: &Case) -> BadInput {
    let config = &case.config;
    BadInput(match error {
        LaunchError::BadDimensions => format!(
            "kernel {} cannot run with grid {:?}, block {:?}: at most {} threads a block",
            kernel.name, config.grid, config.block, kernel.max_threads
        ),
        LaunchError::SharedMemory => format!(
            "kernel {} wants {} bytes of shared memory, more than the device has",
            kernel.name,
            u64::from(kernel.static_shared) + u64::from(config.dynamic_shared)
        ),
        LaunchError::Clusters => format!("kernel {} needs clusters of blocks, which are not executed", kernel.name),
        LaunchError::Parameters => format!("kernel {} has more parameters than were given", kernel.name),
    })
}

fn unwritten(buffer: &Buffer, address: u64, kernel: &Kernel) -> Finding {
    let bytes = u32::try_from(buffer.bytes).unwrap_or(u32::MAX);
    Finding {
        kind: Kind::UnwrittenOutput,
        threads: 0,
        kernel: kernel.name.clone(),
        site: Site { address, bytes, ..Site::default() },
        message: format!("the kernel wrote no byte of output \"{}\"", buffer.name),
    }
}
