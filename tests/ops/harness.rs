//! One op on the CPU, in memory that notices: outputs are poisoned before, guard bands lie between all operands, inputs
//! must stay as they were.

use crate::number::{BF16, F32, Num, Table, exact};
use std::sync::Arc;
use tempest::backend::{Backend, Cpu};
use tempest::program::{Access, Builder, DType, Mat, Op, Operand, Persistence, Plan, RegionId, StepArgs};
use tempest::rng::{Stream, normals, philox};

/// Bytes of a guard band, over and over: NaN as f32 and as bf16, far out of any vocabulary as an id.
const GUARD: [u8; 2] = [0xA5, 0xFF];
/// Bytes of an output before the op: another NaN.
const POISON: [u8; 2] = [0xC7, 0xFF];

/// One op's memory in the making.
pub(crate) struct Harness {
    plan: Plan,
    regions: [RegionId; 3],
    guards: Vec<Mat>,
    contents: Vec<(Mat, Vec<u8>)>,
    draws: u32,
    pub(crate) args: StepArgs,
}

/// What an output must hold.
pub(crate) enum Want {
    Numbers(Mat, Vec<Num>),
    /// These numbers to the last bit.
    Bits(Mat, Vec<f32>),
    Ids(Mat, Vec<u32>),
}

impl Want {
    pub(crate) fn table(mat: Mat, table: &Table) -> Want {
        assert_eq!(mat.shape(), [table.rows, table.cols]);
        Want::Numbers(mat, table.data.clone())
    }
}

impl Default for Harness {
    fn default() -> Self {
        let mut plan = Plan::new();
        let regions = [("f32", DType::F32), ("bf16", DType::Bf16), ("ids", DType::U32)]
            .map(|(name, dtype)| plan.region(name, dtype, Persistence::Kept));
        let guards = regions.map(|r| plan.alloc(r, 1, 67)).to_vec();
        Harness { plan, regions, guards, contents: Vec::new(), draws: 0, args: StepArgs::default() }
    }
}

impl Harness {
    /// Memory with a guard band right behind its last element.
    pub(crate) fn output(&mut self, dtype: DType, rows: usize, cols: usize) -> Mat {
        let region = self.regions[match dtype {
            DType::F32 => 0,
            DType::Bf16 => 1,
            DType::U32 => 2,
            DType::F16 => panic!("the CPU does not compute with f16"),
        }];
        let mat = self.plan.alloc_packed(region, rows, cols);
        self.guards.push(self.plan.alloc(region, 1, 67));
        mat
    }

    /// Numbers, rounded to `dtype`; returns what is stored.
    pub(crate) fn input(&mut self, dtype: DType, rows: usize, cols: usize, values: &[f32]) -> (Mat, Table) {
        assert_eq!(values.len(), rows * cols);
        let mat = self.output(dtype, rows, cols);
        let stored: Vec<f32> = match dtype {
            DType::Bf16 => values.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect(),
            _ => values.to_vec(),
        };
        let bytes = match dtype {
            DType::Bf16 => {
                stored.iter().flat_map(|&x| half::bf16::from_f32(x).to_bits().to_le_bytes()).collect::<Vec<u8>>()
            }
            _ => stored.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        self.contents.push((mat, bytes));
        (mat, Table { rows, cols, data: stored.iter().map(|&x| exact(f64::from(x))).collect() })
    }

    /// Normal numbers of a standard deviation. They are bf16 numbers even in f32 memory: a bf16 matmul then takes them
    /// as they are, and what it owes to rounding its factors does not hide other errors.
    pub(crate) fn normal(&mut self, dtype: DType, rows: usize, cols: usize, std: f32) -> (Mat, Table) {
        let values = self.normals(rows * cols, std);
        self.input(dtype, rows, cols, &values)
    }

    pub(crate) fn normals(&mut self, n: usize, std: f32) -> Vec<f32> {
        self.draws += 1;
        let step = u64::from(self.draws);
        let words = (0..n.div_ceil(4)).flat_map(|i| normals(philox(77, Stream::Init, step, i as u32)));
        words.take(n).map(|z| half::bf16::from_f32(z * std).to_f32()).collect()
    }

    pub(crate) fn ids(&mut self, rows: usize, cols: usize, values: &[u32]) -> Mat {
        assert_eq!(values.len(), rows * cols);
        let mat = self.output(DType::U32, rows, cols);
        self.contents.push((mat, values.iter().flat_map(|x| x.to_le_bytes()).collect()));
        mat
    }

    /// Ids below `n`.
    pub(crate) fn some_ids(&mut self, rows: usize, cols: usize, n: u32) -> (Mat, Vec<u32>) {
        self.some_targets(rows, cols, n, None)
    }

    /// Ids below `n`, never `drop`.
    pub(crate) fn some_targets(&mut self, rows: usize, cols: usize, n: u32, drop: Option<u32>) -> (Mat, Vec<u32>) {
        self.draws += 1;
        let word = |i: usize| philox(78, Stream::Init, u64::from(self.draws), i as u32)[0];
        let avoid = |id: u32| if Some(id) == drop { (id + 1) % n } else { id };
        let values: Vec<u32> = (0..rows * cols).map(|i| avoid(word(i) % n)).collect();
        (self.ids(rows, cols, &values), values)
    }

    /// A machine that has run the ops.
    #[track_caller]
    pub(crate) fn ran(&mut self, ops: &[Op]) -> Cpu {
        let mut b = Builder::new(&mut self.plan, "case");
        ops.iter().for_each(|op| b.push(op.clone()));
        let program = b.finish();
        let mut cpu = Cpu::new(Arc::new(self.plan.clone()));
        let mut fill = |mat: Mat, pattern: [u8; 2]| {
            let bytes = mat.len() * self.plan.dtype(mat).bytes();
            cpu.write_bytes(mat, &pattern.repeat(bytes / 2)).unwrap();
        };
        self.guards.iter().for_each(|mat| fill(*mat, GUARD));
        ops.iter().flat_map(Op::operands).for_each(|operand| fill(operand.mat, POISON));
        self.contents.iter().for_each(|(mat, bytes)| cpu.write_bytes(*mat, bytes).unwrap());
        cpu.run(&program, &self.args).unwrap();
        cpu
    }

    /// What some matrices hold after ops that `check` looks at one by one.
    #[track_caller]
    pub(crate) fn run(mut self, ops: &[Op], mats: &[Mat]) -> Vec<Vec<f32>> {
        let cpu: &mut dyn Backend = &mut self.ran(ops);
        mats.iter().map(|mat| cpu.read_f32(*mat).unwrap()).collect()
    }

    /// Runs the op and compares everything it left.
    #[track_caller]
    pub(crate) fn check(mut self, case: &str, op: impl Into<Op>, wants: &[Want]) {
        let op = op.into();
        let cpu: &mut dyn Backend = &mut self.ran(std::slice::from_ref(&op));
        let operands = op.operands();
        for (i, guard) in self.guards.iter().enumerate() {
            let whole = cpu.read_bytes(*guard).unwrap().chunks(2).all(|two| two == GUARD);
            assert!(whole, "{case}: {} wrote into guard band {i}, {guard:?}", op.name());
        }
        for Operand { name, mat, access, .. } in &operands {
            if *access == Access::Read {
                let (_, before) = self.contents.iter().find(|(m, _)| m == mat).expect("every input has contents");
                assert!(cpu.read_bytes(*mat).unwrap() == *before, "{case}: {} changed its input {name}", op.name());
            } else {
                let wanted = wants.iter().any(|want| match want {
                    Want::Numbers(m, _) | Want::Bits(m, _) | Want::Ids(m, _) => m == mat,
                });
                assert!(wanted, "{case}: nobody says what {}'s {name} must hold", op.name());
            }
        }
        for want in wants {
            match want {
                Want::Bits(mat, numbers) => {
                    let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    let got = bits(&cpu.read_f32(*mat).unwrap());
                    assert_eq!(got, bits(numbers), "{case}: {}", op.name());
                }
                Want::Ids(mat, ids) => assert_eq!(cpu.read_u32(*mat).unwrap(), *ids, "{case}: {}", op.name()),
                Want::Numbers(mat, numbers) => {
                    let unit = unit(self.plan.dtype(*mat));
                    let narrow = operands.iter().any(|operand| self.plan.dtype(operand.mat) == DType::Bf16);
                    let operand = operands.iter().find(|operand| operand.mat == *mat).expect("an operand");
                    let what = format!("{case}: {}'s {}", op.name(), operand.name);
                    // Bounds that let everything pass prove nothing.
                    let loosest = if narrow { 0.2 } else { 1e-3 };
                    compare(&what, &cpu.read_f32(*mat).unwrap(), numbers, unit, loosest);
                }
            }
        }
    }
}

/// Every element within its own bound and the rounding of its storage; all bounds together at most `loosest` of the
/// values' length (or of a thousandth an element, where they all but vanish).
#[track_caller]
fn compare(what: &str, got: &[f32], want: &[Num], unit: f64, loosest: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    let (mut slack, mut size) = (0.0, 1e-6 * want.len() as f64);
    for (i, (&got, want)) in got.iter().zip(want).enumerate() {
        let bound = want.e + unit * (want.v.abs() + want.e) + 2e-38;
        let off = (f64::from(got) - want.v).abs();
        // Infinities must be met; a NaN is within no bound.
        let met = off <= bound || f64::from(got) == want.v;
        assert!(met, "{what}: element {i} is {got}, wanted {} ± {bound:.3e}", want.v);
        if want.v.is_finite() {
            slack += bound * bound;
            size += want.v * want.v;
        }
    }
    let relative = (slack / size).sqrt();
    assert!(relative <= loosest, "{what}: bounds of {relative:.1e} relative are too wide to prove anything");
}

/// Unit roundoff of factors stored as `dtype`.
pub(crate) fn unit(dtype: DType) -> f64 {
    if dtype == DType::Bf16 { BF16 } else { F32 }
}
