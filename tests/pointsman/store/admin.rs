//! What the admin REST asks of the store.

use pointsman::routing::closings::Closed;
use pointsman::routing::rows::{Secret, Status};
use pointsman::store::abilities::{self, AbilityKey, AbilityPatch};
use pointsman::store::change_status::ChangeError;
use pointsman::store::channels::{self, ChannelFilter, ChannelPatch, ChannelSort};
use pointsman::store::key_hash::KeyHash;
use pointsman::store::paging::{Direction, Page};
use pointsman::store::tokens::{self, NewToken, TokenFilter, TokenPatch, TokenStatus};
use pointsman::store::{admin_tokens, keys, models};
use serde_json::json;

use super::databases::*;

on_all! {
    async fn a_channel_comes_back_as_it_was_made(stage) {
        let database = stage.open().await;
        let mut new = channel("a");
        new.model_mapping.insert("m1".to_owned(), "up".to_owned());
        new.header_override.insert("x-a".to_owned(), None);
        new.param_override.insert("n".to_owned(), json!({"deep": [1, null, "ü"]}));
        new.settings.max_in_flight = Some(3);
        new.settings.timeouts.connect = Some(0.5);
        new.remark = Some("日本 'quoted' \"and\" \\".to_owned());
        new.priority = i64::MIN;
        new.weight = 0;
        let id = made(&database, new).await;
        let view = channels::get(&database, id).await.expect("an answer").expect("a channel");
        assert_eq!(view.faults, []);
        assert_eq!(view.model_mapping, json!({"m1": "up"}));
        assert_eq!(view.header_override, json!({"x-a": null}));
        assert_eq!(view.param_override, json!({"n": {"deep": [1, null, "ü"]}}));
        assert_eq!(view.settings, json!({"timeouts": {"connect": 0.5}, "max_in_flight": 3}));
        assert_eq!(view.remark.as_deref(), Some("日本 'quoted' \"and\" \\"));
        assert_eq!((view.priority, view.weight, view.auto_disable), (Some(i64::MIN), Some(0), Some(true)));
        assert_eq!((view.groups.len(), view.models.len(), view.keys.enabled), (1, 2, 2));
        let snapshot = pointsman::store::load_snapshot::everything(&database).await.expect("rows");
        let snapshot = snapshot.snapshot(&Default::default(), Default::default(), Default::default());
        assert_eq!(snapshot.quarantined().len(), 0);
        assert_eq!(snapshot.channel(id).expect("a channel").spec.settings.max_in_flight, Some(3));
    }
}

on_all! {
    async fn a_patch_drives_abilities_and_keeps_those_that_stay(stage) {
        let database = stage.open().await;
        let id = made(&database, channel("a")).await;
        let key = AbilityKey { group: "default".into(), model: "m1".into(), channel_id: id };
        let own = AbilityPatch { held: Some(true), priority: Some(Some(7)), weight: Some(Some(9)) };
        let (_, receipt) = abilities::patch(&database, key, own).await.expect("patched");
        let _ = receipt.consume();
        let patch = ChannelPatch {
            name: Some("b".to_owned()),
            tag: Some(Some("t".to_owned())),
            groups: Some(vec!["default".into(), "vip".into()]),
            models: Some(vec!["m1".into(), "m3".into()]),
            ..Default::default()
        };
        let committed = channels::patch(&database, id, patch).await.expect("patched").consume();
        let closed: Vec<_> = committed.closings.into_iter().map(|c| c.closed).collect();
        assert_eq!(closed, [Closed::Ability { channel: id, group: "default".into(), model: "m2".into() }]);
        let listed = abilities::list(&database, Default::default(), Default::default()).await.expect("abilities");
        let seen: Vec<_> = listed.items.iter().map(|a| (a.group.as_str(), a.model.as_str(), a.held, a.priority, a.weight)).collect();
        assert_eq!(seen, [
            ("default", "m1", Some(true), Some(7), Some(9)),
            ("default", "m3", Some(false), None, None),
            ("vip", "m1", Some(false), None, None),
            ("vip", "m3", Some(false), None, None),
        ]);
        let untag = ChannelPatch { tag: Some(None), ..Default::default() };
        let _ = channels::patch(&database, id, untag).await.expect("patched").consume();
        let view = channels::get(&database, id).await.expect("an answer").expect("a channel");
        assert_eq!((view.name.as_deref(), view.tag), (Some("b"), None));
        let missing = channels::patch(&database, pointsman::routing::ids::ChannelId(99), ChannelPatch::default()).await;
        assert_eq!(missing.err(), Some(ChangeError::NotFound));
        assert_eq!(abilities::groups(&database).await.expect("groups"), ["default".into(), "vip".into()]);
    }
}

on_all! {
    async fn channels_are_listed_by_filter_sort_and_page(stage) {
        let database = stage.open().await;
        for name in ["Alpha", "beta", "gamma_%"] {
            made(&database, channel(name)).await;
        }
        let other = channels::NewChannel { groups: vec!["vip".into()], status: Status::Disabled, tag: Some("t".to_owned()), provider: "ollama".to_owned(), ..channel("delta") };
        let other = made(&database, other).await;
        let list = async |filter: ChannelFilter, sort, page| {
            let listed = channels::list(&database, filter, sort, page).await.expect("a list");
            (listed.items.iter().map(|c| c.name.clone().unwrap_or_default()).collect::<Vec<_>>(), listed.total)
        };
        let by_name = (ChannelSort::Name, Direction::Descending);
        let q = |q: &str| ChannelFilter { q: Some(q.to_owned()), ..Default::default() };
        let (names, total) = list(ChannelFilter::default(), (ChannelSort::Id, Direction::Ascending), Page { page: 2, page_size: 3 }).await;
        assert_eq!((names, total), (vec!["delta".to_owned()], 4));
        assert_eq!(list(q("ALPHA"), by_name, Page::default()).await.0, ["Alpha"]);
        assert_eq!(list(q("_%"), by_name, Page::default()).await.0, ["gamma_%"]);
        assert_eq!(list(q("eta'"), by_name, Page::default()).await.1, 0);
        let filters = [
            ChannelFilter { group: Some("vip".into()), ..Default::default() },
            ChannelFilter { group: Some("vip".into()), model: Some("m1".into()), ..Default::default() },
            ChannelFilter { status: Some(Status::Disabled), ..Default::default() },
            ChannelFilter { tag: Some("t".to_owned()), ..Default::default() },
            ChannelFilter { provider: Some("ollama".to_owned()), ..Default::default() },
        ];
        for filter in filters {
            assert_eq!(list(filter.clone(), by_name, Page::default()).await, (vec!["delta".to_owned()], 1), "{filter:?}");
        }
        let committed = channels::delete(&database, other).await.expect("deleted").consume();
        assert_eq!(committed.closings[0].closed, Closed::Channel(other));
        let _ = channels::delete(&database, other).await.expect("gone already").consume();
        assert_eq!(stage.rows(&format!("SELECT model FROM abilities WHERE channel_id = {other}")).await.len(), 0);
    }
}

on_all! {
    async fn keys_are_added_replaced_and_deleted(stage) {
        let database = stage.open().await;
        let id = made(&database, channel("a")).await;
        let more = ["sk-first-0001", "sk-third-0003", "sk-third-0003"].map(Secret::new).to_vec();
        let (added, receipt) = keys::add(&database, id, more).await.expect("added");
        let _ = receipt.consume();
        assert_eq!((added.added.len(), added.skipped), (1, 2));
        let listed = keys::list(&database, id).await.expect("an answer").expect("keys");
        assert_eq!(listed.iter().map(|key| &*key.hint).collect::<Vec<_>>(), ["0001", "0002", "0003"]);
        let committed = keys::replace(&database, id, added.added[0], Secret::new("sk-fourth-0004")).await.expect("replaced").consume();
        assert_eq!(committed.closings[0].closed, Closed::Key { channel: id, key: added.added[0] });
        for key in &listed {
            let committed = keys::delete(&database, id, key.id).await.expect("deleted").consume();
            let last = key.id == listed[2].id;
            assert_eq!(committed.closings.len(), if last { 2 } else { 1 });
        }
        assert_eq!(keys::list(&database, id).await.expect("an answer"), Some(vec![]));
        assert_eq!(keys::list(&database, pointsman::routing::ids::ChannelId(99)).await.expect("an answer"), None);
        let nowhere = keys::add(&database, pointsman::routing::ids::ChannelId(99), vec![Secret::new("x")]).await;
        assert_eq!(nowhere.err(), Some(ChangeError::NotFound));
    }
}

fn token(name: &str, key: &str) -> NewToken {
    NewToken {
        name: name.to_owned(),
        key_hash: KeyHash::of(key),
        hint: "abcd".to_owned(),
        status: TokenStatus::Enabled,
        groups: vec!["vip".into(), "default".into()],
        models: Some(vec![]),
        allow_ips: None,
        expires_at: Some(7),
        limits: json!({}),
    }
}

on_all! {
    async fn tokens_are_found_changed_and_forgotten(stage) {
        let database = stage.open().await;
        let id = tokens::create(&database, token("a", "k1")).await.expect("a token");
        let found = async |key: &str| tokens::find_by_hash(&database, KeyHash::of(key)).await.expect("an answer");
        let row = found("k1").await.expect("the token");
        assert_eq!((row.id, row.expires_at, row.models.as_deref(), row.allow_ips.as_ref()), (id, Some(7), Some(&[][..]), None));
        assert_eq!(row.groups, ["vip".into(), "default".into()]);
        assert!(tokens::create(&database, token("b", "k1")).await.is_err(), "one hash, one token");
        let patch = TokenPatch { status: Some(TokenStatus::Disabled), models: Some(None), allow_ips: Some(Some(vec!["10.0.0.0/8".to_owned()])), ..Default::default() };
        assert_eq!(tokens::patch(&database, id, patch).await, Ok(KeyHash::of("k1")));
        let row = found("k1").await.expect("the token");
        assert_eq!((row.status, row.models, row.allow_ips.expect("addresses").len()), (TokenStatus::Disabled, None, 1));
        assert_eq!(tokens::rotate(&database, id, KeyHash::of("k2"), "efgh".to_owned()).await, Ok(KeyHash::of("k1")));
        assert_eq!(found("k1").await, None);
        tokens::touch(&database, vec![(id, 50), (tokens::TokenId(99), 1)]).await.expect("touched");
        tokens::touch(&database, vec![(id, 40)]).await.expect("touched");
        assert_eq!(found("k2").await.expect("the token").last_used_at, Some(50));
        let listed = tokens::list(&database, TokenFilter { q: Some("A".to_owned()), status: None }, Page::default()).await.expect("a list");
        assert_eq!(listed.total, 1);
        stage.sql(&["UPDATE tokens SET models = '{\"a\": 1}'"]).await;
        assert!(tokens::find_by_hash(&database, KeyHash::of("k2")).await.is_err(), "fails closed");
        assert_eq!(tokens::delete(&database, id).await, Ok(Some(KeyHash::of("k2"))));
        assert_eq!(tokens::delete(&database, id).await, Ok(None));
        assert_eq!(tokens::patch(&database, id, TokenPatch::default()).await, Err(ChangeError::NotFound));
    }
}

on_all! {
    async fn models_and_admin_tokens(stage) {
        let database = stage.open().await;
        let row = |name: &str, fallbacks: &[&str]| models::ModelRow {
            name: name.into(),
            fallbacks: fallbacks.iter().map(|name| (*name).into()).collect(),
            first_token_timeout_ms: Some(5),
            settings: json!({"affinity": false}),
            remark: None,
        };
        let said = |done: Result<(bool, pointsman::store::receipt::Receipt), ChangeError>| done.map(|(said, receipt)| {
            drop(receipt);
            said
        });
        assert_eq!(said(models::put(&database, row("m", &["a", "b"])).await), Ok(true));
        assert_eq!(said(models::put(&database, row("M", &[])).await), Ok(true));
        assert_eq!(said(models::put(&database, row("m", &["c"])).await), Ok(false));
        assert_eq!(models::get(&database, &"m".into()).await, Ok(Some(row("m", &["c"]))));
        assert_eq!(models::list(&database, Some("m".to_owned()), Page::default()).await.expect("a list").total, 2);
        assert_eq!(said(models::delete(&database, &"m".into()).await), Ok(true));
        assert_eq!(said(models::delete(&database, &"m".into()).await), Ok(false));

        assert_eq!(admin_tokens::exists(&database).await, Ok(false));
        assert_eq!(admin_tokens::insert_if_none(&database, KeyHash::of("a"), "admin").await, Ok(true));
        assert_eq!(admin_tokens::insert_if_none(&database, KeyHash::of("b"), "admin").await, Ok(false));
        for _ in 0..2 {
            assert_eq!(admin_tokens::ensure(&database, KeyHash::of("c"), "admin").await, Ok(()));
        }
        let found = admin_tokens::find_by_hash(&database, KeyHash::of("c")).await.expect("an answer");
        assert_eq!(found.expect("the token").name, "configured");
        // The one that was made before lets nobody in any longer, nor does one that was configured before.
        assert_eq!(admin_tokens::find_by_hash(&database, KeyHash::of("a")).await, Ok(None));
        assert_eq!(admin_tokens::ensure(&database, KeyHash::of("d"), "admin").await, Ok(()));
        assert_eq!(admin_tokens::find_by_hash(&database, KeyHash::of("c")).await, Ok(None));
        assert_eq!(admin_tokens::find_by_hash(&database, KeyHash::of("b")).await, Ok(None));
    }
}
