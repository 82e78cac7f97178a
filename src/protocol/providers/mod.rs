//! Which kinds of upstream are there, where do they live and how do they want their key?
//!
//! A new provider is a line in one of the families beside this file, or a file of its own and its line in `FAMILIES`.

use super::endpoint::{Endpoint, Protocol};

mod both;
mod houses;
mod openai_like;
mod self_hosted;

const FAMILIES: [&[Provider]; 4] = [houses::ALL, both::ALL, openai_like::ALL, self_hosted::ALL];

/// A kind of upstream.
#[derive(Debug)]
pub struct Provider {
    /// The word in `channels.provider`.
    pub name: &'static str,
    /// The protocols that it speaks, its own first. `settings.protocols` of a channel overrides.
    pub speaks: &'static [Spoken],
    /// What it serves beside, in parts; only a channel whose `settings.protocols` asks for it speaks it.
    pub on_demand: &'static [Spoken],
    /// Whether a channel is closed without an enabled key.
    pub needs_key: bool,
    /// Whether it takes `stream_options.include_usage` (chat completions and completions), where known for sure.
    pub takes_stream_usage: bool,
    /// How its paths are laid out.
    pub paths: Paths,
    /// Endpoints that live under another base than the rest (only while the channel has no base URL of its own).
    pub elsewhere: &'static [(Endpoint, &'static str)],
}

/// One protocol of a provider.
#[derive(Debug)]
pub struct Spoken {
    pub protocol: Protocol,
    /// Where it is served if the channel does not say; `None`: the channel must.
    pub base_url: Option<&'static str>,
    pub key: KeyHeader,
}

/// How a provider lays out its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    /// `{base}/v1/chat/completions`
    Versioned,
    /// `{base}/chat/completions`, unless the base brings a version of its own.
    Versionless,
    /// `{base}/openai/v1/…`, or by deployment where an `api_version` is set.
    Azure,
}

/// The header in which an upstream wants its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHeader {
    /// `Authorization: Bearer …`
    Bearer,
    XApiKey,
    ApiKey,
    XGoogApiKey,
}

/// One protocol, its base and the header for its key.
const fn spoken(protocol: Protocol, base_url: &'static str, key: KeyHeader) -> Spoken {
    Spoken {
        protocol,
        base_url: Some(base_url),
        key,
    }
}

/// A protocol whose base the channel must bring.
const fn at_own_base(protocol: Protocol, key: KeyHeader) -> Spoken {
    Spoken {
        protocol,
        base_url: None,
        key,
    }
}

/// What most providers have in common.
const fn usual(name: &'static str, speaks: &'static [Spoken]) -> Provider {
    Provider {
        name,
        speaks,
        on_demand: &[],
        needs_key: true,
        takes_stream_usage: false,
        paths: Paths::Versioned,
        elsewhere: &[],
    }
}

impl KeyHeader {
    /// The header that the protocol's own house wants.
    #[must_use]
    pub const fn of_house(protocol: Protocol) -> KeyHeader {
        match protocol {
            Protocol::OpenAi => KeyHeader::Bearer,
            Protocol::Anthropic => KeyHeader::XApiKey,
            Protocol::Gemini => KeyHeader::XGoogApiKey,
        }
    }
}

impl Provider {
    /// Whether it speaks the protocol, unless the channel's `settings.protocols` says otherwise.
    #[must_use]
    pub fn speaks(&self, protocol: Protocol) -> bool {
        self.speaks.iter().any(|spoken| spoken.protocol == protocol)
    }

    /// The header for the key in this protocol. Where a channel's settings claim a protocol that the provider is not
    /// known to speak, it is the header of that protocol's own house.
    #[must_use]
    pub fn key_header(&self, protocol: Protocol) -> KeyHeader {
        self.spoken(protocol)
            .map_or(KeyHeader::of_house(protocol), |spoken| spoken.key)
    }

    /// Whether a channel must bring its `base_url`.
    #[must_use]
    pub fn needs_base_url(&self) -> bool {
        self.speaks.iter().all(|spoken| spoken.base_url.is_none())
    }

    pub(super) fn spoken(&self, protocol: Protocol) -> Option<&'static Spoken> {
        let all = self.speaks.iter().chain(self.on_demand);
        all.into_iter().find(|spoken| spoken.protocol == protocol)
    }
}

/// The provider of that name.
#[must_use]
pub fn provider(name: &str) -> Option<&'static Provider> {
    all().find(|provider| provider.name == name)
}

/// Every provider.
pub fn all() -> impl Iterator<Item = &'static Provider> {
    FAMILIES.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::upstream_url::check_base_url;

    #[test]
    fn every_provider_of_the_list_is_there_once() {
        let mut names: Vec<_> = all().map(|provider| provider.name).collect();
        names.sort_unstable();
        let listed = "anthropic azure cohere custom dashscope deepseek gemini groq jina minimax mistral moonshot ollama \
            openai openrouter perplexity siliconflow together vllm volcengine xai zhipu";
        assert_eq!(
            names.join(" "),
            listed.split_whitespace().collect::<Vec<_>>().join(" ")
        );
        assert!(provider("OpenAI").is_none());
    }

    #[test]
    fn every_default_base_is_one_that_an_operator_could_set() {
        for provider in all() {
            assert!(!provider.speaks.is_empty(), "{}", provider.name);
            for spoken in provider.speaks {
                assert_eq!(
                    spoken.base_url.map_or(Ok(()), check_base_url),
                    Ok(()),
                    "{}",
                    provider.name
                );
            }
        }
    }

    #[test]
    fn who_needs_a_base_or_no_key() {
        let needs_base = all()
            .filter(|provider| provider.needs_base_url())
            .map(|provider| provider.name);
        assert_eq!(needs_base.collect::<Vec<_>>(), ["azure", "vllm", "custom"]);
        let needs_no_key = all()
            .filter(|provider| !provider.needs_key)
            .map(|provider| provider.name);
        assert_eq!(needs_no_key.collect::<Vec<_>>(), ["ollama", "vllm"]);
    }

    #[test]
    fn keys_go_where_the_provider_wants_them() {
        for (name, protocol, header) in [
            ("openai", Protocol::OpenAi, KeyHeader::Bearer),
            ("azure", Protocol::OpenAi, KeyHeader::ApiKey),
            ("anthropic", Protocol::Anthropic, KeyHeader::XApiKey),
            ("anthropic", Protocol::OpenAi, KeyHeader::Bearer),
            ("gemini", Protocol::Gemini, KeyHeader::XGoogApiKey),
            ("gemini", Protocol::OpenAi, KeyHeader::Bearer),
            ("openrouter", Protocol::Anthropic, KeyHeader::Bearer),
            ("custom", Protocol::Gemini, KeyHeader::XGoogApiKey),
        ] {
            assert_eq!(
                provider(name).unwrap().key_header(protocol),
                header,
                "{name} {protocol}"
            );
        }
        assert!(!provider("custom").unwrap().speaks(Protocol::Anthropic));
    }
}
