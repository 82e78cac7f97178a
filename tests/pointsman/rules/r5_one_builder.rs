//! R5: at most one build runs, and each asker is answered by one that began after it asked.

use futures::future::join_all;
use pointsman::routing::rebuilds::{Scope, Urgency};

use crate::core::Core;
use crate::databases::Database;

on_each_database! {
    async fn r5_a_thousand_rebuilds_cost_two_builds_after_the_one_in_flight(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        // Enough abilities that a build takes longer than a thousand messages.
        let models: Vec<String> = (0..20_000).map(|n| format!("model-{n}")).collect();
        let models: Vec<&str> = models.iter().map(String::as_str).collect();
        core.channel("a", &["g"], &models).await;
        let before = core.snapshot().generation();
        let asked = (0..1000).map(|_| core.routing.rebuild(Scope::Everything, Urgency::Admin));
        let answers = join_all(asked).await;
        let last = core.snapshot().generation();
        assert!(last.0 <= before.0 + 3, "generations {before} to {last}");
        for answer in answers {
            let generation = answer.expect("the build works");
            assert!(generation > before && generation <= last);
        }
    }

    async fn r5_each_answer_holds_what_was_committed_before_the_question(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        let a = core.channel("a", &["g"], &["m"]).await;
        // Others ask all the time, so that builds which began before the commit are always on their way.
        let noise = core.routing.clone();
        let noise = tokio::spawn(async move {
            loop {
                let _ = noise.rebuild(Scope::Everything, Urgency::Background).await;
            }
        });
        for round in 0..30 {
            let (held, shown) = if round % 2 == 0 { ("TRUE", false) } else { ("FALSE", true) };
            database.sql(&format!("UPDATE abilities SET held = {held}")).await;
            core.rebuild().await;
            assert_eq!(core.snapshot().shows_open(a, "g", "m"), shown, "round {round}");
        }
        noise.abort();
    }
}
