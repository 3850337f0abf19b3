//! Exact binary numbers and their one rounding into a floating-point format.
//!
//! A finite value is `mant · 2^exp`, plus a flag for anything non-zero below the last bit. Every
//! result of `+ × ÷ √ fma` fits that, so an operation is: decode, compute exactly, [`Exact::round`].
//! It is the plain path for whatever the host's own arithmetic does not offer.

/// Rounding direction of an arithmetic or convert instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Round {
    /// `.rn`: to nearest, ties to even.
    #[default]
    Rn,
    /// `.rz`: toward zero.
    Rz,
    /// `.rm`: toward minus infinity.
    Rm,
    /// `.rp`: toward plus infinity.
    Rp,
    /// `.rna`: to nearest, ties away from zero.
    Rna,
}

/// A binary floating-point format: sign, exponent and stored mantissa bits, IEEE encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// Width of the exponent field.
    pub exponent: u32,
    /// Width of the mantissa field, without the implied one.
    pub mantissa: u32,
}

/// `.f16`.
pub const F16: Format = Format { exponent: 5, mantissa: 10 };
/// `.bf16`.
pub const BF16: Format = Format { exponent: 8, mantissa: 7 };
/// `.tf32`, as 19 bits; the instruction keeps them in the high bits of a word.
pub const TF32: Format = Format { exponent: 8, mantissa: 10 };
/// `.f32`.
pub const F32: Format = Format { exponent: 8, mantissa: 23 };
/// `.f64`.
pub const F64: Format = Format { exponent: 11, mantissa: 52 };
/// `.e5m2`.
pub const E5M2: Format = Format { exponent: 5, mantissa: 2 };

impl Format {
    /// Exponent bias.
    #[inline]
    pub const fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    /// Encoding of plus infinity.
    #[inline]
    pub const fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.mantissa
    }

    /// The sign bit.
    #[inline]
    pub const fn sign(self) -> u64 {
        1 << (self.exponent + self.mantissa)
    }

    /// The NaN that instructions produce: all ones below the sign for the narrow formats, the
    /// plain quiet NaN for `f64`.
    #[inline]
    pub const fn nan(self) -> u64 {
        if self.mantissa == 52 { 0x7ff8_0000_0000_0000 } else { self.sign() - 1 }
    }

    /// Splits an encoding into its value class.
    pub fn decode(self, bits: u64) -> Value {
        let negative = bits & self.sign() != 0;
        let mant = bits & ((1 << self.mantissa) - 1);
        let field = (bits >> self.mantissa) & ((1 << self.exponent) - 1);
        if field == (1 << self.exponent) - 1 {
            return if mant == 0 { Value::Infinite { negative } } else { Value::Nan };
        }
        let (mant, field) = if field == 0 { (mant, 1) } else { (mant | 1 << self.mantissa, field) };
        let exp = field as i32 - self.bias() - self.mantissa as i32;
        Value::Finite(Exact { negative, mant: u128::from(mant), exp, sticky: false })
    }
}

/// A decoded floating-point number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// Any NaN.
    Nan,
    /// An infinity.
    Infinite {
        /// Minus infinity.
        negative: bool,
    },
    /// Zero or a finite number.
    Finite(Exact),
}

/// `(-1)^negative · mant · 2^exp`, and a little more in magnitude if `sticky`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exact {
    /// Sign, also of a zero.
    pub negative: bool,
    /// Integer significand.
    pub mant: u128,
    /// Power of two of the significand's last bit.
    pub exp: i32,
    /// Something non-zero was lost below the last bit.
    pub sticky: bool,
}

impl Exact {
    /// An integer.
    #[inline]
    pub fn integer(negative: bool, magnitude: u64) -> Exact {
        Exact { negative, mant: u128::from(magnitude), exp: 0, sticky: false }
    }

    /// Exactly zero.
    #[inline]
    pub fn is_zero(self) -> bool {
        self.mant == 0 && !self.sticky
    }

    /// The significand rounded to a multiple of `2^at`, in units of `2^at`, and whether that was
    /// inexact. Needs `at - exp` not to push the significand out of 128 bits to the left.
    pub fn round_at(self, at: i32, round: Round) -> (u128, bool) {
        let shift = at - self.exp;
        let (kept, half, rest) = if shift <= 0 {
            (self.mant << -shift, false, self.sticky)
        } else if shift > 128 {
            (0, false, self.mant != 0 || self.sticky)
        } else {
            let kept = if shift == 128 { 0 } else { self.mant >> shift };
            let below = if shift == 128 { self.mant } else { self.mant & ((1 << shift) - 1) };
            let half_bit = 1u128 << (shift - 1);
            (kept, below & half_bit != 0, below & (half_bit - 1) != 0 || self.sticky)
        };
        let up = match round {
            Round::Rn => half && (rest || kept & 1 == 1),
            Round::Rna => half,
            Round::Rz => false,
            Round::Rm => self.negative && (half || rest),
            Round::Rp => !self.negative && (half || rest),
        };
        (kept + u128::from(up), half || rest)
    }

    /// The encoding in `format`, rounded once; too large becomes infinity or the largest number as
    /// the direction says.
    pub fn round(self, format: Format, round: Round) -> u64 {
        let sign = if self.negative { format.sign() } else { 0 };
        if self.is_zero() {
            return sign;
        }
        let least = 1 - format.bias();
        let leading = self.exp + 127 - self.mant.leading_zeros() as i32;
        let at = leading.max(least) - format.mantissa as i32;
        let (kept, _) = self.round_at(at, round);
        let steps = (at + format.mantissa as i32 - least) as u64;
        let large = leading > format.bias();
        let bits = if large { format.infinity() } else { (steps << format.mantissa) + kept as u64 };
        let away = match round {
            Round::Rn | Round::Rna => true,
            Round::Rz => false,
            Round::Rm => self.negative,
            Round::Rp => !self.negative,
        };
        let bits = if bits >= format.infinity() && !away { format.infinity() - 1 } else { bits };
        sign | bits
    }

    /// The same value with its leading bit at bit 125; zero stays zero.
    fn normalised(self) -> Exact {
        if self.mant == 0 {
            return self;
        }
        let shift = self.mant.leading_zeros() as i32 - 2;
        if shift >= 0 {
            Exact { mant: self.mant << shift, exp: self.exp - shift, ..self }
        } else {
            let lost = self.mant & ((1 << -shift) - 1) != 0;
            let mant = self.mant >> -shift;
            Exact { mant, exp: self.exp - shift, sticky: self.sticky || lost, ..self }
        }
    }

    /// Sum; an exact zero of operands with different signs is `-0` only when rounding down.
    pub fn add(self, other: Exact, round: Round) -> Exact {
        if self.mant == 0 && other.mant == 0 {
            let down = round == Round::Rm;
            let negative = if down { self.negative | other.negative } else { self.negative & other.negative };
            return Exact { negative, ..self };
        }
        if self.mant == 0 {
            return other;
        }
        if other.mant == 0 {
            return self;
        }
        let (a, b) = (self.normalised(), other.normalised());
        let (big, small) = if (a.exp, a.mant) >= (b.exp, b.mant) { (a, b) } else { (b, a) };
        let shift = big.exp - small.exp;
        let (low, lost) =
            if shift >= 128 { (0, true) } else { (small.mant >> shift, small.mant & ((1 << shift) - 1) != 0) };
        if big.negative == small.negative {
            return Exact { mant: big.mant + low, sticky: lost, ..big };
        }
        let mant = big.mant - low - u128::from(lost);
        if mant == 0 && !lost {
            return Exact { negative: round == Round::Rm, mant: 0, exp: 0, sticky: false };
        }
        Exact { mant, sticky: lost, ..big }
    }

    /// Product of two numbers of at most 64 significant bits.
    pub fn times(self, other: Exact) -> Exact {
        Exact {
            negative: self.negative != other.negative,
            mant: self.mant * other.mant,
            exp: self.exp + other.exp,
            sticky: false,
        }
    }

    /// Quotient of two numbers of at most 53 significant bits, neither zero.
    pub fn over(self, other: Exact) -> Exact {
        let (a, shift) = (self.normalised(), other.mant.leading_zeros() as i32 - 75);
        let (b, b_exp) = if shift >= 0 {
            (other.mant << shift, other.exp - shift)
        } else {
            (other.mant >> -shift, other.exp - shift)
        };
        Exact {
            negative: self.negative != other.negative,
            mant: a.mant / b,
            exp: a.exp - b_exp,
            sticky: a.mant % b != 0,
        }
    }

    /// Square root of a positive number.
    pub fn sqrt(self) -> Exact {
        let mut a = self.normalised();
        if a.exp & 1 != 0 {
            a.mant <<= 1;
            a.exp -= 1;
        }
        let root = a.mant.isqrt();
        Exact { negative: false, mant: root, exp: a.exp / 2, sticky: root * root != a.mant }
    }
}
