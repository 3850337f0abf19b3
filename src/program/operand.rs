//! What an op reads and writes: the one list that all that is generic about ops goes by.

use super::{DType, Mat};

/// How an op touches a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads it.
    Read,
    /// Writes every element without reading.
    Write,
    /// Reads and writes it.
    Update,
}

/// What an operand may be stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// f32.
    F32,
    /// u32.
    Ids,
    /// Any format of numbers.
    Numbers,
}

impl Kind {
    fn holds(self, dtype: DType) -> bool {
        match self {
            Kind::F32 => dtype == DType::F32,
            Kind::Ids => dtype == DType::U32,
            Kind::Numbers => dtype != DType::U32,
        }
    }
}

/// A matrix that an op touches.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    /// The op's field.
    pub name: &'static str,
    /// Where it lies.
    pub mat: Mat,
    /// What is done to it.
    pub access: Access,
    /// Elements that cross the memory bus.
    pub moved: usize,
    shape: [usize; 2],
    kind: Kind,
}

impl Operand {
    /// Whether the op writes it.
    pub fn is_output(&self) -> bool {
        self.access != Access::Read
    }

    /// What is wrong with it, stored as `dtype`.
    pub(super) fn fault(&self, dtype: DType) -> Option<String> {
        let (name, shape) = (self.name, self.mat.shape());
        if shape != self.shape {
            return Some(format!("{name} is {shape:?}, wanted {:?}", self.shape));
        }
        (!self.kind.holds(dtype)).then(|| format!("{name} is stored as {dtype:?}, wanted {:?}", self.kind))
    }

    /// Few of its elements are touched: this many cross the memory bus.
    pub(super) fn moves(&mut self, elements: usize) {
        self.moved = elements;
    }
}

/// The operands of an op in the making, each with the shape and the kind that it must have.
#[derive(Default)]
pub struct OperandList(pub(super) Vec<Operand>);

impl OperandList {
    /// An input.
    pub(super) fn read(&mut self, name: &'static str, mat: Mat, shape: [usize; 2], kind: Kind) -> &mut Operand {
        self.add(Access::Read, name, mat, shape, kind)
    }

    /// An output.
    pub(super) fn write(&mut self, name: &'static str, mat: Mat, shape: [usize; 2], kind: Kind) -> &mut Operand {
        self.add(Access::Write, name, mat, shape, kind)
    }

    /// Both.
    pub(super) fn update(&mut self, name: &'static str, mat: Mat, shape: [usize; 2], kind: Kind) -> &mut Operand {
        self.add(Access::Update, name, mat, shape, kind)
    }

    /// Any of them.
    pub(super) fn add(
        &mut self,
        access: Access,
        name: &'static str,
        mat: Mat,
        shape: [usize; 2],
        kind: Kind,
    ) -> &mut Operand {
        let moved = if access == Access::Update { 2 * mat.len() } else { mat.len() };
        self.0.push(Operand { name, mat, access, moved, shape, kind });
        self.0.last_mut().expect("just pushed")
    }
}
