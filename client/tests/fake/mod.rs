//! A broker that says what a test wants it to say.

// Every test binary uses another part of it.
#![allow(dead_code)]

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use proto_kafka::protocol::{Decodable, Encodable, HeaderVersion, Request};
use ringmain_client::wire::Api;
use ringmain_client::wire::messages::api_versions_response::ApiVersion;
use ringmain_client::wire::messages::{
    ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) key: i16,
    pub(crate) version: i16,
    pub(crate) number: i32,
    body: Bytes,
}

impl Asked {
    /// The request itself.
    pub(crate) fn decode<R: Api>(&self) -> R {
        assert_eq!(self.key, R::KEY, "not a {} request", R::NAME);
        R::decode(&mut self.body.clone(), self.version).expect("a request that can be read")
    }

    /// The bytes of a response to it, in the version it was asked in.
    pub(crate) fn answer<R: Api>(&self, response: &R::Response) -> Vec<u8> {
        self.answer_in::<R>(self.version, response)
    }

    /// The bytes of a response to it, in some version.
    pub(crate) fn answer_in<R: Api>(&self, version: i16, response: &R::Response) -> Vec<u8> {
        let mut body = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(self.number);
        let header_version = R::Response::header_version(version);
        header.encode(&mut body, header_version).expect("a header");
        response.encode(&mut body, version).expect("a response");
        framed(&body)
    }
}

/// Bytes behind their length.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).expect("a short body");
    [&length.to_be_bytes()[..], body].concat()
}

/// What the broker does with a request.
#[derive(Debug)]
pub(crate) enum Deed {
    /// Writes these bytes.
    Say(Vec<u8>),
    /// Closes the connection.
    Close,
    /// Nothing.
    Nothing,
}

/// The API versions that a broker of today serves.
pub(crate) fn versions(apis: &[(i16, i16, i16)]) -> ApiVersionsResponse {
    let apis = apis.iter().map(|(key, min, max)| {
        ApiVersion::default().with_api_key(*key).with_min_version(*min).with_max_version(*max)
    });
    ApiVersionsResponse::default().with_api_keys(apis.collect())
}

/// Starts a broker; gives its address. `deed` decides about every request, of any connection.
pub(crate) async fn start(deed: impl FnMut(Asked) -> Deed + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    let deed = Arc::new(Mutex::new(deed));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let deed = Arc::clone(&deed);
            tokio::spawn(async move {
                // A client that goes away is none of the broker's business.
                let _ = serve(socket, &deed).await;
            });
        }
    });
    address
}

/// As [`start`], with the versions answered for.
pub(crate) async fn start_with(
    apis: &'static [(i16, i16, i16)],
    mut deed: impl FnMut(Asked) -> Deed + Send + 'static,
) -> String {
    start(move |asked| {
        if asked.key == ApiVersionsRequest::KEY {
            Deed::Say(asked.answer::<ApiVersionsRequest>(&versions(apis)))
        } else {
            deed(asked)
        }
    })
    .await
}

async fn serve<D>(mut socket: TcpStream, deed: &Mutex<D>) -> std::io::Result<()>
where
    D: FnMut(Asked) -> Deed,
{
    loop {
        let length = socket.read_i32().await?;
        let mut frame = vec![0; usize::try_from(length).expect("a length")];
        socket.read_exact(&mut frame).await?;
        let mut body = Bytes::from(frame);
        let key = i16::from_be_bytes([body[0], body[1]]);
        let version = i16::from_be_bytes([body[2], body[3]]);
        let api = ringmain_client::wire::messages::ApiKey::try_from(key).expect("a known request");
        let header = RequestHeader::decode(&mut body, api.request_header_version(version));
        let asked = Asked { key, version, number: header.expect("a header").correlation_id, body };
        let deed = deed.lock().expect("no panic before")(asked);
        match deed {
            Deed::Say(bytes) => socket.write_all(&bytes).await?,
            Deed::Close => return Ok(()),
            Deed::Nothing => {}
        }
    }
}
