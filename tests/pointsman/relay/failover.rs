//! What fails before its first real event is tried elsewhere; what nobody can answer gets the last upstream's word.

use super::asks::{CHAT, MODEL, one_of_each, one_stream_of_each, speaks_all};
use crate::answer::Answer;
use crate::databases::Kind;
use crate::stage::Stage;
use crate::upstream::{Channel, ordered, works};
use serde_json::json;

/// A stage whose first choice fails and whose second works.
async fn before(failing: Channel) -> Stage {
    Stage::new(Kind::Sqlite)
        .channel("a", failing.priority(10))
        .channel("b", works())
        .await
}

/// The same in all protocols, for more than one question: no key is closed.
async fn before_all(faults: &str) -> Stage {
    Stage::new(Kind::Sqlite)
        .channel("a", speaks_all(faults).with("auto_disable", false).priority(10))
        .channel("b", speaks_all(""))
        .await
}

#[track_caller]
fn check_served_by_b(stage: &Stage, answer: &Answer, what: &str) {
    assert_eq!(answer.status, 200, "{what}: {answer:?}");
    assert_eq!(answer.channel(), Some(stage.id("b")), "{what}");
    assert_eq!(answer.header("x-pointsman-attempts"), Some("2"), "{what}");
    assert_eq!(stage.upstream("a").received().len(), 1, "{what}");
}

const QUICK: f64 = 0.4;

fn quick(faults: &str) -> Channel {
    ordered(faults).settings(json!({"timeouts": {"first_byte": QUICK, "first_token": QUICK, "total": QUICK}}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_answer_comes_from_the_next_channel() {
    for faults in [
        "500",
        "503",
        "408",
        "429",
        "429=3600",
        "529",
        "wrong_key",
        "quota",
        "not_here",
        "region",
        "reset",
        "close",
        "garbage",
        "redirect",
        "firewall",
        "error_in_200",
        "error_in_200,quota",
        "cut=1",
    ] {
        let stage = before(ordered(faults)).await;
        let answer = stage.chat(MODEL).await;
        check_served_by_b(&stage, &answer, faults);
    }
    let stage = before(quick("silence")).await;
    check_served_by_b(&stage, &stage.chat(MODEL).await, "silence");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_comes_from_the_next_channel_before_its_first_real_event() {
    for faults in [
        "500",
        "429",
        "reset",
        "error_event",
        "error_event,wrong_key",
        "garbage",
        "cut=0",
        "error_in_200",
    ] {
        let stage = before(ordered(faults)).await;
        let answer = stage.chat_stream(MODEL).await;
        check_served_by_b(&stage, &answer, faults);
        assert!(answer.text().trim_end().ends_with("[DONE]"), "{faults}");
    }
    for faults in ["silence", "slow_first_byte_ms=60000", "slow_first_token_ms=60000"] {
        let stage = before(quick(faults)).await;
        check_served_by_b(&stage, &stage.chat_stream(MODEL).await, faults);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_inside_a_200_or_as_first_event_fails_over_in_every_protocol() {
    for refusal in ["", ",529", ",rate_limited", ",quota"] {
        let stage = before_all(&format!("error_in_200{refusal}")).await;
        for (path, body) in one_of_each(MODEL) {
            let answer = stage.relay(&path, body).await.expect(200);
            assert_eq!(
                answer.channel(),
                Some(stage.id("b")),
                "{path} {refusal}: {answer:?}"
            );
        }
        for form in ["own", "unnamed", "bare"] {
            let faults = format!("error_event{refusal},error_form={form}");
            let stage = before_all(&faults).await;
            for (path, body, end) in one_stream_of_each(MODEL) {
                let answer = stage.relay(&path, body).await.expect(200);
                assert_eq!(
                    answer.channel(),
                    Some(stage.id("b")),
                    "{path} {faults}: {answer:?}"
                );
                assert!(answer.text().contains(end), "{path} {faults}: {answer:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_reached_is_passed_over() {
    let mut stage = before(works()).await;
    stage.upstream_mut("a").stop();
    let answer = stage.chat(MODEL).await.expect(200);
    assert_eq!(answer.channel(), Some(stage.id("b")));

    // TLS towards somebody who does not speak it.
    let elsewhere = crate::upstream::Upstream::start();
    let tls = works().with("base_url", elsewhere.url().replace("http:", "https:"));
    let stage = before(tls).await;
    let answer = stage.chat(MODEL).await.expect(200);
    assert_eq!(answer.channel(), Some(stage.id("b")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_other_channel_would_answer_otherwise_goes_to_the_client_as_it_is() {
    for faults in ["too_long", "filtered", "status=400", "status=422"] {
        let stage = before(speaks_all(faults)).await;
        for (path, body) in one_of_each(MODEL) {
            if path.contains("v1beta") && faults == "filtered" {
                // A blocked prompt is a good answer there.
                continue;
            }
            stage.upstream("a").forget();
            let answer = stage.relay(&path, body).await;
            assert!((400..500).contains(&answer.status), "{faults}: {answer:?}");
            assert_eq!(answer.channel(), Some(stage.id("a")), "{faults} {path}");
            assert_eq!(answer.header("x-should-retry"), Some("false"), "{faults} {path}");
            assert_eq!(stage.upstream("a").received().len(), 1);
        }
        assert!(stage.upstream("b").received().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_the_last_upstreams_own_error_is_the_answer() {
    // What may pass is tried again at the only channel, what will not is not.
    for (faults, status, code, attempts) in [
        ("503", 503, None, "3"),
        ("429=7", 429, Some("rate_limit_exceeded"), "1"),
        ("not_here", 404, Some("model_not_found"), "1"),
        ("wrong_key", 502, Some("upstream_refused"), "1"),
        ("quota", 502, Some("upstream_refused"), "1"),
        ("firewall", 502, Some("upstream_failed"), "3"),
        ("redirect", 502, Some("upstream_failed"), "3"),
        ("reset", 502, Some("upstream_failed"), "3"),
        ("cut=1", 502, Some("upstream_failed"), "3"),
    ] {
        let stage = Stage::new(Kind::Sqlite).channel("a", ordered(faults)).await;
        let answer = stage.chat(MODEL).await.expect(status);
        assert_eq!(answer.code().as_deref(), code, "{faults}: {answer:?}");
        assert_eq!(answer.channel(), Some(stage.id("a")), "{faults}");
        assert_eq!(answer.header("x-pointsman-attempts"), Some(attempts), "{faults}");
        assert!(!answer.text().contains("sk-"), "{faults}: {answer:?}");
        assert!(answer.header("location").is_none());
    }
    let stage = Stage::new(Kind::Sqlite).channel("a", quick("silence")).await;
    let answer = stage.chat_stream(MODEL).await.expect(504);
    assert_eq!(answer.code().as_deref(), Some("upstream_timeout"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_keys_are_passed_over_within_one_channel() {
    let keys = ["sk-dead-1", "sk-dead-2", "sk-dead-3", "sk-dead-4", "sk-good-5"];
    let faults = "key_refused=dead-1,key_refused=dead-2,key_refused=dead-3,key_refused=dead-4";
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered(faults).keys(&keys))
        .await;
    for _ in 0..5 {
        stage.chat(MODEL).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_are_bounded() {
    let mut stage = Stage::new(Kind::Sqlite);
    for name in ["a", "b", "c", "d", "e"] {
        stage = stage.channel(name, ordered("500"));
    }
    let stage = stage.await;
    let answer = stage.chat(MODEL).await.expect(500);
    assert_eq!(answer.header("x-pointsman-attempts"), Some("3"));
    let tried: usize = ["a", "b", "c", "d", "e"]
        .iter()
        .map(|name| stage.upstream(name).received().len())
        .sum();
    assert_eq!(tried, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_answer_where_a_stream_was_asked_is_one() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("error_in_200,429"))
        .await;
    let mut body = crate::stage::chat_body(MODEL);
    body["stream"] = json!(true);
    let answer = stage.relay(CHAT, body).await.expect(429);
    assert_eq!(answer.channel(), Some(stage.id("a")));
}
