//! How does an event of another stream look as the next event of this one (verified resume)?
//!
//! The client goes on seeing the first stream's ids. The model and the usage stay those of the stream that really serves.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{Progress, Shape, StreamReader, sse};
use crate::protocol::sse::SseEvent;

/// What names a stream in each of its events: OpenAI's first three, Gemini's last.
#[derive(Deserialize)]
struct Ids<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    created: Option<&'a RawValue>,
    #[serde(borrow, default)]
    system_fingerprint: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "responseId")]
    response_id: Option<&'a RawValue>,
}

impl Progress {
    /// Remembers the ids of the first real event.
    pub(super) fn remember_ids(&mut self, data: &[u8]) {
        if self.ids.is_some() {
            return;
        }
        let mut known = Map::new();
        if let Ok(ids) = serde_json::from_slice::<Ids<'_>>(data) {
            let all = [
                ("id", ids.id),
                ("created", ids.created),
                ("system_fingerprint", ids.system_fingerprint),
                ("responseId", ids.response_id),
            ];
            for (name, raw) in all {
                let value = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
                known.extend(value.map(|value: Value| (name.to_owned(), value)));
            }
        }
        self.ids = Some(known);
    }
}

impl StreamReader {
    /// An event of another stream, as it goes on in this one: with this stream's ids, and with `text` for its text where a
    /// part of that has been sent already. `self` is the reader of the first stream.
    ///
    /// What opens an answer again (a role, `message_start`, `content_block_start`) is for the caller to leave out.
    #[must_use]
    pub fn adopt(&self, event: &SseEvent, text: Option<&str>) -> Bytes {
        let Ok(mut data) = serde_json::from_slice::<Value>(event.data()) else {
            return event.closed();
        };
        if let (Some(object), Some(ids)) = (data.as_object_mut(), &self.progress.ids) {
            for (name, id) in ids {
                if let Some(there) = object.get_mut(name) {
                    there.clone_from(id);
                }
            }
        }
        if let Some(text) = text {
            self.replace_text(&mut data, text);
        }
        sse(event.name(), data.to_string().as_bytes())
    }

    fn replace_text(&self, data: &mut Value, text: &str) {
        let places: &[&str] = match self.shape {
            Shape::ChatCompletions => &["/choices/0/delta/content"],
            Shape::Completions => &["/choices/0/text"],
            Shape::Messages => &["/delta/text", "/content_block/text"],
            Shape::GeminiSse => &["/candidates/0/content/parts"],
            Shape::Responses | Shape::OtherSse | Shape::Raw => &[],
        };
        let new = match self.shape {
            Shape::GeminiSse => json!([{"text": text}]),
            _ => json!(text),
        };
        for place in places {
            if let Some(there) = data.pointer_mut(place) {
                *there = new.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Endpoint;
    use crate::protocol::request::read_json;
    use crate::protocol::sse::{Frame, SseParser};

    fn frame(data: &str) -> Frame {
        let mut parser = SseParser::new();
        parser.feed(format!("event: e\ndata: {data}\n\n").into());
        parser.next_frame().unwrap().unwrap()
    }

    fn adopted(shape: Shape, first: &str, second: &str, text: Option<&str>) -> String {
        let asked = read_json(Endpoint::ChatCompletions, &Bytes::from_static(b"{}")).unwrap();
        let mut reader = StreamReader::new(shape, &asked);
        reader.judge(&frame(first));
        let Frame::Event(event) = frame(second) else {
            panic!("no event")
        };
        let bytes = reader.adopt(&event, text);
        let text = std::str::from_utf8(&bytes).unwrap();
        text.strip_prefix("event: e\ndata: ")
            .and_then(|text| text.strip_suffix("\n\n"))
            .unwrap()
            .to_owned()
    }

    #[test]
    fn an_event_of_another_stream_gets_the_first_streams_ids() {
        let first = r#"{"id":"one","created":1,"system_fingerprint":"f","model":"m1","choices":[{"delta":{"content":"a"}}]}"#;
        let second = r#"{"id":"two","created":2,"model":"m2","choices":[{"delta":{"content":"abc"},"finish_reason":null}]}"#;
        for (text, want) in [
            (
                None,
                r#"{"id":"one","created":1,"model":"m2","choices":[{"delta":{"content":"abc"},"finish_reason":null}]}"#,
            ),
            (
                Some("bc"),
                r#"{"id":"one","created":1,"model":"m2","choices":[{"delta":{"content":"bc"},"finish_reason":null}]}"#,
            ),
        ] {
            assert_eq!(adopted(Shape::ChatCompletions, first, second, text), want);
        }
    }

    #[test]
    fn a_text_is_replaced_where_each_protocol_has_it() {
        for (shape, second, want) in [
            (
                Shape::Completions,
                r#"{"choices":[{"text":"abc"}]}"#,
                r#"{"choices":[{"text":"bc"}]}"#,
            ),
            (
                Shape::Messages,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"abc"}}"#,
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"bc"}}"#,
            ),
            (
                Shape::GeminiSse,
                r#"{"candidates":[{"content":{"parts":[{"text":"ab"},{"text":"c"}],"role":"model"}}],"responseId":"two"}"#,
                r#"{"candidates":[{"content":{"parts":[{"text":"bc"}],"role":"model"}}],"responseId":"one"}"#,
            ),
        ] {
            let first = r#"{"responseId":"one","candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#;
            assert_eq!(adopted(shape, first, second, Some("bc")), want);
        }
    }
}
