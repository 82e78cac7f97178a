//! Two rooms that do not know each other name the protocols; here one's name becomes the other's.

use crate::{protocol, routing};

pub fn to_routing(protocol: protocol::Protocol) -> routing::ids::Protocol {
    match protocol {
        protocol::Protocol::OpenAi => routing::ids::Protocol::OpenAi,
        protocol::Protocol::Anthropic => routing::ids::Protocol::Anthropic,
        protocol::Protocol::Gemini => routing::ids::Protocol::Gemini,
    }
}

pub fn of_protocol(protocol: routing::ids::Protocol) -> protocol::Protocol {
    match protocol {
        routing::ids::Protocol::OpenAi => protocol::Protocol::OpenAi,
        routing::ids::Protocol::Anthropic => protocol::Protocol::Anthropic,
        routing::ids::Protocol::Gemini => protocol::Protocol::Gemini,
    }
}
