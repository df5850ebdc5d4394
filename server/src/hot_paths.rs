//! What micro-benchmarks call of the broker's inside, with the feature `bench` only: what is done for
//! each request besides receiving, appending and sending. No part of the public interface: it changes
//! whenever what it measures does.

use crate::config::Config;
use crate::fetch_sessions::Wanted;
use crate::handler::fetch;
use crate::metadata::{Catalog, Topic};
use crate::wire::fetch::{Whole, response as fetch_response};
use crate::wire::messages::FetchRequest;
use crate::wire::produce::{ProduceRequest, ProduceResult, TopicRef, response as produce_response};
use crate::wire::{NONE, Part, Request, RequestHeader, Response};
use ringmain_engine::{AppendError, Durability, Store, StoreConfig};
use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

/// The API key.
const PRODUCE: i16 = 0;
/// The version of fetch requests from which topics are told by id.
const TOPIC_IDS_FROM: i16 = 13;
/// Topics and partitions that a request may name.
const PLACES_MAX: usize = 40_000;

/// Reads header and body of a produce request by hand. `frame` is without its length prefix. Gives the
/// bytes of all records, or `None` if it is malformed.
#[must_use]
pub fn decode_produce(frame: &mut [u8]) -> Option<usize> {
    let request = Request::parse(frame).ok()?;
    let produce = ProduceRequest::parse(request.body, request.header.version, PLACES_MAX).ok()?;
    let partitions = produce.topics.iter().flat_map(|topic| &topic.partitions);
    Some(partitions.map(|partition| partition.records.len()).sum())
}

/// A fetch request that was read.
#[derive(Debug)]
pub struct Fetch {
    header: RequestHeader,
    wanted: Vec<Wanted>,
    bytes_max: u64,
}

impl Fetch {
    /// Reads header and body. `frame` is without its length prefix. `None` if it is malformed.
    #[must_use]
    pub fn decode(frame: &mut [u8]) -> Option<Self> {
        let request = Request::parse(frame).ok()?;
        let mut message: FetchRequest = request.decode(PLACES_MAX).ok()?;
        let bytes_max = u64::try_from(message.max_bytes).ok()?;
        let wanted = fetch::wanted(&mut message, request.header.version >= TOPIC_IDS_FROM);
        Some(Self { header: request.header, wanted, bytes_max })
    }
}

/// What is answered to a produce request.
#[derive(Debug)]
pub struct ProduceAnswer {
    header: RequestHeader,
    topics: Vec<(TopicRef, Vec<ProduceResult>)>,
}

impl ProduceAnswer {
    /// For one topic, where all went well.
    #[must_use]
    pub fn new(version: i16, topic: &str, partitions: i32) -> Self {
        let client_id = "bench".to_string();
        let header = RequestHeader { api_key: PRODUCE, version, correlation_id: 7, client_id };
        let results = (0..partitions).map(|index| ProduceResult {
            index,
            error_code: NONE,
            error_message: None,
            base_offset: 1 << 40,
            log_append_time_ms: -1,
            log_start_offset: 0,
            record_errors: Vec::new(),
        });
        Self { header, topics: vec![(TopicRef::Name(topic.to_owned()), results.collect())] }
    }

    /// Writes the answer.
    #[must_use]
    pub fn encode(&self) -> Answer {
        Answer(produce_response(&self.header, &self.topics, 0))
    }
}

/// One topic and its logs, as fetches find them.
#[derive(Debug)]
pub struct Served {
    catalog: Catalog,
    topic: Arc<Topic>,
}

impl Served {
    /// Makes a store in `dir` with a topic of so many partitions.
    ///
    /// # Errors
    /// The store or the topic cannot be made.
    pub fn create(dir: &Path, topic: &str, partitions: i32) -> Result<Self, Box<dyn Error>> {
        let store = Arc::new(Store::open(dir, StoreConfig::default())?);
        let catalog = Catalog::open(store, Config::default())?;
        let topic = catalog.create(topic, partitions, BTreeMap::new())?;
        Ok(Self { catalog, topic })
    }

    /// What fetches of newer versions name the topic by.
    #[must_use]
    pub fn topic_id(&self) -> [u8; 16] {
        *self.topic.id.as_bytes()
    }

    /// Appends a batch to each partition.
    ///
    /// # Errors
    /// The first partition that does not take it.
    pub fn append(&self, batch: &mut [u8]) -> Result<(), AppendError> {
        for partition in &self.topic.partitions {
            partition.log.append(batch, Durability::Written)?;
        }
        Ok(())
    }

    /// Finds what can be answered now.
    #[must_use]
    pub fn plan(&self, fetch: &Fetch) -> Plan {
        let mut plan = fetch::Plan::default();
        let limits = fetch::Limits { bytes_max: fetch.bytes_max, cached_only: true, rest_may_wait: false };
        plan.add(&self.catalog, fetch.wanted.iter(), limits);
        Plan(plan)
    }
}

/// What a fetch is answered with.
#[derive(Debug)]
pub struct Plan(fetch::Plan);

impl Plan {
    /// Bytes of batches in it.
    #[must_use]
    pub fn batch_bytes(&self) -> u64 {
        self.0.bytes
    }

    /// Writes what stands around the batches, which stay in their segments.
    #[must_use]
    pub fn encode(self, fetch: &Fetch) -> Answer {
        let topics = fetch.wanted.iter().map(|one| one.topic.clone());
        Answer(fetch_response(&fetch.header, Whole::default(), topics.zip(self.0.results).collect()))
    }
}

/// An answer that could be sent.
#[derive(Debug)]
pub struct Answer(Response);

impl Answer {
    /// What was written by hand, the length prefix included, without the batches between it.
    #[must_use]
    pub fn own_bytes(&self) -> Vec<u8> {
        let bytes = self.0.parts.iter().filter_map(|part| match part {
            Part::Bytes(bytes) => Some(&bytes[..]),
            Part::File(_) => None,
        });
        bytes.flatten().copied().collect()
    }
}
