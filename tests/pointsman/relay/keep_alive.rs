//! While an upstream thinks, its client gets signs of life in its protocol's own form, and failover goes on behind them.

use super::asks::{CHAT, MODEL, one_stream_of_each, speaks_all};
use super::heard::{Heard, words};
use crate::databases::Kind;
use crate::stage::{Stage, chat_body};
use serde_json::json;
use std::time::Duration;

const INTERVAL: &str = "0.2";

/// What the stream begins with before any upstream has answered.
fn sign(path: &str) -> &'static str {
    match path.starts_with("/v1beta") {
        true => "\n",
        false => ": keep-alive\n\n",
    }
}

fn three() -> serde_json::Value {
    json!(["openai", "anthropic", "gemini"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_waits_hears_something_and_then_its_answer() {
    for slow in ["slow_first_token_ms=1500", "slow_first_byte_ms=1500"] {
        let stage = Stage::new(Kind::Sqlite)
            .channel("a", speaks_all(&format!("tokens=9,{slow}")))
            .flag("--keep-alive-interval", INTERVAL)
            .await;
        for (path, body, end) in one_stream_of_each(MODEL) {
            let heard = Heard::ask(&stage, &path, &body).await;
            assert!(
                heard.head_within < Duration::from_millis(1200),
                "{path}: {:?}",
                heard.head_within
            );
            let signs = heard.raw.len() - heard.raw.trim_start_matches(sign(&path)).len();
            assert!(signs / sign(&path).len() >= 3, "{path}: {heard:#?}");
            assert!(heard.raw.contains(end) && !heard.cut, "{path}: {heard:#?}");
            assert_eq!(heard.header("content-type"), Some("text/event-stream"));
            assert!(heard.header("x-request-id").is_some());
            assert_eq!(heard.header("x-pointsman-channel"), None, "{path}");
            if path != "/v1/responses" {
                heard.check_whole(&path, &words("word", 9));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failover_goes_on_behind_a_keep_alive() {
    let quick = json!({"protocols": three(), "timeouts": {"first_byte": 0.6, "first_token": 0.6}});
    for faults in [
        "silence",
        "slow_first_token_ms=60000",
        "slow_first_byte_ms=500,500",
    ] {
        let stage = Stage::new(Kind::Sqlite)
            .channel("a", speaks_all(faults).settings(quick.clone()).priority(10))
            .channel("b", speaks_all("tokens=9"))
            .flag("--keep-alive-interval", INTERVAL)
            .await;
        for (path, body, end) in one_stream_of_each(MODEL) {
            stage.upstream("b").forget();
            let heard = Heard::ask(&stage, &path, &body).await;
            assert!(
                heard.raw.contains(end) && !heard.cut,
                "{path} {faults}: {heard:#?}"
            );
            assert_eq!(stage.upstream("b").received().len(), 1, "{path} {faults}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_behind_a_keep_alive_is_the_protocols_error_event() {
    for faults in [
        "slow_first_byte_ms=500,503",
        "slow_first_byte_ms=500,reset",
        "slow_first_byte_ms=500,too_long",
        "slow_first_byte_ms=500,wrong_key",
        "slow_first_byte_ms=500,error_event",
    ] {
        let stage = Stage::new(Kind::Sqlite)
            // A key that is refused would be closed, and the next request be refused before any sign.
            .channel("a", speaks_all(faults).with("auto_disable", false))
            .flag("--keep-alive-interval", INTERVAL)
            .flag("--retries", "0")
            .flag("--retry-wait", "0")
            .await;
        for (path, body, _) in one_stream_of_each(MODEL) {
            let heard = Heard::ask(&stage, &path, &body).await;
            assert!(heard.raw.starts_with(sign(&path)), "{path} {faults}: {heard:#?}");
            heard.check_error(&path);
            assert!(!heard.raw.contains("sk-"), "{path} {faults}: {heard:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_body_behind_a_keep_alive_is_failed_over() {
    let plain = "slow_first_byte_ms=500,plain";
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all(plain).priority(10))
        .channel("b", speaks_all("tokens=9"))
        .flag("--keep-alive-interval", INTERVAL)
        .await;
    for (path, body, end) in one_stream_of_each(MODEL) {
        stage.upstream("a").forget();
        let heard = Heard::ask(&stage, &path, &body).await;
        assert!(heard.raw.starts_with(sign(&path)), "{path}: {heard:#?}");
        assert!(heard.raw.contains(end) && !heard.cut, "{path}: {heard:#?}");
        assert_eq!(heard.text(), words("word", 9), "{path}");
        assert_eq!(stage.upstream("a").received().len(), 1, "{path}");
    }
    // Nobody else: an error, and not three answers bought for nothing.
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all(plain))
        .flag("--keep-alive-interval", INTERVAL)
        .await;
    for (path, body, _) in one_stream_of_each(MODEL) {
        stage.upstream("a").forget();
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_error(&path);
        assert_eq!(stage.upstream("a").received().len(), 1, "{path}");
    }
    // Before any sign it is passed on as what it is.
    let stage = Stage::new(Kind::Sqlite).channel("a", speaks_all("plain")).await;
    let answer = stage.chat_stream(MODEL).await.expect(200);
    assert!(answer.said().is_some(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signs_go_on_between_words() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("tokens=3,gap_ms=700"))
        .flag("--keep-alive-interval", INTERVAL)
        .await;
    for (path, body, end) in one_stream_of_each(MODEL) {
        let heard = Heard::ask(&stage, &path, &body).await;
        assert!(heard.raw.contains(end) && !heard.cut, "{path}: {heard:#?}");
        let first_word = heard.raw.find("word1").expect("a word");
        let sign = match path.as_str() {
            "/v1/messages" => "event: ping\ndata: {\"type\": \"ping\"}\n\n",
            _ if path.starts_with("/v1beta") => "\n\n\n",
            _ => ": keep-alive\n\n",
        };
        assert!(
            heard.raw[first_word..].matches(sign).count() >= 2,
            "{path}: {heard:#?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_up_where_none_are_wanted() {
    // Off.
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("tokens=3,slow_first_token_ms=600"))
        .flag("--keep-alive-interval", "0")
        .await;
    for (path, body, _) in one_stream_of_each(MODEL) {
        let heard = Heard::ask(&stage, &path, &body).await;
        assert!(
            !heard.raw.contains("keep-alive") && !heard.raw.starts_with('\n'),
            "{path}: {heard:#?}"
        );
        assert!(heard.head_within >= Duration::from_millis(600));
        assert!(heard.header("x-pointsman-channel").is_some());
    }
    // Not a stream, or none of events.
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("tokens=3,slow_first_byte_ms=600"))
        .flag("--keep-alive-interval", INTERVAL)
        .await;
    let answer = stage.relay(CHAT, chat_body(MODEL)).await.expect(200);
    assert!(answer.said().is_some() && answer.channel().is_some());
    let path = format!("/v1beta/models/{MODEL}:streamGenerateContent");
    let answer = stage.relay(&path, super::asks::gemini_body()).await.expect(200);
    assert!(
        answer.json().is_array() && answer.channel().is_some(),
        "{answer:?}"
    );
}
