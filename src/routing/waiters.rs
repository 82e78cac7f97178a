//! Who waits for a channel that is full, found out about or due soon; in order of arrival.
//!
//! Those who ask the same stand in one line: whoever is first in it is tried, and when nothing is there for them
//! there is nothing for the rest. Lines wait for different things, so one that cannot be served holds up no other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::ids::{GroupName, ModelName, Protocol};
use super::pick::{CoolingRule, Question};
use super::refusal::WaitsFor;
use super::router::Found;
use super::tried::Tried;

/// More than these wait in vain: at a wait of seconds no upstream frees so many places.
const AT_MOST: usize = 10_000;

/// Those who wait. `A` answers one of them.
#[derive(Clone, Debug)]
pub struct Waiters<A> {
    lines: FxHashMap<Kind, Line<A>>,
    arrivals: u64,
    waiting: usize,
}

/// What can end a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An attempt has ended: a place is free.
    Place,
    /// Something that was found out about is known, and a place may be free.
    Probed,
    /// It is so late now.
    Time(Instant),
    /// A new snapshot.
    Anything,
}

/// What came of trying who is first in line.
#[derive(Debug)]
pub enum Attempted<T> {
    Answered(T),
    NotYet(WaitsFor),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    groups: Arc<[GroupName]>,
    model: ModelName,
    protocol: Protocol,
    cooling: CoolingRule,
    tried: Tried,
}

#[derive(Clone, Debug)]
struct Line<A> {
    waits_for: WaitsFor,
    waiters: VecDeque<Waiter<A>>,
}

#[derive(Clone, Debug)]
struct Waiter<A> {
    arrived: u64,
    question: Arc<Question>,
    found: Option<Arc<Found>>,
    asker: A,
}

impl<A> Default for Waiters<A> {
    fn default() -> Self {
        Waiters {
            lines: FxHashMap::default(),
            arrivals: 0,
            waiting: 0,
        }
    }
}

impl<A> Waiters<A> {
    /// Puts the asker at its line's end; gives it back if too many wait.
    pub fn add(
        &mut self,
        question: Arc<Question>,
        found: Option<Arc<Found>>,
        waits_for: WaitsFor,
        asker: A,
        has_gone: impl Fn(&A) -> bool,
    ) -> Result<(), A> {
        if self.waiting >= AT_MOST {
            self.let_go(has_gone);
        }
        if self.waiting >= AT_MOST {
            return Err(asker);
        }
        let kind = Kind {
            groups: Arc::clone(&question.groups),
            model: question.model.clone(),
            protocol: question.protocol,
            cooling: question.cooling,
            tried: question.tried.clone(),
        };
        self.arrivals += 1;
        self.waiting += 1;
        let line = self.lines.entry(kind).or_insert_with(|| Line {
            waits_for,
            waiters: VecDeque::new(),
        });
        line.waits_for = waits_for; // the newest word on what there is
        line.waiters.push_back(Waiter {
            arrived: self.arrivals,
            question,
            found,
            asker,
        });
        Ok(())
    }

    /// Something has happened: who is first in each line that it concerns is tried, in order of arrival, until each
    /// line's first has to wait on. Answers are handed to `answer`.
    pub fn serve<T>(
        &mut self,
        event: Event,
        has_gone: impl Fn(&A) -> bool,
        mut choose: impl FnMut(&Arc<Question>, &Option<Arc<Found>>) -> Attempted<T>,
        mut answer: impl FnMut(A, T),
    ) {
        let concerned = |line: &Line<A>| line.waits_for.is_ended_by(event);
        let mut live: Vec<Kind> = self
            .lines
            .iter()
            .filter(|(_, line)| concerned(line))
            .map(|(kind, _)| kind.clone())
            .collect();
        loop {
            let arrived = |kind: &Kind| self.lines.get(kind)?.waiters.front().map(|first| first.arrived);
            let first = (0..live.len()).min_by_key(|place| arrived(&live[*place]).unwrap_or(u64::MAX));
            let Some(place) = first else { break };
            let Some(line) = self.lines.get_mut(&live[place]) else {
                live.swap_remove(place);
                continue;
            };
            let Some(first) = line.waiters.pop_front() else {
                self.lines.remove(&live.swap_remove(place));
                continue;
            };
            if has_gone(&first.asker) {
                self.waiting -= 1;
                continue;
            }
            match choose(&first.question, &first.found) {
                Attempted::Answered(chosen) => {
                    self.waiting -= 1;
                    answer(first.asker, chosen);
                }
                Attempted::NotYet(waits_for) => {
                    line.waits_for = waits_for;
                    line.waiters.push_front(first);
                    live.swap_remove(place);
                }
            }
        }
    }

    /// When something that is waited for is due.
    pub fn next_due(&self) -> Option<Instant> {
        self.lines.values().filter_map(|line| line.waits_for.due).min()
    }

    /// Forgets those who have gone.
    pub fn let_go(&mut self, has_gone: impl Fn(&A) -> bool) {
        let mut waiting = 0;
        self.lines.retain(|_, line| {
            line.waiters.retain(|waiter| !has_gone(&waiter.asker));
            waiting += line.waiters.len();
            !line.waiters.is_empty()
        });
        self.waiting = waiting;
    }

    pub fn len(&self) -> usize {
        self.waiting
    }

    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's time has to start somewhere")]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::*;
    use crate::routing::ids::ChannelId;
    use crate::routing::stage::question;

    const PLACE: WaitsFor = WaitsFor {
        place: true,
        probe: false,
        due: None,
    };

    fn asks(model: &str) -> Arc<Question> {
        Arc::new(question(&["g"], model))
    }

    fn add(waiters: &mut Waiters<u32>, question: Arc<Question>, waits_for: WaitsFor, asker: u32) {
        assert_eq!(waiters.add(question, None, waits_for, asker, |_| false), Ok(()));
    }

    /// Who is answered while `places` are free, each for one, of the models for which there are any.
    fn served(waiters: &mut Waiters<u32>, event: Event, places: usize, models: &[&str]) -> Vec<u32> {
        let left = RefCell::new(places);
        let mut order = Vec::new();
        waiters.serve(
            event,
            |asker| *asker == 99,
            |question, _| {
                let mut left = left.borrow_mut();
                if *left == 0 || !models.contains(&question.model.as_str()) {
                    return Attempted::NotYet(PLACE);
                }
                *left -= 1;
                Attempted::Answered(())
            },
            |asker, ()| order.push(asker),
        );
        order
    }

    #[test]
    fn places_go_to_those_who_wait_in_order_of_arrival() {
        let mut waiters = Waiters::default();
        for (asker, model) in [(1, "a"), (2, "b"), (3, "a"), (99, "b"), (4, "b")] {
            add(&mut waiters, asks(model), PLACE, asker);
        }
        assert_eq!(served(&mut waiters, Event::Place, 2, &["a", "b"]), [1, 2]);
        // Who cannot be served holds up nobody else, and who has gone takes no place.
        assert_eq!(served(&mut waiters, Event::Place, 9, &["b"]), [4]);
        assert_eq!((waiters.len(), waiters.is_empty()), (1, false));
        assert_eq!(served(&mut waiters, Event::Anything, 9, &["a"]), [3]);
        assert!(waiters.is_empty());
    }

    #[test]
    fn one_that_has_tried_elsewhere_stands_in_a_line_of_its_own() {
        let mut waiters = Waiters::default();
        let mut tried = question(&["g"], "a");
        tried.tried.channel(ChannelId(1));
        add(&mut waiters, Arc::new(tried), PLACE, 1);
        add(&mut waiters, asks("a"), PLACE, 2);
        let mut order = Vec::new();
        waiters.serve(
            Event::Place,
            |_| false,
            |question, _| match question.tried.is_empty() {
                true => Attempted::Answered(()),
                false => Attempted::NotYet(PLACE),
            },
            |asker, ()| order.push(asker),
        );
        assert_eq!(order, [2]);
    }

    #[test]
    fn only_what_is_waited_for_ends_a_wait() {
        let now = Instant::now();
        let due = WaitsFor {
            due: Some(now + Duration::from_secs(1)),
            ..WaitsFor::default()
        };
        let probe = WaitsFor {
            probe: true,
            ..WaitsFor::default()
        };
        let mut waiters = Waiters::default();
        add(&mut waiters, asks("a"), due, 1);
        add(&mut waiters, asks("b"), probe, 2);
        assert_eq!(waiters.next_due(), due.due);
        let both = &["a", "b"];
        assert!(served(&mut waiters, Event::Place, 9, both).is_empty());
        assert!(served(&mut waiters, Event::Time(now), 9, both).is_empty());
        assert_eq!(served(&mut waiters, Event::Probed, 9, both), [2]);
        assert_eq!(
            served(&mut waiters, Event::Time(now + Duration::from_secs(1)), 9, both),
            [1]
        );
    }

    #[test]
    fn too_many_are_sent_away_unless_some_have_gone() {
        let mut waiters = Waiters::default();
        for asker in 0..AT_MOST {
            add(&mut waiters, asks("a"), PLACE, asker as u32);
        }
        assert_eq!(waiters.add(asks("a"), None, PLACE, 7, |_| false), Err(7));
        assert_eq!(
            waiters.add(asks("a"), None, PLACE, 7, |asker| *asker == 5),
            Ok(())
        );
        assert_eq!(waiters.len(), AT_MOST);
    }
}
