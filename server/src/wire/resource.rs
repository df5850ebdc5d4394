//! The kinds of things that have configuration.
//!
//! Source: `ConfigResource.Type` of Apache Kafka.

use super::ErrorCode;

pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const BROKER_LOGGER: i8 = 8;
pub(crate) const CLIENT_METRICS: i8 = 16;
pub(crate) const GROUP: i8 = 32;

/// Topics are what can be configured without a restart.
pub(crate) fn only_topics(resource_type: i8) -> Result<(), (ErrorCode, String)> {
    match resource_type {
        TOPIC => Ok(()),
        BROKER => Err((
            ErrorCode::InvalidRequest,
            "the broker's configuration is not changed while it runs: set it in its file or with --set"
                .into(),
        )),
        other => Err((ErrorCode::InvalidRequest, format!("resources of type {other} cannot be configured"))),
    }
}
