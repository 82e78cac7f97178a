//! What does an upstream's error say, whoever's shape it comes in?

use std::time::Duration;

use super::endpoint::Endpoint;

/// An upstream's error, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamError {
    pub form: ErrorForm,
    /// The status: the answer's own, or for an error in a 200 or in a stream the one that the body names.
    pub status: Option<u16>,
    /// `error.code`, numbers as text (`"1113"`).
    pub code: Option<String>,
    /// `error.type`; Gemini's `error.status`.
    pub kind: Option<String>,
    /// The field that the upstream blames.
    pub param: Option<String>,
    /// Gemini's `ErrorInfo.reason` (`API_KEY_INVALID`), Azure's `innererror.code`.
    pub reason: Option<String>,
    /// The words, at most 2 KiB; empty if there are none.
    pub message: String,
    /// Gemini's `RetryInfo.retryDelay`.
    pub retry_delay: Option<Duration>,
}

/// What an error's body was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorForm {
    /// An error object in one of the known shapes.
    Error,
    /// JSON, but no error known to us.
    OtherJson,
    /// A web page, text, garbage.
    NotJson,
    #[default]
    Empty,
}

/// Reads the body of an answer whose status is an error.
#[must_use]
pub fn read_error(status: u16, body: &[u8]) -> UpstreamError {
    todo!()
}

/// The error inside a whole answer with a 2xx status, if it is one: an error object in place of an answer, a failed
/// response, no JSON where JSON alone can come.
#[must_use]
pub fn error_in_200(endpoint: Endpoint, body: &[u8]) -> Option<UpstreamError> {
    todo!()
}
