//! `ringmain consume`: writes the records of a topic to standard output.

mod format;
mod sink;
mod start;

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use ringmain_client::config::{ConsumerConfig, GroupConfig, Isolation, OutOfRange};
use ringmain_client::consumer::{Assigned, Fetched};
use ringmain_client::group::{GroupError, GroupEvent, PartitionOffset};
use ringmain_client::offsets::OffsetSpec;
use ringmain_client::{Client, Consumer, GroupConsumer};
use tokio::sync::watch;

use self::format::Template;
use self::sink::{Form, Reader, Sink};
use self::start::From;
pub(super) use self::start::time_millis;
use super::output::{BrokerArgs, CliError, Progress};
use super::stop::stop_on_signal;

/// How long to wait for records before looking at anything else.
const POLL_WAIT: Duration = Duration::from_secs(1);
/// How often at most to commit while records keep coming.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const EXAMPLES: &str = "Examples:\n  ringmain consume orders --exit-at-end\n  \
    ringmain consume orders --from -10 --follow --print-key --print-headers\n  \
    ringmain consume orders --group billing\n  \
    ringmain consume orders --from timestamp:2026-01-31T12:00:00Z --exit-at-end --json\n  \
    ringmain consume orders --exit-at-end --format '%p@%o %T %k: %s\\n'";

/// Write the records of a topic to standard output
///
/// Records are written as they come, until Ctrl-C. Values are written as they are, each with a newline, unless another
/// form is asked for.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{}\n\n{EXAMPLES}", format::HELP))]
pub(crate) struct ConsumeArgs {
    /// Name of the topic
    topic: String,
    /// Partition to read; may be given several times [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..), conflicts_with = "group")]
    partition: Vec<i32>,
    /// Where to start: beginning, end, an offset, -N for N records before the end of each partition,
    /// timestamp:MILLISECONDS or timestamp:RFC3339. With --group: where to start in partitions the group has committed
    /// nothing of, beginning or end [default: beginning, with --follow end]
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    from: Option<From>,
    /// Write what comes from now on, until Ctrl-C; with --from what was there before, too
    #[arg(long, conflicts_with = "exit_at_end")]
    follow: bool,
    /// Share the partitions with the other members of this group, and commit what was written
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// End after this many records
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End when all there is has been read
    #[arg(long)]
    exit_at_end: bool,
    /// Write the key and a tab before each value
    #[arg(long)]
    print_key: bool,
    /// Write the headers, as NAME=VALUE,NAME=VALUE, and a tab before each key and value
    #[arg(long)]
    print_headers: bool,
    /// Write each record in this form, as kcat's -f; --help lists the fields
    #[arg(long, value_name = "TEMPLATE", conflicts_with_all = ["print_key", "print_headers", "json"])]
    format: Option<Template>,
    /// Write every record as a line of JSON, with topic, partition, offset, timestamp, key, value and headers; bytes
    /// that are not text are hexadecimal, under key_hex or value_hex
    #[arg(long, conflicts_with_all = ["print_key", "print_headers"])]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

/// Where records come from.
enum Source {
    Alone(Consumer),
    Group(Box<GroupConsumer>),
}

/// How it ended.
enum End {
    Done,
    /// By a signal, before it had written what it was told to.
    Interrupted,
}

/// What a poll has come to, for both sources.
enum Polled {
    Fetched(Fetched),
    Revoking,
    Nothing,
}

/// Runs `ringmain consume`.
pub(crate) async fn run(args: ConsumeArgs) -> Result<(), CliError> {
    let mut stop = stop_on_signal()?;
    let client = args.broker.connect().await?;
    let source = source(&args, client).await?;
    let form = match (&args.format, args.json) {
        (Some(template), _) => Form::Template(template.clone()),
        (None, true) => Form::Json,
        (None, false) => Form::Template(Template::line(args.print_headers, args.print_key)),
    };
    let mut consumption = Consumption {
        source,
        sink: Sink::new(form),
        left: args.count,
        exit_at_end: args.exit_at_end,
        written: HashMap::new(),
        committed: Instant::now(),
        records: 0,
        bytes: 0,
        progress: Progress::new(!io::stdout().is_terminal()),
    };
    let ended = consumption.consume(&mut stop).await;
    let records = consumption.records;
    let flushed = consumption.finish().await;
    // What went wrong first is what to tell.
    match (ended?, flushed?) {
        (End::Interrupted, Reader::There) => Err(CliError::Interrupted { records }),
        _ => Ok(()),
    }
}

async fn source(args: &ConsumeArgs, client: Client) -> Result<Source, CliError> {
    let topic = client.topic_retrying(&args.topic, false).await?;
    let unavailable_max = args.broker.timeout();
    let from = args.from.unwrap_or(if args.follow { From::End } else { From::Beginning });
    if let Some(group) = &args.group {
        let out_of_range = match from {
            From::Beginning => OutOfRange::Earliest,
            From::End => OutOfRange::Latest,
            From::Last(_) | From::Offset(_) | From::Timestamp(_) => {
                return Err(CliError::FromWithGroup);
            }
        };
        let consumer = ConsumerConfig { out_of_range, unavailable_max, ..ConsumerConfig::default() };
        let config = GroupConfig { consumer, ..GroupConfig::default() };
        let topics = [args.topic.clone()];
        let consumer = GroupConsumer::new(client, group, &topics, config);
        return Ok(Source::Group(Box::new(consumer)));
    }
    let mut partitions = args.partition.clone();
    if partitions.is_empty() {
        partitions = topic.partitions.iter().map(|info| info.partition).collect();
    }
    partitions.sort_unstable();
    partitions.dedup();
    // Checked before anything is asked of their leaders.
    partitions.iter().try_for_each(|partition| topic.partition(*partition).map(drop))?;
    let latest = match from {
        From::Last(_) => {
            let wanted: Vec<_> = partitions.iter().map(|one| (*one, OffsetSpec::Latest)).collect();
            client.offsets(&args.topic, &wanted, Isolation::ReadUncommitted).await?
        }
        _ => HashMap::new(),
    };
    let name: Arc<str> = args.topic.as_str().into();
    let assigned = partitions.into_iter().map(|partition| {
        let latest = latest.get(&partition).copied().unwrap_or(0);
        Assigned { topic: Arc::clone(&name), partition, start: from.start(latest) }
    });
    let mut consumer = Consumer::new(client, ConsumerConfig { unavailable_max, ..ConsumerConfig::default() });
    consumer.assign(assigned.collect());
    Ok(Source::Alone(consumer))
}

impl Source {
    async fn poll(&mut self, wait: Duration) -> Result<Polled, CliError> {
        match self {
            Self::Alone(consumer) => {
                let fetched = consumer.poll(wait).await?;
                Ok(fetched.map_or(Polled::Nothing, Polled::Fetched))
            }
            Self::Group(consumer) => Ok(match consumer.poll(wait).await? {
                GroupEvent::Fetched(fetched) => Polled::Fetched(fetched),
                GroupEvent::Revoking => Polled::Revoking,
                GroupEvent::Assigned(_) | GroupEvent::Idle => Polled::Nothing,
            }),
        }
    }

    fn at_end(&self) -> bool {
        match self {
            Self::Alone(consumer) => consumer.at_end(),
            Self::Group(consumer) => consumer.at_end(),
        }
    }
}

struct Consumption {
    source: Source,
    sink: Sink,
    left: Option<u64>,
    exit_at_end: bool,
    /// For every partition, the offset behind the last record that is in the sink.
    written: HashMap<(Arc<str>, i32), i64>,
    committed: Instant,
    records: u64,
    bytes: u64,
    progress: Progress,
}

impl Consumption {
    async fn consume(&mut self, stop: &mut watch::Receiver<bool>) -> Result<End, CliError> {
        // Nothing is waited for while records keep coming; they are flushed before waiting.
        let mut wait = Duration::ZERO;
        while self.left != Some(0) {
            let polled = tokio::select! {
                biased;
                // An error means that the task that tells is gone, which it is not before the end.
                _ = stop.wait_for(|stop| *stop) => return Ok(self.interrupted()),
                polled = self.source.poll(wait) => polled?,
            };
            let idle = matches!(polled, Polled::Nothing);
            match polled {
                Polled::Fetched(fetched) => self.add(&fetched)?,
                Polled::Revoking => {
                    if self.flush(true).await? == Reader::Gone {
                        break;
                    }
                    // The partitions may come back at an earlier offset.
                    self.written.clear();
                }
                Polled::Nothing => {}
            }
            if (idle || self.sink.is_full()) && self.flush(false).await? == Reader::Gone {
                break;
            }
            if self.exit_at_end && self.source.at_end() {
                break;
            }
            wait = if idle { POLL_WAIT } else { Duration::ZERO };
            self.progress.show(self.records, self.bytes);
        }
        Ok(End::Done)
    }

    /// What a signal means: without an end of its own it is how consuming ends.
    fn interrupted(&self) -> End {
        if self.exit_at_end || self.left.is_some() { End::Interrupted } else { End::Done }
    }

    fn add(&mut self, fetched: &Fetched) -> Result<(), CliError> {
        let mut next = fetched.next_offset;
        for record in &fetched.records {
            if self.left == Some(0) {
                next = record.offset;
                break;
            }
            self.sink.add(record)?;
            self.records += 1;
            self.bytes += record.value.as_ref().map_or(0, |value| value.len() as u64);
            self.left = self.left.map(|left| left - 1);
        }
        self.written.insert((Arc::clone(&fetched.topic), fetched.partition), next);
        Ok(())
    }

    /// Writes the buffer; then, in a group and if it is time, commits what is written.
    async fn flush(&mut self, commit: bool) -> Result<Reader, CliError> {
        if self.sink.flush().await? == Reader::Gone {
            // How much of the last buffer was read is unknown: it is not committed.
            self.written.clear();
            return Ok(Reader::Gone);
        }
        let Source::Group(consumer) = &mut self.source else {
            return Ok(Reader::There);
        };
        if commit || self.committed.elapsed() >= COMMIT_INTERVAL {
            let offsets: Vec<PartitionOffset> = self
                .written
                .iter()
                .map(|((topic, partition), offset)| PartitionOffset {
                    topic: Arc::clone(topic),
                    partition: *partition,
                    offset: *offset,
                })
                .collect();
            match consumer.commit(&offsets).await {
                // Whoever has the partitions now writes these records again.
                Err(GroupError::Rebalanced { .. }) => self.written.clear(),
                result => result?,
            }
            self.committed = Instant::now();
        }
        Ok(Reader::There)
    }

    /// Writes and commits the rest, and leaves the group.
    async fn finish(mut self) -> Result<Reader, CliError> {
        let flushed = self.flush(true).await;
        drop(self.progress);
        if let Source::Group(consumer) = self.source
            && let Err(error) = consumer.leave().await
        {
            // Nothing is lost by it: the coordinator finds out by itself.
            tracing::debug!(%error, "could not leave the group");
        }
        flushed
    }
}
