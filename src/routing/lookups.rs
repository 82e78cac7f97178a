//! Which lookup answers which asker (R11): for each question at most one runs and one waits.
//!
//! A lookup answers only those who asked before it began. Whoever asks while one runs shares the one that
//! waits; what waits is served in order, so many at a time as there are connections, and past a fixed
//! number of waiting questions the answer is *overloaded*.

use std::collections::VecDeque;
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// How many lookups may run and how many questions may wait at once.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub running: usize,
    pub waiting: usize,
}

/// The lookups in flight; `Q` is the question, `T` what is needed to answer an asker.
#[derive(Clone, Debug)]
pub struct Lookups<Q, T> {
    bounds: Bounds,
    questions: FxHashMap<Q, Askers<T>>,
    /// Questions that wait for a connection, in order of arrival.
    queue: VecDeque<Q>,
    running: usize,
}

/// Those who ask one question.
#[derive(Clone, Debug)]
enum Askers<T> {
    /// None runs; one waits, and answers these.
    Waiting(Vec<T>),
    /// One runs and answers the first; if there are others, one more waits, and answers them.
    Running(Vec<T>, Vec<T>),
}

/// Past the bound: the asker is handed back.
#[derive(Debug, PartialEq, Eq)]
pub struct Overloaded<T>(pub T);

impl<Q: Clone + Eq + Hash, T> Lookups<Q, T> {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            questions: FxHashMap::default(),
            queue: VecDeque::new(),
            running: 0,
        }
    }

    /// Someone asks. `start_next` then tells what to start.
    pub fn ask(&mut self, question: Q, asker: T) -> Result<(), Overloaded<T>> {
        match self.questions.get_mut(&question) {
            Some(Askers::Waiting(askers)) => askers.push(asker),
            Some(Askers::Running(_, later)) if !later.is_empty() => later.push(asker),
            _ if self.queue.len() >= self.bounds.waiting => return Err(Overloaded(asker)),
            Some(Askers::Running(_, later)) => {
                later.push(asker);
                self.queue.push_back(question);
            }
            None => {
                self.questions
                    .insert(question.clone(), Askers::Waiting(vec![asker]));
                self.queue.push_back(question);
            }
        }
        Ok(())
    }

    /// The lookup to start now, if a connection is free for one: call until it says none.
    pub fn start_next(&mut self) -> Option<Q> {
        if self.running >= self.bounds.running {
            return None;
        }
        let startable = |question: &Q| matches!(self.questions.get(question), Some(Askers::Waiting(_)));
        let place = self.queue.iter().position(startable)?;
        let question = self.queue.remove(place)?;
        if let Some(askers) = self.questions.get_mut(&question)
            && let Askers::Waiting(waiting) = askers
        {
            *askers = Askers::Running(std::mem::take(waiting), Vec::new());
        }
        self.running += 1;
        Some(question)
    }

    /// The lookup of this question has ended, however: these are to be told.
    pub fn ended(&mut self, question: &Q) -> Vec<T> {
        let Some(Askers::Running(askers, later)) = self.questions.remove(question) else {
            return Vec::new();
        };
        self.running -= 1;
        if !later.is_empty() {
            self.questions.insert(question.clone(), Askers::Waiting(later));
        }
        askers
    }

    pub fn running(&self) -> usize {
        self.running
    }

    pub fn waiting(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookups(running: usize, waiting: usize) -> Lookups<&'static str, u32> {
        Lookups::new(Bounds { running, waiting })
    }

    #[test]
    fn r11_who_asks_during_a_lookup_shares_the_next() {
        let mut lookups = lookups(4, 4);
        lookups.ask("m", 1).unwrap();
        lookups.ask("m", 2).unwrap();
        assert_eq!(lookups.start_next(), Some("m"));
        lookups.ask("m", 3).unwrap();
        lookups.ask("m", 4).unwrap();
        assert_eq!(
            lookups.start_next(),
            None,
            "one question never runs twice at once"
        );
        assert_eq!(lookups.ended(&"m"), [1, 2]);
        assert_eq!(lookups.start_next(), Some("m"));
        assert_eq!(lookups.ended(&"m"), [3, 4]);
        assert_eq!(lookups.start_next(), None);
        assert_eq!((lookups.running(), lookups.waiting()), (0, 0));
    }

    #[test]
    fn r11_running_and_waiting_are_bounded() {
        let mut lookups = lookups(1, 2);
        lookups.ask("a", 1).unwrap();
        assert_eq!(lookups.start_next(), Some("a"));
        lookups.ask("b", 2).unwrap();
        lookups.ask("c", 3).unwrap();
        assert_eq!(lookups.start_next(), None);
        assert_eq!(lookups.ask("d", 4), Err(Overloaded(4)));
        assert_eq!(
            lookups.ask("a", 5),
            Err(Overloaded(5)),
            "a second lookup of a waits too"
        );
        lookups.ask("b", 6).unwrap();
        assert_eq!(lookups.ended(&"a"), [1]);
        assert_eq!(lookups.start_next(), Some("b"));
        assert_eq!(lookups.ended(&"b"), [2, 6]);
    }

    #[test]
    fn r11_a_question_that_runs_does_not_block_the_queue() {
        let mut lookups = lookups(2, 4);
        lookups.ask("a", 1).unwrap();
        assert_eq!(lookups.start_next(), Some("a"));
        lookups.ask("a", 2).unwrap();
        lookups.ask("b", 3).unwrap();
        assert_eq!(lookups.start_next(), Some("b"));
        assert_eq!(lookups.start_next(), None);
    }
}
