//! Comparisons and selections.

use crate::float::{Spec, value};
use crate::harness::{Kind, Row, check, equals};
use crate::integer::number;
use std::cmp::Ordering;

/// Order of two operands of a type; none if one is NaN.
fn order(ty: &str, ftz: bool, a: u64, b: u64) -> Option<Ordering> {
    if !ty.contains('f') {
        return Some(number(a, ty).cmp(&number(b, ty)));
    }
    let mods: &[&str] = if ftz { &["ftz"] } else { &[] };
    let spec = Spec::new(mods, ty);
    value(spec.flush(a), spec.format).partial_cmp(&value(spec.flush(b), spec.format))
}

fn holds(relation: &str, order: Option<Ordering>) -> bool {
    let Some(order) = order else {
        return relation == "nan" || relation.len() == 3 && relation.ends_with('u');
    };
    match relation {
        "eq" | "equ" => order.is_eq(),
        "ne" | "neu" => order.is_ne(),
        "lt" | "lo" | "ltu" => order.is_lt(),
        "le" | "ls" | "leu" => order.is_le(),
        "gt" | "hi" | "gtu" => order.is_gt(),
        "ge" | "hs" | "geu" => order.is_ge(),
        "num" => true,
        _ => false,
    }
}

/// `setp.relation{.logic}{.ftz}.type`.
fn setp(name: &str) -> Row {
    let mods: Vec<String> = name.split('.').map(str::to_string).collect();
    let (relation, ty) = (mods[1].clone(), mods[mods.len() - 1].clone());
    let ftz = mods.iter().any(|m| m == "ftz");
    let logic = mods.iter().find(|m| ["and", "or", "xor"].contains(&m.as_str())).cloned();
    let kind = Kind::of(&ty);
    let mut inputs = vec![kind, kind];
    if logic.is_some() {
        inputs.push(Kind::Pred);
    }
    let judge = equals(Kind::Pred, move |v| {
        let first = holds(&relation, order(&ty, ftz, v[0], v[1]));
        u64::from(match logic.as_deref() {
            None => first,
            Some("and") => first & (v[2] == 1),
            Some("or") => first | (v[2] == 1),
            _ => first ^ (v[2] == 1),
        })
    });
    Row::new(name, Kind::Pred, &inputs, judge)
}

fn all(names: &str) -> Vec<Row> {
    names.split_whitespace().map(setp).collect()
}

#[test]
fn predicates_of_integers() {
    check(all("setp.eq.b32 setp.eq.b64 setp.eq.b16 setp.ne.b16 setp.ne.b32 setp.ne.b64 setp.eq.s16 setp.eq.s32 setp.eq.s64
        setp.eq.u32 setp.ge.s32 setp.ge.s64 setp.ge.u32 setp.ge.u64 setp.gt.s16 setp.gt.s32 setp.gt.s64 setp.gt.u32 setp.gt.u64
        setp.hi.u32 setp.hs.u32 setp.le.s32 setp.le.u32 setp.le.u64 setp.lo.u32 setp.ls.u32 setp.lt.s32 setp.lt.u16 setp.lt.u32
        setp.lt.u64 setp.ne.s16 setp.ne.s32 setp.ne.s64 setp.ne.u32 setp.lt.and.s32 setp.lt.and.u32 setp.lt.or.s32
        setp.lt.xor.s32 setp.ge.or.u64 setp.ne.xor.s16 setp.eq.and.b64 setp.ls.u64 setp.hs.u16 setp.le.s16"));
}

#[test]
fn predicates_of_floats() {
    check(all("setp.eq.f32 setp.eq.f64 setp.equ.f32 setp.ge.f32 setp.ge.f64 setp.geu.f32 setp.geu.f64 setp.gt.f32 setp.gt.f64
        setp.gt.ftz.f32 setp.gtu.f32 setp.gtu.f64 setp.le.f32 setp.leu.f32 setp.leu.f64 setp.leu.ftz.f32 setp.lt.f32
        setp.lt.f64 setp.ltu.f32 setp.ltu.f64 setp.nan.f32 setp.nan.f64 setp.ne.f32 setp.neu.f32 setp.neu.f64 setp.num.f32
        setp.num.f64 setp.ne.f64 setp.equ.f64 setp.le.f64 setp.eq.ftz.f32 setp.lt.and.f32 setp.gtu.xor.ftz.f32
        setp.lt.f16 setp.geu.f16 setp.nan.f16 setp.eq.ftz.f16 setp.gt.bf16 setp.neu.bf16 setp.num.bf16"));
}

#[test]
fn predicates_come_with_their_complement_and_may_be_negated() {
    let b32 = Kind::B32;
    let judge = || equals(b32, |v| if (v[0] as i32) < v[1] as i32 { 1 } else { 2 });
    let both = Row::new("setp.lt.s32 p|q", b32, &[b32, b32], judge())
        .body("setp.lt.s32 %p|%q, $a, $b;\nselp.u32 %x, 1, 0, %p;\nselp.u32 %y, 2, 0, %q;\nadd.u32 $d, %x, %y;");
    // The complement is of the comparison, then combined as well.
    let judge = equals(b32, |v| {
        let (less, c) = ((v[0] as i32) < v[1] as i32, v[2] == 1);
        u64::from(less && !c) | u64::from(!less && !c) << 1
    });
    let negated = Row::new("setp.lt.and.s32 p|q, !c", b32, &[b32, b32, Kind::Pred], judge).body(
        "setp.lt.and.s32 %p|%q, $a, $b, !$c;\nselp.u32 %x, 1, 0, %p;\nselp.u32 %y, 2, 0, %q;\nadd.u32 $d, %x, %y;",
    );
    let judge = equals(b32, |v| {
        let half = |i: u32| {
            let part = |x: u64| value(x >> i & 0xffff, crate::arith::soft::F16);
            u64::from(part(v[0]) > part(v[1]))
        };
        half(0) | half(16) << 1
    });
    let pair = Row::new("setp.gt.f16x2", b32, &[Kind::F16x2; 2], judge)
        .body("setp.gt.f16x2 %p|%q, $a, $b;\nselp.u32 %x, 1, 0, %p;\nselp.u32 %y, 2, 0, %q;\nadd.u32 $d, %x, %y;");
    check(vec![both, negated, pair]);
}

/// `set.relation.dtype.stype`: all ones for integers, 1.0 for floats, half by half for pairs.
#[test]
fn set_writes_ones() {
    let row = |name: &str| {
        let mods: Vec<String> = name.split('.').map(str::to_string).collect();
        let n = mods.len();
        let (relation, d, ty) = (mods[1].clone(), mods[n - 2].clone(), mods[n - 1].clone());
        let ftz = mods.iter().any(|m| m == "ftz");
        let one = match d.as_str() {
            "f32" => 0x3f80_0000,
            "f16" | "f16x2" => 0x3c00,
            "bf16" | "bf16x2" => 0x3f80,
            "u16" | "s16" => 0xffff,
            _ => 0xffff_ffff,
        };
        let kind = Kind::of(&d);
        let input = Kind::of(&ty);
        let judge = equals(kind, move |v| {
            let holds = |a: u64, b: u64| u64::from(holds(&relation, order(&ty, ftz, a, b)));
            if !ty.ends_with("x2") {
                return holds(v[0], v[1]) * one;
            }
            // Pairs give pairs; of an integer type, each half is all ones.
            let one = if d.ends_with("x2") { one } else { 0xffff };
            (holds(v[0] & 0xffff, v[1] & 0xffff) | holds(v[0] >> 16, v[1] >> 16) << 16) * one
        });
        Row::new(name, kind, &[input, input], judge)
    };
    let names = "set.eq.f16x2.f16x2 set.ge.f32.s32 set.gt.f16x2.f16x2 set.gtu.u32.f16 set.lt.u32.f32 set.ne.s32.u64
        set.lt.f32.f64 set.le.ftz.u32.f32 set.lt.u32.s32 set.gtu.u32.f16x2 set.lt.f16.f16 set.geu.bf16x2.bf16x2 set.hi.u32.u32";
    check(names.split_whitespace().map(row).collect());
}

#[test]
fn selections_take_one_operand_whole() {
    let selp = |ty: &str| {
        let kind = Kind::of(ty);
        let judge = equals(kind, |v| if v[2] == 1 { v[0] } else { v[1] });
        Row::new(&format!("selp.{ty}"), kind, &[kind, kind, Kind::Pred], judge)
    };
    let mut rows: Vec<Row> =
        ["b16", "b32", "b64", "f32", "f64", "s32", "u16", "u32", "u64", "s64", "s16"].map(selp).into();
    for (name, c) in [
        ("slct.f32.s32", "s32"),
        ("slct.u32.f32", "f32"),
        ("slct.b64.s32", "s32"),
        ("slct.ftz.u32.f32", "f32"),
        ("slct.u16.s32", "s32"),
    ] {
        let ty = name.split('.').rev().nth(1).unwrap();
        let kind = Kind::of(ty);
        let judge = equals(kind, move |v| {
            let first = if c == "s32" {
                v[2] as i32 >= 0
            } else {
                // NaN selects the second; -0 and flushed subnormals count as zero.
                let x = f32::from_bits(v[2] as u32);
                x >= 0.0 || name.contains("ftz") && x.is_subnormal()
            };
            if first { v[0] } else { v[1] }
        });
        rows.push(Row::new(name, kind, &[kind, kind, Kind::of(c)], judge));
    }
    check(rows);
}

#[test]
fn moves_copy_split_and_join() {
    let mov = |ty: &str| {
        let kind = Kind::of(ty);
        Row::new(&format!("mov.{ty}"), kind, &[kind], equals(kind, |v| v[0]))
    };
    let mut rows: Vec<Row> =
        ["b16", "b32", "b64", "f32", "f64", "pred", "s32", "u16", "u32", "u64", "s64", "s16"].map(mov).into();
    let swap = equals(Kind::B64, |v| v[0].rotate_left(32));
    let body = "mov.b64 {%x, %y}, $a;\nmov.b64 $d, {%y, %x};";
    rows.push(Row::new("mov.b64 {,}", Kind::B64, &[Kind::B64], swap).body(body));
    let body = ".reg .b16 %h0, %h1, %h2, %h3;\nmov.b64 {%h0, %h1, %h2, %h3}, $a;\nmov.b64 $d, {%h3, %h0, %h1, %h2};";
    rows.push(
        Row::new("mov.b64 {,,,}", Kind::B64, &[Kind::B64], equals(Kind::B64, |v| v[0].rotate_left(16))).body(body),
    );
    let body = ".reg .b16 %h0;\nmov.b32 {%h, %h0}, $a;\nmov.b32 $d, {%h0, %h};";
    rows.push(
        Row::new("mov.b32 {,}", Kind::B32, &[Kind::B32], equals(Kind::B32, |v| v[0] << 16 | v[0] >> 16)).body(body),
    );
    let body = "mov.b64 {_, %y}, $a;\nmov.b32 $d, %y;";
    rows.push(Row::new("mov.b64 {_,}", Kind::B32, &[Kind::B64], equals(Kind::B32, |v| v[0] >> 32)).body(body));
    let body =
        "{\n.reg .v2 .b32 %w;\nmov.b64 {%w.x, %w.y}, $a;\nmov.v2.u32 %w, {%w.y, %w.x};\nmov.b64 $d, {%w.x, %w.y};\n}";
    rows.push(Row::new("mov.v2.u32", Kind::B64, &[Kind::B64], equals(Kind::B64, |v| v[0].rotate_left(32))).body(body));
    let body = ".reg .v4 .b16 %w;\n.reg .b16 %h0, %h1, %h2;\nmov.b64 {%h, %h0, %h1, %h2}, $a;\nmov.v4.u16 %w, {%h2, %h, %h0, %h1};\n\
        mov.b64 $d, {%w.x, %w.y, %w.z, %w.w};";
    rows.push(Row::new("mov.v4.u16", Kind::B64, &[Kind::B64], equals(Kind::B64, |v| v[0].rotate_left(16))).body(body));
    let body = "mov.f32 %x, 0f40490FDB;\nadd.f32 $d, %x, $a;";
    let judge = equals(Kind::B32, |v| u64::from((f32::from_bits(0x4049_0fdb) + v[0] as i16 as f32).to_bits()));
    rows.push(
        Row::new("mov.f32 0f", Kind::B32, &[Kind::B16], judge)
            .body(&format!("{{ .reg .b32 %f;\ncvt.rn.f32.s16 %f, $a;\n{} }}", body.replace("$a", "%f"))),
    );
    check(rows);
}
