//! Configuration as clients are told it: values, where they come from, and what they would be else.
//! Pure; for DescribeConfigs and CreateTopics.

use crate::broker::Broker;
use crate::config::{Config, Key};
use crate::metadata::{BrokerConfigs, Kind, TopicConfig, fits, is_dynamic};
use std::collections::BTreeMap;

/// Where a value comes from; the protocol's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Topic = 1,
    /// Set while it runs, for this broker.
    DynamicBroker = 2,
    /// Set while they run, for all brokers.
    DynamicDefault = 3,
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

/// The places that a broker's configuration comes from.
pub(super) struct Layers<'a> {
    started: &'a Config,
    shipped: Config,
    /// What was set while brokers ran.
    set: BrokerConfigs,
}

impl<'a> Layers<'a> {
    pub(super) fn of(broker: &'a Broker) -> Self {
        Self::new(&broker.config, broker.catalog.with_image(|image| image.broker_configs.clone()))
    }

    fn new(started: &'a Config, set: BrokerConfigs) -> Self {
        Self { started, shipped: Config::default(), set }
    }

    /// What is set for a broker while it runs, or for all, if it can hold.
    fn set_for(&self, node_id: Option<i32>, name: &str) -> Option<&String> {
        self.set.get(&node_id)?.get(name).filter(|value| fits(name, value).is_ok())
    }

    /// Name, value and source of each place that sets a key, the one in force first.
    fn places(&self, key: &Key) -> Vec<(&'static str, String, Source)> {
        let (started, shipped) = ((key.get)(self.started), (key.get)(&self.shipped));
        let mut places = Vec::with_capacity(4);
        let dynamic = [(Some(self.started.node_id), Source::DynamicBroker), (None, Source::DynamicDefault)];
        for (node_id, source) in dynamic {
            places.extend(self.set_for(node_id, key.name).map(|value| (key.name, value.clone(), source)));
        }
        if started != shipped {
            places.push((key.name, started, Source::Broker));
        }
        places.push((key.name, shipped, Source::Default));
        places
    }

    fn entry(&self, key: &'static Key, synonyms: Vec<(&'static str, String, Source)>) -> Entry {
        let (name, value, source) = synonyms[0].clone();
        let kind = match value.as_str() {
            "true" | "false" => kind_code(Kind::Boolean),
            _ if value.parse::<i64>().is_ok() => kind_code(Kind::Long),
            _ => STRING,
        };
        Entry { name, value, source, read_only: !is_dynamic(name), kind, doc: key.doc, synonyms }
    }
}

/// All of a topic's configuration; `set` is what was set for it.
pub(super) fn of_topic(set: &BTreeMap<String, String>, layers: &Layers<'_>) -> Vec<Entry> {
    let shipped = TopicConfig::defaults(&layers.shipped);
    let entry = |key: &crate::metadata::TopicKey| {
        let mut synonyms = Vec::with_capacity(5);
        if let Some(value) = set.get(key.name) {
            synonyms.push((key.name, value.clone(), Source::Topic));
        }
        match key.broker_key.and_then(|name| Config::KEYS.iter().find(|key| key.name == name)) {
            Some(broker_key) => synonyms.extend(layers.places(broker_key)),
            None => synonyms.push((key.name, (key.get)(&shipped), Source::Default)),
        }
        let (_, value, source) = synonyms[0].clone();
        let (kind, doc) = (kind_code(key.kind), key.doc);
        Entry { name: key.name, value, source, read_only: false, kind, doc, synonyms }
    };
    TopicConfig::KEYS.iter().map(entry).collect()
}

/// All of the broker's configuration.
pub(super) fn of_broker(layers: &Layers<'_>) -> Vec<Entry> {
    Config::KEYS.iter().map(|key| layers.entry(key, layers.places(key))).collect()
}

/// What is set for all brokers while they run.
pub(super) fn of_all_brokers(layers: &Layers<'_>) -> Vec<Entry> {
    let set = |key: &'static Key| {
        let value = layers.set_for(None, key.name)?.clone();
        Some(layers.entry(key, vec![(key.name, value, Source::DynamicDefault)]))
    };
    Config::KEYS.iter().filter_map(set).collect()
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
        let layers = Layers::new(&broker, BrokerConfigs::new());
        let entries = of_topic(&set, &layers);
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
        let unset = of_topic(&BTreeMap::new(), &layers);
        assert_eq!(find(&unset, "segment.bytes").source, Source::Broker);
        assert_eq!(find(&unset, "durability").source, Source::Default);
        let own = of_broker(&layers);
        assert_eq!(find(&own, "log.segment.bytes").source, Source::Broker);
        assert_eq!((find(&own, "auto.create.topics.enable").kind, find(&own, "num.partitions").kind), (1, 5));
        assert!(find(&own, "log.dirs").read_only && !find(&own, "log.segment.bytes").read_only);
    }

    #[test]
    fn what_is_set_while_it_runs_counts_before_what_it_was_started_with() {
        let mut broker = Config::default();
        broker.set("log.segment.bytes", "8192").unwrap();
        let one = |value: &str| BTreeMap::from([("log.segment.bytes".to_owned(), value.to_owned())]);
        let set = BTreeMap::from([
            (None, one("7000")),
            (Some(broker.node_id), one("6000")),
            (Some(77), one("5000")),
        ]);
        let layers = Layers::new(&broker, set);
        let own = of_broker(&layers);
        let segment = find(&own, "log.segment.bytes");
        let places: Vec<_> =
            segment.synonyms.iter().map(|(_, value, source)| (value.as_str(), *source)).collect();
        let default = (1u64 << 30).to_string();
        assert_eq!(
            places,
            [
                ("6000", Source::DynamicBroker),
                ("7000", Source::DynamicDefault),
                ("8192", Source::Broker),
                (default.as_str(), Source::Default)
            ]
        );
        assert_eq!((segment.value.as_str(), segment.source), ("6000", Source::DynamicBroker));
        let topic = of_topic(&BTreeMap::new(), &layers);
        assert_eq!(find(&topic, "segment.bytes").value, "6000");
        let all = of_all_brokers(&layers);
        assert_eq!((all.len(), all[0].value.as_str(), all[0].source), (1, "7000", Source::DynamicDefault));
    }
}
