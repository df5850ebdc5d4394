//! The load generator: few threads, many connections, open loop.

pub(crate) mod recorder;
pub(crate) mod schedule;
mod payload;
mod fetch_session;
mod keys;
mod socket;
