//! The `ringmain` command.
#![forbid(unsafe_code)]
fn main() {}
