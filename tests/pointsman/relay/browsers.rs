//! Browsers may call the relay from any page; paths and methods that are not there are told in the path's protocol.

use super::asks::{CHAT, MODEL};
use crate::answer::Answer;
use crate::databases::Kind;
use crate::stage::Stage;
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_routes_are_open_to_any_origin_and_admin_routes_are_not() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    for path in [CHAT, "/v1/models", "/v1beta/models/x:generateContent", "/"] {
        let request = stage
            .request(Method::OPTIONS, path)
            .header("origin", "https://site");
        let request = request.header("access-control-request-method", "POST");
        let answer = Answer::to(request.header("access-control-request-headers", "x-a, authorization"))
            .await
            .expect(204);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(
            answer.header("access-control-allow-headers"),
            Some("x-a, authorization")
        );
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    for answer in [
        stage.chat(MODEL).await.expect(200),
        stage.chat("nobody").await.expect(404),
    ] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
        for name in [
            "x-request-id",
            "retry-after",
            "x-pointsman-channel",
            "x-pointsman-model",
            "x-pointsman-attempts",
        ] {
            assert!(exposed.contains(name), "{name} in {exposed}");
        }
    }
    let admin = Answer::to(
        stage
            .request(Method::OPTIONS, "/api/channels")
            .header("origin", "https://site"),
    )
    .await;
    assert_eq!(admin.header("access-control-allow-origin"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_answers_whoever_looks() {
    let stage = Stage::new(Kind::Sqlite).await;
    Answer::to(stage.request(Method::GET, "/")).await.expect(200);
    Answer::to(stage.request(Method::HEAD, "/")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_told_in_the_paths_protocol() {
    let stage = Stage::new(Kind::Sqlite).await;
    for (method, path, status, place, want) in [
        (
            Method::POST,
            "/v1/nowhere",
            404,
            "/error/code",
            json!("not_found"),
        ),
        (
            Method::GET,
            "/v1/chat/completions",
            405,
            "/error/code",
            json!("method_not_allowed"),
        ),
        (Method::POST, "/v1/messages/nowhere", 404, "/type", json!("error")),
        (Method::DELETE, "/v1/messages", 405, "/type", json!("error")),
        (
            Method::POST,
            "/v1beta/nowhere",
            404,
            "/error/status",
            json!("NOT_FOUND"),
        ),
        (
            Method::POST,
            "/v1beta/models/m:fly",
            404,
            "/error/code",
            json!(404),
        ),
    ] {
        let answer = Answer::to(stage.request(method, path)).await.expect(status);
        assert_eq!(answer.json().pointer(place), Some(&want), "{path}: {answer:?}");
        assert!(answer.header("x-request-id").is_some());
        assert_eq!(answer.header("allow").is_some(), status == 405);
        assert_ne!(answer.json(), Value::Null);
    }
}
