//! `ringmain topic`: create, list, describe, change and delete topics.

mod change;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use ringmain_client::Admin;
use ringmain_client::admin::{AdminError, NewTopic, PartitionDescription};
use ringmain_client::wire::BrokerError;
use serde::Serialize;

use super::output::{BrokerArgs, CliError, columns, or_dash, print, print_json};

/// Work with topics
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Create a topic
    #[command(
        after_help = "Example:\n  ringmain topic create orders --partitions 3 --config max.message.bytes=2097152"
    )]
    Create(CreateArgs),
    /// List topics
    #[command(after_help = "Example:\n  ringmain topic list --json")]
    List(ListArgs),
    /// Show partitions, leaders, offsets and configuration of topics
    #[command(after_help = "Example:\n  ringmain topic describe orders payments")]
    Describe(DescribeArgs),
    /// Delete topics with everything in them
    #[command(after_help = "Example:\n  ringmain topic delete orders")]
    Delete(DeleteArgs),
    /// Change the configuration of a topic, while it is used
    #[command(
        after_help = "Example:\n  ringmain topic alter orders --set max.message.bytes=2097152 --unset durability"
    )]
    Alter(change::AlterArgs),
    /// Give a topic more partitions
    #[command(after_help = "Example:\n  ringmain topic add-partitions orders --total 12")]
    AddPartitions(change::AddPartitionsArgs),
    /// Delete the oldest records of a topic
    #[command(
        after_help = "Examples:\n  ringmain topic delete-records orders --partition 0 --before-offset 1000\n  \
        ringmain topic delete-records orders --all"
    )]
    DeleteRecords(change::DeleteRecordsArgs),
}

/// What to create.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the topic
    name: String,
    /// Number of partitions [default: the broker's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Number of replicas of each partition [default: the broker's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// Configuration of the topic; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    config: Vec<(String, String)>,
    /// Do not fail when the topic exists
    #[arg(long)]
    if_not_exists: bool,
    /// Print JSON: the topic, and whether it was created
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// What to list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Also list the topics that the broker keeps for itself
    #[arg(long)]
    internal: bool,
    /// Print JSON: an array of topics
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// What to describe.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Print JSON: an array of topics with their partitions
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// What to delete.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Print JSON: an array of the names
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

#[derive(Serialize)]
struct Created {
    topic: String,
    created: bool,
}

#[derive(Serialize)]
struct TopicRow {
    name: String,
    partitions: usize,
    replication_factor: usize,
    internal: bool,
}

#[derive(Serialize)]
struct TopicDetail {
    name: String,
    /// What differs from the broker's defaults.
    config: BTreeMap<String, String>,
    partitions: Vec<PartitionRow>,
}

#[derive(Serialize)]
struct PartitionRow {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    earliest: Option<i64>,
    latest: Option<i64>,
}

impl From<PartitionDescription> for PartitionRow {
    fn from(found: PartitionDescription) -> Self {
        Self {
            partition: found.partition,
            leader: found.leader,
            leader_epoch: found.leader_epoch,
            replicas: found.replicas,
            in_sync: found.in_sync,
            earliest: found.earliest,
            latest: found.latest,
        }
    }
}

/// Runs `ringmain topic`.
pub(crate) async fn run(command: TopicCommand) -> Result<(), CliError> {
    match command {
        TopicCommand::Create(args) => create(args).await,
        TopicCommand::List(args) => list(args).await,
        TopicCommand::Describe(args) => describe(args).await,
        TopicCommand::Delete(args) => delete(args).await,
        TopicCommand::Alter(args) => change::alter(args).await,
        TopicCommand::AddPartitions(args) => change::add_partitions(args).await,
        TopicCommand::DeleteRecords(args) => change::delete_records(args).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let admin = Admin::new(args.broker.connect().await?);
    let topic = NewTopic {
        name: args.name,
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        configs: args.config.into_iter().collect::<BTreeMap<_, _>>(),
    };
    let created = match admin.create_topic(&topic).await {
        Ok(()) => true,
        Err(AdminError::Topic { code: BrokerError::TopicAlreadyExists, .. }) if args.if_not_exists => false,
        Err(error) => return Err(error.into()),
    };
    match (args.json, created) {
        (true, created) => print_json(&Created { topic: topic.name, created }),
        (false, true) => print(&format!("created topic {}\n", topic.name)),
        (false, false) => print(&format!("topic {} exists\n", topic.name)),
    }
}

async fn list(args: ListArgs) -> Result<(), CliError> {
    let admin = Admin::new(args.broker.connect().await?);
    let topics = admin.topics().await?;
    let topics = topics.into_iter().filter(|topic| args.internal || !topic.internal);
    let rows = topics.map(|topic| TopicRow {
        replication_factor: topic.partitions.first().map_or(0, |first| first.replicas.len()),
        partitions: topic.partitions.len(),
        internal: topic.internal,
        name: topic.name.clone(),
    });
    let rows: Vec<TopicRow> = rows.collect();
    if args.json {
        return print_json(&rows);
    }
    let mut table = vec![["TOPIC", "PARTITIONS", "REPLICAS"].map(str::to_owned)];
    table.extend(
        rows.into_iter()
            .map(|row| [row.name, row.partitions.to_string(), row.replication_factor.to_string()]),
    );
    print(&columns(&table))
}

async fn describe(args: DescribeArgs) -> Result<(), CliError> {
    let admin = Admin::new(args.broker.connect().await?);
    let mut topics = Vec::new();
    for name in args.names {
        let partitions = admin.describe_topic(&name).await?;
        let partitions = partitions.into_iter().map(PartitionRow::from).collect();
        let config = admin.topic_config(&name).await?;
        topics.push(TopicDetail { name, config, partitions });
    }
    if args.json {
        return print_json(&topics);
    }
    let headings = ["TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN-SYNC", "EARLIEST", "LATEST"];
    let mut table = vec![headings.map(str::to_owned)];
    let configs = topics.iter().filter(|topic| !topic.config.is_empty()).map(config_text);
    let configs: String = configs.collect();
    for topic in topics {
        table.extend(topic.partitions.into_iter().map(|row| {
            [
                topic.name.clone(),
                row.partition.to_string(),
                or_dash(row.leader),
                row.leader_epoch.to_string(),
                joined(&row.replicas),
                joined(&row.in_sync),
                or_dash(row.earliest),
                or_dash(row.latest),
            ]
        }));
    }
    print(&format!("{}{configs}", columns(&table)))
}

fn config_text(topic: &TopicDetail) -> String {
    let pairs: Vec<String> = topic.config.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("configuration of {}: {}\n", topic.name, pairs.join(" "))
}

async fn delete(args: DeleteArgs) -> Result<(), CliError> {
    let admin = Admin::new(args.broker.connect().await?);
    for name in &args.names {
        admin.delete_topic(name).await?;
        if !args.json {
            print(&format!("deleted topic {name}\n"))?;
        }
    }
    if args.json { print_json(&args.names) } else { Ok(()) }
}

fn joined(ids: &[i32]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(",")
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("give it as KEY=VALUE, for example max.message.bytes=2097152".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::key_value;

    #[test]
    fn a_configuration_has_a_key() {
        let parsed = key_value("a=b=c").unwrap();
        assert_eq!(parsed, ("a".to_owned(), "b=c".to_owned()));
        assert!(key_value("a").is_err());
        assert!(key_value("=b").is_err());
    }
}
