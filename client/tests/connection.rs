//! What a connection does with brokers of all sorts, the broken ones included.

mod fake;

use std::time::Duration;

use fake::{Deed, framed, start, start_with, versions};
use proto_kafka::protocol::Request;
use ringmain_client::config::ConnectionConfig;
use ringmain_client::connection::Connection;
use ringmain_client::error::{CallError, CloseReason, ConnectError};
use ringmain_client::wire::messages::{
    ApiVersionsRequest, HeartbeatRequest, HeartbeatResponse, ListGroupsRequest, ListGroupsResponse,
    MetadataRequest,
};

const HEARTBEAT: (i16, i16, i16) = (HeartbeatRequest::KEY, 0, 2);

fn config() -> ConnectionConfig {
    ConnectionConfig { frame_bytes_max: 1000, ..ConnectionConfig::default() }
}

async fn heartbeat(connection: &Connection) -> Result<i16, CallError> {
    let response = connection.call(&HeartbeatRequest::default()).await;
    response.map(|response| response.error_code)
}

/// The reason of a call that failed because its connection ended.
fn closed(result: Result<i16, CallError>) -> CloseReason {
    match result {
        Err(CallError::Closed { reason, .. }) => reason,
        other => panic!("not closed: {other:?}"),
    }
}

#[tokio::test]
async fn the_highest_version_of_both_is_used() {
    let apis = &[HEARTBEAT, (MetadataRequest::KEY, 0, 99), (ListGroupsRequest::KEY, 90, 99)];
    let address = start_with(apis, |_| Deed::Nothing).await;
    let connection = Connection::connect(&address, &config()).await.unwrap();
    assert_eq!(connection.address(), address);
    assert_eq!(connection.version_of::<HeartbeatRequest>().unwrap(), 2);
    assert_eq!(connection.version_of::<MetadataRequest>().unwrap(), 12);
    assert!(matches!(
        connection.version_of::<ListGroupsRequest>(),
        Err(CallError::Version { broker_min: 90, client_max: 4, .. })
    ));
    assert!(matches!(
        connection.call(&ApiVersionsRequest::default()).await,
        Err(CallError::Unserved { api: "ApiVersions", .. })
    ));
}

#[tokio::test]
async fn an_older_broker_is_asked_again_in_version_0() {
    let mut asked_in = Vec::new();
    let address = start(move |asked| {
        asked_in.push(asked.version);
        let code = if asked.version > 0 { 35 } else { 0 };
        assert!(asked_in == [3] || asked_in == [3, 0]);
        let response = versions(&[HEARTBEAT]).with_error_code(code);
        Deed::Say(asked.answer_in::<ApiVersionsRequest>(0, &response))
    })
    .await;
    let connection = Connection::connect(&address, &config()).await.unwrap();
    assert_eq!(connection.version_of::<HeartbeatRequest>().unwrap(), 2);
}

#[tokio::test]
async fn a_broker_that_refuses_the_handshake_is_told_of() {
    let address = start(|asked| {
        let response = versions(&[]).with_error_code(58);
        Deed::Say(asked.answer::<ApiVersionsRequest>(&response))
    })
    .await;
    let error = Connection::connect(&address, &config()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn what_is_no_broker_is_told_of() {
    let address = start(|_| Deed::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).await;
    let error = Connection::connect(&address, &config()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error}");
}

#[tokio::test]
async fn silence_and_absence_are_told_apart() {
    let address = start(|_| Deed::Nothing).await;
    let hasty = ConnectionConfig { connect_timeout: Duration::from_millis(50), ..config() };
    let error = Connection::connect(&address, &hasty).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error}");
    let error = Connection::connect("127.0.0.1:1", &config()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Io { .. }), "{error}");
}

#[tokio::test]
async fn many_requests_are_in_flight_and_each_gets_its_own_answer() {
    let mut waiting = Vec::new();
    let address = start_with(&[HEARTBEAT], move |asked| {
        // Nothing is said before all three are there; each answer carries its request.
        let generation = asked.decode::<HeartbeatRequest>().generation_id;
        let response = HeartbeatResponse::default().with_error_code(generation as i16);
        waiting.push(asked.answer::<HeartbeatRequest>(&response));
        if waiting.len() < 3 {
            return Deed::Nothing;
        }
        Deed::Say(waiting.drain(..).rev().flatten().collect())
    })
    .await;
    let connection = Connection::connect(&address, &config()).await.unwrap();
    let mut replies = Vec::new();
    for generation in 1..=3 {
        let request = HeartbeatRequest::default().with_generation_id(generation);
        replies.push((generation, connection.submit(&request).await.unwrap()));
    }
    for (generation, reply) in replies {
        assert_eq!(i32::from(reply.wait().await.unwrap().error_code), generation);
    }
}

#[tokio::test]
async fn requests_beyond_the_limit_wait_their_turn() {
    let mut unanswered = 0;
    let address = start_with(&[HEARTBEAT], move |asked| {
        unanswered += 1;
        if unanswered == 1 {
            return Deed::Nothing;
        }
        Deed::Say(asked.answer::<HeartbeatRequest>(&HeartbeatResponse::default()))
    })
    .await;
    let narrow = ConnectionConfig { in_flight_max: 1, ..config() };
    let connection = Connection::connect(&address, &narrow).await.unwrap();
    let request = HeartbeatRequest::default();
    let _first = connection.submit(&request).await.unwrap();
    let second = tokio::time::timeout(Duration::from_millis(50), connection.submit(&request));
    assert!(second.await.is_err(), "two in flight where one is allowed");
}

#[tokio::test]
async fn an_answer_to_a_dropped_call_is_passed_over() {
    let mut count = 0;
    let address = start_with(&[HEARTBEAT], move |asked| {
        count += 1;
        let response = HeartbeatResponse::default().with_error_code(count);
        Deed::Say(asked.answer::<HeartbeatRequest>(&response))
    })
    .await;
    let connection = Connection::connect(&address, &config()).await.unwrap();
    drop(connection.submit(&HeartbeatRequest::default()).await.unwrap());
    assert_eq!(heartbeat(&connection).await.unwrap(), 2);
}

#[tokio::test]
async fn a_closed_connection_fails_all_that_is_in_flight_and_comes() {
    let mut count = 0;
    let address = start_with(&[HEARTBEAT], move |_| {
        count += 1;
        if count == 2 { Deed::Close } else { Deed::Nothing }
    })
    .await;
    let connection = Connection::connect(&address, &config()).await.unwrap();
    let (first, second) = tokio::join!(heartbeat(&connection), heartbeat(&connection));
    assert!(matches!(closed(first), CloseReason::Eof));
    assert!(matches!(closed(second), CloseReason::Eof));
    assert!(connection.is_closed());
    assert!(matches!(closed(heartbeat(&connection).await), CloseReason::Eof));
}

#[tokio::test]
async fn an_oversized_response_is_not_waited_for() {
    for length in [1001, i32::MAX, -1] {
        let address = start_with(&[HEARTBEAT], move |_| Deed::Say(length.to_be_bytes().to_vec())).await;
        let connection = Connection::connect(&address, &config()).await.unwrap();
        let reason = closed(heartbeat(&connection).await);
        let expected = i64::from(length);
        assert!(
            matches!(reason, CloseReason::FrameSize { bytes, limit: 1000 } if bytes == expected),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn an_answer_to_nothing_ends_the_connection() {
    let address = start_with(&[HEARTBEAT], |_| Deed::Say(framed(&[0, 0, 1, 0, 0, 0]))).await;
    let connection = Connection::connect(&address, &config()).await.unwrap();
    let reason = closed(heartbeat(&connection).await);
    assert!(matches!(reason, CloseReason::Unasked(256)), "{reason}");
}

#[tokio::test]
async fn an_unreadable_answer_fails_its_call_only() {
    let mut count = 0;
    let address = start_with(&[HEARTBEAT], move |asked| {
        count += 1;
        if count == 1 {
            // The header and nothing else.
            return Deed::Say(framed(&asked.number.to_be_bytes()));
        }
        Deed::Say(asked.answer::<HeartbeatRequest>(&HeartbeatResponse::default()))
    })
    .await;
    let connection = Connection::connect(&address, &config()).await.unwrap();
    let error = heartbeat(&connection).await.unwrap_err();
    assert!(matches!(error, CallError::Decode { api: "Heartbeat", version: 2, .. }), "{error}");
    assert!(!error.is_retriable());
    assert_eq!(heartbeat(&connection).await.unwrap(), 0);
}

#[tokio::test]
async fn an_overdue_answer_ends_the_connection() {
    let address = start_with(&[HEARTBEAT], |_| Deed::Nothing).await;
    let hasty = ConnectionConfig { request_timeout: Duration::from_millis(50), ..config() };
    let connection = Connection::connect(&address, &hasty).await.unwrap();
    let error = heartbeat(&connection).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { api: "Heartbeat", .. }), "{error}");
    assert!(error.is_retriable());
    assert!(matches!(closed(heartbeat(&connection).await), CloseReason::TimedOut));
}

#[tokio::test]
async fn answers_may_come_in_pieces_and_large() {
    let address = start_with(&[(ListGroupsRequest::KEY, 0, 0)], |asked| {
        let group = || {
            ringmain_client::wire::messages::list_groups_response::ListedGroup::default()
                .with_protocol_type("x".repeat(1000).into())
        };
        let groups = (0..900).map(|_| group()).collect();
        let response = ListGroupsResponse::default().with_groups(groups);
        Deed::Say(asked.answer::<ListGroupsRequest>(&response))
    })
    .await;
    let roomy = ConnectionConfig { frame_bytes_max: 1 << 20, ..config() };
    let connection = Connection::connect(&address, &roomy).await.unwrap();
    let response = connection.call(&ListGroupsRequest::default()).await.unwrap();
    assert_eq!(response.groups.len(), 900);
}
