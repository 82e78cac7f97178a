//! `…/messages`, `…/messages/count_tokens` and the model list as Anthropic answers them.

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Event, HOLE, Part, Template, slices};
use super::openai::{MODELS, THOUGHT};
use super::tools::{self, Call};

/// What stands for the signature of a thought.
const SIGNATURE: &str = "cHJhY3RpY2U=";

/// `…/messages`
pub fn messages(ask: &Ask<'_>) -> Answer {
    let call = tools::wanted(ask);
    if ask.streams() {
        return Answer::events(events(ask, call.as_ref()));
    }
    let mut content = Vec::new();
    if thinks(ask) {
        content.push(json!({"type": "thinking", "thinking": THOUGHT.concat(), "signature": SIGNATURE}));
    }
    content.push(match &call {
        Some(call) => tool_use(ask, call, call.arguments.clone()),
        None => json!({"type": "text", "text": &*ask.text}),
    });
    Answer::json(&message(
        ask,
        content.into(),
        stop_reason(ask, call.as_ref()).into(),
        tokens_out(ask),
    ))
}

/// `…/messages/count_tokens`
pub fn count_tokens(ask: &Ask<'_>) -> Answer {
    Answer::json(&json!({"input_tokens": ask.tokens_in()}))
}

/// `…/models`, asked with `anthropic-version`
pub fn models() -> Answer {
    let data: Vec<Value> = MODELS.iter().map(|id| described(id)).collect();
    let (first, last) = (MODELS[0], MODELS[MODELS.len() - 1]);
    Answer::json(&json!({"data": data, "has_more": false, "first_id": first, "last_id": last}))
}

/// `…/models/{id}`, asked with `anthropic-version`
pub fn model(id: &str) -> Answer {
    Answer::json(&described(id))
}

fn described(id: &str) -> Value {
    json!({"type": "model", "id": id, "display_name": id, "created_at": "2025-01-01T00:00:00Z"})
}

/// Thinks when the plan or the request says so.
fn thinks(ask: &Ask<'_>) -> bool {
    let asked = ask
        .body
        .thinking
        .and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    let kind = asked.as_ref().and_then(|asked| asked.get("type")?.as_str());
    ask.plan.thinking || matches!(kind, Some("enabled" | "adaptive"))
}

fn tokens_out(ask: &Ask<'_>) -> usize {
    ask.tokens_out() + if thinks(ask) { THOUGHT.len() } else { 0 }
}

fn stop_reason<'a>(ask: &'a Ask<'_>, call: Option<&Call>) -> &'a str {
    let own = if call.is_some() { "tool_use" } else { "end_turn" };
    ask.plan.finish.as_deref().unwrap_or(own)
}

fn tool_use(ask: &Ask<'_>, call: &Call, input: Value) -> Value {
    json!({"type": "tool_use", "id": format!("toolu_{}", ask.id), "name": call.name, "input": input})
}

fn message(ask: &Ask<'_>, content: Value, stop_reason: Value, tokens_out: usize) -> Value {
    json!({
        "id": format!("msg_{}", ask.id), "type": "message", "role": "assistant", "model": ask.model,
        "content": content, "stop_reason": stop_reason, "stop_sequence": null,
        "usage": {"input_tokens": ask.tokens_in(), "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": tokens_out, "service_tier": "standard"},
    })
}

fn event(part: Part, name: &'static str, mut data: Value) -> Event {
    let mut typed = json!({"type": name});
    if let (Some(typed), Some(data)) = (typed.as_object_mut(), data.as_object_mut()) {
        typed.append(data);
    }
    Event::named(part, name, typed)
}

fn start(index: usize, block: Value) -> Event {
    event(
        Part::Frame,
        "content_block_start",
        json!({"index": index, "content_block": block}),
    )
}

fn stop(index: usize) -> Event {
    event(Part::Frame, "content_block_stop", json!({"index": index}))
}

fn deltas(events: &mut Vec<Event>, index: usize, delta: Value, pieces: &[&str]) {
    let name = "content_block_delta";
    let template = Template::new(&json!({"type": name, "index": index, "delta": delta}));
    events.extend(
        pieces
            .iter()
            .map(|piece| Event::named(Part::Content, name, template.fill(piece))),
    );
}

fn events(ask: &Ask<'_>, call: Option<&Call>) -> Vec<Event> {
    let begun = message(ask, json!([]), Value::Null, 1);
    let mut events = vec![event(Part::Frame, "message_start", json!({"message": begun}))];
    let ping = || event(Part::Frame, "ping", json!({}));
    let mut index = 0;
    if thinks(ask) {
        events.push(start(
            0,
            json!({"type": "thinking", "thinking": "", "signature": ""}),
        ));
        events.push(ping());
        deltas(
            &mut events,
            0,
            json!({"type": "thinking_delta", "thinking": HOLE}),
            &THOUGHT,
        );
        let signature = json!({"index": 0, "delta": {"type": "signature_delta", "signature": SIGNATURE}});
        events.push(event(Part::Content, "content_block_delta", signature));
        events.push(stop(0));
        index = 1;
    }
    let block = match call {
        Some(call) => tool_use(ask, call, json!({})),
        None => json!({"type": "text", "text": ""}),
    };
    events.push(start(index, block));
    if index == 0 {
        events.push(ping());
    }
    match call {
        Some(call) => {
            let arguments = call.arguments.to_string();
            let delta = json!({"type": "input_json_delta", "partial_json": HOLE});
            deltas(&mut events, index, delta, &slices(&arguments));
        }
        None => deltas(
            &mut events,
            index,
            json!({"type": "text_delta", "text": HOLE}),
            &ask.pieces(),
        ),
    }
    events.push(stop(index));
    let ended = json!({
        "delta": {"stop_reason": stop_reason(ask, call), "stop_sequence": null},
        "usage": {"input_tokens": ask.tokens_in(), "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": tokens_out(ask)},
    });
    events.push(event(Part::Finish, "message_delta", ended));
    events.push(event(Part::End, "message_stop", json!({})));
    events
}
