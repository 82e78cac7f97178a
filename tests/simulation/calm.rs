//! The end of a run: faults stop, and then everything must come to rest, and be right.

use std::time::Duration;

use pointsman::routing::ids::Protocol;
use pointsman::routing::outcome::Outcome;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::change::ChangeAt;
use crate::coverage::Happened;
use crate::draw::Size;
use crate::node::BuildFate;
use crate::oracle::{Seen, Verdict, fault};
use crate::request::{At, Hints};
use crate::run::{Run, say};
use crate::truth::{Answer, Asked};

/// Rounds of 700 ms in which everything that can go on does. A request makes at most 16 tries, each after a wait of at
/// most five seconds.
const ROUNDS: usize = 400;

impl Run {
    /// Everybody is answered, builds end, and each node serves what the database has open.
    pub fn comes_to_rest(&mut self) -> Verdict {
        say!(self, "faults stop");
        self.database.is_up = true;
        let rng = &mut SmallRng::seed_from_u64(1);
        self.settles_down(rng)?;
        self.seen.iter_mut().try_for_each(Seen::owes_nothing)?;
        self.rebuilds_no_more(rng)?;
        self.serves_what_is_open(rng)?;
        for node in 0..self.nodes.len() {
            self.refreshes(node, rng)?;
        }
        self.coverage.note(Happened::Calms);
        Ok(())
    }

    fn settles_down(&mut self, rng: &mut SmallRng) -> Verdict {
        for _ in 0..ROUNDS {
            if self.is_quiet() {
                return Ok(());
            }
            self.goes_on(rng)?;
            self.pass(Duration::from_millis(700), rng)?;
        }
        fault("R5", format!("no rest: {}", self.unrest()))
    }

    fn is_quiet(&self) -> bool {
        self.requests.is_empty()
            && self.changes.is_empty()
            && self.nodes.iter().all(|node| {
                node.task.is_none()
                    && node.running_lookups.is_empty()
                    && node.wakes.is_empty()
                    && node.late.is_empty()
            })
    }

    fn unrest(&self) -> String {
        let requests = self
            .requests
            .iter()
            .map(|request| format!("request {} at {:?}", request.id, request.at));
        let changes = self
            .changes
            .iter()
            .map(|change| format!("change {} at {:?}", change.id, change.at));
        let builds = self
            .nodes
            .iter()
            .filter_map(|node| Some(format!("build {:?}", node.task.as_ref()?.scope)));
        let mut unrest: Vec<String> = requests.chain(changes).chain(builds).collect();
        unrest.iter_mut().for_each(|words| words.truncate(200));
        unrest.join("; ")
    }

    /// Everything that waits for nothing but its turn has it, and all goes well.
    fn goes_on(&mut self, rng: &mut SmallRng) -> Verdict {
        self.tick += 1;
        for id in self.changes.iter().map(|change| change.id).collect::<Vec<_>>() {
            self.tick += 1;
            self.advance_change(id, rng)?;
        }
        for node in 0..self.nodes.len() {
            self.tick += 1;
            self.at(node, rng, |node, here| while node.late_build(here) {})
                .1?;
            if self.nodes[node].task.is_some() {
                self.read_build(node);
                self.end_build(node, BuildFate::Ok, rng)?;
            }
            while !self.nodes[node].running_lookups.is_empty() {
                self.tick += 1;
                self.end_lookup(node, 0, rng)?;
            }
        }
        for id in self.requests.iter().map(|request| request.id).collect::<Vec<_>>() {
            self.tick += 1;
            self.report(id, Outcome::Ok, rng)?;
            self.advance_request(id, rng)?;
        }
        self.requests.retain(|request| !matches!(request.at, At::Done));
        self.changes.retain(|change| !matches!(change.at, ChangeAt::Done));
        self.is_sane()
    }

    /// R5: where nobody asks, nobody builds. And what any failure has left is over by then (R13).
    fn rebuilds_no_more(&mut self, rng: &mut SmallRng) -> Verdict {
        for _ in 0..30 {
            self.pass(Duration::from_secs(60), rng)?;
            if !self.is_quiet() {
                return fault("R5", "a build began, and nobody had asked");
            }
        }
        Ok(())
    }

    /// R3, R4: whatever a node's snapshot lacks, each open question gets a channel.
    fn serves_what_is_open(&mut self, rng: &mut SmallRng) -> Verdict {
        for node in 0..self.nodes.len() {
            for asked in questions(self.size) {
                let (id, answer) = (
                    self.request(node, asked.clone(), Hints::default()),
                    self.database.world().answer(&asked),
                );
                let is_leased = |run: &Run| {
                    run.requests
                        .iter()
                        .any(|request| request.id == id && matches!(request.at, At::Leased { .. }))
                };
                for _ in 0..ROUNDS {
                    if self.requests.is_empty() || is_leased(self) {
                        break;
                    }
                    self.goes_on(rng)?;
                    if !is_leased(self) {
                        self.pass(Duration::from_millis(100), rng)?;
                    }
                }
                let served = is_leased(self);
                self.report(id, Outcome::Ok, rng)?;
                self.settles_down(rng)?;
                if answer == Answer::Served && !served {
                    return fault("R3", format!("node {node} never serves {asked:?}, which is open"));
                }
            }
        }
        Ok(())
    }

    /// R10: a build of everything lifts every closing, and the snapshot alone serves what is open.
    fn refreshes(&mut self, node: usize, rng: &mut SmallRng) -> Verdict {
        self.tick += 1;
        self.timer(node, rng)?;
        self.settles_down(rng)?;
        if !self.nodes[node].router.closings().is_empty() {
            return fault(
                "R10",
                "closings outlast a build of everything that began after them",
            );
        }
        for asked in questions(self.size) {
            self.tick += 1;
            let (id, answer) = (
                self.request(node, asked.clone(), Hints::default()),
                self.database.world().answer(&asked),
            );
            self.advance_request(id, rng)?;
            let missed = self
                .requests
                .iter()
                .any(|request| matches!(request.at, At::ToQuery));
            self.report(id, Outcome::Ok, rng)?;
            self.settles_down(rng)?;
            if answer == Answer::Served && missed {
                return fault(
                    "R10",
                    format!("the snapshot of node {node} lacks {asked:?}, which is open"),
                );
            }
        }
        Ok(())
    }
}

fn questions(size: Size) -> impl Iterator<Item = Asked> {
    let places = (0..size.groups).flat_map(move |group| (0..size.models).map(move |model| (group, model)));
    places.flat_map(|(group, model)| {
        let asked = move |protocol| Asked {
            groups: vec![group],
            model: Some(model),
            protocol,
        };
        [Protocol::OpenAi, Protocol::Anthropic].map(asked)
    })
}
