//! Kernels as the compiler of this crate sees them: typed signatures, and images per device.
//!
//! The signatures are made by the build from the declarations in `kernels/`, so that a wrong argument is a compile
//! error, and checked against the parameters in the compiled PTX.

use crate::raw::gpu::Params;
use std::marker::PhantomData;

/// The stored number type of activations, the residual stream and the matmuls' weights: f16 or bf16.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Store {}

/// An address in device memory that a kernel reads; null where there is nothing.
#[repr(transparent)]
pub(crate) struct Ptr<T>(u64, PhantomData<*const T>);

/// An address in device memory that a kernel writes; null where there is nothing.
#[repr(transparent)]
pub(crate) struct PtrMut<T>(u64, PhantomData<*mut T>);

macro_rules! address {
    ($name:ident) => {
        impl<T> Clone for $name<T> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<T> Copy for $name<T> {}

        impl<T> $name<T> {
            /// The null pointer.
            pub(crate) const NULL: Self = $name(0, PhantomData);

            /// The pointer to this address.
            pub(crate) fn at(address: u64) -> Self {
                $name(address, PhantomData)
            }
        }
    };
}
address!(Ptr);
address!(PtrMut);

impl<T> PtrMut<T> {
    /// For a kernel that reads what another wrote.
    pub(crate) fn read(self) -> Ptr<T> {
        Ptr(self.0, PhantomData)
    }
}

/// A kernel, by its place in [`KERNELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// As in its file.
    pub(crate) name: &'static str,
    /// Place in [`FAMILIES`].
    pub(crate) family: usize,
    /// Threads of a block.
    pub(crate) threads: u32,
    /// Blocks that one multiprocessor is to hold at least.
    pub(crate) min_blocks: u32,
    /// Dynamic shared memory of a block.
    pub(crate) shared_bytes: u32,
    /// What of the result a block makes.
    pub(crate) block: Block,
}

/// Rows and columns of its result that a block of a kernel makes; zeros where the launcher divides the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) rows: u32,
    pub(crate) cols: u32,
    /// Whether the grid's x counts columns, and y rows.
    pub(crate) cols_first: bool,
}

/// A file of kernels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    /// `mma_linear` of `kernels/mma/linear.cu`.
    pub(crate) name: &'static str,
    /// Places in [`KERNELS`].
    pub(crate) kernels: &'static [usize],
    /// The only compute capability that it was compiled for; none where every card's.
    pub(crate) target: Option<u32>,
}

/// What was compiled of a family for one stored dtype.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// PTX that old drivers read too; empty where the build had no compiler, or the family is for one target.
    pub(crate) ptx: Packed,
    /// Machine code, by compute capability.
    pub(crate) cubins: &'static [(u32, Packed)],
}

/// A file that the build has packed, with zlib.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed(&'static [u8]);

impl Packed {
    #[cfg(test)]
    pub(crate) const EMPTY: Self = Packed(b"");

    /// As it was.
    pub(crate) fn unpack(self) -> Vec<u8> {
        miniz_oxide::inflate::decompress_to_vec_zlib(self.0).expect("the build has packed it")
    }
}

/// A kernel and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Place in [`KERNELS`].
    pub(crate) kernel: usize,
    /// Arguments of the kernel, in its order.
    pub(crate) params: Params,
}

impl Call {
    fn new(kernel: usize) -> Self {
        Call { kernel, params: Params::default() }
    }

    fn push<T: Argument>(&mut self, value: &T) {
        let mut bytes = Vec::with_capacity(size_of::<T>());
        value.append(&mut bytes);
        debug_assert_eq!(bytes.len(), size_of::<T>());
        self.params.push(&bytes, align_of::<T>());
    }

    /// What of its result a block makes.
    pub(crate) fn block(&self) -> Block {
        KERNELS[self.kernel].block
    }

    /// Over as many blocks as make rows and columns of its result.
    pub(crate) fn cover(self, rows: usize, cols: usize) -> Launch {
        let Block { rows: block_rows, cols: block_cols, cols_first } = self.block();
        let (down, across) = (blocks(rows, block_rows), blocks(cols, block_cols));
        self.over(if cols_first { [across, down, 1] } else { [down, across, 1] })
    }

    /// Over as many blocks as make so many rows, or elements.
    pub(crate) fn cover_rows(self, rows: usize) -> Launch {
        self.cover(rows, 1)
    }

    /// Over as many blocks as make `rows` for each of `count` others, one after another.
    pub(crate) fn cover_each(self, count: u32, rows: usize) -> Launch {
        let blocks = count * blocks(rows, self.block().rows);
        self.over([blocks, 1, 1])
    }

    /// Over one block.
    pub(crate) fn alone(self) -> Launch {
        self.over([1, 1, 1])
    }

    /// With a grid of blocks it is a launch.
    pub(crate) fn over(self, grid: [u32; 3]) -> Launch {
        Launch { call: self, grid }
    }
}

/// Blocks of `each` that cover `n`.
fn blocks(n: usize, each: u32) -> u32 {
    u32::try_from(n.div_ceil(each as usize)).expect("the plan's sizes are below 2³²")
}

/// A call over a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Launch {
    /// The kernel and its arguments.
    pub(crate) call: Call,
    /// Blocks in x, y and z.
    pub(crate) grid: [u32; 3],
}

impl From<Launch> for Vec<Launch> {
    fn from(launch: Launch) -> Self {
        vec![launch]
    }
}

impl Launch {
    /// Number of blocks.
    pub(crate) fn blocks(&self) -> u32 {
        self.grid.iter().product()
    }

    /// The kernel's name.
    pub(crate) fn name(&self) -> &'static str {
        KERNELS[self.call.kernel].name
    }
}

/// What a kernel takes, as bytes in the order in which C lays them out; structs have no padding (the build refuses it).
trait Argument {
    fn append(&self, bytes: &mut Vec<u8>);
}

impl<T> Argument for Ptr<T> {
    fn append(&self, bytes: &mut Vec<u8>) {
        self.0.append(bytes);
    }
}

impl<T> Argument for PtrMut<T> {
    fn append(&self, bytes: &mut Vec<u8>) {
        self.0.append(bytes);
    }
}

impl<T: Argument, const N: usize> Argument for [T; N] {
    fn append(&self, bytes: &mut Vec<u8>) {
        self.iter().for_each(|item| item.append(bytes));
    }
}

/// A choice that a kernel takes by its number.
pub(crate) trait Code {}

macro_rules! plain {
    ($($number:ty),*) => {
        $(impl Argument for $number {
            fn append(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(bytemuck::bytes_of(self));
            }
        })*
    };
}
plain!(u8, u16, u32, u64, f32);

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
