//! What an answer is made of before any fault breaks it: the ask, the words, the events.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::faults::Plan;

/// An answer, whole or in events.
pub enum Answer {
    /// One body.
    Plain {
        /// The `Content-Type`.
        content_type: &'static str,
        /// The body.
        body: Bytes,
    },
    /// Events, one after the other.
    Stream {
        /// How events are set into bytes.
        framing: Framing,
        /// The events.
        events: Vec<Event>,
    },
}

impl Answer {
    /// A JSON body.
    pub fn json(value: &Value) -> Answer {
        Answer::Plain {
            content_type: "application/json",
            body: Bytes::from(value.to_string()),
        }
    }

    /// Server-sent events.
    pub fn events(events: Vec<Event>) -> Answer {
        Answer::Stream {
            framing: Framing::Sse,
            events,
        }
    }
}

/// How events are set into bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `event:` and `data:` lines.
    Sse,
    /// Gemini's stream without `alt=sse`.
    JsonArray,
}

/// What an event is to the answer: faults count and leave out by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Before and between contents: roles, pings, borders.
    Frame,
    /// A piece of the answer; what `cut=N` and its like count.
    Content,
    /// From the finish reason on.
    Finish,
    /// The protocol's end marker.
    End,
    /// No event at all: bytes between events.
    Bare,
}

/// One event of a stream.
pub struct Event {
    /// What it is to the answer.
    pub part: Part,
    /// The `event:` line.
    pub name: Option<&'static str>,
    /// The data, JSON but for end markers.
    pub data: String,
}

impl Event {
    /// An event without a name.
    pub fn new(part: Part, data: impl ToString) -> Event {
        Event {
            part,
            name: None,
            data: data.to_string(),
        }
    }

    /// An event with a name.
    pub fn named(part: Part, name: &'static str, data: impl ToString) -> Event {
        Event {
            part,
            name: Some(name),
            data: data.to_string(),
        }
    }
}

/// JSON with strings left open: events that differ in their text alone are not built anew each.
pub struct Template {
    pieces: Vec<String>,
}

/// Stands for a string; a private-use character, which no text of ours holds.
pub const HOLE: &str = "\u{e000}";
/// Stands for a number.
pub const NUMBER_HOLE: &str = "\u{e001}";

impl Template {
    /// Takes JSON in which some strings are [`HOLE`] or [`NUMBER_HOLE`].
    pub fn new(json: &Value) -> Template {
        let text = json.to_string().replace(&format!("\"{NUMBER_HOLE}\""), HOLE);
        Template {
            pieces: text.split(HOLE).map(str::to_owned).collect(),
        }
    }

    /// The JSON with this text in its only hole.
    pub fn fill(&self, text: &str) -> String {
        self.fill_all(&[text])
    }

    /// The JSON with these texts (or numbers) in its holes, in their order.
    pub fn fill_all(&self, texts: &[&str]) -> String {
        let known: usize = self.pieces.iter().map(String::len).sum();
        let mut filled =
            String::with_capacity(known + texts.iter().map(|text| text.len() + 8).sum::<usize>());
        for (index, piece) in self.pieces.iter().enumerate() {
            if let Some(text) = index.checked_sub(1).and_then(|index| texts.get(index)) {
                push_escaped(&mut filled, text);
            }
            filled.push_str(piece);
        }
        filled
    }
}

fn push_escaped(filled: &mut String, text: &str) {
    if text
        .bytes()
        .all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\')
    {
        filled.push_str(text);
        return;
    }
    let quoted = Value::from(text).to_string();
    filled.push_str(&quoted[1..quoted.len() - 1]);
}

/// The fields of a body that an answer depends on; all others are passed over.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Body<'a> {
    /// The model.
    pub model: Option<Cow<'a, str>>,
    /// Whether events are asked for.
    pub stream: Option<bool>,
    /// Chat completions' and Anthropic's messages.
    #[serde(borrow)]
    pub messages: Option<&'a RawValue>,
    /// The input of responses, embeddings, moderations, speech.
    #[serde(borrow)]
    pub input: Option<&'a RawValue>,
    /// Gemini's messages.
    #[serde(borrow)]
    pub contents: Option<&'a RawValue>,
    /// Tools in any protocol's shape.
    #[serde(borrow)]
    pub tools: Option<&'a RawValue>,
    /// The choice of tools.
    #[serde(borrow, alias = "toolConfig", alias = "tool_config")]
    pub tool_choice: Option<&'a RawValue>,
    /// Options of a stream.
    pub stream_options: Option<StreamOptions>,
    /// How many choices or images.
    pub n: Option<usize>,
    /// `float` or `base64`.
    pub encoding_format: Option<Cow<'a, str>>,
    /// Length of an embedding.
    #[serde(alias = "outputDimensionality")]
    pub dimensions: Option<usize>,
    /// Anthropic's wish for thinking.
    #[serde(borrow)]
    pub thinking: Option<&'a RawValue>,
    /// Gemini's settings.
    #[serde(borrow, rename = "generationConfig", alias = "generation_config")]
    pub generation_config: Option<&'a RawValue>,
    /// Gemini's batch.
    #[serde(borrow)]
    pub requests: Option<Vec<&'a RawValue>>,
    /// What is ranked.
    #[serde(borrow)]
    pub documents: Option<Vec<&'a RawValue>>,
    /// How many of them come back.
    pub top_n: Option<usize>,
    /// How many images come before the last.
    pub partial_images: Option<u32>,
    /// The shape of sound, text or image.
    #[serde(borrow)]
    pub response_format: Option<&'a RawValue>,
    /// `sse` streams speech.
    pub stream_format: Option<Cow<'a, str>>,
}

/// Options of a chat stream.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct StreamOptions {
    /// Usage at the end.
    pub include_usage: Option<bool>,
}

/// One request, as the answers see it.
pub struct Ask<'a> {
    /// The path behind its fault prefix.
    pub path: &'a str,
    /// The query.
    pub query: &'a str,
    /// The model as asked for, faults included.
    pub model: &'a str,
    /// What it orders.
    pub plan: &'a Plan,
    /// The body's fields.
    pub body: &'a Body<'a>,
    /// The body's length in bytes, from which its tokens are guessed.
    pub body_len: usize,
    /// The answer's text.
    pub text: Cow<'a, str>,
    /// Unique in this process and unlike another's.
    pub id: &'a str,
    /// Seconds since 1970.
    pub created: u64,
}

impl Ask<'_> {
    /// Whether events are asked for.
    pub fn streams(&self) -> bool {
        self.body.stream == Some(true) && !self.plan.plain
    }

    /// Four bytes make a token.
    pub fn tokens_in(&self) -> usize {
        self.body_len / 4 + 1
    }

    /// The words of the text.
    pub fn tokens_out(&self) -> usize {
        usize::max(1, self.text.split(' ').count())
    }

    /// The text in the pieces that a stream sends.
    pub fn pieces(&self) -> Vec<&str> {
        pieces(&self.text, self.plan.chunk)
    }

    /// `response_format` where it is a plain string.
    pub fn response_format(&self) -> String {
        let raw = self.body.response_format.map_or("", RawValue::get);
        serde_json::from_str(raw).unwrap_or_default()
    }

    /// Bytes of an image or of sound: the ordered size, else a small one.
    pub fn size_or(&self, small: usize) -> usize {
        self.plan
            .size
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(small)
    }
}

static DEFAULT_TEXT: LazyLock<String> = LazyLock::new(|| counted("word", 20));

/// The text that a plan orders: the same for every practice upstream.
pub fn text(plan: &Plan) -> Cow<'static, str> {
    if let Some(size) = plan.size.and_then(|size| usize::try_from(size).ok()) {
        let words = size / (plan.text.len() + 2) + 1;
        let mut text = counted(&plan.text, words as u64);
        let end = (0..=size.min(text.len()))
            .rev()
            .find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or(0));
        return Cow::Owned(text);
    }
    if plan.tokens == 20 && plan.text == "word" {
        return Cow::Borrowed(&DEFAULT_TEXT);
    }
    Cow::Owned(counted(&plan.text, plan.tokens))
}

fn counted(word: &str, tokens: u64) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for number in 1..=tokens {
        let gap = if number == 1 { "" } else { " " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{gap}{word}{number}");
    }
    text
}

/// Cuts a text before every so many spaces.
fn pieces(text: &str, words: u64) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut seen = 0;
    for (at, _) in text.match_indices(' ') {
        seen += 1;
        if seen == words && at > start {
            pieces.push(&text[start..at]);
            (start, seen) = (at, 0);
        }
    }
    if start < text.len() {
        pieces.push(&text[start..]);
    }
    pieces
}

/// Cuts JSON into short pieces, as tool arguments come.
pub fn slices(text: &str) -> Vec<&str> {
    const SLICE: usize = 6;
    let mut slices = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = (SLICE..rest.len())
            .find(|end| rest.is_char_boundary(*end))
            .unwrap_or(rest.len());
        let (slice, tail) = rest.split_at(end);
        slices.push(slice);
        rest = tail;
    }
    slices
}

static PROCESS: LazyLock<u32> = LazyLock::new(rand::random);
static COUNTER: AtomicU64 = AtomicU64::new(1);

/// An id of 24 letters, unlike any other of this process or of a second one.
pub fn fresh_id() -> String {
    format!("{:08x}{:016x}", *PROCESS, COUNTER.fetch_add(1, Ordering::Relaxed))
}

/// An embedding: deterministic, of length one.
pub fn embedding(index: usize, dimensions: Option<usize>) -> Vec<f32> {
    let dimensions = dimensions.unwrap_or(8).clamp(1, 65_536);
    let mut values = vec![0.0; dimensions];
    values[index % dimensions] = 1.0;
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_counted_words() {
        let text_of = |faults: &str| text(&Plan::read(faults).expect("good")).into_owned();
        assert_eq!(text_of("tokens=3"), "word1 word2 word3");
        assert_eq!(text_of("tokens=2,text=tree"), "tree1 tree2");
        assert_eq!(text_of("tokens=0"), "");
        assert_eq!(text_of("size=9"), "word1 wor");
        assert_eq!(text_of("size=100000").len(), 100_000);
        assert_eq!(text_of("").split(' ').count(), 20);
    }

    #[test]
    fn pieces_put_together_are_the_text() {
        assert_eq!(pieces("a b c", 1), ["a", " b", " c"]);
        assert_eq!(pieces("a b c", 2), ["a b", " c"]);
        assert_eq!(pieces("", 1), [""; 0]);
        assert_eq!(slices("{\"text\":\"wörd\"}").concat(), "{\"text\":\"wörd\"}");
    }

    #[test]
    fn a_template_escapes_what_fills_it() {
        let template = Template::new(&serde_json::json!({"a": HOLE, "b": 1}));
        assert_eq!(template.fill("x\"y\n"), "{\"a\":\"x\\\"y\\n\",\"b\":1}");
        let template = Template::new(&serde_json::json!({"a": HOLE, "b": NUMBER_HOLE}));
        assert_eq!(template.fill_all(&["x", "7"]), "{\"a\":\"x\",\"b\":7}");
    }
}
