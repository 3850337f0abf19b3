//! Which GPU tests run on: the virtual one, or with `TEMPEST_TEST_GPU=real` the machine's own.

const VARIABLE: &str = "TEMPEST_TEST_GPU";

/// Whether it is the machine's own.
#[track_caller]
pub(crate) fn is_real() -> bool {
    match std::env::var(VARIABLE).as_deref() {
        Ok("real") => true,
        Ok("virtual" | "") | Err(std::env::VarError::NotPresent) => false,
        other => panic!("{VARIABLE} is {other:?}; real and virtual are known"),
    }
}
