//! A stream that breaks off is taken up by another without a seam, or ends in its protocol's error event.

use super::asks::{CHAT, MODEL, comparable_streams as comparable, speaks_all, tool_streams};
use super::heard::{Heard, words};
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::stage::{Stage, StageBuilder, chat_body};
use crate::upstream::ordered;
use futures::future::join_all;
use pointsman::practice::Ended;
use serde_json::{Value, json};
use std::time::Duration;

/// Channels that are asked in this order.
fn in_order(faults: &[(&str, &str)]) -> StageBuilder {
    let mut stage = Stage::new(Kind::Sqlite);
    for (place, (name, faults)) in faults.iter().enumerate() {
        stage = stage.channel(name, speaks_all(faults).priority(100 - place as i64));
    }
    stage
}

fn streamed(body: Value) -> Value {
    let mut body = body;
    body["stream"] = json!(true);
    body
}

async fn forget(stage: &Stage, channels: &[&str]) {
    for channel in channels {
        stage.upstream(channel).forget();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_channel_goes_on_where_the_first_broke_off() {
    for second in [
        "tokens=60",
        "tokens=60,chunk=3",
        "tokens=60,chunk=7",
        "tokens=60,chunk=60",
        "tokens=60,gzip",
    ] {
        let stage = in_order(&[("a", "cut=40,tokens=60"), ("b", second)]).await;
        for (path, body) in comparable() {
            forget(&stage, &["a", "b"]).await;
            let heard = Heard::ask(&stage, &path, &body).await;
            heard.check_whole(&path, &words("word", 60));
            assert_eq!(
                heard.header("x-pointsman-channel"),
                Some(stage.id("a").to_string().as_str())
            );
            assert_eq!(stage.upstream("b").received().len(), 1, "{path} {second}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_right_behind_the_last_word_is_taken_up_too() {
    let stage = in_order(&[("a", "cut=60,tokens=60"), ("b", "tokens=60,chunk=7")]).await;
    for (path, body) in comparable() {
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_whole(&path, &words("word", 60));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_without_a_finish_reason_is_taken_up() {
    let stage = in_order(&[("a", "tokens=20,no_finish"), ("b", "tokens=20,chunk=3")]).await;
    for (path, body) in comparable() {
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_whole(&path, &words("word", 20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_taken_up_more_than_once() {
    let stage = in_order(&[
        ("a", "cut=10,tokens=60"),
        ("b", "cut=30,tokens=60"),
        ("c", "tokens=60,chunk=7"),
    ])
    .await;
    for (path, body) in comparable() {
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_whole(&path, &words("word", 60));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_off_earlier_or_refuses_is_passed_over() {
    for second in [
        "cut=5,tokens=60",
        "500",
        "reset",
        "429",
        "error_event",
        "cut=0",
        "not_here",
        // One body where a stream has begun.
        "plain,tokens=60",
        "error_after=5,tokens=60",
    ] {
        let stage = in_order(&[
            ("a", "cut=40,tokens=60"),
            ("b", second),
            ("c", "tokens=60,chunk=3"),
        ])
        .await;
        for (path, body) in comparable() {
            forget(&stage, &["c"]).await;
            let heard = Heard::ask(&stage, &path, &body).await;
            heard.check_whole(&path, &words("word", 60));
            assert_eq!(stage.upstream("c").received().len(), 1, "{path} {second}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_text_ends_in_the_error_event_and_is_cancelled_at_the_first_difference() {
    let other = "text=OTHER,tokens=2000,gap_ms=20";
    let stage = in_order(&[("a", "cut=40,tokens=60"), ("b", other)]).await;
    for (path, body) in comparable() {
        forget(&stage, &["a", "b"]).await;
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_error(&path);
        assert_eq!(heard.text(), words("word", 40), "{path}");
        assert!(!heard.raw.contains("OTHER"), "{path}");
        eventually(Duration::from_secs(2), async || {
            let received = stage.upstream("b").received().pop().expect("it came");
            match received.ended {
                Some(Ended::ClientGone) if received.events < 50 => Ok(()),
                other => Err((other, received.events)),
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shorter_answer_is_another() {
    let stage = in_order(&[("a", "cut=40,tokens=60"), ("b", "tokens=30")]).await;
    for (path, body) in comparable() {
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_error(&path);
        assert_eq!(heard.text(), words("word", 40), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_compared_ends_at_once() {
    let two = {
        let mut body = streamed(chat_body(MODEL));
        body["n"] = json!(2);
        body
    };
    let response = json!({"model": MODEL, "input": "hello", "stream": true});
    let others = [(CHAT.to_owned(), two), ("/v1/responses".to_owned(), response)];
    for (path, body) in tool_streams().into_iter().chain(others) {
        // A stage for each: after three cuts the channel would cool, and another be asked first. A call of Gemini's
        // is one event.
        let cut = if path.starts_with("/v1beta") { 1 } else { 4 };
        let stage = in_order(&[("a", &format!("cut={cut},tokens=60")), ("b", "tokens=60")]).await;
        let began = std::time::Instant::now();
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_error(&path);
        assert!(began.elapsed() < Duration::from_secs(5), "{path}: at once");
        assert!(stage.upstream("b").received().is_empty(), "{path}: {body}");
    }
    // Within the thoughts, and in the words behind them.
    for cut in [2, 5] {
        let first = format!("cut={cut},tokens=60,thinking");
        let stage = in_order(&[("a", &first), ("b", "tokens=60,thinking")]).await;
        for (path, body) in comparable() {
            let heard = Heard::ask(&stage, &path, &body).await;
            heard.check_error(&path);
            assert!(stage.upstream("b").received().is_empty(), "{path} {cut}: {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_up_a_stream_is_asked_what_the_first_was() {
    let mapped = "another-name";
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("cut=10,tokens=60").priority(30))
        .channel("b", speaks_all("cut=20,tokens=60").priority(20))
        .channel(
            "c",
            speaks_all("tokens=60")
                .with("model_mapping", json!({MODEL: mapped}))
                .priority(10),
        )
        .await;
    for (path, body) in comparable() {
        forget(&stage, &["a", "b", "c"]).await;
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_whole(&path, &words("word", 60));
        let asked = |channel: &str| {
            let received = stage.upstream(channel).received().pop().expect("it was asked");
            String::from_utf8(received.body.to_vec()).expect("UTF-8")
        };
        assert_eq!(asked("a"), body.to_string(), "{path}");
        assert_eq!(asked("b"), asked("a"), "{path}: no prefill");
        // Gemini's model stands in the path.
        let renamed = asked("a").replace(&format!("\"{MODEL}\""), &format!("\"{mapped}\""));
        assert_eq!(asked("c"), renamed, "{path}: no prefill");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_is_taken_up_within_the_idle_timeout() {
    let settings = json!({"protocols": ["openai", "anthropic", "gemini"], "timeouts": {"idle": 0.4}});
    let stage = Stage::new(Kind::Sqlite)
        .channel(
            "a",
            speaks_all("stall=20,tokens=60").settings(settings).priority(10),
        )
        .channel("b", speaks_all("tokens=60,chunk=3"))
        .await;
    for (path, body) in comparable() {
        let began = std::time::Instant::now();
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_whole(&path, &words("word", 60));
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{path}: {:?}",
            began.elapsed()
        );
        // Closed, not merely read to an end that does not come.
        eventually(Duration::from_secs(2), async || {
            let received = stage.upstream("a").received().pop().expect("it came");
            match received.ended {
                Some(Ended::ClientGone) => Ok(()),
                other => Err((other, received.events)),
            }
        })
        .await;
    }
    // And the relay is as well as before.
    let ready = stage.request(reqwest::Method::GET, "/readyz").send().await;
    assert_eq!(ready.expect("an answer").status(), 200);
    eventually(Duration::from_secs(2), async || {
        let routing = stage.routing().await;
        match (&routing["leases"], &routing["waiting"]) {
            (leases, waiting) if *leases == json!(0) && *waiting == json!(0) => Ok(()),
            _ => Err(routing),
        }
    })
    .await;
    stage.chat(MODEL).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_goes_while_its_stream_is_taken_up_leaves_no_upstream_running() {
    use futures::StreamExt;
    let stage = in_order(&[("a", "cut=5,tokens=60"), ("b", "silence")]).await;
    let body = streamed(chat_body(MODEL));
    let request = stage
        .request(reqwest::Method::POST, CHAT)
        .bearer_auth(stage.token());
    let mut chunks = crate::stage::with_json(request, &body)
        .send()
        .await
        .expect("headers")
        .bytes_stream();
    chunks.next().await.expect("a chunk").expect("bytes");
    eventually(Duration::from_secs(5), async || {
        // Reading on lets the cut be seen.
        let _ = tokio::time::timeout(Duration::from_millis(20), chunks.next()).await;
        stage.upstream("b").received().pop().ok_or("not asked")
    })
    .await;
    drop(chunks);
    eventually(Duration::from_millis(1500), async || {
        let received = stage.upstream("b").received().pop().expect("it came");
        match received.ended {
            Some(Ended::ClientGone) => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

/// A channel dies while 200 streams pass through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_streams_outlive_their_channel() {
    let mut stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("tokens=60,gap_ms=50").priority(10))
        .channel("b", ordered("tokens=60,chunk=3"))
        .channel("c", ordered("tokens=60,chunk=7"))
        .await;
    let body = streamed(chat_body(MODEL));
    let asking: Vec<_> = (0..200)
        .map(|_| {
            let request = stage
                .request(reqwest::Method::POST, CHAT)
                .bearer_auth(stage.token());
            let request = crate::stage::with_json(request, &body);
            tokio::spawn(async move {
                let answer = crate::answer::Answer::try_to(request).await;
                answer.map(|answer| (answer.status, answer.text()))
            })
        })
        .collect();
    eventually(Duration::from_secs(20), async || {
        let received = stage.upstream("a").received();
        let speaking = received.iter().filter(|one| one.events > 3).count();
        if speaking == 200 { Ok(()) } else { Err(speaking) }
    })
    .await;
    stage.upstream_mut("a").stop();
    let answers = tokio::time::timeout(Duration::from_secs(60), join_all(asking))
        .await
        .expect("none hangs");
    for answer in answers {
        // A stream that could not be taken up would end in an error; with two good channels none does.
        let (status, text) = answer.expect("no panic").expect("a whole answer");
        assert_eq!(status, 200);
        let said: String = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|event| {
                event
                    .pointer("/choices/0/delta/content")?
                    .as_str()
                    .map(str::to_owned)
            })
            .collect();
        assert_eq!(said, words("word", 60));
        assert!(text.ends_with("data: [DONE]\n\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_is_no_other_channel_the_same_is_asked_again() {
    let stage = in_order(&[("a", "tokens=60,first=1:cut=40")]).await;
    for (path, body) in comparable() {
        forget(&stage, &["a"]).await;
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_whole(&path, &words("word", 60));
        assert_eq!(stage.upstream("a").received().len(), 2, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_model_takes_up_what_a_silent_channel_left() {
    let timeouts = json!({"protocols": ["openai", "anthropic", "gemini"], "timeouts": {"idle": 0.3}});
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("tokens=60,stall=40").settings(timeouts))
        .channel("b", speaks_all("tokens=60,chunk=3").models(&["spare"]))
        .await;
    let fallbacks = json!({"fallbacks": ["spare"]});
    let path = format!("/api/models/{MODEL}");
    let (status, made) = stage.admin(reqwest::Method::PUT, &path, fallbacks).await;
    assert!(matches!(status, 200 | 201), "{made}");
    for (path, body) in comparable() {
        forget(&stage, &["a", "b"]).await;
        let heard = Heard::ask(&stage, &path, &body).await;
        heard.check_whole(&path, &words("word", 60));
        assert_eq!(
            stage.upstream("a").received().len(),
            1,
            "silent once is enough: {path}"
        );
        assert_eq!(stage.upstream("b").received().len(), 1, "{path}");
    }
}
