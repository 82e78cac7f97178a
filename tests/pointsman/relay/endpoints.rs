//! Every route reaches its upstream byte for byte, and its answer comes back.

use super::asks::{MODEL, gemini_body, messages_body, speaks_all};
use crate::answer::Answer;
use crate::databases::Kind;
use crate::stage::{Stage, chat_body, with_json};
use crate::upstream::{ordered, works};
use hex::encode;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

fn json_endpoints() -> Vec<(&'static str, Value)> {
    let chat = chat_body(MODEL);
    vec![
        ("/v1/chat/completions", chat),
        ("/v1/completions", json!({"model": MODEL, "prompt": "hello"})),
        ("/v1/responses", json!({"model": MODEL, "input": "hello"})),
        ("/v1/responses/compact", json!({"model": MODEL, "input": "hello"})),
        ("/v1/embeddings", json!({"model": MODEL, "input": ["a", "b"]})),
        (
            "/v1/images/generations",
            json!({"model": MODEL, "prompt": "a cat"}),
        ),
        (
            "/v1/audio/speech",
            json!({"model": MODEL, "input": "hello", "voice": "alloy"}),
        ),
        ("/v1/moderations", json!({"model": MODEL, "input": "hello"})),
        (
            "/v1/rerank",
            json!({"model": MODEL, "query": "q", "documents": ["a", "b"]}),
        ),
        ("/v1/messages", messages_body(MODEL)),
        (
            "/v1/messages/count_tokens",
            json!({"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}),
        ),
        ("/v1beta/models/gpt-4o:generateContent", gemini_body()),
        ("/v1/models/gpt-4o:generateContent", gemini_body()),
        ("/v1beta/models/gpt-4o:streamGenerateContent", gemini_body()),
        (
            "/v1beta/models/gpt-4o:embedContent",
            json!({"content": {"parts": [{"text": "a"}]}}),
        ),
        (
            "/v1beta/models/gpt-4o:batchEmbedContents",
            json!({"requests": [{"model": "models/gpt-4o", "content": {"parts": [{"text": "a"}]}}]}),
        ),
        ("/v1beta/models/gpt-4o:countTokens", gemini_body()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_json_endpoint_passes_byte_for_byte() {
    let stage = Stage::new(Kind::Sqlite).channel("all", speaks_all("")).await;
    for (path, body) in json_endpoints() {
        // White space, order and doubled keys would not survive being parsed.
        let sent = body.to_string().replacen('{', "{ \"z\" :1e0,\n\"z\":\t2, ", 1);
        let request = stage.request(Method::POST, path).bearer_auth(stage.token());
        let answer = Answer::to(
            request
                .header("content-type", "application/json")
                .body(sent.clone()),
        )
        .await
        .expect(200);
        assert_eq!(answer.channel(), Some(stage.id("all")), "{path}");
        assert_eq!(answer.header("x-pointsman-model"), Some(MODEL), "{path}");
        assert_eq!(answer.header("x-pointsman-attempts"), Some("1"), "{path}");
        assert!(answer.header("x-request-id").is_some(), "{path}");
        let received = stage.upstream("all").received().pop().expect("it came");
        assert_eq!((received.path.as_str(), received.query.as_str()), (path, ""));
        assert_eq!(received.body_sha256(), encode(Sha256::digest(&sent)), "{path}");
    }
}

const FORM: &str = "pointsman-test-boundary";

fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in fields {
        let part = format!("--{FORM}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let file = format!(
        "--{FORM}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    body.extend_from_slice(file.as_bytes());
    body.extend(0..=255u8);
    body.extend_from_slice(format!("\r\n--{FORM}--\r\n").as_bytes());
    body
}

async fn post_form(stage: &Stage, path: &str, body: Vec<u8>) -> Answer {
    let request = stage.request(Method::POST, path).bearer_auth(stage.token());
    let content_type = format!("multipart/form-data; boundary={FORM}");
    Answer::to(request.header("content-type", content_type).body(body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_pass_byte_for_byte_but_for_mappings_and_overrides() {
    let mapped = works()
        .models(&["mapped"])
        .with("model_mapping", json!({"mapped": "real"}))
        .with("param_override", json!({"prompt": "y", "language": "en"}));
    let stage = Stage::new(Kind::Sqlite)
        .channel("same", works())
        .channel("mapped", mapped)
        .await;
    for path in [
        "/v1/audio/transcriptions",
        "/v1/audio/translations",
        "/v1/images/edits",
        "/v1/images/variations",
    ] {
        let sent = form(&[("prompt", "x"), ("model", MODEL)]);
        post_form(&stage, path, sent.clone()).await.expect(200);
        let received = stage.upstream("same").received().pop().expect("it came");
        assert_eq!(received.body_sha256(), encode(Sha256::digest(&sent)), "{path}");

        let answer = post_form(&stage, path, form(&[("model", "mapped"), ("prompt", "x")]))
            .await
            .expect(200);
        assert_eq!(answer.header("x-pointsman-model"), Some("mapped"));
        let received = stage.upstream("mapped").received().pop().expect("it came");
        assert_eq!(
            received.body_sha256(),
            encode(Sha256::digest(form(&[
                ("language", "en"),
                ("model", "real"),
                ("prompt", "y")
            ]))),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channels_mapping_and_overrides_are_applied() {
    let channel = speaks_all("")
        .models(&["asked", "a/b"])
        .with("model_mapping", json!({"asked": "real/name", "a/b": "c d"}))
        .with(
            "param_override",
            json!({"temperature": 0.5, "seed": null, "nested": {"b": 2}}),
        );
    let stage = Stage::new(Kind::Sqlite).channel("all", channel).await;
    let body = json!({"model": "asked", "messages": [{"role": "user", "content": "x"}], "seed": 1, "nested": {"a": 1}});
    let answer = stage.relay("/v1/chat/completions", body).await.expect(200);
    assert_eq!(answer.header("x-pointsman-model"), Some("asked"));
    let received = stage.upstream("all").received().pop().expect("it came");
    let seen: Value = serde_json::from_slice(&received.body).expect("JSON");
    assert_eq!(
        seen,
        json!({"model": "real/name", "messages": [{"role": "user", "content": "x"}],
            "temperature": 0.5, "nested": {"a": 1, "b": 2}})
    );
    for (path, want) in [
        (
            "/v1beta/models/asked:generateContent?x=%20y",
            "/v1beta/models/real/name:generateContent",
        ),
        (
            "/v1beta/models/a%2Fb:generateContent?x=%20y",
            "/v1beta/models/c%20d:generateContent",
        ),
    ] {
        stage.relay(path, gemini_body()).await.expect(200);
        let received = stage.upstream("all").received().pop().expect("it came");
        assert_eq!(
            (received.path.as_str(), received.query.as_str()),
            (want, "x=%20y")
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_omitted_model_is_the_one_that_openai_takes() {
    let models = ["omni-moderation-latest", "dall-e-2"];
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", works().models(&models))
        .await;
    for (path, body, model) in [
        ("/v1/moderations", json!({"input": "x"}), models[0]),
        ("/v1/images/generations", json!({"prompt": "x"}), models[1]),
    ] {
        let answer = stage.relay(path, body).await.expect(200);
        assert_eq!(answer.header("x-pointsman-model"), Some(model));
    }
    let answer = stage
        .relay("/v1/embeddings", json!({"input": "x"}))
        .await
        .expect(400);
    assert_eq!(answer.json()["error"]["param"], "model");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_and_binary_answers_pass_whole() {
    let size = 3_000_000;
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered(&format!("size={size}")))
        .await;
    let answer = stage.chat(MODEL).await.expect(200);
    assert_eq!(answer.said().map(|text| text.len()), Some(size));
    let speech = json!({"model": MODEL, "input": "x", "voice": "alloy"});
    let answer = stage.relay("/v1/audio/speech", speech).await.expect(200);
    assert!(answer.body.len() >= size, "{}", answer.body.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_compressed_unasked_is_decoded() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("gzip"))
        .channel("b", ordered("zstd").models(&["z"]))
        .await;
    for model in [MODEL, "z"] {
        let answer = stage.chat(model).await.expect(200);
        assert_eq!(answer.header("content-encoding"), None);
        assert!(answer.said().is_some(), "{answer:?}");
        let streamed = stage.chat_stream(model).await.expect(200);
        assert!(streamed.text().trim_end().ends_with("[DONE]"), "{streamed:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_taken_from_each_of_its_places_and_the_first_of_ours_counts() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    let body = chat_body(MODEL);
    let post = |path: &str| with_json(stage.request(Method::POST, path), &body);
    let token = stage.token();
    for header in ["x-api-key", "api-key", "x-goog-api-key"] {
        Answer::to(post("/v1/chat/completions").header(header, token))
            .await
            .expect(200);
    }
    Answer::to(post(&format!("/v1/chat/completions?key={token}")))
        .await
        .expect(200);
    let other = post("/v1/chat/completions")
        .bearer_auth("somebody-elses")
        .header("x-api-key", token);
    Answer::to(other).await.expect(200);
    Answer::to(post("/v1/chat/completions")).await.expect(401);
    for received in stage.upstream("a").received() {
        assert_eq!(received.header("authorization"), Some("Bearer sk-practice-a"));
        assert!(!format!("{received:?}").contains(token), "{received:?}");
    }
}
