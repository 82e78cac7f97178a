//! No secret reaches the log, however much is logged and whatever goes wrong.

use reqwest::Method;
use serde_json::{Value, json};
use url::Url;

use crate::answer::Answer;
use crate::relay::asks::{ask_as, one_of_each, one_stream_of_each, speaks_all};
use crate::stage::{Stage, chat_body, with_json};
use crate::upstream::ordered;

const KEYS: [&str; 7] = [
    "sk-hidden-works-1111",
    "sk-hidden-fails-2222",
    "sk-hidden-wrong-3333",
    "sk-hidden-reset-4444",
    "sk-hidden-added-5555",
    "sk-hidden-put-66666",
    "sk-hidden-misplaced-7777",
];
const WRONG_TOKEN: &str = "sk-nobodys-token-8888";
const WRONG_ADMIN: &str = "nobodys-admin-token-9999";
const OVERRIDE: &str = "hidden-in-an-override-0000";

on_each_database! {
    async fn no_key_and_no_token_is_logged_at_any_level(kind: Kind) {
        let stage = Stage::new(kind)
            .channel("works", speaks_all("").keys(&[KEYS[0]]).with("header_override", json!({"x-account": OVERRIDE})))
            .channel("fails", ordered("500").keys(&[KEYS[1]]).models(&["fails"]))
            .channel("wrong", ordered("wrong_key").keys(&[KEYS[2]]).models(&["wrong"]))
            .channel("reset", ordered("reset").keys(&[KEYS[3]]).models(&["reset"]))
            .variable("RUST_LOG", "debug,pointsman=trace")
            .await;
        let token = stage.token().to_owned();
        clients(&stage, &token).await;
        clients(&stage, WRONG_TOKEN).await;
        let made = operators(&stage).await;
        stage.sql("ALTER TABLE channel_keys RENAME TO elsewhere").await;
        let answer = stage.admin_answer(Method::POST, &keys_path(&stage), json!({"keys": [KEYS[4]]})).await;
        assert!(answer.status >= 500, "{answer:?}");
        stage.admin_answer(Method::POST, "/api/routing/rebuild", Value::Null).await.expect(503);
        clients(&stage, &token).await;

        assert!(!stage.log().with("debug ").is_empty(), "it was logged as much as that");
        for secret in KEYS.iter().copied().chain([WRONG_TOKEN, WRONG_ADMIN, OVERRIDE, &token, stage.admin_token(), &made]) {
            stage.log().assert_without(secret);
            stage.node().stdout().assert_without(secret);
        }
        if let Some(password) = Url::parse(stage.database().url()).expect("a URL").password() {
            stage.log().assert_without(password);
        }
    }
}

/// Every place where a token may stand, every protocol, plain and streamed, good and bad.
async fn clients(stage: &Stage, token: &str) {
    for (path, body) in one_of_each("gpt-4o") {
        ask_as(stage, token, &path, &body).await;
        for header in ["x-api-key", "api-key", "x-goog-api-key"] {
            let request = stage.request(Method::POST, &path).header(header, token);
            Answer::to(with_json(request, &body)).await;
        }
        Answer::to(with_json(
            stage.request(Method::POST, &format!("{path}?key={token}")),
            &body,
        ))
        .await;
        Answer::to(with_json(
            stage.request(Method::POST, &format!("{path}?alt=json&key={token}")),
            &json!("[{"),
        ))
        .await;
    }
    for (path, body, _) in one_stream_of_each("gpt-4o") {
        ask_as(stage, token, &path, &body).await;
    }
    for model in ["fails", "wrong", "reset", "unknown"] {
        ask_as(stage, token, "/v1/chat/completions", &chat_body(model)).await;
    }
    for path in [
        "/v1beta/models",
        "/v1/models",
        "/nowhere",
        "/api/nowhere",
        "/livez",
    ] {
        Answer::to(stage.request(Method::GET, &format!("{path}?key={token}"))).await;
        Answer::to(stage.request(Method::PUT, &format!("{path}?key={token}"))).await;
    }
}

fn keys_path(stage: &Stage) -> String {
    format!("/api/channels/{}/keys", stage.id("works"))
}

/// Calls with secrets in them, at the right places and at wrong ones; the key of a token that was made.
async fn operators(stage: &Stage) -> String {
    let keys = keys_path(stage);
    stage
        .admin_answer(Method::POST, &keys, json!({"keys": [KEYS[4]]}))
        .await;
    let listed = stage.admin_answer(Method::GET, &keys, Value::Null).await.json();
    let id = &listed["items"][0]["id"];
    stage
        .admin_answer(Method::PUT, &format!("{keys}/{id}"), json!({"secret": KEYS[5]}))
        .await;
    for body in [
        json!({"keys": KEYS[6]}),
        json!({"keys": [{"secret": KEYS[6]}]}),
        json!({KEYS[6]: true}),
        json!({"name": "x", "provider": "openai", "base_url": KEYS[6]}),
        json!(KEYS[6]),
    ] {
        for path in [keys.as_str(), "/api/channels", "/api/tokens"] {
            let answer = stage.admin_answer(Method::POST, path, body.clone()).await;
            assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        }
    }
    let broken = stage
        .request(Method::POST, &keys)
        .bearer_auth(stage.admin_token())
        .header("content-type", "application/json")
        .body(format!(r#"{{"keys": ["{}""#, KEYS[6]));
    Answer::to(broken).await.expect(400);
    let stranger = stage
        .request(Method::GET, "/api/routing")
        .bearer_auth(WRONG_ADMIN);
    Answer::to(stranger).await.expect(401);
    stage
        .new_token(json!({"name": "made", "groups": ["default"]}))
        .await
}
