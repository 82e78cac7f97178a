//! What does a chunk of Gemini's `streamGenerateContent?alt=sse` say?

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::json::Loose;
use super::stream::{EventKind, Judged, Progress, Unread, Usage, parse};
use super::upstream_error::error_in_event;

pub(super) fn judge<'a>(progress: &mut Progress, data: &'a [u8]) -> Result<Judged<'a>, Unread> {
    let chunk: Chunk<'a> = parse(data)?;
    if !chunk.error.says_nothing() {
        return Ok(Judged::error(error_in_event(data)));
    }
    if let Some(usage) = &chunk.usage_metadata {
        progress.usage.update(usage.read());
    }
    // A blocked prompt is a whole answer without candidates.
    if chunk
        .prompt_feedback
        .is_some_and(|feedback| !feedback.block_reason.says_nothing())
    {
        progress.finish(None);
        return Ok(Judged::opaque());
    }
    let Some(candidates) = chunk.candidates else {
        return Ok(match error_in_event(data) {
            Some(error) => Judged::error(Some(error)),
            None => Judged::of(EventKind::Prelude),
        });
    };
    let mut parts = Parts::default();
    let mut is_real = false;
    for candidate in candidates {
        let index = candidate.index.count();
        progress.see(index);
        if !candidate.finish_reason.says_nothing() {
            progress.finish(index);
            is_real = true;
        }
        parts = candidate
            .content
            .and_then(|content| content.parts)
            .unwrap_or_default();
        is_real |= parts.opaque || parts.text.is_some();
    }
    let opaque = parts.opaque || progress.seen > 1;
    let kind = if is_real {
        EventKind::Real
    } else {
        EventKind::Prelude
    };
    Ok(Judged {
        speaks: parts.speaks,
        text: parts.text.filter(|_| !opaque),
        opaque: opaque && is_real,
        ..Judged::of(kind)
    })
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk<'a> {
    #[serde(borrow, default)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, default)]
    prompt_feedback: Option<PromptFeedback<'a>>,
    #[serde(borrow, default)]
    usage_metadata: Option<UsageMetadata<'a>>,
    #[serde(borrow, default)]
    error: Loose<'a>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback<'a> {
    #[serde(borrow, default)]
    block_reason: Loose<'a>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageMetadata<'a> {
    #[serde(borrow, default)]
    prompt_token_count: Loose<'a>,
    #[serde(borrow, default)]
    candidates_token_count: Loose<'a>,
    #[serde(borrow, default)]
    thoughts_token_count: Loose<'a>,
    #[serde(borrow, default)]
    cached_content_token_count: Loose<'a>,
}

impl UsageMetadata<'_> {
    fn read(&self) -> Usage {
        let thoughts = self.thoughts_token_count.count();
        let told = self.candidates_token_count.count();
        Usage {
            input_tokens: self.prompt_token_count.count(),
            output_tokens: told
                .or(thoughts)
                .map(|_| told.unwrap_or(0).saturating_add(thoughts.unwrap_or(0))),
            cached_tokens: self.cached_content_token_count.count(),
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(borrow, default)]
    index: Loose<'a>,
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    finish_reason: Loose<'a>,
}

#[derive(serde::Deserialize)]
struct Content<'a> {
    #[serde(borrow, default)]
    parts: Option<Parts<'a>>,
}

/// All parts of one candidate, folded into what matters.
#[derive(Default)]
struct Parts<'a> {
    text: Option<Cow<'a, str>>,
    opaque: bool,
    /// One of them is plain text: no thought.
    speaks: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PartsVisitor)
    }
}

struct PartsVisitor;

impl<'de> Visitor<'de> for PartsVisitor {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("parts")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Parts<'de>, A::Error> {
        let mut parts = Parts::default();
        while let Some(part) = seq.next_element::<Part<'de>>()? {
            parts.opaque |= part.opaque;
            parts.speaks |= part.text.is_some() && !part.opaque;
            parts.text = match (parts.text, part.text) {
                (Some(before), Some(more)) => Some(before + more),
                (before, more) => before.or(more),
            };
        }
        Ok(parts)
    }
}

#[derive(Default)]
struct Part<'a> {
    text: Option<Cow<'a, str>>,
    /// A thought, a signature, a function call, a file.
    opaque: bool,
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum PartField {
    Text,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Part<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PartVisitor)
    }
}

struct PartVisitor;

impl<'de> Visitor<'de> for PartVisitor {
    type Value = Part<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a part")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part<'de>, A::Error> {
        let mut part = Part::default();
        while let Some(field) = map.next_key::<PartField>()? {
            match field {
                PartField::Text => {
                    part.text = map
                        .next_value::<Loose<'de>>()?
                        .text()
                        .filter(|text| !text.is_empty());
                }
                // `functionCall: {}` is a call too.
                PartField::Other => match map.next_value::<Loose<'_>>()? {
                    Loose::EmptyTree => part.opaque = true,
                    value => part.opaque |= !value.says_nothing(),
                },
            }
        }
        Ok(part)
    }
}
