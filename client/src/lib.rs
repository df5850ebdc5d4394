//! A minimal client of the Kafka wire protocol.
#![forbid(unsafe_code)]

mod backoff;
pub mod client;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod error;
pub mod offsets;
pub mod wire;
