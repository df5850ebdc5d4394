//! Deletions of topics, on the controller's thread. What is left of a topic is removed in steps that can be done again,
//! and the metadata know of it until all of them are done: after a crash or an error they are.

use super::{Catalog, CatalogError, ChangeError, OFFSETS_TOPIC, TopicImage, WhichTopic};
use crate::line_budget::LineBudget;
use std::sync::Arc;
use uuid::Uuid;

/// Forgets what was committed for a topic.
type Forget = Box<dyn Fn(&str) -> Result<(), String> + Send>;

/// Deletes topics, and finishes deletions that were not.
pub(super) struct Deletions {
    catalog: Arc<Catalog>,
    forget: Forget,
    /// Clients can have what fails tried again and again.
    lines: LineBudget,
}

/// A topic of which something is left.
pub(super) struct Unfinished {
    id: Uuid,
    name: String,
    reason: String,
}

impl From<Unfinished> for ChangeError {
    fn from(left: Unfinished) -> Self {
        Self::Deleting { name: left.name, reason: left.reason }
    }
}

impl Deletions {
    pub(super) fn new(catalog: Arc<Catalog>, forget: Forget) -> Self {
        Self { catalog, forget, lines: LineBudget::default() }
    }

    /// Tries again what was not finished; the deletions that still are not, which were logged.
    pub(super) fn resume(&self) -> Vec<Unfinished> {
        let tried = self.catalog.half_deleted().into_iter().map(|(id, name)| self.finish(id, name));
        let unfinished: Vec<_> = tried.filter_map(Result::err).collect();
        for Unfinished { name, reason, .. } in &unfinished {
            if let Some(left_out) = self.lines.take(crate::clock::monotonic_ms()) {
                tracing::warn!(topic = name, left_out, "its deletion is not finished: {reason}");
            }
        }
        unfinished
    }

    /// Refuses a name that a topic has of which something is left, when all that can be was done about it.
    pub(super) fn free(&self, name: &str) -> Result<(), ChangeError> {
        let left = self.resume().into_iter().find(|left| left.name == name);
        left.map_or(Ok(()), |left| Err(left.into()))
    }

    /// Deletes a topic, or finishes its deletion; its id and name.
    pub(super) fn delete(&self, which: &WhichTopic) -> Result<(Uuid, String), ChangeError> {
        let told = |topic: &TopicImage| (topic.id, topic.name.clone());
        let topic = self.catalog.with_image(|image| image.find(which).map(told));
        let deleting = self.catalog.with_image(|image| image.find_deleting(which).map(told));
        if topic.is_none() && deleting.is_none() {
            return Err(ChangeError::Unknown);
        }
        let mut unfinished = self.resume().into_iter();
        match (topic, deleting) {
            (Some((_, name)), _) if name == OFFSETS_TOPIC => Err(ChangeError::Internal(name)),
            (Some((id, name)), _) => {
                self.catalog.delete(id, &name)?;
                self.finish(id, name.clone())?;
                tracing::info!(topic = name, "topic deleted");
                Ok((id, name))
            }
            (None, Some((id, name))) => match unfinished.find(|left| left.id == id) {
                None => Ok((id, name)),
                Some(left) => Err(left.into()),
            },
            (None, None) => Err(ChangeError::Unknown),
        }
    }

    /// The logs first: they take the space that the other steps may need.
    fn finish(&self, id: Uuid, name: String) -> Result<(), Unfinished> {
        let told = |err: CatalogError| err.to_string();
        let forget = || {
            // What is committed under the name is another topic's: older versions gave it away before all was done.
            if self.catalog.with_image(|image| image.topics.contains_key(&name)) {
                return Ok(());
            }
            (self.forget)(&name)
                .map_err(|err| format!("what was committed for it cannot be forgotten: {err}"))
        };
        let finished = self.catalog.remove_logs(id).map_err(told).and_then(|()| forget());
        finished.and_then(|()| self.catalog.record_purged(id).map_err(told)).map_err(|reason| Unfinished {
            id,
            name,
            reason,
        })
    }
}
