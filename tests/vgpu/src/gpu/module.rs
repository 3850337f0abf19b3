//! Modules: placed variables and decoded kernels.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Gpu, LoadError, Param};
use crate::exec::Constants;
use crate::isa::{self, Layout, Op, Order, Program, Space};
use crate::ptx::{self, Initial, StateSpace, Statement, Variable};

/// What the kernels of a module share.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) program: Program,
    pub(super) constants: Constants,
    /// Granules of the race shadow are `1 << granule` bytes.
    pub(super) granule: u32,
    /// Blocks of a cluster work together.
    pub(super) clusters: bool,
    /// Some loads read past the coherent caches.
    pub(super) reads_past_caches: bool,
}

/// A kernel of a loaded module.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Name as in the PTX.
    pub name: String,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Static shared memory.
    pub static_shared: u32,
    /// Local memory of a thread.
    pub local_bytes: u32,
    /// `.maxntid` or `.reqntid`, as a number of threads; the device's limit otherwise.
    pub max_threads: u32,
    /// `.reqntid`, if the kernel has it.
    pub required_block: Option<[u32; 3]>,
    /// Estimate of 32-bit registers per thread, from liveness, no more than `.maxnreg`.
    pub registers: u32,
    /// Target architecture of the module: 80 for `sm_80`.
    pub target: u32,
    pub(super) code: Arc<Code>,
    pub(super) function: usize,
}

impl Kernel {
    /// Warp instructions of each class in the kernel's code, by [`crate::count::CLASSES`].
    pub fn mix(&self) -> [u64; crate::count::CLASSES.len()] {
        let program = &self.code.program;
        let info = &program.functions[self.function];
        let mut mix = [0; crate::count::CLASSES.len()];
        for pc in info.entry as usize..info.end as usize {
            if !program.origin[pc].helper {
                mix[isa::class(&program.code[pc].op)] += 1;
            }
        }
        mix
    }

    /// Bytes of the parameter buffer.
    pub fn param_bytes(&self) -> u32 {
        self.params.iter().map(|p| p.offset + p.size).max().unwrap_or(0)
    }
}

/// A loaded module.
#[derive(Debug)]
pub struct Module {
    kernels: Vec<Arc<Kernel>>,
    globals: HashMap<String, (u64, u64)>,
    pub(super) owned: Vec<u64>,
    version: (u32, u32),
}

impl Module {
    /// The kernel of this name.
    pub fn kernel(&self, name: &str) -> Option<Arc<Kernel>> {
        self.kernels.iter().find(|k| k.name == name).cloned()
    }

    /// Address and bytes of a module variable.
    pub fn global(&self, name: &str) -> Option<(u64, u64)> {
        self.globals.get(name).copied()
    }

    /// All kernels, in the order of the PTX.
    pub fn kernels(&self) -> &[Arc<Kernel>] {
        &self.kernels
    }

    /// PTX version of the module: (8, 5).
    pub fn ptx_version(&self) -> (u32, u32) {
        self.version
    }
}

fn failure(line: u32, message: impl Into<String>) -> LoadError {
    LoadError { line, kernel: None, message: message.into() }
}

/// Global and constant variables of statements, nested blocks included.
fn inner<'a>(statements: &'a [Statement], into: &mut Vec<&'a Variable>) {
    for statement in statements {
        match statement {
            Statement::Block(statements) => inner(statements, into),
            Statement::Variable(v) if matches!(v.space, StateSpace::Global | StateSpace::Const) => {
                into.push(v);
            }
            _ => {}
        }
    }
}

impl Gpu {
    /// Parses, decodes and places a module; its variables get addresses and initial values.
    pub fn load(&self, ptx: &str) -> Result<Arc<Module>, LoadError> {
        let file = ptx::parse(ptx).map_err(|e| LoadError { line: e.line, kernel: e.function, message: e.message })?;
        let mut variables: Vec<(String, &Variable)> = Vec::new();
        for v in &file.variables {
            if matches!(v.space, StateSpace::Global | StateSpace::Const) {
                variables.push((v.name.clone(), v));
            }
        }
        for function in &file.functions {
            let mut found = Vec::new();
            inner(function.body.as_deref().unwrap_or_default(), &mut found);
            variables.extend(found.into_iter().map(|v| (format!("{}\0{}", function.name, v.name), v)));
        }
        let mut owned = Vec::new();
        let loaded = self.place(&file, &variables, &mut owned);
        if loaded.is_err() {
            for address in owned {
                self.arena.free(address);
            }
        }
        loaded
    }

    fn place(
        &self,
        file: &ptx::File,
        variables: &[(String, &Variable)],
        owned: &mut Vec<u64>,
    ) -> Result<Arc<Module>, LoadError> {
        let mut layout = Layout::default();
        let mut globals = HashMap::new();
        for (key, v) in variables {
            if layout.addresses.contains_key(key) {
                continue;
            }
            let bytes = v.bytes().max(1);
            if bytes > 1 << 32 {
                return Err(failure(v.line, format!("`{}` is too large", v.name)));
            }
            let address = self.arena.alloc(bytes, v.align.into());
            let address = address.ok_or_else(|| failure(v.line, "out of device memory"))?;
            owned.push(address);
            layout.addresses.insert(key.clone(), address);
            globals.insert(v.name.clone(), (address, v.bytes()));
        }
        let program = isa::decode(file, &layout).map_err(|e| LoadError {
            line: e.line,
            kernel: e.function,
            message: e.message,
        })?;
        for (key, v) in variables {
            let bytes = initial_bytes(v, &layout, &program)?;
            if let Some(address) = layout.addresses.get(key) {
                // Variables without a value start as zeros.
                let _ = self.write(*address, &bytes);
            }
        }
        let constants = Constants::new(&program.words, &program.doubles);
        let granule = granule(&program);
        let clusters = program.code.iter().any(|inst| match &inst.op {
            Op::ClusterWait { .. } | Op::Mapa { .. } => true,
            Op::Load { space, .. } | Op::Store { space, .. } | Op::Atomic { space, .. } => {
                *space == Space::SharedCluster
            }
            _ => false,
        });
        let reads_past_caches =
            program.code.iter().any(|inst| matches!(inst.op, Op::Load { order: Order::ReadOnly, .. }));
        let code = Arc::new(Code { program, constants, granule, clusters, reads_past_caches });
        let kernels = code.program.functions.iter().enumerate().filter(|(_, f)| f.kernel);
        let kernels = kernels
            .map(|(function, f)| {
                let product = |b: [u32; 3]| b.iter().fold(1, |n: u32, &side| n.saturating_mul(side));
                let limit = self.profile.threads_per_block;
                // A compiler that is told the block keeps within the registers there are for it.
                let bound: Option<u32> = f.required_block.or(f.max_block).map(product);
                let bounded = bound.map_or(255, |threads| {
                    let warps = threads.div_ceil(32).max(1);
                    ((self.profile.registers_per_block / warps.saturating_mul(32)) & !7).min(255)
                });
                Arc::new(Kernel {
                    name: f.name.clone(),
                    params: f.params.iter().map(|p| Param { offset: p.offset, size: p.size, align: p.align }).collect(),
                    static_shared: f.static_shared,
                    local_bytes: f.local_bytes,
                    max_threads: bound.unwrap_or(limit),
                    required_block: f.required_block,
                    registers: f.registers.min(f.max_registers.unwrap_or(255)).min(bounded),
                    target: code.program.target,
                    code: code.clone(),
                    function,
                })
            })
            .collect();
        Ok(Arc::new(Module { kernels, globals, owned: std::mem::take(owned), version: file.version }))
    }
}

/// Log2 of the narrowest access to shared memory, four bytes at most.
fn granule(program: &Program) -> u32 {
    let narrowest = program.code.iter().filter_map(|inst| match &inst.op {
        Op::Load { space, element, d: regs, .. } | Op::Store { space, element, src: regs, .. }
            if matches!(space, Space::Shared | Space::SharedCluster | Space::Generic) =>
        {
            Some(u32::from(element.bytes) * regs.len() as u32)
        }
        Op::Atomic { space, ty, .. } if *space != Space::Global => Some(ty.bytes()),
        Op::WmmaLoad(op) | Op::WmmaStore(op) if op.space != Space::Global => {
            Some((op.fragment.bits() as u32 / 8).max(1))
        }
        _ => None,
    });
    match narrowest.min() {
        Some(1) => 0,
        Some(2) => 1,
        _ => 2,
    }
}

fn initial_bytes(v: &Variable, layout: &Layout, program: &Program) -> Result<Vec<u8>, LoadError> {
    let lanes = v.element_bytes / element_bytes(&v.element).max(1);
    let size = (v.element_bytes / lanes.max(1)).max(1) as usize;
    let mut bytes = Vec::with_capacity(v.bytes() as usize);
    for value in &v.initial {
        let float = |x: f64| match v.element.as_str() {
            "f32" => u64::from((x as f32).to_bits()),
            "f64" => x.to_bits(),
            "f16" => u64::from(crate::arith::half::f32_to_f16(x as f32)),
            "bf16" => u64::from(crate::arith::half::f32_to_bf16(x as f32)),
            _ => x as i64 as u64,
        };
        let (bits, size) = match value {
            Initial::Bits(bits) => match v.element.as_str() {
                "f32" | "f64" => (float(*bits as i64 as f64), size),
                _ => (*bits, size),
            },
            Initial::Float(x) => (float(*x), size),
            Initial::F32(bits) if size == 4 => (u64::from(*bits), size),
            Initial::F32(bits) => (float(f64::from(f32::from_bits(*bits))), size),
            Initial::F64(bits) => (float(f64::from_bits(*bits)), size),
            Initial::Address { symbol, offset, mask, .. } => {
                let function = program.functions.iter().position(|f| f.name == *symbol);
                let base = layout
                    .addresses
                    .get(symbol)
                    .copied()
                    .or(function.map(|i| isa::function_address(i as u32)))
                    .ok_or_else(|| failure(v.line, format!("`{symbol}` is not declared")))?;
                let address = base.wrapping_add(*offset as u64);
                match mask {
                    // Tables of bytes spell addresses one byte at a time.
                    Some(mask) => ((address & mask) >> mask.trailing_zeros().min(63), 1),
                    None => (address, 8.max(size)),
                }
            }
        };
        bytes.extend_from_slice(&bits.to_le_bytes()[..size.min(8)]);
        bytes.resize(bytes.len() + size.saturating_sub(8), 0);
    }
    bytes.resize(v.bytes() as usize, 0);
    Ok(bytes)
}

fn element_bytes(name: &str) -> u32 {
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    match name {
        "f16x2" | "bf16x2" => 4,
        "f32x2" => 8,
        "pred" => 1,
        _ => digits.parse::<u32>().unwrap_or(8) / 8,
    }
}
