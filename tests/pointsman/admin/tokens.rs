//! `/api/tokens`

use super::{call, problem};
use crate::answer::Answer;
use crate::databases::Kind;
use crate::stage::Stage;
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};

on_each_database! {
    async fn a_token_lives_from_post_to_delete(kind: Kind) {
        let stage = Stage::new(kind).channel("a", works()).await;
        let made = stage
            .admin_answer(Method::POST, "/api/tokens", json!({
                "name": "app", "groups": ["vip", "default", "vip"], "models": ["gpt-4o"],
                "allow_ips": ["127.0.0.0/8", "10.1.2.3"], "expires_at": "2999-01-01T01:00:00+01:00",
            }))
            .await
            .expect(201);
        let token = made.json();
        let key = token["key"].as_str().expect("the key").to_owned();
        assert!(key.starts_with("sk-") && key.len() >= 51, "{} characters", key.len());
        let place = made.header("location").expect("a location").to_owned();
        assert_eq!(place, format!("/api/tokens/{}", token["id"]));
        assert_eq!(token["groups"], json!(["vip", "default"]));
        assert_eq!(token["expires_at"], "2999-01-01T00:00:00.000Z");
        assert!(key.ends_with(token["hint"].as_str().expect("a hint")));
        assert_eq!(token["last_used_at"], Value::Null);
        assert_eq!(models_for(&stage, &key).await.status, 200);

        for path in [place.as_str(), "/api/tokens"] {
            let shown = stage.admin_answer(Method::GET, path, Value::Null).await.expect(200);
            assert!(!shown.text().contains(&key) && !shown.text().contains("key_hash"), "{shown:?}");
        }
        let found = call(&stage, Method::POST, "/api/tokens/find", json!({"key": format!(" {key}")}), 200).await;
        assert_eq!(found["id"], token["id"]);

        let closed = call(&stage, Method::PATCH, &place, json!({"status": "disabled"}), 200).await;
        assert_eq!((&closed["status"], &closed["name"]), (&json!("disabled"), &json!("app")));
        assert_eq!(models_for(&stage, &key).await.status, 401);
        let open = call(&stage, Method::PATCH, &place, json!({"status": "enabled", "models": null, "allow_ips": null, "expires_at": null}), 200).await;
        assert_eq!((&open["models"], &open["allow_ips"], &open["expires_at"]), (&Value::Null, &Value::Null, &Value::Null));
        assert_eq!(models_for(&stage, &key).await.status, 200);

        let rotated = call(&stage, Method::POST, &format!("{place}/rotate"), Value::Null, 200).await;
        let new = rotated["key"].as_str().expect("the new key");
        assert_eq!((models_for(&stage, &key).await.status, models_for(&stage, new).await.status), (401, 200));
        problem(&stage.admin_answer(Method::POST, "/api/tokens/find", json!({"key": key})).await, 404, "not_found");

        stage.admin_answer(Method::DELETE, &place, Value::Null).await.expect(204);
        assert_eq!(models_for(&stage, new).await.status, 401);
        stage.admin_answer(Method::DELETE, &place, Value::Null).await.expect(204);
        problem(&stage.admin_answer(Method::GET, &place, Value::Null).await, 404, "not_found");
        problem(&stage.admin_answer(Method::PATCH, &place, json!({"name": "b"})).await, 404, "not_found");
        problem(&stage.admin_answer(Method::POST, &format!("{place}/rotate"), Value::Null).await, 404, "not_found");
        stage.log().assert_without(&key);
        stage.log().assert_without(new);
    }

    async fn tokens_are_filtered_and_paged(kind: Kind) {
        let stage = Stage::new(kind).await;
        for (name, status) in [("one", "enabled"), ("two", "disabled"), ("twenty_1", "enabled")] {
            call(&stage, Method::POST, "/api/tokens", json!({"name": name, "status": status}), 201).await;
        }
        let check = async |query: &str, total: u64, first: &str| {
            let list = call(&stage, Method::GET, &format!("/api/tokens?{query}"), Value::Null, 200).await;
            assert_eq!((list["total"].as_u64(), list["items"][0]["name"].as_str()), (Some(total), Some(first)), "{list}");
        };
        // The stage's own token is the first.
        check("", 4, "client").await;
        check("q=tw", 2, "two").await;
        check("q=_", 1, "twenty_1").await;
        check("status=disabled", 1, "two").await;
        check("page_size=1&page=2", 4, "one").await;
    }
}

async fn models_for(stage: &Stage, key: &str) -> Answer {
    Answer::to(stage.request(Method::GET, "/v1/models").bearer_auth(key)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_do_not_fit_are_named() {
    let stage = Stage::new(Kind::Sqlite).await;
    let check = async |body: Value, fields: &[&str]| {
        let answer = stage.admin_answer(Method::POST, "/api/tokens", body).await;
        assert_eq!(problem(&answer, 422, "invalid_fields"), fields, "{answer:?}");
    };
    check(json!({}), &["name"]).await;
    check(json!({"name": ""}), &["name"]).await;
    check(json!({"name": "x".repeat(256)}), &["name"]).await;
    check(
        json!({"name": "a", "groups": [], "allow_ips": ["300.0.0.1"], "expires_at": "soon"}),
        &["groups", "allow_ips[0]", "expires_at"],
    )
    .await;
    check(json!({"name": "a", "groups": ["a", " "]}), &["groups[1]"]).await;
    check(json!({"name": "a", "expires_at": 5}), &["expires_at"]).await;
    check(json!({"name": "a", "key": "sk-mine"}), &["key"]).await;
    check(json!({"name": "a", "status": "auto_disabled"}), &["status"]).await;
    check(json!({"name": "a", "limits": {"rpm": 1}}), &["limits.rpm"]).await;
    let find = stage
        .admin_answer(Method::POST, "/api/tokens/find", json!({"key": ""}))
        .await;
    assert_eq!(problem(&find, 422, "invalid_fields"), ["key"]);
    problem(
        &stage
            .admin_answer(Method::GET, "/api/tokens/find", Value::Null)
            .await,
        405,
        "method_not_allowed",
    );
}
