//! A whole HTTP answer, easy to look at.

use bytes::Bytes;
use reqwest::RequestBuilder;
use reqwest::header::HeaderMap;
use serde_json::Value;
use std::fmt;

#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// Sends, and reads the answer to its end. Panics when there is none.
    pub async fn to(request: RequestBuilder) -> Self {
        Self::try_to(request)
            .await
            .unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    pub async fn try_to(request: RequestBuilder) -> reqwest::Result<Self> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Self {
            status,
            headers,
            body: response.bytes().await?,
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `null` for anything else.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The name of R4 that a relay error carries.
    pub fn code(&self) -> Option<String> {
        self.json()
            .pointer("/error/code")
            .and_then(Value::as_str)
            .map(str::to_owned)
    }

    /// The channel that served, by `x-pointsman-channel`.
    pub fn channel(&self) -> Option<i64> {
        self.header("x-pointsman-channel")?.parse().ok()
    }

    /// The text of a chat completion.
    pub fn said(&self) -> Option<String> {
        let content = self
            .json()
            .pointer("/choices/0/message/content")?
            .as_str()?
            .to_owned();
        Some(content)
    }

    /// For `eventually`.
    #[expect(clippy::result_large_err, reason = "both ways hand out the answer itself")]
    pub fn with_status(self, status: u16) -> Result<Self, Self> {
        if self.status == status {
            Ok(self)
        } else {
            Err(self)
        }
    }

    /// Panics, showing the answer, unless it has this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = self.text().chars().take(2000).collect::<String>();
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &body)
            .finish()
    }
}
