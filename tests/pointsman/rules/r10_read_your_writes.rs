//! R8, R10: what a change has closed is not picked when the change has returned; what it opened can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use pointsman::routing::rebuilds::{Scope, Urgency};
use pointsman::store::change_status::{Change, OperatorStatus, set_channel};
use pointsman::store::{abilities, keys};

use crate::core::Core;
use crate::databases::Database;

on_each_database! {
    async fn r10_open_and_closed_as_the_last_change_said_under_load(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        let a = core.channel("a", &["g"], &["m"]).await;
        let steady = core.channel("steady", &["g"], &["steady"]).await;
        let (going, picks) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let load = {
            let (routing, going, picks) = (core.routing.clone(), Arc::clone(&going), Arc::clone(&picks));
            tokio::spawn(async move {
                while going.load(Ordering::SeqCst) {
                    assert_eq!(crate::core::pick(&routing, &["g"], "steady").await, Ok(steady));
                    let _ = crate::core::pick(&routing, &["g"], "m").await;
                    routing.rebuild(Scope::Everything, Urgency::Background).await.expect("a build");
                    picks.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        for _ in 0..50 {
            core.set(a, OperatorStatus::Disabled).await;
            assert_eq!(core.pick(&["g"], "m").await, Err("no_available_channel"));
            core.set(a, OperatorStatus::Enabled).await;
            assert_eq!(core.pick(&["g"], "m").await, Ok(a));
        }
        going.store(false, Ordering::SeqCst);
        load.await.expect("no false refusal");
        assert!(picks.load(Ordering::SeqCst) > 100);
    }

    async fn r10_everything_that_takes_a_channel_from_a_route_holds_though_builds_fail(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        let a = core.channel("a", &["g"], &["m", "n"]).await;
        let held = abilities::AbilityKey { group: "g".into(), model: "m".into(), channel_id: a };
        let hold = abilities::AbilityPatch { held: Some(true), ..Default::default() };
        // The commit works; the build that follows cannot read.
        let store = core.database.clone();
        let (_, receipt) = abilities::patch(&store, held, hold).await.expect("held");
        assert!(!receipt.committed().closings.is_empty());
        database.sql("ALTER TABLE abilities RENAME TO elsewhere").await;
        let changed = core.routing.changes().run(async move { Ok(((), receipt)) }).await.expect("committed");
        assert_eq!(changed.settled.routing, pointsman::actors::changes::RoutingState::Pending);
        assert_eq!(core.pick(&["g"], "m").await, Err("routing_unavailable"), "closed, and the database fails");
        assert_eq!(core.pick(&["g"], "n").await, Ok(a), "only that ability is closed");
        database.sql("ALTER TABLE elsewhere RENAME TO abilities").await;
        assert_eq!(core.pick(&["g"], "m").await, Err("no_available_channel"));

        let key = keys::list(&core.database, a).await.expect("read").expect("the channel is there")[0].id;
        let receipt = keys::delete(&core.database, a, key).await.expect("deleted");
        core.routing.changes().run(async move { Ok(((), receipt)) }).await.expect("committed");
        assert_eq!(core.pick(&["g"], "n").await, Err("no_available_channel"), "its last key is gone");
    }

    async fn r9_a_receipt_that_is_dropped_asks_for_its_rebuild(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        let a = core.channel("a", &["g"], &["m"]).await;
        let change = Change::ByOperator { to: OperatorStatus::Disabled, reason: None };
        drop(set_channel(&core.database, a, change).await.expect("closed"));
        crate::eventually::eventually(Duration::from_secs(10), async || {
            if core.snapshot().shows_open(a, "g", "m") { Err("still in the snapshot") } else { Ok(()) }
        })
        .await;
    }
}
