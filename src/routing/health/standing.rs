//! How a channel's key stands for a model at one moment.

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
