//! What is appended, what is refused, and what becomes of it in the files.

use crate::support::backend::{Backend, files};
use crate::support::*;
use crate::{config, on_every_backend};
use ringmain_engine::{AppendError, BatchBuilder, BatchError, Durability, LeaderEpoch, LogConfig, Offset};

on_every_backend!(
    batches_come_back_whole_in_order_with_offsets_and_epoch,
    several_batches_in_one_append_are_all_there_or_none,
    segments_roll_by_size_and_by_full_indexes,
    bad_batches_are_refused_and_leave_nothing_behind,
    a_retried_batch_is_appended_once_and_a_gap_is_refused,
    a_producer_of_an_older_epoch_is_fenced,
    the_epoch_is_raised_and_never_falls,
    many_threads_append_and_each_sees_its_own_in_order,
);

fn batches_come_back_whole_in_order_with_offsets_and_epoch(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    for tag in 0..200 {
        let durability = [Durability::Durable, Durability::Written, Durability::None][tag as usize % 3];
        assert_eq!(append(&log, batch(tag, 3, 1000 + tag), durability), Offset(tag * 3));
    }
    append(&log, batch(200, 3, 1200), Durability::Durable);
    assert_eq!(values(&log), expected(0..201, 3));
    let found = read_all(&log, Offset::ZERO);
    assert!(found.iter().all(|(header, _)| header.leader_epoch == log.leader_epoch()));
    let bytes: usize = found.iter().map(|(header, _)| header.size_bytes).sum();
    assert_eq!(log.size_bytes(), bytes as u64);
    ringmain_engine::sim::check_log(&log).unwrap();
}

fn several_batches_in_one_append_are_all_there_or_none(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    let mut three = [batch(0, 2, 0), batch(1, 5, 0), batch(2, 1, 0)].concat();
    let appended = log.append(&mut three, Durability::Durable).unwrap();
    appended.completion.wait().unwrap();
    assert_eq!((appended.base_offset, appended.end_offset), (Offset(0), Offset(8)));
    let bases: Vec<_> = read_all(&log, Offset::ZERO).iter().map(|(header, _)| header.base_offset.0).collect();
    assert_eq!(bases, [0, 2, 7]);
    assert_eq!(
        read_all(&log, Offset::ZERO).into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<_>>(),
        three
    );
    let mut second_bad = [batch(3, 3, 0), batch(4, 3, 0)].concat();
    *second_bad.last_mut().unwrap() ^= 1;
    assert!(log.append(&mut second_bad, Durability::Written).is_err());
    let mut not_alone = [sequenced(5, 0, 0), batch(4, 3, 0)].concat();
    let refused = log.append(&mut not_alone, Durability::Written).unwrap_err();
    assert!(matches!(refused, AppendError::NotAlone));
    assert_eq!(log.progress().written, Offset(8));
}

fn segments_roll_by_size_and_by_full_indexes(backend: &Backend) {
    let store = backend.open(config());
    let by_size = LogConfig { segment_bytes: 1000, ..LogConfig::default() };
    let by_index = LogConfig { index_interval_bytes: 0, index_bytes_max: 60, ..LogConfig::default() };
    for (n, config, least) in [(0, by_size, 5), (1, by_index, 5), (2, LogConfig::default(), 1)] {
        let name = format!("t-{n}");
        let log = store.create_log(&name, id(n), config).unwrap();
        for tag in 0..60 {
            append(&log, batch(tag, 2, 0), Durability::Written);
        }
        assert_eq!(values(&log), expected(0..60, 2));
        ringmain_engine::sim::check_log(&log).unwrap();
        if let Some(dir) = backend.real_dir() {
            let segments = files(&dir.join(name), "log");
            assert!(segments.len() >= least && (least > 1 || segments.len() == 1), "{segments:?}");
            let largest = segments.iter().map(|path| path.metadata().unwrap().len()).max().unwrap();
            assert!(largest <= config.segment_bytes);
        }
    }
    // A batch that is larger than a segment has one of its own.
    let log = store.log("t-0").unwrap();
    append(&log, batch(60, 200, 0), Durability::Written);
    append(&log, batch(61, 2, 0), Durability::Written);
    assert_eq!(read_all(&log, Offset(120)).len(), 2);
}

fn bad_batches_are_refused_and_leave_nothing_behind(backend: &Backend) {
    let store = backend.open(config());
    let config = LogConfig { batch_bytes_max: 1000, ..LogConfig::default() };
    let log = store.create_log("t-0", id(1), config).unwrap();
    let refused = |mut bytes: Vec<u8>| log.append(&mut bytes, Durability::Written).unwrap_err();
    let changed = |at: usize, value: u8| {
        let mut bytes = batch(0, 3, 0);
        bytes[at] = value;
        bytes
    };
    assert!(matches!(refused(vec![]), AppendError::Empty));
    assert!(matches!(refused(vec![0; 10]), AppendError::Batch(BatchError::Incomplete { .. })));
    assert!(matches!(refused(vec![0; 100]), AppendError::Batch(BatchError::Magic(0))));
    assert!(matches!(refused(changed(16, 1)), AppendError::Batch(BatchError::Magic(1))));
    assert!(matches!(refused(changed(8, 0xff)), AppendError::Batch(BatchError::Length(_))));
    assert!(matches!(refused(changed(70, 0xff)), AppendError::Batch(BatchError::Crc { .. })));
    assert!(matches!(refused(changed(60, 9)), AppendError::Batch(BatchError::Crc { .. })));
    assert!(matches!(refused(batch(0, 200, 0)), AppendError::TooLarge { max_bytes: 1000, .. }));
    let mut cut = batch(0, 3, 0);
    cut.pop();
    assert!(matches!(refused(cut), AppendError::Batch(BatchError::Incomplete { .. })));
    let mut second_bad = [batch(0, 3, 0), batch(1, 3, 0)].concat();
    *second_bad.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(second_bad), AppendError::Batch(BatchError::Crc { .. })));
    assert!(matches!(refused(sequenced(5, -1, 0)), AppendError::Batch(BatchError::Producer { .. })));
    assert_eq!(log.progress().written, Offset::ZERO);
    assert_eq!(log.size_bytes(), 0);
}

fn a_retried_batch_is_appended_once_and_a_gap_is_refused(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    append(&log, sequenced(5, 0, 0), Durability::Written);
    append(&log, sequenced(5, 0, 1), Durability::Written);
    let retry = log.append(&mut sequenced(5, 0, 0), Durability::Durable).unwrap();
    assert!(retry.duplicate);
    assert_eq!((retry.base_offset, retry.end_offset), (Offset(0), Offset(1)));
    retry.completion.wait().unwrap();
    assert!(log.progress().durable >= Offset(1), "a retry gets what it asks for, not what the original did");
    let gap = log.append(&mut sequenced(5, 0, 3), Durability::Written).unwrap_err();
    assert!(matches!(gap, AppendError::OutOfOrderSequence { expected: 2, .. }));
    assert_eq!(values(&log), ["0", "1"]);
    // Five batches are remembered, over a restart, too.
    for sequence in 2..6 {
        append(&log, sequenced(5, 0, sequence), Durability::Durable);
    }
    drop(log);
    backend.crash(store);
    let store = backend.open(config());
    let log = store.log("t-0").unwrap();
    for sequence in 1..6 {
        let retry = log.append(&mut sequenced(5, 0, sequence), Durability::Durable).unwrap();
        assert!(retry.duplicate && retry.base_offset == Offset(i64::from(sequence)), "{sequence}");
    }
    assert!(matches!(
        log.append(&mut sequenced(5, 0, 0), Durability::Written),
        Err(AppendError::OutOfOrderSequence { expected: 6, .. })
    ));
}

fn a_producer_of_an_older_epoch_is_fenced(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), LogConfig::default()).unwrap();
    append(&log, sequenced(5, 1, 0), Durability::Written);
    append(&log, sequenced(5, 2, 0), Durability::Written);
    let fenced = log.append(&mut sequenced(5, 1, 1), Durability::Written).unwrap_err();
    assert!(matches!(fenced, AppendError::ProducerFenced { epoch: 1, current: 2, .. }));
    assert!(log.append(&mut sequenced(5, 3, 1), Durability::Written).is_err(), "a new epoch begins at 0");
    // Others are not concerned.
    append(&log, sequenced(6, 0, 0), Durability::Written);
    append(&log, batch(0, 1, 0), Durability::Written);
    assert_eq!(log.progress().written, Offset(4));
}

fn the_epoch_is_raised_and_never_falls(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    for (raise, stamped) in [(0, 0), (3, 3), (1, 3), (7, 7)] {
        log.raise_leader_epoch(LeaderEpoch(raise)).unwrap();
        let appended = log.append(&mut batch(0, 1, 0), Durability::Durable).unwrap();
        assert_eq!(appended.leader_epoch, LeaderEpoch(stamped));
        appended.completion.wait().unwrap();
    }
    drop(log);
    backend.crash(store);
    let store = backend.open(config());
    let log = store.log("t-0").unwrap();
    assert!(log.leader_epoch() > LeaderEpoch(7), "an unclean start raises it");
    let before = log.leader_epoch();
    store.close().unwrap();
    drop((log, store));
    assert_eq!(backend.open(config()).log("t-0").unwrap().leader_epoch(), before, "a clean one does not");
}

fn many_threads_append_and_each_sees_its_own_in_order(backend: &Backend) {
    let store = backend.open(config());
    let log = store.create_log("t-0", id(1), small()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = &log;
            scope.spawn(move || {
                let mut last = Offset(-1);
                for n in 0..50 {
                    let base = append(log, batch(thread * 1000 + n, 2, 0), Durability::Durable);
                    assert!(base > last);
                    last = base;
                }
            });
        }
    });
    let all = values(&log);
    assert_eq!(all.len(), 400);
    let tag = |value: &str| value.split(':').next().unwrap().parse::<i64>().unwrap();
    for thread in 0..4 {
        let own: Vec<_> = all.iter().filter(|v| tag(v) / 1000 == thread).cloned().collect();
        assert_eq!(own, expected(thread * 1000..thread * 1000 + 50, 2), "once, and in order");
    }
    assert_eq!(log.progress().durable, Offset(400));
}

#[test]
fn a_batch_needs_a_record() {
    assert!(BatchBuilder::new().finish().is_none());
}
