//! R3, R11: what the snapshot cannot answer is asked of the database, by a lookup that began after.

use std::time::Duration;

use pointsman::actors::messages::IsOpen;
use pointsman::routing::open::WhyClosed;
use pointsman::routing::router::NotOpen;
use pointsman::store::change_status::OperatorStatus;

use crate::core::{Core, PANICS, Tuning};
use crate::databases::{Database, Kind};
use crate::eventually::eventually;

on_each_database! {
    async fn r3_what_was_opened_behind_the_back_is_found_and_soon_in_the_snapshot(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        let a = core.channel("a", &["g"], &["m"]).await;
        core.set(a, OperatorStatus::Disabled).await;
        assert_eq!(core.pick(&["g"], "m").await, Err("no_available_channel"));
        database.sql("UPDATE channels SET status = 'enabled'").await;
        database.sql("UPDATE abilities SET enabled = TRUE").await;
        assert_eq!(core.pick(&["g"], "m").await, Ok(a));
        eventually(Duration::from_secs(10), async || {
            if core.snapshot().shows_open(a, "g", "m") { Ok(()) } else { Err(core.snapshot().counts()) }
        })
        .await;
    }

    async fn r3_is_open_is_answered_with_the_channels_own_status(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        let channel = core.channel("a", &["g"], &["m"]).await;
        let ask = async |group: &str, model: &str| {
            let asked = IsOpen { channel, group: group.into(), model: model.into() };
            core.routing.is_open(asked).await.expect("the database answers")
        };
        assert_eq!(ask("g", "m").await, Ok(()));
        assert_eq!(ask("g", "other").await, Err(NotOpen::NoAbility));
        // Only the channel's row says that it is closed; the abilities were not told.
        database.sql("UPDATE channels SET status = 'disabled'").await;
        assert_eq!(ask("g", "m").await, Err(NotOpen::Channel(WhyClosed::Disabled)));
        database.sql("UPDATE channels SET status = 'enabled'").await;
        database.sql("UPDATE channel_keys SET status = 'auto_disabled'").await;
        assert_eq!(ask("g", "m").await, Err(NotOpen::Channel(WhyClosed::NoEnabledKey)));
        database.sql("UPDATE channel_keys SET status = 'enabled'").await;
        database.sql("UPDATE abilities SET held = TRUE").await;
        assert_eq!(ask("g", "m").await, Err(NotOpen::Ability));
    }

    async fn r4_refusals_tell_apart_what_the_database_has(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        let a = core.channel("a", &["g"], &["m"]).await;
        assert_eq!(core.pick(&["g"], "M").await, Err("model_not_found"), "names are compared byte for byte");
        assert_eq!(core.pick(&["G"], "m").await, Err("model_not_found"));
        core.set(a, OperatorStatus::Disabled).await;
        assert_eq!(core.pick(&["g"], "m").await, Err("no_available_channel"));
        core.set(a, OperatorStatus::Enabled).await;
        database.sql(r#"UPDATE channels SET settings = '{"protocols": ["gemini"]}'"#).await;
        core.rebuild().await;
        assert_eq!(core.pick(&["g"], "m").await, Err("protocol_not_served"));
        database.sql("UPDATE channels SET settings = '[1]'").await;
        assert_eq!(core.pick(&["g"], "m").await, Err("protocol_not_served"), "its last good definition serves");
        let other = Core::start(&database).await;
        assert_eq!(other.pick(&["g"], "m").await, Err("routing_unavailable"), "it may be open for all we know");
    }

    async fn r3_a_channel_in_quarantine_does_not_cause_endless_rebuilds(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        core.channel("bad", &["g"], &["m"]).await;
        core.channel("good", &["g"], &["other"]).await;
        database.sql("UPDATE channels SET settings = '[1]' WHERE name = 'bad'").await;
        let other = Core::start(&database).await;
        let before = other.snapshot().generation().0;
        for _ in 0..200 {
            assert_eq!(other.pick(&["g"], "m").await, Err("routing_unavailable"));
            other.pick(&["g"], "other").await.expect("a good channel is not harmed");
        }
        assert!(other.snapshot().generation().0 <= before + 1, "{before} to {}", other.snapshot().generation());
        assert_eq!(other.snapshot().quarantined().len(), 1);
    }
}

/// PostgreSQL alone lets a statement be held after it has taken its view: by a lock inside a view.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r11_a_lookup_that_began_before_the_opening_answers_nobody_who_asked_after() {
    let database = Database::fresh(Kind::Postgres).await;
    let core = Core::tuned(
        database.url(),
        Tuning {
            build_deadline: Duration::from_millis(200),
            ..Tuning::default()
        },
    )
    .await;
    let a = core.channel("a", &["g"], &["m"]).await;
    core.set(a, OperatorStatus::Disabled).await;
    let holder = Database::connect_again(&database).await;
    database
        .sql("ALTER TABLE abilities RENAME TO abilities_real")
        .await;
    database.sql("CREATE VIEW abilities AS SELECT r.* FROM abilities_real r, (SELECT pg_advisory_xact_lock_shared(42)) held").await;
    holder.sql("SELECT pg_advisory_lock(42)").await;

    let routing = core.routing.clone();
    let early = tokio::spawn(async move { crate::core::pick(&routing, &["g"], "m").await });
    waiting_for_the_lock(&database, 1).await;
    database.sql("UPDATE channels SET status = 'enabled'").await;
    database.sql("UPDATE abilities_real SET enabled = TRUE").await;
    let routing = core.routing.clone();
    let late = tokio::spawn(async move { crate::core::pick(&routing, &["g"], "m").await });
    // The late one waits for a lookup of its own; nothing of that can be seen from here but its answer.
    tokio::task::yield_now().await;
    holder.sql("SELECT pg_advisory_unlock(42)").await;
    assert_eq!(late.await.expect("no panic"), Ok(a));
    assert_eq!(
        early.await.expect("no panic"),
        Err("no_available_channel"),
        "it asked while none was open"
    );
}

async fn waiting_for_the_lock(database: &Database, count: i64) {
    eventually(Duration::from_secs(10), async || {
        let sql = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        let waiting = database.query::<i64>(sql).await;
        if waiting == [count] { Ok(()) } else { Err(waiting) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r7_a_provider_that_panics_harms_one_lookup_only() {
    let database = Database::fresh(Kind::Sqlite).await;
    let core = Core::start(&database).await;
    let a = core.channel("a", &["g"], &["m"]).await;
    core.channel("b", &["g"], &["other"]).await;
    database
        .sql(&format!(
            "UPDATE channels SET provider = '{PANICS}' WHERE name = 'b'"
        ))
        .await;
    core.set(a, OperatorStatus::Disabled).await;
    assert_eq!(core.pick(&["g"], "m").await, Err("no_available_channel"));
    assert!(core.routing.is_alive());
}
