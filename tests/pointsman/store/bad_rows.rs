//! R7: a row that cannot be read harms only itself; (e): JSON in every wrapping.

use pointsman::routing::ids::ChannelId;
use pointsman::routing::snapshot::Snapshot;
use pointsman::store::connect::Database;
use pointsman::store::load_snapshot::everything;

use super::databases::*;

async fn snapshot(database: &Database) -> Snapshot {
    everything(database).await.expect("rows").snapshot(
        &Snapshot::default(),
        Default::default(),
        Default::default(),
    )
}

on_all! {
    async fn r7_each_broken_row_is_named_and_the_rest_is_read(stage) {
        let database = stage.open().await;
        let good = made(&database, channel("good")).await;
        let breaking = [
            ("provider", "provider = 'nobody'"),
            ("weight", "weight = -1"),
            ("key_mode", "key_mode = 'sometimes'"),
            ("settings", "settings = '[1]'"),
            ("model_mapping", "model_mapping = '{\"a\": 1}'"),
            ("header_override", "header_override = '\"x\"'"),
            ("status", "status = 'maybe'"),
        ];
        for (column, set) in breaking {
            let bad = made(&database, channel("bad")).await;
            stage.sql(&[&format!("UPDATE channels SET {set} WHERE id = {bad}")]).await;
            let snapshot = snapshot(&database).await;
            assert!(snapshot.shows_open(good, "default", "m1"), "{column}");
            assert!(!snapshot.shows_open(bad, "default", "m1"), "{column}");
            let named = snapshot.quarantined().iter().any(|q| q.channel == bad && format!("{q:?}").contains(column));
            assert!(named, "{column}: {:?}", snapshot.quarantined());
            assert_eq!(open_by_lookup(&database, "default", "m1", &[good, bad]).await, [good], "{column}");
            let view = pointsman::store::channels::get(&database, bad).await.expect("an answer").expect("a channel");
            if !["provider", "model_mapping", "header_override", "settings"].contains(&column) {
                assert_eq!(view.faults[0].column, column);
            }
            let _ = pointsman::store::channels::delete(&database, bad).await.expect("deleted").consume();
        }
    }
}

on_all! {
    async fn e_json_is_read_as_text_bytes_json_or_null(stage) {
        let database = stage.open().await;
        let id = made(&database, channel("a")).await;
        let json = r#"{"m1": "upstream"}"#;
        let hex: String = json.bytes().map(|byte| format!("{byte:02x}")).collect();
        let alter = |kind: &str| match stage.kind {
            Kind::Sqlite => "SELECT 1".to_owned(),
            Kind::Postgres => format!("ALTER TABLE channels ALTER model_mapping TYPE {kind} USING NULL"),
            Kind::MariaDb => format!("ALTER TABLE channels MODIFY model_mapping {kind} NULL"),
        };
        let as_text = format!("'{json}'");
        let as_bytes = match stage.kind {
            Kind::Postgres => format!("'\\x{hex}'"),
            Kind::Sqlite | Kind::MariaDb => format!("x'{hex}'"),
        };
        let forms = match stage.kind {
            Kind::Sqlite => vec![("", as_text.clone()), ("", as_bytes)],
            Kind::Postgres => vec![("text", as_text.clone()), ("bytea", as_bytes), ("json", as_text.clone()), ("jsonb", as_text.clone()), ("varchar(99)", as_text.clone())],
            Kind::MariaDb => vec![("text", as_text.clone()), ("longblob", as_bytes), ("json", as_text.clone()), ("varchar(99)", as_text.clone())],
        };
        for (kind, value) in forms {
            // The same open connections go on: a plan cached under the old type must not fail them.
            stage.sql(&[&alter(kind), &format!("UPDATE channels SET model_mapping = {value} WHERE id = {id}")]).await;
            check(&database, id, Some("upstream")).await;
            stage.sql(&["UPDATE channels SET model_mapping = NULL"]).await;
            check(&database, id, None).await;
        }
    }
}

/// SQLite hands over many abilities at once: wherever one among them is not like the others, nothing else is lost.
#[test]
fn r7_one_odd_ability_among_thousands_harms_only_itself() {
    run(Kind::Sqlite, |stage| Box::pin(one_odd_ability(stage)));
}

async fn one_odd_ability(stage: &Stage) {
    let database = stage.open().await;
    let (many, odd) = (
        made(&database, channel("many")).await,
        made(&database, channel("odd")).await,
    );
    let numbers =
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) SELECT n FROM c";
    stage
        .sql(&[
            &format!("INSERT INTO abilities (\"group\", model, channel_id) SELECT 'default', 'many-' || n, {many} FROM ({numbers})"),
            &format!("INSERT INTO abilities (\"group\", model, channel_id) VALUES ('default', 'a' || char(31) || 'b' || char(30) || 'c', {odd})"),
            &format!("INSERT INTO abilities (\"group\", model, channel_id, priority, weight) VALUES ('default', 'overridden', {odd}, 7, 3)"),
            &format!("INSERT INTO abilities (\"group\", model, channel_id, enabled) VALUES ('default', 'unreadable', {odd}, 'perhaps')"),
            &format!("INSERT INTO abilities (\"group\", model, channel_id, held) VALUES ('default', 'held', {odd}, 1)"),
            &format!("INSERT INTO abilities (\"group\", model, channel_id) VALUES (x'ff', 'no text', {odd})"),
            &format!("INSERT INTO abilities (rowid, \"group\", model, channel_id) VALUES (-5, 'default', 'first of all', {odd})"),
        ])
        .await;
    let snapshot = snapshot(&database).await;
    let shows = |channel, model: &str| snapshot.shows_open(channel, "default", model);
    assert!((1..=5_000).all(|n| shows(many, &format!("many-{n}"))));
    assert!(shows(odd, "a\u{1f}b\u{1e}c") && shows(odd, "overridden") && shows(odd, "first of all"));
    assert!(!shows(odd, "unreadable") && !shows(odd, "held"));
    let overridden = snapshot
        .abilities()
        .find(|ability| ability.model.as_str() == "overridden");
    assert_eq!(overridden.and_then(|ability| ability.open), Some((7, 3)));
    let named: Vec<_> = snapshot.quarantined().iter().map(|named| named.channel).collect();
    assert_eq!(named, [odd]);
    // The channels' own abilities of the stage are there too.
    assert_eq!(snapshot.models_of("default").len(), 5_000 + 5 + 2);
}

async fn check(database: &Database, id: ChannelId, mapped: Option<&str>) {
    use pointsman::store::find_route::candidates;
    let found = candidates(database, &["default".into()], &"m1".into())
        .await
        .expect("a lookup");
    let by_lookup = found
        .draft
        .snapshot(&Snapshot::default(), Default::default(), found.began);
    let by_build = snapshot(database).await;
    for snapshot in [by_lookup, by_build] {
        let channel = snapshot.channel(id).expect("the channel");
        assert_eq!(channel.spec.model_mapping.get("m1").map(String::as_str), mapped);
    }
}
