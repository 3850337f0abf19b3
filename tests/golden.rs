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

/// As far as a float32 implementation may be from the set's double precision; the set's own in float32 is three to ten times
/// nearer. Every weight moves by at most lr a step, so that two results are at most 2·lr·steps apart.
#[test]
fn an_autoregressive_model_equals_its_golden() {
    let lines = check::against(&golden("ar"), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(lines.len(), 4 + 3 * (2 + 2 * 6), "every quantity of the set is compared");
    for line in &lines {
        let close = match &line.what[..] {
            "logits" => line.max_abs <= 1e-5,
            // Costs of up to 10 nats, to 2e-6 of each.
            "per-token loss" => line.max_abs <= 2e-6 * 10.0,
            "loss" | "losses before and after 5 steps" => line.max_abs <= 2e-6,
            what if what.starts_with("gradient of") => line.relative <= 1e-5,
            _ => line.max_abs <= 1e-6,
        };
        assert!(line.passes() && close, "{line:?}");
    }
}

/// As for an autoregressive model, whose weights these are: what a float32 implementation may be from double precision.
#[test]
fn a_model_of_blocks_equals_its_golden() {
    let lines = check::against(&golden("block"), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(lines.len(), 3 * 5 + 2 + 2 * 6, "every quantity of the set is compared");
    for line in &lines {
        let what = line.what.split_once(": ").unwrap().1;
        let close = match what {
            "logits" => line.max_abs <= 1e-5,
            // Costs of up to 10 nats, to 2e-6 of each.
            "per-token loss" | "per-token loss with everything masked" => line.max_abs <= 2e-6 * 10.0,
            "loss" | "terms of the blocks" => line.relative <= 1e-6,
            what if what.starts_with("gradient of") => line.relative <= 1e-5,
            _ => false,
        };
        assert!(line.passes() && close, "{line:?}");
    }
}

/// As far as a float32 implementation may be from the set's double precision.
#[test]
fn noise_of_other_symbols_equals_its_golden() {
    let lines = check::against(&golden("uniform_net"), DType::F32, &Device::Cpu).unwrap();
    assert_eq!(lines.len(), 3 + 2 * (3 + 6), "every quantity of the set is compared");
    for line in &lines {
        let close = match &line.what[..] {
            "logits" => line.max_abs <= 1e-5,
            what if what.starts_with("gradient of") => line.relative <= 1e-5,
            _ => line.relative <= 2e-6,
        };
        assert!(line.passes() && close, "{line:?}");
    }
}

/// As far as a float32 implementation may be from the sets' double precision.
#[test]
fn gpts_with_biases_and_without_equal_their_goldens() {
    for (name, tensors) in [("gpt_bias", 3 + 2 * 12 + 1), ("gpt_nobias", 3 + 6)] {
        let lines = check::against(&golden(name), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(lines.len(), 4 + 3 * tensors, "every quantity of {name} is compared");
        for line in &lines {
            let close = match &line.what[..] {
                "logits" => line.max_abs <= 1e-5,
                // Costs of up to 20 nats, to 2e-6 of each.
                "per-token loss" => line.max_abs <= 2e-6 * 20.0,
                "loss" | "losses before and after 5 steps" => line.max_abs <= 2e-6,
                what if what.starts_with("gradient of") => line.relative <= 1e-5,
                _ => line.max_abs <= 1e-6,
            };
            assert!(line.passes() && close, "{name}: {line:?}");
        }
    }
}
