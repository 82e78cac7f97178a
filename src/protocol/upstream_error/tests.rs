use super::*;

/// code / kind / reason / message
fn told(error: &UpstreamError) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    format!(
        "{} / {} / {} / {}",
        or_none(&error.code),
        or_none(&error.kind),
        or_none(&error.reason),
        error.message
    )
}

#[test]
fn errors_are_read_in_every_shape() {
    for (body, want) in [
        // OpenAI
        (
            r#"{"error":{"message":"Incorrect API key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
            "invalid_api_key / invalid_request_error / - / Incorrect API key",
        ),
        // Anthropic
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#,
            "- / overloaded_error / - / Overloaded",
        ),
        // Gemini
        (
            r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
            "400 / INVALID_ARGUMENT / API_KEY_INVALID / API key not valid.",
        ),
        (
            r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#,
            "503 / UNAVAILABLE / - / m",
        ),
        // Azure
        (
            r#"{"error":{"message":"filtered","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
            "content_filter / - / ResponsibleAIPolicyViolation / filtered",
        ),
        (
            r#"{"statusCode":429,"message":"Rate limit is exceeded."}"#,
            "429 / - / - / Rate limit is exceeded.",
        ),
        // OpenRouter
        (
            r#"{"error":{"message":"Provider returned error","code":429,"metadata":{"raw":"slow down","provider_name":"X"}},"user_id":"u"}"#,
            "429 / - / - / slow down",
        ),
        // vLLM, before and after
        (
            r#"{"object":"error","message":"The model `x` does not exist.","type":"NotFoundError","param":null,"code":404}"#,
            "404 / NotFoundError / - / The model `x` does not exist.",
        ),
        (
            r#"{"error":{"message":"m","type":"BadRequestError","param":null,"code":400}}"#,
            "400 / BadRequestError / - / m",
        ),
        // FastAPI
        (r#"{"detail":"Not Found"}"#, "- / - / - / Not Found"),
        (
            r#"{"detail":[{"type":"missing","loc":["body","model"],"msg":"Field required"}]}"#,
            "- / missing / - / Field required",
        ),
        (
            r#"{"detail":{"error":{"message":"m","code":"c"}}}"#,
            "c / - / - / m",
        ),
        // DeepSeek, Moonshot
        (
            r#"{"error":{"message":"Insufficient Balance","type":"unknown_error","param":null,"code":"invalid_request_error"}}"#,
            "invalid_request_error / unknown_error / - / Insufficient Balance",
        ),
        (
            r#"{"error":{"message":"Invalid Authentication","type":"invalid_authentication_error"}}"#,
            "- / invalid_authentication_error / - / Invalid Authentication",
        ),
        // Zhipu, now and once
        (
            r#"{"error":{"code":"1113","message":"您的账户已欠费"}}"#,
            "1113 / - / - / 您的账户已欠费",
        ),
        (r#"{"code":1113,"msg":"m","success":false}"#, "1113 / - / - / m"),
        // SiliconFlow, DashScope, VolcEngine, MiniMax, Ollama, Mistral, Cloudflare
        (
            r#"{"code":20012,"message":"Model does not exist.","data":null}"#,
            "20012 / - / - / Model does not exist.",
        ),
        (
            r#"{"code":"InvalidApiKey","message":"m","request_id":"r"}"#,
            "InvalidApiKey / - / - / m",
        ),
        (
            r#"{"error":{"code":"AccountOverdueError","message":"m","param":"","type":"Forbidden"}}"#,
            "AccountOverdueError / Forbidden / - / m",
        ),
        (
            r#"{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#,
            "1008 / - / - / insufficient balance",
        ),
        (
            r#"{"error":"model 'x' not found"}"#,
            "- / - / - / model 'x' not found",
        ),
        (
            r#"{"message":"Unauthorized","request_id":"r"}"#,
            "- / - / - / Unauthorized",
        ),
        (
            r#"{"success":false,"errors":[{"code":10000,"message":"Authentication error"}]}"#,
            "10000 / - / - / Authentication error",
        ),
        // Events of the Responses API
        (
            r#"{"type":"error","code":"server_error","message":"m","param":null,"sequence_number":3}"#,
            "server_error / - / - / m",
        ),
        (
            r#"{"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"rate_limit_exceeded","message":"m"}}}"#,
            "rate_limit_exceeded / - / - / m",
        ),
    ] {
        let error = read_error(400, body.as_bytes());
        assert_eq!(
            (error.form, error.status),
            (ErrorForm::Error, Some(400)),
            "{body}"
        );
        assert_eq!(told(&error), want);
    }
}

#[test]
fn what_is_no_error_object_is_told_apart() {
    for (body, form) in [
        ("", ErrorForm::Empty),
        (" \n", ErrorForm::Empty),
        ("<html>Access denied</html>", ErrorForm::NotJson),
        ("upstream connect error", ErrorForm::NotJson),
        ("{\"error\":", ErrorForm::NotJson),
        ("{}", ErrorForm::OtherJson),
        ("[]", ErrorForm::OtherJson),
        ("null", ErrorForm::OtherJson),
        (r#"{"error":null}"#, ErrorForm::OtherJson),
        (r#"{"detail":[]}"#, ErrorForm::OtherJson),
    ] {
        let want = UpstreamError {
            form,
            status: Some(403),
            ..UpstreamError::default()
        };
        assert_eq!(read_error(403, body.as_bytes()), want, "{body}");
    }
    assert_eq!(read_error(500, b"\xff\xfe").form, ErrorForm::NotJson);
}

#[test]
fn retry_info_is_read() {
    let body = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"m","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.5s"}]}}"#;
    assert_eq!(
        read_error(429, body.as_bytes()).retry_delay,
        Some(Duration::from_millis(34_500))
    );
}

#[test]
fn a_failed_finish_is_an_answer_without_an_error_to_pass_on() {
    let body = r#"{"choices":[{"finish_reason":"insufficient_system_resource"}]}"#;
    let error = error_in_200(Endpoint::ChatCompletions, body.as_bytes()).expect("a failure");
    assert_eq!(error.form, ErrorForm::FailedAnswer);
    assert_eq!(told(&error), "insufficient_system_resource / - / - / ");
}

#[test]
fn bare_words_are_an_error() {
    assert_eq!(
        told(&read_error(401, br#""Invalid token""#)),
        "- / - / - / Invalid token"
    );
    assert_eq!(read_error(401, br#""""#).form, ErrorForm::OtherJson);
}

#[test]
fn a_long_message_is_cut() {
    let body = format!(r#"{{"error":"{}"}}"#, "é".repeat(5000));
    assert_eq!(read_error(500, body.as_bytes()).message.len(), 2048);
}

#[test]
fn an_error_in_a_200_is_found_with_the_status_it_stands_for() {
    use Endpoint::{
        ChatCompletions as Chat, GenerateContent, Messages, Responses, Speech, StreamGenerateContent,
        Transcriptions,
    };
    for (endpoint, body, want) in [
        (
            Chat,
            r#"{"id":"x","choices":[{"message":{"content":"\"error\":1"}}],"usage":{}}"#,
            None,
        ),
        (Chat, r#"{"choices":[],"error":null,"message":"x"}"#, None),
        (
            Chat,
            r#"{"choices":[],"base_resp":{"status_code":0,"status_msg":""}}"#,
            None,
        ),
        (Chat, r#"{"error":{"message":"m","code":502}}"#, Some(Some(502))),
        (
            Chat,
            r#"{"error":{"message":"m","type":"overloaded_error"}}"#,
            Some(Some(529)),
        ),
        (Chat, r#"{"error":{"message":"m"},"choices":[]}"#, Some(None)),
        (
            Chat,
            r#"{"base_resp":{"status_code":1004,"status_msg":"m"},"choices":null}"#,
            Some(Some(401)),
        ),
        (Chat, r#"{"code":20012,"message":"m","data":null}"#, Some(None)),
        (Chat, r#"{"detail":"m"}"#, Some(None)),
        (
            Chat,
            r#"{"object":"error","message":"m","code":404}"#,
            Some(Some(404)),
        ),
        (Chat, "<html>sign in</html>", Some(None)),
        (Chat, "", Some(None)),
        (Chat, r#"{"choices":[{"mess"#, Some(None)),
        (
            Chat,
            r#"{"choices":[{"finish_reason":"network_error"}]}"#,
            Some(None),
        ),
        (
            Chat,
            r#"{"choices":[{"finish_reason":"stop"},{"error":{"code":429,"message":"m"}}]}"#,
            Some(Some(429)),
        ),
        (
            Chat,
            r#"{"choices":[{"finish_reason":"sensitive","error":{}}]}"#,
            None,
        ),
        (Chat, r#"{"choices":["odd",{"finish_reason":7}]}"#, None),
        (Messages, r#"{"type":"message","content":[]}"#, None),
        (
            Messages,
            r#"{"type":"error","error":{"type":"api_error","message":"m"}}"#,
            Some(Some(500)),
        ),
        (
            Responses,
            r#"{"object":"response","status":"completed","error":null,"output":[]}"#,
            None,
        ),
        (
            Responses,
            r#"{"object":"response","status":"incomplete","error":null,"output":[]}"#,
            None,
        ),
        (
            Responses,
            r#"{"object":"response","status":"failed","error":{"code":"server_error","message":"m"},"output":[],"text":{"format":{}}}"#,
            Some(Some(500)),
        ),
        (
            Responses,
            r#"{"object":"response","status":"failed","error":null,"output":[]}"#,
            Some(None),
        ),
        (
            GenerateContent,
            r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#,
            None,
        ),
        (StreamGenerateContent, r#"[{"candidates":[]}]"#, None),
        (
            StreamGenerateContent,
            r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#,
            Some(Some(503)),
        ),
        (Speech, "ID3\u{0}", None),
        (Speech, r#"{"error":{"message":"m","code":500}}"#, Some(Some(500))),
        (Transcriptions, "1\n00:00 --> 00:01\nhi", None),
        (Transcriptions, r#"{"text":"hi"}"#, None),
    ] {
        let status = error_in_200(endpoint, body.as_bytes()).map(|error| error.status);
        assert_eq!(status, want, "{endpoint:?} {body}");
    }
}
