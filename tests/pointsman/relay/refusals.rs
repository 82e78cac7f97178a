//! R4: refusals tell apart, in the shape of each protocol.

use super::asks::{MODEL, ask_as, code_of, one_of_each, speaks_all};
use crate::answer::Answer;
use crate::databases::Kind;
use crate::stage::{Stage, with_json};
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};

#[track_caller]
fn check_shape(path: &str, answer: &Answer) {
    let body = answer.json();
    let has = |pointer: &str| body.pointer(pointer).is_some_and(|value| !value.is_null());
    let places: &[&str] = match path {
        _ if path.starts_with("/v1beta") => &["/error/code", "/error/message", "/error/status"],
        "/v1/messages" => &["/type", "/error/type", "/error/message"],
        _ => &["/error/message", "/error/type", "/error/code"],
    };
    for place in places {
        assert!(has(place), "{path}: {place} in {body}");
    }
    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_each_refusal_in_each_protocol() {
    let stage = Stage::new(Kind::Sqlite)
        .channel("closed", speaks_all("").models(&["closed"]))
        .channel("open", speaks_all(""))
        .await;
    stage.set_status("closed", "disabled").await;
    let narrow = stage
        .new_token(json!({"name": "narrow", "groups": ["default"], "models": ["other"]}))
        .await;
    let afar = stage
        .new_token(json!({"name": "afar", "groups": ["default"], "allow_ips": ["203.0.113.0/24"]}))
        .await;
    let off = stage
        .new_token(json!({"name": "off", "groups": ["default"], "expires_at": "2020-01-01T00:00:00Z"}))
        .await;

    for (model, token, status, code, retry_after, should_retry) in [
        (
            "nobody",
            stage.token(),
            404,
            "model_not_found",
            false,
            Some("false"),
        ),
        ("closed", stage.token(), 503, "no_available_channel", true, None),
        (
            MODEL,
            narrow.as_str(),
            403,
            "model_not_allowed",
            false,
            Some("false"),
        ),
        (
            MODEL,
            afar.as_str(),
            403,
            "address_not_allowed",
            false,
            Some("false"),
        ),
        (MODEL, "nobodys-token", 401, "invalid_token", false, Some("false")),
        (MODEL, off.as_str(), 401, "invalid_token", false, Some("false")),
    ] {
        for (path, body) in one_of_each(model) {
            let answer = ask_as(&stage, token, &path, &body).await.expect(status);
            check_shape(&path, &answer);
            assert_eq!(code_of(&path, &answer), code, "{path}: {answer:?}");
            assert_eq!(
                answer.header("retry-after").is_some(),
                retry_after,
                "{path} {code}"
            );
            assert_eq!(answer.header("x-should-retry"), should_retry, "{path} {code}");
            assert_eq!(answer.header("x-pointsman-channel"), None);
        }
    }
    assert!(stage.upstream("open").received().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_a_protocol_that_no_channel_speaks_is_told() {
    let stage = Stage::new(Kind::Sqlite).channel("a", works()).await;
    for (path, body) in one_of_each(MODEL).into_iter().skip(1) {
        let answer = stage.relay(&path, body).await.expect(404);
        assert_eq!(code_of(&path, &answer), "protocol_not_served");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forwarded_address_counts_behind_a_trusted_proxy_only() {
    let fields = json!({"allow_ips": ["203.0.113.0/24"]});
    for (flag, status) in [(None, 403), (Some("127.0.0.0/8"), 200)] {
        let mut stage = Stage::new(Kind::Sqlite)
            .channel("a", works())
            .token(fields.clone());
        if let Some(proxies) = flag {
            stage = stage.flag("--trusted-proxies", proxies);
        }
        let stage = stage.await;
        let (path, body): (String, Value) = one_of_each(MODEL)[0].clone();
        let request = stage.request(Method::POST, &path).bearer_auth(stage.token());
        Answer::to(with_json(request.header("x-forwarded-for", "203.0.113.9"), &body))
            .await
            .expect(status);
    }
}
