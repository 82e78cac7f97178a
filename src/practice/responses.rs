//! `…/responses` and `…/responses/compact` as OpenAI answers them, with every event of a stream.

use serde_json::{Value, json};

use super::answer::{Answer, Ask, Event, HOLE, Part, Template, slices};
use super::openai::THOUGHT;
use super::tools::{self, Call};

/// `…/responses`
pub fn responses(ask: &Ask<'_>) -> Answer {
    let call = tools::wanted(ask);
    if ask.streams() {
        Answer::events(events(ask, call.as_ref()))
    } else {
        whole(ask, call.as_ref())
    }
}

/// `…/responses/compact`
pub fn compact(ask: &Ask<'_>) -> Answer {
    Answer::json(&json!({
        "id": format!("resp_{}", ask.id), "object": "response.compaction", "created_at": ask.created,
        "output": [{"id": format!("cmp_{}", ask.id), "type": "compaction", "encrypted_content": &*ask.text}],
        "usage": usage(ask),
    }))
}

fn whole(ask: &Ask<'_>, call: Option<&Call>) -> Answer {
    let mut output = Vec::new();
    if ask.plan.thinking {
        output.push(reasoning(ask, "completed"));
    }
    output.push(item(ask, call, "completed", &ask.text));
    Answer::json(&response(ask, "completed", output.into(), usage(ask)))
}

fn response(ask: &Ask<'_>, status: &str, output: Value, usage: Value) -> Value {
    json!({
        "id": format!("resp_{}", ask.id), "object": "response", "created_at": ask.created, "status": status,
        "background": false, "error": null, "incomplete_details": null, "instructions": null,
        "max_output_tokens": null, "max_tool_calls": null, "metadata": {}, "model": ask.model, "output": output,
        "parallel_tool_calls": true, "previous_response_id": null, "prompt_cache_key": null,
        "reasoning": {"effort": null, "summary": null}, "safety_identifier": null, "service_tier": "default",
        "store": true, "temperature": 1.0, "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto", "tools": [], "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled",
        "usage": usage, "user": null,
    })
}

fn usage(ask: &Ask<'_>) -> Value {
    let thought = if ask.plan.thinking { THOUGHT.len() } else { 0 };
    let (tokens_in, tokens_out) = (ask.tokens_in(), ask.tokens_out() + thought);
    json!({
        "input_tokens": tokens_in, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": tokens_out, "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": tokens_in + tokens_out,
    })
}

fn reasoning(ask: &Ask<'_>, status: &str) -> Value {
    let done = status == "completed";
    let summary = if done {
        json!([{"type": "summary_text", "text": THOUGHT.concat()}])
    } else {
        json!([])
    };
    json!({"id": format!("rs_{}", ask.id), "type": "reasoning", "summary": summary, "status": status})
}

fn item(ask: &Ask<'_>, call: Option<&Call>, status: &str, content: &str) -> Value {
    match call {
        Some(call) => json!({
            "id": format!("fc_{}", ask.id), "type": "function_call", "status": status,
            "arguments": if status == "completed" { call.arguments.to_string() } else { String::new() },
            "call_id": format!("call_{}", ask.id), "name": call.name,
        }),
        None => {
            let content = if status == "completed" {
                json!([text_part(content)])
            } else {
                json!([])
            };
            json!({"id": format!("msg_{}", ask.id), "type": "message", "status": status, "role": "assistant",
                   "content": content})
        }
    }
}

fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}

/// Events with their running `sequence_number`.
struct Numbered {
    events: Vec<Event>,
}

/// Stands where the number goes until an event has its place.
const NUMBER_FIELD: &str = "sequence_number";

impl Numbered {
    fn push(&mut self, part: Part, name: &'static str, mut fields: Value) {
        let mut data = json!({"type": name, NUMBER_FIELD: self.events.len()});
        if let (Some(data), Some(fields)) = (data.as_object_mut(), fields.as_object_mut()) {
            data.append(fields);
        }
        self.events.push(Event::named(part, name, data));
    }

    /// Deltas that differ in their text and number only.
    fn push_deltas(&mut self, name: &'static str, fields: &Value, pieces: &[&str]) {
        let template = Template::new(fields);
        for piece in pieces {
            let fields = template.fill(piece);
            let fields = fields.strip_prefix('{').unwrap_or(&fields);
            let data = format!(
                "{{\"type\":\"{name}\",\"{NUMBER_FIELD}\":{},{fields}",
                self.events.len()
            );
            self.events.push(Event::named(Part::Content, name, data));
        }
    }
}

fn events(ask: &Ask<'_>, call: Option<&Call>) -> Vec<Event> {
    let mut all = Numbered { events: Vec::new() };
    let begun = response(ask, "in_progress", json!([]), Value::Null);
    all.push(Part::Frame, "response.created", json!({"response": begun}));
    all.push(Part::Frame, "response.in_progress", json!({"response": begun}));
    let mut output = Vec::new();
    if ask.plan.thinking {
        push_reasoning(&mut all, ask);
        output.push(reasoning(ask, "completed"));
    }
    let index = output.len();
    let item_begun = item(ask, call, "in_progress", "");
    all.push(
        Part::Frame,
        "response.output_item.added",
        json!({"output_index": index, "item": item_begun}),
    );
    match call {
        Some(call) => push_call(&mut all, ask, call, index),
        None => push_text(&mut all, ask, index),
    }
    let item_done = item(ask, call, "completed", &ask.text);
    all.push(
        Part::Finish,
        "response.output_item.done",
        json!({"output_index": index, "item": item_done}),
    );
    output.push(item_done);
    let ended = response(ask, "completed", output.into(), usage(ask));
    all.push(Part::End, "response.completed", json!({"response": ended}));
    all.events
}

fn push_reasoning(all: &mut Numbered, ask: &Ask<'_>) {
    let id = format!("rs_{}", ask.id);
    let part = |text: &str| json!({"type": "summary_text", "text": text});
    let place = |mut fields: Value| {
        fields["item_id"] = id.as_str().into();
        fields["output_index"] = 0.into();
        fields["summary_index"] = 0.into();
        fields
    };
    let begun = reasoning(ask, "in_progress");
    all.push(
        Part::Frame,
        "response.output_item.added",
        json!({"output_index": 0, "item": begun}),
    );
    all.push(
        Part::Frame,
        "response.reasoning_summary_part.added",
        place(json!({"part": part("")})),
    );
    all.push_deltas(
        "response.reasoning_summary_text.delta",
        &place(json!({"delta": HOLE})),
        &THOUGHT,
    );
    let text = THOUGHT.concat();
    all.push(
        Part::Frame,
        "response.reasoning_summary_text.done",
        place(json!({"text": text})),
    );
    all.push(
        Part::Frame,
        "response.reasoning_summary_part.done",
        place(json!({"part": part(&text)})),
    );
    let done = reasoning(ask, "completed");
    all.push(
        Part::Frame,
        "response.output_item.done",
        json!({"output_index": 0, "item": done}),
    );
}

fn push_call(all: &mut Numbered, ask: &Ask<'_>, call: &Call, index: usize) {
    let id = format!("fc_{}", ask.id);
    let arguments = call.arguments.to_string();
    let fields = json!({"item_id": id, "output_index": index, "delta": HOLE});
    all.push_deltas(
        "response.function_call_arguments.delta",
        &fields,
        &slices(&arguments),
    );
    let done = json!({"item_id": id, "output_index": index, "name": call.name, "arguments": arguments});
    all.push(Part::Finish, "response.function_call_arguments.done", done);
}

fn push_text(all: &mut Numbered, ask: &Ask<'_>, index: usize) {
    let id = format!("msg_{}", ask.id);
    let place = |mut fields: Value| {
        fields["item_id"] = id.as_str().into();
        fields["output_index"] = index.into();
        fields["content_index"] = 0.into();
        fields
    };
    all.push(
        Part::Frame,
        "response.content_part.added",
        place(json!({"part": text_part("")})),
    );
    let fields = place(json!({"delta": HOLE, "logprobs": []}));
    all.push_deltas("response.output_text.delta", &fields, &ask.pieces());
    all.push(
        Part::Finish,
        "response.output_text.done",
        place(json!({"text": &*ask.text, "logprobs": []})),
    );
    all.push(
        Part::Finish,
        "response.content_part.done",
        place(json!({"part": text_part(&ask.text)})),
    );
}
