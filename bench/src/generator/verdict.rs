//! Whether the client may have been the limit of what was measured. Pure.

use crate::latency::Latencies;
use crate::result::run::{LatencySummary, SelfCheck};

/// The generator alone must be so much faster than what it measures.
const HEADROOM: f64 = 2.0;
/// Client threads that used so much of their time had none left.
const BUSY: f64 = 0.9;
/// Requests that nothing but the client held up, later than this share of the latency that is reported.
const LAG_SHARE: f64 = 0.5;
/// Later than that in any case, in microseconds: less is the kernel's grain.
const LAG_US_MIN: u64 = 200;

/// What is known of the client in a phase.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    /// What the generator does alone.
    pub(crate) self_check: Option<SelfCheck>,
    /// How late it sent what it could have sent.
    pub(crate) lag: &'a Latencies,
    /// Whether requests had due times.
    pub(crate) paced: bool,
    /// Its processor time in the phase.
    pub(crate) cpu_s: f64,
    /// Threads.
    pub(crate) threads: usize,
}

/// Why the client may have been the limit; empty if nothing speaks for it.
pub(crate) fn client_limited(
    client: &Client<'_>,
    records_per_s: f64,
    elapsed_s: f64,
    latency: Option<&LatencySummary>,
) -> String {
    let mut reasons = Vec::new();
    if let Some(alone) = client.self_check
        && alone.records_per_s < HEADROOM * records_per_s
    {
        reasons.push(format!(
            "the generator alone did {:.0} records/s, less than twice as much",
            alone.records_per_s
        ));
    }
    let busy = client.cpu_s / (elapsed_s * client.threads as f64);
    if busy > BUSY {
        reasons.push(format!("its {} threads used {:.0} % of their time", client.threads, busy * 100.0));
    }
    if let (true, Some(lag), Some(latency)) = (client.paced, client.lag.summary(), latency)
        && lag.p99_us >= LAG_US_MIN
        && lag.p99_us as f64 > LAG_SHARE * latency.p99_us as f64
    {
        reasons.push(format!(
            "1 % of requests that it could have sent in time were sent {} us late or later",
            lag.p99_us
        ));
    }
    reasons.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn with_lag(us: u64) -> Latencies {
        let mut lag = Latencies::new();
        lag.record(Duration::from_micros(us));
        lag
    }

    #[test]
    fn each_reason_counts() {
        let alone =
            SelfCheck { records_per_s: 1000.0, mb_per_s: 1.0, client_cpu_s_per_s: 1.0, elapsed_s: 1.0 };
        let lag = with_lag(1);
        let client = Client { self_check: Some(alone), lag: &lag, paced: true, cpu_s: 0.5, threads: 1 };
        assert_eq!(client_limited(&client, 500.0, 1.0, None), "");
        assert!(client_limited(&client, 501.0, 1.0, None).contains("less than twice"));
        assert!(client_limited(&client, 1.0, 0.55, None).contains("91 %"));
        let lag = with_lag(5000);
        let latency = with_lag(8000).detailed().unwrap();
        let client = Client { lag: &lag, ..client };
        assert!(client_limited(&client, 1.0, 1.0, Some(&latency)).contains("late"));
        let latency = with_lag(80_000).detailed().unwrap();
        assert_eq!(client_limited(&client, 1.0, 1.0, Some(&latency)), "");
    }
}
