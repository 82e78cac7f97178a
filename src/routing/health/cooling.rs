//! How long something cools: first steps, caps, jitter. Every number of health stands here, with its why.

use std::time::Duration;

use rand::{Rng, RngExt};

/// R13: no cooling is believed for longer, whoever says so: a provider that says "tomorrow" is asked again.
/// Nor is anything else: a failure that old, or a cooling that was over so long ago, says nothing today.
pub const LONGEST_BELIEF: Duration = Duration::from_secs(600);

/// One failure is noise, two a restart; after three, clients have noticed.
pub const TRIP_STREAK: u32 = 3;

/// Failures that come between successes never make a streak; half of what was lately tried is enough.
pub const TRIP_AT_LEAST: u32 = 5;

/// How far back "lately" reaches: long enough for five requests of a small house, short enough that a
/// restart is forgotten soon.
pub const WINDOW: Duration = Duration::from_secs(30);

/// How long the doubling is remembered after an upstream has shown life but not yet a complete answer: an
/// upstream that begins every answer and ends none must not start at the first step each time.
pub const SETTLING: Duration = WINDOW;

/// The least part of a step that jitter leaves: enough spread that nodes and keys that fell together do not
/// come back together, and little enough that each step is longer than the last.
const LEAST_SHARE: f64 = 0.75;

/// Coolings that double from a first step to a cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    pub first: Duration,
    pub cap: Duration,
}

/// Without the provider's word. Limits refill by the second or by the minute: so the first guess is a second
/// and the last a minute.
pub const BUSY: Ladder = Ladder::new(1, 60);

/// A crash restarts within seconds; at 15 s a dead upstream costs one request in many, and an upstream that
/// is back is used again within that time.
pub const BROKEN: Ladder = Ladder::new(2, 15);

/// Each probe of a silent upstream costs a client a whole timeout, so it is asked far less often.
pub const SILENT: Ladder = Ladder::new(2, 120);

/// Models come and go with deployments, not with load: asked again after a minute, as one may just be rolled
/// out, and soon but rarely.
pub const NOT_HERE: Ladder = Ladder::new(60, 600);

/// A refused key does not mend by itself. It cools for as long as anything may, so that its closing, which
/// may have to wait for the database, takes over before anybody tries it again.
pub const REFUSED: Ladder = Ladder::new(600, 600);

impl Ladder {
    const fn new(first_secs: u64, cap_secs: u64) -> Ladder {
        Ladder {
            first: Duration::from_secs(first_secs),
            cap: Duration::from_secs(cap_secs),
        }
    }

    /// The length of the `level`th cooling in a row, from 1; jitter only ever shortens it.
    pub fn step(self, level: u32, rng: &mut impl Rng) -> Duration {
        let doublings = level.saturating_sub(1).min(16); // far past every cap, and no overflow
        let full = self.first.saturating_mul(1 << doublings).min(self.cap);
        full.mul_f64(rng.random_range(LEAST_SHARE..=1.0)).min(full)
    }
}
