//! Our numbers against the original's.

use std::path::Path;
use tempest::backend::Device;
use tempest::check;
use tempest::program::DType;

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/golden").join(name)
}

#[test]
fn forward_backward_and_adamw_equal_the_originals() {
    let lines = check::against(&golden("config_a"), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(lines.len(), 4 + 3 * (3 + 2 * 6), "every quantity of the set is compared");
    let failed: Vec<_> = lines.iter().filter(|l| !l.passes()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}
