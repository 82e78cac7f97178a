//! Which headers pass from client to upstream, and which come back?

use http::HeaderMap;
use serde_json::{Map, Value};

use super::endpoint::Protocol;
use super::providers::KeyHeader;

/// The upstream's own request id, as the client sees it.
pub const UPSTREAM_REQUEST_ID: &str = "x-upstream-request-id";
/// Taken for a client that sends no `anthropic-version`.
pub const DEFAULT_ANTHROPIC_VERSION: &str = "2023-06-01";

/// A header that cannot be sent. Never repeats a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    #[error("the key contains characters that a header cannot carry")]
    Key,
    #[error("`{0}` is not a header name")]
    Name(String),
    #[error("`{0}` must be a string without control characters, a list of such strings, or null")]
    Value(String),
    #[error("`{0}` is set by the connection itself")]
    Reserved(String),
}

/// What goes upstream: the client's headers but for what is held back, `accept-encoding: identity`, the channel's key,
/// Anthropic's version, and then the channel's `header_override`: a string replaces, a list of strings gives several,
/// `null` or an empty string removes.
///
/// # Errors
/// The key or an override cannot stand in a header.
pub fn upstream_headers(
    client: &HeaderMap,
    protocol: Protocol,
    key: Option<(KeyHeader, &str)>,
    header_override: &Map<String, Value>,
) -> Result<HeaderMap, BadHeader> {
    todo!()
}

/// How the answer's body relates to what the upstream sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerBody {
    /// Byte for byte: `Content-Length` and `Content-Encoding` still hold.
    AsSent,
    /// Decoded, completed or rewritten.
    Changed,
}

/// What comes back from upstream to the client.
#[must_use]
pub fn downstream_headers(upstream: &HeaderMap, body: AnswerBody) -> HeaderMap {
    todo!()
}

/// Checks a `header_override` when an operator sets it.
///
/// # Errors
/// Names the header that is wrong.
pub fn check_header_override(header_override: &Map<String, Value>) -> Result<(), BadHeader> {
    todo!()
}
