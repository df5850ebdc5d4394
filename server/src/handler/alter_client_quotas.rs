//! AlterClientQuotas (49), versions 0 and 1. (KIP-546.)
//!
//! Sets and removes quotas of client ids, or of all that have none (`producer_byte_rate`, `consumer_byte_rate`,
//! `request_percentage`). They are durable and in force when it is answered. Omitted: users and addresses.

use super::describe_client_quotas::CLIENT_ID;
use super::errors;
use crate::api::Context;
use crate::wire::messages::alter_client_quotas_request::EntryData as AskedEntry;
use crate::wire::messages::alter_client_quotas_response::{EntityData, EntryData};
use crate::wire::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};
use crate::wire::{ErrorCode, NONE, text};
use std::collections::{BTreeMap, HashSet};

pub(crate) async fn handle(context: Context, request: AlterClientQuotasRequest) -> AlterClientQuotasResponse {
    let mut entries = Vec::with_capacity(request.entries.len());
    let mut seen = HashSet::new();
    for asked in request.entries {
        let entity = |one: &crate::wire::messages::alter_client_quotas_request::EntityData| {
            EntityData::default()
                .with_entity_type(one.entity_type.clone())
                .with_entity_name(one.entity_name.clone())
        };
        let entry = EntryData::default().with_entity(asked.entity.iter().map(entity).collect());
        // In whatever order its components are named.
        let mut whole: Vec<_> =
            asked.entity.iter().map(|one| (one.entity_type.clone(), one.entity_name.clone())).collect();
        whole.sort_unstable();
        let altered = match seen.insert(whole) {
            true => alter(&context, &asked, request.validate_only).await,
            false => Err((ErrorCode::InvalidRequest, "the entity is named twice".into())),
        };
        entries.push(match altered {
            Ok(()) => entry.with_error_code(NONE).with_error_message(None),
            Err((code, reason)) => entry.with_error_code(code.code()).with_error_message(Some(text(reason))),
        });
    }
    AlterClientQuotasResponse::default().with_entries(entries)
}

async fn alter(
    context: &Context,
    asked: &AskedEntry,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    let client_id = match &asked.entity[..] {
        [one] if one.entity_type.as_str() == CLIENT_ID => one.entity_name.as_ref().map(ToString::to_string),
        _ => {
            let reason = "quotas can be set for client ids alone: there are no users yet";
            return Err((ErrorCode::InvalidRequest, reason.into()));
        }
    };
    let mut changes = BTreeMap::new();
    for op in &asked.ops {
        let value = (!op.remove).then_some(op.value);
        if changes.insert(op.key.to_string(), value).is_some() {
            return Err((ErrorCode::InvalidRequest, format!("{} is named twice", op.key)));
        }
    }
    let altered = context.broker.controller.alter_quotas(client_id, changes, validate_only).await;
    altered.map_err(|err| (errors::change(&err), err.to_string()))
}
