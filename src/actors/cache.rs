//! `CacheActor`: owns the snapshot, and serialises rebuilds so that at most one runs at a time.
//!
//! It decides nothing: picks, closings and health are [`Router`]'s, and which build answers whom is
//! [`Rebuilds`]'. A build reads, assembles and frees on other threads, so picks never wait for it (R8).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use log::{info, warn};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::caught::caught;
use super::counters;
use super::good_news::{GoodNews, TAKEN_IN_EVERY};
use super::keeper::Beginning;
use super::lease::Lease;
use super::messages::{
    Answer, BuildEnded, BuildFailed, Choice, Choose, Close, FirstEvent, Inspect, Inspection, LastError, Pick,
    Rebuild, Remember, Report, Several, Unanswered, Wait,
};
use crate::routing::health::LeaseId;
use crate::routing::ids::{Generation, Moment};
use crate::routing::outcome::Outcome;
use crate::routing::pick::Question;
use crate::routing::rebuilds::{BuildNumber, Rebuilds, Scope, Step, Urgency};
use crate::routing::refusal::{Refusal, WaitsFor};
use crate::routing::router::{Built, Chosen, Found, Grant, Router};
use crate::routing::snapshot::{Counts, Snapshot};
use crate::routing::waiters::{Attempted, Event, Waiters};
use crate::store::connect::Database;
use crate::store::load_snapshot;

/// A probe whose report never comes blocks its channel's recovery no longer than this.
const PROBE_TIMEOUT: Duration = Duration::from_secs(60);

/// What the actor is started with.
pub struct CacheOptions {
    pub database: Database,
    /// Where builds run.
    pub runtime: Handle,
    /// A full rebuild at least so often, as a safety net.
    pub sync_interval: Duration,
    /// A build that takes longer is given up.
    pub build_deadline: Duration,
    /// What was kept from an earlier life, to begin with.
    pub beginning: Option<Beginning>,
}

type BuildAnswer = oneshot::Sender<Result<Generation, BuildFailed>>;

pub struct CacheActor {
    options: CacheOptions,
    router: Router,
    rebuilds: Rebuilds<BuildAnswer>,
    waiters: Waiters<oneshot::Sender<Choice>>,
    good_news: GoodNews,
    /// Good news will be taken in, though nothing else happens.
    takes_news_in: bool,
    /// When somebody's wait is looked at next without anything having happened.
    looks_at: Option<Instant>,
    /// The running build's task, to be cancelled at its deadline.
    building: Option<(BuildNumber, &'static str, tokio::task::AbortHandle)>,
    published: watch::Sender<Arc<Snapshot>>,
    generations: u64,
    /// Of the snapshot in place, while it is one from a file: when that was written, Unix milliseconds.
    kept_at: Option<i64>,
    built: Option<LastBuild>,
    last_error: Option<LastError>,
    rng: SmallRng,
}

struct LastBuild {
    at: SystemTime,
    installed: Instant,
    took: Duration,
    counts: Counts,
}

impl CacheActor {
    /// The actor, and where it publishes each snapshot that it installs.
    pub fn new(mut options: CacheOptions) -> (CacheActor, watch::Receiver<Arc<Snapshot>>) {
        let mut router = Router::new(PROBE_TIMEOUT);
        let kept_at = options.beginning.take().map(|beginning| {
            let kept_at = beginning.kept_at;
            beginning.install(&mut router, Instant::now());
            kept_at
        });
        let (published, snapshots) = watch::channel(Arc::clone(router.snapshot()));
        let Generation(router_generation) = router.snapshot().generation();
        let actor = CacheActor {
            options,
            router,
            rebuilds: Rebuilds::default(),
            waiters: Waiters::default(),
            good_news: GoodNews::default(),
            takes_news_in: false,
            looks_at: None,
            building: None,
            published,
            generations: router_generation,
            kept_at,
            built: None,
            last_error: None,
            rng: SmallRng::from_rng(&mut rand::rng()),
        };
        (actor, snapshots)
    }

    fn ask(&mut self, rebuild: Rebuild, asker: Option<BuildAnswer>, ctx: &mut Context<Self>) {
        let Rebuild { scope, urgency } = rebuild;
        let step = self.rebuilds.ask(scope, urgency, asker, Instant::now());
        self.follow(step, ctx);
    }

    fn follow(&mut self, step: Step, ctx: &mut Context<Self>) {
        match step {
            Step::Rest => {}
            Step::WakeAt(at) => {
                ctx.run_later(at.saturating_duration_since(Instant::now()), |actor, ctx| {
                    let step = actor.rebuilds.wake(Instant::now());
                    actor.follow(step, ctx);
                });
            }
            Step::Start { number, scope } => self.start(number, scope, ctx),
        }
    }

    fn start(&mut self, number: BuildNumber, scope: Scope, ctx: &mut Context<Self>) {
        let began = self.options.database.moments().draw();
        self.generations += 1;
        let scope_name = scope_word(&scope);
        let order = Order {
            scope,
            base: Arc::clone(self.router.snapshot()),
            generation: Generation(self.generations),
            began,
        };
        let build = self
            .options
            .runtime
            .spawn(build(self.options.database.clone(), order));
        self.building = Some((number, scope_name, build.abort_handle()));
        let deadline = self.options.build_deadline;
        let started = Instant::now();
        let ended = async move {
            let (result, counts) = match tokio::time::timeout(deadline, build).await {
                Ok(Ok(Ok((built, counts)))) => (Ok(built), counts),
                Ok(Ok(Err(failed))) => (Err(failed), Counts::default()),
                Ok(Err(stopped)) => (Err(BuildFailed::of_task(&stopped)), Counts::default()),
                Err(_) => (Err(BuildFailed::late(deadline)), Counts::default()),
            };
            BuildEnded {
                number,
                result,
                counts,
                took: started.elapsed(),
            }
        };
        ctx.spawn(
            ended
                .into_actor(self)
                .map(|ended, actor, ctx| actor.build_ended(ended, ctx)),
        );
    }

    fn build_ended(&mut self, ended: BuildEnded, ctx: &mut Context<Self>) {
        let BuildEnded {
            number,
            result,
            counts,
            took,
        } = ended;
        let Some((_, scope, task)) = self.building.take_if(|(building, ..)| *building == number) else {
            return;
        };
        // Of a build that has ended this does nothing; one past its deadline loses its connection.
        task.abort();
        let answer = match result {
            Ok(built) => caught(|| self.install(*built, counts, took)).map_err(|_| BuildFailed::panicked()),
            Err(failed) => Err(failed),
        };
        self.take_news_in(ctx);
        match &answer {
            Ok(_) => drop(caught(|| self.serve(Event::Anything, ctx))),
            Err(failed) => self.note_failure(failed, scope, took),
        }
        let (askers, step) = self
            .rebuilds
            .ended(number, answer.is_ok(), Instant::now(), &mut self.rng);
        for asker in askers {
            // An asker that has gone needs no answer.
            let _ = asker.send(answer.clone());
        }
        self.follow(step, ctx);
    }

    fn install(&mut self, built: Built, counts: Counts, took: Duration) -> Generation {
        let generation = built.snapshot.generation();
        let scope = scope_word(&built.scope);
        counters::REBUILDS.with_label_values(&[scope, "ok"]).inc();
        counters::REBUILD_SECONDS.observe(took.as_secs_f64());
        info!(generation:% = generation, scope = scope, build_ms = took.as_millis() as u64,
            abilities = counts.abilities, open = counts.open_abilities,
            quarantined = built.snapshot.quarantined().len(); "snapshot installed");
        let old = self.router.install(built, Instant::now());
        let shown = self.published.send_replace(Arc::clone(self.router.snapshot()));
        self.options.runtime.spawn_blocking(move || drop((old, shown)));
        self.kept_at = None;
        self.built = Some(LastBuild {
            at: SystemTime::now(),
            installed: Instant::now(),
            took,
            counts,
        });
        generation
    }

    fn note_failure(&mut self, failed: &BuildFailed, scope: &str, took: Duration) {
        counters::REBUILDS.with_label_values(&[scope, "failed"]).inc();
        warn!(reason = failed.reason.as_str(), build_ms = took.as_millis() as u64;
            "build failed, last good snapshot serves on");
        self.last_error = Some(LastError {
            reason: failed.reason.clone(),
            at: unix_ms(SystemTime::now()),
        });
    }

    fn pick(&mut self, question: &Question, ctx: &mut Context<Self>) -> Result<Answer, Unanswered> {
        let picked = caught(|| self.router.pick(question, Instant::now(), &mut self.rng));
        match picked {
            Ok(Ok(grant)) => Ok(Answer::Lease(self.lease(grant, ctx))),
            Ok(Err(shortage)) => Err(Unanswered::Miss(shortage)),
            Err(_) => Err(Unanswered::Overloaded),
        }
    }

    fn lease(&mut self, grant: Grant, ctx: &mut Context<Self>) -> Lease {
        self.take_news_in_later(ctx);
        Lease::new(grant, ctx.address(), &self.good_news)
    }

    /// What leases have left for this actor to know comes before whatever it does next.
    fn take_news_in(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        for lease in self.good_news.take() {
            self.learn(lease, &Outcome::Ok, now, ctx);
        }
    }

    fn take_news_in_later(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.takes_news_in, true) {
            return;
        }
        ctx.run_later(TAKEN_IN_EVERY, |actor, ctx| {
            actor.takes_news_in = false;
            actor.take_news_in(ctx);
            if actor.router.leases() > 0 {
                actor.take_news_in_later(ctx);
            }
        });
    }

    fn learn(&mut self, lease: LeaseId, outcome: &Outcome, now: Instant, ctx: &mut Context<Self>) {
        let learnt = caught(|| self.router.report(lease, outcome, now, &mut self.rng));
        if let Ok(Some(learnt)) = &learnt
            && let Some(until) = learnt.cooled_until
        {
            let cooling_ms = until.saturating_duration_since(now).as_millis() as u64;
            warn!(channel:% = learnt.channel, outcome = outcome.word(), cooling_ms = cooling_ms; "channel cools");
        }
        let event = match learnt {
            Ok(Some(learnt)) if learnt.recovered || learnt.probe_ended => Event::Probed,
            _ => Event::Place,
        };
        let _ = caught(|| self.serve(event, ctx));
    }

    fn choice(
        &mut self,
        question: &Question,
        found: Option<&Found>,
        ctx: &mut Context<Self>,
    ) -> (Choice, WaitsFor) {
        let now = Instant::now();
        let chosen = match found {
            Some(found) => self.router.choose(question, found, now, &mut self.rng),
            None => self.router.without_database(question, now, &mut self.rng),
        };
        if let (Chosen::Granted(_), Some(found)) = (&chosen, found)
            && let Some(scope) = self.router.wanted(question, found, now)
        {
            self.ask(
                Rebuild {
                    scope,
                    urgency: Urgency::Background,
                },
                None,
                ctx,
            );
        }
        match chosen {
            Chosen::Granted(grant) => (Choice::Lease(self.lease(grant, ctx)), WaitsFor::default()),
            Chosen::Refused { refusal, waits_for } => (Choice::Refused(refusal), waits_for),
            Chosen::Outdated => (Choice::Outdated, WaitsFor::default()),
        }
    }

    fn wait(&mut self, wait: Wait, ctx: &mut Context<Self>) {
        let Wait {
            question,
            found,
            until,
            answer,
        } = wait;
        let (choice, waits_for) = self.choice(&question, found.as_deref(), ctx);
        let unanswered = match choice {
            Choice::Refused(_) if waits_for.is_worth_a_wait(until) => {
                let added = self
                    .waiters
                    .add(question, found, waits_for, answer, oneshot::Sender::is_closed);
                added.map_err(|answer| (answer, Choice::Refused(Refusal::Overloaded { retry_after: None })))
            }
            choice => Err((answer, choice)),
        };
        match unanswered {
            Ok(()) => self.look_later(ctx),
            // A lease for an asker that has gone reports so.
            Err((answer, choice)) => drop(answer.send(choice)),
        }
    }

    /// Something has happened that may end somebody's wait.
    fn serve(&mut self, event: Event, ctx: &mut Context<Self>) {
        if self.waiters.is_empty() {
            return;
        }
        let mut waiters = std::mem::take(&mut self.waiters);
        waiters.serve(
            event,
            oneshot::Sender::is_closed,
            |question, found| match self.choice(question, found.as_deref(), ctx) {
                (Choice::Refused(_), waits_for) if waits_for.may_come() => Attempted::NotYet(waits_for),
                (choice, _) => Attempted::Answered(choice),
            },
            |answer, choice| drop(answer.send(choice)),
        );
        self.waiters = waiters;
        self.look_later(ctx);
    }

    fn look_later(&mut self, ctx: &mut Context<Self>) {
        let Some(due) = self.waiters.next_due() else {
            return;
        };
        if self.looks_at.is_some_and(|at| at <= due) {
            return;
        }
        self.looks_at = Some(due);
        ctx.run_later(
            due.saturating_duration_since(Instant::now()),
            move |actor, ctx| {
                if actor.looks_at == Some(due) {
                    actor.looks_at = None;
                    let _ = caught(|| actor.serve(Event::Time(Instant::now()), ctx));
                }
            },
        );
    }
}

impl Actor for CacheActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let everything = Rebuild {
            scope: Scope::Everything,
            urgency: Urgency::Background,
        };
        self.ask(everything.clone(), None, ctx);
        ctx.run_interval(self.options.sync_interval, move |actor, ctx| {
            actor.ask(everything.clone(), None, ctx);
        });
    }
}

impl Handler<Pick> for CacheActor {
    type Result = Result<Answer, Unanswered>;

    fn handle(&mut self, Pick(question): Pick, ctx: &mut Self::Context) -> Self::Result {
        self.take_news_in(ctx);
        self.pick(&question, ctx)
    }
}

impl Handler<Several> for CacheActor {
    type Result = MessageResult<Several>;

    fn handle(&mut self, Several(picks): Several, ctx: &mut Self::Context) -> Self::Result {
        self.take_news_in(ctx);
        let picked = picks.iter().map(|Pick(question)| self.pick(question, ctx));
        MessageResult(picked.collect())
    }
}

impl Handler<Choose> for CacheActor {
    type Result = MessageResult<Choose>;

    fn handle(&mut self, choose: Choose, ctx: &mut Self::Context) -> Self::Result {
        let overloaded = |_| Choice::Refused(Refusal::Overloaded { retry_after: None });
        let Choose { question, found } = choose;
        self.take_news_in(ctx);
        let choice = caught(|| self.choice(&question, found.as_deref(), ctx).0);
        MessageResult(choice.unwrap_or_else(overloaded))
    }
}

impl Handler<Wait> for CacheActor {
    type Result = ();

    fn handle(&mut self, wait: Wait, ctx: &mut Self::Context) {
        self.take_news_in(ctx);
        // An asker whose end is dropped by a panic is told that we are overloaded.
        let _ = caught(|| self.wait(wait, ctx));
    }
}

impl Handler<Remember> for CacheActor {
    type Result = ();

    fn handle(&mut self, Remember { id, home }: Remember, _: &mut Self::Context) {
        let _ = caught(|| self.router.remember(id, home));
    }
}

impl Handler<Rebuild> for CacheActor {
    type Result = ResponseFuture<Result<Generation, BuildFailed>>;

    fn handle(&mut self, rebuild: Rebuild, ctx: &mut Self::Context) -> Self::Result {
        let (asker, answer) = oneshot::channel();
        let asked = caught(|| self.ask(rebuild, Some(asker), ctx));
        Box::pin(async move {
            match (asked, answer.await) {
                (Ok(()), Ok(answer)) => answer,
                _ => Err(BuildFailed {
                    reason: "the build was not answered for".to_owned(),
                }),
            }
        })
    }
}

impl Handler<Close> for CacheActor {
    type Result = ();

    fn handle(&mut self, Close(closings): Close, _: &mut Self::Context) {
        // Nothing to answer in: a closing whose decision panics is caught up by the rebuild that follows.
        let _ = caught(|| self.router.close(closings));
    }
}

impl Handler<Report> for CacheActor {
    type Result = ();

    fn handle(&mut self, Report { lease, outcome }: Report, ctx: &mut Self::Context) {
        self.take_news_in(ctx);
        self.learn(lease, &outcome, Instant::now(), ctx);
    }
}

impl Handler<FirstEvent> for CacheActor {
    type Result = ();

    fn handle(&mut self, FirstEvent { lease }: FirstEvent, ctx: &mut Self::Context) {
        self.take_news_in(ctx);
        let _ = caught(|| {
            let learnt = self.router.first_event(lease, Instant::now());
            if learnt.is_some_and(|learnt| learnt.recovered || learnt.probe_ended) {
                self.serve(Event::Probed, ctx);
            }
        });
    }
}

impl Handler<Inspect> for CacheActor {
    type Result = MessageResult<Inspect>;

    fn handle(&mut self, _: Inspect, ctx: &mut Self::Context) -> Self::Result {
        self.take_news_in(ctx);
        let built = self.built.as_ref();
        MessageResult(Box::new(Inspection {
            generation: self.router.snapshot().generation(),
            built_at: built.map(|built| unix_ms(built.at)),
            kept_at: self.kept_at,
            age_ms: built.map(|built| built.installed.elapsed().as_millis() as u64),
            build_ms: built.map(|built| built.took.as_millis() as u64),
            counts: built.map(|built| built.counts).unwrap_or_default(),
            quarantined: self.router.snapshot().quarantined().to_vec(),
            last_error: self.last_error.clone(),
            failures: self.rebuilds.failures(),
            closings: self.router.closings().len(),
            leases: self.router.leases(),
            waiting: self.waiters.len(),
            health: self.router.unwell(Instant::now()),
        }))
    }
}

/// What one build is to do.
struct Order {
    scope: Scope,
    base: Arc<Snapshot>,
    generation: Generation,
    began: Moment,
}

async fn build(database: Database, order: Order) -> Result<(Box<Built>, Counts), BuildFailed> {
    let Order {
        scope,
        base,
        generation,
        began,
    } = order;
    let draft = match &scope {
        Scope::Everything => load_snapshot::everything(&database).await,
        Scope::Channels(ids) => {
            let ids: Vec<_> = ids.iter().copied().collect();
            load_snapshot::channels(&database, &ids).await
        }
    };
    let draft = draft.map_err(|error| BuildFailed {
        reason: error.to_string(),
    })?;
    let assembled = tokio::task::spawn_blocking(move || {
        let built = Box::new(Built::new(draft, &base, scope, generation, began));
        let counts = built.snapshot.counts();
        (built, counts)
    });
    assembled.await.map_err(|stopped| BuildFailed::of_task(&stopped))
}

impl BuildFailed {
    fn of_task(stopped: &tokio::task::JoinError) -> BuildFailed {
        if stopped.is_panic() {
            return BuildFailed::panicked();
        }
        BuildFailed {
            reason: "the build was cancelled".to_owned(),
        }
    }

    fn panicked() -> BuildFailed {
        BuildFailed {
            reason: "the build panicked".to_owned(),
        }
    }

    fn late(deadline: Duration) -> BuildFailed {
        BuildFailed {
            reason: format!("the build was not done within {} ms", deadline.as_millis()),
        }
    }
}

fn scope_word(scope: &Scope) -> &'static str {
    match scope {
        Scope::Everything => "full",
        Scope::Channels(_) => "channels",
    }
}

fn unix_ms(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
