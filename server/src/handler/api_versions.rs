//! ApiVersions (18), versions 0 to 4.
//!
//! Answers from the table of APIs. A version that is not served gets the error and the table in the
//! encoding of version 0, so that the client can come again with one that is. From 3 on the client tells its
//! name and version, which must look like such (KIP-511). Omitted: features, of which there are none.

use crate::api::{APIS, Answer, Context, Outcome};
use crate::wire::messages::api_versions_response::ApiVersion;
use crate::wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{ErrorCode, RequestHeader, Response};

/// From here on a client tells what it is.
const CLIENT_SOFTWARE_FROM: i16 = 3;

pub(crate) async fn handle(context: Context, request: ApiVersionsRequest) -> ApiVersionsResponse {
    let told = [&request.client_software_name, &request.client_software_version];
    if context.header.version >= CLIENT_SOFTWARE_FROM && !told.iter().all(|text| is_software(text)) {
        return ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code());
    }
    table()
}

/// Letters, digits, '-' and '.', the last two not at either end.
fn is_software(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let outer = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.chars().all(inner) && outer(text.chars().next()) && outer(text.chars().last())
}

fn table() -> ApiVersionsResponse {
    let version = |api: &crate::api::Api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(api.min_version)
            .with_max_version(api.max_version)
    };
    ApiVersionsResponse::default().with_api_keys(APIS.iter().map(version).collect())
}

/// The answer to a version that is not served.
pub(crate) fn too_new(header: &RequestHeader) -> Outcome {
    let response = table().with_error_code(ErrorCode::UnsupportedVersion.code());
    let header = RequestHeader { version: 0, ..header.clone() };
    match Response::message(&header, &response) {
        Ok(response) => Outcome::Answer(Answer::Now(response)),
        Err(err) => Outcome::Close(format!("the table of versions cannot be encoded: {err}")),
    }
}
