//! The range assignor: of every topic, each member gets a run of neighbouring partitions.

use std::collections::BTreeMap;

/// A member and the topics it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// The member's id.
    pub member: String,
    /// The topics it wants.
    pub topics: Vec<String>,
}

/// What every member gets: topics with their partitions.
pub type Plan = BTreeMap<String, BTreeMap<String, Vec<i32>>>;

/// Shares the partitions of each topic among the members that want it, in the order of their
/// ids: everyone gets a run of neighbours, the first members one more where it does not come out
/// even. Members that get nothing are in the plan too. It is what Java's range assignor does.
#[must_use]
pub fn assign_ranges(members: &[Subscriber], partitions: &BTreeMap<String, i32>) -> Plan {
    let mut plan: Plan = members.iter().map(|member| (member.member.clone(), BTreeMap::new())).collect();
    for (topic, count) in partitions {
        let mut takers: Vec<&str> = members
            .iter()
            .filter(|member| member.topics.contains(topic))
            .map(|member| member.member.as_str())
            .collect();
        takers.sort_unstable();
        takers.dedup();
        let (Ok(takers_count), true) = (i32::try_from(takers.len()), !takers.is_empty()) else {
            continue;
        };
        let (each, more) = (count / takers_count, count % takers_count);
        let mut next = 0;
        for (index, taker) in takers.iter().enumerate() {
            let share = each + i32::from((index as i32) < more);
            if share > 0
                && let Some(given) = plan.get_mut(*taker)
            {
                given.insert(topic.clone(), (next..next + share).collect());
            }
            next += share;
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, topics: &[&str]) -> Subscriber {
        Subscriber { member: id.to_owned(), topics: topics.iter().map(|topic| (*topic).to_owned()).collect() }
    }

    fn counts(topics: &[(&str, i32)]) -> BTreeMap<String, i32> {
        topics.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect()
    }

    fn given(plan: &Plan, member: &str, topic: &str) -> Vec<i32> {
        plan[member].get(topic).cloned().unwrap_or_default()
    }

    #[test]
    fn the_first_members_get_one_more() {
        let members = [member("b", &["t"]), member("a", &["t"]), member("c", &["t"])];
        let plan = assign_ranges(&members, &counts(&[("t", 8)]));
        assert_eq!(given(&plan, "a", "t"), [0, 1, 2]);
        assert_eq!(given(&plan, "b", "t"), [3, 4, 5]);
        assert_eq!(given(&plan, "c", "t"), [6, 7]);
    }

    #[test]
    fn every_topic_is_shared_on_its_own() {
        let members = [member("a", &["t", "u"]), member("b", &["t"])];
        let plan = assign_ranges(&members, &counts(&[("t", 3), ("u", 2)]));
        assert_eq!(given(&plan, "a", "t"), [0, 1]);
        assert_eq!(given(&plan, "b", "t"), [2]);
        assert_eq!(given(&plan, "a", "u"), [0, 1]);
        assert!(given(&plan, "b", "u").is_empty());
    }

    #[test]
    fn more_members_than_partitions_leave_some_with_nothing() {
        let members = [member("a", &["t"]), member("b", &["t"]), member("c", &["x"])];
        let plan = assign_ranges(&members, &counts(&[("t", 1)]));
        assert_eq!(given(&plan, "a", "t"), [0]);
        assert!(plan["b"].is_empty() && plan["c"].is_empty());
    }

    #[test]
    fn nobody_is_no_plan() {
        assert!(assign_ranges(&[], &counts(&[("t", 4)])).is_empty());
    }
}
