//! What a workload may ask for: limits by name, and what goes together.

use crate::workload::{Acks, Bytes, Codec, From, Keys, Rate, Workload};

/// Connections of all producers and consumers together at most: each is an open file on both sides.
pub(crate) const CONNECTIONS_MAX: u64 = 4096;
/// Partitions of all topics together at most.
pub(crate) const PARTITIONS_MAX: u64 = 20_000;
/// Topics at most.
pub(crate) const TOPICS_MAX: u64 = 10_000;
/// Requests in flight on a connection at most.
pub(crate) const IN_FLIGHT_MAX: u64 = 1024;
/// A batch at most, in bytes.
pub(crate) const BATCH_BYTES_MAX: u64 = 64 << 20;
/// A record at least: its key and the stamp in its value.
pub(crate) const RECORD_BYTES_MIN: u64 = 40;
/// Records a second at most.
pub(crate) const RATE_MAX: f64 = 1e9;
/// Warm-up, duration and drain at most, in seconds.
pub(crate) const SECONDS_MAX: f64 = 3600.0;
/// Keys at most.
pub(crate) const KEYS_MAX: u64 = 1 << 32;
/// Steps of a ramp at most.
pub(crate) const STEPS_MAX: u64 = 100;
/// Rounds at most.
pub(crate) const ROUNDS_MAX: u64 = 100;
/// Sets of consumers, their copies included, at most.
pub(crate) const SETS_MAX: u64 = 256;

/// A value beyond its limit, or values that do not go together.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Impossible {
    what: String,
}

fn within(name: &str, value: u64, min: u64, max: u64) -> Result<(), Impossible> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Impossible { what: format!("{name} is {value}; it must be from {min} to {max}") })
}

fn within_f64(name: &str, value: f64, min: f64, max: f64) -> Result<(), Impossible> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Impossible { what: format!("{name} is {value}; it must be from {min} to {max}") })
}

fn refuse<T>(what: &str) -> Result<T, Impossible> {
    Err(Impossible { what: what.to_owned() })
}

impl Workload {
    /// Whether it can be run.
    pub(crate) fn check(&self) -> Result<(), Impossible> {
        within("topics", u64::from(self.topics), 1, TOPICS_MAX)?;
        let partitions = u64::from(self.topics) * u64::from(self.partitions);
        within("topics times partitions", partitions, 1, PARTITIONS_MAX)?;
        within("replication_factor", u64::from(self.replication_factor), 1, 100)?;
        within("rounds", u64::from(self.rounds), 1, ROUNDS_MAX)?;
        for (name, time) in
            [("warmup", self.warmup), ("duration", self.duration), ("drain_max", self.drain_max)]
        {
            within_f64(name, time.as_secs_f64(), 0.0, SECONDS_MAX)?;
        }
        if self.duration.0.is_zero() && self.fill.is_none() {
            return refuse("neither a duration nor a fill: nothing would be sent");
        }
        if self.fill.is_some_and(|fill| fill.bytes == Bytes(0)) {
            return refuse("fill.bytes is 0; leave fill out");
        }
        self.check_producers()?;
        self.check_consumers()
    }

    fn check_producers(&self) -> Result<(), Impossible> {
        let producers = &self.producers;
        within("producers.in_flight", u64::from(producers.in_flight), 1, IN_FLIGHT_MAX)?;
        within("producers.record_bytes", producers.record_bytes.0, RECORD_BYTES_MIN, BATCH_BYTES_MAX)?;
        within("producers.batch_records", u64::from(producers.batch_records), 1, 1 << 20)?;
        let batch_bytes = producers.record_bytes.0 * u64::from(producers.batch_records);
        within("record_bytes times batch_records", batch_bytes, 1, BATCH_BYTES_MAX)?;
        within_f64("producers.repeated", producers.repeated, 0.0, 1.0)?;
        match producers.keys {
            Keys::None => {}
            Keys::Uniform { count } => within("producers.keys.count", count, 1, KEYS_MAX)?,
            Keys::Zipf { count, exponent } => {
                within("producers.keys.count", count, 1, KEYS_MAX)?;
                within_f64("producers.keys.exponent", exponent, 0.0, 10.0)?;
            }
        }
        if producers.acks == Acks::None && producers.rate != Rate::Max {
            return refuse("with acks = \"0\" nothing is answered, so a rate would have no latency");
        }
        if producers.acks == Acks::None && producers.compression != Codec::None {
            return refuse("acks = \"0\" goes with compression = \"none\" only");
        }
        let rate = |name, value| within_f64(name, value, 0.001, RATE_MAX);
        match producers.rate {
            Rate::Max => Ok(()),
            Rate::Fixed { records_per_s } => rate("producers.rate.records_per_s", records_per_s),
            Rate::Ramp { from_records_per_s, factor, steps_max } => {
                rate("producers.rate.from_records_per_s", from_records_per_s)?;
                within_f64("producers.rate.factor", factor, 1.01, 10.0)?;
                within("producers.rate.steps_max", u64::from(steps_max), 1, STEPS_MAX)
            }
            Rate::Burst { base_records_per_s, peak_factor, peak, period } => {
                rate("producers.rate.base_records_per_s", base_records_per_s)?;
                within_f64("producers.rate.peak_factor", peak_factor, 1.0, 1000.0)?;
                rate("the rate of a peak", base_records_per_s * peak_factor)?;
                if peak.0.is_zero() || peak >= period {
                    return refuse("producers.rate.peak must be more than nothing and less than period");
                }
                Ok(())
            }
        }
    }

    fn check_consumers(&self) -> Result<(), Impossible> {
        let mut connections = u64::from(self.producers.connections);
        within("producers.connections", connections, 1, CONNECTIONS_MAX)?;
        let mut sets = 0;
        for consumers in &self.consumers {
            within("consumers.sets", u64::from(consumers.sets), 1, SETS_MAX)?;
            within("consumers.connections", u64::from(consumers.connections), 1, CONNECTIONS_MAX)?;
            within("consumers.fetch_bytes", consumers.fetch_bytes.0, 1, BATCH_BYTES_MAX)?;
            within_f64("consumers.fetch_wait", consumers.fetch_wait.as_secs_f64(), 0.0, 5.0)?;
            if let Some(rate) = consumers.records_per_s_max {
                within_f64("consumers.records_per_s_max", rate, 0.001, RATE_MAX)?;
                if consumers.group {
                    return refuse("consumers.records_per_s_max does not go with consumers.group");
                }
            }
            if consumers.group && consumers.from == From::End && self.fill.is_some() {
                return refuse(
                    "consumers.group begins at the start: set from = \"start\", or leave fill out",
                );
            }
            if consumers.group && matches!(self.producers.rate, Rate::Ramp { .. }) {
                return refuse("consumers.group does not go with a ramp, whose steps begin anew");
            }
            sets += u64::from(consumers.sets);
            connections += u64::from(consumers.sets) * u64::from(consumers.connections);
        }
        within("all sets of consumers", sets, 0, SETS_MAX)?;
        within("all connections", connections, 1, CONNECTIONS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold() {
        let base = "name = \"x\"\n[producers]\n[[consumers]]\n";
        assert!(Workload::parse(base).is_ok());
        for beyond in [
            "topics=0",
            "partitions=30000",
            "duration=0",
            "duration=2h",
            "producers.record_bytes=39",
            "producers.batch_records=70000",
            "producers.repeated=1.5",
            "producers.connections=5000",
            "consumers.0.connections=4096",
            "consumers.0.sets=0",
            "producers.rate={kind=\"burst\",base_records_per_s=1,peak_factor=2,peak=2,period=1}",
            "producers.rate={kind=\"fixed\",records_per_s=0}",
            "producers.keys={kind=\"zipf\",count=0,exponent=1}",
        ] {
            let parsed = Workload::parse_with(base, &[beyond.to_owned()]);
            assert!(parsed.is_err(), "{beyond}");
        }
    }
}
