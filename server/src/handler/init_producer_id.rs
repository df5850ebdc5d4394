//! InitProducerId (22), versions 0 to 4.
//!
//! A new id for an idempotent producer; one that brings its id and epoch (KIP-360) gets a new id too,
//! which is as good, since nothing of the old one is waited for. Omitted: transactions, refused with
//! UNSUPPORTED_VERSION.

use super::errors;
use crate::api::Context;
use crate::wire::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};
use crate::wire::{ErrorCode, NONE};

pub(crate) async fn handle(context: Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refused = |code: ErrorCode| {
        InitProducerIdResponse::default()
            .with_error_code(code.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    if request.transactional_id.is_some() {
        return refused(ErrorCode::UnsupportedVersion);
    }
    match context.broker.producer_ids.next(&context.broker.controller).await {
        Ok(id) => InitProducerIdResponse::default()
            .with_error_code(NONE)
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(0),
        Err(err) => {
            tracing::warn!("no producer id can be given: {err}");
            refused(errors::change(&err))
        }
    }
}
