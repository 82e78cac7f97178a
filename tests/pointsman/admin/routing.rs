//! `/api/routing`

use super::problem;
use crate::databases::Kind;
use crate::stage::Stage;
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};

on_each_database! {
    async fn a_rebuild_answers_when_a_build_begun_after_it_is_in_place(kind: Kind) {
        let stage = Stage::new(kind).channel("a", works()).await;
        let before = stage.routing().await;
        assert_eq!(before["counts"]["open_abilities"], 1);
        assert_eq!((&before["quarantined"], &before["last_error"]), (&json!([]), &Value::Null));
        assert!(before["built_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{before}");
        stage.sql("UPDATE abilities SET enabled = FALSE").await;
        let after = stage.rebuild().await;
        assert!(after["generation"].as_u64() > before["generation"].as_u64(), "{after}");
        assert_eq!(after["counts"]["open_abilities"], 0);
    }

    async fn r6_a_rebuild_that_fails_is_told_and_the_last_good_serves_on(kind: Kind) {
        let stage = Stage::new(kind).channel("a", works()).await;
        stage.sql("ALTER TABLE abilities RENAME TO abilities_away").await;
        let answer = stage.admin_answer(Method::POST, "/api/routing/rebuild", Value::Null).await;
        problem(&answer, 503, "rebuild_failed");
        stage.chat("gpt-4o").await.expect(200);
        let state = stage.routing().await;
        assert!(state["failures"].as_u64() >= Some(1) && state["last_error"]["reason"].is_string(), "{state}");
        let verbose = crate::answer::Answer::to(stage.request(Method::GET, "/readyz?verbose")).await.expect(200).json();
        assert_eq!(verbose["database"]["ok"], false, "{verbose}");
        stage.sql("ALTER TABLE abilities_away RENAME TO abilities").await;
        stage.rebuild().await;
        assert_eq!(stage.routing().await["failures"], 0);
    }

    async fn r7_a_bad_row_is_named(kind: Kind) {
        let stage = Stage::new(kind).channel("a", works()).channel("b", works()).await;
        let bad = match kind {
            Kind::Sqlite | Kind::Mariadb => "'[1]'",
            Kind::Postgres => "'[1]'::jsonb",
        };
        stage.sql(&format!("UPDATE channels SET settings = {bad} WHERE id = {}", stage.id("a"))).await;
        let state = stage.rebuild().await;
        assert_eq!(state["quarantined"][0]["channel"], stage.id("a"), "{state}");
        assert_eq!(state["quarantined"][0]["faults"][0]["column"], "settings", "{state}");
        let shown = stage.admin(Method::GET, &format!("/api/channels/{}", stage.id("a")), Value::Null).await;
        assert_eq!((shown.0, &shown.1["name"]), (200, &json!("a")), "{shown:?}");
        // It can be mended where it is seen.
        let mended = stage.admin(Method::PATCH, &format!("/api/channels/{}", stage.id("a")), json!({"settings": {}})).await;
        assert_eq!(mended.0, 200, "{mended:?}");
        assert_eq!(stage.routing().await["quarantined"], json!([]));
    }
}
