//! Minimal Kafka-protocol client.
#![forbid(unsafe_code)]
