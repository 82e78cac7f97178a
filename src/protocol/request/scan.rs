//! Which members of a body matter here? One pass over its top level; every value stays where it is.

use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::parse;
use crate::protocol::endpoint::Endpoint;
use crate::protocol::json::{Loose, span_of};

/// The members of a body that anything here reads.
#[derive(Default)]
pub(super) struct Top<'a> {
    pub models: Vec<&'a RawValue>,
    pub has_misspelt_model: bool,
    pub stream: Option<&'a RawValue>,
    pub stream_options: Option<&'a RawValue>,
    pub n: Option<&'a RawValue>,
    pub generation_config: Option<&'a RawValue>,
    pub prompt_cache_key: Option<&'a RawValue>,
    pub session_id: Option<&'a RawValue>,
    pub metadata: Option<&'a RawValue>,
    pub previous_response_id: Option<&'a RawValue>,
    pub cached_content: Option<&'a RawValue>,
    pub messages: Option<&'a RawValue>,
    pub input: Option<&'a RawValue>,
    pub contents: Option<&'a RawValue>,
    pub requests: Option<&'a RawValue>,
    pub generate_content_request: Option<&'a RawValue>,
}

enum Field {
    Model,
    /// `Model`, `MODEL`: no field of any protocol, but servers written in Go read it as `model`.
    MisspeltModel,
    Stream,
    StreamOptions,
    N,
    GenerationConfig,
    PromptCacheKey,
    SessionId,
    Metadata,
    PreviousResponseId,
    CachedContent,
    Messages,
    Input,
    Contents,
    Requests,
    GenerateContentRequest,
    Other,
}

impl Field {
    fn of(name: &str) -> Field {
        match name {
            "model" => Field::Model,
            "stream" => Field::Stream,
            "stream_options" => Field::StreamOptions,
            "n" => Field::N,
            "generationConfig" | "generation_config" => Field::GenerationConfig,
            "prompt_cache_key" => Field::PromptCacheKey,
            "session_id" => Field::SessionId,
            "metadata" => Field::Metadata,
            "previous_response_id" => Field::PreviousResponseId,
            "cachedContent" | "cached_content" => Field::CachedContent,
            "messages" => Field::Messages,
            "input" => Field::Input,
            "contents" => Field::Contents,
            "requests" => Field::Requests,
            "generateContentRequest" | "generate_content_request" => Field::GenerateContentRequest,
            name if name.eq_ignore_ascii_case("model") => Field::MisspeltModel,
            _ => Field::Other,
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(FieldVisitor)
    }
}

struct FieldVisitor;

impl Visitor<'_> for FieldVisitor {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Field, E> {
        Ok(Field::of(name))
    }
}

impl<'de> Deserialize<'de> for Top<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TopVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Top<'de>, A::Error> {
        let mut top = Top::default();
        while let Some(field) = map.next_key::<Field>()? {
            let slot = match field {
                Field::Model => {
                    top.models.push(map.next_value()?);
                    continue;
                }
                Field::MisspeltModel => {
                    map.next_value::<IgnoredAny>()?;
                    top.has_misspelt_model = true;
                    continue;
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                Field::Stream => &mut top.stream,
                Field::StreamOptions => &mut top.stream_options,
                Field::N => &mut top.n,
                Field::GenerationConfig => &mut top.generation_config,
                Field::PromptCacheKey => &mut top.prompt_cache_key,
                Field::SessionId => &mut top.session_id,
                Field::Metadata => &mut top.metadata,
                Field::PreviousResponseId => &mut top.previous_response_id,
                Field::CachedContent => &mut top.cached_content,
                Field::Messages => &mut top.messages,
                Field::Input => &mut top.input,
                Field::Contents => &mut top.contents,
                Field::Requests => &mut top.requests,
                Field::GenerateContentRequest => &mut top.generate_content_request,
            };
            *slot = Some(map.next_value()?);
        }
        Ok(top)
    }
}

/// The conversation up to and with the user's first message.
pub(super) fn opening<'a>(endpoint: Endpoint, top: &Top<'a>) -> Option<&'a str> {
    let talk = match endpoint {
        Endpoint::ChatCompletions | Endpoint::Messages => top.messages,
        Endpoint::Responses | Endpoint::ResponsesCompact => top.input,
        Endpoint::GenerateContent | Endpoint::StreamGenerateContent => top.contents,
        _ => None,
    }?;
    let talk = talk.get();
    if !talk.starts_with('[') {
        return Some(talk);
    }
    let mut end = None;
    // Stops by an error of its own once it has seen enough: the rest of a long conversation is not read again.
    let _ = FirstOfUser(&mut end).deserialize(&mut serde_json::Deserializer::from_str(talk));
    Some(&talk[..span_of(talk, end?).end])
}

struct FirstOfUser<'s, 'a>(&'s mut Option<&'a str>);

impl<'de> DeserializeSeed<'de> for FirstOfUser<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for FirstOfUser<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        #[derive(serde::Deserialize)]
        struct Message<'a> {
            #[serde(borrow, default)]
            role: Loose<'a>,
        }
        while let Some(raw) = seq.next_element::<&'de RawValue>()? {
            *self.0 = Some(raw.get());
            let role = parse::<Message<'_>>(raw).map(|message| message.role);
            // Gemini allows to leave the role out where only the user speaks.
            if role.is_some_and(|role| matches!(role.as_str(), Some("user") | None)) {
                return Err(de::Error::custom("seen enough"));
            }
        }
        Ok(())
    }
}
