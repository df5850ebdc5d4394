//! A log against the plainest model of it: a list of batches. Random appends, reads, searches by time
//! and reopenings must agree, in every I/O mode.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use proptest::prelude::*;
use ringmain_engine::{Durability, Offset, ReadBound};
use support::*;

#[derive(Clone, Debug)]
enum Step {
    Append { records: i64, at_ms: i64, durable: bool },
    Read { at: i64, bytes_max: u64, one_at_least: bool },
    Search { at_ms: i64 },
    Reopen { clean: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..20i64, 0..500i64, any::<bool>()).prop_map(|(records, at_ms, durable)| Step::Append { records, at_ms, durable }),
        6 => (-2..600i64, 0..3000u64, any::<bool>())
            .prop_map(|(at, bytes_max, one_at_least)| Step::Read { at, bytes_max, one_at_least }),
        3 => (0..600i64).prop_map(|at_ms| Step::Search { at_ms }),
        1 => any::<bool>().prop_map(|clean| Step::Reopen { clean }),
    ]
}

/// A batch of the model: where it begins and ends, its largest timestamp, and its bytes.
struct Stored {
    base: i64,
    end: i64,
    max_ms: i64,
    bytes: Vec<u8>,
}

fn run(steps: &[Step], mode: ringmain_engine::IoMode) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open_small(dir.path(), mode);
    let mut log = store.create_log("t-0", id(1), small()).unwrap();
    let mut model: Vec<Stored> = Vec::new();
    for step in steps {
        let end = model.last().map_or(0, |last| last.end);
        match step {
            Step::Append { records, at_ms, durable } => {
                let mut bytes = batch(end, *records, *at_ms);
                let durability = if *durable { Durability::Durable } else { Durability::Written };
                let appended = log.append(&mut bytes, durability).unwrap();
                appended.completion.wait().unwrap();
                prop_assert_eq!(appended.base_offset, Offset(end));
                // What was stamped into the bytes is what must come back.
                model.push(Stored { base: end, end: end + records, max_ms: at_ms + records - 1, bytes });
            }
            Step::Read { at, bytes_max, one_at_least } => {
                let read = log.read(Offset(*at), *bytes_max, *one_at_least, ReadBound::Visible);
                if *at < 0 || *at > end {
                    prop_assert!(read.is_err());
                    continue;
                }
                let found = read.unwrap().map(|slice| slice.read().unwrap()).unwrap_or_default();
                let from = model.iter().position(|one| one.end > *at).unwrap_or(model.len());
                let mut whole = 0;
                for one in &model[from..] {
                    if whole == found.len() {
                        break;
                    }
                    prop_assert!(found[whole..].starts_with(&one.bytes), "not the batches that follow");
                    whole += one.bytes.len();
                }
                prop_assert_eq!(whole, found.len(), "whole batches only");
                let first = model.get(from).map_or(0, |one| one.bytes.len());
                let fits = first > 0 && (first as u64 <= *bytes_max || *one_at_least);
                prop_assert_eq!(found.is_empty(), !fits);
                prop_assert!(found.len() as u64 <= *bytes_max || found.len() == first);
            }
            Step::Search { at_ms } => {
                let found = log.find_timestamp(*at_ms).unwrap().map(|(header, _)| header.base_offset.0);
                prop_assert_eq!(found, model.iter().find(|one| one.max_ms >= *at_ms).map(|one| one.base));
            }
            Step::Reopen { clean } => {
                drop(log);
                if *clean {
                    store.close().unwrap();
                }
                drop(store);
                store = open_small(dir.path(), mode);
                log = store.log("t-0").unwrap();
                prop_assert_eq!(log.progress().written, Offset(end));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_a_list_of_batches(steps in prop::collection::vec(step(), 1..80)) {
        for mode in modes() {
            run(&steps, mode)?;
        }
    }
}
