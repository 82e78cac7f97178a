//! `GET /v1/models` and its likes: what this token can use, in the shape that the client wants.

use crate::answer::Answer;
use crate::databases::Kind;
use crate::stage::Stage;
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};

fn names(answer: &Answer, list: &str, field: &str) -> Vec<String> {
    let body = answer.json();
    let items = body[list].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .filter_map(|item| item[field].as_str().map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_are_listed_open_or_not_in_three_shapes() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", works().models(&["gpt-4o", "org/name"]))
        .channel("b", works().models(&["claude"]))
        .channel("c", works().models(&["secret"]).groups(&["other"]))
        .await;
    stage.set_status("b", "disabled").await;
    let get = |path: &str| stage.request(Method::GET, path);
    let bearer = |path: &str| get(path).bearer_auth(stage.token());
    let want = ["claude", "gpt-4o", "org/name"];

    let openai = Answer::to(bearer("/v1/models")).await.expect(200);
    assert_eq!(names(&openai, "data", "id"), want);
    let anthropic = Answer::to(bearer("/v1/models").header("anthropic-version", "2023-06-01"))
        .await
        .expect(200);
    assert_eq!(names(&anthropic, "data", "id"), want);
    assert_eq!(anthropic.json()["has_more"], json!(false));
    for request in [
        get("/v1/models").header("x-goog-api-key", stage.token()),
        get(&format!("/v1/models?key={}", stage.token())),
        bearer("/v1beta/models"),
    ] {
        let gemini = Answer::to(request).await.expect(200);
        assert_eq!(
            names(&gemini, "models", "name"),
            want.map(|name| format!("models/{name}"))
        );
    }

    for path in ["/v1/models/org/name", "/v1/models/org%2Fname"] {
        assert_eq!(
            Answer::to(bearer(path)).await.expect(200).json()["id"],
            "org/name"
        );
    }
    let gemini = Answer::to(bearer("/v1beta/models/gpt-4o")).await.expect(200);
    assert_eq!(gemini.json()["name"], "models/gpt-4o");
    let missing = Answer::to(bearer("/v1/models/secret")).await.expect(404);
    assert_eq!(missing.code().as_deref(), Some("model_not_found"));
    assert_eq!(
        Answer::to(get("/v1/models")).await.expect(401).code().as_deref(),
        Some("invalid_token")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tokens_own_list_bounds_what_it_sees() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("a", works().models(&["one", "two"]))
        .token(json!({"models": ["two", "three"]}))
        .await;
    let answer = Answer::to(
        stage
            .request(Method::GET, "/v1/models")
            .bearer_auth(stage.token()),
    )
    .await
    .expect(200);
    assert_eq!(names(&answer, "data", "id"), ["two"]);
    let one = Answer::to(
        stage
            .request(Method::GET, "/v1/models/one")
            .bearer_auth(stage.token()),
    )
    .await;
    assert_ne!(one.expect(404).json(), Value::Null);
}
