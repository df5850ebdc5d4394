//! Client quotas: how many bytes a second a client may produce and fetch, and what share of a thread's time its
//! requests may take. Who takes more is answered at once and told how long to wait, and is not read from before
//! that is over (KIP-219). Pure but for the lock: the time is given.
//!
//! A rate is kept by a bucket that holds what a second brings: a client may take that at once after a pause, and
//! what it takes beyond it has to wait for.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Clients whose use is remembered; one that is forgotten begins with a full bucket.
const CLIENTS_MAX: usize = 10_000;
/// A client that did nothing for so long has a full bucket again and can be forgotten.
const FORGOTTEN_AFTER_MS: u64 = 60_000;
/// The longest that a client is made to wait at once. What it took beyond that, it waits for the next time.
const WAIT_MAX_MS: u64 = 10_000;

/// What is limited. The names are Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Bytes of batches, in a second.
    Produce,
    /// Bytes of batches, in a second.
    Fetch,
    /// Nanoseconds of a thread's time: many requests take less than a microsecond. The quota is in percent of one thread.
    Request,
}

const USES: [(Use, &str); 3] = [
    (Use::Produce, "producer_byte_rate"),
    (Use::Fetch, "consumer_byte_rate"),
    (Use::Request, "request_percentage"),
];
/// Nanoseconds that one percent of a thread has in a second.
const NANOS_PER_PERCENT: f64 = 10_000_000.0;

/// What is set for each client id, and for those without a setting of their own (`None`).
pub(crate) type Settings = BTreeMap<Option<String>, BTreeMap<String, f64>>;

/// Why a quota cannot be set so, if it cannot.
pub(crate) fn quota_error(name: &str, value: f64) -> Option<String> {
    let Some((kind, _)) = USES.iter().find(|(_, known)| *known == name) else {
        return Some(format!("there is no quota {name:?} for client ids"));
    };
    if !value.is_finite() || value <= 0.0 {
        return Some(format!("{name} must be more than 0, {value} is not"));
    }
    let whole = *kind == Use::Request || value.fract() == 0.0;
    (!whole).then(|| format!("{name} must be a whole number, {value} is not"))
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at_ms: u64,
}

impl Bucket {
    /// Takes `amount` at `rate` a second; how long to wait then, in milliseconds.
    fn take(&mut self, rate: f64, amount: f64, now_ms: u64) -> u64 {
        let since_ms = now_ms.saturating_sub(self.at_ms) as f64;
        self.left = (self.left + rate * since_ms / 1000.0).min(rate) - amount;
        self.at_ms = now_ms;
        if self.left >= 0.0 {
            return 0;
        }
        // Never more than the limit, so it fits.
        ((-self.left / rate * 1000.0).ceil() as u64).min(WAIT_MAX_MS)
    }
}

#[derive(Debug, Default)]
struct State {
    settings: Settings,
    used: HashMap<String, [Option<Bucket>; USES.len()]>,
}

impl State {
    fn rate(&self, client_id: &str, kind: Use) -> Option<f64> {
        let (_, name) = USES.iter().find(|(known, _)| *known == kind)?;
        let of = |id: Option<String>| self.settings.get(&id)?.get(*name).copied();
        let set = of(Some(client_id.to_owned())).or_else(|| of(None))?;
        Some(if kind == Use::Request { set * NANOS_PER_PERCENT } else { set })
    }

    fn make_room(&mut self, now_ms: u64) {
        let last_ms = |buckets: &[Option<Bucket>]| buckets.iter().flatten().map(|one| one.at_ms).max();
        self.used.retain(|_, buckets| {
            last_ms(buckets).is_some_and(|at| now_ms.saturating_sub(at) < FORGOTTEN_AFTER_MS)
        });
        if self.used.len() >= CLIENTS_MAX {
            // More clients than can be told apart: all begin anew.
            self.used.clear();
        }
    }
}

/// The quotas in force, and what clients have used of them.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    any: AtomicBool,
    state: Mutex<State>,
}

impl Quotas {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is any: without one, nothing else need be asked.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Puts these in force.
    pub(crate) fn set(&self, settings: Settings) {
        let mut state = self.lock();
        self.any.store(!settings.is_empty(), Ordering::Relaxed);
        if settings.is_empty() {
            state.used = HashMap::new();
        }
        state.settings = settings;
    }

    /// Notes that a client used `amount`; for how many milliseconds it is to wait.
    pub(crate) fn charge(&self, client_id: &str, kind: Use, amount: u64, now_ms: u64) -> u32 {
        if !self.any() {
            return 0;
        }
        let mut state = self.lock();
        let Some(rate) = state.rate(client_id, kind) else { return 0 };
        if !state.used.contains_key(client_id) {
            if state.used.len() >= CLIENTS_MAX {
                state.make_room(now_ms);
            }
            state.used.insert(client_id.to_owned(), [None; USES.len()]);
        }
        let Some(buckets) = state.used.get_mut(client_id) else { return 0 };
        let bucket = buckets[kind as usize].get_or_insert(Bucket { left: rate, at_ms: now_ms });
        u32::try_from(bucket.take(rate, amount as f64, now_ms)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(set: &[(Option<&str>, &str, f64)]) -> Quotas {
        let mut settings = Settings::new();
        for (id, name, value) in set {
            settings.entry(id.map(str::to_owned)).or_default().insert((*name).to_owned(), *value);
        }
        let quotas = Quotas::default();
        quotas.set(settings);
        quotas
    }

    #[test]
    fn who_takes_more_waits_until_its_rate_is_kept() {
        let quotas = quotas(&[(Some("a"), "producer_byte_rate", 1000.0)]);
        let take = |bytes, now_ms| quotas.charge("a", Use::Produce, bytes, now_ms);
        assert_eq!(take(1000, 0), 0, "what a second brings");
        assert_eq!(take(500, 0), 500);
        assert_eq!(take(100, 500), 100);
        assert_eq!(take(1, 10_000), 0);
        assert_eq!(take(1_000_000, 20_000), u32::try_from(WAIT_MAX_MS).unwrap());
        assert!(take(1, 30_000) > 5000, "the rest of the wait is not forgiven");
        // In the long run the rate is kept, however it is asked for.
        let (mut now_ms, mut bytes) = (100_000_000, 0);
        while now_ms < 100_100_000 {
            bytes += 700;
            now_ms += 1 + u64::from(quotas.charge("a", Use::Produce, 700, now_ms));
        }
        assert!((99_000..=102_000).contains(&bytes), "{bytes} bytes in 100 s");
    }

    #[test]
    fn the_setting_of_a_client_goes_before_that_of_all() {
        let quotas = quotas(&[
            (None, "consumer_byte_rate", 10.0),
            (None, "request_percentage", 50.0),
            (Some("big"), "consumer_byte_rate", 1000.0),
        ]);
        assert_eq!(quotas.charge("big", Use::Fetch, 1000, 0), 0);
        assert_eq!(quotas.charge("small", Use::Fetch, 20, 0), 1000);
        assert_eq!(quotas.charge("other", Use::Fetch, 10, 0), 0, "each has a bucket of its own");
        assert_eq!(quotas.charge("small", Use::Produce, 1 << 40, 0), 0, "nothing is set");
        assert_eq!(quotas.charge("big", Use::Request, 1_000_000_000, 0), 1000, "half a second was there");
        quotas.set(Settings::new());
        assert_eq!(quotas.charge("small", Use::Fetch, 1 << 40, 0), 0);
    }

    #[test]
    fn a_flood_of_client_ids_takes_bounded_memory() {
        let quotas = quotas(&[(None, "producer_byte_rate", 10.0)]);
        for n in 0..3 * CLIENTS_MAX {
            quotas.charge(&n.to_string(), Use::Produce, 1, n as u64);
        }
        assert!(quotas.lock().used.len() <= CLIENTS_MAX);
    }

    #[test]
    fn quotas_that_make_no_sense_are_refused() {
        assert_eq!(quota_error("producer_byte_rate", 1024.0), None);
        assert_eq!(quota_error("request_percentage", 0.5), None);
        for (name, value) in [
            ("producer_byte_rate", 0.0),
            ("producer_byte_rate", -1.0),
            ("consumer_byte_rate", 1.5),
            ("request_percentage", f64::NAN),
            ("request_percentage", f64::INFINITY),
            ("controller_mutation_rate", 1.0),
        ] {
            assert!(quota_error(name, value).is_some(), "{name} {value}");
        }
    }
}
