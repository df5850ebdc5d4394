//! Where the answers of the control plane carry error codes, for counting them, and how long the client is to wait.

use super::NONE;
use proto_kafka::messages::*;

/// An answer that may tell of errors.
pub(crate) trait ErrorCodes {
    /// Gives each code in it, [`NONE`] included.
    fn each_code(&self, found: &mut dyn FnMut(i16));

    /// Tells the client to wait. Versions without the field say nothing of it.
    fn set_throttle_ms(&mut self, throttle_ms: u32);

    /// The codes of errors.
    fn error_codes(&self) -> Vec<i16> {
        let mut codes = Vec::new();
        self.each_code(&mut |code| {
            if code != NONE {
                codes.push(code);
            }
        });
        codes
    }
}

macro_rules! walk {
    ($of:expr, $found:ident, $code:ident) => { $found($of.$code) };
    ($of:expr, $found:ident, $list:ident $($rest:ident)+) => {
        for one in &$of.$list {
            walk!(one, $found, $($rest)+);
        }
    };
}

macro_rules! codes {
    ($($answer:ident: $([$($path:ident)+])+;)*) => {
        $(impl ErrorCodes for $answer {
            fn each_code(&self, found: &mut dyn FnMut(i16)) {
                $(walk!(self, found, $($path)+);)+
            }

            fn set_throttle_ms(&mut self, throttle_ms: u32) {
                self.throttle_time_ms = i32::try_from(throttle_ms).unwrap_or(i32::MAX);
            }
        })*
    };
}

codes! {
    ListOffsetsResponse: [topics partitions error_code];
    MetadataResponse: [topics error_code] [topics partitions error_code];
    OffsetCommitResponse: [topics partitions error_code];
    OffsetFetchResponse: [error_code] [topics partitions error_code] [groups error_code]
        [groups topics partitions error_code];
    FindCoordinatorResponse: [error_code] [coordinators error_code];
    JoinGroupResponse: [error_code];
    HeartbeatResponse: [error_code];
    LeaveGroupResponse: [error_code] [members error_code];
    SyncGroupResponse: [error_code];
    DescribeGroupsResponse: [groups error_code];
    ListGroupsResponse: [error_code];
    DeleteGroupsResponse: [results error_code];
    OffsetDeleteResponse: [error_code] [topics partitions error_code];
    ApiVersionsResponse: [error_code];
    CreateTopicsResponse: [topics error_code];
    DeleteTopicsResponse: [responses error_code];
    DeleteRecordsResponse: [topics partitions error_code];
    InitProducerIdResponse: [error_code];
    OffsetForLeaderEpochResponse: [topics partitions error_code];
    DescribeConfigsResponse: [results error_code];
    AlterConfigsResponse: [responses error_code];
    DescribeLogDirsResponse: [error_code] [results error_code];
    CreatePartitionsResponse: [results error_code];
    ElectLeadersResponse: [error_code] [replica_election_results partition_result error_code];
    IncrementalAlterConfigsResponse: [responses error_code];
    ListPartitionReassignmentsResponse: [error_code];
    DescribeClientQuotasResponse: [error_code];
    AlterClientQuotasResponse: [entries error_code];
    DescribeClusterResponse: [error_code];
    DescribeProducersResponse: [topics partitions error_code];
    ListConfigResourcesResponse: [error_code];
    DescribeTopicPartitionsResponse: [topics error_code];
}
