//! What section by section stays here, in either direction.

use super::asks::{CHAT, MESSAGES, MODEL, messages_body, speaks_all};
use crate::answer::Answer;
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::stage::{Stage, chat_body, with_json};
use crate::upstream::{ordered, works};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_back_never_goes_upstream() {
    let channel = works().with(
        "header_override",
        json!({"openai-project": "proj-operator", "x-removed": null}),
    );
    let stage = Stage::new(Kind::Sqlite).channel("a", channel).await;
    let mut request = stage.request(Method::POST, CHAT).bearer_auth(stage.token());
    for (name, value) in [
        ("accept-encoding", "gzip, br"),
        ("cookie", "a=b"),
        ("origin", "https://site"),
        ("referer", "https://site/x"),
        ("forwarded", "for=1.2.3.4"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("proxy-authorization", "Basic eDp5"),
        ("te", "trailers"),
        ("openai-organization", "org-client"),
        ("openai-project", "proj-client"),
        ("x-goog-user-project", "p"),
        ("anthropic-workspace-id", "w"),
        ("x-removed", "1"),
        ("x-kept", "1"),
        ("openai-beta", "assistants=v2"),
        ("user-agent", "sdk/1"),
    ] {
        request = request.header(name, value);
    }
    Answer::to(with_json(request, &chat_body(MODEL)))
        .await
        .expect(200);
    let received = stage.upstream("a").received().pop().expect("it came");
    for gone in [
        "cookie",
        "origin",
        "referer",
        "forwarded",
        "x-forwarded-for",
        "x-forwarded-proto",
        "proxy-authorization",
        "te",
        "openai-organization",
        "x-goog-user-project",
        "anthropic-workspace-id",
        "x-removed",
    ] {
        assert_eq!(received.header(gone), None, "{gone}");
    }
    for (name, value) in [
        ("accept-encoding", "identity"),
        ("authorization", "Bearer sk-practice-a"),
        ("openai-project", "proj-operator"),
        ("x-kept", "1"),
        ("openai-beta", "assistants=v2"),
        ("user-agent", "sdk/1"),
    ] {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropics_version_is_kept_or_added() {
    let stage = Stage::new(Kind::Sqlite).channel("a", speaks_all("")).await;
    stage.relay(MESSAGES, messages_body(MODEL)).await.expect(200);
    let request = stage
        .request(Method::POST, MESSAGES)
        .header("x-api-key", stage.token());
    let request = request
        .header("anthropic-version", "2099-01-01")
        .header("anthropic-beta", "b1,b2");
    Answer::to(with_json(request, &messages_body(MODEL)))
        .await
        .expect(200);
    let received = stage.upstream("a").received();
    assert_eq!(received[0].header("anthropic-version"), Some("2023-06-01"));
    assert_eq!(received[1].header("anthropic-version"), Some("2099-01-01"));
    assert_eq!(received[1].header("anthropic-beta"), Some("b1,b2"));
    assert_eq!(received[1].header("x-api-key"), Some("sk-practice-a"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_from_clients_never_comes_back() {
    let faults = "header=set-cookie:a,header=alt-svc:h3,header=strict-transport-security:x,header=server:s,\
        header=access-control-allow-origin:https,header=openai-organization:o,header=openai-project:p,\
        header=anthropic-organization-id:o,header=x-should-retry:true,header=x-fine:yes";
    let stage = Stage::new(Kind::Sqlite).channel("a", ordered(faults)).await;
    for answer in [
        stage.chat(MODEL).await.expect(200),
        stage.chat_stream(MODEL).await.expect(200),
    ] {
        for gone in [
            "set-cookie",
            "alt-svc",
            "strict-transport-security",
            "server",
            "openai-organization",
            "openai-project",
            "anthropic-organization-id",
            "x-should-retry",
        ] {
            assert_eq!(answer.header(gone), None, "{gone}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("x-fine"), Some("yes"));
        let theirs = answer
            .header("x-upstream-request-id")
            .expect("the upstream's own");
        assert_ne!(answer.header("x-request-id"), Some(theirs));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_reaches_the_log() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("first=1:wrong_key"))
        .variable("RUST_LOG", "debug")
        .await;
    let body = chat_body(MODEL);
    for path in [
        "/v1/chat/completions",
        "/v1/nowhere",
        "/v1beta/models/gpt-4o:generateContent",
    ] {
        let path = format!("{path}?key={}", stage.token());
        Answer::to(with_json(stage.request(Method::POST, &path), &body)).await;
    }
    Answer::to(stage.request(Method::GET, &format!("/v1/models?key={}", stage.token())))
        .await
        .expect(200);
    stage.chat(MODEL).await;
    // The lines of requests are written a moment later.
    eventually(Duration::from_secs(5), async || {
        match stage.log().with("endpoint=chat/completions") {
            lines if lines.len() == 2 => Ok(()),
            lines => Err(lines),
        }
    })
    .await;
    stage.log().assert_without(stage.token());
    stage.log().assert_without("sk-practice-a");
}
