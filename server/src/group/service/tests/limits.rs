//! What clients may have kept for them, and when it is given back.

use super::*;

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
