//! What a provider refuses is closed, at once for picks and then in the database; what works again is reopened; an
//! operator's own word goes before both.

use super::asks::{MESSAGES, MODEL, gemini_body, messages_body, speaks_all};
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::stage::{Stage, chat_body};
use crate::upstream::{Channel, ordered, works};
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(30);

const KEYS: [&str; 10] = [
    "sk-test-dead-1",
    "sk-test-good-2",
    "sk-test-good-3",
    "sk-test-dead-4",
    "sk-test-good-5",
    "sk-test-good-6",
    "sk-test-good-7",
    "sk-test-dead-8",
    "sk-test-good-9",
    "sk-test-good-0",
];
const DEAD: &str = "key_refused=dead-1,key_refused=dead-4,key_refused=dead-8";

/// Takes turns, so that every key has been met after as many requests.
fn three_of_ten_dead() -> Channel {
    speaks_all(DEAD).keys(&KEYS).with("key_mode", "polling")
}

/// So that one conversation meets all of a channel's keys.
async fn without_affinity(stage: &Stage) {
    let off = json!({"settings": {"affinity": false}});
    let (status, answer) = stage
        .admin(Method::PUT, &format!("/api/models/{MODEL}"), off)
        .await;
    assert!(status < 300, "{status} {answer}");
}

async fn statuses(stage: &Stage) -> Vec<String> {
    stage.query("SELECT status FROM channel_keys ORDER BY id").await
}

async fn reasons(stage: &Stage) -> Vec<Option<String>> {
    stage
        .query("SELECT status_reason FROM channel_keys ORDER BY id")
        .await
}

async fn until_statuses(stage: &Stage, want: &[&str]) {
    eventually(LATER, async || {
        let seen = statuses(stage).await;
        if seen == want {
            Ok(())
        } else {
            Err((seen, stage.log().with("closed")))
        }
    })
    .await;
}

/// A line follows when picks go by the closing too.
async fn until_told(stage: &Stage, lines: usize) {
    eventually(LATER, async || {
        let told = stage.log().with("key closed");
        if told.len() == lines { Ok(()) } else { Err(told) }
    })
    .await;
}

/// How often a key went upstream, whichever way it was shown.
fn uses(stage: &Stage, channel: &str, key: &str) -> usize {
    let shows = |headers: &[(String, String)]| headers.iter().any(|(_, value)| value.ends_with(key));
    let received = stage.upstream(channel).received();
    received
        .iter()
        .filter(|received| shows(&received.headers))
        .count()
}

/// From now on this channel's upstream does as told.
async fn mend(stage: &Stage, channel: &str, faults: &str) {
    let url = ordered(faults).base_url(&stage.upstream(channel).url());
    let path = format!("/api/channels/{}", stage.id(channel));
    stage
        .admin_answer(Method::PATCH, &path, json!({"base_url": url}))
        .await
        .expect(200);
}

async fn set_key(stage: &Stage, channel: &str, number: usize, status: &str) {
    let ids: Vec<i64> = stage.query("SELECT id FROM channel_keys ORDER BY id").await;
    let path = format!("/api/channels/{}/keys/{}/status", stage.id(channel), ids[number]);
    let body = json!({"status": status, "reason": "an operator's"});
    stage.admin_answer(Method::PUT, &path, body).await.expect(200);
}

fn want_three_closed() -> Vec<&'static str> {
    let status = |key: &&str| {
        if key.contains("dead") {
            "auto_disabled"
        } else {
            "enabled"
        }
    };
    KEYS.iter().map(status).collect()
}

on_each_database! {
    async fn revoked_keys_are_closed_and_the_others_answer(kind: Kind) {
        let stage = Stage::new(kind).channel("a", three_of_ten_dead()).await;
        without_affinity(&stage).await;
        for _ in 0..10 {
            stage.chat(MODEL).await.expect(200);
        }
        until_statuses(&stage, &want_three_closed()).await;
        for (status, reason) in statuses(&stage).await.iter().zip(reasons(&stage).await) {
            let want = (status == "auto_disabled").then_some("401 invalid_api_key");
            assert_eq!(reason.as_deref(), want);
        }
        for _ in 0..20 {
            stage.chat(MODEL).await.expect(200);
        }
        for key in KEYS.iter().filter(|key| key.contains("dead")) {
            assert_eq!(uses(&stage, "a", key), 1, "{key}");
        }
        assert_eq!(stage.query::<String>("SELECT status FROM channels").await, ["enabled"]);
        until_told(&stage, 3).await;
        stage.log().assert_without("sk-test");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_protocols_word_for_a_revoked_key_closes_it() {
    let gemini = format!("/v1beta/models/{MODEL}:generateContent");
    for (path, body, reason) in [
        (gemini.as_str(), gemini_body(), "400 API_KEY_INVALID"),
        (MESSAGES, messages_body(MODEL), "401 authentication_error"),
    ] {
        let stage = Stage::new(Kind::Sqlite).channel("a", three_of_ten_dead()).await;
        without_affinity(&stage).await;
        for _ in 0..10 {
            stage.relay(path, body.clone()).await.expect(200);
        }
        until_statuses(&stage, &want_three_closed()).await;
        assert_eq!(reasons(&stage).await[0].as_deref(), Some(reason));
        for _ in 0..10 {
            stage.relay(path, body.clone()).await.expect(200);
        }
        for key in KEYS.iter().filter(|key| key.contains("dead")) {
            assert_eq!(uses(&stage, "a", key), 1, "{path} {key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_account_is_closed_and_another_channel_answers() {
    for (path, body, reason) in [
        (super::asks::CHAT, chat_body(MODEL), "429 insufficient_quota"),
        // "Your credit balance is too low"
        (MESSAGES, messages_body(MODEL), "400 invalid_request_error"),
    ] {
        let stage = Stage::new(Kind::Sqlite)
            .channel("a", speaks_all("quota").priority(10))
            .channel("b", speaks_all(""))
            .await;
        for _ in 0..3 {
            let answer = stage.relay(path, body.clone()).await.expect(200);
            assert_eq!(answer.channel(), Some(stage.id("b")));
        }
        until_statuses(&stage, &["auto_disabled", "enabled"]).await;
        assert_eq!(reasons(&stage).await[0].as_deref(), Some(reason));
        stage.relay(path, body).await.expect(200);
        assert_eq!(stage.upstream("a").received().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_revoked_is_told_without_a_word_of_the_account() {
    let stage = Stage::new(Kind::Sqlite)
        .channel(
            "a",
            ordered("wrong_key").keys(&["sk-test-1", "sk-test-2", "sk-test-3"]),
        )
        .await;
    let answer = stage.chat(MODEL).await.expect(502);
    assert_eq!(answer.code().as_deref(), Some("upstream_refused"));
    assert_eq!(answer.header("x-pointsman-attempts"), Some("3"));
    for word in ["sk-", "API key", "openai.com", "invalid_api_key", "401"] {
        assert!(!answer.text().contains(word), "{answer:?}");
    }
    until_statuses(&stage, &["auto_disabled"; 3]).await;
    // The last one takes the channel with it.
    assert_eq!(
        channel_of(&stage).await,
        (
            "auto_disabled".to_owned(),
            Some("401 invalid_api_key".to_owned()),
            false
        )
    );
    until_told(&stage, 3).await;
    // Closed is closed: refused by the database, without a try.
    let answer = stage.chat(MODEL).await.expect(503);
    assert_eq!(answer.code().as_deref(), Some("no_available_channel"));
    assert_eq!(stage.upstream("a").received().len(), 3);
}

/// Status and reason of the only channel, and `enabled` of its only ability.
async fn channel_of(stage: &Stage) -> (String, Option<String>, bool) {
    let status: Vec<String> = stage.query("SELECT status FROM channels").await;
    let reason: Vec<Option<String>> = stage.query("SELECT status_reason FROM channels").await;
    let enabled: Vec<bool> = stage.query("SELECT enabled FROM abilities").await;
    (status[0].clone(), reason[0].clone(), enabled[0])
}

on_each_database! {
    async fn a_channel_closed_with_its_last_key_comes_back_with_the_first_that_is_open(kind: Kind) {
        let open = ("enabled".to_owned(), None, true);
        for how in ["enable", "replace", "add"] {
            let channel = ordered("key_refused=dead-1,key_refused=dead-4").keys(&KEYS[..1]);
            let stage = Stage::new(kind).channel("a", channel).await;
            let keys = format!("/api/channels/{}/keys", stage.id("a"));
            stage.chat(MODEL).await.expect(502);
            until_statuses(&stage, &["auto_disabled"]).await;
            assert_eq!(channel_of(&stage).await.0, "auto_disabled");
            let listed = stage.admin(Method::GET, "/api/channels?status=auto_disabled", json!(null)).await;
            assert_eq!(listed.1["total"], 1);
            match how {
                "enable" => set_key(&stage, "a", 0, "enabled").await,
                "add" => {
                    let body = json!({"keys": [KEYS[1]]});
                    stage.admin_answer(Method::POST, &keys, body).await.expect(201);
                }
                _ => {
                    let id: Vec<i64> = stage.query("SELECT id FROM channel_keys").await;
                    let body = json!({"secret": KEYS[1]});
                    stage.admin_answer(Method::PUT, &format!("{keys}/{}", id[0]), body).await.expect(200);
                }
            }
            assert_eq!(channel_of(&stage).await, open, "{how}");
            if how != "enable" {
                stage.chat(MODEL).await.expect(200);
            }
        }
        // What an operator has closed stays closed, whatever its keys are.
        let stage = Stage::new(kind).channel("a", works()).await;
        stage.set_status("a", "disabled").await;
        set_key(&stage, "a", 0, "disabled").await;
        set_key(&stage, "a", 0, "enabled").await;
        assert_eq!(channel_of(&stage).await.0, "disabled");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_without_keys_is_closed_itself() {
    let stage = Stage::new(Kind::Sqlite)
        .channel(
            "a",
            ordered("wrong_key")
                .provider("ollama")
                .with("keys", json!([]))
                .priority(10),
        )
        .channel("b", works())
        .await;
    stage.chat(MODEL).await.expect(200);
    eventually(SOON, async || {
        let seen: Vec<String> = stage.query("SELECT status FROM channels ORDER BY id").await;
        if seen == ["auto_disabled", "enabled"] {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
    let reasons: Vec<Option<String>> = stage
        .query("SELECT status_reason FROM channels ORDER BY id")
        .await;
    assert_eq!(reasons[0].as_deref(), Some("401 invalid_api_key"));
    let flags: Vec<bool> = stage
        .query("SELECT enabled FROM abilities ORDER BY channel_id")
        .await;
    assert_eq!(flags, [false, true]);
    stage.chat(MODEL).await.expect(200);
    assert_eq!(stage.upstream("a").received().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_forbids_it_only_cools() {
    let keys = ["sk-test-dead-1", "sk-test-good-2"];
    let channel = ordered(DEAD)
        .keys(&keys)
        .with("key_mode", "polling")
        .with("auto_disable", false);
    let stage = Stage::new(Kind::Sqlite).channel("a", channel).await;
    for _ in 0..6 {
        stage.chat(MODEL).await.expect(200);
    }
    stage.rebuild().await;
    for _ in 0..6 {
        stage.chat(MODEL).await.expect(200);
    }
    assert_eq!(uses(&stage, "a", "dead-1"), 1);
    assert_eq!(statuses(&stage).await, ["enabled", "enabled"]);
    let health = stage.routing().await["health"].to_string();
    assert!(
        health.contains("refused") || health.contains("cooling"),
        "{health}"
    );
    assert!(stage.log().with("key closed").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_refusals_of_one_key_are_one_write() {
    let keys = ["sk-test-dead-1", "sk-test-good-2"];
    let channel = ordered(&format!("slow_first_byte_ms=300,{DEAD}"))
        .keys(&keys)
        .with("key_mode", "polling");
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", channel)
        .variable("RUST_LOG", "pointsman=debug,warn")
        .await;
    let asks = (0..30).map(|_| stage.chat(MODEL));
    for answer in futures::future::join_all(asks).await {
        answer.expect(200);
    }
    assert!(uses(&stage, "a", "dead-1") > 5, "they were in flight together");
    until_statuses(&stage, &["auto_disabled", "enabled"]).await;
    stage.chat(MODEL).await.expect(200);
    until_told(&stage, 1).await;
    assert!(stage.log().with("changed meanwhile").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_a_late_refusal_touches_neither_what_an_operator_said_nor_a_new_secret() {
    let slow = || ordered("slow_first_byte_ms=1500,wrong_key").keys(&["sk-test-old-1111"]);
    let stage = || Stage::new(Kind::Sqlite).variable("RUST_LOG", "pointsman=debug,warn");

    for (what, want, reason) in [
        ("disabled", "disabled", Some("an operator's")),
        ("enabled", "enabled", Some("an operator's")),
        ("replaced", "enabled", None),
    ] {
        let stage = stage().channel("a", slow()).await;
        let meanwhile = async {
            eventually(SOON, async || {
                if uses(&stage, "a", "old-1111") == 1 {
                    Ok(())
                } else {
                    Err(())
                }
            })
            .await;
            match what {
                "replaced" => {
                    let id: Vec<i64> = stage.query("SELECT id FROM channel_keys").await;
                    let path = format!("/api/channels/{}/keys/{}", stage.id("a"), id[0]);
                    let body = json!({"secret": "sk-test-new-2222"});
                    stage.admin_answer(Method::PUT, &path, body).await.expect(200);
                }
                status => set_key(&stage, "a", 0, status).await,
            }
        };
        let (answer, ()) = tokio::join!(stage.chat(MODEL), meanwhile);
        answer.expect(502);
        eventually(SOON, async || stage.log().first_with("changed meanwhile")).await;
        assert_eq!(statuses(&stage).await, [want], "{what}");
        assert_eq!(reasons(&stage).await, [reason.map(str::to_owned)], "{what}");
        if want == "enabled" {
            mend(&stage, "a", "").await;
            stage.chat(MODEL).await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_enables_is_picked_at_once() {
    for auto_disable in [true, false] {
        let stage = Stage::new(Kind::Sqlite)
            .channel(
                "a",
                ordered("wrong_key")
                    .with("auto_disable", auto_disable)
                    .priority(10),
            )
            .channel("b", works())
            .await;
        for _ in 0..3 {
            assert_eq!(stage.chat(MODEL).await.expect(200).channel(), Some(stage.id("b")));
        }
        let closed = if auto_disable { "auto_disabled" } else { "enabled" };
        until_statuses(&stage, &[closed, "enabled"]).await;
        mend(&stage, "a", "").await;
        assert_eq!(stage.chat(MODEL).await.expect(200).channel(), Some(stage.id("b")));
        set_key(&stage, "a", 0, "enabled").await;
        assert_eq!(
            stage.chat(MODEL).await.expect(200).channel(),
            Some(stage.id("a")),
            "{auto_disable}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_works_again_is_reopened_but_not_what_an_operator_disabled() {
    let stage = Stage::new(Kind::Sqlite)
        .channel(
            "a",
            ordered("wrong_key").keys(&["sk-test-one-1", "sk-test-two-2"]),
        )
        .channel(
            "c",
            ordered("wrong_key")
                .provider("ollama")
                .with("keys", json!([]))
                .models(&["m2"]),
        )
        .flag("--test-interval", "1")
        .await;
    stage.chat(MODEL).await.expect(502);
    stage.chat("m2").await.expect(502);
    until_statuses(&stage, &["auto_disabled"; 2]).await;
    set_key(&stage, "a", 1, "disabled").await;
    let tests = async || stage.upstream("a").received().len();
    // The schedule has tried, and it is still refused.
    let before = tests().await;
    eventually(
        SOON,
        async || if tests().await > before { Ok(()) } else { Err(()) },
    )
    .await;
    assert_eq!(statuses(&stage).await, ["auto_disabled", "disabled"]);
    let two = uses(&stage, "a", "two-2");

    mend(&stage, "a", "").await;
    mend(&stage, "c", "").await;
    until_statuses(&stage, &["enabled", "disabled"]).await;
    stage.chat(MODEL).await.expect(200);
    eventually(SOON, async || stage.chat("m2").await.with_status(200)).await;
    assert_eq!(reasons(&stage).await, [None, Some("an operator's".to_owned())]);
    assert_eq!(uses(&stage, "a", "two-2"), two, "never tested");
    let tested: Vec<Option<i64>> = stage.query("SELECT tested_at FROM channels ORDER BY id").await;
    assert!(tested.iter().all(Option::is_some));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r9_a_late_test_does_not_open_what_an_operator_has_disabled() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("wrong_key").keys(&["sk-test-one-1"]))
        .flag("--test-interval", "1")
        .variable("RUST_LOG", "pointsman=debug,warn")
        .await;
    stage.chat(MODEL).await.expect(502);
    until_statuses(&stage, &["auto_disabled"]).await;
    stage.upstream("a").forget();
    mend(&stage, "a", "slow_first_byte_ms=2000").await;
    let slow = async || {
        let received = stage.upstream("a").received();
        let mended = received.iter().any(|received| received.faults.contains("slow"));
        if mended { Ok(()) } else { Err(received.len()) }
    };
    eventually(SOON, slow).await;
    set_key(&stage, "a", 0, "disabled").await;
    eventually(SOON, async || {
        stage.log().first_with("works again, but changed meanwhile")
    })
    .await;
    assert_eq!(statuses(&stage).await, ["disabled"]);
    assert_eq!(reasons(&stage).await, [Some("an operator's".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_database_a_refused_key_cools_and_is_closed_when_it_is_back() {
    let keys = ["sk-test-dead-1", "sk-test-good-2"];
    let stage = Stage::new(Kind::Postgres)
        .behind_proxy()
        .channel("a", ordered(DEAD).keys(&keys).with("key_mode", "polling"))
        .channel("warm", works().models(&["warm"]))
        .await;
    stage.chat("warm").await.expect(200);
    stage.proxy().cut();
    for _ in 0..6 {
        stage.chat(MODEL).await.expect(200);
    }
    eventually(SOON, async || stage.log().first_with("not closed yet")).await;
    assert_eq!(uses(&stage, "a", "dead-1"), 1);
    assert_eq!(statuses(&stage).await, ["enabled"; 3]);
    stage.proxy().pass();
    until_statuses(&stage, &["auto_disabled", "enabled", "enabled"]).await;
    for _ in 0..4 {
        stage.chat(MODEL).await.expect(200);
    }
    assert_eq!(uses(&stage, "a", "dead-1"), 1);
    until_told(&stage, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_close_and_reopen_the_same_key_once() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("wrong_key").keys(&["sk-test-one-1"]))
        .flag("--test-interval", "1")
        .await;
    let other = stage.another_node().await;
    let ask_other = crate::stage::with_json(
        stage
            .client()
            .post(format!("{}/v1/chat/completions", other.url()))
            .bearer_auth(stage.token()),
        &chat_body(MODEL),
    );
    let (one, two) = tokio::join!(stage.chat(MODEL), crate::answer::Answer::to(ask_other));
    for answer in [one, two] {
        assert!(matches!(answer.status, 502 | 503), "{answer:?}");
    }
    until_statuses(&stage, &["auto_disabled"]).await;
    mend(&stage, "a", "").await;
    until_statuses(&stage, &["enabled"]).await;
    eventually(SOON, async || {
        let lines = |words: &str| stage.log().with(words).len() + other.log().with(words).len();
        let told = (lines("key closed"), lines("reopened"));
        if told == (1, 1) { Ok(()) } else { Err(told) }
    })
    .await;
}
