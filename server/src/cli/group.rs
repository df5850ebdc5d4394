//! `ringmain group`: consumer groups.

mod reset;

use clap::{Args, Subcommand};
use ringmain_client::Admin;
use ringmain_client::admin::GroupDescription;
use serde::Serialize;

use super::output::{BrokerArgs, CliError, columns, or_dash, print, print_json};

/// Work with consumer groups
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List groups
    #[command(after_help = "Example:\n  ringmain group list --json")]
    List(ListArgs),
    /// Show members, committed offsets and lag of groups
    #[command(after_help = "Example:\n  ringmain group describe billing")]
    Describe(DescribeArgs),
    /// Set what a group has committed; without --execute only show what would be set
    #[command(after_help = "Examples:\n  ringmain group reset billing --to-time 2026-01-31T12:00:00Z\n  \
        ringmain group reset billing --topic orders --to-offset 100 --execute\n  \
        ringmain group reset billing --shift -10 --execute")]
    Reset(reset::ResetArgs),
    /// Delete groups that nobody is in, with all that they have committed
    #[command(after_help = "Example:\n  ringmain group delete billing")]
    Delete(DeleteArgs),
}

/// What to list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON: an array of groups
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// What to describe.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    /// Print JSON: an array of groups with their members and offsets
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// What to delete.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    /// Print JSON: an array of the names
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

#[derive(Serialize)]
struct GroupRow {
    group: String,
    state: String,
    protocol_type: String,
}

#[derive(Serialize)]
struct GroupDetail {
    group: String,
    state: String,
    protocol_type: String,
    protocol: String,
    members: Vec<MemberRow>,
    offsets: Vec<OffsetRow>,
}

#[derive(Serialize)]
struct MemberRow {
    member_id: String,
    client_id: String,
    host: String,
    partitions: Vec<PartitionOf>,
}

#[derive(Serialize, PartialEq)]
struct PartitionOf {
    topic: String,
    partition: i32,
}

#[derive(Serialize)]
struct OffsetRow {
    topic: String,
    partition: i32,
    committed: i64,
    latest: Option<i64>,
    lag: Option<i64>,
}

impl From<GroupDescription> for GroupDetail {
    fn from(found: GroupDescription) -> Self {
        let members = found.members.into_iter().map(|member| MemberRow {
            member_id: member.member_id,
            client_id: member.client_id,
            host: member.host,
            partitions: member
                .assignment
                .into_iter()
                .map(|(topic, partition)| PartitionOf { topic, partition })
                .collect(),
        });
        let members = members.collect();
        let offsets = found.committed.into_iter().map(|row| OffsetRow {
            lag: row.lag(),
            topic: row.topic,
            partition: row.partition,
            committed: row.committed,
            latest: row.latest,
        });
        Self {
            offsets: offsets.collect(),
            group: found.group,
            state: found.state,
            protocol_type: found.protocol_type,
            protocol: found.protocol,
            members,
        }
    }
}

/// Runs `ringmain group`.
pub(crate) async fn run(command: GroupCommand) -> Result<(), CliError> {
    match command {
        GroupCommand::List(args) => list(args).await,
        GroupCommand::Describe(args) => describe(args).await,
        GroupCommand::Reset(args) => reset::run(args).await,
        GroupCommand::Delete(args) => delete(args).await,
    }
}

async fn list(args: ListArgs) -> Result<(), CliError> {
    let admin = Admin::new(args.broker.connect().await?);
    let groups = admin.groups().await?;
    let rows = groups.into_iter().map(|group| GroupRow {
        group: group.group,
        state: group.state,
        protocol_type: group.protocol_type,
    });
    let rows: Vec<GroupRow> = rows.collect();
    if args.json {
        return print_json(&rows);
    }
    let mut table = vec![["GROUP", "STATE", "TYPE"].map(str::to_owned)];
    table.extend(rows.into_iter().map(|row| [row.group, row.state, row.protocol_type]));
    print(&columns(&table))
}

async fn describe(args: DescribeArgs) -> Result<(), CliError> {
    let admin = Admin::new(args.broker.connect().await?);
    let mut groups = Vec::new();
    for group in &args.groups {
        groups.push(GroupDetail::from(admin.describe_group(group).await?));
    }
    if args.json {
        return print_json(&groups);
    }
    for group in &groups {
        print(&text_of(group))?;
    }
    Ok(())
}

async fn delete(args: DeleteArgs) -> Result<(), CliError> {
    let admin = Admin::new(args.broker.connect().await?);
    for group in &args.groups {
        admin.delete_group(group).await?;
        if !args.json {
            print(&format!("deleted group {group}\n"))?;
        }
    }
    if args.json { print_json(&args.groups) } else { Ok(()) }
}

fn text_of(group: &GroupDetail) -> String {
    let mut text = format!("group {}: {}, {} members", group.group, group.state, group.members.len());
    let lags: Vec<i64> = group.offsets.iter().filter_map(|row| row.lag).collect();
    if !lags.is_empty() {
        text.push_str(&format!(", {} records behind", lags.iter().sum::<i64>()));
    }
    text.push('\n');
    let headings = ["TOPIC", "PARTITION", "COMMITTED", "LATEST", "LAG", "MEMBER"];
    let mut table = vec![headings.map(str::to_owned)];
    for row in &group.offsets {
        let place = PartitionOf { topic: row.topic.clone(), partition: row.partition };
        let member = group.members.iter().find(|member| member.partitions.contains(&place));
        table.push([
            row.topic.clone(),
            row.partition.to_string(),
            row.committed.to_string(),
            or_dash(row.latest),
            or_dash(row.lag),
            or_dash(member.map(|member| &member.member_id)),
        ]);
    }
    // Partitions that a member has and nothing is committed of yet.
    for member in &group.members {
        for place in &member.partitions {
            let known = |row: &OffsetRow| row.topic == place.topic && row.partition == place.partition;
            if !group.offsets.iter().any(known) {
                let dash = || "-".to_owned();
                let partition = place.partition.to_string();
                let (topic, member) = (place.topic.clone(), member.member_id.clone());
                table.push([topic, partition, dash(), dash(), dash(), member]);
            }
        }
    }
    text.push_str(&columns(&table));
    text
}
