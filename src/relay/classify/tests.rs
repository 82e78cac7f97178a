use super::*;
use crate::protocol::Endpoint;
use crate::protocol::upstream_error::{error_in_200, read_error};

/// A row of the table in the documentation: who says it, the status, the body, what it is.
fn documented() -> Vec<[&'static str; 4]> {
    let page = include_str!("../../../docs/routing.md");
    let rows = page
        .lines()
        .skip_while(|line| *line != "| who | status | says | outcome |");
    let rows = rows.skip(2).take_while(|line| line.starts_with('|'));
    let cells = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        <[&str; 4]>::try_from(cells).unwrap_or_else(|_| panic!("four cells: {line}"))
    };
    rows.map(cells).collect()
}

fn outcome_of(status: u16, body: &str) -> Outcome {
    if status == 200 {
        let error = error_in_200(Endpoint::ChatCompletions, body.as_bytes());
        let error = error.unwrap_or_else(|| panic!("an error: {body}"));
        return of_error(&error, Place::InAnswer, None);
    }
    of_error(&read_error(status, body.as_bytes()), Place::Status(status), None)
}

#[track_caller]
fn check(status: u16, body: &str, want: &str) {
    assert_eq!(outcome_of(status, body).word(), want, "{status} {body}");
}

#[test]
fn the_documented_table_is_true() {
    let rows = documented();
    assert!(rows.len() > 150, "{} rows", rows.len());
    for [who, status, says, want] in rows {
        let body = match says {
            "nothing" => "",
            code => code.trim_matches('`').trim(),
        };
        let outcome = outcome_of(status.parse().unwrap(), body);
        let lack = match &outcome {
            Outcome::NotHere(Lack::Model) => " model",
            Outcome::NotHere(Lack::Path) => " path",
            Outcome::NotHere(Lack::State) => " state",
            _ => "",
        };
        assert_eq!(
            format!("`{}`{lack}", outcome.word()),
            want,
            "{who}: {status} {says}"
        );
    }
}

#[test]
fn a_clients_own_mistake_says_nothing_of_the_model() {
    for message in [
        "Image input for model m is not supported",
        "The model m does not support tools",
        "Invalid value: 'x' is not supported with the 'm' model.",
        "messages.0: model output cannot be empty",
        "tool `model` not found in tools",
        "Invalid token in JSON at 3",
    ] {
        let body = format!(r#"{{"error":{{"message":"{message}","type":"invalid_request_error"}}}}"#);
        check(400, &body, "bad_request");
    }
}

/// Providers quote what the client has sent: a request must not be able to close keys.
#[test]
fn no_request_can_speak_for_the_account() {
    for message in [
        "Invalid value: 'incorrect api key'. Supported values are: 'system', 'assistant' and 'user'.",
        "Unknown parameter: 'api key not valid'.",
        "credit balance is too low: Extra inputs are not permitted",
        "your credit balance is too low to access: Extra inputs are not permitted",
        "messages.0.api key expired: Field required",
        "Invalid JSON payload received. Unknown name 'api key not valid': Cannot find field.",
        "tools.0.name: 'insufficient balance' does not match the pattern",
    ] {
        for kind in ["invalid_request_error", "INVALID_ARGUMENT"] {
            let body = format!(r#"{{"error":{{"message":"{message}","type":"{kind}"}}}}"#);
            check(400, &body, "bad_request");
        }
    }
}

#[test]
fn numbers_are_those_of_their_house() {
    let zhipu = |code: &str| format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#);
    let mini_max = |code: &str| format!(r#"{{"base_resp":{{"status_code":{code},"status_msg":"m"}}}}"#);
    for (code, at_zhipu, at_mini_max) in [
        ("1000", "refused", "broken"),
        ("1001", "refused", "broken"),
        ("1002", "refused", "busy"),
        ("1004", "refused", "refused"),
        ("1026", "broken", "filtered"),
        ("1113", "refused", "broken"),
        ("1301", "filtered", "broken"),
    ] {
        check(200, &zhipu(code), at_zhipu);
        check(200, &mini_max(code), at_mini_max);
    }
    let mistral = r#"{"object":"error","message":"m","type":"invalid_request_error","code":"1301"}"#;
    check(400, mistral, "bad_request");
}

#[test]
fn a_spent_limit_says_when_only_where_the_limit_failed() {
    let headers = |lines: &[(&'static str, &'static str)]| -> HeaderMap {
        let header = |(name, value): &(&'static str, &'static str)| {
            let name = http::HeaderName::from_static(name);
            (name, http::HeaderValue::from_static(value))
        };
        lines.iter().map(header).collect()
    };
    let spent = ("x-ratelimit-remaining-requests", "0");
    let reset = ("x-ratelimit-reset-requests", "6h");
    for (status, lines, want) in [
        (429, vec![spent, reset], Some(6 * 3600)),
        (429, vec![spent, reset, ("retry-after", "3")], Some(3)),
        (500, vec![spent, reset], None),
        (503, vec![spent, reset, ("retry-after", "3")], Some(3)),
        (503, vec![], None),
    ] {
        let error = read_error(status, b"");
        let outcome = of_answer(
            &error,
            Place::Status(status),
            &headers(&lines),
            SystemTime::UNIX_EPOCH,
        );
        let wait = outcome.provider_word().map(|(wait, _)| wait.as_secs());
        assert_eq!(wait, want, "{status} {lines:?}");
    }
}

#[test]
fn whatever_it_says_by_status() {
    for status in [301, 302, 307, 408, 500, 502, 503, 504, 520] {
        check(status, r#"{"error":{"message":"x"}}"#, "broken");
    }
    // A firewall's page closes no key.
    for status in [401, 403] {
        check(status, "<html>Access denied</html>", "broken");
        check(status, "", "broken");
    }
}

#[test]
fn errors_inside_a_200() {
    for (body, want, status) in [
        (
            r#"{"error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            "busy",
            429,
        ),
        (r#"{"error":{"code":429,"message":"slow down"}}"#, "busy", 429),
        (
            r#"{"error":{"type":"authentication_error","message":"x"}}"#,
            "refused",
            400,
        ),
        (r#"{"error":{"message":"internal"}}"#, "broken", 502),
        (
            r#"{"error":{"code":503,"message":"unavailable","status":"UNAVAILABLE"}}"#,
            "broken",
            502,
        ),
        (
            r#"{"error":{"code":"context_length_exceeded","message":"x","type":"invalid_request_error"}}"#,
            "too_long",
            400,
        ),
        ("garbage", "broken", 502),
    ] {
        let outcome = outcome_of(200, body);
        assert_eq!((outcome.word(), status_of(&outcome)), (want, status), "{body}");
    }
}

#[test]
fn the_providers_word_is_kept_and_its_message_is_not() {
    let wait = Some(Duration::from_secs(7));
    let error = read_error(429, b"{}");
    assert_eq!(
        of_error(&error, Place::Status(429), wait),
        Outcome::Busy {
            status: 429,
            retry_after: wait
        }
    );
    let error = read_error(
        401,
        br#"{"error":{"message":"Incorrect API key: sk-secret","code":"invalid_api_key"}}"#,
    );
    let want = Outcome::Refused {
        reason: "401 invalid_api_key".into(),
    };
    assert_eq!(of_error(&error, Place::Status(401), None), want);
    let error = read_error(
        401,
        br#"{"error":{"message":"no","code":"key sk-secret is bad"}}"#,
    );
    assert_eq!(
        of_error(&error, Place::Status(401), None),
        Outcome::Refused { reason: "401".into() }
    );
}
