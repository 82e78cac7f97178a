//! Where does a request go at a channel?
//!
//! | `base_url` | with the client's `/v1/chat/completions` |
//! |---|---|
//! | `https://host`, `https://host/` | `https://host/v1/chat/completions` |
//! | `https://host/v1` | the same |
//! | `https://host/api/paas/v4` | `https://host/api/paas/v4/chat/completions` |
//! | `https://host/openai` | `https://host/openai/v1/chat/completions` |
//! | `https://host/openai/` | `https://host/openai/chat/completions` |
//!
//! Which base: `settings.base_urls` of the protocol, else `base_url`, else the provider's default. Where a provider serves
//! a protocol under another path than its own (`…/anthropic`), a `base_url` that differs from the provider's only in its
//! host (`https://api.moonshot.cn/v1`) brings that host to the other path too.

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
        if unversioned(base.path()) != unversioned(main.path()) {
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
    let has_path = bare.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if has_path && base.ends_with('/') {
        return format!("{base}{path}");
    }
    if has_path && is_version(bare.rsplit('/').next().unwrap_or_default()) {
        return format!("{bare}/{path}");
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
mod tests {
    use super::*;
    use crate::protocol::providers::provider;

    fn address(name: &str, base_url: Option<&'static str>) -> Address<'static> {
        Address {
            provider: provider(name).unwrap(),
            base_url,
            protocol_base_url: None,
            api_version: None,
        }
    }

    fn url(address: Address<'_>, endpoint: Endpoint, model: &str, query: Option<&str>) -> String {
        let version = ClientVersion::of_house(endpoint.protocol());
        upstream_url(&address, endpoint, model, version, query)
            .map_or_else(|error| error.to_string(), String::from)
    }

    #[test]
    fn a_base_is_taken_with_or_without_its_version() {
        use Endpoint::{ChatCompletions as Chat, GenerateContent as Generate, Messages, Rerank};
        for (provider, base, endpoint, want) in [
            ("openai", None, Chat, "https://api.openai.com/v1/chat/completions"),
            (
                "openai",
                Some("https://host"),
                Chat,
                "https://host/v1/chat/completions",
            ),
            (
                "openai",
                Some("https://host/"),
                Chat,
                "https://host/v1/chat/completions",
            ),
            (
                "openai",
                Some("https://host:8443"),
                Chat,
                "https://host:8443/v1/chat/completions",
            ),
            (
                "openai",
                Some("https://host/v1"),
                Chat,
                "https://host/v1/chat/completions",
            ),
            (
                "openai",
                Some("https://host/v1/"),
                Chat,
                "https://host/v1/chat/completions",
            ),
            (
                "openai",
                Some("https://host/api/paas/v4"),
                Chat,
                "https://host/api/paas/v4/chat/completions",
            ),
            (
                "openai",
                Some("https://host/proxy"),
                Chat,
                "https://host/proxy/v1/chat/completions",
            ),
            (
                "openai",
                Some("https://host/openai/"),
                Chat,
                "https://host/openai/chat/completions",
            ),
            (
                "openai",
                Some("https://host/vision"),
                Chat,
                "https://host/vision/v1/chat/completions",
            ),
            ("openai", Some("http://v1"), Chat, "http://v1/v1/chat/completions"),
            (
                "custom",
                None,
                Chat,
                "the channel has no base_url and its provider has no default",
            ),
            (
                "custom",
                Some("ftp://host"),
                Chat,
                "the channel's base_url must begin with http:// or https://",
            ),
            (
                "custom",
                Some("http://[::1]:8000"),
                Messages,
                "http://[::1]:8000/v1/messages",
            ),
            // Protocols under another path.
            (
                "deepseek",
                None,
                Chat,
                "https://api.deepseek.com/v1/chat/completions",
            ),
            (
                "deepseek",
                None,
                Messages,
                "https://api.deepseek.com/anthropic/v1/messages",
            ),
            (
                "deepseek",
                Some("https://host/v1"),
                Messages,
                "https://host/anthropic/v1/messages",
            ),
            (
                "deepseek",
                Some("https://host/own/"),
                Messages,
                "https://host/own/messages",
            ),
            (
                "moonshot",
                Some("https://api.moonshot.cn"),
                Messages,
                "https://api.moonshot.cn/anthropic/v1/messages",
            ),
            (
                "zhipu",
                None,
                Chat,
                "https://open.bigmodel.cn/api/paas/v4/chat/completions",
            ),
            (
                "zhipu",
                Some("https://api.z.ai/api/paas/v4"),
                Messages,
                "https://api.z.ai/api/anthropic/v1/messages",
            ),
            (
                "openrouter",
                None,
                Messages,
                "https://openrouter.ai/api/v1/messages",
            ),
            ("ollama", None, Messages, "http://localhost:11434/v1/messages"),
            (
                "perplexity",
                None,
                Chat,
                "https://api.perplexity.ai/chat/completions",
            ),
            (
                "perplexity",
                Some("https://host/v1"),
                Chat,
                "https://host/v1/chat/completions",
            ),
            (
                "cohere",
                None,
                Chat,
                "https://api.cohere.ai/compatibility/v1/chat/completions",
            ),
            ("cohere", None, Rerank, "https://api.cohere.com/v2/rerank"),
            ("cohere", Some("https://host"), Rerank, "https://host/v1/rerank"),
            // Gemini, and OpenAI's protocol there.
            (
                "gemini",
                None,
                Generate,
                "https://generativelanguage.googleapis.com/v1beta/models/m:generateContent",
            ),
            (
                "gemini",
                Some("https://host/v1"),
                Generate,
                "https://host/v1/models/m:generateContent",
            ),
            (
                "gemini",
                None,
                Chat,
                "https://generativelanguage.googleapis.com/v1beta/openai/chat/completions",
            ),
            (
                "gemini",
                Some("https://host"),
                Chat,
                "https://host/v1beta/openai/chat/completions",
            ),
            // Azure.
            (
                "azure",
                None,
                Chat,
                "the channel has no base_url and its provider has no default",
            ),
            (
                "azure",
                Some("https://r.openai.azure.com"),
                Chat,
                "https://r.openai.azure.com/openai/v1/chat/completions",
            ),
            (
                "azure",
                Some("https://r.openai.azure.com/openai"),
                Chat,
                "https://r.openai.azure.com/openai/v1/chat/completions",
            ),
            (
                "azure",
                Some("https://r.openai.azure.com/openai/v1/"),
                Chat,
                "https://r.openai.azure.com/openai/v1/chat/completions",
            ),
        ] {
            assert_eq!(
                url(address(provider, base), endpoint, "m", None),
                want,
                "{provider} {base:?}"
            );
        }
    }

    #[test]
    fn every_endpoint_has_its_path() {
        let paths =
            Endpoint::ALL.map(|endpoint| url(address("custom", Some("http://h")), endpoint, "a/b c", None));
        insta::assert_snapshot!(paths.join("\n"), @r"
        http://h/v1/chat/completions
        http://h/v1/completions
        http://h/v1/responses
        http://h/v1/responses/compact
        http://h/v1/embeddings
        http://h/v1/images/generations
        http://h/v1/images/edits
        http://h/v1/images/variations
        http://h/v1/audio/speech
        http://h/v1/audio/transcriptions
        http://h/v1/audio/translations
        http://h/v1/moderations
        http://h/v1/rerank
        http://h/v1/messages
        http://h/v1/messages/count_tokens
        http://h/v1beta/models/a/b%20c:generateContent
        http://h/v1beta/models/a/b%20c:streamGenerateContent
        http://h/v1beta/models/a/b%20c:embedContent
        http://h/v1beta/models/a/b%20c:batchEmbedContents
        http://h/v1beta/models/a/b%20c:countTokens
        ");
    }

    #[test]
    fn a_client_on_gemini_v1_stays_there() {
        let to = address("gemini", Some("https://host"));
        let url = upstream_url(
            &to,
            Endpoint::GenerateContent,
            "m",
            ClientVersion::V1,
            Some("alt=sse"),
        );
        assert_eq!(
            url.unwrap().as_str(),
            "https://host/v1/models/m:generateContent?alt=sse"
        );
    }

    #[test]
    fn a_base_of_the_protocol_goes_first() {
        let to = Address {
            protocol_base_url: Some("https://other/claude"),
            ..address("deepseek", Some("https://host"))
        };
        assert_eq!(
            url(to, Endpoint::Messages, "m", None),
            "https://other/claude/v1/messages"
        );
    }

    #[test]
    fn azure_by_deployment() {
        let to = Address {
            api_version: Some("2024-10-21"),
            ..address("azure", Some("https://r.openai.azure.com/"))
        };
        for (endpoint, model, query, want) in [
            (
                Endpoint::ChatCompletions,
                "gpt 4/o",
                None,
                "deployments/gpt%204%2Fo/chat/completions?api-version=2024-10-21",
            ),
            (
                Endpoint::Embeddings,
                "e",
                Some("a=1"),
                "deployments/e/embeddings?a=1&api-version=2024-10-21",
            ),
            (
                Endpoint::Embeddings,
                "e",
                Some("api-version=x"),
                "deployments/e/embeddings?api-version=2024-10-21",
            ),
            (Endpoint::Responses, "m", None, "responses?api-version=2024-10-21"),
        ] {
            assert_eq!(
                url(to, endpoint, model, query),
                format!("https://r.openai.azure.com/openai/{want}")
            );
        }
        assert_eq!(
            url(to, Endpoint::Embeddings, "..", None),
            "the model's name cannot stand in a path"
        );
        assert_eq!(
            models_url(&to, Protocol::OpenAi).unwrap().as_str(),
            "https://r.openai.azure.com/openai/models?api-version=2024-10-21"
        );
        let elsewhere = Address {
            api_version: Some("x"),
            ..address("openai", None)
        };
        assert_eq!(
            url(elsewhere, Endpoint::Embeddings, "m", None),
            "https://api.openai.com/v1/embeddings"
        );
    }

    #[test]
    fn models_are_listed_beside_the_rest() {
        for (provider, protocol, want) in [
            ("openai", Protocol::OpenAi, "https://api.openai.com/v1/models"),
            (
                "gemini",
                Protocol::Gemini,
                "https://generativelanguage.googleapis.com/v1beta/models",
            ),
            (
                "zhipu",
                Protocol::OpenAi,
                "https://open.bigmodel.cn/api/paas/v4/models",
            ),
            (
                "anthropic",
                Protocol::Anthropic,
                "https://api.anthropic.com/v1/models",
            ),
        ] {
            assert_eq!(
                models_url(&address(provider, None), protocol).unwrap().as_str(),
                want
            );
        }
    }

    #[test]
    fn a_model_cannot_climb_out_of_its_path() {
        let to = address("gemini", None);
        for model in ["../files", "a/../../b", "..", "", "."] {
            assert_eq!(
                url(to, Endpoint::GenerateContent, model, None),
                "the model's name cannot stand in a path"
            );
        }
        let odd = url(to, Endpoint::GenerateContent, "a\\..\\b?x#y", None);
        assert!(
            odd.ends_with("/v1beta/models/a%5C..%5Cb%3Fx%23y:generateContent"),
            "{odd}"
        );
    }

    #[test]
    fn a_bad_base_url_is_told_from_a_good_one() {
        for (base, want) in [
            ("https://api.openai.com", Ok(())),
            ("http://localhost:11434/v1/", Ok(())),
            ("api.openai.com", Err(BadBaseUrl::NotAUrl)),
            ("", Err(BadBaseUrl::NotAUrl)),
            ("https://", Err(BadBaseUrl::NotAUrl)),
            ("https:host", Err(BadBaseUrl::NotAUrl)),
            (" https://host", Err(BadBaseUrl::NotAUrl)),
            ("https://ho st", Err(BadBaseUrl::NotAUrl)),
            ("ftp://host", Err(BadBaseUrl::Scheme)),
            ("file:///etc/passwd", Err(BadBaseUrl::Scheme)),
            ("https://user:pass@host", Err(BadBaseUrl::Credentials)),
            ("https://user@host", Err(BadBaseUrl::Credentials)),
            ("https://host/v1?x=1", Err(BadBaseUrl::Query)),
            ("https://host/v1?", Err(BadBaseUrl::Query)),
            ("https://host/v1#x", Err(BadBaseUrl::Fragment)),
        ] {
            assert_eq!(check_base_url(base), want, "{base}");
        }
    }

    #[test]
    fn only_our_key_leaves_the_query() {
        for (query, want) in [
            ("", ""),
            ("alt=sse", "alt=sse"),
            ("key=sk-1", ""),
            ("key=sk-1&alt=sse", "alt=sse"),
            ("alt=sse&key=sk-1&x=%20+&&y", "alt=sse&x=%20+&&y"),
            ("k%65y=sk-1&a", "a"),
            ("key&key=&a=key", "a=key"),
            ("monkey=1&keys=2&KEY=3", "monkey=1&keys=2&KEY=3"),
        ] {
            assert_eq!(strip_key(query), want, "{query}");
        }
    }
}
