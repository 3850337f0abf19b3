//! Loads, stores and atomics of every space, width and modifier.

use crate::harness::{Kind, Row, check, equals, warp_equals};
use crate::integer::number;

const B64: Kind = Kind::B64;

/// Space, vector length and type of a load or store.
struct Access {
    space: &'static str,
    lanes: usize,
    ty: String,
}

fn access(name: &str) -> Access {
    let mods: Vec<&str> = name.split('.').collect();
    let has = |m: &str| mods.contains(&m);
    let space = ["global", "shared", "local", "const"]
        .into_iter()
        .find(|s| has(s) || mods.iter().any(|m| m.starts_with(&format!("{s}::"))));
    let lanes = if has("v2") {
        2
    } else if has("v4") {
        4
    } else {
        1
    };
    Access { space: space.unwrap_or("generic"), lanes, ty: mods[mods.len() - 1].to_string() }
}

fn bytes_of(ty: &str) -> usize {
    ty[1..].parse::<usize>().unwrap() / 8
}

/// Register that holds an element; elements of 8 bits travel in 16.
fn register(ty: &str) -> &'static str {
    match bytes_of(ty) {
        1 | 2 => "b16",
        4 => "b32",
        _ => "b64",
    }
}

/// `%u` becomes the address of the lane's own 32 bytes in a space, of the window for `generic`.
fn address(space: &str, window: &str) -> String {
    let place = if space == "generic" { window } else { space };
    let declare = match place {
        "global" => "",
        "shared" => ".shared .align 32 .b8 mine[8192];\n",
        _ => ".local .align 32 .b8 mine[32];\n",
    };
    let symbol = if place == "global" { "everyone" } else { "mine" };
    let index = match place {
        "global" => "%r0",
        "shared" => "%tid.x",
        _ => "0",
    };
    let generic = if space == "generic" { format!("cvta.{place}.u64 %u, %u;\n") } else { String::new() };
    format!(
        "{declare}mov.u64 %u, {symbol};\n{generic}mov.u32 %x, {index};\nmul.wide.u32 %v, %x, 32;\nadd.u64 %u, %u, %v;\n"
    )
}

const MODULE: &str = ".global .align 32 .b8 everyone[131072];\n\
    .const .align 16 .b8 table[32] = {1, 130, 3, 4, 5, 6, 7, 200, 9, 10, 11, 12, 13, 14, 15, 255, 17, 18, 128, 20};\n";

fn table() -> [u8; 32] {
    let mut bytes = [0; 32];
    let head = [1, 130, 3, 4, 5, 6, 7, 200, 9, 10, 11, 12, 13, 14, 15, 255, 17, 18, 128, 20];
    bytes[..20].copy_from_slice(&head);
    bytes
}

/// One number of several: element `i` counts `2i + 1` times.
fn mix(elements: impl Iterator<Item = u64>) -> u64 {
    elements.enumerate().fold(0, |sum, (i, x)| sum.wrapping_add(x.wrapping_mul(2 * i as u64 + 1)))
}

fn names(count: usize) -> String {
    let list: Vec<String> = (0..count).map(|i| format!("%m{i}")).collect();
    if count == 1 { list[0].clone() } else { format!("{{{}}}", list.join(", ")) }
}

/// Text that adds the elements `%m0…` up in `$d`, extended by their type.
fn mixed(access: &Access) -> String {
    let ty = access.ty.replace(['b', 'f'], "u").replace("u8", "u16").replace("s8", "s16");
    let wide = if ty.starts_with('s') { "s64" } else { "u64" };
    let extend = |i: usize| {
        if bytes_of(&access.ty) == 8 {
            format!("mov.b64 %v, %m{i};\n")
        } else {
            format!("cvt.{wide}.{ty} %v, %m{i};\n")
        }
    };
    let add = |i: usize| format!("{}mad.lo.u64 $d, %v, {}, $d;\n", extend(i), 2 * i + 1);
    format!("mov.u64 $d, 0;\n{}", (0..access.lanes).map(add).collect::<String>())
}

/// Loads what was stored there as two doubles; the value is at the first byte.
fn load(name: &str, window: &str) -> Row {
    let a = access(name);
    let (size, lanes, ty) = (bytes_of(&a.ty), a.lanes, a.ty.clone());
    let declare = format!(".reg .{} %m<4>;\n", register(&a.ty));
    let is_const = a.space == "const";
    let (place, store) = if is_const {
        ("mov.u64 %u, table;\n".to_string(), String::new())
    } else {
        let space = if a.space == "generic" { String::new() } else { format!(".{}", a.space) };
        let store = (0..4).map(|i| format!("st{space}.u64 [%u+{}], {};\n", 8 * i, ["$a", "$b"][i % 2])).collect();
        (address(a.space, window), store)
    };
    let body = format!("{declare}{place}{store}OP {}, [%u];\n{}", names(lanes), mixed(&a));
    let judge = equals(B64, move |v| {
        let stored: Vec<u8> = [v[0], v[1], v[0], v[1]].iter().flat_map(|x| x.to_le_bytes()).collect();
        let bytes = if is_const { table().to_vec() } else { stored };
        mix(bytes.chunks(size).take(lanes).map(|c| {
            let mut word = [0; 8];
            word[..size].copy_from_slice(c);
            let bits = u64::from_le_bytes(word);
            if ty.starts_with('s') { number(bits, &ty) as u64 } else { bits }
        }))
    });
    let title = if a.space == "generic" { format!("{name} ({window})") } else { name.to_string() };
    let mut row = Row::new(name, B64, &[B64, B64], judge).body(&body).module(MODULE);
    row.name = title;
    row
}

/// Stores elements cut from the operands over zeros, and reads all 32 bytes back.
fn store(name: &str, window: &str) -> Row {
    let a = access(name);
    let (size, lanes) = (bytes_of(&a.ty), a.lanes);
    let space = if a.space == "generic" { String::new() } else { format!(".{}", a.space) };
    let clear: String = (0..4).map(|i| format!("st{space}.u64 [%u+{}], 0;\n", 8 * i)).collect();
    // Element i is the low part of operand i mod 2, shifted right by 8 · (i / 2).
    let cut = |i: usize| {
        let convert = match register(&a.ty) {
            "b16" => format!("cvt.u16.u64 %m{i}, %v;\n"),
            "b32" => format!("cvt.u32.u64 %m{i}, %v;\n"),
            _ => format!("mov.b64 %m{i}, %v;\n"),
        };
        format!("shr.u64 %v, {}, {};\n{convert}", ["$a", "$b"][i % 2], 8 * (i / 2))
    };
    let elements: String = (0..lanes).map(cut).collect();
    let read: String =
        (0..4).map(|i| format!("ld{space}.u64 %v, [%u+{}];\nmad.lo.u64 $d, %v, {}, $d;\n", 8 * i, 2 * i + 1)).collect();
    let body = format!(
        ".reg .{} %m<4>;\n{}{clear}{elements}OP [%u], {};\nmov.u64 $d, 0;\n{read}",
        register(&a.ty),
        address(a.space, window),
        names(lanes)
    );
    let judge = equals(B64, move |v| {
        let mut bytes = [0u8; 32];
        for i in 0..lanes {
            let x = v[i % 2] >> (8 * (i / 2));
            bytes[i * size..(i + 1) * size].copy_from_slice(&x.to_le_bytes()[..size]);
        }
        mix(bytes.chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap())))
    });
    let title = if a.space == "generic" { format!("{name} ({window})") } else { name.to_string() };
    let mut row = Row::new(name, B64, &[B64, B64], judge).body(&body).module(MODULE);
    row.name = title;
    row
}

const WINDOWS: [&str; 3] = ["global", "shared", "local"];

#[test]
fn loads_extend_by_type() {
    let named = "ld.acquire.gpu.global.u32 ld.const.b16 ld.const.f32 ld.const.u32 ld.const.u64 ld.const.s8 ld.const.v4.u8
        ld.global.b16 ld.global.b32 ld.global.ca.v2.s64 ld.global.cg.v2.f64 ld.global.cs.b16 ld.global.cs.f32
        ld.global.cs.v2.s16 ld.global.cs.v4.s32 ld.global.f32 ld.global.f64 ld.global.relaxed.gpu.u32 ld.relaxed.gpu.global.u32
        ld.global.s16 ld.global.s32 ld.global.s8 ld.global.u16 ld.global.u32 ld.global.u64 ld.global.u8 ld.global.v2.b64
        ld.global.v2.u32 ld.global.v4.f32 ld.global.v4.u32 ld.global.v4.u8 ld.global.b8 ld.global.v2.u8 ld.global.v4.b16
        ld.global.L2::128B.u32 ld.global.L1::no_allocate.v4.u32 ld.global.lu.u32 ld.global.cv.u32
        ld.local.b32 ld.local.f32 ld.local.u32 ld.local.u64 ld.local.u8 ld.local.v4.u32 ld.local.s8 ld.local.v2.f64
        ld.shared.b32 ld.shared.b64 ld.shared.f32 ld.shared.f64 ld.shared.u16 ld.shared.u32 ld.shared.u64 ld.shared.u8
        ld.shared.v2.b16 ld.shared.v2.b32 ld.shared.v2.u32 ld.shared.v4.b16 ld.shared.v4.b32 ld.shared.v4.f32
        ld.shared.v4.u32 ld.shared.s8 ld.shared.s16 ld.shared::cta.u32 ld.shared.v2.f64
        ld.volatile.global.f32 ld.volatile.global.u32 ld.volatile.shared.u32 ld.acquire.cta.shared.u32 ld.acquire.sys.global.u64";
    let mut rows: Vec<Row> = named.split_whitespace().map(|n| load(n, "")).collect();
    let generic =
        "ld.b16 ld.b32 ld.b64 ld.f32 ld.f64 ld.s16 ld.s32 ld.s64 ld.u16 ld.u32 ld.u64 ld.v2.u32 ld.v4.u32 ld.u8 ld.s8
        ld.v4.f32 ld.volatile.u32 ld.acquire.gpu.u32";
    rows.extend(generic.split_whitespace().flat_map(|n| WINDOWS.map(|w| load(n, w))));
    check(rows);
}

#[test]
fn stores_write_their_bytes_and_no_others() {
    let named = "st.global.b16 st.global.b32 st.global.cg.v2.f64 st.global.cg.v4.s32 st.global.cs.b16 st.global.cs.f32
        st.global.cs.v2.s16 st.global.cs.v4.s32 st.global.f32 st.global.f64 st.global.s32 st.global.u16 st.global.u32
        st.global.u64 st.global.u8 st.global.v4.f32 st.global.v4.u32 st.global.v4.u8 st.global.wb.v4.f32 st.global.wt.v2.s64
        st.global.v2.b64 st.global.v2.u8 st.global.L1::no_allocate.u32 st.local.b32 st.local.f32 st.local.f64 st.local.u16
        st.local.u32 st.local.u64 st.local.u8 st.local.v2.u32 st.local.v4.u32 st.release.gpu.global.u8 st.release.gpu.global.u32
        st.shared.b16 st.shared.b32 st.shared.b64 st.shared.b8 st.shared.f32 st.shared.f64 st.shared.u16 st.shared.u32
        st.shared.u64 st.shared.u8 st.shared.v2.b32 st.shared.v2.b64 st.shared.v2.u32 st.shared.v4.b16 st.shared.v4.b32
        st.shared.v4.f32 st.shared.v4.u32 st.shared::cta.b32 st.volatile.global.f32 st.volatile.global.u32
        st.volatile.shared.u32 st.relaxed.sys.global.u64 st.shared.v2.b16 st.relaxed.gpu.global.u32";
    let mut rows: Vec<Row> = named.split_whitespace().map(|n| store(n, "")).collect();
    let generic =
        "st.b16 st.b32 st.b64 st.f32 st.f64 st.s16 st.s32 st.s64 st.u16 st.u32 st.u64 st.u8 st.v2.u32 st.v4.f32 st.b8
        st.release.gpu.u32";
    rows.extend(generic.split_whitespace().flat_map(|n| WINDOWS.map(|w| store(n, w))));
    check(rows);
}

/// Loads through the read-only path, of 16 aligned bytes of the input: two neighbours' operands.
#[test]
fn read_only_loads_see_the_input() {
    let row = |name: &str| {
        let a = access(name);
        let (size, lanes, ty) = (bytes_of(&a.ty), a.lanes, a.ty.clone());
        let body = format!(
            ".reg .{} %m<4>;\nand.b32 %x, %r0, -2;\nmul.wide.u32 %u, %x, 8;\nadd.u64 %u, %u, %rd0;\nOP {}, [%u];\n{}",
            register(&a.ty),
            names(lanes),
            mixed(&a)
        );
        let judge = warp_equals(B64, move |w| {
            let first = w.lane & !1;
            let bytes: Vec<u8> = w.operands[0][first..first + 2].iter().flat_map(|x| x.to_le_bytes()).collect();
            Some(mix(bytes.chunks(size).take(lanes).map(|c| {
                let mut word = [0; 8];
                word[..size].copy_from_slice(c);
                let bits = u64::from_le_bytes(word);
                if ty.starts_with('s') { number(bits, &ty) as u64 } else { bits }
            })))
        });
        Row::warp(name, B64, &[B64], &body, judge)
    };
    let names = "ld.global.nc.b32 ld.global.nc.f32 ld.global.nc.u16 ld.global.nc.u32 ld.global.nc.u64 ld.global.nc.v2.f64
        ld.global.nc.v4.f32 ld.global.nc.v4.u32 ld.global.nc.s8 ld.global.nc.u8 ld.global.nc.v2.u32 ld.global.nc.v4.u16
        ld.global.nc.f64 ld.global.nc.s16 ld.global.nc.L1::no_allocate.L2::128B.v4.u32 ld.global.ca.nc.u32 ldu.global.u32";
    check(names.split_whitespace().map(row).collect());
}

/// Addresses: `cvta` and back, windows, and the symbols of spaces in generic accesses.
#[test]
fn addresses_travel_between_windows() {
    let mut rows = Vec::new();
    for window in WINDOWS {
        let place = address(window, "");
        let space = ["global", "shared", "local"].iter().map(|s| {
            format!(
                "isspacep.{s} %p, %w;\nselp.u64 %v, {}, 0, %p;\nadd.u64 $d, $d, %v;\n",
                if *s == window { 1 } else { 100 }
            )
        });
        let body = format!(
            ".reg .b64 %w;\n{place}st.{window}.u64 [%u], $a;\ncvta.{window}.u64 %w, %u;\nld.u64 $d, [%w];\n{}\
             cvta.to.{window}.u64 %w, %w;\nsub.u64 %w, %w, %u;\nadd.u64 $d, $d, %w;",
            space.collect::<String>()
        );
        let judge = equals(B64, |v| v[0].wrapping_add(1));
        rows.push(Row::new(&format!("cvta.{window}.u64"), B64, &[B64], judge).body(&body).module(MODULE));
    }
    let body = ".shared .align 8 .b8 here[2048];\nmov.u32 %x, %tid.x;\nmul.wide.u32 %u, %x, 8;\nmov.u64 %v, here;\nadd.u64 %v, %v, %u;\n\
        st.shared.u64 [%v], $a;\nld.shared.u64 $d, [%v+0];\nprefetch.global.L2 [everyone];\nprefetchu.L1 [%rd3];";
    rows.push(
        Row::new("prefetch.global.L2, prefetchu.L1", B64, &[B64], equals(B64, |v| v[0])).body(body).module(MODULE),
    );
    check(rows);
}

/// The old value and the new one of an atomic operation.
fn atomic_result(op: &str, ty: &str, old: u64, b: u64, c: u64) -> u64 {
    use crate::float::{format, value};
    let half = |x: u64, y: u64, ty: &str| {
        let (f, sum) = (format(ty), value(x, format(ty)) + value(y, format(ty)));
        match crate::arith::soft::F64.decode(sum.to_bits()) {
            crate::arith::soft::Value::Finite(e) => e.round(f, crate::arith::soft::Round::Rn),
            crate::arith::soft::Value::Infinite { negative } => f.infinity() | if negative { f.sign() } else { 0 },
            crate::arith::soft::Value::Nan => f.nan(),
        }
    };
    match (op, ty) {
        ("add", "f32") => {
            let sum = f32::from_bits(old as u32) + f32::from_bits(b as u32);
            u64::from(if sum.is_nan() { 0x7fff_ffff } else { sum.to_bits() })
        }
        ("add", "f64") => {
            let sum = f64::from_bits(old) + f64::from_bits(b);
            if sum.is_nan() { 0x7ff8_0000_0000_0000 } else { sum.to_bits() }
        }
        ("add", "f16" | "bf16") => half(old, b, ty),
        ("add", "f16x2" | "bf16x2") => half(old & 0xffff, b & 0xffff, ty) | half(old >> 16, b >> 16, ty) << 16,
        ("add", _) => old.wrapping_add(b),
        ("and", _) => old & b,
        ("or", _) => old | b,
        ("xor", _) => old ^ b,
        ("exch", _) => b,
        ("cas", _) => {
            if old == b {
                c
            } else {
                old
            }
        }
        ("inc", _) => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        ("dec", _) => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        ("min", _) => {
            if number(old, ty) < number(b, ty) {
                old
            } else {
                b
            }
        }
        ("max", _) => {
            if number(old, ty) > number(b, ty) {
                old
            } else {
                b
            }
        }
        _ => panic!("no expectation for atom.{op}.{ty}"),
    }
}

/// Each lane works on its own place: the result is the old value, then what is there.
fn atom(name: &str, window: &str) -> Row {
    let mods: Vec<&str> = name.split('.').collect();
    let ops = ["add", "and", "or", "xor", "exch", "cas", "inc", "dec", "min", "max"];
    let op = ops.into_iter().find(|op| mods.contains(op)).unwrap();
    let ty = mods[mods.len() - 1].to_string();
    let a = Access { space: access(name).space, lanes: 1, ty: ty.clone() };
    let kind = Kind::of(&ty);
    let register = if kind.mask() == 0xffff {
        "b16"
    } else if kind.mask() == u64::MAX {
        "b64"
    } else {
        "b32"
    };
    let space = if a.space == "generic" { String::new() } else { format!(".{}", a.space) };
    let third = if op == "cas" { ", $c" } else { "" };
    let reduces = name.starts_with("red");
    let instruction = if reduces { format!("OP [%u], $b{third};") } else { format!("OP %m, [%u], $b{third};") };
    let body = format!(
        ".reg .{register} %m, %n;\n{}st{space}.{register} [%u], $a;\nmov.{register} %m, $a;\n{instruction}\nld{space}.{register} %n, [%u];\n\
         {}",
        address(a.space, window),
        match register {
            "b16" => "cvt.u64.u16 %u, %m;\ncvt.u64.u16 %v, %n;\nmad.lo.u64 $d, %v, 65537, %u;",
            "b32" => "cvt.u64.u32 %u, %m;\ncvt.u64.u32 %v, %n;\nmad.lo.u64 $d, %v, 65537, %u;",
            _ => "mad.lo.u64 $d, %n, 65537, %m;",
        }
    );
    let mask = kind.mask();
    // Sums of f32 in global memory flush subnormals, those in shared memory do not.
    let flushes = op == "add" && ty == "f32" && (a.space == "global" || window == "global");
    let flush = move |x: u64| if flushes && x & 0x7f80_0000 == 0 { x & 0x8000_0000 } else { x };
    let judge = equals(B64, move |v| {
        let (old, b) = (flush(v[0]), flush(v[1]));
        let new = flush(atomic_result(op, &ty, old, b, v.get(2).copied().unwrap_or(0)) & mask);
        new.wrapping_mul(65537).wrapping_add(v[0])
    });
    let inputs = vec![kind; if op == "cas" { 3 } else { 2 }];
    let title = if a.space == "generic" { format!("{name} ({window})") } else { name.to_string() };
    let mut row = Row::new(name, B64, &inputs, judge).body(&body).module(MODULE);
    row.name = title;
    row
}

#[test]
fn atomics_return_the_old_value_and_leave_the_new_one() {
    let named = "atom.global.acq_rel.gpu.cas.b32 atom.global.add.f32 atom.global.add.f64 atom.global.add.u32 atom.global.add.u64
        atom.global.and.b32 atom.global.cas.b32 atom.global.dec.u32 atom.global.exch.b32 atom.global.gpu.acq_rel.add.f32
        atom.global.gpu.acq_rel.add.u32 atom.global.gpu.acq_rel.exch.b32 atom.global.inc.u32 atom.global.max.s32
        atom.global.max.u32 atom.global.max.u64 atom.global.min.s32 atom.global.min.u32 atom.global.min.u64 atom.global.or.b32
        atom.global.or.b64 atom.global.xor.b32 atom.global.add.s32 atom.global.cas.b64 atom.global.exch.b64 atom.global.min.s64
        atom.global.max.s64 atom.global.and.b64 atom.global.xor.b64 atom.global.add.noftz.f16 atom.global.add.noftz.f16x2
        atom.global.add.noftz.bf16 atom.global.add.noftz.bf16x2 atom.relaxed.gpu.global.add.u32 atom.acquire.cta.global.cas.b32
        atom.release.sys.global.exch.b32 atom.global.cas.b16
        atom.shared.add.f32 atom.shared.add.u32 atom.shared.add.u64 atom.shared.and.b32 atom.shared.exch.b32 atom.shared.max.u32
        atom.shared.min.u32 atom.shared.or.b32 atom.shared.xor.b32 atom.shared.cas.b32 atom.shared.cas.b64 atom.shared.inc.u32
        atom.shared.dec.u32 atom.shared.min.s32 atom.shared.max.s32 atom.shared.add.f64
        red.global.add.f32 red.global.add.u32 red.global.max.s32 red.shared.add.u32 red.global.or.b32 red.global.add.f64
        red.relaxed.gpu.global.add.u64 red.global.add.noftz.f16x2 red.shared.add.f32";
    let mut rows: Vec<Row> = named.split_whitespace().map(|n| atom(n, "")).collect();
    let generic =
        "atom.add.noftz.f16 atom.add.noftz.f16x2 atom.cas.b32 atom.inc.u32 atom.add.u32 atom.add.f32 atom.exch.b64
        atom.add.noftz.bf16x2 red.add.u32";
    rows.extend(generic.split_whitespace().flat_map(|n| ["global", "shared"].map(|w| atom(n, w))));
    check(rows);
}
