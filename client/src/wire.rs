//! The one module that knows the codec: messages, frames, and the versions this client speaks.
//!
//! Every request type has an [`Api`] entry here with the lowest and the highest version this
//! client handles. A connection uses the highest version that broker and client both speak.

pub mod batch;
pub mod compression;
pub mod varint;

use bytes::{Bytes, BytesMut};
pub use proto_kafka::ResponseError as BrokerError;
pub use proto_kafka::error::ProtoError;
pub use proto_kafka::messages;
pub use proto_kafka::protocol::StrBytes;
use proto_kafka::protocol::{Decodable, Encodable, HeaderVersion, Request};

use messages::{RequestHeader, ResponseHeader, TopicName};

/// Bytes of the length that precedes every frame.
pub const FRAME_LENGTH_BYTES: usize = 4;

/// A request this client can send, with the versions it handles.
pub trait Api: Request {
    /// The name of the request, for messages to people.
    const NAME: &'static str;
    /// The lowest version this client handles.
    const MIN: i16;
    /// The highest version this client handles.
    const MAX: i16;
}

macro_rules! apis {
    ($($request:ident $name:literal $min:literal..=$max:literal;)*) => {
        $(impl Api for messages::$request {
            const NAME: &'static str = $name;
            const MIN: i16 = $min;
            const MAX: i16 = $max;
        })*

        #[cfg(test)]
        pub(crate) const TABLE: &[(&str, i16, i16, i16, i16, i16)] = &[
            $(($name, messages::$request::KEY, $min, $max,
               <messages::$request as proto_kafka::protocol::Message>::VERSIONS.min,
               <messages::$request as proto_kafka::protocol::Message>::VERSIONS.max)),*
        ];
    };
}

// The upper bounds keep to names: topic ids start at Produce 13 and Fetch 13. OffsetFetch 8,
// FindCoordinator 4, DeleteTopics 6 and LeaveGroup 3 change to lists of what is asked for one
// at a time here.
apis! {
    ProduceRequest "Produce" 3..=12;
    FetchRequest "Fetch" 4..=12;
    ListOffsetsRequest "ListOffsets" 1..=10;
    MetadataRequest "Metadata" 1..=12;
    OffsetCommitRequest "OffsetCommit" 2..=8;
    OffsetFetchRequest "OffsetFetch" 1..=7;
    FindCoordinatorRequest "FindCoordinator" 0..=3;
    JoinGroupRequest "JoinGroup" 0..=4;
    HeartbeatRequest "Heartbeat" 0..=4;
    LeaveGroupRequest "LeaveGroup" 0..=2;
    SyncGroupRequest "SyncGroup" 0..=4;
    DescribeGroupsRequest "DescribeGroups" 0..=5;
    ListGroupsRequest "ListGroups" 0..=4;
    ApiVersionsRequest "ApiVersions" 0..=3;
    CreateTopicsRequest "CreateTopics" 2..=7;
    DeleteTopicsRequest "DeleteTopics" 1..=5;
    InitProducerIdRequest "InitProducerId" 0..=4;
    CreatePartitionsRequest "CreatePartitions" 0..=3;
    DeleteRecordsRequest "DeleteRecords" 0..=2;
    DescribeConfigsRequest "DescribeConfigs" 1..=4;
    IncrementalAlterConfigsRequest "IncrementalAlterConfigs" 0..=1;
    DeleteGroupsRequest "DeleteGroups" 0..=2;
}

/// Encodes a whole frame: length, request header, request.
///
/// # Errors
/// When the request holds something that the version cannot carry.
pub fn encode_frame<R: Api>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &str,
) -> Result<Bytes, ProtoError> {
    let header_version = R::header_version(version);
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(string(client_id)));
    let size = header.compute_size(header_version)? + request.compute_size(version)?;
    let length =
        i32::try_from(size).map_err(|_| ProtoError::FieldTooLarge { field: "request frame", size })?;
    let mut frame = BytesMut::with_capacity(FRAME_LENGTH_BYTES + size);
    frame.extend_from_slice(&length.to_be_bytes());
    header.encode(&mut frame, header_version)?;
    request.encode(&mut frame, version)?;
    if frame.len() != FRAME_LENGTH_BYTES + size {
        // The length was written before the content: never send a frame that contradicts it.
        return Err(ProtoError::FieldTooLarge { field: "request frame", size: frame.len() });
    }
    Ok(frame.freeze())
}

/// Decodes a response whose frame length has been taken off.
///
/// # Errors
/// When the bytes are not a response of that version.
pub fn decode_response<R: Api>(mut frame: Bytes, version: i16) -> Result<R::Response, ProtoError> {
    ResponseHeader::decode(&mut frame, R::Response::header_version(version))?;
    R::Response::decode(&mut frame, version)
}

/// Turns an error code of the protocol into an error; 0 is none.
#[must_use]
pub fn broker_error(code: i16) -> Option<BrokerError> {
    BrokerError::try_from_code(code)
}

/// The protocol's string of a Rust string.
#[must_use]
pub fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The protocol's topic name of a Rust string.
#[must_use]
pub fn topic_name(text: &str) -> TopicName {
    TopicName(string(text))
}

/// Encodes a message that travels inside another one, behind its version (the consumer group's
/// subscriptions and assignments).
///
/// # Errors
/// When the message holds something that the version cannot carry.
pub fn encode_embedded<M: Encodable>(message: &M, version: i16) -> Result<Bytes, ProtoError> {
    let mut bytes = BytesMut::with_capacity(2 + message.compute_size(version)?);
    bytes.extend_from_slice(&version.to_be_bytes());
    message.encode(&mut bytes, version)?;
    Ok(bytes.freeze())
}

/// Decodes a message that travels inside another one, behind its version; versions above
/// `version_max` are read as `version_max`, since later ones only add fields at the end.
///
/// # Errors
/// When the bytes are not such a message.
pub fn decode_embedded<M: Decodable>(bytes: &Bytes, version_max: i16) -> Result<M, ProtoError> {
    let mut rest = bytes.clone();
    if rest.len() < 2 {
        return Err(ProtoError::NotEnoughBytes);
    }
    let head = rest.split_to(2);
    let version = i16::from_be_bytes([head[0], head[1]]);
    M::decode(&mut rest, version.clamp(0, version_max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use messages::{ApiVersionsRequest, MetadataRequest};

    #[test]
    fn the_codec_decodes_every_version_of_the_table() {
        for (name, key, min, max, codec_min, codec_max) in TABLE {
            assert!(min <= max, "{name} ({key}): {min}..={max}");
            assert!(min >= codec_min || *codec_min <= *max, "{name} ({key})");
            assert!(max <= codec_max, "{name} ({key}) exceeds the codec");
        }
    }

    #[test]
    fn a_frame_carries_its_own_length_and_header() {
        let frame = encode_frame(&ApiVersionsRequest::default(), 0, 7, "me").unwrap();
        assert_eq!(frame.as_ref(), b"\x00\x00\x00\x0c\x00\x12\x00\x00\x00\x00\x00\x07\x00\x02me");
        let length = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        assert_eq!(length as usize + FRAME_LENGTH_BYTES, frame.len());
    }

    #[test]
    fn a_truncated_response_is_an_error() {
        let frame = Bytes::from_static(&[0, 0, 0, 1, 0]);
        assert!(decode_response::<MetadataRequest>(frame, 1).is_err());
    }

    #[test]
    fn an_embedded_message_needs_its_version() {
        type Assignment = messages::ConsumerProtocolAssignment;
        assert!(decode_embedded::<Assignment>(&Bytes::from_static(&[0]), 1).is_err());
        let bytes = encode_embedded(&Assignment::default(), 1).unwrap();
        assert_eq!(decode_embedded::<Assignment>(&bytes, 1).unwrap(), Assignment::default());
    }
}
