//! Shifts, bit fields, permutations and bit searches.

/// `shl.b16`; amounts of 16 and more give 0.
#[inline(always)]
pub fn shl16(a: u16, n: u32) -> u16 {
    if n < 16 { a << n } else { 0 }
}

/// `shl.b32`; amounts of 32 and more give 0.
#[inline(always)]
pub fn shl32(a: u32, n: u32) -> u32 {
    if n < 32 { a << (n & 31) } else { 0 }
}

/// `shl.b64`; amounts of 64 and more give 0.
#[inline(always)]
pub fn shl64(a: u64, n: u32) -> u64 {
    if n < 64 { a << (n & 63) } else { 0 }
}

/// `shr.u16`, `shr.b16`.
#[inline(always)]
pub fn shr_u16(a: u16, n: u32) -> u16 {
    if n < 16 { a >> n } else { 0 }
}

/// `shr.u32`, `shr.b32`.
#[inline(always)]
pub fn shr_u32(a: u32, n: u32) -> u32 {
    if n < 32 { a >> (n & 31) } else { 0 }
}

/// `shr.u64`, `shr.b64`.
#[inline(always)]
pub fn shr_u64(a: u64, n: u32) -> u64 {
    if n < 64 { a >> (n & 63) } else { 0 }
}

/// `shr.s16`; large amounts fill with the sign.
#[inline(always)]
pub fn shr_s16(a: u16, n: u32) -> u16 {
    ((a as i16) >> n.min(15)) as u16
}

/// `shr.s32`; large amounts fill with the sign.
#[inline(always)]
pub fn shr_s32(a: u32, n: u32) -> u32 {
    ((a as i32) >> n.min(31)) as u32
}

/// `shr.s64`; large amounts fill with the sign.
#[inline(always)]
pub fn shr_s64(a: u64, n: u32) -> u64 {
    ((a as i64) >> n.min(63)) as u64
}

/// `shf.l`: the upper word of `b:a` shifted left.
#[inline(always)]
pub fn shf_l(a: u32, b: u32, n: u32, wrap: bool) -> u32 {
    let n = if wrap { n & 31 } else { n.min(32) };
    (((u64::from(b) << 32 | u64::from(a)) << n) >> 32) as u32
}

/// `shf.r`: the lower word of `b:a` shifted right.
#[inline(always)]
pub fn shf_r(a: u32, b: u32, n: u32, wrap: bool) -> u32 {
    let n = if wrap { n & 31 } else { n.min(32) };
    ((u64::from(b) << 32 | u64::from(a)) >> n) as u32
}

/// `lop3.b32`: the three-input logic function of truth table `table`, indexed `4a + 2b + c`.
#[inline(always)]
pub fn lop3(a: u32, b: u32, c: u32, table: u8) -> u32 {
    let minterm = |bit: u32| 0u32.wrapping_sub(u32::from(table) >> bit & 1);
    (minterm(0) & !a & !b & !c)
        | (minterm(1) & !a & !b & c)
        | (minterm(2) & !a & b & !c)
        | (minterm(3) & !a & b & c)
        | (minterm(4) & a & !b & !c)
        | (minterm(5) & a & !b & c)
        | (minterm(6) & a & b & !c)
        | (minterm(7) & a & b & c)
}

/// Modes of `prmt`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Permute {
    /// Four selectors of four bits; the top bit replicates the byte's sign.
    #[default]
    Index,
    /// `.f4e`: forward four extract.
    Forward,
    /// `.b4e`: backward four extract.
    Backward,
    /// `.rc8`: replicate one byte.
    ReplicateByte,
    /// `.ecl`: edge clamp left.
    EdgeLeft,
    /// `.ecr`: edge clamp right.
    EdgeRight,
    /// `.rc16`: replicate one half-word.
    ReplicateHalf,
}

/// `prmt.b32`: picks four of the eight bytes of `b:a`.
#[inline(always)]
pub fn prmt(a: u32, b: u32, c: u32, mode: Permute) -> u32 {
    let bytes = u64::from(b) << 32 | u64::from(a);
    let control = c & 3;
    let pick = |i: u32| {
        let selector = match mode {
            Permute::Index => c >> (4 * i) & 15,
            Permute::Forward => control + i,
            Permute::Backward => control.wrapping_sub(i) & 7,
            Permute::ReplicateByte => control,
            Permute::EdgeLeft => control.max(i),
            Permute::EdgeRight => control.min(i),
            Permute::ReplicateHalf => (control & 1) * 2 + (i & 1),
        };
        let byte = (bytes >> (8 * (selector & 7))) as u8;
        let sign = (byte as i8 >> 7) as u8;
        u32::from(if selector & 8 != 0 { sign } else { byte }) << (8 * i)
    };
    pick(0) | pick(1) | pick(2) | pick(3)
}

/// A mask of the low `n` bits.
#[inline(always)]
fn low_mask(n: u32) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

/// `bfe` of a value of `width` bits (32 or 64).
#[inline(always)]
fn bfe(a: u64, pos: u32, len: u32, signed: bool, width: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let field = if pos < width { (a & low_mask(width)) >> pos } else { 0 } & low_mask(len);
    let sign_at = (pos + len).saturating_sub(1).min(width - 1);
    let negative = signed && len != 0 && a >> sign_at & 1 == 1;
    // Above the field, and above what the source still had, stand copies of the sign.
    let have = len.min(width.saturating_sub(pos));
    let value = if negative { field | !low_mask(have) } else { field };
    value & low_mask(width)
}

/// `bfe.u32`, `bfe.s32`.
#[inline(always)]
pub fn bfe32(a: u32, pos: u32, len: u32, signed: bool) -> u32 {
    bfe(u64::from(a), pos, len, signed, 32) as u32
}

/// `bfe.u64`, `bfe.s64`.
#[inline(always)]
pub fn bfe64(a: u64, pos: u32, len: u32, signed: bool) -> u64 {
    bfe(a, pos, len, signed, 64)
}

/// `bfi.b32 f, a, b, pos, len`: `len` bits of `a` over `b` from bit `pos`.
#[inline(always)]
pub fn bfi32(a: u32, b: u32, pos: u32, len: u32) -> u32 {
    bfi64(u64::from(a), u64::from(b), pos, len) as u32
}

/// `bfi.b64`.
#[inline(always)]
pub fn bfi64(a: u64, b: u64, pos: u32, len: u32) -> u64 {
    let (pos, len) = (pos & 0xff, len & 0xff);
    let mask = if pos < 64 { low_mask(len) << pos } else { 0 };
    let field = if pos < 64 { a << pos } else { 0 };
    (b & !mask) | (field & mask)
}

/// `bfind.u32`, `bfind.s32`: the highest bit that differs from the sign, or all ones.
#[inline(always)]
pub fn bfind32(a: u32, signed: bool, shift_amount: bool) -> u32 {
    let magnitude = if signed && (a as i32) < 0 { !a } else { a };
    let position = 31u32.wrapping_sub(magnitude.leading_zeros());
    let missing = magnitude == 0;
    let found = if shift_amount { 31 - position.min(31) } else { position };
    if missing { u32::MAX } else { found }
}

/// `bfind.u64`, `bfind.s64`.
#[inline(always)]
pub fn bfind64(a: u64, signed: bool, shift_amount: bool) -> u32 {
    let magnitude = if signed && (a as i64) < 0 { !a } else { a };
    let position = 63u32.wrapping_sub(magnitude.leading_zeros());
    let missing = magnitude == 0;
    let found = if shift_amount { 63 - position.min(63) } else { position };
    if missing { u32::MAX } else { found }
}

/// `fns.b32`: the `offset`-th set bit of `mask`, counted up (or down, if negative) from `base`.
#[inline]
pub fn fns(mask: u32, base: u32, offset: i32) -> u32 {
    if base > 31 {
        return u32::MAX;
    }
    if offset == 0 {
        return if mask >> base & 1 == 1 { base } else { u32::MAX };
    }
    let step = offset.signum();
    let mut left = offset.unsigned_abs();
    let mut at = base as i32;
    while (0..32).contains(&at) {
        left -= mask >> at & 1;
        if left == 0 {
            return at as u32;
        }
        at += step;
    }
    u32::MAX
}

/// `bmsk.{clamp,wrap}.b32`: `width` ones from bit `start`.
#[inline(always)]
pub fn bmsk(start: u32, width: u32, clamp: bool) -> u32 {
    let (start, width) = if clamp { (start.min(32), width.min(32)) } else { (start & 31, width & 31) };
    (low_mask(width) << start) as u32
}

/// `szext.{clamp,wrap}.{s32,u32}`: extends the low `width` bits.
#[inline(always)]
pub fn szext(a: u32, width: u32, clamp: bool, signed: bool) -> u32 {
    let whole = clamp && width >= 32;
    let width = width & 31;
    let mask = if whole { 0 } else { u32::MAX << width };
    let negative = signed && !whole && width != 0 && a >> (width.wrapping_sub(1) & 31) & 1 == 1;
    (a & !mask) | if negative { mask } else { 0 }
}

/// `cnot`: 1 for zero, 0 for anything else.
#[inline(always)]
pub fn cnot(a: u64) -> u64 {
    u64::from(a == 0)
}
