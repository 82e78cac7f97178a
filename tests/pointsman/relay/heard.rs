//! A stream as its client hears it: what it says, how it ends.

use crate::stage::{Stage, with_json};
use futures::StreamExt;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A stream, read until it ended.
#[derive(Debug)]
pub struct Heard {
    pub headers: HeaderMap,
    /// From the request to the status line.
    pub head_within: Duration,
    pub raw: String,
    /// The connection was closed in its midst.
    pub cut: bool,
}

impl Heard {
    /// Asks with the stage's token.
    pub async fn ask(stage: &Stage, path: &str, body: &Value) -> Heard {
        let began = Instant::now();
        let request = stage.request(Method::POST, path).bearer_auth(stage.token());
        let response = with_json(request, body).send().await.expect("headers");
        let head_within = began.elapsed();
        let headers = response.headers().clone();
        assert_eq!(response.status(), 200, "{path}: {:?}", response.text().await);
        let mut chunks = response.bytes_stream();
        let mut raw = Vec::new();
        let cut = loop {
            match chunks.next().await {
                Some(Ok(chunk)) => raw.extend_from_slice(&chunk),
                Some(Err(_)) => break true,
                None => break false,
            }
        };
        Heard {
            headers,
            head_within,
            raw: String::from_utf8(raw).expect("UTF-8"),
            cut,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The data of each event that is JSON.
    pub fn events(&self) -> Vec<Value> {
        let data = self.raw.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter_map(|data| serde_json::from_str(data).ok()).collect()
    }

    /// The text of the one choice, in any protocol.
    pub fn text(&self) -> String {
        let places = [
            "/choices/0/delta/content",
            "/candidates/0/content/parts/0/text",
            "/delta/text",
        ];
        let text = |event: &Value| {
            if event["type"] == "response.output_text.delta" {
                return event["delta"].as_str().map(str::to_owned);
            }
            places
                .iter()
                .find_map(|place| event.pointer(place)?.as_str().map(str::to_owned))
        };
        self.events().iter().filter_map(text).collect()
    }

    /// The ids that its events bear; Anthropic has one in its first event only.
    pub fn ids(&self) -> BTreeSet<String> {
        let places = ["/id", "/responseId", "/message/id"];
        let id = |event: &Value| {
            places
                .iter()
                .find_map(|place| event.pointer(place)?.as_str().map(str::to_owned))
        };
        self.events().iter().filter_map(id).collect()
    }

    /// A finish reason or an end marker of any protocol.
    pub fn has_an_end(&self) -> bool {
        let says = |event: &Value| {
            [
                "/choices/0/finish_reason",
                "/candidates/0/finishReason",
                "/delta/stop_reason",
            ]
            .iter()
            .any(|place| event.pointer(place).is_some_and(|reason| !reason.is_null()))
        };
        let markers = ["[DONE]", "message_stop", "response.completed"];
        markers.iter().any(|marker| self.raw.contains(marker)) || self.events().iter().any(says)
    }

    /// The error that is its last event, of the form that this path's protocol has.
    pub fn error(&self, path: &str) -> Option<Value> {
        let last = self.raw.trim_end().rsplit("\n\n").next()?;
        let data = last.lines().find_map(|line| line.strip_prefix("data: "))?;
        let event: Value = serde_json::from_str(data).ok()?;
        let named = |name: &str| {
            last.lines()
                .any(|line| line.strip_prefix("event: ") == Some(name))
        };
        match path {
            "/v1/responses" if !named("response.failed") => None,
            "/v1/responses" => event.pointer("/response/error").cloned(),
            "/v1/messages" if !named("error") => None,
            _ => event.get("error").cloned(),
        }
    }

    /// It ended as a stream that cannot be brought to its end must.
    #[track_caller]
    pub fn check_error(&self, path: &str) {
        assert!(
            self.error(path).is_some_and(|error| error.is_object()),
            "{path}: {self:#?}"
        );
        assert!(!self.has_an_end(), "{path}: {self:#?}");
        assert!(self.cut, "the connection closes behind an error event: {path}");
    }

    /// It is whole: this text, once, and its end.
    #[track_caller]
    pub fn check_whole(&self, path: &str, text: &str) {
        assert_eq!(self.text(), text, "{path}: {self:#?}");
        assert!(self.error(path).is_none(), "{path}: {self:#?}");
        assert!(self.has_an_end() && !self.cut, "{path}: {self:#?}");
        assert_eq!(self.ids().len(), 1, "{path}: {:?}", self.ids());
        if path == "/v1/chat/completions" {
            assert_eq!(self.raw.matches("\"role\"").count(), 1, "{path}: {self:#?}");
            assert!(self.raw.ends_with("data: [DONE]\n\n"));
        }
        if path == "/v1/messages" {
            for once in [
                "message_start",
                "content_block_start",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ] {
                assert_eq!(
                    self.raw.matches(&format!("event: {once}\n")).count(),
                    1,
                    "{once}: {self:#?}"
                );
            }
        }
    }
}

/// What the practice upstream says in so many words.
pub fn words(word: &str, count: usize) -> String {
    (1..=count)
        .map(|number| format!("{word}{number}"))
        .collect::<Vec<_>>()
        .join(" ")
}
