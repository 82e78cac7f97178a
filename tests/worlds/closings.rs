//! Small world 3: what is open. Operators close, open and swap channels, each change a commit, its answer, `Close`
//! and a rebuild; askers pick, miss, look up and choose; builds and lookups begin, read and end or fail; on one node
//! or on two, which tell each other nothing. All in every order.
//!
//! Moments only matter by their order, so they are told by rank; build numbers and time as in the world of rebuilds.
//! Askers go on asking for ever. What is bounded: the operators' changes, failures of builds in a row, rebuilds
//! by the sync timer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::routing::closings::{Closed, Closing};
use pointsman::routing::ids::{ChannelId, Moment};
use pointsman::routing::lookups::Lookups;
use pointsman::routing::rebuilds::{BuildNumber, Rebuilds, Scope, Urgency};
use pointsman::routing::refusal::Refusal;
use pointsman::routing::router::{Chosen, Found, Router};
use pointsman::routing::snapshot::Snapshot;

use super::dice::Dice;
use super::stage::{GROUP, KEY, KEYED, MODEL, OPEN, SECRET, draft, question, version};

mod events;
mod key;
mod node;
mod oracle;
mod tests;

use events::Event;
use oracle::{judge, note_whether_open, undo_openings};

/// As `routing_handle.rs` has it.
const LOOKUPS_A_PICK: u32 = 5;

/// Longer than any backoff, and than misses wait before they ask again.
const A_WHILE: Duration = Duration::from_secs(20);

pub struct Houses {
    /// Which channels are open at first: one place for each channel.
    open: Vec<bool>,
    nodes: usize,
    operators: Vec<Operator>,
    /// Which node each asker asks.
    askers: Vec<usize>,
    /// Rebuilds of everything that the timer of each node asks for.
    syncs: u32,
    build_failures_in_a_row: u32,
    /// Whether builds are also given up, and end late.
    gives_up: bool,
    /// The channel has a key, and is open as its key is enabled.
    keyed: bool,
    /// Whether a commit's answer may be lost for good.
    loses_answers: bool,
    /// The nodes have just started, and their first build is still to come.
    starts_cold: bool,
    wrong: Option<Wrong>,
    began: Instant,
}

/// An operator at a node and what they do, one after the other.
struct Operator {
    node: usize,
    changes: Vec<Change>,
}

/// One commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Close(usize),
    /// Holds the channel's ability: the channel stays open for whatever else it serves.
    Hold(usize),
    Open(usize),
    Swap {
        closes: usize,
        opens: usize,
    },
    /// Closes the channel's only key, and with it the channel.
    CloseKey(usize),
    /// Gives the key of the open channel another secret.
    ReplaceSecret(usize),
}

/// What a careless driver would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// The closing's moment is drawn before the commit.
    DrawsBeforeTheCommit,
    /// A build's moment is drawn when it ends.
    DrawsAtTheEnd,
    /// Closings are not told: the rebuild will do it.
    DoesNotClose,
    /// A build that was given up is installed when it ends after all.
    InstallsLateBuilds,
    /// Who asks while a lookup runs is answered by it.
    JoinsTheRunningLookup,
    /// What the snapshot lacks is refused.
    RefusesFromTheSnapshot,
    /// A lookup that failed found nothing.
    TakesFailureForNothing,
    /// A lookup reads its channels one after the other, each as the database is just then.
    ReadsInTwoViews,
    /// An opening is told as done before its build has ended.
    AnswersBeforeTheBuild,
    /// A refusal without asking again, though the lookup is known to be outdated.
    RefusesWhenOutdated,
}

#[derive(Clone)]
pub struct State {
    /// What is committed: a bit for each open channel.
    database: u8,
    /// The commits so far, each a bit.
    commits: u16,
    nodes: Vec<Node>,
    operators: Vec<Progress>,
    askers: Vec<Asker>,
}

#[derive(Clone)]
struct Node {
    router: Router,
    rebuilds: Rebuilds<usize>,
    lookups: Lookups<u8, usize>,
    moments: u64,
    now: Instant,
    timers: BTreeSet<Instant>,
    newest_build: u64,
    build: Option<Build>,
    /// Given up, and still at work.
    late: Option<Build>,
    lookup: Option<Lookup>,
    syncs: u32,
    /// Until when misses ask for no further rebuild.
    asked_lately: Option<Instant>,
    /// For the oracle: the closings that were told here, by their commits.
    told: u16,
    /// For the oracle: the commits before the read began by which the snapshot knows each channel.
    known: Vec<u16>,
    /// For the oracle: the commits before lookups that found each channel open and were chosen from. They lift its
    /// closings, and the snapshot serves it again.
    lifted: Vec<u16>,
    /// For the oracle: no older version of the secret may be picked.
    secret: u8,
    /// For the oracle: channels whose opening was said to be in place, and that nobody has closed since.
    in_place: u8,
}

#[derive(Clone)]
struct Build {
    number: BuildNumber,
    scope: Scope,
    base: Arc<Snapshot>,
    began: Moment,
    commits: u16,
    read: Option<u8>,
}

#[derive(Clone)]
struct Lookup {
    began: Moment,
    commits: u16,
    read: Option<u8>,
    /// Those whom a careless driver has it answer too.
    joined: u8,
    /// What a careless driver has read so far.
    half: Option<u8>,
}

/// How far an operator has come.
#[derive(Clone, Default)]
struct Progress {
    change: usize,
    stage: Stage,
    /// What it opens was closed by somebody since its commit, or an older closing of it was told since.
    undone: bool,
    /// The commit's fate could not be found out in time.
    lost: bool,
    /// The version of the secret that its commit has written.
    secret: u8,
    /// A moment that a careless driver drew before the commit.
    early: Option<Moment>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// About to commit.
    #[default]
    Ready,
    /// The database has it; nobody knows yet.
    Committed,
    /// The answer has come, the moment is drawn.
    Answered(Moment),
    /// `Close` was handled.
    Closed,
    /// The rebuild is asked for.
    AwaitsBuild,
}

#[derive(Clone)]
enum Asker {
    Idle,
    /// Between question and answer.
    Asks(Asking),
}

#[derive(Clone)]
struct Asking {
    /// At some moment since the question nothing was open.
    none_open: bool,
    /// A lookup for it failed.
    failed: bool,
    lookups: u32,
    at: At,
}

#[derive(Clone)]
enum At {
    /// On the way to the query actor.
    Missed,
    /// Its lookup waits or runs.
    Waits,
    /// What the lookup found is on the way to the cache actor; with the commits before the lookup began.
    Found(Arc<Found>, u16),
    /// That it failed is on the way there.
    Failed,
}

impl Houses {
    fn take_event(&self, state: &mut State, event: &Event) -> Result<(), String> {
        match *event {
            Event::DrawsEarly { operator } => {
                let early = state.nodes[self.operators[operator].node].draw();
                state.operators[operator].early = Some(early);
            }
            Event::Commits { operator } => self.commit(state, operator),
            Event::IsAnswered { operator, lost } => {
                let drawn = state.nodes[self.operators[operator].node].draw();
                let progress = &mut state.operators[operator];
                progress.stage = Stage::Answered(progress.early.take().unwrap_or(drawn));
                progress.lost = lost;
            }
            Event::CloseArrives { operator } => self.close(state, operator),
            Event::RebuildArrives { operator } => self.ask_for_build(state, operator)?,
            Event::Syncs { node } => {
                state.nodes[node].syncs += 1;
                state.nodes[node].ask(Scope::Everything, Urgency::Background, None, state.commits)?;
            }
            Event::TimePasses { node } => {
                let node = &mut state.nodes[node];
                node.now += A_WHILE;
                node.asked_lately = None;
                if !std::mem::take(&mut node.timers).is_empty() {
                    let step = node.rebuilds.wake(node.now);
                    node.follow(step, state.commits)?;
                }
            }
            Event::BuildReads { node } => {
                let database = state.database;
                let node = &mut state.nodes[node];
                node.build
                    .iter_mut()
                    .for_each(|build| build.read = Some(database));
            }
            Event::BuildSucceeds { node } => self.build_ends(state, node, true)?,
            Event::BuildFails { node } => self.build_ends(state, node, false)?,
            Event::BuildIsGivenUp { node } => {
                state.nodes[node].late = state.nodes[node].build.clone();
                self.build_ends(state, node, false)?;
            }
            Event::LateBuildEnds { node } => {
                let database = state.database;
                let node = &mut state.nodes[node];
                if let Some(mut build) = node.late.take() {
                    build.read.get_or_insert(database);
                    if node.rebuilds.is_running(build.number) || self.wrong == Some(Wrong::InstallsLateBuilds)
                    {
                        node.install(build)?;
                    }
                }
            }
            Event::Picks { asker } => self.pick(state, asker)?,
            Event::MissArrives { asker } => self.look_up(state, asker)?,
            Event::LookupReads { node } => {
                let database = state.database;
                if let Some(lookup) = &mut state.nodes[node].lookup {
                    match (self.wrong, lookup.half) {
                        (Some(Wrong::ReadsInTwoViews), None) => lookup.half = Some(database & 1),
                        (_, Some(half)) => lookup.read = Some(half | database & !1),
                        (_, None) => lookup.read = Some(database),
                    }
                }
            }
            Event::LookupEnds { node } => self.lookup_ends(state, node, true)?,
            Event::LookupFails { node } => self.lookup_ends(state, node, false)?,
            Event::Chooses { asker, dice } => self.choose(state, asker, dice)?,
        }
        self.check_openings(state)
    }

    fn change(&self, state: &State, operator: usize) -> Change {
        self.operators[operator].changes[state.operators[operator].change]
    }

    /// The commit's bit.
    fn commit_bit(&self, operator: usize, change: usize) -> u16 {
        let before: usize = self.operators[..operator].iter().map(|o| o.changes.len()).sum();
        1 << (before + change)
    }

    /// The commits that closed the channel.
    fn closers(&self, channel: usize) -> u16 {
        let mut closers = 0;
        for (number, operator) in self.operators.iter().enumerate() {
            for (place, change) in operator.changes.iter().enumerate() {
                if change.closes() == Some(channel) {
                    closers |= self.commit_bit(number, place);
                }
            }
        }
        closers
    }

    fn commit(&self, state: &mut State, operator: usize) {
        let change = self.change(state, operator);
        state.operators[operator].stage = Stage::Committed;
        if let Some(channel) = change.closes() {
            state.database &= !(1 << channel);
            state
                .nodes
                .iter_mut()
                .for_each(|node| node.in_place &= !(1 << channel));
            undo_openings(self, state, channel, 0..self.operators.len());
        }
        if let Some(channel) = change.opens() {
            state.database |= 1 << channel;
        }
        if let Change::ReplaceSecret(_) = change {
            state.database += SECRET;
            state.operators[operator].secret = version(state.database);
        }
        state.commits |= self.commit_bit(operator, state.operators[operator].change);
        note_whether_open(state);
    }

    /// `Close` is handled by the cache actor.
    fn close(&self, state: &mut State, operator: usize) {
        let Stage::Answered(at) = state.operators[operator].stage else {
            return;
        };
        let change = self.change(state, operator);
        let node = &mut state.nodes[self.operators[operator].node];
        let key = |channel| Closed::Key {
            channel: id(channel),
            key: KEY,
        };
        let closed = match change {
            Change::Close(channel) | Change::Swap { closes: channel, .. } => {
                vec![Closed::Channel(id(channel))]
            }
            Change::Hold(channel) => vec![Closed::Ability {
                channel: id(channel),
                group: GROUP.into(),
                model: MODEL.into(),
            }],
            Change::CloseKey(channel) => vec![key(channel), Closed::Channel(id(channel))],
            Change::ReplaceSecret(channel) => vec![key(channel)],
            Change::Open(_) => return,
        };
        if self.wrong != Some(Wrong::DoesNotClose) {
            let closings = closed.into_iter().map(|closed| Closing { closed, at });
            node.router.close(closings);
        }
        node.told |= self.commit_bit(operator, state.operators[operator].change);
        node.secret = node.secret.max(state.operators[operator].secret);
        state.operators[operator].stage = Stage::Closed;
        // A closing that was overtaken by an opening, and is told after it, bars until the next read all the same:
        // what was opened is found by lookups till then.
        let at = self.operators[operator].node;
        let others =
            (0..self.operators.len()).filter(|other| *other != operator && self.operators[*other].node == at);
        state.nodes[at].in_place &= !(1 << change.bars());
        undo_openings(self, state, change.bars(), others);
    }

    fn ask_for_build(&self, state: &mut State, operator: usize) -> Result<(), String> {
        let change = self.change(state, operator);
        let touched = change.closes().into_iter().chain(change.opens());
        let scope = Scope::Channels(touched.map(id).collect());
        let node = self.operators[operator].node;
        if state.operators[operator].lost {
            // The receipt is dropped and rings for its scope; the caller is told that nobody knows, and for that
            // everything is read. Nobody waits for either.
            for scope in [scope, Scope::Everything] {
                state.nodes[node].ask(scope, Urgency::Admin, None, state.commits)?;
            }
            self.returned(state, operator, false);
            return Ok(());
        }
        state.operators[operator].stage = Stage::AwaitsBuild;
        state.nodes[node].ask(scope, Urgency::Admin, Some(operator), state.commits)?;
        if self.wrong == Some(Wrong::AnswersBeforeTheBuild) {
            self.returned(state, operator, true);
        }
        Ok(())
    }

    /// The admin call returns: `in place`, or pending.
    fn returned(&self, state: &mut State, operator: usize, in_place: bool) {
        let change = self.change(state, operator);
        if let Some(channel) = change.opens()
            && in_place
            && !state.operators[operator].undone
        {
            state.nodes[self.operators[operator].node].in_place |= 1 << channel;
        }
        state.operators[operator] = Progress {
            change: state.operators[operator].change + 1,
            ..Progress::default()
        };
    }

    fn build_ends(&self, state: &mut State, at: usize, succeeded: bool) -> Result<(), String> {
        let commits = state.commits;
        let node = &mut state.nodes[at];
        let Some(mut build) = node.build.take() else {
            return Err("no build ran".to_owned());
        };
        if self.wrong == Some(Wrong::DrawsAtTheEnd) {
            build.began = node.draw();
        }
        let number = build.number;
        if succeeded && node.rebuilds.is_running(number) {
            node.install(build)?;
        }
        let (operators, step) = node.rebuilds.ended(number, succeeded, node.now, &mut Dice::Low);
        node.follow(step, commits)?;
        for operator in operators {
            if state
                .operators
                .get(operator)
                .is_some_and(|o| o.stage == Stage::AwaitsBuild)
            {
                self.returned(state, operator, succeeded);
            } else if self.wrong != Some(Wrong::AnswersBeforeTheBuild) {
                return Err(format!("R5: operator {operator} is answered twice"));
            }
        }
        Ok(())
    }

    /// A question: what the snapshot cannot answer is a miss.
    fn pick(&self, state: &mut State, asker: usize) -> Result<(), String> {
        let none_open = state.database & OPEN == 0;
        let node = &mut state.nodes[self.askers[asker]];
        for dice in [Dice::Low, Dice::High] {
            let mut dice = dice;
            if let Ok(grant) = node.router.clone().pick(&question(), node.now, &mut dice) {
                self.check_grant(node, &grant, None)?;
            }
        }
        let now = node.now;
        match node.router.pick(&question(), now, &mut Dice::Low) {
            Ok(grant) => node.hand_back(&grant),
            Err(_) if self.wrong == Some(Wrong::RefusesFromTheSnapshot) => {
                return judge(&Refusal::NoAvailableChannel, none_open, false);
            }
            Err(_) => {
                state.askers[asker] = Asker::Asks(Asking {
                    none_open,
                    failed: false,
                    lookups: 0,
                    at: At::Missed,
                });
            }
        }
        Ok(())
    }

    /// The query actor handles the question.
    fn look_up(&self, state: &mut State, asker: usize) -> Result<(), String> {
        let node = &mut state.nodes[self.askers[asker]];
        if let Asker::Asks(asking) = &mut state.askers[asker] {
            asking.lookups += 1;
            asking.at = At::Waits;
        }
        let joins = self.wrong == Some(Wrong::JoinsTheRunningLookup);
        if let (true, Some(lookup)) = (joins, &mut node.lookup) {
            lookup.joined |= 1 << asker;
            return Ok(());
        }
        if node.lookups.ask(0, asker).is_err() {
            return Err("R11: overloaded by one question".to_owned());
        }
        node.start_lookups(state.commits);
        Ok(())
    }

    fn lookup_ends(&self, state: &mut State, at: usize, succeeded: bool) -> Result<(), String> {
        let node = &mut state.nodes[at];
        let Some(lookup) = node.lookup.take() else {
            return Err("no lookup ran".to_owned());
        };
        let read = match (succeeded, self.wrong) {
            (true, _) => lookup.read,
            (false, Some(Wrong::TakesFailureForNothing)) => Some(0),
            (false, _) => None,
        };
        let found = read.map(|read| {
            let rows = draft(self.open.len(), read, |_| true);
            Arc::new(Found::new(rows, node.router.snapshot(), lookup.began))
        });
        let mut askers = node.lookups.ended(&0);
        askers.extend((0..self.askers.len()).filter(|asker| lookup.joined >> asker & 1 == 1));
        node.start_lookups(state.commits);
        for asker in askers {
            let Asker::Asks(asking) = &mut state.askers[asker] else {
                return Err(format!("R11: asker {asker} is answered twice"));
            };
            if !matches!(asking.at, At::Waits) {
                return Err(format!("R11: asker {asker} is answered twice"));
            }
            asking.failed |= !succeeded && self.wrong != Some(Wrong::TakesFailureForNothing);
            asking.at = match &found {
                Some(found) => At::Found(Arc::clone(found), lookup.commits),
                None => At::Failed,
            };
        }
        Ok(())
    }

    /// The cache actor chooses from what was found.
    fn choose(&self, state: &mut State, asker: usize, mut dice: Dice) -> Result<(), String> {
        let node = &mut state.nodes[self.askers[asker]];
        let Asker::Asks(asking) = std::mem::replace(&mut state.askers[asker], Asker::Idle) else {
            return Err("nobody asks".to_owned());
        };
        let (now, question) = (node.now, question());
        let (chosen, found) = match &asking.at {
            At::Found(found, commits) => {
                let before = node.clone();
                let chosen = node.router.choose(&question, found, now, &mut dice);
                if let Chosen::Granted(grant) = &chosen {
                    self.check_grant(&before, grant, Some((found, *commits)))?;
                    let channel = grant.picked.channel.id;
                    if before.router.clone().pick(&question, now, &mut dice).is_err() {
                        node.lifted[channel.0 as usize - 1] |= commits;
                    }
                    if let Some(scope) = node.router.wanted(&question, found, now) {
                        node.asked_lately = Some(now + Duration::from_secs(1));
                        node.ask(scope, Urgency::Background, None, state.commits)?;
                    }
                }
                (chosen, true)
            }
            _ => (node.router.without_database(&question, now, &mut dice), false),
        };
        match chosen {
            Chosen::Granted(grant) => {
                if !found {
                    self.check_grant(node, &grant, None)?;
                }
                node.hand_back(&grant);
                Ok(())
            }
            Chosen::Refused { refusal, .. } => judge(&refusal, asking.none_open, asking.failed),
            Chosen::Outdated if self.wrong == Some(Wrong::RefusesWhenOutdated) => {
                judge(&Refusal::NoAvailableChannel, asking.none_open, asking.failed)
            }
            Chosen::Outdated if asking.lookups >= LOOKUPS_A_PICK => {
                Err("R3: a few changes outdate lookup after lookup until the asker is sent away".to_owned())
            }
            Chosen::Outdated => {
                let at = At::Missed;
                state.askers[asker] = Asker::Asks(Asking { at, ..asking });
                Ok(())
            }
        }
    }
}

impl Change {
    fn closes(self) -> Option<usize> {
        match self {
            Change::Close(channel) | Change::Hold(channel) | Change::Swap { closes: channel, .. } => {
                Some(channel)
            }
            Change::CloseKey(channel) => Some(channel),
            Change::Open(_) | Change::ReplaceSecret(_) => None,
        }
    }

    /// The channel of which something is barred when it is told.
    fn bars(self) -> usize {
        match self {
            Change::Open(channel) | Change::ReplaceSecret(channel) => channel,
            _ => self.closes().unwrap_or(0),
        }
    }

    fn opens(self) -> Option<usize> {
        match self {
            Change::Open(channel) | Change::Swap { opens: channel, .. } | Change::ReplaceSecret(channel) => {
                Some(channel)
            }
            Change::Close(_) | Change::Hold(_) | Change::CloseKey(_) => None,
        }
    }
}

fn id(channel: usize) -> ChannelId {
    ChannelId(channel as i64 + 1)
}
