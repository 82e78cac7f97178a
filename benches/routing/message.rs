//! How long a pick is waited for as a message to the `CacheActor` and back, at one connection: one thread asks and
//! waits, the actor answers on its own.
//!
//! `cargo bench --bench routing_message`. Beside it: an actor that does nothing, which is the floor of a message.

#[path = "cases.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks of routing")]
mod cases;
#[path = "../rebuild/fill.rs"]
mod fill;
#[path = "house.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks of routing")]
mod house;
#[path = "../rebuild/kind.rs"]
#[allow(dead_code, reason = "shared with `rebuild`")]
mod kind;
#[path = "../rebuild/node.rs"]
#[allow(dead_code, reason = "shared with `rebuild`")]
mod node;
#[path = "../rebuild/picks.rs"]
#[allow(dead_code, reason = "shared with `rebuild`")]
mod picks;

use std::io::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use pointsman::actors::Routing;
use pointsman::actors::cache::{CacheActor, CacheOptions};
use pointsman::actors::messages::{Answer, Pick};
use pointsman::routing::ids::Generation;
use pointsman::routing::outcome::Outcome;
use pointsman::serve::{Failed, in_system};
use pointsman::store::connect::Database;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use cases::question;
use house::House;
use kind::Kind;
use picks::Waits;

const ROUNDS: usize = 5;
/// One after the other, as fast as they are answered; the threads hardly sleep.
const AT_ONCE: Pace = Pace {
    name: "back to back",
    every: Duration::ZERO,
    picks: 50_000,
};
/// As one connection's requests come: both threads are asleep each time.
const SPACED: Pace = Pace {
    name: "one a millisecond",
    every: Duration::from_millis(1),
    picks: 2_000,
};

fn main() -> ExitCode {
    in_system(async { measure().await.map_err(|error| Failed::Io(Error::other(error))) })
}

async fn measure() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let fresh = Kind::Sqlite.fresh().await?.expect("SQLite is always there");
    let database = node::open(&fresh.url).await;
    fill::fill(Kind::Sqlite, &fresh.url, House::THOUSAND).await?;
    let asked = [
        Asked::Nothing(Silent::start_in_arbiter(&Arbiter::new().handle(), |_| Silent)),
        Asked::Cache(cache(database.clone()).await),
        Asked::Routing(Box::new(node::Node::start(database).await.routing)),
    ];
    let thread = Arbiter::new();
    println!("a message and back, µs: medians of {ROUNDS} interleaved rounds (goal for picks: under 10)");
    for pace in [AT_ONCE, SPACED] {
        let mut rounds: [Vec<Waits>; 3] = Default::default();
        for _ in 0..ROUNDS {
            for (asked, rounds) in asked.iter().zip(&mut rounds) {
                let (tell, told) = oneshot::channel();
                let asked = asked.clone();
                thread.spawn(async move {
                    let _ = tell.send(ask_steadily(&asked, pace).await);
                });
                rounds.push(told.await?);
            }
        }
        println!("\n{:<44} {:>8} {:>8} {:>8}", pace.name, "p50", "p99", "p99.9");
        for (asked, rounds) in asked.iter().zip(&rounds) {
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| median(rounds, share));
            println!("  {:<42} {p50:8.2} {p99:8.2} {p999:8.2}", asked.name());
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Pace {
    name: &'static str,
    every: Duration,
    picks: usize,
}

/// Who is asked.
#[derive(Clone)]
enum Asked {
    Nothing(Addr<Silent>),
    Cache(Addr<CacheActor>),
    Routing(Box<Routing>),
}

impl Asked {
    fn name(&self) -> &'static str {
        match self {
            Asked::Nothing(_) => "an actor that does nothing",
            Asked::Cache(_) => "the CacheActor, by a Pick",
            Asked::Routing(_) => "Routing::pick, as the relay does",
        }
    }

    /// Asks once, and hands back what is to be done when the answer has been timed.
    async fn ask(
        &self,
        question: pointsman::routing::pick::Question,
    ) -> Option<pointsman::actors::lease::Lease> {
        match self {
            Asked::Nothing(actor) => {
                actor.send(Nothing).await.expect("the actor lives");
                None
            }
            Asked::Cache(cache) => match cache.send(Pick(Arc::new(question))).await {
                Ok(Ok(Answer::Lease(lease))) => Some(lease),
                other => panic!("no lease: {other:?}"),
            },
            Asked::Routing(routing) => {
                let lease = routing.pick(question, None).await;
                Some(lease.expect("a channel is open"))
            }
        }
    }
}

async fn ask_steadily(asked: &Asked, pace: Pace) -> Waits {
    let mut waits = Vec::with_capacity(pace.picks);
    for number in 0..pace.picks {
        let question = question(number % House::THOUSAND.models);
        std::thread::sleep(pace.every);
        let began = Instant::now();
        let lease = asked.ask(question).await;
        waits.push(began.elapsed().as_nanos() as u64);
        if let Some(lease) = lease {
            lease.report(Outcome::Ok);
        }
    }
    Waits::new(waits)
}

/// The actor alone, started as [`Routing::start`] starts it, its snapshot in place.
async fn cache(database: Database) -> Addr<CacheActor> {
    let (actor, mut snapshots) = CacheActor::new(CacheOptions {
        database,
        runtime: Handle::current(),
        sync_interval: Duration::from_secs(3600),
        build_deadline: Duration::from_secs(60),
        beginning: None,
    });
    let actor = CacheActor::start_in_arbiter(&Arbiter::new().handle(), |_| actor);
    let built = snapshots.wait_for(|snapshot| snapshot.generation() > Generation::default());
    drop(built.await.expect("the actor lives"));
    actor
}

fn median(rounds: &[Waits], share: f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(|waits| waits.quantile(share)).collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Answers at once, with nothing.
struct Silent;

#[derive(Message)]
#[rtype(result = "()")]
struct Nothing;

impl Actor for Silent {
    type Context = Context<Self>;
}

impl Handler<Nothing> for Silent {
    type Result = ();

    fn handle(&mut self, Nothing: Nothing, _: &mut Self::Context) {}
}
