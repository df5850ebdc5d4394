//! What a client may do, as Kafka's bits: all that there is for the kind of resource, since nobody is kept from
//! anything. (The bit of an operation is its code in Kafka's `AclOperation`.)

/// READ, DELETE and DESCRIBE.
pub(crate) const GROUP: i32 = 1 << 3 | 1 << 6 | 1 << 8;
/// READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS.
pub(crate) const TOPIC: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;
/// CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS and IDEMPOTENT_WRITE.
pub(crate) const CLUSTER: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;
/// Not told.
const OMITTED: i32 = i32::MIN;

/// What is told: all operations, if they are asked for.
pub(crate) fn told(asked: bool, all: i32) -> i32 {
    if asked { all } else { OMITTED }
}
