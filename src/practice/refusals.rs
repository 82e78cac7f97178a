//! How a refusal is worded: by the three protocols here, by their look-alikes in `look_alikes.rs`.

use serde_json::{Value, json};

use super::faults::{LookAlike, Plan, Refusal, RetryAfter};
use super::look_alikes;

/// The protocol whose shapes an answer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// OpenAI.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Gemini.
    Gemini,
}

/// What the words of a refusal need to know.
pub struct About<'a> {
    /// The model asked for.
    pub model: &'a str,
    /// The last letters of the key, as providers repeat them.
    pub key_hint: &'a str,
    /// In how many seconds to come again, for providers that say so in words.
    pub seconds: u64,
    /// Unique in this process.
    pub id: &'a str,
}

/// A refusal in someone's words.
#[derive(Clone, Debug, PartialEq)]
pub struct Worded {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
    /// The provider's own headers, `Retry-After` and hints.
    pub headers: Vec<(&'static str, String)>,
}

impl Worded {
    /// A refusal without headers.
    pub fn new(status: u16, body: Value) -> Worded {
        Worded {
            status,
            body,
            headers: Vec::new(),
        }
    }

    fn hinted(mut self, headers: &[(&'static str, String)]) -> Worded {
        self.headers.extend_from_slice(headers);
        self
    }
}

/// The provider's own hint says to come again in so many seconds, unless the order names another time.
const HINT_SECONDS: u64 = 2;

/// Words the refusal in the protocol's voice, or in that of the look-alike that the plan names.
pub fn word(voice: Voice, refusal: Refusal, plan: &Plan, model: &str, key: Option<&str>, id: &str) -> Worded {
    let seconds = match plan.retry_after {
        Some(RetryAfter::Seconds(seconds) | RetryAfter::Date(seconds)) => seconds,
        Some(RetryAfter::Millis(millis)) => millis.div_ceil(1000),
        None => HINT_SECONDS,
    };
    let about = About {
        model,
        key_hint: hint(key),
        seconds,
        id,
    };
    let own = || match voice {
        Voice::OpenAi => openai(refusal, &about),
        Voice::Anthropic => anthropic(refusal, &about),
        Voice::Gemini => gemini(refusal, &about, plan.retry_after.is_some()),
    };
    let look_alike = |provider: LookAlike| look_alikes::word(provider, refusal, &about);
    plan.look_alike.and_then(look_alike).unwrap_or_else(own)
}

fn hint(key: Option<&str>) -> &str {
    let key = key.unwrap_or("");
    key.char_indices()
        .rev()
        .nth(3)
        .map_or(key, |(start, _)| &key[start..])
}

/// An error in OpenAI's shape.
pub fn openai_error(message: &str, kind: &str, param: Value, code: Value) -> Value {
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

/// An error in Anthropic's shape.
pub fn anthropic_error(kind: &str, message: &str, id: &str) -> Value {
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": format!("req_{id}")})
}

/// An error in Gemini's shape.
pub fn gemini_error(code: u16, status: &str, message: &str, details: Value) -> Value {
    let mut error = json!({"code": code, "message": message, "status": status});
    if !details.is_null() {
        error["details"] = details;
    }
    json!({"error": error})
}

fn openai(refusal: Refusal, about: &About<'_>) -> Worded {
    let model = about.model;
    let bad = "invalid_request_error";
    let (status, body) = match refusal {
        Refusal::Status(status) => return openai_status(status),
        Refusal::RateLimited { hinted } => return openai_rate_limit(hinted, about),
        Refusal::Overloaded => {
            let message = "The engine is currently overloaded, please try again later";
            (
                529,
                openai_error(message, "server_error", Value::Null, "overloaded".into()),
            )
        }
        Refusal::WrongKey => {
            let message = format!(
                "Incorrect API key provided: sk-****{}. You can find your API key at https://platform.openai.com/account/api-keys.",
                about.key_hint
            );
            (
                401,
                openai_error(&message, bad, Value::Null, "invalid_api_key".into()),
            )
        }
        Refusal::Quota => {
            let message = "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.";
            (
                429,
                openai_error(
                    message,
                    "insufficient_quota",
                    Value::Null,
                    "insufficient_quota".into(),
                ),
            )
        }
        Refusal::NotHere => {
            let message = format!("The model `{model}` does not exist or you do not have access to it.");
            (
                404,
                openai_error(&message, bad, Value::Null, "model_not_found".into()),
            )
        }
        Refusal::TooLong => {
            let message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens. Please reduce the length of the messages.";
            (
                400,
                openai_error(message, bad, "messages".into(), "context_length_exceeded".into()),
            )
        }
        Refusal::Filtered => {
            let message = "Your request was rejected as a result of our safety system. Your prompt may contain text that is not allowed by our safety system.";
            (
                400,
                openai_error(message, bad, Value::Null, "content_policy_violation".into()),
            )
        }
        Refusal::Region => {
            let message = "Country, region, or territory not supported";
            let code = "unsupported_country_region_territory";
            (
                403,
                openai_error(message, "request_forbidden", Value::Null, code.into()),
            )
        }
        Refusal::ForeignState => {
            let message = "The encrypted content for item rs_practice could not be verified.";
            let code = "invalid_encrypted_content";
            (400, openai_error(message, bad, Value::Null, code.into()))
        }
    };
    Worded::new(status, body)
}

fn openai_status(status: u16) -> Worded {
    let (message, kind, code) = match status {
        401 => (
            "Incorrect API key provided.",
            "invalid_request_error",
            Value::from("invalid_api_key"),
        ),
        403 => (
            "You have insufficient permissions for this operation.",
            "invalid_request_error",
            Value::Null,
        ),
        404 => ("Not found", "invalid_request_error", Value::Null),
        400..500 => ("Invalid request", "invalid_request_error", Value::Null),
        503 => (
            "The engine is currently overloaded, please try again later",
            "server_error",
            Value::Null,
        ),
        _ => {
            let message = "The server had an error while processing your request. Sorry about that!";
            (message, "server_error", Value::Null)
        }
    };
    Worded::new(status, openai_error(message, kind, Value::Null, code))
}

fn openai_rate_limit(hinted: bool, about: &About<'_>) -> Worded {
    let again = if hinted {
        format!(" Please try again in {}s.", about.seconds)
    } else {
        String::new()
    };
    let message = format!(
        "Rate limit reached for {} in organization org-practice on requests per min (RPM): Limit 3, Used 3, Requested 1.{again} Visit https://platform.openai.com/account/rate-limits to learn more.",
        about.model
    );
    let body = openai_error(&message, "requests", Value::Null, "rate_limit_exceeded".into());
    let worded = Worded::new(429, body);
    if !hinted {
        return worded;
    }
    worded.hinted(&[
        ("x-ratelimit-limit-requests", "3".into()),
        ("x-ratelimit-remaining-requests", "0".into()),
        ("x-ratelimit-reset-requests", format!("{}s", about.seconds)),
    ])
}

fn anthropic(refusal: Refusal, about: &About<'_>) -> Worded {
    let (status, kind, message) = match refusal {
        Refusal::Status(status) => {
            let (kind, message) = anthropic_status(status);
            (status, kind, message.to_owned())
        }
        Refusal::RateLimited { hinted } => {
            let message = "This request would exceed your organization's rate limit of 50 requests per minute. For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response headers for current usage.";
            let worded = Worded::new(429, anthropic_error("rate_limit_error", message, about.id));
            let hint = [
                ("retry-after", about.seconds.to_string()),
                ("anthropic-ratelimit-requests-limit", "50".into()),
                ("anthropic-ratelimit-requests-remaining", "0".into()),
            ];
            return if hinted { worded.hinted(&hint) } else { worded };
        }
        Refusal::Overloaded => (529, "overloaded_error", "Overloaded".into()),
        Refusal::WrongKey => (401, "authentication_error", "invalid x-api-key".into()),
        Refusal::Quota => {
            let message = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.";
            (400, "invalid_request_error", message.into())
        }
        Refusal::NotHere => (404, "not_found_error", format!("model: {}", about.model)),
        Refusal::TooLong => (
            400,
            "invalid_request_error",
            "prompt is too long: 210000 tokens > 200000 maximum".into(),
        ),
        Refusal::Filtered => (
            400,
            "invalid_request_error",
            "Output blocked by content filtering policy".into(),
        ),
        Refusal::Region => {
            let body = json!({"error": {"type": "forbidden", "message": "Request not allowed"}});
            return Worded::new(403, body);
        }
        Refusal::ForeignState => {
            let message = "messages.1.content.0: Invalid `signature` in `thinking` block";
            (400, "invalid_request_error", message.into())
        }
    };
    Worded::new(status, anthropic_error(kind, &message, about.id))
}

fn anthropic_status(status: u16) -> (&'static str, &'static str) {
    match status {
        401 => ("authentication_error", "invalid x-api-key"),
        402 => ("billing_error", "Your account has a billing problem."),
        403 => (
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        ),
        404 => ("not_found_error", "Not found"),
        413 => ("request_too_large", "Request exceeds the maximum size"),
        400..500 => ("invalid_request_error", "Invalid request"),
        504 => ("timeout_error", "Request timed out"),
        _ => ("api_error", "Internal server error"),
    }
}

fn gemini(refusal: Refusal, about: &About<'_>, timed: bool) -> Worded {
    let (code, status, message, details) = match refusal {
        Refusal::Status(code) => {
            let (status, message) = gemini_status(code);
            (code, status, message.to_owned(), Value::Null)
        }
        Refusal::RateLimited { hinted } => return gemini_exhausted(hinted || timed, about),
        Refusal::Quota => return gemini_exhausted(false, about),
        Refusal::Overloaded => (
            529,
            "UNAVAILABLE",
            "The model is overloaded. Please try again later.".into(),
            Value::Null,
        ),
        Refusal::WrongKey => {
            let message = "API key not valid. Please pass a valid API key.";
            let details = json!([
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
                 "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"}},
                {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message},
            ]);
            (400, "INVALID_ARGUMENT", message.into(), details)
        }
        Refusal::NotHere => {
            let message = format!(
                "models/{} is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods.",
                about.model
            );
            (404, "NOT_FOUND", message, Value::Null)
        }
        Refusal::TooLong => {
            let message =
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).";
            (400, "INVALID_ARGUMENT", message.into(), Value::Null)
        }
        Refusal::Filtered => return Worded::new(200, gemini_blocked(about.model, about.id)),
        Refusal::Region => (
            403,
            "PERMISSION_DENIED",
            "User location is not supported for the API use.".into(),
            Value::Null,
        ),
        Refusal::ForeignState => {
            let message = "CachedContent not found (or permission denied)";
            (403, "PERMISSION_DENIED", message.into(), Value::Null)
        }
    };
    Worded::new(code, gemini_error(code, status, &message, details))
}

/// A blocked prompt is no error to Gemini: it answers 200 without candidates.
fn gemini_blocked(model: &str, id: &str) -> Value {
    json!({
        "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
        "usageMetadata": {"promptTokenCount": 10, "totalTokenCount": 10},
        "modelVersion": model, "responseId": id,
    })
}

fn gemini_exhausted(hinted: bool, about: &About<'_>) -> Worded {
    let mut details = json!([
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{
            "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
            "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
            "quotaDimensions": {"location": "global", "model": about.model}, "quotaValue": "5"}]},
        {"@type": "type.googleapis.com/google.rpc.Help", "links": [{
            "description": "Learn more about Gemini API quotas", "url": "https://ai.google.dev/gemini-api/docs/rate-limits"}]},
    ]);
    if hinted && let Some(details) = details.as_array_mut() {
        let delay = format!("{}s", about.seconds);
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}));
    }
    let message = "You exceeded your current quota, please check your plan and billing details. For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.";
    Worded::new(429, gemini_error(429, "RESOURCE_EXHAUSTED", message, details))
}

fn gemini_status(code: u16) -> (&'static str, &'static str) {
    match code {
        401 => (
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials.",
        ),
        403 => ("PERMISSION_DENIED", "The caller does not have permission"),
        404 => ("NOT_FOUND", "Requested entity was not found."),
        409 => ("ABORTED", "The operation was aborted."),
        400..500 => ("INVALID_ARGUMENT", "Request contains an invalid argument."),
        503 => ("UNAVAILABLE", "The model is overloaded. Please try again later."),
        504 => (
            "DEADLINE_EXCEEDED",
            "Deadline expired before operation could complete.",
        ),
        _ => ("INTERNAL", "An internal error has occurred. Please retry."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(voice: Voice, faults: &str, status: u16, part: &str) {
        let plan = Plan::read(faults).expect("the table holds good faults");
        let refusal = plan.refusal.expect("the table holds refusals");
        let worded = word(voice, refusal, &plan, "some-model", Some("sk-1234567890"), "id1");
        assert_eq!(worded.status, status, "{faults}: {}", worded.body);
        assert!(
            worded.body.to_string().contains(part),
            "{faults}: {part} in {}",
            worded.body
        );
    }

    #[test]
    fn each_protocol_has_its_own_words() {
        use Voice::{Anthropic, Gemini, OpenAi};
        check(OpenAi, "wrong_key", 401, r#""code":"invalid_api_key""#);
        check(OpenAi, "wrong_key", 401, "7890");
        check(OpenAi, "quota", 429, r#""type":"insufficient_quota""#);
        check(OpenAi, "rate_limited,retry_after=7", 429, "try again in 7s");
        check(OpenAi, "not_here", 404, "`some-model` does not exist");
        check(OpenAi, "too_long", 400, "context_length_exceeded");
        check(OpenAi, "500", 500, "server_error");
        check(
            Anthropic,
            "quota",
            400,
            "Your credit balance is too low to access the Anthropic API",
        );
        check(Anthropic, "529", 529, "overloaded_error");
        check(Anthropic, "not_here", 404, "model: some-model");
        check(Anthropic, "401", 401, "authentication_error");
        check(Gemini, "wrong_key", 400, "API_KEY_INVALID");
        check(Gemini, "rate_limited", 429, r#""retryDelay":"2s""#);
        check(Gemini, "429=9", 429, r#""retryDelay":"9s""#);
        check(Gemini, "filtered", 200, "blockReason");
    }

    #[test]
    fn a_bare_429_does_not_say_when() {
        for voice in [Voice::OpenAi, Voice::Anthropic, Voice::Gemini] {
            let plan = Plan::read("429").expect("good");
            let worded = word(
                voice,
                Refusal::RateLimited { hinted: false },
                &plan,
                "m",
                None,
                "id",
            );
            assert!(worded.headers.is_empty());
            let body = worded.body.to_string();
            assert!(
                !body.contains("RetryInfo") && !body.contains("try again in"),
                "{body}"
            );
        }
    }

    #[test]
    fn look_alikes_have_theirs() {
        for (faults, status, part) in [
            ("filtered,as=azure", 400, "ResponsibleAIPolicyViolation"),
            ("not_here,as=azure", 404, "DeploymentNotFound"),
            ("quota,as=openrouter", 402, "Insufficient credits"),
            ("not_here,as=vllm", 404, "NotFoundError"),
            ("quota,as=deepseek", 402, "Insufficient Balance"),
            ("quota,as=zhipu", 429, r#""code":"1113""#),
            ("quota,as=moonshot", 429, "exceeded_current_quota_error"),
            ("quota,as=siliconflow", 403, "30001"),
            ("wrong_key,as=siliconflow", 401, "Invalid token"),
            ("quota,as=volcengine", 403, "AccountOverdueError"),
        ] {
            check(Voice::OpenAi, faults, status, part);
        }
    }
}
