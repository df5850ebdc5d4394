//! Static members: their places are theirs while they are away (KIP-345).

use super::*;

fn fixed(member_id: &str, new_id: &str, instance: &str) -> JoinRequest {
    let member = Identity { member_id: member_id.into(), instance_id: Some(instance.into()) };
    JoinRequest { member, id_required: true, ..join("", new_id) }
}

fn as_static(id: i32, member: &str, instance: &str) -> Generation {
    Generation { id, member: Identity { member_id: member.into(), instance_id: Some(instance.into()) } }
}

/// `a`, which leads, and `b` are static members `ia` and `ib`.
fn pair() -> (Group, i32) {
    let mut group = group();
    step(|out| group.join(fixed("", "a", "ia"), 1, at(0), out));
    step(|out| group.join(fixed("", "b", "ib"), 2, at(0), out));
    let effects = step(|out| group.join(fixed("a", "", "ia"), 3, at(0), out));
    let id = joined(&effects, 3).generation;
    let told = &joined(&effects, 3).members;
    assert_eq!(told[1].instance_id.as_deref(), Some("ib"), "the leader learns who is static");
    step(|out| group.sync(sync(id, "b", &[]), 4, 0, out));
    let effects = step(|out| group.sync(sync(id, "a", &[("a", "0"), ("b", "1")]), 5, 0, out));
    store(&mut group, &effects, true, 0);
    assert_eq!(group.state, GroupState::Stable);
    (group, id)
}

#[test]
fn a_restart_changes_nothing_for_the_others_and_fences_the_one_before() {
    let (mut group, id) = pair();
    let effects = step(|out| group.join(fixed("", "b2", "ib"), 6, at(10), out));
    let [Effect::Store(_, record)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!(record.members[1].member_id, "b2");
    assert_eq!(record.members[1].assignment, Bytes::from_static(b"1"));
    // The answer comes when the new id is stored.
    let effects = store(&mut group, &effects, true, 11);
    let again = joined(&effects, 6);
    assert_eq!((again.generation, again.member_id.as_str()), (id, "b2"));
    assert_eq!((again.leader.as_str(), again.skip_assignment), ("a", false));
    assert_eq!(group.state, GroupState::Stable);
    assert_eq!(group.heartbeat(&generation(id, "a"), 12), Ok(()));
    assert_eq!(step(|out| group.sync(sync(id, "b2", &[]), 7, 12, out)), [synced(7, "1")]);
    // Whoever still goes by the old id is told.
    let old = as_static(id, "b", "ib");
    assert_eq!(group.heartbeat(&old, 13), Err(Error::FencedInstance));
    assert_eq!(group.may_commit(&old, 13), Err(Error::FencedInstance));
    assert_eq!(group.may_commit(&generation(id, "b"), 13), Err(Error::UnknownMember));
    let effects = step(|out| group.join(fixed("b", "", "ib"), 8, at(13), out));
    assert_eq!(effects, [Effect::Joined(8, Err((Error::FencedInstance, "b".into())))]);
    let fenced = SyncRequest { generation: old, ..sync(id, "", &[]) };
    let effects = step(|out| group.sync(fenced, 9, 13, out));
    assert_eq!(effects, [Effect::Synced(9, Err(Error::FencedInstance))]);
    assert_eq!(group.may_commit(&as_static(id, "b2", "ib"), 13), Ok(()));
    assert_eq!(group.heartbeat(&as_static(id, "b2", "nobody"), 13), Err(Error::UnknownMember));
}

#[test]
fn a_leader_that_restarts_leads_without_assigning_anew() {
    let (mut group, id) = pair();
    let effects = step(|out| group.join(fixed("", "a2", "ia"), 6, at(10), out));
    let effects = store(&mut group, &effects, true, 10);
    let again = joined(&effects, 6);
    assert_eq!((again.generation, again.leader.as_str()), (id, "a2"));
    assert_eq!((again.skip_assignment, again.members.len()), (true, 2));
    // An older client is not told that it leads, or it would assign.
    let older = JoinRequest { may_skip: false, ..fixed("", "a3", "ia") };
    let effects = step(|out| group.join(older, 7, at(10), out));
    let effects = store(&mut group, &effects, true, 10);
    let again = joined(&effects, 7);
    assert_eq!((again.leader.as_str(), again.members.len(), again.skip_assignment), ("a2", 0, false));
    assert_eq!(group.leader, "a3");
}

#[test]
fn one_whose_new_id_cannot_be_stored_comes_again() {
    let (mut group, _) = pair();
    let effects = step(|out| group.join(fixed("", "b2", "ib"), 6, at(10), out));
    let effects = store(&mut group, &effects, false, 10);
    assert_eq!(effects, [Effect::Joined(6, Err((Error::NotStored, String::new())))]);
    let effects = step(|out| group.join(fixed("", "b3", "ib"), 7, at(10), out));
    assert_eq!(joined(&store(&mut group, &effects, true, 10), 7).member_id, "b3");
}

/// Its answer waits for the disk meanwhile, and the group may be forgotten before that is done.
#[test]
fn one_that_comes_back_is_answered_when_it_is_removed_or_replaced() {
    let (mut group, _) = pair();
    step(|out| group.join(fixed("", "b2", "ib"), 6, at(10), out));
    let effects = step(|out| group.join(fixed("", "b3", "ib"), 7, at(11), out));
    assert_eq!(effects[0], Effect::Joined(6, Err((Error::FencedInstance, "b2".into()))));
    let stores = effects;
    let who = Identity { member_id: String::new(), instance_id: Some("ib".into()) };
    let effects = step(|out| assert_eq!(group.leave(&[(who, "a test".into())], at(12), out), [Ok(())]));
    assert_eq!(effects[0], Effect::Joined(7, Err((Error::UnknownMember, "b3".into()))));
    assert_eq!(store(&mut group, &stores, true, 13), [], "each is answered once");
    assert!(group.returned.is_empty());
}

#[test]
fn a_restart_during_a_rebalance_fences_who_waits() {
    let (mut group, id) = pair();
    step(|out| group.join(join("", "c"), 6, at(10), out));
    assert!(step(|out| group.join(fixed("b", "", "ib"), 7, at(10), out)).is_empty());
    let effects = step(|out| group.join(fixed("", "b2", "ib"), 8, at(11), out));
    assert_eq!(effects, [Effect::Joined(7, Err((Error::FencedInstance, "b".into())))]);
    let effects = step(|out| group.join(fixed("a", "", "ia"), 9, at(12), out));
    assert_eq!(joined(&effects, 8).generation, id + 1);
    assert_eq!(joined(&effects, 9).members.len(), 3);
}

#[test]
fn one_that_comes_back_with_another_choice_has_the_group_rebalance() {
    let (mut group, id) = pair();
    leave(&mut group, "a", 5).unwrap();
    let effects = step(|out| group.join(fixed("b", "", "ib"), 6, at(5), out));
    assert_eq!(joined(&effects, 6).generation, id + 1);
    let effects = step(|out| group.sync(sync(id + 1, "b", &[("b", "all")]), 7, 5, out));
    store(&mut group, &effects, true, 5);
    let mut other = fixed("", "b2", "ib");
    other.protocols[0].name = "sticky".into();
    let effects = step(|out| group.join(other, 8, at(6), out));
    assert_eq!((joined(&effects, 8).generation, joined(&effects, 8).protocol.as_str()), (id + 2, "sticky"));
}

#[test]
fn one_that_is_away_keeps_its_place_through_a_rebalance_until_its_session_ends() {
    let (mut group, id) = pair();
    step(|out| group.join(join("", "c"), 6, at(10), out));
    step(|out| group.join(fixed("a", "", "ia"), 7, at(10), out));
    // b is heard of, and does not join.
    let mut now = 10;
    while now < 10 + REBALANCE_MS {
        let _ = group.heartbeat(&generation(id, "b"), now);
        step(|out| group.tick(at(now), out));
        now += SESSION_MS / 2;
    }
    let effects = step(|out| group.tick(at(10 + REBALANCE_MS), out));
    assert_eq!(joined(&effects, 7).members.len(), 3, "b is assigned to as well");
    step(|out| group.sync(sync(id + 1, "c", &[]), 8, now, out));
    let shares = [("a", "0"), ("b", "1"), ("c", "2")];
    let effects = step(|out| group.sync(sync(id + 1, "a", &shares), 9, now, out));
    store(&mut group, &effects, true, now);
    let effects = step(|out| group.join(fixed("", "b2", "ib"), 10, at(now + 1), out));
    assert_eq!(joined(&store(&mut group, &effects, true, now + 1), 10).generation, id + 1);
    assert_eq!(step(|out| group.sync(sync(id + 1, "b2", &[]), 11, now + 1, out)), [synced(11, "1")]);
    let mut beat = now + 1;
    while beat < now + 1 + SESSION_MS {
        group.heartbeat(&generation(id + 1, "a"), beat).unwrap();
        group.heartbeat(&generation(id + 1, "c"), beat).unwrap();
        beat += SESSION_MS / 2;
    }
    step(|out| group.tick(at(now + 1 + SESSION_MS), out));
    assert_eq!(group.members.keys().collect::<Vec<_>>(), ["a", "c"]);
}

#[test]
fn when_all_are_away_nobody_is_made_the_leader() {
    let (mut group, id) = pair();
    step(|out| group.join(join("", "c"), 6, at(10), out));
    leave(&mut group, "c", 11).unwrap();
    let mut now = 11;
    while now < 10 + REBALANCE_MS {
        let _ = group.heartbeat(&generation(id, "a"), now);
        let _ = group.heartbeat(&generation(id, "b"), now);
        step(|out| group.tick(at(now), out));
        now += SESSION_MS / 2;
    }
    assert!(step(|out| group.tick(at(10 + REBALANCE_MS), out)).is_empty());
    assert_eq!((group.state, group.generation), (GroupState::PreparingRebalance, id));
    step(|out| group.join(fixed("b", "", "ib"), 7, at(now), out));
    let effects = step(|out| group.join(fixed("a", "", "ia"), 8, at(now), out));
    assert_eq!(joined(&effects, 8).generation, id + 1);
}

#[test]
fn it_is_removed_by_its_instance_id() {
    let (mut group, _) = pair();
    let who = |member: &str, instance: &str| {
        let instance_id = Some(instance.to_owned());
        (Identity { member_id: member.into(), instance_id }, "an operator".to_owned())
    };
    let mut left = Vec::new();
    step(|out| left = group.leave(&[who("", "ib"), who("", "ix"), who("b", "ia")], at(10), out));
    assert_eq!(left, [Ok(()), Err(Error::UnknownMember), Err(Error::FencedInstance)]);
    assert_eq!(group.members.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(group.state, GroupState::PreparingRebalance);
}

#[test]
fn instance_ids_are_bounded() {
    let mut group = group();
    for wrong in [String::new(), "i".repeat(250)] {
        let effects = step(|out| group.join(fixed("", "a", &wrong), 1, at(0), out));
        assert_eq!(effects, [Effect::Joined(1, Err((Error::InvalidInstance, String::new())))]);
    }
}
