//! R9: a change of status is one commit.

use std::sync::{Arc, Mutex};

use pointsman::routing::closings::Closed;
use pointsman::routing::ids::{ChannelId, KeyId};
use pointsman::routing::rows::Status;
use pointsman::store::abilities::{self, AbilityKey, AbilityPatch};
use pointsman::store::change_status::{Change, ChangeError, OperatorStatus, Seen, set_channel, set_key};
use pointsman::store::connect::Database;
use pointsman::store::{channels, keys};

use super::databases::*;

fn operator(to: OperatorStatus) -> Change {
    Change::ByOperator {
        to,
        reason: Some("because".to_owned()),
    }
}

async fn seen(database: &Database, id: ChannelId) -> Seen {
    let view = channels::get(database, id)
        .await
        .expect("an answer")
        .expect("a channel");
    Seen {
        status: view.status.expect("a status"),
        status_changed_at: view.status_changed_at,
    }
}

async fn seen_key(database: &Database, channel: ChannelId, key: KeyId) -> Seen {
    let keys = keys::list(database, channel)
        .await
        .expect("an answer")
        .expect("keys");
    let key = keys.iter().find(|k| k.id == key).expect("the key");
    Seen {
        status: key.status.expect("a status"),
        status_changed_at: key.status_changed_at,
    }
}

async fn key_ids(database: &Database, channel: ChannelId) -> Vec<KeyId> {
    let keys = keys::list(database, channel)
        .await
        .expect("an answer")
        .expect("keys");
    keys.iter().map(|key| key.id).collect()
}

/// `model enabled held` of each ability.
async fn flags(database: &Database, channel: ChannelId) -> Vec<(String, bool, bool)> {
    let filter = abilities::AbilityFilter {
        channel_id: Some(channel),
        ..Default::default()
    };
    let listed = abilities::list(database, filter, Default::default())
        .await
        .expect("abilities");
    listed
        .items
        .iter()
        .map(|a| {
            (
                a.model.to_string(),
                a.enabled.expect("a flag"),
                a.held.expect("a flag"),
            )
        })
        .collect()
}

on_all! {
    async fn r9_channel_keys_and_abilities_agree(stage) {
        let database = stage.open().await;
        let id = made(&database, channel("a")).await;
        let held = AbilityKey { group: "default".into(), model: "m2".into(), channel_id: id };
        let hold = AbilityPatch { held: Some(true), ..Default::default() };
        let (view, receipt) = abilities::patch(&database, held.clone(), hold).await.expect("held");
        assert_eq!(view.held, Some(true));
        let closed = Closed::Ability { channel: id, group: held.group, model: held.model };
        assert_eq!(receipt.consume().closings[0].closed, closed);

        let before = seen(&database, id).await;
        let close = Change::AutoDisable { reason: "401".to_owned(), seen: before };
        let committed = set_channel(&database, id, close).await.expect("closed").consume();
        assert_eq!(committed.touched, [id]);
        assert_eq!(committed.closings[0].closed, Closed::Channel(id));
        assert_eq!(seen(&database, id).await.status, Status::AutoDisabled);
        assert_eq!(flags(&database, id).await, [("m1".to_owned(), false, false), ("m2".to_owned(), false, true)]);
        assert!(open_by_lookup(&database, "default", "m1", &[id]).await.is_empty());

        let now = seen(&database, id).await;
        assert!(now.status_changed_at > before.status_changed_at);
        let opened = set_channel(&database, id, Change::Reopen { seen: now }).await.expect("opened").consume();
        assert!(opened.closings.is_empty());
        assert_eq!(flags(&database, id).await, [("m1".to_owned(), true, false), ("m2".to_owned(), true, true)]);
        assert_eq!(open_by_lookup(&database, "default", "m1", &[id]).await, [id]);
        assert!(open_by_lookup(&database, "default", "m2", &[id]).await.is_empty(), "held stays closed");
        assert_eq!(open_by_build(&database, "default", "m1", &[id]).await, [id]);
    }
}

on_all! {
    async fn r9_opening_enables_auto_disabled_keys_only(stage) {
        let database = stage.open().await;
        let id = made(&database, channel("a")).await;
        let keys = key_ids(&database, id).await;
        let auto = Change::AutoDisable { reason: "401".to_owned(), seen: seen_key(&database, id, keys[0]).await };
        let committed = set_key(&database, id, keys[0], auto).await.expect("closed").consume();
        assert_eq!(committed.closings.len(), 1, "the other key is left");
        let committed = set_key(&database, id, keys[1], operator(OperatorStatus::Disabled)).await.expect("closed").consume();
        let closed: Vec<_> = committed.closings.into_iter().map(|c| c.closed).collect();
        assert_eq!(closed, [Closed::Key { channel: id, key: keys[1] }, Closed::Channel(id)]);
        assert_eq!(seen(&database, id).await.status, Status::Enabled, "the channel's own status stays");
        assert!(open_by_lookup(&database, "default", "m1", &[id]).await.is_empty());

        let _ = set_channel(&database, id, operator(OperatorStatus::Enabled)).await.expect("opened").consume();
        assert_eq!(seen_key(&database, id, keys[0]).await.status, Status::Enabled);
        assert_eq!(seen_key(&database, id, keys[1]).await.status, Status::Disabled);
        assert_eq!(open_by_lookup(&database, "default", "m1", &[id]).await, [id]);
    }
}

on_all! {
    async fn r9_without_an_enabled_key_nothing_is_written(stage) {
        let database = stage.open().await;
        let id = made(&database, channel("a")).await;
        let _ = set_channel(&database, id, operator(OperatorStatus::Disabled)).await.expect("closed").consume();
        for key in key_ids(&database, id).await {
            let _ = set_key(&database, id, key, operator(OperatorStatus::Disabled)).await.expect("closed").consume();
        }
        let before = seen(&database, id).await;
        let done = set_channel(&database, id, operator(OperatorStatus::Enabled)).await;
        assert_eq!(done.err(), Some(ChangeError::NoEnabledKey));
        assert_eq!(seen(&database, id).await, before);
        assert!(flags(&database, id).await.iter().all(|(_, enabled, _)| !enabled));
        let keyless = made(&database, channels::NewChannel { provider: "ollama".to_owned(), keys: vec![], ..channel("b") }).await;
        let _ = set_channel(&database, keyless, operator(OperatorStatus::Enabled)).await.expect("needs none").consume();
        assert_eq!(open_by_lookup(&database, "default", "m1", &[keyless]).await, [keyless]);
    }
}

on_all! {
    async fn r9_the_relay_changes_only_what_it_saw(stage) {
        let database = stage.open().await;
        let id = made(&database, channel("a")).await;
        let key = key_ids(&database, id).await[0];
        let (stale, stale_key) = (seen(&database, id).await, seen_key(&database, id, key).await);
        let _ = set_channel(&database, id, operator(OperatorStatus::Enabled)).await.expect("written").consume();
        let late = Change::AutoDisable { reason: "401".to_owned(), seen: stale };
        assert_eq!(set_channel(&database, id, late).await.err(), Some(ChangeError::Superseded));
        let _ = keys::replace(&database, id, key, pointsman::routing::rows::Secret::new("sk-third-0003")).await.expect("replaced").consume();
        let late = Change::AutoDisable { reason: "401".to_owned(), seen: stale_key };
        assert_eq!(set_key(&database, id, key, late).await.err(), Some(ChangeError::Superseded));
        let _ = set_channel(&database, id, operator(OperatorStatus::Disabled)).await.expect("closed").consume();
        let never = Change::Reopen { seen: seen(&database, id).await };
        assert_eq!(set_channel(&database, id, never).await.err(), Some(ChangeError::Superseded));
        assert_eq!(set_channel(&database, ChannelId(999), operator(OperatorStatus::Disabled)).await.err(), Some(ChangeError::NotFound));
        assert_eq!(set_key(&database, id, KeyId(999), operator(OperatorStatus::Disabled)).await.err(), Some(ChangeError::NotFound));
    }
}

on_all! {
    async fn r9_a_receipt_dropped_unused_rings(stage) {
        let database = stage.open().await;
        let rung = Arc::new(Mutex::new(Vec::new()));
        let bell = rung.clone();
        database.on_dropped_receipt(move |committed| bell.lock().unwrap().push(committed));
        let id = made(&database, channel("a")).await;
        assert!(rung.lock().unwrap().is_empty());
        drop(set_channel(&database, id, operator(OperatorStatus::Disabled)).await.expect("closed"));
        let first = rung.lock().unwrap().pop().expect("a bell");
        assert_eq!((first.touched, first.closings.len()), (vec![id], 1));
        // A caller that goes in the middle: the write runs on to its end, and its receipt rings.
        tokio::select! {
            biased;
            _ = tokio::task::yield_now() => {}
            _ = set_channel(&database, id, operator(OperatorStatus::Enabled)) => {}
        }
        while rung.lock().unwrap().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(seen(&database, id).await.status, Status::Enabled);
    }
}
