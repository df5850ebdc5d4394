//! A minimal client of the Kafka wire protocol: producer, consumer, group consumer and
//! administration, on plain tokio.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use ringmain_client::config::{ClientConfig, ProducerConfig};
//! use ringmain_client::producer::ProducerRecord;
//! use ringmain_client::{Client, Producer};
//!
//! let client = Client::connect(&["127.0.0.1:9092".to_owned()], ClientConfig::default()).await?;
//! let producer = Producer::new(client, ProducerConfig::default()).await?;
//! let record = ProducerRecord {
//!     value: Some("hello".into()),
//!     ..ProducerRecord::default()
//! };
//! let delivery = producer.send("greetings", record).await?;
//! println!("at offset {:?}", delivery.wait().await?);
//! # Ok(())
//! # }
//! ```
//!
//! Everything runs on one thread or many; background work is spawned with [`tokio::spawn`] and
//! ends when what it belongs to is dropped. Every bound is a field of a structure in [`config`].
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
pub use connection::Connection;
pub use consumer::Consumer;
pub use group::GroupConsumer;
pub use producer::Producer;
