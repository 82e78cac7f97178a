//! R13 of the router's own decisions: whatever attempts have shown, in whatever order, something is offered while
//! something is open that its provider's word does not bar.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::routing::ids::KeyId;
use crate::routing::outcome::{Breakage, Lack};
use crate::routing::pick::CoolingRule;
use crate::routing::stage::{self, Rows};

const PROBE_TIMEOUT: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const KEYS: [(i64, i64); 4] = [(1, 11), (1, 12), (2, 21), (2, 22)];

#[derive(Clone, Debug)]
enum Step {
    Pick(CoolingRule),
    FirstEvent(prop::sample::Index),
    Report(prop::sample::Index, Outcome),
    Wait(Duration),
    /// A build that brings nothing new.
    Rebuild,
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let word = prop::option::of((0..4_000_000u64).prop_map(Duration::from_millis));
    prop_oneof![
        3 => Just(Outcome::Ok),
        4 => (prop_oneof![Just(429), Just(529)], word.clone())
            .prop_map(|(status, retry_after)| Outcome::Busy { status, retry_after }),
        3 => word.prop_map(|retry_after| Outcome::Broken(Breakage::Status { status: 503, retry_after })),
        3 => prop_oneof![Just(Breakage::Connect), Just(Breakage::Tls), Just(Breakage::Cut)].prop_map(Outcome::Broken),
        2 => Just(Outcome::Silent),
        1 => Just(Outcome::Refused { reason: "refused".into() }),
        1 => prop_oneof![Just(Lack::Model), Just(Lack::Path), Just(Lack::State)].prop_map(Outcome::NotHere),
        1 => Just(Outcome::Gone),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let wait = prop_oneof![4 => 0..3_000u64, 2 => 0..20_000u64, 1 => 0..700_000u64];
    let step = prop_oneof![
        6 => prop_oneof![Just(CoolingRule::PassOver), Just(CoolingRule::SoonestDue)].prop_map(Step::Pick),
        2 => index().prop_map(Step::FirstEvent),
        7 => (index(), outcomes()).prop_map(|(lease, outcome)| Step::Report(lease, outcome)),
        3 => wait.prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
        1 => Just(Step::Rebuild),
    ];
    prop::collection::vec(step, 1..150)
}

/// The router beside what a bystander knows.
struct World {
    router: Router,
    now: Instant,
    rng: StdRng,
    builds: u64,
    open: Vec<Grant>,
    /// Probes that have neither spoken nor ended nor run out, by channel.
    probes: HashMap<ChannelId, (LeaseId, Instant)>,
    /// Until when each key's provider has forbidden it.
    words: HashMap<KeyId, Instant>,
}

impl World {
    fn new(seed: u64) -> World {
        // The only clock reading of these tests.
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        let mut world = World {
            router: Router::new(PROBE_TIMEOUT),
            now,
            rng: StdRng::seed_from_u64(seed),
            builds: 0,
            open: Vec::new(),
            probes: HashMap::new(),
            words: HashMap::new(),
        };
        world.build();
        world
    }

    fn build(&mut self) {
        self.builds += 1;
        let rows = [1, 2].map(|channel| Rows {
            keys: KEYS
                .iter()
                .filter(|(of, _)| *of == channel)
                .map(|(_, key)| (*key, true))
                .collect(),
            ..Rows::new(channel)
        });
        let built = Built {
            snapshot: stage::snapshot(&rows, self.builds),
            scope: Scope::Everything,
            began: Moment(self.builds),
        };
        drop(self.router.install(built, self.now));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Pick(cooling) => self.pick(cooling),
            Step::FirstEvent(index) if !self.open.is_empty() => {
                let grant = index.get(&self.open);
                self.router.first_event(grant.lease, self.now);
                let (channel, lease) = (grant.picked.channel.id, grant.lease);
                self.ended(channel, lease);
            }
            Step::Report(index, outcome) if !self.open.is_empty() => {
                let grant = self.open.swap_remove(index.index(self.open.len()));
                self.router.report(grant.lease, &outcome, self.now, &mut self.rng);
                self.ended(grant.picked.channel.id, grant.lease);
                if let (Some((wait, _)), Some(key)) = (outcome.provider_word(), &grant.picked.key) {
                    let until = self.now + wait.min(TEN_MINUTES);
                    let known = self.words.entry(key.id).or_insert(until);
                    *known = until.max(*known);
                }
            }
            Step::FirstEvent(_) | Step::Report(..) => {}
            Step::Wait(duration) => {
                self.now += duration;
                let now = self.now;
                self.probes.retain(|_, (_, until)| *until > now);
            }
            Step::Rebuild => self.build(),
        }
    }

    fn ended(&mut self, channel: ChannelId, lease: LeaseId) {
        if self
            .probes
            .get(&channel)
            .is_some_and(|(probe, _)| *probe == lease)
        {
            self.probes.remove(&channel);
        }
    }

    fn is_barred(&self, key: KeyId) -> bool {
        self.words.get(&key).is_some_and(|until| *until > self.now)
    }

    fn pick(&mut self, cooling: CoolingRule) {
        let mut question = stage::question(&["g"], "m");
        question.cooling = cooling;
        match self.router.pick(&question, self.now, &mut self.rng) {
            Ok(grant) => self.granted(grant),
            Err(shortage) if cooling == CoolingRule::SoonestDue => self.withheld(&shortage),
            Err(_) => {}
        }
    }

    fn granted(&mut self, grant: Grant) {
        let channel = grant.picked.channel.id;
        let key = grant.picked.key.as_ref().expect("these channels have keys").id;
        assert!(
            !self.is_barred(key),
            "the provider of {key:?} has said when to come again"
        );
        if grant.probe {
            let until = self.now + PROBE_TIMEOUT;
            let other = self.probes.insert(channel, (grant.lease, until));
            assert_eq!(other, None, "two probes at once of channel {channel}");
        }
        self.open.push(grant);
    }

    /// Only probes and providers' words withhold what is open, and the shortage says which.
    fn withheld(&self, shortage: &Shortage) {
        let free = KEYS.iter().filter(|(_, key)| !self.is_barred(KeyId(*key)));
        let mut claim_ends = None;
        for (channel, key) in free {
            let probe = self.probes.get(&ChannelId(*channel));
            let Some((_, until)) = probe else {
                panic!("key {key} of channel {channel} is neither barred nor being probed: {shortage:?}");
            };
            claim_ends = Some(claim_ends.map_or(*until, |ends| (*until).min(ends)));
        }
        assert_eq!(shortage.probed_until, claim_ends, "{shortage:?}");
        let waits = claim_ends.is_some();
        let refusal = busy(shortage, self.now);
        let is_barred = matches!(refusal, Refusal::RateLimited { .. });
        assert_eq!(is_barred, !waits, "{shortage:?}: {refusal:?}");
        if let Refusal::RateLimited { retry_after, .. } = refusal {
            let first = self
                .words
                .values()
                .copied()
                .filter(|until| *until > self.now)
                .min();
            assert_eq!(Some(self.now + retry_after), first, "{shortage:?}");
            assert!(retry_after <= TEN_MINUTES);
        }
    }
}

proptest! {
    #![proptest_config(crate::routing::stage::cases())]

    #[test]
    fn r13_something_is_offered_while_something_is_open_and_not_barred(seed: u64, steps in steps()) {
        let mut world = World::new(seed);
        for step in steps {
            world.take(step);
        }
    }
}

/// Its report may come long after, and wakes nobody then.
#[test]
fn r13_who_waits_for_a_probe_is_woken_when_its_claim_ends() {
    let mut world = World::new(1);
    let built = Built {
        snapshot: stage::snapshot(&[Rows::new(1)], 2),
        scope: Scope::Everything,
        began: Moment(2),
    };
    drop(world.router.install(built, world.now));
    let mut question = stage::question(&["g"], "m");
    question.cooling = CoolingRule::SoonestDue;
    let pick = |world: &mut World| world.router.pick(&question, world.now, &mut world.rng);
    let first = pick(&mut world).expect("nothing has failed yet");
    let busy = Outcome::Busy {
        status: 429,
        retry_after: None,
    };
    world.router.report(first.lease, &busy, world.now, &mut world.rng);
    assert!(pick(&mut world).expect("it cools by a guess").probe);
    let shortage = pick(&mut world).expect_err("one request at a time");
    let waits_for = WaitsFor::of(&shortage, CoolingRule::SoonestDue);
    let claim_ends = world.now + PROBE_TIMEOUT;
    assert!(waits_for.probe);
    assert_eq!(waits_for.due, Some(claim_ends));
    world.now = claim_ends;
    assert!(pick(&mut world).expect("nobody probes it any more").probe);
}
