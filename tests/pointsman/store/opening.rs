//! Opening, migrations, and two nodes at once.

use pointsman::store::admin_tokens;
use pointsman::store::connect::Database;
use pointsman::store::error::StoreError;
use pointsman::store::key_hash::KeyHash;

use super::databases::*;

on_all! {
    async fn migrations_run_twice(stage) {
        stage.open().await.close().await;
        let database = stage.open().await;
        made(&database, channel("a")).await;
    }
}

on_all! {
    async fn nodes_that_start_at_once_all_come_up(stage) {
        let opening = (0..8).map(|_| stage.open());
        let databases = futures::future::join_all(opening).await;
        for database in &databases {
            made(database, channel("a")).await;
        }
        assert_eq!(stage.rows("SELECT CAST(COUNT(*) AS CHAR(9)) FROM channels").await[0].trim(), "8");
        let inserting = databases.iter().map(|database| admin_tokens::insert_if_none(database, KeyHash::of(&uuid::Uuid::new_v4().to_string()), "admin"));
        let made: Vec<bool> = futures::future::join_all(inserting).await.into_iter().map(|made| made.expect("an answer")).collect();
        assert_eq!(made.iter().filter(|made| **made).count(), 1, "{made:?}");
    }
}

on_all! {
    async fn rows_inserted_by_hand_with_few_columns_serve(stage) {
        let database = stage.open().await;
        let group = stage.quoted("group");
        stage.sql(&[
            "INSERT INTO channels (name, provider) VALUES ('a', 'openai')",
            "INSERT INTO channel_keys (channel_id, secret) VALUES (1, 'sk-1234567890')",
            &format!("INSERT INTO abilities ({group}, model, channel_id) VALUES ('default', 'm', 1)"),
            "INSERT INTO models (name) VALUES ('m')",
            &format!("INSERT INTO tokens (name, key_hash) VALUES ('t', '{}')", KeyHash::of("k").to_hex()),
        ]).await;
        let one = [pointsman::routing::ids::ChannelId(1)];
        assert_eq!(open_by_lookup(&database, "default", "m", &one).await, one);
        assert_eq!(open_by_build(&database, "default", "m", &one).await, one);
        let token = pointsman::store::tokens::find_by_hash(&database, KeyHash::of("k")).await.expect("an answer");
        assert_eq!(token.expect("a token").models, None);
        assert_eq!(pointsman::store::models::all(&database).await.expect("models").len(), 1);
    }
}

on_all! {
    async fn ids_are_never_used_twice(stage) {
        let database = stage.open().await;
        let first = made(&database, channel("a")).await;
        let _ = pointsman::store::channels::delete(&database, first).await.expect("deleted").consume();
        drop(database);
        let database = stage.open().await;
        assert!(made(&database, channel("b")).await > first);
    }
}

#[test]
fn a_server_that_is_down_is_an_error_without_the_password() {
    RUNTIME.block_on(async {
        for url in [
            "postgres://u:hunter2@127.0.0.1:1/x",
            "mysql://u:hunter2@127.0.0.1:1/x",
            "sqlite:/nowhere/at/all/x.db",
        ] {
            let mut options = pointsman::store::connect::Options::new(providers, RUNTIME.handle().clone());
            options.connect_deadline = std::time::Duration::from_millis(500);
            let error = Database::open(url, options).await.err().expect("an error");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert!(!matches!(error, StoreError::Url(_)), "{error}");
        }
    });
}
