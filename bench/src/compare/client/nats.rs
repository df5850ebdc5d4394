//! NATS JetStream by `async-nats`: a stream with file storage for each partition.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::{self, Context, stream};
use bytes::Bytes;
use futures_util::StreamExt;

use super::{ClientError, Protocol, Sender, stream_name};

/// Messages that a pull asks for.
const PULL_MESSAGES: i64 = 1_000;
/// Without a message for so long, the sink is asked whether to go on.
const QUIET: Duration = Duration::from_millis(200);
/// An acknowledgement that takes longer is an error.
const ACK_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(crate) struct Nats {
    address: String,
}

impl Nats {
    async fn context(&self) -> Result<Context, ClientError> {
        let client = async_nats::connect(&self.address).await.map_err(ClientError::from("connecting"))?;
        Ok(jetstream::ContextBuilder::new()
            .timeout(ACK_LIMIT)
            .ack_timeout(ACK_LIMIT)
            // The load generator bounds what is in flight.
            .backpressure_on_inflight(false)
            .build(client))
    }
}

impl Protocol for Nats {
    type Sender = Connection;

    fn at(address: &str) -> Self {
        Self { address: address.to_string() }
    }

    async fn create(&self, streams: u32) -> Result<(), ClientError> {
        let context = self.context().await?;
        for stream in 0..streams {
            let name = stream_name(stream);
            // A workload that failed has left its own.
            let _ = context.delete_stream(&name).await;
            let config = stream::Config {
                subjects: vec![name.clone()],
                name,
                storage: stream::StorageType::File,
                num_replicas: 1,
                ..stream::Config::default()
            };
            context.create_stream(config).await.map_err(ClientError::from("making a stream"))?;
        }
        Ok(())
    }

    async fn delete(&self, streams: u32) -> Result<(), ClientError> {
        let context = self.context().await?;
        for stream in 0..streams {
            let name = stream_name(stream);
            context.delete_stream(name).await.map_err(ClientError::from("deleting a stream"))?;
        }
        Ok(())
    }

    async fn sender(&self, _streams: &[u32]) -> Result<Connection, ClientError> {
        Ok(Connection { context: self.context().await? })
    }

    async fn consume(
        &self,
        streams: &[u32],
        mut sink: impl FnMut(Option<&[u8]>) -> bool + Send,
    ) -> Result<(), ClientError> {
        let context = self.context().await?;
        let mut all = futures_util::stream::SelectAll::new();
        for stream in streams {
            let stream = context
                .get_stream(stream_name(*stream))
                .await
                .map_err(ClientError::from("finding a stream"))?;
            let config = OrderedConfig { max_batch: PULL_MESSAGES, ..OrderedConfig::default() };
            let consumer =
                stream.create_consumer(config).await.map_err(ClientError::from("making a consumer"))?;
            all.push(consumer.messages().await.map_err(ClientError::from("subscribing"))?);
        }
        loop {
            match tokio::time::timeout(QUIET, all.next()).await {
                Err(_) if sink(None) => {}
                Err(_) | Ok(None) => return Ok(()),
                Ok(Some(message)) => {
                    let message = message.map_err(ClientError::from("reading"))?;
                    if !sink(Some(&message.payload)) {
                        return Ok(());
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Connection {
    context: Context,
}

impl Sender for Connection {
    async fn send(&self, stream: u32, records: Vec<Bytes>) -> Result<(), ClientError> {
        // The protocol has no batches, and workloads with them are not run.
        for record in records {
            let taken = self.context.publish(stream_name(stream), record).await;
            taken.map_err(ClientError::from("publishing"))?.await.map_err(ClientError::from("publishing"))?;
        }
        Ok(())
    }
}
