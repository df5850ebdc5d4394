//! rskafka through the features of the client matrix. It knows partitions and no groups, and makes and deletes topics.
//!
//! Usage: `rskafka features BROKER`.

#![forbid(unsafe_code)]

use matrix_clients::{Deadline, Outcome, PATIENCE, Row, by_partition, fresh, none, report, same, same_list};
use rskafka::BackoffConfig;
use rskafka::chrono::{DateTime, TimeDelta, Utc};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

const TIMEOUT_MS: i32 = 20_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["features", broker] => features(broker),
        _ => Err("usage: rskafka features BROKER; the client has no groups, and so no members".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("rskafka: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn features(broker: &str) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = |feature: &str, work: std::pin::Pin<Box<dyn Future<Output = Outcome> + '_>>| {
        // One that retries for ever is ended.
        let bounded = async { tokio::time::timeout(PATIENCE, work).await };
        report(feature, runtime.block_on(bounded).unwrap_or_else(|_| Err("it took too long".into())));
    };
    let backoff = BackoffConfig { deadline: Some(PATIENCE), ..BackoffConfig::default() };
    let client =
        runtime.block_on(ClientBuilder::new(vec![broker.to_owned()]).backoff_config(backoff).build())?;
    for (name, codec) in [
        ("none", Compression::NoCompression),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ] {
        run(&format!("produce-{name}"), Box::pin(produce(&client, name, codec)));
    }
    run("headers-keys-nulls", Box::pin(headers(&client)));
    none("idempotent", "idempotent producer");
    run("assign", Box::pin(assign(&client)));
    none("subscribe", "groups");
    none("regex", "groups");
    run("seek-time", Box::pin(seek_time(&client)));
    none("pause", "pause: a partition is read when it is asked");
    none("rebalance-join-leave", "groups");
    none("rebalance-crash", "groups");
    none("commit-resume", "groups");
    run("admin-create", Box::pin(create(&client)));
    none("admin-describe", "descriptions, but a list of topics and their partitions");
    none("admin-alter", "changes of topics");
    run("admin-delete", Box::pin(delete(&client)));
    Ok(())
}

async fn topic(client: &Client, name: &str, partitions: i32) -> Outcome<String> {
    let topic = fresh(name);
    client.controller_client()?.create_topic(&topic, partitions, 1, TIMEOUT_MS).await?;
    Ok(topic)
}

async fn partition(client: &Client, topic: &str, partition: i32) -> Outcome<PartitionClient> {
    // What was just made may not be known yet; the deadline of the client's retries bounds this.
    Ok(client.partition_client(topic, partition, UnknownTopicHandling::Retry).await?)
}

/// In milliseconds, as the protocol has it.
fn now() -> DateTime<Utc> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    DateTime::UNIX_EPOCH + TimeDelta::milliseconds(i64::try_from(since.as_millis()).unwrap_or(0))
}

fn record(key: Option<&str>, value: Option<&str>, timestamp: DateTime<Utc>) -> Record {
    let bytes = |text: &str| text.as_bytes().to_vec();
    Record { key: key.map(bytes), value: value.map(bytes), headers: BTreeMap::new(), timestamp }
}

/// Sends records to where they must be, and sees that they are told to be there.
async fn send(client: &Client, rows: &[Row], codec: Compression) -> Outcome {
    let mut parts: BTreeMap<(&str, i32), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        parts.entry((&row.topic, row.partition)).or_default().push(row);
    }
    for ((topic, index), rows) in parts {
        let to = partition(client, topic, index).await?;
        for rows in rows.chunks(50) {
            let records =
                rows.iter().map(|row| record(row.key.as_deref(), row.value.as_deref(), now())).collect();
            let offsets: Vec<i64> = rows.iter().map(|row| row.offset).collect();
            same("the offsets told", offsets, to.produce(records, codec).await?)?;
        }
    }
    Ok(())
}

/// Reads so many records from an offset on.
async fn read(from: &PartitionClient, mut offset: i64, count: usize) -> Outcome<Vec<RecordAndOffset>> {
    let deadline = Deadline::new("the records come");
    let mut came = Vec::new();
    while came.len() < count {
        deadline.check()?;
        // Less than there is, so that it takes several; whole batches come, with what lies before the offset.
        let (records, _) = from.fetch_records(offset, 1..4096, 500).await?;
        came.extend(records.into_iter().filter(|read| read.offset >= offset));
        offset = came.last().map_or(offset, |last| last.offset + 1);
    }
    Ok(came)
}

async fn rows(client: &Client, topic: &str, index: i32, offset: i64, count: usize) -> Outcome<Vec<Row>> {
    let text = |bytes: Option<Vec<u8>>| bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let came = read(&partition(client, topic, index).await?, offset, count).await?;
    let row = |read: RecordAndOffset| Row {
        topic: topic.to_owned(),
        partition: index,
        offset: read.offset,
        key: text(read.record.key),
        value: text(read.record.value),
    };
    Ok(came.into_iter().map(row).collect())
}

async fn produce(client: &Client, name: &str, codec: Compression) -> Outcome {
    let topic = topic(client, &format!("produce-{name}"), 3).await?;
    let sent = Row::numbered(&topic, 3, 0, 500);
    send(client, &sent, codec).await?;
    let sent = by_partition(sent);
    for index in 0..3 {
        let expected: Vec<Row> = sent.iter().filter(|row| row.partition == index).cloned().collect();
        same_list("what came", &expected, &rows(client, &topic, index, 0, expected.len()).await?)?;
        let end = partition(client, &topic, index).await?.get_offset(OffsetAt::Latest).await?;
        same("the end", expected.len(), usize::try_from(end)?)?;
    }
    Ok(())
}

/// The client keeps headers by name: a repeated one, or one without a value, cannot be said.
async fn headers(client: &Client) -> Outcome {
    let place = partition(client, &topic(client, "headers", 1).await?, 0).await?;
    let mut full = record(Some("key"), Some("value"), now());
    for (name, value) in [("one", &b"1"[..]), ("empty", b""), ("größe", b"\x00\xff\x7f")] {
        full.headers.insert(name.to_owned(), value.to_vec());
    }
    let sent = vec![
        full,
        record(Some("null value"), None, now()),
        record(None, Some("null key"), now()),
        record(None, None, now()),
        record(Some("empty value"), Some(""), now()),
        record(Some(""), Some("empty key"), now()),
    ];
    same(
        "the offsets told",
        (0..6).collect::<Vec<_>>(),
        place.produce(sent.clone(), Compression::NoCompression).await?,
    )?;
    let came: Vec<Record> = read(&place, 0, sent.len()).await?.into_iter().map(|read| read.record).collect();
    same_list("what came", &sent, &came)
}

async fn assign(client: &Client) -> Outcome {
    let topic = topic(client, "assign", 2).await?;
    let sent = Row::numbered(&topic, 2, 0, 100);
    send(client, &sent, Compression::Lz4).await?;
    let sent = by_partition(sent);
    same_list("partition 1 from offset 20", &sent[70..], &rows(client, &topic, 1, 20, 30).await?)?;
    same_list("the last record", &sent[99..], &rows(client, &topic, 1, 49, 1).await?)?;
    let beyond = partition(client, &topic, 1).await?.fetch_records(51, 1..4096, 100).await;
    same("a fetch beyond the end", Some(ProtocolError::OffsetOutOfRange), code(beyond)?)
}

/// The error that the broker answered with.
fn code<T>(result: Result<T, Error>) -> Outcome<Option<ProtocolError>> {
    match result {
        Ok(_) => Ok(None),
        Err(Error::ServerError { protocol_error, .. }) => Ok(Some(protocol_error)),
        Err(err) => Err(err.into()),
    }
}

async fn seek_time(client: &Client) -> Outcome {
    let place = partition(client, &topic(client, "seek-time", 1).await?, 0).await?;
    let start = now() - TimeDelta::seconds(1000);
    for first in (0..300).step_by(20) {
        let one = |i: i64| record(Some("key"), Some(&format!("value {i}")), start + TimeDelta::seconds(i));
        place.produce((first..first + 20).map(one).collect(), Compression::NoCompression).await?;
    }
    for (after, expected) in
        [(Duration::ZERO, 0), (Duration::from_secs(123), 123), (Duration::from_millis(123_001), 124)]
    {
        let offset = place.get_offset(OffsetAt::Timestamp(start + after)).await?;
        same("the offset for a time", expected, offset)?;
        let first = read(&place, offset, 1).await?.swap_remove(0).record;
        same("the record there", Some(format!("value {expected}").into_bytes()), first.value)?;
        same("its time", start + TimeDelta::seconds(expected), first.timestamp)?;
    }
    let beyond = place.get_offset(OffsetAt::Timestamp(start + TimeDelta::milliseconds(299_001))).await?;
    same("what is found beyond the end", -1, beyond)?;
    same("the beginning", 0, place.get_offset(OffsetAt::Earliest).await?)?;
    same("the end", 300, place.get_offset(OffsetAt::Latest).await?)
}

async fn partitions(client: &Client, topic: &str) -> Outcome<Option<Vec<i32>>> {
    let listed = client.list_topics().await?.into_iter().find(|one| one.name == topic);
    Ok(listed.map(|one| one.partitions.into_iter().collect()))
}

/// The client can say no configuration.
async fn create(client: &Client) -> Outcome {
    let topic = topic(client, "created", 3).await?;
    same("its partitions", Some(vec![0, 1, 2]), partitions(client, &topic).await?)?;
    let controller = client.controller_client()?;
    let absent = fresh("absent");
    for (name, partitions, replicas, expected) in [
        (&*topic, 1, 1, ProtocolError::TopicAlreadyExists),
        ("no/such/name", 1, 1, ProtocolError::InvalidTopicException),
        (&absent, 0, 1, ProtocolError::InvalidPartitions),
        (&absent, 1, 2, ProtocolError::InvalidReplicationFactor),
    ] {
        let refused = code(controller.create_topic(name, partitions, replicas, TIMEOUT_MS).await)?;
        same(&format!("the answer to {name}"), Some(expected), refused)?;
    }
    same("the partitions of what was refused", None, partitions(client, &absent).await?)
}

async fn delete(client: &Client) -> Outcome {
    let topic = topic(client, "deleted", 2).await?;
    let controller = client.controller_client()?;
    controller.delete_topic(&topic, TIMEOUT_MS).await?;
    same("its partitions", None, partitions(client, &topic).await?)?;
    let again = code(controller.delete_topic(&topic, TIMEOUT_MS).await)?;
    same("the same again", Some(ProtocolError::UnknownTopicOrPartition), again)?;
    controller.create_topic(&topic, 1, 1, TIMEOUT_MS).await?;
    let anew = Row::numbered(&topic, 1, 0, 10);
    send(client, &anew, Compression::NoCompression).await?;
    same_list("what is in a topic made anew", &anew, &rows(client, &topic, 0, 0, 10).await?)
}
