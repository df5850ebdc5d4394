//! DescribeCluster (60), versions 0 to 2.
//!
//! The cluster's id and its one broker, which is the controller, too. What one may do with it, which is all, if
//! that is asked for. Omitted: the addresses of controllers, of which there are none of their own.

use crate::api::Context;
use crate::wire::messages::describe_cluster_response::DescribeClusterBroker;
use crate::wire::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};
use crate::wire::{ErrorCode, NONE, text};

use super::authorized_operations::{CLUSTER, told};

/// What is asked for: the addresses of brokers.
const BROKERS: i8 = 1;

pub(crate) async fn handle(context: Context, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let broker = &context.broker;
    let response = DescribeClusterResponse::default().with_endpoint_type(BROKERS);
    if context.header.version >= 1 && request.endpoint_type != BROKERS {
        return response
            .with_error_code(ErrorCode::MismatchedEndpointType.code())
            .with_error_message(Some(text("this is the address of a broker, not of a controller")));
    }
    let node = BrokerId(broker.config.node_id);
    let host = DescribeClusterBroker::default()
        .with_broker_id(node)
        .with_host(text(broker.endpoint.host.clone()))
        .with_port(broker.endpoint.port.into());
    response
        .with_error_code(NONE)
        .with_cluster_authorized_operations(told(request.include_cluster_authorized_operations, CLUSTER))
        .with_cluster_id(text(broker.catalog.cluster_id()))
        .with_controller_id(node)
        .with_brokers(vec![host])
}
