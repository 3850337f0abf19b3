//! The `tempest` command.
fn main() {}
