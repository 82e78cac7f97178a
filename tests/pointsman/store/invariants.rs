//! `pointsman check`: a healthy database passes, and each violation that is put in by hand is named.

use std::process::Output;

use super::databases::*;
use pointsman::store::change_status::{Change, OperatorStatus, set_channel};
use pointsman::store::key_hash::KeyHash;
use pointsman::store::tokens::{self, NewToken, TokenStatus};

on_all! {
    async fn check_passes_what_the_program_has_written(stage) {
        let database = stage.open().await;
        let (open, closed) = (made(&database, channel("a")).await, made(&database, channel("b")).await);
        token(&database, "sk-1").await;
        let to = OperatorStatus::Disabled;
        let receipt = set_channel(&database, closed, Change::ByOperator { to, reason: None }).await.expect("closed");
        let _ = receipt.consume();
        assert_ne!(open, closed);
        // While it is served from, and after.
        for _ in 0..2 {
            check(stage, 0, &["every invariant holds: 2 channels, 4 keys, 4 abilities, 1 tokens"]).await;
            database.close().await;
        }
    }
}

on_all! {
    async fn check_names_every_violation(stage) {
        let database = stage.open().await;
        for name in ["a", "b", "c"] {
            made(&database, channel(name)).await;
        }
        token(&database, "sk-1").await;
        token(&database, "sk-2").await;
        database.close().await;
        let upper = KeyHash::of("sk-2").to_hex().to_uppercase();
        let group = stage.quoted("group");
        let mut by_hand = stage.by_hand().await;
        by_hand.run(match stage.kind {
            Kind::Sqlite => "PRAGMA foreign_keys = OFF",
            Kind::Postgres => "SET session_replication_role = replica",
            Kind::MariaDb => "SET foreign_key_checks = 0",
        }).await;
        for sql in [
            // As if another tool had disabled a channel, or the abilities' half of a change had been lost.
            "UPDATE channels SET status = 'disabled' WHERE id = 1",
            "UPDATE abilities SET enabled = FALSE WHERE channel_id = 2 AND model = 'm2'",
            "UPDATE channels SET status = 'broken' WHERE id = 3",
            "UPDATE abilities SET enabled = FALSE WHERE channel_id = 3",
            "UPDATE channel_keys SET status = 'Enabled' WHERE id = 3",
            "INSERT INTO channel_keys (channel_id, secret) VALUES (77, 'sk-lost')",
            &format!("INSERT INTO abilities ({group}, model, channel_id, enabled) VALUES ('default', 'm1', 88, FALSE)"),
            "UPDATE tokens SET status = 'auto_disabled' WHERE id = 1",
            &format!("UPDATE tokens SET key_hash = '{upper}' WHERE id = 2"),
            "INSERT INTO admin_tokens (name, key_hash) VALUES ('x', 'hash')",
            "INSERT INTO change_notices (version, node, channels) VALUES (99, 'n', '[1')",
            "INSERT INTO routing_version (id, version) VALUES (2, 0)",
        ] {
            by_hand.run(sql).await;
        }
        let status = "column status: expected enabled, disabled or auto_disabled";
        let counted = by_hand.rows("SELECT CAST(version AS CHAR(9)) FROM routing_version WHERE id = 1").await;
        check(stage, 1, &[
            &format!("channel 3: {status}"),
            &format!("key 3 of channel 2: {status}"),
            "key 7 of channel 77: there is no such channel",
            r#"ability "default" "m1" of channel 1: it is enabled, but its channel is not"#,
            r#"ability "default" "m1" of channel 88: there is no such channel"#,
            r#"ability "default" "m2" of channel 1: it is enabled, but its channel is not"#,
            r#"ability "default" "m2" of channel 2: it is not enabled, but its channel is"#,
            "token 1: column status: expected enabled or disabled",
            "token 2: its key_hash is not 64 lower-case hex digits",
            "admin token 1: its key_hash is not 64 lower-case hex digits",
            "routing version 2: there is one row, 1, with a whole number",
            &format!("change notice 99: the version that is counted is only {}", counted[0].trim()),
            "change notice 99: column channels: expected a JSON list of ids",
            "13 violations: 3 channels, 7 keys, 7 abilities, 2 tokens",
        ]).await;
        by_hand.run("DELETE FROM routing_version WHERE id = 1").await;
        let told = run(stage).await;
        assert!(lines(&told).contains(&"routing version 1: it is missing".to_owned()), "{told:?}");
    }
}

on_all! {
    async fn check_says_when_it_cannot_ask_and_makes_nothing(stage) {
        // No table of ours is there yet, and on SQLite no file either.
        let told = run(stage).await;
        assert_eq!(told.status.code(), Some(2), "{told:?}");
        assert!(told.stdout.is_empty() && !told.stderr.is_empty(), "{told:?}");
        let file = stage.url.trim_start_matches("sqlite:");
        assert!(stage.kind != Kind::Sqlite || !std::path::Path::new(file).exists(), "it has made {file}");

        let database = stage.open().await;
        database.close().await;
        stage.sql(&["DELETE FROM seaql_migrations WHERE version LIKE 'm0008%'"]).await;
        let told = run(stage).await;
        assert_eq!(told.status.code(), Some(2), "{told:?}");
        let words = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(words.contains("m0008_create_notices was not taken"), "{words}");
    }
}

async fn token(database: &pointsman::store::connect::Database, key: &str) {
    let new = NewToken {
        name: key.to_owned(),
        key_hash: KeyHash::of(key),
        hint: String::new(),
        status: TokenStatus::Enabled,
        groups: vec!["default".into()],
        models: None,
        allow_ips: None,
        expires_at: None,
        limits: serde_json::Value::Null,
    };
    tokens::create(database, new).await.expect("a token");
}

async fn check(stage: &Stage, code: i32, wanted: &[&str]) {
    let told = run(stage).await;
    let mut said = lines(&told);
    // Rows of one table come in whatever order the database likes.
    let mut wanted: Vec<String> = wanted.iter().map(|line| (*line).to_owned()).collect();
    assert_eq!(said.last(), wanted.last(), "{told:?}");
    said.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(said, wanted, "{told:?}");
    assert_eq!(told.status.code(), Some(code), "{told:?}");
}

fn lines(told: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&told.stdout);
    text.lines().map(str::to_owned).collect()
}

async fn run(stage: &Stage) -> Output {
    crate::checked::run(&stage.url).await
}
