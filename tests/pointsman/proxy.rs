//! A proxy before a server database, to take it away in every way that a network can.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From Pointsman to the database.
    Asked,
    /// From the database to Pointsman.
    Answered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    Hang,
    Cut,
    Delay(Duration),
}

/// Something that happens once, to the first connection that comes to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trap {
    AfterBytes { bytes: usize, way: Way },
    BeforeCommit,
    AfterCommit,
}

/// Passes everything on until told otherwise. Every change holds at once for open connections too.
pub struct DatabaseProxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    trap: Mutex<Option<Trap>>,
    open: AtomicUsize,
    accepted: AtomicU64,
    sprung: AtomicU64,
}

impl DatabaseProxy {
    pub async fn before(database: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (mode, seen) = watch::channel(Mode::Pass);
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn(accept(listener, address, database, seen, shared.clone()));
        Self {
            address,
            mode,
            shared,
            accepting,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pass(&self) {
        self.set(Mode::Pass);
    }

    /// Connections stay open, new ones are accepted, and nothing moves; what was on its way arrives when it
    /// passes again.
    pub fn hang(&self) {
        self.set(Mode::Hang);
    }

    /// Resets every connection and refuses new ones.
    pub fn cut(&self) {
        self.set(Mode::Cut);
    }

    /// Every piece waits this long before it is passed on.
    pub fn delay(&self, by: Duration) {
        self.set(Mode::Delay(by));
    }

    /// Once: resets the connection that carries the byte after the next `bytes` ones of this way, counted over
    /// all connections from now on.
    pub fn cut_after(&self, bytes: usize, way: Way) {
        *self.shared.trap() = Some(Trap::AfterBytes { bytes, way });
    }

    /// Once: the next COMMIT never reaches the database; the connection is reset.
    pub fn cut_before_commit(&self) {
        *self.shared.trap() = Some(Trap::BeforeCommit);
    }

    /// Once: the next COMMIT is carried out, but the connection is reset instead of the answer.
    pub fn cut_after_commit(&self) {
        *self.shared.trap() = Some(Trap::AfterCommit);
    }

    /// How often a `cut_…` has happened.
    pub fn sprung(&self) -> u64 {
        self.shared.sprung.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Connections ever accepted.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for DatabaseProxy {
    fn drop(&mut self) {
        self.cut();
        self.accepting.abort();
    }
}

impl Shared {
    fn trap(&self) -> MutexGuard<'_, Option<Trap>> {
        self.trap.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// A connection was cut, and both its ends are to be reset.
struct Cut;

async fn accept(
    mut listener: TcpListener,
    address: SocketAddr,
    database: SocketAddr,
    mut mode: watch::Receiver<Mode>,
    shared: Arc<Shared>,
) {
    loop {
        tokio::select! {
            biased;
            cut = until(&mut mode, |mode| mode == Mode::Cut) => {
                if cut.is_err() {
                    return;
                }
                // Without a listener the kernel refuses, as it does for a server that is down.
                drop(listener);
                if until(&mut mode, |mode| mode != Mode::Cut).await.is_err() {
                    return;
                }
                listener = TcpListener::bind(address).await.expect("the proxy's own port again");
            }
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(carry(client, database, mode.clone(), shared.clone()));
            }
        }
    }
}

/// The first such mode from now on; an error when the proxy is gone.
async fn until(mode: &mut watch::Receiver<Mode>, is: impl Fn(Mode) -> bool) -> Result<Mode, Cut> {
    mode.wait_for(|mode| is(*mode))
        .await
        .map(|mode| *mode)
        .map_err(|_| Cut)
}

/// One connection, until one side closes or it is cut.
async fn carry(
    mut client: TcpStream,
    database: SocketAddr,
    mode: watch::Receiver<Mode>,
    shared: Arc<Shared>,
) {
    let Ok(mut server) = TcpStream::connect(database).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    shared.open.fetch_add(1, Ordering::SeqCst);
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        // Set by the COMMIT that passed, read where its answer comes.
        let committed = &Mutex::new(false);
        let asked = Pump {
            way: Way::Asked,
            mode: mode.clone(),
            shared: &shared,
            committed,
        };
        let answered = Pump {
            way: Way::Answered,
            mode: mode.clone(),
            shared: &shared,
            committed,
        };
        let mut cut = mode.clone();
        tokio::select! {
            ended = async { tokio::try_join!(asked.run(from_client, to_server), answered.run(from_server, to_client)) } => ended.map(drop),
            _ = until(&mut cut, |mode| mode == Mode::Cut) => Err(Cut),
        }
    };
    if ended.is_err() {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
    shared.open.fetch_sub(1, Ordering::SeqCst);
}

struct Pump<'a> {
    way: Way,
    mode: watch::Receiver<Mode>,
    shared: &'a Shared,
    committed: &'a Mutex<bool>,
}

impl Pump<'_> {
    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Cut> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = match from.read(&mut buffer).await {
                Ok(0) => {
                    let _ = to.shutdown().await;
                    return Ok(());
                }
                Ok(length) => length,
                Err(_) => return Err(Cut),
            };
            self.wait_while_hanging().await?;
            let passed = self.passed(&buffer[..length]);
            if to.write_all(&buffer[..passed]).await.is_err() || passed < length {
                return Err(Cut);
            }
        }
    }

    async fn wait_while_hanging(&mut self) -> Result<(), Cut> {
        match until(&mut self.mode, |mode| mode != Mode::Hang).await? {
            Mode::Cut => Err(Cut),
            Mode::Delay(by) => {
                tokio::time::sleep(by).await;
                Ok(())
            }
            Mode::Pass | Mode::Hang => Ok(()),
        }
    }

    /// How many of these bytes go on; fewer than all of them means that the trap has sprung.
    fn passed(&self, bytes: &[u8]) -> usize {
        let mut committed = self
            .committed
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut trap = self.shared.trap();
        let commit = self.way == Way::Asked && has_commit(bytes);
        let passed = match *trap {
            _ if *committed && self.way == Way::Answered => 0,
            Some(Trap::BeforeCommit) if commit => {
                *trap = None;
                0
            }
            Some(Trap::AfterCommit) if commit => {
                (*trap, *committed) = (None, true);
                bytes.len()
            }
            Some(Trap::AfterBytes { bytes: left, way }) if way == self.way => {
                *trap = (left >= bytes.len()).then(|| Trap::AfterBytes {
                    bytes: left - bytes.len(),
                    way,
                });
                left.min(bytes.len())
            }
            _ => bytes.len(),
        };
        if passed < bytes.len() {
            self.shared.sprung.fetch_add(1, Ordering::SeqCst);
        }
        passed
    }
}

/// COMMIT as a word: `READ COMMITTED` is none.
fn has_commit(bytes: &[u8]) -> bool {
    let word = b"COMMIT";
    let goes_on = |at: usize| bytes.get(at + word.len()).is_some_and(u8::is_ascii_alphabetic);
    let mut found = bytes
        .windows(word.len())
        .enumerate()
        .filter(|(_, part)| part.eq_ignore_ascii_case(word));
    found.any(|(at, _)| !goes_on(at))
}
