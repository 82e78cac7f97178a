//! Small world 1: rebuilding. Askers ask again and again, builds succeed, fail, hang past their deadline and end
//! late, and timers wake; all in every order.
//!
//! Askers are alike, so it is always the first idle one that asks. Build numbers count back from the newest and
//! points in time from now, so the world, though it never ends, has finitely many states. What is bounded: the
//! askers, failures in a row, and one build at a time that was given up and is still at work.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Instant;

use pointsman::routing::ids::ChannelId;
use pointsman::routing::rebuilds::{BuildNumber, Rebuilds, Scope, Step, Urgency};

use super::dice::Dice;
use super::explorer::{Bits, Broken, Kind, World, explore};
use super::relative::relative;
use super::size;

const CHANNELS: [ChannelId; 2] = [ChannelId(1), ChannelId(2)];

struct Rebuilding {
    askers: usize,
    scopes: Vec<Scope>,
    failures_in_a_row: u32,
    wrong: Option<Wrong>,
    began: Instant,
}

/// What a careless driver would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// A build that was given up is installed when it ends after all.
    InstallsLateBuilds,
    /// Who asks while a build runs is answered by it.
    JoinsTheRunningBuild,
    /// Two builds run when an operator asks.
    StartsBesideTheRunning,
    /// Nobody wakes it after a failure.
    ForgetsToWake,
    /// What a failed build was to read is taken for read.
    DropsFailedScopes,
    /// After each build there is another.
    AsksAgainAfterEachBuild,
}

#[derive(Clone)]
struct State {
    rebuilds: Rebuilds<usize>,
    now: Instant,
    timers: BTreeSet<Instant>,
    askers: Vec<Asker>,
    /// The build that the actor has under way.
    building: Option<(BuildNumber, Scope)>,
    /// Given up, and still at work.
    late: Option<BuildNumber>,
    /// The number of the newest build that was started.
    newest: u64,
    /// For each channel that somebody asked for and no build has read since: the newest build then.
    owed: BTreeMap<ChannelId, u64>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Asker {
    Idle,
    /// `after`: the newest build when it asked; one that began before is no answer.
    Waits {
        after: u64,
        scope: Scope,
    },
}

#[derive(Debug)]
enum Event {
    Asks {
        asker: usize,
        scope: Scope,
        urgency: Urgency,
    },
    /// The timer's own: nobody waits for the answer.
    Sync,
    Succeeds,
    Fails,
    IsGivenUp,
    EndsLate {
        succeeded: bool,
    },
    TimePasses,
}

const ASKS: Kind = 0;
const SUCCEEDS: Kind = 1;
const FAILS: Kind = 2;
const ENDS_LATE: Kind = 3;
const TIME_PASSES: Kind = 4;

/// Marks: bit n, asker n waits; this, something is under way or owed.
const RESTLESS: Bits = 1 << 32;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Asks {
                asker,
                scope,
                urgency,
            } => write!(f, "asker {asker} asks for {} ({urgency:?})", words(scope)),
            Event::Sync => write!(f, "the sync timer asks for everything"),
            Event::Succeeds => write!(f, "the running build succeeds"),
            Event::Fails => write!(f, "the running build fails"),
            Event::IsGivenUp => write!(f, "the running build's deadline passes, it is given up"),
            Event::EndsLate { succeeded: true } => write!(f, "the build that was given up succeeds late"),
            Event::EndsLate { succeeded: false } => write!(f, "the build that was given up fails late"),
            Event::TimePasses => write!(f, "time passes until the next timer, which wakes"),
        }
    }
}

fn words(scope: &Scope) -> String {
    match scope {
        Scope::Everything => "everything".to_owned(),
        Scope::Channels(ids) => ids
            .iter()
            .map(|id| format!("channel {id}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

impl Rebuilding {
    /// What the actor does with what `Rebuilds` says.
    fn follow(&self, state: &mut State, step: Step) -> Result<(), String> {
        match step {
            Step::Rest => Ok(()),
            Step::WakeAt(at) => {
                if self.wrong != Some(Wrong::ForgetsToWake) {
                    state.timers.insert(at.max(state.now));
                }
                Ok(())
            }
            Step::Start { number, scope } => {
                if let Some((running, _)) = &state.building {
                    return Err(format!("R5: build {} begins while {} runs", number.0, running.0));
                }
                if number.0 <= state.newest {
                    return Err(format!(
                        "R5: build {} is not newer than {}",
                        number.0, state.newest
                    ));
                }
                state.newest = number.0;
                state.building = Some((number, scope));
                Ok(())
            }
        }
    }

    fn ask(
        &self,
        state: &mut State,
        scope: &Scope,
        urgency: Urgency,
        asker: Option<usize>,
    ) -> Result<(), String> {
        for id in CHANNELS.into_iter().filter(|id| scope.covers(*id)) {
            state.owed.insert(id, state.newest);
        }
        let step = state.rebuilds.ask(scope.clone(), urgency, asker, state.now);
        if self.wrong == Some(Wrong::StartsBesideTheRunning)
            && urgency == Urgency::Admin
            && state.building.is_some()
        {
            let number = BuildNumber(state.newest + 1);
            return self.follow(
                state,
                Step::Start {
                    number,
                    scope: scope.clone(),
                },
            );
        }
        self.follow(state, step)
    }

    /// The running build is over for the actor.
    fn ended(&self, state: &mut State, succeeded: bool) -> Result<(), String> {
        let Some((number, scope)) = state.building.take() else {
            return Err("nothing ran".to_owned());
        };
        if succeeded {
            self.install(state, number, &scope)?;
        }
        if !succeeded && self.wrong == Some(Wrong::DropsFailedScopes) {
            // As if it had been told that all is well.
            let (askers, step) = state.rebuilds.ended(number, true, state.now, &mut Dice::Low);
            answer(state, &askers, number, false, &scope)?;
            return self.follow(state, step);
        }
        let (mut askers, step) = state.rebuilds.ended(number, succeeded, state.now, &mut Dice::Low);
        if self.wrong == Some(Wrong::JoinsTheRunningBuild) {
            let waiting = (0..state.askers.len()).filter(|asker| state.askers[*asker] != Asker::Idle);
            askers = waiting.collect();
        }
        answer(state, &askers, number, succeeded, &scope)?;
        self.follow(state, step)?;
        if succeeded && self.wrong == Some(Wrong::AsksAgainAfterEachBuild) {
            self.ask(state, &scope, Urgency::Background, None)?;
        }
        Ok(())
    }

    fn install(&self, state: &mut State, number: BuildNumber, scope: &Scope) -> Result<(), String> {
        let is_wanted = state.rebuilds.is_running(number);
        if !is_wanted && self.wrong != Some(Wrong::InstallsLateBuilds) {
            return Ok(());
        }
        if state.late == Some(number) {
            return Err(format!(
                "R6: build {} was given up and is installed late",
                number.0
            ));
        }
        state
            .owed
            .retain(|id, after| !(scope.covers(*id) && number.0 > *after));
        Ok(())
    }
}

/// Tells the askers: each waits, asked before the build began, and for no more than it has read.
fn answer(
    state: &mut State,
    askers: &[usize],
    number: BuildNumber,
    succeeded: bool,
    read: &Scope,
) -> Result<(), String> {
    for asker in askers {
        match std::mem::replace(&mut state.askers[*asker], Asker::Idle) {
            Asker::Idle => return Err(format!("R5: asker {asker} is answered twice")),
            Asker::Waits { after, .. } if number.0 <= after => {
                return Err(format!(
                    "R5: asker {asker} is answered by build {}, which began before it asked",
                    number.0
                ));
            }
            Asker::Waits { scope, .. } => {
                let left_out = CHANNELS.iter().any(|id| scope.covers(*id) && !read.covers(*id));
                if succeeded && left_out {
                    return Err(format!(
                        "R5: asker {asker} is told of a build that read something else"
                    ));
                }
            }
        }
    }
    Ok(())
}

impl World for Rebuilding {
    type State = State;
    type Step = Event;

    fn name(&self) -> String {
        let scopes: Vec<String> = self.scopes.iter().map(words).collect();
        format!("rebuilds, {} askers for {}", self.askers, scopes.join(" or "))
    }

    fn start(&self) -> State {
        State {
            rebuilds: Rebuilds::default(),
            now: self.began,
            timers: BTreeSet::new(),
            askers: vec![Asker::Idle; self.askers],
            building: None,
            late: None,
            newest: 0,
            owed: BTreeMap::new(),
        }
    }

    fn steps(&self, state: &State) -> Vec<Event> {
        let mut steps = Vec::new();
        if let Some(asker) = state.askers.iter().position(|asker| *asker == Asker::Idle) {
            for scope in &self.scopes {
                for urgency in [Urgency::Background, Urgency::Admin] {
                    let scope = scope.clone();
                    steps.push(Event::Asks {
                        asker,
                        scope,
                        urgency,
                    });
                }
            }
        }
        if self.scopes.contains(&Scope::Everything) {
            steps.push(Event::Sync);
        }
        if state.building.is_some() {
            steps.push(Event::Succeeds);
            if state.rebuilds.failures() < self.failures_in_a_row {
                steps.push(Event::Fails);
                if state.late.is_none() {
                    steps.push(Event::IsGivenUp);
                }
            }
        }
        if state.late.is_some() {
            steps.extend([true, false].map(|succeeded| Event::EndsLate { succeeded }));
        }
        if !state.timers.is_empty() {
            steps.push(Event::TimePasses);
        }
        steps
    }

    fn take(&self, state: &mut State, event: &Event) -> Result<(), String> {
        match event {
            Event::Asks {
                asker,
                scope,
                urgency,
            } => {
                state.askers[*asker] = Asker::Waits {
                    after: state.newest,
                    scope: scope.clone(),
                };
                self.ask(state, scope, *urgency, Some(*asker))?;
            }
            Event::Sync => self.ask(state, &Scope::Everything, Urgency::Background, None)?,
            Event::Succeeds => self.ended(state, true)?,
            Event::Fails => self.ended(state, false)?,
            Event::IsGivenUp => {
                state.late = state.building.as_ref().map(|(number, _)| *number);
                self.ended(state, false)?;
            }
            Event::EndsLate { succeeded } => {
                let Some(number) = state.late else {
                    return Err("nothing was given up".to_owned());
                };
                if *succeeded {
                    self.install(state, number, &Scope::Everything)?;
                }
                let (askers, step) = state
                    .rebuilds
                    .ended(number, *succeeded, state.now, &mut Dice::Low);
                if !askers.is_empty() || step != Step::Rest {
                    return Err(format!(
                        "R5: a build that was given up answers {askers:?} and then {step:?}"
                    ));
                }
                state.late = None;
            }
            Event::TimePasses => {
                if let Some(at) = state.timers.pop_first() {
                    state.now = at;
                    let step = state.rebuilds.wake(at);
                    self.follow(state, step)?;
                }
            }
        }
        if let Some((number, scope)) = &state.building {
            if !state.rebuilds.is_running(*number) {
                return Err(format!("R5: build {} runs unknown", number.0));
            }
            let lost = |(id, after): (&ChannelId, &u64)| *after < number.0 && !scope.covers(*id);
            if state.owed.iter().any(lost) {
                return Err(format!(
                    "R6: build {} begins without a channel that is still owed",
                    number.0
                ));
            }
        } else if state.timers.is_empty() {
            // Nothing will ever happen by itself: then nobody may be left.
            if !state.owed.is_empty() {
                return Err(format!(
                    "R6: nothing runs and nothing wakes, yet {:?} are unread",
                    state.owed
                ));
            }
            if state.askers.iter().any(|asker| *asker != Asker::Idle) {
                return Err("R5: nothing runs and nothing wakes, yet somebody waits".to_owned());
            }
        }
        Ok(())
    }

    fn key(&self, state: &State, hasher: &mut impl Hasher) {
        // Of a build that began before only this matters: not after it.
        let ago = |number: u64| (state.newest - number).min(1);
        relative(&format!("{:?}", state.rebuilds), state.newest, state.now).hash(hasher);
        for timer in &state.timers {
            timer.saturating_duration_since(state.now).hash(hasher);
        }
        for asker in &state.askers {
            match asker {
                Asker::Idle => 0u8.hash(hasher),
                Asker::Waits { after, scope } => {
                    (1u8, ago(*after), words(scope)).hash(hasher);
                }
            }
        }
        let building = state.building.as_ref();
        building
            .map(|(number, scope)| (state.newest - number.0, words(scope)))
            .hash(hasher);
        state.late.map(|number| ago(number.0)).hash(hasher);
        for (id, after) in &state.owed {
            (id, ago(*after)).hash(hasher);
        }
    }

    fn kind(&self, event: &Event) -> Kind {
        match event {
            Event::Asks { .. } | Event::Sync => ASKS,
            Event::Succeeds => SUCCEEDS,
            Event::Fails | Event::IsGivenUp => FAILS,
            Event::EndsLate { .. } => ENDS_LATE,
            Event::TimePasses => TIME_PASSES,
        }
    }

    fn marks(&self, state: &State) -> Bits {
        let mut marks = 0;
        for (number, asker) in state.askers.iter().enumerate() {
            marks |= Bits::from(*asker != Asker::Idle) << number;
        }
        if marks != 0 || state.building.is_some() || !state.owed.is_empty() {
            marks |= RESTLESS;
        }
        marks
    }
}

fn check(world: &Rebuilding) -> Result<(), Broken> {
    let graph = explore(world)?;
    const ALL: Bits = Bits::MAX;
    // Assumed: a build ends some time (it has a deadline), and time passes. Nothing is assumed of how it ends, nor
    // that others ever stop asking.
    let fair = [1 << SUCCEEDS | 1 << FAILS, 1 << TIME_PASSES];
    for asker in 0..world.askers {
        let waits = |marks: Bits| marks >> asker & 1 == 1;
        graph.ends("R5: an asker waits for ever", ALL, waits, &fair)?;
    }
    // Once nobody asks and nothing fails any more, nothing at all goes on for ever, and all is read in the end.
    let calm = 1 << SUCCEEDS | 1 << TIME_PASSES | 1 << ENDS_LATE;
    graph.ends("R6: builds without end though all is quiet", calm, |_| true, &[])?;
    graph.ends_in("R6: all is quiet and something is owed", calm, |marks| marks == 0)
}

fn world(askers: usize, scopes: &[Scope]) -> Rebuilding {
    Rebuilding {
        askers,
        scopes: scopes.to_vec(),
        failures_in_a_row: 2 + size() as u32,
        wrong: None,
        began: Instant::now(),
    }
}

fn one_of_two() -> [Scope; 2] {
    CHANNELS.map(Scope::channel)
}

#[test]
fn r5_r6_rebuilds_of_two_channels() {
    check(&world(4 + size(), &one_of_two())).unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn r5_r6_rebuilds_of_one_channel_and_of_everything() {
    let scopes = [Scope::channel(ChannelId(1)), Scope::Everything];
    check(&world(4 + size(), &scopes)).unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn careless_rebuilds_are_found() {
    let found = |wrong, word: &str| {
        let careless = Rebuilding {
            wrong: Some(wrong),
            ..world(2, &one_of_two())
        };
        super::is_found(&format!("{wrong:?}"), check(&careless), word);
    };
    found(Wrong::InstallsLateBuilds, "installed late");
    found(Wrong::JoinsTheRunningBuild, "began before it asked");
    found(Wrong::StartsBesideTheRunning, "begins while");
    found(Wrong::ForgetsToWake, "nothing wakes");
    found(Wrong::DropsFailedScopes, "are unread");
    found(Wrong::AsksAgainAfterEachBuild, "without end");
}
