//! What does an event of Anthropic's messages say?

use std::borrow::Cow;

use serde::Deserialize;

use super::json::Loose;
use super::stream::{Border, EventKind, Judged, Progress, Unread, Usage, parse};
use super::upstream_error::error_in_event;

pub(super) fn judge<'a>(
    progress: &mut Progress,
    name: Option<&str>,
    data: &'a [u8],
) -> Result<Judged<'a>, Unread> {
    let event: Event<'a> = parse(data)?;
    let kind = event.kind.as_str().or(name).unwrap_or_default();
    let index = event.index.count().unwrap_or(0);
    let is_first_block = index == 0;
    if progress.lost && builds_on_what_is_lost(progress, kind, index) {
        return Ok(Judged::of(EventKind::Hole));
    }
    match kind {
        "ping" => Ok(Judged::of(EventKind::Prelude)),
        "message_start" => {
            progress.see(None);
            progress.count(event.message.and_then(|message| message.usage));
            Ok(Judged::of(EventKind::Prelude))
        }
        "content_block_start" => {
            progress.open_block = Some(index);
            let block = event.content_block.unwrap_or_default();
            let block_kind = block.kind.as_str().unwrap_or_default();
            // tool_use, server_tool_use, mcp_tool_use
            progress.in_tool = block_kind.ends_with("tool_use");
            let opaque = block_kind != "text" || !block.citations.says_nothing() || !is_first_block;
            Ok(real(block.text, opaque, block_kind == "text").at(Border::Opens))
        }
        "content_block_delta" => {
            let delta = event.delta.unwrap_or_default();
            let is_text = delta.kind.as_str() == Some("text_delta");
            Ok(real(delta.text, !is_text || !is_first_block, is_text))
        }
        "content_block_stop" => {
            progress.open_block = None;
            progress.in_tool = false;
            Ok(Judged::of(EventKind::Real).at(Border::Closes))
        }
        "message_delta" => {
            progress.count(event.usage);
            if event.delta.is_some_and(|delta| !delta.stop_reason.says_nothing()) {
                progress.in_tool = false;
                progress.finish(None);
            }
            Ok(Judged::of(EventKind::Real))
        }
        "message_stop" => {
            progress.ended = true;
            Ok(Judged::of(EventKind::End))
        }
        "error" => Ok(Judged::error(error_in_event(data))),
        // Anthropic announces that there will be new events: they pass.
        _ => Ok(match error_in_event(data) {
            Some(error) => Judged::error(Some(error)),
            None => Judged::opaque(),
        }),
    }
}

/// A dropped event began the message or block that this one is a part of: no client could place it.
fn builds_on_what_is_lost(progress: &Progress, kind: &str, index: u64) -> bool {
    match kind {
        "content_block_start" | "message_delta" => progress.seen == 0,
        "content_block_delta" | "content_block_stop" => progress.open_block != Some(index),
        _ => false,
    }
}

fn real(text: Loose<'_>, opaque: bool, is_text: bool) -> Judged<'_> {
    let text = text.text().filter(|text: &Cow<'_, str>| !text.is_empty());
    Judged {
        speaks: is_text && text.is_some(),
        text: text.filter(|_| !opaque),
        opaque,
        ..Judged::of(EventKind::Real)
    }
}

impl Progress {
    fn count(&mut self, usage: Option<UsageFields<'_>>) {
        let Some(usage) = usage else { return };
        self.usage.update(Usage {
            input_tokens: usage.input_tokens.count(),
            output_tokens: usage.output_tokens.count(),
            cached_tokens: usage.cache_read_input_tokens.count(),
        });
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Loose<'a>,
    #[serde(borrow, default)]
    index: Loose<'a>,
    #[serde(borrow, default)]
    message: Option<Message<'a>>,
    #[serde(borrow, default)]
    content_block: Option<Block<'a>>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
    #[serde(borrow, default)]
    usage: Option<UsageFields<'a>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    usage: Option<UsageFields<'a>>,
}

#[derive(Default, Deserialize)]
struct Block<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Loose<'a>,
    #[serde(borrow, default)]
    text: Loose<'a>,
    #[serde(borrow, default)]
    citations: Loose<'a>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Loose<'a>,
    #[serde(borrow, default)]
    text: Loose<'a>,
    #[serde(borrow, default)]
    stop_reason: Loose<'a>,
}

#[derive(Deserialize)]
struct UsageFields<'a> {
    #[serde(borrow, default)]
    input_tokens: Loose<'a>,
    #[serde(borrow, default)]
    output_tokens: Loose<'a>,
    #[serde(borrow, default)]
    cache_read_input_tokens: Loose<'a>,
}
