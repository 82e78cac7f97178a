//! Which attempt comes next, or none. Pure: it is told how attempts ended, what time it is, and given its dice.
//!
//! The order:
//!
//! 1. the asked model at keys and channels that this request has not tried, at once: through all tiers and groups,
//!    past what cools;
//! 2. the asked model again where it failed as `busy` or `broken`, after a rest, if that channel does not cool;
//! 3. the fallback models in their order, each as in 1 and 2; one that cannot take the request is passed over;
//! 4. the asked model once more, whatever there is: a channel that is found out about, full, barred for a moment or
//!    resting is waited for, and of those that cool by a guess the one soonest due is tried.
//!
//! Which channel it is, is the router's to choose from the question that is put together here. A wait never takes
//! longer than `--retry-wait`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use crate::actors::lease::Lease;
use crate::routing::ids::{ChannelId, GroupName, KeyId, Protocol};
use crate::routing::outcome::{Excludes, Next, Outcome};
use crate::routing::pick::{CoolingRule, Question};
use crate::routing::refusal::Refusal;
use crate::routing::remembered::StateId;
use crate::routing::rows::ModelSpec;
use crate::routing::tried::{Round, Tried};

/// However cheap they are, no request tries more often.
pub const MAX_ATTEMPTS: u32 = 16;

/// The first rest of what was `broken`: most of what breaks once works the next moment.
const BROKEN_REST: Duration = Duration::from_millis(500);
/// The first rest of what was `busy` without a word on when to come again: limits refill by the second.
const BUSY_REST: Duration = Duration::from_secs(1);
/// The least part of a rest that jitter leaves.
const LEAST_SHARE: f64 = 0.75;
/// A provider's "in five seconds" counts from when its answer was read: with a `--retry-wait` of five it fits.
const GRACE: Duration = Duration::from_millis(100);

/// What a request may spend.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Tries of a model after its first that cost an upstream something.
    pub retries: u32,
    /// The longest wait for a channel.
    pub retry_wait: Duration,
    /// No attempt begins after this.
    pub deadline: Instant,
}

/// Who asks for what.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub groups: Arc<[GroupName]>,
    pub protocol: Protocol,
    /// The asked model, and behind it its fallbacks.
    pub models: Vec<Arc<ModelSpec>>,
    /// The conversation's hash; a model's own setting may turn it off.
    pub conversation: Option<u64>,
    /// An earlier answer that the request builds on.
    pub state: Option<StateId>,
}

/// Where an attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub channel: ChannelId,
    pub key: Option<KeyId>,
    /// It found out whether something that cooled works again.
    pub probe: bool,
}

impl Place {
    pub fn of(lease: &Lease) -> Place {
        Place {
            channel: lease.channel().id,
            key: lease.key().map(|key| key.id),
            probe: lease.is_probe(),
        }
    }
}

/// How far one request has come.
#[derive(Debug)]
pub struct Failover {
    budget: Budget,
    wanted: Wanted,
    /// One for each of `wanted.models`.
    courses: Vec<Course>,
    /// Which of them is under way.
    at: usize,
    stage: Stage,
    attempts: u32,
    refusal: Refusal,
}

/// How far a request has come with one model.
#[derive(Clone, Debug, Default)]
struct Course {
    tried: Tried,
    /// Attempts that count against `--retries`.
    counted: u32,
    /// It will not do, wherever it is tried.
    is_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Others,
    Again,
    WhateverThereIs,
}

/// What a request does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Ask the router [`Failover::question`], for as long as [`Failover::patience`] says.
    Pick,
    /// Tell the client what there is to tell: the last attempt's own word, or else [`Failover::refusal`].
    End,
}

impl Failover {
    /// `wanted.models` is never empty.
    pub fn new(wanted: Wanted, budget: Budget) -> Failover {
        Failover {
            budget,
            courses: vec![Course::default(); wanted.models.len()],
            wanted,
            at: 0,
            stage: Stage::Others,
            attempts: 0,
            refusal: Refusal::Exhausted,
        }
    }

    /// The next question to the router.
    pub fn question(&self) -> Question {
        let model = self.model();
        Question {
            groups: Arc::clone(&self.wanted.groups),
            model: model.name.clone(),
            protocol: self.wanted.protocol,
            tried: self.course().tried.clone(),
            affinity: self.wanted.conversation.filter(|_| model.affinity),
            state: self.wanted.state,
            cooling: match self.stage {
                Stage::Others | Stage::Again => CoolingRule::PassOver,
                Stage::WhateverThereIs => CoolingRule::SoonestDue,
            },
        }
    }

    /// Until when the router may keep us waiting for a channel; `None`: not at all.
    pub fn patience(&self, now: Instant) -> Option<Instant> {
        match self.stage {
            Stage::Others => None,
            Stage::Again | Stage::WhateverThereIs => {
                Some((now + self.budget.retry_wait + GRACE).min(self.budget.deadline))
            }
        }
    }

    /// The model whose turn it is: the asked one, or a fallback.
    pub fn model(&self) -> &Arc<ModelSpec> {
        &self.wanted.models[self.at]
    }

    /// Whether that is a fallback.
    pub fn is_at_fallback(&self) -> bool {
        self.at > 0
    }

    /// Attempts so far.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    pub fn deadline(&self) -> Instant {
        self.budget.deadline
    }

    /// Why the router had no channel for the asked model.
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// An attempt begins.
    pub fn begins(&mut self) {
        self.attempts += 1;
    }

    /// The router had no channel.
    pub fn refused(&mut self, refusal: Refusal, now: Instant) -> Step {
        if self.at == 0 {
            self.refusal = refusal;
        }
        match self.stage {
            Stage::Others if self.course().tried.has_resting() => {
                self.course_mut().tried.begin(Round::Second);
                self.enter(Stage::Again, now)
            }
            Stage::Others | Stage::Again => self.next_model(now),
            Stage::WhateverThereIs => Step::End,
        }
    }

    /// The attempt there failed, or broke off: also one whose answer had begun.
    pub fn failed(&mut self, place: Place, outcome: &Outcome, now: Instant, rng: &mut impl Rng) -> Step {
        self.exclude(place, outcome, now, rng);
        let retries = self.budget.retries;
        let course = self.course_mut();
        course.counted += u32::from(outcome.counts_against_retries());
        match outcome.next() {
            Next::Elsewhere if course.counted <= retries => self.enter(self.stage, now),
            Next::Elsewhere | Next::OtherModel => {
                course.is_over = true;
                self.next_model(now)
            }
            // A fallback that cannot take the request is as good as none; a policy is not routed around.
            Next::PassOn if self.at > 0 && *outcome == Outcome::BadRequest => {
                self.course_mut().is_over = true;
                self.next_model(now)
            }
            Next::Done | Next::PassOn | Next::Stop => Step::End,
        }
    }

    fn course(&self) -> &Course {
        &self.courses[self.at]
    }

    fn course_mut(&mut self) -> &mut Course {
        &mut self.courses[self.at]
    }

    fn enter(&mut self, stage: Stage, now: Instant) -> Step {
        self.stage = stage;
        let may_go_on = self.attempts < MAX_ATTEMPTS && now < self.budget.deadline;
        if may_go_on { Step::Pick } else { Step::End }
    }

    fn next_model(&mut self, now: Instant) -> Step {
        if self.stage == Stage::WhateverThereIs {
            return Step::End;
        }
        if self.at + 1 < self.courses.len() {
            self.at += 1;
            return self.enter(Stage::Others, now);
        }
        self.at = 0;
        let is_worth_it = match self.refusal {
            Refusal::Overloaded { .. } | Refusal::RateLimited { .. } => true,
            _ => self.course().tried.has_resting(),
        };
        if self.course().is_over || !is_worth_it {
            return Step::End;
        }
        self.course_mut().tried.begin(Round::Second);
        self.enter(Stage::WhateverThereIs, now)
    }

    /// What of the failure holds for this model, and what for those that come after it.
    fn exclude(&mut self, place: Place, outcome: &Outcome, now: Instant, rng: &mut impl Rng) {
        let again_at = self.again_at(place, outcome, now, rng);
        let tried = &mut self.course_mut().tried;
        match (outcome.excludes(), place.key, again_at) {
            (Excludes::Nothing, ..) => {}
            (Excludes::Key, Some(key), None) => tried.key(key),
            (Excludes::Key, Some(key), Some(due)) => tried.key_until(key, due),
            (Excludes::Key, None, None) | (Excludes::Channel, _, None) => tried.channel(place.channel),
            (Excludes::Key, None, Some(due)) | (Excludes::Channel, _, Some(due)) => {
                tried.channel_until(place.channel, due);
            }
        }
        let at = self.at;
        let others = self.courses.iter_mut().enumerate();
        for (index, course) in others.filter(|(index, _)| *index != at) {
            match (outcome, place.key) {
                // A dead key is dead for every model, also for the asked one when its turn comes again.
                (Outcome::Refused { .. }, Some(key)) => course.tried.key(key),
                (Outcome::Refused { .. }, None) => course.tried.channel(place.channel),
                // Another model may well work there, but any other channel goes before.
                (Outcome::Broken(_) | Outcome::Silent, _) if index > at => {
                    course.tried.channel_until(place.channel, now);
                }
                _ => {}
            }
        }
    }

    /// When this request may try there again; `None`: never.
    fn again_at(&self, place: Place, outcome: &Outcome, now: Instant, rng: &mut impl Rng) -> Option<Instant> {
        // A probe is one try (R13).
        if place.probe || !outcome.is_lifted_in_second_round() {
            return None;
        }
        if let Some((wait, _)) = outcome.provider_word() {
            return (wait <= self.budget.retry_wait).then(|| now + wait);
        }
        let first = match outcome {
            Outcome::Busy { .. } => BUSY_REST,
            _ => BROKEN_REST,
        };
        let doublings = self.course().counted.min(10);
        let rest = (first * (1 << doublings)).min(self.budget.retry_wait);
        Some(now + rest.mul_f64(rng.random_range(LEAST_SHARE..=1.0)))
    }
}

#[cfg(test)]
mod tests;
