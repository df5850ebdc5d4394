//! The protocol's codes for the errors of the parts that handlers use.

use crate::group::{CommitError, GroupError};
use crate::metadata::ChangeError;
use crate::wire::ErrorCode;
use ringmain_engine::{AppendError, BatchError, ReadError, WaitError};

pub(super) fn append(err: &AppendError) -> ErrorCode {
    match err {
        AppendError::Batch(BatchError::Magic(_)) => ErrorCode::UnsupportedForMessageFormat,
        AppendError::Batch(BatchError::Count { .. } | BatchError::Producer { .. }) | AppendError::Empty => {
            ErrorCode::InvalidRecord
        }
        AppendError::Batch(_) => ErrorCode::CorruptMessage,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::ProducerFenced { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::Deleted => ErrorCode::UnknownTopicOrPartition,
        // A client tries again elsewhere, or here after the restart.
        AppendError::Closed => ErrorCode::NotLeaderOrFollower,
        _ => ErrorCode::KafkaStorageError,
    }
}

pub(super) fn wait(err: &WaitError) -> ErrorCode {
    match err {
        WaitError::Deleted => ErrorCode::UnknownTopicOrPartition,
        _ => ErrorCode::KafkaStorageError,
    }
}

pub(super) fn read(err: &ReadError) -> ErrorCode {
    match err {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        _ => ErrorCode::KafkaStorageError,
    }
}

pub(super) fn change(err: &ChangeError) -> ErrorCode {
    match err {
        ChangeError::Exists(_) => ErrorCode::TopicAlreadyExists,
        ChangeError::Unknown => ErrorCode::UnknownTopicOrPartition,
        ChangeError::Name(_) => ErrorCode::InvalidTopicException,
        ChangeError::Internal(_) => ErrorCode::InvalidTopicException,
        ChangeError::Config(_) => ErrorCode::InvalidConfig,
        // As Kafka says it.
        ChangeError::AtStart(_) => ErrorCode::InvalidRequest,
        ChangeError::Collides { .. } => ErrorCode::InvalidTopicException,
        ChangeError::Quota(_) => ErrorCode::InvalidRequest,
        ChangeError::NotMore { .. } => ErrorCode::InvalidPartitions,
        ChangeError::Partitions { .. } => ErrorCode::InvalidPartitions,
        // A client tries again, and with it the broker.
        ChangeError::Catalog(_) | ChangeError::Deleting { .. } => ErrorCode::KafkaStorageError,
        ChangeError::Stopping => ErrorCode::NotController,
    }
}

pub(super) fn group(err: GroupError) -> ErrorCode {
    match err {
        GroupError::UnknownMember => ErrorCode::UnknownMemberId,
        GroupError::FencedInstance => ErrorCode::FencedInstanceId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::MemberIdRequired => ErrorCode::MemberIdRequired,
        GroupError::GroupFull => ErrorCode::GroupMaxSizeReached,
        GroupError::SessionTimeout => ErrorCode::InvalidSessionTimeout,
        GroupError::InvalidGroup => ErrorCode::InvalidGroupId,
        GroupError::InvalidInstance => ErrorCode::InvalidRequest,
        GroupError::NotEmpty => ErrorCode::NonEmptyGroup,
        GroupError::NoGroup => ErrorCode::GroupIdNotFound,
        // A client tries again.
        GroupError::TooManyGroups | GroupError::NotStored | GroupError::NoMemory => {
            ErrorCode::CoordinatorNotAvailable
        }
    }
}

/// Why a client does something, in its words, which are bounded since they are logged.
pub(super) fn reason(said: Option<&str>) -> String {
    const CHARS_MAX: usize = 255;
    let said = said.filter(|said| !said.is_empty()).unwrap_or("not provided");
    said.chars().take(CHARS_MAX).collect()
}

pub(super) fn commit(err: &CommitError) -> ErrorCode {
    match err {
        CommitError::Group(err) => group(*err),
        CommitError::Topic(_) => ErrorCode::CoordinatorNotAvailable,
        CommitError::Write(_) => ErrorCode::CoordinatorNotAvailable,
    }
}
