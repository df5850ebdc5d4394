//! The one table of a topic's configuration: Kafka's names, defaults and rules, and only what is really
//! done. What has one value alone can be said, and nothing else.

use super::{ChangeError, ConfigChange};
use crate::config::{Config, TimestampType, keys};
use ringmain_client::wire::compression::Compression;
use ringmain_engine::LogConfig;
use std::collections::BTreeMap;

/// What acks=all waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// On the medium of every in-sync replica.
    Fsync,
    /// In the page cache of every in-sync replica, as Kafka does it.
    PageCache,
}

/// What a topic's configuration comes to, defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicConfig {
    pub(crate) log: LogConfig,
    pub(crate) durability: Durability,
    /// The codec that batches are stored with; `None`: as they come.
    pub(crate) compression: Option<Compression>,
    pub(crate) timestamp_type: TimestampType,
    pub(crate) timestamp_before_max_ms: i64,
    pub(crate) timestamp_after_max_ms: i64,
}

/// The kinds of values that DescribeConfigs tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    Text,
    Int,
    Long,
    List,
}

/// A key of a topic's configuration.
pub(crate) struct TopicKey {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) doc: &'static str,
    /// The broker's key that it is as where it is not set.
    pub(crate) broker_key: Option<&'static str>,
    set: fn(&mut TopicConfig, &str) -> Result<(), String>,
    pub(crate) get: fn(&TopicConfig) -> String,
}

fn within<T>(text: &str, range: std::ops::RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
{
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("{text:?} is not a number from {} to {}", range.start(), range.end()))
}

/// A key with a number.
macro_rules! number {
    ($name:literal, $kind:ident, $field:ident $(. $sub:ident)?, $range:expr, $broker:expr, $doc:literal) => {
        TopicKey {
            name: $name,
            kind: Kind::$kind,
            doc: $doc,
            broker_key: $broker,
            set: |config, text| {
                config.$field$(.$sub)? = within(text, $range)?;
                Ok(())
            },
            get: |config| config.$field$(.$sub)?.to_string(),
        }
    };
}

/// A key with one value: what is done anyhow.
macro_rules! only {
    ($name:literal, $kind:ident, $value:literal, $doc:literal) => {
        TopicKey {
            name: $name,
            kind: Kind::$kind,
            doc: $doc,
            broker_key: None,
            set: |_, text| match text {
                $value => Ok(()),
                _ => Err(format!("{text:?} is not {}, the one value that is served", $value)),
            },
            get: |_| $value.to_owned(),
        }
    };
}

impl TopicConfig {
    /// All keys, by name.
    pub(crate) const KEYS: &'static [TopicKey] = &[
        only!("cleanup.policy", List, "delete", "What becomes of old records."),
        TopicKey {
            name: "compression.type",
            kind: Kind::Text,
            doc: "The codec that batches are stored with: producer (as they come), uncompressed, gzip, snappy, lz4 or zstd.",
            broker_key: Some("compression.type"),
            set: |config, text| {
                config.compression = keys::compression(text)?;
                Ok(())
            },
            get: |config| keys::compression_name(config.compression).to_owned(),
        },
        TopicKey {
            name: "durability",
            kind: Kind::Text,
            doc: "What acks=all waits for: fsync (on the medium) or page-cache.",
            broker_key: None,
            set: |config, text| {
                config.durability = match text {
                    "fsync" => Durability::Fsync,
                    "page-cache" => Durability::PageCache,
                    _ => return Err(format!("{text:?} is not one of fsync, page-cache")),
                };
                Ok(())
            },
            get: |config| match config.durability {
                Durability::Fsync => "fsync".into(),
                Durability::PageCache => "page-cache".into(),
            },
        },
        number!(
            "index.interval.bytes",
            Int,
            log.index_interval_bytes,
            0..=i32::MAX as u64,
            Some("log.index.interval.bytes"),
            "Bytes between entries of the offset index."
        ),
        number!(
            "max.message.bytes",
            Int,
            log.batch_bytes_max,
            0..=1 << 30,
            Some("message.max.bytes"),
            "The largest record batch, as it comes and as it is stored."
        ),
        number!(
            "message.timestamp.after.max.ms",
            Long,
            timestamp_after_max_ms,
            0..=i64::MAX,
            Some("log.message.timestamp.after.max.ms"),
            "How far a record's timestamp may lie after the broker's time, with CreateTime."
        ),
        number!(
            "message.timestamp.before.max.ms",
            Long,
            timestamp_before_max_ms,
            0..=i64::MAX,
            Some("log.message.timestamp.before.max.ms"),
            "How far a record's timestamp may lie before the broker's time, with CreateTime."
        ),
        TopicKey {
            name: "message.timestamp.type",
            kind: Kind::Text,
            doc: "Whose timestamp a record carries: CreateTime (the producer's) or LogAppendTime (the broker's).",
            broker_key: Some("log.message.timestamp.type"),
            set: |config, text| {
                config.timestamp_type = keys::timestamp_type(text)?;
                Ok(())
            },
            get: |config| keys::timestamp_type_name(config.timestamp_type).to_owned(),
        },
        only!("min.insync.replicas", Int, "1", "Replicas that acks=all needs in sync."),
        only!("preallocate", Boolean, "false", "Whether segments are made in their full size."),
        only!("remote.storage.enable", Boolean, "false", "Whether old segments move to other storage."),
        only!("retention.bytes", Long, "-1", "Bytes of a partition that are kept; -1: all."),
        only!("retention.ms", Long, "-1", "How long records are kept; -1: for ever."),
        number!(
            "segment.bytes",
            Int,
            log.segment_bytes,
            1024..=i32::MAX as u64,
            Some("log.segment.bytes"),
            "The size at which a segment is closed."
        ),
        number!(
            "segment.index.bytes",
            Int,
            log.index_bytes_max,
            24..=1 << 30,
            Some("log.index.size.max.bytes"),
            "The largest size of an index file."
        ),
        only!(
            "unclean.leader.election.enable",
            Boolean,
            "false",
            "Whether a replica that lacks records may lead."
        ),
    ];

    /// What a topic has that sets nothing.
    pub(crate) fn defaults(config: &Config) -> Self {
        Self {
            log: config.log,
            durability: Durability::Fsync,
            compression: config.compression,
            timestamp_type: config.timestamp_type,
            timestamp_before_max_ms: config.timestamp_before_max_ms,
            timestamp_after_max_ms: config.timestamp_after_max_ms,
        }
    }

    /// Reads what is set; the rest is as in `defaults`.
    pub(crate) fn parse(set: &BTreeMap<String, String>, defaults: Self) -> Result<Self, String> {
        let mut config = defaults;
        for (name, value) in set {
            let key = find(name).ok_or_else(|| unknown(name))?;
            (key.set)(&mut config, value).map_err(|reason| format!("{name}: {reason}"))?;
        }
        Ok(config)
    }
}

fn unknown(name: &str) -> String {
    format!("unknown topic configuration {name:?}")
}

fn find(name: &str) -> Option<&'static TopicKey> {
    TopicConfig::KEYS.iter().find(|key| key.name == name)
}

/// What is set for a topic after a change, or why that could not be.
pub(crate) fn changed(
    set: &BTreeMap<String, String>,
    defaults: TopicConfig,
    change: ConfigChange,
) -> Result<BTreeMap<String, String>, ChangeError> {
    let changed = change.apply(set, |name| {
        let key = find(name).ok_or_else(|| unknown(name))?;
        Ok((key.kind == Kind::List).then(|| (key.get)(&defaults)))
    })?;
    TopicConfig::parse(&changed, defaults)?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Edit;

    fn defaults() -> TopicConfig {
        TopicConfig::defaults(&Config::default())
    }

    fn parse(name: &str, value: &str) -> Result<TopicConfig, String> {
        TopicConfig::parse(&BTreeMap::from([(name.into(), value.into())]), defaults())
    }

    #[test]
    fn what_is_not_done_is_refused() {
        assert!(parse("retention.ms", "1000").is_err());
        assert!(parse("cleanup.policy", "compact").is_err());
        assert!(parse("no.such.thing", "1").is_err());
        assert!(parse("segment.bytes", "many").is_err());
        assert!(parse("compression.type", "none").is_err());
        assert!(parse("message.timestamp.after.max.ms", "-1").is_err());
        assert!(parse("retention.ms", "-1").is_ok());
        assert_eq!(parse("segment.bytes", "4096").unwrap().log.segment_bytes, 4096);
        assert_eq!(parse("durability", "page-cache").unwrap().durability, Durability::PageCache);
    }

    #[test]
    fn every_default_is_a_value_that_its_key_takes_and_its_broker_key_exists() {
        for key in TopicConfig::KEYS {
            let value = (key.get)(&defaults());
            assert_eq!((key.get)(&parse(key.name, &value).unwrap()), value, "{}", key.name);
            if let Some(name) = key.broker_key {
                assert!(Config::KEYS.iter().any(|key| key.name == name), "{name}");
                let broker = Config::default().entries().find(|(key, _)| key.name == name).unwrap().1;
                assert_eq!(broker, value, "{name}");
            }
        }
        assert!(TopicConfig::KEYS.windows(2).all(|pair| pair[0].name < pair[1].name), "by name");
    }

    #[test]
    fn edits_change_what_they_name_and_a_replacement_all() {
        let set = BTreeMap::from([("segment.bytes".to_owned(), "4096".to_owned())]);
        let apply = |edits: &[(&str, Edit)]| {
            let edits = edits.iter().map(|(name, edit)| ((*name).to_owned(), edit.clone())).collect();
            changed(&set, defaults(), ConfigChange::Edit(edits))
        };
        let text = |text: &str| text.to_owned();
        assert_eq!(apply(&[("durability", Edit::Set(text("page-cache")))]).unwrap().len(), 2);
        assert!(apply(&[("segment.bytes", Edit::Delete)]).unwrap().is_empty());
        assert_eq!(apply(&[("durability", Edit::Delete)]).unwrap(), set);
        assert!(apply(&[("segment.bytes", Edit::Append(text("1")))]).is_err());
        assert!(apply(&[("nothing", Edit::Delete)]).is_err());
        let same = apply(&[("cleanup.policy", Edit::Append(text("delete")))]).unwrap();
        assert_eq!(same["cleanup.policy"], "delete");
        assert!(apply(&[("cleanup.policy", Edit::Subtract(text("delete")))]).is_err());
        let all = BTreeMap::from([(text("durability"), text("fsync"))]);
        assert_eq!(changed(&set, defaults(), ConfigChange::Replace(all.clone())).unwrap(), all);
    }
}
