//! `/api/channels/{id}/keys`

use super::{call, problem};
use crate::databases::Kind;
use crate::stage::Stage;
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};

on_each_database! {
    async fn keys_are_added_replaced_closed_and_deleted(kind: Kind) {
        let stage = Stage::new(kind).channel("a", works().keys(&["sk-one-1111"])).await;
        let keys = format!("/api/channels/{}/keys", stage.id("a"));

        let added = call(&stage, Method::POST, &keys, json!({"keys": ["sk-two-2222", "sk-one-1111", " sk-two-2222"]}), 201).await;
        assert_eq!((&added["added"], &added["skipped"]), (&json!(1), &json!(2)));
        let list = stage.admin_answer(Method::GET, &keys, Value::Null).await.expect(200);
        assert!(!list.text().contains("sk-"), "{list:?}");
        let list = list.json();
        assert_eq!(list["total"], 2);
        assert_eq!((&list["items"][0]["hint"], &list["items"][1]["hint"]), (&json!("1111"), &json!("2222")));
        assert_eq!(list["items"][1]["status"], "enabled");
        let ids: Vec<i64> = list["items"].as_array().expect("items").iter().filter_map(|key| key["id"].as_i64()).collect();
        let key = |id: i64| format!("{keys}/{id}");

        let replaced = call(&stage, Method::PUT, &key(ids[1]), json!({"secret": "sk-new-3333"}), 200).await;
        assert_eq!((&replaced["hint"], &replaced["id"]), (&json!("3333"), &json!(ids[1])));
        let closed = call(&stage, Method::PUT, &format!("{}/status", key(ids[0])), json!({"status": "disabled", "reason": "leaked"}), 200).await;
        assert_eq!((&closed["status"], &closed["status_reason"]), (&json!("disabled"), &json!("leaked")));
        // Only the new key is left, and it is the one that goes upstream.
        stage.chat("gpt-4o").await.expect(200);
        let received = stage.upstream("a").received();
        assert_eq!(received.last().and_then(|last| last.header("authorization")), Some("Bearer sk-new-3333"));

        stage.admin_answer(Method::DELETE, &key(ids[1]), Value::Null).await.expect(204);
        stage.admin_answer(Method::DELETE, &key(ids[1]), Value::Null).await.expect(204);
        assert_eq!(stage.chat("gpt-4o").await.code().as_deref(), Some("no_available_channel"));
        stage.log().assert_without("sk-new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_do_not_fit_are_named() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    let keys = format!("/api/channels/{}/keys", stage.id("a"));
    let check = async |method: Method, path: &str, body: Value, status: u16, code: &str, fields: &[&str]| {
        let answer = stage.admin_answer(method, path, body).await;
        assert_eq!(problem(&answer, status, code), fields, "{answer:?}");
        assert!(!answer.text().contains("sk-bad"), "{answer:?}");
    };
    check(
        Method::POST,
        &keys,
        json!({"keys": ["sk-good", "", "sk-bad\n2"]}),
        422,
        "invalid_fields",
        &["keys[1]", "keys[2]"],
    )
    .await;
    check(
        Method::POST,
        &keys,
        json!({"keys": []}),
        422,
        "invalid_fields",
        &["keys"],
    )
    .await;
    check(
        Method::POST,
        &keys,
        json!({"keys": "sk-bad"}),
        422,
        "invalid_fields",
        &["keys"],
    )
    .await;
    check(
        Method::POST,
        &keys,
        json!({"keys": [["sk-bad"]]}),
        422,
        "invalid_fields",
        &["keys[0]"],
    )
    .await;
    check(Method::POST, &keys, json!({}), 422, "invalid_fields", &["keys"]).await;
    check(
        Method::POST,
        "/api/channels/999/keys",
        json!({"keys": ["x"]}),
        404,
        "not_found",
        &[],
    )
    .await;
    check(
        Method::GET,
        "/api/channels/999/keys",
        Value::Null,
        404,
        "not_found",
        &[],
    )
    .await;
    check(
        Method::PUT,
        &format!("{keys}/999"),
        json!({"secret": "x"}),
        404,
        "not_found",
        &[],
    )
    .await;
    check(
        Method::PUT,
        &format!("{keys}/one"),
        json!({"secret": "x"}),
        404,
        "not_found",
        &[],
    )
    .await;
    check(
        Method::PUT,
        &format!("{keys}/999/status"),
        json!({"status": "enabled"}),
        404,
        "not_found",
        &[],
    )
    .await;
    check(
        Method::DELETE,
        &format!("{keys}/999"),
        Value::Null,
        404,
        "not_found",
        &[],
    )
    .await;
    check(
        Method::DELETE,
        "/api/channels/999/keys/1",
        Value::Null,
        404,
        "not_found",
        &[],
    )
    .await;
    check(
        Method::PUT,
        &format!("{keys}/1/status"),
        json!({"status": "auto_disabled"}),
        422,
        "invalid_fields",
        &["status"],
    )
    .await;
}
