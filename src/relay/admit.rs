//! May this client come in? Its token, its address.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use ipnet::IpNet;

use super::refusal;
use crate::actors::Routing;
use crate::actors::tokens::{KeyHash, NoToken, Token};
use crate::protocol::ErrorAnswer;
use crate::protocol::client_tokens::client_tokens;
use crate::routing::refusal::Refusal;

/// There are five places for a token; more candidates than a few are a flood, not a client.
const MAX_CANDIDATES: usize = 8;

/// The first of the tokens shown that is ours, if it may be used now and from this address.
pub async fn admit(
    routing: &Routing,
    headers: &HeaderMap,
    query: Option<&str>,
    address: Option<IpAddr>,
) -> Result<Arc<Token>, ErrorAnswer> {
    let token = find(routing, headers, query).await?;
    if !token.is_valid(SystemTime::now()) {
        return Err(invalid_token());
    }
    if !token.allows_address(address) {
        let message = "this token may not be used from this address";
        return Err(ErrorAnswer::new(
            StatusCode::FORBIDDEN,
            "address_not_allowed",
            message,
        ));
    }
    Ok(token)
}

async fn find(
    routing: &Routing,
    headers: &HeaderMap,
    query: Option<&str>,
) -> Result<Arc<Token>, ErrorAnswer> {
    let mut asked: Vec<KeyHash> = Vec::new();
    let mut unanswered = None;
    for candidate in client_tokens(headers, query).take(MAX_CANDIDATES) {
        let hash = KeyHash::of(&candidate);
        if asked.contains(&hash) {
            continue;
        }
        asked.push(hash);
        match routing.authenticate(hash).await {
            Ok(token) => return Ok(token),
            Err(NoToken::Unknown) => {}
            Err(NoToken::Unavailable) => unanswered = Some(Refusal::RoutingUnavailable),
            Err(NoToken::Overloaded) => unanswered = Some(Refusal::Overloaded { retry_after: None }),
        }
    }
    // Whether one that could not be asked is ours is not known: that is no 401.
    Err(unanswered.map_or_else(invalid_token, |refusal| refusal::of_router(&refusal, "")))
}

fn invalid_token() -> ErrorAnswer {
    let message = "the token is missing, unknown, disabled or expired";
    ErrorAnswer::new(StatusCode::UNAUTHORIZED, "invalid_token", message)
}

/// The client's address: the peer's, or behind trusted proxies the last in `X-Forwarded-For` that is not one of them.
pub fn client_address(peer: Option<IpAddr>, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address.to_canonical()));
    let mut address = peer?;
    let values: Vec<_> = headers.get_all("x-forwarded-for").iter().collect();
    let hops = values
        .iter()
        .rev()
        .flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
    for hop in hops {
        if !is_trusted(address) {
            break;
        }
        // What a trusted proxy wrote and nobody can read names no client: the proxy stands for it.
        let Some(named) = address_of(hop.trim()) else {
            break;
        };
        address = named;
    }
    Some(address)
}

/// `1.2.3.4`, `1.2.3.4:5678`, `2001:db8::1`, `[2001:db8::1]:5678`
fn address_of(hop: &str) -> Option<IpAddr> {
    let whole = hop.trim_start_matches('[').trim_end_matches(']');
    whole
        .parse()
        .ok()
        .or_else(|| hop.parse().ok().map(|socket: std::net::SocketAddr| socket.ip()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn forwarded_addresses_are_believed_of_trusted_proxies_only() {
        let trusted: Vec<IpNet> = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (peer, forwarded, want) in [
            ("1.1.1.1", &["9.9.9.9"][..], "1.1.1.1"),
            ("10.0.0.1", &[][..], "10.0.0.1"),
            ("10.0.0.1", &["9.9.9.9"][..], "9.9.9.9"),
            ("::ffff:10.0.0.1", &["9.9.9.9"][..], "9.9.9.9"),
            ("10.0.0.1", &["6.6.6.6, 9.9.9.9, 10.0.0.2"][..], "9.9.9.9"),
            ("10.0.0.1", &["6.6.6.6", "9.9.9.9:80", "10.0.0.2"][..], "9.9.9.9"),
            ("fd00::1", &["[2001:db8::1]:443"][..], "2001:db8::1"),
            ("10.0.0.1", &["9.9.9.9, unknown"][..], "10.0.0.1"),
            ("10.0.0.1", &["10.0.0.3"][..], "10.0.0.3"),
        ] {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", HeaderValue::from_static(value));
            }
            let address = client_address(Some(peer.parse().unwrap()), &headers, &trusted);
            assert_eq!(address, Some(want.parse().unwrap()), "{peer} {forwarded:?}");
        }
    }
}
