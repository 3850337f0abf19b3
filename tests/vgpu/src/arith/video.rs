//! Video instructions: scalar ones on a selected part of a word, and SIMD on its bytes or halves.

use super::compare::{self, Relation};

/// A part of a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Part {
    /// All of it.
    #[default]
    Word,
    /// `.h0`, `.h1`.
    Half(u8),
    /// `.b0` to `.b3`.
    Byte(u8),
}

impl Part {
    fn bits(self) -> u32 {
        match self {
            Part::Word => 32,
            Part::Half(_) => 16,
            Part::Byte(_) => 8,
        }
    }

    fn shift(self) -> u32 {
        match self {
            Part::Word => 0,
            Part::Half(i) => 16 * u32::from(i),
            Part::Byte(i) => 8 * u32::from(i),
        }
    }

    fn select(self, word: u32, signed: bool) -> i64 {
        extend(word >> self.shift(), self.bits(), signed)
    }
}

/// The low `bits` of a word as a number.
fn extend(word: u32, bits: u32, signed: bool) -> i64 {
    let up = 64 - bits;
    let raw = u64::from(word) << up;
    if signed { raw as i64 >> up } else { (raw >> up) as i64 }
}

fn clamp(x: i64, bits: u32, signed: bool) -> i64 {
    if signed { x.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { x.clamp(0, (1 << bits) - 1) }
}

/// First operation of a video instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Primary {
    /// `vadd`.
    Add,
    /// `vsub`.
    Sub,
    /// `vabsdiff`.
    AbsDiff,
    /// `vmin`.
    Min,
    /// `vmax`.
    Max,
    /// `vavrg2`, `vavrg4`: half the sum, rounded away from zero.
    Average,
    /// `vshl.clamp`.
    ShlClamp,
    /// `vshl.wrap`.
    ShlWrap,
    /// `vshr.clamp`.
    ShrClamp,
    /// `vshr.wrap`.
    ShrWrap,
    /// `vset`.
    Set(Relation),
}

impl Primary {
    fn apply(self, a: i64, b: i64) -> i64 {
        let amount = |wrap: bool| if wrap { b & 31 } else { b.clamp(0, 32) };
        match self {
            Primary::Add => a + b,
            Primary::Sub => a - b,
            Primary::AbsDiff => (a - b).abs(),
            Primary::Min => a.min(b),
            Primary::Max => a.max(b),
            Primary::Average => {
                let sum = a + b;
                (sum + i64::from(sum >= 0)) >> 1
            }
            Primary::ShlClamp => a << amount(false),
            Primary::ShlWrap => a << amount(true),
            Primary::ShrClamp => a >> amount(false),
            Primary::ShrWrap => a >> amount(true),
            Primary::Set(relation) => i64::from(compare::integer(relation, a, b)),
        }
    }
}

/// What happens to the first result and the third operand of a scalar video instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Secondary {
    /// Nothing: there is no third operand.
    #[default]
    None,
    /// `.add`.
    Add,
    /// `.min`.
    Min,
    /// `.max`.
    Max,
    /// A selector on the destination: the part replaces that part of `c`.
    Merge(Part),
}

/// A scalar video instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Scalar {
    /// First operation.
    pub primary: Primary,
    /// Destination is `.s32`.
    pub d_signed: bool,
    /// First operand is `.s32`.
    pub a_signed: bool,
    /// Second operand is `.s32`.
    pub b_signed: bool,
    /// Selector of the first operand.
    pub a_part: Part,
    /// Selector of the second operand.
    pub b_part: Part,
    /// `.sat`.
    pub sat: bool,
    /// Second operation.
    pub secondary: Secondary,
}

impl Scalar {
    /// The instruction's result.
    pub fn run(&self, a: u32, b: u32, c: u32) -> u32 {
        let x = self.a_part.select(a, self.a_signed);
        let y = self.b_part.select(b, self.b_signed);
        self.finish(self.primary.apply(x, y), c)
    }

    fn finish(&self, first: i64, c: u32) -> u32 {
        let part = if let Secondary::Merge(part) = self.secondary { part } else { Part::Word };
        let first = if self.sat { clamp(first, part.bits(), self.d_signed) } else { first };
        let word = first as u32;
        let pick = |smaller: bool| {
            let less = if self.d_signed { (word as i32) < c as i32 } else { word < c };
            if less == smaller { word } else { c }
        };
        match self.secondary {
            Secondary::None => word,
            Secondary::Add => word.wrapping_add(c),
            Secondary::Min => pick(true),
            Secondary::Max => pick(false),
            Secondary::Merge(part) => {
                let mask = ((1u64 << part.bits()) - 1) as u32;
                (word & mask) << part.shift() | c & !(mask << part.shift())
            }
        }
    }
}

/// `vmad`: `±(a·b) ± c`, then shifted right; `.po` adds one more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub struct Mad {
    /// Destination is `.s32`; it follows from the operands and changes nothing.
    pub d_signed: bool,
    /// First operand is `.s32`.
    pub a_signed: bool,
    /// Second operand is `.s32`.
    pub b_signed: bool,
    /// Selector of the first operand.
    pub a_part: Part,
    /// Selector of the second operand.
    pub b_part: Part,
    /// `.sat`.
    pub sat: bool,
    /// `.po`: plus one.
    pub plus_one: bool,
    /// The product is negated (a minus on exactly one of `a`, `b`).
    pub negate_product: bool,
    /// `c` is negated.
    pub negate_c: bool,
    /// 0, 7 or 15.
    pub shift: u32,
}

impl Mad {
    /// The instruction's result.
    pub fn run(&self, a: u32, b: u32, c: u32) -> u32 {
        let x = self.a_part.select(a, self.a_signed);
        let y = self.b_part.select(b, self.b_signed);
        let signed = self.negate_product || self.a_signed || self.b_signed;
        let product = i128::from(x) * i128::from(y);
        let product = if self.negate_product { -product } else { product };
        let c = i128::from(extend(c, 32, signed));
        let c = if self.negate_c { -c } else { c };
        let sum = (product + c + i128::from(self.plus_one)) >> self.shift;
        let limit = |x: i128| x.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        if self.sat { clamp(limit(sum), 32, signed || self.negate_c) as u32 } else { sum as u32 }
    }
}

/// A SIMD video instruction on two halves or four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Simd {
    /// Operation on each lane.
    pub primary: Primary,
    /// 2 or 4.
    pub lanes: u8,
    /// Destination is `.s32`.
    pub d_signed: bool,
    /// First operand is `.s32`.
    pub a_signed: bool,
    /// Second operand is `.s32`.
    pub b_signed: bool,
    /// Which lanes of `b:a` make the first operand; `[0, 1, 2, 3]` unless selected.
    pub a_lanes: [u8; 4],
    /// Which lanes of `b:a` make the second; `[4, 5, 6, 7]` (`[2, 3, ..]` for halves).
    pub b_lanes: [u8; 4],
    /// Lanes written; the others come from `c`.
    pub mask: u8,
    /// `.sat`.
    pub sat: bool,
    /// `.add`: the sum of the masked lanes and `c`.
    pub add: bool,
}

impl Simd {
    /// An instruction without selectors, mask or accumulation.
    pub const fn new(primary: Primary, lanes: u8, signed: [bool; 3]) -> Simd {
        let b_lanes = if lanes == 4 { [4, 5, 6, 7] } else { [2, 3, 0, 0] };
        Simd {
            primary,
            lanes,
            d_signed: signed[0],
            a_signed: signed[1],
            b_signed: signed[2],
            a_lanes: [0, 1, 2, 3],
            b_lanes,
            mask: 15,
            sat: false,
            add: false,
        }
    }

    /// The instruction's result.
    pub fn run(&self, a: u32, b: u32, c: u32) -> u32 {
        let bits = 32 / u32::from(self.lanes);
        let both = u64::from(b) << 32 | u64::from(a);
        let lane = |index: u8, signed| extend((both >> (u32::from(index) * bits)) as u32, bits, signed);
        let ones = ((1u64 << bits) - 1) as u32;
        let mut result = c;
        for i in (0..usize::from(self.lanes)).filter(|i| self.mask >> i & 1 == 1) {
            let x = lane(self.a_lanes[i], self.a_signed);
            let y = lane(self.b_lanes[i], self.b_signed);
            let value = self.primary.apply(x, y);
            let value = if self.sat { clamp(value, bits, self.d_signed) } else { value };
            if self.add {
                let value = extend(value as u32, bits + u32::from(!self.sat), self.d_signed);
                result = result.wrapping_add(value as u32);
            } else {
                let at = i as u32 * bits;
                result = (result & !(ones << at)) | (value as u32 & ones) << at;
            }
        }
        result
    }
}
