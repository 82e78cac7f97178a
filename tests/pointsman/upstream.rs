//! The practice upstream as tests order it: what a channel is, and what its upstream does.
//!
//! Everything that the tests know of `pointsman::practice` stands here.

use pointsman::practice::{Log, Practice, Received};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;

/// A channel as the stage makes it: an upstream of its own that behaves as told, and the row that points there.
#[derive(Clone, Debug)]
pub struct Channel {
    faults: String,
    fields: Map<String, Value>,
}

/// An upstream that answers.
pub fn works() -> Channel {
    ordered("")
}

/// An upstream that answers everything with this HTTP status.
pub fn fails(status: u16) -> Channel {
    ordered(&format!("status={status}"))
}

/// An upstream with faults in the words of `pointsman practice --help`, say `first=1:429=2` or `cut=10`.
pub fn ordered(faults: &str) -> Channel {
    Channel {
        faults: faults.to_owned(),
        fields: Map::new(),
    }
}

impl Channel {
    /// Any field of `POST /api/channels`, over what the stage would say.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    /// `openai` where nothing is said.
    pub fn provider(self, provider: &str) -> Self {
        self.with("provider", provider)
    }

    /// `gpt-4o` where nothing is said.
    pub fn models(self, models: &[&str]) -> Self {
        self.with("models", models)
    }

    /// `default` where nothing is said.
    pub fn groups(self, groups: &[&str]) -> Self {
        self.with("groups", groups)
    }

    /// `sk-practice-NAME` where nothing is said.
    pub fn keys(self, keys: &[&str]) -> Self {
        self.with("keys", keys)
    }

    pub fn priority(self, priority: i64) -> Self {
        self.with("priority", priority)
    }

    pub fn weight(self, weight: u32) -> Self {
        self.with("weight", weight)
    }

    pub fn settings(self, settings: Value) -> Self {
        self.with("settings", settings)
    }

    /// The body of `POST /api/channels`.
    pub fn body(&self, name: &str, base_url: &str) -> Value {
        let mut body = json!({
            "name": name,
            "provider": "openai",
            "base_url": base_url,
            "keys": [format!("sk-practice-{name}")],
            "groups": ["default"],
            "models": ["gpt-4o"],
        });
        let fields = body.as_object_mut().expect("an object");
        fields.extend(self.fields.clone());
        body
    }

    /// The base URL at which an upstream does what this channel's is to do.
    pub fn base_url(&self, upstream: &str) -> String {
        if self.faults.is_empty() {
            upstream.to_owned()
        } else {
            format!("{upstream}/~{}", self.faults)
        }
    }
}

/// One practice upstream, in this process. It ends when dropped.
pub struct Upstream {
    practice: Practice,
}

impl Upstream {
    /// On a free port, with one worker: enough for a test, and many may run beside each other.
    pub fn start() -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            practice: Practice::start(address, 1).expect("a practice upstream"),
        }
    }

    /// Its origin, without a slash at the end.
    pub fn url(&self) -> String {
        self.practice.url()
    }

    /// What it received so far, oldest first.
    pub fn received(&self) -> Vec<Received> {
        self.practice.log().all()
    }

    /// Its log, for what `received` does not tell.
    pub fn log(&self) -> Log {
        self.practice.log()
    }

    /// Forgets what it received, and begins `first` and `flap` anew.
    pub fn forget(&self) {
        self.practice.forget();
    }

    /// Goes away: connections are dropped, new ones refused.
    pub fn stop(&mut self) {
        self.practice.stop();
    }
}
