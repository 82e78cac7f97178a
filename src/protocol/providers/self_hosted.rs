//! Servers that the operator runs, or whatever else is not in the list.

use super::KeyHeader::Bearer;
use super::{Provider, at_own_base, spoken, usual};
use crate::protocol::endpoint::Protocol::{Anthropic, OpenAi};

pub(super) const ALL: &[Provider] = &[
    Provider {
        needs_key: false,
        takes_stream_usage: true,
        ..usual(
            "ollama",
            &[
                spoken(OpenAi, "http://localhost:11434", Bearer),
                spoken(Anthropic, "http://localhost:11434", Bearer),
            ],
        )
    },
    Provider {
        needs_key: false,
        takes_stream_usage: true,
        ..usual(
            "vllm",
            &[at_own_base(OpenAi, Bearer), at_own_base(Anthropic, Bearer)],
        )
    },
    // Other protocols by `settings.protocols`.
    usual("custom", &[at_own_base(OpenAi, Bearer)]),
];
