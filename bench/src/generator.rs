//! The load generator: few threads, many connections, open loop.

mod fetch_session;
mod keys;
mod lane;
mod payload;
mod read_back;
mod reader;
pub(crate) mod recorder;
pub(crate) mod schedule;
mod socket;
mod span;
mod topics;
pub(crate) mod usage;
mod worker;
