//! Where variables and parameters live.

use super::scope::Symbol;
use super::{DecodeError, Decoder};
use crate::isa::program::Formal;
use crate::isa::reg::{Class, Reg};
use crate::isa::{Addr, Base};
use crate::isa::{Element8, Op, Order, Space};
use crate::ptx::{Function, StateSpace, Variable};

/// Places of return values and parameters, and the bytes they take. In frames everything starts
/// at a multiple of eight, so that copies go word by word.
pub(super) fn formals(function: &Function) -> (Vec<Formal>, Vec<Formal>, u32) {
    let mut at = 0u32;
    let kernel = function.kernel;
    let mut place = |v: &Variable| {
        let size = v.bytes() as u32;
        let align = if kernel { v.align.max(1) } else { v.align.max(8) };
        at = at.next_multiple_of(align);
        let offset = at;
        at += if kernel { size } else { size.next_multiple_of(4) };
        Formal { offset, size, align: v.align }
    };
    let returns = function.returns.iter().map(&mut place).collect();
    let params = function.params.iter().map(&mut place).collect();
    (returns, params, at)
}

impl Decoder<'_> {
    /// Gives the function's parameters their places; `.reg` ones are loaded on entry.
    pub(super) fn place_parameters(&mut self, index: usize, function: &Function) -> Result<(), DecodeError> {
        let info = self.program.functions[index].clone();
        if !function.kernel {
            self.state.frame_bytes = info.frame_words * 4;
        }
        for (variable, formal) in function.params.iter().zip(&info.params) {
            if variable.space == StateSpace::Reg {
                for (reg, at) in self.register_parameter(variable, formal.offset)? {
                    self.load_register(reg, at, true);
                }
                continue;
            }
            let symbol =
                if function.kernel { Symbol::Param(formal.offset) } else { Symbol::Frame(formal.offset, formal.size) };
            self.state.scopes.inner().symbols.insert(variable.name.clone(), symbol);
        }
        for (variable, formal) in function.returns.iter().zip(&info.returns) {
            if variable.space == StateSpace::Reg {
                let registers = self.register_parameter(variable, formal.offset)?;
                self.state.register_returns.extend(registers);
                continue;
            }
            let symbol = Symbol::Frame(formal.offset, formal.size);
            self.state.scopes.inner().symbols.insert(variable.name.clone(), symbol);
        }
        Ok(())
    }

    /// The registers of a `.reg` parameter and their places in the frame.
    fn register_parameter(&mut self, variable: &Variable, offset: u32) -> Result<Vec<(Reg, u32)>, DecodeError> {
        self.registers(&variable.element, variable.lanes, &[(variable.name.clone(), None)])?;
        let set = self.state.scopes.register(&variable.name);
        let set = set.ok_or_else(|| DecodeError::new("a parameter lacks a name"))?;
        let step = variable.element_bytes / variable.lanes.max(1);
        let reg = |i: u32| (Reg::slot(set.class, set.base + i), offset + i * step);
        Ok((0..variable.lanes).map(reg).collect())
    }

    /// Loads a register from the frame; predicates lie there as words.
    pub(super) fn load_register(&mut self, reg: Reg, offset: u32, unguarded: bool) {
        let word = if reg.class() == Class::Predicate { self.temp(Class::Word) } else { reg };
        let element = Element8 { bytes: reg_bytes(word), signed: false };
        let load = self.frame_access(word, offset, element, false);
        let guard = self.state.guard;
        if unguarded {
            self.state.guard = None;
        }
        self.push(load, true);
        if word != reg {
            self.push(Op::ToPredicate { d: reg, a: word }, true);
        }
        self.state.guard = guard;
    }

    /// Stores a register to the frame.
    pub(super) fn store_register(&mut self, reg: Reg, offset: u32) {
        let mut word = reg;
        if reg.class() == Class::Predicate {
            word = self.temp(Class::Word);
            let (a, b) = (self.word(1), self.word(0));
            self.push(Op::Selp { d: word, a, b, p: reg }, true);
        }
        let element = Element8 { bytes: reg_bytes(word), signed: false };
        let store = self.frame_access(word, offset, element, true);
        self.push(store, true);
    }

    /// A load from or a store to the frame of call parameters.
    pub(super) fn frame_access(&mut self, reg: Reg, offset: u32, element: Element8, store: bool) -> Op {
        let addr = Addr { base: Base::Reg(self.double(offset.into())), offset: 0 };
        let (space, order) = (Space::Frame, Order::Weak);
        if store {
            Op::Store { space, order, element, src: Box::new([reg]), addr }
        } else {
            Op::Load { space, order, element, d: Box::new([reg]), addr }
        }
    }

    /// Stores `.reg` return values before a `ret`.
    pub(super) fn return_values(&mut self) {
        for (reg, offset) in self.state.register_returns.clone() {
            self.store_register(reg, offset);
        }
    }

    /// Room in the frame for a parameter of a call.
    pub(super) fn frame_room(&mut self, bytes: u32, align: u32) -> Result<u32, DecodeError> {
        let at = self.state.frame_bytes.next_multiple_of(align.max(8));
        if u64::from(at) + u64::from(bytes) > 1 << 20 {
            return Err(DecodeError::new("parameters of calls are too large"));
        }
        self.state.frame_bytes = at + bytes.next_multiple_of(4);
        Ok(at)
    }

    /// Gives a variable of a function body its place.
    pub(super) fn place_variable(&mut self, variable: &Variable) -> Result<(), DecodeError> {
        let bytes = variable.bytes();
        if bytes > 1 << 28 && variable.space != StateSpace::Global {
            return Err(DecodeError::new(format!("`{}` is too large", variable.name)));
        }
        let symbol = match variable.space {
            StateSpace::Param => {
                let bytes = (bytes as u32).max(4);
                Symbol::Frame(self.frame_room(bytes, variable.align)?, bytes)
            }
            StateSpace::Local => {
                let at = self.state.local_bytes.next_multiple_of(variable.align.max(1));
                self.state.local_bytes = at + bytes as u32;
                Symbol::Local(at)
            }
            StateSpace::Shared => self.place_shared(variable),
            StateSpace::Global | StateSpace::Const => {
                let key = format!("{}\0{}", self.state.function, variable.name);
                let address = self.layout.addresses.get(&key);
                Symbol::Global(*address.ok_or_else(|| DecodeError::new(format!("`{}` has no address", variable.name)))?)
            }
            StateSpace::Reg => return Err(DecodeError::new("`.reg` is not a variable here")),
        };
        self.state.scopes.inner().symbols.insert(variable.name.clone(), symbol);
        Ok(())
    }

    fn place_shared(&mut self, variable: &Variable) -> Symbol {
        if variable.external || variable.count == 0 {
            self.state.dynamic_align = self.state.dynamic_align.max(variable.align);
            self.state.dynamic_shared = true;
            return Symbol::DynamicShared(variable.align);
        }
        let kernel = self.state.kernel;
        let end = if kernel { self.state.shared_bytes } else { self.common_shared_bytes };
        let at = end.next_multiple_of(variable.align.max(1));
        let end = at.saturating_add(variable.bytes() as u32);
        if kernel {
            self.state.shared_bytes = end;
        } else {
            self.common_shared_bytes = end;
        }
        Symbol::Shared(at)
    }

    /// A variable or function of the module.
    pub(super) fn module_symbol(&mut self, name: &str) -> Option<Symbol> {
        if let Some(symbol) = self.state.shared.get(name).or(self.common_shared.get(name)) {
            return Some(*symbol);
        }
        if let Some(address) = self.layout.addresses.get(name) {
            return Some(Symbol::Global(*address));
        }
        if let Some(index) = self.function_index.get(name) {
            return Some(Symbol::Function(*index));
        }
        let file = self.file;
        let variable = file.variables.iter().find(|v| v.name == name)?;
        if variable.space != StateSpace::Shared {
            return None;
        }
        let symbol = self.place_shared(variable);
        if self.state.kernel {
            self.state.shared.insert(name.to_string(), symbol);
        } else if let Symbol::Shared(_) = symbol {
            self.common_shared.insert(name.to_string(), symbol);
        }
        Some(symbol)
    }
}

/// Bytes that a register holds.
pub(super) fn reg_bytes(reg: Reg) -> u8 {
    if reg.class() == Class::Double { 8 } else { 4 }
}
