//! Which headers pass from client to upstream, and which come back?

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use super::client_tokens::TOKEN_HEADERS;
use super::endpoint::Protocol;
use super::providers::KeyHeader;

/// The upstream's own request id, as the client sees it.
pub const UPSTREAM_REQUEST_ID: &str = "x-upstream-request-id";
/// Taken for a client that sends no `anthropic-version`.
pub const DEFAULT_ANTHROPIC_VERSION: &str = "2023-06-01";

/// They speak of one connection (RFC 9110, 7.6.1), not of the message.
const HOP_BY_HOP: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-authentication-info",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// What of the client stays here, beside hop-by-hop headers, tokens and `x-forwarded-*`.
const HELD_BACK: [&str; 15] = [
    "host",
    "content-length",
    // The body has been decoded.
    "content-encoding",
    "accept-encoding",
    // A promise that this side has already kept.
    "expect",
    "cookie",
    "origin",
    "referer",
    "forwarded",
    "x-real-ip",
    "via",
    // What names an account: only from the channel's own override.
    "openai-organization",
    "openai-project",
    "x-goog-user-project",
    "anthropic-workspace-id",
];

/// What of the upstream stays here, beside hop-by-hop headers and `access-control-*`.
const KEPT_FROM_CLIENT: [&str; 8] = [
    "set-cookie",
    "alt-svc",
    "strict-transport-security",
    "server",
    "openai-organization",
    "openai-project",
    "anthropic-organization-id",
    // Whether a repeat helps is for us to say (R4).
    "x-should-retry",
];

/// How providers name their request id; the first that is there counts.
const REQUEST_IDS: [&str; 8] = [
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "x-amzn-requestid",
    "x-tt-logid",
    "x-siliconcloud-trace-id",
    "x-generation-id",
];

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
    let named = named_by_connection(client);
    let mut headers = HeaderMap::with_capacity(client.len() + 4);
    for (name, value) in client {
        if !stays_here(name.as_str()) && !named.iter().any(|named| name.as_str() == named) {
            headers.append(name, value.clone());
        }
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if protocol == Protocol::Anthropic && !headers.contains_key("anthropic-version") {
        headers.insert(
            "anthropic-version",
            HeaderValue::from_static(DEFAULT_ANTHROPIC_VERSION),
        );
    }
    if let Some((place, key)) = key {
        let (name, value) = key_header(place, key)?;
        headers.insert(name, value);
    }
    for (name, value) in header_override {
        let (name, values) = override_of(name, value)?;
        headers.remove(&name);
        for value in values {
            headers.append(&name, value);
        }
    }
    Ok(headers)
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
    let named = named_by_connection(upstream);
    let mut headers = HeaderMap::with_capacity(upstream.len());
    for (name, value) in upstream {
        if !stays_upstream(name.as_str(), body) && !named.iter().any(|named| name.as_str() == named) {
            headers.append(name, value.clone());
        }
    }
    if let Some(id) = REQUEST_IDS.into_iter().find_map(|name| upstream.get(name)) {
        headers.insert(UPSTREAM_REQUEST_ID, id.clone());
    }
    headers
}

/// Checks a `header_override` when an operator sets it.
///
/// # Errors
/// Names the header that is wrong.
pub fn check_header_override(header_override: &Map<String, Value>) -> Result<(), BadHeader> {
    header_override
        .iter()
        .try_for_each(|(name, value)| override_of(name, value).map(drop))
}

fn stays_here(name: &str) -> bool {
    HOP_BY_HOP.contains(&name)
        || HELD_BACK.contains(&name)
        || TOKEN_HEADERS.contains(&name)
        || name == "authorization"
        || name.starts_with("x-forwarded-")
}

fn stays_upstream(name: &str, body: AnswerBody) -> bool {
    let of_the_old_body = matches!(name, "content-length" | "content-encoding");
    HOP_BY_HOP.contains(&name)
        || KEPT_FROM_CLIENT.contains(&name)
        || name.starts_with("access-control-")
        // Ours: an upstream that is a relay itself has some of its own.
        || name.starts_with("x-pointsman-")
        || matches!(name, "x-request-id" | "request-id" | UPSTREAM_REQUEST_ID)
        || (of_the_old_body && body == AnswerBody::Changed)
}

/// What `Connection` declares hop-by-hop on top.
fn named_by_connection(headers: &HeaderMap) -> Vec<String> {
    let values = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect()
}

fn key_header(place: KeyHeader, key: &str) -> Result<(HeaderName, HeaderValue), BadHeader> {
    let (name, value) = match place {
        KeyHeader::Bearer => (
            header::AUTHORIZATION,
            HeaderValue::try_from(format!("Bearer {key}")),
        ),
        KeyHeader::XApiKey => (HeaderName::from_static("x-api-key"), HeaderValue::from_str(key)),
        KeyHeader::ApiKey => (HeaderName::from_static("api-key"), HeaderValue::from_str(key)),
        KeyHeader::XGoogApiKey => (
            HeaderName::from_static("x-goog-api-key"),
            HeaderValue::from_str(key),
        ),
    };
    let mut value = value.map_err(|_| BadHeader::Key)?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// The values that an override gives a header; none removes it.
fn override_of(name: &str, value: &Value) -> Result<(HeaderName, Vec<HeaderValue>), BadHeader> {
    let header = HeaderName::try_from(name).map_err(|_| BadHeader::Name(name.to_owned()))?;
    if HOP_BY_HOP.contains(&header.as_str()) || header == header::CONTENT_LENGTH {
        return Err(BadHeader::Reserved(name.to_owned()));
    }
    let bad = || BadHeader::Value(name.to_owned());
    let one = |value: &Value| {
        let mut value = HeaderValue::from_str(value.as_str().ok_or_else(bad)?).map_err(|_| bad())?;
        // Operators put keys here too.
        value.set_sensitive(true);
        Ok(value)
    };
    let values = match value {
        Value::Null => Vec::new(),
        Value::String(text) if text.is_empty() => Vec::new(),
        Value::Array(values) => values.iter().map(one).collect::<Result<_, _>>()?,
        value => vec![one(value)?],
    };
    Ok((header, values))
}

#[cfg(test)]
mod tests;
