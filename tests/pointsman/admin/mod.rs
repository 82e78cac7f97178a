//! The admin REST, one file a resource.

mod abilities;
mod bad_input;
mod channel_tests;
mod channels;
mod keys;
mod models;
mod probes;
mod process;
mod routing;
mod status;
mod tokens;

use crate::answer::Answer;
use crate::stage::Stage;
use reqwest::Method;
use serde_json::Value;

/// Panics unless the answer is a problem with this status and code; its fields' names.
#[track_caller]
fn problem(answer: &Answer, status: u16, code: &str) -> Vec<String> {
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{answer:?}"
    );
    let body = answer.json();
    assert_eq!(
        (answer.status, body["code"].as_str()),
        (status, Some(code)),
        "{answer:?}"
    );
    assert_eq!(body["status"].as_u64(), Some(status.into()), "{answer:?}");
    assert!(
        body["title"].is_string() && body["detail"].is_string() && body["type"].is_string(),
        "{answer:?}"
    );
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    let names = errors.iter().map(|error| {
        assert!(error["message"].is_string(), "{answer:?}");
        error["field"].as_str().expect("a field's name").to_owned()
    });
    names.collect()
}

/// One admin call that is to be answered with this status; its body.
async fn call(stage: &Stage, method: Method, path: &str, body: Value, status: u16) -> Value {
    stage.admin_answer(method, path, body).await.expect(status).json()
}
