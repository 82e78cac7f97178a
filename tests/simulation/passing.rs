//! Time passes, and what is due meanwhile happens when it is due.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;

use crate::coverage::Happened;
use crate::node::{BuildFate, Node};
use crate::oracle::Verdict;
use crate::request::At;
use crate::run::{Run, say};

impl Run {
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
