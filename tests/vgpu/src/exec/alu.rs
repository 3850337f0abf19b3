//! Element-wise operations on whole warps.
//!
//! Every arm is a loop over 32 lanes around one function of [`crate::arith`], which is inlined, so
//! that the host's compiler turns it into vector code. The whole is compiled twice, once for hosts
//! with AVX2 and FMA.
#![allow(unsafe_code)]

use super::frame::{Constants, Doubles, Frame, Words};
use crate::arith::convert::{Cvt, Type};
use crate::arith::float::Mode;
use crate::arith::half::{Bf16, F16};
use crate::arith::matrix::element::Row;
use crate::arith::matrix::product::Mma;
use crate::arith::matrix::sums::Sums;
use crate::arith::soft::Round;
use crate::arith::{approx, bits, compare, convert, float, fp8, half, int};
use crate::isa::{Alu, HalfType, Reg, SetResult, Width};

/// Destination and operands.
#[derive(Clone, Copy)]
pub(super) struct Regs {
    pub(super) d: Reg,
    pub(super) a: Reg,
    pub(super) b: Reg,
    pub(super) c: Reg,
    pub(super) e: Reg,
}

const EXACT: Mode = Mode { round: Round::Rn, ftz: false, sat: false };
const FLUSHED: Mode = Mode { round: Round::Rn, ftz: true, sat: false };

/// Executes `op` for the lanes of `mask`.
#[inline]
pub(super) fn run(op: Alu, f: &mut Frame, k: &Constants, r: Regs, mask: u32) {
    #[cfg(target_arch = "x86_64")]
    if *FAST {
        // SAFETY: the features were detected.
        return unsafe { run_fast(op, f, k, r, mask) };
    }
    run_plain(op, f, k, r, mask);
}

/// A product of fragments, with the host's vector instructions.
#[inline]
pub(super) fn matrix(product: &Mma, sums: Sums, a: &[Row], b: &[Row], c: &[Row], d: &mut [Row]) {
    #[cfg(target_arch = "x86_64")]
    if *FAST {
        // SAFETY: the features were detected.
        return unsafe { matrix_fast(product, sums, a, b, c, d) };
    }
    product.run(sums, a, b, c, d);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi2,lzcnt,popcnt")]
fn matrix_fast(product: &Mma, sums: Sums, a: &[Row], b: &[Row], c: &[Row], d: &mut [Row]) {
    product.run(sums, a, b, c, d);
}

/// Whether the host has the features of [`run_fast`].
#[cfg(target_arch = "x86_64")]
static FAST: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
    std::is_x86_feature_detected!("avx2")
        && std::is_x86_feature_detected!("fma")
        && std::is_x86_feature_detected!("bmi2")
        && std::is_x86_feature_detected!("lzcnt")
        && std::is_x86_feature_detected!("popcnt")
});

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi2,lzcnt,popcnt")]
fn run_fast(op: Alu, f: &mut Frame, k: &Constants, r: Regs, mask: u32) {
    body::<true>(op, f, k, r, mask);
}

fn run_plain(op: Alu, f: &mut Frame, k: &Constants, r: Regs, mask: u32) {
    body::<false>(op, f, k, r, mask);
}

macro_rules! map {
    ($name:ident, $out:ident, $set:ident, $($arg:ident : $get:ident : $reg:ident : $ty:ty),+) => {
        #[inline(always)]
        fn $name(f: &mut Frame, k: &Constants, r: Regs, mask: u32, op: impl Fn($($ty),+) -> <$out as Lanes>::Item) {
            let mut value: $out = [0; 32];
            $(let $arg = f.$get(k, r.$reg);)+
            // A loop of its own: `array::from_fn` would be a function without the host's features.
            for i in 0..32 {
                value[i] = op($($arg[i]),+);
            }
            f.$set(r.d, &value, mask);
        }
    };
}

/// Element type of an array of lanes.
trait Lanes {
    type Item;
}
impl Lanes for Words {
    type Item = u32;
}
impl Lanes for Doubles {
    type Item = u64;
}

map!(w_w, Words, set_w, x: w: a: u32);
map!(w_ww, Words, set_w, x: w: a: u32, y: w: b: u32);
map!(w_www, Words, set_w, x: w: a: u32, y: w: b: u32, z: w: c: u32);
map!(w_wwww, Words, set_w, x: w: a: u32, y: w: b: u32, z: w: c: u32, v: w: e: u32);
map!(d_d, Doubles, set_d, x: d: a: u64);
map!(d_dd, Doubles, set_d, x: d: a: u64, y: d: b: u64);
map!(d_ddd, Doubles, set_d, x: d: a: u64, y: d: b: u64, z: d: c: u64);
map!(w_d, Words, set_w, x: d: a: u64);
map!(d_w, Doubles, set_d, x: w: a: u32);
map!(d_ww, Doubles, set_d, x: w: a: u32, y: w: b: u32);
map!(d_wwd, Doubles, set_d, x: w: a: u32, y: w: b: u32, z: d: c: u64);
map!(d_dw, Doubles, set_d, x: d: a: u64, y: w: b: u32);
map!(d_dww, Doubles, set_d, x: d: a: u64, y: w: b: u32, z: w: c: u32);
map!(d_ddw, Doubles, set_d, x: d: a: u64, y: d: b: u64, z: w: c: u32);
map!(d_ddww, Doubles, set_d, x: d: a: u64, y: d: b: u64, z: w: c: u32, v: w: e: u32);

/// A float operation with its two common modes as constants of the loop.
macro_rules! with_mode {
    ($mode:expr, |$m:ident| $body:expr) => {
        match $mode {
            EXACT => {
                let $m = const { EXACT };
                $body
            }
            FLUSHED => {
                let $m = const { FLUSHED };
                $body
            }
            $m => $body,
        }
    };
}

/// An operation on a signed or unsigned type of any width up to 32 bits, or of 64.
macro_rules! by_type {
    ($ty:expr, $f:ident $k:ident $r:ident $mask:ident, $word:ident $double:ident, |$($arg:ident),+| $body:expr) => {
        match $ty {
            Type::U16 => $word($f, $k, $r, $mask, |$($arg),+| { $(let $arg = $arg as u16;)+ $body as u32 }),
            Type::S16 => $word($f, $k, $r, $mask, |$($arg),+| { $(let $arg = $arg as i16;)+ $body as u32 }),
            Type::U32 => $word($f, $k, $r, $mask, |$($arg),+| $body),
            Type::S32 => $word($f, $k, $r, $mask, |$($arg),+| { $(let $arg = $arg as i32;)+ $body as u32 }),
            Type::S64 => $double($f, $k, $r, $mask, |$($arg),+| { $(let $arg = $arg as i64;)+ $body as u64 }),
            _ => $double($f, $k, $r, $mask, |$($arg),+| $body),
        }
    };
}

/// An operation on one half or a pair of them.
macro_rules! halves {
    ($half:expr, $pair:expr, $f:ident $k:ident $r:ident $mask:ident, $map:ident $lift:ident, |$($arg:ident),+| $body:ident::<_>($($rest:expr),*)) => {
        match ($half, $pair) {
            (HalfType::F16, false) => $map($f, $k, $r, $mask, |$($arg),+| u32::from(half::$body::<F16>($($arg as u16,)+ $($rest),*))),
            (HalfType::F16, true) => $map($f, $k, $r, $mask, |$($arg),+| half::$lift($($arg,)+ |$($arg),+| half::$body::<F16>($($arg,)+ $($rest),*))),
            (HalfType::Bf16, false) => $map($f, $k, $r, $mask, |$($arg),+| u32::from(half::$body::<Bf16>($($arg as u16,)+ $($rest),*))),
            (HalfType::Bf16, true) => $map($f, $k, $r, $mask, |$($arg),+| half::$lift($($arg,)+ |$($arg),+| half::$body::<Bf16>($($arg,)+ $($rest),*))),
        }
    };
}

fn through(half: HalfType, pair: bool, ftz: bool, a: u32, g: impl Fn(f32) -> f32 + Copy) -> u32 {
    let one = |x: u16| match half {
        HalfType::F16 => half::through_f32::<F16>(x, ftz, g),
        HalfType::Bf16 => half::through_f32::<Bf16>(x, ftz, g),
    };
    if pair { half::pair1(a, one) } else { u32::from(one(a as u16)) }
}

/// Two `f32` in a double, one after the other.
#[inline(always)]
fn both(x: u64, y: u64, z: u64, g: impl Fn(u32, u32, u32) -> u32) -> u64 {
    let low = g(x as u32, y as u32, z as u32);
    let high = g((x >> 32) as u32, (y >> 32) as u32, (z >> 32) as u32);
    u64::from(high) << 32 | u64::from(low)
}

#[inline(always)]
fn signed_halves(a: u32, b: u32, g: impl Fn(i32, i32) -> i32) -> u32 {
    let low = g(i32::from(a as i16), i32::from(b as i16)) as u32 & 0xffff;
    low | (g(a as i32 >> 16, b as i32 >> 16) as u32) << 16
}

#[inline(always)]
fn unsigned_halves(a: u32, b: u32, g: impl Fn(u32, u32) -> u32) -> u32 {
    g(a & 0xffff, b & 0xffff) & 0xffff | g(a >> 16, b >> 16) << 16
}

/// Does the word `c` choose the first operand of `slct`?
#[inline(always)]
fn chooses(c: u32, float: Option<bool>) -> bool {
    match float {
        None => c as i32 >= 0,
        Some(ftz) => float::input_f32(c, ftz) >= 0.0,
    }
}

fn set_pair(relation: compare::Relation, half: HalfType, ftz: bool, result: SetResult, a: u32, b: u32) -> u32 {
    let truth = match result {
        SetResult::Ones => 0xffff,
        SetResult::F16 => 0x3c00,
        SetResult::Bf16 => 0x3f80,
    };
    half::pair2(a, b, |x, y| if super::compare::half_relation(relation, half, ftz, x, y) { truth } else { 0 })
}

/// `FUSED`: the host multiplies and adds with one rounding by itself.
#[inline(always)]
fn body<const FUSED: bool>(op: Alu, f: &mut Frame, k: &Constants, r: Regs, mask: u32) {
    use Alu::*;
    match op {
        Mov32 => w_w(f, k, r, mask, |x| x),
        Mov64 => d_d(f, k, r, mask, |x| x),
        Low => w_d(f, k, r, mask, |x| x as u32),
        High => w_d(f, k, r, mask, |x| (x >> 32) as u32),
        Join => d_ww(f, k, r, mask, |x, y| u64::from(y) << 32 | u64::from(x)),
        Join16 => w_ww(f, k, r, mask, |x, y| y << 16 | x & 0xffff),
        Low16 => w_w(f, k, r, mask, |x| x & 0xffff),
        High16 => w_w(f, k, r, mask, |x| x >> 16),
        ZeroExtend => d_w(f, k, r, mask, u64::from),
        SignExtend => d_w(f, k, r, mask, |x| x as i32 as u64),

        Add32 => w_ww(f, k, r, mask, u32::wrapping_add),
        Add64 => d_dd(f, k, r, mask, u64::wrapping_add),
        Sub32 => w_ww(f, k, r, mask, u32::wrapping_sub),
        Sub64 => d_dd(f, k, r, mask, u64::wrapping_sub),
        Mul32 => w_ww(f, k, r, mask, u32::wrapping_mul),
        Mul64 => d_dd(f, k, r, mask, u64::wrapping_mul),
        Mad32 => w_www(f, k, r, mask, |x, y, z| x.wrapping_mul(y).wrapping_add(z)),
        Mad64 => d_ddd(f, k, r, mask, |x, y, z| x.wrapping_mul(y).wrapping_add(z)),
        MulHi(ty) => by_type!(ty, f k r mask, w_ww d_dd, |x, y| int::mul_hi(x, y)),
        MadHi(ty) => by_type!(ty, f k r mask, w_www d_ddd, |x, y, z| int::mul_hi(x, y).wrapping_add(z)),
        MadHiSat => w_www(f, k, r, mask, int::mad_hi_sat),
        MulWide(Type::U16) => w_ww(f, k, r, mask, |x, y| (x & 0xffff) * (y & 0xffff)),
        MulWide(Type::S16) => w_ww(f, k, r, mask, |x, y| (i32::from(x as i16) * i32::from(y as i16)) as u32),
        MulWide(Type::S32) => d_ww(f, k, r, mask, |x, y| (i64::from(x as i32) * i64::from(y as i32)) as u64),
        MulWide(_) => d_ww(f, k, r, mask, |x, y| u64::from(x) * u64::from(y)),
        MadWide(Type::U16) => w_www(f, k, r, mask, |x, y, z| ((x & 0xffff) * (y & 0xffff)).wrapping_add(z)),
        MadWide(Type::S16) => {
            w_www(f, k, r, mask, |x, y, z| ((i32::from(x as i16) * i32::from(y as i16)) as u32).wrapping_add(z));
        }
        MadWide(Type::S32) => {
            d_wwd(f, k, r, mask, |x, y, z| ((i64::from(x as i32) * i64::from(y as i32)) as u64).wrapping_add(z));
        }
        MadWide(_) => d_wwd(f, k, r, mask, |x, y, z| (u64::from(x) * u64::from(y)).wrapping_add(z)),
        AddSat => w_ww(f, k, r, mask, int::add_sat),
        SubSat => w_ww(f, k, r, mask, int::sub_sat),
        Div(ty) => by_type!(ty, f k r mask, w_ww d_dd, |x, y| int::div(x, y)),
        Rem(ty) => by_type!(ty, f k r mask, w_ww d_dd, |x, y| int::rem(x, y)),
        Min(ty) => by_type!(ty, f k r mask, w_ww d_dd, |x, y| x.min(y)),
        Max(ty) => by_type!(ty, f k r mask, w_ww d_dd, |x, y| x.max(y)),
        ExtremumRelu(max) => w_ww(f, k, r, mask, |x, y| {
            let (x, y) = (x as i32, y as i32);
            (if max { x.max(y) } else { x.min(y) }).max(0) as u32
        }),
        Min16x2(Type::S16, relu) => {
            w_ww(f, k, r, mask, |x, y| signed_halves(x, y, |x, y| x.min(y).max(if relu { 0 } else { i32::MIN })))
        }
        Max16x2(Type::S16, relu) => {
            w_ww(f, k, r, mask, |x, y| signed_halves(x, y, |x, y| x.max(y).max(if relu { 0 } else { i32::MIN })))
        }
        Min16x2(..) => w_ww(f, k, r, mask, |x, y| unsigned_halves(x, y, u32::min)),
        Max16x2(..) => w_ww(f, k, r, mask, |x, y| unsigned_halves(x, y, u32::max)),
        Add16x2 => w_ww(f, k, r, mask, |x, y| unsigned_halves(x, y, u32::wrapping_add)),
        Sad(ty) => by_type!(ty, f k r mask, w_www d_ddd, |x, y, z| int::sad(x, y, z)),
        Abs(ty) => match ty {
            Type::S16 => w_w(f, k, r, mask, |x| (x as i16).wrapping_abs() as u32),
            Type::S32 => w_w(f, k, r, mask, |x| (x as i32).wrapping_abs() as u32),
            Type::S64 => d_d(f, k, r, mask, |x| (x as i64).wrapping_abs() as u64),
            Type::U64 => d_d(f, k, r, mask, |x| x),
            _ => w_w(f, k, r, mask, |x| x),
        },
        Neg32 => w_w(f, k, r, mask, u32::wrapping_neg),
        Neg64 => d_d(f, k, r, mask, u64::wrapping_neg),
        Mul24 { high, signed } => {
            w_ww(f, k, r, mask, |x, y| if high { int::mul24_hi(x, y, signed) } else { int::mul24_lo(x, y, signed) })
        }
        Mad24 { high, signed, sat } => w_www(f, k, r, mask, |x, y, z| {
            let product = if high { int::mul24_hi(x, y, signed) } else { int::mul24_lo(x, y, signed) };
            if sat { int::add_sat(product, z) } else { product.wrapping_add(z) }
        }),
        Dp4a { a_signed, b_signed } => w_www(f, k, r, mask, |x, y, z| int::dp4a(x, y, z, a_signed, b_signed)),
        Dp2a { a_signed, b_signed, high } => {
            w_www(f, k, r, mask, |x, y, z| int::dp2a(x, y, z, a_signed, b_signed, high));
        }

        And32 => w_ww(f, k, r, mask, |x, y| x & y),
        And64 => d_dd(f, k, r, mask, |x, y| x & y),
        Or32 => w_ww(f, k, r, mask, |x, y| x | y),
        Or64 => d_dd(f, k, r, mask, |x, y| x | y),
        Xor32 => w_ww(f, k, r, mask, |x, y| x ^ y),
        Xor64 => d_dd(f, k, r, mask, |x, y| x ^ y),
        Not32 => w_w(f, k, r, mask, |x| !x),
        Not64 => d_d(f, k, r, mask, |x| !x),
        Cnot(ty) => match ty.bits() {
            64 => d_d(f, k, r, mask, bits::cnot),
            16 => w_w(f, k, r, mask, |x| u32::from(x as u16 == 0)),
            _ => w_w(f, k, r, mask, |x| u32::from(x == 0)),
        },
        Shl16 => w_ww(f, k, r, mask, |x, n| u32::from(bits::shl16(x as u16, n))),
        Shl32 => w_ww(f, k, r, mask, bits::shl32),
        Shl64 => d_dw(f, k, r, mask, bits::shl64),
        Shr(ty) => match ty {
            Type::U16 => w_ww(f, k, r, mask, |x, n| u32::from(bits::shr_u16(x as u16, n))),
            Type::S16 => w_ww(f, k, r, mask, |x, n| u32::from(bits::shr_s16(x as u16, n))),
            Type::U32 => w_ww(f, k, r, mask, bits::shr_u32),
            Type::S32 => w_ww(f, k, r, mask, bits::shr_s32),
            Type::S64 => d_dw(f, k, r, mask, bits::shr_s64),
            _ => d_dw(f, k, r, mask, bits::shr_u64),
        },
        Shf { left: true, wrap } => w_www(f, k, r, mask, |x, y, n| bits::shf_l(x, y, n, wrap)),
        Shf { wrap, .. } => w_www(f, k, r, mask, |x, y, n| bits::shf_r(x, y, n, wrap)),
        Lop3(table) => w_www(f, k, r, mask, |x, y, z| bits::lop3(x, y, z, table)),
        Prmt(bits::Permute::Index) => w_www(f, k, r, mask, |x, y, z| bits::prmt(x, y, z, bits::Permute::Index)),
        Prmt(mode) => w_www(f, k, r, mask, |x, y, z| bits::prmt(x, y, z, mode)),
        Bfe32(signed) => w_www(f, k, r, mask, |x, p, n| bits::bfe32(x, p, n, signed)),
        Bfe64(signed) => d_dww(f, k, r, mask, |x, p, n| bits::bfe64(x, p, n, signed)),
        Bfi32 => w_wwww(f, k, r, mask, bits::bfi32),
        Bfi64 => d_ddww(f, k, r, mask, bits::bfi64),
        Bfind32 { signed, shift_amount } => w_w(f, k, r, mask, |x| bits::bfind32(x, signed, shift_amount)),
        Bfind64 { signed, shift_amount } => w_d(f, k, r, mask, |x| bits::bfind64(x, signed, shift_amount)),
        Fns => w_www(f, k, r, mask, |x, y, z| bits::fns(x, y, z as i32)),
        Bmsk(clamp) => w_ww(f, k, r, mask, |x, y| bits::bmsk(x, y, clamp)),
        Szext { clamp, signed } => w_ww(f, k, r, mask, |x, y| bits::szext(x, y, clamp, signed)),
        Popc32 => w_w(f, k, r, mask, u32::count_ones),
        Popc64 => w_d(f, k, r, mask, u64::count_ones),
        Clz32 => w_w(f, k, r, mask, u32::leading_zeros),
        Clz64 => w_d(f, k, r, mask, u64::leading_zeros),
        Brev32 => w_w(f, k, r, mask, u32::reverse_bits),
        Brev64 => d_d(f, k, r, mask, u64::reverse_bits),
        VideoScalar(video) => w_www(f, k, r, mask, |x, y, z| video.run(x, y, z)),
        VideoMad(video) => w_www(f, k, r, mask, |x, y, z| video.run(x, y, z)),
        VideoSimd(video) => w_www(f, k, r, mask, |x, y, z| video.run(x, y, z)),

        AddF32(mode) => with_mode!(mode, |m| w_ww(f, k, r, mask, |x, y| float::add_f32(x, y, m))),
        SubF32(mode) => with_mode!(mode, |m| w_ww(f, k, r, mask, |x, y| float::sub_f32(x, y, m))),
        MulF32(mode) => with_mode!(mode, |m| w_ww(f, k, r, mask, |x, y| float::mul_f32(x, y, m))),
        FmaF32(mode) if FUSED && mode.round == Round::Rn => {
            with_mode!(mode, |m| w_www(f, k, r, mask, |x, y, z| float::fma_f32_fused(x, y, z, m)));
        }
        FmaF32(mode) => w_www(f, k, r, mask, |x, y, z| float::fma_f32(x, y, z, mode)),
        DivF32(mode) => with_mode!(mode, |m| w_ww(f, k, r, mask, |x, y| float::div_f32(x, y, m))),
        DivFullF32(ftz) => w_ww(f, k, r, mask, |x, y| approx::div_full_f32(x, y, ftz)),
        DivApproxF32(ftz) => w_ww(f, k, r, mask, |x, y| approx::div_approx_f32(x, y, ftz)),
        RcpF32(mode) => w_w(f, k, r, mask, |x| float::rcp_f32(x, mode)),
        SqrtF32(mode) => w_w(f, k, r, mask, |x| float::sqrt_f32(x, mode)),
        ExtremumF32(mode) => w_ww(f, k, r, mask, |x, y| float::extremum_f32(x, y, mode)),
        AbsF32(ftz) => w_w(f, k, r, mask, |x| float::abs_f32(x, ftz)),
        NegF32(ftz) => w_w(f, k, r, mask, |x| float::neg_f32(x, ftz)),
        CopysignF32 => w_ww(f, k, r, mask, float::copysign_f32),
        Ex2F32(ftz) => w_w(f, k, r, mask, |x| approx::ex2_f32(x, ftz)),
        Lg2F32(ftz) => w_w(f, k, r, mask, |x| approx::lg2_f32(x, ftz)),
        SinF32(ftz) => w_w(f, k, r, mask, |x| approx::sin_f32(x, ftz)),
        CosF32(ftz) => w_w(f, k, r, mask, |x| approx::cos_f32(x, ftz)),
        TanhF32 => w_w(f, k, r, mask, approx::tanh_f32),
        RcpApproxF32(ftz) => w_w(f, k, r, mask, |x| approx::rcp_f32(x, ftz)),
        SqrtApproxF32(ftz) => w_w(f, k, r, mask, |x| approx::sqrt_f32(x, ftz)),
        RsqrtF32(ftz) => w_w(f, k, r, mask, |x| approx::rsqrt_f32(x, ftz)),
        TestpF32(property) => w_w(f, k, r, mask, |x| u32::from(float::testp_f32(x, property))),

        AddF32x2(m) => d_dd(f, k, r, mask, |x, y| both(x, y, 0, |x, y, _| float::add_f32(x, y, m))),
        SubF32x2(m) => d_dd(f, k, r, mask, |x, y| both(x, y, 0, |x, y, _| float::sub_f32(x, y, m))),
        MulF32x2(m) => d_dd(f, k, r, mask, |x, y| both(x, y, 0, |x, y, _| float::mul_f32(x, y, m))),
        FmaF32x2(m) => d_ddd(f, k, r, mask, |x, y, z| both(x, y, z, |x, y, z| float::fma_f32(x, y, z, m))),

        AddF64(mode) => with_mode!(mode, |m| d_dd(f, k, r, mask, |x, y| float::add_f64(x, y, m))),
        SubF64(mode) => with_mode!(mode, |m| d_dd(f, k, r, mask, |x, y| float::sub_f64(x, y, m))),
        MulF64(mode) => with_mode!(mode, |m| d_dd(f, k, r, mask, |x, y| float::mul_f64(x, y, m))),
        FmaF64(mode) => with_mode!(mode, |m| d_ddd(f, k, r, mask, |x, y, z| float::fma_f64(x, y, z, m))),
        DivF64(mode) => d_dd(f, k, r, mask, |x, y| float::div_f64(x, y, mode)),
        RcpF64(mode) => d_d(f, k, r, mask, |x| float::rcp_f64(x, mode)),
        SqrtF64(mode) => d_d(f, k, r, mask, |x| float::sqrt_f64(x, mode)),
        ExtremumF64(max) => d_dd(f, k, r, mask, |x, y| float::extremum_f64(x, y, max)),
        AbsF64 => d_d(f, k, r, mask, float::abs_f64),
        NegF64 => d_d(f, k, r, mask, float::neg_f64),
        CopysignF64 => d_dd(f, k, r, mask, float::copysign_f64),
        RcpFtzF64 => d_d(f, k, r, mask, approx::rcp_ftz_f64),
        RsqrtFtzF64 => d_d(f, k, r, mask, approx::rsqrt_ftz_f64),
        RsqrtF64 => d_d(f, k, r, mask, approx::rsqrt_f64),
        TestpF64(property) => w_d(f, k, r, mask, |x| u32::from(float::testp_f64(x, property))),

        AddHalf(h, m, pair) => halves!(h, pair, f k r mask, w_ww pair2, |x, y| add::<_>(m)),
        SubHalf(h, m, pair) => halves!(h, pair, f k r mask, w_ww pair2, |x, y| sub::<_>(m)),
        MulHalf(h, m, pair) => halves!(h, pair, f k r mask, w_ww pair2, |x, y| mul::<_>(m)),
        FmaHalf(h, m, pair) => halves!(h, pair, f k r mask, w_www pair3, |x, y, z| fma::<_>(m)),
        ExtremumHalf(h, m, pair) => halves!(h, pair, f k r mask, w_ww pair2, |x, y| extremum::<_>(m)),
        NegHalf(h, ftz, pair) => halves!(h, pair, f k r mask, w_w pair1, |x| neg::<_>(ftz)),
        AbsHalf(h, ftz, pair) => halves!(h, pair, f k r mask, w_w pair1, |x| abs::<_>(ftz)),
        Ex2Half(h, ftz, pair) => w_w(f, k, r, mask, |x| through(h, pair, ftz, x, approx::ex2_half)),
        TanhHalf(h, pair) => w_w(f, k, r, mask, |x| through(h, pair, false, x, approx::tanh_half)),

        Cvt(c, to, from) => cvt(c, to, from, f, k, r, mask),
        CvtPair(c) => match (c.to, c == plain(c)) {
            (Type::F16, true) => w_ww(f, k, r, mask, |x, y| convert::cvt_pair(plain_to(Type::F16), x, y)),
            (Type::Bf16, true) => w_ww(f, k, r, mask, |x, y| convert::cvt_pair(plain_to(Type::Bf16), x, y)),
            _ => w_ww(f, k, r, mask, |x, y| convert::cvt_pair(c, x, y)),
        },
        CvtPack { bits, to_signed, from_signed } => {
            w_www(f, k, r, mask, |x, y, z| convert::pack(bits, to_signed, from_signed, x, y, z));
        }
        Fp8Pack(format, relu) => {
            w_ww(f, k, r, mask, |x, y| u32::from(fp8::pack(format, f32::from_bits(x), f32::from_bits(y), relu)))
        }
        Fp8PackHalf(format, relu) => w_w(f, k, r, mask, |x| u32::from(fp8::pack_f16x2(format, x, relu))),
        Fp8Unpack(format, relu) => w_w(f, k, r, mask, |x| fp8::unpack_f16x2(format, x as u16, relu)),

        Slct32(by) => w_www(f, k, r, mask, |x, y, c| if chooses(c, by) { x } else { y }),
        Slct64(by) => d_ddw(f, k, r, mask, |x, y, c| if chooses(c, by) { x } else { y }),
        SetPair(relation, h, ftz, result) => {
            w_ww(f, k, r, mask, |x, y| set_pair(relation, h, ftz, result, x, y));
        }
    }
}

/// The conversion without its modifiers, to nearest.
#[inline(always)]
fn plain(c: Cvt) -> Cvt {
    Cvt::new(c.to, c.from, Round::Rn)
}

#[inline(always)]
fn plain_to(to: Type) -> Cvt {
    Cvt::new(to, Type::F32, Round::Rn)
}

/// `cvt`; the common ones with their types as constants of the loop.
#[inline(always)]
fn cvt(c: Cvt, to: Width, from: Width, f: &mut Frame, k: &Constants, r: Regs, mask: u32) {
    macro_rules! common {
        ($map:ident, $out:ty, $to:ident, $from:ident) => {
            $map(f, k, r, mask, |x| convert::cvt(Cvt::new(Type::$to, Type::$from, Round::Rn), u64::from(x)) as $out)
        };
    }
    if c == plain(c) {
        match (c.to, c.from) {
            (Type::F32, Type::S32) => return common!(w_w, u32, F32, S32),
            (Type::F32, Type::U32) => return common!(w_w, u32, F32, U32),
            (Type::F32, Type::F16) => return common!(w_w, u32, F32, F16),
            (Type::F32, Type::Bf16) => return common!(w_w, u32, F32, Bf16),
            (Type::F16, Type::F32) => return common!(w_w, u32, F16, F32),
            (Type::Bf16, Type::F32) => return common!(w_w, u32, Bf16, F32),
            (Type::U32, Type::U16) => return w_w(f, k, r, mask, |x| x & 0xffff),
            (Type::U16, Type::U32) => return w_w(f, k, r, mask, |x| x & 0xffff),
            (Type::S32, Type::S16) => return w_w(f, k, r, mask, |x| x as i16 as u32),
            (Type::U64, Type::U32) => return d_w(f, k, r, mask, u64::from),
            (Type::S64, Type::S32) => return d_w(f, k, r, mask, |x| x as i32 as u64),
            (Type::U32 | Type::S32, Type::U64 | Type::S64) => return w_d(f, k, r, mask, |x| x as u32),
            _ => {}
        }
    }
    if c.to == Type::S32 && c.from == Type::F32 && c.round == Round::Rz && !c.ftz {
        return w_w(f, k, r, mask, |x| f32::from_bits(x) as i32 as u32);
    }
    match (to, from) {
        (Width::W, Width::W) => w_w(f, k, r, mask, |x| convert::cvt(c, u64::from(x)) as u32),
        (Width::W, Width::D) => w_d(f, k, r, mask, |x| convert::cvt(c, x) as u32),
        (Width::D, Width::W) => d_w(f, k, r, mask, |x| convert::cvt(c, u64::from(x))),
        (Width::D, Width::D) => d_d(f, k, r, mask, |x| convert::cvt(c, x)),
    }
}
