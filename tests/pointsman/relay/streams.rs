//! Streams pass as they come, and one that is cut is never passed off as whole.

use super::asks::{CHAT, MODEL, one_stream_of_each, speaks_all};
use crate::databases::Kind;
use crate::stage::{Stage, chat_body, with_json};
use crate::upstream::ordered;
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_protocols_stream_passes_to_its_end() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("all", speaks_all("tokens=7"))
        .await;
    for (path, body, end) in one_stream_of_each(MODEL) {
        let answer = stage.relay(&path, body).await.expect(200);
        assert!(
            answer
                .header("content-type")
                .is_some_and(|kind| kind.starts_with("text/event-stream")),
            "{answer:?}"
        );
        assert_eq!(answer.channel(), Some(stage.id("all")), "{path}");
        let text = answer.text();
        let last = text.trim_end().rsplit("\n\n").next().unwrap_or_default();
        assert!(last.contains(end), "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_while_the_upstream_still_speaks() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("all", speaks_all("tokens=200,gap_ms=100"))
        .await;
    for (path, body, _) in one_stream_of_each(MODEL) {
        let request = stage.request(Method::POST, &path).bearer_auth(stage.token());
        let mut chunks = with_json(request, &body)
            .send()
            .await
            .expect("headers")
            .bytes_stream();
        let first = chunks.next().await.expect("a chunk").expect("bytes");
        assert!(!first.is_empty());
        let received = stage.upstream("all").received().pop().expect("it came");
        assert_eq!(received.ended, None, "{path}");
        assert!(received.events < 20, "{path}: {}", received.events);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_stream_ends_with_the_protocols_error_and_without_an_end() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("all", speaks_all("tokens=9,cut=4"))
        .await;
    for (path, body, end) in one_stream_of_each(MODEL) {
        let request = stage.request(Method::POST, &path).bearer_auth(stage.token());
        let mut chunks = with_json(request, &body)
            .send()
            .await
            .expect("headers")
            .bytes_stream();
        let mut text = String::new();
        let cut = loop {
            match chunks.next().await {
                Some(Ok(chunk)) => text.push_str(&String::from_utf8_lossy(&chunk)),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        assert!(cut, "the connection closes behind an error event: {path}");
        assert!(!text.contains(end), "{path}: {text}");
        let last = text.trim_end().rsplit("\n\n").next().unwrap_or_default();
        let data = last
            .lines()
            .find_map(|line| line.strip_prefix("data:"))
            .unwrap_or_default();
        let error: Value = serde_json::from_str(data).unwrap_or_default();
        let error = if path == "/v1/responses" {
            &error["response"]["error"]
        } else {
            &error["error"]
        };
        assert!(error.is_object(), "{path}: {last}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_stream_ends_within_its_idle_timeout() {
    let settings = json!({"timeouts": {"idle": 0.3}});
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("stall=3").settings(settings))
        .await;
    let request = stage.request(Method::POST, CHAT).bearer_auth(stage.token());
    let mut body = chat_body(MODEL);
    body["stream"] = json!(true);
    let mut chunks = with_json(request, &body)
        .send()
        .await
        .expect("headers")
        .bytes_stream();
    let mut text = String::new();
    while let Some(Ok(chunk)) = chunks.next().await {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert!(
        text.contains("upstream_timeout") && !text.contains("[DONE]"),
        "{text}"
    );
    crate::eventually::eventually(Duration::from_secs(2), async || {
        let received = stage.upstream("a").received().pop().expect("it came");
        received.ended.ok_or(received.events)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_events_are_dropped_and_missing_ends_completed() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("tokens=6,malformed=3"))
        .channel("b", ordered("tokens=6,no_end").models(&["endless"]))
        .await;
    let answer = stage.chat_stream(MODEL).await.expect(200);
    let data = |text: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix("data: ").map(str::to_owned))
            .collect::<Vec<_>>()
    };
    for event in data(&answer.text()) {
        assert!(
            event == "[DONE]" || serde_json::from_str::<Value>(&event).is_ok(),
            "{event}"
        );
    }
    let answer = stage.chat_stream("endless").await.expect(200);
    assert_eq!(data(&answer.text()).last().map(String::as_str), Some("[DONE]"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_slows_its_upstream() {
    // Far more than all buffers on the way hold.
    let faults = "tokens=400000,chunk=100,text=pointsman-backpressure-word";
    let stage = Stage::new(Kind::Sqlite).channel("a", ordered(faults)).await;
    let request = stage.request(Method::POST, CHAT).bearer_auth(stage.token());
    let mut body = chat_body(MODEL);
    body["stream"] = json!(true);
    let mut chunks = with_json(request, &body)
        .send()
        .await
        .expect("headers")
        .bytes_stream();
    chunks.next().await.expect("a chunk").expect("bytes");
    // Nothing is read; the upstream comes to a stand before its end.
    let mut seen = (0, 0);
    crate::eventually::eventually(Duration::from_secs(10), async || {
        let received = stage.upstream("a").received().pop().expect("it came");
        seen = if received.events == seen.0 {
            (seen.0, seen.1 + 1)
        } else {
            (received.events, 0)
        };
        if seen.1 > 50 { Ok(()) } else { Err(seen) }
    })
    .await;
    let received = stage.upstream("a").received().pop().expect("it came");
    assert_eq!(received.ended, None, "{} events", received.events);
}
