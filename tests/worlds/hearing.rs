//! Small world 5: hearing. Nodes on one database change it, and each is told of the other's changes by calls, by
//! questions every now and then, or both. Connections break and calls with them, questions fail halfway, builds fail,
//! old notices are deleted; all in every order. In the end every node shows what the database has.
//!
//! `Hearing` and `Rebuilds` are the router's own; a snapshot is the bits of the channels that the last builds have read. A
//! question is two statements, as in `store::notices`, and what a gap means is told as there. What is bounded: changes,
//! breaks, questions that fail, builds that fail in a row.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use pointsman::routing::hearing::{Answer, Hearing, Wanted};
use pointsman::routing::ids::ChannelId;
use pointsman::routing::rebuilds::{BuildNumber, Rebuilds, Scope, Step, Urgency};

use super::dice::Dice;
use super::explorer::{Bits, Broken, Kind, World, explore};
use super::relative::relative;
use super::{is_found, size};

const CHANNELS: [ChannelId; 2] = [ChannelId(1), ChannelId(2)];

struct Nodes {
    /// For each node, what it does, one after the other.
    changes: Vec<Vec<Change>>,
    /// The first that hears: those before it only write.
    hears_from: usize,
    /// Of zero, nodes ask only when they are called.
    interval: Duration,
    /// Whether the database calls, as PostgreSQL does.
    calls: bool,
    /// Of the last node's connection; and its questions that fail.
    breaks: u32,
    question_failures: u32,
    build_failures_in_a_row: u32,
    /// So many of the oldest notices may be deleted.
    forgets: usize,
    /// The nodes have just started: each reads the version, and builds.
    starts_cold: bool,
    wrong: Option<Wrong>,
    began: Instant,
}

/// One commit: the channel is opened if it was closed, and closed if it was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Told(usize),
    /// Its node gives up asking what became of it, and builds; it is done later.
    GivenUp(usize),
}

/// What a careless driver would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// A question that failed is not put again before somebody calls.
    WaitsForTheNextCall,
    /// A question that failed halfway has told the version.
    TakesFailureForNoNews,
    /// A call that comes while a question is under way is taken for answered by it.
    DropsCallsWhileItAsks,
    /// When listening begins anew nothing is asked.
    TrustsTheConnection,
    /// Notices that are gone were of nothing.
    TrustsGaps,
    /// The notices are read before the version that is then taken for known.
    ReadsTheVersionLast,
    /// The version is first read after the first build.
    BuildsBeforeItKnows,
    /// What this node has done itself is never news to it.
    NeverHearsItself,
    /// What has changed is read by the build that runs already.
    JoinsTheRunningBuild,
}

#[derive(Clone, Debug)]
struct State {
    /// A bit for each channel that is open.
    database: u8,
    /// Who has changed which channel: the version is how many there are.
    log: Vec<(usize, usize)>,
    /// The oldest notices, which are gone.
    forgotten: usize,
    breaks: u32,
    question_failures: u32,
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    now: Instant,
    start: Start,
    /// `None`: it has not started.
    hearing: Option<Hearing>,
    listens: bool,
    /// A call is on its way.
    is_called: bool,
    question: Option<Asked>,
    hears_itself: bool,
    rebuilds: Rebuilds<()>,
    timers: BTreeSet<Instant>,
    newest_build: u64,
    build: Option<Build>,
    shown: u8,
    change: usize,
    at: At,
    /// A careless driver waits to be called.
    is_deaf: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Start {
    Off,
    /// The first build runs, and nothing is known: only a careless driver.
    Unknown,
    On,
}

#[derive(Clone, Debug, Hash)]
struct Asked {
    wanted: Wanted,
    /// By its first statement.
    version: Option<i64>,
    /// By its second.
    answer: Option<Answer>,
}

#[derive(Clone, Debug)]
struct Build {
    number: BuildNumber,
    scope: Scope,
    read: Option<u8>,
}

/// How far a node's change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    Ready,
    /// It is committed and its node knows, or its node has given it up.
    Decided,
    /// Given up, and built; to be done yet.
    ToBeDone,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Starts(usize),
    ReadsVersionLate(usize),
    Commits(usize),
    GivesUp(usize),
    Rebuilds(usize),
    Breaks(usize),
    Listens(usize),
    IsCalled(usize),
    Asks(usize),
    ReadsVersion(usize),
    ReadsNotices(usize),
    IsAnswered(usize),
    QuestionFails(usize),
    BuildReads(usize),
    BuildSucceeds(usize),
    BuildFails(usize),
    TimePasses(usize),
    Forgets,
}

const CHANGES: Kind = 0;
const BREAKS: Kind = 1;
/// And of each further node the next; so with those below.
const STARTS: Kind = 4;
const REBUILDS: Kind = 8;
const LISTENS: Kind = 12;
const ASKS: Kind = 16;
const ANSWERS: Kind = 20;
const QUESTION_FAILS: Kind = 24;
const BUILDS: Kind = 28;
const BUILD_FAILS: Kind = 32;
const TIME_PASSES: Kind = 36;

impl Node {
    fn new(database: u8, hears: bool, is_cold: bool, nodes: &Nodes) -> Node {
        let is_on = hears && !is_cold;
        let hearing = is_on.then(|| Hearing::new(Some(0), nodes.interval, nodes.began));
        Node {
            now: nodes.began,
            start: if is_cold { Start::Off } else { Start::On },
            hearing,
            listens: nodes.calls && is_on,
            is_called: false,
            question: None,
            hears_itself: false,
            rebuilds: Rebuilds::default(),
            timers: BTreeSet::new(),
            newest_build: 0,
            build: None,
            shown: if is_cold { 0 } else { database },
            change: 0,
            at: At::Ready,
            is_deaf: false,
        }
    }

    fn hash_into(&self, hasher: &mut impl Hasher) {
        let text = format!("{:?} {:?}", self.hearing, self.rebuilds);
        relative(&text, self.newest_build, self.now).hash(hasher);
        for timer in &self.timers {
            timer.saturating_duration_since(self.now).hash(hasher);
        }
        let build = self
            .build
            .as_ref()
            .map(|build| (CHANNELS.map(|id| build.scope.covers(id)), build.read));
        build.hash(hasher);
        (self.start, self.listens, self.is_called, self.is_deaf).hash(hasher);
        (
            &self.question,
            self.hears_itself,
            self.shown,
            self.change,
            self.at,
        )
            .hash(hasher);
    }

    fn ask(&mut self, scope: Scope) -> Result<(), String> {
        let step = self.rebuilds.ask(scope, Urgency::Admin, None, self.now);
        self.follow(step)
    }

    fn follow(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Rest => {}
            Step::WakeAt(at) => drop(self.timers.insert(at)),
            Step::Start { number, scope } => {
                if self.build.is_some() {
                    return Err("R5: two builds run at once".to_owned());
                }
                self.newest_build = number.0;
                self.build = Some(Build {
                    number,
                    scope,
                    read: None,
                });
            }
        }
        Ok(())
    }

    fn build_ends(&mut self, succeeded: bool) -> Result<(), String> {
        let Some(build) = self.build.take() else {
            return Err("no build ran".to_owned());
        };
        if let (true, Some(read)) = (succeeded, build.read) {
            for (bit, _) in CHANNELS
                .iter()
                .enumerate()
                .filter(|(_, id)| build.scope.covers(**id))
            {
                self.shown = self.shown & !(1 << bit) | read & (1 << bit);
            }
        }
        let (_, step) = self
            .rebuilds
            .ended(build.number, succeeded, self.now, &mut Dice::Low);
        self.follow(step)
    }
}

impl Nodes {
    fn start_of(&self, state: &mut State, at: usize, known: Option<i64>) -> Result<(), String> {
        let node = &mut state.nodes[at];
        node.start = Start::On;
        node.hearing = Some(Hearing::new(known, self.interval, node.now));
        Ok(())
    }

    fn commit(&self, state: &mut State, at: usize) {
        let node = &state.nodes[at];
        let (Change::Told(channel) | Change::GivenUp(channel)) = self.changes[at][node.change];
        state.database ^= 1 << channel;
        state.log.push((at, channel));
        for node in &mut state.nodes {
            node.is_called |= node.listens;
        }
    }

    /// `store::notices::news`.
    fn answer(&self, state: &State, at: usize, known: i64, version: i64) -> Answer {
        let first = usize::try_from(known).unwrap_or(0).max(state.forgotten);
        let notices: Vec<(i64, (usize, usize))> = (1..).zip(state.log.iter().copied()).skip(first).collect();
        let last = notices.last().map(|(number, _)| *number);
        let is_whole = (notices.iter().map(|(number, _)| *number)).eq((known + 1..).take(notices.len()));
        let reaches = last.is_some_and(|last| last >= version);
        let mut answer = Answer {
            version: last.map_or(version, |last| last.max(version)),
            ..Answer::default()
        };
        let trusts = matches!(self.wrong, Some(Wrong::TrustsGaps | Wrong::ReadsTheVersionLast));
        if !trusts && (!is_whole || !reaches) {
            answer.anything = true;
            return answer;
        }
        let hears_itself = state.nodes[at].hears_itself && self.wrong != Some(Wrong::NeverHearsItself);
        for (_, (_, channel)) in notices
            .iter()
            .filter(|(_, (node, _))| hears_itself || *node != at)
        {
            answer.channels.get_or_insert_default().insert(CHANNELS[*channel]);
        }
        answer
    }

    fn read_first(&self, state: &mut State, at: usize) {
        let version = state.log.len() as i64;
        let reads_notices_first = self.wrong == Some(Wrong::ReadsTheVersionLast);
        let answer = match state.nodes[at].question.as_ref().map(|asked| asked.wanted) {
            Some(Wanted::Since(known)) if reads_notices_first => Some(self.answer(state, at, known, version)),
            // Nothing new, or everything: one statement is enough.
            Some(Wanted::Since(known)) if known != version => None,
            _ => Some(Answer {
                version,
                ..Answer::default()
            }),
        };
        if let Some(asked) = &mut state.nodes[at].question {
            (asked.version, asked.answer) = (Some(version), answer);
        }
    }

    fn read_notices(&self, state: &mut State, at: usize) {
        if let Some(asked) = &state.nodes[at].question
            && let (Wanted::Since(known), Some(version)) = (asked.wanted, asked.version)
        {
            let answer = self.answer(state, at, known, version);
            if let Some(asked) = &mut state.nodes[at].question {
                asked.answer = Some(answer);
            }
        }
    }

    fn is_answered(&self, state: &mut State, at: usize) -> Result<(), String> {
        let version = state.log.len() as i64;
        let node = &mut state.nodes[at];
        let asked = node.question.take();
        let (Some(hearing), Some(mut answer)) = (&mut node.hearing, asked.and_then(|asked| asked.answer))
        else {
            return Err("nobody asked".to_owned());
        };
        if self.wrong == Some(Wrong::ReadsTheVersionLast) {
            answer.version = version;
        }
        let outdated = hearing.answered(answer, node.now);
        match (outdated.routes, &node.build) {
            (Some(_), Some(_)) if self.wrong == Some(Wrong::JoinsTheRunningBuild) => Ok(()),
            (Some(scope), _) => node.ask(scope),
            (None, _) => Ok(()),
        }
    }

    fn question_fails(&self, state: &mut State, at: usize) {
        state.question_failures += 1;
        let node = &mut state.nodes[at];
        let version = node.question.take().and_then(|asked| asked.version);
        let Some(hearing) = &mut node.hearing else {
            return;
        };
        match (self.wrong, version) {
            (Some(Wrong::TakesFailureForNoNews), Some(version)) => {
                let nothing = Answer {
                    version,
                    ..Answer::default()
                };
                drop(hearing.answered(nothing, node.now));
            }
            _ => hearing.failed(node.now),
        }
        node.is_deaf = self.wrong == Some(Wrong::WaitsForTheNextCall);
    }

    fn hears_call(&self, node: &mut Node) {
        let drops = self.wrong == Some(Wrong::DropsCallsWhileItAsks) && node.question.is_some();
        if let (false, Some(hearing)) = (drops, &mut node.hearing) {
            hearing.called(node.now);
            node.is_deaf = false;
        }
    }

    fn take_event(&self, state: &mut State, event: Event) -> Result<(), String> {
        let version = state.log.len() as i64;
        let database = state.database;
        match event {
            Event::Starts(at) if self.wrong == Some(Wrong::BuildsBeforeItKnows) => {
                state.nodes[at].start = Start::Unknown;
                state.nodes[at].ask(Scope::Everything)?;
            }
            Event::Starts(at) => {
                self.start_of(state, at, Some(version))?;
                state.nodes[at].ask(Scope::Everything)?;
            }
            Event::ReadsVersionLate(at) => self.start_of(state, at, Some(version))?,
            Event::Commits(at) => {
                self.commit(state, at);
                let node = &mut state.nodes[at];
                if node.at == At::ToBeDone {
                    (node.at, node.change) = (At::Ready, node.change + 1);
                } else {
                    node.at = At::Decided;
                }
            }
            Event::GivesUp(at) => {
                state.nodes[at].hears_itself = true;
                state.nodes[at].at = At::Decided;
            }
            Event::Rebuilds(at) => {
                let node = &mut state.nodes[at];
                let change = self.changes[at][node.change];
                let (Change::Told(channel) | Change::GivenUp(channel)) = change;
                if let Change::Told(_) = change {
                    (node.at, node.change) = (At::Ready, node.change + 1);
                } else {
                    node.at = At::ToBeDone;
                }
                node.ask(Scope::channel(CHANNELS[channel]))?;
            }
            Event::Breaks(at) => {
                state.breaks += 1;
                (state.nodes[at].listens, state.nodes[at].is_called) = (false, false);
            }
            Event::Listens(at) => {
                let node = &mut state.nodes[at];
                node.listens = true;
                if self.wrong != Some(Wrong::TrustsTheConnection) {
                    self.hears_call(node);
                }
            }
            Event::IsCalled(at) => {
                let node = &mut state.nodes[at];
                node.is_called = false;
                self.hears_call(node);
            }
            Event::Asks(at) => {
                let node = &mut state.nodes[at];
                if let Some(hearing) = &mut node.hearing {
                    node.now = hearing.ask_at().map_or(node.now, |due| due.max(node.now));
                    node.question = Some(Asked {
                        wanted: hearing.asks(),
                        version: None,
                        answer: None,
                    });
                }
            }
            Event::ReadsVersion(at) => self.read_first(state, at),
            Event::ReadsNotices(at) => self.read_notices(state, at),
            Event::IsAnswered(at) => self.is_answered(state, at)?,
            Event::QuestionFails(at) => self.question_fails(state, at),
            Event::BuildReads(at) => {
                let build = state.nodes[at].build.iter_mut();
                build.for_each(|build| build.read = Some(database));
            }
            Event::BuildSucceeds(at) => state.nodes[at].build_ends(true)?,
            Event::BuildFails(at) => state.nodes[at].build_ends(false)?,
            Event::TimePasses(at) => {
                let node = &mut state.nodes[at];
                if let Some(due) = node.timers.pop_first() {
                    node.now = node.now.max(due);
                    let step = node.rebuilds.wake(node.now);
                    node.follow(step)?;
                }
            }
            Event::Forgets => state.forgotten += 1,
        }
        Ok(())
    }

    fn events_of(&self, state: &State, at: usize, events: &mut Vec<Event>) {
        let node = &state.nodes[at];
        let is_last = at + 1 == state.nodes.len();
        match (node.start, self.changes[at].get(node.change), node.at) {
            (Start::Off, ..) => events.push(Event::Starts(at)),
            (Start::Unknown, ..) if node.build.is_none() => events.push(Event::ReadsVersionLate(at)),
            (Start::On, Some(Change::Told(_)), At::Ready) => events.push(Event::Commits(at)),
            (Start::On, Some(Change::GivenUp(_)), At::Ready) => events.push(Event::GivesUp(at)),
            (Start::On, Some(Change::GivenUp(_)), At::ToBeDone) => events.push(Event::Commits(at)),
            (Start::On, Some(_), At::Decided) => events.push(Event::Rebuilds(at)),
            _ => {}
        }
        if let Some(hearing) = &node.hearing {
            if self.calls && !node.listens {
                events.push(Event::Listens(at));
            }
            if is_last && node.listens && state.breaks < self.breaks {
                events.push(Event::Breaks(at));
            }
            if node.is_called {
                events.push(Event::IsCalled(at));
            }
            if node.question.is_none() && hearing.ask_at().is_some() && !node.is_deaf {
                events.push(Event::Asks(at));
            }
        }
        if let Some(asked) = &node.question {
            events.push(match (&asked.version, &asked.answer) {
                (_, Some(_)) => Event::IsAnswered(at),
                (Some(_), None) => Event::ReadsNotices(at),
                (None, None) => Event::ReadsVersion(at),
            });
            if is_last && state.question_failures < self.question_failures {
                events.push(Event::QuestionFails(at));
            }
        }
        if let Some(build) = &node.build {
            events.push(match build.read {
                None => Event::BuildReads(at),
                Some(_) => Event::BuildSucceeds(at),
            });
            if node.rebuilds.failures() < self.build_failures_in_a_row {
                events.push(Event::BuildFails(at));
            }
        }
        if !node.timers.is_empty() {
            events.push(Event::TimePasses(at));
        }
    }
}

impl World for Nodes {
    type State = State;
    type Step = Event;

    fn name(&self) -> String {
        let how = match (self.calls, self.interval.is_zero()) {
            (true, true) => "called",
            (true, false) => "called and asking",
            (false, _) => "asking",
        };
        let from = if self.starts_cold { ", starting" } else { "" };
        format!("hearing, {how}{from}, changes {:?}", self.changes)
    }

    fn start(&self) -> State {
        let database = 1;
        let nodes = self
            .changes
            .iter()
            .enumerate()
            .map(|(at, _)| Node::new(database, at >= self.hears_from, self.starts_cold && at > 0, self));
        State {
            database,
            log: Vec::new(),
            forgotten: 0,
            breaks: 0,
            question_failures: 0,
            nodes: nodes.collect(),
        }
    }

    fn steps(&self, state: &State) -> Vec<Event> {
        let mut events = Vec::new();
        for at in 0..state.nodes.len() {
            self.events_of(state, at, &mut events);
        }
        if state.forgotten < self.forgets.min(state.log.len()) {
            events.push(Event::Forgets);
        }
        events
    }

    fn take(&self, state: &mut State, event: &Event) -> Result<(), String> {
        self.take_event(state, *event)
    }

    fn key(&self, state: &State, hasher: &mut impl Hasher) {
        (state.database, &state.log, state.forgotten).hash(hasher);
        (state.breaks, state.question_failures).hash(hasher);
        for node in &state.nodes {
            node.hash_into(hasher);
        }
    }

    fn kind(&self, event: &Event) -> Kind {
        let of = |kind: Kind, at: usize| kind + at as Kind;
        match *event {
            Event::Commits(_) | Event::GivesUp(_) | Event::Forgets => CHANGES,
            Event::Breaks(_) => BREAKS,
            Event::Starts(at) | Event::ReadsVersionLate(at) => of(STARTS, at),
            Event::Rebuilds(at) => of(REBUILDS, at),
            Event::Listens(at) | Event::IsCalled(at) => of(LISTENS, at),
            Event::Asks(at) => of(ASKS, at),
            Event::ReadsVersion(at) | Event::ReadsNotices(at) | Event::IsAnswered(at) => of(ANSWERS, at),
            Event::QuestionFails(at) => of(QUESTION_FAILS, at),
            Event::BuildReads(at) | Event::BuildSucceeds(at) => of(BUILDS, at),
            Event::BuildFails(at) => of(BUILD_FAILS, at),
            Event::TimePasses(at) => of(TIME_PASSES, at),
        }
    }

    /// Bit n: node n hears, and does not show what the database has.
    fn marks(&self, state: &State) -> Bits {
        let mut marks = 0;
        for (at, node) in state.nodes.iter().enumerate() {
            let drifts = at >= self.hears_from && node.shown != state.database;
            marks |= Bits::from(drifts) << at;
        }
        marks
    }
}

impl Nodes {
    /// What is taken some time when it could be all along, of each node: it starts, its own changes ask for their
    /// builds, what was called arrives, questions are put and end, builds end, time passes. How a question or a build
    /// ends is bounded by how often they may fail.
    fn fair(&self) -> Vec<Bits> {
        let of_node = |at: usize| {
            let bit = |kind: Kind| 1 << (kind + at as Kind);
            [
                bit(STARTS),
                bit(REBUILDS),
                bit(LISTENS),
                bit(ASKS),
                bit(ANSWERS) | bit(QUESTION_FAILS),
                bit(BUILDS) | bit(BUILD_FAILS),
                bit(TIME_PASSES),
            ]
        };
        (0..self.changes.len()).flat_map(of_node).collect()
    }

    fn check(&self) -> Result<(), Broken> {
        let graph = explore(self)?;
        let fair = self.fair();
        for at in self.hears_from..self.changes.len() {
            let drifts = |marks: Bits| marks >> at & 1 == 1;
            graph.ends(
                &format!("R10: node {at} never hears of a change"),
                Bits::MAX,
                drifts,
                &fair,
            )?;
        }
        graph.ends_in("R10: all is quiet, and a node drifts", Bits::MAX, |marks| {
            marks == 0
        })?;
        if self.interval.is_zero() {
            return graph.ends(
                "R5: work without end though all is quiet",
                Bits::MAX,
                |_| true,
                &[],
            );
        }
        Ok(())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Starts(at) => write!(f, "node {at} starts"),
            Event::ReadsVersionLate(at) => write!(f, "node {at} reads the version, after its first build"),
            Event::Commits(at) => write!(f, "node {at}: its next change is committed"),
            Event::GivesUp(at) => write!(f, "node {at}: nobody can tell what becomes of its next change"),
            Event::Rebuilds(at) => write!(f, "node {at}: its change asks for a build"),
            Event::Breaks(at) => write!(f, "node {at}: the connection that it listens on breaks"),
            Event::Listens(at) => write!(f, "node {at}: it listens again"),
            Event::IsCalled(at) => write!(f, "node {at} is called"),
            Event::Asks(at) => write!(f, "node {at} asks for news"),
            Event::ReadsVersion(at) => write!(f, "node {at}: the question's first statement"),
            Event::ReadsNotices(at) => write!(f, "node {at}: the question reads the notices"),
            Event::IsAnswered(at) => write!(f, "node {at}: the question is answered"),
            Event::QuestionFails(at) => write!(f, "node {at}: the question fails"),
            Event::BuildReads(at) => write!(f, "node {at}: its build reads the database"),
            Event::BuildSucceeds(at) => write!(f, "node {at}: its build is installed"),
            Event::BuildFails(at) => write!(f, "node {at}: its build fails"),
            Event::TimePasses(at) => write!(f, "node {at}: time passes"),
            Event::Forgets => write!(f, "the oldest notice is deleted"),
        }
    }
}

/// Two nodes that both change something; the database calls them.
fn called() -> Nodes {
    Nodes {
        changes: vec![vec![Change::Told(0)], vec![Change::Told(1)]],
        hears_from: 0,
        interval: Duration::ZERO,
        calls: true,
        breaks: 1,
        question_failures: 1,
        build_failures_in_a_row: size() as u32,
        forgets: 0,
        starts_cold: false,
        wrong: None,
        began: Instant::now(),
    }
}

fn asking() -> Nodes {
    Nodes {
        interval: Duration::from_secs(2),
        calls: false,
        breaks: 0,
        ..called()
    }
}

/// One that only writes, and one that hears.
fn writer(changes: &[Change]) -> Nodes {
    Nodes {
        changes: vec![changes.to_vec(), Vec::new()],
        hears_from: 1,
        ..called()
    }
}

const BOTH: [Change; 2] = [Change::Told(0), Change::Told(1)];

fn holds(nodes: &Nodes) {
    nodes.check().unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn r10_two_nodes_are_called_of_each_others_changes() {
    // Both at once only in the larger worlds.
    let failures = size().min(1) as u32;
    for (breaks, question_failures) in [(1, failures), (failures, 1)] {
        holds(&Nodes {
            breaks,
            question_failures,
            ..called()
        });
    }
}

#[test]
fn r10_two_nodes_ask_for_each_others_changes() {
    holds(&asking());
}

#[test]
fn r10_a_node_is_called_and_asks() {
    for interval in [Duration::ZERO, Duration::from_secs(2)] {
        holds(&Nodes {
            interval,
            build_failures_in_a_row: 1,
            ..writer(&[Change::Told(0), Change::Told(0)])
        });
    }
}

#[test]
fn r10_a_node_starts_while_another_changes_something() {
    holds(&Nodes {
        starts_cold: true,
        ..writer(&BOTH)
    });
}

#[test]
fn r10_notices_are_deleted_before_a_node_has_read_them() {
    holds(&Nodes {
        forgets: 2,
        ..writer(&BOTH)
    });
}

#[test]
fn r10_a_change_is_done_after_its_own_node_has_given_it_up() {
    holds(&Nodes {
        changes: vec![vec![Change::GivenUp(0), Change::Told(1)]],
        ..called()
    });
    holds(&Nodes {
        changes: vec![vec![Change::Told(1)], vec![Change::GivenUp(0)]],
        hears_from: 1,
        ..called()
    });
}

#[test]
fn careless_hearing_is_found() {
    let one = || writer(&[Change::Told(0)]);
    let asks = |nodes: Nodes| Nodes {
        interval: asking().interval,
        calls: false,
        ..nodes
    };
    let found = |wrong: Wrong, nodes: Nodes| {
        let careless = Nodes {
            wrong: Some(wrong),
            ..nodes
        };
        is_found(&format!("{wrong:?}"), careless.check(), "R10");
    };
    found(Wrong::WaitsForTheNextCall, one());
    found(Wrong::TakesFailureForNoNews, one());
    found(Wrong::TakesFailureForNoNews, asks(one()));
    found(Wrong::DropsCallsWhileItAsks, writer(&BOTH));
    found(Wrong::TrustsTheConnection, one());
    found(Wrong::TrustsGaps, Nodes { forgets: 1, ..one() });
    found(Wrong::ReadsTheVersionLast, asks(one()));
    found(Wrong::JoinsTheRunningBuild, writer(&BOTH));
    let starts = Nodes {
        starts_cold: true,
        ..one()
    };
    found(Wrong::BuildsBeforeItKnows, starts);
    let given_up = Nodes {
        changes: vec![vec![Change::GivenUp(0)]],
        ..called()
    };
    found(Wrong::NeverHearsItself, given_up);
}
