//! The figures of every kernel, from the compiled files.

use crate::sass::{self, Instruction, Resources, count};
use crate::source::Sources;
use crate::toolchain::{DTYPES, each, image, output, root, tool};
use crate::{ptx, source};
use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;

/// A GPU that gets machine code, with what one of its multiprocessors holds.
#[derive(Debug)]
pub(crate) struct Gpu {
    pub(crate) arch: u32,
    threads: u32,
    blocks: u32,
    /// Bytes.
    shared: u32,
    /// Cycles between two HMMA of a warp as the compiler schedules them at best; none where nothing was derived.
    pub(crate) product_cycles: Option<f64>,
}

/// In the order of the table. CUDA C++ Programming Guide, technical specifications per compute capability.
pub(crate) const GPUS: [Gpu; 5] = [
    Gpu { arch: 80, threads: 2048, blocks: 32, shared: 164 << 10, product_cycles: Some(8.0) },
    Gpu { arch: 86, threads: 1536, blocks: 16, shared: 100 << 10, product_cycles: None },
    Gpu { arch: 89, threads: 1536, blocks: 24, shared: 100 << 10, product_cycles: None },
    Gpu { arch: 90, threads: 2048, blocks: 32, shared: 228 << 10, product_cycles: Some(6.0) },
    Gpu { arch: 120, threads: 1536, blocks: 24, shared: 100 << 10, product_cycles: None },
];

/// Registers of a multiprocessor; a warp gets them in units of 256.
pub(crate) const REGISTERS: u32 = 65536;

/// Bytes of shared memory that each block takes beside its own.
const RESERVED: u32 = 1024;

/// One kernel, as it was compiled for one dtype and GPU.
pub(crate) struct Compiled {
    pub(crate) name: String,
    /// In `kernels/`.
    pub(crate) file: String,
    pub(crate) dtype: &'static str,
    pub(crate) gpu: &'static Gpu,
    pub(crate) launch: ptx::Launch,
    pub(crate) resources: Resources,
    pub(crate) code: Vec<Instruction>,
}

impl Compiled {
    /// `linear_relu2 (f16, sm_80)`.
    pub(crate) fn title(&self) -> String {
        format!("{} ({}, sm_{})", self.name, self.dtype, self.gpu.arch)
    }

    /// Bytes of shared memory of a block.
    pub(crate) fn shared(&self) -> u32 {
        self.launch.shared_bytes + self.resources.shared
    }

    /// Blocks whose registers and threads a multiprocessor holds at once.
    pub(crate) fn blocks_by_registers(&self) -> u32 {
        let threads = self.launch.threads;
        let registers = (self.resources.registers * 32).next_multiple_of(256) * threads.div_ceil(32);
        (REGISTERS / registers).min(self.gpu.threads / threads).min(self.gpu.blocks)
    }

    /// Blocks that it holds with their shared memory.
    pub(crate) fn blocks(&self) -> u32 {
        self.blocks_by_registers().min(self.gpu.shared / (self.shared() + RESERVED))
    }

    /// Blocks that its launch bounds promise, as far as this GPU has the threads for them.
    pub(crate) fn promised(&self) -> u32 {
        self.launch.min_blocks.min(self.gpu.threads / self.launch.threads)
    }

    /// Global accesses of two bytes or one.
    pub(crate) fn halves(&self) -> usize {
        self.code.iter().filter(|i| matches!(i.base(), "LDG" | "STG") && i.bytes() <= 2).count()
    }

    /// The figures of the loop that it spends its time in, if that is one of products.
    pub(crate) fn products(&self) -> Option<Products> {
        let code = sass::main_loop(&self.code)?;
        let count = |base| count(code, base) as f64;
        let products = count("HMMA");
        // What keeps sm_120 waiting stands there as an instruction.
        let instructions = code.len() - count("NOP") as usize;
        let address = ["LEA", "IADD", "IADD3", "IMAD", "LOP3", "VIADD"].map(count).iter().sum::<f64>();
        let loads = code.iter().filter(|i| matches!(i.base(), "LDG" | "LDGSTS" | "STG"));
        Some(Products {
            instructions,
            products: products as usize,
            share: products / instructions as f64,
            fragments: count("LDSM") / products,
            address: address / products,
            exponentials: count("MUFU") / products,
            shuffles: (count("SHFL") + count("FMNMX")) as usize,
            narrow: loads.filter(|i| i.bytes() < 16).count(),
            stall: self.gpu.product_cycles.map(|cycles| {
                let stalls: u32 = code.iter().map(|instruction| instruction.stall).sum();
                f64::from(stalls) / (cycles * products)
            }),
        })
    }
}

/// A loop of products on tensor cores. Ratios are per HMMA.
pub(crate) struct Products {
    /// Without NOP.
    pub(crate) instructions: usize,
    pub(crate) products: usize,
    /// HMMA of all instructions.
    pub(crate) share: f64,
    /// LDSM.
    pub(crate) fragments: f64,
    /// Integer arithmetic.
    pub(crate) address: f64,
    /// MUFU.
    pub(crate) exponentials: f64,
    /// SHFL and FMNMX in all of the loop: what a row maximum takes.
    pub(crate) shuffles: usize,
    /// Global accesses of fewer than 16 bytes.
    pub(crate) narrow: usize,
    /// Cycles that one warp takes, as a multiple of what its products take.
    pub(crate) stall: Option<f64>,
}

/// Every kernel for every dtype and GPU, in the order of files, declarations, dtypes and GPUs; those that the build
/// left out are not there. None without the tools.
pub(crate) fn measure() -> Option<Vec<Compiled>> {
    let cuobjdump = tool("nvidia/cu13/bin/cuobjdump")?;
    let sources = sources();
    let mut jobs = Vec::new();
    for file in &sources.files {
        for dtype in DTYPES {
            jobs.extend(GPUS.iter().map(|gpu| (file, dtype, gpu)));
        }
    }
    let all = each(&jobs, |&(file, dtype, gpu)| {
        let stem = file.stem();
        let cubin = image(&format!("{stem}.{dtype}.sm{}.cubin", gpu.arch));
        if !cubin.exists() {
            return Vec::new();
        }
        let resources = sass::resources(&dump(&cuobjdump, "--dump-resource-usage", &cubin));
        let mut codes = codes(&cuobjdump, &cubin);
        let text = fs::read_to_string(image(&format!("{stem}.{dtype}.ptx"))).expect("the build leaves its PTX");
        let launches = ptx::launches(&text, &file.kernels, &sources).expect("the build has checked it");
        let compiled = file.kernels.iter().zip(launches).map(|(kernel, launch)| Compiled {
            name: kernel.name.clone(),
            file: file.name.clone(),
            dtype,
            gpu,
            launch,
            resources: own(resources[&kernel.name], gpu),
            code: codes.remove(&kernel.name).expect("its code"),
        });
        compiled.collect()
    });
    let mut all: Vec<Compiled> = all.into_iter().flatten().collect();
    // Stable: files, dtypes and GPUs keep their order.
    let order: Vec<&str> = sources.files.iter().flat_map(|file| &file.kernels).map(|kernel| &kernel.name[..]).collect();
    all.sort_by_key(|one| order.iter().position(|name| *name == one.name));
    Some(all)
}

fn dump(cuobjdump: &Path, option: &str, cubin: &Path) -> String {
    let (fine, text) = output(Command::new(cuobjdump).arg(option).arg(cubin));
    assert!(fine, "cuobjdump {option} {}: {text}", cubin.display());
    text
}

/// The machine code of a file, remembered from the last time if it is still the same.
fn codes(cuobjdump: &Path, cubin: &Path) -> BTreeMap<String, Vec<Instruction>> {
    let mut hasher = DefaultHasher::new();
    fs::read(cubin).unwrap().hash(&mut hasher);
    let key = hasher.finish().to_string();
    let name = cubin.file_stem().unwrap().to_str().unwrap();
    let memory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.sass"));
    let old = fs::read_to_string(&memory).unwrap_or_default();
    if let Some((old_key, text)) = old.split_once('\n')
        && old_key == key
        && let Some(codes) = sass::from_compact(text)
    {
        return codes;
    }
    let codes = sass::kernels(&dump(cuobjdump, "--dump-sass", cubin));
    fs::write(&memory, format!("{key}\n{}", sass::compact(&codes))).unwrap();
    codes
}

/// Without the KiB that every block reserves, which is listed as its own since sm_90.
fn own(listed: Resources, gpu: &Gpu) -> Resources {
    let reserved = if gpu.arch >= 90 { RESERVED } else { 0 };
    Resources { shared: listed.shared.saturating_sub(reserved), ..listed }
}

fn sources() -> Sources {
    source::Sources::parse(&source::read(&root().join("kernels")).unwrap()).unwrap()
}
