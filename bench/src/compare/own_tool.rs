//! Running the tool that a peer brings, and reading what it prints.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::compare::arithmetic::spread;
use crate::compare::peers::Running;
use crate::compare::process::{Process, ProcessFault, tree};
use crate::compare::usage::Meter;
use crate::result::compare::OwnFigure;
use crate::stop::Stop;

/// Messages a second, report by report, and latencies by name with unit.
type Reports = (Vec<f64>, Vec<(String, f64)>);

/// What a tool printed, and what the broker used meanwhile.
#[derive(Debug)]
pub(crate) struct Reported {
    text: String,
    cpu_s: Option<f64>,
    rss_max_bytes: Option<u64>,
}

impl Reported {
    /// Runs a tool that goes on until it is ended, for `duration`. What counts is what it printed.
    pub(crate) fn run(
        command: &mut Command,
        log: &Path,
        duration: Duration,
        running: &Running,
        stop: &Stop,
    ) -> Result<Self, String> {
        let meter = Meter::start(tree(running.process.id()), None);
        let mut process = Process::start(command, log, stop).map_err(|fault| fault.to_string())?;
        let end = Instant::now() + duration;
        // It is not over before its time.
        match process.await_ready(duration, || (Instant::now() >= end).then_some(())) {
            Ok(()) | Err(ProcessFault::Slow { .. }) => {}
            Err(fault) => return Err(fault.to_string()),
        }
        let text = process.printed();
        process.stop();
        Ok(Self::of(text, meter))
    }

    /// Runs a tool that ends by itself and writes a report.
    pub(crate) fn run_to_end(
        command: &mut Command,
        log: &Path,
        report: &Path,
        limit: Duration,
        running: &Running,
        stop: &Stop,
    ) -> Result<Self, String> {
        let meter = Meter::start(tree(running.process.id()), None);
        Process::run(command, log, limit, stop).map_err(|fault| fault.to_string())?;
        let text =
            std::fs::read_to_string(report).map_err(|error| format!("the tool left no report: {error}"))?;
        Ok(Self::of(text, meter))
    }

    fn of(text: String, meter: Meter) -> Self {
        let usage = meter.finish();
        Self { text, cpu_s: usage.broker_cpu_s, rss_max_bytes: usage.broker_rss_max_bytes }
    }

    /// The figure, read by `read`; no report is an error, not a zero.
    pub(crate) fn figure(
        self,
        what: &str,
        command: &str,
        read: impl Fn(&str) -> Option<Reports>,
    ) -> Result<OwnFigure, String> {
        let unread = || format!("the tool's report of {what:?} cannot be read");
        let (rates, latencies) = read(&self.text).ok_or_else(unread)?;
        Ok(OwnFigure {
            what: what.to_string(),
            command: command.to_string(),
            messages_per_s: spread(&rates).ok_or_else(unread)?,
            latencies,
            broker_cpu_s: self.cpu_s,
            broker_rss_max_bytes: self.rss_max_bytes,
        })
    }
}

/// RocketMQ's producers print a line each second, of the ten seconds before: the last half of the lines counts,
/// behind the warm-up.
pub(crate) fn rocketmq_reports(text: &str) -> Option<Reports> {
    let field = |line: &str, name: &str| -> Option<f64> {
        line.split('|').find_map(|part| part.trim().strip_prefix(name)?.trim().parse().ok())
    };
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("Send TPS:")).collect();
    let last = &lines[lines.len() / 2..];
    if last.is_empty() || last.iter().any(|line| field(line, "Send Failed:") != Some(0.0)) {
        return None;
    }
    let rate = |line: &&str| field(line, "Send MPS:").or_else(|| field(line, "Send TPS:"));
    let rates: Option<Vec<f64>> = last.iter().map(rate).collect();
    let line = last.last()?;
    let latencies = vec![
        ("mean_ms".to_string(), field(line, "Average RT(ms):")?),
        ("max_ms".to_string(), field(line, "Max RT(ms):")?),
    ];
    Some((rates?, latencies))
}

#[derive(Deserialize)]
#[serde(tag = "sampleType", rename_all = "lowercase")]
enum Sample {
    Interval {
        warmup: bool,
        time: f64,
        completed: f64,
    },
    #[serde(rename_all = "camelCase")]
    Summary {
        total_send_time: Times,
    },
}

#[derive(Deserialize)]
struct Times {
    mean: String,
    #[serde(rename = "50")]
    p50: f64,
    #[serde(rename = "99")]
    p99: f64,
    #[serde(rename = "99.9")]
    p99_9: f64,
}

/// The JSON report of `artemis perf client`: a sample about each second, and a summary.
pub(crate) fn artemis_reports(text: &str) -> Option<Reports> {
    let samples: Vec<Sample> = serde_json::from_str(text).ok()?;
    let mut rates = Vec::new();
    let mut latencies = Vec::new();
    let mut before: Option<f64> = None;
    for sample in samples {
        match sample {
            Sample::Interval { warmup, time, completed } => {
                if let Some(before) = before.replace(time)
                    && !warmup
                    && time > before
                {
                    rates.push(completed * 1000.0 / (time - before));
                }
            }
            Sample::Summary { total_send_time: times } => {
                let mean = times.mean.parse().ok()?;
                let named = [
                    ("mean_us", mean),
                    ("p50_us", times.p50),
                    ("p99_us", times.p99),
                    ("p99_9_us", times.p99_9),
                ];
                latencies = named.map(|(name, value)| (name.to_string(), value)).into();
            }
        }
    }
    (!latencies.is_empty()).then_some((rates, latencies))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_rocketmq() {
        let line = |tps: &str, failed: &str| {
            format!(
                "Current Time: 2026-01-01 00:00:00,000 | Send TPS: {tps} | Max RT(ms): 1108 | Average RT(ms):   4.121 \
                 | Send Failed: {failed} | Response Failed: 0\n"
            )
        };
        let text = format!("noise\n{}{}{}", line("1", "0"), line("15527", "0"), line("15529", "0"));
        let (rates, latencies) = rocketmq_reports(&text).unwrap();
        assert_eq!(rates, [15527.0, 15529.0]);
        assert_eq!(latencies[0], ("mean_ms".to_string(), 4.121));
        assert_eq!(rocketmq_reports(&line("5", "1")), None, "failed sends are no figure");
        assert_eq!(rocketmq_reports("noise"), None);
        let batch = "T | Send TPS: 5249 | Send MPS: 83991 | Max RT(ms): 1294 | Average RT(ms):  12.201 | Average Message \
                     RT(ms):   0.763 | Send Failed: 0 | Send Message Failed: 0";
        assert_eq!(rocketmq_reports(batch).unwrap().0, [83991.0]);
    }

    #[test]
    fn the_report_of_artemis() {
        let times = r#"{"mean":"8.5","50":6,"90":7,"99":9,"99.9":10,"99.99":11,"max":12,"count":3}"#;
        let interval = |warmup: bool, time: u64, completed: u64| {
            format!(
                r#"{{"sampleType":"interval","warmup":{warmup},"time":{time},"sent":0,"delayed":0,"completed":{completed},"received":1,"sendTime":{times}}}"#
            )
        };
        let summary = format!(
            r#"{{"sampleType":"summary","time":1,"result":"success","totalSent":1,"totalSendTime":{times},"totalTransferTime":{times}}}"#
        );
        let text = format!(
            "[\n{},\n{},\n{},\n{summary}\n]",
            interval(true, 1000, 5),
            interval(false, 2000, 100),
            interval(false, 2500, 100)
        );
        let (rates, latencies) = artemis_reports(&text).unwrap();
        assert_eq!(rates, [100.0, 200.0]);
        assert_eq!(latencies[2], ("p99_us".to_string(), 9.0));
        assert_eq!(artemis_reports("[]"), None);
    }
}
