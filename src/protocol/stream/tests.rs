use http::StatusCode;

use super::*;
use crate::protocol::request::read_json;
use crate::protocol::sse::SseParser;

fn asked(body: &'static str) -> Asked {
    read_json(Endpoint::ChatCompletions, &Bytes::from_static(body.as_bytes())).unwrap()
}

fn frames(text: &str) -> Vec<Frame> {
    let mut parser = SseParser::new();
    parser.feed(Bytes::copy_from_slice(text.as_bytes()));
    let mut frames = Vec::new();
    while let Some(frame) = parser.finish().unwrap() {
        frames.push(frame);
    }
    frames
}

/// Each line is the data of one event, or `event name|data`, or a comment.
fn events(lines: &str) -> Vec<Frame> {
    let event = |line: &str| match line.trim().split_once('|') {
        _ if line.trim().starts_with(':') => format!("{}\n\n", line.trim()),
        Some((name, data)) => format!("event: {name}\ndata: {data}\n\n"),
        None => format!("data: {}\n\n", line.trim()),
    };
    frames(&lines.trim().lines().map(event).collect::<String>())
}

fn show(judged: &Judged<'_>) -> String {
    let kind = match &judged.kind {
        EventKind::Error(error) => format!("Error({} {})", error.status.unwrap_or(0), error.message),
        kind => format!("{kind:?}"),
    };
    let opaque = if judged.opaque { " opaque" } else { "" };
    format!(
        "{kind}{opaque}{}",
        judged
            .text
            .as_ref()
            .map_or(String::new(), |text| format!(" {text:?}"))
    )
}

/// What each event means, and then what the end means.
fn judge(shape: Shape, lines: &str) -> String {
    let mut reader = StreamReader::new(shape, &asked("{}"));
    judge_with(&mut reader, lines)
}

fn judge_with(reader: &mut StreamReader, lines: &str) -> String {
    let mut told: Vec<String> = events(lines)
        .iter()
        .map(|frame| show(&reader.judge(frame)))
        .collect();
    told.push(format!("{:?}", reader.completion()));
    told.join("\n")
}

#[test]
fn chat_completions_as_openai_sends_them() {
    let told = judge(
        Shape::ChatCompletions,
        r#"
        {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}
        {"id":"c","choices":[{"index":0,"delta":{"content":"Hel\"lo"},"finish_reason":null}]}
        {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}
        {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}
        [DONE]
        "#,
    );
    insta::assert_snapshot!(told, @r#"
    Prelude
    Real "Hel\"lo"
    Real
    UsageOnly
    End
    Whole
    "#);
}

#[test]
fn chat_completions_as_others_send_them() {
    for (data, want) in [
        // Azure's first chunk, OpenRouter's comment is no event.
        (
            r#"{"choices":[],"prompt_filter_results":[{}],"id":""}"#,
            "Prelude",
        ),
        (r#"{"choices":[{"delta":{"role":"assistant"}}]}"#, "Prelude"),
        (r#"{"choices":[{"delta":null}]}"#, "Prelude"),
        (
            r#"{"choices":[{"delta":{"content":null,"reasoning_content":"","tool_calls":[]},"finish_reason":""}]}"#,
            "Prelude",
        ),
        (
            r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
            "Real opaque",
        ),
        (
            r#"{"choices":[{"delta":{"reasoning_details":[{}],"content":""}}]}"#,
            "Real opaque",
        ),
        (r#"{"choices":[{"delta":{"refusal":"no"}}]}"#, "Real opaque"),
        (
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#,
            "Real opaque",
        ),
        (
            r#"{"choices":[{"delta":{"function_call":{"name":"f"}}}]}"#,
            "Real opaque",
        ),
        (
            r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#,
            "Real opaque",
        ),
        (
            r#"{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}"#,
            "Real opaque",
        ),
        // Mistral's thinking models.
        (
            r#"{"choices":[{"delta":{"content":[{"type":"thinking"}]}}]}"#,
            "Real opaque",
        ),
        (
            r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#,
            "Real \"a\"",
        ),
        (r#"{"usage":{"prompt_tokens":1}}"#, "UsageOnly"),
        (r#"{"choices":null}"#, "Prelude"),
        (r#"{"choices":"?"}"#, "Real opaque"),
        (
            r#"{"id":1,"id":2,"choices":[{"delta":{"content":"a"}}]}"#,
            "Real \"a\"",
        ),
        (
            r#"{"choices":[{"delta":{"content":"a"},"delta":{}}]}"#,
            "Real opaque",
        ),
        ("42", "Real opaque"),
        (r#"{"choices":[{"delta":{"content":"a"#, "Malformed"),
        (r#"{"choices":[{"delta":{"content":"a"}}]"#, "Malformed"),
        (r#"{"choices":"?","#, "Malformed"),
        ("garbage", "Malformed"),
        (
            r#"{"error":{"message":"m","code":502},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#,
            "Error(502 m)",
        ),
        (
            r#"{"error":{"message":"m","type":"server_error"}}"#,
            "Error(500 m)",
        ),
        (r#"{"error":"m"}"#, "Error(0 m)"),
        // What others call a finish.
        (
            r#"{"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#,
            "Error(500 the upstream broke off its answer: error)",
        ),
        (
            r#"{"choices":[{"delta":{},"finish_reason":"network_error"}]}"#,
            "Error(500 the upstream broke off its answer: network_error)",
        ),
        (
            r#"{"choices":[{"delta":{},"finish_reason":"insufficient_system_resource"}]}"#,
            "Error(500 the upstream broke off its answer: insufficient_system_resource)",
        ),
        (
            r#"{"choices":[{"delta":{},"finish_reason":"sensitive"}]}"#,
            "Real",
        ),
        ("error|{}", "Error(0 )"),
        ("error|Internal Server Error", "Error(0 )"),
        (r#"{"object":"error","message":"m","code":400}"#, "Error(400 m)"),
        (r#"error|{"message":"m","code":429}"#, "Error(429 m)"),
    ] {
        let mut reader = StreamReader::new(Shape::ChatCompletions, &asked("{}"));
        assert_eq!(show(&reader.judge(&events(data)[0])), want, "{data}");
    }
}

#[test]
fn completions_say_text() {
    let told = judge(
        Shape::Completions,
        r#"
        {"choices":[{"text":"","index":0,"finish_reason":null}]}
        {"choices":[{"text":"Hi","index":0,"logprobs":null,"finish_reason":null}]}
        {"choices":[{"text":"","index":0,"finish_reason":"length"}]}
        "#,
    );
    insta::assert_snapshot!(told, @r#"
    Prelude
    Real "Hi"
    Real
    Finished
    "#);
}

#[test]
fn an_answer_is_whole_only_with_the_finish_of_every_choice() {
    let a = r#"{"choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    let b = r#"{"choices":[{"index":1,"delta":{"content":"b"}}]}"#;
    let end_a = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let end_b = r#"{"choices":[{"index":1,"delta":{},"finish_reason":"stop"}]}"#;
    for (body, lines, want) in [
        ("{}", vec![a, end_a, "[DONE]"], Completion::Whole),
        ("{}", vec![a, end_a], Completion::Finished),
        ("{}", vec![a], Completion::Cut),
        ("{}", vec![], Completion::Cut),
        ("{}", vec!["[DONE]"], Completion::Cut),
        // A relay on the way that closes a cut stream with an end marker does not fool us.
        ("{}", vec![a, "[DONE]"], Completion::Cut),
        (r#"{"n":2}"#, vec![a, b, end_a], Completion::Cut),
        (r#"{"n":2}"#, vec![a, b, end_a, "[DONE]"], Completion::Cut),
        (r#"{"n":2}"#, vec![a, end_a], Completion::Cut),
        (r#"{"n":2}"#, vec![a, b, end_b, end_a], Completion::Finished),
        // One who does not know `n` answers once.
        (r#"{"n":2}"#, vec![a, end_a, "[DONE]"], Completion::Whole),
    ] {
        let mut reader = StreamReader::new(Shape::ChatCompletions, &asked(body));
        judge_with(&mut reader, &lines.join("\n"));
        assert_eq!(reader.completion(), want, "{body} {lines:?}");
        let marker: &[u8] = if want == Completion::Finished {
            b"data: [DONE]\n\n"
        } else {
            b""
        };
        assert_eq!(reader.missing_end(), marker);
    }
}

#[test]
fn a_hole_in_tool_arguments_is_a_cut() {
    let told = judge(
        Shape::ChatCompletions,
        r#"
        {"choices":[{"delta":{"content":"a"}}]}
        {"broken
        {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"{\"a"}}]}}]}
        {"broken
        {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}
        {"broken
        "#,
    );
    insta::assert_snapshot!(told, @r#"
    Real "a"
    Malformed
    Real opaque
    Hole
    Real
    Malformed
    Finished
    "#);
}

#[test]
fn a_call_whose_beginning_is_lost_is_a_cut() {
    let begins = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"t","function":{"name":"f","arguments":""}}]}}]}"#;
    let goes_on = r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]}}]}"#;
    let text = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
    for (lines, want) in [
        (vec!["{broken", goes_on], "Malformed\nHole\nCut"),
        (
            vec!["{broken", begins, goes_on],
            "Malformed\nReal opaque\nReal opaque\nCut",
        ),
        (vec!["{broken", text], "Malformed\nReal \"a\"\nCut"),
        // A server that names nothing, and lost nothing.
        (vec![goes_on], "Real opaque\nCut"),
    ] {
        assert_eq!(
            judge(Shape::ChatCompletions, &lines.join("\n")),
            want,
            "{lines:?}"
        );
    }
}

#[test]
fn a_message_or_block_whose_beginning_is_lost_is_a_cut() {
    let start = r#"{"type":"message_start","message":{}}"#;
    let open = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let delta = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
    let close = r#"{"type":"content_block_stop","index":0}"#;
    let next =
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{"}}"#;
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    let lost = "{broken";
    for (lines, want) in [
        (vec![lost, open], "Malformed\nHole\nCut"),
        (vec![lost, end], "Malformed\nHole\nCut"),
        (vec![start, lost, delta], "Prelude\nMalformed\nHole\nCut"),
        (vec![start, lost, close], "Prelude\nMalformed\nHole\nCut"),
        (
            vec![start, open, delta, close, lost, next],
            "Prelude\nReal\nReal \"a\"\nReal\nMalformed\nHole\nCut",
        ),
        // A piece is lost, nothing that others build on.
        (
            vec![start, open, lost, delta, close, end],
            "Prelude\nReal\nMalformed\nReal \"a\"\nReal\nReal\nFinished",
        ),
        // Its end is lost: clients go by the next beginning.
        (
            vec![start, open, delta, lost, end],
            "Prelude\nReal\nReal \"a\"\nMalformed\nReal\nFinished",
        ),
        // A server that begins nothing, and lost nothing.
        (vec![delta, end], "Real \"a\"\nReal\nFinished"),
    ] {
        assert_eq!(judge(Shape::Messages, &lines.join("\n")), want, "{lines:?}");
    }
}

#[test]
fn messages_as_anthropic_sends_them() {
    let told = judge(
        Shape::Messages,
        r#"
        message_start|{"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":1}}}
        ping|{"type": "ping"}
        content_block_start|{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}
        content_block_delta|{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}
        content_block_stop|{"type":"content_block_stop","index":0}
        content_block_start|{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}
        content_block_delta|{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a"}}
        content_block_delta|{"type":"content_bl
        content_block_stop|{"type":"content_block_stop","index":1}
        content_block_delta|{"type":"content_bl
        message_delta|{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":15}}
        message_stop|{"type":"message_stop"}
        "#,
    );
    insta::assert_snapshot!(told, @r#"
    Prelude
    Prelude
    Real
    Real "Hi"
    Real
    Real opaque
    Real opaque
    Hole
    Real
    Malformed
    Real
    End
    Whole
    "#);
}

#[test]
fn messages_in_parts() {
    for (data, want) in [
        (
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
            "Real opaque",
        ),
        (
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"h"}}"#,
            "Real opaque",
        ),
        (
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s"}}"#,
            "Real opaque",
        ),
        (
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"citations_delta","citation":{}}}"#,
            "Real opaque",
        ),
        (
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"b"}}"#,
            "Real opaque",
        ),
        (r#"ping|{}"#, "Prelude"),
        (r#"{"type":"vendor_event"}"#, "Real opaque"),
        (
            r#"error|{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
            "Error(529 Overloaded)",
        ),
        (r#"{"error":{"message":"m","code":"500"}}"#, "Error(500 m)"),
        (r#"error|{}"#, "Error(0 )"),
        ("[DONE]", "Prelude"),
    ] {
        let mut reader = StreamReader::new(Shape::Messages, &asked("{}"));
        assert_eq!(show(&reader.judge(&events(data)[0])), want, "{data}");
    }
}

#[test]
fn a_message_ends_with_its_stop_reason() {
    let start = r#"{"type":"message_start","message":{}}"#;
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    let stop = r#"{"type":"message_stop"}"#;
    for (lines, want) in [
        (vec![start, delta, stop], Completion::Whole),
        (vec![start, delta], Completion::Finished),
        (vec![start], Completion::Cut),
        (vec![start, stop], Completion::Cut),
    ] {
        let mut reader = StreamReader::new(Shape::Messages, &asked("{}"));
        judge_with(&mut reader, &lines.join("\n"));
        assert_eq!(reader.completion(), want, "{lines:?}");
        let marker = if want == Completion::Finished {
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
        } else {
            ""
        };
        assert_eq!(reader.missing_end(), marker);
    }
}

#[test]
fn responses_as_openai_sends_them() {
    let told = judge(
        Shape::Responses,
        r#"
        response.created|{"type":"response.created","sequence_number":0,"response":{"id":"r","status":"in_progress"}}
        response.in_progress|{"type":"response.in_progress","sequence_number":1,"response":{"id":"r"}}
        response.output_item.added|{"type":"response.output_item.added","sequence_number":2,"output_index":0,"item":{"type":"message"}}
        response.output_text.delta|{"type":"response.output_text.delta","sequence_number":3,"item_id":"i","delta":"Hi"}
        response.function_call_arguments.delta|{"type":"response.function_call_arguments.delta","sequence_number":4,"delta":"{"}
        response.function_call_arguments.delta|{"type":"resp
        response.function_call_arguments.done|{"type":"response.function_call_arguments.done","sequence_number":5,"arguments":"{}"}
        x|{"type":"resp
        response.completed|{"type":"response.completed","sequence_number":6,"response":{"id":"r","usage":{"input_tokens":3,"output_tokens":2}}}
        "#,
    );
    insta::assert_snapshot!(told, @r#"
    Prelude
    Prelude
    Real opaque
    Real opaque "Hi"
    Real opaque
    Hole
    Real opaque
    Malformed
    End
    Whole
    "#);
    for (data, want) in [
        (
            r#"{"type":"response.incomplete","response":{"id":"r"}}"#,
            "End\nWhole",
        ),
        (r#"{"type":"response.queued"}"#, "Prelude\nCut"),
        (
            r#"{"type":"response.output_text.done","text":"Hi"}"#,
            "Real opaque\nCut",
        ),
        (
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"m"}}}"#,
            "Error(500 m)\nCut",
        ),
        (
            r#"{"type":"error","code":"rate_limit_exceeded","message":"m","param":null}"#,
            "Error(429 m)\nCut",
        ),
        (
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"}}"#,
            "Error(400 m)\nCut",
        ),
        (r#"{"error":{"message":"m"}}"#, "Error(0 m)\nCut"),
    ] {
        assert_eq!(judge(Shape::Responses, data), want, "{data}");
    }
}

#[test]
fn gemini_as_google_sends_it() {
    let told = judge(
        Shape::GeminiSse,
        r#"
        {"candidates":[{"content":{"role":"model"}}],"usageMetadata":{"promptTokenCount":2}}
        {"candidates":[{"content":{"parts":[{"text":""}]}}]}
        {"candidates":[{"content":{"parts":[{"text":"Hel"},{"text":"lo"}],"role":"model"},"index":0}]}
        {"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":3,"thoughtsTokenCount":4}}
        "#,
    );
    insta::assert_snapshot!(told, @r#"
    Prelude
    Prelude
    Real "Hello"
    Real "!"
    Whole
    "#);
    for (data, want) in [
        (
            r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true}]}}]}"#,
            "Real opaque\nCut",
        ),
        (
            r#"{"candidates":[{"content":{"parts":[{"text":"a","thoughtSignature":"s"}]}}]}"#,
            "Real opaque\nCut",
        ),
        (
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}"#,
            "Real opaque\nCut",
        ),
        (
            r#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"index":1}]}"#,
            "Real opaque\nCut",
        ),
        (r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#, "Real\nWhole"),
        (
            r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#,
            "Real opaque\nWhole",
        ),
        (r#"{"usageMetadata":{"promptTokenCount":2}}"#, "Prelude\nCut"),
        (
            r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#,
            "Error(503 m)\nCut",
        ),
        (r#"{"candi"#, "Malformed\nCut"),
        ("[DONE]", "Prelude\nCut"),
    ] {
        assert_eq!(judge(Shape::GeminiSse, data), want, "{data}");
    }
}

/// Whether the answer is whole if it breaks off now, and whether nothing more is to be waited for.
#[test]
fn a_finish_is_an_end_unless_the_upstream_goes_on_behind_it() {
    let chat = r#"{"choices":[{"delta":{"content":"a"}}]}"#;
    let chat_end = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    let usage = r#"{"choices":[],"usage":{"prompt_tokens":1}}"#;
    let piece = r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#;
    let last = r#"{"candidates":[{"content":{"parts":[{"text":"b"}]},"finishReason":"STOP"}]}"#;
    let empty_last = r#"{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}]}"#;
    let chat_both = r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
    let message_open =
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let message_end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
    for (shape, lines, want) in [
        (Shape::ChatCompletions, vec![chat_both], (true, false)),
        (Shape::ChatCompletions, vec![chat_both, chat_both], (false, false)),
        (Shape::ChatCompletions, vec![chat], (false, false)),
        (Shape::ChatCompletions, vec![chat, chat_end], (true, true)),
        (Shape::ChatCompletions, vec![chat, chat_end, usage], (true, true)),
        (Shape::ChatCompletions, vec![chat, chat_end, chat], (false, false)),
        (Shape::Messages, vec![message_open, message_end], (true, true)),
        (
            Shape::Responses,
            vec![r#"{"type":"response.output_text.done"}"#],
            (false, false),
        ),
        (Shape::GeminiSse, vec![piece, last], (true, true)),
        (
            Shape::GeminiSse,
            vec![piece, empty_last, empty_last],
            (true, true),
        ),
        // It may put a finish reason into every chunk: that shows with the second.
        (Shape::GeminiSse, vec![last], (true, false)),
        (Shape::GeminiSse, vec![last, last], (false, false)),
        (Shape::OtherSse, vec![r#"{"type":"x"}"#], (false, false)),
    ] {
        let mut reader = StreamReader::new(shape, &asked("{}"));
        judge_with(&mut reader, &lines.join("\n"));
        assert_eq!((reader.is_whole_if_cut(), reader.is_settled()), want, "{lines:?}");
    }
}

#[test]
fn other_streams_pass_but_for_errors() {
    let told = judge(
        Shape::OtherSse,
        r#"
        image_generation.partial_image|{"type":"image_generation.partial_image","b64_json":"AA=="}
        error|{"message":"m"}
        {"type":"error","error":{"message":"m","code":"500"}}
        {"error":{"message":"m"}}
        "#,
    );
    insta::assert_snapshot!(told, @r"
    Real opaque
    Error(0 m)
    Error(500 m)
    Error(0 m)
    Whole
    ");
}

#[test]
fn comments_say_nothing_unless_they_are_an_error_without_a_frame() {
    let mut reader = StreamReader::new(Shape::GeminiSse, &asked("{}"));
    let error = "{\n  \"error\": {\n    \"code\": 500,\n    \"message\": \"m\"\n  }\n}\n";
    let told: Vec<String> = frames(&format!(": hi\n\n\nevent: x\n\n{error}"))
        .iter()
        .map(|frame| show(&reader.judge(frame)))
        .collect();
    assert_eq!(told, ["Prelude", "Prelude", "Prelude", "Error(500 m)"]);
}

#[test]
fn usage_is_counted_in_every_protocol() {
    let usage = |shape, lines| {
        let mut reader = StreamReader::new(shape, &asked("{}"));
        judge_with(&mut reader, lines);
        let usage = reader.usage();
        (usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    };
    let chat = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":1}}}"#;
    assert_eq!(usage(Shape::ChatCompletions, chat), (Some(3), Some(2), Some(1)));
    let messages = r#"
        {"type":"message_start","message":{"usage":{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":1}}}
        {"type":"message_delta","delta":{},"usage":{"output_tokens":15}}"#;
    assert_eq!(usage(Shape::Messages, messages), (Some(9), Some(15), Some(4)));
    let responses = r#"{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":2,"input_tokens_details":{"cached_tokens":1}}}}"#;
    assert_eq!(usage(Shape::Responses, responses), (Some(3), Some(2), Some(1)));
    let gemini = r#"{"candidates":[],"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":3,"thoughtsTokenCount":4}}"#;
    assert_eq!(usage(Shape::GeminiSse, gemini), (Some(2), Some(7), None));
}

#[test]
fn the_text_of_an_event_is_not_copied() {
    let frames = events(r#"{"choices":[{"delta":{"content":"Hello"}}]}"#);
    let mut reader = StreamReader::new(Shape::ChatCompletions, &asked("{}"));
    assert!(matches!(
        reader.judge(&frames[0]).text,
        Some(Cow::Borrowed("Hello"))
    ));
}

#[test]
fn our_error_is_the_last_event_of_the_very_stream() {
    let error = ErrorAnswer::new(StatusCode::BAD_GATEWAY, "upstream_failed", "the upstream was cut");
    let event = |shape, lines: &str| {
        let mut reader = StreamReader::new(shape, &asked("{}"));
        judge_with(&mut reader, lines);
        String::from_utf8(reader.error_event(&error).to_vec()).unwrap()
    };
    insta::assert_snapshot!(event(Shape::ChatCompletions, ""), @r#"data: {"error":{"message":"the upstream was cut","type":"server_error","param":null,"code":"upstream_failed"}}"#);
    insta::assert_snapshot!(event(Shape::Messages, ""), @r#"
    event: error
    data: {"type":"error","error":{"type":"api_error","message":"the upstream was cut","code":"upstream_failed"}}
    "#);
    insta::assert_snapshot!(event(Shape::GeminiSse, ""), @r#"data: {"error":{"code":502,"message":"the upstream was cut","status":"UNAVAILABLE","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"upstream_failed","domain":"pointsman"}]}}"#);
    insta::assert_snapshot!(event(Shape::Responses, r#"{"type":"response.created","sequence_number":0,"response":{"id":"r","status":"in_progress","error":null,"model":"m"}}"#), @r#"
    event: response.failed
    data: {"type":"response.failed","sequence_number":1,"response":{"id":"r","status":"failed","error":{"code":"upstream_failed","message":"the upstream was cut"},"model":"m"}}
    "#);
    insta::assert_snapshot!(event(Shape::Responses, ""), @r#"
    event: response.failed
    data: {"type":"response.failed","sequence_number":0,"response":{"id":"resp_failed","object":"response","created_at":0,"status":"failed","error":{"code":"upstream_failed","message":"the upstream was cut"},"output":[]}}
    "#);
    assert_eq!(event(Shape::Raw, ""), "");
    for shape in [
        Shape::ChatCompletions,
        Shape::Responses,
        Shape::Messages,
        Shape::GeminiSse,
        Shape::OtherSse,
    ] {
        let text = event(shape, "");
        assert!(text.ends_with("\n\n"), "{shape:?}");
        let mut reader = StreamReader::new(shape, &asked("{}"));
        let frame = &frames(&text)[0];
        assert!(
            matches!(reader.judge(frame).kind, EventKind::Error(_)),
            "another relay reads {shape:?} as an error"
        );
    }
}

#[test]
fn an_upstreams_error_in_the_midst_comes_in_the_clients_protocol() {
    let openai = r#"{"error":{"message":"m","type":"server_error","param":null,"code":"c"}}"#;
    let chunk = r#"{"id":"gen","error":{"message":"m","code":502},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}"#;
    let anthropic = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"},"request_id":"r"}"#;
    let gemini = r#"{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}"#;
    let responses = r#"{"type":"error","code":"c","message":"m","param":null,"sequence_number":7}"#;
    let failed = r#"{"type":"response.failed","sequence_number":7,"response":{"id":"r","status":"failed","error":{"code":"c","message":"m"}}}"#;
    let words = r#"{"detail":"m"}"#;
    let ours = |shape, code: &str| {
        let code = code.to_owned();
        let error = ErrorAnswer::new(StatusCode::BAD_GATEWAY, code, "m");
        let bytes = StreamReader::new(shape, &asked("{}")).error_event(&error);
        String::from_utf8(bytes.to_vec()).unwrap()
    };
    for (shape, data, want) in [
        (Shape::ChatCompletions, openai, format!("data: {openai}\n\n")),
        (
            Shape::ChatCompletions,
            chunk,
            "data: {\"error\":{\"message\":\"m\",\"code\":502}}\n\n".into(),
        ),
        (
            Shape::ChatCompletions,
            anthropic,
            "data: {\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n".into(),
        ),
        (Shape::ChatCompletions, words, ours(Shape::ChatCompletions, "upstream_failed")),
        (
            Shape::Messages,
            anthropic,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"m\"}}\n\n".into(),
        ),
        (Shape::Messages, openai, ours(Shape::Messages, "c")),
        (Shape::Messages, chunk, ours(Shape::Messages, "502")),
        (Shape::GeminiSse, gemini, format!("data: {gemini}\n\n")),
        (Shape::GeminiSse, openai, ours(Shape::GeminiSse, "c")),
        (Shape::Responses, responses, ours(Shape::Responses, "c")),
        (Shape::Responses, openai, ours(Shape::Responses, "c")),
        (
            Shape::Responses,
            failed,
            format!("event: response.failed\ndata: {}\n\n", failed.replace(":7", ":0")),
        ),
    ] {
        let mut reader = StreamReader::new(shape, &asked("{}"));
        let frame = &events(data)[0];
        let EventKind::Error(error) = reader.judge(frame).kind else {
            panic!("{shape:?}: {data}")
        };
        let event = reader.upstream_error_event(&error, data.as_bytes(), StatusCode::BAD_GATEWAY);
        let event = String::from_utf8(event.expect("words").to_vec()).unwrap();
        assert_eq!(event, want, "{shape:?}: {data}");
    }
    let wordless = UpstreamError::default();
    let reader = StreamReader::new(Shape::ChatCompletions, &asked("{}"));
    assert_eq!(
        reader.upstream_error_event(&wordless, b"{}", StatusCode::BAD_GATEWAY),
        None
    );
}

#[test]
fn shapes_and_their_keep_alives() {
    for (endpoint, query, shape, keep_alive) in [
        (
            Endpoint::ChatCompletions,
            None,
            Shape::ChatCompletions,
            ": keep-alive\n\n",
        ),
        (Endpoint::Responses, None, Shape::Responses, ": keep-alive\n\n"),
        (Endpoint::Messages, None, Shape::Messages, ": keep-alive\n\n"),
        (
            Endpoint::StreamGenerateContent,
            Some("alt=sse&x=1"),
            Shape::GeminiSse,
            "\n",
        ),
        (Endpoint::StreamGenerateContent, Some("alt=json"), Shape::Raw, ""),
        (Endpoint::StreamGenerateContent, None, Shape::Raw, ""),
        (
            Endpoint::ImagesGenerations,
            None,
            Shape::OtherSse,
            ": keep-alive\n\n",
        ),
        (Endpoint::Embeddings, None, Shape::Raw, ""),
    ] {
        assert_eq!(Shape::of(endpoint, query), shape);
        assert_eq!(
            shape.keep_alive(Started::NotYet).unwrap_or_default(),
            keep_alive.as_bytes()
        );
    }
    let ping = Shape::Messages.keep_alive(Started::Yes).unwrap();
    assert_eq!(ping, b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
}
