//! The description of this API, which tests hold to the code.

use axum::http::header;
use axum::response::IntoResponse;

/// The document, OpenAPI 3.1.
pub const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

pub(super) async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], DOCUMENT)
}
