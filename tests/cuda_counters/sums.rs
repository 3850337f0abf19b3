//! How far sums on tensor cores are from exact ones, as the virtual GPU plays each card: `docs/tensor-sums.md`.

use crate::tables;
use std::fmt::Write;
use tempest::backend::truncation;
use vgpu::arith::half::{f16_to_f32, f32_to_f16};
use vgpu::arith::matrix::element::Element;
use vgpu::arith::matrix::layout::{Shape, a_at, b_at, c_at};
use vgpu::gpu::{Gpu, LaunchConfig, Options, Profile, TensorSums};

/// Rows of the longest sum, and those at which sums are compared.
const ROWS: [usize; 9] = [64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384];
/// Tiles of 16×8 sums.
const TILES: usize = 4;
const SHAPE: Shape = Shape::new(16, 8, 16);

/// Fragments as they lie in memory: of each tile, of each 16 rows, register by register, lane by lane.
const PTX: &str = "
.version 7.0
.target sm_80
.address_size 64
.visible .entry k(.param .u64 left, .param .u64 right, .param .u64 out, .param .u32 steps, .param .u32 all)
{
    .reg .pred %p;
    .reg .b32 %r<8>, %a<4>, %b<2>, %steps, %all, %lane, %tile;
    .reg .f32 %f<4>;
    .reg .b64 %left, %right, %out, %at;
    ld.param.u64 %left, [left];
    ld.param.u64 %right, [right];
    ld.param.u64 %out, [out];
    ld.param.u32 %steps, [steps];
    ld.param.u32 %all, [all];
    mov.u32 %lane, %tid.x;
    mov.u32 %tile, %ctaid.x;
    mul.lo.u32 %r0, %tile, %all;
    shl.b32 %r1, %r0, 7;
    add.u32 %r1, %r1, %lane;
    mul.wide.u32 %at, %r1, 4;
    add.u64 %left, %left, %at;
    shl.b32 %r1, %r0, 6;
    add.u32 %r1, %r1, %lane;
    mul.wide.u32 %at, %r1, 4;
    add.u64 %right, %right, %at;
    mov.f32 %f0, 0f00000000;
    mov.f32 %f1, 0f00000000;
    mov.f32 %f2, 0f00000000;
    mov.f32 %f3, 0f00000000;
loop:
    ld.global.u32 %a0, [%left];
    ld.global.u32 %a1, [%left+128];
    ld.global.u32 %a2, [%left+256];
    ld.global.u32 %a3, [%left+384];
    ld.global.u32 %b0, [%right];
    ld.global.u32 %b1, [%right+128];
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f0,%f1,%f2,%f3}, {%a0,%a1,%a2,%a3}, {%b0,%b1}, {%f0,%f1,%f2,%f3};
    add.u64 %left, %left, 512;
    add.u64 %right, %right, 256;
    sub.u32 %steps, %steps, 1;
    setp.ne.u32 %p, %steps, 0;
    @%p bra loop;
    shl.b32 %r1, %tile, 7;
    add.u32 %r1, %r1, %lane;
    mul.wide.u32 %at, %r1, 4;
    add.u64 %out, %out, %at;
    st.global.f32 [%out], %f0;
    st.global.f32 [%out+128], %f1;
    st.global.f32 [%out+256], %f2;
    st.global.f32 [%out+384], %f3;
    ret;
}
";

/// Factors, and their exact sums over the first rows.
struct Data {
    left: Vec<u8>,
    right: Vec<u8>,
    /// For each of [`ROWS`], as the kernel stores them.
    exact: Vec<Vec<f64>>,
}

/// About normal, from a fixed sequence.
fn number(state: &mut u64) -> f32 {
    let mut uniform = || {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..4).map(|_| uniform()).sum::<f32>() * 2.0
}

fn data(positive: bool) -> Data {
    let steps = ROWS[ROWS.len() - 1] / SHAPE.k;
    let mut state = 1;
    let mut values = |count: usize| -> Vec<u16> {
        let number = |state: &mut u64| if positive { number(state).abs() } else { number(state) };
        (0..count).map(|_| f32_to_f16(number(&mut state))).collect()
    };
    let mut data = Data { left: Vec::new(), right: Vec::new(), exact: vec![Vec::new(); ROWS.len()] };
    for _ in 0..TILES {
        let mut sums = [[0.0; 8]; 16];
        for step in 0..steps {
            let (a, b) = (values(16 * 16), values(16 * 8));
            for register in 0..4 {
                for lane in 0..32 {
                    let half = |index| {
                        let (i, k) = a_at(SHAPE, Element::F16, lane, register, index);
                        u32::from(a[i * 16 + k])
                    };
                    data.left.extend((half(0) | half(1) << 16).to_le_bytes());
                }
            }
            for register in 0..2 {
                for lane in 0..32 {
                    let half = |index| {
                        let (k, j) = b_at(SHAPE, Element::F16, lane, register, index);
                        u32::from(b[k * 8 + j])
                    };
                    data.right.extend((half(0) | half(1) << 16).to_le_bytes());
                }
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                for (j, sum) in sums.iter_mut().enumerate() {
                    // Each product is exact, and doubles hold sums of so many to 2⁻⁴⁸ or so.
                    let product = |k: usize| f64::from(f16_to_f32(a[i * 16 + k])) * f64::from(f16_to_f32(b[k * 8 + j]));
                    *sum += (0..16).map(product).sum::<f64>();
                }
            }
            if let Some(at) = ROWS.iter().position(|rows| *rows == (step + 1) * SHAPE.k) {
                for register in 0..4 {
                    let place = |lane| c_at(SHAPE, lane, register);
                    data.exact[at].extend((0..32).map(place).map(|(i, j)| sums[i][j]));
                }
            }
        }
    }
    data
}

/// Relative errors of sums over [`ROWS`] on a card.
fn errors(data: &Data, profile: Profile, sums: TensorSums) -> Vec<f64> {
    let gpu = Gpu::new(profile, Options { sums, ..Options::default() });
    let module = gpu.load(PTX).expect("the kernel loads");
    let kernel = module.kernel("k").expect("the kernel is there");
    let place = |bytes: &[u8]| {
        let at = gpu.alloc(bytes.len() as u64).expect("there is memory");
        gpu.write(at, bytes).expect("it was allocated");
        at
    };
    let (left, right) = (place(&data.left), place(&data.right));
    let mut out = vec![0; TILES * 128 * 4];
    let to = place(&out);
    let config = LaunchConfig {
        grid: [TILES as u32, 1, 1],
        block: [32, 1, 1],
        dynamic_shared: 0,
        cooperative: false,
        cluster: [1; 3],
    };
    let all = ROWS[ROWS.len() - 1] / SHAPE.k;
    let mut errors = Vec::new();
    for (rows, exact) in ROWS.iter().zip(&data.exact) {
        let mut params: Vec<u8> = [left, right, to].iter().flat_map(|address| address.to_le_bytes()).collect();
        params.extend([rows / SHAPE.k, all].iter().flat_map(|steps| (*steps as u32).to_le_bytes()));
        let report = gpu.launch(&kernel, &config, &params).expect("it runs");
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        gpu.read(to, &mut out).expect("it was allocated");
        let found = out.as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes)));
        let (mut off, mut norm) = (0.0, 0.0);
        for (found, exact) in found.zip(exact) {
            off += (found - exact) * (found - exact);
            norm += exact * exact;
        }
        errors.push((off / norm).sqrt());
    }
    errors
}

#[test]
fn sums_on_every_card_stay_within_the_bound_and_lose_more_than_rounding_would() {
    let mut document = include_str!("sums.md").to_owned();
    document += "| rows | bound | random: A100 | H100 | rounded | positive: A100 | H100 | rounded |\n\
                 |---|---|---|---|---|---|---|---|\n";
    let cards = [Profile::a100(), Profile::rtx4090(), Profile::h100()];
    let mut columns = Vec::new();
    for positive in [false, true] {
        let data = data(positive);
        let rounded = errors(&data, Profile::a100(), TensorSums::Rounded);
        let [a100, rtx4090, h100] = cards.clone().map(|card| errors(&data, card, TensorSums::AsPlayed));
        assert_eq!(a100, rtx4090, "the same rules");
        for (i, &rows) in ROWS.iter().enumerate() {
            // Rounding of sums in f32, of either sign: half a unit of each, independent.
            let rounding = (rows as f64).sqrt() * 2f64.powi(-24);
            assert!(rounded[i] <= rounding, "{rows} rows, rounded: {:.2e} of {rounding:.2e}", rounded[i]);
            // Of random signs the products' losses cancel, and only those of the sums are left.
            let bound =
                rounding + if positive { truncation(rows) } else { truncation(rows) / (1.0 + 4.0 * 3f64.sqrt()) };
            for (card, errors) in [("a100", &a100), ("h100", &h100)] {
                assert!(errors[i] <= bound, "{rows} rows on {card}: {:.2e} of {bound:.2e}", errors[i]);
                // Roundings cancel; what is cut off adds up.
                let adds_up = rows < 1024 || errors[i] > 2.0 * rounded[i];
                assert!(adds_up, "{rows} rows on {card}: {:.2e}, rounded {:.2e}", errors[i], rounded[i]);
            }
            assert!(h100[i] < a100[i], "{rows} rows: fewer and longer blocks with one more bit lose less");
        }
        columns.push([a100, h100, rounded]);
    }
    for (i, rows) in ROWS.iter().enumerate() {
        let _ = write!(document, "| {rows} | {:.1e} |", truncation(*rows));
        for errors in columns.iter().flatten() {
            let _ = write!(document, " {:.1e} |", errors[i]);
        }
        document.push('\n');
    }
    tables::check("tensor-sums.md", &document);
}
