//! Which channel comes next, and how long is waited for it: the rows of failover's table that concern order.

use super::asks::{CHAT, MODEL, one_of_each, one_stream_of_each, speaks_all};
use super::heard::Heard;
use crate::answer::Answer;
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::stage::{Stage, StageBuilder, chat_body, with_json};
use crate::upstream::{Channel, fails, ordered, works};
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

const SPARE: &str = "spare";

/// `PUT /api/models/{name}`: in force when it returns.
async fn configure(stage: &Stage, model: &str, body: Value) {
    let path = format!("/api/models/{model}");
    let answer = stage.admin_answer(Method::PUT, &path, body).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
}

/// A channel `a` for the asked model; where `spare` is true, a fallback that a channel of its own serves.
async fn only(faults: &str, spare: bool) -> Stage {
    let mut stage = Stage::new(Kind::Sqlite).channel("a", ordered(faults));
    if spare {
        stage = stage.channel("spare", works().models(&[SPARE]));
    }
    let stage = stage.await;
    if spare {
        configure(&stage, MODEL, json!({"fallbacks": ["nobody-has-it", SPARE]})).await;
    }
    stage
}

fn tries(stage: &Stage, channel: &str) -> usize {
    stage.upstream(channel).received().len()
}

#[track_caller]
fn check_spare(stage: &Stage, answer: &Answer, what: &str) {
    assert_eq!(answer.status, 200, "{what}: {answer:?}");
    assert_eq!(answer.channel(), Some(stage.id("spare")), "{what}");
    assert_eq!(answer.header("x-pointsman-model"), Some(SPARE), "{what}");
    assert_eq!(answer.json()["model"], SPARE, "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_that_says_when_is_waited_for_at_the_only_channel() {
    let stage = only("first=1:429=2", false).await;
    let answer = stage.chat(MODEL).await.expect(200);
    assert_eq!(answer.header("x-pointsman-attempts"), Some("2"));
    let seen = stage.upstream("a").received();
    assert_eq!(seen.len(), 2);
    let apart = seen[1].at_ms - seen[0].at_ms;
    assert!((2000.0..4500.0).contains(&apart), "{apart}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_channel_is_tried_again_after_what_passes() {
    for faults in [
        "first=1:500",
        "first=1:503",
        "first=1:reset",
        "first=1:close",
        "first=1:429",
    ] {
        let stage = only(faults, false).await;
        let answer = stage.chat(MODEL).await;
        assert_eq!(answer.status, 200, "{faults}: {answer:?}");
        assert_eq!(tries(&stage, "a"), 2, "{faults}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lasts_ends_at_the_fallback_else_with_the_upstreams_own_error() {
    for (faults, status) in [("429", 429), ("503", 503)] {
        let stage = only(faults, true).await;
        check_spare(&stage, &stage.chat(MODEL).await, faults);
        assert!((1..=3).contains(&tries(&stage, "a")), "{faults}");

        let stage = only(faults, false).await;
        stage.chat(MODEL).await.expect(status);
        let seen = stage.upstream("a").received();
        assert!((2..=3).contains(&seen.len()), "{faults}: {}", seen.len());
        for pair in seen.windows(2) {
            assert!(pair[1].at_ms - pair[0].at_ms >= 350.0, "{faults}: spread out");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_429_is_of_one_model_of_a_channel() {
    let other = "gpt-4o-mini";
    let both: &[&str] = &[MODEL, other];
    let stage = Stage::new(Kind::Sqlite)
        .channel(
            "a",
            works()
                .models(both)
                .priority(10)
                .with("model_mapping", json!({MODEL: "gpt-4o~429=60"})),
        )
        .channel("b", works().models(both))
        .await;
    for _ in 0..3 {
        assert_eq!(stage.chat(MODEL).await.expect(200).channel(), Some(stage.id("b")));
        assert_eq!(stage.chat(other).await.expect(200).channel(), Some(stage.id("a")));
    }
    assert_eq!(tries(&stage, "a"), 4, "one 429, and the other model's three");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_channel_costs_one_timeout() {
    let timeouts = json!({"timeouts": {"first_byte": 0.5, "total": 30}});
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("silence").settings(timeouts))
        .channel("spare", works().models(&[SPARE]))
        .await;
    configure(&stage, MODEL, json!({"fallbacks": [SPARE]})).await;
    let began = Instant::now();
    let answer = stage.chat_stream(MODEL).await.expect(200);
    assert_eq!(answer.channel(), Some(stage.id("spare")));
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(tries(&stage, "a"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_has_begun_may_think_longer_than_its_first_byte_or_a_pause_may_take() {
    let timeouts = json!({"timeouts": {"first_byte": 0.4, "idle": 0.4, "idle_before_text": 10}});
    let stage = Stage::new(Kind::Sqlite)
        .channel(
            "a",
            ordered("slow_first_token_ms=1500")
                .settings(timeouts)
                .priority(10),
        )
        .channel("b", works())
        .await;
    let answer = stage.chat_stream(MODEL).await.expect(200);
    assert_eq!(answer.channel(), Some(stage.id("a")));
    assert!(answer.text().contains("word20") && answer.text().ends_with("data: [DONE]\n\n"));
    assert_eq!((tries(&stage, "a"), tries(&stage, "b")), (1, 0));

    // Not for ever, though.
    let timeouts = json!({"timeouts": {"first_byte": 10, "idle": 10, "idle_before_text": 0.5}});
    let stage = Stage::new(Kind::Sqlite)
        .channel(
            "a",
            ordered("slow_first_token_ms=60000")
                .settings(timeouts)
                .priority(10),
        )
        .channel("b", works())
        .await;
    let answer = stage.chat_stream(MODEL).await.expect(200);
    assert_eq!(answer.channel(), Some(stage.id("b")));
    assert_eq!((tries(&stage, "a"), tries(&stage, "b")), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_token_that_is_late_costs_its_limit_and_little_more() {
    // A fifth of the story: limit 10 s, first token after 20 s, an answer within 15 s.
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("slow_first_token_ms=20000").priority(10))
        .channel("b", works())
        .await;
    configure(&stage, MODEL, json!({"first_token_timeout_ms": 2000})).await;
    let began = Instant::now();
    let answer = stage.chat_stream(MODEL).await.expect(200);
    let took = began.elapsed();
    assert_eq!(answer.channel(), Some(stage.id("b")));
    assert!((2.0..3.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(tries(&stage, "a"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallbacks_answer_bears_its_own_model_and_usage() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", speaks_all("503,tokens=5"))
        .channel("spare", speaks_all("tokens=7").models(&[SPARE]))
        .flag("--retries", "0")
        .await;
    configure(&stage, MODEL, json!({"fallbacks": [SPARE]})).await;
    for (path, body) in one_of_each(MODEL) {
        let answer = stage.relay(&path, body).await.expect(200);
        assert_eq!(answer.header("x-pointsman-model"), Some(SPARE), "{path}");
        check_model_and_usage(&path, &[answer.json()]);
    }
    for (path, mut body, _) in one_stream_of_each(MODEL) {
        if path == CHAT {
            body["stream_options"] = json!({"include_usage": true});
        }
        let heard = Heard::ask(&stage, &path, &body).await;
        assert_eq!(heard.header("x-pointsman-model"), Some(SPARE), "{path}");
        check_model_and_usage(&path, &heard.events());
    }
}

/// Wherever they name a model it is the spare one, and they end with seven tokens.
#[track_caller]
fn check_model_and_usage(path: &str, events: &[Value]) {
    let all = |places: &[&str]| -> Vec<Value> {
        let found = events
            .iter()
            .flat_map(|event| places.iter().filter_map(|place| event.pointer(place).cloned()));
        found.filter(|value| !value.is_null()).collect()
    };
    let models = all(&["/model", "/modelVersion", "/message/model", "/response/model"]);
    assert!(!models.is_empty(), "{path}");
    assert!(models.iter().all(|model| model == SPARE), "{path}: {models:?}");
    let counts = all(&[
        "/usage/completion_tokens",
        "/usage/output_tokens",
        "/response/usage/output_tokens",
        "/usageMetadata/candidatesTokenCount",
    ]);
    assert_eq!(counts.last(), Some(&json!(7)), "{path}: {events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_that_cannot_take_the_request_neither_ends_it_nor_hides_the_asked_models_word() {
    for spare in ["status=400", "status=422", "not_here", "too_long", "wrong_key"] {
        let stage = Stage::new(Kind::Sqlite)
            .channel("a", ordered("429=30"))
            .channel("spare", ordered(spare).models(&[SPARE]))
            .channel("last", works().models(&["last"]))
            .await;
        configure(&stage, MODEL, json!({"fallbacks": [SPARE, "last"]})).await;
        let answer = stage.chat(MODEL).await.expect(200);
        assert_eq!(answer.channel(), Some(stage.id("last")), "{spare}");
        assert_eq!((tries(&stage, "a"), tries(&stage, "spare")), (1, 1), "{spare}");

        let stage = Stage::new(Kind::Sqlite)
            .channel("a", ordered("429=30"))
            .channel("spare", ordered(spare).models(&[SPARE]))
            .await;
        configure(&stage, MODEL, json!({"fallbacks": [SPARE]})).await;
        let answer = stage.chat(MODEL).await.expect(429);
        assert_eq!(answer.header("retry-after"), Some("30"), "{spare}: {answer:?}");
        assert_eq!(answer.header("x-should-retry"), None, "{spare}: {answer:?}");
        assert_eq!(answer.header("x-pointsman-attempts"), Some("2"), "{spare}");
        assert_eq!(answer.channel(), Some(stage.id("a")), "{spare}");
        // Now it is barred, and was not tried: still it is what the client has to know.
        let answer = stage.chat(MODEL).await.expect(429);
        assert_eq!(
            answer.code().as_deref(),
            Some("rate_limited"),
            "{spare}: {answer:?}"
        );
        assert!(answer.header("retry-after").is_some(), "{spare}: {answer:?}");
        assert_eq!(tries(&stage, "a"), 1, "{spare}");
    }
    // A policy is not routed around.
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("503"))
        .channel("spare", ordered("filtered").models(&[SPARE]))
        .channel("last", works().models(&["last"]))
        .flag("--retries", "0")
        .await;
    configure(&stage, MODEL, json!({"fallbacks": [SPARE, "last"]})).await;
    stage.chat(MODEL).await.expect(400);
    assert_eq!(tries(&stage, "last"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_a_key_refused_under_a_fallback_is_not_tried_again_for_the_asked_model() {
    // Its only key is busy for the asked model, and dead for the fallback.
    let both: &[&str] = &[MODEL, SPARE];
    let stage = Stage::new(Kind::Sqlite)
        .channel(
            "a",
            ordered("")
                .models(both)
                .keys(&["sk-only-key"])
                .with("auto_disable", false)
                .with("model_mapping", json!({MODEL: "m~429=2", SPARE: "s~wrong_key"})),
        )
        .await;
    configure(&stage, MODEL, json!({"fallbacks": [SPARE]})).await;
    stage.chat(MODEL).await.expect(429);
    let asked: Vec<_> = stage.upstream("a").received();
    let models: Vec<_> = asked.iter().filter_map(|seen| seen.model.clone()).collect();
    assert_eq!(models, ["m~429=2", "s~wrong_key"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_plain_answer_is_waited_for() {
    // A stream's first byte may take half a second here, a plain answer's first byte is its last.
    let timeouts = json!({"timeouts": {"first_byte": 0.5}});
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("slow_first_byte_ms=2000").settings(timeouts))
        .await;
    stage.chat(MODEL).await.expect(200);
    assert_eq!(tries(&stage, "a"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_long_goes_to_a_larger_fallback_else_to_the_client() {
    let stage = only("too_long", true).await;
    check_spare(&stage, &stage.chat(MODEL).await, "too long");
    assert_eq!(tries(&stage, "a"), 1);
    let stage = only("too_long", false).await;
    let answer = stage.chat(MODEL).await.expect(400);
    assert_eq!(answer.code().as_deref(), Some("context_length_exceeded"));
    assert_eq!(tries(&stage, "a"), 1);

    let stage = only("filtered", true).await;
    stage.chat(MODEL).await.expect(400);
    assert_eq!(
        (tries(&stage, "a"), tries(&stage, "spare")),
        (1, 0),
        "never routed around"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_one_upstream_lacks_comes_from_a_sibling() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("not_here").priority(10))
        .channel("b", works())
        .await;
    for _ in 0..3 {
        assert_eq!(stage.chat(MODEL).await.expect(200).channel(), Some(stage.id("b")));
    }
    assert_eq!(tries(&stage, "a"), 1);
    let status: Vec<String> = stage.query("SELECT status FROM channels").await;
    assert!(status.iter().all(|status| status == "enabled"), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn down_for_a_minute_then_well() {
    // In full length: coolings grow with time, so nothing of it can be scaled alone.
    let down_for = Duration::from_secs(60);
    let stage = only("flap=60", true).await;
    let began = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_secs(4));
    let mut back = None;
    for _ in 0..24 {
        tick.tick().await;
        let answer = stage.chat(MODEL).await.expect(200);
        if answer.channel() == Some(stage.id("a")) {
            back.get_or_insert(began.elapsed());
        }
    }
    let received = stage.upstream("a").received();
    let probes = received.iter().filter(|seen| seen.status == Some(503)).count();
    assert!(probes <= 12, "{probes}");
    let back = back.expect("back on the primary");
    assert!(back < down_for + Duration::from_secs(30), "{back:?}");
}

/// Two channels that have cooled for the model, each by three failures in a row.
async fn all_cooling() -> Stage {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("first=3:500,slow_first_byte_ms=300"))
        .channel("b", ordered("first=3:500,slow_first_byte_ms=300"))
        .flag("--retries", "0")
        .await;
    eventually(Duration::from_secs(20), async || {
        let health = stage.routing().await["health"].clone();
        let cooling = health.as_array().map_or(0, |list| {
            list.iter().filter(|part| part["state"] == "cooling").count()
        });
        if cooling == 2 {
            return Ok(());
        }
        stage.chat(MODEL).await;
        Err(health)
    })
    .await;
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_where_all_cool_one_request_a_channel_finds_out_and_the_others_wait_for_it() {
    let stage = all_cooling().await;
    for name in ["a", "b"] {
        stage.upstream(name).log();
    }
    let before = [tries(&stage, "a"), tries(&stage, "b")];
    let answers = join_all((0..50).map(|_| stage.chat(MODEL))).await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    for (name, before) in ["a", "b"].into_iter().zip(before) {
        let seen: Vec<_> = stage.upstream(name).received().into_iter().skip(before).collect();
        let Some(first) = seen.first() else { continue };
        let told = first.ended_at_ms.expect("it has ended");
        let beside = seen.iter().filter(|other| other.at_ms < told).count();
        assert_eq!(beside, 1, "{name}: until the first was known to work");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r13_a_providers_word_is_believed_for_ten_minutes_at_most() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("429=3600"))
        .channel("b", ordered("429=3600"))
        .await;
    stage.chat(MODEL).await.expect(429);
    assert_eq!((tries(&stage, "a"), tries(&stage, "b")), (1, 1));
    let began = Instant::now();
    let answer = stage.chat(MODEL).await.expect(429);
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(answer.code().as_deref(), Some("rate_limited"));
    let wait: u64 = answer
        .header("retry-after")
        .and_then(|wait| wait.parse().ok())
        .expect("a time");
    assert!((500..=600).contains(&wait), "{wait}");
    assert_eq!((tries(&stage, "a"), tries(&stage, "b")), (1, 1), "no try");
    let barred = stage.routing().await["health"].clone();
    let states = barred
        .as_array()
        .expect("a list")
        .iter()
        .map(|part| part["state"].clone());
    assert_eq!(states.collect::<Vec<_>>(), ["barred", "barred"]);
}

/// A channel with so many places, each taken for half a second.
fn narrow(places: u32) -> Channel {
    ordered("slow_first_byte_ms=500").settings(json!({"max_in_flight": places}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_channel_is_passed_over_and_waited_for_only_where_all_are_full() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", narrow(1).priority(10))
        .channel("b", narrow(1))
        .await;
    let answers = join_all((0..4).map(|_| stage.chat(MODEL))).await;
    let mut served: BTreeMap<i64, u32> = BTreeMap::new();
    for answer in answers {
        *served
            .entry(answer.expect(200).channel().expect("one"))
            .or_default() += 1;
    }
    assert_eq!(served, BTreeMap::from([(stage.id("a"), 2), (stage.id("b"), 2)]));
    for name in ["a", "b"] {
        let seen = stage.upstream(name).received();
        assert!(
            seen[0].ended_at_ms.expect("ended") <= seen[1].at_ms,
            "{name}: one at a time"
        );
    }
}

fn short_wait() -> StageBuilder {
    Stage::new(Kind::Sqlite).flag("--retry-wait", "0.7")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_who_waits_in_vain_for_a_place_is_told_that_all_are_busy() {
    let stage = short_wait().channel("a", narrow(1)).await;
    let answers = join_all((0..6).map(|_| stage.chat(MODEL))).await;
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!((3..=5).contains(&busy.len()), "{answers:?}");
    for answer in busy {
        assert_eq!(answer.code().as_deref(), Some("overloaded"));
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    assert_eq!(stage.routing().await["waiting"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_leaves_the_line() {
    let stage = Stage::new(Kind::Sqlite)
        .channel(
            "a",
            ordered("slow_first_byte_ms=1500").settings(json!({"max_in_flight": 1})),
        )
        .await;
    let ask = || {
        with_json(
            stage.request(Method::POST, CHAT).bearer_auth(stage.token()),
            &chat_body(MODEL),
        )
    };
    let leaves = async {
        eventually(Duration::from_secs(5), async || match tries(&stage, "a") {
            0 => Err(0),
            _ => Ok(()),
        })
        .await;
        let gone = ask().timeout(Duration::from_millis(300)).send().await;
        assert!(gone.is_err(), "{gone:?}");
        stage.chat(MODEL).await.expect(200);
    };
    tokio::join!(async { stage.chat(MODEL).await.expect(200) }, leaves);
    assert_eq!(tries(&stage, "a"), 2, "the one that hung up was never sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_keys_are_not_used_again() {
    let keys: Vec<String> = (0..10).map(|n| format!("sk-key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let stage = Stage::new(Kind::Sqlite)
        .channel(
            "a",
            ordered("key_refused=key-1,key_refused=key-4,key_refused=key-7").keys(&keys),
        )
        .await;
    for _ in 0..40 {
        stage.chat(MODEL).await.expect(200);
    }
    let refused = stage.upstream("a").received();
    let refused = refused.iter().filter(|seen| seen.status == Some(401)).count();
    assert!(refused <= 3, "{refused}");
}

/// A chat of this conversation; which channel served it.
async fn talk(stage: &Stage, conversation: &str) -> i64 {
    let mut body = chat_body(MODEL);
    body["prompt_cache_key"] = json!(conversation);
    let answer = stage.relay(CHAT, body).await.expect(200);
    answer.channel().expect("a channel")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_keeps_to_its_channel_and_only_those_of_one_that_goes_move() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", works())
        .channel("b", works().weight(2))
        .channel("c", works())
        .await;
    let names: Vec<String> = (0..60).map(|n| format!("talk {n}")).collect();
    let mut homes = HashMap::new();
    for name in &names {
        homes.insert(name.clone(), talk(&stage, name).await);
    }
    let shares = ["a", "b", "c"].map(|name| homes.values().filter(|id| **id == stage.id(name)).count());
    assert!(
        shares[1] > shares[0] && shares[1] > shares[2] && shares.iter().all(|n| *n >= 5),
        "{shares:?}"
    );
    for name in &names {
        assert_eq!(talk(&stage, name).await, homes[name]);
    }
    stage.set_status("b", "disabled").await;
    for name in &names {
        let (before, after) = (homes[name], talk(&stage, name).await);
        assert!(
            before == after || before == stage.id("b"),
            "{name} moved without need"
        );
    }
    // Without anything that names it, a conversation is its opening.
    let mut opening = None;
    for _ in 0..10 {
        let channel = stage.chat(MODEL).await.expect(200).channel();
        assert_eq!(*opening.get_or_insert(channel), channel);
    }
    configure(&stage, MODEL, json!({"settings": {"affinity": false}})).await;
    eventually(Duration::from_secs(20), async || {
        let channel = stage.chat(MODEL).await.expect(200).channel();
        if Some(channel) == opening {
            Err(channel)
        } else {
            Ok(())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fallback_outside_the_tokens_list_serves_and_keeps_its_own_timeouts() {
    let stage = Stage::new(Kind::Sqlite)
        .token(json!({"models": [MODEL]}))
        .channel("a", fails(500))
        .channel("spare", ordered("slow_first_token_ms=700").models(&[SPARE]))
        .flag("--first-token-timeout", "0.2")
        .await;
    configure(&stage, MODEL, json!({"fallbacks": [SPARE]})).await;
    stage.chat_stream(MODEL).await.expect(504);
    configure(&stage, SPARE, json!({"first_token_timeout_ms": 20_000})).await;
    let answer = stage.chat_stream(MODEL).await.expect(200);
    assert_eq!(answer.header("x-pointsman-model"), Some(SPARE));
    stage.chat(SPARE).await.expect(403);
    stage
        .admin_answer(Method::DELETE, &format!("/api/models/{MODEL}"), Value::Null)
        .await
        .expect(204);
    stage.chat(MODEL).await.expect(500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_names_an_earlier_response_goes_where_that_is_kept() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", works())
        .channel("b", works())
        .await;
    for n in 0..10 {
        let first = stage
            .relay(
                "/v1/responses",
                json!({"model": MODEL, "input": format!("question {n}")}),
            )
            .await
            .expect(200);
        let id = first.json()["id"].as_str().expect("an id").to_owned();
        let next = json!({"model": MODEL, "input": format!("then {n}"), "previous_response_id": id});
        let next = stage.relay("/v1/responses", next).await.expect(200);
        assert_eq!(next.channel(), first.channel(), "{n}");
    }
    let unknown = json!({"model": MODEL, "input": "hello", "previous_response_id": "resp_of_somebody_else"});
    stage.relay("/v1/responses", unknown).await.expect(200);
}
