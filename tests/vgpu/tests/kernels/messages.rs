//! `printf` on the device.

use crate::common::driver;
use crate::harness::harness;

#[test]
fn printf_formats_as_c_does() {
    let b = harness("messages");
    run!(b, print_kinds(&-42i32, &2.5f64, &0u64), 1, 32);
    let reports = driver().reports();
    let ours = reports.iter().rfind(|report| report["kernel"] == "print_kinds").unwrap();
    let mut lines: Vec<&str> = ours["stdout"].as_array().unwrap().iter().filter_map(|l| l.as_str()).collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "float 2.500000 2.500e+00 2.5 width [    2.50]",
            "int -42 hex ffffffd6 char A percent %",
            "long -360777252864 unsigned 42 text inside",
            "thread 0 of block 0",
            "thread 1 of block 0",
            "thread 2 of block 0",
        ]
    );
}
