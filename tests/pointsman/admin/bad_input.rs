//! Whatever is sent to whichever route: a clear problem with the right status, no 500, no panic.

use super::{call, problem};
use crate::answer::Answer;
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::stage::Stage;
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Every route, with a body that fits where it takes one.
fn routes() -> Vec<(Method, String, Option<Value>)> {
    let body = |method: Method, path: &str, body: Value| (method, path.to_owned(), Some(body));
    let bare = |method: Method, path: &str| (method, path.to_owned(), None);
    vec![
        bare(Method::GET, "/api/channels"),
        body(
            Method::POST,
            "/api/channels",
            json!({"name": "x", "provider": "openai"}),
        ),
        bare(Method::GET, "/api/channels/1"),
        body(Method::PATCH, "/api/channels/1", json!({"name": "x"})),
        bare(Method::DELETE, "/api/channels/1"),
        body(
            Method::PUT,
            "/api/channels/1/status",
            json!({"status": "enabled"}),
        ),
        bare(Method::GET, "/api/channels/1/keys"),
        body(Method::POST, "/api/channels/1/keys", json!({"keys": ["x"]})),
        body(Method::PUT, "/api/channels/1/keys/1", json!({"secret": "x"})),
        bare(Method::DELETE, "/api/channels/1/keys/1"),
        body(
            Method::PUT,
            "/api/channels/1/keys/1/status",
            json!({"status": "enabled"}),
        ),
        body(
            Method::POST,
            "/api/channels/1/test",
            json!({"model": "m", "stream": false, "protocol": "openai", "key_id": 1}),
        ),
        body(
            Method::POST,
            "/api/channels/test",
            json!({"ids": [1], "model": "m", "stream": false, "protocol": "openai"}),
        ),
        bare(Method::GET, "/api/channels/1/upstream-models"),
        bare(Method::GET, "/api/abilities"),
        body(
            Method::PATCH,
            "/api/abilities",
            json!({"group": "default", "model": "gpt-4o", "channel_id": 1}),
        ),
        bare(Method::GET, "/api/groups"),
        bare(Method::GET, "/api/models"),
        bare(Method::GET, "/api/models/m"),
        body(Method::PUT, "/api/models/m", json!({})),
        bare(Method::DELETE, "/api/models/m"),
        bare(Method::GET, "/api/tokens"),
        body(Method::POST, "/api/tokens", json!({"name": "x"})),
        body(Method::POST, "/api/tokens/find", json!({"key": "x"})),
        bare(Method::GET, "/api/tokens/1"),
        body(Method::PATCH, "/api/tokens/1", json!({"name": "x"})),
        bare(Method::DELETE, "/api/tokens/1"),
        bare(Method::POST, "/api/tokens/1/rotate"),
        bare(Method::GET, "/api/routing"),
        bare(Method::POST, "/api/routing/rebuild"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_wants_an_admin_token() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    let token = stage.token().to_owned();
    for (method, path, body) in routes() {
        let wrong = [
            "Bearer wrong-token-0123456789",
            "Bearer",
            "Basic abc",
            &format!("Bearer {token}"),
        ];
        for header in [None].into_iter().chain(wrong.map(Some)) {
            let mut request = stage.request(method.clone(), &path);
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            if let Some(body) = &body {
                request = request
                    .header("content-type", "application/json")
                    .body(body.to_string());
            }
            let answer = Answer::to(request).await;
            problem(&answer, 401, "unauthorized");
            assert!(
                answer
                    .header("www-authenticate")
                    .is_some_and(|value| value.starts_with("Bearer")),
                "{answer:?}"
            );
        }
    }
    assert_eq!(stage.query::<String>("SELECT name FROM channels").await, ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_body_that_does_not_fit_is_a_clear_problem() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    for (method, path, body) in routes() {
        let Some(good) = body else { continue };
        let send = async |kind: Option<&str>, body: Vec<u8>| {
            let mut request = stage
                .request(method.clone(), &path)
                .bearer_auth(stage.admin_token())
                .body(body);
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            Answer::to(request).await
        };
        let json = Some("application/json");
        for malformed in ["", "{", "nonsense", "{\"a\":}", "\u{0}", "{} {}"] {
            if malformed.is_empty() && path == "/api/channels/1/test" {
                continue; // All that it takes may be left out.
            }
            let answer = send(json, malformed.as_bytes().to_vec()).await;
            problem(&answer, 400, "malformed_json");
        }
        problem(
            &send(json, b"{\"name\": \"\xff\"}".to_vec()).await,
            400,
            "malformed_json",
        );
        problem(
            &send(json, "[".repeat(100_000).into_bytes()).await,
            400,
            "malformed_json",
        );
        let deep = format!("{{\"x\": {}", "[".repeat(100_000));
        assert!(matches!(send(json, deep.into_bytes()).await.status, 400 | 422));
        for misfit in ["5", "\"x\"", "null", "[5]", "true"] {
            let answer = send(json, misfit.as_bytes().to_vec()).await;
            problem(&answer, 422, "invalid_fields");
        }
        let mut unknown = good.clone();
        unknown["sk_unknown"] = json!("sk-unknown");
        let answer = send(json, unknown.to_string().into_bytes()).await;
        assert_eq!(problem(&answer, 422, "invalid_fields"), ["sk_unknown"], "{path}");
        let fields: Vec<String> = good.as_object().expect("an object").keys().cloned().collect();
        for field in fields {
            for wrong in [json!({"x": 1}), json!([[1]])] {
                let mut misfit = good.clone();
                misfit[&field] = wrong;
                let answer = send(json, misfit.to_string().into_bytes()).await;
                let names = problem(&answer, 422, "invalid_fields");
                assert!(
                    names[0].starts_with(&field),
                    "{method} {path} {field}: {answer:?}"
                );
            }
        }
        for kind in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some(""),
        ] {
            problem(
                &send(kind, good.to_string().into_bytes()).await,
                415,
                "unsupported_media_type",
            );
        }
        problem(
            &send(json, vec![b' '; (4 << 20) + 1]).await,
            413,
            "body_too_large",
        );
    }
    let log = stage.log();
    assert!(
        log.with("panicked").is_empty() && log.with(" error ").is_empty(),
        "{:#?}",
        log.all()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_ids_paths_and_methods_are_told_apart() {
    let stage = Stage::new(Kind::Sqlite).await;
    let check = async |method: &str, path: &str, status: u16, code: &str| {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = stage.admin_answer(method, path, Value::Null).await;
        problem(&answer, status, code);
        answer
    };
    for id in [
        "999",
        "0",
        "-1",
        "one",
        "9223372036854775807",
        "99999999999999999999",
        "1.5",
        "%00",
        "%ff",
        "1%2f2",
    ] {
        check("GET", &format!("/api/channels/{id}"), 404, "not_found").await;
        check("GET", &format!("/api/tokens/{id}"), 404, "not_found").await;
        check("GET", &format!("/api/channels/{id}/keys"), 404, "not_found").await;
    }
    for path in [
        "/api",
        "/api/",
        "/api/x",
        "/api/channels/",
        "/api/channels/1/x",
        "/api/routing/x",
    ] {
        check("GET", path, 404, "no_such_route").await;
    }
    for (method, path, allow) in [
        ("PUT", "/api/channels", "GET, POST"),
        ("POST", "/api/channels/1", "GET, PATCH, DELETE"),
        ("GET", "/api/channels/1/status", "PUT"),
        ("DELETE", "/api/routing", "GET"),
        ("GET", "/api/routing/rebuild", "POST"),
        ("OPTIONS", "/api/tokens", "GET, POST"),
        ("PURGE", "/api/tokens", "GET, POST"),
    ] {
        let answer = check(method, path, 405, "method_not_allowed").await;
        assert_eq!(answer.header("allow"), Some(allow), "{answer:?}");
    }
    let elsewhere = Answer::to(stage.request(Method::GET, "/nowhere")).await;
    problem(&elsewhere, 404, "no_such_route");
}

on_each_database! {
    async fn queries_that_do_not_fit_are_named(kind: Kind) {
        let stage = Stage::new(kind).await;
        let check = async |path: &str, fields: &[&str]| {
            let answer = stage.admin_answer(Method::GET, path, Value::Null).await;
            assert_eq!(problem(&answer, 400, "invalid_query"), fields, "{path}");
        };
        for list in ["/api/channels", "/api/abilities", "/api/groups", "/api/models", "/api/tokens"] {
            check(&format!("{list}?page=0"), &["page"]).await;
            check(&format!("{list}?page=-1&page_size=1001"), &["page", "page_size"]).await;
            check(&format!("{list}?page=x"), &["page"]).await;
            check(&format!("{list}?nonsense=1"), &["nonsense"]).await;
        }
        check("/api/channels?status=open&sort=best", &["status", "sort"]).await;
        check("/api/channels?q=%00", &["q"]).await;
        check(&format!("/api/channels?q={}", "x".repeat(300)), &["q"]).await;
        check("/api/abilities?channel_id=one", &["channel_id"]).await;
        // Strange, but a question that has an answer.
        for query in ["q=%ff%fe", "q='%3B--", "q=%F0%9F%98%80", "group=%5C", "page=9223372036854775807&page_size=1000"] {
            call(&stage, Method::GET, &format!("/api/channels?{query}"), Value::Null, 200).await;
        }
    }

    async fn odd_but_right_values_are_kept_as_they_are(kind: Kind) {
        let stage = Stage::new(kind).await;
        let name = "naïve 😀 ' \" \\ % _ --";
        let made = call(&stage, Method::POST, "/api/channels", json!({
            "name": name, "provider": "ollama", "base_url": "http://127.0.0.1:9", "weight": 1_000_000, "priority": -1_000_000_000,
            "groups": ["gruppe é"], "models": ["模型/😀", "a b"], "param_override": {"😀": {"deep": [1, 2.5, null, "x"]}},
            "header_override": {"X-Odd": "~!@#$%^&*()"}, "remark": "x".repeat(10_000),
        }), 201).await;
        let got = call(&stage, Method::GET, &format!("/api/channels/{}", made["id"]), Value::Null, 200).await;
        assert_eq!((&got["name"], &got["weight"], &got["priority"]), (&json!(name), &json!(1_000_000), &json!(-1_000_000_000)));
        assert_eq!((&got["groups"], &got["models"].as_array().map(Vec::len)), (&json!(["gruppe é"]), &Some(2)));
        assert_eq!(got["param_override"], json!({"😀": {"deep": [1, 2.5, null, "x"]}}));
        assert_eq!(got["remark"].as_str().map(str::len), Some(10_000));
        let found = call(&stage, Method::GET, "/api/channels?q=%F0%9F%98%80", Value::Null, 200).await;
        assert_eq!(found["total"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_admin_token_is_forgotten_and_a_deleted_one_ends() {
    let stage = Stage::new(Kind::Sqlite).await;
    stage.routing().await;
    stage.sql("DELETE FROM admin_tokens").await;
    eventually(Duration::from_secs(20), async || {
        let answer = stage.admin_answer(Method::GET, "/api/routing", Value::Null).await;
        answer.with_status(401)
    })
    .await;
}
