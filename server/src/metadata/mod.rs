//! What the broker knows of topics: a pure state, changed by commands that are kept in a log.
//! A cluster will replicate the same commands.

mod broker_config;
mod catalog;
mod command;
mod commands;
mod config_change;
mod controller;
mod deletion;
mod image;
mod topic_config;

pub(crate) use broker_config::{BrokerConfigs, fits, is_dynamic};
pub(crate) use catalog::{Catalog, CatalogError, Partition, Topic};
pub(crate) use command::Command;
pub(crate) use config_change::{ConfigChange, Configurable, Edit};
pub(crate) use controller::{ChangeError, Controller, NewTopic, Reservation, check_new_name};
pub(crate) use image::{Image, TopicImage, WhichTopic};
pub(crate) use topic_config::{Durability, Kind, TopicConfig, TopicKey};

/// The log that keeps the commands.
pub(crate) const METADATA_LOG: &str = "__ringmain_metadata-0";
/// The internal topic of committed offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Why a topic cannot have this name, if it cannot. Kafka's rules.
pub(crate) fn topic_name_error(name: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match name {
        "" => Some("a topic name is not empty"),
        "." | ".." => Some("a topic name is not '.' or '..'"),
        _ if name.len() > 249 => Some("a topic name has at most 249 characters"),
        _ if !name.chars().all(legal) => Some("a topic name has letters, digits, '.', '_' and '-' only"),
        // What the engine calls directories that are under way.
        _ if name.starts_with(".creating-") || name.starts_with(".deleted-") => {
            Some("the name is the engine's own")
        }
        _ if name == "__ringmain_metadata" => Some("the name is the broker's own"),
        _ => None,
    }
}

/// Whether two names are the same but for '.' and '_', which cannot be told apart in metrics. Kafka's rule.
pub(crate) fn names_collide(one: &str, other: &str) -> bool {
    let plain = |byte| if byte == b'.' { b'_' } else { byte };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

/// The name of a partition's log.
pub(crate) fn log_name(topic: &str, partition: i32) -> String {
    format!("{topic}-{partition}")
}
