//! `/api/models`

use super::{call, problem};
use crate::databases::Kind;
use crate::stage::Stage;
use reqwest::Method;
use serde_json::{Value, json};

on_each_database! {
    async fn a_model_is_put_replaced_and_deleted(kind: Kind) {
        let stage = Stage::new(kind).await;
        // Slashes in a name, and two names that differ in case only.
        let (one, other) = ("/api/models/meta/Llama-3%20x", "/api/models/meta/llama-3%20x");
        let made = call(&stage, Method::PUT, one, json!({
            "fallbacks": ["gpt-4o", "gpt-4o ", "b"], "first_token_timeout_ms": 10_000,
            "settings": {"timeouts": {"idle": 60}, "affinity": false}, "remark": "r",
        }), 201).await;
        assert_eq!(made["name"], "meta/Llama-3 x");
        call(&stage, Method::PUT, other, json!({}), 201).await;
        let got = call(&stage, Method::GET, one, Value::Null, 200).await;
        let fields = ["name", "fallbacks", "first_token_timeout_ms", "settings", "remark"];
        assert!(fields.iter().all(|field| got[field] == made[field]), "{got} {made}");
        assert_eq!(made["routing"], "in_place");
        assert_eq!(got["fallbacks"], json!(["gpt-4o", "b"]));
        assert_eq!(got["settings"], json!({"timeouts": {"idle": 60.0}, "affinity": false}));
        let replaced = call(&stage, Method::PUT, one, json!({"fallbacks": []}), 200).await;
        assert_eq!((&replaced["first_token_timeout_ms"], &replaced["remark"]), (&Value::Null, &Value::Null));
        let list = call(&stage, Method::GET, "/api/models?q=llama", Value::Null, 200).await;
        assert!(list["total"].as_u64() >= Some(1), "{list}");
        stage.admin_answer(Method::DELETE, one, Value::Null).await.expect(204);
        stage.admin_answer(Method::DELETE, one, Value::Null).await.expect(204);
        problem(&stage.admin_answer(Method::GET, one, Value::Null).await, 404, "not_found");
        call(&stage, Method::GET, other, Value::Null, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_do_not_fit_are_named() {
    let stage = Stage::new(Kind::Sqlite).await;
    let check = async |body: Value, fields: &[&str]| {
        let answer = stage.admin_answer(Method::PUT, "/api/models/m", body).await;
        assert_eq!(problem(&answer, 422, "invalid_fields"), fields, "{answer:?}");
    };
    check(json!({"fallbacks": ["m"]}), &["fallbacks"]).await;
    check(json!({"fallbacks": ["a", 5]}), &["fallbacks[1]"]).await;
    check(json!({"first_token_timeout_ms": 0}), &["first_token_timeout_ms"]).await;
    check(
        json!({"settings": {"timeouts": {"idle": 0}}}),
        &["settings.timeouts.idle"],
    )
    .await;
    check(json!({"settings": {"affinty": true}}), &["settings.affinty"]).await;
    let too_long = format!("/api/models/{}", "x".repeat(300));
    let answer = stage.admin_answer(Method::PUT, &too_long, json!({})).await;
    assert_eq!(problem(&answer, 422, "invalid_fields"), ["name"]);
    problem(
        &stage.admin_answer(Method::GET, &too_long, Value::Null).await,
        404,
        "not_found",
    );
    problem(
        &stage
            .admin_answer(Method::GET, "/api/models/%FF", Value::Null)
            .await,
        404,
        "not_found",
    );
}
