//! Groups: subscriptions, members that come, leave and crash, commits.

use crate::member::Member;
use crate::{Client, at_end, rows};
use matrix_clients::{Deadline, Outcome, PATIENCE, Row, by_partition, fresh, same, same_list, until};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub(crate) fn subscribe(client: &Client) -> Outcome {
    let (first, second) = (client.topic("subscribe-a", 2)?, client.topic("subscribe-b", 2)?);
    let mut sent = Row::numbered(&first, 2, 0, 100);
    sent.extend(Row::numbered(&second, 2, 0, 100));
    client.send(&client.producer(&[])?, &sent)?;
    let consumer = client.consumer(&[("group.id", &fresh("subscribe"))])?;
    consumer.subscribe(&[&first, &second])?;
    same_list("what came", &by_partition(sent), &by_partition(rows(&consumer, 200)?))?;
    at_end(&consumer)
}

pub(crate) fn regex(client: &Client) -> Outcome {
    let mut sent = Row::numbered(&client.topic("regex-first", 2)?, 2, 0, 50);
    let producer = client.producer(&[])?;
    client.send(&producer, &sent)?;
    client.send(&producer, &Row::numbered(&client.topic("other-regex", 1)?, 1, 0, 10))?;
    let more = [("group.id", &*fresh("regex")), ("topic.metadata.refresh.interval.ms", "500")];
    let consumer = client.consumer(&more)?;
    consumer.subscribe(&[&fresh("^regex-.*")])?;
    same_list("what came", &by_partition(sent.clone()), &by_partition(rows(&consumer, 50)?))?;
    let later = Row::numbered(&client.topic("regex-made-later", 1)?, 1, 0, 20);
    client.send(&producer, &later)?;
    // Nothing was committed: the rebalance may begin the first topic anew.
    sent.extend(later.iter().cloned());
    let deadline = Deadline::new("the topic made later is found");
    let mut came = HashSet::new();
    while !later.iter().all(|row| came.contains(row)) {
        deadline.check()?;
        came.extend(rows(&consumer, 1)?);
    }
    came.retain(|row| !sent.contains(row));
    same("what came of other topics", HashSet::new(), came)
}

/// Sends records whose values are KEY.NUMBER, and waits for them. The producer chooses the partition by key.
fn send_keyed(client: &Client, topic: &str, numbers: std::ops::Range<i32>) -> Outcome<BTreeSet<String>> {
    let producer = client.producer(&[])?;
    let (mut sent, mut values) = (Vec::new(), BTreeSet::new());
    for number in numbers {
        let key = format!("key{}", number % 20);
        let value = format!("{key}.{number}");
        sent.push(
            producer
                .send_result(FutureRecord::to(topic).key(&key).payload(&value))
                .map_err(|(err, _)| err)?,
        );
        values.insert(value);
    }
    for delivery in sent {
        client.delivered(delivery)?;
    }
    Ok(values)
}

fn values(members: [&Member; 2]) -> BTreeSet<String> {
    members.iter().flat_map(|member| member.seen().rows).filter_map(|row| row.value).collect()
}

fn have_half(first: &Member, second: &Member) -> Outcome {
    until("two members have two partitions each", || {
        let (first, second) = (first.seen().assigned, second.seen().assigned);
        first.len() == 2 && second.len() == 2 && first.is_disjoint(&second)
    })
}

/// Of each key, a member must see later records later.
fn key_order(member: &Member) -> Outcome {
    let mut last = HashMap::new();
    for row in member.seen().rows {
        let value = row.value.unwrap_or_default();
        let (key, number) = value.split_once('.').ok_or("a record of somebody else")?;
        let number: i32 = number.parse()?;
        if let Some(before) = last.insert(key.to_owned(), number).filter(|before| *before >= number) {
            return Err(format!("{key}: {number} comes after {before}").into());
        }
    }
    Ok(())
}

/// The end of what was seen of each partition.
fn ends(members: &[&Member]) -> BTreeMap<i32, Offset> {
    let mut ends = BTreeMap::new();
    for row in members.iter().flat_map(|member| member.seen().rows) {
        let end: &mut i64 = ends.entry(row.partition).or_default();
        *end = (*end).max(row.offset + 1);
    }
    ends.into_iter().map(|(partition, end)| (partition, Offset::Offset(end))).collect()
}

fn committed(client: &Client, group: &str, topic: &str) -> Outcome<BTreeMap<i32, Offset>> {
    let consumer: BaseConsumer = client.consumer(&[("group.id", group)])?;
    let mut places = TopicPartitionList::new();
    places.add_partition_range(topic, 0, 3);
    let committed = consumer.committed_offsets(places, PATIENCE)?;
    Ok(committed.elements().iter().map(|place| (place.partition(), place.offset())).collect())
}

pub(crate) fn join_leave(client: &Client) -> Outcome {
    let (topic, group) = (client.topic("join-leave", 4)?, fresh("join-leave"));
    let mut sent = send_keyed(client, &topic, 0..250)?;
    let mut first = Member::start(&client.broker, &topic, &group)?;
    until("the first member has all partitions", || first.seen().assigned.len() == 4)?;
    let mut second = Member::start(&client.broker, &topic, &group)?;
    sent.extend(send_keyed(client, &topic, 250..500)?);
    have_half(&first, &second)?;
    sent.extend(send_keyed(client, &topic, 500..750)?);
    until("750 records are seen", || values([&first, &second]) == sent)?;
    same("whether the second member saw some", true, !second.seen().rows.is_empty())?;
    second.leave()?;
    sent.extend(send_keyed(client, &topic, 750..1000)?);
    until("the first member has all partitions again", || first.seen().assigned.len() == 4)?;
    until("1000 records are seen", || values([&first, &second]).is_superset(&sent))?;
    first.leave()?;
    same("what was seen", &sent, &values([&first, &second]))?;
    same("how many were seen", sent.len(), first.seen().rows.len() + second.seen().rows.len())?;
    key_order(&first)?;
    key_order(&second)?;
    same("what is committed", ends(&[&first, &second]), committed(client, &group, &topic)?)
}

pub(crate) fn crash(client: &Client) -> Outcome {
    let (topic, group) = (client.topic("crash", 4)?, fresh("crash"));
    let mut first = Member::start(&client.broker, &topic, &group)?;
    let mut second = Member::start(&client.broker, &topic, &group)?;
    have_half(&first, &second)?;
    let mut sent = send_keyed(client, &topic, 0..1000)?;
    until("the second member reads", || second.seen().rows.len() >= 50)?;
    second.crash()?;
    let before = committed(client, &group, &topic)?;
    sent.extend(send_keyed(client, &topic, 1000..1500)?);
    until("the other has all partitions", || first.seen().assigned.len() == 4)?;
    until("every record is seen", || values([&first, &second]).is_superset(&sent))?;
    first.leave()?;
    same("what was seen", &sent, &values([&first, &second]))?;
    key_order(&first)?;
    key_order(&second)?;
    // It goes on where the crashed one had committed. A last commit may have been under way, so that is between what
    // was committed when it was asked, and the end of what was printed.
    let (dead, heir) = (second.seen(), first.seen());
    for partition in dead.assigned {
        let of_it = |row: &&Row| row.partition == partition;
        let resumed =
            heir.rows.iter().find(of_it).map(|row| row.offset).ok_or("nothing came of a partition")?;
        let kept = before[&partition].to_raw().unwrap_or(-1).max(0);
        let printed = dead.rows.iter().filter(of_it).map(|row| row.offset + 1).max().unwrap_or(0);
        if !(kept..=printed).contains(&resumed) {
            return Err(format!(
                "partition {partition} is resumed at {resumed}, not from {kept} to {printed}"
            )
            .into());
        }
    }
    same("what is committed", ends(&[&first]), committed(client, &group, &topic)?)
}

pub(crate) fn commit_resume(client: &Client) -> Outcome {
    let (topic, group) = (client.topic("commit", 1)?, fresh("commit"));
    let sent = Row::numbered(&topic, 1, 0, 100);
    client.send(&client.producer(&[])?, &sent)?;
    let consumer = client.consumer(&[("group.id", &group)])?;
    consumer.subscribe(&[&topic])?;
    same_list("what came first", &sent[..30], &rows(&consumer, 30)?)?;
    let mut place = TopicPartitionList::new();
    let mut element = place.add_partition(&topic, 0);
    element.set_offset(Offset::Offset(27))?;
    element.set_metadata("not all of them");
    consumer.commit(&place, CommitMode::Sync)?;
    drop(consumer);
    let consumer = client.consumer(&[("group.id", &group)])?;
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&topic, 0);
    let told = consumer.committed_offsets(asked, PATIENCE)?;
    let told: Vec<_> =
        told.elements().iter().map(|place| (place.offset(), place.metadata().to_owned())).collect();
    same("what is committed", vec![(Offset::Offset(27), "not all of them".to_owned())], told)?;
    consumer.subscribe(&[&topic])?;
    same_list("what came then", &sent[27..], &rows(&consumer, 73)?)?;
    consumer.commit_consumer_state(CommitMode::Sync)?;
    let all = consumer.committed(PATIENCE)?;
    same(
        "what is committed at the end",
        Some(Offset::Offset(100)),
        all.elements().first().map(|place| place.offset()),
    )
}
