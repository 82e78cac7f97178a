//! How a channel's key stands for a model at one moment, and which of several to try when none stands
//! well.

use std::time::Instant;

/// What a pick has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing speaks against it.
    Well,
    /// Its cooling is over and nothing has proven it since: half-open. To be chosen as if it were well, by
    /// one request at a time: the grant claims the probe.
    ReadyToProbe,
    /// Not to be chosen while something else is left.
    Cooling { due: Instant, word: Word },
    /// Somebody is finding out just now. Whoever has nothing else waits for that probe's first real event,
    /// at the latest until its claim ends.
    ProbeInFlight { until: Instant },
}

/// Who says that it cools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// We do: advice. Tried all the same where nothing else is left (R13).
    Guess,
    /// Its provider does: never tried before `until`, which is `due` or earlier.
    Provider {
        until: Instant,
        /// The status to give to a client who has nothing else: 429 or 503.
        status: u16,
    },
}

impl Standing {
    /// Whether a pick takes it at once, before anything that cools.
    pub fn is_eligible(&self) -> bool {
        matches!(self, Standing::Well | Standing::ReadyToProbe)
    }
}

/// What is left when nothing among some candidates is eligible (R13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// This one (by its place among the candidates) may be tried now: it is the soonest due.
    Try(usize),
    /// None may be tried now: one is being probed. Ask again when its lease speaks or reports, at the
    /// latest at `until`.
    Wait { until: Instant },
    /// All are barred by their providers' own word; this one is the first that may be tried again.
    Barred {
        candidate: usize,
        until: Instant,
        status: u16,
    },
}

/// Chooses among the standings of candidates; none for none.
pub fn prospect(standings: impl IntoIterator<Item = Standing>) -> Option<Prospect> {
    let mut soonest: Option<(Instant, usize)> = None;
    let mut wait: Option<Instant> = None;
    let mut barred: Option<(Instant, usize, u16)> = None;
    for (place, standing) in standings.into_iter().enumerate() {
        match standing {
            Standing::Well | Standing::ReadyToProbe => return Some(Prospect::Try(place)),
            Standing::Cooling {
                due,
                word: Word::Guess,
            } => soonest = earlier(soonest, (due, place)),
            Standing::Cooling {
                word: Word::Provider { until, status },
                ..
            } => barred = earlier(barred, (until, place, status)),
            Standing::ProbeInFlight { until } => wait = earlier(wait, until),
        }
    }
    match (soonest, wait, barred) {
        (Some((_, place)), _, _) => Some(Prospect::Try(place)),
        (None, Some(until), barred) => Some(Prospect::Wait {
            until: barred.map_or(until, |(due, ..)| due.min(until)),
        }),
        (None, None, Some((until, candidate, status))) => Some(Prospect::Barred {
            candidate,
            until,
            status,
        }),
        (None, None, None) => None,
    }
}

fn earlier<T: Ord>(best: Option<T>, next: T) -> Option<T> {
    Some(match best {
        Some(best) => best.min(next),
        None => next,
    })
}
