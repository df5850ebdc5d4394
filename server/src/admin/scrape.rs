//! The metrics, as they are when they are asked for. Of topics there are sums over their partitions, so that the size
//! of an answer goes with the number of topics.

use super::counters::{BOUNDS_US, CLASSES, Counters, OfApi};
use crate::api::APIS;
use crate::broker::Broker;
use crate::traffic::Counts;
use crate::wire::ErrorCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Topics, and partitions that groups have committed, beyond which an answer is cut: it must not grow without bound.
const SERIES_MAX: usize = 10_000;

/// All metrics as text.
pub(super) fn text(broker: Arc<Broker>) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("ringmain");
    registry.register_collector(Box::new(Scrape(broker)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape(Arc<Broker>);

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        self.requests(&mut encoder)?;
        self.connections(&mut encoder)?;
        self.memory(&mut encoder)?;
        self.errors(&mut encoder)?;
        self.topics(&mut encoder)?;
        self.groups(&mut encoder)?;
        self.store(&mut encoder)
    }
}

/// One metric without labels.
fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

impl Scrape {
    fn sum(&self, of: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        self.0.counters.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum()
    }

    /// Of the API at this place in the table.
    fn sum_of_api(&self, api: usize, of: impl Fn(&OfApi) -> &AtomicU64) -> u64 {
        let shards = self.0.counters.iter().filter_map(|shard| shard.apis.get(api));
        shards.map(|of_api| of(of_api).load(Ordering::Relaxed)).sum()
    }

    fn requests(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let used: Vec<_> = (0..APIS.len())
            .map(|api| {
                let classes: Vec<u64> =
                    (0..CLASSES).map(|class| self.sum_of_api(api, |of| &of.classes[class])).collect();
                (api, classes)
            })
            .filter(|(_, classes)| classes.iter().any(|count| *count > 0))
            .collect();
        let label = |api: usize| [("api", format!("{:?}", APIS[api].key))];
        let help = "Time from a request's last byte to its answer's, with what it waited for";
        let mut family =
            encoder.encode_descriptor("request_duration_seconds", help, None, MetricType::Histogram)?;
        for (api, classes) in &used {
            let bounds = BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(classes.iter().copied()).collect();
            let sum = self.sum_of_api(*api, |of| &of.time_us) as f64 / 1e6;
            let count = classes.iter().sum();
            let labels = label(*api);
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        let mut bytes = |name: &str, help: &str, of: fn(&OfApi) -> &AtomicU64| -> Result<(), Error> {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (api, _) in &used {
                ConstCounter::new(self.sum_of_api(*api, of)).encode(family.encode_family(&label(*api))?)?;
            }
            Ok(())
        };
        bytes("received_bytes", "Bytes of requests that were received", |of| &of.received_bytes)?;
        bytes("sent_bytes", "Bytes of answers", |of| &of.sent_bytes)
    }

    fn connections(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let open = self.0.connections.load(Ordering::Relaxed) as u64;
        one(encoder, "connections", "Connections that are open", &gauge(open))?;
        let mut counter = |name, help, of: fn(&Counters) -> &AtomicU64| {
            one(encoder, name, help, &ConstCounter::new(self.sum(of)))
        };
        counter("connections_accepted", "Connections that were accepted", |shard| &shard.accepted)?;
        counter("connections_refused", "Connections beyond a limit", |shard| &shard.refused)?;
        counter("connections_broken", "Connections closed for what their peer sent", |shard| &shard.broken)
    }

    fn memory(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let of = [("received", &self.0.receiving_bytes), ("answered", &self.0.waiting_bytes)];
        let mut family = |name, help, value: fn((u64, u64)) -> u64| -> Result<(), Error> {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (until, memory) in of {
                gauge(value(memory.use_now())).encode(family.encode_family(&[("until", until)])?)?;
            }
            Ok(())
        };
        let help = "What requests take until they are received or answered, each of queued.max.request.bytes";
        family("request_memory_bytes", help, |(taken, _)| taken)?;
        family("request_memory_waiting", "Requests that wait for such memory", |(_, waiting)| waiting)
    }

    fn errors(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut counts: BTreeMap<(usize, i16), u64> = BTreeMap::new();
        for (place, count) in self.0.counters.iter().flat_map(|shard| shard.errors()) {
            *counts.entry(place).or_default() += count;
        }
        let help = "Errors that answers told, one for each partition, group or topic at fault";
        let mut family = encoder.encode_descriptor("request_errors", help, None, MetricType::Counter)?;
        for ((api, code), count) in counts {
            let code = ErrorCode::try_from_code(code).map_or(code.to_string(), |code| format!("{code:?}"));
            let labels = [("api", format!("{:?}", APIS[api].key)), ("code", code)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        let cold = self.0.cold_reads.counts();
        one(encoder, "cold_reads", "Reads of what was not in the page cache", &ConstCounter::new(cold.done))?;
        let help = "Time that such reads took, with that for which they waited for their turn";
        one(encoder, "cold_reads_duration_seconds", help, &ConstCounter::new(cold.time.as_secs_f64()))?;
        let help = "Such reads that are under way, or wait for their turn (cold.reads.max)";
        one(encoder, "cold_reads_waiting", help, &gauge(cold.waiting))
    }

    fn topics(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut topics = self.0.catalog.all_topics();
        let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
        one(encoder, "topics", "Topics", &gauge(topics.len() as u64))?;
        one(encoder, "partitions", "Partitions of all topics", &gauge(partitions as u64))?;
        topics.truncate(SERIES_MAX);
        let help = "End offsets of all partitions together: its rate is that of the records produced";
        let mut family = encoder.encode_descriptor("topic_end_offsets", help, None, MetricType::Gauge)?;
        for topic in &topics {
            let ends = topic.partitions.iter().map(|one| one.log.progress().written.0).sum::<i64>();
            ConstGauge::new(ends).encode(family.encode_family(&[("topic", topic.name.as_str())])?)?;
        }
        let mut counter = |name: &str, help: &str, of: fn(&Counts) -> u64| -> Result<(), Error> {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for topic in &topics {
                let count = ConstCounter::new(of(&topic.traffic.counts()));
                count.encode(family.encode_family(&[("topic", topic.name.as_str())])?)?;
            }
            Ok(())
        };
        let help = "Records of producers that were appended";
        counter("topic_produced_records", help, |counts| counts.produced_records)?;
        let help = "Bytes of batches of producers that were appended, as they are stored";
        counter("topic_produced_bytes", help, |counts| counts.produced_bytes)?;
        let help = "Bytes of batches in answers to fetches";
        counter("topic_fetched_bytes", help, |counts| counts.fetched_bytes)?;
        let help = "Bytes of all segments of a topic";
        let mut family = encoder.encode_descriptor("topic_size_bytes", help, None, MetricType::Gauge)?;
        for topic in &topics {
            let size = topic.partitions.iter().map(|one| one.log.size_bytes()).sum();
            gauge(size).encode(family.encode_family(&[("topic", topic.name.as_str())])?)?;
        }
        Ok(())
    }

    fn groups(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut states: BTreeMap<&str, u64> = BTreeMap::new();
        for (_, state) in self.0.groups.list().values() {
            *states.entry(state.name()).or_default() += 1;
        }
        let mut family =
            encoder.encode_descriptor("groups", "Consumer groups by state", None, MetricType::Gauge)?;
        for (state, count) in states {
            gauge(count).encode(family.encode_family(&[("state", state)])?)?;
        }
        let mut lags: BTreeMap<(String, String), i64> = BTreeMap::new();
        for (group, place, offset) in self.0.groups.committed_offsets(SERIES_MAX) {
            let Some(topic) = self.0.catalog.topic(&place.topic) else { continue };
            let Some(partition) = topic.partition(place.partition) else { continue };
            let lag = (partition.log.progress().visible.0 - offset).max(0);
            *lags.entry((group, place.topic)).or_default() += lag;
        }
        let help = "Records that a group has not committed, of the partitions that it has committed";
        let mut family = encoder.encode_descriptor("group_lag_records", help, None, MetricType::Gauge)?;
        for ((group, topic), lag) in lags {
            let labels = [("group", group), ("topic", topic)];
            ConstGauge::new(lag).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn store(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let logs = self.0.store.logs();
        let waiting = logs.iter().map(|log| {
            let progress = log.progress();
            u64::try_from(progress.written.0 - progress.durable.0).unwrap_or(0)
        });
        let help = "Records in the page cache that are neither in the journal nor synced";
        one(encoder, "records_not_durable", help, &gauge(waiting.sum()))?;
        let journal = self.0.store.journal_stats();
        let mut counter = |name, help, count| one(encoder, name, help, &ConstCounter::<u64>::new(count));
        counter("journal_entries", "Entries that were begun: each is one durable write", journal.entries)?;
        counter("journal_bytes", "Bytes of those entries, headers and padding included", journal.bytes)?;
        let help = "Segments that were synced because a partition had much to make durable at once";
        counter("journal_segment_syncs", help, journal.segment_syncs)?;
        let failed = u64::from(self.0.store.failure().is_some());
        one(encoder, "store_failed", "Whether a write failed, which ends all writing", &gauge(failed))?;
        let info = [("version", env!("CARGO_PKG_VERSION")), ("io", self.0.store.io_mode().name())];
        let mut family = encoder.encode_descriptor("broker", "What runs", None, MetricType::Gauge)?;
        gauge(1).encode(family.encode_family(&info)?)
    }
}
