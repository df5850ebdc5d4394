//! `ringmain topic alter`, `add-partitions` and `delete-records`.

use super::super::consume::time_millis;
use super::super::output::{BrokerArgs, CliError, columns, print, print_json};
use super::key_value;
use clap::{ArgGroup, Args};
use ringmain_client::Admin;
use ringmain_client::config::Isolation;
use ringmain_client::offsets::OffsetSpec;
use serde::Serialize;
use std::collections::BTreeMap;

/// What to change.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").required(true).multiple(true)))]
pub(crate) struct AlterArgs {
    /// Name of the topic
    name: String,
    /// Set a key; may be given several times
    #[arg(long, group = "change", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Take a key back to its default; may be given several times
    #[arg(long, group = "change", value_name = "KEY")]
    unset: Vec<String>,
    /// Print JSON: the keys with their values, null for those that were unset
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// How many there are to be.
#[derive(Debug, Args)]
pub(crate) struct AddPartitionsArgs {
    /// Name of the topic
    name: String,
    /// Partitions that it is to have in all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    total: i32,
    /// Print JSON: the topic and its partitions
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Which records.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("before").required(true)))]
pub(crate) struct DeleteRecordsArgs {
    /// Name of the topic
    name: String,
    /// Partition to delete from; may be given several times [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Those before this offset
    #[arg(long, group = "before", value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    before_offset: Option<i64>,
    /// Those before the first of this time or later: milliseconds since 1970, or like 2026-01-31T12:00:00Z
    #[arg(long, group = "before", value_name = "TIME", value_parser = time_millis)]
    before_time: Option<i64>,
    /// All that are there now
    #[arg(long, group = "before")]
    all: bool,
    /// Print JSON: an array of partitions with their first offsets
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

#[derive(Serialize)]
struct Partitions {
    topic: String,
    partitions: i32,
}

#[derive(Serialize)]
struct Start {
    topic: String,
    partition: i32,
    earliest: i64,
}

pub(super) async fn alter(args: AlterArgs) -> Result<(), CliError> {
    let admin = Admin::new(args.broker.connect().await?);
    let unset = args.unset.into_iter().map(|key| (key, None));
    let changes: BTreeMap<String, Option<String>> =
        args.set.into_iter().map(|(key, value)| (key, Some(value))).chain(unset).collect();
    admin.alter_topic(&args.name, &changes).await?;
    if args.json {
        return print_json(&changes);
    }
    print(&format!("altered topic {}\n", args.name))
}

pub(super) async fn add_partitions(args: AddPartitionsArgs) -> Result<(), CliError> {
    let admin = Admin::new(args.broker.connect().await?);
    admin.add_partitions(&args.name, args.total).await?;
    if args.json {
        return print_json(&Partitions { topic: args.name, partitions: args.total });
    }
    print(&format!("topic {} has {} partitions\n", args.name, args.total))
}

pub(super) async fn delete_records(args: DeleteRecordsArgs) -> Result<(), CliError> {
    let client = args.broker.connect().await?;
    let info = client.topic_retrying(&args.name, false).await?;
    let mut partitions = args.partition.clone();
    if partitions.is_empty() {
        partitions = info.partitions.iter().map(|one| one.partition).collect();
    }
    let before: Vec<(i32, Option<i64>)> = match args.before_time {
        None => partitions.iter().map(|one| (*one, args.before_offset)).collect(),
        Some(time) => {
            let wanted: Vec<_> = partitions.iter().map(|one| (*one, OffsetSpec::Timestamp(time))).collect();
            let found = client.offsets(&args.name, &wanted, Isolation::ReadUncommitted).await?;
            found.into_iter().map(|(partition, offset)| (partition, Some(offset))).collect()
        }
    };
    let starts = Admin::new(client).delete_records(&args.name, &before).await?;
    let starts = starts.into_iter().map(|(partition, earliest)| Start {
        topic: args.name.clone(),
        partition,
        earliest,
    });
    let starts: Vec<Start> = starts.collect();
    if args.json {
        return print_json(&starts);
    }
    let mut table = vec![["TOPIC", "PARTITION", "EARLIEST"].map(str::to_owned)];
    table.extend(
        starts.into_iter().map(|one| [one.topic, one.partition.to_string(), one.earliest.to_string()]),
    );
    print(&columns(&table))
}
