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
        (
            "openai",
            Some("https://host/v3/openai"),
            Chat,
            "https://host/v3/openai/chat/completions",
        ),
        (
            "openai",
            Some("https://v1/openai"),
            Chat,
            "https://v1/openai/v1/chat/completions",
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
            "https://host/v1/messages",
        ),
        (
            "deepseek",
            Some("https://api.deepseek.com/v1"),
            Messages,
            "https://api.deepseek.com/anthropic/v1/messages",
        ),
        (
            "deepseek",
            Some("http://127.0.0.1:8080"),
            Messages,
            "http://127.0.0.1:8080/v1/messages",
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
            "https://host/v1/chat/completions",
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
