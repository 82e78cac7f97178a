//! R6, R11, R12: a server that answers no more leaves nothing stuck.

use std::time::{Duration, Instant};

use pointsman::store::change_status::{Change, ChangeError, OperatorStatus, set_channel};
use pointsman::store::connect::Database;
use pointsman::store::error::StoreError;
use pointsman::store::find_route::candidates;
use pointsman::store::load_snapshot::everything;
use pointsman::store::{channels, tokens};

use super::databases::*;
use super::proxy::{Mood, Proxy};

on_all! {
    async fn r12_a_silent_server_is_left_and_found_again(stage) {
        if stage.kind == Kind::Sqlite {
            return;
        }
        let proxy = Proxy::before(&stage.url).await;
        let mut options = stage.options();
        options.lookup_deadline = Duration::from_millis(400);
        options.admin_deadline = Duration::from_millis(600);
        options.connect_deadline = Duration::from_millis(500);
        let database = Database::open(&proxy.url, options).await.expect("open");
        let id = made(&database, channel("a")).await;
        assert_eq!(open_by_lookup(&database, "default", "m1", &[id]).await, [id]);

        for _ in 0..3 {
            proxy.set(Mood::Silent);
            let began = Instant::now();
            let lookups = (0..20).map(|_| async { candidates(&database, &["default".into()], &"m1".into()).await });
            for lookup in futures::future::join_all(lookups).await {
                let error = lookup.expect_err("no answer");
                assert!(!error.is_certain(), "{error}");
            }
            assert!(began.elapsed() < Duration::from_secs(3), "all within their deadline");
            let building = tokio::time::timeout(Duration::from_millis(300), everything(&database)).await;
            assert!(building.map_or(true, |built| built.is_err()));
            assert!(channels::get(&database, id).await.is_err());
            let hash = pointsman::store::key_hash::KeyHash::of("k");
            assert!(tokens::find_by_hash(&database, hash).await.is_err());
            let change = Change::ByOperator { to: OperatorStatus::Enabled, reason: None };
            let done = set_channel(&database, id, change.clone()).await;
            assert!(matches!(done, Err(ChangeError::NotDone(_))), "{done:?}");

            proxy.set(Mood::PassOn);
            assert_eq!(open_by_lookup(&database, "default", "m1", &[id]).await, [id]);
            assert_eq!(open_by_build(&database, "default", "m1", &[id]).await, [id]);
            assert!(channels::get(&database, id).await.is_ok());
            assert_eq!(tokens::find_by_hash(&database, hash).await, Ok(None));
            let _ = set_channel(&database, id, change).await.expect("written").consume();
            assert!(proxy.open() <= 16, "{} connections", proxy.open());
        }
    }
}

on_all! {
    async fn r6_a_locked_table_ends_at_the_deadline(stage) {
        let mut options = stage.options();
        options.lookup_deadline = Duration::from_millis(500);
        options.admin_deadline = Duration::from_millis(1500);
        let database = Database::open(&stage.url, options).await.expect("open");
        let id = made(&database, channel("a")).await;
        let mut by_hand = stage.by_hand().await;
        let lock: &[&str] = match stage.kind {
            Kind::Sqlite => &["BEGIN IMMEDIATE"],
            Kind::Postgres => &["BEGIN", "LOCK TABLE channels IN ACCESS EXCLUSIVE MODE"],
            Kind::MariaDb => &["LOCK TABLES channels WRITE"],
        };
        for statement in lock {
            by_hand.run(statement).await;
        }
        let change = Change::ByOperator { to: OperatorStatus::Disabled, reason: None };
        let done = set_channel(&database, id, change.clone()).await;
        assert!(matches!(done, Err(ChangeError::NotDone(_))), "{done:?}");
        if stage.kind != Kind::Sqlite {
            for _ in 0..8 {
                let error = candidates(&database, &["default".into()], &"m1".into()).await.expect_err("locked");
                assert!(matches!(error, StoreError::TimedOut | StoreError::Database { .. }), "{error}");
            }
        }
        by_hand.run(if stage.kind == Kind::MariaDb { "UNLOCK TABLES" } else { "ROLLBACK" }).await;
        let _ = set_channel(&database, id, change).await.expect("written").consume();
        assert!(open_by_lookup(&database, "default", "m1", &[id]).await.is_empty());
    }
}

on_all! {
    async fn connections_that_died_while_idle_are_replaced(stage) {
        let database = stage.open().await;
        let id = made(&database, channel("a")).await;
        assert_eq!(open_by_lookup(&database, "default", "m1", &[id]).await, [id]);
        assert_eq!(open_by_build(&database, "default", "m1", &[id]).await, [id]);
        match stage.kind {
            Kind::Sqlite => {}
            Kind::Postgres => {
                stage.rows("SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pointsman'").await;
            }
            Kind::MariaDb => {
                let mut by_hand = stage.by_hand().await;
                let ids = by_hand.rows("SELECT CAST(id AS CHAR) FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()").await;
                for id in ids {
                    by_hand.run(&format!("KILL {id}")).await;
                }
            }
        }
        assert_eq!(open_by_lookup(&database, "default", "m1", &[id]).await, [id]);
        assert_eq!(open_by_build(&database, "default", "m1", &[id]).await, [id]);
        let change = Change::ByOperator { to: OperatorStatus::Disabled, reason: None };
        let _ = set_channel(&database, id, change).await.expect("written").consume();
    }
}
