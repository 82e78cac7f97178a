//! Bodies are read within their bound, and bad ones are told so.

use super::asks::{CHAT, MODEL, code_of, one_of_each, speaks_all};
use crate::answer::Answer;
use crate::databases::Kind;
use crate::stage::{Stage, chat_body};
use crate::upstream::works;
use async_compression::tokio::write::{GzipEncoder, ZstdEncoder};
use futures::stream;
use reqwest::{Body, Method, RequestBuilder};
use std::io;
use tokio::io::AsyncWriteExt;

const MAX: usize = 10_000;

async fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(plain).await.expect("memory");
    encoder.shutdown().await.expect("memory");
    encoder.into_inner()
}

async fn zstd(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZstdEncoder::new(Vec::new());
    encoder.write_all(plain).await.expect("memory");
    encoder.shutdown().await.expect("memory");
    encoder.into_inner()
}

fn post(stage: &Stage, path: &str) -> RequestBuilder {
    let request = stage.request(Method::POST, path).bearer_auth(stage.token());
    request.header("content-type", "application/json")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_gets_413_in_its_protocol() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all(""))
        .flag("--max-body", &MAX.to_string())
        .await;
    for (path, mut body) in one_of_each(MODEL) {
        body["padding"] = "x".repeat(MAX).into();
        let body = body.to_string();
        let pieces = body
            .as_bytes()
            .chunks(1000)
            .map(|piece| Ok::<_, io::Error>(piece.to_vec()));
        let chunked = Body::wrap_stream(stream::iter(pieces.collect::<Vec<_>>()));
        let bomb = gzip(body.as_bytes()).await;
        for (what, request) in [
            ("announced", post(&stage, &path).body(body.clone())),
            ("chunked", post(&stage, &path).body(chunked)),
            (
                "decoded",
                post(&stage, &path).header("content-encoding", "gzip").body(bomb),
            ),
        ] {
            let answer = Answer::to(request).await.expect(413);
            assert_eq!(
                code_of(&path, &answer),
                "request_too_large",
                "{path} {what}: {answer:?}"
            );
            assert_eq!(answer.header("x-should-retry"), Some("false"));
        }
    }
    assert!(stage.upstream("a").received().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gzip_and_zstd_are_decoded_and_others_get_415() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    let plain = chat_body(MODEL).to_string();
    for (encoding, body) in [
        ("gzip", gzip(plain.as_bytes()).await),
        ("zstd", zstd(plain.as_bytes()).await),
    ] {
        Answer::to(post(&stage, CHAT).header("content-encoding", encoding).body(body))
            .await
            .expect(200);
        let received = stage.upstream("a").received().pop().expect("it came");
        assert_eq!(received.body, plain.as_bytes());
        assert_eq!(received.header("content-encoding"), None);
    }
    for encoding in ["br", "deflate", "gzip, zstd"] {
        let answer = Answer::to(
            post(&stage, CHAT)
                .header("content-encoding", encoding)
                .body(plain.clone()),
        )
        .await
        .expect(415);
        assert_eq!(answer.code().as_deref(), Some("unsupported_encoding"));
    }
    let answer = Answer::to(
        post(&stage, CHAT)
            .header("content-encoding", "gzip")
            .body(plain.clone()),
    )
    .await
    .expect(400);
    assert_eq!(answer.code().as_deref(), Some("invalid_request"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_bodies_get_400_that_names_the_field() {
    let stage = Stage::new(Kind::Sqlite).channel("a", speaks_all("")).await;
    for (path, body, param) in [
        (CHAT, "{", None),
        (CHAT, "[]", None),
        (CHAT, "", None),
        (CHAT, "\u{0}", None),
        (CHAT, r#"{"model":1}"#, Some("model")),
        (CHAT, r#"{"model":""}"#, Some("model")),
        (CHAT, r#"{"messages":[]}"#, Some("model")),
        (CHAT, r#"{"model":"gpt-4o","stream":"yes"}"#, Some("stream")),
        ("/v1/messages", r#"{"model":null}"#, Some("model")),
        ("/v1beta/models/gpt-4o:generateContent", "no JSON", None),
        ("/v1beta/models/%20:generateContent", "{}", None),
        ("/v1beta/models/%ff:generateContent", "{}", None),
    ] {
        let answer = Answer::to(post(&stage, path).body(body)).await.expect(400);
        assert!(
            answer.json()["error"]["message"].is_string(),
            "{path} {body}: {answer:?}"
        );
        if path.starts_with("/v1/chat") {
            assert_eq!(answer.json()["error"]["param"].as_str(), param, "{body}");
        }
    }
    let long = format!(r#"{{"model":"{}"}}"#, "m".repeat(256));
    Answer::to(post(&stage, CHAT).body(long)).await.expect(400);
    let form = post(&stage, "/v1/audio/transcriptions")
        .header("content-type", "multipart/form-data")
        .body("x");
    Answer::to(form).await.expect(400);
    assert!(stage.upstream("a").received().is_empty());
}
