//! The metadata at work: its log, its state, and for each topic the logs of its partitions.

use super::commands::{CommandLog, Commands};
use super::image::ApplyError;
use super::{Command, Image, METADATA_LOG, OFFSETS_TOPIC, TopicConfig, TopicImage, broker_config, log_name};
use crate::config::Config;
use crate::quotas::Quotas;
use crate::replay::ReplayError;
use crate::traffic::Traffic;
use ringmain_engine::{
    AppendError, CreateError, DeleteError, LeaderEpoch, Log, LogConfig, LogId, Offset, RaiseEpochError,
    Store, WaitError,
};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use thiserror::Error;
use uuid::Uuid;

/// A topic that clients can use.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    pub(crate) internal: bool,
    pub(crate) config: TopicConfig,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) traffic: Arc<Traffic>,
}

/// One partition of a topic.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) log: Arc<Log>,
    pub(crate) leader_epoch: i32,
}

impl Topic {
    pub(crate) fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// Why the metadata cannot be read or changed.
#[derive(Debug, Error)]
pub(crate) enum CatalogError {
    #[error("the metadata log cannot be read: {0}")]
    Read(#[from] ReplayError),
    #[error("{0}")]
    Command(#[from] ApplyError),
    #[error("a command cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("the metadata cannot be changed: {0}")]
    Append(#[from] AppendError),
    #[error("the metadata cannot be made durable: {0}")]
    Durable(#[from] WaitError),
    #[error("{0}")]
    Create(#[from] CreateError),
    #[error("{0}")]
    Delete(#[from] DeleteError),
    #[error("{0}")]
    Epoch(#[from] RaiseEpochError),
    #[error("the log {name} belongs to another topic; move its directory away")]
    Foreign { name: String },
    #[error("topic {name}: {reason}")]
    Config { name: String, reason: String },
}

/// The metadata. Readers look up topics; one writer at a time changes them.
#[derive(Debug)]
pub(crate) struct Catalog {
    store: Arc<Store>,
    commands: Commands,
    /// What the broker was started with.
    started: Config,
    /// With what was changed since; see [`Catalog::config`].
    in_force: RwLock<Arc<Config>>,
    topics: RwLock<Topics>,
    quotas: Quotas,
    cluster_id: String,
}

/// Topics by name and by id.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: HashMap<String, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Catalog {
    /// Reads the metadata of a store, finishes what a crash left half done and opens all partitions.
    pub(crate) fn open(store: Arc<Store>, started: Config) -> Result<Self, CatalogError> {
        let log = match store.log(METADATA_LOG) {
            Some(log) => log,
            None => {
                store.create_log(METADATA_LOG, LogId(*Uuid::new_v4().as_bytes()), LogConfig::default())?
            }
        };
        // Whatever is set for topics, commands must fit.
        log.set_config(LogConfig::default());
        Self::open_with(Box::new(log), store, started)
    }

    /// Opens with commands that are kept in `log`.
    pub(super) fn open_with(
        log: Box<dyn CommandLog>,
        store: Arc<Store>,
        started: Config,
    ) -> Result<Self, CatalogError> {
        let commands = Commands::open(log)?;
        let in_force = RwLock::new(in_force(&started, &commands.image()));
        let mut catalog = Self {
            store,
            commands,
            started,
            in_force,
            topics: RwLock::default(),
            quotas: Quotas::default(),
            cluster_id: String::new(),
        };
        catalog.prepare()?;
        catalog.quotas.set(catalog.with_image(|image| image.client_quotas.clone()));
        catalog.cluster_id = catalog.with_image(|image| image.cluster_id.clone());
        Ok(catalog)
    }

    fn prepare(&self) -> Result<(), CatalogError> {
        let image = self.with_image(Image::clone);
        if image.cluster_id.is_empty() {
            let cluster_id = Uuid::new_v4().simple().to_string();
            self.record(&Command::ClusterCreated { cluster_id })?;
        }
        let floor = self.store.epoch_floor().0;
        if image.topics.values().flat_map(|topic| &topic.leader_epochs).any(|epoch| *epoch < floor) {
            self.record(&Command::LeaderEpochsRaised { to: floor })?;
        }
        for topic in self.with_image(|image| image.topics.clone()).into_values() {
            match self.open_topic(&topic) {
                Ok(_) => {}
                // Groups would be told that they have committed nothing, and begin anew.
                Err(err) if topic.name == OFFSETS_TOPIC => return Err(err),
                // Another one that cannot be opened takes none with it.
                Err(err) => {
                    tracing::error!(
                        topic = topic.name,
                        "the topic cannot be opened and is not served: {err}"
                    );
                }
            }
        }
        self.remove_half_added();
        let known = |log: &Arc<Log>| log.name() == METADATA_LOG || self.owns(log);
        for log in self.store.logs().iter().filter(|log| !known(log)) {
            tracing::warn!(log = log.name(), "the log belongs to no topic; it is left as it is");
        }
        Ok(())
    }

    /// Logs that were made for further partitions before a crash came, and that no command tells of: nobody
    /// has had them, and they are empty.
    fn remove_half_added(&self) {
        for log in self.store.logs() {
            let Some((topic, index)) = log.name().rsplit_once('-') else { continue };
            let beyond = self.topic(topic).zip(index.parse::<usize>().ok()).is_some_and(|(topic, index)| {
                log.id() == LogId(*topic.id.as_bytes()) && index >= topic.partitions.len()
            });
            if beyond
                && log.progress().written == Offset::ZERO
                && let Err(err) = self.store.delete_log(log.name())
            {
                tracing::warn!(log = log.name(), "it was made for a partition that is not there: {err}");
            }
        }
    }

    /// Whether a topic has this log, though it could not be opened or is about to be removed.
    fn owns(&self, log: &Log) -> bool {
        let Some((name, index)) = log.name().rsplit_once('-') else { return false };
        let Ok(index) = index.parse::<usize>() else { return false };
        let has = |topic: &TopicImage| {
            topic.name == name && log.id() == LogId(*topic.id.as_bytes()) && index < topic.leader_epochs.len()
        };
        self.with_image(|image| image.topics.get(name).is_some_and(has) || image.deleting.values().any(has))
    }

    fn topics(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The topic of this name.
    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics().by_name.get(name).cloned()
    }

    /// The topic of this id.
    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.topics().by_id.get(&id).cloned()
    }

    /// All topics, by name.
    pub(crate) fn all_topics(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<_> = self.topics().by_name.values().cloned().collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    }

    /// Partitions of all topics together, also of those that could not be opened.
    pub(crate) fn partition_count(&self) -> usize {
        self.with_image(|image| image.topics.values().map(|topic| topic.leader_epochs.len()).sum())
    }

    /// The client quotas in force.
    pub(crate) fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Changes the quotas of a client id, durably; they are in force when this returns.
    pub(crate) fn set_quotas(
        &self,
        client_id: Option<String>,
        quotas: BTreeMap<String, f64>,
    ) -> Result<(), CatalogError> {
        self.record(&Command::ClientQuotasSet { client_id, quotas })?;
        self.quotas.set(self.with_image(|image| image.client_quotas.clone()));
        Ok(())
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// What topics have that set nothing.
    pub(crate) fn defaults(&self) -> TopicConfig {
        TopicConfig::defaults(&self.config())
    }

    /// The broker's configuration in force: with what was changed while it runs.
    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets what is set for the broker of this number, or for all, durably; it is in force when this returns.
    pub(crate) fn configure_broker(
        &self,
        node_id: Option<i32>,
        config: BTreeMap<String, String>,
    ) -> Result<(), CatalogError> {
        let before = self.defaults();
        self.record(&Command::BrokerConfigured { node_id, config })?;
        let now = self.with_image(|image| in_force(&self.started, image));
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = now;
        if self.defaults() == before {
            return Ok(());
        }
        // One that fails keeps no other from its change.
        let topics: Vec<_> = self.with_image(|image| image.topics.values().cloned().collect());
        topics.iter().map(|topic| self.open_again(topic)).fold(Ok(()), Result::and)
    }

    pub(crate) fn with_image<T>(&self, look: impl FnOnce(&Image) -> T) -> T {
        look(&self.commands.image())
    }

    /// Makes a command durable and applies it. Blocks; for the controller's thread and the start.
    pub(crate) fn record(&self, command: &Command) -> Result<(), CatalogError> {
        self.commands.record(command)
    }

    /// Has the image be what the log tells, where it may not be since a change failed. By another nothing is decided.
    pub(super) fn refresh(&self) -> Result<(), CatalogError> {
        self.commands.refresh()
    }

    /// Before a stop: tells the log what it could not take before.
    pub(crate) fn close(&self) {
        self.commands.pay();
    }

    /// Creates a topic: the command first, its logs after it, so that a crash leaves logs to make
    /// and never logs of nobody.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: i32,
        config: BTreeMap<String, String>,
    ) -> Result<Arc<Topic>, CatalogError> {
        let id = Uuid::new_v4();
        let leader_epoch = self.store.epoch_floor().0;
        self.record(&Command::TopicCreated { name: name.to_owned(), id, partitions, config, leader_epoch })?;
        let created = self.with_image(|image| image.topics.get(name).cloned());
        let created = created.ok_or_else(|| CatalogError::Foreign { name: name.to_owned() })?;
        let opened = self.open_topic(&created);
        if opened.is_err() {
            // The client is told that it failed, so it must not be there later, nor be in the way of its name.
            self.commands.record_or_owe(Command::TopicDeleted { id })?;
            // What is left now is tried again before the next change, as of any deletion.
            if let Err(err) = self.remove_logs(id).and_then(|()| self.record_purged(id)) {
                tracing::warn!(topic = name, "it was not created, and something of it is left: {err}");
            }
        }
        opened
    }

    fn open_topic(&self, image: &TopicImage) -> Result<Arc<Topic>, CatalogError> {
        let config = TopicConfig::parse(&image.config, self.defaults())
            .map_err(|reason| CatalogError::Config { name: image.name.clone(), reason })?;
        let id = LogId(*image.id.as_bytes());
        let names: Vec<_> =
            (0..).map(|index| log_name(&image.name, index)).take(image.leader_epochs.len()).collect();
        let missing: Vec<_> = names.iter().filter(|name| self.store.log(name).is_none()).cloned().collect();
        self.store.create_logs(&missing, id, config.log)?;
        let mut partitions = Vec::with_capacity(image.leader_epochs.len());
        for (name, leader_epoch) in names.into_iter().zip(&image.leader_epochs) {
            let own = self.store.log(&name).filter(|log| log.id() == id);
            let Some(log) = own else { return Err(CatalogError::Foreign { name }) };
            log.set_config(config.log);
            log.raise_leader_epoch(LeaderEpoch(*leader_epoch))?;
            partitions.push(Partition { log, leader_epoch: *leader_epoch });
        }
        // Counted on, whatever has changed.
        let traffic = self.topic_by_id(image.id).map(|topic| Arc::clone(&topic.traffic)).unwrap_or_default();
        let topic = Arc::new(Topic {
            name: image.name.clone(),
            id: image.id,
            internal: image.name == OFFSETS_TOPIC,
            config,
            partitions,
            traffic,
        });
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.by_name.insert(topic.name.clone(), Arc::clone(&topic));
        topics.by_id.insert(topic.id, Arc::clone(&topic));
        Ok(topic)
    }

    /// Changes a topic's configuration, durably; it is in force when this returns.
    pub(crate) fn configure(&self, id: Uuid, config: BTreeMap<String, String>) -> Result<(), CatalogError> {
        self.record(&Command::TopicConfigured { id, config })?;
        self.reopen(id)
    }

    /// Adds partitions to a topic, `total` in all: their logs first, so that a crash leaves logs to remove
    /// and never a partition that cannot be opened.
    pub(crate) fn add_partitions(&self, topic: &Topic, total: i32) -> Result<(), CatalogError> {
        let id = LogId(*topic.id.as_bytes());
        let first = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        let names: Vec<_> = (first..total).map(|index| log_name(&topic.name, index)).collect();
        let leader_epoch = self.store.epoch_floor().0;
        let added = self
            .store
            .create_logs(&names, id, topic.config.log)
            .map_err(CatalogError::from)
            .and_then(|_| self.record(&Command::PartitionsAdded { id: topic.id, total, leader_epoch }));
        if let Err(err) = added {
            let made = |name: &String| self.store.log(name).is_some_and(|log| log.id() == id);
            self.store.delete_logs(&names.into_iter().filter(made).collect::<Vec<_>>())?;
            return Err(err);
        }
        self.reopen(topic.id)
    }

    fn reopen(&self, id: Uuid) -> Result<(), CatalogError> {
        let image = self.with_image(|image| image.topics.values().find(|topic| topic.id == id).cloned());
        image.map_or(Ok(()), |image| self.open_again(&image))
    }

    /// Opens a topic that has changed. If it was not open before, the change is not what is in the way: that is logged.
    fn open_again(&self, topic: &TopicImage) -> Result<(), CatalogError> {
        let was_open = self.topic_by_id(topic.id).is_some();
        match self.open_topic(topic) {
            Err(err) if !was_open => {
                tracing::warn!(
                    topic = topic.name,
                    "the topic still cannot be opened and is not served: {err}"
                );
                Ok(())
            }
            opened => opened.map(|_| ()),
        }
    }

    /// Deletes a topic for clients, durably; its logs and what was committed for it are still there, and it is known,
    /// until [`Catalog::record_purged`].
    pub(crate) fn delete(&self, id: Uuid, name: &str) -> Result<(), CatalogError> {
        self.record(&Command::TopicDeleted { id })?;
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        topics.by_name.remove(name);
        topics.by_id.remove(&id);
        Ok(())
    }

    /// Topics that were deleted and of which something is left: a crash came between, or an error.
    /// None while that cannot be told for sure.
    pub(crate) fn half_deleted(&self) -> Vec<(Uuid, String)> {
        if self.refresh().is_err() {
            return Vec::new();
        }
        self.with_image(|image| image.deleting.iter().map(|(id, topic)| (*id, topic.name.clone())).collect())
    }

    /// Removes the logs of a deleted topic that are still there. One that fails keeps no other from being removed.
    pub(crate) fn remove_logs(&self, id: Uuid) -> Result<(), CatalogError> {
        let Some(topic) = self.with_image(|image| image.deleting.get(&id).cloned()) else { return Ok(()) };
        let id = LogId(*id.as_bytes());
        // A topic created again under the name has another id, and its log stays.
        let is_its = |name: &String| self.store.log(name).is_some_and(|log| log.id() == id);
        let names = (0..).map(|index| log_name(&topic.name, index)).take(topic.leader_epochs.len());
        Ok(self.store.delete_logs(&names.filter(is_its).collect::<Vec<_>>())?)
    }

    /// Removes the last trace of a deleted topic of which nothing else is left.
    pub(crate) fn record_purged(&self, id: Uuid) -> Result<(), CatalogError> {
        self.record(&Command::TopicPurged { id })
    }
}

fn in_force(started: &Config, image: &Image) -> Arc<Config> {
    let (config, misfits) = broker_config::in_force(started, &image.broker_configs);
    for misfit in misfits {
        tracing::warn!("what was set for the broker while it ran does not hold: {misfit}");
    }
    Arc::new(config)
}
