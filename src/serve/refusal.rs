//! Why a request gets no answer, in JSON.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// An answer that is none: a status, what is wrong, and what would be right.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    message: String,
    /// The field that is wrong, what it is, and what it should be.
    field: Option<[String; 3]>,
    /// Seconds after which to ask again.
    retry_after: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Refusal { status, message: message.into(), field: None, retry_after: None }
    }

    /// 400 for a request as a whole.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Refusal::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 for a field.
    pub(super) fn field(name: &str, found: impl Into<String>, wanted: impl Into<String>) -> Self {
        let (found, wanted) = (found.into(), wanted.into());
        let message = format!("{name}: found {found}; wanted {wanted}");
        Refusal { field: Some([name.into(), found, wanted]), ..Refusal::bad(message) }
    }

    /// 503, to be asked again later.
    pub(super) fn later(message: impl Into<String>, seconds: u64) -> Self {
        Refusal { retry_after: Some(seconds), ..Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    pub(super) fn json(&self) -> Value {
        let mut error = Map::new();
        error.insert("status".into(), self.status.as_u16().into());
        error.insert("message".into(), self.message.clone().into());
        if let Some([name, found, wanted]) = &self.field {
            for (key, value) in [("field", name), ("found", found), ("wanted", wanted)] {
                error.insert(key.into(), value.clone().into());
            }
        }
        json!({ "error": error })
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, json_body(&self.json())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// JSON as a body with its type.
pub(super) fn json_body(value: &Value) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string())
}
