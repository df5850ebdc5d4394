//! What members of a group can agree upon.

use super::*;

/// Protocols of these names, and one that all have.
fn offering(names: impl Iterator<Item = usize>) -> Vec<Protocol> {
    let named = |name: String| Protocol { name, metadata: Bytes::new() };
    let own = names.map(|n| named(format!("protocol-{n}")));
    own.chain([named("common".into())]).collect()
}

/// Each member offers a hundred protocols, of which the last member supports none but one.
#[test]
fn many_members_with_many_protocols_agree_on_the_one_that_all_have() {
    let mut group = group();
    for n in 0..1000 {
        let protocols = if n < 999 { offering(0..99) } else { offering(1000..1099) };
        let member = Member { protocols, ..Member::default() };
        group.members.insert(format!("m{n:04}"), member);
    }
    group.protocol_type = "consumer".into();
    assert_eq!(group.choose_protocol(), "common");
    let newcomer = JoinRequest { protocols: offering(0..99), ..join("", "x") };
    assert!(group.accepts(&newcomer, ""));
    let newcomer = JoinRequest { protocols: offering(0..99).into_iter().take(99).collect(), ..newcomer };
    assert!(!group.accepts(&newcomer, ""));
}

#[test]
fn the_protocol_that_most_prefer_is_chosen_of_those_that_all_support() {
    let mut group = group();
    for (id, names) in [("a", ["x", "y", "z"]), ("b", ["z", "y", "y"]), ("c", ["y", "z", "w"])] {
        let protocol = |name: &str| Protocol { name: name.into(), metadata: Bytes::new() };
        let member = Member { protocols: names.map(protocol).into(), ..Member::default() };
        group.members.insert(id.into(), member);
    }
    assert_eq!(group.choose_protocol(), "y");
}
