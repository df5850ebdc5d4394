//! Commands in a log that fails.

use super::*;
use ringmain_engine::AppendError;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use uuid::Uuid;

/// What a log has, and what it refuses at the moment.
#[derive(Debug, Default)]
struct Faulty {
    commands: Mutex<Vec<Command>>,
    full: AtomicBool,
    /// It takes what is appended, and tells an error.
    unsure: AtomicBool,
    unreadable: AtomicBool,
}

impl Faulty {
    fn set(&self, full: bool, unsure: bool, unreadable: bool) {
        self.full.store(full, Ordering::Relaxed);
        self.unsure.store(unsure, Ordering::Relaxed);
        self.unreadable.store(unreadable, Ordering::Relaxed);
    }

    fn commands(&self) -> Vec<Command> {
        self.commands.lock().unwrap().clone()
    }
}

impl CommandLog for Arc<Faulty> {
    fn append_command(&self, command: &Command) -> Result<(), CatalogError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(AppendError::DiskFull.into());
        }
        self.commands.lock().unwrap().push(command.clone());
        match self.unsure.load(Ordering::Relaxed) {
            true => Err(AppendError::DiskFull.into()),
            false => Ok(()),
        }
    }

    fn read_image(&self) -> Result<Image, CatalogError> {
        if self.unreadable.load(Ordering::Relaxed) {
            return Err(AppendError::DiskFull.into());
        }
        let mut image = Image::default();
        for command in self.commands() {
            image.apply(&command)?;
        }
        Ok(image)
    }
}

const ID: Uuid = Uuid::from_u128(1);

fn created() -> Command {
    let (name, config) = ("t".to_owned(), BTreeMap::new());
    Command::TopicCreated { name, id: ID, partitions: 1, config, leader_epoch: 0 }
}

/// Commands with one topic.
fn open() -> (Arc<Faulty>, Commands) {
    let log = Arc::new(Faulty::default());
    let commands = Commands::open(Box::new(Arc::clone(&log))).unwrap();
    commands.record(&created()).unwrap();
    (log, commands)
}

/// Whether topic and deleted topic are there; of two images that are the same.
fn state(commands: &Commands, log: &Arc<Faulty>) -> (bool, bool) {
    let image = commands.image().clone();
    assert_eq!(image, log.read_image().unwrap());
    (image.topics.contains_key("t"), image.deleting.contains_key(&ID))
}

#[test]
fn what_could_neither_be_appended_nor_taken_back_is_taken_back_before_the_next_change() {
    let (log, commands) = open();
    log.set(true, false, true);
    commands.record(&Command::TopicDeleted { id: ID }).unwrap_err();
    // Still it cannot be read, though there is room.
    log.set(false, false, true);
    commands.refresh().unwrap_err();
    commands.record(&Command::TopicPurged { id: ID }).unwrap_err();
    log.set(false, false, false);
    let refused = commands.record(&Command::TopicPurged { id: ID }).unwrap_err();
    assert!(matches!(refused, CatalogError::Command(_)), "the log has no deletion: {refused}");
    assert_eq!(state(&commands, &log), (true, false));
    commands.record(&Command::TopicDeleted { id: ID }).unwrap();
    assert_eq!(state(&commands, &log), (false, true));
}

#[test]
fn what_was_appended_with_an_error_counts() {
    let (log, commands) = open();
    log.set(false, true, false);
    commands.record(&Command::TopicDeleted { id: ID }).unwrap_err();
    assert_eq!(state(&commands, &log), (false, true));
}

#[test]
fn what_is_owed_is_in_force_at_once_and_in_the_log_before_any_other() {
    for unreadable in [false, true] {
        let (log, commands) = open();
        log.set(true, false, unreadable);
        commands.record_or_owe(Command::TopicDeleted { id: ID }).unwrap();
        for _ in 0..2 {
            assert!(commands.image().topics.is_empty() && commands.image().deleting.contains_key(&ID));
            commands.record(&Command::TopicPurged { id: ID }).unwrap_err();
        }
        log.set(false, false, false);
        commands.record(&Command::TopicPurged { id: ID }).unwrap();
        assert_eq!(state(&commands, &log), (false, false));
        let (deleted, purged) = (Command::TopicDeleted { id: ID }, Command::TopicPurged { id: ID });
        assert_eq!(log.commands(), [created(), deleted, purged]);
    }
}

#[test]
fn what_is_owed_is_appended_once_though_an_error_was_told() {
    let (log, commands) = open();
    log.set(false, true, true);
    commands.record_or_owe(Command::TopicDeleted { id: ID }).unwrap();
    log.set(false, false, false);
    commands.record(&created()).unwrap();
    assert_eq!(log.commands(), [created(), Command::TopicDeleted { id: ID }, created()]);
    assert_eq!(state(&commands, &log), (true, true));
}

#[test]
fn what_is_owed_is_appended_before_a_stop() {
    let (log, commands) = open();
    log.set(true, false, false);
    commands.record_or_owe(Command::TopicDeleted { id: ID }).unwrap();
    commands.pay();
    assert_eq!(log.commands(), [created()], "it could not be");
    log.set(false, false, false);
    commands.pay();
    commands.pay();
    assert_eq!(log.commands(), [created(), Command::TopicDeleted { id: ID }]);
}
