//! The listener, and the two servers that stand behind it one after the other.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::{Server, Service};
use actix_web::http::{KeepAlive, Version};
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use tokio::net::TcpSocket;

use crate::config::Settings;
use crate::relay::Relay;
use crate::web::connection::{self, Call, Connection};
use crate::web::{Desk, routes, starting};

/// Connections that wait to be accepted while all workers are busy.
const BACKLOG: u32 = 4096;
/// Longer than the 60 s after which common load balancers drop idle connections, so that they are the first.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// To the end of a request's headers.
const HEADERS_WITHIN: Duration = Duration::from_secs(30);
/// A fast upload over a long way needs more than the 64 KiB that HTTP/2 begins with.
const H2_WINDOW: u32 = 1 << 20;

/// Takes the port; port 0 takes a free one. Call it inside a tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart does not wait for the old process's connections to fade.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Answers until the database is open: alive, not ready.
pub fn standing_in(listener: TcpListener) -> io::Result<Server> {
    let server = HttpServer::new(|| App::new().configure(starting::configure))
        .workers(1)
        // Each connection ends with its answer, so that none outlives the change of servers.
        .keep_alive(KeepAlive::Disabled)
        .shutdown_timeout(1)
        .disable_signals()
        .listen_auto_h2c(listener)?;
    Ok(server.run())
}

/// The relay, the admin REST and the probes.
pub fn whole(
    settings: &Settings,
    listener: TcpListener,
    desk: Data<Desk>,
    relay: Relay,
) -> io::Result<Server> {
    let server = HttpServer::new(move || {
        App::new()
            .wrap_fn(|request, service| {
                // HTTP/2 connections outlast their requests: those are counted by themselves.
                let call = (request.version() == Version::HTTP_2).then(Call::begin);
                if let (None, Some(connection)) = (&call, request.conn_data::<Connection>()) {
                    connection.speaks();
                }
                let answer = service.call(request);
                async move {
                    let _call = call;
                    answer.await
                }
            })
            .configure(|app| routes::configure(app, &desk, &relay))
    });
    let server = match settings.workers {
        Some(workers) => server.workers(workers),
        None => server,
    };
    let server = server
        .on_connect(connection::on_connect)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEADERS_WITHIN)
        .tcp_nodelay(true)
        .h2_initial_window_size(H2_WINDOW)
        .h2_initial_connection_window_size(2 * H2_WINDOW)
        // The drain's own deadline is exact; this one only must not be shorter.
        .shutdown_timeout(settings.drain_timeout.as_secs() + 1)
        .disable_signals()
        .listen_auto_h2c(listener)?;
    Ok(server.run())
}
