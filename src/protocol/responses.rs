//! What does an event of OpenAI's responses say?
//!
//! Its events carry item ids throughout, so nothing of it can be resumed: every real event is opaque.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::error::ErrorAnswer;
use super::json::{Loose, merge_patch};
use super::openai::UsageFields;
use super::stream::{EventKind, Judged, Progress, Unread, parse};
use super::upstream_error::error_in_event;

pub(super) fn judge<'a>(
    progress: &mut Progress,
    name: Option<&str>,
    data: &'a [u8],
) -> Result<Judged<'a>, Unread> {
    let event: Event<'a> = parse(data)?;
    if let Some(number) = event.sequence_number.count() {
        progress.next_sequence = number.saturating_add(1);
    }
    let kind = event.kind.as_str().or(name).unwrap_or_default();
    match kind {
        "response.created" | "response.queued" | "response.in_progress" => {
            if progress.response.is_none() {
                progress.response = event.response.map(|response| response.get().to_owned());
            }
            Ok(Judged::of(EventKind::Prelude))
        }
        "response.completed" | "response.incomplete" => {
            progress.ended = true;
            let usage = event
                .response
                .and_then(|response| parse::<Response<'_>>(response.get().as_bytes()).ok()?.usage);
            progress
                .usage
                .update(usage.map(|usage| usage.read()).unwrap_or_default());
            Ok(Judged::of(EventKind::End))
        }
        "response.failed" | "error" => Ok(Judged::error(error_in_event(data))),
        "" => Ok(match error_in_event(data) {
            Some(error) => Judged::error(Some(error)),
            None => Judged::opaque(),
        }),
        _ => {
            if is_tool_input(kind) {
                progress.in_tool = kind.ends_with(".delta");
            }
            let text = (kind == "response.output_text.delta")
                .then(|| event.delta.text())
                .flatten();
            let text = text.filter(|text: &Cow<'_, str>| !text.is_empty());
            Ok(Judged {
                speaks: text.is_some(),
                text,
                ..Judged::opaque()
            })
        }
    }
}

/// `response.function_call_arguments.delta`, `response.custom_tool_call_input.delta` and their `.done`.
fn is_tool_input(kind: &str) -> bool {
    let kind = kind
        .strip_suffix(".delta")
        .or(kind.strip_suffix(".done"))
        .unwrap_or_default();
    kind.ends_with("_arguments") || kind.ends_with("_call_input") || kind.ends_with("_call_code")
}

/// The data of our `response.failed`: the very response that was begun, failed.
pub(super) fn failed(progress: &Progress, error: &ErrorAnswer) -> Vec<u8> {
    let over = json!({
        "status": "failed",
        "error": {"code": error.code, "message": error.message},
    });
    let over: Map<String, Value> = over.as_object().cloned().unwrap_or_default();
    let begun = progress
        .response
        .as_deref()
        .and_then(|response| merge_patch(response, &over).ok());
    let response = begun.unwrap_or_else(|| {
        // Nothing had begun; the official SDKs want these fields.
        json!({
            "id": format!("resp_{}", error.request_id.as_deref().unwrap_or("failed")),
            "object": "response",
            "created_at": 0,
            "status": "failed",
            "error": over.get("error"),
            "output": [],
        })
        .to_string()
    });
    let number = progress.next_sequence;
    format!(r#"{{"type":"response.failed","sequence_number":{number},"response":{response}}}"#).into_bytes()
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Loose<'a>,
    #[serde(borrow, default)]
    sequence_number: Loose<'a>,
    #[serde(borrow, default)]
    delta: Loose<'a>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow, default)]
    usage: Option<UsageFields<'a>>,
}

/// The id under which the upstream keeps a response: of a plain answer, or of a stream's first event.
#[must_use]
pub fn response_id(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow, default)]
        id: Loose<'a>,
        #[serde(borrow, default)]
        response: Option<&'a RawValue>,
    }
    let named: Named<'_> = serde_json::from_slice(json).ok()?;
    let id = match named.response {
        Some(inner) => serde_json::from_str::<Named<'_>>(inner.get()).ok()?.id,
        None => named.id,
    };
    id.as_str().filter(|id| !id.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_named_by_its_answer_or_by_its_first_event() {
        let check =
            |json: &str, id: Option<&str>| assert_eq!(response_id(json.as_bytes()).as_deref(), id, "{json}");
        check(r#"{"id":"resp_1","object":"response"}"#, Some("resp_1"));
        check(
            r#"{"type":"response.created","response":{"id":"resp_2"}}"#,
            Some("resp_2"),
        );
        check(r#"{"type":"response.output_text.delta","item_id":"msg_1"}"#, None);
        check(r#"{"id":5}"#, None);
        check("[]", None);
        check("cut", None);
    }
}
