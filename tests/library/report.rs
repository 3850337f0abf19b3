//! What a check found, kernel by kernel.

use tempest::backend::{Device, Difference};
use tempest::check::{Agreement, CheckedOp, Report};
use tempest::program::DType;

/// An op of these kernels whose one output is off by so much, within a tolerance of 1e-4.
fn op(kernels: &[&'static str], relative_l2: f64, broken: usize) -> CheckedOp {
    let none = Difference {
        index: 0,
        op: "qkv",
        operand: "y",
        relative_l2,
        rounding: 0.0,
        roundings: 1.0,
        floor: 1e-4,
        norm: 1.0,
        max_abs: 0.0,
        worst: 0.0,
        broken,
    };
    let agreement = Agreement { difference: none, region: "activations", shape: [1, 1] };
    CheckedOp { kernels: kernels.to_vec(), outputs: vec![agreement] }
}

#[test]
fn a_kernel_is_as_good_as_its_worst_output() {
    let mut report = Report::new(&Device::Cpu, "a card", DType::F16);
    report.add("a", &op(&["next_step", "qkv"], 2e-5, 0));
    report.add("b", &op(&["next_step", "qkv", "qkv", "reduce"], 5e-5, 0));
    report.add("c", &op(&["next_step", "qkv"], 1e-5, 0));
    let worst = |report: &Report, name| report.kernels[name].worst.as_ref().map(|w| (w.ratio, w.of.clone()));
    let launches = |name| report.kernels[name].launches;
    assert_eq!([launches("qkv"), launches("reduce"), launches("next_step")], [4, 1, 3]);
    assert_eq!(worst(&report, "qkv"), Some((0.5, "b".into())));
    assert_eq!((worst(&report, "next_step"), report.failed()), (None, 0));
    // What is no number, or another id, is worse than whatever is.
    report.add("d", &op(&["qkv"], 3.0, 0));
    report.add("e", &op(&["qkv"], f64::NAN, 0));
    report.add("f", &op(&["reduce"], 0.0, 1));
    assert_eq!(worst(&report, "qkv"), Some((f64::INFINITY, "e".into())));
    assert_eq!(worst(&report, "reduce"), Some((f64::INFINITY, "f".into())));
    assert_eq!((report.kernels["qkv"].failed, report.kernels["reduce"].failed, report.failed()), (2, 1, 3));
}
