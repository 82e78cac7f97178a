//! One run: a world, its nodes and requests, and the choices of a schedule carried out one after another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::routing::ids::{GroupName, ModelName, Protocol};
use pointsman::routing::rebuilds::{Scope, Urgency};
use pointsman::routing::tried::Tried;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::change::{Change, ChangeAt, Lost, closings, scope_of};
use crate::coverage::{Coverage, Happened};
use crate::draw::{self, Size};
use crate::edit::{Edit, Moot};
use crate::node::{BuildAsker, BuildFate, Here, Node, Tick};
use crate::oracle::{Seen, Verdict, fault};
use crate::request::{Ask, At, Own, Request, Stage};
use crate::schedule::{Choice, Kind};
use crate::tell;
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
    ghosts: Vec<Edit>,
    /// What the relay has been refused and wants to close, by node.
    pub refused: Vec<(usize, Edit)>,
    last_id: u64,
    pub coverage: Coverage,
    /// In words, where somebody reads them.
    pub story: Option<Vec<String>>,
}

macro_rules! say {
    ($run:expr, $($words:tt)*) => {
        if $run.story.is_some() {
            let words = format!($($words)*);
            let (tick, seconds) = ($run.tick, $run.seconds());
            $run.story.as_mut().expect("a story").push(format!("{tick:>5} {seconds:>9.3}s  {words}"));
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

    pub fn seconds(&self) -> f64 {
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
        self.nodes
            .iter()
            .zip(&self.seen)
            .try_for_each(|(node, seen)| seen.health_is_sane(&node.router, self.now))
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
        let affinity = (rng.random_range(0..3) == 0).then(|| rng.random_range(0..8));
        self.request(
            node,
            Asked {
                groups,
                model,
                protocol,
            },
            affinity,
        );
    }

    pub fn request(&mut self, node: usize, asked: Asked, affinity: Option<u64>) -> u64 {
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
            affinity,
            tried: Tried::default(),
            own: Own::default(),
            stage: Stage::Others,
            counted: 0,
            attempts: 0,
            ask: Ask {
                serial: 0,
                tick: 0,
                version: 0,
                lookups: 0,
                lookup_failed: false,
                by_bound: false,
            },
            at: At::Done,
        };
        request.asks(self.tick, self.database.now());
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
                None,
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

    // ---- writers ----

    /// A commit, as whoever makes it.
    pub fn commit(&mut self, edit: &Edit) -> Result<(usize, crate::edit::Applied), Moot> {
        let at_ms = self.now_ms();
        self.database.commit(edit, at_ms)
    }

    /// R9: a channel's abilities are enabled as it is, whoever has written last.
    fn database_is_whole(&self) -> Verdict {
        use pointsman::routing::rows::Status;
        for rows in self.database.world().channels.values() {
            let enabled = rows.status == Status::Enabled;
            let agrees = rows.abilities.values().all(|ability| ability.enabled == enabled);
            if !agrees && !rows.by_hand {
                return fault(
                    "R9",
                    format!("channel {} is {:?}, its abilities are not", rows.id, rows.status),
                );
            }
        }
        Ok(())
    }

    fn any_change(&mut self, rng: &mut SmallRng) {
        let node = self.any_node(rng);
        let edit = if !self.refused.is_empty() && rng.random_bool(0.5) {
            let place = rng.random_range(0..self.refused.len());
            let (of, edit) = self.refused.swap_remove(place);
            return self.change(of, edit);
        } else {
            draw::edit(self.database.world(), self.size, rng)
        };
        self.change(node, edit);
    }

    fn change(&mut self, node: usize, edit: Edit) {
        let id = self.new_id();
        say!(self, "node {node}: change {id} begins: {edit:?}");
        self.changes.push(Change {
            id,
            node,
            edit,
            at: ChangeAt::Writing,
        });
    }

    fn any_write(&mut self, rng: &mut SmallRng) -> Verdict {
        let ready = |change: &&Change| !matches!(change.at, ChangeAt::Rebuilding { .. } | ChangeAt::Done);
        let ids: Vec<u64> = self
            .changes
            .iter()
            .filter(ready)
            .map(|change| change.id)
            .collect();
        match pick_one(&ids, rng) {
            Some(id) => self.advance_change(*id, rng),
            None => Ok(()),
        }
    }

    pub fn advance_change(&mut self, id: u64, rng: &mut SmallRng) -> Verdict {
        let Some(place) = self.changes.iter().position(|change| change.id == id) else {
            return Ok(());
        };
        let (node, edit) = (self.changes[place].node, self.changes[place].edit.clone());
        let at = std::mem::replace(&mut self.changes[place].at, ChangeAt::Done);
        let next = match at {
            ChangeAt::Writing => self.writes(id, node, &edit, rng)?,
            ChangeAt::Committed { version, applied } => {
                let at = self.nodes[node].moments.draw();
                say!(self, "node {node}: change {id} is told that it is done");
                ChangeAt::Closing { version, applied, at }
            }
            ChangeAt::Lost(lost) => self.settles(id, node, &edit, lost, rng)?,
            ChangeAt::Closing { version, applied, at } => {
                say!(self, "node {node}: change {id} closes {:?}", applied.closed);
                applied
                    .closed
                    .iter()
                    .for_each(|_| self.coverage.note(Happened::Closings));
                self.nodes[node].close(closings(&applied.closed, at));
                self.seen[node].closes(&applied.closed, Some(version), at, self.tick);
                ChangeAt::ToRebuild {
                    version,
                    touched: applied.touched,
                }
            }
            ChangeAt::ToRebuild { version, touched } => {
                say!(self, "node {node}: change {id} asks for a rebuild");
                let asker = BuildAsker {
                    change: id,
                    asked: self.tick,
                };
                self.changes[place].at = ChangeAt::Rebuilding {
                    version,
                    touched: touched.clone(),
                };
                let scope = scope_of(&touched);
                return self
                    .at(node, rng, |node, here| {
                        node.ask(scope, Urgency::Admin, Some(asker), here)
                    })
                    .1;
            }
            other @ (ChangeAt::Rebuilding { .. } | ChangeAt::Done) => other,
        };
        self.changes[place].at = next;
        Ok(())
    }

    /// `store::commit::attempt`, up to the answer to COMMIT.
    fn writes(
        &mut self,
        id: u64,
        node: usize,
        edit: &Edit,
        rng: &mut SmallRng,
    ) -> Result<ChangeAt, crate::oracle::Fault> {
        let before = self.database.now();
        let fate = match (self.database.is_up, rng.random_range(0..20)) {
            (true, 0..15) => Fate::Done,
            (false, 0..12) | (true, 15..17) => Fate::NotDone,
            (true, 17) => Fate::LostDone,
            (false, 12..14) | (true, 18) => Fate::LostNotDone,
            _ => Fate::LostInFlight,
        };
        let next = match fate {
            Fate::Done | Fate::LostDone => match self.commit(edit) {
                Err(moot) => {
                    say!(self, "node {node}: change {id} has nothing to do: {moot:?}");
                    self.coverage.note(Happened::Moot);
                    if let Edit::Auto { channel, .. } = edit {
                        // `Routing::change`: another node may have done it.
                        let scope = scope_of(&[*channel]);
                        self.at(node, rng, |node, here| {
                            node.ask(scope, Urgency::Background, None, here)
                        })
                        .1?;
                    }
                    ChangeAt::Done
                }
                Ok((version, applied)) => {
                    self.coverage.note(Happened::Commits);
                    self.note_edit(edit);
                    say!(
                        self,
                        "node {node}: change {id} is committed as v{version}{}",
                        fate.words()
                    );
                    match fate {
                        Fate::LostDone => ChangeAt::Lost(Lost::Done { version, applied }),
                        _ => ChangeAt::Committed { version, applied },
                    }
                }
            },
            Fate::NotDone => {
                self.fails(edit);
                say!(self, "node {node}: change {id} certainly failed");
                self.coverage.note(Happened::NotDone);
                if self.database.now() != before {
                    return fault("R9", "a change that certainly failed has written something")
                        .map(|()| ChangeAt::Done);
                }
                ChangeAt::Done
            }
            Fate::LostNotDone | Fate::LostInFlight => {
                say!(
                    self,
                    "node {node}: the answer to change {id} is lost{}",
                    fate.words()
                );
                ChangeAt::Lost(if fate == Fate::LostNotDone {
                    Lost::NotDone
                } else {
                    Lost::InFlight
                })
            }
        };
        self.database_is_whole()?;
        Ok(next)
    }

    /// A transaction that fails leaves nothing.
    fn fails(&mut self, _edit: &Edit) {}

    /// `store::commit::was_done`: the mark tells, or nobody ever does.
    fn settles(
        &mut self,
        id: u64,
        node: usize,
        edit: &Edit,
        lost: Lost,
        rng: &mut SmallRng,
    ) -> Result<ChangeAt, crate::oracle::Fault> {
        let is_given_up = rng.random_range(0..if self.database.is_up { 12 } else { 4 }) == 0;
        if !is_given_up && !self.database.is_up {
            return Ok(ChangeAt::Lost(lost));
        }
        // The mark waits for the lost transaction, which ends one way or the other.
        let lost = match lost {
            Lost::InFlight if !is_given_up && rng.random_bool(0.5) => match self.commit(edit) {
                Ok((version, applied)) => {
                    self.note_edit(edit);
                    Lost::Done { version, applied }
                }
                Err(_) => Lost::NotDone,
            },
            Lost::InFlight if !is_given_up => Lost::NotDone,
            lost => lost,
        };
        let at = self.nodes[node].moments.draw();
        if is_given_up {
            return self
                .never_told(id, node, edit, lost, rng)
                .map(|()| ChangeAt::Done);
        }
        match lost {
            Lost::Done { version, applied } => {
                say!(self, "node {node}: the mark tells that change {id} was done");
                self.coverage.note(Happened::LostDone);
                Ok(ChangeAt::Closing { version, applied, at })
            }
            Lost::NotDone | Lost::InFlight => {
                say!(self, "node {node}: the mark tells that change {id} was not done");
                self.coverage.note(Happened::LostNotDone);
                let scope = scope_of(&edit.channels());
                self.at(node, rng, |node, here| {
                    node.ask(scope, Urgency::Admin, None, here)
                })
                .1?;
                Ok(ChangeAt::Done)
            }
        }
    }

    /// The receipt is dropped, which rings (`Changes::ring`), and `Changes::run` asks for everything.
    fn never_told(&mut self, id: u64, node: usize, edit: &Edit, lost: Lost, rng: &mut SmallRng) -> Verdict {
        say!(self, "node {node}: nobody can tell whether change {id} was done");
        self.coverage.note(Happened::Unknown);
        let at = self.nodes[node].moments.draw();
        let closed = match &lost {
            Lost::Done { applied, .. } => applied.closed.clone(),
            // What it would have closed, had it been done.
            Lost::NotDone | Lost::InFlight => {
                let mut world = crate::world::World::clone(self.database.world());
                let applied = world.apply(edit, 0, &mut 1_000_000, 0);
                applied.map(|applied| applied.closed).unwrap_or_default()
            }
        };
        if matches!(lost, Lost::InFlight) {
            self.ghosts.push(edit.clone());
        }
        self.nodes[node].close(closings(&closed, at));
        self.seen[node].closes(&closed, None, at, self.tick);
        let scope = scope_of(&edit.channels());
        self.at(node, rng, |node, here| {
            node.ask(scope, Urgency::Admin, None, here);
            node.ask(Scope::Everything, Urgency::Admin, None, here);
        })
        .1
    }

    fn ghost(&mut self, rng: &mut SmallRng) -> Verdict {
        if self.ghosts.is_empty() || !self.database.is_up {
            return Ok(());
        }
        let edit = self.ghosts.swap_remove(rng.random_range(0..self.ghosts.len()));
        if let Ok((version, _)) = self.commit(&edit) {
            self.coverage.note(Happened::Ghosts);
            say!(self, "{edit:?} was done after all, as v{version}");
        }
        self.database_is_whole()
    }

    fn stranger(&mut self, rng: &mut SmallRng) -> Verdict {
        let edit = draw::by_hand(self.database.world(), self.size, rng);
        if let Ok((version, _)) = self.commit(&edit) {
            self.note_edit(&edit);
            self.coverage.note(Happened::Strangers);
            say!(self, "somebody commits v{version}: {edit:?}");
        }
        self.database_is_whole()
    }

    fn rot(&mut self, rng: &mut SmallRng) -> Verdict {
        if let Some(edit) = draw::rot(self.database.world(), rng)
            && let Ok((version, _)) = self.commit(&edit)
        {
            self.coverage.note(Happened::Rotted);
            say!(self, "v{version}: {edit:?}");
        }
        Ok(())
    }

    fn repair(&mut self, rng: &mut SmallRng) -> Verdict {
        let rotten = self
            .database
            .world()
            .channels
            .values()
            .filter(|rows| rows.has_rot());
        let rotten: Vec<i64> = rotten.map(|rows| rows.id).collect();
        if let Some(channel) = pick_one(&rotten, rng)
            && let Ok((version, _)) = self.commit(&Edit::Repair { channel: *channel })
        {
            self.coverage.note(Happened::Repaired);
            say!(self, "v{version}: channel {channel} is repaired");
        }
        Ok(())
    }

    fn note_edit(&mut self, edit: &Edit) {
        use pointsman::routing::rows::Status;
        let happened = match edit {
            Edit::Auto {
                to: Status::AutoDisabled,
                ..
            } => Happened::AutoClosed,
            Edit::Auto { .. } => Happened::Reopened,
            Edit::Delete { .. } => Happened::Deleted,
            Edit::Create { .. } => Happened::Created,
            Edit::Hold { .. } => Happened::Held,
            Edit::Abilities { .. } => Happened::Moved,
            Edit::Swap { .. } => Happened::Swapped,
            Edit::ByHand { .. } => Happened::ByHand,
            Edit::ReplaceKey { .. } => Happened::KeysReplaced,
            Edit::DeleteKey { .. } => Happened::KeysDeleted,
            Edit::Key { .. } => Happened::KeysClosed,
            _ => return,
        };
        self.coverage.note(happened);
    }

    // ---- builds ----

    pub fn timer(&mut self, node: usize, rng: &mut SmallRng) -> Verdict {
        say!(self, "node {node}: the timer asks for a build of everything");
        self.at(node, rng, |node, here| {
            node.ask(Scope::Everything, Urgency::Background, None, here)
        })
        .1
    }

    fn build_reads(&mut self, rng: &mut SmallRng) {
        let node = self.any_node(rng);
        self.read_build(node);
    }

    /// One consistent view, taken with the first statement.
    pub fn read_build(&mut self, node: usize) -> bool {
        if !self.database.is_up {
            return false;
        }
        let Some(task) = self.nodes[node].task.as_mut().filter(|task| task.view.is_none()) else {
            return false;
        };
        let version = self.database.now();
        task.view = Some((version, tell::build(self.database.world(), version, &task.scope)));
        say!(self, "node {node}: its build reads v{version}");
        true
    }

    fn build_ends(&mut self, rng: &mut SmallRng) -> Verdict {
        let node = self.any_node(rng);
        if self.nodes[node].task.is_none() {
            return Ok(());
        }
        let dice = rng.random_range(0..20);
        let fate = match dice {
            0 => BuildFate::Panic,
            1 | 2 => BuildFate::Error,
            _ => BuildFate::Ok,
        };
        let fate = match fate {
            // Whether it has read before the database went or not: its last statement fails.
            BuildFate::Ok if !self.database.is_up => BuildFate::Error,
            BuildFate::Ok => {
                self.read_build(node);
                BuildFate::Ok
            }
            fate => fate,
        };
        self.end_build(node, fate, rng)
    }

    pub fn end_build(&mut self, node: usize, fate: BuildFate, rng: &mut SmallRng) -> Verdict {
        say!(self, "node {node}: its build ends: {fate:?}");
        match fate {
            BuildFate::Ok => {}
            BuildFate::Error => self.coverage.note(Happened::BuildErrors),
            BuildFate::Panic => self.coverage.note(Happened::BuildPanics),
            BuildFate::Late => self.coverage.note(Happened::BuildsLate),
        }
        self.at(node, rng, |node, here| node.end_build(fate, here)).1
    }

    fn late_build(&mut self, rng: &mut SmallRng) -> Verdict {
        let node = self.any_node(rng);
        let (came, verdict) = self.at(node, rng, |node, here| node.late_build(here));
        if came {
            self.coverage.note(Happened::LateArrivals);
            say!(self, "node {node}: a build that was given up arrives");
        }
        verdict
    }

    // ---- lookups ----

    fn any_lookup(&self, rng: &mut SmallRng) -> Option<(usize, usize)> {
        let node = self.any_node(rng);
        let lookups = self.nodes[node].running_lookups.len();
        (lookups > 0).then(|| (node, rng.random_range(0..lookups)))
    }

    fn lookup_begins(&mut self, rng: &mut SmallRng) {
        if let Some((node, place)) = self.any_lookup(rng) {
            self.begin_lookup(node, place);
        }
    }

    /// It has its connection: the moment is drawn before the statement is sent.
    pub fn begin_lookup(&mut self, node: usize, place: usize) {
        let Node {
            running_lookups,
            moments,
            ..
        } = &mut self.nodes[node];
        let lookup = &mut running_lookups[place];
        if lookup.began.is_none() && self.database.is_up {
            lookup.began = Some((moments.draw(), self.tick));
        }
    }

    fn lookup_reads(&mut self, rng: &mut SmallRng) {
        if let Some((node, place)) = self.any_lookup(rng) {
            self.begin_lookup(node, place);
            self.read_lookup(node, place);
        }
    }

    /// One statement.
    pub fn read_lookup(&mut self, node: usize, place: usize) {
        let version = self.database.now();
        let lookup = &mut self.nodes[node].running_lookups[place];
        if lookup.began.is_none() || lookup.view.is_some() || !self.database.is_up {
            return;
        }
        let question = &lookup.question;
        let draft = tell::lookup(self.database.world(), version, &question.groups, &question.model);
        say!(
            self,
            "node {node}: the lookup of {} in {:?} reads v{version}",
            question.model,
            question.groups
        );
        self.nodes[node].running_lookups[place].view = Some((version, draft));
    }

    fn lookup_ends(&mut self, rng: &mut SmallRng) -> Verdict {
        let Some((node, place)) = self.any_lookup(rng) else {
            return Ok(());
        };
        if rng.random_range(0..10) == 0 || !self.database.is_up {
            return self.fail_lookup(node, place, rng);
        }
        self.end_lookup(node, place, rng)
    }

    pub fn end_lookup(&mut self, node: usize, place: usize, rng: &mut SmallRng) -> Verdict {
        self.begin_lookup(node, place);
        self.read_lookup(node, place);
        let lookup = &mut self.nodes[node].running_lookups[place];
        let draft = lookup.view.take().map(|(_, draft)| draft);
        let model = lookup.question.model.clone();
        say!(self, "node {node}: the lookup of {model} has ended");
        self.at(node, rng, |node, here| node.end_lookup(place, draft, here))
            .1
    }

    pub fn fail_lookup(&mut self, node: usize, place: usize, rng: &mut SmallRng) -> Verdict {
        self.coverage.note(Happened::LookupErrors);
        say!(
            self,
            "node {node}: the lookup of {} fails",
            self.nodes[node].running_lookups[place].question.model
        );
        self.at(node, rng, |node, here| node.end_lookup(place, None, here))
            .1
    }

    // ---- time ----

    /// Time passes; whatever is due meanwhile happens when it is due.
    pub fn pass(&mut self, length: Duration, rng: &mut SmallRng) -> Verdict {
        let until = self.now + length;
        say!(self, "{:.3} s pass", length.as_secs_f64());
        while let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= until) {
            self.now = self.now.max(at);
            self.tick += 1;
            self.comes_due(due, rng)?;
        }
        self.now = until;
        self.tick += 1;
        Ok(())
    }

    fn next_due(&self) -> Option<(Instant, Due)> {
        let of_node = |(place, node): (usize, &Node)| {
            let wakes = node.wakes.iter().map(move |at| (*at, Due::Wake(place)));
            let looks = node.looks_at.map(|at| (at, Due::Look(place)));
            let build = node.task.as_ref().map(|task| (task.due, Due::Build(place)));
            let lookups = node.running_lookups.iter().enumerate();
            let lookups = lookups.map(move |(at, lookup)| (lookup.due, Due::Lookup(place, at)));
            wakes
                .chain(looks)
                .chain(build)
                .chain(lookups)
                .min_by_key(|(at, _)| *at)
        };
        let nodes = self.nodes.iter().enumerate().filter_map(of_node);
        let requests = self.requests.iter().filter_map(|request| match request.at {
            At::LookingUp { until } | At::Waiting { until, .. } => Some((until, Due::Request(request.id))),
            _ => None,
        });
        nodes.chain(requests).min_by_key(|(at, _)| *at)
    }

    fn comes_due(&mut self, due: Due, rng: &mut SmallRng) -> Verdict {
        match due {
            Due::Wake(place) => {
                let now = self.now;
                self.nodes[place].wakes.retain(|at| *at > now);
                self.coverage.note(Happened::Wakes);
                self.at(place, rng, |node, here| node.wake(here)).1
            }
            Due::Look(place) => self.at(place, rng, |node, here| node.look(here)).1,
            Due::Build(place) => self.end_build(place, BuildFate::Late, rng),
            Due::Lookup(place, lookup) => {
                self.coverage.note(Happened::LookupsLate);
                self.fail_lookup(place, lookup, rng)
            }
            Due::Request(id) => self.request_is_due(id),
        }
    }
}

/// What comes due.
#[derive(Clone, Copy, Debug)]
enum Due {
    Wake(usize),
    Look(usize),
    Build(usize),
    Lookup(usize, usize),
    Request(u64),
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    NotDone,
    LostDone,
    LostNotDone,
    LostInFlight,
}

impl Fate {
    fn words(self) -> &'static str {
        match self {
            Fate::Done => "",
            Fate::NotDone | Fate::LostNotDone => ", and not done",
            Fate::LostDone => ", and its answer lost",
            Fate::LostInFlight => ", and it may be done yet",
        }
    }
}

pub fn pick_one<'a, T>(list: &'a [T], rng: &mut SmallRng) -> Option<&'a T> {
    (!list.is_empty()).then(|| &list[rng.random_range(0..list.len())])
}
