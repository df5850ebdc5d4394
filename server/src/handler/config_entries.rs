//! Configuration as clients are told it: values, where they come from, and what they would be else.
//! Pure; for DescribeConfigs and CreateTopics.

use crate::config::{Config, Key};
use crate::metadata::{Kind, TopicConfig};
use std::collections::BTreeMap;

/// Where a value comes from; the protocol's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Topic = 1,
    Broker = 4,
    Default = 5,
}

/// A value, and those that it stands before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) source: Source,
    pub(super) read_only: bool,
    /// The protocol's number of its type.
    pub(super) kind: i8,
    pub(super) doc: &'static str,
    /// Name, value and source of each place that sets it, the one in force first.
    pub(super) synonyms: Vec<(&'static str, String, Source)>,
}

const STRING: i8 = 2;

fn kind_code(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::Text => STRING,
        Kind::Int => 3,
        Kind::Long => 5,
        Kind::List => 7,
    }
}

/// All of a topic's configuration; `set` is what was set for it.
pub(super) fn of_topic(set: &BTreeMap<String, String>, broker: &Config) -> Vec<Entry> {
    let (running, shipped) = (TopicConfig::defaults(broker), TopicConfig::defaults(&Config::default()));
    let entry = |key: &crate::metadata::TopicKey| {
        let (running, shipped) = ((key.get)(&running), (key.get)(&shipped));
        let mut synonyms = Vec::with_capacity(3);
        if let Some(value) = set.get(key.name) {
            synonyms.push((key.name, value.clone(), Source::Topic));
        }
        let name = key.broker_key.unwrap_or(key.name);
        if running != shipped {
            synonyms.push((name, running, Source::Broker));
        }
        synonyms.push((name, shipped, Source::Default));
        let (_, value, source) = synonyms[0].clone();
        let (kind, doc) = (kind_code(key.kind), key.doc);
        Entry { name: key.name, value, source, read_only: false, kind, doc, synonyms }
    };
    TopicConfig::KEYS.iter().map(entry).collect()
}

/// All of the broker's configuration, which a restart alone changes.
pub(super) fn of_broker(broker: &Config) -> Vec<Entry> {
    let shipped = Config::default();
    let entry = |(key, value): (&'static Key, String)| {
        let default = (key.get)(&shipped);
        let kind = match value.as_str() {
            "true" | "false" => kind_code(Kind::Boolean),
            _ if value.parse::<i64>().is_ok() => kind_code(Kind::Long),
            _ => STRING,
        };
        let mut synonyms = Vec::with_capacity(2);
        if value != default {
            synonyms.push((key.name, value, Source::Broker));
        }
        synonyms.push((key.name, default, Source::Default));
        let (name, value, source) = synonyms[0].clone();
        Entry { name, value, source, read_only: true, kind, doc: key.doc, synonyms }
    };
    broker.entries().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(entries: &'a [Entry], name: &str) -> &'a Entry {
        entries.iter().find(|entry| entry.name == name).unwrap()
    }

    #[test]
    fn the_nearest_place_that_sets_a_value_counts() {
        let mut broker = Config::default();
        broker.set("log.segment.bytes", "8192").unwrap();
        let set = BTreeMap::from([("segment.bytes".to_owned(), "4096".to_owned())]);
        let entries = of_topic(&set, &broker);
        let segment = find(&entries, "segment.bytes");
        assert_eq!((segment.value.as_str(), segment.source, segment.kind), ("4096", Source::Topic, 3));
        let places: Vec<_> =
            segment.synonyms.iter().map(|(name, value, _)| (*name, value.as_str())).collect();
        let default = (1u64 << 30).to_string();
        assert_eq!(
            places,
            [
                ("segment.bytes", "4096"),
                ("log.segment.bytes", "8192"),
                ("log.segment.bytes", default.as_str())
            ]
        );
        let unset = of_topic(&BTreeMap::new(), &broker);
        assert_eq!(find(&unset, "segment.bytes").source, Source::Broker);
        assert_eq!(find(&unset, "durability").source, Source::Default);
        let own = of_broker(&broker);
        assert_eq!(find(&own, "log.segment.bytes").source, Source::Broker);
        assert_eq!((find(&own, "auto.create.topics.enable").kind, find(&own, "num.partitions").kind), (1, 5));
    }
}
