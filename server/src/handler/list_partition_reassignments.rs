//! ListPartitionReassignments (46), version 0.
//!
//! No partition ever moves from this broker to another, so that none is on its way: the list is empty, whatever is
//! asked for.

use crate::api::Context;
use crate::wire::NONE;
use crate::wire::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

pub(crate) async fn handle(
    _context: Context,
    _request: ListPartitionReassignmentsRequest,
) -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_code(NONE)
}
