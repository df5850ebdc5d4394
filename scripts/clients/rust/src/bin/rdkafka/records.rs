//! Producing and consuming without groups.

use crate::{Client, at_end, places, poll, rows};
use matrix_clients::{Outcome, PATIENCE, Row, by_partition, same, same_list};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::FutureRecord;
use rdkafka::{Offset, Timestamp};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn produce(client: &Client, codec: &str) -> Outcome {
    let topic = client.topic(&format!("produce-{codec}"), 3)?;
    let sent = Row::numbered(&topic, 3, 0, 500);
    client.send(&client.producer(&[("compression.type", codec), ("linger.ms", "20")])?, &sent)?;
    let consumer = client.assigned(&topic, 3)?;
    same_list("what came", &by_partition(sent), &by_partition(rows(&consumer, 500)?))?;
    at_end(&consumer)
}

type Bytes = Option<&'static [u8]>;
type Named = (&'static str, Bytes);

pub(crate) fn headers(client: &Client) -> Outcome {
    let topic = client.topic("headers", 1)?;
    let some: &[Named] = &[
        ("one", Some(b"1")),
        ("empty", Some(b"")),
        ("twice", Some(b"a")),
        ("twice", Some(b"b")),
        ("null", None),
        ("größe", Some(b"\x00\xff\x7f")),
    ];
    let records: &[(Bytes, Bytes, &[Named])] = &[
        (Some(b"key"), Some(b"value"), some),
        (Some(b"null value"), None, &[]),
        (None, Some(b"null key"), &some[..1]),
        (None, None, &[]),
        (Some(b"empty value"), Some(b""), &[]),
        (Some(b""), Some(b"empty key"), &[]),
    ];
    let producer = client.producer(&[])?;
    for (key, value, headers) in records {
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&topic).partition(0);
        (record.key, record.payload) = (*key, *value);
        if !headers.is_empty() {
            let add = |all: OwnedHeaders, (key, value): &Named| all.insert(Header { key, value: *value });
            record.headers = Some(headers.iter().fold(OwnedHeaders::new(), add));
        }
        client.delivered(producer.send_result(record).map_err(|(err, _)| err)?)?;
    }
    let came = poll(&client.assigned(&topic, 1)?, records.len())?;
    for (message, (key, value, headers)) in came.iter().zip(records) {
        same("the key", *key, message.key())?;
        same("the value", *value, message.payload())?;
        let seen: Vec<(&str, Option<&[u8]>)> =
            message.headers().map_or(Vec::new(), |all| all.iter().map(|one| (one.key, one.value)).collect());
        same_list("the headers", headers, &seen)?;
    }
    Ok(())
}

pub(crate) fn idempotent(client: &Client) -> Outcome {
    let topic = client.topic("idempotent", 1)?;
    let sent = Row::numbered(&topic, 1, 0, 2000);
    // Small batches, so that several are under way.
    client.send(&client.producer(&[("enable.idempotence", "true"), ("batch.num.messages", "10")])?, &sent)?;
    let consumer = client.assigned(&topic, 1)?;
    same_list("what came", &sent, &rows(&consumer, 2000)?)?;
    at_end(&consumer)
}

pub(crate) fn assign(client: &Client) -> Outcome {
    let topic = client.topic("assign", 2)?;
    let sent = Row::numbered(&topic, 2, 0, 100);
    client.send(&client.producer(&[])?, &sent)?;
    let sent = by_partition(sent);
    let consumer = client.consumer(&[])?;
    consumer.assign(&places(&topic, 1..2, Offset::Offset(20))?)?;
    same_list("partition 1 from offset 20", &sent[70..], &rows(&consumer, 30)?)?;
    for (offset, expected) in
        [(Offset::Offset(49), &sent[99]), (Offset::Beginning, &sent[50]), (Offset::OffsetTail(3), &sent[97])]
    {
        consumer.seek(&topic, 1, offset, PATIENCE)?;
        same("the record there", expected, &rows(&consumer, 1)?[0])?;
    }
    Ok(())
}

pub(crate) fn seek_time(client: &Client) -> Outcome {
    let topic = client.topic("seek-time", 1)?;
    let start = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())? - 1_000_000;
    let producer = client.producer(&[])?;
    let mut sent = Vec::new();
    for i in 0..300 {
        let value = format!("value {i}");
        let record =
            FutureRecord::to(&topic).partition(0).key("key").payload(&value).timestamp(start + i * 1000);
        sent.push(producer.send_result(record).map_err(|(err, _)| err)?);
    }
    for delivery in sent {
        client.delivered(delivery)?;
    }
    let consumer = client.assigned(&topic, 1)?;
    poll(&consumer, 1)?; // A seek needs a partition that is being fetched.
    for (time, expected) in
        [(0, 0), (start, 0), (start + 123_000, 123), (start + 123_001, 124), (start + 299_000, 299)]
    {
        same("the offset for a time", Offset::Offset(expected), at_time(&consumer, &topic, time)?)?;
        consumer.seek(&topic, 0, Offset::Offset(expected), PATIENCE)?;
        let first = &poll(&consumer, 1)?[0];
        same("the record there", Some(format!("value {expected}").as_bytes()), first.payload())?;
        same("its time", Timestamp::CreateTime(start + expected * 1000), first.timestamp())?;
    }
    same("what is found beyond the end", Offset::End, at_time(&consumer, &topic, start + 299_001)?)?;
    same("the watermarks", (0, 300), consumer.fetch_watermarks(&topic, 0, PATIENCE)?)
}

fn at_time(consumer: &BaseConsumer, topic: &str, time_ms: i64) -> Outcome<Offset> {
    let found = consumer.offsets_for_times(places(topic, 0..1, Offset::Offset(time_ms))?, PATIENCE)?;
    let place = found.find_partition(topic, 0).ok_or("no answer for the partition")?;
    place.error()?;
    Ok(place.offset())
}

pub(crate) fn pause(client: &Client) -> Outcome {
    let topic = client.topic("pause", 2)?;
    let sent = Row::numbered(&topic, 2, 0, 200);
    client.send(&client.producer(&[])?, &sent)?;
    let sent = by_partition(sent);
    let consumer = client.assigned(&topic, 2)?;
    let first = places(&topic, 0..1, Offset::Invalid)?;
    consumer.pause(&first)?;
    same_list("what came while partition 0 paused", &sent[100..], &rows(&consumer, 100)?)?;
    same("what comes later", true, consumer.poll(Duration::from_millis(300)).is_none())?;
    consumer.resume(&first)?;
    same_list("what came of partition 0", &sent[..100], &rows(&consumer, 100)?)?;
    at_end(&consumer)
}
