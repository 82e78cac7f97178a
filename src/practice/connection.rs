//! The connection that a request came on: its number, and how to end it before any header leaves.

use std::any::Any;
use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};

use actix_web::http::{StatusCode, Version};
use actix_web::{HttpRequest, HttpResponseBuilder};

use super::log::{Ended, InFlight};
use super::reply::Reply;
use super::sending::{Sending, Step};

/// What is kept of a connection while it lasts.
pub struct Connection {
    number: u64,
    /// The socket once more, to say how it is to be closed.
    socket: Option<OwnedFd>,
}

impl Connection {
    /// Keeps what the server shows of a connection that it accepts.
    pub fn accept(number: u64, io: &dyn Any) -> Connection {
        let stream = io.downcast_ref::<tokio::net::TcpStream>();
        let socket = stream.and_then(|stream| stream.as_fd().try_clone_to_owned().ok());
        Connection { number, socket }
    }

    /// The number of the connection that a request came on, from 1.
    pub fn number_of(request: &HttpRequest) -> u64 {
        request
            .conn_data::<Connection>()
            .map_or(0, |connection| connection.number)
    }
}

/// A connection that dies before any header leaves: the body fails before the head is flushed.
pub fn die(request: &HttpRequest, in_flight: InFlight, how: Ended) -> Reply {
    if let Some(socket) = request
        .conn_data::<Connection>()
        .and_then(|connection| connection.socket.as_ref())
    {
        close_socket(socket, how, request.version());
    }
    let steps = VecDeque::from([Step::Die(how)]);
    let reply = HttpResponseBuilder::new(StatusCode::OK).message_body(Sending::open(in_flight, steps));
    reply.expect("a status alone is a valid head")
}

/// Lingering for no time turns the close into a reset. HTTP/2 has many requests on a connection, so
/// there it is shut down whole.
fn close_socket(socket: &OwnedFd, how: Ended, version: Version) {
    let Ok(stream) = socket.try_clone().map(TcpStream::from) else {
        return;
    };
    if version == Version::HTTP_2 {
        let _ = stream.shutdown(Shutdown::Both);
    }
    if how == Ended::Reset
        && let Ok(stream) = tokio::net::TcpStream::from_std(stream)
    {
        let _ = stream.set_zero_linger();
    }
}
