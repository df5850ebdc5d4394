//! Loading peers that speak other protocols than Kafka's, each by a maintained library: the workloads,
//! the schedule and the recorder are those of the load generator.

pub(crate) mod nats;
pub(crate) mod rabbitmq;
pub(crate) mod redis;
pub(crate) mod run;
pub(crate) mod tally;
pub(crate) mod traffic;

use std::future::Future;

use bytes::Bytes;

/// What a library reports.
#[derive(Debug, thiserror::Error)]
#[error("{during}: {what}")]
pub(crate) struct ClientError {
    /// What was done.
    pub(crate) during: &'static str,
    /// What the library said.
    pub(crate) what: String,
}

impl ClientError {
    /// Keeps the text of a library's error.
    pub(crate) fn from<E: std::fmt::Display>(during: &'static str) -> impl Fn(E) -> Self {
        move |error| Self { during, what: error.to_string() }
    }
}

/// A protocol: what it calls a stream stands for a partition.
pub(crate) trait Protocol: Clone + Send + Sync + 'static {
    /// One connection for sending.
    type Sender: Sender;

    /// Knows where the broker is.
    fn at(address: &str) -> Self;
    /// Makes streams `0..streams` that are empty.
    fn create(&self, streams: u32) -> impl Future<Output = Result<(), ClientError>> + Send;
    /// Deletes them.
    fn delete(&self, streams: u32) -> impl Future<Output = Result<(), ClientError>> + Send;
    /// A connection that sends to these streams.
    fn sender(&self, streams: &[u32]) -> impl Future<Output = Result<Self::Sender, ClientError>> + Send;
    /// Gives `sink` every record of these streams, from the first on, until it returns `false`. `sink` is
    /// called with no record when there is none for a while.
    fn consume(
        &self,
        streams: &[u32],
        sink: impl FnMut(Option<&[u8]>) -> bool + Send,
    ) -> impl Future<Output = Result<(), ClientError>> + Send;
}

/// One connection; its clones share it.
pub(crate) trait Sender: Clone + Send + Sync + 'static {
    /// Sends records and waits until each is acknowledged.
    fn send(&self, stream: u32, records: Vec<Bytes>) -> impl Future<Output = Result<(), ClientError>> + Send;
}

/// The name of a stream.
pub(crate) fn stream_name(stream: u32) -> String {
    format!("ringmain-bench-{stream}")
}
