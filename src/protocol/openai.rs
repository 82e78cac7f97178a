//! What does an event of chat completions or completions say?

use std::borrow::Cow;
use std::fmt;

use memchr::memmem;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::json::Loose;
use super::stream::{EventKind, Judged, Progress, Unread, Usage, parse};
use super::upstream_error::{ErrorForm, UpstreamError, error_in_event};

pub(super) fn judge<'a>(progress: &mut Progress, data: &'a [u8]) -> Result<Judged<'a>, Unread> {
    let chunk: Chunk<'a> = parse(data)?;
    if !chunk.error.says_nothing() {
        return Ok(Judged::error(error_in_event(data)));
    }
    let has_usage = chunk.usage.is_some();
    progress
        .usage
        .update(chunk.usage.map(|usage| usage.read()).unwrap_or_default());
    let Some(choices) = chunk.choices else {
        return Ok(match error_in_event(data) {
            Some(error) => Judged::error(Some(error)),
            None if has_usage => Judged::of(EventKind::UsageOnly),
            None => Judged::of(EventKind::Prelude),
        });
    };
    if let Some(failure) = choices.failure {
        return Ok(Judged::error(Some(broken_off(&failure))));
    }
    progress.called |= choices.tool;
    let without_beginning = choices.tool && !progress.in_tool && !has_a_name(data);
    let without_call = choices.called && !progress.called;
    if progress.lost && (without_beginning || without_call) {
        // What began the call, with its name, is lost, or all of it.
        return Ok(Judged::of(EventKind::Hole));
    }
    progress.seen |= choices.seen;
    progress.finished |= choices.finished;
    progress.in_tool = (progress.in_tool || choices.tool) && choices.finished == 0;
    let is_real = choices.says_something || choices.finished != 0;
    let kind = match choices.seen {
        0 if has_usage => EventKind::UsageOnly,
        _ if is_real => EventKind::Real,
        _ => EventKind::Prelude,
    };
    let opaque = choices.opaque || progress.seen > 1;
    Ok(Judged {
        speaks: choices.text.is_some(),
        text: choices.text.filter(|_| !opaque),
        opaque,
        ..Judged::of(kind)
    })
}

/// Whether a `name` that is not empty stands in it.
fn has_a_name(data: &[u8]) -> bool {
    memmem::find_iter(data, b"\"name\"").any(|at| {
        let value = data[at + b"\"name\"".len()..].trim_ascii_start();
        let value = value.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        value.is_some_and(|value| value.starts_with(b"\"") && !value.starts_with(b"\"\""))
    })
}

fn broken_off(reason: &str) -> UpstreamError {
    UpstreamError {
        form: ErrorForm::Error,
        status: Some(500),
        code: Some("upstream_failed".to_owned()),
        message: format!("the upstream broke off its answer: {reason}"),
        ..UpstreamError::default()
    }
}

/// Events of images, transcripts and the like: only an error is known.
pub(super) fn judge_other<'a>(name: Option<&str>, data: &'a [u8]) -> Result<Judged<'a>, Unread> {
    #[derive(serde::Deserialize)]
    struct Event<'a> {
        #[serde(borrow, default)]
        error: Loose<'a>,
        #[serde(borrow, default, rename = "type")]
        kind: Loose<'a>,
    }
    let event: Event<'_> = parse(data)?;
    if name == Some("error") || event.kind.as_str() == Some("error") || !event.error.says_nothing() {
        return Ok(Judged::error(error_in_event(data)));
    }
    Ok(Judged::opaque())
}

/// Whether a finish reason says that the provider failed, not that the answer is whole. DeepSeek:
/// `insufficient_system_resource`; Zhipu: `network_error`; OpenRouter: `error`, with the reason in the choice's
/// `error`. (Zhipu's `sensitive` is what others call `content_filter`: a whole answer.)
pub(super) fn failed_finish(reason: &str) -> bool {
    matches!(reason, "insufficient_system_resource" | "network_error" | "error")
}

#[derive(serde::Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Option<Choices<'a>>,
    #[serde(borrow, default)]
    usage: Option<UsageFields<'a>>,
    #[serde(borrow, default)]
    error: Loose<'a>,
}

/// `usage` of chat completions, completions and responses.
#[derive(serde::Deserialize)]
pub(super) struct UsageFields<'a> {
    #[serde(borrow, default)]
    prompt_tokens: Loose<'a>,
    #[serde(borrow, default)]
    completion_tokens: Loose<'a>,
    #[serde(borrow, default)]
    prompt_tokens_details: Option<Details<'a>>,
    #[serde(borrow, default)]
    input_tokens: Loose<'a>,
    #[serde(borrow, default)]
    output_tokens: Loose<'a>,
    #[serde(borrow, default)]
    input_tokens_details: Option<Details<'a>>,
}

#[derive(serde::Deserialize)]
struct Details<'a> {
    #[serde(borrow, default)]
    cached_tokens: Loose<'a>,
}

impl UsageFields<'_> {
    pub(super) fn read(&self) -> Usage {
        let details = self
            .prompt_tokens_details
            .as_ref()
            .or(self.input_tokens_details.as_ref());
        Usage {
            input_tokens: self.prompt_tokens.count().or(self.input_tokens.count()),
            output_tokens: self.completion_tokens.count().or(self.output_tokens.count()),
            cached_tokens: details.and_then(|details| details.cached_tokens.count()),
        }
    }
}

/// All choices of one chunk, folded into what matters.
#[derive(Default)]
struct Choices<'a> {
    seen: u128,
    finished: u128,
    text: Option<Cow<'a, str>>,
    says_something: bool,
    opaque: bool,
    tool: bool,
    /// It ends to have a tool called.
    called: bool,
    /// A finish reason that says so; see [`failed_finish`].
    failure: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Choices<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ChoicesVisitor)
    }
}

struct ChoicesVisitor;

impl<'de> Visitor<'de> for ChoicesVisitor {
    type Value = Choices<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("choices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Choices<'de>, A::Error> {
        let mut choices = Choices::default();
        while let Some(choice) = seq.next_element::<Choice<'de>>()? {
            let mut progress = Progress::default();
            progress.see(choice.index.count());
            if !choice.finish_reason.says_nothing() {
                progress.finish(choice.index.count());
            }
            choices.opaque |= choices.seen != 0;
            choices.seen |= progress.seen;
            choices.finished |= progress.finished;
            let delta = choice.delta.unwrap_or_default();
            // Completions have `text` beside the index.
            let content = if choice.text.says_nothing() {
                delta.content
            } else {
                choice.text
            };
            choices.says_something |= delta.other || !content.says_nothing();
            choices.opaque |= delta.other || content == Loose::Tree;
            choices.tool |= delta.tool;
            choices.text = content.text().filter(|text| !text.is_empty());
            let reason = choice.finish_reason.as_str();
            choices.called |= matches!(reason, Some("tool_calls" | "function_call"));
            let failure = choice.finish_reason.text();
            choices.failure = failure.filter(|reason| failed_finish(reason)).or(choices.failure);
        }
        Ok(choices)
    }
}

#[derive(serde::Deserialize)]
struct Choice<'a> {
    #[serde(borrow, default)]
    index: Loose<'a>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    text: Loose<'a>,
    #[serde(borrow, default)]
    finish_reason: Loose<'a>,
}

#[derive(Default)]
struct Delta<'a> {
    content: Loose<'a>,
    /// Something that is neither role nor content: a tool call, thinking, a refusal, audio.
    other: bool,
    tool: bool,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum DeltaField {
    Content,
    Role,
    #[serde(alias = "function_call")]
    ToolCalls,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Delta<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(DeltaVisitor)
    }
}

struct DeltaVisitor;

impl<'de> Visitor<'de> for DeltaVisitor {
    type Value = Delta<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a delta")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Delta<'de>, A::Error> {
        let mut delta = Delta::default();
        while let Some(field) = map.next_key::<DeltaField>()? {
            match field {
                DeltaField::Content => delta.content = map.next_value()?,
                DeltaField::Role => drop(map.next_value::<IgnoredAny>()?),
                DeltaField::ToolCalls => delta.tool |= !map.next_value::<Loose<'_>>()?.says_nothing(),
                DeltaField::Other => delta.other |= !map.next_value::<Loose<'_>>()?.says_nothing(),
            }
        }
        delta.other |= delta.tool;
        Ok(delta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finish_that_means_failure_is_told_from_one_that_means_an_end() {
        for reason in ["insufficient_system_resource", "network_error", "error"] {
            assert!(failed_finish(reason), "{reason}");
        }
        for reason in ["stop", "length", "tool_calls", "content_filter", "sensitive", ""] {
            assert!(!failed_finish(reason), "{reason}");
        }
    }
}
