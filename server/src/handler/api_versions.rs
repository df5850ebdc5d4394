//! ApiVersions (18), versions 0 to 3.
//!
//! Answers from the table of APIs. A version that is not served gets the error and the table in the
//! encoding of version 0, so that the client can come again with one that is. Omitted: features, of
//! which there are none.

use crate::api::{APIS, Answer, Context, Outcome};
use crate::wire::messages::api_versions_response::ApiVersion;
use crate::wire::messages::{ApiVersionsRequest, ApiVersionsResponse};
use crate::wire::{ErrorCode, RequestHeader, Response};

pub(crate) async fn handle(_: Context, _: ApiVersionsRequest) -> ApiVersionsResponse {
    table()
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
