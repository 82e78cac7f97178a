//! An upstream's error in the midst of its stream: a cut like any other, and never told in a foreign form.

use super::asks::{CHAT, MESSAGES, MODEL, comparable_streams, one_stream_of_each, speaks_all, tool_streams};
use super::heard::{Heard, words};
use crate::databases::Kind;
use crate::stage::Stage;
use serde_json::{Value, json};

/// How upstreams write an error into a stream.
const FORMS: [&str; 5] = ["own", "unnamed", "openai", "bare", "chunk"];

async fn alone(faults: &str) -> Stage {
    Stage::new(Kind::Sqlite)
        // A key that is refused would be closed.
        .channel("a", speaks_all(faults).with("auto_disable", false))
        .flag("--retries", "0")
        .await
}

async fn then(first: &str, second: &str) -> Stage {
    Stage::new(Kind::Sqlite)
        .channel("a", speaks_all(first).priority(10))
        .channel("b", speaks_all(second))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_channel_goes_on_where_the_error_came() {
    for form in FORMS {
        let faults = format!("tokens=60,error_after=40,error_form={form}");
        let stage = then(&faults, "tokens=60,chunk=7").await;
        for (path, body) in comparable_streams() {
            stage.upstream("b").forget();
            let heard = Heard::ask(&stage, &path, &body).await;
            heard.check_whole(&path, &words("word", 60));
            assert_eq!(stage.upstream("b").received().len(), 1, "{path} {form}");
        }
    }
}

/// The error has what this protocol's clients read in one.
#[track_caller]
fn check_form(path: &str, heard: &Heard) {
    let error = heard.error(path).unwrap_or_default();
    assert!(error["message"].is_string(), "{path}: {heard:#?}");
    let last = heard.raw.trim_end().rsplit("\n\n").next().unwrap_or_default();
    match path {
        CHAT => {
            let event = &last["data: ".len()..];
            let event: Value = serde_json::from_str(event).expect("JSON");
            assert_eq!(event.as_object().map(serde_json::Map::len), Some(1), "{last}");
        }
        MESSAGES => assert!(error["type"].is_string(), "{last}"),
        "/v1/responses" => {
            assert!(error["code"].is_string(), "{last}");
            let numbers: Vec<u64> = heard
                .events()
                .iter()
                .filter_map(|event| event["sequence_number"].as_u64())
                .collect();
            let all: Vec<u64> = (0..numbers.len() as u64).collect();
            assert_eq!(numbers, all, "one number after the other");
            assert_eq!(
                heard.events().last().expect("one")["response"]["status"],
                "failed"
            );
        }
        _ => {
            assert!(last.starts_with("data: {\"error\":"), "{last}");
            assert!(error["code"].is_u64() && error["status"].is_string(), "{last}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nobody_takes_it_up_the_client_gets_its_own_protocols_error() {
    for form in FORMS {
        let stage = alone(&format!("tokens=9,error_after=4,error_form={form}")).await;
        for (path, body, _) in one_stream_of_each(MODEL) {
            let heard = Heard::ask(&stage, &path, &body).await;
            heard.check_error(&path);
            check_form(&path, &heard);
            assert_eq!(heard.text(), words("word", 4), "{path} {form}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_error_says_of_our_account_is_not_told() {
    for form in ["own", "bare", "chunk"] {
        let stage = alone(&format!("tokens=9,error_after=4,quota,error_form={form}")).await;
        // Gemini has no word for an empty account: its quota is one per minute.
        for (path, body, _) in one_stream_of_each(MODEL).into_iter().take(3) {
            let heard = Heard::ask(&stage, &path, &body).await;
            heard.check_error(&path);
            check_form(&path, &heard);
            assert_eq!(
                heard.error(&path).expect("an error")["code"],
                "upstream_refused",
                "{path} {form}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_inside_a_tool_call_ends_at_once() {
    for (path, body) in tool_streams() {
        let stage = then("error_after=1", "").await;
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_error(&path);
        check_form(&path, &heard);
        assert!(stage.upstream("b").received().is_empty(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finish_reason_that_means_failure_is_a_cut() {
    let body = json!({"model": MODEL, "stream": true, "messages": [{"role": "user", "content": "hello"}]});
    for reason in ["error", "network_error", "insufficient_system_resource"] {
        let stage = then(&format!("tokens=40,finish={reason}"), "tokens=60,chunk=7").await;
        let heard = Heard::ask(&stage, CHAT, &body).await;
        heard.check_whole(CHAT, &words("word", 60));

        let stage = alone(&format!("tokens=40,finish={reason}")).await;
        let heard = Heard::ask(&stage, CHAT, &body).await;
        heard.check_error(CHAT);
        assert_eq!(heard.text(), words("word", 40), "{reason}");

        // Before anything real: failed over like any other failure.
        let stage = then(&format!("tokens=0,finish={reason}"), "tokens=9").await;
        let heard = Heard::ask(&stage, CHAT, &body).await;
        heard.check_whole(CHAT, &words("word", 9));
        assert_eq!(
            heard.header("x-pointsman-channel"),
            Some(stage.id("b").to_string().as_str())
        );
    }
}
