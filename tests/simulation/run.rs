//! One run: a world, its nodes and requests, and the choices of a schedule carried out one after another.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::routing::ids::{GroupName, ModelName, Protocol};
use pointsman::routing::remembered::StateId;
use pointsman::routing::tried::Tried;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::change::{Change, ChangeAt};
use crate::coverage::{Coverage, Happened};
use crate::draw::{self, Size};
use crate::edit::Edit;
use crate::node::{Here, Node, Tick};
use crate::oracle::{Seen, Verdict};
use crate::request::{Ask, At, Hints, Own, Request, Stage};
use crate::schedule::{Choice, Kind};
use crate::truth::Asked;
use crate::world::{Database, GROUPS, MODELS};

pub struct Run {
    pub tick: Tick,
    pub now: Instant,
    began: Instant,
    pub database: Database,
    pub size: Size,
    pub nodes: Vec<Node>,
    pub seen: Vec<Seen>,
    pub requests: Vec<Request>,
    pub changes: Vec<Change>,
    /// Transactions of which nobody waits to hear any more.
    pub ghosts: Vec<Edit>,
    /// What the relay has been refused and wants to close, by node.
    pub refused: Vec<(usize, Edit)>,
    last_id: u64,
    /// Where the answers live that questions name, by node.
    pub homes: HashMap<(usize, StateId), i64>,
    pub coverage: Coverage,
    /// In words, where somebody reads them.
    pub story: Option<Vec<String>>,
}

macro_rules! say {
    ($run:expr, $($words:tt)*) => {
        if $run.story.is_some() {
            let words = format!($($words)*);
            $run.tells(words);
        }
    };
}
pub(crate) use say;

impl Run {
    /// A database with some channels, and nodes that have just started.
    pub fn new(seed: u64, began: Instant, tells: bool) -> Run {
        let mut rng = SmallRng::seed_from_u64(seed);
        let nodes = [1, 1, 2, 3][rng.random_range(0..4)];
        let size = Size::draw(&mut rng);
        let mut run = Run {
            size,
            tick: 0,
            now: began,
            began,
            database: Database::new(),
            nodes: (0..nodes).map(|_| Node::new()).collect(),
            seen: (0..nodes).map(|_| Seen::default()).collect(),
            requests: Vec::new(),
            changes: Vec::new(),
            ghosts: Vec::new(),
            refused: Vec::new(),
            last_id: 0,
            homes: HashMap::new(),
            coverage: Coverage::default(),
            story: tells.then(Vec::new),
        };
        for _ in 0..rng.random_range(0..4) {
            let edit = draw::create(size, &mut rng);
            let _ = run.commit(&edit);
        }
        say!(run, "{nodes} nodes; {}", draw::words(run.database.world()));
        run
    }

    /// The actors' `started`.
    pub fn start(&mut self, rng: &mut SmallRng) -> Verdict {
        (0..self.nodes.len()).try_for_each(|node| self.timer(node, rng))
    }

    pub fn tells(&mut self, words: String) {
        let (tick, seconds) = (self.tick, self.seconds());
        if let Some(story) = &mut self.story {
            story.push(format!("{tick:>5} {seconds:>9.3}s  {words}"));
        }
    }

    fn seconds(&self) -> f64 {
        (self.now - self.began).as_secs_f64()
    }

    pub fn now_ms(&self) -> i64 {
        1_000 + (self.now - self.began).as_millis() as i64
    }

    pub fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    // ---- one choice ----

    pub fn step(&mut self, choice: Choice) -> Verdict {
        self.coverage.note(Happened::Steps);
        self.tick += 1;
        let rng = &mut SmallRng::seed_from_u64(choice.dice);
        match choice.kind {
            Kind::Ask => self.client_asks(rng),
            Kind::Request => self.any_request(rng)?,
            Kind::FirstEvent => self.first_event(rng)?,
            Kind::Report => self.any_report(rng)?,
            Kind::Flood => self.flood(rng),
            Kind::Change => self.any_change(rng),
            Kind::Write => self.any_write(rng)?,
            Kind::Ghost => self.ghost(rng)?,
            Kind::Stranger => self.stranger(rng)?,
            Kind::Rot => self.rot(rng)?,
            Kind::Repair => self.repair(rng)?,
            Kind::Timer => {
                let node = self.any_node(rng);
                self.timer(node, rng)?;
            }
            Kind::BuildReads => self.build_reads(rng),
            Kind::BuildEnds => self.build_ends(rng)?,
            Kind::LateBuild => self.late_build(rng)?,
            Kind::LookupBegins => self.lookup_begins(rng),
            Kind::LookupReads => self.lookup_reads(rng),
            Kind::LookupEnds => self.lookup_ends(rng)?,
            Kind::Outage if self.database.is_up => {
                self.database.is_up = false;
                self.coverage.note(Happened::Outages);
                say!(self, "the database goes away");
            }
            Kind::Back if !self.database.is_up => {
                self.database.is_up = true;
                say!(self, "the database is back");
            }
            Kind::Outage | Kind::Back => {}
            Kind::Moment => self.pass(Duration::from_millis(rng.random_range(1..500)), rng)?,
            Kind::Seconds => self.pass(Duration::from_millis(rng.random_range(500..8_000)), rng)?,
            Kind::Minutes => {
                let seconds = [20, 61, 90, 300, 601, 1400][rng.random_range(0..6)];
                self.pass(Duration::from_secs(seconds), rng)?;
            }
        }
        self.requests.retain(|request| !matches!(request.at, At::Done));
        self.changes.retain(|change| !matches!(change.at, ChangeAt::Done));
        self.is_sane()
    }

    pub fn is_sane(&self) -> Verdict {
        for (node, seen) in self.nodes.iter().zip(&self.seen) {
            seen.shows_what_was_installed(node.router.snapshot())?;
            seen.health_is_sane(&node.router, self.now)?;
        }
        let is_waiting = |place: &usize| matches!(self.requests[*place].at, At::Waiting { .. });
        let mut waiting = (0..self.requests.len()).filter(is_waiting);
        waiting.try_for_each(|place| self.case(place).waits())
    }

    pub fn any_node(&self, rng: &mut SmallRng) -> usize {
        rng.random_range(0..self.nodes.len())
    }

    /// A message to a node's actors is handled, and all that they answer with it.
    pub fn at<T>(
        &mut self,
        node: usize,
        rng: &mut SmallRng,
        handle: impl FnOnce(&mut Node, &mut Here) -> T,
    ) -> (T, Verdict) {
        let mut here = Here {
            tick: self.tick,
            now: self.now,
            rng,
        };
        let value = handle(&mut self.nodes[node], &mut here);
        let verdict = self.hear(node, rng);
        (value, verdict)
    }

    // ---- clients ----

    fn client_asks(&mut self, rng: &mut SmallRng) {
        let node = self.any_node(rng);
        let mut groups: Vec<usize> = (0..self.size.groups).collect();
        for place in 0..groups.len() {
            groups.swap(place, rng.random_range(place..self.size.groups));
        }
        groups.truncate(rng.random_range(1..=groups.len()));
        let model = (rng.random_range(0..20) > 0).then(|| rng.random_range(0..self.size.models));
        let protocol = if rng.random_range(0..4) > 0 {
            Protocol::OpenAi
        } else {
            Protocol::Anthropic
        };
        let hints = Hints {
            affinity: (rng.random_range(0..3) == 0).then(|| rng.random_range(0..8)),
            state: (rng.random_range(0..4) == 0).then(|| any_state(rng)),
        };
        self.request(
            node,
            Asked {
                groups,
                model,
                protocol,
            },
            hints,
        );
    }

    pub fn request(&mut self, node: usize, asked: Asked, hints: Hints) -> u64 {
        let id = self.new_id();
        let groups: Arc<[GroupName]> = asked.groups.iter().map(|group| GROUPS[*group].clone()).collect();
        let model = asked
            .model
            .map_or_else(|| ModelName::new("unheard-of"), |model| MODELS[model].clone());
        let mut request = Request {
            id,
            node,
            asked,
            groups,
            model,
            hints,
            tried: Tried::default(),
            own: Own::default(),
            stage: Stage::Others,
            counted: 0,
            attempts: 0,
            ask: Ask {
                serial: 0,
                version: 0,
                lookups: 0,
                lookup_failed: false,
                by_bound: false,
            },
            at: At::Done,
        };
        request.asks(self.database.now());
        say!(
            self,
            "node {node}: request {id} asks for {} in {:?} by {}",
            request.model,
            request.groups,
            request.asked.protocol.word()
        );
        self.coverage.note(Happened::Picks);
        self.requests.push(request);
        id
    }

    fn flood(&mut self, rng: &mut SmallRng) {
        let node = self.any_node(rng);
        self.coverage.note(Happened::Floods);
        for _ in 0..rng.random_range(4..10) {
            let groups = vec![rng.random_range(0..self.size.groups)];
            let model = rng
                .random_bool(0.5)
                .then(|| rng.random_range(0..self.size.models));
            self.request(
                node,
                Asked {
                    groups,
                    model,
                    protocol: Protocol::OpenAi,
                },
                Hints::default(),
            );
        }
    }

    fn any_request(&mut self, rng: &mut SmallRng) -> Verdict {
        let ready = |request: &&Request| {
            matches!(
                request.at,
                At::ToCache | At::ToQuery | At::ToChoose(_) | At::ToChooseAtOnce(_)
            )
        };
        let ids: Vec<u64> = self
            .requests
            .iter()
            .filter(ready)
            .map(|request| request.id)
            .collect();
        match pick_one(&ids, rng) {
            Some(id) => self.advance_request(*id, rng),
            None => Ok(()),
        }
    }
}

/// One of the few answers that are named again.
pub fn any_state(rng: &mut SmallRng) -> StateId {
    StateId::of(["one", "two", "three", "four"][rng.random_range(0..4)])
}

pub fn pick_one<'a, T>(list: &'a [T], rng: &mut SmallRng) -> Option<&'a T> {
    (!list.is_empty()).then(|| &list[rng.random_range(0..list.len())])
}
