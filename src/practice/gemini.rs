//! `…/models/{model}:{action}` and the model list as Gemini answers them.

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Event, Framing, HOLE, Part, Template, embedding};
use super::openai::{MODELS, THOUGHT};
use super::tools::{self, Call};

/// What stands for the signature of a thought.
const SIGNATURE: &str = "cHJhY3RpY2U=";

/// The answer to an action; nothing for one that is unknown.
pub fn act(ask: &Ask<'_>, action: &str) -> Option<Answer> {
    Some(match action {
        "generateContent" => Answer::json(&whole(ask)),
        "streamGenerateContent" if ask.plan.plain => Answer::json(&whole(ask)),
        "streamGenerateContent" => Answer::Stream {
            framing: framing(ask.query),
            events: events(ask),
        },
        "embedContent" => Answer::json(&json!({"embedding": {"values": embedding(0, ask.body.dimensions)}})),
        "batchEmbedContents" => {
            let count = ask.body.requests.as_ref().map_or(0, Vec::len);
            let one = |index| json!({"values": embedding(index, ask.body.dimensions)});
            Answer::json(&json!({"embeddings": (0..count).map(one).collect::<Vec<_>>()}))
        }
        "countTokens" => {
            let tokens = ask.tokens_in();
            let details = json!([{"modality": "TEXT", "tokenCount": tokens}]);
            Answer::json(&json!({"totalTokens": tokens, "promptTokensDetails": details}))
        }
        _ => return None,
    })
}

/// How a stream is framed, by its query.
pub fn framing(query: &str) -> Framing {
    if query.split('&').any(|pair| pair == "alt=sse") {
        Framing::Sse
    } else {
        Framing::JsonArray
    }
}

/// `…/models`
pub fn models() -> Answer {
    Answer::json(&json!({"models": MODELS.iter().map(|id| described(id)).collect::<Vec<_>>()}))
}

/// `…/models/{id}`
pub fn model(id: &str) -> Answer {
    Answer::json(&described(id))
}

fn described(id: &str) -> Value {
    json!({
        "name": format!("models/{id}"), "version": "001", "displayName": id, "description": "A practice model",
        "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens", "embedContent", "batchEmbedContents"],
        "temperature": 1, "topP": 0.95, "topK": 64,
    })
}

fn thinks(ask: &Ask<'_>) -> bool {
    let settings = ask
        .body
        .generation_config
        .and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    // The Python SDK sends the inner name in snake case.
    let thinking = settings
        .as_ref()
        .and_then(|settings| settings.get("thinkingConfig"));
    let include = thinking.and_then(|asked| {
        asked
            .get("includeThoughts")
            .or_else(|| asked.get("include_thoughts"))
    });
    ask.plan.thinking || include == Some(&Value::Bool(true))
}

fn usage(ask: &Ask<'_>, tokens_out: usize) -> Value {
    let tokens_in = ask.tokens_in();
    let mut usage = json!({
        "promptTokenCount": tokens_in, "candidatesTokenCount": tokens_out, "totalTokenCount": tokens_in + tokens_out,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens_in}],
    });
    if thinks(ask) {
        usage["thoughtsTokenCount"] = THOUGHT.len().into();
        usage["totalTokenCount"] = (tokens_in + tokens_out + THOUGHT.len()).into();
    }
    usage
}

fn finish_reason<'a>(ask: &'a Ask<'_>) -> &'a str {
    ask.plan.finish.as_deref().unwrap_or("STOP")
}

fn chunk(ask: &Ask<'_>, parts: Value, finish: Option<&str>, tokens_out: usize) -> Value {
    let mut candidate = json!({"content": {"parts": parts, "role": "model"}});
    if let Some(finish) = finish {
        candidate["finishReason"] = finish.into();
    }
    candidate["index"] = 0.into();
    json!({
        "candidates": [candidate], "usageMetadata": usage(ask, tokens_out), "modelVersion": ask.model,
        "responseId": ask.id,
    })
}

fn function_call(call: &Call) -> Value {
    json!({"functionCall": {"name": call.name, "args": call.arguments}, "thoughtSignature": SIGNATURE})
}

fn whole(ask: &Ask<'_>) -> Value {
    let mut parts = Vec::new();
    if thinks(ask) {
        parts.push(json!({"text": THOUGHT.concat(), "thought": true}));
    }
    parts.push(match tools::wanted(ask) {
        Some(call) => function_call(&call),
        None => json!({"text": &*ask.text}),
    });
    chunk(ask, parts.into(), Some(finish_reason(ask)), ask.tokens_out())
}

fn events(ask: &Ask<'_>) -> Vec<Event> {
    let mut events = Vec::new();
    let finish = ask.plan.finish_each.then(|| finish_reason(ask));
    let mut push_texts = |part: Value, pieces: &[&str]| {
        let template = Template::new(&chunk(ask, json!([part]), finish, 1));
        events.extend(
            pieces
                .iter()
                .map(|piece| Event::new(Part::Content, template.fill(piece))),
        );
    };
    if thinks(ask) {
        push_texts(json!({"text": HOLE, "thought": true}), &THOUGHT);
    }
    match tools::wanted(ask) {
        Some(call) => {
            let data = chunk(ask, json!([function_call(&call)]), None, 1);
            events.push(Event::new(Part::Content, data));
        }
        None => push_texts(json!({"text": HOLE}), &ask.pieces()),
    }
    let last = chunk(
        ask,
        json!([{"text": ""}]),
        Some(finish_reason(ask)),
        ask.tokens_out(),
    );
    events.push(Event::new(Part::Finish, last));
    events
}
