//! DescribeClientQuotas (48), versions 0 and 1. (KIP-546.)
//!
//! The quotas of client ids that the filter matches. Omitted: users and addresses, for which none can be set.

use crate::api::Context;
use crate::quotas::Settings;
use crate::wire::messages::describe_client_quotas_request::ComponentData;
use crate::wire::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use crate::wire::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use crate::wire::{ErrorCode, NONE, StrBytes, text};
use std::collections::HashSet;

/// The one kind of entity that quotas can be set for.
pub(super) const CLIENT_ID: &str = "client-id";
/// Kinds that Kafka knows.
const KNOWN: [&str; 3] = [CLIENT_ID, "user", "ip"];

pub(crate) async fn handle(
    context: Context,
    request: DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let response = DescribeClientQuotasResponse::default();
    let settings = context.broker.catalog.with_image(|image| image.client_quotas.clone());
    match matching(&request.components, request.strict, settings) {
        Ok(found) => {
            let entries = found.into_iter().map(|(id, quotas)| {
                let entity = EntityData::default()
                    .with_entity_type(StrBytes::from_static_str(CLIENT_ID))
                    .with_entity_name(id.map(text));
                let value = |(key, value)| ValueData::default().with_key(text(key)).with_value(value);
                let values = quotas.into_iter().map(|(key, quota): (String, f64)| value((key, quota)));
                EntryData::default().with_entity(vec![entity]).with_values(values.collect())
            });
            response.with_error_code(NONE).with_error_message(None).with_entries(Some(entries.collect()))
        }
        Err((code, reason)) => {
            response.with_error_code(code.code()).with_error_message(Some(text(reason))).with_entries(None)
        }
    }
}

fn matching(
    components: &[ComponentData],
    strict: bool,
    mut settings: Settings,
) -> Result<Settings, (ErrorCode, String)> {
    let mut seen = HashSet::new();
    for one in components {
        let kind = one.entity_type.as_str();
        if !KNOWN.contains(&kind) {
            return Err((ErrorCode::UnsupportedVersion, format!("there are no entities of type {kind:?}")));
        }
        if !seen.insert(kind) {
            return Err((ErrorCode::InvalidRequest, format!("{kind} is named twice")));
        }
        let name = one._match.as_deref();
        match (one.match_type, name) {
            (0, Some(name)) if kind == CLIENT_ID => settings.retain(|id, _| id.as_deref() == Some(name)),
            (1, _) if kind == CLIENT_ID => settings.retain(|id, _| id.is_none()),
            (2, _) if kind == CLIENT_ID => {}
            (0, Some(_)) | (1 | 2, _) => settings.clear(),
            _ => {
                return Err((ErrorCode::InvalidRequest, "a match is exact, of the default or of any".into()));
            }
        }
    }
    if strict && !seen.contains(CLIENT_ID) {
        settings.clear();
    }
    Ok(settings)
}
