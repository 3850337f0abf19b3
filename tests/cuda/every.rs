//! The check that a user gives a new card: what it launches.

use crate::device::device;
use crate::files;
use std::collections::BTreeSet;
use tempest::check::every_kernel;
use tempest::program::DType;

#[test]
fn a_check_of_no_model_in_particular_launches_every_kernel() {
    let device = device();
    for dtype in [DType::F16, DType::Bf16] {
        let mut launched = BTreeSet::new();
        for trial in every_kernel(device.storage(dtype)).unwrap() {
            launched.extend(trial.kernels(&device).unwrap());
        }
        let suffix = format!("{dtype:?}").to_lowercase();
        let all = files::kernel_names(&suffix);
        let missing: Vec<_> = all.iter().filter(|name| !launched.contains(&name[..])).collect();
        assert!(missing.is_empty() && launched.len() == all.len(), "{dtype:?}: nothing launches {missing:?}");
    }
}
