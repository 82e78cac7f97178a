//! What the actors count. Registered with the process's registry, which `/metrics` shows.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, histogram_opts, register_histogram, register_int_counter,
    register_int_counter_vec,
};

/// Picks by where the channel came from: `snapshot`, `lookup`, or the refusal's name.
pub static PICKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let made = register_int_counter_vec!("pointsman_picks_total", "Picks by what they got.", &["result"]);
    made.expect("the name is registered once")
});

/// Picks that the snapshot could not answer with a channel.
pub static MISSES: LazyLock<IntCounter> = LazyLock::new(|| {
    let made = register_int_counter!(
        "pointsman_pick_misses_total",
        "Picks that the snapshot could not answer and that were asked of the database."
    );
    made.expect("the name is registered once")
});

/// Lookups by how they ended: `ok`, `failed`, `overloaded`.
pub static LOOKUPS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let made = register_int_counter_vec!(
        "pointsman_lookups_total",
        "Questions to the database about a route, by how they ended.",
        &["result"]
    );
    made.expect("the name is registered once")
});

/// Builds by scope (`full`, `channels`) and how they ended (`ok`, `failed`).
pub static REBUILDS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let made = register_int_counter_vec!(
        "pointsman_rebuilds_total",
        "Builds of the snapshot by scope and how they ended.",
        &["scope", "result"]
    );
    made.expect("the name is registered once")
});

/// Seconds that builds took, from their first statement to the finished snapshot.
pub static REBUILD_SECONDS: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];
    let made = register_histogram!(histogram_opts!(
        "pointsman_rebuild_duration_seconds",
        "Time from a build's first statement to its finished snapshot.",
        buckets
    ));
    made.expect("the name is registered once")
});

/// What other nodes have told: `routes`, `token`.
pub static NOTICES: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let made = register_int_counter_vec!(
        "pointsman_notices_total",
        "Changes made on other nodes, by what they changed.",
        &["kind"]
    );
    made.expect("the name is registered once")
});

/// Token questions by what answered: `remembered`, `database`, `unknown`, `failed`, `overloaded`.
pub static TOKENS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let made = register_int_counter_vec!(
        "pointsman_token_checks_total",
        "Tokens that were checked, by what answered.",
        &["result"]
    );
    made.expect("the name is registered once")
});
