//! How did an attempt end? The one place where status, the upstream's words and transport become an [`Outcome`].
//!
//! Words count only where a status leaves it open: a 5xx is broken whatever it says. Codes go before messages, as
//! messages repeat each other across meanings: Gemini's quota per minute says the very sentence with which OpenAI
//! says that the account is empty.

use std::sync::Arc;
use std::time::Duration;

use crate::protocol::UpstreamError;
use crate::protocol::upstream_error::ErrorForm;
use crate::routing::outcome::{Breakage, Lack, Outcome};

/// Where an error stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An answer whose status is no 2xx.
    Status(u16),
    /// Inside a 200, or as an event of a stream.
    InAnswer,
}

/// Why there is no answer, or no more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Connect,
    Tls,
    /// Closed or reset before the status line.
    Reset,
    /// No HTTP.
    Garbage,
    /// Broke off behind the status line.
    Cut,
    /// Not in time.
    Silent,
}

pub fn of_transport(transport: Transport) -> Outcome {
    match transport {
        Transport::Connect => Outcome::Broken(Breakage::Connect),
        Transport::Tls => Outcome::Broken(Breakage::Tls),
        Transport::Reset => Outcome::Broken(Breakage::Reset),
        Transport::Garbage => Outcome::Broken(Breakage::Garbage),
        Transport::Cut => Outcome::Broken(Breakage::Cut),
        Transport::Silent => Outcome::Silent,
    }
}

/// `wait`: the provider's own word on when to come again.
pub fn of_error(error: &UpstreamError, place: Place, wait: Option<Duration>) -> Outcome {
    let words = Words::of(error);
    let status = match place {
        Place::Status(status) => status,
        Place::InAnswer => error
            .status
            .filter(|status| *status >= 300)
            .unwrap_or_else(|| words.status()),
    };
    let broken = || match place {
        Place::InAnswer if wait.is_none() => Outcome::Broken(Breakage::InAnswer),
        _ => Outcome::Broken(Breakage::Status {
            status,
            retry_after: wait,
        }),
    };
    let busy = || Outcome::Busy {
        status,
        retry_after: wait,
    };
    let refused = || Outcome::Refused {
        reason: reason(status, error),
    };
    let is_json = matches!(error.form, ErrorForm::Error | ErrorForm::OtherJson);
    match status {
        402 => refused(),
        // A firewall's page, not the provider's word.
        401 | 403 if !is_json => broken(),
        401 => refused(),
        429 if words.speak_of_account() => refused(),
        429 | 529 => busy(),
        400 | 403 if words.speak_of_account() => refused(),
        408 | 500.. | 300..400 => broken(),
        _ if words.speak_of_foreign_state() => Outcome::NotHere(Lack::State),
        _ if words.speak_of_length() => Outcome::TooLong,
        _ if words.speak_of_policy() => Outcome::Filtered,
        // Whatever it names, it is this account's right to it that is missing: a sibling may have it.
        403 | 404 => Outcome::NotHere(Lack::Model),
        400 | 422 if words.speak_of_missing_model() => Outcome::NotHere(Lack::Model),
        400..500 => Outcome::BadRequest,
        _ => broken(),
    }
}

/// The status that an error inside a 200 gets (R4).
pub fn status_of(outcome: &Outcome) -> u16 {
    match outcome {
        Outcome::Busy { .. } => 429,
        Outcome::Broken(_) => 502,
        Outcome::Silent => 504,
        Outcome::Ok
        | Outcome::Refused { .. }
        | Outcome::NotHere(_)
        | Outcome::TooLong
        | Outcome::Filtered
        | Outcome::BadRequest
        | Outcome::Gone => 400,
    }
}

/// Kept in the key's row. Never the message: providers quote parts of the key in it.
fn reason(status: u16, error: &UpstreamError) -> Arc<str> {
    let word = [&error.reason, &error.code, &error.kind]
        .into_iter()
        .flatten()
        .next();
    let plain = |word: &&String| {
        word.len() <= 64
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    match word.filter(plain) {
        Some(word) => format!("{status} {word}").into(),
        None => status.to_string().into(),
    }
}

/// What an error says, in small letters.
struct Words {
    /// Code, type and reason.
    names: Vec<String>,
    message: String,
}

impl Words {
    fn of(error: &UpstreamError) -> Words {
        let names = [&error.code, &error.kind, &error.reason];
        Words {
            names: names
                .into_iter()
                .flatten()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            message: error.message.to_lowercase(),
        }
    }

    fn named(&self, names: &[&str]) -> bool {
        self.names.iter().any(|name| names.contains(&name.as_str()))
    }

    fn say(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.message.contains(phrase))
    }

    /// The status that an error without one stands for.
    fn status(&self) -> u16 {
        if self.named(&[
            "overloaded_error",
            "engine_overloaded_error",
            "overloaded",
            "serveroverloaded",
        ]) {
            529
        } else if self.named(&[
            "rate_limit_error",
            "rate_limit_exceeded",
            "rate_limit_reached_error",
            "resource_exhausted",
            "requests",
            "tokens",
            "insufficient_quota",
            "toomanyrequests",
            "1302",
            "1305",
            "1113",
        ]) {
            429
        } else if self.named(&[
            "authentication_error",
            "unauthenticated",
            "invalid_api_key",
            "1000",
            "1001",
            "1004",
        ]) {
            401
        } else if self.named(&["billing_error"]) {
            402
        } else if self.named(&["permission_error", "permission_denied"]) {
            403
        } else if self.named(&["not_found_error", "not_found", "model_not_found"]) {
            404
        } else if self.named(&[
            "invalid_request_error",
            "invalid_argument",
            "invalid_prompt",
            "badrequesterror",
            "context_length_exceeded",
            "content_filter",
            "content_policy_violation",
            "previous_response_not_found",
            "invalid_encrypted_content",
        ]) {
            400
        } else {
            500
        }
    }

    /// The key or the account behind it is not accepted, and waiting does not mend that.
    fn speak_of_account(&self) -> bool {
        self.named(&[
            "api_key_invalid",
            "api_key_expired",
            "api_key_service_blocked",
            "invalid_api_key",
            "authentication_error",
            "authenticationerror",
            "invalid_authentication_error",
            "insufficient_quota",
            "insufficient_balance",
            "exceeded_current_quota_error",
            "billing_error",
            "billing_not_active",
            "billing_hard_limit_reached",
            "billing_disabled",
            "consumer_suspended",
            "account_deactivated",
            "accountoverdueerror",
            "arrearage",
            "organization_disabled",
            // Zhipu: no balance, account locked, no package.
            "1110",
            "1112",
            "1113",
            // SiliconFlow: no balance.
            "30001",
        ]) || self.say(&[
            "credit balance is too low",
            "incorrect api key",
            "invalid api key",
            "api key not valid",
            "api key expired",
            "organization has been disabled",
            "organization is disabled",
            "account is not active",
            "account has been deactivated",
            "account is suspended",
            "overdue balance",
            "account balance is insufficient",
            "insufficient balance",
            "insufficient credits",
            "not enough credits",
        ])
    }

    /// It cannot read what belongs to another account.
    fn speak_of_foreign_state(&self) -> bool {
        self.named(&["invalid_encrypted_content", "previous_response_not_found"])
            || self.say(&["previous response with id", "encrypted content could not be"])
            || (self.say(&["cachedcontent", "cached content"]) && self.say(&["not found", "permission"]))
    }

    fn speak_of_length(&self) -> bool {
        self.named(&["context_length_exceeded", "model_context_window_exceeded", "1261"])
            || self.say(&[
                "maximum context length",
                "context length exceeded",
                "context window",
                "prompt is too long",
                "input is too long",
                "input token count",
                "exceeds the maximum number of tokens",
                "exceeded model token limit",
                "exceed max message tokens",
                "less than max_seq_len",
                "range of input length",
            ])
    }

    fn speak_of_policy(&self) -> bool {
        self.named(&[
            "content_filter",
            "content_policy_violation",
            "moderation_blocked",
            "responsibleaipolicyviolation",
            "data_inspection_failed",
            "datainspectionfailed",
            "1301",
        ]) || self
            .names
            .iter()
            .any(|name| name.contains("sensitivecontentdetected"))
            || self.say(&[
                "content management policy",
                "content filtering policy",
                "safety system",
                "content exists risk",
                "considered high risk",
                "requires moderation",
            ])
    }

    fn speak_of_missing_model(&self) -> bool {
        self.named(&[
            "model_not_found",
            "modelnotfound",
            "invalid_model",
            "model_not_supported",
            "model_not_available",
            "deploymentnotfound",
            "unsupported_country_region_territory",
            "1211",
            "20012",
        ]) || self.say(&[
            "location is not supported",
            "not available in your region",
            "territory not supported",
        ]) || (self.say(&["model"])
            && self.say(&[
                "does not exist",
                "not exist",
                "not found",
                "is not supported",
                "unknown model",
                "no access",
            ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::upstream_error::read_error;

    #[track_caller]
    fn check(status: u16, body: &str, want: &str) {
        let error = read_error(status, body.as_bytes());
        assert_eq!(
            of_error(&error, Place::Status(status), None).word(),
            want,
            "{status} {body}"
        );
    }

    #[test]
    fn openai_and_its_look_alikes() {
        let coded = |code: &str, message: &str| {
            format!(r#"{{"error":{{"message":"{message}","type":"invalid_request_error","code":"{code}"}}}}"#)
        };
        check(
            401,
            &coded("invalid_api_key", "Incorrect API key provided: sk-1*4"),
            "refused",
        );
        check(
            402,
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error"}}"#,
            "refused",
        );
        let quota = "You exceeded your current quota, please check your plan and billing details.";
        check(429, &coded("insufficient_quota", quota), "refused");
        check(
            429,
            &coded(
                "rate_limit_exceeded",
                "Rate limit reached for m in organization o",
            ),
            "busy",
        );
        check(429, "", "busy");
        check(
            429,
            r#"{"error":{"code":"1113","message":"余额不足"}}"#,
            "refused",
        );
        check(429, r#"{"error":{"code":"1305","message":"访问量过大"}}"#, "busy");
        let suspended = "Your account org-x<ak-x> is suspended, please check your plan and billing details";
        check(
            429,
            &format!(r#"{{"error":{{"type":"exceeded_current_quota_error","message":"{suspended}"}}}}"#),
            "refused",
        );
        check(
            403,
            r#"{"code":30001,"message":"Sorry, your account balance is insufficient","data":null}"#,
            "refused",
        );
        check(
            403,
            r#"{"error":{"code":"AccountOverdueError","message":"overdue","type":"Forbidden"}}"#,
            "refused",
        );
        check(
            403,
            &coded(
                "unsupported_country_region_territory",
                "Country, region, or territory not supported",
            ),
            "not_here",
        );
        check(
            403,
            &coded("model_not_found", "Project p does not have access to model m"),
            "not_here",
        );
        check(
            404,
            &coded("model_not_found", "The model `m` does not exist"),
            "not_here",
        );
        check(404, "<html>nginx</html>", "not_here");
        check(
            400,
            &coded("invalid_request_error", "Model Not Exist"),
            "not_here",
        );
        check(
            400,
            r#"{"error":{"code":"1211","message":"模型不存在"}}"#,
            "not_here",
        );
        check(
            400,
            r#"{"code":20012,"message":"Model does not exist. Please check it carefully.","data":null}"#,
            "not_here",
        );
        check(
            400,
            &coded(
                "previous_response_not_found",
                "Previous response with id 'r' not found.",
            ),
            "not_here",
        );
        check(
            400,
            &coded(
                "invalid_encrypted_content",
                "The encrypted content could not be verified.",
            ),
            "not_here",
        );
        check(
            400,
            &coded(
                "context_length_exceeded",
                "This model's maximum context length is 8192 tokens.",
            ),
            "too_long",
        );
        check(
            400,
            r#"{"error":{"code":"1261","message":"Prompt 超长"}}"#,
            "too_long",
        );
        check(
            400,
            &coded("content_policy_violation", "rejected by our safety system"),
            "filtered",
        );
        check(
            400,
            &coded("content_filter", "The response was filtered"),
            "filtered",
        );
        check(
            403,
            r#"{"error":{"code":403,"message":"Your chosen model requires moderation and your input was flagged"}}"#,
            "filtered",
        );
        check(
            400,
            &coded("invalid_value", "`temperature` must be a number"),
            "bad_request",
        );
        check(413, &coded("too_large", "too large"), "bad_request");
        check(409, &coded("conflict", "conflict"), "bad_request");
    }

    #[test]
    fn anthropic() {
        let typed = |kind: &str, message: &str| {
            format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}}}}"#)
        };
        check(
            401,
            &typed("authentication_error", "invalid x-api-key"),
            "refused",
        );
        check(
            400,
            &typed(
                "invalid_request_error",
                "Your credit balance is too low to access the Anthropic API.",
            ),
            "refused",
        );
        check(
            400,
            &typed("invalid_request_error", "This organization has been disabled."),
            "refused",
        );
        check(
            403,
            &typed(
                "permission_error",
                "Your API key does not have permission to use the specified resource.",
            ),
            "not_here",
        );
        check(404, &typed("not_found_error", "model: m"), "not_here");
        check(
            400,
            &typed("invalid_request_error", "prompt is too long: 2 > 1"),
            "too_long",
        );
        check(
            400,
            &typed(
                "invalid_request_error",
                "Output blocked by content filtering policy",
            ),
            "filtered",
        );
        check(
            429,
            &typed(
                "rate_limit_error",
                "This request would exceed your organization's rate limit",
            ),
            "busy",
        );
        check(529, &typed("overloaded_error", "Overloaded"), "busy");
        check(500, &typed("api_error", "Internal server error"), "broken");
        check(
            400,
            &typed(
                "invalid_request_error",
                "messages: at least one message is required",
            ),
            "bad_request",
        );
    }

    #[test]
    fn gemini() {
        let error = |code: u16, status: &str, message: &str, details: &str| {
            format!(
                r#"{{"error":{{"code":{code},"status":"{status}","message":"{message}","details":[{details}]}}}}"#
            )
        };
        let invalid = r#"{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}"#;
        check(
            400,
            &error(400, "INVALID_ARGUMENT", "API key not valid.", invalid),
            "refused",
        );
        let quota = "You exceeded your current quota, please check your plan and billing details.";
        check(429, &error(429, "RESOURCE_EXHAUSTED", quota, ""), "busy");
        check(
            404,
            &error(
                404,
                "NOT_FOUND",
                "models/m is not found for API version v1beta",
                "",
            ),
            "not_here",
        );
        check(
            400,
            &error(
                400,
                "FAILED_PRECONDITION",
                "User location is not supported for the API use.",
                "",
            ),
            "not_here",
        );
        check(
            403,
            &error(
                403,
                "PERMISSION_DENIED",
                "CachedContent not found (or permission denied)",
                "",
            ),
            "not_here",
        );
        check(
            400,
            &error(
                400,
                "INVALID_ARGUMENT",
                "The input token count (2) exceeds the maximum number of tokens allowed (1).",
                "",
            ),
            "too_long",
        );
        check(
            503,
            &error(503, "UNAVAILABLE", "The model is overloaded.", ""),
            "broken",
        );
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
            let mut error = read_error(200, body.as_bytes());
            if error.status == Some(200) {
                error.status = serde_json::from_str::<serde_json::Value>(body)
                    .ok()
                    .and_then(|value| value["error"]["code"].as_u64())
                    .and_then(|code| u16::try_from(code).ok());
            }
            let outcome = of_error(&error, Place::InAnswer, None);
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
}
