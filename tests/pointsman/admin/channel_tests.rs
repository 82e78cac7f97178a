//! `/api/channels/{id}/test`, `/api/channels/test`, `/api/channels/{id}/upstream-models`

use super::{call, problem};
use crate::databases::Kind;
use crate::stage::Stage;
use crate::upstream::{Channel, ordered, works};
use reqwest::Method;
use serde_json::{Value, json};

const SECRET: &str = "sk-test-0123456789-WXYZ";

fn speaks_all(faults: &str) -> Channel {
    ordered(faults)
        .provider("custom")
        .keys(&[SECRET])
        .settings(json!({"protocols": ["openai", "anthropic", "gemini"]}))
}

fn path(stage: &Stage, channel: &str) -> String {
    format!("/api/channels/{}/test", stage.id(channel))
}

/// The verdict, which holds no secret.
async fn test(stage: &Stage, channel: &str, body: Value) -> Value {
    let answer = stage
        .admin_answer(Method::POST, &path(stage, channel), body)
        .await
        .expect(200);
    for piece in ["sk-test", "WXYZ", "~"] {
        assert!(!answer.text().contains(piece), "{answer:?}");
    }
    answer.json()
}

#[track_caller]
fn check_error(verdict: &Value, status: Option<u16>, code: &str, what: &str) {
    assert_eq!(verdict["ok"], json!(false), "{what}: {verdict}");
    assert_eq!(verdict["status"], json!(status), "{what}: {verdict}");
    assert_eq!(verdict["error"]["code"], json!(code), "{what}: {verdict}");
    let message = verdict["error"]["message"].as_str().expect("a message");
    assert!(!message.is_empty() && message.len() < 1000, "{what}: {verdict}");
}

on_each_database! {
    async fn a_channel_is_tested_in_each_protocol(kind: Kind) {
        let stage = Stage::new(kind).channel("a", speaks_all("").models(&["m2", "gpt-4o"])).await;
        for (protocol, path, limit) in [
            ("openai", "/v1/chat/completions", "/max_tokens"),
            ("anthropic", "/v1/messages", "/max_tokens"),
            ("gemini", "/v1beta/models/gpt-4o", "/generationConfig/maxOutputTokens"),
        ] {
            for stream in [false, true] {
                stage.upstream("a").forget();
                let verdict = test(&stage, "a", json!({"protocol": protocol, "stream": stream})).await;
                assert_eq!((&verdict["ok"], &verdict["status"]), (&json!(true), &json!(200)), "{verdict}");
                assert_eq!((&verdict["model"], &verdict["protocol"]), (&json!("gpt-4o"), &json!(protocol)), "{verdict}");
                assert!(verdict["latency_ms"].is_u64() && verdict.get("error").is_none(), "{verdict}");
                let received = stage.upstream("a").received();
                assert_eq!(received.len(), 1);
                assert!(received[0].path.starts_with(path), "{:?}", received[0]);
                let body: Value = serde_json::from_slice(&received[0].body).expect("JSON");
                assert!(body.pointer(limit).and_then(Value::as_u64) >= Some(16), "{body}");
                let streams = body["stream"] == true || received[0].query.contains("alt=sse");
                assert_eq!(streams, stream, "{body}");
            }
        }
        let path = format!("/api/channels/{}", stage.id("a"));
        let row = call(&stage, Method::GET, &path, Value::Null, 200).await;
        assert!(row["tested_at"].is_string() && row["response_ms"].is_u64(), "{row}");
        // A test of nothing but the given model; `test_model` before the first.
        assert_eq!(test(&stage, "a", json!({"model": "any"})).await["model"], "any");
        call(&stage, Method::PATCH, &path, json!({"test_model": "m2"}), 200).await;
        assert_eq!(test(&stage, "a", json!({})).await["model"], "m2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_is_asked_for_what_it_is_made_for() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    for (model, path) in [
        ("dall-e-3", "/v1/images/generations"),
        ("tts-1", "/v1/audio/speech"),
        ("whisper-1", "/v1/audio/transcriptions"),
        ("text-embedding-3-small", "/v1/embeddings"),
        ("rerank-v3.5", "/v1/rerank"),
        ("omni-moderation-latest", "/v1/moderations"),
    ] {
        stage.upstream("a").forget();
        let verdict = test(&stage, "a", json!({"model": model})).await;
        assert_eq!(verdict["ok"], json!(true), "{model}: {verdict}");
        let received = stage.upstream("a").received();
        assert_eq!((received.len(), &*received[0].path), (1, path), "{model}");
        assert_eq!(received[0].model.as_deref(), Some(model), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_way_to_fail_is_told_and_nothing_is_closed() {
    let stage = Stage::new(Kind::Sqlite).channel("a", speaks_all("")).await;
    let url = format!("/api/channels/{}", stage.id("a"));
    for (faults, stream, status, code) in [
        ("500", false, Some(500), "broken"),
        ("429=7", false, Some(429), "busy"),
        ("529", false, Some(529), "busy"),
        ("wrong_key", false, Some(401), "refused"),
        ("wrong_key", true, Some(401), "refused"),
        ("quota", false, Some(429), "refused"),
        ("not_here", false, Some(404), "not_here"),
        ("too_long", false, Some(400), "too_long"),
        ("filtered", false, Some(400), "filtered"),
        ("status=422", false, Some(422), "bad_request"),
        ("firewall", false, Some(403), "broken"),
        ("redirect", false, Some(302), "broken"),
        ("reset", false, None, "broken"),
        ("garbage", false, None, "broken"),
        ("error_in_200", false, Some(502), "broken"),
        ("error_event", true, Some(502), "broken"),
        ("cut=3", false, None, "broken"),
        ("cut=3", true, Some(200), "broken"),
        ("no_finish", true, Some(200), "broken"),
    ] {
        let base_url = ordered(faults).base_url(&stage.upstream("a").url());
        call(&stage, Method::PATCH, &url, json!({"base_url": base_url}), 200).await;
        let verdict = test(&stage, "a", json!({"stream": stream})).await;
        check_error(&verdict, status, code, faults);
    }
    for (faults, stream) in [("silence", false), ("silence", true), ("stall=3", true)] {
        let base_url = ordered(faults).base_url(&stage.upstream("a").url());
        let timeouts = json!({"first_byte": 0.3, "total": 0.3, "idle": 0.3});
        let settings = json!({"protocols": ["openai"], "timeouts": timeouts});
        call(
            &stage,
            Method::PATCH,
            &url,
            json!({"base_url": base_url, "settings": settings}),
            200,
        )
        .await;
        let verdict = test(&stage, "a", json!({"stream": stream})).await;
        assert_eq!(verdict["error"]["code"], "silent", "{faults}: {verdict}");
    }
    assert_eq!(
        stage.query::<String>("SELECT status FROM channel_keys").await,
        ["enabled"]
    );
    let row = call(&stage, Method::GET, &url, Value::Null, 200).await;
    assert!(
        row["tested_at"].is_string() && row["response_ms"].is_null(),
        "{row}"
    );
    let routing = stage.routing().await;
    assert_eq!(
        (&routing["health"], &routing["leases"]),
        (&json!([]), &json!(0)),
        "no mark on health"
    );
    stage.log().assert_without(SECRET);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_its_status_a_channel_can_be_tested() {
    let mut stage = Stage::new(Kind::Sqlite)
        .channel("off", works().keys(&["sk-one-11111111", "sk-two-22222222"]))
        .channel("keyless", works().provider("ollama").with("keys", json!([])))
        .channel("no key", works().with("keys", json!([])))
        .channel("no model", works().models(&[]))
        .await;
    stage.set_status("off", "disabled").await;
    assert_eq!(test(&stage, "off", json!({})).await["ok"], true);
    let ids: Vec<i64> = stage.query("SELECT id FROM channel_keys ORDER BY id").await;
    let verdict = test(&stage, "off", json!({"key_id": ids[1]})).await;
    assert_eq!(
        (&verdict["ok"], &verdict["key_id"]),
        (&json!(true), &json!(ids[1]))
    );
    let last = stage.upstream("off").received().pop().expect("a test");
    assert_eq!(last.header("authorization"), Some("Bearer sk-two-22222222"));
    let status: Vec<String> = stage.query("SELECT status FROM channels ORDER BY id").await;
    assert_eq!(status[0], "disabled", "a test opens nothing");

    let verdict = test(&stage, "keyless", json!({})).await;
    assert_eq!((&verdict["ok"], &verdict["key_id"]), (&json!(true), &Value::Null));
    check_error(&test(&stage, "no key", json!({})).await, None, "no_key", "no key");
    check_error(
        &test(&stage, "no model", json!({})).await,
        None,
        "no_model",
        "no model",
    );
    assert_eq!(test(&stage, "no model", json!({"model": "m"})).await["ok"], true);
    let gemini = test(&stage, "off", json!({"protocol": "gemini"})).await;
    check_error(&gemini, None, "protocol_not_served", "gemini");
    stage.upstream_mut("keyless").stop();
    check_error(
        &test(&stage, "keyless", json!({})).await,
        None,
        "broken",
        "stopped",
    );

    let foreign = json!({"key_id": 999_999});
    problem(
        &stage
            .admin_answer(Method::POST, &path(&stage, "off"), foreign)
            .await,
        404,
        "not_found",
    );
    for id in ["999999", "x", "0"] {
        let path = format!("/api/channels/{id}/test");
        problem(
            &stage.admin_answer(Method::POST, &path, json!({})).await,
            404,
            "not_found",
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_of_all_kinds_are_tested_in_their_own_way() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    for (model, path) in [
        ("text-embedding-3-small", "/v1/embeddings"),
        ("jina-reranker", "/v1/rerank"),
        ("omni-moderation-latest", "/v1/moderations"),
        ("gpt-4o", "/v1/chat/completions"),
    ] {
        let verdict = test(&stage, "a", json!({"model": model})).await;
        assert_eq!(verdict["ok"], true, "{verdict}");
        assert_eq!(stage.upstream("a").received().pop().expect("a test").path, path);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_tested_at_once() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", works().with("tag", "x"))
        .channel("b", ordered("500").with("tag", "x"))
        .channel("c", works())
        .await;
    stage.set_status("c", "disabled").await;
    let (a, b, c) = (stage.id("a"), stage.id("b"), stage.id("c"));
    let many = async |body: Value| {
        let answer = call(&stage, Method::POST, "/api/channels/test", body, 200).await;
        let items = answer["items"].as_array().expect("items").clone();
        assert_eq!(answer["total"], json!(items.len()));
        let told = items.iter().map(|item| {
            (
                item["channel_id"].as_i64(),
                item["ok"] == true,
                item["error"]["code"].as_str().unwrap_or("").to_owned(),
            )
        });
        told.collect::<Vec<_>>()
    };
    let told = |id: i64, ok: bool, code: &str| (Some(id), ok, code.to_owned());
    assert_eq!(
        many(json!({"tag": "x"})).await,
        [told(a, true, ""), told(b, false, "broken")]
    );
    assert_eq!(
        many(json!({"status": "disabled", "stream": true})).await,
        [told(c, true, "")]
    );
    let ids = json!({"ids": [c, a, 999_999, a]});
    assert_eq!(
        many(ids).await,
        [
            told(a, true, ""),
            told(c, true, ""),
            told(999_999, false, "not_found")
        ]
    );
    assert_eq!(many(json!({"tag": "nobody's"})).await, []);
    assert_eq!(
        stage
            .query::<String>("SELECT status FROM channels ORDER BY id")
            .await[2],
        "disabled"
    );

    let check = async |body: Value, fields: &[&str]| {
        let answer = stage.admin_answer(Method::POST, "/api/channels/test", body).await;
        assert_eq!(problem(&answer, 422, "invalid_fields"), fields, "{answer:?}");
    };
    check(json!({}), &["ids"]).await;
    check(json!({"ids": []}), &["ids"]).await;
    check(json!({"ids": vec![1; 101]}), &["ids"]).await;
    check(json!({"ids": [1], "tag": "x"}), &["tag"]).await;
    check(json!({"tag": ""}), &["tag"]).await;
    check(json!({"status": "open"}), &["status"]).await;
    check(json!({"ids": [1], "protocol": "soap"}), &["protocol"]).await;
    check(json!({"ids": [1], "model": "a\nb"}), &["model"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_is_asked_what_it_serves() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("").models(&[]))
        .channel("dead", speaks_all("wrong_key"))
        .channel("web page", speaks_all("garbage"))
        .channel("no key", works().with("keys", json!([])))
        .await;
    let path = |channel: &str| format!("/api/channels/{}/upstream-models", stage.id(channel));
    for protocol in ["", "?protocol=openai", "?protocol=anthropic", "?protocol=gemini"] {
        let path = format!("{}{protocol}", path("a"));
        let told = call(&stage, Method::GET, &path, Value::Null, 200).await;
        let models = told["models"].as_array().expect("models");
        assert!(
            !models.is_empty() && models.iter().all(Value::is_string),
            "{told}"
        );
        assert!(!told.to_string().contains("models/"), "{told}");
    }
    for (channel, word) in [("dead", "refused"), ("web page", "broken"), ("no key", "no_key")] {
        let answer = stage.admin_answer(Method::GET, &path(channel), Value::Null).await;
        problem(&answer, 502, "upstream_failed");
        let text = answer.text();
        assert!(
            text.contains(word) && !text.contains("sk-test") && !text.contains("WXYZ"),
            "{answer:?}"
        );
    }
    let bad = format!("{}?protocol=soap", path("a"));
    problem(
        &stage.admin_answer(Method::GET, &bad, Value::Null).await,
        400,
        "invalid_query",
    );
    let nobody = stage
        .admin_answer(Method::GET, "/api/channels/999999/upstream-models", Value::Null)
        .await;
    problem(&nobody, 404, "not_found");
}
