//! Three processes on one database: what is changed at one is soon seen by the picks of the others (R9, R10).

use crate::answer::Answer;
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::node::Node;
use crate::stage::{Stage, chat_body, with_json};
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const MODEL: &str = "gpt-4o";
/// As long as a test waits; how soon it is, is told in docs/reliability.md.
const SOON: Duration = Duration::from_secs(20);

/// Nothing but a notice tells: no timer builds.
async fn stage(kind: Kind) -> (Stage, [Node; 2]) {
    // On PostgreSQL nodes call each other; the others look.
    let looks = if kind == Kind::Postgres { "3600" } else { "0.2" };
    let stage = Stage::new(kind)
        .channel("a", works().keys(&["sk-one-1111"]))
        .flag("--sync-interval", "3600")
        .flag("--notice-interval", looks)
        .await;
    let others = [stage.another_node().await, stage.another_node().await];
    (stage, others)
}

async fn chat(stage: &Stage, node: &Node, token: &str) -> Answer {
    let url = format!("{}/v1/chat/completions", node.url());
    let request = stage.client().post(url).bearer_auth(token);
    Answer::to(with_json(request, &chat_body(MODEL))).await
}

/// Every other node soon answers so.
async fn soon(stage: &Stage, others: &[Node], status: u16, what: &str) {
    for node in others {
        eventually(SOON, async || {
            let answer = chat(stage, node, stage.token()).await.with_status(status);
            answer.map_err(|answer| format!("{what}: {answer:?}"))
        })
        .await;
    }
}

/// Routes that the others serve from their snapshots, so that no miss tells them.
async fn generation(stage: &Stage, node: &Node) -> u64 {
    let request = stage.client().get(format!("{}/api/routing", node.url()));
    let answer = Answer::to(request.bearer_auth(stage.admin_token())).await;
    answer.expect(200).json()["generation"]
        .as_u64()
        .expect("a generation")
}

on_each_database! {
    async fn what_one_node_changes_the_others_soon_see(kind: Kind) {
        let (stage, others) = stage(kind).await;
        soon(&stage, &others, 200, "as it was made").await;
        let call = async |method: Method, path: &str, body: Value| {
            let answer = stage.admin_answer(method, path, body).await;
            assert!(answer.status < 300, "{answer:?}");
        };
        let channel = format!("/api/channels/{}", stage.id("a"));
        let key: Vec<i64> = stage.query("SELECT id FROM channel_keys").await;
        let key = format!("{channel}/keys/{}", key[0]);
        let ability = |held: bool| json!({"group": "default", "model": MODEL, "channel_id": stage.id("a"), "held": held});

        call(Method::PUT, &format!("{channel}/status"), json!({"status": "disabled"})).await;
        soon(&stage, &others, 503, "closed").await;
        let before = generation(&stage, &others[0]).await;
        call(Method::PUT, &format!("{channel}/status"), json!({"status": "enabled"})).await;
        // The snapshot itself follows, not only what a miss finds.
        eventually(SOON, async || match generation(&stage, &others[0]).await {
            later if later > before => Ok(()),
            same => Err(same),
        })
        .await;
        soon(&stage, &others, 200, "opened").await;
        call(Method::PATCH, "/api/abilities", ability(true)).await;
        soon(&stage, &others, 503, "held").await;
        call(Method::PATCH, "/api/abilities", ability(false)).await;
        soon(&stage, &others, 200, "no longer held").await;
        call(Method::PUT, &format!("{key}/status"), json!({"status": "disabled"})).await;
        soon(&stage, &others, 503, "without a key").await;
        call(Method::POST, &format!("{channel}/keys"), json!({"keys": ["sk-two-2222"]})).await;
        soon(&stage, &others, 200, "with another key").await;
        let before = generation(&stage, &others[1]).await;
        call(Method::PUT, &format!("/api/models/{MODEL}"), json!({"fallbacks": ["other"]})).await;
        eventually(SOON, async || match generation(&stage, &others[1]).await {
            later if later > before => Ok(()),
            same => Err(same),
        })
        .await;

        let token: Vec<i64> = stage.query("SELECT id FROM tokens").await;
        let token = format!("/api/tokens/{}", token[0]);
        call(Method::PATCH, &token, json!({"status": "disabled"})).await;
        soon(&stage, &others, 401, "token disabled").await;
        call(Method::PATCH, &token, json!({"status": "enabled"})).await;
        soon(&stage, &others, 200, "token enabled").await;
        call(Method::DELETE, &channel, Value::Null).await;
        soon(&stage, &others, 404, "deleted").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_missed_is_caught_up_when_listening_begins_anew() {
    let (stage, others) = stage(Kind::Postgres).await;
    soon(&stage, &others, 200, "as it was made").await;
    let listening =
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    eventually(SOON, async || match stage.query::<i32>(listening).await.len() {
        3 => Ok(()),
        others => Err(others),
    })
    .await;
    for status in ["disabled", "enabled"] {
        for pid in stage.query::<i32>(listening).await {
            stage.sql(&format!("SELECT pg_terminate_backend({pid})")).await;
        }
        stage.set_status("a", status).await;
        soon(
            &stage,
            &others,
            if status == "enabled" { 200 } else { 503 },
            status,
        )
        .await;
        eventually(SOON, async || match stage.query::<i32>(listening).await.len() {
            3 => Ok(()),
            others => Err(others),
        })
        .await;
    }
}
