//! R9: after a COMMIT whose answer was lost the caller is told what happened.

use pointsman::routing::rows::{Secret, Status};
use pointsman::store::change_status::{Change, ChangeError, OperatorStatus, set_channel};
use pointsman::store::connect::Database;
use pointsman::store::{channels, keys};

use super::databases::*;
use super::proxy::{Mood, Proxy};

async fn status(database: &Database, id: pointsman::routing::ids::ChannelId) -> Option<Status> {
    channels::get(database, id)
        .await
        .expect("an answer")
        .expect("a channel")
        .status
}

on_all! {
    async fn r9_a_lost_answer_to_commit_is_asked_for(stage) {
        if stage.kind == Kind::Sqlite {
            return; // no connection to lose
        }
        let direct = stage.open().await;
        let id = made(&direct, channel("a")).await;
        let proxy = Proxy::before(&stage.url).await;
        let database = Database::open(&proxy.url, stage.options()).await.expect("open");
        let to = |to| Change::ByOperator { to, reason: None };

        proxy.set(Mood::CutAfterCommit);
        let changing = tokio::spawn({
            let database = database.clone();
            async move { set_channel(&database, id, to(OperatorStatus::Disabled)).await }
        });
        let committed = changing.await.expect("no panic").expect("done").consume();
        assert_eq!(committed.closings.len(), 1);
        assert_eq!(status(&direct, id).await, Some(Status::Disabled));

        proxy.set(Mood::CutBeforeCommit);
        let done = set_channel(&database, id, to(OperatorStatus::Enabled)).await;
        assert!(matches!(done, Err(ChangeError::NotDone(_))), "{done:?}");
        assert_eq!(status(&direct, id).await, Some(Status::Disabled));

        proxy.set(Mood::CutAfterCommit);
        let (made, receipt) = channels::create(&database, channel("b")).await.expect("done");
        let _ = receipt.consume();
        assert!(channels::get(&direct, made).await.expect("an answer").is_some());
        proxy.set(Mood::PassOn);
        let _ = set_channel(&database, id, to(OperatorStatus::Enabled)).await.expect("opened").consume();
    }
}

on_all! {
    async fn writers_of_two_nodes_never_find_the_database_locked(stage) {
        let nodes = [stage.open().await, stage.open().await];
        let id = made(&nodes[0], channel("a")).await;
        let mut writers = Vec::new();
        for writer in 0..16 {
            let database = nodes[writer % 2].clone();
            writers.push(tokio::spawn(async move {
                for round in 0..8 {
                    let secret = Secret::new(&format!("sk-{writer}-{round}-0123456789"));
                    let (added, receipt) = keys::add(&database, id, vec![secret]).await.expect("added");
                    let _ = receipt.consume();
                    assert_eq!(added.added.len(), 1);
                    let to = if round % 2 == 0 { OperatorStatus::Disabled } else { OperatorStatus::Enabled };
                    let change = Change::ByOperator { to, reason: None };
                    let _ = set_channel(&database, id, change).await.expect("changed").consume();
                    made(&database, channel("other")).await;
                }
            }));
        }
        for writer in writers {
            writer.await.expect("no writer fails");
        }
        assert_eq!(keys::list(&nodes[0], id).await.expect("an answer").expect("keys").len(), 2 + 16 * 8);
    }
}

on_all! {
    async fn old_marks_are_forgotten(stage) {
        let database = stage.open().await;
        stage.sql(&["INSERT INTO commit_marks (mark, at) VALUES ('old', 1)"]).await;
        made(&database, channel("a")).await;
        drop(database);
        stage.open().await;
        assert_eq!(stage.rows("SELECT mark FROM commit_marks").await.len(), 1);
    }
}
