//! Whatever happens in whatever order, health keeps its promises.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::super::*;
use crate::routing::outcome::{Breakage, Lack};

const PROBE_TIMEOUT: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);

type Place = (ChannelId, Option<KeyId>, ModelName);

#[derive(Clone, Debug)]
enum Step {
    /// A lease is made, whatever the standing says.
    Grant(usize),
    /// A lease is made as a pick makes it: only where one may be tried.
    Pick(usize),
    FirstEvent(prop::sample::Index),
    Report(prop::sample::Index, Outcome),
    Wait(Duration),
    Tidy,
}

fn places() -> Vec<Place> {
    let keys = [Some(KeyId(1)), Some(KeyId(2)), None];
    let mut places = Vec::new();
    for channel in [ChannelId(1), ChannelId(2)] {
        for key in keys {
            for model in ["m", "n"] {
                places.push((channel, key, ModelName::new(model)));
            }
        }
    }
    places
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let word = prop::option::of((0..4_000_000u64).prop_map(Duration::from_millis));
    prop_oneof![
        3 => Just(Outcome::Ok),
        3 => (prop_oneof![Just(429), Just(529)], word.clone())
            .prop_map(|(status, retry_after)| Outcome::Busy { status, retry_after }),
        3 => word.prop_map(|retry_after| Outcome::Broken(Breakage::Status { status: 503, retry_after })),
        3 => prop_oneof![Just(Breakage::Connect), Just(Breakage::Tls), Just(Breakage::Cut)].prop_map(Outcome::Broken),
        3 => Just(Outcome::Silent),
        1 => Just(Outcome::Refused { reason: "refused".into() }),
        1 => prop_oneof![Just(Lack::Model), Just(Lack::State)].prop_map(Outcome::NotHere),
        1 => prop_oneof![Just(Outcome::TooLong), Just(Outcome::Filtered), Just(Outcome::BadRequest)],
        1 => Just(Outcome::Gone),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = 0..places().len();
    let wait = prop_oneof![
        4 => 0..3_000u64,
        2 => 0..20_000u64,
        1 => 0..700_000u64,
    ];
    let step = prop_oneof![
        3 => place.clone().prop_map(Step::Grant),
        5 => place.prop_map(Step::Pick),
        2 => any::<prop::sample::Index>().prop_map(Step::FirstEvent),
        8 => (any::<prop::sample::Index>(), outcomes()).prop_map(|(lease, outcome)| Step::Report(lease, outcome)),
        3 => wait.prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
        1 => Just(Step::Tidy),
    ];
    prop::collection::vec(step, 1..150)
}

/// Health beside what a bystander knows of it.
struct World {
    health: Health,
    now: Instant,
    rng: StdRng,
    granted: u64,
    open: Vec<(LeaseId, Place)>,
    /// Claims that have neither ended nor run out.
    probes: HashMap<LeaseId, (Place, Instant)>,
    words: HashMap<Place, Instant>,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            health: Health::new(PROBE_TIMEOUT),
            now: Instant::now(),
            rng: StdRng::seed_from_u64(seed),
            granted: 0,
            open: Vec::new(),
            probes: HashMap::new(),
            words: HashMap::new(),
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Grant(place) => self.grant(places()[place].clone()),
            Step::Pick(place) => self.pick(place),
            Step::FirstEvent(lease) if !self.open.is_empty() => {
                let lease = lease.get(&self.open).0;
                self.health.first_event(lease, self.now);
                self.probes.remove(&lease);
            }
            Step::Report(lease, outcome) if !self.open.is_empty() => {
                let (lease, place) = self.open.swap_remove(lease.index(self.open.len()));
                self.report(lease, place, &outcome);
            }
            Step::FirstEvent(_) | Step::Report(..) => {}
            Step::Wait(duration) => {
                self.now += duration;
                let now = self.now;
                self.probes.retain(|_, (_, until)| *until > now);
            }
            Step::Tidy => self.health.tidy(self.now),
        }
        self.check();
    }

    /// From a place on, the first that is eligible, else what R13 leaves.
    fn pick(&mut self, from: usize) {
        let mut places = places();
        places.rotate_left(from);
        let standings: Vec<Standing> = places.iter().map(|place| self.standing(place)).collect();
        let cools = |standing: &Standing| match standing {
            Standing::Cooling {
                due,
                word: Word::Guess,
            } => Some(*due),
            _ => None,
        };
        let soonest = || {
            let cooling = standings.iter().enumerate();
            let cooling = cooling.filter_map(|(place, standing)| Some((cools(standing)?, place)));
            cooling.min().map(|(_, place)| place)
        };
        let tried = standings.iter().position(Standing::is_eligible).or_else(soonest);
        if let Some(place) = tried {
            self.grant(places.swap_remove(place));
        }
    }

    fn grant(&mut self, place: Place) {
        self.granted += 1;
        let lease = LeaseId(self.granted);
        let before = self.standing(&place);
        let granted = self.health.granted(lease, place.0, place.1, &place.2, self.now);
        let claimed = matches!(before, Standing::ReadyToProbe)
            || matches!(
                before,
                Standing::Cooling {
                    word: Word::Guess,
                    ..
                }
            );
        let barred = matches!(
            before,
            Standing::Cooling {
                word: Word::Provider { .. },
                ..
            }
        );
        assert!(
            granted.probe == claimed || barred,
            "{before:?}, probe: {}",
            granted.probe
        );
        if granted.probe {
            let other = self
                .probes
                .values()
                .find(|(at, _)| at.0 == place.0 && at.2 == place.2);
            assert_eq!(other, None, "two probes at once at {place:?}");
            self.probes
                .insert(lease, (place.clone(), self.now + PROBE_TIMEOUT));
        }
        self.open.push((lease, place));
    }

    fn report(&mut self, lease: LeaseId, place: Place, outcome: &Outcome) {
        let before = self.coolings();
        let learnt = self
            .health
            .report(lease, outcome, self.now, &mut self.rng)
            .expect("an open lease");
        assert_eq!(learnt.probe_ended, self.probes.remove(&lease).is_some());
        let after = self.coolings();
        let word = outcome
            .provider_word()
            .map(|(wait, _)| self.now + wait.min(TEN_MINUTES));
        if let Some(word) = word {
            let known = self.words.entry(place).or_insert(word);
            *known = word.max(*known);
            assert!(learnt.cooled_until >= Some(word));
        }
        let longest = (self.now + cap(outcome)).max(word.unwrap_or(self.now));
        for (part, until) in &after {
            let earlier = before.get(part).copied().unwrap_or(self.now);
            assert!(
                *until <= longest.max(earlier),
                "{outcome:?} cools {part:?} for too long"
            );
        }
        if !learnt.recovered {
            for (part, until) in &before {
                let later = after.get(part);
                assert!(
                    later >= Some(until),
                    "{outcome:?} shortens {part:?}: {until:?}, {later:?}"
                );
            }
        }
    }

    /// Until when each part cools.
    fn coolings(&self) -> HashMap<(ChannelId, unwell::Part), Instant> {
        let parts = self.health.unwell.iter().flat_map(|(channel, unwell)| {
            let marks = unwell.marks.iter();
            marks.map(move |(part, mark)| ((*channel, part.clone()), mark))
        });
        let until = |mark: &mark::Mark| mark.due(self.now).max(mark.bar(self.now).map(|bar| bar.until));
        parts
            .filter_map(|(part, mark)| Some((part, until(mark).filter(|until| *until > self.now)?)))
            .collect()
    }

    fn check(&self) {
        for place in places() {
            let standing = self.standing(&place);
            let word = self.words.get(&place).copied().filter(|until| *until > self.now);
            match standing {
                Standing::Cooling {
                    due,
                    word: Word::Provider { until, .. },
                } => {
                    assert_eq!(Some(until), word, "the word of {place:?}");
                    assert!(due >= until && due <= self.now + TEN_MINUTES);
                    continue;
                }
                Standing::Cooling {
                    due,
                    word: Word::Guess,
                } => assert!(due > self.now && due <= self.now + TEN_MINUTES),
                Standing::ProbeInFlight { until } => {
                    let known = self
                        .probes
                        .values()
                        .any(|(at, known)| at.0 == place.0 && *known == until);
                    assert!(known, "{place:?} waits for a probe that is over");
                }
                Standing::Well => assert!(self.health.is_all_well(place.0) || word.is_none()),
                Standing::ReadyToProbe => {}
            }
            assert_eq!(word, None, "{place:?} is not kept from being tried");
        }
        for channel in [ChannelId(1), ChannelId(2)] {
            let open = self.open.iter().filter(|(_, at)| at.0 == channel).count();
            assert_eq!(self.health.in_flight(channel) as usize, open);
        }
    }

    /// All leases end, and what they left grows old.
    fn end(mut self) {
        for (lease, _) in std::mem::take(&mut self.open) {
            self.health.report(lease, &Outcome::Gone, self.now, &mut self.rng);
        }
        self.now += TEN_MINUTES * 2; // the longest cooling, and as long again until it is not believed
        self.health.tidy(self.now);
        assert!(self.health.unwell.is_empty() && self.health.unwell(self.now).is_empty());
        assert!(self.health.leases.is_empty());
    }

    fn standing(&self, (channel, key, model): &Place) -> Standing {
        self.health.standing(*channel, *key, model, self.now)
    }
}

/// The longest that an outcome cools by itself.
fn cap(outcome: &Outcome) -> Duration {
    match outcome {
        Outcome::Busy { .. } => Duration::from_secs(60),
        Outcome::Broken(_) => Duration::from_secs(15),
        Outcome::Silent => Duration::from_secs(120),
        Outcome::Refused { .. } | Outcome::NotHere(Lack::Model) => TEN_MINUTES,
        _ => Duration::ZERO,
    }
}

proptest! {
    #![proptest_config(crate::routing::stage::cases())]

    #[test]
    fn health_keeps_its_promises(seed: u64, steps in steps()) {
        let mut world = World::new(seed);
        for step in steps {
            world.take(step);
        }
        world.end();
    }

    #[test]
    fn a_channel_that_works_again_is_well_after_one_complete_answer_each(seed: u64, steps in steps()) {
        let mut world = World::new(seed);
        for step in steps {
            world.take(step);
        }
        for (lease, place) in std::mem::take(&mut world.open) {
            world.report(lease, place, &Outcome::Gone);
        }
        world.now += TEN_MINUTES; // nothing cools for longer
        for (channel, key, model) in places() {
            world.granted += 1;
            let lease = LeaseId(world.granted);
            world.health.granted(lease, channel, key, &model, world.now);
            world.health.report(lease, &Outcome::Ok, world.now, &mut world.rng);
        }
        world.health.tidy(world.now);
        prop_assert!(world.health.unwell.is_empty());
    }
}
