//! Topics and their configuration. The client describes topics by their metadata alone. It reads no error of what it
//! is answered about configurations: what was refused is told by what did not change, an unknown topic by its having
//! no key.

use crate::{Client, options};
use matrix_clients::{Outcome, PATIENCE, fresh, same};
use rdkafka::admin::{
    AlterConfig, ConfigEntry, ConfigSource, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::error::KafkaError;
use rdkafka::producer::FutureRecord;
use rdkafka::types::RDKafkaErrorCode;

fn plain(name: &str, partitions: i32) -> NewTopic<'_> {
    NewTopic::new(name, partitions, TopicReplication::Fixed(1))
}

/// What a topic's configuration says of a key, and why. `None` if it does not tell of any.
fn config(client: &Client, topic: &str, name: &str) -> Outcome<Option<(String, ConfigSource)>> {
    let topic = ResourceSpecifier::Topic(topic);
    let asked = client.admin.describe_configs([&topic], &options());
    let mut told = client.runtime.block_on(asked)?.into_iter().next().ok_or("no answer for the topic")??;
    if told.entries.is_empty() {
        return Ok(None);
    }
    let at = told.entries.iter().position(|entry| entry.name == name).ok_or("the key is not told")?;
    let ConfigEntry { value, source, .. } = told.entries.swap_remove(at);
    Ok(Some((value.ok_or("the key has no value")?, source)))
}

fn is(value: &str, source: ConfigSource) -> Option<(String, ConfigSource)> {
    Some((value.to_owned(), source))
}

/// Asks for a change; whether it was made is not told.
fn set(client: &Client, topic: &str, name: &str, value: &str) -> Outcome {
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    client.runtime.block_on(client.admin.alter_configs([&change], &options()))?;
    Ok(())
}

/// How many partitions a topic has. Asked of a client of its own: one that knew the topic would tell what it was.
fn partitions(client: &Client, topic: &str) -> Outcome<Result<usize, String>> {
    let producer = client.producer(&[])?;
    let metadata = rdkafka::producer::Producer::client(&producer).fetch_metadata(Some(topic), PATIENCE)?;
    let told = metadata.topics().first().ok_or("no answer for the topic")?;
    Ok(match told.error() {
        None => Ok(told.partitions().len()),
        Some(err) => Err(RDKafkaErrorCode::from(err).to_string()),
    })
}

fn listed(client: &Client) -> Outcome<Vec<String>> {
    let metadata = client.admin.inner().fetch_metadata(None, PATIENCE)?;
    Ok(metadata.topics().iter().map(|topic| topic.name().to_owned()).collect())
}

fn refused(client: &Client, what: &str, topic: NewTopic<'_>, expected: RDKafkaErrorCode) -> Outcome {
    same(what, Err(expected), client.create(topic)?.map_err(|(_, code)| code))
}

pub(crate) fn create(client: &Client) -> Outcome {
    let topic = fresh("created");
    let new = || plain(&topic, 3).set("segment.bytes", "1048576").set("compression.type", "lz4");
    same("a new topic", Ok(topic.clone()), client.create(new())?)?;
    same("its partitions", Ok(3), partitions(client, &topic)?)?;
    let told = config(client, &topic, "segment.bytes")?;
    same("segment.bytes", is("1048576", ConfigSource::DynamicTopic), told)?;
    let told = config(client, &topic, "compression.type")?;
    same("compression.type", is("lz4", ConfigSource::DynamicTopic), told)?;
    refused(client, "the same again", new(), RDKafkaErrorCode::TopicAlreadyExists)?;
    let absent = fresh("absent");
    let unknown = plain(&absent, 1).set("no.such.config", "1");
    refused(client, "an unknown config", unknown, RDKafkaErrorCode::InvalidConfig)?;
    let bad = plain(&absent, 1).set("segment.bytes", "many");
    refused(client, "a value that is none", bad, RDKafkaErrorCode::InvalidConfig)?;
    refused(client, "a name that is none", plain("no/such/name", 1), RDKafkaErrorCode::InvalidTopic)?;
    let two = NewTopic::new(&absent, 1, TopicReplication::Fixed(2));
    refused(client, "two replicas", two, RDKafkaErrorCode::InvalidReplicationFactor)?;
    let only = options().validate_only(true);
    let tried = client.runtime.block_on(client.admin.create_topics([&plain(&absent, 1)], &only))?;
    same("what is only tried", vec![Ok(absent.clone())], tried)?;
    let names = listed(client)?;
    same("whether it is listed", (true, false), (names.contains(&topic), names.contains(&absent)))
}

pub(crate) fn describe(client: &Client) -> Outcome {
    let topic = fresh("described");
    same("a new topic", Ok(topic.clone()), client.create(plain(&topic, 2).set("segment.bytes", "2097152"))?)?;
    let metadata = client.admin.inner().fetch_metadata(Some(&topic), PATIENCE)?;
    let brokers: Vec<_> =
        metadata.brokers().iter().map(|one| format!("{}:{}", one.host(), one.port())).collect();
    same("the brokers", vec![client.broker.clone()], brokers)?;
    let id = metadata.brokers()[0].id();
    let told = metadata.topics().first().ok_or("no answer for the topic")?;
    same("its name", &*topic, told.name())?;
    let places: Vec<_> = told
        .partitions()
        .iter()
        .map(|one| (one.id(), one.leader(), one.replicas().to_vec(), one.isr().to_vec()))
        .collect();
    same("its partitions", vec![(0, id, vec![id], vec![id]), (1, id, vec![id], vec![id])], places)?;
    let told = config(client, &topic, "segment.bytes")?;
    same("segment.bytes", is("2097152", ConfigSource::DynamicTopic), told)?;
    let told = config(client, &topic, "compression.type")?;
    same("compression.type", is("producer", ConfigSource::Default), told)?;
    let unknown = config(client, &fresh("unknown"), "segment.bytes")?;
    same("the configuration of an unknown topic", None, unknown)
}

pub(crate) fn alter(client: &Client) -> Outcome {
    let topic = client.topic("altered", 3)?;
    set(client, &topic, "max.message.bytes", "2000")?;
    let told = || config(client, &topic, "max.message.bytes");
    same("max.message.bytes", is("2000", ConfigSource::DynamicTopic), told()?)?;
    let producer = client.producer(&[])?;
    let (small, large) = ("small".to_owned(), "large".repeat(1000));
    let send = |partition: i32, value: &str| {
        let record = FutureRecord::to(&topic).partition(partition).key("key").payload(value);
        producer.send_result(record).map_err(|(err, _)| err)
    };
    same("the place of a small record", (0, 0), client.delivered(send(0, &small)?)?)?;
    let refused = client.runtime.block_on(send(0, &large)?)?.map(|_| ()).map_err(|(err, _)| err);
    same(
        "what comes of a large record",
        Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)),
        refused,
    )?;
    let unknown = fresh("unknown");
    for (name, key, value) in [
        (&topic, "no.such.config", "1"),
        (&topic, "max.message.bytes", "-5"),
        (&unknown, "max.message.bytes", "2000"),
    ] {
        set(client, name, key, value)?;
    }
    same("max.message.bytes", is("2000", ConfigSource::DynamicTopic), told()?)?;
    same("whether a change makes a topic", false, listed(client)?.contains(&unknown))?;
    same("more partitions", Ok(topic.clone()), grow(client, &topic, 5)?)?;
    same("its partitions", Ok(5), partitions(client, &topic)?)?;
    let deadline = matrix_clients::Deadline::new("the producer knows of the new partition");
    loop {
        let record = FutureRecord::to(&topic).partition(4).key("key").payload(&small);
        match client.runtime.block_on(client.producer(&[])?.send(record, PATIENCE)) {
            Ok(sent) => break same("the place in a new partition", (4, 0), (sent.partition, sent.offset))?,
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::UnknownPartition), _)) => {
                deadline.check()?
            }
            Err((err, _)) => return Err(err.into()),
        }
    }
    let fewer = grow(client, &topic, 4)?.map_err(|(_, code)| code);
    same("fewer partitions", Err(RDKafkaErrorCode::InvalidPartitions), fewer)?;
    let nowhere = grow(client, &unknown, 4)?.map_err(|(_, code)| code);
    same("partitions of an unknown topic", Err(RDKafkaErrorCode::UnknownTopicOrPartition), nowhere)
}

fn grow(client: &Client, topic: &str, partitions: usize) -> Outcome<rdkafka::admin::TopicResult> {
    let more = NewPartitions::new(topic, partitions);
    let grown = client.admin.create_partitions([&more], &options());
    client.runtime.block_on(grown)?.into_iter().next().ok_or_else(|| "no answer for the topic".into())
}

pub(crate) fn delete(client: &Client) -> Outcome {
    let topic = client.topic("deleted", 2)?;
    let delete = || client.runtime.block_on(client.admin.delete_topics(&[&topic], &options()));
    same("what is deleted", vec![Ok(topic.clone())], delete()?)?;
    same("whether it is listed", false, listed(client)?.contains(&topic))?;
    let again = vec![Err((topic.clone(), RDKafkaErrorCode::UnknownTopicOrPartition))];
    same("the same again", again, delete()?)?;
    let told = config(client, &topic, "segment.bytes")?;
    same("its configuration", None, told)?;
    client.topic("deleted", 1)?;
    let record = FutureRecord::to(&topic).partition(0).key("key").payload("value");
    let sent =
        client.runtime.block_on(client.producer(&[])?.send(record, PATIENCE)).map_err(|(err, _)| err)?;
    same("the first place in a topic made anew", (0, 0), (sent.partition, sent.offset))
}
