//! R2: groups are tried in order, and a model that moves between them in one commit is never missing.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, TransactionTrait};

use crate::core::Core;
use crate::databases::{Database, Kind};

on_each_database! {
    async fn r2_a_model_that_moves_between_two_groups_is_never_refused(kind: Kind) {
        let database = Database::fresh(kind).await;
        let core = Core::start(&database).await;
        core.channel("a", &["one"], &["m"]).await;
        // The snapshot knows nothing of the model, so that every pick is a lookup.
        database.sql("UPDATE channels SET provider = 'unknown'").await;
        core.rebuild().await;
        database.sql("UPDATE channels SET provider = 'openai'").await;
        database.sql("DELETE FROM abilities").await;
        core.rebuild().await;
        database.sql(r#"INSERT INTO abilities ("group", model, channel_id, enabled, held) VALUES ('one', 'm', 1, TRUE, FALSE)"#).await;
        let ends = Instant::now() + Duration::from_secs(3);
        let moves = async {
            let mut moved = 0;
            while Instant::now() < ends {
                for group in ["two", "one"] {
                    let write = database.connection().begin().await.expect("a transaction");
                    // A new row and the old one gone, as when an operator changes a channel's groups.
                    let quote = if kind == Kind::Mariadb { '`' } else { '"' };
                    let insert = format!("INSERT INTO abilities ({quote}group{quote}, model, channel_id, enabled, held) VALUES ('{group}', 'm', 1, TRUE, FALSE)");
                    write.execute_unprepared(&insert).await.expect("an insert");
                    let delete = format!("DELETE FROM abilities WHERE {quote}group{quote} <> '{group}'");
                    write.execute_unprepared(&delete).await.expect("a delete");
                    write.commit().await.expect("a commit");
                    moved += 1;
                }
            }
            moved
        };
        let picks = async {
            let mut picked = 0;
            while Instant::now() < ends {
                core.pick(&["one", "two"], "m").await.expect("the model is in one of the groups at every moment");
                picked += 1;
            }
            picked
        };
        let (moved, picked) = tokio::join!(moves, picks);
        assert!(moved > 20 && picked > 20, "{moved} moves, {picked} picks");
    }
}
