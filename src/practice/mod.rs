//! An upstream that fails to order: it speaks OpenAI, Anthropic and Gemini as the real ones do, and
//! goes wrong where a model's name or a prefix of the path says so.
//!
//! Demo, drills, tests and benches start it in-process with [`Practice::start`];
//! `pointsman practice` runs it alone.

mod anthropic;
mod answer;
mod connection;
/// The fault grammar.
pub mod faults;
mod gemini;
mod heard;
mod log;
mod look_alikes;
mod media;
mod multipart;
mod openai;
mod place;
mod refusals;
mod repeat;
mod reply;
mod responses;
mod sending;
mod server;
#[cfg(test)]
mod tests;
mod tools;

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use actix_web::rt::System;

pub use self::log::{Ended, Log, Received};
use self::server::{Signals, Stage, server};

/// `pointsman practice`
#[derive(Clone, Debug, clap::Args)]
#[command(
    about = "Run the practice upstream alone: answers as the real ones do, faults to order",
    after_long_help = faults::GRAMMAR
)]
pub struct PracticeArgs {
    /// Where it listens (HTTP/1.1 and h2c).
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3900")]
    pub listen: SocketAddr,

    /// For benches: learn each answer once and repeat its bytes from then on, on one thread. Method, path, model and
    /// `stream` tell requests apart, `gap_ms` holds for each answer, and there is no log
    #[arg(long)]
    pub repeat: bool,
}

/// Runs the practice upstream until SIGTERM or SIGINT. What it received is at `GET /practice/log`.
///
/// # Errors
/// The address cannot be bound.
pub async fn run(args: PracticeArgs) -> io::Result<()> {
    if args.repeat {
        let full = Practice::start(SocketAddr::from(([127, 0, 0, 1], 0)), 1)?;
        let listener = repeat::listen(args.listen)?;
        announce(listener.local_addr()?);
        return repeat::serve(listener, full.addr()).await;
    }
    let listener = TcpListener::bind(args.listen)?;
    let address = listener.local_addr()?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let server = server(listener, workers, Arc::new(Stage::default()), Signals::Obeyed)?;
    announce(address);
    server.await
}

fn announce(address: SocketAddr) {
    // A reader of our output that has gone is no reason to stop.
    let _ = writeln!(
        io::stdout(),
        "practice upstream on http://{address} (faults: pointsman practice --help)"
    );
}

/// A practice upstream that runs on a thread of its own, until stopped or dropped.
pub struct Practice {
    address: SocketAddr,
    stage: Arc<Stage>,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

impl Practice {
    /// Starts it; port 0 takes a free one. Callable from any runtime or none; returns when it accepts.
    ///
    /// # Errors
    /// The address cannot be bound, or the thread not be started.
    pub fn start(listen: SocketAddr, workers: usize) -> io::Result<Practice> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let stage = Arc::new(Stage::default());
        let (started, starting) = mpsc::channel();
        let shared = Arc::clone(&stage);
        let serve = async move {
            let served = server(listener, workers, shared, Signals::LeftAlone);
            // The starter waits for this word, so it is there to take it.
            match served {
                Ok(server) => {
                    let _ = started.send(Ok(server.handle()));
                    let _ = server.await;
                }
                Err(error) => drop(started.send(Err(error))),
            }
        };
        let thread = std::thread::Builder::new()
            .name("practice".to_owned())
            .spawn(move || System::new().block_on(serve))?;
        let handle = starting
            .recv()
            .map_err(|_| io::Error::other("the practice upstream did not start"))??;
        Ok(Practice {
            address,
            stage,
            handle,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// `http://ADDRESS:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it received; the handle outlives the server.
    pub fn log(&self) -> Log {
        self.stage.log.clone()
    }

    /// Forgets what it received, and starts `first` and `flap` anew.
    pub fn forget(&self) {
        self.stage.forget();
    }

    /// Stops at once: connections are dropped, answers in flight too.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // The command is sent by the call itself; the future would only wait for its end.
        drop(self.handle.stop(false));
        // A panic of the server thread has been reported by its own hook.
        let _ = thread.join();
    }
}

impl Drop for Practice {
    fn drop(&mut self) {
        self.stop();
    }
}
