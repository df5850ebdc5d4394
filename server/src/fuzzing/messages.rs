//! The target `request`: any bytes as a request of any API and version, and any request that the codec can write.

use super::drawn::{Drawn, Learned};
use crate::api::{APIS, Api};
use crate::wire::codec::{Decodable, HeaderVersion};
use crate::wire::messages::{self, ApiKey};
use crate::wire::produce::ProduceRequest;
use crate::wire::{Bounded, Message, Request, fields_max};
use arbitrary::Unstructured;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Topics and partitions that a request may name.
const PLACES_MAX: usize = 2000;
/// What frames say they come from.
const CLIENT_ID: &str = "fuzz";

/// What can be done with the messages of an API.
#[derive(Debug)]
pub(crate) struct Shape {
    /// Makes a request's body; none of a version that the codec does not know.
    pub(super) draw: fn(&mut Drawn<'_, '_>, i16) -> Option<Vec<u8>>,
    /// Reads a body, writes what was read, and reads that; whether it could be read.
    reread: fn(&[u8], i16) -> bool,
    /// Reads an answer, its correlation id included, to its last byte.
    pub(super) check_answer: fn(&[u8], i16),
}

impl Shape {
    pub(crate) const fn of<M: Message>() -> Self {
        Self { draw: draw::<M>, reread: reread::<M>, check_answer: check_answer::<M> }
    }
}

fn knows<M: Message>(version: i16) -> bool {
    (M::VERSIONS.min..=M::VERSIONS.max).contains(&version)
}

fn draw<M: Message>(drawn: &mut Drawn<'_, '_>, version: i16) -> Option<Vec<u8>> {
    if !knows::<M>(version) {
        return None;
    }
    let message = M::decode(drawn, version).ok()?;
    let mut body = BytesMut::new();
    // Not every message that can be read can be written: a text may be too long for the version.
    message.encode(&mut body, version).ok()?;
    // The codec counts tagged fields with tags from 2^31 on, and leaves them out.
    M::decode(&mut body.clone(), version).ok()?;
    Some(body.to_vec())
}

fn reread<M: Message>(body: &[u8], version: i16) -> bool {
    let mut bounded = Bounded::new(Bytes::copy_from_slice(body), fields_max(PLACES_MAX));
    let Ok(message) = M::decode(&mut bounded, version) else { return false };
    let mut written = BytesMut::new();
    message.encode(&mut written, version).expect("what was read can be written");
    // But for tags from 2^31 on, see above: what follows them is read as something else.
    if may_have_large_tag(body) {
        return true;
    }
    let again = M::decode(&mut written.clone(), version).expect("what was written can be read");
    let mut twice = BytesMut::new();
    again.encode(&mut twice, version).expect("it can be written again");
    assert_eq!(written, twice, "{} version {version}", M::KEY);
    true
}

/// Whether a number of 2^31 or more, of seven bits a byte, stands anywhere in it.
fn may_have_large_tag(body: &[u8]) -> bool {
    body.windows(5).any(|five| five[..4].iter().all(|byte| byte & 0x80 != 0) && five[4] & 0x7f >= 8)
}

fn check_answer<M: Message>(answer: &[u8], version: i16) {
    if !knows::<M>(version) {
        return;
    }
    let mut rest = Bytes::copy_from_slice(answer);
    rest.advance(4);
    if M::Response::header_version(version) >= 1 {
        assert_eq!(rest.get_u8(), 0, "no tagged fields");
    }
    let read = M::Response::decode(&mut rest, version);
    read.unwrap_or_else(|err| panic!("the answer to {} version {version} cannot be read: {err}", M::KEY));
    assert!(rest.is_empty(), "{} version {version}: {} bytes are left", M::KEY, rest.len());
}

/// An API and one of its versions, or the version after them.
pub(super) fn pick(api: u8, version: u8) -> (&'static Api, i16) {
    let api = &APIS[usize::from(api) % APIS.len()];
    let count = api.max_version - api.min_version + 2;
    (api, api.min_version + i16::from(version) % count)
}

/// A request without its length.
pub(super) fn frame(key: ApiKey, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_i16(key as i16);
    frame.put_i16(version);
    frame.put_i32(correlation_id);
    frame.put_i16(CLIENT_ID.len() as i16);
    frame.put_slice(CLIENT_ID.as_bytes());
    if key.request_header_version(version) >= 2 {
        frame.put_u8(0);
    }
    frame.put_slice(body);
    frame
}

fn parse_produce(body: &[u8], version: i16) -> Option<usize> {
    let read = ProduceRequest::parse(body, version, PLACES_MAX).ok()?;
    Some(read.topics.iter().map(|topic| topic.partitions.len()).sum())
}

pub(super) fn run(input: &[u8]) {
    if let Ok(request) = Request::parse(&mut input.to_vec()) {
        assert!(request.body.len() < input.len());
    }
    let Some((&[api, version], rest)) = input.split_first_chunk() else { return };
    let (api, version) = pick(api, version);
    if version > api.max_version {
        return;
    }
    // Bytes that may be a body, or not.
    (api.shape.reread)(rest, version);
    if api.key == ApiKey::Produce {
        parse_produce(rest, version);
    }
    // A body that is one.
    let learned = Learned::default();
    let mut source = Unstructured::new(rest);
    let Some(body) = (api.shape.draw)(&mut Drawn::new(&mut source, &learned), version) else { return };
    let mut frame = frame(api.key, version, 7, &body);
    let request = Request::parse(&mut frame).expect("a header is read");
    let header = &request.header;
    assert_eq!((header.api_key, header.version, header.correlation_id), (api.key as i16, version, 7));
    assert_eq!((&*header.client_id, &*request.body), (CLIENT_ID, &*body));
    assert!((api.shape.reread)(request.body, version), "{:?} version {version}", api.key);
    if api.key == ApiKey::Produce {
        // The codec and what is read by hand agree.
        let decoded = messages::ProduceRequest::decode(&mut Bytes::from(body), version);
        let topics = decoded.expect("it was read before").topic_data;
        let partitions: usize = topics.iter().map(|topic| topic.partition_data.len()).sum();
        assert_eq!(parse_produce(request.body, version), Some(partitions), "version {version}");
    }
}
