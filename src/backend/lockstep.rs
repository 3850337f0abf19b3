//! Verification is a loop: two backends run one program op by op, each op on the reference's inputs.

use super::Backend;
use crate::error::Result;
use crate::program::{Access, Program, StepArgs};

/// How one output of one op differs between two backends.
#[derive(Clone, Debug)]
pub struct Difference {
    /// Position in the program.
    pub index: usize,
    /// The op's name.
    pub op: &'static str,
    /// Position in the op's operands.
    pub operand: usize,
    /// `‖a - b‖₂ / ‖b‖₂` (0 where both are 0).
    pub relative_l2: f64,
    /// Largest `|a - b|`.
    pub max_abs: f64,
    /// Elements that are not finite in one and differ in the other.
    pub broken: usize,
}

/// Runs `program` on both backends and compares every output of every op. Before each op the device gets the
/// reference's inputs, so that an error is named where it arises.
pub fn lockstep(
    reference: &mut dyn Backend,
    device: &mut dyn Backend,
    program: &Program,
    args: &StepArgs,
) -> Result<Vec<Difference>> {
    let mut differences = Vec::new();
    for (index, op) in program.ops.iter().enumerate() {
        let operands = op.operands();
        for (mat, _) in operands.iter().filter(|(_, access)| *access != Access::Write) {
            let bytes = reference.read_bytes(*mat)?;
            device.write_bytes(*mat, &bytes)?;
        }
        reference.run_op(op, args)?;
        device.run_op(op, args)?;
        for (operand, (mat, _)) in operands.iter().enumerate().filter(|(_, (_, access))| *access != Access::Read) {
            let (want, got) = (reference.read_f32(*mat)?, device.read_f32(*mat)?);
            differences.push(difference(index, op.name(), operand, &got, &want));
        }
    }
    Ok(differences)
}

fn difference(index: usize, op: &'static str, operand: usize, got: &[f32], want: &[f32]) -> Difference {
    let (mut square, mut norm, mut max_abs, mut broken) = (0.0, 0.0, 0.0_f64, 0);
    for (&a, &b) in got.iter().zip(want) {
        if !(a.is_finite() && b.is_finite()) {
            broken += usize::from(a.to_bits() != b.to_bits());
            continue;
        }
        let d = f64::from(a) - f64::from(b);
        square += d * d;
        norm += f64::from(b) * f64::from(b);
        max_abs = max_abs.max(d.abs());
    }
    let relative_l2 = if square == 0.0 { 0.0 } else { (square / norm).sqrt() };
    Difference { index, op, operand, relative_l2, max_abs, broken }
}
