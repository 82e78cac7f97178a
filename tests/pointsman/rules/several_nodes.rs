//! Three processes on one database: what is changed at one is soon seen by the picks of the others (R9, R10).

use crate::answer::Answer;
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::node::Node;
use crate::stage::{Stage, chat_body, with_json};
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};
use std::cell::Cell;
use std::time::{Duration, Instant};

const MODEL: &str = "gpt-4o";
/// As long as a test waits.
const SOON: Duration = Duration::from_secs(20);
/// What docs/reliability.md promises of nodes on one PostgreSQL.
const ON_POSTGRES: Duration = Duration::from_secs(1);

/// Nothing but a notice tells: no timer builds.
async fn stage(kind: Kind, looks: Option<&str>) -> (Stage, [Node; 2]) {
    let stage = Stage::new(kind)
        .channel("a", works().keys(&["sk-one-1111"]))
        .channel("b", works().models(&["other"]))
        .flag("--sync-interval", "3600");
    let stage = match looks {
        Some(seconds) => stage.flag("--notice-interval", seconds).await,
        None => stage.await,
    };
    let others = [stage.another_node().await, stage.another_node().await];
    soon(&stage, &others, &open(2)).await;
    (stage, others)
}

/// What a node's own snapshot shows: no lookup has told it.
enum Shows {
    OpenAbilities(u64),
    /// To a request for the model: by this status, and this model.
    Answer(u16, Option<&'static str>),
}

fn open(abilities: u64) -> Shows {
    Shows::OpenAbilities(abilities)
}

async fn routing(stage: &Stage, node: &Node) -> Value {
    let request = stage.client().get(format!("{}/api/routing", node.url()));
    let answer = Answer::to(request.bearer_auth(stage.admin_token())).await;
    answer.expect(200).json()
}

async fn chat(stage: &Stage, node: &Node) -> Answer {
    let url = format!("{}/v1/chat/completions", node.url());
    let request = stage.client().post(url).bearer_auth(stage.token());
    Answer::to(with_json(request, &chat_body(MODEL))).await
}

async fn shows(stage: &Stage, node: &Node, what: &Shows) -> Result<(), String> {
    match what {
        Shows::OpenAbilities(want) => match routing(stage, node).await {
            routing if routing["counts"]["open_abilities"] == json!(want) => Ok(()),
            other => Err(format!("{want} open abilities wanted: {other}")),
        },
        Shows::Answer(status, model) => match chat(stage, node).await {
            answer if answer.status == *status && answer.header("x-pointsman-model") == *model => Ok(()),
            other => Err(format!("{status} by {model:?} wanted: {other:?}")),
        },
    }
}

/// Every other node soon shows it; how long that took.
async fn soon(stage: &Stage, others: &[Node], what: &Shows) -> Duration {
    let began = Instant::now();
    for node in others {
        eventually(SOON, async || shows(stage, node, what).await).await;
    }
    began.elapsed()
}

on_each_database! {
    async fn heavy_what_one_node_changes_the_others_soon_see(kind: Kind) {
        // On PostgreSQL nodes call each other; the others look.
        let (stage, others) = stage(kind, Some(if kind == Kind::Postgres { "3600" } else { "0.2" })).await;
        let longest = Cell::new(Duration::ZERO);
        let change = async |method: Method, path: &str, body: Value, then: Shows| {
            let answer = stage.admin_answer(method, path, body).await;
            assert!(answer.status < 300, "{answer:?}");
            longest.set(longest.get().max(soon(&stage, &others, &then).await));
        };
        let channel = format!("/api/channels/{}", stage.id("a"));
        let status = format!("{channel}/status");
        let model = format!("/api/models/{MODEL}");
        let key: Vec<i64> = stage.query(&format!("SELECT id FROM channel_keys WHERE channel_id = {}", stage.id("a"))).await;
        let key = format!("{channel}/keys/{}/status", key[0]);
        let ability = |held: bool| json!({"group": "default", "model": MODEL, "channel_id": stage.id("a"), "held": held});
        let (disabled, enabled) = (json!({"status": "disabled"}), json!({"status": "enabled"}));

        change(Method::PUT, &status, disabled.clone(), open(1)).await;
        change(Method::PUT, &model, json!({"fallbacks": ["other"]}), Shows::Answer(200, Some("other"))).await;
        change(Method::DELETE, &model, Value::Null, Shows::Answer(503, None)).await;
        change(Method::PUT, &status, enabled.clone(), open(2)).await;
        change(Method::PATCH, "/api/abilities", ability(true), open(1)).await;
        change(Method::PATCH, "/api/abilities", ability(false), open(2)).await;
        change(Method::PUT, &key, disabled.clone(), open(1)).await;
        change(Method::POST, &format!("{channel}/keys"), json!({"keys": ["sk-two-2222"]}), open(2)).await;
        let token: Vec<i64> = stage.query("SELECT id FROM tokens").await;
        let token = format!("/api/tokens/{}", token[0]);
        change(Method::PATCH, &token, disabled, Shows::Answer(401, None)).await;
        change(Method::PATCH, &token, enabled, Shows::Answer(200, Some(MODEL))).await;
        change(Method::DELETE, &channel, Value::Null, open(1)).await;
        println!("{kind:?}: a change was seen by both other nodes after {:.0} ms at most", longest.get().as_secs_f64() * 1e3);
        if kind == Kind::Postgres {
            assert!(longest.get() < ON_POSTGRES, "{:?}", longest.get());
        }
    }

    async fn by_default_a_node_looks_often_enough_and_builds_nothing_for_nothing(kind: Kind) {
        let (stage, others) = stage(kind, None).await;
        let before = routing(&stage, &others[0]).await["generation"].clone();
        // A change that touches no route; when it is seen, each has looked.
        let token: Vec<i64> = stage.query("SELECT id FROM tokens").await;
        let answer = stage.admin_answer(Method::PATCH, &format!("/api/tokens/{}", token[0]), json!({"status": "disabled"})).await;
        answer.expect(200);
        soon(&stage, &others, &Shows::Answer(401, None)).await;
        assert_eq!(routing(&stage, &others[0]).await["generation"], before);
        stage.set_status("a", "disabled").await;
        soon(&stage, &others, &open(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_missed_is_caught_up_when_listening_begins_anew() {
    let (stage, others) = stage(Kind::Postgres, Some("3600")).await;
    let listening =
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    let listeners = async || {
        eventually(SOON, async || match stage.query::<i32>(listening).await {
            pids if pids.len() == 3 => Ok(pids),
            others => Err(others),
        })
        .await
    };
    let pids = listeners().await;
    // As another node would have it done whose call reaches nobody.
    let id = stage.id("a");
    for statement in [
        format!(
            "UPDATE channels SET status = 'disabled', status_changed_at = status_changed_at + 1 WHERE id = {id}"
        ),
        format!("UPDATE abilities SET enabled = false WHERE channel_id = {id}"),
        format!(
            "WITH next AS (UPDATE routing_version SET version = version + 1 RETURNING version)
             INSERT INTO change_notices (version, node, channels, at)
             SELECT version, 'another', '[{id}]', (extract(epoch FROM now()) * 1000)::bigint FROM next"
        ),
    ] {
        stage.sql(&statement).await;
    }
    for node in &others {
        shows(&stage, node, &open(2)).await.expect("nobody has called");
    }
    for pid in pids {
        stage.sql(&format!("SELECT pg_terminate_backend({pid})")).await;
    }
    soon(&stage, &others, &open(1)).await;
    // Listening again, they hear again.
    listeners().await;
    stage.set_status("a", "enabled").await;
    soon(&stage, &others, &open(2)).await;
}
