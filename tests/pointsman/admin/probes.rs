//! `/livez`, `/readyz`, `/metrics`

use super::problem;
use crate::answer::Answer;
use crate::databases::Kind;
use crate::eventually::eventually;
use crate::servers::PrivateServer;
use crate::stage::Stage;
use crate::upstream::works;
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_plain_words_or_json_by_part() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    for path in ["/livez", "/readyz"] {
        let answer = Answer::to(stage.request(Method::GET, path)).await.expect(200);
        assert_eq!(
            (answer.text().as_str(), answer.header("content-type")),
            ("ok", Some("text/plain; charset=utf-8"))
        );
        Answer::to(stage.request(Method::HEAD, path)).await.expect(200);
        problem(
            &Answer::to(stage.request(Method::POST, path)).await,
            405,
            "method_not_allowed",
        );
    }
    let verbose = Answer::to(stage.request(Method::GET, "/readyz?verbose"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        (verbose["status"].as_str(), verbose["draining"].as_bool()),
        (Some("ok"), Some(false)),
        "{verbose}"
    );
    assert_eq!(
        (
            verbose["snapshot"]["ok"].as_bool(),
            verbose["database"]["ok"].as_bool()
        ),
        (Some(true), Some(true)),
        "{verbose}"
    );
    assert!(
        verbose["snapshot"]["generation"].as_u64() >= Some(1) && verbose["snapshot"]["age_ms"].is_u64(),
        "{verbose}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_of_snapshot_picks_and_rebuilds() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    stage.chat("gpt-4o").await.expect(200);
    stage.chat("unknown-model").await.expect(404);
    let answer = Answer::to(stage.request(Method::GET, "/metrics"))
        .await
        .expect(200);
    assert!(
        answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/plain")),
        "{answer:?}"
    );
    let text = answer.text();
    for line in [
        "pointsman_picks_total{result=\"snapshot\"} 1",
        "pointsman_picks_total{result=\"model_not_found\"} 1",
        "pointsman_pick_misses_total 1",
        "pointsman_rebuilds_total{result=\"failed\",scope=\"full\"} 0",
        "pointsman_snapshot_open_abilities 1",
        "pointsman_draining 0",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is missing in\n{text}"
        );
    }
    for name in [
        "pointsman_snapshot_age_seconds",
        "pointsman_snapshot_generation",
        "pointsman_rebuild_duration_seconds_count",
    ] {
        assert!(
            text.lines().any(|found| found.starts_with(name)),
            "{name} is missing in\n{text}"
        );
    }
    assert!(!text.contains(stage.token()), "no secret");
}

on_each_database! {
    async fn heavy_r12_without_its_database_it_stays_ready_and_known_operators_may_look(kind: Kind) {
        if kind == Kind::Sqlite {
            return; // It has no server.
        }
        let server = PrivateServer::start(kind).await;
        let database = crate::databases::Database::fresh_on(&server).await;
        let stage = Stage::new(kind).database(database).channel("a", works()).flag("--lookup-timeout", "1").await;
        stage.chat("gpt-4o").await.expect(200);
        server.kill9();

        stage.chat("gpt-4o").await.expect(200);
        stage.routing().await;
        let ready = Answer::to(stage.request(Method::GET, "/readyz")).await.expect(200);
        assert_eq!(ready.text(), "ok");
        let read = stage.admin_answer(Method::GET, "/api/channels", Value::Null).await;
        problem(&read, 503, "database_unavailable");
        let write = stage.admin_answer(Method::POST, "/api/tokens", serde_json::json!({"name": "x"})).await;
        assert_eq!(write.status, 503, "{write:?}");
        let stranger = stage.request(Method::GET, "/api/routing").bearer_auth("a-token-never-seen-before");
        problem(&Answer::to(stranger).await, 503, "database_unavailable");
        let rebuild = stage.admin_answer(Method::POST, "/api/routing/rebuild", Value::Null).await;
        problem(&rebuild, 503, "rebuild_failed");

        server.start_again().await;
        eventually(Duration::from_secs(30), async || {
            stage.admin_answer(Method::POST, "/api/routing/rebuild", Value::Null).await.with_status(200)
        })
        .await;
    }
}
