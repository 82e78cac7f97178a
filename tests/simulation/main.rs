//! The simulation: a model of the database and of many nodes drives `src/routing` through random interleavings of
//! everything that can happen, and an oracle checks R1 to R13 after every step.
//!
//! | command | does |
//! |---|---|
//! | `cargo nextest run --test simulation` | the same seeds each time, about 20 s of processor time |
//! | `POINTSMAN_SIMULATION_SECONDS=600 cargo test --test simulation -- --nocapture` | new seeds for so long |
//! | `POINTSMAN_SIMULATION_SEED=7 cargo test --test simulation -- --nocapture` | one seed, and its story if it fails |

mod calm;
mod change;
mod coverage;
mod draw;
mod edit;
mod excuse;
mod hear;
mod history;
mod judge;
mod node;
mod oracle;
mod order;
mod passing;
mod reads;
mod request;
mod run;
mod schedule;
mod tell;
mod truth;
mod world;
mod writes;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use coverage::Coverage;
use history::Failure;

/// Seeds of the bounded run: the same in every run.
const SEEDS: std::ops::Range<u64> = 0..12_000;

#[test]
fn no_false_refusal_and_no_pick_of_what_is_closed() {
    let seconds = number("POINTSMAN_SIMULATION_SECONDS");
    let one = number("POINTSMAN_SIMULATION_SEED");
    let (seeds, length) = match (one, seconds) {
        (Some(seed), _) => (seed..seed + 1, None),
        (None, Some(seconds)) => {
            let first = number("POINTSMAN_SIMULATION_FIRST_SEED").unwrap_or(1_000_000);
            (first..u64::MAX, Some(Duration::from_secs(seconds)))
        }
        (None, None) => (SEEDS, None),
    };
    let began = Instant::now();
    let (ran, coverage, failure) = run(seeds, length);
    println!("{ran} seeds in {:.1} s", began.elapsed().as_secs_f64());
    coverage.print();
    if let Some(failure) = failure {
        panic!(
            "seed {} after {:.1} s\n{failure}",
            failure.seed,
            began.elapsed().as_secs_f64()
        );
    }
    let missing = coverage.missing();
    assert!(one.is_some() || missing.is_empty(), "never happened: {missing:?}");
}

/// Runs seeds on all processors until they or the time are used up, or one fails.
fn run(seeds: std::ops::Range<u64>, length: Option<Duration>) -> (u64, Coverage, Option<Box<Failure>>) {
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let result = Mutex::new((0, Coverage::default(), None::<Box<Failure>>));
    let work = || {
        let (mut ran, mut coverage) = (0, Coverage::default());
        while !stop.load(Ordering::Relaxed) && length.is_none_or(|length| began.elapsed() < length) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            ran += 1;
            match history::run(seed) {
                Ok(more) => coverage.add(&more),
                Err(failure) => {
                    stop.store(true, Ordering::Relaxed);
                    let mut result = result.lock().expect("no thread panics with it");
                    result.2.get_or_insert(failure);
                }
            }
        }
        let mut result = result.lock().expect("no thread panics with it");
        result.0 += ran;
        result.1.add(&coverage);
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    result.into_inner().expect("no thread panics with it")
}

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {value:?}")),
    )
}
