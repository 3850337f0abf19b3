//! Syntax tree to typed operations.

mod compare;
mod control;
mod convert;
mod float;
mod hopper;
mod integer;
mod matrix;
mod memory;
mod mods;
mod operand;
mod place;
mod scope;
mod video;
mod warp;

use std::collections::HashMap;

use mods::Mods;
use scope::{RegisterSet, Scope, Scopes, Symbol};

use super::op::Op;
use super::program::{Code, FunctionInfo, Guard, Inst, Program};
use super::reg::{Class, Reg};
use crate::ptx::{File, Function, Instruction, Operand, Statement};

/// PTX that the interpreter does not execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What is wrong.
    pub message: String,
    /// Line, from 1; 0 until known.
    pub line: u32,
    /// Function in which it stands.
    pub function: Option<String>,
}

impl DecodeError {
    fn new(message: impl Into<String>) -> DecodeError {
        DecodeError { message: message.into(), line: 0, function: None }
    }

    fn at(mut self, line: u32) -> DecodeError {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}

/// Where the module's variables are placed.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// Addresses of global and constant variables; those of functions as `function\0name`.
    pub addresses: HashMap<String, u64>,
}

/// What is known of the function being decoded.
#[derive(Default)]
struct State {
    function: String,
    kernel: bool,
    scopes: Scopes,
    slots: [u32; 3],
    /// Emitted behind the current instruction, under its guard.
    after: Vec<Op>,
    guard: Option<Guard>,
    labels: Vec<Option<u32>>,
    line: u32,
    opcode: u32,
    source: (u32, u32),
    frame_bytes: u32,
    local_bytes: u32,
    shared_bytes: u32,
    dynamic_align: u32,
    dynamic_shared: bool,
    carry: Option<Reg>,
    /// `.reg` return values: slot and frame offset.
    register_returns: Vec<(Reg, u32)>,
    callees: Vec<u32>,
    indirect: bool,
    /// Instructions whose targets are still labels.
    branches: Vec<usize>,
    /// Module-scope shared variables used here.
    shared: HashMap<String, Symbol>,
}

struct Decoder<'a> {
    file: &'a File,
    layout: &'a Layout,
    program: Program,
    word_index: HashMap<u32, u32>,
    double_index: HashMap<u64, u32>,
    opcode_index: HashMap<String, u32>,
    /// Functions with bodies by name.
    function_index: HashMap<&'a str, u32>,
    /// Shared variables of device functions: the same place in every kernel.
    common_shared: HashMap<String, Symbol>,
    common_shared_bytes: u32,
    state: State,
}

/// Decodes all functions of a file.
pub fn decode(file: &File, layout: &Layout) -> Result<Program, DecodeError> {
    let mut decoder = Decoder {
        file,
        layout,
        program: Program {
            sources: file.sources.clone(),
            version: file.version,
            target: file.target,
            ..Program::default()
        },
        word_index: HashMap::new(),
        double_index: HashMap::new(),
        opcode_index: HashMap::new(),
        function_index: HashMap::new(),
        common_shared: HashMap::new(),
        common_shared_bytes: 0,
        state: State::default(),
    };
    let bodies = || file.functions.iter().filter(|f| f.body.is_some());
    for (index, function) in bodies().enumerate() {
        if decoder.function_index.insert(&function.name, index as u32).is_some() {
            let mut error = DecodeError::new(format!("`{}` is defined twice", function.name));
            error.function = Some(function.name.clone());
            return Err(error.at(function.line));
        }
        let info = decoder.signature(function);
        decoder.program.functions.push(info);
    }
    // Device functions come first: they fix the places of the shared variables they use.
    for pass in [false, true] {
        for (index, function) in bodies().enumerate() {
            if function.kernel == pass {
                decoder.function(index, function).map_err(|mut e| {
                    e.function.get_or_insert_with(|| function.name.clone());
                    e.at(function.line)
                })?;
            }
        }
    }
    super::allocate::allocate(&mut decoder.program);
    Ok(decoder.program)
}

impl<'a> Decoder<'a> {
    fn function(&mut self, index: usize, function: &'a Function) -> Result<(), DecodeError> {
        let entry = self.program.code.len() as u32;
        self.state = State {
            function: function.name.clone(),
            kernel: function.kernel,
            line: function.line,
            dynamic_align: 16,
            shared_bytes: if function.kernel { self.common_shared_bytes } else { 0 },
            ..State::default()
        };
        self.state.scopes.0.push(Scope::default());
        self.place_parameters(index, function)?;
        if let Some(body) = &function.body {
            self.block(body)?;
        }
        // A body may end without `ret`.
        self.state.guard = None;
        self.return_values();
        self.push(if function.kernel { Op::Exit } else { Op::Ret }, true);
        self.resolve_branches()?;
        self.finish_function(index, entry);
        Ok(())
    }

    fn finish_function(&mut self, index: usize, entry: u32) {
        let state = std::mem::take(&mut self.state);
        let calls = !state.callees.is_empty() || state.indirect;
        let info = &mut self.program.functions[index];
        info.entry = entry;
        info.end = self.program.code.len() as u32;
        info.local_bytes = state.local_bytes.next_multiple_of(16);
        info.frame_words = state.frame_bytes.div_ceil(4);
        info.slots = state.slots;
        info.dynamic_align = state.dynamic_align;
        info.dynamic_shared = state.dynamic_shared;
        info.callees = state.callees;
        info.indirect = state.indirect;
        info.static_shared = state.shared_bytes;
        info.dynamic_shared |= calls;
        for origin in &mut self.program.origin[entry as usize..] {
            origin.function = index as u32;
        }
    }

    /// Appends an instruction under the current guard.
    fn push(&mut self, op: Op, helper: bool) {
        let guard = self.state.guard.unwrap_or(Guard::NONE);
        self.program.code.push(Inst { op, guard });
        self.program.origin.push(Code {
            line: self.state.line,
            source: self.state.source,
            opcode: self.state.opcode,
            function: 0,
            helper,
        });
    }

    /// Appends the instruction itself.
    fn emit(&mut self, op: Op) {
        self.push(op, false);
        for op in std::mem::take(&mut self.state.after) {
            self.push(op, true);
        }
    }

    /// Appends something that an operand needs; it has no effect but on a fresh register, so it
    /// runs for all lanes.
    fn helper(&mut self, op: Op) {
        let guard = self.state.guard.take();
        self.push(op, true);
        self.state.guard = guard;
    }

    /// Appends an element-wise operation.
    fn alu(&mut self, f: super::alu::Alu, d: Reg, src: &[Reg]) {
        let at = |i: usize| src.get(i).copied().unwrap_or(Reg::NONE);
        if src.len() == 4 {
            self.emit(Op::Alu4 { f, d, src: Box::new([at(0), at(1), at(2), at(3)]) });
        } else {
            self.emit(Op::Alu { f, d, a: at(0), b: at(1), c: at(2) });
        }
    }

    fn block(&mut self, statements: &'a [Statement]) -> Result<(), DecodeError> {
        self.state.scopes.0.push(Scope::default());
        for statement in statements {
            if let Statement::Label(name) = statement {
                let id = self.state.labels.len() as u32;
                self.state.labels.push(None);
                if self.state.scopes.inner().labels.insert(name.clone(), id).is_some() {
                    return Err(DecodeError::new(format!("label `{name}` is defined twice")));
                }
            }
            match statement {
                Statement::BranchTargets(name, targets) => {
                    self.state.scopes.inner().tables.insert(name.clone(), targets.clone());
                }
                Statement::Prototype(name, returns, params) => {
                    let words =
                        |v: &[crate::ptx::Variable]| v.iter().map(|p| (p.bytes().max(1) as u32).div_ceil(4)).collect();
                    let pair = (words(returns), words(params));
                    self.state.scopes.inner().prototypes.insert(name.clone(), pair);
                }
                _ => {}
            }
        }
        for statement in statements {
            self.statement(statement)?;
        }
        self.state.scopes.0.pop();
        Ok(())
    }

    fn statement(&mut self, statement: &'a Statement) -> Result<(), DecodeError> {
        match statement {
            Statement::Block(inner) => self.block(inner)?,
            Statement::Label(name) => {
                let here = self.program.code.len() as u32;
                if let Some(id) = self.state.scopes.label(name) {
                    self.state.labels[id as usize] = Some(here);
                }
            }
            Statement::Registers { element, lanes, names } => {
                self.registers(element, *lanes, names)?;
            }
            Statement::Variable(variable) => {
                self.place_variable(variable).map_err(|e| e.at(variable.line))?;
            }
            Statement::Location(file, line) => self.state.source = (*file, *line),
            Statement::BranchTargets(..) | Statement::Prototype(..) => {}
            Statement::Instruction(instruction) => {
                self.state.line = instruction.line;
                self.instruction(instruction).map_err(|mut e| {
                    if !e.message.contains(&instruction.opcode) {
                        e.message = format!("`{}`: {}", instruction.opcode, e.message);
                    }
                    e.at(instruction.line)
                })?;
            }
        }
        Ok(())
    }

    fn registers(&mut self, element: &str, lanes: u32, names: &[(String, Option<u32>)]) -> Result<(), DecodeError> {
        let class = match element {
            "pred" => Class::Predicate,
            "b64" | "u64" | "s64" | "f64" | "f32x2" => Class::Double,
            "b8" | "u8" | "s8" | "b16" | "u16" | "s16" | "f16" | "bf16" | "b32" | "u32" | "s32" | "f32" | "f16x2"
            | "bf16x2" | "tf32" => Class::Word,
            _ => return Err(DecodeError::new(format!("registers of type `.{element}` are not supported"))),
        };
        for (name, count) in names {
            let number = count.unwrap_or(1);
            let slots = number.saturating_mul(lanes);
            let base = self.state.slots[class as usize];
            if u64::from(base) + u64::from(slots) > 1 << 22 {
                return Err(DecodeError::new(format!("too many registers `{name}`")));
            }
            self.state.slots[class as usize] += slots;
            let set = RegisterSet { class, base, count: number, lanes };
            let scope = self.state.scopes.inner();
            match count {
                Some(_) => scope.families.insert(name.clone(), set),
                None => scope.registers.insert(name.clone(), set),
            };
        }
        Ok(())
    }

    fn instruction(&mut self, instruction: &Instruction) -> Result<(), DecodeError> {
        let opcodes = &mut self.program.opcodes;
        self.state.opcode = match self.opcode_index.get(&instruction.opcode) {
            Some(index) => *index,
            None => {
                opcodes.push(instruction.opcode.clone());
                let index = opcodes.len() as u32 - 1;
                self.opcode_index.insert(instruction.opcode.clone(), index);
                index
            }
        };
        self.state.guard = match &instruction.guard {
            None => None,
            Some((name, negate)) => {
                let operand = Operand::Name(name.clone());
                let (predicate, _) = self.src_predicate(&operand)?;
                Some(Guard { predicate, negate: *negate })
            }
        };
        self.state.after.clear();
        let mut mods = Mods::new(&instruction.opcode);
        let operands = instruction.operands.as_slice();
        self.dispatch(&mut mods, operands)?;
        self.state.guard = None;
        Ok(())
    }

    fn dispatch(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<(), DecodeError> {
        match m.name {
            "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rem" | "min" | "max" | "abs" | "neg" | "sad" | "mul24"
            | "mad24" | "addc" | "subc" | "madc" | "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "shf"
            | "lop3" | "prmt" | "bfe" | "bfi" | "bfind" | "fns" | "bmsk" | "szext" | "popc" | "clz" | "brev"
            | "dp4a" | "dp2a" => self.arithmetic(m, o),
            "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" | "copysign" | "testp" => {
                self.float(m, o)
            }
            "cvt" => self.cvt(m, o),
            "setp" | "set" | "selp" | "slct" => self.comparison(m, o),
            "mov" => self.mov(m, o),
            "ld" | "ldu" | "st" | "cvta" | "isspacep" | "prefetch" | "prefetchu" | "atom" | "red" | "membar"
            | "fence" | "discard" | "applypriority" | "createpolicy" => self.memory(m, o),
            "cp" => self.copy(m, o),
            "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "brkpt" | "nanosleep" | "pmevent" | "setmaxnreg"
            | "griddepcontrol" => self.control(m, o),
            "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" | "bar" | "barrier" => self.warp(m, o),
            "ldmatrix" | "stmatrix" | "movmatrix" | "mma" | "wmma" => self.matrix(m, o),
            "mbarrier" | "wgmma" | "mapa" | "getctarank" => self.hopper(m, o),
            _ if m.name.starts_with('v') => self.video(m, o),
            _ => Err(m.unsupported()),
        }
    }

    /// Labels to instruction indices.
    fn resolve_branches(&mut self) -> Result<(), DecodeError> {
        let labels = std::mem::take(&mut self.state.labels);
        let place = |id: u32| labels.get(id as usize).copied().flatten();
        for at in std::mem::take(&mut self.state.branches) {
            let line = self.program.origin[at].line;
            let missing = || DecodeError::new("branch to a label that is not there").at(line);
            match &mut self.program.code[at].op {
                Op::Bra { target } => *target = place(*target).ok_or_else(missing)?,
                Op::Brx { targets, .. } => {
                    for target in targets.iter_mut() {
                        *target = place(*target).ok_or_else(missing)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A label of the current scopes.
    fn label(&self, name: &str) -> Result<u32, DecodeError> {
        let id = self.state.scopes.label(name);
        id.ok_or_else(|| DecodeError::new(format!("there is no label `{name}`")))
    }

    fn signature(&self, function: &Function) -> FunctionInfo {
        let (returns, params, frame) = place::formals(function);
        FunctionInfo {
            name: function.name.clone(),
            kernel: function.kernel,
            params,
            returns,
            frame_words: frame.div_ceil(4),
            max_block: function.max_block,
            required_block: function.required_block,
            cluster: function.cluster,
            max_registers: function.max_registers,
            dynamic_align: 16,
            ..FunctionInfo::default()
        }
    }
}

/// Fails unless there are this many operands.
fn count(operands: &[Operand], wanted: usize) -> Result<(), DecodeError> {
    if operands.len() == wanted {
        return Ok(());
    }
    let found = operands.len();
    Err(DecodeError::new(format!("has {found} operands, needs {wanted}")))
}
