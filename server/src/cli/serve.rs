//! `ringmain serve`: the broker as a process.

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringmain::{Config, ConfigError, Running, StartError};
use sd_notify::NotifyState;
use serde_json::json;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ringmain serve\n  \
    ringmain serve --listen 0.0.0.0:9092 --advertised-listeners broker.example:9092\n  \
    ringmain serve --config ringmain.toml --set num.partitions=3\n\n\
    When it takes requests it prints one line: ringmain ready HOST:PORT, with --json an object. SIGTERM or Ctrl-C ends\n\
    it cleanly.")]
pub(super) struct ServeArgs {
    /// Where the data is kept [default: ./ringmain-data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:9092].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where to serve metrics and health over HTTP (/metrics, /livez, /readyz) [default: nowhere].
    #[arg(long, value_name = "ADDRESS:PORT")]
    admin: Option<SocketAddr>,
    /// What clients are told to connect to; needed when listening on every address.
    #[arg(long, value_name = "HOST:PORT")]
    advertised_listeners: Option<String>,
    /// A TOML file with configuration keys.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Sets a configuration key; stronger than the file.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print every configuration key with its value and meaning, and end.
    #[arg(long)]
    list_config: bool,
    /// Print JSON: when it is ready an object with its addresses, with --list-config an array of keys.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Error)]
pub(super) enum ServeError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("signals cannot be caught: {0}")]
    Signal(#[source] io::Error),
    #[error("the output cannot be written: {0}")]
    Output(#[source] io::Error),
    #[error("the stop was not clean: {0}; the next start will check all logs")]
    Stop(#[source] io::Error),
}

pub(super) fn run(args: ServeArgs) -> Result<(), ServeError> {
    let mut config = Config::default();
    if let Some(path) = &args.config {
        config.load(path)?;
    }
    args.set.iter().try_for_each(|pair| config.set_pair(pair))?;
    if let Some(dir) = args.data_dir {
        config.data_dir = dir;
    }
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    if args.admin.is_some() {
        config.admin = args.admin;
    }
    if let Some(advertised) = &args.advertised_listeners {
        config.set("advertised.listeners", advertised)?;
    }
    if args.list_config {
        return print(&config_text(&config, args.json)).map_err(ServeError::Output);
    }
    share_descriptors(&mut config, raise_descriptor_limit());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Signal)?;
    let (mut term, mut int) = runtime
        .block_on(async { Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)) })
        .map_err(ServeError::Signal)?;
    let running = Running::start(config)?;
    let endpoint = running.endpoint().to_string();
    let line = match args.json {
        true => format!("{}\n", json!({"ready": endpoint, "admin": running.admin_address()})),
        false => format!("ringmain ready {endpoint}\n"),
    };
    // Whoever waits for the line may have gone; the broker serves all the same.
    if let Err(err) = print(&line) {
        tracing::warn!("the ready line cannot be written: {err}");
    }
    tell_systemd(NotifyState::Ready);
    runtime.block_on(async {
        tokio::select! {
            _ = term.recv() => tracing::info!("SIGTERM: stopping"),
            _ = int.recv() => tracing::info!("interrupted: stopping"),
        }
    });
    tell_systemd(NotifyState::Stopping);
    running.stop().map_err(ServeError::Stop)?;
    tracing::info!("stopped cleanly");
    Ok(())
}

fn config_text(config: &Config, as_json: bool) -> String {
    let entries = config.entries();
    if as_json {
        let keys =
            entries.map(|(key, value)| json!({"key": key.name, "value": value, "documentation": key.doc}));
        return format!("{}\n", serde_json::Value::from_iter(keys));
    }
    entries.map(|(key, value)| format!("{} = {value}\n    {}\n", key.name, key.doc)).collect()
}

/// Writes to standard output. A reader that has gone away is no error.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Does nothing unless systemd has started the process and wants to know.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(err) = sd_notify::notify(&[state]) {
        tracing::warn!("systemd could not be told: {err}");
    }
}

/// Every segment takes a descriptor, and the usual soft limit is for programs that use select(2). Returns the limit.
fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return u64::MAX };
    if soft == hard {
        return soft;
    }
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(err) => {
            tracing::warn!("the limit of open files was not raised: {err}");
            soft
        }
    }
}

/// Descriptors for all that is neither segment nor connection nor counted below: files while they are synced, pipes,
/// metrics.
const DESCRIPTORS_KEPT: u64 = 192;
/// Of each shard: its listener, ring, and what wakes it.
const DESCRIPTORS_PER_SHARD: u64 = 8;
/// With as many as this nobody runs out.
const DESCRIPTORS_PLENTY: u64 = 1 << 17;

/// Two thirds of the descriptors are for segments and one for connections, or what the operator leaves of them: neither
/// takes what the other or the journal needs.
fn share_descriptors(config: &mut Config, limit: u64) {
    let shards = match config.shards {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        shards => shards,
    };
    let kept =
        DESCRIPTORS_KEPT + DESCRIPTORS_PER_SHARD * shards as u64 + config.store.journal_files_max as u64;
    let free = usize::try_from(limit.saturating_sub(kept)).unwrap_or(usize::MAX);
    if config.open_segments_max == 0 {
        config.open_segments_max = (free / 3).max(1) * 2;
    }
    config.connections_bound = free.saturating_sub(config.open_segments_max).max(1);
    if limit < DESCRIPTORS_PLENTY {
        tracing::info!(
            limit,
            segments = config.open_segments_max,
            connections = config.connections_max.min(config.connections_bound),
            "the limit of open files is shared out; raise it (LimitNOFILE, ulimit -n) for more"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_shared_out_so_that_all_have_some() {
        for limit in [1, 192, 256, 1024, 20_000, 1 << 20, u64::MAX] {
            for shards in [1, 64] {
                let mut config = Config { shards, ..Config::default() };
                share_descriptors(&mut config, limit);
                let (segments, connections) = (config.open_segments_max, config.connections_bound);
                assert!(segments > 0 && connections > 0, "{limit}");
                let kept = DESCRIPTORS_KEPT + 8 * shards as u64;
                assert!((segments + connections) as u64 <= limit.saturating_sub(kept).max(3), "{limit}");
            }
        }
    }

    #[test]
    fn what_the_operator_says_of_segments_holds_and_connections_get_the_rest() {
        let mut config = Config { open_segments_max: 100, shards: 1, ..Config::default() };
        share_descriptors(&mut config, 1024);
        assert_eq!(config.open_segments_max, 100);
        let journal = config.store.journal_files_max;
        assert_eq!(config.connections_bound, 1024 - 192 - 8 - journal - 100);
        share_descriptors(&mut config, 10);
        assert_eq!(config.connections_bound, 1);
    }
}
