//! Which kinds of upstream are there, where do they live and how do they want their key?
//!
//! A new provider is a line in one of the families beside this file, or a file of its own and its line in `FAMILIES`.

use super::endpoint::{Endpoint, Protocol};

/// A kind of upstream.
#[derive(Debug)]
pub struct Provider {
    /// The word in `channels.provider`.
    pub name: &'static str,
    /// The protocols that it speaks, its own first. `settings.protocols` of a channel overrides.
    pub speaks: &'static [Spoken],
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

impl Provider {
    /// Whether it speaks the protocol, unless the channel's `settings.protocols` says otherwise.
    #[must_use]
    pub fn speaks(&self, protocol: Protocol) -> bool {
        todo!()
    }

    /// The header for the key in this protocol. Where a channel's settings claim a protocol that the provider is not
    /// known to speak, it is the header of that protocol's own house.
    #[must_use]
    pub fn key_header(&self, protocol: Protocol) -> KeyHeader {
        todo!()
    }

    /// Whether a channel must bring its `base_url`.
    #[must_use]
    pub fn needs_base_url(&self) -> bool {
        todo!()
    }
}

/// The provider of that name.
#[must_use]
pub fn provider(name: &str) -> Option<&'static Provider> {
    todo!()
}

/// Every provider, in the order of the docs.
pub fn all() -> impl Iterator<Item = &'static Provider> {
    std::iter::empty()
}
