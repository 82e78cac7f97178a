//! R8: building, installing and freeing happen off the actor; picks go on from the old snapshot meanwhile.

use pointsman::routing::rebuilds::{Scope, Urgency};

use crate::core::Core;
use crate::databases::Database;

on_each_database! {
    async fn r8_picks_go_on_while_a_large_snapshot_is_built(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        let steady = core.channel("steady", &["g"], &["steady"]).await;
        let models: Vec<String> = (0..40_000).map(|n| format!("model-{n}")).collect();
        let models: Vec<&str> = models.iter().map(String::as_str).collect();
        core.channel("large", &["g"], &models).await;
        let routing = core.routing.clone();
        let build = tokio::spawn(async move { routing.rebuild(Scope::Everything, Urgency::Admin).await });
        let mut picks = 0;
        while !build.is_finished() {
            assert_eq!(core.pick(&["g"], "steady").await, Ok(steady));
            picks += 1;
        }
        build.await.expect("no panic").expect("the build works");
        // A build of this size takes far longer than a pick: had they waited for it, there were one or two.
        assert!(picks > 20, "only {picks} picks during the build");
    }
}
