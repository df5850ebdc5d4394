//! What clients may have kept for them, and when it is given back.

use super::*;
use crate::group::machine::memory::{EXPECTED_BYTES, MEMBER_BYTES};

fn free(broker: &Broker) -> usize {
    broker.groups.memory.available_permits()
}

fn protocols(count: usize) -> Vec<Protocol> {
    let named = |n: usize| Protocol { name: n.to_string(), metadata: bytes::Bytes::new() };
    (0..count).map(named).collect()
}

fn leave(broker: &Broker, group: &str, member_id: &str) {
    let who = Identity { member_id: member_id.to_owned(), instance_id: None };
    assert_eq!(broker.run(broker.groups.leave(group, &[(who, "done".into())])), [Ok(())]);
}

#[test]
fn a_member_offers_so_many_protocols_and_what_they_take_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    let all = free(&broker);
    let request = JoinRequest { protocols: protocols(PROTOCOLS_MAX + 1), ..newcomer(None) };
    let refused = broker.run(broker.groups.join("g", request.clone()));
    assert_eq!(refused, Err((Error::InconsistentProtocol, String::new())));
    assert_eq!((broker.groups.list().len(), free(&broker)), (0, all));
    let request = JoinRequest { protocols: protocols(PROTOCOLS_MAX), ..request };
    let joined = broker.run(broker.groups.join("g", request)).unwrap();
    assert!(all - free(&broker) >= MEMBER_BYTES + PROTOCOLS_MAX * size_of::<Protocol>());
    leave(&broker, "g", &joined.member_id);
    assert_eq!(free(&broker), all);
}

#[test]
fn a_group_takes_memory_for_its_members_shares_only_and_none_when_they_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    let all = free(&broker);
    let joined = broker.run(broker.groups.join("g", newcomer(None))).unwrap();
    let member = Identity { member_id: joined.member_id.clone(), instance_id: None };
    let share = |id: &str, bytes: usize| (id.to_owned(), bytes::Bytes::from(vec![1; bytes]));
    let request = SyncRequest {
        generation: Generation { id: joined.generation, member },
        protocol_type: None,
        protocol: None,
        assignments: vec![share(&joined.member_id, 1000), share("stranger", 2 << 20)],
        held: None,
    };
    let before = free(&broker);
    let synced = broker.run(broker.groups.sync("g", request)).unwrap();
    assert_eq!(synced.assignment.len(), 1000);
    assert_eq!(before - free(&broker), 1000 + joined.member_id.len());
    leave(&broker, "g", &joined.member_id);
    assert_eq!((broker.groups.list().len(), free(&broker)), (1, all));
}

/// Else a group that rebalances while the memory is taken would lose all of its members.
#[test]
fn whoever_is_in_a_group_comes_again_though_no_memory_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    let all = free(&broker);
    let saying = |bytes: usize| vec![Protocol { name: "range".into(), metadata: vec![0; bytes].into() }];
    let large = |bytes| JoinRequest { protocols: saying(bytes), ..newcomer(None) };
    let first = broker.run(broker.groups.join("g", large(200_000))).unwrap();
    let member = Identity { member_id: first.member_id, instance_id: None };
    let shares = |generation: i32, bytes: usize| SyncRequest {
        generation: Generation { id: generation, member: member.clone() },
        protocol_type: None,
        protocol: None,
        assignments: vec![(member.member_id.clone(), vec![0; bytes].into())],
        held: None,
    };
    broker.run(broker.groups.sync("g", shares(first.generation, 100_000))).unwrap();
    let fixed = JoinRequest { protocols: saying(100_000), ..newcomer(Some("i")) };
    broker.run(broker.groups.join("fixed", fixed.clone())).unwrap();
    let before = free(&broker);
    // Somebody else takes what is left, but for a little.
    let other = broker.run(broker.groups.join("other", large(before - 2000))).unwrap();
    assert!(free(&broker) < 2000);
    let again = |bytes| JoinRequest { member: member.clone(), ..large(bytes) };
    let second = broker.run(broker.groups.join("g", again(200_000))).unwrap();
    assert_eq!(second.generation, first.generation + 1);
    broker.run(broker.groups.sync("g", shares(second.generation, 100_000))).unwrap();
    // Shares that are not kept, since they are there, take none.
    broker.run(broker.groups.sync("g", shares(second.generation, 100_000))).unwrap();
    let fixed = JoinRequest { new_member_id: format!("m-{}", uuid::Uuid::new_v4()), ..fixed };
    broker.run(broker.groups.join("fixed", fixed)).unwrap();
    // Whoever wants more than there is stays as it was; whoever wants less gives the rest back.
    let refused = broker.run(broker.groups.join("g", again(300_000)));
    assert_eq!(refused, Err((Error::NoMemory, member.member_id.clone())));
    let third = broker.run(broker.groups.join("g", again(150_000))).unwrap();
    assert!((50_000..52_000).contains(&free(&broker)), "{}", free(&broker));
    broker.run(broker.groups.sync("g", shares(third.generation, 150_000))).unwrap();
    leave(&broker, "g", &member.member_id);
    leave(&broker, "other", &other.member_id);
    let who = Identity { member_id: String::new(), instance_id: Some("i".into()) };
    assert_eq!(broker.run(broker.groups.leave("fixed", &[(who, "done".into())])), [Ok(())]);
    assert_eq!(free(&broker), all);
}

#[test]
fn ids_given_out_take_memory_until_they_lapse() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    let all = free(&broker);
    let request = || JoinRequest { id_required: true, session_timeout_ms: 20, ..newcomer(None) };
    let mut taken = 0;
    for _ in 0..5 {
        let given = broker.run(broker.groups.join("g", request()));
        let Err((Error::MemberIdRequired, id)) = given else { panic!("{given:?}") };
        taken += id.len() + EXPECTED_BYTES;
        assert_eq!(all - free(&broker), taken);
    }
    let long = JoinRequest { new_member_id: "m".repeat(all), ..request() };
    assert_eq!(broker.run(broker.groups.join("g", long)), Err((Error::NoMemory, String::new())));
    std::thread::sleep(Duration::from_millis(30));
    assert!(broker.groups.tick().is_empty());
    assert_eq!((broker.groups.list().len(), free(&broker)), (0, all));
}

#[test]
fn ids_given_out_leave_memory_to_members() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    let all = free(&broker);
    let given = |n: usize| {
        let new_member_id = format!("{n:030000}");
        let request = JoinRequest { id_required: true, new_member_id, ..newcomer(None) };
        broker.run(broker.groups.join(&format!("g{}", n % 5), request)).unwrap_err()
    };
    let outcomes: Vec<_> = (0..40).map(given).collect();
    let refused = outcomes.iter().position(|(err, _)| *err == Error::NoMemory).unwrap();
    assert_eq!(refused, all / IDS_SHARE / (30_000 + EXPECTED_BYTES));
    assert!(outcomes[refused..].iter().all(|(err, _)| *err == Error::NoMemory));
    // Whoever comes with its id leaves room for another one.
    let id = &outcomes[0].1;
    let member = Identity { member_id: id.clone(), instance_id: None };
    let before = free(&broker);
    let waits = broker.groups.join("g0", JoinRequest { member, ..newcomer(None) });
    let waited = broker.run(async { tokio::time::timeout(Duration::from_millis(20), waits).await });
    assert!(waited.is_err(), "for those who have not come");
    assert!((MEMBER_BYTES..MEMBER_BYTES + 100).contains(&(before - free(&broker) + EXPECTED_BYTES)));
    assert_eq!(given(5).0, Error::MemberIdRequired);
}

#[test]
fn what_a_member_is_called_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    let all = free(&broker);
    let taken = |request: JoinRequest| {
        let before = free(&broker);
        broker.run(broker.groups.join(&request.new_member_id.clone(), request)).unwrap();
        before - free(&broker)
    };
    let named = |id: usize, client: usize, instance: Option<&str>| JoinRequest {
        new_member_id: "m".repeat(id),
        client_id: "c".repeat(client),
        ..newcomer(instance)
    };
    let least = taken(named(1, 0, None));
    assert_eq!(taken(named(1000, 20_000, None)), least + 999 + 20_000);
    assert_eq!(taken(named(2, 0, Some(&"i".repeat(200)))), least + 1 + 200);
    assert!(all - free(&broker) > 3 * MEMBER_BYTES);
}

#[test]
fn groups_that_nobody_uses_make_room_for_others_once_in_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    let fill = |name: &str| {
        for n in 0..GROUPS_MAX {
            let group = format!("{name}-{n}");
            let generation = broker.join(&group, None);
            leave(&broker, &group, &generation.member.member_id);
        }
    };
    fill("old");
    // Those that are known are no reason to look for room.
    let again = broker.join("old-0", None);
    assert_eq!(broker.groups.list().len(), GROUPS_MAX);
    leave(&broker, "old-0", &again.member.member_id);
    fill("new");
    assert_eq!(broker.groups.list().len(), GROUPS_MAX);
    // However long that took.
    let made = broker.groups.lock().made_room_ms.replace(clock::monotonic_ms());
    assert!(made.is_some());
    let refused = Err((Error::TooManyGroups, String::new()));
    assert_eq!(broker.run(broker.groups.join("late", newcomer(None))), refused);
    assert_eq!(broker.groups.list().len(), GROUPS_MAX, "nobody looked so soon after the last time");
    let long_ago = clock::monotonic_ms().checked_sub(MAKE_ROOM_INTERVAL_MS);
    broker.groups.lock().made_room_ms = long_ago;
    broker.join("late", None);
    assert_eq!(broker.groups.list().into_keys().collect::<Vec<_>>(), ["late"]);
}

#[test]
fn groups_that_only_commit_end_at_the_number_of_groups() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    // Those with members that commit, too, count once.
    let member = broker.join("members", None);
    let offsets = || vec![(place(0), committed(1))];
    broker.run(broker.groups.commit("members", &member, offsets())).unwrap();
    broker.join("silent", None);
    let names: Vec<_> = (2..GROUPS_MAX).map(|n| format!("alone-{n}")).collect();
    names.iter().for_each(|name| broker.commit(name, 0, 1).unwrap());
    let is_full = |broker: &Broker| {
        let refused = broker.commit("late", 0, 1).unwrap_err();
        assert!(matches!(refused, CommitError::Group(Error::TooManyGroups)), "{refused}");
        assert_eq!(broker.groups.list().len(), GROUPS_MAX);
    };
    is_full(&broker);
    // Those that have committed go on, and so it is after a restart.
    broker.commit("alone-2", 1, 2).unwrap();
    broker.run(broker.groups.commit("members", &member, offsets())).unwrap();
    broker.store.close().unwrap();
    drop(broker);
    let broker = Broker::open(dir.path());
    is_full(&broker);
    broker.commit("alone-2", 1, 3).unwrap();
    // Whatever goes makes room for one.
    broker.run(broker.groups.delete("alone-2")).unwrap();
    broker.commit("next", 0, 1).unwrap();
    is_full(&broker);
    leave(&broker, "members", &member.member.member_id);
    broker.run(broker.groups.delete("members")).unwrap();
    broker.commit("another", 0, 1).unwrap();
    is_full(&broker);
    broker.run(broker.groups.delete_offsets("another", vec![place(0)])).unwrap();
    broker.commit("last", 0, 1).unwrap();
    is_full(&broker);
}

#[test]
fn groups_that_nobody_uses_make_room_for_those_that_only_commit() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    for n in 0..GROUPS_MAX - 1 {
        let group = format!("unused-{n}");
        let generation = broker.join(&group, None);
        leave(&broker, &group, &generation.member.member_id);
    }
    broker.commit("first", 0, 1).unwrap();
    assert_eq!(broker.groups.list().len(), GROUPS_MAX);
    broker.commit("second", 0, 1).unwrap();
    assert_eq!(broker.groups.list().into_keys().collect::<Vec<_>>(), ["first", "second"]);
}

#[test]
fn a_commit_under_way_counts_as_one_group_however_many_partitions_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    let offsets = &broker.groups.offsets;
    broker.commit("known", 0, 1).unwrap();
    for round in 0..20 {
        let many = || (0..20).map(|partition| (place(partition), committed(round))).collect();
        let begun = [offsets.begin("new", many()).unwrap(), offsets.begin("known", many()).unwrap()];
        assert!(offsets.has_room_for("late", 3));
        assert!(!offsets.has_room_for("late", 2));
        assert!(offsets.has_room_for("new", 2), "it is one of them");
        for commit in begun {
            commit.completion.as_ref().unwrap().wait().unwrap();
            offsets.end(&commit, true);
        }
        broker.run(broker.groups.delete("new")).unwrap();
    }
}

#[test]
fn committed_offsets_take_no_more_memory_than_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let config = || Config { offsets_memory_bytes_max: 10_000, ..Config::default() };
    let broker = Broker::open_with(dir.path(), config());
    broker.create("t");
    let many = |count| (0..count).map(|n| (place(n), committed(1))).collect::<Vec<_>>();
    let refused = broker.run(broker.groups.commit("g", &nobody(), many(50))).unwrap();
    let room = 50 - refused.len() as i32;
    assert!((30..40).contains(&room), "{room}");
    assert_eq!(refused, (room..50).map(place).collect::<Vec<_>>());
    let is_full = |broker: &Broker| {
        for group in ["g", "late"] {
            let err = broker.commit(group, 50, 1).unwrap_err();
            assert!(matches!(err, CommitError::Group(Error::NoMemory)), "{err}");
        }
        // Those that have committed go on, but with no more to say.
        assert_eq!(broker.run(broker.groups.commit("g", &nobody(), many(room))).unwrap(), []);
        broker.commit("g", 3, 4).unwrap();
        let said = Committed { metadata: "said".repeat(100), ..committed(5) };
        let said = vec![(place(3), said), (place(4), committed(5))];
        assert_eq!(broker.run(broker.groups.commit("g", &nobody(), said)).unwrap(), [place(3)]);
        assert_eq!((broker.committed("g", 3), broker.committed("g", 4)), (Some(4), Some(5)));
    };
    is_full(&broker);
    drop(broker);
    let broker = Broker::open_with(dir.path(), config());
    is_full(&broker);
    broker.run(broker.groups.delete_offsets("g", vec![place(2)])).unwrap();
    broker.commit("g", 2, 1).unwrap();
    is_full(&broker);
    broker.run(broker.groups.delete("g")).unwrap();
    assert_eq!(broker.run(broker.groups.commit("h", &nobody(), many(room))).unwrap(), []);
    // What is under way counts, too, until it is given up.
    broker.run(broker.groups.delete("h")).unwrap();
    for _ in 0..20 {
        let offsets = &broker.groups.offsets;
        let begun = offsets.begin("g", many(room)).unwrap();
        assert_eq!(offsets.begin("h", many(1)).unwrap().refused, [place(0)]);
        begun.completion.as_ref().unwrap().wait().unwrap();
        offsets.end(&begun, true);
        broker.run(broker.groups.delete("g")).unwrap();
    }
}

/// The clocks of the shell: what it stamps is the time of day, by which what was committed lapses.
#[test]
fn a_clock_that_was_set_forward_ends_no_offsets_early() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path());
    broker.create("t");
    let generation = broker.join("g", None);
    broker.run(broker.groups.commit("g", &generation, vec![(place(0), committed(1))])).unwrap();
    let before = clock::now_ms();
    leave(&broker, "g", &generation.member.member_id);
    let since = broker.groups.with_group("g", |group| group.unwrap().since_ms);
    let since = i64::try_from(since).unwrap();
    assert!((before..=clock::now_ms()).contains(&since), "{since}");
    let retention = i64::try_from(RETENTION.offsets_ms).unwrap();
    broker.groups.lapse_at(since + retention - 1);
    assert_eq!(broker.committed("g", 0), Some(1));
    broker.groups.lapse_at(since + retention);
    assert_eq!(broker.committed("g", 0), None);
}
