//! The Ringmain broker: a message log that speaks the Kafka wire protocol.
//!
//! [`Running`] is a whole broker in a process; the `ringmain` command runs one.
#![forbid(unsafe_code)]

mod admin;
mod api;
mod blocking;
mod broker;
mod clock;
mod cold_reads;
mod config;
mod fetch_sessions;
#[cfg(feature = "fuzz")]
pub mod fuzzing;
mod group;
mod handler;
#[cfg(any(test, feature = "bench"))]
pub mod hot_paths;
mod line_budget;
mod metadata;
mod producer_ids;
mod quotas;
mod records;
mod replay;
mod request_memory;
mod shard;
mod traffic;
mod wire;

pub use broker::{Running, StartError};
pub use config::{Config, ConfigError, Endpoint, Key, TimestampType};
