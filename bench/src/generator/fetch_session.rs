//! Fetch requests for many partitions. Where the broker keeps fetch sessions (KIP-227), a request names only the
//! partitions whose position has changed.

use std::collections::HashMap;
use std::time::Duration;

use crate::admin::FETCH;
use crate::fetch_frame::read_partition;
use crate::wire::{Malformed, Reader, Writer};

/// The broker no longer knows the session: begin a new one.
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const INVALID_FETCH_SESSION_EPOCH: i16 = 71;

/// A partition and from where to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// Place in the list of topics.
    pub(crate) topic: usize,
    /// Index in the topic.
    pub(crate) partition: i32,
    /// The next offset.
    pub(crate) offset: i64,
}

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct FetchSession {
    version: i16,
    topics: Vec<String>,
    wait_ms: i32,
    fetch_bytes: i32,
    session_id: i32,
    epoch: i32,
    positions: Vec<Position>,
    places: HashMap<(usize, i32), usize>,
    topic_places: HashMap<String, usize>,
    /// Places whose offset the broker does not know yet.
    changed: Vec<usize>,
}

/// What an answer holds of one partition.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    /// Place in the list of positions.
    pub(crate) place: usize,
    /// 0: fine.
    pub(crate) code: i16,
    /// Record batches; the last one may be cut off.
    pub(crate) batches: &'a [u8],
}

impl FetchSession {
    /// For `positions`, which are sorted by topic.
    pub(crate) fn new(
        version: i16,
        topics: &[String],
        positions: Vec<Position>,
        wait: Duration,
        fetch_bytes: u64,
    ) -> Self {
        let places = positions.iter().enumerate();
        let places = places.map(|(place, at)| ((at.topic, at.partition), place)).collect();
        let topic_places = topics.iter().enumerate().map(|(place, topic)| (topic.clone(), place)).collect();
        Self {
            version,
            topics: topics.to_vec(),
            wait_ms: wait.as_millis().min(i32::MAX as u128) as i32,
            fetch_bytes: fetch_bytes.min(i32::MAX as u64) as i32,
            session_id: 0,
            epoch: 0,
            positions,
            places,
            topic_places,
            changed: Vec::new(),
        }
    }

    /// Where reading is.
    pub(crate) fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Reading of that partition has got on.
    pub(crate) fn advance(&mut self, place: usize, offset: i64) {
        self.positions[place].offset = offset;
        if self.session_id != 0 {
            self.changed.push(place);
        }
    }

    /// The next request.
    pub(crate) fn request(&mut self, correlation_id: i32) -> Vec<u8> {
        let mut request = Writer::request(FETCH.key, self.version, correlation_id);
        request.i32(-1).i32(self.wait_ms).i32(1).i32(self.fetch_bytes).i8(0);
        let incremental = self.session_id != 0;
        if self.version >= 7 {
            // For a single partition a session saves nothing.
            let epoch = if self.positions.len() == 1 { -1 } else { self.epoch };
            request.i32(self.session_id).i32(epoch);
        }
        let places: Vec<usize> = if incremental {
            self.changed.sort_unstable();
            self.changed.dedup();
            std::mem::take(&mut self.changed)
        } else {
            (0..self.positions.len()).collect()
        };
        let by_topic: Vec<&[usize]> =
            places.chunk_by(|a, b| self.positions[*a].topic == self.positions[*b].topic).collect();
        request.i32(by_topic.len() as i32);
        for places in by_topic {
            request.string(&self.topics[self.positions[places[0]].topic]).i32(places.len() as i32);
            for place in places {
                let at = self.positions[*place];
                request.i32(at.partition);
                if self.version >= 9 {
                    request.i32(-1); // leader epoch unknown
                }
                request.i64(at.offset);
                if self.version >= 5 {
                    request.i64(-1); // log start: only followers send it
                }
                request.i32(self.fetch_bytes);
            }
        }
        if self.version >= 7 {
            request.i32(0); // nothing to forget
        }
        if self.version >= 11 {
            request.string(""); // rack
        }
        request.finish()
    }

    /// Reads an answer: its correlation id, and each partition that it speaks of. An error of the whole
    /// request is the `Err` of the inner result; a lost session is no error, the next request begins anew.
    pub(crate) fn read<'a>(
        &mut self,
        frame: &'a [u8],
    ) -> Result<(i32, Result<Vec<Part<'a>>, i16>), Malformed> {
        let mut answer = Reader::new(frame);
        let correlation_id = answer.i32("correlation id")?;
        answer.i32("throttle time")?;
        if self.version >= 7 {
            let code = answer.i16("error code")?;
            let session_id = answer.i32("session id")?;
            if code == FETCH_SESSION_ID_NOT_FOUND || code == INVALID_FETCH_SESSION_EPOCH {
                (self.session_id, self.epoch) = (0, 0);
                return Ok((correlation_id, Ok(Vec::new())));
            }
            if code != 0 {
                return Ok((correlation_id, Err(code)));
            }
            self.session_id = session_id;
            self.epoch = if session_id == 0 { 0 } else { self.epoch.checked_add(1).unwrap_or(1) };
        }
        let mut parts = Vec::new();
        for _ in 0..answer.count("topics")? {
            let topic = answer.string("topic")?;
            let topic = *self.topic_places.get(topic).ok_or(Malformed { field: "the topic" })?;
            for _ in 0..answer.count("partitions")? {
                let (partition, code, batches) = read_partition(&mut answer, self.version)?;
                let place = *self
                    .places
                    .get(&(topic, partition))
                    .ok_or(Malformed { field: "the partition, which was not asked for" })?;
                parts.push(Part { place, code, batches });
            }
        }
        Ok((correlation_id, Ok(parts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{Bytes, BytesMut};
    use proto_kafka::messages::fetch_response::{FetchableTopicResponse, PartitionData};
    use proto_kafka::messages::{FetchRequest, FetchResponse, RequestHeader, ResponseHeader};
    use proto_kafka::protocol::{Decodable, Encodable, StrBytes};

    fn session(version: i16) -> FetchSession {
        let topics = ["a".to_string(), "b".to_string()];
        let at = |topic, partition| Position { topic, partition, offset: 10 };
        FetchSession::new(
            version,
            &topics,
            vec![at(0, 0), at(0, 1), at(1, 0)],
            Duration::from_millis(5),
            1000,
        )
    }

    fn asked(frame: &[u8], version: i16) -> (i32, i32, Vec<(String, i32, i64)>) {
        let mut rest = Bytes::copy_from_slice(&frame[4..]);
        RequestHeader::decode(&mut rest, 1).unwrap();
        let request = FetchRequest::decode(&mut rest, version).unwrap();
        assert!(rest.is_empty());
        let parts = request.topics.iter().flat_map(|topic| {
            let parts = topic.partitions.iter();
            parts.map(|part| (topic.topic.0.to_string(), part.partition, part.fetch_offset))
        });
        (request.session_id, request.session_epoch, parts.collect())
    }

    fn answer(version: i16, session_id: i32, code: i16) -> Vec<u8> {
        let part =
            PartitionData::default().with_partition_index(0).with_records(Some(Bytes::from_static(b"batch")));
        let topic = FetchableTopicResponse::default()
            .with_topic(StrBytes::from_static_str("b").into())
            .with_partitions(vec![part]);
        let mut out = BytesMut::new();
        ResponseHeader::default().with_correlation_id(1).encode(&mut out, 0).unwrap();
        let mut body = FetchResponse::default().with_responses(vec![topic]);
        if version >= 7 {
            body = body.with_session_id(session_id).with_error_code(code);
        }
        body.encode(&mut out, version).unwrap();
        out.to_vec()
    }

    #[test]
    fn all_partitions_are_asked_for_until_there_is_a_session() {
        for version in 4..=11 {
            let mut session = session(version);
            let all = vec![("a".into(), 0, 10), ("a".into(), 1, 10), ("b".into(), 0, 10)];
            assert_eq!(asked(&session.request(1), version).2, all);
            let frame = answer(version, 0, 0);
            let (id, parts) = session.read(&frame).unwrap();
            let parts = parts.unwrap();
            assert_eq!((id, parts.len(), parts[0].place, parts[0].batches), (1, 1, 2, &b"batch"[..]));
            session.advance(2, 15);
            let (_, _, again) = asked(&session.request(2), version);
            assert_eq!((again.len(), again[2].2), (3, 15));
        }
    }

    #[test]
    fn a_session_names_what_has_changed_and_a_lost_one_begins_anew() {
        let mut session = session(11);
        assert_eq!(asked(&session.request(1), 11).0, 0);
        session.read(&answer(11, 77, 0)).unwrap().1.unwrap();
        session.advance(2, 15);
        assert_eq!(asked(&session.request(2), 11), (77, 1, vec![("b".into(), 0, 15)]));
        session.read(&answer(11, 77, 0)).unwrap().1.unwrap();
        assert_eq!(asked(&session.request(3), 11), (77, 2, vec![]));
        assert!(session.read(&answer(11, 0, FETCH_SESSION_ID_NOT_FOUND)).unwrap().1.unwrap().is_empty());
        let (id, epoch, parts) = asked(&session.request(4), 11);
        assert_eq!((id, epoch, parts.len()), (0, 0, 3));
        assert_eq!(session.read(&answer(11, 0, 3)).unwrap().1.unwrap_err(), 3);
    }
}
