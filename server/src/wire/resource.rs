//! The kinds of things that have configuration.
//!
//! Source: `ConfigResource.Type` of Apache Kafka.

use super::ErrorCode;
use crate::metadata::Configurable;

pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const BROKER_LOGGER: i8 = 8;
pub(crate) const CLIENT_METRICS: i8 = 16;
pub(crate) const GROUP: i8 = 32;

/// What the request wants to change, if it can be changed here: a topic, this broker (`node_id`), or, by an empty name,
/// all brokers.
pub(crate) fn configurable(
    resource_type: i8,
    name: &str,
    node_id: i32,
) -> Result<Configurable, (ErrorCode, String)> {
    match resource_type {
        TOPIC => Ok(Configurable::Topic(name.to_owned())),
        BROKER if name.is_empty() => Ok(Configurable::Broker(None)),
        BROKER if name == node_id.to_string() => Ok(Configurable::Broker(Some(node_id))),
        BROKER => Err((ErrorCode::InvalidRequest, format!("broker {name:?} was named, this is {node_id}"))),
        other => Err((ErrorCode::InvalidRequest, format!("resources of type {other} cannot be configured"))),
    }
}
