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
        ..usual(
            "anthropic",
            &[
                spoken(Anthropic, "https://api.anthropic.com", XApiKey),
                // Chat completions only; its "OpenAI SDK compatibility".
                spoken(OpenAi, "https://api.anthropic.com", Bearer),
            ],
        )
    },
    Provider {
        takes_stream_usage: true,
        ..usual(
            "gemini",
            &[
                spoken(Gemini, "https://generativelanguage.googleapis.com", XGoogApiKey),
                spoken(
                    OpenAi,
                    "https://generativelanguage.googleapis.com/v1beta/openai/",
                    Bearer,
                ),
            ],
        )
    },
    Provider {
        takes_stream_usage: true,
        paths: Paths::Azure,
        ..usual("azure", &[at_own_base(OpenAi, ApiKey)])
    },
];
