//! The HTTP clients towards upstreams: one for each proxy and connect timeout, on each web worker.
//!
//! A client's connections live on the runtime that opened them, so each worker keeps clients of its own.

use std::cell::RefCell;
use std::error::Error as _;
use std::sync::Once;
use std::time::Duration;

use reqwest::{Client, Proxy, redirect};
use rustc_hash::FxHashMap;

use super::classify::Transport;

/// Below the keep-alive of the usual servers (60 s and more), so that we are the ones who close.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);
/// Proxies and timeouts are an operator's settings; when they change often, the old clients go together.
const MAX_CLIENTS: usize = 64;
/// Finds a dead HTTP/2 connection that carries silent streams.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, PartialEq, Eq, Hash)]
struct Way {
    /// May hold a password: neither shown nor logged.
    proxy: Option<String>,
    connect: Duration,
}

thread_local! {
    static CLIENTS: RefCell<FxHashMap<Way, Client>> = RefCell::default();
}

/// Why there is no client. Never repeats the proxy's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoClient {
    #[error("settings.proxy is not the URL of a proxy")]
    Proxy,
    #[error("TLS cannot be set up: no trusted certificates")]
    Tls,
}

/// This worker's client for a way.
pub fn client(proxy: Option<&str>, connect: Duration) -> Result<Client, NoClient> {
    let way = Way {
        proxy: proxy.map(str::to_owned),
        connect,
    };
    if let Some(client) = CLIENTS.with_borrow(|clients| clients.get(&way).cloned()) {
        return Ok(client);
    }
    let client = build(&way)?;
    CLIENTS.with_borrow_mut(|clients| {
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(way, client.clone());
    });
    Ok(client)
}

fn build(way: &Way) -> Result<Client, NoClient> {
    use_ring();
    let builder = Client::builder()
        .connect_timeout(way.connect)
        .redirect(redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .no_proxy()
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .pool_idle_timeout(IDLE_CONNECTION)
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT);
    let builder = match &way.proxy {
        Some(proxy) => builder.proxy(Proxy::all(proxy).map_err(|_| NoClient::Proxy)?),
        None => builder,
    };
    builder.build().map_err(|_| NoClient::Tls)
}

/// The process's cipher suites; whoever set them first is right.
fn use_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// In which way a request failed before its status line.
pub fn transport(error: &reqwest::Error) -> Transport {
    if error.is_connect() {
        let mut source = error.source();
        while let Some(inner) = source {
            if is_tls(inner) {
                return Transport::Tls;
            }
            source = inner.source();
        }
        return Transport::Connect;
    }
    if error.is_timeout() {
        return Transport::Silent;
    }
    let mut source = error.source();
    while let Some(inner) = source {
        if inner
            .downcast_ref::<hyper::Error>()
            .is_some_and(|error| error.is_parse())
        {
            return Transport::Garbage;
        }
        source = inner.source();
    }
    Transport::Reset
}

/// TLS errors come wrapped in an I/O error, which shows them only by its inner error.
fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let inner = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || inner.is_some_and(|inner| inner.is::<rustls::Error>())
}
