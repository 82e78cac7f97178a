//! The client's request as one channel wants it: URL, headers, body.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::request::Request;
use super::rooms::to_routing;
use super::stream::UsageChunk;
use crate::actors::lease::Lease;
use crate::protocol::Protocol;
use crate::protocol::headers::{BadHeader, upstream_headers};
use crate::protocol::providers::{self, Provider};
use crate::protocol::request::{BadRequest, ask_for_usage};
use crate::protocol::upstream_url::{Address, BadUrl, models_url, upstream_url};
use crate::routing::rows::{ChannelSpec, Secret};

/// Why a channel cannot be asked: its definition is at fault. Never quotes a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("provider is not known")]
    Provider,
    #[error("{0}")]
    Url(#[from] BadUrl),
    #[error("header_override or key: {0}")]
    Header(#[from] BadHeader),
    #[error("param_override: {0}")]
    Param(#[from] BadRequest),
}

/// A request that can be sent.
pub struct Prepared {
    pub request: reqwest::Request,
    pub usage_chunk: UsageChunk,
}

/// The request to send. `model`: the asked one, or one that stands in for it; the channel's mapping comes on top.
pub fn prepare(request: &Request, model: &str, lease: &Lease) -> Result<Prepared, Unfit> {
    let spec = &lease.channel().spec;
    let provider = providers::provider(&spec.provider).ok_or(Unfit::Provider)?;
    let model = spec.model_mapping.get(model).map_or(model, String::as_str);
    let protocol = request.head.endpoint.protocol();
    let usage_chunk = match request.asked.leaves_usage_unasked() && provider.takes_stream_usage {
        true => UsageChunk::Dropped,
        false => UsageChunk::Passed,
    };
    let url = upstream_url(
        &address(spec, provider, protocol),
        request.head.endpoint,
        model,
        request.head.version,
        request.query.as_deref(),
    )?;
    let key = lease
        .key()
        .map(|key| (provider.key_header(protocol), key.spec.secret.reveal()));
    let over = header_override(spec);
    let mut prepared = reqwest::Request::new(http::Method::POST, url);
    *prepared.headers_mut() = upstream_headers(&request.head.caller.headers, protocol, key, &over)?;
    *prepared.body_mut() = Some(body(request, spec, model, usage_chunk)?.into());
    Ok(Prepared {
        request: prepared,
        usage_chunk,
    })
}

/// The question which models the upstream serves, in this protocol.
pub fn prepare_models(
    spec: &ChannelSpec,
    key: Option<&Secret>,
    protocol: Protocol,
) -> Result<reqwest::Request, Unfit> {
    let provider = providers::provider(&spec.provider).ok_or(Unfit::Provider)?;
    let mut url = models_url(&address(spec, provider, protocol), protocol)?;
    // Pages are small where nothing is said; OpenAI's has no pages.
    match protocol {
        Protocol::OpenAi => {}
        Protocol::Anthropic => drop(url.query_pairs_mut().append_pair("limit", "1000")),
        Protocol::Gemini => drop(url.query_pairs_mut().append_pair("pageSize", "1000")),
    }
    let key = key.map(|key| (provider.key_header(protocol), key.reveal()));
    let mut prepared = reqwest::Request::new(http::Method::GET, url);
    *prepared.headers_mut() =
        upstream_headers(&http::HeaderMap::new(), protocol, key, &header_override(spec))?;
    Ok(prepared)
}

fn address<'a>(spec: &'a ChannelSpec, provider: &'static Provider, protocol: Protocol) -> Address<'a> {
    Address {
        provider,
        base_url: spec.base_url.as_deref(),
        protocol_base_url: spec
            .settings
            .base_urls
            .get(&to_routing(protocol))
            .map(String::as_str),
        api_version: spec.settings.api_version.as_deref(),
    }
}

/// In the form in which the override is read: `null` takes a header away.
fn header_override(spec: &ChannelSpec) -> Map<String, Value> {
    let entry = |(name, value): (&String, &Option<String>)| (name.clone(), value.clone().into());
    spec.header_override.iter().map(entry).collect()
}

/// The very bytes that the client sent, unless something changes them.
fn body(request: &Request, spec: &ChannelSpec, model: &str, usage_chunk: UsageChunk) -> Result<Bytes, Unfit> {
    let mut body = request.asked.with_model(&request.body, model);
    if usage_chunk == UsageChunk::Dropped {
        body = ask_for_usage(&body)?;
    }
    // The operator has the last word.
    Ok(request.asked.with_params(&body, &spec.param_override)?)
}

/// What the store must know of a provider.
pub fn provider_traits(name: &str) -> Option<crate::routing::rows::ProviderTraits> {
    let provider = providers::provider(name)?;
    Some(crate::routing::rows::ProviderTraits {
        protocols: provider
            .speaks
            .iter()
            .map(|spoken| to_routing(spoken.protocol))
            .collect(),
        needs_key: provider.needs_key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::rooms::of_protocol;

    #[test]
    fn every_provider_has_its_traits() {
        for provider in providers::all() {
            let traits = provider_traits(provider.name).unwrap();
            assert_eq!(traits.needs_key, provider.needs_key, "{}", provider.name);
            let spoken: Vec<_> = traits.protocols.iter().map(of_protocol).collect();
            for protocol in Protocol::ALL {
                assert_eq!(
                    spoken.contains(&protocol),
                    provider.speaks(protocol),
                    "{}",
                    provider.name
                );
            }
        }
        assert!(provider_traits("nobody").is_none());
    }
}
