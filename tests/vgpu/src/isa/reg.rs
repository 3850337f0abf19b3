//! Register slots.

/// What a register slot holds for each lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Class {
    /// 32 bits; also the narrower registers.
    Word,
    /// 64 bits.
    Double,
    /// A predicate.
    Predicate,
}

/// A register slot of a warp, or a constant that all lanes share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reg(u32);

const CONSTANT: u32 = 1 << 31;
const INDEX: u32 = (1 << 28) - 1;

impl Reg {
    /// No register: a sink, or an operand that is not there.
    pub const NONE: Reg = Reg(u32::MAX);

    /// Slot `index` of a class.
    pub const fn slot(class: Class, index: u32) -> Reg {
        Reg((class as u32) << 28 | index & INDEX)
    }

    /// Entry `index` of the constant pool of a class.
    pub const fn constant(class: Class, index: u32) -> Reg {
        Reg(CONSTANT | (class as u32) << 28 | index & INDEX)
    }

    /// Whether it is a constant.
    #[inline(always)]
    pub const fn is_constant(self) -> bool {
        self.0 & CONSTANT != 0
    }

    /// Whether there is a register at all.
    #[inline(always)]
    pub fn is_some(self) -> bool {
        self != Reg::NONE
    }

    /// Index in the slots or constants of its class.
    #[inline(always)]
    pub const fn index(self) -> usize {
        (self.0 & INDEX) as usize
    }

    /// Its class.
    #[inline(always)]
    pub const fn class(self) -> Class {
        match self.0 >> 28 & 3 {
            0 => Class::Word,
            1 => Class::Double,
            _ => Class::Predicate,
        }
    }
}

impl core::fmt::Debug for Reg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        if !self.is_some() {
            return write!(f, "_");
        }
        let class = ["w", "d", "p"][self.class() as usize];
        write!(f, "{}{class}{}", if self.is_constant() { "#" } else { "" }, self.index())
    }
}
