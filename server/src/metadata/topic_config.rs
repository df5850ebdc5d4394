//! A topic's own configuration: Kafka's names, and only what is really done.

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
}

impl TopicConfig {
    /// Reads what was asked for; what was not is as in `defaults`.
    pub(crate) fn parse(config: &BTreeMap<String, String>, defaults: LogConfig) -> Result<Self, String> {
        let mut parsed = Self { log: defaults, durability: Durability::Fsync };
        for (name, value) in config {
            let within = |min: u64, max: u64| match value.parse::<u64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(number),
                _ => Err(format!("{name} is {value:?}, not a number from {min} to {max}")),
            };
            let one_of = |allowed: &[&str]| match allowed.contains(&value.as_str()) {
                true => Ok(()),
                false => Err(format!("{name} is {value:?}, not one of {}", allowed.join(", "))),
            };
            match name.as_str() {
                "segment.bytes" => parsed.log.segment_bytes = within(1024, i32::MAX as u64)?,
                "index.interval.bytes" => parsed.log.index_interval_bytes = within(0, i32::MAX as u64)?,
                "segment.index.bytes" => parsed.log.index_bytes_max = within(24, 1 << 30)? as usize,
                "max.message.bytes" => parsed.log.batch_bytes_max = within(61, 1 << 30)? as usize,
                "durability" => {
                    one_of(&["fsync", "page-cache"])?;
                    parsed.durability =
                        if value == "fsync" { Durability::Fsync } else { Durability::PageCache };
                }
                // What is done anyhow can be said, and nothing else.
                "compression.type" => one_of(&["producer"])?,
                "message.timestamp.type" => one_of(&["CreateTime"])?,
                "min.insync.replicas" => one_of(&["1"])?,
                "cleanup.policy" => one_of(&["delete"])?,
                "retention.ms" | "retention.bytes" => one_of(&["-1"])?,
                _ => return Err(format!("unknown topic configuration {name:?}")),
            }
        }
        Ok(parsed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str, value: &str) -> Result<TopicConfig, String> {
        TopicConfig::parse(&BTreeMap::from([(name.into(), value.into())]), LogConfig::default())
    }

    #[test]
    fn what_is_not_done_is_refused() {
        assert!(parse("retention.ms", "1000").is_err());
        assert!(parse("cleanup.policy", "compact").is_err());
        assert!(parse("no.such.thing", "1").is_err());
        assert!(parse("segment.bytes", "many").is_err());
        assert!(parse("retention.ms", "-1").is_ok());
        assert_eq!(parse("segment.bytes", "4096").unwrap().log.segment_bytes, 4096);
        assert_eq!(parse("durability", "page-cache").unwrap().durability, Durability::PageCache);
    }
}
