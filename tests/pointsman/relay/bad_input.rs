//! Whatever is sent to whichever relay route: a clear error in the route's protocol, no panic, no 500.

use super::asks::{MODEL, code_of, speaks_all};
use crate::answer::Answer;
use crate::databases::Kind;
use crate::stage::Stage;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

const JSON: &str = "application/json";
const MAX_BODY: usize = 300_000;
const FORM: &str = "multipart/form-data; boundary=edge";

/// Every route of OpenAI and Anthropic, whose model stands in the body; true where a form may stand for the JSON.
const NAMED_IN_BODY: [(&str, bool); 15] = [
    ("/v1/chat/completions", false),
    ("/v1/completions", false),
    ("/v1/responses", false),
    ("/v1/responses/compact", false),
    ("/v1/embeddings", false),
    ("/v1/images/generations", false),
    ("/v1/images/edits", true),
    ("/v1/images/variations", true),
    ("/v1/audio/speech", false),
    ("/v1/audio/transcriptions", true),
    ("/v1/audio/translations", true),
    ("/v1/moderations", false),
    ("/v1/rerank", false),
    ("/v1/messages", false),
    ("/v1/messages/count_tokens", false),
];

/// Every route of Gemini, whose model stands in the path.
fn named_in_path(model: &str) -> Vec<String> {
    let actions = [
        "generateContent",
        "streamGenerateContent",
        "embedContent",
        "batchEmbedContents",
        "countTokens",
    ];
    let under = |version: &str| actions.map(|action| format!("/{version}/models/{model}:{action}"));
    [under("v1beta"), under("v1")].concat()
}

fn every_path() -> Vec<String> {
    let in_body = NAMED_IN_BODY.map(|(path, _)| path.to_owned());
    [in_body.to_vec(), named_in_path(MODEL)].concat()
}

async fn stage() -> Stage {
    let channel = speaks_all("").models(&[MODEL, "omni-moderation-latest", "dall-e-2"]);
    Stage::new(Kind::Sqlite)
        .channel("a", channel)
        .flag("--max-body", &MAX_BODY.to_string())
        .await
}

fn post(stage: &Stage, path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> RequestBuilder {
    stage
        .request(Method::POST, path)
        .bearer_auth(stage.token())
        .header("content-type", content_type)
        .body(body.into())
}

/// The error is in the shape of the path's protocol, with R4's name and words.
#[track_caller]
fn check(path: &str, sent: &str, answer: &Answer, status: u16, code: &str) {
    let sent = sent.chars().take(60).collect::<String>();
    assert_eq!(answer.status, status, "{path} {sent}: {answer:?}");
    assert_eq!(code_of(path, answer), code, "{path} {sent}: {answer:?}");
    let body = answer.json();
    let says = body.pointer("/error/message").and_then(Value::as_str);
    assert!(
        says.is_some_and(|words| words.len() > 10),
        "{path} {sent}: {answer:?}"
    );
    match path {
        _ if path.contains("/models/") => {
            assert_eq!(body["error"]["code"], status, "{path} {sent}: {body}")
        }
        "/v1/messages" | "/v1/messages/count_tokens" => {
            assert_eq!(body["type"], "error", "{path} {sent}: {body}")
        }
        _ => assert!(body["error"]["type"].is_string(), "{path} {sent}: {body}"),
    }
    assert!(
        answer.header("x-request-id").is_some(),
        "{path} {sent}: {answer:?}"
    );
    assert_eq!(
        answer.header("x-should-retry"),
        Some("false"),
        "{path} {sent}: {answer:?}"
    );
    assert_eq!(answer.header("x-pointsman-channel"), None, "{path} {sent}");
}

/// Nothing of it went upstream, nothing panicked, and the next question is answered.
async fn unharmed(stage: &Stage) {
    assert!(stage.upstream("a").received().is_empty());
    let panics = stage.log().with("panic");
    assert!(panics.is_empty(), "{panics:?}");
    stage.chat(MODEL).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_that_is_none_or_no_object_on_every_route() {
    let stage = stage().await;
    let nested = format!("{{\"model\":\"{MODEL}\",\"messages\":{}", "[".repeat(100_000));
    let bodies: [&[u8]; 12] = [
        b"",
        b" ",
        b"{",
        b"[]",
        b"null",
        b"\"model\"",
        b"1e400",
        b"\0",
        b"{\"model\":\"gpt-4o\xff\"}",
        b"{\"model\":\"gpt-4o\"",
        b"{\"model\":\"gpt-4o\"} {}",
        nested.as_bytes(),
    ];
    for path in every_path() {
        for body in bodies {
            let answer = Answer::to(post(&stage, &path, JSON, body)).await;
            check(
                &path,
                &String::from_utf8_lossy(body),
                &answer,
                400,
                "invalid_request",
            );
        }
    }
    unharmed(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_types_on_every_route_name_the_field() {
    let stage = stage().await;
    let long = "m".repeat(256);
    for (path, _) in NAMED_IN_BODY {
        for model in [
            json!(1),
            json!(true),
            json!([MODEL]),
            json!({"name": MODEL}),
            json!(""),
            json!("  "),
            json!(long),
        ] {
            let body = json!({"model": model, "stream": false}).to_string();
            let answer = Answer::to(post(&stage, path, JSON, body.clone())).await;
            check(path, &body, &answer, 400, "invalid_request");
            let message = answer.json()["error"]["message"].to_string();
            assert!(message.contains("model"), "{path} {body}: {message}");
        }
        for stream in [json!("yes"), json!(1), json!([]), json!({})] {
            let body = json!({"model": MODEL, "stream": stream}).to_string();
            let answer = Answer::to(post(&stage, path, JSON, body.clone())).await;
            check(path, &body, &answer, 400, "invalid_request");
            let message = answer.json()["error"]["message"].to_string();
            assert!(message.contains("stream"), "{path} {body}: {message}");
        }
    }
    let omitted = Answer::to(post(&stage, "/v1/messages", JSON, r#"{"model": null}"#)).await;
    check("/v1/messages", "null", &omitted, 400, "invalid_request");
    for model in ["%20", "%ff", &long] {
        for path in named_in_path(model) {
            let answer = Answer::to(post(&stage, &path, JSON, "{}")).await;
            check(&path, "{}", &answer, 400, "invalid_request");
        }
    }
    unharmed(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_that_are_none() {
    let stage = stage().await;
    let part = |name: &str, value: &str| {
        format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    for (path, _) in NAMED_IN_BODY.into_iter().filter(|(_, form)| *form) {
        for (content_type, body) in [
            ("multipart/form-data", part("model", MODEL) + "--edge--\r\n"),
            (FORM, String::new()),
            (FORM, "no part".to_owned()),
            (FORM, part("model", MODEL)),
            (FORM, part("model", &"m".repeat(256)) + "--edge--\r\n"),
            (FORM, part("model", " ") + "--edge--\r\n"),
        ] {
            let answer = Answer::to(post(&stage, path, content_type, body.clone())).await;
            check(path, &body, &answer, 400, "invalid_request");
        }
    }
    unharmed(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_long_on_every_route() {
    let stage = stage().await;
    let body = json!({"model": MODEL, "input": "x".repeat(MAX_BODY)}).to_string();
    for path in every_path() {
        let answer = Answer::to(post(&stage, &path, JSON, body.clone())).await;
        check(&path, "a long body", &answer, 413, "request_too_large");
    }
    unharmed(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_models_on_every_route() {
    let stage = stage().await;
    let body = json!({"model": "unknown"}).to_string();
    for (path, _) in NAMED_IN_BODY {
        let answer = Answer::to(post(&stage, path, JSON, body.clone())).await;
        check(path, &body, &answer, 404, "model_not_found");
    }
    for path in named_in_path("unknown") {
        let answer = Answer::to(post(&stage, &path, JSON, "{}")).await;
        check(&path, "{}", &answer, 404, "model_not_found");
    }
    unharmed(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tokens_on_every_route() {
    let stage = stage().await;
    let long = "x".repeat(5_000);
    let body = json!({"model": MODEL}).to_string();
    for path in every_path() {
        let bare = || {
            stage
                .request(Method::POST, &path)
                .header("content-type", JSON)
                .body(body.clone())
        };
        for (what, request) in [
            ("none", bare()),
            ("a wrong one", bare().bearer_auth("sk-wrong")),
            ("an empty one", bare().header("authorization", "Bearer ")),
            ("a long one", bare().header("x-api-key", &long)),
            ("basic", bare().basic_auth("user", Some(stage.token()))),
            (
                "the admin's",
                bare().header("x-goog-api-key", stage.admin_token()),
            ),
        ] {
            let answer = Answer::to(request).await;
            check(&path, what, &answer, 401, "invalid_token");
        }
    }
    unharmed(&stage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_methods_and_unknown_routes() {
    let stage = stage().await;
    let ask = async |method: Method, path: &str| {
        Answer::to(stage.request(method, path).bearer_auth(stage.token())).await
    };
    for (path, _) in NAMED_IN_BODY {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            let answer = ask(method.clone(), path).await.expect(405);
            assert_eq!(answer.header("allow"), Some("POST, OPTIONS"), "{method} {path}");
            assert!(answer.json()["error"]["message"].is_string(), "{method} {path}");
        }
    }
    for path in named_in_path(MODEL) {
        ask(Method::PUT, &path).await.expect(405);
    }
    for path in [
        "/v1/chat",
        "/v1/chat/completions/",
        "/v1/files",
        "/v1beta/chat/completions",
        "/v1beta/models/gpt-4o",
        "/v1beta/models/gpt-4o:unknownAction",
    ] {
        let answer = ask(Method::POST, path).await.expect(404);
        assert!(answer.header("x-request-id").is_some(), "{path}: {answer:?}");
    }
    unharmed(&stage).await;
}
