//! What providers say when they refuse, and what is made of it: by the table in `docs/routing.md`.

use super::asks::{CHAT, MODEL};
use crate::databases::Kind;
use crate::stage::{Stage, chat_body, with_json};
use crate::upstream::{ordered, works};
use reqwest::Method;
use serde_json::{Value, json};

const PROVIDERS: [&str; 9] = [
    "openai",
    "azure",
    "openrouter",
    "vllm",
    "deepseek",
    "zhipu",
    "moonshot",
    "siliconflow",
    "volcengine",
];
const REFUSALS: [&str; 10] = [
    "500",
    "529",
    "wrong_key",
    "quota",
    "rate_limited",
    "not_here",
    "too_long",
    "filtered",
    "region",
    "foreign_state",
];

/// A row of the documented table.
struct Row {
    status: u16,
    says: Value,
    /// `not_here` with what is missing behind it.
    outcome: &'static str,
}

fn documented() -> Vec<Row> {
    let page = include_str!("../../../docs/routing.md");
    let rows = page
        .lines()
        .skip_while(|line| *line != "| who | status | says | outcome |");
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let says = cells[2].trim_matches('`').trim();
        Row {
            status: cells[1].parse().expect("a status"),
            says: serde_json::from_str(says).unwrap_or_else(|_| says.into()),
            outcome: cells[3].split('`').nth(1).expect("an outcome"),
        }
    })
    .collect()
}

/// Whether everything that the row says stands in the body; `…` stands for any words.
fn says(body: &Value, row: &Value) -> bool {
    match (body, row) {
        (Value::Object(body), Value::Object(row)) => row
            .iter()
            .all(|(name, row)| body.get(name).is_some_and(|body| says(body, row))),
        (Value::String(body), Value::String(row)) => {
            let mut parts = row.split('…').map(str::trim_end);
            let first = parts.next().unwrap_or_default();
            let is_open = row.contains('…');
            body.starts_with(first) && (is_open || body.starts_with(row) && body.len() == row.len())
        }
        (body, row) => body == row,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_that_a_look_alike_knows_is_documented_and_told_by_its_row() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    let rows = documented();
    for provider in PROVIDERS {
        for refusal in REFUSALS {
            let model = format!("m~{refusal},as={provider}");
            let url = format!("{}{CHAT}", stage.upstream("a").url());
            let request = stage.client().post(url).bearer_auth("sk-practice");
            let answer = with_json(request, &chat_body(&model))
                .send()
                .await
                .expect("words");
            let status = answer.status().as_u16();
            let body = answer.text().await.expect("a body").replace(&model, "m");
            let body: Value = serde_json::from_str(&body).expect("JSON");
            let row = rows
                .iter()
                .find(|row| row.status == status && says(&body, &row.says))
                .unwrap_or_else(|| panic!("{model}: no row for {status} {body}"));

            let path = format!("/api/channels/{}/test", stage.id("a"));
            let verdict = stage
                .admin_answer(Method::POST, &path, json!({"model": model}))
                .await;
            let verdict = verdict.expect(200).json();
            assert_eq!(verdict["error"]["code"], row.outcome, "{model}: {body} {verdict}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_accounts_state_is_looked_for_at_the_channels_other_keys() {
    let keys = ["sk-test-a", "sk-test-b"];
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("state_of=test-a").keys(&keys).priority(10))
        .channel("b", ordered("state_of=nobody"))
        .await;
    for round in 0..10 {
        let mut body = chat_body(MODEL);
        // Each a conversation of its own, so that both keys come first at some time.
        body["prompt_cache_key"] = round.to_string().into();
        let answer = stage.relay(CHAT, body).await.expect(200);
        assert_eq!(answer.channel(), Some(stage.id("a")));
    }
    let seen = stage.upstream("a").received();
    assert!(seen.len() > 10, "key B was never first in ten conversations");
    assert_eq!(stage.upstream("b").received().len(), 0);
    let routing = stage.routing().await;
    assert_eq!(routing["health"], json!([]), "no mark on anything");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_path_cools_nothing_for_the_others() {
    // The practice upstream's 404 names no model, as that of an upstream without this path.
    for (path, body, then) in [
        ("/v1/embeddings", json!({"model": MODEL, "input": "x"}), "a"),
        // Without this one it serves nobody.
        (CHAT, chat_body(MODEL), "b"),
    ] {
        let stage = Stage::new(Kind::Sqlite)
            .channel("a", ordered("first=1:404").priority(10))
            .channel("b", works())
            .await;
        let answer = stage.relay(path, body).await.expect(200);
        assert_eq!(answer.channel(), Some(stage.id("b")), "{path}: {answer:?}");
        let answer = stage.chat(MODEL).await.expect(200);
        assert_eq!(answer.channel(), Some(stage.id(then)), "{path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_limit_beside_a_server_error_bars_nothing() {
    let spent = "header=x-ratelimit-remaining-requests:0,header=x-ratelimit-reset-requests:6h0m0s";
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered(&format!("first=1:500,{spent}")))
        .await;
    let answer = stage.chat(MODEL).await.expect(200);
    assert_eq!(answer.header("x-pointsman-attempts"), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_answer_that_says_of_itself_that_it_failed_is_none() {
    for reason in ["insufficient_system_resource", "network_error", "error"] {
        let faults = format!("finish={reason}");
        let stage = Stage::new(Kind::Sqlite)
            .channel("a", ordered(&faults).priority(10))
            .channel("b", works())
            .await;
        let answer = stage.chat(MODEL).await.expect(200);
        assert_eq!(answer.channel(), Some(stage.id("b")), "{reason}");
        stage.set_status("b", "disabled").await;
        let answer = stage.chat(MODEL).await.expect(502);
        assert_eq!(answer.json()["error"]["code"], "upstream_failed", "{reason}");
    }
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("finish=sensitive"))
        .await;
    stage.chat(MODEL).await.expect(200);
}

/// The request's own deadline is no limit of the upstream's: the client is told that time was up, the channel is not
/// held to be silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_requests_deadline_leaves_no_mark() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", ordered("silence"))
        .flag("--request-deadline", "0.5")
        .await;
    for _ in 0..4 {
        for answer in [stage.chat(MODEL).await, stage.chat_stream(MODEL).await] {
            assert_eq!(answer.expect(504).json()["error"]["code"], "upstream_timeout");
        }
    }
    let routing = stage.routing().await;
    assert_eq!(routing["health"], json!([]), "no mark on anything");
}
