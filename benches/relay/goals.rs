//! What was aimed at, and whether it was met.

use serde::Serialize;

use crate::figures::{CaseFigures, Figures, Spread};
use crate::rounds::Sample;

/// A goal with what was measured of it.
#[derive(Serialize)]
pub struct Goal {
    pub what: String,
    pub unit: &'static str,
    /// At most.
    pub limit: f64,
    pub measured: Spread,
    /// By the median.
    pub met: bool,
}

/// The goals of which something was measured.
pub fn goals(figures: &Figures) -> Vec<Goal> {
    let mut goals = Vec::new();
    let mut add = |what: &str, unit, limit, measured: Option<Spread>| {
        let Some(measured) = measured else { return };
        goals.push(Goal {
            what: what.to_owned(),
            unit,
            limit,
            measured,
            met: measured.median <= limit,
        });
    };
    for connections in [1, 8, 64, 512] {
        let case = figures.case(&format!("plain-{connections}"));
        add(
            &format!("CPU of a plain request against nginx, {connections} at once"),
            "x",
            1.8,
            case.map(CaseFigures::cpu_ratio),
        );
    }
    add(
        "CPU of a stream of 52 events one by one against nginx",
        "x",
        1.3,
        figures.case("stream-one-by-one").map(CaseFigures::cpu_ratio),
    );
    add(
        "added p50 at 1 connection against what nginx adds",
        "x",
        1.5,
        figures.case("plain-1").map(added_p50_ratio),
    );
    add(
        "p99 at 64 connections against nginx",
        "x",
        2.0,
        figures.case("plain-64").map(p99_ratio),
    );
    if let Some(memory) = &figures.memory {
        for (what, limit, measured) in [
            ("memory idle, a thousand abilities", 15.0, memory.idle),
            ("memory under 64 busy connections", 25.0, memory.busy_64),
            ("memory under 1,000 streams", 60.0, memory.streams_1000),
        ] {
            add(what, "MB", limit, Some(Spread::of([measured.rss_mb])));
        }
    }
    add(
        "start to first answered request, a thousand channels",
        "ms",
        300.0,
        figures.start_ms,
    );
    goals
}

/// What Pointsman adds to the median over the straight way, against what nginx adds.
pub fn added_p50_ratio(case: &CaseFigures) -> Spread {
    let p50 = |sample: &Sample| sample.whole_us.p50;
    case.spread(|round| {
        (p50(&round.pointsman) - p50(&round.direct)) / (p50(&round.nginx) - p50(&round.direct))
    })
}

/// The 99th percentile itself, Pointsman against nginx.
pub fn p99_ratio(case: &CaseFigures) -> Spread {
    case.spread(|round| round.pointsman.whole_us.p99 / round.nginx.whole_us.p99)
}
