//! How does an error of ours look in each protocol?
//!
//! Where R4's name (`no_available_channel`, …) stands: OpenAI `error.code`; Anthropic `error.code`, beside its own
//! `error.type`; Gemini `error.details[0].reason` (an `ErrorInfo`), as its SDKs want a number in `error.code` and
//! Google's word in `error.status`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::endpoint::Protocol;
use super::gemini_path::BadGeminiPath;
use super::request::BadRequest;

/// The content type of [`ErrorAnswer::body`].
pub const CONTENT_TYPE: &str = "application/json";

/// An error in our own words, for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorAnswer {
    pub status: StatusCode,
    /// R4's name, or another stable word.
    pub code: Cow<'static, str>,
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// For the header `Retry-After`; whole seconds, rounded up: see [`ErrorAnswer::retry_after_seconds`].
    pub retry_after: Option<Duration>,
    /// Ours, for the protocols that name it in the body.
    pub request_id: Option<String>,
}

impl ErrorAnswer {
    #[must_use]
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        ErrorAnswer {
            status,
            code: code.into(),
            message: message.into(),
            param: None,
            retry_after: None,
            request_id: None,
        }
    }

    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    #[must_use]
    pub fn retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    #[must_use]
    pub fn request_id(mut self, request_id: impl Into<String>) -> Self {
        self.request_id = Some(request_id.into());
        self
    }

    /// The value of `Retry-After`: whole seconds, rounded up, at least 1.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let wait = self.retry_after?;
        Some(
            wait.as_secs()
                .saturating_add(u64::from(wait.subsec_nanos() > 0))
                .max(1),
        )
    }

    /// The JSON body in the protocol's shape.
    #[must_use]
    pub fn body(&self, protocol: Protocol) -> Bytes {
        let body = match protocol {
            Protocol::OpenAi => json!({"error": {
                "message": self.message,
                "type": openai_type(self.status),
                "param": self.param,
                "code": self.code,
            }}),
            Protocol::Anthropic => {
                let mut error = json!({
                    "type": anthropic_type(self.status),
                    "message": self.message,
                    "code": self.code,
                });
                if let Some(param) = &self.param {
                    error["param"] = json!(param);
                }
                let mut body = json!({"type": "error", "error": error});
                if let Some(request_id) = &self.request_id {
                    body["request_id"] = json!(request_id);
                }
                body
            }
            Protocol::Gemini => json!({"error": {
                "code": self.status.as_u16(),
                "message": self.message,
                "status": google_status(self.status),
                "details": [{
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": self.code,
                    "domain": "pointsman",
                }],
            }}),
        };
        body.to_string().into()
    }
}

impl From<&BadRequest> for ErrorAnswer {
    /// 400 `invalid_request`, with the field that is wrong.
    fn from(bad: &BadRequest) -> Self {
        let answer = ErrorAnswer::new(StatusCode::BAD_REQUEST, "invalid_request", bad.to_string());
        ErrorAnswer {
            param: bad.field().map(str::to_owned),
            ..answer
        }
    }
}

impl From<BadGeminiPath> for ErrorAnswer {
    /// 404 `not_found` without a method of ours, else 400 `invalid_request`.
    fn from(bad: BadGeminiPath) -> Self {
        match bad {
            BadGeminiPath::NoAction | BadGeminiPath::UnknownAction => {
                ErrorAnswer::new(StatusCode::NOT_FOUND, "not_found", bad.to_string())
            }
            BadGeminiPath::NotUtf8
            | BadGeminiPath::Empty
            | BadGeminiPath::TooLong
            | BadGeminiPath::DotSegment => {
                ErrorAnswer::new(StatusCode::BAD_REQUEST, "invalid_request", bad.to_string()).param("model")
            }
        }
    }
}

fn openai_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

fn anthropic_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}

/// Google's word for an HTTP status (google.rpc.Code).
fn google_status(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UNAUTHENTICATED",
        402 => "FAILED_PRECONDITION",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        502 | 503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_channel() -> ErrorAnswer {
        ErrorAnswer::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no_available_channel",
            "no channel is open",
        )
        .request_id("req_1")
    }

    fn shape(protocol: Protocol, error: &ErrorAnswer) -> String {
        String::from_utf8(error.body(protocol).to_vec()).unwrap()
    }

    #[test]
    fn errors_come_in_the_shape_of_each_protocol() {
        insta::assert_snapshot!(shape(Protocol::OpenAi, &no_channel().param("model")), @r#"{"error":{"message":"no channel is open","type":"server_error","param":"model","code":"no_available_channel"}}"#);
        insta::assert_snapshot!(shape(Protocol::OpenAi, &no_channel()), @r#"{"error":{"message":"no channel is open","type":"server_error","param":null,"code":"no_available_channel"}}"#);
        insta::assert_snapshot!(shape(Protocol::Anthropic, &no_channel()), @r#"{"type":"error","error":{"type":"overloaded_error","message":"no channel is open","code":"no_available_channel"},"request_id":"req_1"}"#);
        insta::assert_snapshot!(shape(Protocol::Gemini, &no_channel()), @r#"{"error":{"code":503,"message":"no channel is open","status":"UNAVAILABLE","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"no_available_channel","domain":"pointsman"}]}}"#);
    }

    #[test]
    fn bad_input_becomes_an_answer_that_names_the_field() {
        let answer = ErrorAnswer::from(&BadRequest::Empty { field: "model" });
        assert_eq!(
            (answer.status.as_u16(), answer.param.as_deref()),
            (400, Some("model"))
        );
        assert_eq!(answer.message, "`model` must not be empty");
        assert_eq!(ErrorAnswer::from(&BadRequest::NotUtf8).param, None);
        assert_eq!(
            ErrorAnswer::from(BadGeminiPath::UnknownAction).status.as_u16(),
            404
        );
        assert_eq!(
            ErrorAnswer::from(BadGeminiPath::Empty).param.as_deref(),
            Some("model")
        );
    }

    #[test]
    fn each_status_has_its_word_in_each_protocol() {
        for (status, openai, anthropic, google) in [
            (
                400,
                "invalid_request_error",
                "invalid_request_error",
                "INVALID_ARGUMENT",
            ),
            (
                401,
                "invalid_request_error",
                "authentication_error",
                "UNAUTHENTICATED",
            ),
            (403, "permission_error", "permission_error", "PERMISSION_DENIED"),
            (404, "invalid_request_error", "not_found_error", "NOT_FOUND"),
            (
                413,
                "invalid_request_error",
                "request_too_large",
                "INVALID_ARGUMENT",
            ),
            (
                415,
                "invalid_request_error",
                "invalid_request_error",
                "INVALID_ARGUMENT",
            ),
            (429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
            (500, "server_error", "api_error", "INTERNAL"),
            (502, "server_error", "api_error", "UNAVAILABLE"),
            (503, "server_error", "overloaded_error", "UNAVAILABLE"),
            (504, "server_error", "timeout_error", "DEADLINE_EXCEEDED"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(
                (openai_type(status), anthropic_type(status), google_status(status)),
                (openai, anthropic, google),
                "{status}"
            );
        }
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        let seconds = |wait: Duration| no_channel().retry_after(wait).retry_after_seconds();
        assert_eq!(no_channel().retry_after_seconds(), None);
        assert_eq!(seconds(Duration::ZERO), Some(1));
        assert_eq!(seconds(Duration::from_millis(1001)), Some(2));
        assert_eq!(seconds(Duration::from_secs(600)), Some(600));
        assert_eq!(seconds(Duration::MAX), Some(u64::MAX));
    }
}
