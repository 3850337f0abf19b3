//! Integer and logic instructions against arithmetic on wide integers and bit-by-bit pseudocode.

use crate::harness::{Kind, Row, check, equals};

/// Width and signedness of an integer type.
fn shape(ty: &str) -> (u32, bool) {
    (ty[1..].parse().unwrap(), ty.starts_with('s'))
}

/// The number that the low bits are.
pub(crate) fn number(bits: u64, ty: &str) -> i128 {
    let (width, signed) = shape(ty);
    let low = i128::from(bits) & ((1 << width) - 1);
    if signed && low >> (width - 1) == 1 { low - (1 << width) } else { low }
}

pub(crate) fn range(ty: &str) -> (i128, i128) {
    let (width, signed) = shape(ty);
    if signed { (-(1 << (width - 1)), (1 << (width - 1)) - 1) } else { (0, (1 << width) - 1) }
}

fn wide(kind: Kind) -> Kind {
    match kind {
        Kind::B16 => Kind::B32,
        _ => Kind::B64,
    }
}

/// Rows whose result is a function of the operands' numbers.
fn arithmetic(name: &str) -> Row {
    let mods: Vec<&str> = name.split('.').collect();
    let (op, ty) = (mods[0].to_string(), mods[mods.len() - 1].to_string());
    let kind = Kind::of(&ty);
    let (width, signed) = shape(&ty);
    let has = |m: &str| mods.contains(&m);
    let (hi, is_wide, sat) = (has("hi"), has("wide"), has("sat"));
    let d = if is_wide { wide(kind) } else { kind };
    let mut inputs = match op.as_str() {
        "abs" | "neg" => vec![kind],
        "mad" | "mad24" | "sad" => vec![kind, kind, d],
        _ => vec![kind; 2],
    };
    if is_wide && op == "mul" {
        inputs = vec![kind; 2];
    }
    let clamp = move |x: i128, ty: &str| {
        let (low, high) = range(ty);
        if sat { x.clamp(low, high) } else { x }
    };
    let wide_ty = format!("{}{}", &ty[..1], width * 2);
    let f = move |v: &[u64]| -> u64 {
        let x: Vec<i128> = v.iter().map(|b| number(*b, &ty)).collect();
        let low24 =
            |x: u64| if signed { i128::from((x as u32) << 8) as i32 as i128 >> 8 } else { i128::from(x & 0xff_ffff) };
        let part = |product: i128| if hi { product >> width } else { product };
        let result = match op.as_str() {
            "abs" => x[0].abs(),
            "neg" => -x[0],
            "add" => clamp(x[0] + x[1], &ty),
            "sub" => clamp(x[0] - x[1], &ty),
            // Without wrapping: two 64-bit numbers fit 128 bits, unsigned ones just so.
            "mul" if width == 64 && !signed => {
                let product = (x[0] as u128) * (x[1] as u128);
                (if hi { product >> 64 } else { product }) as i128
            }
            "mul" => part(x[0] * x[1]),
            "mad" if width == 64 && !signed => {
                let product = (x[0] as u128) * (x[1] as u128);
                (if hi { product >> 64 } else { product & u128::from(u64::MAX) }) as i128 + x[2]
            }
            "mad" if is_wide => x[0] * x[1] + number(v[2], &wide_ty),
            "mad" => clamp(part(x[0] * x[1]) + x[2], &ty),
            "mul24" => part24(low24(v[0]) * low24(v[1]), hi),
            "mad24" => clamp(number(part24(low24(v[0]) * low24(v[1]), hi) as u64, &ty) + x[2], &ty),
            "div" if x[1] == 0 => -1,
            "div" => x[0] / x[1],
            "rem" if x[1] == 0 => x[0],
            "rem" => x[0] % x[1],
            "min" => x[0].min(x[1]),
            "max" => x[0].max(x[1]),
            "sad" => x[2] + (x[0] - x[1]).abs(),
            other => panic!("no expectation for {other}"),
        };
        result as u64
    };
    Row::new(name, d, &inputs, equals(d, f))
}

fn part24(product: i128, hi: bool) -> i128 {
    if hi { product >> 16 } else { product }
}

fn all(names: &str) -> Vec<Row> {
    names.split_whitespace().map(arithmetic).collect()
}

#[test]
fn sums_wrap_or_saturate() {
    check(all(
        "add.s16 add.s32 add.s64 add.sat.s32 add.u16 add.u32 add.u64 sub.s16 sub.s32 sub.s64 sub.u64 sub.u32 sub.u16
        sub.sat.s32 abs.s16 abs.s32 abs.s64 neg.s16 neg.s32 neg.s64 min.s32 min.s64 min.u32 min.u64 min.s16 min.u16
        max.s32 max.u32 max.u64 max.s64 max.s16 max.u16 sad.s32 sad.u32 sad.s16 sad.u16 sad.u64 sad.s64",
    ));
}

#[test]
fn products_have_low_high_and_wide_parts() {
    check(all("mul.hi.s16 mul.hi.u16 mul.hi.s32 mul.hi.s64 mul.hi.u32 mul.hi.u64 mul.lo.s16 mul.lo.s32 mul.lo.s64 mul.lo.u16
        mul.lo.u32 mul.lo.u64 mul.wide.s16 mul.wide.s32 mul.wide.u16 mul.wide.u32 mad.hi.s32 mad.hi.u32 mad.lo.s32 mad.lo.u32
        mad.lo.u64 mad.lo.s64 mad.lo.s16 mad.lo.u16 mad.hi.s64 mad.hi.u64 mad.hi.sat.s32 mad.wide.s16 mad.wide.u16
        mad.wide.s32 mad.wide.u32 mul24.hi.s32 mul24.hi.u32 mul24.lo.s32 mul24.lo.u32 mad24.lo.s32 mad24.lo.u32
        mad24.hi.s32 mad24.hi.u32 mad24.hi.sat.s32"));
}

#[test]
fn quotients_round_toward_zero() {
    check(all("div.s32 div.s64 div.u32 div.u64 div.s16 div.u16 rem.s32 rem.u32 rem.s64 rem.u64 rem.s16 rem.u16"));
}

/// Chains of two words give the sum of doubles; the carry out of the last is seen by a third.
#[test]
fn carries_travel_through_chains() {
    let b64 = Kind::B64;
    let split = "mov.b64 {%x, %y}, $a; mov.b64 {%xb, %yb}, $b;";
    let regs = ".reg .b32 %xb, %yb, %z, %w;";
    let chain = |name: &str, first: &str, second: &str, f: fn(u64, u64) -> u64| {
        let body = format!("{regs}\n{split}\n{first} %x, %x, %xb;\n{second} %y, %y, %yb;\nmov.b64 $d, {{%x, %y}};");
        Row::new(name, b64, &[b64, b64], equals(b64, move |v| f(v[0], v[1]))).body(&body)
    };
    let carry = |name: &str, text: &str, f: fn(u64, u64) -> u64| {
        Row::new(name, b64, &[b64, b64], equals(b64, move |v| f(v[0], v[1]))).body(text)
    };
    let products = ".reg .b32 %xb, %yb, %z, %w;\nmov.b64 {%x, %y}, $a; mov.b64 {%xb, %yb}, $b;\n";
    check(vec![
        chain("add.cc.u32, addc.u32", "add.cc.u32", "addc.u32", u64::wrapping_add),
        chain("add.cc.s32, addc.cc.s32", "add.cc.s32", "addc.cc.s32", u64::wrapping_add),
        chain("sub.cc.u32, subc.u32", "sub.cc.u32", "subc.u32", u64::wrapping_sub),
        chain("sub.cc.s32, subc.cc.u32", "sub.cc.s32", "subc.cc.u32", u64::wrapping_sub),
        carry("add.cc.s64 carry", "add.cc.s64 %u, $a, $b; addc.cc.s64 $d, 0, 0;", |a, b| {
            u64::from(a.checked_add(b).is_none())
        }),
        carry("add.cc.u64", "add.cc.u64 $d, $a, $b;", u64::wrapping_add),
        carry(
            "addc.cc.u32 keeps the carry",
            "add.cc.u64 %u, $a, $b; addc.cc.u32 %x, 0xffffffff, 0; addc.u32 %y, 5, 0; cvt.u64.u32 $d, %y;",
            |a, b| 5 + u64::from(a.checked_add(b).is_none()),
        ),
        // The carry of a subtraction means "no borrow".
        carry("sub.cc.u64 carry", "sub.cc.u64 %u, $a, $b; addc.u64 $d, 0, 0;", |a, b| u64::from(a >= b)),
        carry("sub.cc.u64, subc.u64", "sub.cc.u64 %u, $a, $b; subc.u64 $d, 9, 3;", |a, b| 6 - u64::from(a < b)),
        // 64 × 64 bits as nvcc writes it: low word products, then the cross products.
        carry(
            "mad.lo.cc.u32, madc.hi.u32",
            &format!(
                "{products}mul.lo.u32 %z, %x, %xb; mad.lo.cc.u32 %z, %y, %yb, %z; madc.hi.u32 %w, %y, %yb, 7; mov.b64 $d, {{%z, %w}};"
            ),
            |a, b| {
                let (y, yb) = (a >> 32, b >> 32);
                let low = u64::from((a as u32).wrapping_mul(b as u32));
                (y * yb).wrapping_add(low).wrapping_add(7 << 32)
            },
        ),
        carry(
            "mad.lo.cc.u32, madc.hi.cc.u32, addc.u32",
            &format!(
                "{products}mad.lo.cc.u32 %z, %x, %xb, %y; madc.hi.cc.u32 %z, %x, %xb, %yb; addc.u32 %w, 0, 0; mov.b64 $d, {{%z, %w}};"
            ),
            |a, b| {
                let (x, y, xb, yb) = (a as u32, a >> 32, b as u32, b >> 32);
                let product = u128::from(x) * u128::from(xb) + u128::from(y) + (u128::from(yb) << 32);
                (product >> 32) as u64
            },
        ),
        carry(
            "mad.lo.cc.u32, madc.lo.cc.u32, madc.lo.u32",
            &format!(
                "{products}mad.lo.cc.u32 %z, %x, %xb, %y; madc.lo.cc.u32 %z, %y, %yb, %x; madc.lo.u32 %w, %x, %yb, %xb; mov.b64 $d, {{%z, %w}};"
            ),
            |a, b| {
                let (x, y, xb, yb) = (a & 0xffff_ffff, a >> 32, b & 0xffff_ffff, b >> 32);
                let low = |p: u64| p & 0xffff_ffff;
                let first = low(x * xb) + y;
                let second = low(y * yb) + x + (first >> 32);
                let third = low(x * yb) + xb + (second >> 32);
                low(second) | third << 32
            },
        ),
    ]);
}

#[test]
fn logic_works_bit_by_bit() {
    let row = |name: &str| {
        let mods: Vec<&str> = name.split('.').collect();
        let (op, kind) = (mods[0].to_string(), Kind::of(mods[1]));
        let operands = if op == "not" || op == "cnot" { 1 } else { 2 };
        let f = move |v: &[u64]| match op.as_str() {
            "and" => v[0] & v[1],
            "or" => v[0] | v[1],
            "xor" => v[0] ^ v[1],
            "not" => !v[0],
            _ => u64::from(v[0] == 0),
        };
        Row::new(name, kind, &vec![kind; operands], equals(kind, f))
    };
    let names =
        "and.b16 and.b32 and.b64 and.pred or.b16 or.b32 or.b64 or.pred xor.b16 xor.b32 xor.b64 xor.pred not.b16 not.b32
        not.b64 not.pred cnot.b16 cnot.b32 cnot.b64";
    check(names.split_whitespace().map(row).collect());
    let tables = [0x00u8, 0x80, 0xe8, 0x96, 0xca, 0xfe, 0x1b, 0xff].map(|table| {
        let f = move |v: &[u64]| {
            let bit = |i: u32| u64::from(table) >> (4 * (v[0] >> i & 1) + 2 * (v[1] >> i & 1) + (v[2] >> i & 1)) & 1;
            (0..32).map(|i| bit(i) << i).sum()
        };
        let body = format!("lop3.b32 $d, $a, $b, $c, {table};");
        Row::new("lop3.b32", Kind::B32, &[Kind::B32; 3], equals(Kind::B32, f)).body(&body)
    });
    check(tables.into());
}

#[test]
fn shifts_clamp_their_amounts() {
    let row = |name: &str| {
        let ty = name.split('.').nth(1).unwrap().to_string();
        let (left, kind) = (name.starts_with("shl"), Kind::of(&ty));
        let f = move |v: &[u64]| {
            let (x, n) = (number(v[0], &ty), v[1].min(100) as u32);
            (if left { if n > 64 { 0 } else { x << n } } else { x >> n }) as u64
        };
        Row::new(name, kind, &[kind, Kind::Amount], equals(kind, f))
    };
    let names = "shl.b16 shl.b32 shl.b64 shr.b32 shr.s16 shr.s32 shr.s64 shr.u16 shr.u32 shr.u64 shr.b16 shr.b64";
    check(names.split_whitespace().map(row).collect());
    let funnels = ["l.clamp", "l.wrap", "r.clamp", "r.wrap"].map(|mode| {
        let (left, wrap) = (mode.starts_with('l'), mode.ends_with("wrap"));
        let f = move |v: &[u64]| {
            let n = if wrap { v[2] % 32 } else { v[2].min(32) };
            let both = v[1] << 32 | v[0];
            if left { (u128::from(both) << n >> 32) as u64 } else { both >> n }
        };
        let inputs = [Kind::B32, Kind::B32, Kind::Amount];
        Row::new(&format!("shf.{mode}.b32"), Kind::B32, &inputs, equals(Kind::B32, f))
    });
    check(funnels.into());
}

#[test]
fn permutations_follow_their_tables() {
    let tables: [(&str, [u32; 4]); 6] = [
        ("f4e", [0x3210, 0x4321, 0x5432, 0x6543]),
        ("b4e", [0x5670, 0x6701, 0x7012, 0x0123]),
        ("rc8", [0x0000, 0x1111, 0x2222, 0x3333]),
        ("ecl", [0x3210, 0x3211, 0x3222, 0x3333]),
        ("ecr", [0x0000, 0x1110, 0x2210, 0x3210]),
        ("rc16", [0x1010, 0x3232, 0x1010, 0x3232]),
    ];
    let byte = |v: &[u64], i: u32| (v[1] << 32 | v[0]) >> (8 * i) & 0xff;
    let mut rows: Vec<Row> = tables
        .into_iter()
        .map(|(mode, table)| {
            let f = move |v: &[u64]| {
                let selectors = table[(v[2] & 3) as usize];
                (0..4).map(|i| byte(v, selectors >> (4 * i) & 7) << (8 * i)).sum()
            };
            Row::new(&format!("prmt.b32.{mode}"), Kind::B32, &[Kind::B32; 3], equals(Kind::B32, f))
        })
        .collect();
    let f = move |v: &[u64]| {
        let pick = |i: u32| {
            let selector = (v[2] >> (4 * i)) as u32 & 15;
            let b = byte(v, selector & 7);
            (if selector < 8 { b } else { (b >> 7) * 255 }) << (8 * i)
        };
        (0..4).map(pick).sum()
    };
    rows.push(Row::new("prmt.b32", Kind::B32, &[Kind::B32; 3], equals(Kind::B32, f)));
    check(rows);
}

#[test]
fn bit_fields_follow_the_pseudocode() {
    let mut rows: Vec<Row> = Vec::new();
    for ty in ["u32", "s32", "u64", "s64"] {
        let kind = Kind::of(ty);
        let (width, signed) = shape(ty);
        let msb = width as i64 - 1;
        let f = move |v: &[u64]| {
            let (pos, len) = ((v[1] & 0xff) as i64, (v[2] & 0xff) as i64);
            let bit = |i: i64| v[0] >> i & 1;
            let sign = if !signed || len == 0 { 0 } else { bit((pos + len - 1).min(msb)) };
            (0..=msb).map(|i| (if i < len && pos + i <= msb { bit(pos + i) } else { sign }) << i).sum()
        };
        rows.push(Row::new(&format!("bfe.{ty}"), kind, &[kind, Kind::Amount, Kind::Amount], equals(kind, f)));
    }
    for ty in ["b32", "b64"] {
        let kind = Kind::of(ty);
        let msb = if ty == "b32" { 31 } else { 63 };
        let f = move |v: &[u64]| {
            let (pos, len) = (v[2] & 0xff, v[3] & 0xff);
            (0..len)
                .take_while(|i| pos + i <= msb)
                .fold(v[1], |f, i| f & !(1 << (pos + i)) | (v[0] >> i & 1) << (pos + i))
        };
        rows.push(Row::new(&format!("bfi.{ty}"), kind, &[kind, kind, Kind::Amount, Kind::Amount], equals(kind, f)));
    }
    for mode in ["clamp", "wrap"] {
        let limit = move |n: u64| if mode == "clamp" { n.min(32) } else { n % 32 };
        let f = move |v: &[u64]| {
            let (start, width) = (limit(v[0]), limit(v[1]));
            (0..32).filter(|i| *i >= start && *i < start + width).map(|i| 1 << i).sum()
        };
        let amounts = [Kind::Amount, Kind::Amount];
        rows.push(Row::new(&format!("bmsk.{mode}.b32"), Kind::B32, &amounts, equals(Kind::B32, f)));
        for ty in ["u32", "s32"] {
            let f = move |v: &[u64]| {
                let n = limit(v[1]);
                let low = v[0] & ((1u64 << n) - 1);
                let fill = ty == "s32" && n > 0 && n < 32 && v[0] >> (n - 1) & 1 == 1;
                if fill { low | (u64::MAX << n) } else { low }
            };
            let inputs = [Kind::B32, Kind::Amount];
            rows.push(Row::new(&format!("szext.{mode}.{ty}"), Kind::B32, &inputs, equals(Kind::B32, f)));
        }
    }
    check(rows);
}

#[test]
fn bits_are_counted_found_and_reversed() {
    let mut rows: Vec<Row> = Vec::new();
    for ty in ["b32", "b64"] {
        let kind = Kind::of(ty);
        let width: u32 = ty[1..].parse().unwrap();
        let count = move |v: &[u64]| (0..width).map(|i| v[0] >> i & 1).sum();
        rows.push(Row::new(&format!("popc.{ty}"), Kind::B32, &[kind], equals(Kind::B32, count)));
        let zeros = move |v: &[u64]| (0..width).rev().take_while(|i| v[0] >> i & 1 == 0).count() as u64;
        rows.push(Row::new(&format!("clz.{ty}"), Kind::B32, &[kind], equals(Kind::B32, zeros)));
        let reverse = move |v: &[u64]| (0..width).map(|i| (v[0] >> i & 1) << (width - 1 - i)).sum();
        rows.push(Row::new(&format!("brev.{ty}"), kind, &[kind], equals(kind, reverse)));
    }
    for ty in ["u32", "s32", "u64", "s64"] {
        for shift in ["", "shiftamt."] {
            let kind = Kind::of(ty);
            let (width, signed) = shape(ty);
            let f = move |v: &[u64]| {
                let x = if signed && v[0] >> (width - 1) & 1 == 1 { !v[0] } else { v[0] };
                let found = (0..width).rev().find(|i| x >> i & 1 == 1);
                let place = |i: u32| if shift.is_empty() { i } else { width - 1 - i };
                found.map_or(u64::MAX, |i| u64::from(place(i)))
            };
            rows.push(Row::new(&format!("bfind.{shift}{ty}"), Kind::B32, &[kind], equals(Kind::B32, f)));
        }
    }
    let f = |v: &[u64]| {
        let (mask, base, offset) = (v[0], v[1] & 31, v[2] as i32);
        if offset == 0 {
            return if mask >> base & 1 == 1 { base } else { u64::MAX };
        }
        let up = (base..32).filter(|i| mask >> i & 1 == 1);
        let down = (0..=base).rev().filter(|i| mask >> i & 1 == 1);
        let n = offset.unsigned_abs() as usize - 1;
        let found = if offset > 0 { up.collect::<Vec<_>>() } else { down.collect() };
        found.get(n).copied().unwrap_or(u64::MAX)
    };
    let fns = Row::new("fns.b32", Kind::B32, &[Kind::B32, Kind::Amount, Kind::Amount], equals(Kind::B32, f));
    rows.push(fns.body("and.b32 %x, $b, 31;\nfns.b32 $d, $a, %x, $c;"));
    let f = move |v: &[u64]| f([v[0], v[1], u64::from((v[2] as u32 % 9).wrapping_sub(4))].as_slice());
    let fns = Row::new("fns.b32 near", Kind::B32, &[Kind::B32, Kind::Amount, Kind::B32], equals(Kind::B32, f));
    rows.push(fns.body("and.b32 %x, $b, 31;\nrem.u32 %y, $c, 9;\nsub.u32 %y, %y, 4;\nfns.b32 $d, $a, %x, %y;"));
    check(rows);
}

#[test]
fn dot_products_extend_bytes_by_type() {
    let bytes = |x: u64, signed: bool| {
        (0..4).map(move |i| {
            let b = (x >> (8 * i)) as u8;
            if signed { i64::from(b as i8) } else { i64::from(b) }
        })
    };
    let mut rows = Vec::new();
    for (at, bt) in [("s32", "s32"), ("s32", "u32"), ("u32", "s32"), ("u32", "u32")] {
        let (sa, sb) = (at == "s32", bt == "s32");
        let f = move |v: &[u64]| {
            let sum: i64 = bytes(v[0], sa).zip(bytes(v[1], sb)).map(|(x, y)| x * y).sum();
            (sum as u64).wrapping_add(v[2])
        };
        rows.push(Row::new(&format!("dp4a.{at}.{bt}"), Kind::B32, &[Kind::B32; 3], equals(Kind::B32, f)));
        for half in ["lo", "hi"] {
            let f = move |v: &[u64]| {
                let word = |h: u64| if sa { i64::from(h as i16) } else { i64::from(h as u16) };
                let skip = if half == "lo" { 0 } else { 2 };
                let sum: i64 =
                    [word(v[0]), word(v[0] >> 16)].iter().zip(bytes(v[1], sb).skip(skip)).map(|(x, y)| x * y).sum();
                (sum as u64).wrapping_add(v[2])
            };
            rows.push(Row::new(&format!("dp2a.{half}.{at}.{bt}"), Kind::B32, &[Kind::B32; 3], equals(Kind::B32, f)));
        }
    }
    check(rows);
}

#[test]
fn video_instructions_work_on_parts_and_lanes() {
    let b32 = Kind::B32;
    let row = |name: &str, body: &str, f: fn(u32, u32, u32) -> u32| {
        let judge = equals(b32, move |v| u64::from(f(v[0] as u32, v[1] as u32, v[2] as u32)));
        Row::new(name, b32, &[b32; 3], judge).body(body)
    };
    fn lanes4(a: u32, b: u32, f: impl Fn(i32, i32) -> i32) -> [i32; 4] {
        let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
        core::array::from_fn(|i| f(a[i].into(), b[i].into()))
    }
    check(vec![
        row("vabsdiff4.u32.u32.u32", "OP $d, $a, $b, $c;", |a, b, _| {
            u32::from_le_bytes(lanes4(a, b, |x, y| (x - y).abs()).map(|x| x as u8))
        }),
        row("vabsdiff4.u32.u32.u32.add", "OP $d, $a, $b, $c;", |a, b, c| {
            c.wrapping_add(lanes4(a, b, |x, y| (x - y).abs()).iter().sum::<i32>() as u32)
        }),
        row("vadd4.u32.u32.u32.sat", "OP $d, $a, $b, $c;", |a, b, _| {
            u32::from_le_bytes(lanes4(a, b, |x, y| (x + y).min(255)).map(|x| x as u8))
        }),
        row("vset4.u32.u32.ge", "OP $d, $a, $b, $c;", |a, b, _| {
            u32::from_le_bytes(lanes4(a, b, |x, y| i32::from(x >= y)).map(|x| x as u8))
        }),
        row("vsub2.s32.s32.s32", "OP $d, $a, $b, $c;", |a, b, _| {
            let low = (a as u16).wrapping_sub(b as u16);
            let high = ((a >> 16) as u16).wrapping_sub((b >> 16) as u16);
            u32::from(low) | u32::from(high) << 16
        }),
        row("vshr.u32.u32.u32.clamp.add", "OP $d, $a, $b, $c;", |a, b, c| {
            (if b > 31 { 0 } else { a >> b }).wrapping_add(c)
        }),
        row("vshl.u32.u32.u32.wrap", "OP $d, $a, $b;", |a, b, _| a << (b & 31)),
        row("vadd.s32.s32.s32.sat", "OP $d, $a.b1, $b.h1;", |a, b, _| {
            (i32::from((a >> 8) as i8) + i32::from((b >> 16) as i16)) as u32
        }),
        row("vmax.s32.s32.s32", "OP $d, $a, $b;", |a, b, _| (a as i32).max(b as i32) as u32),
        row("vmin.u32.u32.u32", "OP $d.b2, $a.b0, $b.b3, $c;", |a, b, c| {
            c & !0xff_0000 | (a & 0xff).min(b >> 24) << 16
        }),
        row("vabsdiff.u32.u32.u32.max", "OP $d, $a, $b, $c;", |a, b, c| a.abs_diff(b).max(c)),
        row("vset.u32.u32.lt", "OP $d, $a, $b;", |a, b, _| u32::from(a < b)),
        row("vmad.s32.s32.s32.shr7", "OP $d, $a.h0, $b.h0, $c;", |a, b, c| {
            ((i64::from(a as i16) * i64::from(b as i16) + i64::from(c as i32)) >> 7) as u32
        }),
    ]);
}
