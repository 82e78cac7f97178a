//! The cases that started this project (R3, R6, R7, R9, R10), as clients and operators see them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::eventually::eventually;
use crate::stage::Stage;
use crate::upstream::works;

const SOON: Duration = Duration::from_secs(10);

on_each_database! {
    async fn r3_what_was_opened_behind_the_back_serves_the_next_chat(kind: Kind) {
        let stage = Stage::new(kind)
            .channel("a", works())
            .channel("steady", works().models(&["steady"]))
            .flag("--sync-interval", "3600")
            .await;
        stage.set_status("a", "disabled").await;
        assert_eq!(refused(&stage, "gpt-4o").await, "no_available_channel");
        assert_eq!(open_abilities(&stage).await, 1);

        stage.sql("UPDATE channels SET status = 'enabled'").await;
        stage.sql("UPDATE abilities SET enabled = TRUE").await;
        assert_eq!(open_abilities(&stage).await, 1, "nobody has told the snapshot");
        assert_eq!(stage.chat("gpt-4o").await.expect(200).channel(), Some(stage.id("a")));
        eventually(SOON, async || match open_abilities(&stage).await {
            2 => Ok(()),
            other => Err(other),
        })
        .await;
        let misses = misses(&stage).await;
        stage.chat("gpt-4o").await.expect(200);
        assert_eq!(self::misses(&stage).await, misses, "the snapshot answers now");
    }

    async fn r10_an_auto_disabled_channel_that_is_enabled_serves_all_but_what_is_held(kind: Kind) {
        let stage = Stage::new(kind)
            .channel("a", works().models(&["m1", "m2", "m3"]).keys(&["k-one", "k-two", "k-three"]))
            .flag("--sync-interval", "3600")
            .await;
        let keys: Vec<i64> = stage.query("SELECT id FROM channel_keys ORDER BY id").await;
        stage.sql("UPDATE channels SET status = 'auto_disabled', status_reason = '401'").await;
        stage.sql("UPDATE abilities SET enabled = FALSE").await;
        stage.sql("UPDATE abilities SET held = TRUE WHERE model = 'm2'").await;
        stage.sql(&format!("UPDATE channel_keys SET status = 'auto_disabled' WHERE id = {}", keys[0])).await;
        stage.sql(&format!("UPDATE channel_keys SET status = 'disabled' WHERE id = {}", keys[1])).await;
        stage.rebuild().await;
        for model in ["m1", "m2", "m3"] {
            assert_eq!(refused(&stage, model).await, "no_available_channel", "{model}");
        }

        stage.set_status("a", "enabled").await;
        assert_eq!(open_abilities(&stage).await, 2, "the snapshot holds them when the call returns");
        for model in ["m1", "m3"] {
            assert_eq!(stage.chat(model).await.expect(200).channel(), Some(stage.id("a")), "{model}");
        }
        assert_eq!(refused(&stage, "m2").await, "no_available_channel", "held");
        assert_eq!(stored(&stage).await, ("enabled".to_owned(), vec![true, true, true], words(&["enabled", "disabled", "enabled"])));
        assert_eq!(stage.query::<bool>("SELECT held FROM abilities ORDER BY model").await, [false, true, false]);

        stage.set_status("a", "disabled").await;
        for model in ["m1", "m2", "m3"] {
            assert_eq!(refused(&stage, model).await, "no_available_channel", "{model}");
        }
        assert_eq!(open_abilities(&stage).await, 0);
        assert_eq!(stored(&stage).await, ("disabled".to_owned(), vec![false, false, false], words(&["enabled", "disabled", "enabled"])));
    }

    async fn r7_a_row_that_cannot_be_read_serves_by_its_last_good_definition(kind: Kind) {
        let stage = Stage::new(kind)
            .channel("bad", works())
            .channel("good", works().models(&["other"]))
            .flag("--sync-interval", "3600")
            .await;
        let bad = stage.id("bad");
        stage.sql(&format!("UPDATE channels SET settings = '[1]' WHERE id = {bad}")).await;
        let state = stage.rebuild().await;
        assert_eq!(state["quarantined"].as_array().map(Vec::len), Some(1), "{state}");
        assert_eq!((&state["quarantined"][0]["channel"], &state["quarantined"][0]["last_good"]), (&json!(bad), &json!(true)));
        assert_eq!(state["counts"]["open_abilities"], 2, "{state}");
        assert_eq!(stage.chat("gpt-4o").await.expect(200).channel(), Some(bad));
        stage.chat("other").await.expect(200);

        stage.set_status("bad", "disabled").await;
        assert_eq!(refused(&stage, "gpt-4o").await, "no_available_channel");
        stage.rebuild().await;
        assert_eq!(refused(&stage, "gpt-4o").await, "no_available_channel", "a build later too");
        stage.chat("other").await.expect(200);
        stage.set_status("bad", "enabled").await;
        assert_eq!(stage.chat("gpt-4o").await.expect(200).channel(), Some(bad), "still by its last good definition");
        assert_eq!(stage.routing().await["quarantined"][0]["channel"], bad);
    }

    async fn r6_everything_goes_on_while_no_build_can_read(kind: Kind) {
        let stage = Stage::new(kind)
            .channel("a", works())
            .channel("closed", works().models(&["closed"]))
            .flag("--sync-interval", "3600")
            .await;
        stage.set_status("closed", "disabled").await;
        for table in ["channels", "channel_keys", "abilities"] {
            let before = stage.routing().await["generation"].clone();
            stage.sql(&format!("ALTER TABLE {table} RENAME TO elsewhere")).await;
            let rebuild = stage.admin_answer(Method::POST, "/api/routing/rebuild", Value::Null).await.expect(503);
            assert_eq!(rebuild.json()["code"], "rebuild_failed", "{table}: {rebuild:?}");
            stage.chat("gpt-4o").await.expect(200);
            stage.chat_stream("gpt-4o").await.expect(200);
            assert_eq!(refused(&stage, "closed").await, "routing_unavailable", "{table}: an error is no empty database");
            let ready = Answer::to(stage.request(Method::GET, "/readyz")).await.expect(200);
            assert_eq!(ready.text(), "ok", "{table}");
            let state = stage.routing().await;
            assert_eq!((&state["generation"], state["last_error"].is_object()), (&before, true), "{table}: {state}");

            stage.sql(&format!("ALTER TABLE elsewhere RENAME TO {table}")).await;
            stage.rebuild().await;
            assert_eq!(refused(&stage, "closed").await, "no_available_channel", "{table}");
        }
    }
}

/// The name of R4 with which a chat is refused.
async fn refused(stage: &Stage, model: &str) -> String {
    let answer = stage.chat(model).await.expect(503);
    answer.code().unwrap_or_else(|| panic!("no code: {answer:?}"))
}

async fn open_abilities(stage: &Stage) -> u64 {
    let state = stage.routing().await;
    state["counts"]["open_abilities"]
        .as_u64()
        .unwrap_or_else(|| panic!("no count in {state}"))
}

async fn misses(stage: &Stage) -> String {
    let metrics = Answer::to(stage.request(Method::GET, "/metrics"))
        .await
        .expect(200)
        .text();
    let line = metrics
        .lines()
        .find(|line| line.starts_with("pointsman_pick_misses_total"));
    line.expect("misses are counted").to_owned()
}

/// The only channel's status, its abilities' `enabled` by model, its keys' statuses by id.
async fn stored(stage: &Stage) -> (String, Vec<bool>, Vec<String>) {
    let mut status = stage.query::<String>("SELECT status FROM channels").await;
    (
        status.pop().expect("a channel"),
        stage.query("SELECT enabled FROM abilities ORDER BY model").await,
        stage.query("SELECT status FROM channel_keys ORDER BY id").await,
    )
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
