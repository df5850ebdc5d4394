//! The wire protocol: frames, headers, and the two hot messages by hand. The messages of the
//! control plane come from `proto-kafka`, which is named nowhere else in the broker.

mod bounded;
mod cursor;
mod error_codes;
pub(crate) mod fetch;
pub(crate) mod produce;
pub(crate) mod resource;
mod response;

pub(crate) use bounded::{Bounded, fields_max};
pub(crate) use cursor::{Cursor, Malformed};
pub(crate) use error_codes::ErrorCodes;
pub(crate) use proto_kafka::error::ResponseError as ErrorCode;
pub(crate) use proto_kafka::messages;
#[cfg(feature = "fuzz")]
pub(crate) use proto_kafka::protocol as codec;
pub(crate) use proto_kafka::protocol::{Request as Message, StrBytes};
pub(crate) use response::{Part, Response};

use bytes::Bytes;
use proto_kafka::messages::ApiKey;
use proto_kafka::protocol::Decodable;

/// The code of no error.
pub(crate) const NONE: i16 = 0;

/// What begins every request.
#[derive(Clone, Debug)]
pub(crate) struct RequestHeader {
    pub(crate) api_key: i16,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: String,
}

/// A request whose header was read; the body follows in the same buffer.
pub(crate) struct Request<'a> {
    pub(crate) header: RequestHeader,
    pub(crate) body: &'a mut [u8],
}

impl<'a> Request<'a> {
    /// Reads the header of a frame. `flexible` tells for key and version whether the header has
    /// tagged fields.
    pub(crate) fn parse(frame: &'a mut [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame);
        let api_key = cursor.i16()?;
        let version = cursor.i16()?;
        let correlation_id = cursor.i32()?;
        let client_id = cursor.nullable_string()?.unwrap_or_default().to_owned();
        let header_version = ApiKey::try_from(api_key).map_or(1, |key| key.request_header_version(version));
        if header_version >= 2 {
            cursor.tagged_fields()?;
        }
        let at = cursor.position();
        let header = RequestHeader { api_key, version, correlation_id, client_id };
        Ok(Self { header, body: &mut frame[at..] })
    }

    /// The body as one of the control plane's messages, which names at most `places_max` topics and partitions.
    pub(crate) fn decode<M: Decodable>(&self, places_max: usize) -> Result<M, Malformed> {
        let fields_max = fields_max(places_max);
        let mut body = Bounded::new(Bytes::copy_from_slice(self.body), fields_max);
        M::decode(&mut body, self.header.version).map_err(|err| match body.is_tight() {
            true => Malformed(format!("{err} (at most {fields_max} fields are read)")),
            false => Malformed(err.to_string()),
        })
    }
}

/// A string of the protocol's own type.
pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}
