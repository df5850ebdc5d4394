//! `ringmain group`: consumer groups.

mod drain;
mod reset;

use clap::{Args, Subcommand};
use ringmain_client::Admin;
use ringmain_client::admin::GroupDescription;
use serde::Serialize;
use std::time::{Duration, Instant};

use self::drain::{Look, Speed, drain_text};
use super::output::{BrokerArgs, CliError, Waiting, columns, or_dash, print, print_json};

/// The longest time between two looks.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// Work with consumer groups
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// List groups
    #[command(after_help = "Example:\n  ringmain group list --json")]
    List(ListArgs),
    /// Show members, committed offsets, lag and drain time of groups
    ///
    /// A group with members that is behind is looked at twice: what it commits and what is produced in between tell how
    /// soon it has caught up, if both go on so. The time between the looks should be longer than that between its
    /// commits.
    #[command(after_help = "Examples:\n  ringmain group describe billing\n  \
        ringmain group describe billing --interval 0 --json")]
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
    /// Time between two looks at groups with members that are behind; 0 for one look
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    interval: Duration,
    /// Print JSON: an array of groups with their members and offsets; drain_seconds is null if it is not known, or if
    /// the group does not catch up
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
    lag: i64,
    /// When all partitions have caught up.
    drain_seconds: Option<f64>,
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
    #[serde(flatten)]
    speed: Option<Speed>,
    drain_seconds: Option<f64>,
}

impl OffsetRow {
    fn look(&self) -> Option<Look> {
        Some(Look { committed: self.committed, latest: self.latest? })
    }

    fn set_speed(&mut self, speed: Speed) {
        self.speed = Some(speed);
        self.drain_seconds = self.lag.and_then(|lag| speed.drain_seconds(lag));
    }
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
            speed: None,
            drain_seconds: None,
        });
        let offsets: Vec<OffsetRow> = offsets.collect();
        Self {
            lag: offsets.iter().filter_map(|row| row.lag).sum(),
            drain_seconds: None,
            offsets,
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
    let look = async || {
        let mut groups = Vec::new();
        for group in &args.groups {
            groups.push(GroupDetail::from(admin.describe_group(group).await?));
        }
        Ok::<_, CliError>(groups)
    };
    let (mut groups, began) = (look().await?, Instant::now());
    if !args.interval.is_zero() && groups.iter().any(GroupDetail::may_drain) {
        let waiting = Waiting::new("looking again to see how fast it goes; --interval 0 does without");
        tokio::time::sleep(args.interval).await;
        drop(waiting);
        let first = std::mem::replace(&mut groups, look().await?);
        let apart = began.elapsed();
        first.iter().zip(&mut groups).for_each(|(first, second)| second.since(first, apart));
    }
    if args.json {
        return print_json(&groups);
    }
    for group in &groups {
        print(&text_of(group))?;
    }
    Ok(())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let time = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| *time <= INTERVAL_MAX).ok_or_else(|| "give seconds, from 0 to 3600".to_owned())
}

impl GroupDetail {
    /// Whether it is worth a second look.
    fn may_drain(&self) -> bool {
        self.lag > 0 && !self.members.is_empty()
    }

    /// Adds the speeds since a look before.
    fn since(&mut self, first: &Self, apart: Duration) {
        if !self.may_drain() {
            return;
        }
        for row in &mut self.offsets {
            let before =
                first.offsets.iter().find(|one| one.topic == row.topic && one.partition == row.partition);
            if let (Some(before), Some(now)) = (before.and_then(OffsetRow::look), row.look()) {
                row.set_speed(Speed::between(before, now, apart));
            }
        }
        let behind = self.offsets.iter().filter(|row| row.lag.is_some_and(|lag| lag > 0));
        self.drain_seconds =
            behind.map(|row| row.drain_seconds).try_fold(0.0, |most: f64, one| Some(most.max(one?)));
    }
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
    if group.offsets.iter().any(|row| row.lag.is_some()) {
        text.push_str(&format!(", {} records behind", group.lag));
    }
    if group.offsets.iter().any(|row| row.speed.is_some()) {
        text.push_str(&match group.drain_seconds {
            Some(_) => format!(", drained in {}", drain_text(group.drain_seconds)),
            None => ", not catching up".to_owned(),
        });
    }
    text.push('\n');
    let headings = [
        "TOPIC",
        "PARTITION",
        "COMMITTED",
        "LATEST",
        "LAG",
        "CONSUMED/S",
        "PRODUCED/S",
        "DRAINED-IN",
        "MEMBER",
    ];
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
            or_dash(row.speed.map(|speed| format!("{:.1}", speed.consumed_per_second))),
            or_dash(row.speed.map(|speed| format!("{:.1}", speed.produced_per_second))),
            or_dash(row.speed.map(|_| drain_text(row.drain_seconds))),
            or_dash(member.map(|member| &member.member_id)),
        ]);
    }
    // Partitions that a member has and nothing is committed of yet.
    for member in &group.members {
        for place in &member.partitions {
            let known = |row: &OffsetRow| row.topic == place.topic && row.partition == place.partition;
            if !group.offsets.iter().any(known) {
                let mut row = std::array::from_fn(|_| "-".to_owned());
                row[0].clone_from(&place.topic);
                row[1] = place.partition.to_string();
                row[8].clone_from(&member.member_id);
                table.push(row);
            }
        }
    }
    text.push_str(&columns(&table));
    text
}
