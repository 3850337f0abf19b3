//! Muon, which runs on the CPU alone.

use crate::device::device;
use crate::watch::Watch;
use std::sync::Arc;
use tempest::program::{Builder, Gram, Persistence, Plan, Stack};

pub(crate) fn cases(watch: &mut Watch) {
    let mut plan = Plan::new();
    let stored = plan.region("stored", watch.dtype(), Persistence::Kept);
    let mut b = Builder::new(&mut plan, "muon");
    let [x, out] = [(); 2].map(|()| Stack { all: b.alloc(stored, 16, 8), matrices: 2 });
    b.push(Gram { x, terms: None, out });
    let program = b.finish();
    let refused = device().open(Arc::new(plan)).unwrap().prepare(&program).unwrap_err();
    assert_eq!(refused.to_string(), "gram has no kernels for a GPU yet; use --device cpu");
}
