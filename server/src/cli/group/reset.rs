//! `ringmain group reset`: sets what a group has committed, when nobody is in it.

use super::super::consume::time_millis;
use super::super::output::{BrokerArgs, CliError, columns, or_dash, print, print_json, say};
use clap::{ArgGroup, Args};
use ringmain_client::Admin;
use ringmain_client::Client;
use ringmain_client::admin::AdminError;
use ringmain_client::config::Isolation;
use ringmain_client::group::PartitionOffset;
use ringmain_client::offsets::OffsetSpec;
use ringmain_client::wire::BrokerError;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What to set, and to what.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("target").required(true)))]
pub(crate) struct ResetArgs {
    /// Name of the group
    group: String,
    /// Topic to set offsets of; may be given several times [default: all that the group has committed]
    #[arg(long, value_name = "NAME")]
    topic: Vec<String>,
    /// Partition to set the offset of; may be given several times [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// To the first record
    #[arg(long, group = "target")]
    to_earliest: bool,
    /// Behind the last record
    #[arg(long, group = "target")]
    to_latest: bool,
    /// To this offset
    #[arg(long, group = "target", value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record of this time or later: milliseconds since 1970, or like 2026-01-31T12:00:00Z
    #[arg(long, group = "target", value_name = "TIME", value_parser = time_millis)]
    to_time: Option<i64>,
    /// By so many records, back if it is negative
    #[arg(long, group = "target", value_name = "N", allow_hyphen_values = true)]
    shift: Option<i64>,
    /// Do it
    #[arg(long)]
    execute: bool,
    /// Print JSON: an array of partitions
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

#[derive(Debug, Serialize)]
struct Row {
    topic: String,
    partition: i32,
    from: Option<i64>,
    to: i64,
    executed: bool,
}

/// Where a partition begins and ends, and what was found for a time.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    earliest: i64,
    latest: i64,
    at_time: Option<i64>,
}

/// What is to be set; `None` if there is nothing to go by.
fn target(args: &ResetArgs, from: Option<i64>, bounds: Bounds) -> Option<i64> {
    let wanted = match (args.to_offset, args.shift, args.to_earliest, args.to_latest) {
        (Some(offset), ..) => offset,
        (_, Some(shift), ..) => from?.saturating_add(shift),
        (_, _, true, _) => bounds.earliest,
        (_, _, _, true) => bounds.latest,
        _ => bounds.at_time?,
    };
    Some(wanted.clamp(bounds.earliest, bounds.latest.max(bounds.earliest)))
}

async fn bounds(
    args: &ResetArgs,
    client: &Client,
    topic: &str,
    partitions: &[i32],
) -> Result<HashMap<i32, Bounds>, CliError> {
    let look = async |spec: OffsetSpec| {
        let wanted: Vec<_> = partitions.iter().map(|partition| (*partition, spec)).collect();
        client.offsets(topic, &wanted, Isolation::ReadUncommitted).await
    };
    let (earliest, latest) = (look(OffsetSpec::Earliest).await?, look(OffsetSpec::Latest).await?);
    let at_time = match args.to_time {
        Some(time) => look(OffsetSpec::Timestamp(time)).await?,
        None => HashMap::new(),
    };
    let both = earliest.into_iter().filter_map(|(partition, earliest)| {
        let latest = *latest.get(&partition)?;
        Some((partition, Bounds { earliest, latest, at_time: at_time.get(&partition).copied() }))
    });
    Ok(both.collect())
}

/// Why there is nothing to set.
fn nothing(args: ResetArgs) -> CliError {
    match (args.shift, args.topic.is_empty()) {
        (Some(_), _) => CliError::NothingToShift { group: args.group },
        (None, true) => CliError::NothingCommitted { group: args.group },
        (None, false) => CliError::NoOffsets,
    }
}

/// Runs `ringmain group reset`.
pub(super) async fn run(args: ResetArgs) -> Result<(), CliError> {
    let client = args.broker.connect().await?;
    let admin = Admin::new(client.clone());
    let mut committed: BTreeMap<(String, i32), i64> = BTreeMap::new();
    // A group that there is none of can still be given offsets, of topics that are named.
    match admin.describe_group(&args.group).await {
        Ok(found) => {
            committed
                .extend(found.committed.into_iter().map(|one| ((one.topic, one.partition), one.committed)));
        }
        Err(AdminError::Group { code: BrokerError::GroupIdNotFound, .. })
            if !args.topic.is_empty() && args.shift.is_none() => {}
        Err(error) => return Err(error.into()),
    }
    let mut topics: BTreeSet<String> = args.topic.iter().cloned().collect();
    if topics.is_empty() {
        topics.extend(committed.keys().map(|(topic, _)| topic.clone()));
    }
    let mut rows = Vec::new();
    for topic in topics {
        let info = client.topic_retrying(&topic, false).await?;
        args.partition.iter().try_for_each(|partition| info.partition(*partition).map(drop))?;
        let mut partitions: Vec<i32> = info.partitions.iter().map(|one| one.partition).collect();
        partitions.retain(|one| args.partition.is_empty() || args.partition.contains(one));
        let bounds = bounds(&args, &client, &topic, &partitions).await?;
        for partition in partitions {
            let from = committed.get(&(topic.clone(), partition)).copied();
            let to = bounds.get(&partition).and_then(|bounds| target(&args, from, *bounds));
            if let Some(to) = to {
                rows.push(Row { topic: topic.clone(), partition, from, to, executed: args.execute });
            }
        }
    }
    if rows.is_empty() {
        return Err(nothing(args));
    }
    if args.execute {
        let offsets: Vec<_> = rows
            .iter()
            .map(|row| PartitionOffset {
                topic: row.topic.as_str().into(),
                partition: row.partition,
                offset: row.to,
            })
            .collect();
        admin.set_offsets(&args.group, &offsets).await?;
    }
    if args.json {
        return print_json(&rows);
    }
    let mut table = vec![["TOPIC", "PARTITION", "FROM", "TO"].map(str::to_owned)];
    table.extend(
        rows.into_iter()
            .map(|row| [row.topic, row.partition.to_string(), or_dash(row.from), row.to.to_string()]),
    );
    print(&columns(&table))?;
    if !args.execute {
        say("nothing was changed; add --execute to do it");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: ResetArgs,
    }

    fn to(how: &[&str], from: Option<i64>) -> Option<i64> {
        let line = ["reset", "g"].iter().chain(how);
        let args = Cli::try_parse_from(line).unwrap().args;
        target(&args, from, Bounds { earliest: 10, latest: 20, at_time: Some(15) })
    }

    #[test]
    fn what_is_set_stays_within_the_partition() {
        assert_eq!(to(&["--to-earliest"], None), Some(10));
        assert_eq!(to(&["--to-latest"], None), Some(20));
        assert_eq!(to(&["--to-offset", "12"], None), Some(12));
        assert_eq!(to(&["--to-offset", "3"], None), Some(10));
        assert_eq!(to(&["--to-offset", "99"], None), Some(20));
        assert_eq!(to(&["--shift", "-2"], Some(17)), Some(15));
        assert_eq!(to(&["--shift", "5"], Some(17)), Some(20));
        assert_eq!(to(&["--shift", "-2"], None), None);
        assert_eq!(to(&["--to-time", "2026-01-31T12:00:00Z"], None), Some(15));
    }

    #[test]
    fn one_target_is_needed_and_no_more() {
        assert!(Cli::try_parse_from(["reset", "g"]).is_err());
        assert!(Cli::try_parse_from(["reset", "g", "--to-latest", "--shift", "1"]).is_err());
        assert!(Cli::try_parse_from(["reset", "g", "--to-time", "yesterday"]).is_err());
    }
}
