//! What builds and lookups see, and when.

use pointsman::routing::ids::ChannelId;
use pointsman::store::channels::NewChannel;

use super::databases::*;

fn serving(name: &str, group: &str, model: &str) -> NewChannel {
    NewChannel {
        groups: vec![group.into()],
        models: vec![model.into()],
        ..channel(name)
    }
}

on_all! {
    async fn names_are_compared_byte_for_byte(stage) {
        let database = stage.open().await;
        let mut all = Vec::new();
        let names = [("default", "GPT-4o"), ("default", "gpt-4o"), ("Default", "gpt-4o"), ("default", "modèle"), ("default", "modele"), ("default", "模型")];
        for (group, model) in names {
            all.push(made(&database, serving("a", group, model)).await);
        }
        for ((group, model), id) in names.iter().zip(&all) {
            assert_eq!(open_by_lookup(&database, group, model, &all).await, [*id], "{group} {model}");
            assert_eq!(open_by_build(&database, group, model, &all).await, [*id], "{group} {model}");
        }
        assert!(open_by_lookup(&database, "default", "gpt-4o ", &all).await.is_empty());
        assert!(open_by_lookup(&database, "default", "gpt-4O", &all).await.is_empty());
    }
}

on_all! {
    async fn r11_a_lookup_sees_every_commit_that_was_answered_before(stage) {
        let database = stage.open().await;
        let id = made(&database, channel("a")).await;
        let mut by_hand = stage.by_hand().await;
        for round in 0..60 {
            let (status, expected) = if round % 2 == 0 { ("disabled", vec![]) } else { ("enabled", vec![id]) };
            by_hand.run(&format!("UPDATE channels SET status = '{status}' WHERE id = {id}")).await;
            assert_eq!(open_by_lookup(&database, "default", "m1", &[id]).await, expected, "round {round}");
        }
    }
}

on_all! {
    async fn r1_channels_swapped_by_one_commit_are_never_both_missed(stage) {
        let database = stage.open().await;
        let both = [made(&database, channel("a")).await, made(&database, channel("b")).await];
        let mut by_hand = stage.by_hand().await;
        let swap = |open: ChannelId| format!("UPDATE channels SET status = CASE WHEN id = {open} THEN 'enabled' ELSE 'disabled' END");
        by_hand.run(&swap(both[0])).await;
        let swapping = async {
            for round in 1..200 {
                let begin = if stage.kind == Kind::Sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" };
                by_hand.run(begin).await;
                by_hand.run(&swap(both[round % 2])).await;
                by_hand.run("COMMIT").await;
            }
        };
        let building = async {
            for _ in 0..100 {
                assert_eq!(open_by_build(&database, "default", "m1", &both).await.len(), 1, "a build");
            }
        };
        let looking = async {
            for _ in 0..150 {
                assert_eq!(open_by_lookup(&database, "default", "m1", &both).await.len(), 1, "a lookup");
            }
        };
        tokio::join!(swapping, building, looking);
    }
}

on_all! {
    async fn a_build_of_named_channels_reads_only_these(stage) {
        let database = stage.open().await;
        let both = [made(&database, channel("a")).await, made(&database, channel("b")).await];
        let draft = pointsman::store::load_snapshot::channels(&database, &both[..1]).await.expect("rows");
        let snapshot = draft.snapshot(&Default::default(), Default::default(), Default::default());
        assert!(snapshot.shows_open(both[0], "default", "m1"));
        assert!(snapshot.channel(both[1]).is_none());
    }
}

on_all! {
    async fn a_build_given_up_leaves_the_lane_free(stage) {
        let database = stage.open().await;
        for n in 0..40 {
            made(&database, channel(&format!("c{n}"))).await;
        }
        for _ in 0..20 {
            let building = pointsman::store::load_snapshot::everything(&database);
            tokio::select! {
                biased;
                _ = tokio::task::yield_now() => {}
                _ = building => {}
            }
        }
        assert!(pointsman::store::load_snapshot::everything(&database).await.is_ok());
    }
}
