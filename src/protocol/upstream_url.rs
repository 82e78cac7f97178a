//! Where does a request go at a channel?
//!
//! | `base_url` | with the client's `/v1/chat/completions` |
//! |---|---|
//! | `https://host`, `https://host/` | `https://host/v1/chat/completions` |
//! | `https://host/v1` | the same |
//! | `https://host/api/paas/v4` | `https://host/api/paas/v4/chat/completions` |
//! | `https://host/openai` | `https://host/openai/v1/chat/completions` |
//! | `https://host/v1beta/openai` | `https://host/v1beta/openai/chat/completions` |
//! | `https://host/openai/` | `https://host/openai/chat/completions` |
//!
//! Which base: `settings.base_urls` of the protocol, else `base_url`, else the provider's default. Where a provider serves
//! a protocol under another path than its own (`…/anthropic`), a `base_url` that is the provider's own in another country
//! (`https://api.moonshot.cn/v1`) brings that host to the other path too.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use url::Url;

use super::endpoint::{Endpoint, Protocol};
use super::gemini_path::{encode_segment, fits_a_path};
use super::providers::{Paths, Provider};

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

impl ClientVersion {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ClientVersion::V1 => "v1",
            ClientVersion::V1Beta => "v1beta",
        }
    }

    /// The version under which the protocol's own house stands.
    #[must_use]
    pub const fn of_house(protocol: Protocol) -> ClientVersion {
        match protocol {
            Protocol::OpenAi | Protocol::Anthropic => ClientVersion::V1,
            Protocol::Gemini => ClientVersion::V1Beta,
        }
    }
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
    let in_path = endpoint.protocol() == Protocol::Gemini || address.by_deployment();
    if in_path && !fits_a_path(model) {
        return Err(BadUrl::Model);
    }
    let base = address.base(endpoint.protocol(), Some(endpoint))?;
    let query = query.filter(|query| !query.is_empty());
    match address.api_version.filter(|_| address.by_deployment()) {
        Some(api_version) => {
            let path = deployment_path(endpoint, model);
            let theirs = query
                .map(|query| without(query, "api-version"))
                .filter(|query| !query.is_empty());
            let api_version = format!("api-version={}", encode_segment(api_version));
            let query = theirs.map_or(api_version.clone(), |theirs| format!("{theirs}&{api_version}"));
            assemble(format!("{}/openai/{path}", azure_resource(&base)), Some(&query))
        }
        None => {
            let path = endpoint.path_below_version(model);
            assemble(join(address.provider.paths, &base, version, &path), query)
        }
    }
}

/// The URL under which the upstream lists its models in this protocol (`GET`).
///
/// # Errors
/// See [`BadUrl`].
pub fn models_url(address: &Address<'_>, protocol: Protocol) -> Result<Url, BadUrl> {
    let base = address.base(protocol, None)?;
    match address.api_version.filter(|_| address.by_deployment()) {
        Some(api_version) => {
            let query = format!("api-version={}", encode_segment(api_version));
            assemble(format!("{}/openai/models", azure_resource(&base)), Some(&query))
        }
        None => {
            let version = ClientVersion::of_house(protocol);
            assemble(join(address.provider.paths, &base, version, "models"), None)
        }
    }
}

impl<'a> Address<'a> {
    fn by_deployment(&self) -> bool {
        self.provider.paths == Paths::Azure && self.api_version.is_some()
    }

    /// The base of this protocol; see the head of this file.
    fn base(&self, protocol: Protocol, endpoint: Option<Endpoint>) -> Result<Cow<'a, str>, BadUrl> {
        let default = self.provider.spoken(protocol).and_then(|spoken| spoken.base_url);
        let base = match (self.protocol_base_url, self.base_url) {
            (Some(base), _) => Cow::Borrowed(base),
            (None, Some(base)) => self
                .other_path(base, default)
                .map_or(Cow::Borrowed(base), Cow::Owned),
            (None, None) => {
                let elsewhere = self
                    .provider
                    .elsewhere
                    .iter()
                    .find(|(there, _)| Some(*there) == endpoint);
                elsewhere
                    .map(|(_, base)| *base)
                    .or(default)
                    .ok_or(BadUrl::NoBase)?
                    .into()
            }
        };
        check_base_url(&base)?;
        Ok(base)
    }

    /// `base` with the path under which the provider serves this protocol, if the two differ in host alone.
    fn other_path(&self, base: &str, default: Option<&str>) -> Option<String> {
        let main = self.provider.speaks.first()?.base_url?;
        let default = default.filter(|default| *default != main)?;
        let (base, main, default) = (
            Url::parse(base).ok()?,
            Url::parse(main).ok()?,
            Url::parse(default).ok()?,
        );
        let path = unversioned(main.path());
        // A path of its own tells a house as its name does.
        if unversioned(base.path()) != path || (path.is_empty() && !same_house(&base, &main)) {
            return None;
        }
        Some(format!(
            "{}{}",
            base.origin().ascii_serialization(),
            default.path()
        ))
    }
}

/// Base, version and path. A base that ends in a version keeps it; one with a path that ends in `/` needs none.
fn join(paths: Paths, base: &str, version: ClientVersion, path: &str) -> String {
    let bare = base.trim_end_matches('/');
    let path_of_base = bare
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map(|(_, path)| path);
    if let Some(path_of_base) = path_of_base {
        if base.ends_with('/') {
            return format!("{base}{path}");
        }
        // Who serves OpenAI's protocol below a version of their own (`…/v1beta/openai`) has none below that.
        let versioned = path_of_base.strip_suffix("/openai").unwrap_or(path_of_base);
        if is_version(versioned.rsplit('/').next().unwrap_or_default()) {
            return format!("{bare}/{path}");
        }
    }
    match paths {
        Paths::Versioned => format!("{bare}/{}/{path}", version.as_str()),
        Paths::Versionless => format!("{bare}/{path}"),
        Paths::Azure => format!("{}/openai/v1/{path}", azure_resource(bare)),
    }
}

/// The path by deployment. Azure serves responses beside the deployments, with the model in the body.
fn deployment_path(endpoint: Endpoint, model: &str) -> String {
    match endpoint {
        Endpoint::Responses | Endpoint::ResponsesCompact => endpoint.name().to_owned(),
        _ => format!("deployments/{}/{}", encode_segment(model), endpoint.name()),
    }
}

/// The resource's own address, of which operators copy more or less.
fn azure_resource(base: &str) -> &str {
    let base = base.trim_end_matches('/');
    let base = base.strip_suffix("/v1").unwrap_or(base);
    base.strip_suffix("/openai").unwrap_or(base)
}

fn assemble(mut url: String, query: Option<&str>) -> Result<Url, BadUrl> {
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    Url::parse(&url).map_err(|_| BadUrl::Base(BadBaseUrl::NotAUrl))
}

/// `v1`, `v4`, `v1beta`, `v1beta1`
fn is_version(segment: &str) -> bool {
    let mut rest = segment.strip_prefix('v').unwrap_or_default().bytes();
    rest.next().is_some_and(|digit| digit.is_ascii_digit())
        && rest.all(|letter| letter.is_ascii_digit() || letter.is_ascii_lowercase())
}

/// `api.moonshot.cn` and `api.moonshot.ai`, `api.minimaxi.com` and `api.minimax.io`: one house in two countries. Another
/// host is something of the operator's own, whose paths are theirs to say.
fn same_house(host: &Url, house: &Url) -> bool {
    fn name(url: &Url) -> Option<&str> {
        let (front, _) = url.domain()?.rsplit_once('.')?;
        front.rsplit('.').next()
    }
    match (name(host), name(house)) {
        (Some(host), Some(house)) => host.starts_with(house),
        _ => false,
    }
}

fn unversioned(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        Some((front, last)) if is_version(last) => front,
        _ => path,
    }
}

/// Checks a base URL when an operator sets it.
///
/// # Errors
/// Says what is wrong, to be put after the field's name.
pub fn check_base_url(base_url: &str) -> Result<(), BadBaseUrl> {
    let url = Url::parse(base_url).map_err(|_| BadBaseUrl::NotAUrl)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(BadBaseUrl::Scheme);
    }
    // The parser forgives `https:host` and blanks around; what is joined to a path later must be plain.
    let rest = base_url.split_once("://").map_or("", |(_, rest)| rest);
    if rest.is_empty()
        || !url.has_host()
        || base_url.contains(|letter: char| letter.is_whitespace() || letter == '\\')
    {
        return Err(BadBaseUrl::NotAUrl);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(BadBaseUrl::Credentials);
    }
    if base_url.contains('#') {
        return Err(BadBaseUrl::Fragment);
    }
    if base_url.contains('?') {
        return Err(BadBaseUrl::Query);
    }
    Ok(())
}

/// The query without every `key` parameter (a client's token); everything else byte for byte.
#[must_use]
pub fn strip_key(query: &str) -> Cow<'_, str> {
    without(query, "key")
}

fn without<'a>(query: &'a str, name: &str) -> Cow<'a, str> {
    let is_it = |pair: &&str| percent_decode_str(pair.split('=').next().unwrap_or_default()).eq(name.bytes());
    if !query.split('&').any(|pair| is_it(&pair)) {
        return Cow::Borrowed(query);
    }
    query
        .split('&')
        .filter(|pair| !is_it(pair))
        .collect::<Vec<_>>()
        .join("&")
        .into()
}

#[cfg(test)]
mod tests;
