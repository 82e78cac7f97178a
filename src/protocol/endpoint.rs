//! Which relay routes are there, which protocol does each speak, and what comes in its body?

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::gemini_path::encode_model;

/// A wire protocol that clients and upstreams speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    OpenAi,
    Anthropic,
    Gemini,
}

impl Protocol {
    pub const ALL: [Protocol; 3] = [Protocol::OpenAi, Protocol::Anthropic, Protocol::Gemini];

    /// The name in settings, metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Protocol::OpenAi => "openai",
            Protocol::Anthropic => "anthropic",
            Protocol::Gemini => "gemini",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word names none of the protocols.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of openai, anthropic, gemini")]
pub struct UnknownProtocol;

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(word: &str) -> Result<Self, UnknownProtocol> {
        Protocol::ALL
            .into_iter()
            .find(|protocol| protocol.as_str() == word)
            .ok_or(UnknownProtocol)
    }
}

/// How a route takes its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    Json,
    /// What `Content-Type` says: a form with files, or JSON.
    JsonOrMultipart,
}

/// A relay route that goes upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    ChatCompletions,
    Completions,
    Responses,
    ResponsesCompact,
    Embeddings,
    ImagesGenerations,
    ImagesEdits,
    ImagesVariations,
    Speech,
    Transcriptions,
    Translations,
    Moderations,
    Rerank,
    Messages,
    /// Anthropic's `/v1/messages/count_tokens`.
    MessagesCountTokens,
    GenerateContent,
    StreamGenerateContent,
    EmbedContent,
    BatchEmbedContents,
    /// Gemini's `…:countTokens`.
    GeminiCountTokens,
}

impl Endpoint {
    pub const ALL: [Endpoint; 20] = [
        Endpoint::ChatCompletions,
        Endpoint::Completions,
        Endpoint::Responses,
        Endpoint::ResponsesCompact,
        Endpoint::Embeddings,
        Endpoint::ImagesGenerations,
        Endpoint::ImagesEdits,
        Endpoint::ImagesVariations,
        Endpoint::Speech,
        Endpoint::Transcriptions,
        Endpoint::Translations,
        Endpoint::Moderations,
        Endpoint::Rerank,
        Endpoint::Messages,
        Endpoint::MessagesCountTokens,
        Endpoint::GenerateContent,
        Endpoint::StreamGenerateContent,
        Endpoint::EmbedContent,
        Endpoint::BatchEmbedContents,
        Endpoint::GeminiCountTokens,
    ];

    #[must_use]
    pub const fn protocol(self) -> Protocol {
        match self {
            Endpoint::Messages | Endpoint::MessagesCountTokens => Protocol::Anthropic,
            Endpoint::GenerateContent
            | Endpoint::StreamGenerateContent
            | Endpoint::EmbedContent
            | Endpoint::BatchEmbedContents
            | Endpoint::GeminiCountTokens => Protocol::Gemini,
            _ => Protocol::OpenAi,
        }
    }

    /// The name in metrics and logs: the path below the version, for Gemini the action.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Endpoint::ChatCompletions => "chat/completions",
            Endpoint::Completions => "completions",
            Endpoint::Responses => "responses",
            Endpoint::ResponsesCompact => "responses/compact",
            Endpoint::Embeddings => "embeddings",
            Endpoint::ImagesGenerations => "images/generations",
            Endpoint::ImagesEdits => "images/edits",
            Endpoint::ImagesVariations => "images/variations",
            Endpoint::Speech => "audio/speech",
            Endpoint::Transcriptions => "audio/transcriptions",
            Endpoint::Translations => "audio/translations",
            Endpoint::Moderations => "moderations",
            Endpoint::Rerank => "rerank",
            Endpoint::Messages => "messages",
            Endpoint::MessagesCountTokens => "messages/count_tokens",
            Endpoint::GenerateContent => "generateContent",
            Endpoint::StreamGenerateContent => "streamGenerateContent",
            Endpoint::EmbedContent => "embedContent",
            Endpoint::BatchEmbedContents => "batchEmbedContents",
            Endpoint::GeminiCountTokens => "countTokens",
        }
    }

    /// What stands below the version (`chat/completions`, `models/{model}:generateContent`), without a leading
    /// slash. Only Gemini's paths name the model.
    #[must_use]
    pub fn path_below_version(self, model: &str) -> Cow<'static, str> {
        match self.protocol() {
            Protocol::Gemini => format!("models/{}:{}", encode_model(model), self.name()).into(),
            Protocol::OpenAi | Protocol::Anthropic => self.name().into(),
        }
    }

    /// The endpoint of a Gemini action (what stands behind the last colon).
    #[must_use]
    pub fn of_gemini_action(action: &str) -> Option<Endpoint> {
        let gemini = |endpoint: &Endpoint| endpoint.protocol() == Protocol::Gemini;
        Endpoint::ALL
            .into_iter()
            .filter(gemini)
            .find(|endpoint| endpoint.name() == action)
    }

    #[must_use]
    pub const fn body_kind(self) -> BodyKind {
        match self {
            Endpoint::ImagesEdits
            | Endpoint::ImagesVariations
            | Endpoint::Transcriptions
            | Endpoint::Translations => BodyKind::JsonOrMultipart,
            _ => BodyKind::Json,
        }
    }

    /// The model that OpenAI itself takes where a request omits it; `None`: omitting it is an error.
    #[must_use]
    pub const fn default_model(self) -> Option<&'static str> {
        match self {
            Endpoint::Moderations => Some("omni-moderation-latest"),
            Endpoint::ImagesGenerations | Endpoint::ImagesEdits | Endpoint::ImagesVariations => {
                Some("dall-e-2")
            }
            _ => None,
        }
    }

    /// Whether requests belong to a conversation, which keeps to one channel for its prompt cache.
    #[must_use]
    pub const fn is_conversation(self) -> bool {
        matches!(
            self,
            Endpoint::ChatCompletions
                | Endpoint::Responses
                | Endpoint::ResponsesCompact
                | Endpoint::Messages
                | Endpoint::GenerateContent
                | Endpoint::StreamGenerateContent
        )
    }

    /// Whether a whole answer is JSON whatever was asked. Audio comes as bytes, transcripts as text too.
    #[must_use]
    pub const fn answers_json(self) -> bool {
        !matches!(
            self,
            Endpoint::Speech | Endpoint::Transcriptions | Endpoint::Translations
        )
    }
}
