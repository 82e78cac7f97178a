//! What reads do at the database: builds and lookups, from their first statement to their end.

use pointsman::routing::rebuilds::{Scope, Urgency};
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::coverage::Happened;
use crate::node::{BuildFate, Node};
use crate::oracle::Verdict;
use crate::run::{Run, say};
use crate::tell;

impl Run {
    // ---- builds ----

    pub fn timer(&mut self, node: usize, rng: &mut SmallRng) -> Verdict {
        say!(self, "node {node}: the timer asks for a build of everything");
        self.at(node, rng, |node, here| {
            node.ask(Scope::Everything, Urgency::Background, None, here)
        })
        .1
    }

    pub fn build_reads(&mut self, rng: &mut SmallRng) {
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

    pub fn build_ends(&mut self, rng: &mut SmallRng) -> Verdict {
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

    pub fn late_build(&mut self, rng: &mut SmallRng) -> Verdict {
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

    pub fn lookup_begins(&mut self, rng: &mut SmallRng) {
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

    pub fn lookup_reads(&mut self, rng: &mut SmallRng) {
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

    pub fn lookup_ends(&mut self, rng: &mut SmallRng) -> Verdict {
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
}
