//! Integer arithmetic: products and their halves, carry chains, division, dot products.
//!
//! Plain sums, products and logic wrap as Rust's `wrapping_*` do, so they have no function here.

/// The arithmetic of one integer type: high halves, saturation, division as PTX has it.
pub trait Integer: Copy {
    /// The upper half of the double-width product.
    fn mul_hi(self, other: Self) -> Self;
    /// Quotient toward zero; by zero, all ones.
    fn div(self, other: Self) -> Self;
    /// Remainder with the dividend's sign; by zero, the dividend.
    fn rem(self, other: Self) -> Self;
    /// `c + |a - b|`.
    fn sad(self, other: Self, c: Self) -> Self;
}

macro_rules! integer {
    ($($t:ty, $wide:ty, $ones:expr;)*) => {$(
        impl Integer for $t {
            #[inline(always)]
            fn mul_hi(self, other: Self) -> Self {
                ((<$wide>::from(self) * <$wide>::from(other)) >> <$t>::BITS) as $t
            }
            #[inline(always)]
            fn div(self, other: Self) -> Self {
                if other == 0 { $ones } else { self.wrapping_div(other) }
            }
            #[inline(always)]
            fn rem(self, other: Self) -> Self {
                if other == 0 { self } else { self.wrapping_rem(other) }
            }
            #[inline(always)]
            fn sad(self, other: Self, c: Self) -> Self {
                let distance = if self < other { other.wrapping_sub(self) } else { self.wrapping_sub(other) };
                c.wrapping_add(distance)
            }
        }
    )*};
}

integer! {
    u16, u32, u16::MAX;
    u32, u64, u32::MAX;
    u64, u128, u64::MAX;
    i16, i32, -1;
    i32, i64, -1;
    i64, i128, -1;
}

/// `mul.hi`.
#[inline(always)]
pub fn mul_hi<T: Integer>(a: T, b: T) -> T {
    a.mul_hi(b)
}

/// `div`.
#[inline(always)]
pub fn div<T: Integer>(a: T, b: T) -> T {
    a.div(b)
}

/// `rem`.
#[inline(always)]
pub fn rem<T: Integer>(a: T, b: T) -> T {
    a.rem(b)
}

/// `sad`.
#[inline(always)]
pub fn sad<T: Integer>(a: T, b: T, c: T) -> T {
    a.sad(b, c)
}

/// `add.sat.s32`.
#[inline(always)]
pub fn add_sat(a: u32, b: u32) -> u32 {
    (a as i32).saturating_add(b as i32) as u32
}

/// `sub.sat.s32`.
#[inline(always)]
pub fn sub_sat(a: u32, b: u32) -> u32 {
    (a as i32).saturating_sub(b as i32) as u32
}

/// `mad.hi.sat.s32`.
#[inline(always)]
pub fn mad_hi_sat(a: u32, b: u32, c: u32) -> u32 {
    (a as i32).mul_hi(b as i32).saturating_add(c as i32) as u32
}

/// `add{c}{.cc}.32`: sum and carry out. `sub` is `add_carry(a, !b, true)` and `subc` is
/// `add_carry(a, !b, carry)`: the carry of a subtraction is "no borrow".
#[inline(always)]
pub fn add_carry(a: u32, b: u32, carry: bool) -> (u32, bool) {
    let sum = u64::from(a) + u64::from(b) + u64::from(carry);
    (sum as u32, sum >> 32 != 0)
}

/// `sub{c}{.cc}.32`; `carry` is true when nothing is borrowed.
#[inline(always)]
pub fn sub_carry(a: u32, b: u32, carry: bool) -> (u32, bool) {
    add_carry(a, !b, carry)
}

/// `add{c}{.cc}.64`: sum and carry out.
#[inline(always)]
pub fn add_carry_64(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let sum = u128::from(a) + u128::from(b) + u128::from(carry);
    (sum as u64, sum >> 64 != 0)
}

/// `sub{c}{.cc}.64`; `carry` is true when nothing is borrowed.
#[inline(always)]
pub fn sub_carry_64(a: u64, b: u64, carry: bool) -> (u64, bool) {
    add_carry_64(a, !b, carry)
}

#[inline(always)]
fn mul24(a: u32, b: u32, signed: bool) -> u64 {
    if signed {
        let extend = |x: u32| i64::from((x << 8) as i32 >> 8);
        (extend(a) * extend(b)) as u64
    } else {
        u64::from(a & 0xff_ffff) * u64::from(b & 0xff_ffff)
    }
}

/// `mul24.lo`: bits 0 to 31 of the 48-bit product.
#[inline(always)]
pub fn mul24_lo(a: u32, b: u32, signed: bool) -> u32 {
    mul24(a, b, signed) as u32
}

/// `mul24.hi`: bits 16 to 47 of the 48-bit product.
#[inline(always)]
pub fn mul24_hi(a: u32, b: u32, signed: bool) -> u32 {
    (mul24(a, b, signed) >> 16) as u32
}

#[inline(always)]
fn byte(x: u32, index: u32, signed: bool) -> u32 {
    let b = (x >> (8 * index)) as u8;
    if signed { b as i8 as u32 } else { u32::from(b) }
}

#[inline(always)]
fn halfword(x: u32, index: u32, signed: bool) -> u32 {
    let h = (x >> (16 * index)) as u16;
    if signed { h as i16 as u32 } else { u32::from(h) }
}

/// `dp4a.atype.btype`: `c` plus the four products of bytes.
#[inline(always)]
pub fn dp4a(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    (0..4).fold(c, |sum, i| sum.wrapping_add(byte(a, i, a_signed).wrapping_mul(byte(b, i, b_signed))))
}

/// `dp2a.{lo,hi}.atype.btype`: `c` plus the two products of a half-word of `a` and a byte of the
/// lower (upper) half of `b`.
#[inline(always)]
pub fn dp2a(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool, hi: bool) -> u32 {
    let first = if hi { 2 } else { 0 };
    (0..2).fold(c, |sum, i| sum.wrapping_add(halfword(a, i, a_signed).wrapping_mul(byte(b, first + i, b_signed))))
}
