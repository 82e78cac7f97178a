//! One node: the router and its state machines, driven as `CacheActor` and `QueryActor` drive them.
//!
//! Everything that decides is `src/routing`'s. What is left of the actors is glue, and each method here names the
//! one that it mirrors; order of calls included. What the actors answer goes to `outbox`, in order.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::routing::build::Draft;
use pointsman::routing::closings::Closing;
use pointsman::routing::health::LeaseId;
use pointsman::routing::ids::{Generation, GroupName, ModelName, Moment, Moments};
use pointsman::routing::lookups::{Bounds, Lookups, Overloaded};
use pointsman::routing::outcome::Outcome;
use pointsman::routing::pick::Question;
use pointsman::routing::rebuilds::{BuildNumber, Rebuilds, Scope, Step, Urgency};
use pointsman::routing::refusal::{Refusal, WaitsFor};
use pointsman::routing::router::{Built, Chosen, Found, Grant, Router};
use pointsman::routing::snapshot::Snapshot;
use pointsman::routing::waiters::{Attempted, Event, Waiters};
use rand::rngs::SmallRng;

use crate::world::Version;

/// As in `actors::cache`.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(60);
pub const BUILD_DEADLINE: Duration = Duration::from_secs(60);
pub const LOOKUP_DEADLINE: Duration = Duration::from_secs(5);
/// Few, so that both bounds are met.
pub const LOOKUPS: Bounds = Bounds {
    running: 2,
    waiting: 3,
};

/// A point in the simulation's own order of everything that happens.
pub type Tick = u64;

/// Now, and the dice of this step.
pub struct Here<'a> {
    pub tick: Tick,
    pub now: Instant,
    pub rng: &'a mut SmallRng,
}

/// Someone who waits for a build.
#[derive(Clone, Copy, Debug)]
pub struct BuildAsker {
    pub change: u64,
    pub asked: Tick,
}

/// A request's question, and who is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asker {
    pub request: u64,
    pub serial: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct LookupAsker {
    pub asker: Asker,
    pub asked: Tick,
}

/// As in `actors::query`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LookupQuestion {
    pub groups: Arc<[GroupName]>,
    pub model: ModelName,
}

/// A build's task.
#[derive(Debug)]
pub struct Task {
    pub number: BuildNumber,
    pub scope: Scope,
    pub base: Arc<Snapshot>,
    pub generation: Generation,
    pub began: Moment,
    pub began_at: Tick,
    pub due: Instant,
    /// What it has read, from the first statement on.
    pub view: Option<(Version, Draft)>,
}

/// A lookup's task.
#[derive(Debug)]
pub struct Lookup {
    pub question: LookupQuestion,
    pub last_good: Arc<Snapshot>,
    pub due: Instant,
    /// Drawn when it has its connection, before its statement is sent.
    pub began: Option<(Moment, Tick)>,
    pub view: Option<(Version, Draft)>,
}

/// What a choice can be; a lease is its grant.
#[derive(Debug)]
pub enum Choice {
    Granted(Grant),
    Refused(Refusal),
    Outdated,
}

/// What the actors answer, or do, for the oracle and the requests to hear.
#[derive(Debug)]
pub enum Told {
    BuildBegan {
        running: usize,
    },
    Installed {
        scope: Scope,
        version: Version,
        began: Moment,
        old: Arc<Snapshot>,
        new: Arc<Snapshot>,
    },
    /// A build that failed left this in place.
    Failed {
        before: Generation,
    },
    BuildAnswered {
        asker: BuildAsker,
        generation: Option<Generation>,
        began_at: Tick,
    },
    LookupBegan {
        running: usize,
    },
    LookedUp {
        asker: LookupAsker,
        began_at: Option<Tick>,
        found: Option<Arc<Found>>,
    },
    Chosen {
        asker: Asker,
        choice: Choice,
    },
    MissRebuild {
        scope: Scope,
    },
}

pub struct Node {
    pub router: Router,
    pub rebuilds: Rebuilds<BuildAsker>,
    pub waiters: Waiters<Asker>,
    pub lookups: Lookups<LookupQuestion, LookupAsker>,
    pub moments: Moments,
    generations: u64,
    building: Option<BuildNumber>,
    /// The running build's task.
    pub task: Option<Task>,
    /// Builds that were given up at their deadline, whose results may arrive yet.
    pub late: Vec<Task>,
    pub running_lookups: Vec<Lookup>,
    /// When `rebuilds` wants to be woken.
    pub wakes: Vec<Instant>,
    pub looks_at: Option<Instant>,
    /// Waiters that have not gone.
    pub waiting: BTreeSet<Asker>,
    pub outbox: Vec<Told>,
}

impl Node {
    pub fn new() -> Node {
        Node {
            router: Router::new(PROBE_TIMEOUT),
            rebuilds: Rebuilds::default(),
            waiters: Waiters::default(),
            lookups: Lookups::new(LOOKUPS),
            moments: Moments::default(),
            generations: 0,
            building: None,
            task: None,
            late: Vec::new(),
            running_lookups: Vec::new(),
            wakes: Vec::new(),
            looks_at: None,
            waiting: BTreeSet::new(),
            outbox: Vec::new(),
        }
    }

    // ---- `CacheActor`: builds ----

    /// `CacheActor::ask`.
    pub fn ask(&mut self, scope: Scope, urgency: Urgency, asker: Option<BuildAsker>, here: &mut Here) {
        let step = self.rebuilds.ask(scope, urgency, asker, here.now);
        self.follow(step, here);
    }

    /// `CacheActor::follow`.
    fn follow(&mut self, step: Step, here: &mut Here) {
        match step {
            Step::Rest => {}
            Step::WakeAt(at) => self.wakes.push(at),
            Step::Start { number, scope } => self.start(number, scope, here),
        }
    }

    /// The timer of `CacheActor::follow`.
    pub fn wake(&mut self, here: &mut Here) {
        let step = self.rebuilds.wake(here.now);
        self.follow(step, here);
    }

    /// `CacheActor::start`.
    fn start(&mut self, number: BuildNumber, scope: Scope, here: &mut Here) {
        let began = self.moments.draw();
        self.generations += 1;
        let task = Task {
            number,
            scope,
            base: Arc::clone(self.router.snapshot()),
            generation: Generation(self.generations),
            began,
            began_at: here.tick,
            due: here.now + BUILD_DEADLINE,
            view: None,
        };
        let running = 1 + usize::from(self.task.is_some());
        self.building = Some(number);
        self.task = Some(task);
        self.outbox.push(Told::BuildBegan { running });
    }

    /// The running build's task has ended, or its deadline has passed: then it fails, and may arrive late.
    pub fn end_build(&mut self, fate: BuildFate, here: &mut Here) {
        let Some(mut task) = self.task.take() else {
            return;
        };
        let ended = (task.number, task.began_at);
        let result = fate.result(&mut task);
        if fate == BuildFate::Late {
            self.late.push(task);
        }
        self.build_ended(ended, result, here);
    }

    /// The result of a build that was given up arrives.
    pub fn late_build(&mut self, here: &mut Here) -> bool {
        let Some(mut task) = self.late.pop() else {
            return false;
        };
        let ended = (task.number, task.began_at);
        let result = BuildFate::Ok.result(&mut task);
        self.build_ended(ended, result, here);
        true
    }

    /// `CacheActor::build_ended`.
    fn build_ended(
        &mut self,
        (number, began_at): (BuildNumber, Tick),
        result: Option<Ended>,
        here: &mut Here,
    ) {
        if self.building.take_if(|building| *building == number).is_none() {
            return;
        }
        let before = self.router.snapshot().generation();
        let generation = result.map(|ended| self.install(ended, here));
        match generation {
            Some(_) => self.serve(Event::Anything, here),
            None => self.outbox.push(Told::Failed { before }),
        }
        let (askers, step) = self
            .rebuilds
            .ended(number, generation.is_some(), here.now, here.rng);
        for asker in askers {
            self.outbox.push(Told::BuildAnswered {
                asker,
                generation,
                began_at,
            });
        }
        self.follow(step, here);
    }

    /// `CacheActor::install`.
    fn install(&mut self, (built, version): Ended, here: &mut Here) -> Generation {
        let generation = built.snapshot.generation();
        let (scope, began) = (built.scope.clone(), built.began);
        let old = self.router.install(built, here.now);
        let new = Arc::clone(self.router.snapshot());
        self.outbox.push(Told::Installed {
            scope,
            version,
            began,
            old,
            new,
        });
        generation
    }

    // ---- `CacheActor`: picks ----

    /// `Handler<Pick>`.
    pub fn pick(&mut self, question: &Question, here: &mut Here) -> Option<Grant> {
        self.router.pick(question, here.now, here.rng).ok()
    }

    /// `CacheActor::choice`.
    pub fn choice(
        &mut self,
        question: &Question,
        found: Option<&Found>,
        here: &mut Here,
    ) -> (Choice, WaitsFor) {
        let now = here.now;
        let chosen = match found {
            Some(found) => self.router.choose(question, found, now, here.rng),
            None => self.router.without_database(question, now, here.rng),
        };
        if let (Chosen::Granted(_), Some(found)) = (&chosen, found)
            && let Some(scope) = self.router.wanted(question, found, now)
        {
            self.outbox.push(Told::MissRebuild { scope: scope.clone() });
            self.ask(scope, Urgency::Background, None, here);
        }
        match chosen {
            Chosen::Granted(grant) => (Choice::Granted(grant), WaitsFor::default()),
            Chosen::Refused { refusal, waits_for } => (Choice::Refused(refusal), waits_for),
            Chosen::Outdated => (Choice::Outdated, WaitsFor::default()),
        }
    }

    /// `CacheActor::wait`.
    pub fn wait(
        &mut self,
        question: &Arc<Question>,
        found: &Option<Arc<Found>>,
        until: Instant,
        asker: Asker,
        here: &mut Here,
    ) {
        let (choice, waits_for) = self.choice(question, found.as_deref(), here);
        let unanswered = match choice {
            Choice::Refused(_) if waits_for.is_worth_a_wait(until) => {
                self.waiting.insert(asker);
                let waiting = &self.waiting;
                let gone = |asker: &Asker| !waiting.contains(asker);
                let added = self
                    .waiters
                    .add(Arc::clone(question), found.clone(), waits_for, asker, gone);
                added.map_err(|_| Choice::Refused(Refusal::Overloaded { retry_after: None }))
            }
            choice => Err(choice),
        };
        match unanswered {
            Ok(()) => self.look_later(),
            Err(choice) => {
                self.waiting.remove(&asker);
                self.outbox.push(Told::Chosen { asker, choice });
            }
        }
    }

    /// `CacheActor::serve`.
    pub fn serve(&mut self, event: Event, here: &mut Here) {
        if self.waiters.is_empty() {
            return;
        }
        let mut waiters = std::mem::take(&mut self.waiters);
        let waiting = self.waiting.clone();
        let mut answers = Vec::new();
        waiters.serve(
            event,
            |asker| !waiting.contains(asker),
            |question, found| match self.choice(question, found.as_deref(), here) {
                (Choice::Refused(_), waits_for) if waits_for.may_come() => Attempted::NotYet(waits_for),
                (choice, _) => Attempted::Answered(choice),
            },
            |asker, choice| answers.push((asker, choice)),
        );
        for (asker, choice) in answers {
            self.waiting.remove(&asker);
            self.outbox.push(Told::Chosen { asker, choice });
        }
        self.waiters = waiters;
        self.look_later();
    }

    /// `CacheActor::look_later`.
    fn look_later(&mut self) {
        let Some(due) = self.waiters.next_due() else {
            return;
        };
        if self.looks_at.is_none_or(|at| at > due) {
            self.looks_at = Some(due);
        }
    }

    /// The timer of `CacheActor::look_later`.
    pub fn look(&mut self, here: &mut Here) {
        self.looks_at = None;
        self.serve(Event::Time(here.now), here);
    }

    /// `Handler<Report>`.
    pub fn report(&mut self, lease: LeaseId, outcome: &Outcome, here: &mut Here) {
        let learnt = self.router.report(lease, outcome, here.now, here.rng);
        let event = match learnt {
            Some(learnt) if learnt.recovered || learnt.probe_ended => Event::Probed,
            _ => Event::Place,
        };
        self.serve(event, here);
    }

    /// `Handler<FirstEvent>`.
    pub fn first_event(&mut self, lease: LeaseId, here: &mut Here) {
        let learnt = self.router.first_event(lease, here.now);
        if learnt.is_some_and(|learnt| learnt.recovered || learnt.probe_ended) {
            self.serve(Event::Probed, here);
        }
    }

    /// `Handler<Close>`.
    pub fn close(&mut self, closings: Vec<Closing>) {
        self.router.close(closings);
    }

    // ---- `QueryActor` ----

    /// `QueryActor::ask`; whether there was room.
    pub fn look_up(&mut self, question: LookupQuestion, asker: LookupAsker, here: &mut Here) -> bool {
        match self.lookups.ask(question, asker) {
            Ok(()) => {
                self.start_lookups(here);
                true
            }
            Err(Overloaded(_)) => false,
        }
    }

    /// `QueryActor::start_lookups`.
    fn start_lookups(&mut self, here: &mut Here) {
        while let Some(question) = self.lookups.start_next() {
            let lookup = Lookup {
                question,
                last_good: Arc::clone(self.router.snapshot()),
                due: here.now + LOOKUP_DEADLINE,
                began: None,
                view: None,
            };
            self.running_lookups.push(lookup);
            let running = self.running_lookups.len();
            self.outbox.push(Told::LookupBegan { running });
        }
    }

    /// `look_up` has ended, and `QueryActor::ended`. None: an error, a panic, or past its deadline.
    pub fn end_lookup(&mut self, place: usize, draft: Option<Draft>, here: &mut Here) {
        let lookup = self.running_lookups.swap_remove(place);
        let (began, began_at) = lookup.began.unzip();
        let found = draft
            .zip(began)
            .map(|(draft, began)| Arc::new(Found::new(draft, &lookup.last_good, began)));
        for asker in self.lookups.ended(&lookup.question) {
            self.outbox.push(Told::LookedUp {
                asker,
                began_at,
                found: found.clone(),
            });
        }
        self.start_lookups(here);
    }
}

/// How a build's task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildFate {
    Ok,
    Error,
    Panic,
    Late,
}

/// What a build's task hands back, and the version that it has read.
type Ended = (Built, Version);

impl BuildFate {
    /// `cache::build`; none is a failure. One that panics unwinds for real, with all that it has made.
    fn result(self, task: &mut Task) -> Option<Ended> {
        match self {
            BuildFate::Ok => built(task),
            BuildFate::Error | BuildFate::Late => None,
            BuildFate::Panic => catch_unwind(AssertUnwindSafe(|| {
                let _made = built(task);
                // Without the hook, which would print each of them.
                resume_unwind(Box::new("a build panics"))
            }))
            .ok(),
        }
    }
}

fn built(task: &mut Task) -> Option<Ended> {
    let (version, draft) = task.view.take()?;
    let scope = task.scope.clone();
    let built = Built::new(draft, &task.base, scope, task.generation, task.began);
    Some((built, version))
}
