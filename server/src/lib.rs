//! The Ringmain broker.
#![forbid(unsafe_code)]
