//! The one table of what the broker speaks: key, versions, handler. ApiVersions answers from it, and
//! requests are dispatched by it, so what is advertised is what is served.

use crate::broker::Broker;
use crate::handler;
use crate::wire::messages::{self, ApiKey};
use crate::wire::{ErrorCodes, Malformed, Message, Request, RequestHeader, Response};
use futures_util::future::LocalBoxFuture;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A frame that was received.
pub(crate) struct Call<'a> {
    pub(crate) broker: &'a Arc<Broker>,
    pub(crate) peer: SocketAddr,
    /// What the requests of the connection that wait for their answers take of the memory for such, now.
    pub(crate) held_bytes: &'a Rc<Cell<usize>>,
    pub(crate) frame: &'a mut [u8],
}

/// An answer to come. A reason given instead closes the connection.
pub(crate) type Promise = LocalBoxFuture<'static, Result<Response, String>>;

/// An answer, or the promise of one.
pub(crate) enum Answer {
    Now(Response),
    Later(Promise),
    /// As `Later`, of a request that may change what those after it find: an append waits for it.
    Control(Promise),
}

/// What becomes of a request.
pub(crate) enum Outcome {
    Answer(Answer),
    /// It wants none. The client is not read from for so long.
    Silent {
        throttle_ms: u32,
    },
    /// It cannot be answered.
    Close(String),
}

/// What a handler of the control plane works with.
pub(crate) struct Context {
    pub(crate) broker: Arc<Broker>,
    pub(crate) header: RequestHeader,
    pub(crate) peer: SocketAddr,
}

/// How a request is begun.
enum Begin {
    /// At once: what it asks for is done by the answer.
    AtOnce(fn(&Arc<Broker>, SocketAddr, Request<'_>) -> Outcome),
    /// A produce request: its batches are appended where they lie, some perhaps after other threads worked on them.
    Produce,
    /// One that may wait for records, but not with memory that others need.
    Fetch,
}

/// One API.
pub(crate) struct Api {
    pub(crate) key: ApiKey,
    pub(crate) min_version: i16,
    pub(crate) max_version: i16,
    begin: Begin,
    /// What fuzzing does with its messages.
    #[cfg(feature = "fuzz")]
    pub(crate) shape: crate::fuzzing::Shape,
}

/// An API whose messages come from the codec and whose handler is an async function.
macro_rules! control {
    ($key:ident, $versions:expr, $message:ident, $handler:ident) => {
        Api {
            key: ApiKey::$key,
            min_version: *$versions.start(),
            max_version: *$versions.end(),
            begin: Begin::AtOnce(|broker, peer, request| {
                control::<messages::$message, _>(broker, peer, &request, handler::$handler::handle)
            }),
            #[cfg(feature = "fuzz")]
            shape: crate::fuzzing::Shape::of::<messages::$message>(),
        }
    };
}

/// An API whose handler reads and writes its messages itself.
macro_rules! data {
    ($key:ident, $versions:expr, $message:ident, $begin:expr) => {
        Api {
            key: ApiKey::$key,
            min_version: *$versions.start(),
            max_version: *$versions.end(),
            begin: $begin,
            #[cfg(feature = "fuzz")]
            shape: crate::fuzzing::Shape::of::<messages::$message>(),
        }
    };
}

/// Everything that is served.
pub(crate) const APIS: &[Api] = &[
    // From 0, or older librdkafka turns compression off; formats before 3 get an error.
    data!(Produce, 0..=13, ProduceRequest, Begin::Produce),
    data!(Fetch, 4..=18, FetchRequest, Begin::Fetch),
    control!(ListOffsets, 1..=10, ListOffsetsRequest, list_offsets),
    control!(Metadata, 0..=13, MetadataRequest, metadata),
    control!(OffsetCommit, 2..=9, OffsetCommitRequest, offset_commit),
    control!(OffsetFetch, 1..=9, OffsetFetchRequest, offset_fetch),
    control!(FindCoordinator, 0..=6, FindCoordinatorRequest, find_coordinator),
    control!(JoinGroup, 0..=9, JoinGroupRequest, join_group),
    control!(Heartbeat, 0..=4, HeartbeatRequest, heartbeat),
    control!(LeaveGroup, 0..=5, LeaveGroupRequest, leave_group),
    control!(SyncGroup, 0..=5, SyncGroupRequest, sync_group),
    control!(DescribeGroups, 0..=6, DescribeGroupsRequest, describe_groups),
    control!(ListGroups, 0..=5, ListGroupsRequest, list_groups),
    control!(DeleteGroups, 0..=2, DeleteGroupsRequest, delete_groups),
    control!(OffsetDelete, 0..=0, OffsetDeleteRequest, offset_delete),
    control!(ApiVersions, 0..=4, ApiVersionsRequest, api_versions),
    control!(CreateTopics, 2..=7, CreateTopicsRequest, create_topics),
    control!(DeleteTopics, 1..=6, DeleteTopicsRequest, delete_topics),
    control!(DeleteRecords, 0..=2, DeleteRecordsRequest, delete_records),
    control!(InitProducerId, 0..=4, InitProducerIdRequest, init_producer_id),
    control!(OffsetForLeaderEpoch, 2..=4, OffsetForLeaderEpochRequest, offset_for_leader_epoch),
    control!(DescribeConfigs, 1..=4, DescribeConfigsRequest, describe_configs),
    control!(AlterConfigs, 0..=2, AlterConfigsRequest, alter_configs),
    control!(DescribeLogDirs, 1..=4, DescribeLogDirsRequest, describe_log_dirs),
    control!(CreatePartitions, 0..=3, CreatePartitionsRequest, create_partitions),
    control!(ElectLeaders, 0..=2, ElectLeadersRequest, elect_leaders),
    control!(IncrementalAlterConfigs, 0..=1, IncrementalAlterConfigsRequest, incremental_alter_configs),
    control!(
        ListPartitionReassignments,
        0..=0,
        ListPartitionReassignmentsRequest,
        list_partition_reassignments
    ),
    control!(DescribeClientQuotas, 0..=1, DescribeClientQuotasRequest, describe_client_quotas),
    control!(AlterClientQuotas, 0..=1, AlterClientQuotasRequest, alter_client_quotas),
    control!(DescribeCluster, 0..=2, DescribeClusterRequest, describe_cluster),
    control!(DescribeProducers, 0..=0, DescribeProducersRequest, describe_producers),
    control!(ListConfigResources, 0..=1, ListConfigResourcesRequest, list_config_resources),
    control!(DescribeTopicPartitions, 0..=0, DescribeTopicPartitionsRequest, describe_topic_partitions),
];

/// Whether a request is begun when it is received, and so must not overtake those before it.
pub(crate) fn is_begun_at_once(key: Option<i16>) -> bool {
    key == Some(ApiKey::Produce as i16)
}

/// Whether a request changes nothing and asks for what may be much.
pub(crate) fn is_fetch(key: Option<i16>) -> bool {
    key == Some(ApiKey::Fetch as i16)
}

/// Begins a request: what must happen in order is done when this returns, the rest is a promise.
pub(crate) async fn begin(call: Call<'_>) -> Outcome {
    let request = match Request::parse(call.frame) {
        Ok(request) => request,
        Err(err) => return Outcome::Close(format!("the request's header is {err}")),
    };
    let (key, version) = (request.header.api_key, request.header.version);
    let Some(api) = APIS.iter().find(|api| api.key as i16 == key) else {
        return Outcome::Close(format!("a request with API key {key}, which is not served"));
    };
    if !(api.min_version..=api.max_version).contains(&version) {
        if api.key == ApiKey::ApiVersions {
            return handler::api_versions::too_new(&request.header);
        }
        let (min, max) = (api.min_version, api.max_version);
        return Outcome::Close(format!(
            "a {:?} request of version {version}; {min} to {max} are served",
            api.key
        ));
    }
    match api.begin {
        Begin::AtOnce(begin) => begin(call.broker, call.peer, request),
        Begin::Produce => handler::produce::begin(call.broker, call.peer, request).await,
        Begin::Fetch => handler::fetch::begin(call.broker, call.held_bytes, request),
    }
}

fn control<M, F>(
    broker: &Arc<Broker>,
    peer: SocketAddr,
    request: &Request<'_>,
    handle: impl FnOnce(Context, M) -> F + 'static,
) -> Outcome
where
    M: Message<Response: ErrorCodes> + 'static,
    F: Future<Output = M::Response> + 'static,
{
    let header = request.header.clone();
    let message = match request.decode::<M>(broker.config.places_max()) {
        Ok(message) => message,
        Err(err) => return Outcome::Close(malformed(&header, &err)),
    };
    let context = Context { broker: Arc::clone(broker), header: header.clone(), peer };
    Outcome::Answer(Answer::Control(Box::pin(async move {
        // As a task of its own: what was begun is finished, though the client be gone.
        let quotas = Arc::clone(&context.broker);
        let handled = tokio::task::spawn_local(timed(handle(context, message))).await;
        let (mut response, took) = handled.map_err(|err| format!("its handler ended early: {err}"))?;
        let throttle_ms = quotas.throttle_for_time_ms(&header.client_id, took);
        response.set_throttle_ms(throttle_ms);
        let answer = Response::message(&header, &response);
        let answer = answer.map_err(|err| format!("its answer cannot be encoded: {err}"))?;
        Ok(Response { throttle_ms, ..answer })
    })))
}

/// Gives, beside its result, the time that a thread was at it: not that for which it waited.
async fn timed<F: Future>(work: F) -> (F::Output, Duration) {
    let mut work = pin!(work);
    let mut took = Duration::ZERO;
    poll_fn(|context| {
        let began = Instant::now();
        let polled = work.as_mut().poll(context);
        took += began.elapsed();
        polled.map(|result| (result, took))
    })
    .await
}

/// Why a request that cannot be read ends its connection.
pub(crate) fn malformed(header: &RequestHeader, err: &Malformed) -> String {
    let name = ApiKey::try_from(header.api_key).map(|key| format!("{key:?}")).unwrap_or_default();
    format!("a {name} request of version {} is {err}", header.version)
}
