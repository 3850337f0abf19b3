use super::Random;
use crate::arith::fp8::Fp8;
use crate::arith::half::{f16_to_f32, f32_to_bf16, f32_to_f16};
use crate::arith::matrix::element::{Accumulator, Element, Row};
use crate::arith::matrix::layout::Shape;
use crate::arith::matrix::move_;
use crate::arith::matrix::product::{Bitwise, Mma};
use crate::arith::matrix::sums::{Sums, TensorCore};
use crate::arith::matrix::wgmma::{self, Descriptor, Major};
use crate::arith::matrix::wmma::{Fragment, Operand};

type At = fn(usize, usize, usize) -> (usize, usize);

/// The fragment figures of the ISA: (group, thread in group, element) to (row, column) of `A`,
/// then of `B`. `A` of 16 rows repeats one pattern for each width of element.
fn figures(shape: Shape, bits: usize) -> (At, At) {
    match (shape.m, shape.k * bits, bits) {
        (8, 256, 64) => (|g, t, _| (g, t), |g, t, _| (t, g)),
        (8, 128, 8) => (|g, t, i| (g, t * 4 + i), |g, t, i| (t * 4 + i, g)),
        (8, 128, 4) => (|g, t, i| (g, t * 8 + i), |g, t, i| (t * 8 + i, g)),
        (8, 128, 1) => (|g, t, i| (g, t * 32 + i), |g, t, i| (t * 32 + i, g)),
        (16, 128, 32) => (|g, t, i| (if i == 0 { g } else { g + 8 }, t), |g, t, _| (t, g)),
        (16, 256, 32) => {
            let a: At = |g, t, i| (if i == 0 || i == 2 { g } else { g + 8 }, if i < 2 { t } else { t + 4 });
            (a, |g, t, i| (if i == 0 { t } else { t + 4 }, g))
        }
        (16, 128, 16) => (|g, t, i| (if i < 2 { g } else { g + 8 }, t * 2 + (i & 1)), |g, t, i| (t * 2 + i, g)),
        (16, 256, 16) => {
            let a: At = |g, t, i| {
                let row = if i < 2 || (4..6).contains(&i) { g } else { g + 8 };
                (row, t * 2 + (i & 1) + if i >= 4 { 8 } else { 0 })
            };
            (a, |g, t, i| (t * 2 + (i & 1) + if i >= 2 { 8 } else { 0 }, g))
        }
        (16, 128, 8) => (|g, t, i| (if i < 4 { g } else { g + 8 }, t * 4 + (i & 3)), |g, t, i| (t * 4 + i, g)),
        (16, 256, 8) => {
            let a: At = |g, t, i| {
                let row = if i < 4 || (8..12).contains(&i) { g } else { g + 8 };
                (row, t * 4 + (i & 3) + if i >= 8 { 16 } else { 0 })
            };
            (a, |g, t, i| (t * 4 + (i & 3) + if i >= 4 { 16 } else { 0 }, g))
        }
        (16, 128, 4) => (|g, t, i| (if i < 8 { g } else { g + 8 }, t * 8 + (i & 7)), |g, t, i| (t * 8 + i, g)),
        (16, 256, 4) => {
            let a: At = |g, t, i| {
                let row = if i < 8 || (16..24).contains(&i) { g } else { g + 8 };
                (row, t * 8 + (i & 7) + if i >= 16 { 32 } else { 0 })
            };
            (a, |g, t, i| (t * 8 + (i & 7) + if i >= 8 { 32 } else { 0 }, g))
        }
        (16, 128, 1) => (|g, t, i| (if i < 32 { g } else { g + 8 }, t * 32 + (i & 31)), |g, t, i| (t * 32 + i, g)),
        (16, 256, 1) => {
            let a: At = |g, t, i| {
                let row = if i < 32 || (64..96).contains(&i) { g } else { g + 8 };
                (row, t * 32 + (i & 31) + if i >= 64 { 128 } else { 0 })
            };
            (a, |g, t, i| (t * 32 + (i & 31) + if i >= 32 { 128 } else { 0 }, g))
        }
        // f64 with 16 rows.
        (16, 256, 64) => (|g, t, i| (if i == 0 { g } else { g + 8 }, t), |g, t, _| (t, g)),
        (16, 512 | 1024, 64) => {
            let a: At = |g, t, i| (if i % 2 == 0 { g } else { g + 8 }, t + i / 2 * 4);
            (a, |g, t, i| (t + i * 4, g))
        }
        other => panic!("no figure for {other:?}"),
    }
}

fn accumulator_figure(g: usize, t: usize, i: usize) -> (usize, usize) {
    (if i < 2 { g } else { g + 8 }, t * 2 + (i & 1))
}

/// A small number that every element type has, as bits.
fn encode(element: Element, x: i32) -> u32 {
    match element {
        Element::F16 => f32_to_f16(x as f32).into(),
        Element::Bf16 => f32_to_bf16(x as f32).into(),
        Element::Tf32 => (x as f32).to_bits(),
        Element::E4m3 => Fp8::E4m3.narrow(x as f32, false).into(),
        Element::E5m2 => Fp8::E5m2.narrow(x as f32, false).into(),
        other => x as u32 & ((1u64 << other.bits()) - 1) as u32,
    }
}

fn small(element: Element, r: &mut Random) -> i32 {
    match element {
        Element::U8 => (r.u32() % 256) as i32,
        Element::S8 => (r.u32() % 256) as i32 - 128,
        Element::U4 => (r.u32() % 16) as i32,
        Element::B1 => (r.u32() % 2) as i32,
        Element::E5m2 => (r.u32() % 9) as i32 - 4,
        _ => (r.u32() % 16) as i32 - 8,
    }
}

/// Registers of a fragment from a matrix, placed by a figure.
fn fragment(matrix: &[Vec<i32>], figure: At, element: Element, registers: usize) -> Vec<Row> {
    let per = element.per_register();
    let mut out = vec![[0u32; 32]; registers];
    for (reg, row) in out.iter_mut().enumerate() {
        for (lane, word) in row.iter_mut().enumerate() {
            for index in 0..per {
                let (i, j) = figure(lane / 4, lane % 4, reg * per + index);
                *word |= encode(element, matrix[i][j]) << (index * element.bits());
            }
        }
    }
    out
}

fn random_matrix(rows: usize, columns: usize, mut f: impl FnMut() -> i32) -> Vec<Vec<i32>> {
    (0..rows).map(|_| (0..columns).map(|_| f()).collect()).collect()
}

fn naive(mma: &Mma, a: &[Vec<i32>], b: &[Vec<i32>], c: &[Vec<i32>], i: usize, j: usize) -> i32 {
    let term = |k: usize| match (mma.a, mma.bitwise) {
        (Element::B1, Bitwise::And) => a[i][k] & b[k][j],
        (Element::B1, Bitwise::Xor) => a[i][k] ^ b[k][j],
        _ => a[i][k] * b[k][j],
    };
    c[i][j] + (0..mma.shape.k).map(term).sum::<i32>()
}

fn accumulators(matrix: &[Vec<i32>], ty: Accumulator, registers: usize) -> Vec<Row> {
    let mut out = vec![[0u32; 32]; registers];
    for (reg, row) in out.iter_mut().enumerate() {
        for (lane, word) in row.iter_mut().enumerate() {
            let value = |i: usize| {
                let (row, col) = accumulator_figure(lane / 4, lane % 4, i);
                matrix[row][col]
            };
            *word = match ty {
                Accumulator::F16 => {
                    encode(Element::F16, value(2 * reg)) | encode(Element::F16, value(2 * reg + 1)) << 16
                }
                Accumulator::F32 => (value(reg) as f32).to_bits(),
                _ => value(reg) as u32,
            };
        }
    }
    out
}

const EVERY_SUM: [Sums; 4] = [
    Sums::Rounded,
    Sums::Truncated(TensorCore::AMPERE),
    Sums::Truncated(TensorCore::ADA),
    Sums::Truncated(TensorCore::HOPPER),
];

/// Numbers of every size, zeros, subnormals, infinities and NaNs, most of ordinary size.
fn any_bits(element: Element, r: &mut Random) -> u32 {
    let bits = r.u32();
    let (width, spread) = match element {
        Element::F16 => (16, 0x3c00),
        Element::Bf16 => (16, 0x3f80),
        Element::Tf32 => (32, 0x3f80_0000),
        _ => (8, 0x38),
    };
    let any = ((1u64 << width) - 1) as u32;
    match r.u32() % 16 {
        0 => 0,
        1 => bits & any,
        // Within a factor of 16 or so of one.
        _ => (spread + (bits >> 1) % (spread / 8)) | (bits & 1) << (width - 1),
    }
}

/// What whole fragments give is what [`TensorCore::dot`] gives, one sum at a time in plain numbers.
#[test]
fn truncated_products_of_fragments_are_those_of_single_sums() {
    use Accumulator::{F16 as H, F32 as F};
    use Element::*;
    let mut cases = Vec::new();
    for k in [8, 16] {
        cases.extend([(F, F), (H, H), (F, H), (H, F)].map(|(c, d)| Mma::new(Shape::new(16, 8, k), F16, F16, c, d)));
        cases.push(Mma::new(Shape::new(16, 8, k), Bf16, Bf16, F, F));
        cases.push(Mma::new(Shape::new(16, 8, k / 2), Tf32, Tf32, F, F));
        cases.push(Mma::new(Shape::new(16, 8, 2 * k), E5m2, E4m3, F, F));
    }
    let mut r = Random(23);
    for mma in cases {
        let Shape { m, n, k } = mma.shape;
        for round in 0..30 {
            let core = [TensorCore::AMPERE, TensorCore::ADA, TensorCore::HOPPER][round % 3];
            let mut rows = |count: usize, f: &mut dyn FnMut(&mut Random) -> u32| -> Vec<Row> {
                (0..count).map(|_| core::array::from_fn(|_| f(&mut r))).collect()
            };
            let packed = |element: Element| {
                move |r: &mut Random| {
                    let word = |i| any_bits(element, r) << (i * element.bits() % 32);
                    (0..element.per_register()).map(word).fold(0, |a, b| a | b)
                }
            };
            let (a, b) = (rows(mma.a_registers(), &mut packed(mma.a)), rows(mma.b_registers(), &mut packed(mma.b)));
            let c = rows(mma.c_registers(), &mut packed(if mma.c == H { F16 } else { Tf32 }));
            let mut d = vec![[0; 32]; mma.d_registers()];
            mma.run(Sums::Truncated(core), &a, &b, &c, &mut d);
            let (at_a, at_b) = figures(mma.shape, mma.a.bits());
            let single = |bits: u32| f32::from_bits(bits);
            let unpack =
                |registers: &[Row], figure: At, bits: usize, value: &dyn Fn(u32) -> f32, size: (usize, usize)| {
                    let mut matrix = vec![vec![0f32; size.1]; size.0];
                    for (reg, row) in registers.iter().enumerate() {
                        for (lane, word) in row.iter().enumerate() {
                            for index in 0..32 / bits {
                                let (i, j) = figure(lane / 4, lane % 4, reg * (32 / bits) + index);
                                matrix[i][j] = value(word >> (index * bits));
                            }
                        }
                    }
                    matrix
                };
            let x = unpack(&a, at_a, mma.a.bits(), &|bits| mma.a.value(bits), (m, k));
            let y = unpack(&b, at_b, mma.b.bits(), &|bits| mma.b.value(bits), (k, n));
            let sums = |registers: &[Row], ty: Accumulator| match ty {
                H => unpack(registers, accumulator_figure, 16, &|bits| F16.value(bits), (m, n)),
                _ => unpack(registers, accumulator_figure, 32, &single, (m, n)),
            };
            let (z, got) = (sums(&c, mma.c), sums(&d, mma.d));
            for i in 0..m {
                for j in 0..n {
                    let pairs: Vec<_> = (0..k).map(|l| (x[i][l], y[l][j])).collect();
                    let want = core.dot((mma.a, mma.b), &pairs, z[i][j], mma.d == H);
                    let want = if mma.d == H { f16_to_f32(f32_to_f16(want)) } else { want };
                    let same = want == got[i][j] || want.is_nan() && got[i][j].is_nan();
                    assert!(same, "{mma:?} {core:?} {round} ({i}, {j}): {} is not {want}", got[i][j]);
                }
            }
        }
    }
}

#[test]
fn every_mma_shape_equals_a_plain_product_of_the_isa_figures() {
    use Accumulator::{F16 as H, F32 as F, S32 as I};
    use Element::*;
    let mut cases = Vec::new();
    for k in [8, 16] {
        for (c, d) in [(F, F), (H, H), (F, H), (H, F)] {
            cases.push(Mma::new(Shape::new(16, 8, k), F16, F16, c, d));
        }
        cases.push(Mma::new(Shape::new(16, 8, k), Bf16, Bf16, F, F));
        cases.push(Mma::new(Shape::new(16, 8, k / 2), Tf32, Tf32, F, F));
    }
    for (m, k) in [(8, 16), (16, 16), (16, 32)] {
        for (a, b) in [(S8, S8), (U8, S8), (S8, U8), (U8, U8)] {
            cases.push(Mma::new(Shape::new(m, 8, k), a, b, I, I));
        }
        cases.push(Mma::new(Shape::new(m, 8, 2 * k), S4, U4, I, I));
        cases.push(Mma::new(Shape::new(m, 8, 2 * k), U4, S4, I, I));
        for bitwise in [Bitwise::And, Bitwise::Xor] {
            cases.push(Mma { bitwise, ..Mma::new(Shape::new(m, 8, 8 * k), B1, B1, I, I) });
        }
    }
    for k in [16, 32] {
        cases.push(Mma::new(Shape::new(16, 8, k), E4m3, E5m2, F, F));
        cases.push(Mma::new(Shape::new(16, 8, k), E5m2, E4m3, H, H));
    }
    let mut r = Random(20);
    for mma in cases {
        assert!(mma.is_valid(), "{mma:?}");
        let Shape { m, n, k } = mma.shape;
        let a = random_matrix(m, k, || small(mma.a, &mut r));
        let b = random_matrix(k, n, || small(mma.b, &mut r));
        let c = random_matrix(m, n, || (r.u32() % 16) as i32);
        let (at_a, at_b) = figures(mma.shape, mma.a.bits());
        let fa = fragment(&a, at_a, mma.a, mma.a_registers());
        let fb = fragment(&b, at_b, mma.b, mma.b_registers());
        let fc = accumulators(&c, mma.c, mma.c_registers());
        let d: Vec<Vec<i32>> = (0..m).map(|i| (0..n).map(|j| naive(&mma, &a, &b, &c, i, j)).collect()).collect();
        // Nothing that small is lost to any sum.
        for sums in EVERY_SUM {
            let mut fd = vec![[u32::MAX; 32]; mma.d_registers()];
            mma.run(sums, &fa, &fb, &fc, &mut fd);
            assert_eq!(fd, accumulators(&d, mma.d, mma.d_registers()), "{mma:?} {sums:?}");
        }
    }
}

#[test]
fn f64_shapes_equal_a_plain_product() {
    let mut r = Random(21);
    for (m, k) in [(8, 4), (16, 4), (16, 8), (16, 16)] {
        let mma = Mma::new(Shape::new(m, 8, k), Element::F64, Element::F64, Accumulator::F64, Accumulator::F64);
        assert!(mma.is_valid());
        let [a, b, c] = [(m, k), (k, 8), (m, 8)].map(|(i, j)| random_matrix(i, j, || (r.u32() % 100) as i32));
        let (at_a, at_b) = figures(mma.shape, 64);
        let gather = |matrix: &[Vec<i32>], figure: At, registers: usize| -> Vec<[u64; 32]> {
            let value = |reg, lane| {
                let (i, j) = figure(lane / 4, lane % 4, reg);
                f64::from(matrix[i][j]).to_bits()
            };
            (0..registers).map(|reg| core::array::from_fn(|lane| value(reg, lane))).collect()
        };
        let mut d = vec![[0; 32]; mma.d_registers()];
        let fc = gather(&c, accumulator_figure, mma.c_registers());
        mma.run_f64(&gather(&a, at_a, mma.a_registers()), &gather(&b, at_b, mma.b_registers()), &fc, &mut d);
        let expected: Vec<Vec<i32>> = (0..m).map(|i| (0..8).map(|j| naive(&mma, &a, &b, &c, i, j)).collect()).collect();
        assert_eq!(d, gather(&expected, accumulator_figure, mma.d_registers()));
    }
}

#[test]
fn register_counts_are_those_of_the_isa() {
    use Accumulator::{F16 as H, F32 as F, S32 as I};
    use Element::*;
    let counts = |shape, a, c| {
        let mma = Mma::new(Shape::parse(shape).unwrap(), a, a, c, c);
        (mma.a_registers(), mma.b_registers(), mma.c_registers())
    };
    assert_eq!(counts("m16n8k16", F16, F), (4, 2, 4));
    assert_eq!(counts("m16n8k16", F16, H), (4, 2, 2));
    assert_eq!(counts("m16n8k8", Bf16, F), (2, 1, 4));
    assert_eq!(counts("m16n8k8", Tf32, F), (4, 2, 4));
    assert_eq!(counts("m16n8k4", Tf32, F), (2, 1, 4));
    assert_eq!(counts("m16n8k32", S8, I), (4, 2, 4));
    assert_eq!(counts("m8n8k16", U8, I), (1, 1, 2));
    assert_eq!(counts("m8n8k4", F64, Accumulator::F64), (1, 1, 2));
    assert_eq!(counts("m16n8k256", B1, I), (4, 2, 4));
    let bad = Mma::new(Shape::new(16, 8, 64), F16, F16, F, F);
    assert!(!bad.is_valid());
    assert!(!Mma::new(Shape::new(16, 8, 16), F16, Bf16, F, F).is_valid());
}

#[test]
fn integer_products_wrap_or_saturate() {
    let mma = Mma::new(Shape::new(16, 8, 32), Element::S8, Element::S8, Accumulator::S32, Accumulator::S32);
    let (a, b, c) = ([[0x0101_0101; 32]; 4], [[0x0101_0101; 32]; 2], [[i32::MAX as u32; 32]; 4]);
    let mut d = [[0; 32]; 4];
    mma.run(Sums::Rounded, &a, &b, &c, &mut d);
    assert_eq!(d, [[(i32::MAX as u32) + 32; 32]; 4]);
    Mma { saturate: true, ..mma }.run(Sums::Rounded, &a, &b, &c, &mut d);
    assert_eq!(d, c);
}

#[test]
fn tf32_products_ignore_the_low_bits() {
    let mma = Mma::new(Shape::new(16, 8, 8), Element::Tf32, Element::Tf32, Accumulator::F32, Accumulator::F32);
    let (a, b) = ([[0x3f80_1fff; 32]; 4], [[0x3f80_0000; 32]; 2]);
    let mut d = [[0; 32]; 4];
    mma.run(Sums::Rounded, &a, &b, &[[0; 32]; 4], &mut d);
    assert_eq!(d, [[8f32.to_bits(); 32]; 4]);
}

#[test]
fn matrices_move_in_and_out_of_fragments() {
    // Element (i, j) is 100 i + j.
    let word = |i: u32, j: u32| (100 * i + j) | (100 * i + j + 1) << 16;
    let rows: [[u32; 4]; 8] = core::array::from_fn(|i| core::array::from_fn(|w| word(i as u32, 2 * w as u32)));
    let plain = move_::load(&rows, false);
    let turned = move_::load(&rows, true);
    for lane in 0..32usize {
        let (g, t) = (lane as u32 / 4, lane as u32 % 4);
        assert_eq!(plain[lane], word(g, 2 * t));
        assert_eq!(turned[lane], (100 * 2 * t + g) | (100 * (2 * t + 1) + g) << 16);
        assert_eq!(rows[move_::word_row(lane)][move_::word_offset(lane) / 4], plain[lane]);
    }
    assert_eq!(move_::transpose(&plain), turned);
    assert_eq!(move_::store(&plain, false), rows);
    assert_eq!(move_::store(&turned, true), rows);
}

#[test]
fn wmma_fragments_hold_their_matrix_and_multiply() {
    use Accumulator::{F16 as H, F32 as F, S32 as I};
    use Element::*;
    let shapes = [(16, 16, 16), (32, 8, 16), (8, 32, 16)];
    let mut cases = Vec::new();
    for s in shapes {
        cases.extend([(s, F16, F, F), (s, F16, H, H), (s, F16, H, F), (s, Bf16, F, F), (s, S8, I, I), (s, U8, I, I)]);
    }
    cases.extend([((16, 16, 8), Tf32, F, F), ((8, 8, 32), S4, I, I), ((8, 8, 128), B1, I, I)]);
    let mut r = Random(22);
    for ((m, n, k), element, c, d) in cases {
        let shape = Shape::new(m, n, k);
        let mma = Mma::new(shape, element, element, c, d);
        let fragment = |operand, accumulator| Fragment { operand, shape, element, accumulator };
        let (fa, fb, fc, fd) =
            (fragment(Operand::A, c), fragment(Operand::B, c), fragment(Operand::C, c), fragment(Operand::C, d));
        assert!(fa.is_valid());
        let gather = |f: &Fragment, matrix: &[Vec<i32>]| -> Vec<Row> {
            let word = |reg: usize, lane: usize| -> u32 {
                let bits = |index: usize| {
                    let (i, j) = f.at(lane, reg, index);
                    let x = matrix[i][j];
                    match (f.operand, f.accumulator) {
                        (Operand::C, F) => (x as f32).to_bits(),
                        (Operand::C, H) => encode(F16, x),
                        (Operand::C, _) => x as u32,
                        _ => encode(element, x),
                    }
                };
                (0..f.per_register()).map(|i| bits(i) << (i * f.bits() % 32)).fold(0, |a, b| a | b)
            };
            (0..f.registers()).map(|reg| core::array::from_fn(|lane| word(reg, lane))).collect()
        };
        let a = random_matrix(m, k, || small(element, &mut r) / 2);
        let b = random_matrix(k, n, || small(element, &mut r) / 2);
        let start = random_matrix(m, n, || (r.u32() % 16) as i32);
        let mut out = vec![[0; 32]; fd.unique_registers()];
        let (ra, rb) = (gather(&fa, &a), gather(&fb, &b));
        mma.run(
            Sums::Rounded,
            &ra[..fa.unique_registers()],
            &rb[..fb.unique_registers()],
            &gather(&fc, &start),
            &mut out,
        );
        let product: Vec<Vec<i32>> =
            (0..m).map(|i| (0..n).map(|j| naive(&mma, &a, &b, &start, i, j)).collect()).collect();
        assert_eq!(out, gather(&fd, &product), "{mma:?}");
    }
    let double =
        Fragment { operand: Operand::A, shape: Shape::new(8, 8, 4), element: F64, accumulator: Accumulator::F64 };
    assert!(double.is_valid() && double.registers() == 1 && double.at(13, 0, 0) == (3, 1));
}

/// `cute`'s canonical layouts, 16-bit elements: a 128-byte row of 8 chunks, chunk `c` of row `r`
/// stored at chunk `c ^ (r mod 8)`; likewise 4 chunks by `r/2`, 2 chunks by `r/4`.
#[test]
fn wgmma_descriptors_find_swizzled_elements() {
    for (code, row_bytes) in [(1u64, 128usize), (2, 64), (3, 32)] {
        let chunks = row_bytes / 16;
        let stride = 8 * row_bytes;
        let bits = (0x400 >> 4) | (1 << 16) | ((stride as u64 >> 4) << 32) | (code << 62);
        let d = Descriptor::decode(bits);
        assert_eq!((d.start, d.stride, d.row_bytes), (0x400, stride as u32, row_bytes as u32));
        for row in 0..64 {
            for k in 0..row_bytes / 2 {
                let chunk = k * 2 / 16;
                let swizzled = chunk ^ (row % 8 * row_bytes / 128);
                let expected = 0x400 + row * row_bytes + swizzled % chunks * 16 + k * 2 % 16;
                assert_eq!(d.address(row, k, 2, Major::K) as usize, expected, "{row} {k} of {row_bytes}");
            }
        }
        // Stepping along k advances the start address by 32 bytes; the swizzle stays put.
        if row_bytes > 32 {
            let next = Descriptor { start: d.start + 32, ..d };
            assert_eq!(next.address(5, 3, 2, Major::K), d.address(5, 19, 2, Major::K));
        }
    }
}

#[test]
fn wgmma_descriptors_without_swizzle_are_core_matrices() {
    let d = Descriptor::decode((128 >> 4) << 16 | (256u64 >> 4) << 32);
    // K-major: 8 rows of 16 bytes; the next 8 of k are `leading` away, the next 8 rows `stride`.
    assert_eq!(d.address(3, 5, 2, Major::K), 3 * 16 + 10);
    assert_eq!(d.address(3, 13, 2, Major::K), 128 + 3 * 16 + 10);
    assert_eq!(d.address(11, 5, 2, Major::K), 256 + 3 * 16 + 10);
    // MN-major: 8 of k, each with 8 neighbours along mn.
    assert_eq!(d.address(5, 3, 2, Major::Mn), 3 * 16 + 10);
    assert_eq!(d.address(13, 3, 2, Major::Mn), 256 + 3 * 16 + 10);
    assert_eq!(d.address(5, 11, 2, Major::Mn), 128 + 3 * 16 + 10);
}

#[test]
fn wgmma_reads_mn_major_rows_of_64_elements() {
    let d = Descriptor::decode((4096u64 >> 4) << 16 | (1024u64 >> 4) << 32 | 1 << 62);
    for k in 0..16 {
        for mn in 0..128 {
            let chunk = (mn % 64 / 8) ^ (k % 8);
            let expected = mn / 64 * 4096 + k / 8 * 1024 + k % 8 * 128 + chunk * 16 + mn % 8 * 2;
            assert_eq!(d.address(mn, k, 2, Major::Mn) as usize, expected);
        }
    }
}

#[test]
fn wgmma_accumulators_cover_their_tile_once() {
    for n in (8..=256).step_by(8) {
        let mut seen = vec![false; 64 * n];
        for warp in 0..4 {
            for lane in 0..32 {
                for i in 0..n / 2 {
                    let (row, col) = wgmma::d_at(warp, lane, i);
                    assert!(!std::mem::replace(&mut seen[row * n + col], true));
                }
            }
        }
        assert!(seen.into_iter().all(|x| x));
    }
    assert_eq!(wgmma::d_at(2, 13, 7), (32 + 3 + 8, 8 + 3));
}
