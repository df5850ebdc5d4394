//! Durable appends to many logs at once, against other ways to the same durability.

use std::time::{Duration, Instant};

use crate::engine::ways::{Bare, Each, EngineLogs, Parallel, Way, WholeFileSystem};
use crate::engine::{EngineError, Run};
use crate::figures::{Goal, Group, Unit};
use crate::latency::ShortTimes;
use ringmain_engine::StoreConfig;

const ENGINE: &str = "engine";
const EACH: &str = "fdatasync each";
const PARALLEL: &str = "fdatasync by 64 threads";
const SYNCFS: &str = "syncfs";
const BARE: &str = "bare work";
/// Of each round and number of logs.
pub(super) const TURNS: usize = 5;
/// A turn ends after so long, however few commits there were.
const TURN_MAX: Duration = Duration::from_secs(2);
/// The number of logs for which the goals hold.
const GOAL_LOGS: u32 = 128;

pub(super) fn durable(run: &Run<'_>, logs: u32) -> Result<Group, EngineError> {
    let plural = if logs == 1 { "" } else { "s" };
    let title =
        format!("durable: a commit is 4 KiB to each of {logs} log{plural}, until all are on the medium");
    let mut group = Group::of_times("durable", title, Unit::Milliseconds, 0.5);
    run.go_on()?;
    let mut ways = open_ways(run, logs, &mut group)?;
    for (_, way) in &mut ways {
        run.go_on()?;
        way.warm_up()?;
    }
    run.settle()?;
    for round in 1..=run.args.rounds {
        for at in 0..ways.len() {
            let turn = (at + round as usize - 1) % ways.len();
            let (name, way) = &mut ways[turn];
            run.turn(round, &format!("{name}, {logs} log{plural}"))?;
            let mut times = ShortTimes::new();
            let began = Instant::now();
            for _ in 0..run.args.commits {
                let each = Instant::now();
                way.commit()?;
                times.record(each.elapsed());
                run.go_on()?;
                if began.elapsed() > TURN_MAX {
                    break;
                }
            }
            group.add_times(name, &times);
            run.settle()?;
        }
    }
    drop(ways);
    run.remove("files")?;
    run.remove("durable")?;
    let goal = |goal| (logs == GOAL_LOGS).then_some(goal);
    group.compare(EACH, ENGINE, goal(Goal::AtLeast(20.0)));
    group.compare(PARALLEL, ENGINE, None);
    group.compare(SYNCFS, ENGINE, None);
    group.compare(ENGINE, BARE, goal(Goal::AtMost(1.3)));
    Ok(group)
}

type Ways = Vec<(&'static str, Box<dyn Way>)>;

fn open_ways(run: &Run<'_>, logs: u32, group: &mut Group) -> Result<Ways, EngineError> {
    let dir = run.scratch.join("files");
    let failed = |source| run.scratch.failed(source);
    std::fs::create_dir(&dir).map_err(failed)?;
    let count = logs as usize;
    let mut ways: Ways = vec![
        (EACH, Box::new(Each::new(&dir, count).map_err(failed)?)),
        (PARALLEL, Box::new(Parallel::new(&dir, count).map_err(failed)?)),
        (SYNCFS, Box::new(WholeFileSystem::new(&dir, count).map_err(failed)?)),
    ];
    match Bare::new(&dir, count).map_err(failed)? {
        Ok(bare) => ways.push((BARE, Box::new(bare))),
        Err(error) => group.note(format!("no bare work: no direct writes on this file system: {error}")),
    }
    let StoreConfig { journal_file_bytes, journal_files_max, .. } = StoreConfig::default();
    let journal_bytes = journal_file_bytes * journal_files_max as u64;
    ways.push((ENGINE, Box::new(EngineLogs::new(run.open("durable")?, count, journal_bytes)?)));
    Ok(ways)
}
