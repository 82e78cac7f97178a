//! Which conversation is it, and on what earlier answer does it build? So that both go where they went before, for
//! the sake of prompt caches and of what an upstream has stored.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::answer::{Answer, Body};
use super::failover::Place;
use super::request::Request;
use crate::actors::Routing;
use crate::protocol::Endpoint;
use crate::protocol::responses::response_id;
use crate::protocol::sse::{Frame, SseParser};
use crate::routing::remembered::StateId;

/// Headers by which clients name a session.
const SESSION_HEADERS: [&str; 2] = ["x-session-id", "x-claude-code-session-id"];

/// A hash of the conversation, the same on every turn and on every node; `None` where there is none.
pub fn conversation(request: &Request) -> Option<u64> {
    if !request.head.endpoint.is_conversation() {
        return None;
    }
    let hints = &request.asked.affinity;
    let header = |name: &&str| {
        request
            .head
            .caller
            .headers
            .get(*name)
            .map(|value| value.as_bytes())
    };
    let named = |name: &Option<String>| name.as_ref().map(|name| name.as_bytes().to_vec());
    let name = named(&hints.prompt_cache_key)
        .or_else(|| named(&hints.session_id))
        .or_else(|| SESSION_HEADERS.iter().find_map(header).map(<[u8]>::to_vec))
        .or_else(|| named(&hints.user_id))
        .filter(|name| !name.is_empty());
    let mut hash = Sha256::new();
    // Two clients with the same words are two conversations.
    hash.update(request.token.id.0.to_be_bytes());
    match (
        &name,
        hints.opening.clone().and_then(|span| request.body.get(span)),
    ) {
        (Some(name), _) => {
            hash.update(b"name");
            hash.update(name);
        }
        (None, Some(opening)) => {
            hash.update(b"opening");
            hash.update(opening);
        }
        (None, None) => return None,
    }
    let hash = hash.finalize();
    Some(
        hash.iter()
            .take(8)
            .fold(0, |number, byte| number << 8 | u64::from(*byte)),
    )
}

/// The earlier answer or the cache that the request names: only the account that has it can serve it.
pub fn state(request: &Request) -> Option<StateId> {
    let hints = &request.asked.affinity;
    let id = hints
        .previous_response_id
        .as_deref()
        .or(hints.cached_content.as_deref());
    id.map(StateId::of)
}

/// A good answer has come, or begun: what names it, or what it was built on, is remembered with its place.
/// `first` is a plain answer's body or a stream's first event.
pub fn remember(routing: &Routing, request: &Request, place: Place, first: &[u8]) {
    if let Some(cache) = &request.asked.affinity.cached_content {
        routing.remember_response(cache, place.channel, place.key);
    }
    if request.head.endpoint == Endpoint::Responses
        && let Some(id) = response_id(first)
    {
        routing.remember_response(&id, place.channel, place.key);
    }
}

/// The same for a stream whose first event this is, as it came.
pub fn remember_stream(routing: &Routing, request: &Request, place: Place, first: Bytes) {
    let mut parser = SseParser::new();
    parser.feed(first);
    let data = match parser.next_frame() {
        Ok(Some(Frame::Event(event))) => event.data().to_vec(),
        _ => Vec::new(),
    };
    remember(routing, request, place, &data);
}

/// The same for an answer that is held whole.
pub fn remember_whole(routing: &Routing, request: &Request, place: Place, answer: &Answer) {
    if let Body::Whole(body) = &answer.body {
        remember(routing, request, place, body);
    }
}
