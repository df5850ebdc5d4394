//! The thread that changes metadata. Making and removing logs blocks, so no shard does it.

use super::deletion::Deletions;
use super::{
    Catalog, CatalogError, Command, ConfigChange, Configurable, Topic, TopicConfig, WhichTopic,
    broker_config, names_collide, topic_config, topic_name_error,
};
use crate::quotas::quota_error;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Client ids that may have quotas of their own.
const CLIENT_QUOTAS_MAX: usize = 10_000;

/// A topic that is asked for.
#[derive(Clone, Debug)]
pub(crate) struct NewTopic {
    pub(crate) name: String,
    pub(crate) partitions: i32,
    pub(crate) config: BTreeMap<String, String>,
    pub(crate) validate_only: bool,
}

/// Why a change was refused.
#[derive(Debug, Error)]
pub(crate) enum ChangeError {
    #[error("topic {0} exists")]
    Exists(String),
    #[error("there is no such topic")]
    Unknown,
    #[error("{0}")]
    Name(&'static str),
    #[error("{0}")]
    Config(String),
    #[error("{0} is read at the start alone: set it in the broker's file or with --set, and start it again")]
    AtStart(&'static str),
    #[error("topic {name} collides with {other}: '.' and '_' cannot be told apart in metrics")]
    Collides { name: String, other: String },
    #[error("{0}")]
    Quota(String),
    #[error("topic {name} has {has} partitions, {asked} were asked for; there can only be more")]
    NotMore { name: String, has: usize, asked: i32 },
    #[error("a topic has 1 to {max} partitions, {asked} were asked for")]
    Partitions { asked: i32, max: usize },
    #[error("{0} is the broker's own topic")]
    Internal(String),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(
        "topic {name} is deleted, but something of it is left: {reason}; that is tried again before topics are created or deleted"
    )]
    Deleting { name: String, reason: String },
    #[error("the broker is stopping")]
    Stopping,
}

impl From<String> for ChangeError {
    /// Why a configuration does not do.
    fn from(reason: String) -> Self {
        Self::Config(reason)
    }
}

/// Producer ids that were asked for: the first of them.
pub(crate) type Reservation = oneshot::Receiver<Result<i64, ChangeError>>;

type Reply<T> = oneshot::Sender<Result<T, ChangeError>>;

enum Change {
    Create(NewTopic, Reply<Option<Arc<Topic>>>),
    Delete(WhichTopic, Reply<(Uuid, String)>),
    Configure {
        what: Configurable,
        change: ConfigChange,
        validate_only: bool,
        reply: Reply<()>,
    },
    AddPartitions {
        topic: String,
        total: i32,
        validate_only: bool,
        reply: Reply<()>,
    },
    AlterQuotas {
        client_id: Option<String>,
        changes: BTreeMap<String, Option<f64>>,
        validate_only: bool,
        reply: Reply<()>,
    },
    ReserveProducerIds(i64, Reply<i64>),
}

impl Change {
    /// Tells that it is not made.
    fn refuse(self, err: CatalogError) {
        match self {
            Self::Create(_, reply) => drop(reply.send(Err(err.into()))),
            Self::Delete(_, reply) => drop(reply.send(Err(err.into()))),
            Self::Configure { reply, .. }
            | Self::AddPartitions { reply, .. }
            | Self::AlterQuotas { reply, .. } => drop(reply.send(Err(err.into()))),
            Self::ReserveProducerIds(_, reply) => drop(reply.send(Err(err.into()))),
        }
    }
}

/// Asks the thread for changes; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Controller {
    queue: mpsc::Sender<Change>,
}

impl Controller {
    /// Starts the thread. It ends when the last clone is dropped.
    ///
    /// `forget` is called for each topic that was deleted, after it is gone for clients and before its
    /// name can be used again; it is called again after a crash or an error.
    pub(crate) fn start(
        catalog: Arc<Catalog>,
        forget: impl Fn(&str) -> Result<(), String> + Send + 'static,
        queue_max: usize,
        partitions_max: usize,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, mut changes) = mpsc::channel(queue_max);
        let thread = Builder::new().name("ringmain-control".into()).spawn(move || {
            let deletions = Deletions::new(Arc::clone(&catalog), Box::new(forget));
            deletions.resume();
            while let Some(change) = changes.blocking_recv() {
                perform(&catalog, &deletions, partitions_max, change);
            }
        })?;
        Ok((Self { queue }, thread))
    }

    async fn ask<T>(&self, change: impl FnOnce(Reply<T>) -> Change) -> Result<T, ChangeError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(change(reply)).await.map_err(|_| ChangeError::Stopping)?;
        answer.await.map_err(|_| ChangeError::Stopping)?
    }

    /// Creates a topic; `None` if it was only to be validated.
    pub(crate) async fn create(&self, topic: NewTopic) -> Result<Option<Arc<Topic>>, ChangeError> {
        self.ask(|reply| Change::Create(topic, reply)).await
    }

    /// Deletes a topic with its logs and with what was committed for it, or finishes that; its id and name.
    pub(crate) async fn delete(&self, which: impl Into<WhichTopic>) -> Result<(Uuid, String), ChangeError> {
        self.ask(|reply| Change::Delete(which.into(), reply)).await
    }

    /// Changes a configuration, or only says whether that could be.
    pub(crate) async fn configure(
        &self,
        what: Configurable,
        change: ConfigChange,
        validate_only: bool,
    ) -> Result<(), ChangeError> {
        self.ask(|reply| Change::Configure { what, change, validate_only, reply }).await
    }

    /// Has a topic have `total` partitions, or only says whether it could.
    pub(crate) async fn add_partitions(
        &self,
        topic: String,
        total: i32,
        validate_only: bool,
    ) -> Result<(), ChangeError> {
        self.ask(|reply| Change::AddPartitions { topic, total, validate_only, reply }).await
    }

    /// Sets quotas of a client id, or of all that have none of their own, and removes those without a value.
    pub(crate) async fn alter_quotas(
        &self,
        client_id: Option<String>,
        changes: BTreeMap<String, Option<f64>>,
        validate_only: bool,
    ) -> Result<(), ChangeError> {
        self.ask(|reply| Change::AlterQuotas { client_id, changes, validate_only, reply }).await
    }

    /// The first of `count` producer ids that no one was given before, nor will be after a crash.
    pub(crate) async fn reserve_producer_ids(&self, count: i64) -> Result<i64, ChangeError> {
        self.ask(|reply| Change::ReserveProducerIds(count, reply)).await
    }

    /// Asks for producer ids that can be waited for later; `None` if too much is asked for already.
    pub(crate) fn begin_reserving_producer_ids(&self, count: i64) -> Option<Reservation> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Change::ReserveProducerIds(count, reply)).ok().map(|()| answer)
    }
}

/// Whoever asked may be gone; the change was made all the same.
fn perform(catalog: &Catalog, deletions: &Deletions, partitions_max: usize, change: Change) {
    if let Err(err) = catalog.refresh() {
        return change.refuse(err);
    }
    match change {
        Change::Create(topic, reply) => {
            let _ = reply.send(create(catalog, deletions, partitions_max, topic));
        }
        Change::Delete(which, reply) => {
            let _ = reply.send(deletions.delete(&which));
        }
        Change::Configure { what, change, validate_only, reply } => {
            let _ = reply.send(match what {
                Configurable::Topic(topic) => configure_topic(catalog, &topic, change, validate_only),
                Configurable::Broker(node_id) => configure_broker(catalog, node_id, change, validate_only),
            });
        }
        Change::AddPartitions { topic, total, validate_only, reply } => {
            let _ = reply.send(add_partitions(catalog, partitions_max, &topic, total, validate_only));
        }
        Change::AlterQuotas { client_id, changes, validate_only, reply } => {
            let _ = reply.send(alter_quotas(catalog, client_id, changes, validate_only));
        }
        Change::ReserveProducerIds(count, reply) => {
            let first = catalog.with_image(|image| image.next_producer_id);
            let reserved = catalog.record(&Command::ProducerIdsReserved { end: first + count });
            let _ = reply.send(reserved.map(|()| first).map_err(Into::into));
        }
    }
}

/// Whether a topic can be asked for by this name: it is legal, and no topic has it, not even one that could not be opened.
pub(crate) fn check_new_name(catalog: &Catalog, name: &str) -> Result<(), ChangeError> {
    if let Some(reason) = topic_name_error(name) {
        return Err(ChangeError::Name(reason));
    }
    match catalog.with_image(|image| image.topics.contains_key(name)) {
        true => Err(ChangeError::Exists(name.to_owned())),
        false => Ok(()),
    }
}

fn create(
    catalog: &Catalog,
    deletions: &Deletions,
    partitions_max: usize,
    topic: NewTopic,
) -> Result<Option<Arc<Topic>>, ChangeError> {
    check_new_name(catalog, &topic.name)?;
    deletions.free(&topic.name)?;
    if topic.name.contains(['.', '_']) {
        let collides = |other: &&String| names_collide(other, &topic.name);
        let other = catalog.with_image(|image| image.topics.keys().find(collides).cloned());
        if let Some(other) = other {
            return Err(ChangeError::Collides { name: topic.name, other });
        }
    }
    let free = partitions_max.saturating_sub(catalog.partition_count());
    if usize::try_from(topic.partitions).is_ok_and(|asked| asked == 0 || asked > free) || topic.partitions < 0
    {
        return Err(ChangeError::Partitions { asked: topic.partitions, max: free });
    }
    TopicConfig::parse(&topic.config, catalog.defaults())?;
    if topic.validate_only {
        return Ok(None);
    }
    let created = catalog.create(&topic.name, topic.partitions, topic.config)?;
    tracing::info!(topic = created.name, partitions = topic.partitions, "topic created");
    Ok(Some(created))
}

fn configure_topic(
    catalog: &Catalog,
    topic: &str,
    change: ConfigChange,
    validate_only: bool,
) -> Result<(), ChangeError> {
    let known = catalog.with_image(|image| image.topics.get(topic).map(|one| (one.id, one.config.clone())));
    let (id, set) = known.ok_or(ChangeError::Unknown)?;
    let changed = topic_config::changed(&set, catalog.defaults(), change)?;
    if !validate_only {
        catalog.configure(id, changed)?;
        tracing::info!(topic, "topic configured");
    }
    Ok(())
}

fn configure_broker(
    catalog: &Catalog,
    node_id: Option<i32>,
    change: ConfigChange,
    validate_only: bool,
) -> Result<(), ChangeError> {
    let set = catalog.with_image(|image| image.broker_configs.get(&node_id).cloned()).unwrap_or_default();
    let changed = broker_config::changed(&set, change)?;
    if !validate_only {
        tracing::info!(node_id, ?changed, "broker configured");
        catalog.configure_broker(node_id, changed)?;
    }
    Ok(())
}

fn add_partitions(
    catalog: &Catalog,
    partitions_max: usize,
    topic: &str,
    total: i32,
    validate_only: bool,
) -> Result<(), ChangeError> {
    let topic = catalog.topic(topic).ok_or(ChangeError::Unknown)?;
    if topic.internal {
        // Which partition keeps a group's offsets follows from their number.
        return Err(ChangeError::Internal(topic.name.clone()));
    }
    let has = topic.partitions.len();
    let more = usize::try_from(total).ok().and_then(|total| total.checked_sub(has)).filter(|more| *more > 0);
    let Some(more) = more else {
        return Err(ChangeError::NotMore { name: topic.name.clone(), has, asked: total });
    };
    let free = partitions_max.saturating_sub(catalog.partition_count());
    if more > free {
        return Err(ChangeError::Partitions { asked: total, max: has + free });
    }
    if !validate_only {
        catalog.add_partitions(&topic, total)?;
        tracing::info!(topic = topic.name, partitions = total, "partitions added");
    }
    Ok(())
}

fn alter_quotas(
    catalog: &Catalog,
    client_id: Option<String>,
    changes: BTreeMap<String, Option<f64>>,
    validate_only: bool,
) -> Result<(), ChangeError> {
    let mut quotas =
        catalog.with_image(|image| image.client_quotas.get(&client_id).cloned()).unwrap_or_default();
    for (name, value) in changes {
        // One of an unknown name is not there to be removed.
        if let Some(reason) = quota_error(&name, value.unwrap_or(1.0)) {
            return Err(ChangeError::Quota(reason));
        }
        match value {
            Some(value) => quotas.insert(name, value),
            None => quotas.remove(&name),
        };
    }
    let more = catalog.with_image(|image| image.client_quotas.len()) >= CLIENT_QUOTAS_MAX;
    if more && catalog.with_image(|image| !image.client_quotas.contains_key(&client_id)) {
        return Err(ChangeError::Quota(format!(
            "there are quotas for {CLIENT_QUOTAS_MAX} client ids already"
        )));
    }
    if !validate_only {
        tracing::info!(client_id, ?quotas, "client quotas set");
        catalog.set_quotas(client_id, quotas)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
