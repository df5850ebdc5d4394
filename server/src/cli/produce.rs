//! `ringmain produce`: one record for every line of the input.

mod fields;
mod lines;
mod pace;

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use ringmain_client::Producer;
use ringmain_client::config::{Acks, ProducerConfig};
use ringmain_client::wire::batch::Header;
use ringmain_client::wire::compression::Compression;
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use self::fields::Shape;
use self::lines::Lines;
use self::pace::Pace;
use super::escape::unescaped;
use super::output::{BrokerArgs, CliError, Progress, print_json, say};
use super::stop::stop_on_signal;

/// Bytes read of the input at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks read ahead.
const CHUNKS_MAX: usize = 8;
/// Longest line taken. What the topic allows is the broker's to say.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Write each line of the input to a topic as a record
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  echo hello | ringmain produce greetings\n  \
        ringmain produce orders --key-delimiter : --compression zstd --file orders.txt\n  \
        printf 'source=web,try=1\\tann:two teapots\\n' | ringmain produce orders --headers --key-delimiter :\n  \
        seq 1 30 | ringmain produce orders --rate 10 --header source=batch\n  \
        ringmain consume orders --exit-at-end --json | ringmain produce copy --input-json\n\n\
        The summary is told on standard error. Ctrl-C ends it after what was read is delivered, with the exit code 130.")]
pub(crate) struct ProduceArgs {
    /// Name of the topic
    topic: String,
    /// Who confirms: nobody (0), the leader (1), every in-sync replica (all)
    #[arg(long, value_enum, default_value = "all")]
    acks: AcksArg,
    /// Compression of batches
    #[arg(long, value_enum, default_value = "none")]
    compression: CompressionArg,
    /// What separates key and value; a line without it has no key. Escapes as \\t and \\x1f are read
    #[arg(long, value_name = "TEXT", value_parser = delimiter)]
    key_delimiter: Option<Delimiter>,
    /// Lines begin with headers, as NAME=VALUE,NAME=VALUE, and a tab; a NAME alone is a header without a value
    #[arg(long)]
    headers: bool,
    /// A header for every record; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<Header>,
    /// Each line is a record as JSON, as consume --json writes it: key, value (or key_hex, value_hex), headers and
    /// timestamp are taken, each of which may be left out; topic, partition and offset are not
    #[arg(long, conflicts_with_all = ["key_delimiter", "headers"])]
    input_json: bool,
    /// Write at most so many records a second
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// Partition to write to [default: by key; without keys one after the other]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Have the broker drop what a retry sends twice; needs --acks all
    #[arg(long)]
    idempotent: bool,
    /// Read this file instead of standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print the summary as JSON to standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    broker: BrokerArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum AcksArg {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    All,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CompressionArg {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Serialize)]
struct Summary {
    topic: String,
    records: u64,
    bytes: u64,
    seconds: f64,
}

/// A wrapper, since clap takes a vector for an argument that is given several times.
#[derive(Clone, Debug)]
struct Delimiter(Vec<u8>);

fn delimiter(text: &str) -> Result<Delimiter, String> {
    match unescaped(text)? {
        bytes if bytes.is_empty() => Err("it cannot be empty".to_owned()),
        bytes => Ok(Delimiter(bytes)),
    }
}

fn header(text: &str) -> Result<Header, String> {
    fields::header(&Bytes::copy_from_slice(text.as_bytes())).map_err(|problem| format!("it {problem}"))
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate > 0.0);
    rate.ok_or_else(|| "give the number of records a second, above 0".to_owned())
}

/// Runs `ringmain produce`.
pub(crate) async fn run(args: ProduceArgs) -> Result<(), CliError> {
    let mut stop = stop_on_signal()?;
    let client = args.broker.connect().await?;
    let config = ProducerConfig {
        acks: match args.acks {
            AcksArg::None => Acks::None,
            AcksArg::Leader => Acks::Leader,
            AcksArg::All => Acks::All,
        },
        compression: match args.compression {
            CompressionArg::None => Compression::None,
            CompressionArg::Gzip => Compression::Gzip,
            CompressionArg::Snappy => Compression::Snappy,
            CompressionArg::Lz4 => Compression::Lz4,
            CompressionArg::Zstd => Compression::Zstd,
        },
        idempotent: args.idempotent,
        record_bytes_max: LINE_BYTES_MAX,
        delivery_timeout: args.broker.timeout(),
        ..ProducerConfig::default()
    };
    let producer = Producer::new(client, config).await?;
    let chunks = read_ahead(args.file.as_ref())?;
    if args.file.is_none() && io::stdin().is_terminal() {
        say("each line that is typed is a record; Ctrl-D ends");
    }
    let shape = match args.input_json {
        true => Shape::Json,
        false => Shape::Fields {
            headers: args.headers,
            key_delimiter: args.key_delimiter.as_ref().map(|delimiter| delimiter.0.clone()),
        },
    };
    let started = Instant::now();
    let pace = args.rate.map(Pace::new);
    let progress = Progress::new(true);
    let mut sender =
        Sender { producer: &producer, args: &args, shape, pace, started, progress, records: 0, bytes: 0 };
    let ended = sender.send_all(chunks, &mut stop).await;
    // What was taken until then is delivered, however it ended.
    let flushed = producer.flush().await;
    let Sender { records, bytes, progress, .. } = sender;
    drop(progress);
    flushed?;
    match ended? {
        End::Input => report(&args, records, bytes, started.elapsed().as_secs_f64()),
        End::Interrupted => Err(CliError::Interrupted { records }),
    }
}

/// What the input came to.
enum End {
    Input,
    Interrupted,
}

struct Sender<'a> {
    producer: &'a Producer,
    args: &'a ProduceArgs,
    shape: Shape,
    pace: Option<Pace>,
    started: Instant,
    progress: Progress,
    records: u64,
    bytes: u64,
}

impl Sender<'_> {
    async fn send_all(
        &mut self,
        mut chunks: mpsc::Receiver<Result<Bytes, CliError>>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<End, CliError> {
        let mut lines = Lines::new(LINE_BYTES_MAX);
        loop {
            let chunk = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(End::Interrupted),
                chunk = chunks.recv() => chunk,
            };
            let Some(chunk) = chunk else { break };
            lines.add(chunk?);
            while let Some(line) = lines.next_line()? {
                tokio::select! {
                    biased;
                    _ = stop.wait_for(|stop| *stop) => return Ok(End::Interrupted),
                    sent = self.send(line, lines.number()) => sent?,
                }
            }
            self.producer.check()?;
            self.progress.show(self.records, self.bytes);
        }
        if let Some(line) = lines.last_line() {
            self.send(line, lines.number()).await?;
        }
        Ok(End::Input)
    }

    async fn send(&mut self, line: Bytes, number: u64) -> Result<(), CliError> {
        let bytes = line.len() as u64;
        let problem = |problem| CliError::Line { number, problem };
        let mut record = self.shape.record(line).map_err(problem)?;
        record.partition = self.args.partition;
        record.headers.extend_from_slice(&self.args.header);
        if let Some(pace) = &mut self.pace {
            let wait = pace.wait(self.started.elapsed());
            if !wait.is_zero() {
                self.progress.show(self.records, self.bytes);
                tokio::time::sleep(wait).await;
            }
        }
        self.producer.send(&self.args.topic, record).await?;
        self.records += 1;
        self.bytes += bytes;
        Ok(())
    }
}

/// Reads the input on a thread of its own: a read of standard input cannot be called off.
fn read_ahead(file: Option<&PathBuf>) -> Result<mpsc::Receiver<Result<Bytes, CliError>>, CliError> {
    let name = file.map_or_else(|| "standard input".to_owned(), |file| file.display().to_string());
    let mut input: Box<dyn Read + Send> = match file {
        None => Box::new(io::stdin()),
        Some(path) => match File::open(path) {
            Ok(file) => Box::new(file),
            Err(source) => {
                return Err(CliError::Input { input: name, source });
            }
        },
    };
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    thread::spawn(move || {
        loop {
            let mut chunk = vec![0; CHUNK_BYTES];
            let result = match input.read(&mut chunk) {
                Ok(0) => return,
                Ok(length) => {
                    chunk.truncate(length);
                    Ok(Bytes::from(chunk))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => Err(CliError::Input { input: name.clone(), source }),
            };
            let failed = result.is_err();
            if sender.blocking_send(result).is_err() || failed {
                return;
            }
        }
    });
    Ok(receiver)
}

fn report(args: &ProduceArgs, records: u64, bytes: u64, seconds: f64) -> Result<(), CliError> {
    if args.json {
        return print_json(&Summary { topic: args.topic.clone(), records, bytes, seconds });
    }
    say(&format!("{records} records, {bytes} bytes in {seconds:.3} s"));
    Ok(())
}
