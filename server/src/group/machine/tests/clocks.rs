//! The clock of timeouts and the time of day need not agree.

use super::*;
use crate::group::expiry::Clock;
use crate::group::offsets::Committed;

fn committed_at(at: Millis) -> Committed {
    let committed_at_ms = i64::try_from(at).unwrap();
    Committed { offset: 1, leader_epoch: -1, metadata: String::new(), committed_at_ms, expires_at_ms: None }
}

/// The machine sleeps, or its clock is set, while a group has members: what they committed is kept for the time of
/// retention from when the last of them goes.
#[test]
fn offsets_lapse_by_the_time_of_day_and_members_by_the_clock_of_timeouts() {
    const SLEPT_MS: Millis = 30 * 86_400_000;
    const RETENTION_MS: Millis = 7 * 86_400_000;
    let (mut group, id) = stable();
    let woken = |ms: Millis| Now { ms, wall_ms: DAY_MS + SLEPT_MS + ms };
    assert!(step(|out| group.tick(woken(5), out)).is_empty(), "no session has ended");
    assert_eq!(group.heartbeat(&generation(id, "a"), 6), Ok(()));
    let who = ["a", "b"].map(|id| (join(id, "").member, "a test".to_owned()));
    let effects = step(|out| _ = group.leave(&who, woken(10), out));
    let gone = DAY_MS + SLEPT_MS + 10;
    let [Effect::Store(_, record)] = &effects[..] else { panic!("{effects:?}") };
    assert_eq!((group.since_ms, record.since_ms), (gone, Some(gone)));
    let lapses = |group: &Group, after: Millis| {
        let wall_ms = i64::try_from(gone + after).unwrap();
        Clock::of(Some(group)).lapses("t", &committed_at(gone), wall_ms, RETENTION_MS)
    };
    assert!(!lapses(&group, 1000));
    assert!(!lapses(&group, RETENTION_MS - 1));
    assert!(lapses(&group, RETENTION_MS));
    // A restart changes nothing: the other clock begins anew.
    let again = Group::load(record.clone(), group.settings, 1, woken(0));
    assert!(!lapses(&again, RETENTION_MS - 1) && lapses(&again, RETENTION_MS));
}

#[test]
fn a_clock_that_is_set_back_ends_no_session_and_no_rebalance() {
    let (mut group, id) = stable();
    let back = |ms: Millis| Now { ms, wall_ms: 5 };
    step(|out| group.join(join("", "c"), 6, back(10), out));
    assert_eq!((group.state, group.since_ms), (GroupState::PreparingRebalance, 5));
    assert_eq!(group.next_deadline(), Some(3 + SESSION_MS));
    assert_eq!(group.heartbeat(&generation(id, "a"), 11), Err(Error::RebalanceInProgress));
    step(|out| group.tick(back(12), out));
    assert_eq!(group.members.len(), 3);
}
