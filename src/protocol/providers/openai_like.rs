//! Providers that serve OpenAI's protocol alone.

use super::KeyHeader::Bearer;
use super::{Paths, Provider, Spoken, spoken, usual};
use crate::protocol::endpoint::{Endpoint, Protocol};

const fn openai(base_url: &'static str) -> Spoken {
    spoken(Protocol::OpenAi, base_url, Bearer)
}

pub(super) const ALL: &[Provider] = &[
    // Refuses fields that it does not know, and sends usage unasked.
    usual("mistral", &[openai("https://api.mistral.ai/v1")]),
    Provider {
        takes_stream_usage: true,
        ..usual("xai", &[openai("https://api.x.ai/v1")])
    },
    Provider {
        takes_stream_usage: true,
        ..usual("groq", &[openai("https://api.groq.com/openai/v1")])
    },
    usual("together", &[openai("https://api.together.xyz/v1")]),
    // Its chat completions stand at the root.
    Provider {
        paths: Paths::Versionless,
        ..usual("perplexity", &[openai("https://api.perplexity.ai")])
    },
    Provider {
        elsewhere: &[(Endpoint::Rerank, "https://api.cohere.com/v2")],
        ..usual("cohere", &[openai("https://api.cohere.ai/compatibility/v1")])
    },
    usual("jina", &[openai("https://api.jina.ai/v1")]),
    Provider {
        takes_stream_usage: true,
        ..usual(
            "volcengine",
            &[openai("https://ark.cn-beijing.volces.com/api/v3")],
        )
    },
];
