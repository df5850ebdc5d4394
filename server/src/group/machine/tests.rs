//! The group machine under scripted and random schedules.

mod bounds;
mod clocks;
mod schedules;
mod static_members;

use super::*;

pub(super) const SESSION_MS: Millis = 10_000;
pub(super) const REBALANCE_MS: Millis = 60_000;

pub(super) fn join(member_id: &str, new_id: &str) -> JoinRequest {
    JoinRequest {
        member: Identity { member_id: member_id.into(), instance_id: None },
        new_member_id: new_id.into(),
        id_required: false,
        may_skip: true,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: Bytes::from_static(b"topics") }],
        reason: "a test".into(),
        held: None,
    }
}

/// The time of day when the clock of timeouts begins.
pub(super) const DAY_MS: Millis = 1_700_000_000_000;

pub(super) fn at(ms: Millis) -> Now {
    Now { ms, wall_ms: DAY_MS + ms }
}

pub(super) fn group() -> Group {
    Group::new(Settings { initial_delay_ms: 0, members_max: 100 }, 0, 0)
}

pub(super) fn generation(id: i32, member: &str) -> Generation {
    Generation { id, member: Identity { member_id: member.into(), instance_id: None } }
}

pub(super) fn sync(id: i32, member: &str, shares: &[(&str, &'static str)]) -> SyncRequest {
    let assignments =
        shares.iter().map(|(member, share)| ((*member).into(), Bytes::from_static(share.as_bytes())));
    SyncRequest {
        generation: generation(id, member),
        protocol_type: None,
        protocol: None,
        assignments: assignments.collect(),
        held: None,
    }
}

pub(super) fn leave(group: &mut Group, member: &str, now: Millis) -> Result<(), Error> {
    let who = (Identity { member_id: member.into(), instance_id: None }, "a test".into());
    let mut left = Vec::new();
    step(|out| left = group.leave(&[who], at(now), out));
    left[0]
}

/// Runs one step and gives its effects, but for what is only told.
pub(super) fn step(work: impl FnOnce(&mut Vec<Effect>)) -> Vec<Effect> {
    let mut out = Vec::new();
    work(&mut out);
    out.retain(|effect| !matches!(effect, Effect::Notice(_)));
    out
}

/// Has everything stored that is to be stored; gives the effects of that.
pub(super) fn store(group: &mut Group, effects: &[Effect], ok: bool, now: Millis) -> Vec<Effect> {
    let stores = effects.iter().filter_map(|effect| match effect {
        Effect::Store(store, _) => Some(*store),
        _ => None,
    });
    stores.flat_map(|one| step(|out| group.stored(one, ok, at(now), out))).collect()
}

pub(super) fn joined(effects: &[Effect], token: Token) -> &Joined {
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Joined(to, Ok(joined)) if *to == token => Some(joined),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{token} did not join: {effects:?}"))
}

pub(super) fn synced(token: Token, share: &'static str) -> Effect {
    let assignment = Bytes::from_static(share.as_bytes());
    let (protocol_type, protocol) = ("consumer".into(), "range".into());
    Effect::Synced(token, Ok(Synced { protocol_type, protocol, assignment }))
}

/// Two members in a stable generation: `a`, the leader, and `b`.
pub(super) fn stable() -> (Group, i32) {
    let mut group = group();
    step(|out| group.join(join("", "a"), 1, at(0), out));
    let effects = step(|out| group.join(join("", "b"), 2, at(0), out));
    assert!(effects.is_empty(), "b waits for a: {effects:?}");
    let effects = step(|out| group.join(join("a", ""), 3, at(1), out));
    let id = joined(&effects, 3).generation;
    assert_eq!(joined(&effects, 3).members.len(), 2, "the leader learns who is there");
    assert!(joined(&effects, 2).members.is_empty());
    assert!(step(|out| group.sync(sync(id, "b", &[]), 4, 2, out)).is_empty());
    let effects = step(|out| group.sync(sync(id, "a", &[("a", "0"), ("b", "1")]), 5, 3, out));
    assert!(matches!(&effects[..], [Effect::Store(..)]), "first the shares are stored: {effects:?}");
    assert_eq!(group.state, GroupState::CompletingRebalance);
    let effects = store(&mut group, &effects, true, 3);
    assert!(effects.contains(&synced(4, "1")));
    assert!(effects.contains(&synced(5, "0")));
    assert_eq!(group.state, GroupState::Stable);
    (group, id)
}

#[test]
fn the_first_member_leads_a_generation_of_its_own() {
    let mut group = group();
    let effects = step(|out| group.join(join("", "a"), 1, at(0), out));
    let first = joined(&effects, 1);
    assert_eq!((first.generation, first.leader.as_str(), first.protocol.as_str()), (1, "a", "range"));
}

#[test]
fn members_of_a_generation_get_their_shares() {
    let (group, id) = stable();
    assert_eq!((id, group.members.len()), (2, 2));
}

#[test]
fn a_member_that_leaves_makes_the_others_share_anew() {
    let (mut group, id) = stable();
    leave(&mut group, "b", 10).unwrap();
    assert_eq!(group.heartbeat(&generation(id, "a"), 11), Err(Error::RebalanceInProgress));
    let effects = step(|out| group.join(join("a", ""), 6, at(12), out));
    assert_eq!(joined(&effects, 6).generation, id + 1);
    assert_eq!(group.heartbeat(&generation(id, "a"), 13), Err(Error::IllegalGeneration));
    assert_eq!(group.heartbeat(&generation(id, "b"), 13), Err(Error::UnknownMember));
}

#[test]
fn a_silent_member_is_removed_and_one_that_beats_is_kept() {
    let (mut group, id) = stable();
    group.heartbeat(&generation(id, "a"), SESSION_MS - 1).unwrap();
    assert_eq!(group.next_deadline(), Some(2 + SESSION_MS).max(Some(3 + SESSION_MS)));
    step(|out| group.tick(at(3 + SESSION_MS), out));
    assert_eq!(group.members.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(group.state, GroupState::PreparingRebalance);
}

#[test]
fn a_rebalance_goes_on_without_those_who_do_not_come_back() {
    let (mut group, id) = stable();
    step(|out| group.join(join("", "c"), 6, at(10), out));
    // a comes back, b beats but never joins.
    step(|out| group.join(join("a", ""), 7, at(11), out));
    let mut now = 11;
    while now < 10 + REBALANCE_MS {
        let _ = group.heartbeat(&generation(id, "b"), now);
        assert!(step(|out| group.tick(at(now), out)).is_empty());
        now += SESSION_MS / 2;
    }
    let effects = step(|out| group.tick(at(10 + REBALANCE_MS), out));
    assert_eq!(joined(&effects, 7).generation, id + 1);
    assert_eq!(joined(&effects, 6).leader, "a");
    assert!(!group.members.contains_key("b"));
}

#[test]
fn a_leader_that_never_brings_the_shares_is_removed() {
    let mut group = group();
    step(|out| group.join(join("", "a"), 1, at(0), out));
    step(|out| group.join(join("", "b"), 2, at(0), out));
    let effects = step(|out| group.join(join("a", ""), 3, at(0), out));
    let id = joined(&effects, 3).generation;
    step(|out| group.sync(sync(id, "b", &[]), 4, 0, out));
    let mut now = 0;
    while now < REBALANCE_MS {
        let _ = group.heartbeat(&generation(id, "a"), now);
        step(|out| group.tick(at(now), out));
        now += SESSION_MS / 2;
    }
    let effects = step(|out| group.tick(at(REBALANCE_MS), out));
    assert!(effects.contains(&Effect::Synced(4, Err(Error::RebalanceInProgress))));
    assert_eq!(group.members.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_join_that_is_repeated_gets_the_generation_it_missed() {
    let (mut group, id) = stable();
    let effects = step(|out| group.join(join("b", ""), 9, at(20), out));
    assert_eq!(joined(&effects, 9).generation, id);
    assert_eq!(group.state, GroupState::Stable);
    let mut changed = join("b", "");
    changed.protocols[0].metadata = Bytes::from_static(b"other topics");
    assert!(step(|out| group.join(changed, 10, at(21), out)).is_empty(), "what changes is shared anew");
    assert_eq!(group.state, GroupState::PreparingRebalance);
}

#[test]
fn a_member_comes_again_with_the_id_it_is_given() {
    let mut group = group();
    let request = JoinRequest { id_required: true, ..join("", "a") };
    let effects = step(|out| group.join(request.clone(), 1, at(0), out));
    assert_eq!(effects, [Effect::Joined(1, Err((Error::MemberIdRequired, "a".into())))]);
    let effects = step(|out| {
        group.join(JoinRequest { member: join("a", "").member, ..request.clone() }, 2, at(1), out)
    });
    assert_eq!(joined(&effects, 2).member_id, "a");
    // One that never comes does not hold up the others beyond its session.
    step(|out| group.join(JoinRequest { new_member_id: "ghost".into(), ..request }, 3, at(2), out));
    step(|out| group.join(join("", "c"), 4, at(2), out));
    step(|out| group.join(join("a", ""), 5, at(2), out));
    assert_eq!(group.state, GroupState::PreparingRebalance);
    let effects = step(|out| group.tick(at(2 + SESSION_MS), out));
    assert_eq!(joined(&effects, 5).generation, 2);
}

#[test]
fn strangers_and_other_protocols_are_refused() {
    let (mut group, id) = stable();
    let refusal = |effects: Vec<Effect>| match &effects[..] {
        [Effect::Joined(_, Err((error, _)))] => *error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(step(|out| group.join(join("stranger", ""), 6, at(0), out))), Error::UnknownMember);
    let mut other = join("", "x");
    other.protocols[0].name = "sticky".into();
    assert_eq!(refusal(step(|out| group.join(other, 6, at(0), out))), Error::InconsistentProtocol);
    let other = JoinRequest { protocol_type: "connect".into(), ..join("", "x") };
    assert_eq!(refusal(step(|out| group.join(other, 6, at(0), out))), Error::InconsistentProtocol);
    let none = JoinRequest { protocols: vec![], ..join("", "x") };
    assert_eq!(refusal(step(|out| group.join(none, 6, at(0), out))), Error::InconsistentProtocol);
    group.settings.members_max = 2;
    assert_eq!(refusal(step(|out| group.join(join("", "x"), 6, at(0), out))), Error::GroupFull);
    assert_eq!(group.state, GroupState::Stable, "none of them disturbs the others");
    assert_eq!(group.heartbeat(&generation(id, "a"), 1), Ok(()));
}

#[test]
fn commits_are_taken_from_members_of_the_generation_only() {
    let (mut group, id) = stable();
    assert_eq!(group.may_commit(&generation(id, "a"), 0), Ok(()));
    assert_eq!(group.may_commit(&generation(id - 1, "a"), 0), Err(Error::IllegalGeneration));
    assert_eq!(group.may_commit(&generation(id, "x"), 0), Err(Error::UnknownMember));
    assert_eq!(group.may_commit(&generation(-1, ""), 0), Err(Error::UnknownMember));
    let mut empty = Group::new(Settings { initial_delay_ms: 0, members_max: 10 }, 0, 0);
    assert_eq!(empty.may_commit(&generation(-1, ""), 0), Ok(()));
}

#[test]
fn a_first_rebalance_waits_for_others_and_longer_while_they_come() {
    let mut group = Group::new(Settings { initial_delay_ms: 3000, members_max: 10 }, 0, 0);
    assert!(step(|out| group.join(join("", "a"), 1, at(0), out)).is_empty());
    assert!(step(|out| group.join(join("", "b"), 2, at(100), out)).is_empty());
    assert!(step(|out| group.tick(at(3000), out)).is_empty(), "b came meanwhile");
    assert!(step(|out| group.join(join("", "c"), 3, at(5000), out)).is_empty());
    assert!(step(|out| group.tick(at(6000), out)).is_empty(), "c came meanwhile");
    let effects = step(|out| group.tick(at(9000), out));
    assert_eq!(joined(&effects, 1).members.len(), 3);
    assert_eq!(joined(&effects, 2).generation, 1);
}

#[test]
fn a_first_rebalance_waits_no_longer_than_its_members_allow() {
    let mut group = Group::new(Settings { initial_delay_ms: 3000, members_max: 1000 }, 0, 0);
    let mut token = 0;
    let mut now = 0;
    let mut ended = None;
    while now <= REBALANCE_MS {
        token += 1;
        step(|out| group.join(join("", &format!("m{token}")), token, at(now), out));
        now += 1000;
        let effects = step(|out| group.tick(at(now), out));
        if effects.iter().any(|effect| matches!(effect, Effect::Joined(1, Ok(_)))) {
            ended = Some(now);
            break;
        }
    }
    assert_eq!(ended, Some(REBALANCE_MS));
}

#[test]
fn shares_that_cannot_be_stored_are_not_given_out() {
    let (mut group, id) = stable();
    step(|out| group.join(join("a", ""), 6, at(10), out));
    let effects = step(|out| group.join(join("b", ""), 7, at(10), out));
    assert_eq!(joined(&effects, 6).generation, id + 1);
    step(|out| group.sync(sync(id + 1, "b", &[]), 8, 11, out));
    let effects = step(|out| group.sync(sync(id + 1, "a", &[("a", "x")]), 9, 11, out));
    let effects = store(&mut group, &effects, false, 12);
    assert!(effects.contains(&Effect::Synced(8, Err(Error::NotStored))));
    assert!(effects.contains(&Effect::Synced(9, Err(Error::NotStored))));
    assert_eq!(group.state, GroupState::PreparingRebalance);
}

#[test]
fn shares_stored_after_the_generation_is_over_do_not_count() {
    let (mut group, id) = stable();
    step(|out| group.join(join("a", ""), 6, at(10), out));
    step(|out| group.join(join("b", ""), 7, at(10), out));
    let stored = step(|out| group.sync(sync(id + 1, "a", &[("a", "x"), ("b", "y")]), 9, 11, out));
    // Somebody comes while the disk writes.
    let effects = step(|out| group.join(join("", "c"), 10, at(12), out));
    assert!(effects.contains(&Effect::Synced(9, Err(Error::RebalanceInProgress))));
    assert!(store(&mut group, &stored, true, 13).is_empty());
    assert_eq!(group.state, GroupState::PreparingRebalance);
    assert!(group.members.values().all(|member| member.assignment.is_empty()));
}

#[test]
fn a_member_that_never_asks_for_its_share_is_removed_though_the_others_are_stable() {
    let (mut group, id) = stable();
    step(|out| group.join(join("a", ""), 6, at(10), out));
    step(|out| group.join(join("b", ""), 7, at(10), out));
    let effects = step(|out| group.sync(sync(id + 1, "a", &[("a", "x"), ("b", "y")]), 8, 11, out));
    store(&mut group, &effects, true, 11);
    assert_eq!(group.state, GroupState::Stable);
    let mut now = 11;
    while now < 10 + REBALANCE_MS {
        group.heartbeat(&generation(id + 1, "a"), now).unwrap();
        group.heartbeat(&generation(id + 1, "b"), now).unwrap();
        step(|out| group.tick(at(now), out));
        now += SESSION_MS / 2;
    }
    step(|out| group.tick(at(10 + REBALANCE_MS), out));
    assert_eq!(group.members.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(group.state, GroupState::PreparingRebalance);
}

#[test]
fn a_new_member_does_not_wait_for_ever() {
    let mut group = group();
    let patient = JoinRequest { rebalance_timeout_ms: 10 * NEW_MEMBER_WAIT_MS, ..join("", "a") };
    step(|out| group.join(patient, 1, at(0), out));
    step(|out| group.join(join("", "b"), 2, at(5), out));
    let mut now = 5;
    while now < 5 + NEW_MEMBER_WAIT_MS {
        let _ = group.heartbeat(&generation(1, "a"), now);
        let effects = step(|out| group.tick(at(now), out));
        assert!(effects.is_empty(), "{effects:?}");
        now += SESSION_MS / 2;
    }
    let effects = step(|out| group.tick(at(5 + NEW_MEMBER_WAIT_MS), out));
    assert_eq!(effects, [Effect::Joined(2, Err((Error::UnknownMember, String::new())))]);
}

#[test]
fn who_takes_another_protocol_for_the_groups_is_told() {
    let (mut group, id) = stable();
    let own = SyncRequest {
        protocol_type: Some("consumer".into()),
        protocol: Some("range".into()),
        ..sync(id, "b", &[])
    };
    assert_eq!(step(|out| group.sync(own.clone(), 6, 5, out)), [synced(6, "1")]);
    let refused = [Effect::Synced(7, Err(Error::InconsistentProtocol))];
    let other = SyncRequest { protocol: Some("sticky".into()), ..own.clone() };
    assert_eq!(step(|out| group.sync(other, 7, 5, out)), refused);
    let other = SyncRequest { protocol_type: Some("connect".into()), ..own };
    assert_eq!(step(|out| group.sync(other, 7, 5, out)), refused);
}

#[test]
fn several_members_leave_at_once_and_the_others_share_anew_once() {
    let (mut group, _) = stable();
    let who = ["b", "x", "a"].map(|id| (join(id, "").member, "a test".to_owned()));
    let mut left = Vec::new();
    let effects = step(|out| left = group.leave(&who, at(10), out));
    assert_eq!(left, [Ok(()), Err(Error::UnknownMember), Ok(())]);
    assert_eq!(group.state, GroupState::Empty);
    assert!(matches!(&effects[..], [Effect::Store(_, record)] if record.members.is_empty()));
    assert_eq!(group.may_delete(), Ok(()));
}

#[test]
fn a_group_that_was_kept_goes_on_where_it_was() {
    let mut group = group();
    step(|out| group.join(join("", "a"), 1, at(0), out));
    let effects = step(|out| group.sync(sync(1, "a", &[("a", "0")]), 2, 3, out));
    let [Effect::Store(_, record)] = &effects[..] else { panic!("{effects:?}") };
    let mut again = Group::load(record.clone(), group.settings, 1, at(50_000));
    assert_eq!((again.state, again.generation), (GroupState::Stable, 1));
    assert_eq!(again.heartbeat(&generation(1, "a"), 50_001), Ok(()));
    assert_eq!(again.may_commit(&generation(1, "a"), 50_001), Ok(()));
    assert_eq!(again.may_commit(&generation(0, "a"), 50_001), Err(Error::IllegalGeneration));
    assert_eq!(step(|out| again.sync(sync(1, "a", &[]), 4, 50_001, out)), [synced(4, "0")]);
    assert_eq!(again.may_delete(), Err(Error::NotEmpty));
    // One that does not come back is removed after a session.
    let effects = step(|out| again.tick(at(50_001 + SESSION_MS), out));
    assert_eq!(again.state, GroupState::Empty);
    let [Effect::Store(_, record)] = &effects[..] else { panic!("{effects:?}") };
    let empty = Group::load(record.clone(), again.settings, 1, at(70_000));
    assert_eq!((empty.generation, empty.since_ms), (2, at(50_001 + SESSION_MS).wall_ms));
}

#[test]
fn the_last_to_join_of_too_many_members_is_turned_away() {
    let mut group = Group::new(Settings { initial_delay_ms: 100, members_max: 2 }, 0, 0);
    for (token, id) in [(1, "a"), (2, "b")] {
        assert!(step(|out| group.join(join("", id), token, at(0), out)).is_empty());
    }
    let effects = step(|out| group.join(join("", "c"), 3, at(1), out));
    assert_eq!(effects, [Effect::Joined(3, Err((Error::GroupFull, String::new())))]);
    assert_eq!(group.members.len(), 2);
}
