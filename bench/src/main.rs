//! The `ringmain-bench` command.
#![forbid(unsafe_code)]
fn main() {}
