//! A minimal client of the Kafka wire protocol.
#![forbid(unsafe_code)]

pub mod admin;
mod backoff;
pub mod client;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod consumer;
pub mod error;
pub mod group;
pub mod offsets;
pub mod producer;
pub mod wire;

pub use admin::Admin;
pub use client::Client;
pub use consumer::Consumer;
pub use group::GroupConsumer;
pub use producer::Producer;
