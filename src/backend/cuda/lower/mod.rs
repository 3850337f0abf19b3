//! Ops to launches: which kernel, over which grid, with which arguments. Nothing here touches the device.
//!
//! An op of matrix products has kernels on several rungs ([`Rung`]): which one is taken depends on shapes, addresses and the
//! [`Target`] alone.

mod attention;
mod average;
mod conv;
mod decode;
mod dense;
mod dropout;
mod embed;
mod guidance;
mod head;
mod latents;
mod linear;
mod muon;
mod noise;
mod noised;
mod norms;
mod optimizer;
mod relaxed;
mod rung;
mod sampling;
mod vectors;

pub use rung::Rung;
pub(super) use rung::Target;

use super::call::{Code, Launch, Ptr, PtrMut, Store};
use crate::config::Temperatures;
use crate::program::{DType, Mat, Mixing, Op, Plan, SamplingParams, StepArgs, StepMetrics, VectorStep, dispatch};

/// Addresses of everything that an op may name.
pub(super) struct Lowering<'a> {
    pub(super) plan: &'a Plan,
    /// Of each region's first element.
    pub(super) regions: &'a [u64],
    /// The current step's arguments.
    pub(super) args: u64,
    /// Memory for partial sums.
    pub(super) workspace: u64,
    /// What of it is asked for, in bytes; it may be more than there is.
    pub(super) wanted: usize,
    /// The table of cosines and sines for (positions, D).
    pub(super) rope: &'a dyn Fn(u32, usize) -> u64,
    /// Corpus, and whether its tokens are two bytes wide.
    pub(super) corpus: Option<(u64, bool)>,
    pub(super) target: Target,
}

/// Bytes that the tensor-core kernels move at once.
const ACCESS: u64 = 16;

impl Lowering<'_> {
    /// An op's launches, in order.
    pub(super) fn lower(&mut self, op: &Op) -> Vec<Launch> {
        dispatch!(op => self.name(op).into())
    }

    /// The step's arguments.
    fn step(&self) -> Ptr<StepArgs> {
        Ptr::at(self.args)
    }

    #[track_caller]
    fn arg<T>(&self, from: impl IntoArgument<T>) -> T {
        from.into_argument(self)
    }

    fn address(&self, mat: Mat) -> u64 {
        self.regions[mat.region.index()] + (mat.offset * self.plan.dtype(mat).bytes()) as u64
    }

    #[track_caller]
    fn typed(&self, mat: Mat, dtypes: &[DType]) -> u64 {
        let dtype = self.plan.dtype(mat);
        assert!(dtypes.contains(&dtype), "{mat:?} is stored as {dtype:?}, the kernels take {dtypes:?}");
        self.address(mat)
    }

    fn rope(&self, positions: u32, head_dim: usize) -> Ptr<[f32; 2]> {
        Ptr::at((self.rope)(positions, head_dim))
    }

    /// Memory for `count` partial sums or ids, `first` of them into the workspace.
    fn partials<T: Operand>(&mut self, first: usize, count: usize) -> PtrMut<T> {
        self.wanted = self.wanted.max((first + count) * 4);
        PtrMut::at(self.workspace + 4 * first as u64)
    }

    /// Whether every row of these matrices can be moved 16 bytes at a time.
    fn vectorizes(&self, mats: &[Mat]) -> bool {
        mats.iter().all(|&mat| {
            let row = mat.cols * self.plan.dtype(mat).bytes();
            self.address(mat).is_multiple_of(ACCESS) && row.is_multiple_of(ACCESS as usize)
        })
    }

    /// The same of those that are there.
    fn vectorizes_any(&self, mats: &[Option<Mat>]) -> bool {
        mats.iter().flatten().all(|&mat| self.vectorizes(&[mat]))
    }

    /// How many bytes of a matrix's rows can be read at a time.
    fn width(&self, mat: Mat) -> Width {
        match () {
            () if self.vectorizes(&[mat]) => Width::Bytes16,
            () if mat.cols.is_multiple_of(2) && self.address(mat).is_multiple_of(4) => Width::Bytes4,
            () => Width::Scalar,
        }
    }

    /// Whether a matrix whose rows may be of any length, and are written in the widest accesses that it allows, begins where
    /// such an access may.
    fn base_suits_rows(&self, mat: Mat) -> bool {
        let row = (mat.cols * self.plan.dtype(mat).bytes()) as u64;
        let access = 1 << row.trailing_zeros().min(ACCESS.trailing_zeros());
        self.address(mat).is_multiple_of(access)
    }
}

/// What the rows of a stored matrix are read by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Bytes16,
    Bytes4,
    /// A number at a time.
    Scalar,
}

/// A size as kernels take it.
#[track_caller]
fn size(n: usize) -> u32 {
    u32::try_from(n).unwrap_or_else(|_| panic!("a size of {n} is beyond 32 bits"))
}

/// What a kernel finds at an operand's address.
trait Operand {
    /// How the plan stores such operands.
    const STORED: &[DType];
}

macro_rules! operands {
    ($($ty:ty: $stored:expr;)*) => {
        $(impl Operand for $ty {
            const STORED: &[DType] = &$stored;
        })*
    };
}

operands! {
    Store: [DType::F16, DType::Bf16];
    f32: [DType::F32];
    u32: [DType::U32];
    StepMetrics: [DType::F32];
    SamplingParams: [DType::F32];
    VectorStep: [DType::F32];
}

/// What a kernel's argument is made of: an operand becomes its address, a size 32 bits, a choice its code; null and the id
/// [`NONE`] stand for what is not there.
trait IntoArgument<T> {
    #[track_caller]
    fn into_argument(self, lowering: &Lowering<'_>) -> T;
}

/// `args!(self, EmbedArgs { x, rows: x.rows })`: an op's arguments, each made of what stands behind its name.
macro_rules! args {
    (@ $lowering:expr, $name:ident) => { $lowering.arg($name) };
    (@ $lowering:expr, $name:ident, $from:expr) => {{
        let from = $from;
        $lowering.arg(from)
    }};
    ($lowering:expr, $args:ident { $($name:ident $(: $from:expr)?),* $(,)? }) => {
        $args { $($name: args!(@ $lowering, $name $(, $from)?)),* }
    };
}
use args;

/// An id that is none.
const NONE: u32 = u32::MAX;

macro_rules! into_argument {
    ($([$($of:tt)*] $from:ty => $to:ty: |$value:ident, $lowering:ident| $made:expr;)*) => {
        $(impl<$($of)*> IntoArgument<$to> for $from {
            fn into_argument(self, $lowering: &Lowering<'_>) -> $to {
                let $value = self;
                $made
            }
        })*
    };
}

into_argument! {
    [T: Operand] Mat => Ptr<T>: |mat, lowering| Ptr::at(lowering.typed(mat, T::STORED));
    [T: Operand] Mat => PtrMut<T>: |mat, lowering| PtrMut::at(lowering.typed(mat, T::STORED));
    [T: Operand] Option<Mat> => Ptr<T>: |mat, lowering| mat.map_or(Ptr::NULL, |mat| lowering.arg(mat));
    [T: Operand] Option<Mat> => PtrMut<T>: |mat, lowering| mat.map_or(PtrMut::NULL, |mat| lowering.arg(mat));
    [T] Ptr<T> => Ptr<T>: |pointer, _lowering| pointer;
    [T] PtrMut<T> => PtrMut<T>: |pointer, _lowering| pointer;
    [T, const N: usize] [T; N] => [T; N]: |structs, _lowering| structs;
    [] Mixing => Mixing: |mixing, _lowering| mixing;
    [] Temperatures => Temperatures: |temperatures, _lowering| temperatures;
    [] usize => u32: |n, _lowering| size(n);
    [] usize => u64: |n, _lowering| n as u64;
    [] Option<u32> => u32: |id, _lowering| id.unwrap_or(NONE);
    [] u32 => u32: |n, _lowering| n;
    [] u64 => u64: |n, _lowering| n;
    [] f32 => f32: |x, _lowering| x;
    [C: Code + From<V>, V] V => C: |choice, _lowering| choice.into();
}
