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
        let headers = upstream_headers(&client, Protocol::OpenAi, Some((place, "k")), &Map::new()).unwrap();
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
    let client = map("user-agent: sdk\nx-empty: 1\nopenai-organization: org-client\nx-many: 0\nx-kept: 1");
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
