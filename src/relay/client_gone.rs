//! When has the client gone? Told by whoever holds its connection.

use futures::future::{FutureExt, LocalBoxFuture, pending};

/// Ends when the client has closed or reset its connection, or this one request on it.
pub struct ClientGone(LocalBoxFuture<'static, ()>);

impl ClientGone {
    pub fn when(gone: impl Future<Output = ()> + 'static) -> ClientGone {
        ClientGone(gone.boxed_local())
    }

    /// A client that is always there.
    pub fn never() -> ClientGone {
        ClientGone::when(pending())
    }

    /// Waits until it has gone; may be asked again.
    pub async fn wait(&mut self) {
        (&mut self.0).await;
        // A future that has ended must not be polled again; it stays gone.
        self.0 = std::future::ready(()).boxed_local();
    }
}
