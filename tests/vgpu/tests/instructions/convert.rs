//! Conversions, by the definition of rounding.

use crate::arith::soft::Round;
use crate::exact::{Dyadic, rounds};
use crate::float::{Spec, each, format, round, value};
use crate::harness::{Judge, Kind, Row, check, equals};
use crate::integer::{number, range};

fn is_float(ty: &str) -> bool {
    ty.contains('f')
}

/// The integer next to a number in a direction.
fn whole(x: f64, direction: Round) -> f64 {
    let down = x.floor();
    let above = x - down;
    let up = match direction {
        Round::Rz => x < 0.0 && above > 0.0,
        Round::Rm => false,
        Round::Rp => above > 0.0,
        _ => above > 0.5 || above == 0.5 && down % 2.0 != 0.0,
    };
    let result = if up { down + 1.0 } else { down };
    if result == 0.0 { 0f64.copysign(x) } else { result }
}

fn direction(mods: &[&str]) -> Option<Round> {
    let names = [("rni", Round::Rn), ("rzi", Round::Rz), ("rmi", Round::Rm), ("rpi", Round::Rp)];
    names.into_iter().find(|(name, _)| mods.contains(name)).map(|(_, r)| r)
}

fn cvt(name: &str) -> Row {
    let mods: Vec<&str> = name.split('.').collect();
    let n = mods.len();
    let (to, from) = (mods[n - 2].to_string(), mods[n - 1].to_string());
    let (d, a) = (Kind::of(&to), Kind::of(&from));
    let sat = mods.contains(&"sat");
    let ftz = mods.contains(&"ftz");
    let integral = direction(&mods);
    let flush = move |bits: u64| if ftz && from == "f32" { Spec::new(&["ftz"], "f32").flush(bits) } else { bits };
    let from = mods[n - 1].to_string();
    let judge: Judge = match (is_float(&to), is_float(&from)) {
        (false, false) => equals(d, move |v| {
            let x = number(v[0], &from);
            let (low, high) = range(&to);
            let x = if sat { x.clamp(low, high) } else { x };
            number(x as u64, &to) as u64
        }),
        (false, true) => equals(d, move |v| {
            let x = value(flush(v[0]), format(&from));
            let (low, high) = range(&to);
            let x = whole(x, integral.expect("a direction"));
            if x.is_nan() {
                0
            } else if x.abs() > 2f64.powi(70) {
                (if x < 0.0 { low } else { high }) as u64
            } else {
                (x as i128).clamp(low, high) as u64
            }
        }),
        (true, false) => {
            let r = round(&mods);
            Box::new(move |v, got| {
                let x = number(v[0], &from);
                let exact = Dyadic::new(x < 0, x.unsigned_abs() as u64, 0);
                if rounds(&exact, got, format(&to), r) { Ok(()) } else { Err("the integer, rounded".into()) }
            })
        }
        (true, true) => {
            let spec = Spec { ftz: ftz && to == "f32", ..Spec::new(&mods, &to) };
            Box::new(move |v, got| {
                let bits = flush(v[0]);
                let x = value(bits, format(&from));
                let exact = Dyadic::of(bits, format(&from));
                let fine = match integral {
                    Some(r) => {
                        let wanted = whole(x, r);
                        let got = value(got, spec.format);
                        got.to_bits() == wanted.to_bits() || got.is_nan() && wanted.is_nan()
                    }
                    None => spec.accepts(got, x, |got| {
                        if x.is_finite() {
                            rounds(&exact, got, spec.format, spec.round)
                        } else {
                            value(got, spec.format) == x
                        }
                    }),
                };
                if fine { Ok(()) } else { Err("the number, rounded".into()) }
            })
        }
    };
    let row = Row::new(name, d, &[a], judge);
    // Eight-bit values live in the low byte of a word; a 16-bit register must do as well.
    row
}

fn all(names: &str) -> Vec<Row> {
    names.split_whitespace().map(cvt).collect()
}

#[test]
fn integers_change_width_and_sign() {
    check(all("cvt.s16.s8 cvt.s32.s16 cvt.s32.s8 cvt.s32.u32 cvt.s64.s16 cvt.s64.s32 cvt.s8.s32 cvt.sat.s16.s64 cvt.sat.s32.s64
        cvt.sat.s8.s32 cvt.sat.u16.s32 cvt.sat.u32.s32 cvt.sat.u32.s64 cvt.sat.u8.s32 cvt.u16.u32 cvt.u16.u64 cvt.u32.u16
        cvt.u32.u64 cvt.u64.u32 cvt.u8.u32 cvt.u32.u8 cvt.s64.s8 cvt.u64.u8 cvt.u16.u8 cvt.s16.s32 cvt.s32.s64 cvt.sat.s8.u32
        cvt.sat.u8.u32 cvt.sat.u64.s64 cvt.sat.s64.u64 cvt.u64.u16 cvt.s8.s64 cvt.u8.u64 cvt.s16.u64"));
}

#[test]
fn floats_become_integers() {
    check(all("cvt.rmi.s32.f32 cvt.rni.ftz.s32.f32 cvt.rni.s32.f32 cvt.rni.s32.f64 cvt.rni.sat.s8.f32 cvt.rni.u16.f32
        cvt.rni.u32.f32 cvt.rni.u32.f64 cvt.rpi.ftz.s32.f32 cvt.rpi.s32.f32 cvt.rzi.s16.f32 cvt.rzi.s32.f32 cvt.rzi.s32.f64
        cvt.rzi.s64.f32 cvt.rzi.s64.f64 cvt.rzi.sat.u8.f32 cvt.rzi.u32.f32 cvt.rzi.u64.f64 cvt.rzi.s8.f32 cvt.rzi.u8.f32
        cvt.rzi.u64.f32 cvt.rmi.s64.f64 cvt.rpi.u32.f64 cvt.rzi.s32.f16 cvt.rni.u16.f16 cvt.rzi.s64.f16 cvt.rni.s32.bf16
        cvt.rzi.ftz.u32.f32 cvt.rmi.u16.f64"));
}

#[test]
fn integers_become_floats() {
    check(all("cvt.rm.f32.u32 cvt.rn.f16.s32 cvt.rn.f32.s16 cvt.rn.f32.s32 cvt.rn.f32.s64 cvt.rn.f32.s8 cvt.rn.f32.u16
        cvt.rn.f32.u32 cvt.rn.f32.u64 cvt.rn.f32.u8 cvt.rn.f64.s32 cvt.rn.f64.s64 cvt.rn.f64.u32 cvt.rn.f64.u64 cvt.rp.f32.u64
        cvt.rz.f32.s64 cvt.rz.f32.s32 cvt.rz.f64.u64 cvt.rm.f64.s64 cvt.rn.f16.u16 cvt.rn.f16.s8 cvt.rz.f16.s64 cvt.rp.f16.u32
        cvt.rn.bf16.s32 cvt.rn.bf16.u8"));
}

#[test]
fn floats_become_floats() {
    check(all("cvt.f32.bf16 cvt.f32.f16 cvt.f64.f32 cvt.ftz.f64.f32 cvt.rm.f32.f64 cvt.rmi.f32.f32 cvt.rmi.f64.f64
        cvt.rn.bf16.f32 cvt.rn.f16.f32 cvt.rn.f16.f64 cvt.rn.f32.f64 cvt.rn.relu.f16.f32 cvt.rn.sat.f16.f32 cvt.rni.f32.f32
        cvt.rp.f32.f64 cvt.rpi.f32.f32 cvt.rz.bf16.f32 cvt.rz.f16.f32 cvt.rz.f32.f64 cvt.rzi.f32.f32 cvt.rzi.f64.f64
        cvt.sat.f32.f32 cvt.f64.f16 cvt.rn.ftz.f32.f64 cvt.rni.f64.f64 cvt.rpi.f64.f64 cvt.rn.relu.bf16.f32 cvt.rz.relu.bf16.f32
        cvt.rm.f16.f32 cvt.rp.f16.f64 cvt.sat.f64.f64 cvt.rni.f16.f16 cvt.ftz.f32.f16 cvt.ftz.sat.f32.f32 cvt.rn.bf16.f64
        cvt.f64.bf16 cvt.rn.f16.bf16 cvt.rn.bf16.f16 cvt.rn.sat.bf16.f32"));
}

/// `cvt.….f16x2.f32 d, a, b`: `a` is the upper half.
#[test]
fn two_floats_become_a_pair() {
    let row = |name: &str| {
        let mods: Vec<&str> = name.split('.').collect();
        let ty = mods[mods.len() - 2].to_string();
        let spec = Spec::new(&mods, &ty);
        let judge = move |v: &[u64], got: u64| {
            let half = |bits: u64, got: u64| {
                let x = value(bits, format("f32"));
                spec.accepts(got & 0xffff, x, |got| {
                    let exact = Dyadic::of(bits, format("f32"));
                    if x.is_finite() {
                        rounds(&exact, got, spec.format, spec.round)
                    } else {
                        value(got, spec.format) == x
                    }
                })
            };
            if half(v[0], got >> 16) && half(v[1], got) { Ok(()) } else { Err("both, rounded".into()) }
        };
        Row::new(name, Kind::of(&ty), &[Kind::F32; 2], Box::new(judge))
    };
    let names = "cvt.rn.bf16x2.f32 cvt.rn.f16x2.f32 cvt.rn.relu.f16x2.f32 cvt.rz.f16x2.f32 cvt.rz.bf16x2.f32
        cvt.rn.relu.bf16x2.f32 cvt.rz.relu.f16x2.f32";
    check(names.split_whitespace().map(row).collect());
}

#[test]
fn tf32_keeps_nineteen_bits() {
    let judge = |away: bool, relu: bool| -> Judge {
        Box::new(move |v, got| {
            let x = f32::from_bits(v[0] as u32);
            if x.is_nan() {
                return if f32::from_bits(got as u32).is_nan() { Ok(()) } else { Err("NaN".into()) };
            }
            let (sign, magnitude) = (v[0] & 0x8000_0000, v[0] & 0x7fff_ffff);
            let half = if away { 0x1000 } else { 0xfff + (magnitude >> 13 & 1) };
            let rounded = if x.is_infinite() { magnitude } else { (magnitude + half) & !0x1fff };
            let wanted = if relu && sign != 0 { 0 } else { sign | rounded };
            if got == wanted { Ok(()) } else { Err(format!("{wanted:#x}")) }
        })
    };
    check(vec![
        Row::new("cvt.rna.tf32.f32", Kind::B32, &[Kind::F32], judge(true, false)),
        Row::new("cvt.rn.tf32.f32", Kind::B32, &[Kind::F32], judge(false, false)),
        Row::new("cvt.rn.relu.tf32.f32", Kind::B32, &[Kind::F32], judge(false, true)),
    ]);
}

/// Bytes of `e4m3` or `e5m2`, by definition; none for NaN and infinity.
fn fp8(bits: u64, ty: &str) -> Option<f64> {
    let (e, m, bias) = if ty == "e4m3x2" { (4, 3, 7) } else { (5, 2, 15) };
    let (mantissa, field) = (bits & ((1 << m) - 1), bits >> m & ((1 << e) - 1));
    if field == (1 << e) - 1 && (ty == "e5m2x2" || mantissa == 7) {
        return None;
    }
    let (significand, power) = if field == 0 { (mantissa, 1) } else { (mantissa | 1 << m, field as i32) };
    let x = significand as f64 * 2f64.powi(power - bias - m);
    Some(if bits & 0x80 != 0 { -x } else { x })
}

fn nearest_fp8(x: f64, byte: u64, ty: &str) -> bool {
    let all: Vec<f64> = (0..256).filter_map(|b| fp8(b, ty)).collect();
    let Some(got) = fp8(byte, ty) else { return x.is_nan() && byte & 0x7f == 0x7f };
    if x.is_nan() {
        return false;
    }
    let largest = all.iter().copied().fold(0.0, f64::max);
    let x = x.clamp(-largest, largest);
    let best = all.iter().map(|v| (v - x).abs()).fold(f64::MAX, f64::min);
    let ties =
        all.iter().filter(|v| (*v - x).abs() == best && (**v != 0.0 || v.is_sign_negative() == x.is_sign_negative()));
    let tied = ties.count() > 1;
    (got - x).abs() == best && (!tied || byte & 1 == 0) && (byte & 0x80 != 0) == x.is_sign_negative()
}

#[test]
fn bytes_of_floating_point_are_nearest_and_finite() {
    let mut rows = Vec::new();
    for ty in ["e4m3x2", "e5m2x2"] {
        let judge = move |v: &[u64], got: u64| {
            let x = |i: usize| f64::from(f32::from_bits(v[i] as u32));
            let fine = nearest_fp8(x(0), got >> 8, ty) && nearest_fp8(x(1), got & 0xff, ty);
            if fine { Ok(()) } else { Err("the nearest bytes".into()) }
        };
        rows.push(Row::new(&format!("cvt.rn.satfinite.{ty}.f32"), Kind::B16, &[Kind::F32; 2], Box::new(judge)));
        let judge = move |v: &[u64], got: u64| {
            let half = |shift: u64| value(v[0] >> shift & 0xffff, format("f16"));
            let fine = nearest_fp8(half(16), got >> 8, ty) && nearest_fp8(half(0), got & 0xff, ty);
            if fine { Ok(()) } else { Err("the nearest bytes".into()) }
        };
        rows.push(Row::new(&format!("cvt.rn.satfinite.{ty}.f16x2"), Kind::B16, &[Kind::F16x2], Box::new(judge)));
        let judge = move |v: &[u64], got: u64| {
            let half = |shift: u32| {
                let byte = v[0] >> shift & 0xff;
                let got = value(got >> (2 * shift) & 0xffff, format("f16"));
                match fp8(byte, ty) {
                    Some(x) => got == x,
                    None if ty == "e5m2x2" && byte & 3 == 0 => got.is_infinite() && (got < 0.0) == (byte & 0x80 != 0),
                    None => got.is_nan(),
                }
            };
            if half(0) && half(8) { Ok(()) } else { Err("the bytes' values".into()) }
        };
        rows.push(Row::new(&format!("cvt.rn.f16x2.{ty}"), Kind::F16x2, &[Kind::B16], Box::new(judge)));
    }
    check(rows);
}

#[test]
fn pack_saturates_both_operands() {
    let mut rows = Vec::new();
    for (ty, bits) in [("s8", 8), ("u8", 8), ("s16", 16), ("u16", 16), ("s4", 4), ("u4", 4), ("u2", 2)] {
        let signed = ty.starts_with('s');
        let f = move |v: &[u64]| {
            let (low, high) =
                if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1i64 << bits) - 1) };
            let part = |x: u64| (i64::from(x as i32).clamp(low, high) as u64) & ((1 << bits) - 1);
            let rest = if bits == 16 { 0 } else { v[2] << (2 * bits) };
            part(v[0]) << bits | part(v[1]) | rest
        };
        let (name, operands) =
            if bits == 16 { (format!("cvt.pack.sat.{ty}.s32"), 2) } else { (format!("cvt.pack.sat.{ty}.s32.b32"), 3) };
        rows.push(Row::new(&name, Kind::B32, &vec![Kind::B32; operands], equals(Kind::B32, f)));
    }
    check(rows);
}

/// An operand may sit in a wider register than its type; a result fills the register it is
/// written to, extended by its own type.
#[test]
fn registers_may_be_wider_than_types() {
    let (b32, b16) = (Kind::B32, Kind::B16);
    check(vec![
        Row::new("cvt.s32.s8 from b16", b32, &[b16], equals(b32, |v| v[0] as i8 as u64)).body("cvt.s32.s8 $d, $a;"),
        Row::new("cvt.s8.s32 to b32", b32, &[b32], equals(b32, |v| v[0] as i8 as u64)).body("cvt.s8.s32 $d, $a;"),
        Row::new("cvt.u8.u32 to b16", b16, &[b32], equals(b16, |v| v[0] & 0xff)).body("cvt.u8.u32 $d, $a;"),
        Row::new("cvt.s16.s32 to b32", b32, &[b32], equals(b32, |v| v[0] as i16 as u64)).body("cvt.s16.s32 $d, $a;"),
        Row::new("cvt.rn.f32.u8 from b16", b32, &[b16], equals(b32, |v| u64::from((v[0] as u8 as f32).to_bits())))
            .body("cvt.rn.f32.u8 $d, $a;"),
    ]);
    let judge = |v: &[u64], got: u64| {
        let fine = each("f16x2", v, got, |v, got| v[0] == got);
        if fine { Ok(()) } else { Err("the same".into()) }
    };
    check(vec![Row::new("mov.b32", Kind::F16x2, &[Kind::F16x2], Box::new(judge))]);
}
