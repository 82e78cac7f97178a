//! What is measured: each case's requests, and how many of them at once.

use std::time::Duration;

use serde_json::{Value, json};

/// So many different conversations are sent in turn: affinity spreads them over the channels.
const CONVERSATIONS: usize = 64;
/// Of requests so long, fewer are kept.
const LONG: usize = 100_000;
const LONG_CONVERSATIONS: usize = 8;

/// What the practice upstream answers to each of these is in the name: see `pointsman practice --help`.
pub const MODELS: [&str; 5] = [PLAIN, IMAGE, BACK_TO_BACK, ONE_BY_ONE, SLOW];
const PLAIN: &str = "bench-plain~size=360";
const IMAGE: &str = "bench-image~size=1500000";
const BACK_TO_BACK: &str = "bench-back-to-back~tokens=50";
const ONE_BY_ONE: &str = "bench-one-by-one~tokens=50,gap_ms=2";
const SLOW: &str = "bench-slow~tokens=50,gap_ms=100";

/// One kind of load.
pub struct Case {
    /// Short and unique: in JSON, and for `--only`.
    pub name: &'static str,
    /// In tables.
    pub title: &'static str,
    pub connections: usize,
    pub pace: Pace,
    pub answer: Expected,
    model: &'static str,
    /// Of the request's body, in bytes.
    length: usize,
}

/// How long it goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each connection asks again as soon as it has its answer, for `--seconds`.
    Closed,
    /// Each connection asks once, all at the same moment.
    Once,
}

/// What an answer must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// JSON of at least so many bytes.
    Plain(usize),
    /// So many events, then the end marker.
    Stream(usize),
}

/// Role, 50 words, finish reason.
const EVENTS: Expected = Expected::Stream(52);

/// All of them.
pub static CASES: [Case; 9] = [
    plain("plain-1", "1 KB chat, 1 connection", 1),
    plain("plain-8", "1 KB chat, 8 connections", 8),
    plain("plain-64", "1 KB chat, 64 connections", 64),
    plain("plain-512", "1 KB chat, 512 connections", 512),
    Case {
        name: "prompt-200k",
        title: "200 KB prompt, 8 connections",
        connections: 8,
        pace: Pace::Closed,
        answer: Expected::Plain(900),
        model: PLAIN,
        length: 200_000,
    },
    Case {
        name: "image-2m",
        title: "2 MB image answer, 4 connections",
        connections: 4,
        pace: Pace::Closed,
        answer: Expected::Plain(2_000_000),
        model: IMAGE,
        length: 0,
    },
    stream(
        "stream-back-to-back",
        "52 events back to back, 16 streams",
        16,
        BACK_TO_BACK,
    ),
    stream(
        "stream-one-by-one",
        "52 events one by one, 32 streams",
        32,
        ONE_BY_ONE,
    ),
    Case {
        pace: Pace::Once,
        ..stream("stream-1000", "52 events 100 ms apart, 1,000 streams", 1000, SLOW)
    },
];

const fn plain(name: &'static str, title: &'static str, connections: usize) -> Case {
    Case {
        name,
        title,
        connections,
        pace: Pace::Closed,
        answer: Expected::Plain(900),
        model: PLAIN,
        length: 1024,
    }
}

const fn stream(name: &'static str, title: &'static str, connections: usize, model: &'static str) -> Case {
    Case {
        name,
        title,
        connections,
        pace: Pace::Closed,
        answer: EVENTS,
        model,
        length: 1024,
    }
}

/// The case of that name.
pub fn named(name: &str) -> &'static Case {
    CASES
        .iter()
        .find(|case| case.name == name)
        .expect("a case's name stands in the list")
}

impl Case {
    /// The model that is asked for.
    pub fn model(&self) -> &'static str {
        self.model
    }

    /// Whether events are asked for.
    pub fn streams(&self) -> bool {
        matches!(self.answer, Expected::Stream(_))
    }

    /// What one answer takes if nothing is in the way; nothing where that is no time.
    pub fn lasts(&self) -> Duration {
        match self.pace {
            Pace::Closed => Duration::ZERO,
            Pace::Once => Duration::from_secs(5),
        }
    }

    /// The requests in the order in which they are sent, head and body.
    pub fn requests(&self, host: &str, prefix: &str, token: &str) -> Vec<Vec<u8>> {
        let count = match self.length < LONG {
            true => CONVERSATIONS,
            false => LONG_CONVERSATIONS,
        };
        let path = match self.model {
            IMAGE => "/v1/images/generations",
            _ => "/v1/chat/completions",
        };
        let accept = if self.streams() {
            "text/event-stream"
        } else {
            "application/json"
        };
        let request = |number| {
            let body = self.body(number).to_string();
            format!(
                "POST {prefix}{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
                 Content-Type: application/json\r\nAccept: {accept}\r\nUser-Agent: bench/1\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .into_bytes()
        };
        (0..count).map(request).collect()
    }

    fn body(&self, number: usize) -> Value {
        if self.model == IMAGE {
            return json!({"model": IMAGE, "prompt": format!("lighthouse {number} in a storm"),
                "size": "1024x1024", "response_format": "b64_json"});
        }
        let mut body = json!({
            "model": self.model,
            "messages": [
                {"role": "system", "content": "You are a pilot who knows these waters. Answer in one sentence."},
                {"role": "user", "content": ""},
            ],
            "temperature": 0.7,
            "max_tokens": 400,
        });
        if self.streams() {
            body["stream"] = true.into();
        }
        let words = format!("Ship {number:03} asks: ");
        let missing = self.length.saturating_sub(body.to_string().len() + words.len());
        let text: String = "which way is the wind today, and how far is the light? "
            .chars()
            .cycle()
            .take(missing)
            .collect();
        body["messages"][1]["content"] = (words + &text).into();
        body
    }
}
