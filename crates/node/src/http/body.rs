//! What requests carry, bounded and with errors that say what is wrong with it.

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::Rooms;
use super::api::Problem;

/// Longest JSON body that is read, in bytes: a file name, a stream name and an address fit many times.
const BODY_MAX: usize = 16 * 1024;

/// A JSON body, whatever its `Content-Type` says.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Rooms> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Rooms) -> Result<Self, Problem> {
        let path = request.uri().path().to_owned();
        let bytes = to_bytes(request.into_body(), BODY_MAX)
            .await
            .map_err(|_| Problem::too_large(format!("what {path} takes is at most {BODY_MAX} bytes long")))?;
        let wrong = |error| Problem::bad_request(format!("{path} wants JSON as /api/v1/openapi.json tells: {error}"));
        serde_json::from_slice(&bytes).map(Self).map_err(wrong)
    }
}

/// The parameters after the question mark.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Rooms> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, rooms: &Rooms) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, rooms).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => Err(Problem::bad_request(error.body_text())),
        }
    }
}
