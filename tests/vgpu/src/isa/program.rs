//! A decoded module.

use super::op::Op;
use super::reg::Reg;

/// The predicate that an instruction executes under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Guard {
    /// Predicate, or none.
    pub predicate: Reg,
    /// Executes where it is false.
    pub negate: bool,
}

impl Guard {
    /// Executes always.
    pub const NONE: Guard = Guard { predicate: Reg::NONE, negate: false };
}

/// An instruction.
#[derive(Clone, Debug)]
pub struct Inst {
    /// What it does.
    pub op: Op,
    /// When.
    pub guard: Guard,
}

/// Where an instruction came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Code {
    /// Line of the PTX text.
    pub line: u32,
    /// `.loc` file and line; 0 for none.
    pub source: (u32, u32),
    /// Byte span of the opcode's text in [`Program::opcodes`].
    pub opcode: u32,
    /// Function it belongs to.
    pub function: u32,
    /// Made up by the decoder to bring an operand into shape: not counted.
    pub helper: bool,
}

/// A parameter of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Formal {
    /// In the frame (functions) or parameter buffer (kernels).
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Alignment.
    pub align: u32,
}

/// A kernel or function with a body.
#[derive(Clone, Debug, Default)]
pub struct FunctionInfo {
    /// Name.
    pub name: String,
    /// `.entry`.
    pub kernel: bool,
    /// First instruction.
    pub entry: u32,
    /// One past the last.
    pub end: u32,
    /// Parameters.
    pub params: Vec<Formal>,
    /// Return values.
    pub returns: Vec<Formal>,
    /// Static shared memory, of kernels.
    pub static_shared: u32,
    /// Alignment that dynamic shared memory asks for.
    pub dynamic_align: u32,
    /// Uses dynamic shared memory.
    pub dynamic_shared: bool,
    /// Local memory of its frame.
    pub local_bytes: u32,
    /// Words of its frame of call parameters.
    pub frame_words: u32,
    /// Slots: words, doubles, predicates.
    pub slots: [u32; 3],
    /// Estimate of 32-bit registers, from liveness.
    pub registers: u32,
    /// `.maxntid`.
    pub max_block: Option<[u32; 3]>,
    /// `.reqntid`.
    pub required_block: Option<[u32; 3]>,
    /// `.reqnctapercluster`.
    pub cluster: Option<[u32; 3]>,
    /// `.maxnreg`.
    pub max_registers: Option<u32>,
    /// Functions it calls by name.
    pub callees: Vec<u32>,
    /// Calls through pointers.
    pub indirect: bool,
}

/// A decoded module.
#[derive(Debug, Default)]
pub struct Program {
    /// All instructions of all functions.
    pub code: Vec<Inst>,
    /// Where they came from.
    pub origin: Vec<Code>,
    /// Distinct opcodes.
    pub opcodes: Vec<String>,
    /// Word constants.
    pub words: Vec<u32>,
    /// Double constants.
    pub doubles: Vec<u64>,
    /// Kernels and functions with bodies.
    pub functions: Vec<FunctionInfo>,
    /// Source files by `.file` index.
    pub sources: Vec<(u32, String)>,
    /// `.version`.
    pub version: (u32, u32),
    /// Target architecture.
    pub target: u32,
}

/// Addresses of functions, as `mov` gives them to indirect calls.
const FUNCTION_BASE: u64 = 0x0000_7b00_0000_0000;
const FUNCTION_STEP: u64 = 64;

/// The address of a function.
pub fn function_address(index: u32) -> u64 {
    FUNCTION_BASE + u64::from(index) * FUNCTION_STEP
}

/// The function at an address.
pub fn function_at(address: u64) -> Option<u32> {
    let offset = address.checked_sub(FUNCTION_BASE)?;
    (offset % FUNCTION_STEP == 0).then_some((offset / FUNCTION_STEP).min(u32::MAX.into()) as u32)
}
