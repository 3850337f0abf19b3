//! What an op says of itself, and all that is generic about ops goes by: what it reads and writes, its products, its errors.

use super::{DType, Mat, Plan, StepMetrics};

/// How an op touches a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The op reads it.
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
    fn fault(&self, dtype: DType) -> Option<String> {
        let (name, shape) = (self.name, self.mat.shape());
        if shape != self.shape {
            return Some(format!("{name} is {shape:?}, wanted {:?}", self.shape));
        }
        (!self.kind.holds(dtype)).then(|| format!("{name} is stored as {dtype:?}, wanted {:?}", self.kind))
    }
}

/// What was just declared, if it is there.
pub(super) struct Declared<'a>(Option<&'a mut Operand>);

impl Declared<'_> {
    /// Few of its elements are touched: this many cross the memory bus.
    pub(super) fn moves(self, elements: usize) {
        if let Some(operand) = self.0 {
            operand.moved = elements;
        }
    }
}

/// A matrix product `[rows, inner] × [inner, cols]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Of the first factor.
    pub rows: usize,
    /// Terms of a sum.
    pub inner: usize,
    /// Of the second factor.
    pub cols: usize,
    /// How much of it is wanted: less than 1 under a causal mask.
    pub share: f64,
    /// The stored activations and gradients in it.
    pub factors: Vec<Mat>,
}

impl Product {
    /// Multiplications and additions.
    pub fn flops(&self) -> f64 {
        2.0 * self.rows as f64 * self.inner as f64 * self.cols as f64 * self.share
    }
}

/// All that is to be known of an op but how it is computed.
pub struct Contract {
    /// Every matrix that it touches, and how: backends hand out memory by this list; lockstep compares by it.
    pub operands: Vec<Operand>,
    /// Matrix products that it cannot avoid.
    pub products: Vec<Product>,
    /// Whether all devices compute the same bits: what is drawn, masked and committed is no matter of rounding.
    pub is_exact: bool,
    /// Whether it reads the corpus.
    pub reads_corpus: bool,
    /// T and D of the table of RoPE's angles that it reads.
    pub rope: Option<(u32, usize)>,
    /// What tells two ops of one name apart at a glance, where it is not the columns of one product.
    pub detail: String,
    /// How often it rounds to the stored dtype on the way to an output.
    pub roundings: f64,
    /// Relative error of an output beyond that, in units of the stored dtype's rounding, for reasons that
    /// [`lockstep`](crate::backend::lockstep) gives. `wide`: a factor is stored in more bits than products are made in.
    pub units: fn(wide: bool, output: DType) -> f64,
    /// Whether its outputs, apart from ids, are numbers that each mean something else, and not elements of a matrix.
    pub are_scalars: bool,
    /// Whether its sums are taken in double precision.
    pub sums_in_double: bool,
    /// What is wrong with it that its operands' shapes cannot say.
    fault: Option<String>,
}

impl Default for Contract {
    fn default() -> Self {
        Contract {
            operands: Vec::new(),
            products: Vec::new(),
            is_exact: false,
            reads_corpus: false,
            rope: None,
            detail: String::new(),
            roundings: 1.0,
            units: |wide, _| f64::from(wide),
            are_scalars: false,
            sums_in_double: false,
            fault: None,
        }
    }
}

/// An operand has the shape and the kind that it must have: they are compared where a program is written.
impl Contract {
    /// Declares an input; nothing where it is absent.
    pub(super) fn read(
        &mut self,
        name: &'static str,
        mat: impl Into<Option<Mat>>,
        shape: [usize; 2],
        kind: Kind,
    ) -> Declared<'_> {
        self.add(Access::Read, name, mat, shape, kind)
    }

    /// Declares an output.
    pub(super) fn write(
        &mut self,
        name: &'static str,
        mat: impl Into<Option<Mat>>,
        shape: [usize; 2],
        kind: Kind,
    ) -> Declared<'_> {
        self.add(Access::Write, name, mat, shape, kind)
    }

    /// Declares an operand that is read and written.
    pub(super) fn update(
        &mut self,
        name: &'static str,
        mat: impl Into<Option<Mat>>,
        shape: [usize; 2],
        kind: Kind,
    ) -> Declared<'_> {
        self.add(Access::Update, name, mat, shape, kind)
    }

    /// Any of them.
    pub(super) fn add(
        &mut self,
        access: Access,
        name: &'static str,
        mat: impl Into<Option<Mat>>,
        shape: [usize; 2],
        kind: Kind,
    ) -> Declared<'_> {
        let Some(mat) = mat.into() else { return Declared(None) };
        let moved = if access == Access::Update { 2 * mat.len() } else { mat.len() };
        self.operands.push(Operand { name, mat, access, moved, shape, kind });
        Declared(self.operands.last_mut())
    }

    /// The ring of a step's metrics, of which `moved` numbers cross the memory bus.
    pub(super) fn metrics(&mut self, access: Access, mat: Mat, moved: usize) {
        self.add(access, "metrics", mat, [mat.rows, StepMetrics::COLS], Kind::F32).moves(moved);
    }

    /// All of a matrix times another of `cols` columns.
    pub(super) fn product(&mut self, x: Mat, cols: usize) {
        self.products.push(Product { rows: x.rows, inner: x.cols, cols, share: 1.0, factors: vec![x] });
    }

    /// What must hold beside that, or why the op cannot be.
    pub(super) fn require(&mut self, holds: bool, fault: impl FnOnce() -> String) {
        if !holds && self.fault.is_none() {
            self.fault = Some(fault());
        }
    }

    pub(super) fn whole_sequences(&mut self, rows: usize, positions: usize) {
        self.require(rows.is_multiple_of(positions), || format!("{rows} rows are not whole sequences of {positions}"));
    }

    pub(super) fn even_heads(&mut self, [rows, width]: [usize; 2], positions: u32, heads: u32) {
        self.whole_sequences(rows, positions as usize);
        self.require(width.is_multiple_of(2 * heads as usize), || {
            format!("{heads} heads do not divide {width} columns into even parts")
        });
    }

    /// What makes the op unfit to be run: an operand's shape or dtype, or one that is written and touched as another too.
    pub(super) fn fault(self, plan: &Plan) -> Option<String> {
        let list = &self.operands;
        let wrong = list.iter().find_map(|operand| operand.fault(plan.dtype(operand.mat)));
        let overlap = || {
            let outputs = list.iter().enumerate().filter(|(_, operand)| operand.is_output());
            let mut pairs = outputs.flat_map(|(i, a)| list.iter().enumerate().map(move |(j, b)| (i != j, a, b)));
            let (_, a, b) = pairs.find(|(differ, a, b)| *differ && a.mat.overlaps(b.mat))?;
            Some(format!("{} {:?} overlaps {} {:?}", a.name, a.mat, b.name, b.mat))
        };
        wrong.or_else(overlap).or(self.fault)
    }
}
