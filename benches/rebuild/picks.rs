//! Picks at a steady pace, as one client's requests would come, and how long each was waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use actix::Arbiter;
use pointsman::actors::Routing;
use pointsman::routing::outcome::Outcome;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::oneshot;

use crate::cases::question;
use crate::house::House;

/// Five thousand a second: a few hundredths of a core, and two seconds of them tell a p99.9.
const PACE: Duration = Duration::from_micros(200);

/// A thread of its own that picks, as a web worker does.
pub struct Picker {
    thread: Arbiter,
    house: House,
}

/// Waits in nanoseconds, sorted.
#[derive(Clone, Debug, Default)]
pub struct Waits(Vec<u64>);

impl Picker {
    pub fn new(house: House) -> Picker {
        Picker {
            thread: Arbiter::new(),
            house,
        }
    }

    /// Picks for as long as `work` takes.
    pub async fn during<T>(&self, routing: &Routing, work: impl Future<Output = T>) -> (T, Waits) {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = oneshot::channel();
        let (routing, house, stopping) = (routing.clone(), self.house, Arc::clone(&stop));
        self.thread.spawn(async move {
            let _ = tell.send(pick_steadily(&routing, house, &stopping).await);
        });
        let done = work.await;
        stop.store(true, Relaxed);
        (done, told.await.expect("every pick gets a channel"))
    }
}

async fn pick_steadily(routing: &Routing, house: House, stop: &AtomicBool) -> Waits {
    let mut rng = SmallRng::seed_from_u64(3);
    let mut waits = Vec::with_capacity(1 << 16);
    let mut due = Instant::now();
    while !stop.load(Relaxed) {
        let question = question(rng.random_range(0..house.models));
        due += PACE;
        let asked = wait_until(due);
        let lease = routing.pick(question, None).await.expect("some channel is open");
        waits.push(asked.elapsed().as_nanos() as u64);
        lease.report(Outcome::Ok);
    }
    Waits::new(waits)
}

/// When the next request has come. One that was due while the last still waited has come then and waits since;
/// that a thread's sleep ends late is no fault of routing's.
///
/// The thread itself sleeps, as the runtime's timers count whole milliseconds; nobody else lives on it.
fn wait_until(due: Instant) -> Instant {
    let left = due.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return due;
    }
    std::thread::sleep(left);
    Instant::now()
}

impl Waits {
    pub fn new(mut nanoseconds: Vec<u64>) -> Waits {
        nanoseconds.sort_unstable();
        Waits(nanoseconds)
    }

    /// The wait that this share of all did not exceed, in microseconds.
    pub fn quantile(&self, share: f64) -> f64 {
        let place = (self.0.len() as f64 * share).ceil() as usize;
        let place = place.clamp(1, self.0.len().max(1)) - 1;
        self.0.get(place).map_or(f64::NAN, |wait| *wait as f64 / 1e3)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
