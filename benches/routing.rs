//! How long a pick takes in itself, and a build: no actor, no database. The code is `src/routing`'s alone.
//!
//! `cargo bench --bench routing`; a word after `--` chooses the cases with it in their name. It is the thread's own
//! CPU time that is told, so that other work on the machine shows only in what it takes from the caches.
//! `benches/routing/instructions` counts what does not depend on that either.

#[path = "routing/cases.rs"]
mod cases;
#[path = "routing/cpu_time.rs"]
mod cpu_time;
#[path = "routing/house.rs"]
#[allow(dead_code, reason = "shared with the other benchmarks of routing")]
mod house;

use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use pointsman::routing::ids::{Generation, Moment};
use pointsman::routing::outcome::Outcome;
use pointsman::routing::pick::Question;
use pointsman::routing::rebuilds::Scope;
use pointsman::routing::router::{Built, Router};
use pointsman::routing::snapshot::Snapshot;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use cpu_time::CpuTime;
use house::{House, Rows};

/// The houses whose builds are measured.
const HOUSES: [(&str, House); 4] = [
    ("thousand", House::THOUSAND),
    ("100 thousand", House::HUNDRED_THOUSAND),
    ("million", House::MILLION),
    ("million in wide routes", House::MILLION_IN_WIDE_ROUTES),
];

fn picks(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("pick");
    for (name, case) in cases::CASES {
        // Set up only if it is chosen; and once, though criterion comes again for each sample.
        let set_up = RefCell::new(None);
        group.bench_function(name, |bencher| {
            let mut set_up = set_up.borrow_mut();
            let case = set_up.get_or_insert_with(case);
            assert!(case.pick().is_ok(), "{name}: there is a channel");
            bencher.iter(|| black_box(case.pick()));
        });
    }
    group.finish();
}

/// What the `CacheActor` does for one attempt: the pick, its lease, and the lease's report.
fn pick_and_report(criterion: &mut Criterion<CpuTime>) {
    let set_up = RefCell::new(None);
    criterion.bench_function("pick, lease and report", |bencher| {
        let mut set_up = set_up.borrow_mut();
        let (router, question) = set_up.get_or_insert_with(router);
        let (now, mut rng) = (Instant::now(), SmallRng::seed_from_u64(1));
        bencher.iter(|| {
            let grant = router.pick(question, now, &mut rng).expect("there is a channel");
            router.report(grant.lease, &Outcome::Ok, now, &mut rng);
            grant
        });
    });
}

fn router() -> (Router, Question) {
    let mut router = Router::new(Duration::from_secs(60));
    let draft = House::MILLION.rows().draft();
    let base = Snapshot::default();
    let built = Built::new(draft, &base, Scope::Everything, Generation(1), Moment(1));
    drop(router.install(built, Instant::now()));
    (router, cases::question(0))
}

fn builds(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("build");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(3));
    for (name, house) in HOUSES {
        let rows = RefCell::new(None);
        let made = || house.rows();
        group.bench_function(format!("rows taken, {name}"), |bencher| {
            let mut rows = rows.borrow_mut();
            let rows: &Rows = rows.get_or_insert_with(made);
            bencher.iter_with_large_drop(|| rows.draft());
        });
        group.bench_function(format!("rows taken and assembled, {name}"), |bencher| {
            let mut rows = rows.borrow_mut();
            let rows: &Rows = rows.get_or_insert_with(made);
            bencher.iter_with_large_drop(|| rows.snapshot());
        });
    }
    group.finish();
}

fn patches(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("patch of one channel");
    group.sample_size(20);
    for (name, house) in HOUSES {
        let set_up = RefCell::new(None);
        group.bench_function(name, |bencher| {
            let mut set_up = set_up.borrow_mut();
            let (rows, base) = set_up.get_or_insert_with(|| {
                let rows = house.rows();
                let base = rows.snapshot();
                (rows, base)
            });
            bencher.iter_with_large_drop(|| rows.patched(base, house.channels / 2));
        });
    }
    group.finish();
}

criterion_group! {
    name = routing;
    config = Criterion::default()
        .with_measurement(CpuTime)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = picks, pick_and_report, builds, patches
}
criterion_main!(routing);
