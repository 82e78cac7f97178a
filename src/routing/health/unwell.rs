//! What is not well of one channel, and who is finding out.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use super::LeaseId;
use super::mark::{Bar, Mark};
use super::standing::{Standing, Word};
use crate::routing::ids::{KeyId, ModelName};

/// What of a channel an outcome speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// Its connections.
    Whole,
    /// One key (`None`: the channel has none), for all models.
    Key(Option<KeyId>),
    /// One model, with every key.
    Model(ModelName),
    KeyForModel(Option<KeyId>, ModelName),
}

impl Part {
    /// What a lease of this key for this model depends on.
    pub fn touched(key: Option<KeyId>, model: &ModelName) -> [Part; 4] {
        [
            Part::Whole,
            Part::Key(key),
            Part::Model(model.clone()),
            Part::KeyForModel(key, model.clone()),
        ]
    }

    /// Whether a lease of this key for this model depends on it.
    pub fn touches(&self, of_key: Option<KeyId>, for_model: &ModelName) -> bool {
        match self {
            Part::Whole => true,
            Part::Key(key) => *key == of_key,
            Part::Model(model) => model == for_model,
            Part::KeyForModel(key, model) => *key == of_key && model == for_model,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Unwell {
    pub marks: FxHashMap<Part, Mark>,
    probes: Vec<Probe>,
    /// From grant to first real event: a moving average over what was seen while something was not well.
    pub latency: Option<Duration>,
}

/// The claim of the one request that finds out.
#[derive(Clone, Debug)]
struct Probe {
    lease: LeaseId,
    reach: Reach,
    until: Instant,
}

/// What a probe keeps others from: all keys of its model, as R13 lets one request at a time try a channel
/// for the model that is asked. Where the connections are what failed, models do not differ.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    Channel,
    Model(ModelName),
}

impl Reach {
    fn meets(&self, other: &Reach) -> bool {
        match (self, other) {
            (Reach::Channel, _) | (_, Reach::Channel) => true,
            (Reach::Model(one), Reach::Model(other)) => one == other,
        }
    }
}

impl Unwell {
    pub fn standing(&self, key: Option<KeyId>, model: &ModelName, now: Instant) -> Standing {
        let mut due: Option<Instant> = None;
        let mut bar: Option<Bar> = None;
        for mark in Part::touched(key, model)
            .iter()
            .filter_map(|part| self.marks.get(part))
        {
            due = due.max(mark.due(now));
            bar = later(bar, mark.bar(now));
        }
        if let Some(Bar { until, status }) = bar {
            return Standing::Cooling {
                due: due.map_or(until, |due| due.max(until)),
                word: Word::Provider { until, status },
            };
        }
        let Some(due) = due else {
            return Standing::Well;
        };
        match self.probed_until(&self.reach(model, now), now) {
            Some(until) => Standing::ProbeInFlight { until },
            None if due > now => Standing::Cooling {
                due,
                word: Word::Guess,
            },
            None => Standing::ReadyToProbe,
        }
    }

    /// Claims the probe for this lease, if something that it touches is not well and nobody probes it.
    pub fn claim(
        &mut self,
        lease: LeaseId,
        key: Option<KeyId>,
        model: &ModelName,
        now: Instant,
        until: Instant,
    ) -> bool {
        self.probes.retain(|probe| probe.until > now);
        let reach = self.reach(model, now);
        let claims =
            self.standing(key, model, now) != Standing::Well && self.probed_until(&reach, now).is_none();
        if claims {
            self.probes.push(Probe { lease, reach, until });
        }
        claims
    }

    /// Ends the lease's claim; answers whether it still had one.
    pub fn end_claim(&mut self, lease: LeaseId, now: Instant) -> bool {
        let had = self
            .probes
            .iter()
            .any(|probe| probe.lease == lease && probe.until > now);
        self.probes.retain(|probe| probe.lease != lease);
        had
    }

    /// Whose claims hold.
    pub fn probes(&self, now: Instant) -> impl Iterator<Item = LeaseId> {
        self.probes
            .iter()
            .filter(move |probe| probe.until > now)
            .map(|probe| probe.lease)
    }

    /// Whether somebody is finding out about this part.
    pub fn is_probed(&self, part: &Part, now: Instant) -> bool {
        self.probes.iter().any(|probe| {
            probe.until > now
                && match (&probe.reach, part) {
                    (Reach::Channel, _) => true,
                    (Reach::Model(probed), Part::Model(model) | Part::KeyForModel(_, model)) => {
                        probed == model
                    }
                    (Reach::Model(_), Part::Whole | Part::Key(_)) => false,
                }
        })
    }

    /// Lets go of what is well by now; answers whether anything is left.
    pub fn tidy(&mut self, now: Instant) -> bool {
        self.marks.retain(|_, mark| mark.tidy(now));
        self.probes.retain(|probe| probe.until > now);
        !self.is_empty()
    }

    pub fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.probes.is_empty()
    }

    pub fn note_latency(&mut self, seen: Duration) {
        self.latency = Some(match self.latency {
            Some(average) => (average * 3 + seen) / 4, // the last few count most
            None => seen,
        });
    }

    fn reach(&self, model: &ModelName, now: Instant) -> Reach {
        let connections = self.marks.get(&Part::Whole);
        if connections.is_some_and(|mark| mark.due(now).is_some()) {
            Reach::Channel
        } else {
            Reach::Model(model.clone())
        }
    }

    fn probed_until(&self, reach: &Reach, now: Instant) -> Option<Instant> {
        self.probes
            .iter()
            .filter(|probe| probe.until > now && probe.reach.meets(reach))
            .map(|probe| probe.until)
            .max()
    }
}

fn later(one: Option<Bar>, other: Option<Bar>) -> Option<Bar> {
    match (one, other) {
        (Some(one), Some(other)) if other.until > one.until => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}
