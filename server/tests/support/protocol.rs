//! Talking to the broker with a codec that is none of ours.

use super::{Process, call, framed, request};
use bytes::{Buf, Bytes, BytesMut};
use proto_kafka::messages::{ApiVersionsResponse, RequestHeader, ResponseHeader};
use proto_kafka::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpStream;

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Lowest and highest version by API key, as advertised.
    pub(crate) advertised: BTreeMap<i16, (i16, i16)>,
    pub(crate) checked: BTreeSet<i16>,
}

impl Client {
    pub(crate) fn new(broker: &Process) -> Self {
        let mut stream = broker.connect();
        let answer = call(&mut stream, &request(18, 0, 1, b"")).unwrap();
        let mut body = Bytes::from(answer).slice(4..);
        let table = ApiVersionsResponse::decode(&mut body, 0).unwrap();
        let versions = table.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version)));
        Self { stream, advertised: versions.collect(), checked: BTreeSet::new() }
    }

    /// Sends a request and waits for no answer.
    pub(crate) fn send<R: Request>(&mut self, version: i16, message: &R) {
        let frame = Self::frame(version, message);
        self.stream.write_all(&frame).unwrap();
    }

    /// A request with its length, as it is sent.
    pub(crate) fn frame<R: Request>(version: i16, message: &R) -> Vec<u8> {
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(77)
            .with_client_id(Some(StrBytes::from_static_str("versions")));
        header.encode(&mut frame, R::header_version(version)).unwrap();
        message.encode(&mut frame, version).unwrap();
        framed(&frame)
    }

    pub(crate) fn ask<R: Request>(&mut self, version: i16, message: &R) -> R::Response {
        let answer = call(&mut self.stream, &Self::frame(version, message));
        let answer = answer.unwrap_or_else(|| panic!("key {} version {version}: closed", R::KEY));
        let mut answer = Bytes::from(answer);
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, 77);
        let decoded = R::Response::decode(&mut answer, version).unwrap();
        assert_eq!(answer.remaining(), 0, "key {} version {version}: bytes are left", R::KEY);
        decoded
    }
}

pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
