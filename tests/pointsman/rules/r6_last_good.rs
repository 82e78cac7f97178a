//! R6, R7: a build that fails, hangs or panics leaves the last good snapshot, and the way free for the next.

use std::time::{Duration, Instant};

use pointsman::routing::rebuilds::{Scope, Urgency};
use pointsman::store::change_status::OperatorStatus;
use sea_orm::{ConnectionTrait, TransactionTrait};

use crate::core::{Core, PANICS, Tuning};
use crate::databases::{Database, Kind};
use crate::eventually::eventually;

on_each_database! {
    async fn r6_a_build_whose_query_fails_keeps_the_whole_snapshot(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        let a = core.channel("a", &["g"], &["m"]).await;
        for _ in 0..5 {
            database.sql("ALTER TABLE abilities RENAME TO elsewhere").await;
            fails(&core, "").await;
            assert_eq!(core.pick(&["g"], "m").await, Ok(a));
            assert_eq!(core.pick(&["g"], "unknown").await, Err("routing_unavailable"), "an error is not an empty database");
            database.sql("ALTER TABLE elsewhere RENAME TO abilities").await;
            core.rebuild().await;
        }
        assert_eq!(core.pick(&["g"], "unknown").await, Err("model_not_found"));
        let inspection = core.routing.inspect().await.expect("the actor lives");
        assert!(inspection.last_error.is_some() && inspection.failures == 0);
    }

    async fn r6_a_build_that_panics_is_a_failed_build(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        let a = core.channel("a", &["g"], &["m"]).await;
        for _ in 0..5 {
            database.sql(&format!("UPDATE channels SET provider = '{PANICS}'")).await;
            fails(&core, "panicked").await;
            assert_eq!(core.pick(&["g"], "m").await, Ok(a));
            database.sql("UPDATE channels SET provider = 'openai'").await;
            core.rebuild().await;
        }
        assert!(core.routing.is_alive());
    }

    async fn r6_a_build_that_hangs_is_given_up_and_its_connection_with_it(kind: Kind) {
        if kind == Kind::Sqlite {
            return; // Its readers wait for nobody.
        }
        let database = Database::fresh(kind).await;
        let tuning = Tuning { build_deadline: Duration::from_millis(300), ..Tuning::default() };
        let core = Core::tuned(database.url(), tuning).await;
        let a = core.channel("a", &["g"], &["m"]).await;
        let blocker = Database::connect_again(&database).await;
        for _ in 0..4 {
            block(&blocker, kind).await;
            fails(&core, "within").await;
            assert_eq!(core.pick(&["g"], "m").await, Ok(a));
            unblock(&blocker, kind).await;
            eventually(Duration::from_secs(10), async || {
                core.routing.rebuild(Scope::Everything, Urgency::Admin).await
            })
            .await;
        }
        eventually(Duration::from_secs(10), async || {
            let open = connections(&database, kind).await;
            if open <= 16 { Ok(()) } else { Err(open) }
        })
        .await;
    }

    async fn r7_a_bad_row_keeps_its_last_good_definition_but_a_closing_holds(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        let bad = core.channel("bad", &["g"], &["m"]).await;
        let good = core.channel("good", &["g"], &["other"]).await;
        database.sql("UPDATE channels SET settings = '[1]' WHERE name = 'bad'").await;
        core.rebuild().await;
        let quarantined = core.snapshot().quarantined().to_vec();
        assert_eq!((quarantined.len(), quarantined[0].channel, quarantined[0].last_good), (1, bad, true));
        assert_eq!(quarantined[0].faults[0].column, "settings");
        assert_eq!(core.pick(&["g"], "m").await, Ok(bad), "its last good definition serves");
        assert_eq!(core.pick(&["g"], "other").await, Ok(good));
        core.set(bad, OperatorStatus::Disabled).await;
        assert_eq!(core.pick(&["g"], "m").await, Err("no_available_channel"), "its status is read by itself");
        core.set(bad, OperatorStatus::Enabled).await;
        assert_eq!(core.pick(&["g"], "m").await, Ok(bad));
        database.sql("UPDATE channel_keys SET status = 'disabled' WHERE channel_id = 1").await;
        core.rebuild().await;
        assert_eq!(core.pick(&["g"], "m").await, Err("no_available_channel"), "and so are its keys'");
        database.sql("UPDATE channels SET settings = NULL WHERE name = 'bad'").await;
        database.sql("UPDATE channel_keys SET status = 'enabled'").await;
        core.rebuild().await;
        assert!(core.snapshot().quarantined().is_empty());
        assert_eq!(core.pick(&["g"], "m").await, Ok(bad));
    }
}

async fn fails(core: &Core, reason: &str) {
    let began = Instant::now();
    let failed = core
        .routing
        .rebuild(Scope::Everything, Urgency::Admin)
        .await
        .expect_err("the build fails");
    assert!(failed.reason.contains(reason), "{failed:?}");
    assert!(began.elapsed() < Duration::from_secs(10), "it ends in time");
}

/// Takes a lock for which every reader of `abilities` waits.
async fn block(database: &Database, kind: Kind) {
    let lock = match kind {
        Kind::Postgres => "BEGIN; LOCK TABLE abilities IN ACCESS EXCLUSIVE MODE",
        Kind::Mariadb => "LOCK TABLES abilities WRITE",
        Kind::Sqlite => unreachable!("its readers wait for nobody"),
    };
    database
        .connection()
        .execute_unprepared(lock)
        .await
        .expect("the lock");
}

async fn unblock(database: &Database, kind: Kind) {
    let unlock = if kind == Kind::Postgres {
        "ROLLBACK"
    } else {
        "UNLOCK TABLES"
    };
    database
        .connection()
        .execute_unprepared(unlock)
        .await
        .expect("the lock goes");
    let _ = database.connection().begin().await;
}

/// Every connection to this database.
async fn connections(database: &Database, kind: Kind) -> i64 {
    let sql = match kind {
        Kind::Postgres => "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()",
        _ => "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()",
    };
    database.query::<i64>(sql).await[0]
}
