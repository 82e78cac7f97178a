//! How does an error of ours look in each protocol?
//!
//! Where R4's name (`no_available_channel`, …) stands: OpenAI `error.code`; Anthropic `error.code`, beside its own
//! `error.type`; Gemini `error.details[0].reason` (an `ErrorInfo`), as its SDKs want a number in `error.code` and
//! Google's word in `error.status`.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::endpoint::Protocol;

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
        todo!()
    }
    #[must_use]
    pub fn param(self, param: impl Into<String>) -> Self {
        todo!()
    }
    #[must_use]
    pub fn retry_after(self, retry_after: Duration) -> Self {
        todo!()
    }
    #[must_use]
    pub fn request_id(self, request_id: impl Into<String>) -> Self {
        todo!()
    }
    /// The value of `Retry-After`: whole seconds, rounded up, at least 1.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        todo!()
    }
    /// The JSON body in the protocol's shape.
    #[must_use]
    pub fn body(&self, protocol: Protocol) -> Bytes {
        todo!()
    }
}
