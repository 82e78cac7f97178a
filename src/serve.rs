//! What `pointsman serve` starts, and how it stops.
//!
//! The listener is there from the first moment. While the database is away, `/livez` answers and everything
//! else is told to wait; once it is open, the actors start and the whole of the web takes over the same
//! listener. On SIGTERM `/readyz` says 503 at once; requests in flight end within `--drain-timeout`, changes
//! are waited for, and the process exits with 0.

use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt::System;
use actix_web::web::Data;
use log::{error, info, warn};
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::actors::keeper::{self, Beginning};
use crate::actors::{Routing, RoutingOptions, notices as hearing};
use crate::config::Settings;
use crate::relay::channel_test::ChannelTests;
use crate::relay::{Relay, RelayOptions, Timeouts, closing, counters, provider_traits, schedule};
use crate::routing::rebuilds::{Scope, Urgency};
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::notices;
use crate::store::snapshot_file::SnapshotFile;
use crate::web::{Desk, Node, connection};

/// The form of the log: one line an event.
pub mod log_lines;
mod listeners;
mod opening;
mod signals;

pub use opening::Furnish;
use opening::Meanwhile;
use signals::{Signal, Signals};

/// How often it is checked that all actors live.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// What `sysexits.h` calls EX_SOFTWARE: a fault of our own.
const EXIT_ACTOR_GONE: i32 = 70;
/// A database that opens within this needs nobody to stand in meanwhile.
const OPENS_AT_ONCE: Duration = Duration::from_millis(300);
/// Long enough for the first bytes of a connection that was just accepted.
const QUIET_FOR: Duration = Duration::from_secs(3);
/// A file of a million abilities takes a second or two.
const KEPT_WITHIN: Duration = Duration::from_secs(5);
/// Changes have deadlines of their own; this is for one that ignores them.
const CHANGES_END_WITHIN: Duration = Duration::from_secs(15);

/// Why it did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    #[error("cannot listen at {address}: {error}")]
    Listen {
        address: SocketAddr,
        error: std::io::Error,
    },
    #[error("{0}")]
    Database(#[from] StoreError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// `pointsman serve`, until SIGTERM or SIGINT.
pub fn run(settings: Settings) -> ExitCode {
    log_lines::start("info");
    in_system(async move {
        let listener = listen(settings.listen)?;
        serve(settings, listener, opening::as_it_is).await
    })
}

/// Runs `work` in an actix system on a multi-threaded runtime, and says on stderr why it failed.
pub fn in_system(work: impl Future<Output = Result<(), Failed>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("pointsman")
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => System::with_tokio_rt(move || runtime).block_on(work),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("pointsman: {failed}");
            ExitCode::FAILURE
        }
    }
}

/// Takes the port.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Failed> {
    listeners::bind(address).map_err(|error| Failed::Listen { address, error })
}

/// Serves on `listener` until a signal. `furnish` is called once with the open database before anything
/// else uses it.
pub async fn serve(settings: Settings, listener: TcpListener, furnish: impl Furnish) -> Result<(), Failed> {
    let mut signals = Signals::listen()?;
    info!(addr:% = listener.local_addr()?, version = env!("CARGO_PKG_VERSION"); "listening");
    let database = opening::unopened(&settings)?;
    let file = settings.snapshot_file();
    let meanwhile = Meanwhile::default();
    let mut preparing = std::pin::pin!(opening::prepare(&database, &settings, &meanwhile, furnish));
    let (beginning, mut is_prepared) =
        match open(&mut preparing, &database, &file, &listener, &mut signals).await? {
            Opened::Prepared => (None, true),
            Opened::FromFile(beginning) => {
                meanwhile.serves();
                (Some(*beginning), false)
            }
            Opened::Stopped => return Ok(()),
        };
    // Before the first build begins: what is changed after it is told.
    let known = match is_prepared {
        true => notices::version(&database).await.ok(),
        false => None,
    };
    let routing = Routing::start(RoutingOptions {
        database: database.clone(),
        runtime: Handle::current(),
        sync_interval: settings.sync_interval,
        build_deadline: settings.build_deadline,
        lookup_connections: settings.lookup_connections as usize,
        snapshot_file: file.clone(),
        beginning,
    });
    let keeper = file
        .clone()
        .map(|file| tokio::spawn(keeper::run(routing.clone(), file)));
    let node = Arc::new(Node::default());
    let tests = ChannelTests::new(routing.clone(), relay_options(&settings).timeouts);
    let closer = tokio::spawn(closing::run(routing.clone()));
    let hearer = tokio::spawn(hearing::run(routing.clone(), known, settings.notice_interval));
    let scheduled = scheduled_tests(&settings, &routing, &tests);
    let desk = Data::new(Desk::new(
        routing.clone(),
        database.clone(),
        tests,
        Arc::clone(&node),
        Handle::current(),
    ));
    let relay = Relay::new(routing.clone(), relay_options(&settings));
    let server = listeners::whole(&settings, listener, desk.clone(), relay)?;
    let handle = server.handle();
    let mut server = actix_web::rt::spawn(server);
    let tasks = [Some(&closer), Some(&hearer), keeper.as_ref()];
    let tasks = tasks
        .into_iter()
        .flatten()
        .map(JoinHandle::abort_handle)
        .collect();
    let watchdog = tokio::spawn(watch(routing.clone(), tasks));
    let signal = loop {
        tokio::select! {
            ended = &mut server => {
                return ended.unwrap_or_else(|_| Err(std::io::Error::other("the server panicked"))).map_err(Failed::Io);
            }
            signal = signals.next() => break signal,
            prepared = &mut preparing, if !is_prepared => {
                prepared?;
                is_prepared = true;
                info!("the database is there");
                let routing = routing.clone();
                tokio::spawn(async move { routing.rebuild(Scope::Everything, Urgency::Admin).await });
            }
        }
    };
    node.drain();
    // Of a test that is cut off nothing is left; a change that follows from one runs to its end.
    scheduled.inspect(JoinHandle::abort);
    drain(&settings, handle, signal, &mut signals).await;
    watchdog.abort();
    closer.abort();
    hearer.abort();
    keeper.inspect(JoinHandle::abort);
    let changes = async { tokio::join!(routing.changes().drained(), desk.writes_ended()) };
    if timeout(CHANGES_END_WITHIN, changes).await.is_err() {
        warn!("a change did not end in time");
    }
    if let Some(file) = &file
        && timeout(KEPT_WITHIN, keeper::keep(&routing, file)).await.is_err()
    {
        warn!("the snapshot file was not written in time");
    }
    let _ = timeout(Duration::from_secs(2), database.close()).await;
    info!("stopped");
    Ok(())
}

/// On this thread, as connections to upstreams live where they were opened. `None`: switched off.
fn scheduled_tests(settings: &Settings, routing: &Routing, tests: &ChannelTests) -> Option<JoinHandle<()>> {
    let interval = settings.test_interval;
    let run = || schedule::run(routing.clone(), tests.clone(), interval);
    (!interval.is_zero()).then(|| actix_web::rt::spawn(run()))
}

fn relay_options(settings: &Settings) -> RelayOptions {
    RelayOptions {
        max_body: settings.max_body,
        timeouts: Timeouts {
            connect: settings.connect_timeout,
            first_byte: settings.first_byte_timeout,
            first_token: settings.first_token_timeout,
            idle_before_text: settings.idle_before_text_timeout,
            idle: settings.idle_timeout,
            total: settings.total_timeout,
        },
        retries: settings.retries,
        retry_wait: settings.retry_wait,
        deadline: settings.request_deadline,
        keep_alive: (!settings.keep_alive_interval.is_zero()).then_some(settings.keep_alive_interval),
        moderation_model: settings.moderation_model.clone(),
        image_model: settings.image_model.clone(),
        trusted_proxies: settings.trusted_proxies.clone(),
    }
}

/// How it begins.
enum Opened {
    /// The database is there, and its tables are up to date.
    Prepared,
    /// It is not, but what was kept on disk serves meanwhile.
    FromFile(Box<Beginning>),
    /// A signal came first.
    Stopped,
}

/// Waits for the database; while it is away, what was kept on disk serves, else somebody stands in.
async fn open(
    mut preparing: &mut Pin<&mut impl Future<Output = Result<(), StoreError>>>,
    database: &Database,
    file: &Option<SnapshotFile>,
    listener: &TcpListener,
    signals: &mut Signals,
) -> Result<Opened, Failed> {
    if let Ok(prepared) = timeout(OPENS_AT_ONCE, &mut preparing).await {
        prepared?;
        return Ok(Opened::Prepared);
    }
    let kept = file
        .as_ref()
        .and_then(|file| Beginning::read(file, provider_traits, database.moments()));
    if let Some(beginning) = kept {
        let channels = beginning.snapshot.counts().channels;
        warn!(channels = channels, kept_at = beginning.kept_at; "the database is away: serving from the snapshot file");
        return Ok(Opened::FromFile(Box::new(beginning)));
    }
    let standing_in = listeners::standing_in(listener.try_clone()?)?;
    let handle = standing_in.handle();
    let standing_in = actix_web::rt::spawn(standing_in);
    let opened = tokio::select! {
        prepared = preparing => {
            prepared?;
            Opened::Prepared
        }
        _ = signals.next() => Opened::Stopped,
    };
    // Whoever it is answering is answered; it keeps no connection, so this takes no time.
    drop(handle.stop(true));
    drop(standing_in);
    Ok(opened)
}

/// Lets requests end: the listener stays open for a moment, so that load balancers see `/readyz` first.
async fn drain(settings: &Settings, server: ServerHandle, signal: Signal, signals: &mut Signals) {
    let deadline = Instant::now() + settings.drain_timeout;
    let delay = match signal {
        Signal::Terminate => settings.drain_delay.min(settings.drain_timeout),
        Signal::Interrupt => Duration::ZERO,
    };
    info!(signal = signal.name(), timeout_s = settings.drain_timeout.as_secs_f64(); "draining");
    let ended = async {
        sleep(delay).await;
        server.stop(true).await;
    };
    let cut = tokio::select! {
        () = ended => return,
        () = quiet(delay) => {
            // What is left are connections that have not sent a byte yet: the server would wait for their first.
            let _ = timeout(Duration::from_secs(1), server.stop(false)).await;
            return;
        }
        () = sleep_until(deadline) => "requests were still in flight at the end of the drain timeout",
        _ = signals.next() => "a second signal came",
    };
    warn!(reason = cut; "connections are cut");
    // Not graceful this time.
    let _ = timeout(Duration::from_secs(1), server.stop(false)).await;
}

/// Ends when, the listener closed, nothing is under way for a while: the server closes each HTTP/1 connection with its
/// last answer; of HTTP/2 the calls and the relay's streams are counted.
async fn quiet(delay: Duration) {
    sleep(delay).await;
    let mut since = Instant::now();
    while since.elapsed() < QUIET_FOR {
        sleep(Duration::from_millis(50)).await;
        if connection::speaking() > 0 || counters::IN_FLIGHT.get() > 0 {
            since = Instant::now();
        }
    }
}

/// An actor that is gone never comes back, nor does a task that should go on for ever: the process must not limp on
/// without it.
async fn watch(routing: Routing, tasks: Vec<AbortHandle>) {
    loop {
        sleep(WATCH_EVERY).await;
        if !routing.is_alive() || tasks.iter().any(AbortHandle::is_finished) {
            error!("an actor or a task is gone, so the process ends");
            std::process::exit(EXIT_ACTOR_GONE);
        }
    }
}
