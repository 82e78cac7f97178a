//! Chat completions, completions, embeddings, moderations, rerank and the model list as OpenAI
//! (and, for rerank, Cohere and Jina) answer them.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::answer::{Answer, Ask, Event, HOLE, NUMBER_HOLE, Part, Template, embedding, slices};
use super::tools::{self, Call};

/// Models that a practice upstream lists; it answers any other name as well.
pub const MODELS: [&str; 4] = [
    "practice",
    "practice-small",
    "practice-embedding",
    "practice-image",
];

/// More choices than this are not made.
const CHOICES: usize = 128;

/// `…/chat/completions`
pub fn chat(ask: &Ask<'_>) -> Answer {
    let call = tools::wanted(ask);
    if ask.streams() {
        return Answer::events(chat_events(ask, call.as_ref()));
    }
    let is_simple = !ask.plan.thinking && ask.plan.finish.is_none();
    if call.is_none() && is_simple && choices(ask) == 1 {
        return simple_chat(ask);
    }
    let choices: Vec<Value> = (0..choices(ask))
        .map(|index| {
            json!({"index": index, "message": message(ask, call.as_ref()), "logprobs": null,
                   "finish_reason": finish_reason(ask, call.as_ref())})
        })
        .collect();
    let id = format!("chatcmpl-{}", ask.id);
    Answer::json(&completion(
        &id,
        ask.created.into(),
        ask.model,
        choices.into(),
        usage(ask),
    ))
}

fn completion(id: &str, created: Value, model: &str, choices: Value, usage: Value) -> Value {
    json!({
        "id": id, "object": "chat.completion", "created": created, "model": model, "choices": choices,
        "usage": usage, "service_tier": "default", "system_fingerprint": "fp_practice",
    })
}

/// The answer that benches ask for most: its JSON is built once, then only filled.
static SIMPLE: LazyLock<Template> = LazyLock::new(|| {
    let message = json!({"role": "assistant", "content": HOLE, "refusal": null, "annotations": []});
    let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
    let number = || Value::from(NUMBER_HOLE);
    let usage = usage_of(number(), number(), number(), 0);
    Template::new(&completion(
        &format!("chatcmpl-{HOLE}"),
        number(),
        HOLE,
        json!([choice]),
        usage,
    ))
});

fn simple_chat(ask: &Ask<'_>) -> Answer {
    let (tokens_in, tokens_out) = (ask.tokens_in(), ask.tokens_out());
    let numbers = [tokens_in, tokens_out, tokens_in + tokens_out].map(|number| number.to_string());
    let created = ask.created.to_string();
    let [tokens_in, tokens_out, total] = numbers.each_ref().map(String::as_str);
    let filled = SIMPLE.fill_all(&[
        ask.id, &created, ask.model, &ask.text, tokens_in, tokens_out, total,
    ]);
    Answer::Plain {
        content_type: "application/json",
        body: filled.into(),
    }
}

fn choices(ask: &Ask<'_>) -> usize {
    ask.body.n.unwrap_or(1).clamp(1, CHOICES)
}

fn finish_reason<'a>(ask: &'a Ask<'_>, call: Option<&Call>) -> &'a str {
    let own = if call.is_some() { "tool_calls" } else { "stop" };
    ask.plan.finish.as_deref().unwrap_or(own)
}

fn message(ask: &Ask<'_>, call: Option<&Call>) -> Value {
    let mut message = json!({"role": "assistant", "content": null, "refusal": null, "annotations": []});
    match call {
        Some(call) => {
            message["tool_calls"] = json!([{
                "id": format!("call_{}", ask.id), "type": "function",
                "function": {"name": call.name, "arguments": call.arguments.to_string()}}]);
        }
        None => message["content"] = Value::from(&*ask.text),
    }
    if ask.plan.thinking {
        message["reasoning_content"] = THOUGHT.concat().into();
    }
    message
}

/// What is thought when thinking is ordered.
pub const THOUGHT: [&str; 3] = ["thought1", " thought2", " thought3"];

fn usage(ask: &Ask<'_>) -> Value {
    let thought = if ask.plan.thinking { THOUGHT.len() } else { 0 };
    let (tokens_in, tokens_out) = (ask.tokens_in(), ask.tokens_out() + thought);
    usage_of(
        tokens_in.into(),
        tokens_out.into(),
        (tokens_in + tokens_out).into(),
        thought,
    )
}

fn usage_of(tokens_in: Value, tokens_out: Value, total: Value, thought: usize) -> Value {
    json!({
        "prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
    })
}

struct Chunks<'a> {
    ask: &'a Ask<'a>,
    with_usage: bool,
}

impl Chunks<'_> {
    fn chunk(&self, choices: Value, usage: Value) -> Value {
        let ask = self.ask;
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", ask.id), "object": "chat.completion.chunk", "created": ask.created,
            "model": ask.model, "service_tier": "default", "system_fingerprint": "fp_practice",
            "choices": choices,
        });
        if self.with_usage {
            chunk["usage"] = usage;
        }
        chunk
    }

    fn delta(&self, index: usize, delta: Value, finish: Value) -> Value {
        let choice = json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": finish});
        self.chunk(json!([choice]), Value::Null)
    }
}

fn chat_events(ask: &Ask<'_>, call: Option<&Call>) -> Vec<Event> {
    let with_usage = ask
        .body
        .stream_options
        .as_ref()
        .is_some_and(|options| options.include_usage == Some(true));
    let chunks = Chunks { ask, with_usage };
    let all = 0..choices(ask);
    let mut events = Vec::new();
    for index in all.clone() {
        let delta = match call {
            Some(call) => json!({"role": "assistant", "content": null, "tool_calls": [{
                "index": 0, "id": format!("call_{}", ask.id), "type": "function",
                "function": {"name": call.name, "arguments": ""}}]}),
            None => json!({"role": "assistant", "content": "", "refusal": null}),
        };
        events.push(Event::new(Part::Frame, chunks.delta(index, delta, Value::Null)));
    }
    if ask.plan.thinking {
        let template =
            |index| Template::new(&chunks.delta(index, json!({"reasoning_content": HOLE}), Value::Null));
        push_pieces(&mut events, &THOUGHT, all.clone().map(template).collect());
    }
    match call {
        Some(call) => {
            let delta = json!({"tool_calls": [{"index": 0, "function": {"arguments": HOLE}}]});
            let template = |index| Template::new(&chunks.delta(index, delta.clone(), Value::Null));
            push_pieces(
                &mut events,
                &slices(&call.arguments.to_string()),
                all.clone().map(template).collect(),
            );
        }
        None => {
            let template = |index| Template::new(&chunks.delta(index, json!({"content": HOLE}), Value::Null));
            push_pieces(&mut events, &ask.pieces(), all.clone().map(template).collect());
        }
    }
    for index in all {
        let last = chunks.delta(index, json!({}), finish_reason(ask, call).into());
        events.push(Event::new(Part::Finish, last));
    }
    if with_usage {
        events.push(Event::new(Part::Finish, chunks.chunk(json!([]), usage(ask))));
    }
    events.push(Event::new(Part::End, "[DONE]"));
    events
}

/// Every piece, once for each choice.
fn push_pieces(events: &mut Vec<Event>, pieces: &[&str], templates: Vec<Template>) {
    for piece in pieces {
        events.extend(
            templates
                .iter()
                .map(|template| Event::new(Part::Content, template.fill(piece))),
        );
    }
}

/// `…/completions`
pub fn completions(ask: &Ask<'_>) -> Answer {
    let completion = |index: usize, text: &str, finish: Value| {
        json!({
            "id": format!("cmpl-{}", ask.id), "object": "text_completion", "created": ask.created,
            "model": ask.model,
            "choices": [{"text": text, "index": index, "logprobs": null, "finish_reason": finish}],
        })
    };
    if !ask.streams() {
        let mut whole = completion(0, &ask.text, "stop".into());
        let choice = whole["choices"][0].clone();
        whole["choices"] = (0..choices(ask))
            .map(|index| {
                let mut choice = choice.clone();
                choice["index"] = index.into();
                choice
            })
            .collect();
        whole["usage"] = usage(ask);
        return Answer::json(&whole);
    }
    let all = 0..choices(ask);
    let templates = all
        .clone()
        .map(|index| Template::new(&completion(index, HOLE, Value::Null)))
        .collect();
    let mut events = Vec::new();
    push_pieces(&mut events, &ask.pieces(), templates);
    events.extend(all.map(|index| Event::new(Part::Finish, completion(index, "", "stop".into()))));
    if ask
        .body
        .stream_options
        .as_ref()
        .is_some_and(|options| options.include_usage == Some(true))
    {
        let mut last = completion(0, "", Value::Null);
        last["choices"] = json!([]);
        last["usage"] = usage(ask);
        events.push(Event::new(Part::Finish, last));
    }
    events.push(Event::new(Part::End, "[DONE]"));
    Answer::events(events)
}

/// How many things an input names: a string or a list of token numbers is one.
fn inputs(input: Option<&RawValue>) -> usize {
    match input.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok()) {
        Some(Value::Array(list)) if !list.iter().all(Value::is_number) => list.len(),
        _ => 1,
    }
}

/// `…/embeddings`
pub fn embeddings(ask: &Ask<'_>) -> Answer {
    let base64 = ask.body.encoding_format.as_deref() == Some("base64");
    let data: Vec<Value> = (0..inputs(ask.body.input))
        .map(|index| {
            let values = embedding(index, ask.body.dimensions);
            let values = if base64 {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                json!(STANDARD.encode(bytes))
            } else {
                json!(values)
            };
            json!({"object": "embedding", "index": index, "embedding": values})
        })
        .collect();
    let tokens = ask.tokens_in();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Answer::json(&json!({"object": "list", "data": data, "model": ask.model, "usage": usage}))
}

const HARMS: [&str; 13] = [
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/intent",
    "self-harm/instructions",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
];

/// `…/moderations`
pub fn moderations(ask: &Ask<'_>) -> Answer {
    let each = |value: Value| {
        Value::Object(
            HARMS
                .iter()
                .map(|harm| ((*harm).to_owned(), value.clone()))
                .collect(),
        )
    };
    let result = json!({
        "flagged": false, "categories": each(json!(false)), "category_scores": each(json!(0.0001)),
        "category_applied_input_types": each(json!(["text"])),
    });
    let results = vec![result; inputs(ask.body.input)];
    Answer::json(&json!({"id": format!("modr-{}", ask.id), "model": ask.model, "results": results}))
}

/// `…/rerank`: the first document is the best.
pub fn rerank(ask: &Ask<'_>) -> Answer {
    let documents = ask.body.documents.as_deref().unwrap_or_default();
    let kept = ask.body.top_n.unwrap_or(documents.len()).min(documents.len());
    let results: Vec<Value> = documents[..kept]
        .iter()
        .enumerate()
        .map(|(index, document)| {
            let document = match serde_json::from_str(document.get()) {
                Ok(Value::String(text)) => json!({"text": text}),
                Ok(other) => other,
                Err(_) => Value::Null,
            };
            #[expect(clippy::cast_precision_loss, reason = "an index is small")]
            let score = 1.0 / (index as f64 + 1.0);
            json!({"index": index, "relevance_score": score, "document": document})
        })
        .collect();
    Answer::json(&json!({
        "id": ask.id, "model": ask.model, "object": "list", "results": results,
        "usage": {"prompt_tokens": ask.tokens_in(), "total_tokens": ask.tokens_in()},
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }))
}

/// `…/models`
pub fn models(created: u64) -> Answer {
    let data: Vec<Value> = MODELS.iter().map(|id| described(id, created)).collect();
    Answer::json(&json!({"object": "list", "data": data}))
}

/// `…/models/{id}`
pub fn model(id: &str, created: u64) -> Answer {
    Answer::json(&described(id, created))
}

fn described(id: &str, created: u64) -> Value {
    json!({"id": id, "object": "model", "created": created, "owned_by": "practice"})
}
