//! What gives arbitrary bytes and arbitrary requests to the broker, for `scripts/fuzz` and the tests: one function
//! for each way in. Each panics if the broker does, or does what it must not. With the feature `fuzz` only, and no
//! part of the public interface.

mod drawn;
mod handlers;
mod messages;
mod session;

pub(crate) use messages::Shape;

/// A way in: its name and what takes the input.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// That of the directory of its corpus.
    pub name: &'static str,
    /// Takes any bytes; panics if something is wrong with the broker.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 2] =
    [Target { name: "request", run: messages::run }, Target { name: "handler", run: handlers::run }];
