//! The syntax tree of a PTX file.

/// A file.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// `.version`.
    pub version: (u32, u32),
    /// Number of the first `.target`: 80 for `sm_80`, 90 for `sm_90a`.
    pub target: u32,
    /// `.file` entries: index and path.
    pub sources: Vec<(u32, String)>,
    /// Module-scope variables.
    pub variables: Vec<Variable>,
    /// Kernels, functions and declarations, in order.
    pub functions: Vec<Function>,
}

/// Where a variable lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StateSpace {
    /// `.reg`, only as a parameter.
    Reg,
    /// `.param`.
    Param,
    /// `.global`.
    Global,
    /// `.const`.
    Const,
    /// `.shared`.
    Shared,
    /// `.local`.
    Local,
}

/// A variable, parameter or register declaration.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Where it lives.
    pub space: StateSpace,
    /// Name.
    pub name: String,
    /// Element type without the dot: `b8`, `f32`.
    pub element: String,
    /// Bytes of an element, vectors included.
    pub element_bytes: u32,
    /// Lanes of a vector, 1 for scalars.
    pub lanes: u32,
    /// Declared alignment, else the natural one.
    pub align: u32,
    /// Elements; 1 for scalars, 0 for `x[]`.
    pub count: u64,
    /// Initial values, flattened.
    pub initial: Vec<Initial>,
    /// `.extern`.
    pub external: bool,
    /// Line.
    pub line: u32,
}

impl Variable {
    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        self.count.saturating_mul(u64::from(self.element_bytes))
    }
}

/// One element of an initialiser.
#[derive(Clone, Debug, PartialEq)]
pub enum Initial {
    /// Raw bits; of the element's width, except for floats given as numbers.
    Bits(u64),
    /// A number with a fraction: converted to the element's type.
    Float(f64),
    /// Single-precision bits, `0f…`.
    F32(u32),
    /// Double-precision bits, `0d…`.
    F64(u64),
    /// Address of a symbol plus an offset; `byte` picks one byte of it (`0xFF00(symbol)`).
    Address {
        /// The symbol.
        symbol: String,
        /// Added to it.
        offset: i64,
        /// As a generic address.
        generic: bool,
        /// Bits to take, and how far to shift them down.
        mask: Option<u64>,
    },
}

/// A kernel, a function or a declaration.
#[derive(Clone, Debug, Default)]
pub struct Function {
    /// Name.
    pub name: String,
    /// `.entry`.
    pub kernel: bool,
    /// Return parameters.
    pub returns: Vec<Variable>,
    /// Parameters.
    pub params: Vec<Variable>,
    /// Statements; absent in declarations.
    pub body: Option<Vec<Statement>>,
    /// `.maxntid`.
    pub max_block: Option<[u32; 3]>,
    /// `.reqntid`.
    pub required_block: Option<[u32; 3]>,
    /// `.maxnreg`.
    pub max_registers: Option<u32>,
    /// `.reqnctapercluster`.
    pub cluster: Option<[u32; 3]>,
    /// Line of the name.
    pub line: u32,
}

/// A statement of a function body.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `{ … }`.
    Block(Vec<Statement>),
    /// `name:`.
    Label(String),
    /// `.reg .b32 %r<10>, %x;`: names with their counts.
    Registers {
        /// Element type without the dot.
        element: String,
        /// Lanes of a vector register, 1 for scalars.
        lanes: u32,
        /// Names, and how many of each.
        names: Vec<(String, Option<u32>)>,
    },
    /// A variable in memory.
    Variable(Variable),
    /// An instruction.
    Instruction(Instruction),
    /// `.loc file line`.
    Location(u32, u32),
    /// `name: .branchtargets a, b;`
    BranchTargets(String, Vec<String>),
    /// `name: .callprototype …`: bytes and alignment of return and formal parameters.
    Prototype(String, Vec<Variable>, Vec<Variable>),
}

/// An instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// `@p` or `@!p`: the predicate and whether it is negated.
    pub guard: Option<(String, bool)>,
    /// Dotted opcode.
    pub opcode: String,
    /// Operands.
    pub operands: Vec<Operand>,
    /// Line.
    pub line: u32,
}

/// An operand.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register, symbol, label or special register.
    Name(String),
    /// `symbol+4`.
    Offset(String, i64),
    /// An integer, negative ones in two's complement.
    Int(u64),
    /// `0f…`.
    F32(u32),
    /// `0d…` or a decimal number with a fraction.
    F64(u64),
    /// `!p`.
    Not(String),
    /// `a|b`.
    Pair(Box<Operand>, Box<Operand>),
    /// `{a, b}`.
    Vector(Vec<Operand>),
    /// `(a, b)` of a call.
    List(Vec<Operand>),
    /// `[base+offset]`, and of tensor copies the coordinates.
    Address {
        /// Register or symbol; absent for an absolute address.
        base: Option<String>,
        /// Added to it.
        offset: i64,
        /// What follows the comma: `[map, {x, y}]`.
        extra: Vec<Operand>,
    },
    /// `_`.
    Sink,
}
