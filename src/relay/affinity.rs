//! Which conversation is it, and on what earlier answer does it build? So that both go where they went before, for
//! the sake of prompt caches and of what an upstream has stored.

use sha2::{Digest, Sha256};

use super::request::Request;
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
