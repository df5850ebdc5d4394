//! `ringmain produce`: one record for every line of the input.

mod lines;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use ringmain_client::Producer;
use ringmain_client::config::{Acks, ProducerConfig};
use ringmain_client::producer::ProducerRecord;
use ringmain_client::wire::compression::Compression;
use serde::Serialize;
use tokio::signal;
use tokio::sync::mpsc;

use self::lines::Lines;
use super::output::{BrokerArgs, CliError, Progress, print_json};

/// Bytes read of the input at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks read ahead.
const CHUNKS_MAX: usize = 8;
/// Longest line taken. What the topic allows is the broker's to say.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Write each line of the input to a topic as a record
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  echo hello | ringmain produce greetings\n  ringmain produce orders --key-delimiter : --compression zstd --file orders.txt"
)]
pub(crate) struct ProduceArgs {
    /// Name of the topic
    topic: String,
    /// Who confirms: nobody (0), the leader (1), every in-sync replica (all)
    #[arg(long, value_enum, default_value = "all")]
    acks: AcksArg,
    /// Compression of batches
    #[arg(long, value_enum, default_value = "none")]
    compression: CompressionArg,
    /// What separates key and value; a line without it has no key
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_delimiter: Option<String>,
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

/// Runs `ringmain produce`.
pub(crate) async fn run(args: ProduceArgs) -> Result<(), CliError> {
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
        ..ProducerConfig::default()
    };
    let producer = Producer::new(client, config).await?;
    let mut chunks = read_ahead(args.file.as_ref())?;
    let progress = Progress::new(true);
    let started = Instant::now();
    let mut lines = Lines::new(LINE_BYTES_MAX);
    let mut sender = Sender { producer: &producer, args: &args, records: 0, bytes: 0 };
    loop {
        let chunk = tokio::select! {
            chunk = chunks.recv() => chunk,
            // What was read until now is still delivered.
            interrupted = signal::ctrl_c() => {
                interrupted.map_err(CliError::Signal)?;
                None
            }
        };
        let Some(chunk) = chunk else { break };
        lines.add(chunk?);
        while let Some(line) = lines.next_line()? {
            sender.send(line).await?;
        }
        producer.check()?;
        progress.show(sender.records, sender.bytes);
    }
    if let Some(line) = lines.last_line() {
        sender.send(line).await?;
    }
    producer.flush().await?;
    drop(progress);
    let (records, bytes) = (sender.records, sender.bytes);
    report(&args, records, bytes, started.elapsed().as_secs_f64())
}

struct Sender<'a> {
    producer: &'a Producer,
    args: &'a ProduceArgs,
    records: u64,
    bytes: u64,
}

impl Sender<'_> {
    async fn send(&mut self, line: Bytes) -> Result<(), CliError> {
        self.records += 1;
        self.bytes += line.len() as u64;
        let delimiter = self.args.key_delimiter.as_deref().map(str::as_bytes);
        let (key, value) = split_key(line, delimiter);
        let record = ProducerRecord {
            partition: self.args.partition,
            key,
            value: Some(value),
            ..ProducerRecord::default()
        };
        self.producer.send(&self.args.topic, record).await?;
        Ok(())
    }
}

/// Splits a line at the first delimiter into key and value.
fn split_key(line: Bytes, delimiter: Option<&[u8]>) -> (Option<Bytes>, Bytes) {
    let found = delimiter.and_then(|delimiter| {
        let at = line.windows(delimiter.len()).position(|window| window == delimiter)?;
        Some((at, at + delimiter.len()))
    });
    match found {
        Some((key_end, value_start)) => (Some(line.slice(..key_end)), line.slice(value_start..)),
        None => (None, line),
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
    eprintln!("{records} records, {bytes} bytes in {seconds:.3} s");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &'static [u8], delimiter: &'static [u8]) -> (Option<Bytes>, Bytes) {
        split_key(Bytes::from_static(line), Some(delimiter))
    }

    #[test]
    fn the_first_delimiter_ends_the_key() {
        assert_eq!(split(b"a:b:c", b":"), (Some("a".into()), "b:c".into()));
        assert_eq!(split(b"a::b", b"::"), (Some("a".into()), "b".into()));
        assert_eq!(split(b":b", b":"), (Some("".into()), "b".into()));
        assert_eq!(split(b"a:", b":"), (Some("a".into()), "".into()));
        assert_eq!(split(b"ab", b":"), (None, "ab".into()));
        assert_eq!(split(b"", b":"), (None, "".into()));
    }
}
