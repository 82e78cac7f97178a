//! The houses whose protocols the others imitate, and Azure, which serves OpenAI's from its own paths.

use super::KeyHeader::{ApiKey, Bearer, XApiKey, XGoogApiKey};
use super::{Paths, Provider, at_own_base, spoken, usual};
use crate::protocol::endpoint::Protocol::{Anthropic, Gemini, OpenAi};

pub(super) const ALL: &[Provider] = &[
    Provider {
        takes_stream_usage: true,
        ..usual("openai", &[spoken(OpenAi, "https://api.openai.com", Bearer)])
    },
    Provider {
        takes_stream_usage: true,
        // Its "OpenAI SDK compatibility": chat completions only, for trying out.
        on_demand: &[spoken(OpenAi, "https://api.anthropic.com", Bearer)],
        ..usual(
            "anthropic",
            &[spoken(Anthropic, "https://api.anthropic.com", XApiKey)],
        )
    },
    Provider {
        takes_stream_usage: true,
        on_demand: &[spoken(
            OpenAi,
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            Bearer,
        )],
        ..usual(
            "gemini",
            &[spoken(
                Gemini,
                "https://generativelanguage.googleapis.com",
                XGoogApiKey,
            )],
        )
    },
    Provider {
        takes_stream_usage: true,
        paths: Paths::Azure,
        ..usual("azure", &[at_own_base(OpenAi, ApiKey)])
    },
];
