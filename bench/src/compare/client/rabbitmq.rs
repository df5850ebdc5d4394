//! RabbitMQ streams by `rabbitmq-stream-client`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use rabbitmq_stream_client::types::{Message, OffsetSpecification};
use rabbitmq_stream_client::{Environment, NoDedup, Producer};
use tokio::sync::oneshot;

use super::{ClientError, Protocol, Sender, stream_name};

/// Messages that the library puts into one frame at most, where so many wait.
const FRAME_MESSAGES: usize = 1_000;
/// Without a message for so long, the sink is asked whether to go on.
const QUIET: Duration = Duration::from_millis(200);
/// A confirmation that takes longer is an error.
const CONFIRM_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(crate) struct RabbitMq {
    host: String,
    port: u16,
}

impl RabbitMq {
    async fn environment(&self) -> Result<Environment, ClientError> {
        let builder = Environment::builder().host(&self.host).port(self.port);
        builder.build().await.map_err(ClientError::from("connecting"))
    }
}

/// Whether a node takes stream connections.
pub(crate) fn answers(address: &str) -> Option<()> {
    // Cheap first: a library that is refused needs more time.
    drop(std::net::TcpStream::connect(address).ok()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(RabbitMq::at(address).environment()).ok().map(drop)
}

impl Protocol for RabbitMq {
    type Sender = Connection;

    fn at(address: &str) -> Self {
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        Self { host: host.to_string(), port: port.parse().unwrap_or(0) }
    }

    async fn create(&self, streams: u32) -> Result<(), ClientError> {
        let environment = self.environment().await?;
        for stream in 0..streams {
            // A workload that failed has left its own.
            let _ = environment.delete_stream(&stream_name(stream)).await;
            let made = environment.stream_creator().create(&stream_name(stream)).await;
            made.map_err(ClientError::from("making a stream"))?;
        }
        Ok(())
    }

    async fn delete(&self, streams: u32) -> Result<(), ClientError> {
        let environment = self.environment().await?;
        for stream in 0..streams {
            let gone = environment.delete_stream(&stream_name(stream)).await;
            gone.map_err(ClientError::from("deleting a stream"))?;
        }
        Ok(())
    }

    async fn sender(&self, streams: &[u32]) -> Result<Connection, ClientError> {
        let environment = self.environment().await?;
        let mut producers = HashMap::new();
        for stream in streams {
            let builder = environment.producer().batch_size(FRAME_MESSAGES);
            let producer = builder.build(&stream_name(*stream)).await;
            producers.insert(*stream, producer.map_err(ClientError::from("declaring a publisher"))?);
        }
        Ok(Connection { producers: Arc::new(producers) })
    }

    async fn consume(
        &self,
        streams: &[u32],
        mut sink: impl FnMut(Option<&[u8]>) -> bool + Send,
    ) -> Result<(), ClientError> {
        let environment = self.environment().await?;
        let mut all = futures_util::stream::SelectAll::new();
        let mut handles = Vec::new();
        for stream in streams {
            let builder = environment.consumer().offset(OffsetSpecification::First);
            let consumer = builder.build(&stream_name(*stream)).await;
            let consumer = consumer.map_err(ClientError::from("subscribing"))?;
            handles.push(consumer.handle());
            all.push(consumer);
        }
        loop {
            let is_over = match tokio::time::timeout(QUIET, all.next()).await {
                Err(_) => !sink(None),
                Ok(None) => true,
                Ok(Some(delivery)) => {
                    let delivery = delivery.map_err(ClientError::from("reading"))?;
                    !sink(delivery.message().data())
                }
            };
            if is_over {
                break;
            }
        }
        for handle in handles {
            handle.close().await.map_err(ClientError::from("unsubscribing"))?;
        }
        Ok(())
    }
}

#[derive(Clone)]
pub(crate) struct Connection {
    producers: Arc<HashMap<u32, Producer<NoDedup>>>,
}

impl Sender for Connection {
    async fn send(&self, stream: u32, records: Vec<Bytes>) -> Result<(), ClientError> {
        let during = "publishing";
        let producer = self
            .producers
            .get(&stream)
            .ok_or(ClientError { during, what: format!("no publisher for stream {stream}") })?;
        let left = Arc::new(AtomicUsize::new(records.len()));
        let (tell, told) = oneshot::channel();
        let tell = Arc::new(Mutex::new(Some(tell)));
        let messages = records.into_iter().map(|record| Message::builder().body(record).build()).collect();
        let sent = producer.batch_send(messages, move |confirmed| {
            let refused = match confirmed {
                Ok(status) if status.confirmed() => None,
                Ok(status) => Some(format!("{:?}", status.status())),
                Err(error) => Some(error.to_string()),
            };
            let is_last = left.fetch_sub(1, Ordering::AcqRel) == 1;
            if is_last || refused.is_some() {
                let tell = tell.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(tell) = tell {
                    // Nobody listens who has given up.
                    let _ = tell.send(refused);
                }
            }
            std::future::ready(())
        });
        sent.await.map_err(ClientError::from(during))?;
        match tokio::time::timeout(CONFIRM_LIMIT, told).await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(what))) => Err(ClientError { during, what }),
            Ok(Err(_)) => Err(ClientError { during, what: "the connection ended".to_string() }),
            Err(_) => Err(ClientError { during, what: "not confirmed in time".to_string() }),
        }
    }
}
