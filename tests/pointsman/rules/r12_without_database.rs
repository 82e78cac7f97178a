//! R11, R12: while the database is away what is known goes on, the rest is refused in time, and it all recovers.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::databases::{Database, Kind};
use crate::eventually::eventually;
use crate::servers::PrivateServer;
use crate::stage::{Stage, StageBuilder, chat_body, with_json};
use crate::upstream::works;

const RECOVERED_WITHIN: Duration = Duration::from_secs(30);
/// What the snapshot answers does not wait for the database at all; the rest is this machine's.
const AT_ONCE: Duration = Duration::from_secs(2);
/// A lookup's second and one of waiting for its turn, for models and then for tokens; however many wait.
const LOOKUPS_WITHIN: Duration = Duration::from_secs(8);
/// A write's two seconds, to a connection and to the answer of each, and this machine's.
const CHANGE_WITHIN: Duration = Duration::from_secs(9);
/// Every connection that one node may have: lookups, tokens, reads, writes, builds; and the test's own.
const ALL_CONNECTIONS: i64 = 4 + 2 + 3 + 4 + 1 + 2;

on_each_database! {
    async fn heavy_r12_a_frozen_database_is_missed_by_nobody_who_is_known(kind: Kind) {
        if kind == Kind::Sqlite {
            return; // It has no server.
        }
        let server = PrivateServer::start(kind).await;
        let stage = stage_on(&server).await;
        use_everything(&stage).await;
        server.sigstop();
        everything_known_goes_on(&stage).await;
        server.sigcont();
        everything_recovers(&stage).await;
    }

    async fn heavy_r12_a_killed_database_is_missed_by_nobody_who_is_known(kind: Kind) {
        if kind == Kind::Sqlite {
            return; // It has no server.
        }
        let server = PrivateServer::start(kind).await;
        let stage = stage_on(&server).await;
        use_everything(&stage).await;
        server.kill9();
        everything_known_goes_on(&stage).await;
        server.start_again().await;
        everything_recovers(&stage).await;
    }
}

/// Of SQLite only the writing can be taken away: its readers wait for nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r12_while_another_process_writes_changes_fail_in_time_and_the_rest_goes_on() {
    let stage = patient(Stage::new(Kind::Sqlite)).await;
    let lock = stage
        .database()
        .connection()
        .begin()
        .await
        .expect("a transaction");
    let update = "UPDATE channels SET remark = 'held'";
    lock.execute_unprepared(update).await.expect("the write lock");
    change_fails_in_time(&stage).await;
    chats_go_on(&stage).await;
    assert_eq!(
        stage.chat("unknown").await.code().as_deref(),
        Some("model_not_found")
    );
    lock.rollback().await.expect("the lock goes");
    changes_work(&stage).await;
}

fn patient(stage: StageBuilder) -> StageBuilder {
    stage
        .channel("a", works())
        .channel("b", works().models(&["other"]))
        .flag("--lookup-timeout", "1")
        .flag("--admin-timeout", "2")
        .flag("--build-deadline", "2")
        // Builds fail all the time, too.
        .flag("--sync-interval", "1")
}

async fn stage_on(server: &PrivateServer) -> Stage {
    let database = Database::fresh_on(server).await;
    patient(Stage::new(server.kind()).database(database)).await
}

/// Opens connections for every purpose.
async fn use_everything(stage: &Stage) {
    chats_go_on(stage).await;
    for answer in join_all((0..20).map(|n| unknown_model(stage, n))).await {
        assert_eq!(answer.code().as_deref(), Some("model_not_found"), "{answer:?}");
    }
    for answer in join_all((0..20).map(|n| unknown_token(stage, n))).await {
        assert_eq!(answer.code().as_deref(), Some("invalid_token"), "{answer:?}");
    }
    let reads = (0..6).map(|_| stage.admin_answer(Method::GET, "/api/channels", Value::Null));
    for answer in join_all(reads).await {
        answer.expect(200);
    }
    changes_work(stage).await;
    eventually(RECOVERED_WITHIN, async || {
        let open = connections(stage).await;
        if open <= ALL_CONNECTIONS {
            Ok(())
        } else {
            Err(open)
        }
    })
    .await;
}

async fn everything_known_goes_on(stage: &Stage) {
    chats_go_on(stage).await;
    let began = Instant::now();
    for answer in join_all((100..200).map(|n| unknown_model(stage, n))).await {
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (503, Some("routing_unavailable"))
        );
    }
    for answer in join_all((100..200).map(|n| unknown_token(stage, n))).await {
        assert_eq!(
            (answer.status, answer.code().as_deref()),
            (503, Some("routing_unavailable"))
        );
    }
    assert!(began.elapsed() < LOOKUPS_WITHIN, "{:?}", began.elapsed());
    for path in ["/readyz", "/livez"] {
        let began = Instant::now();
        assert_eq!(
            Answer::to(stage.request(Method::GET, path))
                .await
                .expect(200)
                .text(),
            "ok"
        );
        assert!(began.elapsed() < AT_ONCE, "{path}: {:?}", began.elapsed());
    }
    change_fails_in_time(stage).await;
    eventually(RECOVERED_WITHIN, async || {
        let state = stage.routing().await;
        if state["failures"].as_u64() >= Some(1) {
            Ok(())
        } else {
            Err(state)
        }
    })
    .await;
    chats_go_on(stage).await;
}

async fn everything_recovers(stage: &Stage) {
    eventually(RECOVERED_WITHIN, async || {
        let answer = unknown_model(stage, 999).await;
        if answer.code().as_deref() == Some("model_not_found") {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    eventually(RECOVERED_WITHIN, async || {
        let answer = unknown_token(stage, 999).await;
        if answer.code().as_deref() == Some("invalid_token") {
            Ok(())
        } else {
            Err(answer)
        }
    })
    .await;
    eventually(RECOVERED_WITHIN, async || {
        let rebuild = stage.admin_answer(Method::POST, "/api/routing/rebuild", Value::Null);
        rebuild.await.with_status(200)
    })
    .await;
    use_everything(stage).await;
}

/// Plain and streamed, with a token that has been seen.
async fn chats_go_on(stage: &Stage) {
    for _ in 0..15 {
        for model in ["gpt-4o", "other"] {
            let began = Instant::now();
            stage.chat(model).await.expect(200);
            let stream = stage.chat_stream(model).await.expect(200).text();
            assert!(stream.trim_end().ends_with("[DONE]"), "{stream}");
            assert!(began.elapsed() < AT_ONCE, "{model}: {:?}", began.elapsed());
        }
    }
}

async fn unknown_model(stage: &Stage, n: usize) -> Answer {
    stage.chat(&format!("unknown-{n}")).await
}

async fn unknown_token(stage: &Stage, n: usize) -> Answer {
    let request = stage
        .request(Method::POST, "/v1/chat/completions")
        .bearer_auth(format!("sk-unknown-{n}"));
    Answer::to(with_json(request, &chat_body("gpt-4o"))).await
}

async fn change_fails_in_time(stage: &Stage) {
    let began = Instant::now();
    let path = format!("/api/channels/{}/status", stage.id("b"));
    let answer = stage
        .admin_answer(Method::PUT, &path, json!({"status": "disabled"}))
        .await
        .expect(503);
    assert_eq!(answer.json()["code"], "not_done", "{answer:?}");
    assert!(began.elapsed() < CHANGE_WITHIN, "{:?}", began.elapsed());
}

async fn changes_work(stage: &Stage) {
    let status = format!("SELECT status FROM channels WHERE id = {}", stage.id("b"));
    assert_eq!(
        stage.query::<String>(&status).await,
        ["enabled"],
        "what was answered to be not done is not"
    );
    stage.set_status("b", "disabled").await;
    assert_eq!(
        stage.chat("other").await.code().as_deref(),
        Some("no_available_channel")
    );
    assert_eq!(stage.query::<String>(&status).await, ["disabled"]);
    stage.set_status("b", "enabled").await;
    stage.chat("other").await.expect(200);
}

/// Every connection to the stage's database, the test's own too.
async fn connections(stage: &Stage) -> i64 {
    let sql = match stage.database().kind() {
        Kind::Postgres => "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()",
        _ => "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()",
    };
    stage.query::<i64>(sql).await[0]
}
