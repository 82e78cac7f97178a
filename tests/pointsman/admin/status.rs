//! `PUT /api/channels/{id}/status`: R9 and R10 by the REST.

use super::{call, problem};
use crate::stage::Stage;
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};

on_each_database! {
    async fn r10_closing_and_opening_hold_when_the_call_returns(kind: Kind) {
        let stage = Stage::new(kind).channel("a", works()).flag("--sync-interval", "3600").await;
        let path = format!("/api/channels/{}/status", stage.id("a"));
        for _ in 0..20 {
            let closed = call(&stage, Method::PUT, &path, json!({"status": "disabled", "reason": "drill"}), 200).await;
            assert_eq!((&closed["status"], &closed["status_reason"], &closed["routing"]), (&json!("disabled"), &json!("drill"), &json!("in_place")));
            assert_eq!(stage.chat("gpt-4o").await.code().as_deref(), Some("no_available_channel"));
            let open = call(&stage, Method::PUT, &path, json!({"status": "enabled"}), 200).await;
            assert_eq!((&open["status"], &open["status_reason"]), (&json!("enabled"), &Value::Null));
            assert_eq!(stage.chat("gpt-4o").await.expect(200).channel(), Some(stage.id("a")));
        }
    }

    async fn r9_status_keys_and_abilities_change_together(kind: Kind) {
        let stage = Stage::new(kind).channel("a", works().keys(&["k1", "k2", "k3"]).models(&["gpt-4o", "m2"])).await;
        let id = stage.id("a");
        let path = format!("/api/channels/{id}/status");
        let keys: Vec<i64> = stage.query("SELECT id FROM channel_keys ORDER BY id").await;
        stage.sql(&format!("UPDATE channel_keys SET status = 'auto_disabled' WHERE id = {}", keys[0])).await;
        stage.sql(&format!("UPDATE channel_keys SET status = 'disabled' WHERE id = {}", keys[1])).await;
        call(&stage, Method::PATCH, "/api/abilities", json!({"group": "default", "model": "m2", "channel_id": id, "held": true}), 200).await;

        call(&stage, Method::PUT, &path, json!({"status": "disabled"}), 200).await;
        let statuses = async || stage.query::<String>("SELECT status FROM channel_keys ORDER BY id").await;
        assert_eq!(stage.query::<String>("SELECT status FROM channels").await, ["disabled"]);
        assert_eq!(stage.query::<bool>("SELECT enabled FROM abilities ORDER BY model").await, [false, false]);
        assert_eq!(statuses().await, ["auto_disabled", "disabled", "enabled"], "closing leaves keys as they are");

        call(&stage, Method::PUT, &path, json!({"status": "enabled"}), 200).await;
        assert_eq!(stage.query::<bool>("SELECT enabled FROM abilities ORDER BY model").await, [true, true]);
        assert_eq!(statuses().await, ["enabled", "disabled", "enabled"], "what an operator disabled stays so");
        stage.chat("gpt-4o").await.expect(200);
        assert_eq!(stage.chat("m2").await.code().as_deref(), Some("no_available_channel"), "held");
    }

    async fn r9_without_an_enabled_key_nothing_is_written(kind: Kind) {
        let stage = Stage::new(kind).channel("a", works().with("status", "disabled").with("keys", json!([]))).await;
        let path = format!("/api/channels/{}/status", stage.id("a"));
        let answer = stage.admin_answer(Method::PUT, &path, json!({"status": "enabled"})).await;
        problem(&answer, 409, "no_enabled_key");
        assert_eq!(stage.query::<String>("SELECT status FROM channels").await, ["disabled"]);
        assert_eq!(stage.query::<bool>("SELECT enabled FROM abilities").await, [false]);
    }

    async fn r10_a_closing_holds_though_its_rebuild_failed(kind: Kind) {
        let stage = Stage::new(kind).channel("a", works()).channel("b", works()).await;
        // Builds read the column, closings do not.
        stage.sql("ALTER TABLE channels RENAME COLUMN param_override TO away").await;
        let path = format!("/api/channels/{}/status", stage.id("a"));
        let answer = stage.admin_answer(Method::PUT, &path, json!({"status": "disabled"})).await;
        assert_eq!((answer.status, &answer.json()["routing"]), (202, &json!("pending")), "{answer:?}");
        for _ in 0..20 {
            assert_eq!(stage.chat("gpt-4o").await.expect(200).channel(), Some(stage.id("b")));
        }
        let made = stage.admin_answer(Method::POST, "/api/tokens", json!({"name": "t"})).await;
        assert_eq!(made.status, 201, "no route depends on a token: {made:?}");
        let made = stage.admin_answer(Method::PUT, "/api/models/gpt-4o", json!({"fallbacks": ["m2"]})).await;
        assert_eq!((made.status, &made.json()["routing"]), (202, &json!("pending")), "{made:?}");
        stage.sql("ALTER TABLE channels RENAME COLUMN away TO param_override").await;
        stage.rebuild().await;
        assert_eq!(stage.chat("gpt-4o").await.expect(200).channel(), Some(stage.id("b")));
    }
}
