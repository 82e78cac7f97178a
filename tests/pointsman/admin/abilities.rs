//! `/api/abilities` and `/api/groups`

use super::{call, problem};
use crate::databases::Kind;
use crate::stage::Stage;
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};

on_each_database! {
    async fn an_ability_is_held_and_weighed(kind: Kind) {
        let stage = Stage::new(kind)
            .channel("a", works().priority(5))
            .channel("b", works().groups(&["default", "vip"]).models(&["gpt-4o", "Gpt-4o"]))
            .await;
        let (a, b) = (stage.id("a"), stage.id("b"));
        let total = async |query: &str| call(&stage, Method::GET, &format!("/api/abilities?{query}"), Value::Null, 200).await["total"].clone();
        assert_eq!(total("").await, 5);
        assert_eq!(total("group=vip").await, 2);
        assert_eq!(total("model=gpt-4o").await, 3);
        assert_eq!(total(&format!("model=gpt-4o&channel_id={b}&group=vip")).await, 1);
        assert_eq!(call(&stage, Method::GET, "/api/groups", Value::Null, 200).await["items"], json!(["default", "vip"]));

        assert_eq!(stage.chat("gpt-4o").await.expect(200).channel(), Some(a));
        let held = call(&stage, Method::PATCH, "/api/abilities", json!({
            "group": "default", "model": "gpt-4o", "channel_id": a, "held": true, "priority": 7, "weight": 3,
        }), 200).await;
        assert_eq!((&held["held"], &held["priority"], &held["weight"]), (&json!(true), &json!(7), &json!(3)));
        // R10: the call has returned, so nobody is sent there.
        assert_eq!(stage.chat("gpt-4o").await.expect(200).channel(), Some(b));
        let freed = call(&stage, Method::PATCH, "/api/abilities", json!({
            "group": "default", "model": "gpt-4o", "channel_id": a, "held": false, "priority": null,
        }), 200).await;
        assert_eq!((&freed["held"], &freed["priority"], &freed["weight"]), (&json!(false), &Value::Null, &json!(3)));
        assert_eq!(stage.chat("gpt-4o").await.expect(200).channel(), Some(a));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_do_not_fit_are_named() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    let check = async |fields: Value, status: u16, code: &str, names: &[&str]| {
        let mut body = json!({"group": "default", "model": "gpt-4o", "channel_id": stage.id("a")});
        body.as_object_mut()
            .expect("an object")
            .extend(fields.as_object().expect("an object").clone());
        let answer = stage.admin_answer(Method::PATCH, "/api/abilities", body).await;
        assert_eq!(problem(&answer, status, code), names, "{answer:?}");
    };
    check(json!({"channel_id": 999}), 404, "not_found", &[]).await;
    check(json!({"model": "GPT-4o", "held": true}), 404, "not_found", &[]).await;
    check(json!({"held": null}), 422, "invalid_fields", &["held"]).await;
    check(json!({"held": "yes"}), 422, "invalid_fields", &["held"]).await;
    check(
        json!({"weight": 1_000_001, "priority": 1e9}),
        422,
        "invalid_fields",
        &["priority"],
    )
    .await;
    check(json!({"weight": 1_000_001}), 422, "invalid_fields", &["weight"]).await;
    check(json!({"enabled": true}), 422, "invalid_fields", &["enabled"]).await;
    check(
        json!({"group": "", "model": "x".repeat(300)}),
        422,
        "invalid_fields",
        &["group", "model"],
    )
    .await;
}
