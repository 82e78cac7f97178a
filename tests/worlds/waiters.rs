//! Small world 4: waiting. A channel has one place, or cools and is probed by one at a time, or is barred by its
//! provider's word; askers come in every order and wait; attempts show life, end well, end busy or are dropped; some
//! askers lose patience or hang up; timers fire. Each asker asks once, so the world ends by itself.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::routing::build::Draft;
use pointsman::routing::health::{Learnt, LeaseId};
use pointsman::routing::ids::{ChannelId, Generation, Moment};
use pointsman::routing::outcome::Outcome;
use pointsman::routing::pick::{CoolingRule, Question};
use pointsman::routing::rebuilds::Scope;
use pointsman::routing::refusal::WaitsFor;
use pointsman::routing::router::{Built, Chosen, Found, Grant, Router};
use pointsman::routing::rows::Settings;
use pointsman::routing::snapshot::Snapshot;
use pointsman::routing::tried::Round;
use pointsman::routing::waiters::{Attempted, Event as Served, Waiters};

use super::dice::Dice;
use super::explorer::{Bits, Broken, Kind, World, explore};
use super::size;
use super::stage::{MODEL, asks, tell};

const OTHER_MODEL: &str = "n";

/// Longer than anything that is waited for here.
const PATIENCE: Duration = Duration::from_secs(600);

struct Waiting {
    name: &'static str,
    max_in_flight: Option<u32>,
    /// How the channel's last attempt ended before anybody came.
    before: Option<Outcome>,
    /// The model that each asker asks for.
    askers: Vec<Asks>,
    wrong: Option<Wrong>,
    began: Instant,
}

#[derive(Clone, Copy)]
struct Asks {
    model: &'static str,
    /// It has failed there once, rests, and may go there again.
    rests: bool,
}

/// What a careless driver would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// Nobody is served when an attempt ends.
    ForgetsReports,
    /// Nobody is served at a probe's first real event, nor at its end.
    ForgetsProbes,
    /// No timer is set for what is due.
    SetsNoTimer,
    /// Whoever asks last is served first.
    LastComeFirstServed,
    /// The lease of an asker that has gone never reports.
    LosesLeases,
    /// Its timers are a moment too early, each time.
    WakesEarly,
}

#[derive(Clone)]
struct State {
    router: Router,
    waiters: Waiters<usize>,
    now: Instant,
    /// When each fires, and what it was set for.
    timers: BTreeSet<(Instant, Instant)>,
    looks_at: Option<Instant>,
    askers: Vec<Asker>,
    arrivals: usize,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Asker {
    NotYet,
    /// On the way to wait, with what a lookup found.
    Missed,
    Waits {
        arrived: usize,
    },
    /// Lost patience; on the way to choose from what there is.
    Impatient,
    Holds {
        lease: LeaseId,
        has_seen: bool,
    },
    Done,
}

#[derive(Clone, Debug)]
enum Event {
    Picks { asker: usize },
    WaitArrives { asker: usize, found: bool },
    ShowsLife { asker: usize },
    Reports { asker: usize, outcome: Outcome },
    LosesPatience { asker: usize },
    HangsUp { asker: usize },
    Chooses { asker: usize },
    TimePasses,
}

const ASKS: Kind = 0;
const GOES: Kind = 1;
const GOES_ON: Kind = 2;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Picks { asker } => write!(f, "asker {asker} picks"),
            Event::WaitArrives { asker, found: true } => {
                write!(f, "asker {asker}, after a lookup, comes to wait")
            }
            Event::WaitArrives { asker, .. } => {
                write!(f, "asker {asker}, after a failed lookup, comes to wait")
            }
            Event::ShowsLife { asker } => write!(f, "asker {asker} sees its first real event"),
            Event::Reports { asker, outcome } => {
                write!(f, "asker {asker}'s attempt ends: {}", outcome.word())
            }
            Event::LosesPatience { asker } => write!(f, "asker {asker} loses patience"),
            Event::HangsUp { asker } => write!(f, "asker {asker} hangs up"),
            Event::Chooses { asker } => write!(f, "asker {asker} takes what there is"),
            Event::TimePasses => write!(f, "time passes until the next timer"),
        }
    }
}

impl Waiting {
    fn question(&self, asker: usize) -> Question {
        let Asks { model, rests } = self.askers[asker];
        let mut question = asks(model, CoolingRule::SoonestDue);
        if rests {
            question
                .tried
                .channel_until(ChannelId(1), self.began + Duration::from_secs(1));
            question.tried.begin(Round::Second);
        }
        question
    }

    fn rows(&self) -> Draft {
        let mut draft = Draft::default();
        let settings = Settings {
            max_in_flight: self.max_in_flight,
            ..Settings::default()
        };
        tell(&mut draft, 0, true, false, settings, &[MODEL, OTHER_MODEL]);
        draft
    }

    fn found(&self, state: &State) -> Arc<Found> {
        Arc::new(Found::new(self.rows(), state.router.snapshot(), Moment(2)))
    }

    fn choose(router: &mut Router, question: &Question, found: Option<&Found>, now: Instant) -> Chosen {
        match found {
            Some(found) => router.choose(question, found, now, &mut Dice::Low),
            None => router.without_database(question, now, &mut Dice::Low),
        }
    }

    /// As the cache actor handles `Wait`.
    fn wait(&self, state: &mut State, asker: usize, found: Option<Arc<Found>>) -> Result<(), String> {
        let question = Arc::new(self.question(asker));
        match Self::choose(&mut state.router, &question, found.as_deref(), state.now) {
            Chosen::Granted(grant) => state.askers[asker] = holds(&grant),
            Chosen::Refused { waits_for, .. } if waits_for.is_worth_a_wait(state.now + PATIENCE) => {
                let arrived = state.arrivals;
                state.arrivals += 1;
                let has_gone = |_: &usize| false;
                if state
                    .waiters
                    .add(question, found, waits_for, asker, has_gone)
                    .is_err()
                {
                    return Err("three are too many".to_owned());
                }
                state.askers[asker] = Asker::Waits { arrived };
                self.look_later(state);
            }
            Chosen::Refused { .. } => state.askers[asker] = Asker::Done,
            Chosen::Outdated => return Err("nothing has changed, and a lookup is outdated".to_owned()),
        }
        Ok(())
    }

    /// As the cache actor serves those who wait.
    fn serve(&self, state: &mut State, event: Served) -> Result<(), String> {
        if state.waiters.is_empty() {
            return Ok(());
        }
        let mut waiters = std::mem::take(&mut state.waiters);
        if self.wrong == Some(Wrong::LastComeFirstServed) {
            waiters = self.reversed(state, waiters);
        }
        let (now, mut wrong) = (state.now, Ok(()));
        let (askers, router) = (&state.askers, &mut state.router);
        let mut answered: Vec<(usize, Chosen)> = Vec::new();
        let given = std::cell::RefCell::new(Vec::<Arc<Question>>::new());
        waiters.serve(
            event,
            |asker| !matches!(askers[*asker], Asker::Waits { .. }),
            |question, found| {
                let before = router.clone();
                match Self::choose(router, question, found.as_deref(), now) {
                    Chosen::Refused { waits_for, .. } if waits_for.may_come() => Attempted::NotYet(waits_for),
                    chosen => {
                        if matches!(chosen, Chosen::Granted(_)) {
                            given.borrow_mut().push(Arc::clone(question));
                        }
                        Attempted::Answered((chosen, before))
                    }
                }
            },
            |asker, (chosen, before)| {
                if let (Chosen::Granted(_), Some(earlier)) = (
                    &chosen,
                    self.earlier_who_could(askers, &answered, asker, &before, now),
                ) {
                    wrong = Err(format!(
                        "asker {asker} is served before asker {earlier}, who came earlier"
                    ));
                }
                answered.push((asker, chosen));
            },
        );
        state.waiters = waiters;
        for (asker, chosen) in answered {
            state.askers[asker] = match chosen {
                Chosen::Granted(grant) => holds(&grant),
                Chosen::Refused { .. } | Chosen::Outdated => Asker::Done,
            };
        }
        self.look_later(state);
        wrong
    }

    /// Who waits, came before this asker and could have been served in its place.
    fn earlier_who_could(
        &self,
        askers: &[Asker],
        answered: &[(usize, Chosen)],
        asker: usize,
        before: &Router,
        now: Instant,
    ) -> Option<usize> {
        let Asker::Waits { arrived: mine } = askers[asker] else {
            return None;
        };
        (0..askers.len()).find(|other| {
            let came_earlier = matches!(askers[*other], Asker::Waits { arrived } if arrived < mine);
            let is_answered = answered.iter().any(|(known, _)| known == other);
            came_earlier && !is_answered && self.could_go(before, *other, now)
        })
    }

    fn could_go(&self, router: &Router, asker: usize, now: Instant) -> bool {
        let picked = router.clone().pick(&self.question(asker), now, &mut Dice::Low);
        picked.is_ok()
    }

    /// The same who wait, the last at the front.
    fn reversed(&self, state: &State, mut waiters: Waiters<usize>) -> Waiters<usize> {
        let mut all = Vec::new();
        waiters.serve(
            Served::Anything,
            |_| false,
            |q, f| Attempted::Answered((q.clone(), f.clone())),
            |asker, a| {
                all.push((asker, a));
            },
        );
        let mut reversed = Waiters::default();
        for (asker, (question, found)) in all.into_iter().rev() {
            let mut router = state.router.clone();
            let waits_for = match Self::choose(&mut router, &question, found.as_deref(), state.now) {
                Chosen::Refused { waits_for, .. } => waits_for,
                _ => WaitsFor {
                    place: true,
                    probe: true,
                    due: None,
                },
            };
            let _ = reversed.add(question, found, waits_for, asker, |_| false);
        }
        reversed
    }

    fn look_later(&self, state: &mut State) {
        let Some(due) = state.waiters.next_due() else {
            return;
        };
        if self.wrong == Some(Wrong::SetsNoTimer) || state.looks_at.is_some_and(|at| at <= due) {
            return;
        }
        state.looks_at = Some(due);
        state.timers.insert((due.max(state.now), due));
    }

    fn learnt(&self, state: &mut State, learnt: Option<Learnt>, is_report: bool) -> Result<(), String> {
        let probed = learnt.is_some_and(|learnt| learnt.recovered || learnt.probe_ended);
        match (probed, is_report) {
            (true, _) if self.wrong == Some(Wrong::ForgetsProbes) => Ok(()),
            (true, _) => self.serve(state, Served::Probed),
            (false, true) if self.wrong == Some(Wrong::ForgetsReports) => Ok(()),
            (false, true) => self.serve(state, Served::Place),
            (false, false) => Ok(()),
        }
    }

    fn time_passes(&self, state: &mut State) -> Result<(), String> {
        let Some((at, due)) = state.timers.pop_first() else {
            return Ok(());
        };
        if self.wrong != Some(Wrong::WakesEarly) {
            state.now = state.now.max(at);
        }
        // One that an earlier one has overtaken does nothing, as in the actor.
        if state.looks_at == Some(due) {
            state.looks_at = None;
            return self.serve(state, Served::Time(state.now));
        }
        Ok(())
    }
}

fn holds(grant: &Grant) -> Asker {
    Asker::Holds {
        lease: grant.lease,
        has_seen: false,
    }
}

impl World for Waiting {
    type State = State;
    type Step = Event;

    fn name(&self) -> String {
        format!("waiters, {}, {} askers", self.name, self.askers.len())
    }

    fn start(&self) -> State {
        let mut router = Router::new(Duration::from_secs(60));
        let built = Built::new(
            self.rows(),
            &Snapshot::default(),
            Scope::Everything,
            Generation(1),
            Moment(1),
        );
        drop(router.install(built, self.began));
        if let Some(outcome) = &self.before {
            let question = asks(MODEL, CoolingRule::PassOver);
            let grant = router
                .pick(&question, self.began, &mut Dice::Low)
                .expect("nothing is there yet");
            let _ = router.report(grant.lease, outcome, self.began, &mut Dice::Low);
        }
        State {
            router,
            waiters: Waiters::default(),
            now: self.began,
            timers: BTreeSet::new(),
            looks_at: None,
            askers: vec![Asker::NotYet; self.askers.len()],
            arrivals: 0,
        }
    }

    fn steps(&self, state: &State) -> Vec<Event> {
        let mut steps = Vec::new();
        for (asker, at) in state.askers.iter().enumerate() {
            match at {
                Asker::NotYet => steps.push(Event::Picks { asker }),
                Asker::Missed => steps.extend([true, false].map(|found| Event::WaitArrives { asker, found })),
                Asker::Waits { .. } => {
                    steps.push(Event::LosesPatience { asker });
                    steps.push(Event::HangsUp { asker });
                }
                Asker::Impatient => steps.push(Event::Chooses { asker }),
                Asker::Holds { has_seen, .. } => {
                    if !has_seen {
                        steps.push(Event::ShowsLife { asker });
                    }
                    let busy = Outcome::Busy {
                        status: 429,
                        retry_after: None,
                    };
                    let outcomes = [Outcome::Ok, busy, Outcome::Gone];
                    steps.extend(outcomes.map(|outcome| Event::Reports { asker, outcome }));
                }
                Asker::Done => {}
            }
        }
        if !state.timers.is_empty() {
            steps.push(Event::TimePasses);
        }
        steps
    }

    fn take(&self, state: &mut State, event: &Event) -> Result<(), String> {
        match event {
            Event::Picks { asker } => {
                let picked = state
                    .router
                    .pick(&self.question(*asker), state.now, &mut Dice::Low);
                state.askers[*asker] = picked.map_or(Asker::Missed, |grant| holds(&grant));
            }
            Event::WaitArrives { asker, found } => {
                let found = found.then(|| self.found(state));
                self.wait(state, *asker, found)?;
            }
            Event::ShowsLife { asker } => {
                if let Asker::Holds { lease, has_seen } = &mut state.askers[*asker] {
                    *has_seen = true;
                    let learnt = state.router.first_event(*lease, state.now);
                    self.learnt(state, learnt, false)?;
                }
            }
            Event::Reports { asker, outcome } => {
                if let Asker::Holds { lease, .. } = state.askers[*asker] {
                    state.askers[*asker] = Asker::Done;
                    if self.wrong == Some(Wrong::LosesLeases) && *outcome == Outcome::Gone {
                        return Ok(());
                    }
                    let learnt = state.router.report(lease, outcome, state.now, &mut Dice::Low);
                    self.learnt(state, learnt, true)?;
                }
            }
            Event::LosesPatience { asker } => state.askers[*asker] = Asker::Impatient,
            Event::HangsUp { asker } => state.askers[*asker] = Asker::Done,
            Event::Chooses { asker } => {
                let question = self.question(*asker);
                let found = self.found(state);
                let chosen = Self::choose(&mut state.router, &question, Some(&found), state.now);
                state.askers[*asker] = match chosen {
                    Chosen::Granted(grant) => holds(&grant),
                    _ => Asker::Done,
                };
            }
            Event::TimePasses => self.time_passes(state)?,
        }
        let waits = |asker: &usize| matches!(state.askers[*asker], Asker::Waits { .. });
        let mut waiting = (0..state.askers.len()).filter(waits);
        match waiting.find(|asker| self.could_go(&state.router, *asker, state.now)) {
            Some(asker) => Err(format!("a place is free, and asker {asker} waits for it")),
            None => Ok(()),
        }
    }

    fn key(&self, state: &State, hasher: &mut impl Hasher) {
        // The snapshot is always the same; everything else counts.
        let router = format!("{:?}", state.router);
        router[router.find(", closings: ").unwrap_or(0)..].hash(hasher);
        format!("{:?}", state.waiters).hash(hasher);
        (
            state.now,
            &state.timers,
            state.looks_at,
            &state.askers,
            state.arrivals,
        )
            .hash(hasher);
    }

    fn is_key_whole(&self) -> bool {
        true
    }

    fn kind(&self, event: &Event) -> Kind {
        match event {
            Event::Picks { .. } => ASKS,
            Event::LosesPatience { .. } | Event::HangsUp { .. } => GOES,
            _ => GOES_ON,
        }
    }

    fn marks(&self, state: &State) -> Bits {
        let is_over = |asker: &Asker| matches!(asker, Asker::NotYet | Asker::Done);
        Bits::from(!state.askers.iter().all(is_over))
    }
}

fn check(world: &Waiting) -> Result<(), Broken> {
    let graph = explore(world)?;
    // Assumed: attempts end, messages arrive and time passes. Nobody has to lose patience: all the same everybody is
    // answered, and nothing goes round in circles.
    graph.ends("work without end", Bits::MAX, |_| true, &[])?;
    graph.ends_in("R13: somebody waits for ever", 1 << GOES_ON, |marks| marks == 0)
}

fn world(
    name: &'static str,
    max_in_flight: Option<u32>,
    before: Option<Outcome>,
    models: &[&'static str],
) -> Waiting {
    Waiting {
        name,
        max_in_flight,
        before,
        askers: models
            .iter()
            .chain(std::iter::repeat_n(&MODEL, size()))
            .map(|model| Asks { model, rests: false })
            .collect(),
        wrong: None,
        began: Instant::now(),
    }
}

fn busy(retry_after: Option<Duration>) -> Option<Outcome> {
    Some(Outcome::Busy {
        status: 429,
        retry_after,
    })
}

fn one_place(models: &[&'static str]) -> Waiting {
    world("one place", Some(1), None, models)
}

fn cools(models: &[&'static str]) -> Waiting {
    world("a channel that cools", None, busy(None), models)
}

fn is_barred(models: &[&'static str]) -> Waiting {
    world(
        "a channel barred for 2 s",
        Some(1),
        busy(Some(Duration::from_secs(2))),
        models,
    )
}

fn holds_true(world: Waiting) {
    check(&world).unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn r4_waiters_for_one_place() {
    holds_true(one_place(&[MODEL, MODEL, MODEL]));
    holds_true(one_place(&[MODEL, OTHER_MODEL, MODEL]));
}

#[test]
fn r13_waiters_for_a_probe() {
    holds_true(cools(&[MODEL, MODEL, MODEL]));
    holds_true(cools(&[MODEL, OTHER_MODEL, MODEL]));
}

#[test]
fn r13_waiters_for_the_end_of_a_providers_word() {
    holds_true(is_barred(&[MODEL, MODEL, MODEL]));
}

#[test]
fn waiters_of_whom_one_rests() {
    for mut world in [one_place(&[MODEL; 3]), cools(&[MODEL; 3]), is_barred(&[MODEL; 3])] {
        world.askers[0].rests = true;
        holds_true(world);
    }
}

#[test]
fn careless_waiting_is_found() {
    let found = |wrong, world: Waiting, word: &str| {
        let careless = Waiting {
            wrong: Some(wrong),
            ..world
        };
        super::is_found(&format!("{wrong:?}"), check(&careless), word);
    };
    found(Wrong::ForgetsReports, one_place(&[MODEL; 2]), "a place is free");
    found(Wrong::ForgetsProbes, cools(&[MODEL; 2]), "a place is free");
    found(Wrong::SetsNoTimer, is_barred(&[MODEL; 2]), "waits for ever");
    found(Wrong::LastComeFirstServed, one_place(&[MODEL; 3]), "came earlier");
    found(Wrong::LosesLeases, one_place(&[MODEL; 2]), "waits for ever");
    found(Wrong::WakesEarly, is_barred(&[MODEL; 2]), "work without end");
}
