//! Which headers pass from client to upstream, and which come back?

use std::collections::HashSet;

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
        if !stays_here(name.as_str()) && !named.contains(name.as_str()) {
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
        if !stays_upstream(name.as_str(), body) && !named.contains(name.as_str()) {
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
fn named_by_connection(headers: &HeaderMap) -> HashSet<String> {
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
mod tests {
    use serde_json::json;

    use super::*;

    fn map(lines: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines.lines().filter_map(|line| line.trim().split_once(": ")) {
            map.append(
                HeaderName::try_from(name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        map
    }

    fn lines(map: &HeaderMap) -> String {
        let mut lines: Vec<_> = map
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        // Values of one name keep their order; the order of names means nothing.
        lines.sort_by(|a, b| a.split(':').next().cmp(&b.split(':').next()));
        lines.join("\n")
    }

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn what_the_design_holds_back_never_goes_upstream() {
        let client = map("Host: relay
            Content-Length: 3
            Content-Encoding: gzip
            Accept-Encoding: gzip, br
            Connection: close, X-Private
            X-Private: 1
            Keep-Alive: timeout=5
            Proxy-Authorization: Basic x
            TE: trailers
            Trailer: x
            Transfer-Encoding: chunked
            Upgrade: h2c
            Expect: 100-continue
            Cookie: a=b
            Origin: https://site
            Referer: https://site/x
            Forwarded: for=1.2.3.4
            X-Forwarded-For: 1.2.3.4
            X-Forwarded-Proto: https
            X-Real-IP: 1.2.3.4
            Via: 1.1 proxy
            Authorization: Bearer ours
            X-Api-Key: ours
            Api-Key: ours
            X-Goog-Api-Key: ours
            OpenAI-Organization: org
            OpenAI-Project: proj
            X-Goog-User-Project: proj
            Anthropic-Workspace-Id: ws
            Content-Type: application/json
            User-Agent: sdk/1
            OpenAI-Beta: assistants=v2
            Anthropic-Beta: a
            Anthropic-Beta: b
            Traceparent: 00-1");
        let headers = upstream_headers(&client, Protocol::OpenAi, None, &Map::new()).unwrap();
        insta::assert_snapshot!(lines(&headers), @r"
        accept-encoding: identity
        anthropic-beta: a
        anthropic-beta: b
        content-type: application/json
        openai-beta: assistants=v2
        traceparent: 00-1
        user-agent: sdk/1
        ");
    }

    #[test]
    fn the_channels_key_goes_in_the_providers_way() {
        for (place, want) in [
            (KeyHeader::Bearer, "authorization: Bearer k"),
            (KeyHeader::XApiKey, "x-api-key: k"),
            (KeyHeader::ApiKey, "api-key: k"),
            (KeyHeader::XGoogApiKey, "x-goog-api-key: k"),
        ] {
            let client = map("authorization: Bearer ours");
            let headers =
                upstream_headers(&client, Protocol::OpenAi, Some((place, "k")), &Map::new()).unwrap();
            assert!(lines(&headers).contains(want), "{want}");
            assert!(!lines(&headers).contains("ours"));
            assert!(
                !format!("{headers:?}").contains("\"k\""),
                "a key is never shown by Debug"
            );
        }
        let error = upstream_headers(
            &map(""),
            Protocol::OpenAi,
            Some((KeyHeader::Bearer, "a\nb")),
            &Map::new(),
        );
        assert_eq!(error, Err(BadHeader::Key));
    }

    #[test]
    fn a_missing_anthropic_version_is_added_to_its_own_protocol() {
        let version = |client, protocol| {
            let headers = upstream_headers(&map(client), protocol, None, &Map::new()).unwrap();
            headers
                .get("anthropic-version")
                .map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(version("", Protocol::Anthropic).as_deref(), Some("2023-06-01"));
        assert_eq!(
            version("anthropic-version: 2099-01-01", Protocol::Anthropic).as_deref(),
            Some("2099-01-01")
        );
        assert_eq!(version("", Protocol::OpenAi), None);
    }

    #[test]
    fn the_override_has_the_last_word() {
        let over = object(json!({
            "OpenAI-Organization": "org-ours", "user-agent": null, "x-empty": "", "x-many": ["1", "2"],
            "authorization": "Custom k",
        }));
        let client =
            map("user-agent: sdk\nx-empty: 1\nopenai-organization: org-client\nx-many: 0\nx-kept: 1");
        let key = Some((KeyHeader::Bearer, "k"));
        let headers = upstream_headers(&client, Protocol::OpenAi, key, &over).unwrap();
        insta::assert_snapshot!(lines(&headers), @r"
        accept-encoding: identity
        authorization: Custom k
        openai-organization: org-ours
        x-kept: 1
        x-many: 1
        x-many: 2
        ");
    }

    #[test]
    fn a_bad_override_names_its_header() {
        for (over, want) in [
            (json!({"a b": "x"}), "`a b` is not a header name"),
            (
                json!({"x": 1}),
                "`x` must be a string without control characters, a list of such strings, or null",
            ),
            (
                json!({"x": ["a", null]}),
                "`x` must be a string without control characters, a list of such strings, or null",
            ),
            (
                json!({"x": "a\r\nb: c"}),
                "`x` must be a string without control characters, a list of such strings, or null",
            ),
            (
                json!({"Content-Length": "1"}),
                "`Content-Length` is set by the connection itself",
            ),
            (
                json!({"transfer-encoding": "chunked"}),
                "`transfer-encoding` is set by the connection itself",
            ),
        ] {
            assert_eq!(
                check_header_override(&object(over)).unwrap_err().to_string(),
                want
            );
        }
        assert_eq!(
            check_header_override(&object(json!({"x": "y", "z": null}))),
            Ok(())
        );
    }

    #[test]
    fn what_the_design_keeps_never_comes_back() {
        let upstream = map("Content-Type: application/json
            Content-Length: 3
            Content-Encoding: gzip
            Connection: keep-alive, x-hop
            X-Hop: 1
            Transfer-Encoding: chunked
            Set-Cookie: a
            Set-Cookie: b
            Alt-Svc: h3
            Strict-Transport-Security: max-age=1
            Server: nginx
            Access-Control-Allow-Origin: *
            OpenAI-Organization: org
            OpenAI-Project: proj
            Anthropic-Organization-Id: org
            X-Should-Retry: true
            X-Request-Id: req_up
            X-Upstream-Request-Id: req_far
            X-Pointsman-Channel: 7
            Retry-After: 5
            X-Ratelimit-Remaining-Requests: 0
            Warning: a
            Warning: b");
        insta::assert_snapshot!(lines(&downstream_headers(&upstream, AnswerBody::Changed)), @r"
        content-type: application/json
        retry-after: 5
        warning: a
        warning: b
        x-ratelimit-remaining-requests: 0
        x-upstream-request-id: req_up
        ");
        let as_sent = lines(&downstream_headers(&upstream, AnswerBody::AsSent));
        assert!(as_sent.contains("content-length: 3") && as_sent.contains("content-encoding: gzip"));
        let anthropic = downstream_headers(&map("request-id: req_1"), AnswerBody::AsSent);
        assert_eq!(lines(&anthropic), "x-upstream-request-id: req_1");
    }
}
