//! All that a check found, kernel by kernel and as a file for other programs.

use super::{Agreement, CheckedOp, Line};
use crate::backend::Device;
use crate::backend::cuda::ARGUMENT_KERNELS;
use crate::error::Result;
use crate::files::atomic::{self, Existing};
use crate::program::DType;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// What one check found. These fields are those of its JSON, where a number that is not finite is `null`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Raised when a field changes its meaning or goes.
    pub format: u32,
    /// Version of tempest.
    pub version: &'static str,
    /// See [`Device::record`].
    pub device: Value,
    /// How it stores activations: `f16`.
    pub dtype: String,
    /// Every output of every op that was compared with the reference's.
    pub outputs: Vec<Output>,
    /// Every kernel that was launched, by name.
    pub kernels: BTreeMap<&'static str, Kernel>,
    /// Every quantity that was compared with a golden set's.
    pub goldens: Vec<Line>,
}

/// One output of one op.
#[derive(Clone, Debug, Serialize)]
pub struct Output {
    /// What the op is part of: `train step of preset nano, 2 sequences of 128`.
    pub of: String,
    /// Place of the op in it, from 0.
    pub index: usize,
    /// Name of the op.
    pub op: &'static str,
    /// The kernels that it was launched as, in order.
    pub kernels: Vec<&'static str>,
    /// Region that the output lies in.
    pub region: &'static str,
    /// Its rows and columns.
    pub shape: [usize; 2],
    /// `‖device - reference‖₂ / ‖reference‖₂`; 0 for ids.
    pub error: f64,
    /// The largest error that passes.
    pub tolerance: f64,
    /// The largest error of an element as a share of what it may be off.
    pub element: f64,
    /// Ids that are others, and numbers that are not finite in one and others in the other.
    pub broken: usize,
    /// Whether it agrees.
    pub passes: bool,
}

/// One kernel and what it was checked on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kernel {
    /// How often it was launched.
    pub launches: usize,
    /// Outputs beyond their tolerance of the ops that launch it.
    pub failed: usize,
    /// Of all outputs of the ops that launch it the one nearest to its tolerance or furthest beyond; none of kernels that
    /// compute nothing.
    pub worst: Option<Worst>,
}

/// An output as a share of its tolerance; fields as in [`Output`].
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs, reason = "Output says what they are")]
pub struct Worst {
    /// `error / tolerance`; infinite where something is broken.
    pub ratio: f64,
    pub error: f64,
    pub tolerance: f64,
    pub op: &'static str,
    pub of: String,
}

impl Report {
    /// Of nothing yet.
    pub fn new(device: &Device, described: &str, dtype: DType) -> Self {
        let dtype = device.storage(dtype).acts.to_string();
        let (outputs, kernels, goldens) = Default::default();
        let (version, device) = (env!("CARGO_PKG_VERSION"), device.record(described));
        Report { format: 1, version, device, dtype, outputs, kernels, goldens }
    }

    /// Adds an op of `of`.
    pub fn add(&mut self, of: &str, checked: &CheckedOp) {
        for agreement in &checked.outputs {
            self.outputs.push(Output::new(of, &checked.kernels, agreement));
        }
        let outputs = &self.outputs[self.outputs.len() - checked.outputs.len()..];
        for name in &checked.kernels {
            self.kernels.entry(name).or_default().launches += 1;
        }
        // An op may launch one kernel several times; its outputs are that kernel's once.
        let mut computing: Vec<_> = checked.kernels.iter().filter(|name| !ARGUMENT_KERNELS.contains(name)).collect();
        computing.sort_unstable();
        computing.dedup();
        for name in computing {
            let kernel = self.kernels.get_mut(name).expect("counted above");
            outputs.iter().for_each(|output| kernel.add(output));
        }
    }

    /// Outputs and quantities beyond their tolerance.
    pub fn failed(&self) -> usize {
        let outputs = self.outputs.iter().filter(|output| !output.passes).count();
        outputs + self.goldens.iter().filter(|line| !line.passes()).count()
    }

    /// Writes it as JSON, whole or not at all.
    pub fn write(&self, path: &Path, existing: Existing) -> Result<()> {
        atomic::write(path, "write what was found", existing, |file| {
            serde_json::to_writer_pretty(&mut *file, self)?;
            file.write_all(b"\n")
        })
    }
}

impl Output {
    fn new(of: &str, kernels: &[&'static str], agreement: &Agreement) -> Self {
        let Agreement { difference: d, region, shape } = agreement;
        Output {
            of: of.to_owned(),
            index: d.index,
            op: d.op,
            kernels: kernels.to_vec(),
            region,
            shape: *shape,
            error: d.relative_l2,
            tolerance: d.tolerance(),
            element: d.worst,
            broken: d.broken,
            passes: d.passes(),
        }
    }

    /// The error as a share of the tolerance; infinite where something is broken, or no number.
    pub fn ratio(&self) -> f64 {
        match self.error / self.tolerance {
            _ if self.broken > 0 => f64::INFINITY,
            ratio if ratio.is_nan() => f64::INFINITY,
            ratio => ratio,
        }
    }
}

impl Kernel {
    fn add(&mut self, output: &Output) {
        self.failed += usize::from(!output.passes);
        let ratio = output.ratio();
        if self.worst.as_ref().is_none_or(|worst| ratio > worst.ratio) {
            let Output { of, op, error, tolerance, .. } = output;
            self.worst = Some(Worst { ratio, error: *error, tolerance: *tolerance, op, of: of.clone() });
        }
    }
}
