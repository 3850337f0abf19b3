//! Branches, calls and the ends of threads.

use super::mods::{Mods, Ty};
use super::scope::Symbol;
use super::{DecodeError, Decoder, count};
use crate::isa::reg::{Class, Reg};
use crate::isa::{Call, Op, SystemCall};
use crate::ptx::{Operand, Variable};

type Result<T> = std::result::Result<T, DecodeError>;

/// Bytes and alignment of the parameters of a function.
type Shape = (Vec<u32>, Vec<u32>);

impl Decoder<'_> {
    pub(super) fn control(&mut self, m: &mut Mods<'_>, o: &[Operand]) -> Result<()> {
        m.take("uni");
        match m.name {
            "bra" => {
                m.finish()?;
                count(o, 1)?;
                let Operand::Name(name) = &o[0] else { return Err(m.unsupported()) };
                let target = self.label(name)?;
                self.state.branches.push(self.program.code.len());
                self.emit(Op::Bra { target });
            }
            "brx" => {
                m.take("idx");
                m.finish()?;
                count(o, 2)?;
                let index = self.src(&o[0], Ty::Unsigned(32))?;
                let Operand::Name(table) = &o[1] else { return Err(m.unsupported()) };
                let names = self.state.scopes.table(table);
                let names = names.ok_or_else(|| DecodeError::new(format!("no table `{table}`")))?;
                let mut targets = Vec::new();
                for name in &names {
                    targets.push(self.label(name)?);
                }
                self.state.branches.push(self.program.code.len());
                self.emit(Op::Brx { index, targets: targets.into() });
            }
            "call" => {
                m.finish()?;
                return self.call(o);
            }
            "ret" => {
                m.finish()?;
                self.return_values();
                self.emit(if self.state.kernel { Op::Exit } else { Op::Ret });
            }
            "exit" => {
                m.finish()?;
                self.emit(Op::Exit);
            }
            "trap" | "brkpt" => {
                m.finish()?;
                self.emit(Op::Trap);
            }
            "nanosleep" => {
                m.drop_if(|_| true);
                self.emit(Op::Yield);
            }
            // pmevent, setmaxnreg, griddepcontrol: no effect that a kernel can see here, since a
            // launch starts when the one before it has ended.
            _ => {
                m.drop_if(|_| true);
                self.emit(Op::Nop);
            }
        }
        Ok(())
    }

    fn call(&mut self, o: &[Operand]) -> Result<()> {
        let (returns, rest) = match o {
            [Operand::List(returns), rest @ ..] => (returns.as_slice(), rest),
            rest => (&[][..], rest),
        };
        let Some((Operand::Name(name), rest)) = rest.split_first() else {
            return Err(DecodeError::new("lacks a function"));
        };
        let (args, hint) = match rest {
            [Operand::List(args), hint @ ..] => (args.as_slice(), hint.first()),
            hint => (&[][..], hint.first()),
        };
        let system = match name.as_str() {
            "vprintf" => Some(SystemCall::Printf),
            "__assertfail" => Some(SystemCall::AssertFail),
            "malloc" => Some(SystemCall::Malloc),
            "free" => Some(SystemCall::Free),
            _ => None,
        };
        let direct = self.function_index.get(name.as_str()).copied();
        let (shape, target) = match (direct, system) {
            (Some(index), _) => {
                let info = &self.program.functions[index as usize];
                if info.kernel {
                    return Err(DecodeError::new(format!("`{name}` is a kernel")));
                }
                let sizes = |v: &[crate::isa::Formal]| v.iter().map(|f| f.size).collect::<Vec<_>>();
                let shape: Shape = (sizes(&info.returns), sizes(&info.params));
                if !self.state.callees.contains(&index) {
                    self.state.callees.push(index);
                }
                (Some(shape), Some(Ok(index)))
            }
            (None, Some(_)) => (self.declared_shape(name), None),
            (None, None) => {
                if self.declared_shape(name).is_some() {
                    return Err(DecodeError::new(format!("`{name}` has no body")));
                }
                let reg = self.src(&Operand::Name(name.clone()), Ty::Bits(64))?;
                self.state.indirect = true;
                let shape = match hint {
                    Some(Operand::Name(prototype)) => self
                        .state
                        .scopes
                        .prototype(prototype)
                        .map(|(r, p)| (r.iter().map(|w| w * 4).collect(), p.iter().map(|w| w * 4).collect())),
                    _ => None,
                };
                (shape, Some(Err(reg)))
            }
        };
        if let Some((r, p)) = &shape
            && (r.len() != returns.len() || p.len() != args.len())
        {
            return Err(DecodeError::new(format!("`{name}` takes other parameters")));
        }
        let mut places = Vec::new();
        for (i, arg) in args.iter().enumerate() {
            let bytes = shape.as_ref().map(|(_, p)| p[i]);
            places.push(self.argument(arg, bytes)?);
        }
        let mut results = Vec::new();
        let mut loads = Vec::new();
        for (i, operand) in returns.iter().enumerate() {
            let bytes = shape.as_ref().map(|(r, _)| r[i]);
            results.push(self.result(operand, bytes, &mut loads)?);
        }
        let (args, returns) = (places.into(), results.into());
        match (target, system) {
            (Some(target), _) => self.emit(Op::Call(Box::new(Call { target, args, returns }))),
            (None, Some(call)) => self.emit(Op::System { call, args, returns }),
            (None, None) => return Err(DecodeError::new("lacks a function")),
        }
        for (reg, offset) in loads {
            self.load_register(reg, offset, false);
        }
        Ok(())
    }

    fn declared_shape(&self, name: &str) -> Option<Shape> {
        let function = self.file.functions.iter().find(|f| f.name == name)?;
        let sizes = |v: &[Variable]| v.iter().map(|p| p.bytes() as u32).collect();
        Some((sizes(&function.returns), sizes(&function.params)))
    }

    /// Where an argument lies in the frame, and its words; numbers are stored there first.
    fn argument(&mut self, operand: &Operand, bytes: Option<u32>) -> Result<(u32, u32)> {
        if let Operand::Name(name) = operand
            && let Some(Symbol::Frame(at, size)) = self.symbol(name)
        {
            return Ok((at, bytes.map_or(size, |b| b.min(size.next_multiple_of(4))).div_ceil(4)));
        }
        let set = match operand {
            Operand::Name(name) => self.state.scopes.register(name),
            _ => None,
        };
        let at = self.frame_room(32, 16)?;
        if let Some(set) = set.filter(|s| s.lanes > 1 || s.class == Class::Predicate) {
            let step = if set.class == Class::Double { 8 } else { 4 };
            let step = bytes.map_or(step, |b| (b / set.lanes).max(1));
            for i in 0..set.lanes {
                self.store_register(Reg::slot(set.class, set.base + i), at + i * step);
            }
            return Ok((at, (set.lanes * step).div_ceil(4)));
        }
        let double = set.map_or(bytes == Some(8), |s| s.class == Class::Double);
        let ty = if double { Ty::Bits(64) } else { Ty::Bits(32) };
        let reg = self.src(operand, ty)?;
        self.store_register(reg, at);
        Ok((at, ty.bits() / 32))
    }

    fn result(&mut self, operand: &Operand, bytes: Option<u32>, loads: &mut Vec<(Reg, u32)>) -> Result<(u32, u32)> {
        if let Operand::Name(name) = operand
            && let Some(Symbol::Frame(at, size)) = self.symbol(name)
        {
            return Ok((at, size.div_ceil(4)));
        }
        let at = self.frame_room(32, 16)?;
        let Operand::Name(name) = operand else { return Ok((at, 2)) };
        let set = self.state.scopes.register(name);
        let set = set.ok_or_else(|| DecodeError::new(format!("`{name}` is not declared")))?;
        let step = if set.class == Class::Double { 8 } else { 4 };
        let step = bytes.map_or(step, |b| (b / set.lanes).max(1));
        for i in 0..set.lanes {
            loads.push((Reg::slot(set.class, set.base + i), at + i * step));
        }
        Ok((at, (set.lanes * step).div_ceil(4)))
    }
}
