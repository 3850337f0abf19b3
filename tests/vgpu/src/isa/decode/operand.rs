//! Operands to register slots.

use super::mods::Ty;
use super::scope::Symbol;
use super::{DecodeError, Decoder};
use crate::isa::alu::{Alu, Width};
use crate::isa::reg::{Class, Reg};
use crate::isa::{Addr, Base, Op, Space, Special};
use crate::ptx::Operand;

type Result<T> = std::result::Result<T, DecodeError>;

impl Decoder<'_> {
    /// A fresh register.
    pub(super) fn temp(&mut self, class: Class) -> Reg {
        let index = self.state.slots[class as usize];
        self.state.slots[class as usize] += 1;
        Reg::slot(class, index)
    }

    /// A constant word.
    pub(super) fn word(&mut self, value: u32) -> Reg {
        let words = &mut self.program.words;
        let index = *self.word_index.entry(value).or_insert_with(|| {
            words.push(value);
            words.len() as u32 - 1
        });
        Reg::constant(Class::Word, index)
    }

    /// A constant double.
    pub(super) fn double(&mut self, value: u64) -> Reg {
        let doubles = &mut self.program.doubles;
        let index = *self.double_index.entry(value).or_insert_with(|| {
            doubles.push(value);
            doubles.len() as u32 - 1
        });
        Reg::constant(Class::Double, index)
    }

    /// A constant predicate.
    pub(super) fn predicate(value: bool) -> Reg {
        Reg::constant(Class::Predicate, value.into())
    }

    fn constant(&mut self, value: u64, width: Width) -> Reg {
        match width {
            Width::W => self.word(value as u32),
            Width::D => self.double(value),
        }
    }

    /// An element-wise helper that brings an operand into shape.
    pub(super) fn convert(&mut self, f: Alu, class: Class, a: Reg) -> Reg {
        let d = self.temp(class);
        self.helper(Op::Alu { f, d, a, b: Reg::NONE, c: Reg::NONE });
        d
    }

    /// The register of a name, `v.x` of vectors too.
    fn named(&self, name: &str) -> Option<Reg> {
        if let Some(set) = self.state.scopes.register(name) {
            return (set.lanes == 1).then(|| Reg::slot(set.class, set.base));
        }
        let (vector, part) = name.rsplit_once('.')?;
        let lane = ["x", "y", "z", "w", "r", "g", "b", "a"].iter().position(|p| *p == part)? % 4;
        let set = self.state.scopes.register(vector)?;
        (lane < set.lanes as usize).then(|| Reg::slot(set.class, set.base + lane as u32))
    }

    /// What a symbol stands for.
    pub(super) fn symbol(&mut self, name: &str) -> Option<Symbol> {
        if let Some(symbol) = self.state.scopes.symbol(name) {
            return Some(symbol);
        }
        self.module_symbol(name)
    }

    /// Brings a register of whatever class to a width.
    fn fit(&mut self, reg: Reg, width: Width) -> Result<Reg> {
        Ok(match (reg.class(), width) {
            (Class::Word, Width::W) | (Class::Double, Width::D) => reg,
            (Class::Double, Width::W) => self.convert(Alu::Low, Class::Word, reg),
            (Class::Word, Width::D) => self.convert(Alu::ZeroExtend, Class::Double, reg),
            (Class::Predicate, _) => {
                return Err(DecodeError::new("a predicate stands where a number is expected"));
            }
        })
    }

    /// A source operand of a type.
    pub(super) fn src(&mut self, operand: &Operand, ty: Ty) -> Result<Reg> {
        self.src_wide(operand, ty, ty.width())
    }

    /// A source operand of a type in a register of a width.
    pub(super) fn src_wide(&mut self, operand: &Operand, ty: Ty, width: Width) -> Result<Reg> {
        match operand {
            Operand::Int(value) => {
                let value = match ty {
                    Ty::F32 => u64::from((*value as i64 as f32).to_bits()),
                    Ty::F64 => (*value as i64 as f64).to_bits(),
                    _ => *value,
                };
                Ok(self.constant(value, width))
            }
            Operand::F32(bits) => {
                let value = match ty {
                    Ty::F64 => f64::from(f32::from_bits(*bits)).to_bits(),
                    _ => u64::from(*bits),
                };
                Ok(self.constant(value, width))
            }
            Operand::F64(bits) => {
                let value = match ty {
                    Ty::F32 => u64::from((f64::from_bits(*bits) as f32).to_bits()),
                    _ if ty.bits() == 32 => u64::from((f64::from_bits(*bits) as f32).to_bits()),
                    _ => *bits,
                };
                Ok(self.constant(value, width))
            }
            Operand::Name(name) => {
                if let Some(reg) = self.named(name) {
                    return self.fit(reg, width);
                }
                if let Some(which) = special(name) {
                    let class = special_class(which);
                    let d = self.temp(class);
                    self.helper(Op::Special { d, which });
                    return self.fit(d, width);
                }
                let symbol = self.symbol(name).ok_or_else(|| unknown(name))?;
                self.symbol_value(symbol, 0, width)
            }
            Operand::Offset(name, offset) => {
                if let Some(reg) = self.named(name) {
                    // ptxas takes a sum of a register and a number wherever it takes a register.
                    let reg = self.fit(reg, width)?;
                    let b = self.constant(*offset as u64, width);
                    let (class, f) = match width {
                        Width::W => (Class::Word, Alu::Add32),
                        Width::D => (Class::Double, Alu::Add64),
                    };
                    let d = self.temp(class);
                    self.helper(Op::Alu { f, d, a: reg, b, c: Reg::NONE });
                    return Ok(d);
                }
                let symbol = self.symbol(name).ok_or_else(|| unknown(name))?;
                self.symbol_value(symbol, *offset, width)
            }
            Operand::Vector(items) if items.len() == 1 => self.src_wide(&items[0], ty, width),
            Operand::Sink => Ok(self.constant(0, width)),
            other => Err(DecodeError::new(format!("{} is not a number", shown(other)))),
        }
    }

    /// The address of a symbol within its space.
    fn symbol_value(&mut self, symbol: Symbol, offset: i64, width: Width) -> Result<Reg> {
        let plain = match symbol {
            Symbol::Global(address) => address,
            Symbol::Shared(at) | Symbol::Param(at) => u64::from(at),
            Symbol::Frame(at, _) => u64::from(at),
            Symbol::Function(index) => crate::isa::program::function_address(index),
            Symbol::Local(at) => {
                let d = self.temp(Class::Word);
                let at = at.wrapping_add(offset as u32);
                self.helper(Op::Special { d, which: Special::LocalFrame(at) });
                return self.fit(d, width);
            }
            Symbol::DynamicShared(_) => {
                let d = self.temp(Class::Word);
                self.helper(Op::Special { d, which: Special::DynamicSharedBase });
                let sum = if offset == 0 {
                    d
                } else {
                    let (sum, b) = (self.temp(Class::Word), self.word(offset as u32));
                    self.helper(Op::Alu { f: Alu::Add32, d: sum, a: d, b, c: Reg::NONE });
                    sum
                };
                return self.fit(sum, width);
            }
        };
        Ok(self.constant(plain.wrapping_add(offset as u64), width))
    }

    /// A destination operand of a type.
    pub(super) fn dst(&mut self, operand: &Operand, ty: Ty) -> Result<Reg> {
        self.dst_wide(operand, ty.width(), ty.signed())
    }

    /// A destination in a register of a width; a wider register gets the value extended.
    pub(super) fn dst_wide(&mut self, operand: &Operand, width: Width, signed: bool) -> Result<Reg> {
        let class = if width == Width::D { Class::Double } else { Class::Word };
        let name = match operand {
            Operand::Sink => return Ok(self.temp(class)),
            Operand::Name(name) => name,
            Operand::Vector(items) if items.len() == 1 => {
                return self.dst_wide(&items[0], width, signed);
            }
            other => {
                return Err(DecodeError::new(format!("{} is not a register", shown(other))));
            }
        };
        let reg = self.named(name).ok_or_else(|| DecodeError::new(format!("`{name}` is not a declared register")))?;
        match (reg.class(), width) {
            (Class::Word, Width::W) | (Class::Double, Width::D) => Ok(reg),
            (Class::Double, Width::W) => {
                let temp = self.temp(Class::Word);
                let f = if signed { Alu::SignExtend } else { Alu::ZeroExtend };
                self.state.after.push(Op::Alu { f, d: reg, a: temp, b: Reg::NONE, c: Reg::NONE });
                Ok(temp)
            }
            (Class::Word, Width::D) => Err(DecodeError::new(format!("`{name}` is too narrow for a 64-bit result"))),
            (Class::Predicate, _) => Err(DecodeError::new(format!("`{name}` is a predicate"))),
        }
    }

    /// A predicate to write; a sink gets one of its own.
    pub(super) fn dst_predicate(&mut self, operand: &Operand) -> Result<Reg> {
        match operand {
            Operand::Sink => Ok(self.temp(Class::Predicate)),
            Operand::Name(name) => match self.named(name) {
                Some(reg) if reg.class() == Class::Predicate => Ok(reg),
                _ => Err(DecodeError::new(format!("`{name}` is not a predicate register"))),
            },
            other => Err(DecodeError::new(format!("{} is not a predicate", shown(other)))),
        }
    }

    /// A predicate to read, and whether it is negated.
    pub(super) fn src_predicate(&mut self, operand: &Operand) -> Result<(Reg, bool)> {
        let (name, negate) = match operand {
            Operand::Name(name) => (name, false),
            Operand::Not(name) => (name, true),
            Operand::Int(value) => return Ok((Self::predicate(*value != 0), false)),
            other => return Err(DecodeError::new(format!("{} is not a predicate", shown(other)))),
        };
        match self.named(name) {
            Some(reg) if reg.class() == Class::Predicate => Ok((reg, negate)),
            _ => Err(DecodeError::new(format!("`{name}` is not a predicate register"))),
        }
    }

    /// A predicate to read, as one register.
    pub(super) fn src_positive(&mut self, operand: &Operand) -> Result<Reg> {
        let (a, negate) = self.src_predicate(operand)?;
        if !negate {
            return Ok(a);
        }
        let d = self.temp(Class::Predicate);
        let (logic, b) = (crate::isa::Logic::Xor, Self::predicate(true));
        self.helper(Op::Predicate { logic, d, a, b });
        Ok(d)
    }

    /// Whether an operand names a predicate register.
    pub(super) fn is_predicate(&self, operand: &Operand) -> bool {
        match operand {
            Operand::Name(name) | Operand::Not(name) => self.named(name).is_some_and(|r| r.class() == Class::Predicate),
            _ => false,
        }
    }

    /// The operands of a vector, a vector register, or one operand.
    pub(super) fn elements(&self, operand: &Operand) -> Vec<Operand> {
        match operand {
            Operand::Vector(items) => items.clone(),
            Operand::Name(name) => match self.state.scopes.register(name) {
                Some(set) if set.lanes > 1 => (0..set.lanes as usize)
                    .map(|i| Operand::Name(format!("{name}.{}", ["x", "y", "z", "w"][i])))
                    .collect(),
                _ => vec![operand.clone()],
            },
            _ => vec![operand.clone()],
        }
    }

    /// An address operand, and the space that its symbol implies.
    pub(super) fn address(&mut self, operand: &Operand) -> Result<(Addr, Option<Space>)> {
        let (base, offset) = match operand {
            Operand::Address { base, offset, .. } => (base.clone(), *offset),
            Operand::Name(name) => (Some(name.clone()), 0),
            Operand::Offset(name, offset) => (Some(name.clone()), *offset),
            other => return Err(DecodeError::new(format!("{} is not an address", shown(other)))),
        };
        let Some(name) = base else {
            let base = Base::Reg(self.double(offset as u64));
            return Ok((Addr { base, offset: 0 }, None));
        };
        if let Some(reg) = self.named(&name) {
            if reg.class() == Class::Predicate {
                return Err(DecodeError::new(format!("`{name}` is a predicate")));
            }
            return Ok((Addr { base: Base::Reg(reg), offset }, None));
        }
        let symbol = self.symbol(&name).ok_or_else(|| unknown(&name))?;
        let constant = |me: &mut Self, at: u64| {
            let base = Base::Reg(me.double(at.wrapping_add(offset as u64)));
            Addr { base, offset: 0 }
        };
        Ok(match symbol {
            Symbol::Global(at) => (constant(self, at), Some(Space::Global)),
            Symbol::Shared(at) => (constant(self, at.into()), Some(Space::Shared)),
            Symbol::Frame(at, _) => (constant(self, at.into()), Some(Space::Frame)),
            Symbol::Param(at) => (constant(self, at.into()), Some(Space::Param)),
            Symbol::Local(at) => {
                let offset = i64::from(at) + offset;
                (Addr { base: Base::Frame, offset }, Some(Space::Local))
            }
            Symbol::DynamicShared(_) => {
                let d = self.temp(Class::Word);
                self.helper(Op::Special { d, which: Special::DynamicSharedBase });
                (Addr { base: Base::Reg(d), offset }, Some(Space::Shared))
            }
            Symbol::Function(_) => {
                return Err(DecodeError::new(format!("`{name}` is a function")));
            }
        })
    }
}

fn unknown(name: &str) -> DecodeError {
    DecodeError::new(format!("`{name}` is not declared"))
}

/// An operand for messages.
pub(super) fn shown(operand: &Operand) -> String {
    match operand {
        Operand::Name(name) | Operand::Not(name) | Operand::Offset(name, _) => format!("`{name}`"),
        Operand::Int(value) => format!("`{}`", *value as i64),
        Operand::Address { .. } => "an address".into(),
        Operand::Vector(_) => "a vector".into(),
        Operand::List(_) => "a list".into(),
        Operand::Pair(..) => "a pair".into(),
        Operand::Sink => "`_`".into(),
        _ => "a number".into(),
    }
}

/// The special register of a name.
fn special(name: &str) -> Option<Special> {
    let axis = |part: &str| ["x", "y", "z", "w"].iter().position(|p| *p == part).map(|i| i as u8);
    if let Some((base, part)) = name.rsplit_once('.') {
        let i = axis(part)?;
        return Some(match base {
            "%tid" => Special::Tid(i),
            "%ntid" => Special::Ntid(i),
            "%ctaid" => Special::Ctaid(i),
            "%nctaid" => Special::Nctaid(i),
            "%clusterid" => Special::ClusterId(i),
            "%nclusterid" => Special::NClusterId(i),
            "%cluster_ctaid" => Special::ClusterCtaid(i),
            "%cluster_nctaid" => Special::ClusterNctaid(i),
            _ => return None,
        });
    }
    if let Some(number) = name.strip_prefix("%envreg") {
        return number.parse().ok().filter(|n| *n < 32).map(Special::EnvReg);
    }
    if name.starts_with("%pm") && name[3..].chars().all(|c| c.is_ascii_digit() || c == '_') {
        return Some(Special::Zero);
    }
    Some(match name {
        "%laneid" => Special::LaneId,
        "%warpid" => Special::WarpId,
        "%nwarpid" => Special::NWarpId,
        "%smid" => Special::SmId,
        "%nsmid" => Special::NSmId,
        "%gridid" => Special::GridId,
        "%clock" => Special::Clock,
        "%clock_hi" => Special::ClockHi,
        "%clock64" => Special::Clock64,
        "%globaltimer" => Special::GlobalTimer,
        "%globaltimer_lo" => Special::GlobalTimerLo,
        "%globaltimer_hi" => Special::GlobalTimerHi,
        "%lanemask_eq" => Special::LaneMaskEq,
        "%lanemask_le" => Special::LaneMaskLe,
        "%lanemask_lt" => Special::LaneMaskLt,
        "%lanemask_ge" => Special::LaneMaskGe,
        "%lanemask_gt" => Special::LaneMaskGt,
        "%dynamic_smem_size" => Special::DynamicSharedSize,
        "%total_smem_size" | "%aggr_smem_size" => Special::TotalSharedSize,
        "%reserved_smem_offset_begin" | "%reserved_smem_offset_end" => Special::Zero,
        "%cluster_ctarank" => Special::ClusterCtarank,
        "%cluster_nctarank" => Special::ClusterNctarank,
        "%is_explicit_cluster" => Special::IsExplicitCluster,
        _ => return None,
    })
}

fn special_class(which: Special) -> Class {
    match which {
        Special::Clock64 | Special::GlobalTimer | Special::GridId => Class::Double,
        Special::IsExplicitCluster => Class::Predicate,
        _ => Class::Word,
    }
}
