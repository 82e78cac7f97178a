//! R4: the refusals that a failing database or upstream leads to, in each protocol's shape. (The others are
//! where clients are, in `relay/refusals.rs`.)

use std::time::Duration;

use serde_json::json;

use crate::answer::Answer;
use crate::eventually::eventually;
use crate::relay::asks::{ask_as, code_of, one_of_each, speaks_all};
use crate::stage::Stage;
use crate::upstream::Channel;

const SOON: Duration = Duration::from_secs(10);

on_each_database! {
    async fn r4_a_database_that_cannot_be_asked_is_told_in_each_protocol(kind: Kind) {
        let stage = Stage::new(kind).channel("a", speaks_all("")).flag("--sync-interval", "3600").await;
        for table in ["abilities", "channels", "tokens"] {
            stage.sql(&format!("ALTER TABLE {table} RENAME TO elsewhere")).await;
            let unseen = format!("sk-never-seen-while-{table}-was-away");
            let token = if table == "tokens" { unseen.as_str() } else { stage.token() };
            for (path, body) in one_of_each("unknown") {
                let answer = ask_as(&stage, token, &path, &body).await;
                check(&path, &answer, 503, "routing_unavailable");
                assert!(answer.header("retry-after").is_some(), "{answer:?}");
                assert_eq!(answer.header("x-should-retry"), None, "{answer:?}");
                assert_eq!(answer.header("x-pointsman-channel"), None, "{answer:?}");
            }
            stage.sql(&format!("ALTER TABLE elsewhere RENAME TO {table}")).await;
            for (path, body) in one_of_each("unknown") {
                let refused = if table == "tokens" { "invalid_token" } else { "model_not_found" };
                eventually(SOON, async || {
                    let code = code_of(&path, &ask_as(&stage, token, &path, &body).await);
                    if code == refused { Ok(()) } else { Err(code) }
                })
                .await;
            }
        }
    }

    async fn r4_an_attempt_that_left_no_status_is_told_in_each_protocol(kind: Kind) {
        let cases = [("reset", 502, "upstream_failed"), ("close", 502, "upstream_failed"), ("garbage", 502, "upstream_failed"), ("silence", 504, "upstream_timeout")];
        let mut stage = Stage::new(kind);
        // A channel for each, so that none has made its own wait.
        for (faults, _, _) in cases {
            for n in 0..3 {
                let name = format!("{faults}-{n}");
                stage = stage.channel(&name, impatient(faults).models(&[&name]));
            }
        }
        let stage = stage.await;
        for (faults, status, code) in cases {
            for n in 0..3 {
                let name = format!("{faults}-{n}");
                let (path, body) = one_of_each(&name)[n].clone();
                let answer = stage.relay(&path, body).await;
                check(&path, &answer, status, code);
                assert_eq!(answer.channel(), Some(stage.id(&name)), "{answer:?}");
            }
        }
    }
}

fn impatient(faults: &str) -> Channel {
    speaks_all(faults).settings(json!({
        "protocols": ["openai", "anthropic", "gemini"],
        "timeouts": {"first_byte": 0.4, "total": 0.4},
    }))
}

/// Status and name, and what each protocol's own errors have beside them.
#[track_caller]
fn check(path: &str, answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, code_of(path, answer).as_str()),
        (status, code),
        "{path}: {answer:?}"
    );
    let body = answer.json();
    let fits = match path {
        _ if path.starts_with("/v1beta") => {
            body["error"]["code"] == status && body["error"]["status"].is_string()
        }
        "/v1/messages" => body["type"] == "error" && body["error"]["type"].is_string(),
        _ => body["error"]["type"].is_string(),
    };
    assert!(fits && body["error"]["message"].is_string(), "{path}: {body}");
}
