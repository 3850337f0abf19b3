//! Tensor-core instructions: fragments in, fragments out, against a plain matrix product. Where
//! elements sit in fragments is tested with the layouts themselves; here it is what the
//! instruction does with registers, addresses and modifiers.

use crate::arith::matrix::element::{Accumulator, Element};
use crate::arith::matrix::layout::{Shape, a_at, b_at, c_at};
use crate::arith::matrix::product::{Bitwise, Mma};
use crate::harness::{bytes, launch, words};
use std::fmt::Write;

type Matrix = Vec<Vec<i32>>;

struct Random(u32);

impl Random {
    fn below(&mut self, n: u32) -> i32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((self.0 >> 8) % n) as i32
    }

    fn matrix(&mut self, rows: usize, columns: usize, element: Element) -> Matrix {
        let mut one = || match element {
            Element::U8 => self.below(256),
            Element::S8 => self.below(256) - 128,
            Element::U4 => self.below(16),
            Element::B1 => self.below(2),
            Element::E5m2 => self.below(9) - 4,
            _ => self.below(16) - 8,
        };
        (0..rows).map(|_| (0..columns).map(|_| one()).collect()).collect()
    }
}

/// Bits of a small integer in a type that holds it exactly.
fn encode(element: Element, x: i32) -> u32 {
    // Sign, exponent and the leading bits of the mantissa, all exact.
    let small = |exponent: u32, mantissa: u32| {
        let bits = (x as f32).to_bits();
        if x == 0 {
            return 0;
        }
        let bias = (1i32 << (exponent - 1)) - 1;
        let field = ((bits >> 23 & 255) as i32 - 127 + bias) as u32;
        (bits >> 31) << (exponent + mantissa) | field << mantissa | (bits & 0x7f_ffff) >> (23 - mantissa)
    };
    match element {
        Element::F16 => small(5, 10),
        Element::Bf16 => small(8, 7),
        Element::Tf32 => (x as f32).to_bits(),
        Element::E4m3 => small(4, 3),
        Element::E5m2 => small(5, 2),
        other => x as u32 & ((1u64 << other.bits()) - 1) as u32,
    }
}

fn product(a: &Matrix, b: &Matrix, c: &Matrix, term: impl Fn(i32, i32) -> i32) -> Matrix {
    let n = b[0].len();
    let sum = |i: usize, j: usize| c[i][j] + (0..b.len()).map(|k| term(a[i][k], b[k][j])).sum::<i32>();
    (0..a.len()).map(|i| (0..n).map(|j| sum(i, j)).collect()).collect()
}

/// Registers of all lanes, register by register.
fn fragment(
    m: &Matrix,
    element: Element,
    registers: usize,
    at: impl Fn(usize, usize, usize) -> (usize, usize),
) -> Vec<u32> {
    let word = |reg: usize, lane: usize| {
        (0..element.per_register()).fold(0, |w, i| {
            let (row, col) = at(lane, reg, i);
            w | encode(element, m[row][col]) << (i * element.bits() % 32)
        })
    };
    (0..registers).flat_map(|reg| (0..32).map(move |lane| (reg, lane))).map(|(reg, lane)| word(reg, lane)).collect()
}

fn accumulators(m: &Matrix, ty: Accumulator, shape: Shape, registers: usize) -> Vec<u32> {
    let value = |lane: usize, i: usize| {
        let (row, col) = c_at(shape, lane, i);
        m[row][col]
    };
    let word = |reg: usize, lane: usize| match ty {
        Accumulator::F16 => {
            encode(Element::F16, value(lane, 2 * reg)) | encode(Element::F16, value(lane, 2 * reg + 1)) << 16
        }
        Accumulator::F32 => (value(lane, reg) as f32).to_bits(),
        _ => value(lane, reg) as u32,
    };
    (0..registers).flat_map(|reg| (0..32).map(move |lane| (reg, lane))).map(|(reg, lane)| word(reg, lane)).collect()
}

fn list(name: &str, count: usize) -> String {
    let names: Vec<String> = (0..count).map(|i| format!("%{name}{i}")).collect();
    format!("{{{}}}", names.join(", "))
}

/// Text that loads or stores registers `name0…`, of which register `r` of a lane is word
/// `(first + r) · 32 + lane` of a buffer.
fn transfer(name: &str, count: usize, first: usize, store: bool) -> String {
    let mut text = String::from("mul.wide.u32 %o, %lane, 4;\n");
    let base = if store { "%out" } else { "%in" };
    let _ = writeln!(text, "add.u64 %o, %o, {base};");
    for r in 0..count {
        let at = (first + r) * 128;
        let _ = if store {
            writeln!(text, "st.global.b32 [%o+{at}], %{name}{r};")
        } else {
            writeln!(text, "ld.global.b32 %{name}{r}, [%o+{at}];")
        };
    }
    text
}

const REGISTERS: &str = ".reg .b32 %a<16>, %b<16>, %c<16>, %d<16>, %t<8>;\n.reg .b64 %o, %p<8>;\n";

fn type_name(a: Accumulator) -> &'static str {
    match a {
        Accumulator::F16 => "f16",
        Accumulator::F32 => "f32",
        Accumulator::F64 => "f64",
        Accumulator::S32 => "s32",
    }
}

#[test]
fn mma_equals_a_plain_product() {
    use Accumulator::{F16 as H, F32 as F, S32 as I};
    use Element::*;
    let f16 = [(F, F), (H, H)];
    let mut cases: Vec<(&str, Element, Element, Accumulator, Accumulator)> = Vec::new();
    for (c, d) in f16 {
        cases.push(("m16n8k16", F16, F16, c, d));
        cases.push(("m16n8k8", F16, F16, c, d));
    }
    cases.extend([("m16n8k16", Bf16, Bf16, F, F), ("m16n8k8", Bf16, Bf16, F, F)]);
    cases.extend([("m16n8k8", Tf32, Tf32, F, F), ("m16n8k4", Tf32, Tf32, F, F)]);
    for shape in ["m8n8k16", "m16n8k16", "m16n8k32"] {
        cases.extend([(shape, S8, S8, I, I), (shape, U8, S8, I, I), (shape, S8, U8, I, I), (shape, U8, U8, I, I)]);
    }
    for shape in ["m8n8k32", "m16n8k32", "m16n8k64"] {
        cases.extend([(shape, S4, S4, I, I), (shape, U4, S4, I, I)]);
    }
    cases.extend([("m16n8k32", E4m3, E4m3, F, F), ("m16n8k32", E4m3, E5m2, F, F), ("m16n8k32", E5m2, E5m2, F, F)]);
    let mut r = Random(1);
    for (name, x, y, c_type, d_type) in cases {
        let shape = Shape::parse(name).unwrap();
        let mma = Mma::new(shape, x, y, c_type, d_type);
        let (a, b) = (r.matrix(shape.m, shape.k, x), r.matrix(shape.k, shape.n, y));
        let c = r.matrix(shape.m, shape.n, Element::S4);
        let (na, nb, nc, nd) = (mma.a_registers(), mma.b_registers(), mma.c_registers(), mma.d_registers());
        let mut input = fragment(&a, x, na, |l, r, i| a_at(shape, x, l, r, i));
        input.extend(fragment(&b, y, nb, |l, r, i| b_at(shape, y, l, r, i)));
        input.extend(accumulators(&c, c_type, shape, nc));
        let names = [format!("{x:?}"), format!("{y:?}")].map(|n| n.to_lowercase());
        let opcode = format!(
            "mma.sync.aligned.{name}.row.col.{}.{}.{}.{}",
            type_name(d_type),
            names[0],
            names[1],
            type_name(c_type)
        );
        let body = format!(
            "{REGISTERS}{}{}{}{opcode} {}, {}, {}, {};\n{}",
            transfer("a", na, 0, false),
            transfer("b", nb, na, false),
            transfer("c", nc, na + nb, false),
            list("d", nd),
            list("a", na),
            list("b", nb),
            list("c", nc),
            transfer("d", nd, 0, true)
        );
        let out = words(&launch("", &body, 32, &bytes(&input), nd * 128));
        assert_eq!(out, accumulators(&product(&a, &b, &c, |x, y| x * y), d_type, shape, nd), "{opcode}");
    }
}

#[test]
fn mma_of_bits_counts_them() {
    let mut r = Random(2);
    for (op, bitwise) in [("xor", Bitwise::Xor), ("and", Bitwise::And)] {
        for name in ["m8n8k128", "m16n8k128", "m16n8k256"] {
            let shape = Shape::parse(name).unwrap();
            let mma = Mma { bitwise, ..Mma::new(shape, Element::B1, Element::B1, Accumulator::S32, Accumulator::S32) };
            let (a, b) = (r.matrix(shape.m, shape.k, Element::B1), r.matrix(shape.k, shape.n, Element::B1));
            let c = r.matrix(shape.m, shape.n, Element::S8);
            let (na, nb, nc) = (mma.a_registers(), mma.b_registers(), mma.c_registers());
            let mut input = fragment(&a, Element::B1, na, |l, r, i| a_at(shape, Element::B1, l, r, i));
            input.extend(fragment(&b, Element::B1, nb, |l, r, i| b_at(shape, Element::B1, l, r, i)));
            input.extend(accumulators(&c, Accumulator::S32, shape, nc));
            let opcode = format!("mma.sync.aligned.{name}.row.col.s32.b1.b1.s32.{op}.popc");
            let body = format!(
                "{REGISTERS}{}{}{}{opcode} {}, {}, {}, {};\n{}",
                transfer("a", na, 0, false),
                transfer("b", nb, na, false),
                transfer("c", nc, na + nb, false),
                list("d", nc),
                list("a", na),
                list("b", nb),
                list("c", nc),
                transfer("d", nc, 0, true)
            );
            let out = words(&launch("", &body, 32, &bytes(&input), nc * 128));
            let d = product(&a, &b, &c, |x, y| if op == "xor" { x ^ y } else { x & y });
            assert_eq!(out, accumulators(&d, Accumulator::S32, shape, nc), "{opcode}");
        }
    }
}

/// Lane `4g + t` holds `A(g, t)`, `B(t, g)` and `C(g, 2t)`, `C(g, 2t + 1)`.
#[test]
fn mma_of_doubles_is_exact() {
    let mut r = Random(3);
    let (a, b, c) = (r.matrix(8, 4, Element::S8), r.matrix(4, 8, Element::S8), r.matrix(8, 8, Element::S8));
    let mut input = Vec::new();
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        for x in [a[g][t], b[t][g], c[g][2 * t], c[g][2 * t + 1]] {
            input.extend((f64::from(x) * 0.25).to_bits().to_le_bytes());
        }
    }
    let body = ".reg .b64 %o, %a, %b, %c0, %c1;\nmul.wide.u32 %o, %lane, 32;\nadd.u64 %o, %o, %in;\n\
        ld.global.v2.b64 {%a, %b}, [%o];\nld.global.v2.b64 {%c0, %c1}, [%o+16];\n\
        mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%c0, %c1}, {%a}, {%b}, {%c0, %c1};\n\
        mul.wide.u32 %o, %lane, 16;\nadd.u64 %o, %o, %out;\nst.global.v2.b64 [%o], {%c0, %c1};";
    let out = launch("", body, 32, &input, 512);
    let out: Vec<f64> = out.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
    // Quarters: products are sixteenths.
    let d = product(&a, &b, &vec![vec![0; 8]; 8], |x, y| x * y);
    for lane in 0..32 {
        for i in 0..2 {
            let (row, col) = (lane / 4, lane % 4 * 2 + i);
            assert_eq!(out[2 * lane + i], f64::from(d[row][col]) / 16.0 + f64::from(c[row][col]) / 4.0);
        }
    }
}

/// Matrices of 16-bit elements `256 · matrix + 16 · row + column`, each row at an address of its
/// own, rows far apart and out of order.
#[test]
fn ldmatrix_gathers_rows_and_stmatrix_scatters_them() {
    let element = |m: u32, i: u32, j: u32| 256 * m + 16 * i + j;
    // Row i of matrix m lies at 48 · ((5 · (8 m + i)) mod 32).
    let place = |lane: u32| 48 * (5 * lane % 32);
    let mut shared = vec![0u8; 48 * 32];
    for lane in 0..32u32 {
        for j in 0..8 {
            let at = (place(lane) + 2 * j) as usize;
            shared[at..at + 2].copy_from_slice(&(element(lane / 8, lane % 8, j) as u16).to_le_bytes());
        }
    }
    let fill = ".shared .align 16 .b8 tile[1536];\n.reg .b32 %d<4>, %s, %x;\n.reg .b64 %o, %g;\n\
        mul.wide.u32 %o, %lane, 48;\nadd.u64 %o, %o, %in;\nmov.u32 %s, tile;\nmad.lo.u32 %s, %lane, 48, %s;\n\
        ld.global.v4.b32 {%d0, %d1, %d2, %d3}, [%o];\nst.shared.v4.b32 [%s], {%d0, %d1, %d2, %d3};\n\
        ld.global.v4.b32 {%d0, %d1, %d2, %d3}, [%o+16];\nst.shared.v4.b32 [%s+16], {%d0, %d1, %d2, %d3};\n\
        ld.global.v4.b32 {%d0, %d1, %d2, %d3}, [%o+32];\nst.shared.v4.b32 [%s+32], {%d0, %d1, %d2, %d3};\nbar.sync 0;\n\
        mul.lo.u32 %x, %lane, 5;\nand.b32 %x, %x, 31;\nmov.u32 %s, tile;\nmad.lo.u32 %s, %x, 48, %s;\n";
    let store = "mul.wide.u32 %o, %lane, 16;\nadd.u64 %o, %o, %out;\nst.global.v4.b32 [%o], {%d0, %d1, %d2, %d3};";
    let clear = "mov.u32 %d0, 7; mov.u32 %d1, 7; mov.u32 %d2, 7; mov.u32 %d3, 7;\n";
    for (mods, count, trans, generic) in [
        ("m8n8.x1.shared.b16", 1, false, false),
        ("m8n8.x1.trans.shared.b16", 1, true, false),
        ("m8n8.x2.b16", 2, false, true),
        ("m8n8.x2.shared.b16", 2, false, false),
        ("m8n8.x2.trans.shared.b16", 2, true, false),
        ("m8n8.x4.shared.b16", 4, false, false),
        ("m8n8.x4.trans.shared.b16", 4, true, false),
        ("x4.trans.m8n8.shared.b16", 4, true, false),
        ("m8n8.x4.shared::cta.b16", 4, false, false),
    ] {
        let load = if generic {
            format!(
                "cvt.u64.u32 %g, %s;\ncvta.shared.u64 %g, %g;\nldmatrix.sync.aligned.{mods} {}, [%g];\n",
                list("d", count)
            )
        } else {
            format!("ldmatrix.sync.aligned.{mods} {}, [%s];\n", list("d", count))
        };
        let out = words(&launch("", &format!("{fill}{clear}{load}{store}"), 32, &shared, 512));
        for lane in 0..32u32 {
            for m in 0..4u32 {
                let (g, t) = (lane / 4, lane % 4);
                let wanted = match (m < count as u32, trans) {
                    (false, _) => 7,
                    (true, false) => element(m, g, 2 * t) | element(m, g, 2 * t + 1) << 16,
                    (true, true) => element(m, 2 * t, g) | element(m, 2 * t + 1, g) << 16,
                };
                assert_eq!(out[(lane * 4 + m) as usize], wanted, "{mods} lane {lane} matrix {m}");
            }
        }
    }
    // Back again: what ldmatrix loaded, stmatrix puts into a second tile.
    for trans in ["", ".trans"] {
        let body = format!(
            "{fill}.shared .align 16 .b8 other[512];\nldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {{%d0, %d1, %d2, %d3}}, [%s];\n\
             mov.u32 %x, other;\nmad.lo.u32 %x, %lane, 16, %x;\n\
             stmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 [%x], {{%d0, %d1, %d2, %d3}};\nbar.sync 0;\n\
             ld.shared.v4.b32 {{%d0, %d1, %d2, %d3}}, [%x];\n{store}"
        );
        let out = words(&launch("", &body, 32, &shared, 512));
        for lane in 0..32 {
            for w in 0..4 {
                let wanted = element(lane / 8, lane % 8, 2 * w) | element(lane / 8, lane % 8, 2 * w + 1) << 16;
                assert_eq!(out[(lane * 4 + w) as usize], wanted, "stmatrix{trans}");
            }
        }
    }
}

#[test]
fn movmatrix_transposes() {
    let word = |i: u32, j: u32| (16 * i + j) | (16 * i + j + 1) << 16;
    let input: Vec<u32> = (0..32).map(|lane| word(lane / 4, lane % 4 * 2)).collect();
    let body = format!(
        "{REGISTERS}{}movmatrix.sync.aligned.m8n8.trans.b16 %d0, %a0;\n{}",
        transfer("a", 1, 0, false),
        transfer("d", 1, 0, true)
    );
    let out = words(&launch("", &body, 32, &bytes(&input), 128));
    for lane in 0..32u32 {
        let (g, t) = (lane / 4, lane % 4);
        assert_eq!(out[lane as usize], (16 * 2 * t + g) | (16 * (2 * t + 1) + g) << 16);
    }
}

/// A matrix in memory, by rows or columns, with two elements between the end of a line and the
/// next.
fn stored(m: &Matrix, row_major: bool, encode: impl Fn(i32) -> Vec<u8>) -> (Vec<u8>, usize) {
    let (rows, columns) = (m.len(), m[0].len());
    let (lines, length) = if row_major { (rows, columns) } else { (columns, rows) };
    let stride = length + 8;
    let at = |line: usize, i: usize| match (i < length, row_major) {
        (false, _) => 0,
        (true, true) => m[line][i],
        (true, false) => m[i][line],
    };
    let bytes =
        (0..lines).flat_map(|line| (0..stride).map(move |i| (line, i))).flat_map(|(line, i)| encode(at(line, i)));
    (bytes.collect(), stride)
}

#[test]
fn wmma_loads_multiplies_and_stores() {
    use Accumulator::{F16 as H, F32 as F, S32 as I};
    let mut r = Random(4);
    let mut cases = Vec::new();
    for shape in ["m16n16k16", "m32n8k16", "m8n32k16"] {
        cases.extend([
            (shape, Element::F16, F),
            (shape, Element::F16, H),
            (shape, Element::Bf16, F),
            (shape, Element::S8, I),
        ]);
    }
    cases.push(("m16n16k8", Element::Tf32, F));
    for (case, (name, element, ty)) in cases.into_iter().enumerate() {
        let shape = Shape::parse(name).unwrap();
        let (a, b) = (r.matrix(shape.m, shape.k, Element::S4), r.matrix(shape.k, shape.n, Element::S4));
        let c = r.matrix(shape.m, shape.n, Element::S4);
        let (a_row, b_row, c_row) = (case % 2 == 0, case % 3 == 0, case % 4 < 2);
        let size = element.bits() / 8;
        let multiplicand = |x: i32| encode(element, x).to_le_bytes()[..size].to_vec();
        let accumulator = |x: i32| match ty {
            H => encode(Element::F16, x).to_le_bytes()[..2].to_vec(),
            F => (x as f32).to_le_bytes().to_vec(),
            _ => x.to_le_bytes().to_vec(),
        };
        let (ma, sa) = stored(&a, a_row, multiplicand);
        let (mb, sb) = stored(&b, b_row, multiplicand);
        let (mc, sc) = stored(&c, c_row, accumulator);
        let order = |row: bool| if row { "row" } else { "col" };
        let registers = |elements: usize, bits: usize| (elements * bits / 1024).max(1);
        let (na, nb) = match element {
            Element::F16 => (8, 8),
            _ => (registers(shape.m * shape.k, element.bits()), registers(shape.k * shape.n, element.bits())),
        };
        let nc = registers(shape.m * shape.n, ty.bits());
        let (e, d) = (format!("{element:?}").to_lowercase(), type_name(ty));
        let types = match element {
            Element::F16 => format!("{d}.{d}"),
            _ => format!("{d}.{e}.{e}.{d}"),
        };
        let (ra, rb, rc) = (order(a_row), order(b_row), order(c_row));
        let body = format!(
            "{REGISTERS}mov.u32 %t0, {sa};\nmov.u32 %t1, {sb};\nadd.u64 %p1, %in, {};\nadd.u64 %p2, %in, {};\n\
             wmma.load.a.sync.aligned.{ra}.{name}.global.{e} {}, [%in], %t0;\n\
             wmma.load.b.sync.aligned.{rb}.{name}.global.{e} {}, [%p1], %t1;\n\
             wmma.load.c.sync.aligned.{rc}.{name}.global.{d} {}, [%p2], {sc};\n\
             wmma.mma.sync.aligned.{ra}.{rb}.{name}.{types} {}, {}, {}, {};\n\
             wmma.store.d.sync.aligned.{rc}.{name}.global.{d} [%out], {}, {sc};\n",
            ma.len(),
            ma.len() + mb.len(),
            list("a", na),
            list("b", nb),
            list("c", nc),
            list("d", nc),
            list("a", na),
            list("b", nb),
            list("c", nc),
            list("d", nc)
        );
        let (wanted, _) = stored(&product(&a, &b, &c, |x, y| x * y), c_row, accumulator);
        let out = launch("", &body, 32, &[ma, mb, mc].concat(), wanted.len());
        assert_eq!(out, wanted, "wmma {name} {e} {d}");
    }
}

/// Four warps, both operands in shared memory by descriptor, core matrices of 128 bytes without
/// swizzle: 8 more of k are 128 bytes further, 8 more rows 256.
#[test]
fn wgmma_multiplies_from_shared_memory() {
    let mut r = Random(5);
    let (m, n, k) = (64, 16, 16);
    let (a, b) = (r.matrix(m, k, Element::S4), r.matrix(k, n, Element::S4));
    let place = |mn: usize, k: usize| mn / 8 * 256 + k / 8 * 128 + mn % 8 * 16 + k % 8 * 2;
    let mut shared = vec![0u8; 2048 + 512];
    for i in 0..m.max(n) {
        for j in 0..k {
            let mut put =
                |at: usize, x: i32| shared[at..at + 2].copy_from_slice(&encode(Element::F16, x).to_le_bytes()[..2]);
            put(place(i, j), a[i][j]);
            if i < n {
                put(2048 + place(i, j), b[j][i]);
            }
        }
    }
    let body = ".shared .align 128 .b8 tile[2560];\n.reg .b32 %s, %x, %f<8>;\n.reg .b64 %o, %da, %db, %w;\n.reg .pred %p;\n\
        mov.u32 %s, tile;\nmad.lo.u32 %x, %lane, 20, %s;\nmul.wide.u32 %o, %lane, 20;\nadd.u64 %o, %o, %in;\n\
        ld.global.b32 %f0, [%o];\nst.shared.b32 [%x], %f0;\nld.global.b32 %f0, [%o+4];\nst.shared.b32 [%x+4], %f0;\n\
        ld.global.b32 %f0, [%o+8];\nst.shared.b32 [%x+8], %f0;\nld.global.b32 %f0, [%o+12];\nst.shared.b32 [%x+12], %f0;\n\
        ld.global.b32 %f0, [%o+16];\nst.shared.b32 [%x+16], %f0;\n\
        fence.proxy.async;\nbar.sync 0;\n\
        mov.f32 %f0, 0f3F800000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;\n\
        mov.f32 %f4, %f0; mov.f32 %f5, %f0; mov.f32 %f6, %f0; mov.f32 %f7, %f0;\n\
        cvt.u64.u32 %da, %s;\nadd.u64 %db, %da, 2048;\nshr.u64 %da, %da, 4;\nshr.u64 %db, %db, 4;\n\
        mov.u64 %w, 0x0000001000080000;\nor.b64 %da, %da, %w;\nor.b64 %db, %db, %w;\nsetp.eq.u32 %p, 0, 0;\n\
        wgmma.fence.sync.aligned;\n\
        wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 {%f0, %f1, %f2, %f3, %f4, %f5, %f6, %f7}, %da, %db, %p, 1, 1, 0, 0;\n\
        wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n\
        mul.wide.u32 %o, %lane, 32;\nadd.u64 %o, %o, %out;\n\
        st.global.v4.f32 [%o], {%f0, %f1, %f2, %f3};\nst.global.v4.f32 [%o+16], {%f4, %f5, %f6, %f7};";
    let out = words(&launch("", body, 128, &shared, 128 * 32));
    let d = product(&a, &b, &vec![vec![1; n]; m], |x, y| x * y);
    for thread in 0..128 {
        for i in 0..8 {
            let row = thread / 32 * 16 + thread % 32 / 4 + 8 * (i / 2 % 2);
            let col = i / 4 * 8 + thread % 4 * 2 + i % 2;
            assert_eq!(f32::from_bits(out[thread * 8 + i]), d[row][col] as f32, "thread {thread} register {i}");
        }
    }
}
