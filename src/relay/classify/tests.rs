
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
