//! Verified resume: what a client has of its answer, and whether another stream says the same. Pure.
//!
//! The text of the one choice is kept as it goes out. When its stream breaks off, another is asked for the same
//! request: as long as that repeats what the client has it is swallowed, whatever its events look like; behind that it
//! passes on under the first stream's ids; at the first difference there is nothing to go on with. What cannot be
//! compared (tool calls, thinking, signatures, further choices) ends it: once such a thing is out there is no resume.

use bytes::Bytes;

use crate::protocol::request::Asked;
use crate::protocol::sse::SseEvent;
use crate::protocol::stream::{Border, EventKind, Judged, Shape, StreamReader};

/// Text that is kept of one answer. Longer answers are rarer than the memory is dear: they end with the error event.
const MAX_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// What the client has of its answer.
#[derive(Debug)]
pub struct Told {
    text: Kept,
    block: Block,
    /// The reader of the stream that the client first saw; `None` while that one is still the one that speaks.
    first: Option<StreamReader>,
    /// Bytes of the text that the stream now speaking has repeated; `None`: it speaks to the client.
    repeated: Option<usize>,
}

/// How the last block of Anthropic's stands at the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    None,
    Open,
    Closed,
}

#[derive(Debug)]
enum Kept {
    Text(String),
    /// It cannot be compared any more.
    Gone,
}

/// What becomes of a part of the answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Passage<'t> {
    /// As it came.
    AsItIs,
    /// Under the first stream's ids; `Some`: with this in place of its text.
    Adopted(Option<&'t str>),
    /// The client has it.
    Swallowed,
    /// The client has something else.
    Differs,
}

impl Told {
    pub fn new(shape: Shape, asked: &Asked) -> Told {
        let can_be_compared = matches!(shape, Shape::ChatCompletions | Shape::Messages | Shape::GeminiSse);
        Told {
            text: match can_be_compared && asked.choices == 1 {
                true => Kept::Text(String::new()),
                false => Kept::Gone,
            },
            block: Block::None,
            first: None,
            repeated: None,
        }
    }

    /// Whether another stream could go on with the answer.
    pub fn may_be_resumed(&self) -> bool {
        matches!(self.text, Kept::Text(_))
    }

    /// The stream that spoke so far has broken off; the next one must repeat.
    pub fn broke_off(&mut self, reader: StreamReader) {
        self.first.get_or_insert(reader);
        self.repeated = Some(0);
    }

    /// The reader of the stream that the client knows, if it is not the one that speaks.
    pub fn first(&self) -> Option<&StreamReader> {
        self.first.as_ref()
    }

    /// The event under the first stream's ids.
    pub fn adopted(&self, event: &SseEvent, text: Option<&str>) -> Bytes {
        match &self.first {
            Some(first) => first.adopt(event, text),
            None => event.closed(),
        }
    }

    /// Hears a part of the answer before it goes to the client. `is_finished`: its reader says that the answer is.
    pub fn hear<'t>(&mut self, judged: &'t Judged<'_>, is_finished: bool) -> Passage<'t> {
        let passage = match self.repeated {
            Some(repeated) => self.compare(repeated, judged, is_finished),
            None if self.first.is_some() => Passage::Adopted(None),
            None => Passage::AsItIs,
        };
        match passage {
            Passage::Swallowed | Passage::Differs => return passage,
            Passage::Adopted(Some(rest)) => self.keep(Some(rest), judged),
            Passage::Adopted(None) | Passage::AsItIs => self.keep(judged.text.as_deref(), judged),
        }
        self.repeated = None;
        passage
    }

    fn keep(&mut self, text: Option<&str>, judged: &Judged<'_>) {
        match judged.border {
            Border::None => {}
            Border::Opens => self.block = Block::Open,
            Border::Closes => self.block = Block::Closed,
        }
        let Kept::Text(kept) = &mut self.text else { return };
        let text = text.unwrap_or_default();
        if judged.opaque || kept.len() + text.len() > MAX_KEPT_BYTES {
            self.text = Kept::Gone;
        } else {
            kept.push_str(text);
        }
    }

    fn compare<'t>(&mut self, repeated: usize, judged: &'t Judged<'_>, is_finished: bool) -> Passage<'t> {
        let Kept::Text(kept) = &self.text else {
            return Passage::Differs;
        };
        let rest = kept.get(repeated..).unwrap_or_default();
        match (judged.text.as_deref(), judged.border) {
            _ if judged.kind == EventKind::Prelude => Passage::Swallowed,
            // It cannot be opened a second time, so its text cannot be split.
            (Some(text), Border::Opens) if rest.len() < text.len() => Passage::Differs,
            // Nor can a closed block be added to.
            (Some(text), Border::None) if self.block == Block::Closed && rest.len() < text.len() => {
                Passage::Differs
            }
            (Some(text), _) if rest.starts_with(text) => {
                let left = rest.len() - text.len();
                self.repeated = Some(repeated + text.len());
                match is_finished {
                    false => Passage::Swallowed,
                    // The client has its text, but not its end.
                    true if left == 0 => Passage::Adopted(Some("")),
                    true => Passage::Differs,
                }
            }
            (Some(text), _) => match text.strip_prefix(rest) {
                Some(more) => Passage::Adopted(Some(more)),
                None => Passage::Differs,
            },
            (None, Border::Opens) if !judged.opaque => Passage::Swallowed,
            (None, Border::Opens) if self.block == Block::Open => Passage::Differs,
            (None, Border::Closes) if rest.is_empty() && self.block != Block::Open => Passage::Swallowed,
            // An empty piece of text, wherever it stands.
            (None, Border::None) if says_nothing_new(judged) && !is_finished => Passage::Swallowed,
            (None, _) if judged.kind == EventKind::UsageOnly && !rest.is_empty() => Passage::Swallowed,
            (None, _) if rest.is_empty() => Passage::Adopted(None),
            (None, _) => Passage::Differs,
        }
    }
}

fn says_nothing_new(judged: &Judged<'_>) -> bool {
    judged.kind == EventKind::Real && !judged.opaque
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Endpoint;
    use crate::protocol::request::read_json;
    use crate::protocol::sse::SseParser;
    use crate::protocol::stream::Completion;

    /// What a client gets of a first stream and then of a second, event for event: as it is, `~` swallowed, `!` differs.
    fn resumed(shape: Shape, first: &[&str], second: &[&str]) -> Vec<String> {
        let asked = read_json(Endpoint::ChatCompletions, &Bytes::from_static(b"{}")).unwrap();
        let mut told = Told::new(shape, &asked);
        let mut reader = StreamReader::new(shape, &asked);
        for event in first {
            hear(&mut told, &mut reader, event);
        }
        assert!(told.may_be_resumed());
        told.broke_off(reader);
        let mut reader = StreamReader::new(shape, &asked);
        second
            .iter()
            .map(|event| hear(&mut told, &mut reader, event))
            .collect()
    }

    fn hear(told: &mut Told, reader: &mut StreamReader, data: &str) -> String {
        let mut parser = SseParser::new();
        parser.feed(format!("data: {data}\n\n").into());
        let frame = parser.next_frame().unwrap().unwrap();
        let judged = reader.judge(&frame);
        let is_finished = reader.completion() != Completion::Cut;
        match told.hear(&judged, is_finished) {
            Passage::AsItIs | Passage::Adopted(None) => data.to_owned(),
            Passage::Adopted(Some(text)) => text.to_owned(),
            Passage::Swallowed => "~".to_owned(),
            Passage::Differs => "!".to_owned(),
        }
    }

    fn chat(text: &str) -> String {
        format!(r#"{{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#)
    }

    const CHAT_ROLE: &str = r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#;
    const CHAT_END: &str = r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#;
    const CHAT_TOOL: &str = r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#;

    #[test]
    fn text_is_compared_across_any_borders() {
        for (second, want) in [
            (&["ab", "cd", "ef"][..], &["~", "~", "ef"][..]),
            (&["abcdef"], &["ef"]),
            (&["a", "bcd", "ef"], &["~", "~", "ef"]),
            (&["abcde", "f"], &["e", "f"]),
            (&["abc", "de", "f"], &["~", "e", "f"]),
            (&["abX"], &["!"]),
            (&["abcX", "y"], &["!", "!"]),
            (&["X"], &["!"]),
        ] {
            let first: Vec<String> = ["a", "b", "cd"].map(chat).to_vec();
            let first: Vec<&str> = first.iter().map(String::as_str).collect();
            let texts: Vec<String> = second.iter().map(|text| chat(text)).collect();
            let mut events: Vec<&str> = vec![CHAT_ROLE];
            events.extend(texts.iter().map(String::as_str));
            let got = resumed(Shape::ChatCompletions, &first, &events);
            assert_eq!(got[0], "~", "a role opens an answer once");
            for ((got, want), text) in got[1..].iter().zip(want).zip(&texts) {
                assert!(
                    got == want || (got == text && text.contains(want)),
                    "{second:?}: {got}"
                );
            }
        }
    }

    #[test]
    fn an_end_before_all_is_repeated_is_a_difference() {
        let (ab, a) = (chat("ab"), chat("a"));
        let chat = |second: &[&str]| resumed(Shape::ChatCompletions, &[&ab], second);
        assert_eq!(chat(&[&a, CHAT_END]), ["~", "!"]);
        assert_eq!(chat(&[&ab, CHAT_END]), ["~", CHAT_END]);
        // Text and finish reason in one event: the text is taken out, the finish stays.
        let both = r#"{"choices":[{"delta":{"content":"ab"},"finish_reason":"stop"}]}"#;
        assert_eq!(chat(&[both]), [""]);
        let early = r#"{"choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
        assert_eq!(chat(&[early]), ["!"]);
    }

    #[test]
    fn what_cannot_be_compared_differs_before_the_seam_and_passes_behind_it() {
        let (ab, a) = (chat("ab"), chat("a"));
        let thinks = r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#;
        let chat = |second: &[&str]| resumed(Shape::ChatCompletions, &[&ab], second);
        assert_eq!(chat(&[thinks]), ["!"]);
        assert_eq!(chat(&[&a, CHAT_TOOL]), ["~", "!"]);
        assert_eq!(chat(&[&ab, CHAT_TOOL]), ["~", CHAT_TOOL]);
    }

    #[test]
    fn what_was_sent_ends_the_possibility() {
        let asked = |body: &'static str| {
            read_json(Endpoint::ChatCompletions, &Bytes::from_static(body.as_bytes())).unwrap()
        };
        for shape in [Shape::Responses, Shape::Completions, Shape::OtherSse] {
            assert!(!Told::new(shape, &asked("{}")).may_be_resumed());
        }
        assert!(!Told::new(Shape::ChatCompletions, &asked(r#"{"n":2}"#)).may_be_resumed());
        for (shape, opaque) in [
            (Shape::ChatCompletions, CHAT_TOOL),
            (
                Shape::ChatCompletions,
                r#"{"choices":[{"index":1,"delta":{"content":"x"}},{"index":0,"delta":{}}]}"#,
            ),
            (
                Shape::Messages,
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
            ),
            (
                Shape::GeminiSse,
                r#"{"candidates":[{"content":{"parts":[{"text":"t","thoughtSignature":"s"}]}}]}"#,
            ),
        ] {
            let mut told = Told::new(shape, &asked("{}"));
            let mut reader = StreamReader::new(shape, &asked("{}"));
            hear(&mut told, &mut reader, opaque);
            assert!(!told.may_be_resumed(), "{opaque}");
        }
    }

    #[test]
    fn no_more_than_4_mib_are_kept() {
        let asked = read_json(Endpoint::ChatCompletions, &Bytes::from_static(b"{}")).unwrap();
        let mut told = Told::new(Shape::ChatCompletions, &asked);
        let mut reader = StreamReader::new(Shape::ChatCompletions, &asked);
        let mib = chat(&"x".repeat(1024 * 1024));
        for n in 1..=5 {
            hear(&mut told, &mut reader, &mib);
            assert_eq!(told.may_be_resumed(), n <= 4);
        }
    }

    #[test]
    fn messages_open_and_close_their_block_once() {
        const START: &str = r#"{"type":"message_start","message":{"id":"m"}}"#;
        const OPEN: &str =
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
        const THINK: &str =
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#;
        const A: &str =
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
        const AB: &str =
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"ab"}}"#;
        const EMPTY: &str =
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}"#;
        const B: &str =
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"b"}}"#;
        const CLOSE: &str = r#"{"type":"content_block_stop","index":0}"#;
        const TOOL: &str =
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t"}}"#;
        const ENDED: &str = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#;
        for (first, second, want) in [
            (
                &[START, OPEN][..],
                &[START, OPEN, A, CLOSE, ENDED][..],
                &["~", "~", "a", CLOSE, ENDED][..],
            ),
            (
                &[START, OPEN, A],
                &[START, OPEN, A, B, CLOSE],
                &["~", "~", "~", "b", CLOSE],
            ),
            (
                &[START, OPEN, A],
                &[START, OPEN, A, CLOSE, ENDED],
                &["~", "~", "~", CLOSE, ENDED],
            ),
            (
                &[START, OPEN, A, CLOSE],
                &[START, OPEN, A, CLOSE, ENDED],
                &["~", "~", "~", "~", ENDED],
            ),
            (
                &[START, OPEN, A, CLOSE],
                &[START, OPEN, A, CLOSE, TOOL],
                &["~", "~", "~", "~", TOOL],
            ),
            (
                &[START, OPEN, A],
                &[START, OPEN, A, CLOSE, TOOL],
                &["~", "~", "~", CLOSE, TOOL],
            ),
            // What is closed cannot be added to.
            (
                &[START, OPEN, A, CLOSE],
                &[START, OPEN, A, B],
                &["~", "~", "~", "!"],
            ),
            (&[START, OPEN, A, CLOSE], &[START, OPEN, AB], &["~", "~", "!"]),
            (
                &[START, OPEN, A, CLOSE],
                &[START, OPEN, EMPTY, A, EMPTY, CLOSE, ENDED],
                &["~", "~", "~", "~", "~", "~", ENDED],
            ),
            (&[START, OPEN], &[START, THINK], &["~", "!"]),
            (&[START, OPEN, A], &[START, OPEN, CLOSE], &["~", "~", "!"]),
            (&[START, OPEN, A], &[START, OPEN, B], &["~", "~", "!"]),
        ] {
            assert_eq!(
                resumed(Shape::Messages, first, second),
                want,
                "{first:?}\n{second:?}"
            );
        }
    }
}
