//! The group machine under scripted and random schedules.

use super::*;

const SESSION_MS: Millis = 10_000;
const REBALANCE_MS: Millis = 60_000;

fn join(member_id: &str, new_id: &str) -> JoinRequest {
    JoinRequest {
        member_id: member_id.into(),
        new_member_id: new_id.into(),
        id_required: false,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: Bytes::from_static(b"topics") }],
    }
}

fn group() -> Group {
    Group::new(0, 100)
}

fn generation(id: i32, member: &str) -> Generation {
    Generation { id, member_id: member.into() }
}

fn sync(id: i32, member: &str, shares: &[(&str, &'static str)]) -> SyncRequest {
    let assignments =
        shares.iter().map(|(member, share)| ((*member).into(), Bytes::from_static(share.as_bytes())));
    SyncRequest { generation: generation(id, member), assignments: assignments.collect() }
}

/// Runs one step and gives its effects.
fn step(work: impl FnOnce(&mut Vec<Effect>)) -> Vec<Effect> {
    let mut out = Vec::new();
    work(&mut out);
    out
}

fn joined(effects: &[Effect], token: Token) -> &Joined {
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Joined(to, Ok(joined)) if *to == token => Some(joined),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("{token} did not join: {effects:?}"))
}

/// Two members in a stable generation: `a`, the leader, and `b`.
fn stable() -> (Group, i32) {
    let mut group = group();
    step(|out| group.join(join("", "a"), 1, 0, out));
    let effects = step(|out| group.join(join("", "b"), 2, 0, out));
    assert!(effects.is_empty(), "b waits for a: {effects:?}");
    let effects = step(|out| group.join(join("a", ""), 3, 1, out));
    let id = joined(&effects, 3).generation;
    assert_eq!(joined(&effects, 3).members.len(), 2, "the leader learns who is there");
    assert!(joined(&effects, 2).members.is_empty());
    assert!(step(|out| group.sync(sync(id, "b", &[]), 4, 2, out)).is_empty());
    let effects = step(|out| group.sync(sync(id, "a", &[("a", "0"), ("b", "1")]), 5, 3, out));
    assert!(effects.contains(&Effect::Synced(4, Ok(Bytes::from_static(b"1")))));
    assert!(effects.contains(&Effect::Synced(5, Ok(Bytes::from_static(b"0")))));
    assert_eq!(group.state, GroupState::Stable);
    (group, id)
}

#[test]
fn the_first_member_leads_a_generation_of_its_own() {
    let mut group = group();
    let effects = step(|out| group.join(join("", "a"), 1, 0, out));
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
    step(|out| group.leave("b", 10, out).unwrap());
    assert_eq!(group.heartbeat(&generation(id, "a"), 11), Err(Error::RebalanceInProgress));
    let effects = step(|out| group.join(join("a", ""), 6, 12, out));
    assert_eq!(joined(&effects, 6).generation, id + 1);
    assert_eq!(group.heartbeat(&generation(id, "a"), 13), Err(Error::IllegalGeneration));
    assert_eq!(group.heartbeat(&generation(id, "b"), 13), Err(Error::UnknownMember));
}

#[test]
fn a_silent_member_is_removed_and_one_that_beats_is_kept() {
    let (mut group, id) = stable();
    group.heartbeat(&generation(id, "a"), SESSION_MS - 1).unwrap();
    assert_eq!(group.next_deadline(), Some(2 + SESSION_MS).max(Some(3 + SESSION_MS)));
    step(|out| group.tick(3 + SESSION_MS, out));
    assert_eq!(group.members.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(group.state, GroupState::PreparingRebalance);
}

#[test]
fn a_rebalance_goes_on_without_those_who_do_not_come_back() {
    let (mut group, id) = stable();
    step(|out| group.join(join("", "c"), 6, 10, out));
    // a comes back, b beats but never joins.
    step(|out| group.join(join("a", ""), 7, 11, out));
    let mut now = 11;
    while now < 10 + REBALANCE_MS {
        let _ = group.heartbeat(&generation(id, "b"), now);
        assert!(step(|out| group.tick(now, out)).is_empty());
        now += SESSION_MS / 2;
    }
    let effects = step(|out| group.tick(10 + REBALANCE_MS, out));
    assert_eq!(joined(&effects, 7).generation, id + 1);
    assert_eq!(joined(&effects, 6).leader, "a");
    assert!(!group.members.contains_key("b"));
}

#[test]
fn a_leader_that_never_brings_the_shares_is_removed() {
    let mut group = group();
    step(|out| group.join(join("", "a"), 1, 0, out));
    step(|out| group.join(join("", "b"), 2, 0, out));
    let effects = step(|out| group.join(join("a", ""), 3, 0, out));
    let id = joined(&effects, 3).generation;
    step(|out| group.sync(sync(id, "b", &[]), 4, 0, out));
    let mut now = 0;
    while now < REBALANCE_MS {
        let _ = group.heartbeat(&generation(id, "a"), now);
        step(|out| group.tick(now, out));
        now += SESSION_MS / 2;
    }
    let effects = step(|out| group.tick(REBALANCE_MS, out));
    assert!(effects.contains(&Effect::Synced(4, Err(Error::RebalanceInProgress))));
    assert_eq!(group.members.keys().collect::<Vec<_>>(), ["b"]);
}

#[test]
fn a_join_that_is_repeated_gets_the_generation_it_missed() {
    let (mut group, id) = stable();
    let effects = step(|out| group.join(join("b", ""), 9, 20, out));
    assert_eq!(joined(&effects, 9).generation, id);
    assert_eq!(group.state, GroupState::Stable);
    let mut changed = join("b", "");
    changed.protocols[0].metadata = Bytes::from_static(b"other topics");
    assert!(step(|out| group.join(changed, 10, 21, out)).is_empty(), "what changes is shared anew");
    assert_eq!(group.state, GroupState::PreparingRebalance);
}

#[test]
fn a_member_comes_again_with_the_id_it_is_given() {
    let mut group = group();
    let request = JoinRequest { id_required: true, ..join("", "a") };
    let effects = step(|out| group.join(request.clone(), 1, 0, out));
    assert_eq!(effects, [Effect::Joined(1, Err((Error::MemberIdRequired, "a".into())))]);
    let effects = step(|out| group.join(JoinRequest { member_id: "a".into(), ..request.clone() }, 2, 1, out));
    assert_eq!(joined(&effects, 2).member_id, "a");
    // One that never comes does not hold up the others beyond its session.
    step(|out| group.join(JoinRequest { new_member_id: "ghost".into(), ..request }, 3, 2, out));
    step(|out| group.join(join("", "c"), 4, 2, out));
    step(|out| group.join(join("a", ""), 5, 2, out));
    assert_eq!(group.state, GroupState::PreparingRebalance);
    let effects = step(|out| group.tick(2 + SESSION_MS, out));
    assert_eq!(joined(&effects, 5).generation, 2);
}

#[test]
fn strangers_and_other_protocols_are_refused() {
    let (mut group, id) = stable();
    let refusal = |effects: Vec<Effect>| match &effects[..] {
        [Effect::Joined(_, Err((error, _)))] => *error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(step(|out| group.join(join("stranger", ""), 6, 0, out))), Error::UnknownMember);
    let mut other = join("", "x");
    other.protocols[0].name = "sticky".into();
    assert_eq!(refusal(step(|out| group.join(other, 6, 0, out))), Error::InconsistentProtocol);
    let other = JoinRequest { protocol_type: "connect".into(), ..join("", "x") };
    assert_eq!(refusal(step(|out| group.join(other, 6, 0, out))), Error::InconsistentProtocol);
    let none = JoinRequest { protocols: vec![], ..join("", "x") };
    assert_eq!(refusal(step(|out| group.join(none, 6, 0, out))), Error::InconsistentProtocol);
    group.members_max = 2;
    assert_eq!(refusal(step(|out| group.join(join("", "x"), 6, 0, out))), Error::GroupFull);
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
    let mut empty = Group::new(0, 10);
    assert_eq!(empty.may_commit(&generation(-1, ""), 0), Ok(()));
}

#[test]
fn an_empty_group_waits_for_others_as_configured() {
    let mut group = Group::new(3000, 10);
    assert!(step(|out| group.join(join("", "a"), 1, 0, out)).is_empty());
    assert!(step(|out| group.join(join("", "b"), 2, 100, out)).is_empty());
    let effects = step(|out| group.tick(3000, out));
    assert_eq!(joined(&effects, 1).members.len(), 2);
    assert_eq!(joined(&effects, 2).generation, 1);
}

/// A small generator: the schedule of a seed is always the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Whatever clients do in whatever order: each request is answered once at most, a generation has one
/// leader and one protocol, generations never go back, and when clients behave in the end, all of
/// them come to share one generation.
#[test]
fn random_schedules_keep_the_invariants_and_end_stable() {
    for seed in 1..=400u64 {
        let mut dice = Dice(u64::wrapping_mul(seed, 0x9e37_79b9_7f4a_7c15));
        let mut group = Group::new(if seed % 3 == 0 { 500 } else { 0 }, 8);
        let (mut now, mut token) = (0, 0);
        let mut answered = std::collections::HashSet::new();
        let mut leaders: BTreeMap<i32, String> = BTreeMap::new();
        let mut last_generation = 0;
        let ids: Vec<String> = (0..6).map(|n| format!("m{n}")).collect();
        for _ in 0..300 {
            now += dice.roll(4000);
            token += 1;
            let id = &ids[dice.roll(6) as usize];
            let effects = step(|out| match dice.roll(8) {
                0 => group.join(
                    JoinRequest { id_required: dice.roll(2) == 0, ..join("", id) },
                    token,
                    now,
                    out,
                ),
                1 | 2 => group.join(join(id, ""), token, now, out),
                3 | 4 => {
                    let at = group.generation - i32::from(dice.roll(5) == 0);
                    let shares: Vec<_> = ids.iter().map(|id| (id.as_str(), "share")).collect();
                    group.sync(sync(at, id, &shares), token, now, out);
                }
                5 => drop(group.heartbeat(&generation(group.generation, id), now)),
                6 => drop(group.leave(id, now, out)),
                _ => group.tick(now, out),
            });
            for effect in &effects {
                let to = match effect {
                    Effect::Joined(to, reply) => {
                        if let Ok(joined) = reply {
                            let leader =
                                leaders.entry(joined.generation).or_insert_with(|| joined.leader.clone());
                            assert_eq!(*leader, joined.leader, "seed {seed}: one leader");
                            assert!(!joined.protocol.is_empty());
                        }
                        to
                    }
                    Effect::Synced(to, _) => to,
                };
                assert!(answered.insert(*to), "seed {seed}: {to} is answered twice");
                assert!(*to <= token);
            }
            assert!(group.generation >= last_generation, "seed {seed}");
            last_generation = group.generation;
            assert_eq!(
                group.state == GroupState::Empty,
                group.members.is_empty(),
                "seed {seed}: {:?}",
                group.state
            );
            assert!(group.members.len() <= 8);
            let waits = group.members.values().any(|m| m.joining.is_some() || m.syncing.is_some());
            assert!(!waits || group.next_deadline().is_some(), "seed {seed}: who waits will be answered");
        }
        // From here on everybody who is left behaves.
        let mut rounds = 0;
        while group.state != GroupState::Stable && !group.members.is_empty() {
            rounds += 1;
            assert!(rounds < 50, "seed {seed}: never stable, {:?}", group.state);
            now += 100;
            let members: Vec<_> = group.members.keys().cloned().collect();
            for id in &members {
                token += 1;
                step(|out| match group.state {
                    GroupState::PreparingRebalance => group.join(join(id, ""), token, now, out),
                    GroupState::CompletingRebalance => {
                        group.sync(sync(group.generation, id, &[]), token, now, out)
                    }
                    _ => {}
                });
            }
            step(|out| group.tick(now + SESSION_MS, out));
            now += SESSION_MS / 2;
        }
    }
}
