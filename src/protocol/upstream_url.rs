//! Where does a request go at a channel?
//!
//! | `base_url` | with the client's `/v1/chat/completions` |
//! |---|---|
//! | `https://host`, `https://host/` | `https://host/v1/chat/completions` |
//! | `https://host/v1` | the same |
//! | `https://host/api/paas/v4` | `https://host/api/paas/v4/chat/completions` |
//! | `https://host/openai` | `https://host/openai/v1/chat/completions` |
//! | `https://host/openai/` | `https://host/openai/chat/completions` |

use std::borrow::Cow;

use url::Url;

use super::endpoint::Endpoint;
use super::providers::Provider;

/// What a channel says about its address.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    pub provider: &'static Provider,
    /// `channels.base_url`
    pub base_url: Option<&'a str>,
    /// The entry of `settings.base_urls` for the protocol that is spoken. Goes before `base_url`.
    pub protocol_base_url: Option<&'a str>,
    /// `settings.api_version`, read for Azure only.
    pub api_version: Option<&'a str>,
}

/// The version in the path that the client used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientVersion {
    V1,
    V1Beta,
}

/// Why there is no URL. Never repeats the address, which may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadUrl {
    #[error("the channel has no base_url and its provider has no default")]
    NoBase,
    #[error("the channel's base_url {0}")]
    Base(#[from] BadBaseUrl),
    #[error("the model's name cannot stand in a path")]
    Model,
}

/// What is wrong with a base URL, to be said after the field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBaseUrl {
    #[error("must be a URL such as https://api.openai.com")]
    NotAUrl,
    #[error("must begin with http:// or https://")]
    Scheme,
    #[error("must not contain a user name or password: the key belongs in `keys`")]
    Credentials,
    #[error("must not contain a query (`?…`)")]
    Query,
    #[error("must not contain a fragment (`#…`)")]
    Fragment,
}

/// The URL of one attempt. `model` is the name after the channel's mapping; `query` the client's, without our key
/// (see [`strip_key`]).
///
/// # Errors
/// See [`BadUrl`].
pub fn upstream_url(
    address: &Address<'_>,
    endpoint: Endpoint,
    model: &str,
    version: ClientVersion,
    query: Option<&str>,
) -> Result<Url, BadUrl> {
    todo!()
}

/// The URL under which the upstream lists its models in this protocol (`GET`).
///
/// # Errors
/// See [`BadUrl`].
pub fn models_url(address: &Address<'_>, protocol: super::Protocol) -> Result<Url, BadUrl> {
    todo!()
}

/// Checks a base URL when an operator sets it.
///
/// # Errors
/// Says what is wrong, to be put after the field's name.
pub fn check_base_url(base_url: &str) -> Result<(), BadBaseUrl> {
    todo!()
}

/// The query without every `key` parameter (a client's token); everything else byte for byte.
#[must_use]
pub fn strip_key(query: &str) -> Cow<'_, str> {
    todo!()
}
