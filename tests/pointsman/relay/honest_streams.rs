//! What is missing of a stream is completed where the answer is whole, and nowhere else; usage is counted unseen.

use super::asks::{
    CHAT, MESSAGES, MODEL, comparable_streams, messages_body, one_stream_of_each, speaks_all, tool_streams,
};
use super::heard::{Heard, words};
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::stage::{Stage, chat_body};
use crate::upstream::{ordered, works};
use pointsman::practice::Ended;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn streamed() -> Value {
    let mut body = chat_body(MODEL);
    body["stream"] = json!(true);
    body
}

fn with_usage() -> Value {
    let mut body = streamed();
    body["stream_options"] = json!({"include_usage": true});
    body
}

fn usage_chunks(heard: &Heard) -> usize {
    let is_usage = |event: &&Value| event["choices"].as_array().is_some_and(Vec::is_empty);
    heard.events().iter().filter(is_usage).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_malformed_event_is_left_out() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("tokens=6,malformed=3"))
        .await;
    for (path, body, end) in one_stream_of_each(MODEL) {
        let heard = Heard::ask(&stage, &path, &body).await;
        assert!(heard.raw.contains(end) && !heard.cut, "{path}: {heard:#?}");
        assert_eq!(
            heard.error(&path).filter(|error| !error.is_null()),
            None,
            "{path}"
        );
        for data in heard.raw.lines().filter_map(|line| line.strip_prefix("data: ")) {
            assert!(
                data == "[DONE]" || serde_json::from_str::<Value>(data).is_ok(),
                "{path}: {data}"
            );
        }
        assert_eq!(heard.text(), "word1 word2 word4 word5 word6", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_in_tool_arguments_is_a_cut() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("malformed=2").priority(10))
        .channel("b", speaks_all(""))
        .await;
    // A call of Gemini's is one event.
    for (path, body) in tool_streams().into_iter().take(2) {
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_error(&path);
    }
    assert!(stage.upstream("b").received().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_answer_gets_its_missing_end_at_once() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("tokens=6,no_end"))
        .await;
    for (path, body, _) in one_stream_of_each(MODEL) {
        let began = Instant::now();
        let heard = Heard::ask(&stage, &path, &body).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{path}");
        // The end of a response cannot be made up: it holds the whole response.
        if path == "/v1/responses" {
            heard.check_error(&path);
        } else {
            heard.check_whole(&path, &words("word", 6));
        }
    }
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("tokens=6,no_end"))
        .await;
    let heard = Heard::ask(&stage, CHAT, &with_usage()).await;
    heard.check_whole(CHAT, &words("word", 6));
    assert_eq!(usage_chunks(&heard), 1, "{heard:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complete_answer_does_not_wait_for_who_does_not_end_it() {
    // Its idle timeout is half a minute.
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("tokens=6,open_end"))
        .await;
    for (path, body) in comparable_streams()
        .into_iter()
        .chain([(CHAT.to_owned(), with_usage())])
    {
        let began = Instant::now();
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_whole(&path, &words("word", 6));
        assert!(
            began.elapsed() < Duration::from_secs(4),
            "{path}: {:?}",
            began.elapsed()
        );
        assert_eq!(usage_chunks(&heard), usize::from(body == with_usage()), "{path}");
        eventually(Duration::from_secs(1), async || {
            let received = stage.upstream("a").received().pop().expect("it came");
            match received.ended {
                Some(Ended::ClientGone) => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finish_reason_in_every_chunk_does_not_make_a_cut_answer_whole() {
    let (path, body) = comparable_streams().pop().expect("Gemini's");
    assert!(path.starts_with("/v1beta"));
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("tokens=9,finish_each,cut=4").priority(10))
        .channel("b", speaks_all("tokens=9"))
        .await;
    Heard::ask(&stage, &path, &body)
        .await
        .check_whole(&path, &words("word", 9));
    // Nor does it end one whose upstream takes its time.
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("tokens=3,finish_each,gap_ms=1500"))
        .await;
    Heard::ask(&stage, &path, &body)
        .await
        .check_whole(&path, &words("word", 3));
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("tokens=9,finish_each,cut=4"))
        .flag("--retries", "0")
        .await;
    let heard = Heard::ask(&stage, &path, &body).await;
    assert!(heard.error(&path).is_some() && heard.cut, "{heard:#?}");
    assert_eq!(heard.text(), words("word", 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_lost_its_beginning_is_a_cut() {
    let mut text = messages_body(MODEL);
    text["stream"] = json!(true);
    let [(_, tool_of_chat), (_, tool), _] = tool_streams();
    for (path, body, frame) in [
        // message_start, content_block_start
        (MESSAGES, &text, 1),
        (MESSAGES, &text, 2),
        (MESSAGES, &tool, 2),
        // The role, and with it the call's name.
        (CHAT, &tool_of_chat, 1),
    ] {
        let broken = format!("malformed_frame={frame}");
        let stage = Stage::new(Kind::Sqlite)
            .channel("a", speaks_all(&broken).priority(10))
            .channel("b", speaks_all(""))
            .await;
        let heard = Heard::ask(&stage, path, body).await;
        assert!(heard.error(path).is_none() && heard.has_an_end(), "{heard:#?}");
        assert_eq!(
            heard.header("x-pointsman-channel"),
            Some(stage.id("b").to_string().as_str()),
            "{path} {frame}: nothing real had come, so it failed over"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_finish_is_never_passed_off_as_whole() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("tokens=6,no_finish"))
        .flag("--retries", "0")
        .await;
    for (path, body, _) in one_stream_of_each(MODEL) {
        Heard::ask(&stage, &path, &body).await.check_error(&path);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usage_is_asked_for_and_kept_from_who_did_not_ask() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("tokens=6"))
        .channel("b", works().provider("custom").models(&["other"]))
        .await;
    let heard = Heard::ask(&stage, CHAT, &streamed()).await;
    heard.check_whole(CHAT, &words("word", 6));
    assert_eq!(usage_chunks(&heard), 0, "{heard:#?}");
    let sent = stage.upstream("a").received().pop().expect("it came");
    let sent = String::from_utf8(sent.body.to_vec()).expect("UTF-8");
    let asked = streamed().to_string();
    let rest = sent.replace(r#","stream_options":{"include_usage":true}"#, "");
    assert_eq!(rest, asked, "the rest of the body is as it came: {sent}");
    assert_ne!(sent, asked);

    let line = eventually(Duration::from_secs(2), async || {
        stage.log().first_with("attempt ended")
    })
    .await;
    assert!(line.contains("output_tokens=6"), "{line}");

    // The client asked itself: the body goes as it is, and the chunk comes back.
    stage.upstream("a").forget();
    let heard = Heard::ask(&stage, CHAT, &with_usage()).await;
    assert_eq!(usage_chunks(&heard), 1, "{heard:#?}");
    let sent = stage.upstream("a").received().pop().expect("it came");
    assert_eq!(sent.body, with_usage().to_string().as_bytes());

    // Whether it takes the option is not known of this provider.
    let mut body = streamed();
    body["model"] = json!("other");
    Heard::ask(&stage, CHAT, &body).await;
    let sent = stage.upstream("b").received().pop().expect("it came");
    assert_eq!(sent.body, body.to_string().as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_leaves_a_line() {
    let stage = Stage::new(Kind::Sqlite)
        .channel(
            "a",
            ordered("500").keys(&["sk-practice-secret-0001"]).priority(10),
        )
        .channel("b", ordered("tokens=6").keys(&["sk-practice-secret-0002"]))
        .await;
    let answer = stage.chat_stream(MODEL).await.expect(200);
    let request_id = answer.header("x-request-id").expect("an id").to_owned();
    eventually(Duration::from_secs(2), async || {
        let lines = stage.log().with(&request_id);
        let has = |words: &[&str]| {
            lines
                .iter()
                .any(|line| words.iter().all(|word| line.contains(word)))
        };
        let (a, b) = (
            format!("channel={}", stage.id("a")),
            format!("channel={}", stage.id("b")),
        );
        let failed = has(&["attempt failed", &a, "key=0001", "outcome=broken", "ms="]);
        let ended = has(&["attempt ended", &b, "key=0002", "outcome=ok", "ms="]);
        if failed && ended { Ok(()) } else { Err(lines) }
    })
    .await;
    stage.log().assert_without("sk-practice-secret");
}
