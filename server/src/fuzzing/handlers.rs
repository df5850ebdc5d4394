//! The target `handler`: requests of any API and version, most of them such as the codec writes, some damaged and
//! some of any bytes, one after another to a broker in this process. Each is answered in its version or its
//! connection is closed; no thread panics; and other topics are what they were, also after a restart.

use super::drawn::{Drawn, Learned};
use super::messages::{frame, pick};
use super::session::{Reply, Session};
use crate::wire::codec::Decodable;
use crate::wire::messages::{
    ApiKey, FetchResponse, InitProducerIdResponse, JoinGroupResponse, MetadataResponse,
};
use arbitrary::Unstructured;
use bytes::{Buf, Bytes};
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing_subscriber::EnvFilter;

/// Requests of one input at most.
const REQUESTS_MAX: i32 = 16;
/// Bytes of a request that is none.
const RAW_BYTES_MAX: usize = 200;

/// Panics of any thread: the broker's own are caught where they happen.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // For replays: why connections were closed.
        if std::env::var_os("RUST_LOG").is_some() {
            let _ = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).try_init();
        }
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::AcqRel);
            before(info);
        }));
    });
}

/// How a request is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Whole,
    Damaged,
    Raw,
}

pub(super) fn run(input: &[u8]) {
    prepare();
    let panics = PANICS.load(Ordering::Acquire);
    let mut source = Unstructured::new(input);
    let mut session = Session::start();
    let mut learned = Learned::default();
    let mut quotas = false;
    for number in 0..REQUESTS_MAX {
        if source.is_empty() {
            break;
        }
        let mut byte = || source.arbitrary::<u8>().unwrap_or(0);
        let (api, version) = pick(byte(), byte());
        let how = match byte() {
            0..=219 => How::Whole,
            220..=239 => How::Damaged,
            240.. => How::Raw,
        };
        let drawn = match how {
            How::Raw => None,
            _ => (api.shape.draw)(&mut Drawn::new(&mut source, &learned), version),
        };
        let how = if drawn.is_none() { How::Raw } else { how };
        let body = drawn.unwrap_or_else(|| {
            let count = source.len().min(RAW_BYTES_MAX);
            source.bytes(count).map(<[u8]>::to_vec).unwrap_or_default()
        });
        let mut request = frame(api.key, version, number, &body);
        if how == How::Damaged {
            // Behind the correlation id, by which the answer is known.
            let at = 8 + source.arbitrary::<u16>().map_or(0, usize::from) % (request.len() - 8);
            match source.arbitrary().unwrap_or(0u8) {
                0..=63 => request.truncate(at),
                by => request[at] ^= by,
            }
        }
        if session.names_kept(&request) {
            continue;
        }
        quotas |= api.key == ApiKey::AlterClientQuotas;
        // Who waits for others, and who is over its quota, waits.
        let may_wait = quotas || matches!(api.key, ApiKey::JoinGroup | ApiKey::SyncGroup | ApiKey::Fetch);
        let reply = session.ask(&request, number, may_wait);
        assert_eq!(PANICS.load(Ordering::Acquire), panics, "{:?} version {version}: a panic", api.key);
        let known = version <= api.max_version;
        match reply {
            Reply::Answer(answer) if known => {
                (api.shape.check_answer)(&answer, version);
                learn(&mut learned, api.key, version, &answer);
            }
            // An unknown version is answered in version 0.
            Reply::Answer(_) => assert_eq!(api.key, ApiKey::ApiVersions, "version {version}"),
            Reply::Silence => assert_eq!(api.key, ApiKey::Produce, "{:?} {version}: no answer", api.key),
            // Sound requests are answered; acks=0 can tell of an error in no other way.
            Reply::Closed => {
                let sound = known && how == How::Whole && api.key != ApiKey::Produce;
                assert!(!sound, "{:?} version {version}: closed", api.key);
            }
            Reply::Waiting => {}
        }
    }
    session.end();
    assert_eq!(PANICS.load(Ordering::Acquire), panics, "a panic at the end");
}

fn decoded<M: Decodable>(answer: &[u8], at: usize, version: i16) -> Option<M> {
    let mut bytes = Bytes::copy_from_slice(answer);
    bytes.advance(at);
    M::decode(&mut bytes, version).ok()
}

/// Keeps what later requests need to get further.
fn learn(learned: &mut Learned, key: ApiKey, version: i16, answer: &[u8]) {
    let at = if key.response_header_version(version) >= 1 { 5 } else { 4 };
    match key {
        ApiKey::JoinGroup => {
            let joined: Option<JoinGroupResponse> = decoded(answer, at, version);
            let id = joined.map(|joined| joined.member_id.as_bytes().to_vec());
            learned.texts.extend(id.filter(|id| !id.is_empty()));
        }
        ApiKey::Metadata => {
            let told: Option<MetadataResponse> = decoded(answer, at, version);
            learned.ids =
                told.iter().flat_map(|told| &told.topics).map(|topic| topic.topic_id.into_bytes()).collect();
        }
        ApiKey::Fetch => {
            let fetched: Option<FetchResponse> = decoded(answer, at, version);
            learned.numbers.extend(fetched.map(|fetched| i64::from(fetched.session_id)));
        }
        ApiKey::InitProducerId => {
            let given: Option<InitProducerIdResponse> = decoded(answer, at, version);
            learned.numbers.extend(given.map(|given| given.producer_id.0));
        }
        _ => {}
    }
}
