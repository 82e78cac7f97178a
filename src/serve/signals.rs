//! SIGTERM and SIGINT, and SIGXFSZ, which is only taken from its default.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// What asks the process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: a supervisor's, which may have to turn traffic away first.
    Terminate,
    /// SIGINT: somebody's at the keyboard.
    Interrupt,
}

impl Signal {
    pub fn name(self) -> &'static str {
        match self {
            Signal::Terminate => "SIGTERM",
            Signal::Interrupt => "SIGINT",
        }
    }
}

/// SIGXFSZ, by its number on every machine that we know: a file has met the limit on files (`ulimit -f`).
const FILE_TOO_LARGE: i32 = 25;

/// Takes the signals away from their default, which would end the process.
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    /// Nobody waits for it: with a handler in place the write fails instead, as on a full disk.
    _file_too_large: unix::Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Signals> {
        Ok(Signals {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            _file_too_large: unix::signal(SignalKind::from_raw(FILE_TOO_LARGE))?,
        })
    }

    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
        }
    }
}
