//! The command `load --workload`.

use std::io::Write;
use std::path::Path;

use crate::cli::LoadArgs;
use crate::error::BenchError;
use crate::generator::text::{render, render_self_check};
use crate::generator::{RunOptions, run_workload, self_check};
use crate::result::run::RunTarget;
use crate::stop::Stop;
use crate::workload::{Workload, catalog};

/// Whether the command line is about workloads.
pub(crate) fn asked_for(args: &LoadArgs) -> bool {
    args.by_workload.workload.is_some() || args.by_workload.list
}

/// Lists, checks itself or runs, and delivers what came of it.
///
/// # Errors
/// If the workload cannot be understood, or as [`run_workload`].
pub(crate) fn load_workload(args: &LoadArgs, stop: &Stop) -> Result<(), BenchError> {
    let more = &args.by_workload;
    let Some(name) = &more.workload else {
        return print(&catalog::list());
    };
    let workload = match catalog::find(name) {
        Some(text) => Workload::parse_with(text, &more.set)?,
        None => Workload::read(Path::new(name), &more.set)?,
    };
    let alone = if more.self_check { Some(self_check(&workload, stop)?) } else { None };
    if let (Some(alone), None) = (&alone, &args.broker) {
        return print(&render_self_check(alone));
    }
    let options = RunOptions {
        broker: args.broker().to_owned(),
        target: RunTarget {
            name: more.target_name.clone(),
            version: more.target_version.clone(),
            durability: more.target_durability.unwrap_or(workload.durability),
            configuration: more.target_config.clone(),
            address: args.broker().to_owned(),
        },
        broker_pids: args.broker_pid.into_iter().collect(),
        data_dir: more.broker_dir.clone(),
        topic_config: more.topic_config.clone(),
        self_check: alone,
        keep_topics: args.keep_topic,
        timeout: args.shape.timeout,
        command: std::env::args().collect(),
    };
    let run = run_workload(&workload, &options, stop)?;
    if let Some(path) = &args.output.out {
        run.write(path)?;
    }
    if args.output.json {
        let json =
            serde_json::to_string_pretty(&run).unwrap_or_else(|_| unreachable!("a run has only text keys"));
        return print(&(json + "\n"));
    }
    print(&render(&run))
}

fn print(text: &str) -> Result<(), BenchError> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(BenchError::Print)
}
