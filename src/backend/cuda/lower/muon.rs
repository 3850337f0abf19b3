//! Muon, which has no kernels yet: an op without launches is refused.

use super::super::call::Launch;
use super::Lowering;
use crate::program::{Gram, MuonMomentum, MuonStep, NewtonSchulz};

impl Lowering<'_> {
    pub(super) fn muon_momentum(&mut self, _: &MuonMomentum) -> Vec<Launch> {
        Vec::new()
    }

    pub(super) fn gram(&mut self, _: &Gram) -> Vec<Launch> {
        Vec::new()
    }

    pub(super) fn newton_schulz(&mut self, _: &NewtonSchulz) -> Vec<Launch> {
        Vec::new()
    }

    pub(super) fn muon_step(&mut self, _: &MuonStep) -> Vec<Launch> {
        Vec::new()
    }
}
