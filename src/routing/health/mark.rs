//! What one part of a channel has lately shown: the state machine of a breaker, with the provider's word.

use std::time::Instant;

use rand::Rng;

use super::cooling::{LONGEST_BELIEF, SETTLING, TRIP_STREAK};
use super::evidence::{Blow, Trips};
use super::leases::Order;
use super::window::Window;

#[derive(Clone, Debug, Default)]
pub struct Mark {
    state: State,
    /// Stands by itself: nothing but time ends the provider's word.
    bar: Option<Bar>,
    /// Failures in a row.
    streak: u32,
    failed_at: Option<Instant>,
    window: Window,
    /// Coolings in a row: how far up the ladder.
    level: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Not tripped.
    #[default]
    Closed,
    /// Cooling until `due`, half-open from then on.
    Tripped { since: Order, due: Instant },
    /// It lives again; the ladder is remembered until it works or time has passed.
    Settling { since: Order, until: Instant },
}

/// A provider's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    pub until: Instant,
    /// 429 or 503.
    pub status: u16,
}

impl Mark {
    /// A lease granted at `granted` failed; answers until when it cools, if by this. Who was granted before
    /// the cooling began belongs to the same fall: fifty that fail together are one step, not fifty.
    pub fn fail(
        &mut self,
        blow: &Blow,
        granted: Order,
        at: Order,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Option<Instant> {
        self.let_time_pass(now);
        match self.state {
            State::Tripped { since, .. } if granted < since => self.hear(blow, at, now),
            State::Tripped { .. } => {
                self.count(now);
                Some(self.cool(blow, at, now, rng))
            }
            State::Closed | State::Settling { .. } => {
                self.count(now);
                let trips = match blow.trips {
                    Trips::AtOnce => true,
                    Trips::WithOthers => self.streak >= TRIP_STREAK || self.window.is_bad(now),
                };
                trips.then(|| self.cool(blow, at, now, rng))
            }
        }
    }

    /// Takes only the provider's word from a failure that is no news otherwise: the word is of now, however
    /// old the question.
    pub fn hear(&mut self, blow: &Blow, at: Order, now: Instant) -> Option<Instant> {
        let until = self.believe(blow, now)?;
        match &mut self.state {
            State::Tripped { due, .. } => *due = until.max(*due),
            State::Closed | State::Settling { .. } => {
                self.level = self.level.max(1);
                self.state = State::Tripped {
                    since: at,
                    due: until,
                };
            }
        }
        Some(until)
    }

    /// A lease granted at `granted` has shown that it lives; answers whether that ended something.
    pub fn lives(&mut self, granted: Order, now: Instant) -> bool {
        match self.state {
            State::Tripped { since, .. } if granted > since => {
                self.streak = 0;
                self.window = Window::default();
                self.state = State::Settling {
                    since,
                    until: now + SETTLING,
                };
                true
            }
            State::Tripped { .. } | State::Closed | State::Settling { .. } => false,
        }
    }

    /// A lease granted at `granted` has shown that it works; answers whether that ended a cooling.
    pub fn works(&mut self, granted: Order, now: Instant) -> bool {
        let ended = self.lives(granted, now);
        match self.state {
            State::Tripped { .. } => {} // a long answer that began before the fall
            State::Closed => self.succeed(now),
            State::Settling { since, .. } => {
                self.succeed(now);
                if granted > since {
                    self.level = 0;
                    self.state = State::Closed;
                }
            }
        }
        ended
    }

    /// The provider's word, while it holds.
    pub fn bar(&self, now: Instant) -> Option<Bar> {
        self.bar.filter(|bar| bar.until > now)
    }

    /// When it may be tried; past: half-open. `None`: whenever you like, but for the bar.
    pub fn due(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Tripped { due, .. } if !is_stale(due, now) => Some(due),
            State::Tripped { .. } | State::Closed | State::Settling { .. } => None,
        }
    }

    /// Failures in a row.
    pub fn streak(&self) -> u32 {
        self.streak
    }

    /// Lets go of what is too old to be believed; answers whether anything is left to remember.
    pub fn tidy(&mut self, now: Instant) -> bool {
        self.let_time_pass(now);
        self.state != State::Closed || self.bar.is_some() || self.streak > 0 || !self.window.is_clean(now)
    }

    fn let_time_pass(&mut self, now: Instant) {
        if self.bar(now).is_none() {
            self.bar = None;
        }
        match self.state {
            State::Tripped { due, .. } if is_stale(due, now) => {
                *self = Mark {
                    bar: self.bar,
                    ..Mark::default()
                }
            }
            State::Settling { until, .. } if until <= now => {
                self.level = 0;
                self.state = State::Closed;
            }
            State::Tripped { .. } | State::Settling { .. } | State::Closed => {}
        }
        if self.failed_at.is_some_and(|at| is_stale(at, now)) {
            self.streak = 0;
        }
    }

    fn count(&mut self, now: Instant) {
        self.streak = self.streak.saturating_add(1);
        self.failed_at = Some(now);
        self.window.failed(now);
    }

    fn succeed(&mut self, now: Instant) {
        self.streak = 0;
        self.window.succeeded(now);
    }

    fn cool(&mut self, blow: &Blow, at: Order, now: Instant, rng: &mut impl Rng) -> Instant {
        self.level = self.level.saturating_add(1);
        let mut due = now + blow.ladder.step(self.level, rng);
        due = due.max(self.believe(blow, now).unwrap_or(due));
        if let State::Tripped { due: earlier, .. } = self.state {
            due = due.max(earlier); // a longer cooling is never shortened by a later one
        }
        self.state = State::Tripped { since: at, due };
        due
    }

    /// Notes the provider's word, if there is one; answers until when it holds.
    fn believe(&mut self, blow: &Blow, now: Instant) -> Option<Instant> {
        let (wait, status) = blow.word?;
        let until = now + wait.min(LONGEST_BELIEF);
        let until = self.bar(now).map_or(until, |bar| bar.until.max(until));
        self.bar = Some(Bar {
            until,
            status: if status == 429 { 429 } else { 503 }, // 529 is one provider's own
        });
        Some(until)
    }
}

/// A due or a failure so long ago says nothing today.
fn is_stale(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) >= LONGEST_BELIEF
}
