//! Providers that serve OpenAI's protocol and, mostly under another path, Anthropic's.

use super::KeyHeader::{Bearer, XApiKey};
use super::{Provider, spoken, usual};
use crate::protocol::endpoint::Protocol::{Anthropic, OpenAi};

pub(super) const ALL: &[Provider] = &[
    Provider {
        takes_stream_usage: true,
        ..usual(
            "openrouter",
            &[
                spoken(OpenAi, "https://openrouter.ai/api/v1", Bearer),
                spoken(Anthropic, "https://openrouter.ai/api/v1", Bearer),
            ],
        )
    },
    Provider {
        takes_stream_usage: true,
        ..usual(
            "deepseek",
            &[
                spoken(OpenAi, "https://api.deepseek.com", Bearer),
                spoken(Anthropic, "https://api.deepseek.com/anthropic", XApiKey),
            ],
        )
    },
    Provider {
        takes_stream_usage: true,
        ..usual(
            "moonshot",
            &[
                spoken(OpenAi, "https://api.moonshot.ai/v1", Bearer),
                spoken(Anthropic, "https://api.moonshot.ai/anthropic", Bearer),
            ],
        )
    },
    usual(
        "zhipu",
        &[
            spoken(OpenAi, "https://open.bigmodel.cn/api/paas/v4", Bearer),
            spoken(Anthropic, "https://open.bigmodel.cn/api/anthropic", XApiKey),
        ],
    ),
    Provider {
        takes_stream_usage: true,
        ..usual(
            "minimax",
            &[
                spoken(OpenAi, "https://api.minimax.io/v1", Bearer),
                spoken(Anthropic, "https://api.minimax.io/anthropic", Bearer),
            ],
        )
    },
    Provider {
        takes_stream_usage: true,
        ..usual(
            "dashscope",
            &[
                spoken(
                    OpenAi,
                    "https://dashscope.aliyuncs.com/compatible-mode/v1",
                    Bearer,
                ),
                spoken(
                    Anthropic,
                    "https://dashscope.aliyuncs.com/apps/anthropic",
                    XApiKey,
                ),
            ],
        )
    },
    usual(
        "siliconflow",
        &[
            spoken(OpenAi, "https://api.siliconflow.cn/v1", Bearer),
            spoken(Anthropic, "https://api.siliconflow.cn/v1", Bearer),
        ],
    ),
];
