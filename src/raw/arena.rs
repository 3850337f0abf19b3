//! The memory of a CPU run: one allocation a region, handed out to an op by its list of operands.

use crate::program::{DType, Mat, Op, Operand, Plan};
use bytemuck::Pod;
use std::cell::{Cell, UnsafeCell};

/// A cache line; regions are whole numbers of them, so every element type is aligned.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Every region of a plan, zeroed.
pub(crate) struct Arena {
    regions: Vec<Region>,
}

struct Region {
    lines: UnsafeCell<Box<[Line]>>,
    dtype: DType,
    len: usize,
}

// SAFETY: the cells are only reached through `Operands`, which borrows the arena exclusively, or through `&self` reads
// (`bytes`) that cannot coexist with it.
unsafe impl Sync for Arena {}

impl Arena {
    /// Allocates what the plan asks for.
    pub(crate) fn new(plan: &Plan) -> Self {
        let regions = plan
            .regions()
            .iter()
            .map(|r| {
                let lines = (r.len * r.dtype.bytes()).div_ceil(size_of::<Line>());
                // `alloc_zeroed`: pages that no program touches never become real memory.
                let zeroed = Box::<[Line]>::new_zeroed_slice(lines);
                // SAFETY: all zeros is a value of an array of bytes.
                let lines = UnsafeCell::new(unsafe { zeroed.assume_init() });
                Region { lines, dtype: r.dtype, len: r.len }
            })
            .collect();
        Arena { regions }
    }

    /// A matrix's bytes.
    #[track_caller]
    pub(crate) fn bytes(&self, mat: Mat) -> &[u8] {
        let (start, len) = self.locate(mat);
        // SAFETY: in bounds by `locate`; `&self` excludes `Operands` and `bytes_mut`, which borrow mutably.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// A matrix's bytes, to be changed.
    #[track_caller]
    pub(crate) fn bytes_mut(&mut self, mat: Mat) -> &mut [u8] {
        let (start, len) = self.locate(mat);
        // SAFETY: in bounds by `locate`; the borrow of the arena is exclusive.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Hands out an op's operands.
    #[track_caller]
    pub(crate) fn open(&mut self, op: &Op) -> Operands<'_> {
        let list = op.operands();
        assert!(list.len() <= 64, "{}: {} operands", op.name(), list.len());
        for (i, operand) in list.iter().enumerate() {
            self.locate(operand.mat);
            let alone = list.iter().enumerate().all(|(j, other)| i == j || !operand.mat.overlaps(other.mat));
            assert!(!operand.is_output() || alone, "{}: {} is written and shared", op.name(), operand.name);
        }
        Operands { arena: self, list, taken: Cell::new(0) }
    }

    #[track_caller]
    fn locate(&self, mat: Mat) -> (*mut u8, usize) {
        let region = &self.regions[mat.region.index()];
        assert!(mat.range().end <= region.len, "{mat:?} reaches past its region of {} elements", region.len);
        let width = region.dtype.bytes();
        // SAFETY: the offset lies inside the allocation, by the assertion; the Box is never replaced.
        let start = unsafe { (*region.lines.get()).as_mut_ptr().cast::<u8>().add(mat.offset * width) };
        (start, mat.len() * width)
    }
}

/// One op's operands. A matrix that the op declares as read may be read any number of times; one that it declares as
/// written is handed out once. Nothing declared as written overlaps anything else, so the slices never alias.
pub(crate) struct Operands<'a> {
    arena: &'a Arena,
    list: Vec<Operand>,
    taken: Cell<u64>,
}

impl<'a> Operands<'a> {
    /// The stored dtype of a matrix.
    pub(crate) fn dtype(&self, mat: Mat) -> DType {
        self.arena.regions[mat.region.index()].dtype
    }

    /// A matrix that the op reads.
    #[track_caller]
    pub(crate) fn get<T: Pod>(&self, mat: Mat) -> &'a [T] {
        let declared = self.list.iter().any(|operand| operand.mat == mat && !operand.is_output());
        assert!(declared, "{mat:?} is not declared as read");
        self.check_type::<T>(mat);
        let (start, _) = self.arena.locate(mat);
        // SAFETY: in bounds and aligned (lines of 64 bytes, elements of T's size); declared as read, and no declared
        // write overlaps it, so no `&mut` to these elements exists while the op's borrow of the arena lasts.
        unsafe { std::slice::from_raw_parts(start.cast::<T>(), mat.len()) }
    }

    /// A matrix that the op writes or updates; once.
    #[track_caller]
    pub(crate) fn take<T: Pod>(&self, mat: Mat) -> &'a mut [T] {
        let position = self.list.iter().position(|operand| operand.mat == mat && operand.is_output());
        let position = position.unwrap_or_else(|| panic!("{mat:?} is not declared as written"));
        let bit = 1 << position;
        assert!(self.taken.get() & bit == 0, "{mat:?} is taken twice");
        self.taken.set(self.taken.get() | bit);
        self.check_type::<T>(mat);
        let (start, _) = self.arena.locate(mat);
        // SAFETY: in bounds and aligned as in `get`; declared as written, overlapping no other operand (checked in
        // `open`) and handed out once, so this is the only reference to these elements.
        unsafe { std::slice::from_raw_parts_mut(start.cast::<T>(), mat.len()) }
    }

    #[track_caller]
    fn check_type<T: Pod>(&self, mat: Mat) {
        let dtype = self.dtype(mat);
        assert!(size_of::<T>() == dtype.bytes() && align_of::<T>() <= size_of::<T>(), "{mat:?} is stored as {dtype:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Persistence, Plan};

    fn op() -> (Plan, Op, [Mat; 2]) {
        let mut plan = Plan::new();
        let region = plan.region("ids", DType::U32, Persistence::Kept);
        let [masked, t] = [plan.alloc(region, 2, 3), plan.alloc(region, 2, 1)];
        let order = crate::program::TimeOrder::Original;
        (plan, crate::program::SampleTime { masked, order, timesteps: 4, t }.into(), [masked, t])
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (plan, op, [masked, t]) = op();
        let mut arena = Arena::new(&plan);
        let operands = arena.open(&op);
        assert_eq!(operands.get::<u32>(masked), [0; 6]);
        operands.take::<u32>(t).copy_from_slice(&[7, 8]);
        assert_eq!(bytemuck::cast_slice::<_, u32>(arena.bytes(t)), [7, 8]);
    }

    #[test]
    #[should_panic(expected = "taken twice")]
    fn an_output_is_handed_out_once() {
        let (plan, op, [_, t]) = op();
        let mut arena = Arena::new(&plan);
        let operands = arena.open(&op);
        let (_one, _two) = (operands.take::<u32>(t), operands.take::<u32>(t));
    }

    #[test]
    #[should_panic(expected = "not declared as written")]
    fn an_input_is_not_handed_out_for_writing() {
        let (plan, op, [masked, _]) = op();
        let mut arena = Arena::new(&plan);
        arena.open(&op).take::<u32>(masked);
    }
}
