//! The words in which providers that speak OpenAI's protocol refuse: each has its own codes, types
//! and statuses. What one has no words for is told in the protocol's own.

use serde_json::{Value, json};

use super::faults::{LookAlike, Refusal};
use super::refusals::{About, Worded, openai_error};

/// The refusal in the provider's words; nothing where it has none of its own.
pub fn word(provider: LookAlike, refusal: Refusal, about: &About<'_>) -> Option<Worded> {
    match provider {
        LookAlike::Azure => azure(refusal, about),
        LookAlike::OpenRouter => openrouter(refusal, about),
        LookAlike::Vllm => vllm(refusal, about),
        LookAlike::DeepSeek => deepseek(refusal, about),
        LookAlike::Zhipu => zhipu(refusal),
        LookAlike::Moonshot => moonshot(refusal, about),
        LookAlike::SiliconFlow => siliconflow(refusal),
        LookAlike::VolcEngine => volcengine(refusal, about),
    }
}

fn coded(status: u16, code: impl Into<Value>, message: impl Into<Value>) -> Option<Worded> {
    Some(Worded::new(
        status,
        json!({"error": {"code": code.into(), "message": message.into()}}),
    ))
}

fn azure(refusal: Refusal, about: &About<'_>) -> Option<Worded> {
    match refusal {
        Refusal::WrongKey => coded(
            401,
            "401",
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource.",
        ),
        Refusal::Quota => coded(
            403,
            "403",
            "Out of call volume quota. Quota will be replenished in 6 days.",
        ),
        Refusal::RateLimited { .. } => {
            let message = format!(
                "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry after {} seconds. Please go here: https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit.",
                about.seconds
            );
            let mut worded = coded(429, "429", message)?;
            worded.headers.push(("retry-after", about.seconds.to_string()));
            Some(worded)
        }
        Refusal::NotHere => coded(
            404,
            "DeploymentNotFound",
            "The API deployment for this resource does not exist. If you created the deployment within the last 5 minutes, please wait a moment and try again.",
        ),
        Refusal::Filtered => Some(Worded::new(
            400,
            json!({"error": {
            "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please modify your prompt and retry. To learn more about our content filtering policies please read our documentation: https://go.microsoft.com/fwlink/?linkid=2198766",
            "type": null, "param": "prompt", "code": "content_filter", "status": 400,
            "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {
                "hate": {"filtered": true, "severity": "high"}, "jailbreak": {"filtered": false, "detected": false},
                "self_harm": {"filtered": false, "severity": "safe"}, "sexual": {"filtered": false, "severity": "safe"},
                "violence": {"filtered": false, "severity": "safe"}}}}}),
        )),
        Refusal::Region => coded(403, "403", "Access denied due to Virtual Network/Firewall rules."),
        Refusal::Status(_) | Refusal::Overloaded | Refusal::TooLong | Refusal::ForeignState => None,
    }
}

fn openrouter(refusal: Refusal, about: &About<'_>) -> Option<Worded> {
    let model = about.model;
    let simple = |code: u16, message: &str| {
        Some(Worded::new(
            code,
            json!({"error": {"message": message, "code": code}}),
        ))
    };
    match refusal {
        Refusal::Status(code) => simple(code, "Internal Server Error"),
        Refusal::WrongKey => simple(401, "User not found."),
        Refusal::Quota => simple(
            402,
            "Insufficient credits. Add more using https://openrouter.ai/settings/credits",
        ),
        Refusal::RateLimited { .. } | Refusal::Overloaded => Some(Worded::new(
            429,
            json!({
            "error": {"message": "Provider returned error", "code": 429, "metadata": {
                "raw": format!("{model} is temporarily rate-limited upstream. Please retry shortly, or add your own key to accumulate your rate limits: https://openrouter.ai/settings/integrations"),
                "provider_name": "Practice"}},
            "user_id": "user_practice"}),
        )),
        Refusal::NotHere => simple(404, &format!("No endpoints found for {model}.")),
        Refusal::TooLong => simple(
            400,
            "This endpoint's maximum context length is 131072 tokens. However, you requested about 140000 tokens (136000 of text input, 4000 in the output). Please reduce the length of either one, or use the \"middle-out\" transform to compress your prompt automatically.",
        ),
        Refusal::Filtered => Some(Worded::new(
            403,
            json!({"error": {
            "message": "Your chosen model requires moderation and your input was flagged", "code": 403,
            "metadata": {"reasons": ["violence"], "flagged_input": "...", "provider_name": "Practice", "model_slug": model}}}),
        )),
        Refusal::Region => simple(403, "This model is not available in your region."),
        Refusal::ForeignState => None,
    }
}

fn vllm(refusal: Refusal, about: &About<'_>) -> Option<Worded> {
    let numbered = |code: u16, kind: &str, param: Value, message: &str| {
        Some(Worded::new(code, openai_error(message, kind, param, code.into())))
    };
    match refusal {
        Refusal::Status(code @ 500..) => numbered(
            code,
            "InternalServerError",
            Value::Null,
            "EngineCore encountered an issue. See stack trace (above) for the root cause.",
        ),
        Refusal::WrongKey => Some(Worded::new(401, json!({"error": "Unauthorized"}))),
        Refusal::NotHere => {
            let message = format!("The model `{}` does not exist.", about.model);
            numbered(404, "NotFoundError", "model".into(), &message)
        }
        Refusal::TooLong => {
            let message = "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens in the messages, Please reduce the length of the messages.";
            numbered(400, "BadRequestError", Value::Null, message)
        }
        _ => None,
    }
}

fn deepseek(refusal: Refusal, about: &About<'_>) -> Option<Worded> {
    let (status, message, kind) = match refusal {
        Refusal::WrongKey => {
            let message = format!(
                "Authentication Fails, Your api key: ****{} is invalid",
                about.key_hint
            );
            (401, message, "authentication_error")
        }
        Refusal::Quota => (402, "Insufficient Balance".into(), "unknown_error"),
        Refusal::RateLimited { .. } => (
            429,
            "Rate limit reached. Please try again later.".into(),
            "rate_limit_error",
        ),
        Refusal::Overloaded => {
            let message = "Service is too busy. We advise users to temporarily switch to alternative LLM API service providers.";
            (503, message.into(), "service_unavailable_error")
        }
        Refusal::NotHere => (400, "Model Not Exist".into(), "invalid_request_error"),
        Refusal::TooLong => {
            let message = "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens (136000 in the messages, 4000 in the completion). Please reduce the length of the messages or completion.";
            (400, message.into(), "invalid_request_error")
        }
        Refusal::Filtered => (400, "Content Exists Risk".into(), "invalid_request_error"),
        Refusal::Status(_) | Refusal::Region | Refusal::ForeignState => return None,
    };
    Some(Worded::new(
        status,
        openai_error(&message, kind, Value::Null, "invalid_request_error".into()),
    ))
}

fn zhipu(refusal: Refusal) -> Option<Worded> {
    match refusal {
        Refusal::WrongKey => coded(401, "1000", "身份验证失败。"),
        Refusal::Quota => coded(429, "1113", "余额不足或无可用资源包,请充值。"),
        Refusal::RateLimited { .. } => coded(
            429,
            "1302",
            "您当前使用该API的并发数过高，请降低并发，或联系客服增加限额。",
        ),
        Refusal::Overloaded => coded(429, "1305", "该模型当前访问量过大，请您稍后再试。"),
        Refusal::NotHere => coded(400, "1211", "模型不存在，请检查模型代码。"),
        Refusal::TooLong => coded(400, "1261", "Prompt 超长"),
        Refusal::Filtered => Some(Worded::new(
            400,
            json!({
            "contentFilter": [{"level": 1, "role": "user"}],
            "error": {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容，请您避免输入易产生敏感内容的提示语，感谢您的配合。"}}),
        )),
        Refusal::Status(code @ 500..) => coded(code, "1234", "网络错误，错误id：practice，请联系客服。"),
        Refusal::Status(_) | Refusal::Region | Refusal::ForeignState => None,
    }
}

fn moonshot(refusal: Refusal, about: &About<'_>) -> Option<Worded> {
    let (status, kind, message) = match refusal {
        Refusal::WrongKey => (
            401,
            "invalid_authentication_error",
            "Invalid Authentication".to_owned(),
        ),
        Refusal::Quota => {
            let message = "Your account org-practice<ak-practice> is suspended, please check your plan and billing details";
            (429, "exceeded_current_quota_error", message.into())
        }
        Refusal::RateLimited { .. } => {
            let message = format!(
                "Your account org-practice<ak-practice> request reached organization max RPM: 3, please try again after {} seconds",
                about.seconds
            );
            (429, "rate_limit_reached_error", message)
        }
        Refusal::Overloaded => (
            429,
            "engine_overloaded_error",
            "The engine is currently overloaded, please try again later".into(),
        ),
        Refusal::NotHere => (
            404,
            "resource_not_found_error",
            format!("Not found the model {} or Permission denied", about.model),
        ),
        Refusal::TooLong => (
            400,
            "invalid_request_error",
            "Invalid request: Your request exceeded model token limit: 8192".into(),
        ),
        Refusal::Filtered => (
            400,
            "content_filter",
            "The request was rejected because it was considered high risk".into(),
        ),
        Refusal::Status(_) | Refusal::Region | Refusal::ForeignState => return None,
    };
    Some(Worded::new(
        status,
        json!({"error": {"message": message, "type": kind}}),
    ))
}

fn siliconflow(refusal: Refusal) -> Option<Worded> {
    let numbered = |status: u16, code: u32, message: &str| {
        Some(Worded::new(
            status,
            json!({"code": code, "message": message, "data": null}),
        ))
    };
    match refusal {
        Refusal::WrongKey => Some(Worded::new(401, json!("Invalid token"))),
        Refusal::Quota => numbered(403, 30001, "Sorry, your account balance is insufficient"),
        Refusal::RateLimited { .. } => {
            let message = "Request was rejected due to rate limiting. Details:RPM limit reached.";
            Some(Worded::new(429, json!({"message": message, "data": null})))
        }
        Refusal::Overloaded => numbered(503, 50505, "Model service overloaded. Please try again later."),
        Refusal::NotHere => numbered(400, 20012, "Model does not exist. Please check it carefully."),
        Refusal::TooLong => numbered(
            400,
            20015,
            "length of prompt_tokens (40000) must be less than max_seq_len (32768).",
        ),
        Refusal::Status(status @ 500..) => numbered(status, 50501, "Internal server error"),
        Refusal::Status(_) | Refusal::Filtered | Refusal::Region | Refusal::ForeignState => None,
    }
}

fn volcengine(refusal: Refusal, about: &About<'_>) -> Option<Worded> {
    let (status, kind, code, message) = match refusal {
        Refusal::WrongKey => (
            401,
            "Unauthorized",
            "AuthenticationError",
            "The API key or AK/SK in the request is missing or invalid.".to_owned(),
        ),
        Refusal::Quota => {
            let message = "The request failed because your account has an overdue balance.";
            (403, "Forbidden", "AccountOverdueError", message.into())
        }
        Refusal::RateLimited { .. } => {
            let message = format!(
                "Your request has exceeded the Requests Per Minute (RPM) limit of the model {}. Please try again later.",
                about.model
            );
            (
                429,
                "TooManyRequests",
                "RateLimitExceeded.EndpointRPMExceeded",
                message,
            )
        }
        Refusal::Overloaded => {
            let message =
                "The service is currently unable to handle additional requests due to server overload.";
            (429, "TooManyRequests", "ServerOverloaded", message.into())
        }
        Refusal::NotHere => {
            let message = format!(
                "The model or endpoint {} does not exist or you do not have access to it.",
                about.model
            );
            (404, "NotFound", "InvalidEndpointOrModel.NotFound", message)
        }
        Refusal::TooLong => {
            let message = "Total tokens of image and text exceed max message tokens.";
            (400, "BadRequest", "InvalidParameter", message.into())
        }
        Refusal::Filtered => {
            let message = "The request failed because the input text may contain sensitive information.";
            (400, "BadRequest", "SensitiveContentDetected", message.into())
        }
        Refusal::Status(status @ 500..) => {
            let message = "The service encountered an unexpected internal error.";
            (
                status,
                "InternalServerError",
                "InternalServiceError",
                message.into(),
            )
        }
        Refusal::Status(_) | Refusal::Region | Refusal::ForeignState => return None,
    };
    let message = format!("{message} Request id: {}", about.id);
    Some(Worded::new(
        status,
        json!({"error": {"code": code, "message": message, "param": "", "type": kind}}),
    ))
}
