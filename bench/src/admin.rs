//! The control requests: versions, topics, leaders, offsets. Hand-written for the non-flexible
//! versions that brokers from Kafka 1.0 to 4.x share, so that no codec stands between the
//! load and the socket.

use std::time::{Duration, Instant};

use crate::peer::{Peer, PeerError};
use crate::refusal::{LEADER_NOT_AVAILABLE, NOT_LEADER_OR_FOLLOWER, UNKNOWN_TOPIC_OR_PARTITION};
use crate::wire::{Malformed, Reader, Writer};

/// A request that is used here: its key and the versions that are spoken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Api {
    name: &'static str,
    /// Key in the request header.
    pub(crate) key: i16,
    min: i16,
    max: i16,
}

/// Produce.
pub(crate) const PRODUCE: Api = Api { name: "Produce", key: 0, min: 3, max: 7 };
/// Fetch.
pub(crate) const FETCH: Api = Api { name: "Fetch", key: 1, min: 4, max: 11 };
/// ListOffsets.
pub(crate) const LIST_OFFSETS: Api = Api { name: "ListOffsets", key: 2, min: 1, max: 3 };
/// Metadata.
pub(crate) const METADATA: Api = Api { name: "Metadata", key: 3, min: 4, max: 7 };
/// ApiVersions.
pub(crate) const API_VERSIONS: Api = Api { name: "ApiVersions", key: 18, min: 0, max: 0 };
/// CreateTopics.
pub(crate) const CREATE_TOPICS: Api = Api { name: "CreateTopics", key: 19, min: 2, max: 4 };
/// DeleteTopics.
pub(crate) const DELETE_TOPICS: Api = Api { name: "DeleteTopics", key: 20, min: 1, max: 3 };

/// How long to pause before asking again for a topic that is not ready.
const POLL_PAUSE: Duration = Duration::from_millis(20);

/// The largest batch that brokers take unless a topic says otherwise.
const BATCH_BYTES_USUAL_MAX: usize = 1 << 20;

/// One partition and the broker that leads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PartitionLeader {
    /// Index in the topic.
    pub(crate) partition: i32,
    /// `HOST:PORT` of its leader.
    pub(crate) address: String,
}

/// Which end of a partition to ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    /// The first offset that is kept.
    Earliest,
    /// The offset behind the last record that may be read.
    Latest,
}

/// What a topic is created with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewTopic<'a> {
    /// Partitions.
    pub(crate) partitions: i32,
    /// Replicas of each.
    pub(crate) replication_factor: i16,
    /// The largest batch that will be sent.
    pub(crate) batch_bytes: usize,
    /// Further settings: keys and values.
    pub(crate) settings: &'a [(String, String)],
}

/// A control connection.
#[derive(Debug)]
pub(crate) struct Admin {
    peer: Peer,
    timeout: Duration,
    ranges: Vec<(i16, i16, i16)>,
    correlation_id: i32,
    buffer: Vec<u8>,
}

impl Admin {
    /// Connects and asks for the versions.
    pub(crate) fn connect(address: &str, timeout: Duration) -> Result<Self, PeerError> {
        let peer = Peer::connect(address, timeout)?;
        let mut admin = Self { peer, timeout, ranges: Vec::new(), correlation_id: 0, buffer: Vec::new() };
        admin.ranges = admin.api_versions()?;
        Ok(admin)
    }

    /// The newest version that both sides speak.
    pub(crate) fn version(&self, api: Api) -> Result<i16, PeerError> {
        let common = self
            .ranges
            .iter()
            .find(|(key, _, _)| *key == api.key)
            .map(|(_, min, max)| ((*min).max(api.min), (*max).min(api.max)))
            .filter(|(min, max)| min <= max);
        common.map(|(_, max)| max).ok_or_else(|| PeerError::Version {
            peer: self.peer.name().to_string(),
            api: api.name,
            min: api.min,
            max: api.max,
        })
    }

    fn api_versions(&mut self) -> Result<Vec<(i16, i16, i16)>, PeerError> {
        let request = self.request(API_VERSIONS, 0);
        self.exchange(API_VERSIONS, request, |answer| {
            let code = answer.i16("error code")?;
            let count = answer.count("api keys")?;
            let mut ranges = Vec::with_capacity(count);
            for _ in 0..count {
                let key = answer.i16("api key")?;
                ranges.push((key, answer.i16("min version")?, answer.i16("max version")?));
            }
            Ok((code, ranges))
        })
        .and_then(|(code, ranges)| {
            self.peer.accept(code, API_VERSIONS.name, || "the client's version".into())?;
            Ok(ranges)
        })
    }

    /// The partitions of a topic in order, or `None` if it does not exist.
    pub(crate) fn leaders(&mut self, topic: &str) -> Result<Option<Vec<PartitionLeader>>, PeerError> {
        let version = self.version(METADATA)?;
        let mut request = self.request(METADATA, version);
        // One topic; do not create it.
        request.i32(1).string(topic).i8(0);
        let (code, partitions) = self.exchange(METADATA, request, |answer| read_metadata(answer, version))?;
        if code == UNKNOWN_TOPIC_OR_PARTITION {
            return Ok(None);
        }
        if code == LEADER_NOT_AVAILABLE {
            return Ok(Some(Vec::new()));
        }
        self.peer.accept(code, METADATA.name, || topic.to_string())?;
        Ok(Some(partitions))
    }

    /// Creates a topic and waits until each partition answers at its leader.
    pub(crate) fn create_topic(
        &mut self,
        topic: &str,
        new: NewTopic<'_>,
    ) -> Result<Vec<PartitionLeader>, PeerError> {
        let version = self.version(CREATE_TOPICS)?;
        let mut request = self.request(CREATE_TOPICS, version);
        request.i32(1).string(topic).i32(new.partitions).i16(new.replication_factor).i32(0);
        let limit = (new.batch_bytes + 1024).to_string();
        let larger = new.batch_bytes > BATCH_BYTES_USUAL_MAX;
        let limit = larger.then_some(("max.message.bytes", limit.as_str()));
        let settings: Vec<(&str, &str)> =
            new.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(limit).collect();
        request.i32(settings.len() as i32);
        for (key, value) in settings {
            request.string(key).string(value);
        }
        let timeout_ms = self.timeout.as_millis().min(i32::MAX as u128) as i32;
        request.i32(timeout_ms).i8(0);
        let code = self.exchange(CREATE_TOPICS, request, |answer| {
            answer.i32("throttle time")?;
            answer.count("topics")?;
            answer.string("topic")?;
            answer.i16("error code")
        })?;
        self.peer.accept(code, CREATE_TOPICS.name, || topic.to_string())?;
        self.await_ready(topic, new.partitions as usize)
    }

    fn await_ready(&mut self, topic: &str, count: usize) -> Result<Vec<PartitionLeader>, PeerError> {
        let deadline = Instant::now() + self.timeout;
        loop {
            if let Some(leaders) = self.leaders(topic)?
                && leaders.len() == count
            {
                match self.offsets(topic, &leaders, End::Latest) {
                    Ok(_) => return Ok(leaders),
                    Err(PeerError::Refused { code, .. })
                        if code == UNKNOWN_TOPIC_OR_PARTITION
                            || code == LEADER_NOT_AVAILABLE
                            || code == NOT_LEADER_OR_FOLLOWER => {}
                    Err(error) => return Err(error),
                }
            }
            if Instant::now() > deadline {
                let peer = self.peer.name().to_string();
                return Err(PeerError::TimedOut { peer, during: "the election of leaders" });
            }
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// Deletes a topic.
    pub(crate) fn delete_topic(&mut self, topic: &str) -> Result<(), PeerError> {
        let version = self.version(DELETE_TOPICS)?;
        let mut request = self.request(DELETE_TOPICS, version);
        request.i32(1).string(topic).i32(self.timeout.as_millis().min(i32::MAX as u128) as i32);
        let code = self.exchange(DELETE_TOPICS, request, |answer| {
            answer.i32("throttle time")?;
            answer.count("topics")?;
            answer.string("topic")?;
            answer.i16("error code")
        })?;
        self.peer.accept(code, DELETE_TOPICS.name, || topic.to_string())
    }

    /// The offset of each partition, in the order of `leaders`, asked of its leader.
    pub(crate) fn offsets(
        &mut self,
        topic: &str,
        leaders: &[PartitionLeader],
        end: End,
    ) -> Result<Vec<i64>, PeerError> {
        let mut offsets = vec![-1; leaders.len()];
        let mut done = vec![false; leaders.len()];
        for first in 0..leaders.len() {
            if done[first] {
                continue;
            }
            let address = &leaders[first].address;
            let group: Vec<usize> =
                (first..leaders.len()).filter(|i| leaders[*i].address == *address).collect();
            let partitions: Vec<i32> = group.iter().map(|i| leaders[*i].partition).collect();
            let found = if address == self.peer.name() {
                self.offsets_here(topic, &partitions, end)?
            } else {
                Self::connect(address, self.timeout)?.offsets_here(topic, &partitions, end)?
            };
            for (partition, offset) in found {
                let slot = group.iter().find(|i| leaders[**i].partition == partition);
                let Some(slot) = slot else {
                    let what = format!("partition {partition}, which was not asked for");
                    return Err(self.peer.wrong(LIST_OFFSETS.name, what));
                };
                offsets[*slot] = offset;
                done[*slot] = true;
            }
            if let Some(missing) = group.iter().find(|i| !done[**i]) {
                let what = format!("partition {} is missing", leaders[*missing].partition);
                return Err(self.peer.wrong(LIST_OFFSETS.name, what));
            }
        }
        Ok(offsets)
    }

    fn offsets_here(
        &mut self,
        topic: &str,
        partitions: &[i32],
        end: End,
    ) -> Result<Vec<(i32, i64)>, PeerError> {
        let version = self.version(LIST_OFFSETS)?;
        let request = self.offsets_request(topic, partitions, end)?;
        let found = self.exchange(LIST_OFFSETS, request, |answer| {
            if version >= 2 {
                answer.i32("throttle time")?;
            }
            let mut found = Vec::with_capacity(partitions.len());
            for _ in 0..answer.count("topics")? {
                answer.string("topic")?;
                for _ in 0..answer.count("partitions")? {
                    let partition = answer.i32("partition")?;
                    let code = answer.i16("error code")?;
                    answer.i64("timestamp")?;
                    found.push((partition, code, answer.i64("offset")?));
                }
            }
            Ok(found)
        })?;
        for (partition, code, _) in &found {
            self.peer.accept(*code, LIST_OFFSETS.name, || format!("{topic}-{partition}"))?;
        }
        Ok(found.into_iter().map(|(partition, _, offset)| (partition, offset)).collect())
    }

    fn offsets_request(&mut self, topic: &str, partitions: &[i32], end: End) -> Result<Writer, PeerError> {
        let version = self.version(LIST_OFFSETS)?;
        let mut request = self.request(LIST_OFFSETS, version);
        request.i32(-1);
        if version >= 2 {
            request.i8(0); // read uncommitted
        }
        request.i32(1).string(topic).i32(partitions.len() as i32);
        for partition in partitions {
            let time = match end {
                End::Earliest => -2,
                End::Latest => -1,
            };
            request.i32(*partition).i64(time);
        }
        Ok(request)
    }

    /// A request whose answer proves that everything sent before it on the same connection was
    /// taken up: a broker answers the requests of a connection in order.
    pub(crate) fn barrier(&mut self, topic: &str, partition: i32) -> Result<Vec<u8>, PeerError> {
        Ok(self.offsets_request(topic, &[partition], End::Latest)?.finish())
    }

    fn request(&mut self, api: Api, version: i16) -> Writer {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        Writer::request(api.key, version, self.correlation_id)
    }

    fn exchange<T>(
        &mut self,
        api: Api,
        request: Writer,
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<T, PeerError> {
        self.peer.send(&request.finish(), api.name)?;
        let expected = self.correlation_id;
        let frame = self.peer.receive(&mut self.buffer, api.name)?;
        let mut reader = Reader::new(frame);
        let result = reader.i32("correlation id").and_then(|id| {
            if id == expected {
                read(&mut reader)
            } else {
                Err(Malformed { field: "the order of answers (correlation id)" })
            }
        });
        result.map_err(|cause| self.peer.malformed(api.name, cause))
    }
}

fn read_metadata(answer: &mut Reader<'_>, version: i16) -> Result<(i16, Vec<PartitionLeader>), Malformed> {
    answer.i32("throttle time")?;
    let mut brokers = Vec::new();
    for _ in 0..answer.count("brokers")? {
        let node = answer.i32("node id")?;
        let host = answer.string("host")?;
        let port = answer.i32("port")?;
        answer.string("rack")?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
        brokers.push((node, format!("{host}:{port}")));
    }
    answer.string("cluster id")?;
    answer.i32("controller id")?;
    if answer.count("topics")? != 1 {
        return Err(Malformed { field: "the list of topics" });
    }
    let code = answer.i16("error code")?;
    answer.string("topic")?;
    answer.i8("is internal")?;
    let mut leaders = Vec::new();
    for _ in 0..answer.count("partitions")? {
        let _code = answer.i16("partition error")?;
        let partition = answer.i32("partition")?;
        let leader = answer.i32("leader")?;
        if version >= 7 {
            answer.i32("leader epoch")?;
        }
        let lists = if version >= 5 { 3 } else { 2 };
        for _ in 0..lists {
            for _ in 0..answer.count("replicas")? {
                answer.i32("replica")?;
            }
        }
        // A partition without a leader is left out: the caller counts.
        if let Some((_, address)) = brokers.iter().find(|(node, _)| *node == leader) {
            leaders.push(PartitionLeader { partition, address: address.clone() });
        }
    }
    leaders.sort_by_key(|leader| leader.partition);
    Ok((code, leaders))
}
