//! What clients ask for in these tests, in all three protocols.

use crate::answer::Answer;
use crate::stage::{Stage, chat_body, with_json};
use crate::upstream::{Channel, ordered};
use reqwest::Method;
use serde_json::{Value, json};

pub const MODEL: &str = "gpt-4o";
pub const MESSAGES: &str = "/v1/messages";
pub const CHAT: &str = "/v1/chat/completions";

/// A channel that speaks all three protocols.
pub fn speaks_all(faults: &str) -> Channel {
    ordered(faults)
        .provider("custom")
        .settings(json!({"protocols": ["openai", "anthropic", "gemini"]}))
}

pub fn messages_body(model: &str) -> Value {
    json!({"model": model, "max_tokens": 64, "messages": [{"role": "user", "content": "hello"}]})
}

pub fn gemini_body() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "hello"}]}]})
}

/// A plain question of each protocol: path and body.
pub fn one_of_each(model: &str) -> [(String, Value); 3] {
    [
        (CHAT.to_owned(), chat_body(model)),
        (MESSAGES.to_owned(), messages_body(model)),
        (format!("/v1beta/models/{model}:generateContent"), gemini_body()),
    ]
}

/// A streamed question of each protocol, and what its stream ends with.
pub fn one_stream_of_each(model: &str) -> [(String, Value, &'static str); 4] {
    let streamed = |mut body: Value| {
        body["stream"] = json!(true);
        body
    };
    [
        (CHAT.to_owned(), streamed(chat_body(model)), "[DONE]"),
        (
            MESSAGES.to_owned(),
            streamed(messages_body(model)),
            "message_stop",
        ),
        (
            "/v1/responses".to_owned(),
            json!({"model": model, "input": "hello", "stream": true}),
            "response.completed",
        ),
        (
            format!("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            gemini_body(),
            "finishReason",
        ),
    ]
}

/// The streams of which one can be taken up by another.
pub fn comparable_streams() -> Vec<(String, Value)> {
    one_stream_of_each(MODEL)
        .into_iter()
        .filter(|(path, ..)| path != "/v1/responses")
        .map(|(path, body, _)| (path, body))
        .collect()
}

/// A question in each protocol that is answered by a call of a tool with two arguments.
pub fn tool_streams() -> [(String, Value); 3] {
    let properties = json!({"city": {"type": "string"}, "country": {"type": "string"}});
    let schema = json!({"type": "object", "properties": properties, "required": ["city", "country"]});
    let messages = json!([{"role": "user", "content": "use the tool"}]);
    [
        (
            CHAT.to_owned(),
            json!({"model": MODEL, "stream": true, "messages": messages,
                "tools": [{"type": "function", "function": {"name": "look", "parameters": schema}}]}),
        ),
        (
            MESSAGES.to_owned(),
            json!({"model": MODEL, "stream": true, "max_tokens": 64, "messages": messages,
                "tools": [{"name": "look", "input_schema": schema}]}),
        ),
        (
            format!("/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"),
            json!({"contents": [{"role": "user", "parts": [{"text": "use the tool"}]}],
                "tools": [{"functionDeclarations": [{"name": "look", "parameters": schema}]}]}),
        ),
    ]
}

/// With this token in place of the stage's.
pub async fn ask_as(stage: &Stage, token: &str, path: &str, body: &Value) -> Answer {
    Answer::to(with_json(
        stage.request(Method::POST, path).bearer_auth(token),
        body,
    ))
    .await
}

/// R4's name, wherever the protocol of this path keeps it.
pub fn code_of(path: &str, answer: &Answer) -> String {
    let place = match path.contains("/models/") {
        true => "/error/details/0/reason",
        false => "/error/code",
    };
    let body = answer.json();
    body.pointer(place)
        .and_then(Value::as_str)
        .unwrap_or("none")
        .to_owned()
}
