//! Redis Streams by `redis`: a key for each partition, XADD and XREAD.

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamReadOptions, StreamReadReply};
use redis::{AsyncCommands, AsyncConnectionConfig};
use std::time::Duration;

use super::{ClientError, Protocol, Sender, stream_name};

const FIELD: &str = "v";
/// Entries of each stream that one XREAD gives at most.
const READ_ENTRIES: usize = 1_000;
/// How long an XREAD waits for entries.
const READ_WAIT_MS: usize = 200;
/// An answer that takes longer is an error.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(crate) struct Redis {
    address: String,
}

impl Redis {
    async fn connection(&self) -> Result<MultiplexedConnection, ClientError> {
        let client = redis::Client::open(format!("redis://{}", self.address))
            .map_err(ClientError::from("connecting"))?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_LIMIT));
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        connection.await.map_err(ClientError::from("connecting"))
    }
}

impl Protocol for Redis {
    type Sender = Connection;

    fn at(address: &str) -> Self {
        Self { address: address.to_string() }
    }

    async fn create(&self, streams: u32) -> Result<(), ClientError> {
        // The first XADD makes a stream.
        self.delete(streams).await
    }

    async fn delete(&self, streams: u32) -> Result<(), ClientError> {
        let mut connection = self.connection().await?;
        let keys: Vec<String> = (0..streams).map(stream_name).collect();
        connection.del::<_, ()>(keys).await.map_err(ClientError::from("DEL"))
    }

    async fn sender(&self, _streams: &[u32]) -> Result<Connection, ClientError> {
        Ok(Connection { connection: self.connection().await? })
    }

    async fn consume(
        &self,
        streams: &[u32],
        mut sink: impl FnMut(Option<&[u8]>) -> bool + Send,
    ) -> Result<(), ClientError> {
        let mut connection = self.connection().await?;
        let keys: Vec<String> = streams.iter().copied().map(stream_name).collect();
        let mut last: Vec<String> = vec!["0".to_string(); keys.len()];
        let options = StreamReadOptions::default().count(READ_ENTRIES).block(READ_WAIT_MS);
        loop {
            let reply: Option<StreamReadReply> =
                connection.xread_options(&keys, &last, &options).await.map_err(ClientError::from("XREAD"))?;
            let Some(reply) = reply else {
                if sink(None) {
                    continue;
                }
                return Ok(());
            };
            for key in reply.keys {
                let place = keys.iter().position(|known| *known == key.key);
                for entry in key.ids {
                    if let Some(redis::Value::BulkString(record)) = entry.map.get(FIELD)
                        && !sink(Some(record))
                    {
                        return Ok(());
                    }
                    if let Some(place) = place {
                        last[place] = entry.id;
                    }
                }
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Connection {
    connection: MultiplexedConnection,
}

impl Sender for Connection {
    async fn send(&self, stream: u32, records: Vec<Bytes>) -> Result<(), ClientError> {
        let mut connection = self.connection.clone();
        let key = stream_name(stream);
        let mut pipeline = redis::pipe();
        for record in &records {
            pipeline.cmd("XADD").arg(&key).arg("*").arg(FIELD).arg(record.as_ref()).ignore();
        }
        pipeline.query_async::<()>(&mut connection).await.map_err(ClientError::from("XADD"))
    }
}
