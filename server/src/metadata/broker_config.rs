//! The broker's configuration as it is changed while it runs (KIP-226): what can be, and what comes of it. Pure.

use super::{ChangeError, ConfigChange};
use crate::config::{Config, Key};
use std::collections::BTreeMap;

/// What is set for the broker of a number, and under `None` for all brokers. Unlike the file and the command line it is
/// kept with the data.
pub(crate) type BrokerConfigs = BTreeMap<Option<i32>, BTreeMap<String, String>>;

/// The keys that hold at once when they are changed: what topics have that do not set it themselves, and limits that are
/// looked up whenever they count. All others are taken at the start.
const DYNAMIC: &[&str] = &[
    "auto.create.topics.enable",
    "compression.type",
    "log.index.interval.bytes",
    "log.index.size.max.bytes",
    "log.message.timestamp.after.max.ms",
    "log.message.timestamp.before.max.ms",
    "log.message.timestamp.type",
    "log.segment.bytes",
    "max.connections",
    "max.connections.per.ip",
    "message.max.bytes",
    "num.partitions",
];

/// Less than this of connections is not taken while the broker runs: whoever sets it must be able to connect again, and
/// admin clients take more than one.
const CONNECTIONS_MIN: usize = 10;

/// Whether a key can be changed while the broker runs.
pub(crate) fn is_dynamic(name: &str) -> bool {
    DYNAMIC.contains(&name)
}

/// The configuration in force: what the broker was `started` with, before that what is set for all brokers, before that
/// what is set for this one. Beside it, what is wrong with what is set: a newer program may not take it.
pub(crate) fn in_force(started: &Config, set: &BrokerConfigs) -> (Config, Vec<ChangeError>) {
    let (mut config, mut misfits) = (started.clone(), Vec::new());
    for node in [None, Some(started.node_id)] {
        for (name, value) in set.get(&node).into_iter().flatten() {
            misfits.extend(set_key(&mut config, name, value).err());
        }
    }
    (config, misfits)
}

/// What is set after a change, or why that could not be.
pub(crate) fn changed(
    set: &BTreeMap<String, String>,
    change: ConfigChange,
) -> Result<BTreeMap<String, String>, ChangeError> {
    // No key among them is a list.
    let changed = change.apply(set, |name| find(name).map(|_| None))?;
    // What was set before stays, though this program may not take it.
    for (name, value) in changed.iter().filter(|(name, value)| set.get(*name) != Some(*value)) {
        fits(name, value)?;
    }
    Ok(changed)
}

/// Why a key cannot have this value while the broker runs, if it cannot.
pub(crate) fn fits(name: &str, value: &str) -> Result<(), ChangeError> {
    set_key(&mut Config::default(), name, value)
}

fn set_key(config: &mut Config, name: &str, value: &str) -> Result<(), ChangeError> {
    let key = find(name)?;
    let connections = matches!(name, "max.connections" | "max.connections.per.ip");
    let set = match value.parse::<usize>() {
        Ok(few) if connections && few < CONNECTIONS_MIN => {
            Err(format!("less than {CONNECTIONS_MIN} would lock out who sets it"))
        }
        _ => (key.set)(config, value),
    };
    set.map_err(|reason| ChangeError::Config(format!("{name}: {reason}")))
}

fn find(name: &str) -> Result<&'static Key, ChangeError> {
    let key = Config::KEYS.iter().find(|key| key.name == name);
    let key = key.ok_or_else(|| ChangeError::Config(format!("unknown broker configuration {name:?}")))?;
    if is_dynamic(name) { Ok(key) } else { Err(ChangeError::AtStart(key.name)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Edit;

    fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_nearest_place_counts_and_what_does_not_fit_counts_for_nothing() {
        let mut started = Config::default();
        started.set("num.partitions", "2").unwrap();
        started.set("log.segment.bytes", "2000").unwrap();
        let set = BTreeMap::from([
            (None, pairs(&[("num.partitions", "3"), ("message.max.bytes", "3000"), ("log.dirs", "/gone")])),
            (Some(started.node_id), pairs(&[("num.partitions", "4"), ("max.connections", "many")])),
            (Some(started.node_id + 1), pairs(&[("num.partitions", "5")])),
        ]);
        let (config, misfits) = in_force(&started, &set);
        assert_eq!(
            (config.num_partitions, config.log.batch_bytes_max, config.log.segment_bytes),
            (4, 3000, 2000)
        );
        assert_eq!((config.data_dir, config.connections_max), (started.data_dir, started.connections_max));
        assert!(
            matches!(&misfits[..], [ChangeError::AtStart("log.dirs"), ChangeError::Config(_)]),
            "{misfits:?}"
        );
    }

    #[test]
    fn what_holds_at_the_start_alone_is_refused_like_what_is_unknown_or_wrong() {
        let edit = |name: &str, edit| changed(&pairs(&[]), ConfigChange::Edit(vec![(name.to_owned(), edit)]));
        let to = |value: &str| Edit::Set(value.to_owned());
        assert!(matches!(edit("log.dirs", to("/tmp")), Err(ChangeError::AtStart("log.dirs"))));
        assert!(matches!(edit("log.dirs", Edit::Delete), Err(ChangeError::AtStart(_))));
        assert!(matches!(edit("no.such.key", to("1")), Err(ChangeError::Config(_))));
        for (name, value) in
            [("num.partitions", "0"), ("max.connections.per.ip", "9"), ("max.connections", "0")]
        {
            assert!(matches!(edit(name, to(value)), Err(ChangeError::Config(_))), "{name}={value}");
        }
        assert!(matches!(edit("num.partitions", Edit::Append("1".to_owned())), Err(ChangeError::Config(_))));
        assert_eq!(edit("num.partitions", to("7")).unwrap(), pairs(&[("num.partitions", "7")]));
        let replaced = changed(&pairs(&[]), ConfigChange::Replace(pairs(&[("node.id", "2")])));
        assert!(matches!(replaced, Err(ChangeError::AtStart("node.id"))));
    }

    #[test]
    fn what_is_set_and_not_known_any_more_can_be_deleted_and_is_in_nobodys_way() {
        let set = pairs(&[("an.older.key", "1"), ("log.dirs", "/gone")]);
        let edits =
            [("an.older.key".to_owned(), Edit::Delete), ("num.partitions".to_owned(), Edit::Set("2".into()))];
        let left = changed(&set, ConfigChange::Edit(edits.to_vec())).unwrap();
        assert_eq!(left, pairs(&[("log.dirs", "/gone"), ("num.partitions", "2")]));
        assert!(fits("num.partitions", "2").is_ok() && fits("log.dirs", "/gone").is_err());
    }

    #[test]
    fn every_dynamic_key_is_a_key() {
        for name in DYNAMIC {
            assert!(Config::KEYS.iter().any(|key| key.name == *name), "{name}");
        }
    }
}
