//! Has the client gone? Told by its socket, as actix does not tell a handler: one runs on when its client closes, or
//! when the HTTP/2 connection under it dies.

use std::any::Any;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use log::warn;
use tokio::io::Interest;

/// A client's connection, to be waited on by every request that comes over it.
#[derive(Clone)]
pub struct Connection(Arc<Socket>);

struct Socket {
    stream: TcpStream,
    /// A request has come over it.
    spoken: AtomicBool,
}

/// HTTP/1 connections over which a request has come, and which the server has not closed yet; calls by HTTP/2.
static SPEAKING: AtomicUsize = AtomicUsize::new(0);

/// How many HTTP/1 connections are open over which a request has come, and how many calls by HTTP/2 are under way. While
/// the server drains, these are the ones whose answers are not yet all sent.
pub fn speaking() -> usize {
    SPEAKING.load(Ordering::Relaxed)
}

/// A call by HTTP/2, until its answer begins.
pub struct Call(());

impl Call {
    pub fn begin() -> Call {
        SPEAKING.fetch_add(1, Ordering::Relaxed);
        Call(())
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        SPEAKING.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if *self.spoken.get_mut() {
            SPEAKING.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// To be given to `HttpServer::on_connect`.
pub fn on_connect(io: &dyn Any, extensions: &mut Extensions) {
    let Some(stream) = io.downcast_ref::<TcpStream>() else {
        return;
    };
    if let Err(error) = stream.set_nodelay(true) {
        warn!(error:%; "TCP_NODELAY was not set");
    }
    match Connection::of(stream) {
        Ok(connection) => {
            extensions.insert(connection);
        }
        Err(error) => warn!(error:%; "a client's connection cannot be watched"),
    }
}

impl Connection {
    /// A second handle on the same socket: the first is the server's, which may be gone before a handler is.
    fn of(stream: &TcpStream) -> io::Result<Connection> {
        let socket = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        Ok(Connection(Arc::new(Socket {
            stream: TcpStream::from_std(socket)?,
            spoken: AtomicBool::new(false),
        })))
    }

    /// A request has come over it.
    pub fn speaks(&self) {
        if !self.0.spoken.swap(true, Ordering::Relaxed) {
            SPEAKING.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends when the client has closed or reset the connection. Bytes that come meanwhile are left to the server.
    pub async fn closed(&self) {
        loop {
            match self.0.stream.ready(Interest::READABLE).await {
                Ok(ready) if ready.is_read_closed() => return,
                Ok(_) => self.await_the_next_bytes(),
                // The runtime ends.
                Err(_) => return,
            }
        }
    }

    /// Readiness is edge-triggered: cleared here, the next bytes or the close set it anew. Nothing is read.
    fn await_the_next_bytes(&self) {
        let read_nothing = || Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock));
        let _ = self.0.stream.try_io(Interest::READABLE, read_nothing);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let mut extensions = Extensions::new();
        on_connect(&server, &mut extensions);
        let connection = extensions.get::<Connection>().unwrap().clone();
        (client, server, connection)
    }

    const SOON: Duration = Duration::from_millis(800);

    #[tokio::test]
    async fn a_close_is_seen_by_everyone_who_waits() {
        let (client, _server, connection) = pair().await;
        let other = connection.clone();
        let both = async { tokio::join!(connection.closed(), other.closed()) };
        tokio::pin!(both);
        assert!(timeout(Duration::from_millis(50), &mut both).await.is_err());
        drop(client);
        timeout(SOON, both).await.unwrap();
        timeout(SOON, connection.closed()).await.unwrap();
    }

    #[tokio::test]
    async fn a_reset_is_seen() {
        let (client, _server, connection) = pair().await;
        client.set_zero_linger().unwrap();
        drop(client);
        timeout(SOON, connection.closed()).await.unwrap();
    }

    #[tokio::test]
    async fn unread_bytes_hide_no_close_and_are_none() {
        let (mut client, server, connection) = pair().await;
        client.write_all(&[b'x'; 1000]).await.unwrap();
        assert!(
            timeout(Duration::from_millis(50), connection.closed())
                .await
                .is_err()
        );
        client.write_all(b"pipelined").await.unwrap();
        drop(client);
        timeout(SOON, connection.closed()).await.unwrap();
        // Nothing was taken from the server.
        let mut read = vec![0; 2000];
        server.readable().await.unwrap();
        assert_eq!(server.try_read(&mut read).unwrap(), 1009);
    }

    #[tokio::test]
    async fn it_is_seen_after_the_server_has_let_go_too() {
        let (client, server, connection) = pair().await;
        drop(server);
        assert!(
            timeout(Duration::from_millis(50), connection.closed())
                .await
                .is_err()
        );
        drop(client);
        timeout(SOON, connection.closed()).await.unwrap();
    }
}
