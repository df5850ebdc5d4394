//! The image and the log of the commands that make it, kept the same also where an append or a read fails.

use super::{CatalogError, Command, Image};
use crate::replay::replay;
use ringmain_engine::{BatchBuilder, Durability, Log};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where commands are kept.
pub(super) trait CommandLog: std::fmt::Debug + Send + Sync {
    /// Has one more command, durably. After an error it may have it or not.
    fn append_command(&self, command: &Command) -> Result<(), CatalogError>;

    /// What all its commands make.
    fn read_image(&self) -> Result<Image, CatalogError>;
}

impl CommandLog for Arc<Log> {
    fn append_command(&self, command: &Command) -> Result<(), CatalogError> {
        let json = serde_json::to_vec(command)?;
        let mut builder = BatchBuilder::new();
        builder.push(crate::clock::now_ms(), None, Some(&json));
        let mut batch = builder.finish().unwrap_or_default();
        Ok(self.append(&mut batch, Durability::Durable)?.completion.wait()?)
    }

    fn read_image(&self) -> Result<Image, CatalogError> {
        let mut image = Image::default();
        replay(self, |record| {
            let command: Command =
                serde_json::from_slice(record.value.unwrap_or_default()).map_err(|err| err.to_string())?;
            image.apply(&command).map_err(|err| err.to_string())
        })?;
        Ok(image)
    }
}

/// The image with its log. Readers look at the image; one writer at a time changes both, in the same order.
#[derive(Debug)]
pub(super) struct Commands {
    log: Box<dyn CommandLog>,
    image: Mutex<Image>,
    /// Held while the image and its log are changed.
    changing: Mutex<Changing>,
}

/// In what the image differs from what its log tells.
#[derive(Debug, Default)]
struct Changing {
    /// The image has a command that the log may lack: it is read again before anything else.
    stale: bool,
    /// What the image has, or will when it was read again, and the log gets before any other command. At most one:
    /// what can come to be owed begins with a command that is recorded.
    owed: Vec<Command>,
}

impl Commands {
    pub(super) fn open(log: Box<dyn CommandLog>) -> Result<Self, CatalogError> {
        let image = Mutex::new(log.read_image()?);
        Ok(Self { log, image, changing: Mutex::default() })
    }

    pub(super) fn image(&self) -> MutexGuard<'_, Image> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a command durable and applies it. Blocks. Readers, who are on shards, do not wait for the disk: they may
    /// see it a moment before it is durable, and acknowledge nothing by it.
    pub(super) fn record(&self, command: &Command) -> Result<(), CatalogError> {
        let mut changing = self.changing();
        self.settle(&mut changing)?;
        self.image().apply(command)?;
        let appended = self.log.append_command(command);
        if appended.is_err() {
            // What the log tells is what counts.
            changing.stale = true;
            if let Err(err) = self.refresh_image(&mut changing) {
                tracing::warn!("the metadata are read again before they are changed: {err}");
            }
        }
        appended
    }

    /// Applies a command at once and for good: what the log cannot take now, it gets before any other command.
    pub(super) fn record_or_owe(&self, command: Command) -> Result<(), CatalogError> {
        let mut changing = self.changing();
        self.image().apply(&command)?;
        changing.owed.push(command);
        if let Err(err) = self.settle(&mut changing) {
            tracing::warn!(
                "a change of the metadata is not durable and is tried again before the next: {err}"
            );
        }
        Ok(())
    }

    /// Has the log have what it is owed, if it can be: nobody could tell it later.
    pub(super) fn pay(&self) {
        let mut changing = self.changing();
        if !changing.owed.is_empty()
            && let Err(err) = self.settle(&mut changing)
        {
            tracing::warn!("a change of the metadata is lost, since it cannot be made durable: {err}");
        }
    }

    /// Has the image be what the log tells, where it may not be since an append failed.
    pub(super) fn refresh(&self) -> Result<(), CatalogError> {
        self.refresh_image(&mut self.changing())
    }

    fn refresh_image(&self, changing: &mut Changing) -> Result<(), CatalogError> {
        if changing.stale {
            let mut image = self.log.read_image()?;
            // What does not fit any more is in the log, though that it was durable could not be told.
            changing.owed.retain(|command| image.apply(command).is_ok());
            *self.image() = image;
            changing.stale = false;
        }
        Ok(())
    }

    /// Has the log have what it is owed.
    fn settle(&self, changing: &mut Changing) -> Result<(), CatalogError> {
        self.refresh_image(changing)?;
        while let Some(command) = changing.owed.first() {
            if let Err(err) = self.log.append_command(command) {
                changing.stale = true;
                return Err(err);
            }
            changing.owed.remove(0);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
