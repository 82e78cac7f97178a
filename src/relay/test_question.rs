//! What a channel test asks: as little as shows that the channel answers.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::protocol::upstream_url::ClientVersion;
use crate::protocol::{Endpoint, Protocol};

/// With one token, models that think fail.
const TOKENS: u32 = 16;

/// The field in which a chat completion bears its limit: OpenAI's newer models refuse the old one, many
/// look-alikes do not know the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitField {
    MaxTokens,
    MaxCompletionTokens,
}

impl LimitField {
    pub fn of_provider(provider: &str) -> LimitField {
        match provider {
            "openai" | "azure" => LimitField::MaxCompletionTokens,
            _ => LimitField::MaxTokens,
        }
    }

    pub fn other(self) -> LimitField {
        match self {
            LimitField::MaxTokens => LimitField::MaxCompletionTokens,
            LimitField::MaxCompletionTokens => LimitField::MaxTokens,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            LimitField::MaxTokens => "max_tokens",
            LimitField::MaxCompletionTokens => "max_completion_tokens",
        }
    }
}

/// A request as a client would send it.
#[derive(Debug)]
pub struct TestQuestion {
    pub endpoint: Endpoint,
    pub version: ClientVersion,
    pub path_model: Option<String>,
    pub query: Option<String>,
    pub body: Bytes,
}

pub fn question(protocol: Protocol, model: &str, stream: bool, limit: LimitField) -> TestQuestion {
    let endpoint = endpoint(protocol, model, stream);
    let in_path = protocol == Protocol::Gemini;
    TestQuestion {
        endpoint,
        version: ClientVersion::of_house(protocol),
        path_model: in_path.then(|| model.to_owned()),
        query: (endpoint == Endpoint::StreamGenerateContent).then(|| "alt=sse".to_owned()),
        body: body(endpoint, model, stream, limit).to_string().into(),
    }
}

/// What a model is for shows in its name, as far as it shows at all.
fn endpoint(protocol: Protocol, model: &str, stream: bool) -> Endpoint {
    let name = model.to_ascii_lowercase();
    let is = |words: &[&str]| words.iter().any(|word| name.contains(word));
    match protocol {
        Protocol::Anthropic => Endpoint::Messages,
        Protocol::Gemini if is(&["embedding"]) => Endpoint::EmbedContent,
        Protocol::Gemini if stream => Endpoint::StreamGenerateContent,
        Protocol::Gemini => Endpoint::GenerateContent,
        Protocol::OpenAi if is(&["rerank"]) => Endpoint::Rerank,
        Protocol::OpenAi if is(&["embed", "bge-"]) => Endpoint::Embeddings,
        Protocol::OpenAi if is(&["moderation"]) => Endpoint::Moderations,
        Protocol::OpenAi => Endpoint::ChatCompletions,
    }
}

fn body(endpoint: Endpoint, model: &str, stream: bool, limit: LimitField) -> Value {
    let content = json!({"role": "user", "parts": [{"text": "Hi"}]});
    let mut body = match endpoint {
        Endpoint::Messages => {
            json!({"model": model, "max_tokens": TOKENS, "messages": [{"role": "user", "content": "Hi"}]})
        }
        Endpoint::EmbedContent => return json!({"content": content}),
        Endpoint::GenerateContent | Endpoint::StreamGenerateContent => {
            return json!({"contents": [content], "generationConfig": {"maxOutputTokens": TOKENS}});
        }
        Endpoint::Rerank => return json!({"model": model, "query": "Hi", "documents": ["Hi", "Bye"]}),
        Endpoint::Embeddings | Endpoint::Moderations => return json!({"model": model, "input": "Hi"}),
        _ => json!({"model": model, limit.name(): TOKENS, "messages": [{"role": "user", "content": "Hi"}]}),
    };
    if stream {
        body["stream"] = true.into();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_and_kind_of_model_has_its_question() {
        let check = |protocol, model: &str, stream, want: Endpoint| {
            let question = question(protocol, model, stream, LimitField::MaxTokens);
            assert_eq!(question.endpoint, want, "{model}");
            assert_eq!(question.endpoint.protocol(), protocol);
            let body: Value = serde_json::from_slice(&question.body).unwrap();
            let in_body = body["model"].as_str().or(question.path_model.as_deref());
            assert_eq!(in_body, Some(model));
            let streams = body["stream"] == true || question.query.as_deref() == Some("alt=sse");
            assert_eq!(streams, stream, "{model}");
        };
        use Protocol::{Anthropic, Gemini, OpenAi};
        check(OpenAi, "gpt-4o", false, Endpoint::ChatCompletions);
        check(OpenAi, "gpt-4o", true, Endpoint::ChatCompletions);
        check(OpenAi, "text-embedding-3-small", false, Endpoint::Embeddings);
        check(OpenAi, "jina-reranker-v2", false, Endpoint::Rerank);
        check(OpenAi, "omni-moderation-latest", false, Endpoint::Moderations);
        check(Anthropic, "claude-sonnet-4", true, Endpoint::Messages);
        check(Gemini, "gemini-2.5-pro", false, Endpoint::GenerateContent);
        check(Gemini, "gemini-2.5-pro", true, Endpoint::StreamGenerateContent);
        check(Gemini, "gemini-embedding-001", false, Endpoint::EmbedContent);
    }
}
