//! Small world 2: lookups. Askers ask one of a few questions again and again, lookups begin and end, all in every
//! order. To `Lookups` a lookup that answers and one that fails are the same: it has ended.

use std::fmt;
use std::hash::{Hash, Hasher};

use pointsman::routing::lookups::{Bounds, Lookups, Overloaded};

use super::explorer::{Bits, Broken, Kind, World, explore};
use super::relative::sorted_map;
use super::size;

struct Asking {
    questions: u8,
    askers: usize,
    bounds: Bounds,
    wrong: Option<Wrong>,
}

/// What a careless driver would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// Who asks while a lookup of the question runs is answered by it.
    JoinsTheRunningLookup,
    /// When a lookup ends, the next is not started.
    StartsNothingAtAnEnd,
    /// A place is free, and the newest question gets it.
    StartsWithoutAskingForAPlace,
}

#[derive(Clone)]
struct State {
    lookups: Lookups<u8, usize>,
    /// The questions whose lookup runs.
    running: Vec<u8>,
    askers: Vec<Asker>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Asker {
    Idle,
    /// `begun`: the lookup that runs for it began after it asked.
    Waits {
        question: u8,
        begun: bool,
    },
}

enum Event {
    Asks { asker: usize, question: u8 },
    Ends { question: u8 },
}

const ASKS: Kind = 0;
/// And of each further question the next.
const ENDS: Kind = 1;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Asks { asker, question } => write!(f, "asker {asker} asks question {question}"),
            Event::Ends { question } => write!(f, "the lookup of question {question} ends"),
        }
    }
}

impl Asking {
    fn start_lookups(&self, state: &mut State) -> Result<(), String> {
        while let Some(question) = state.lookups.start_next() {
            self.begins(state, question)?;
        }
        let running: usize = state.running.len();
        let startable = waiting(state)
            .into_iter()
            .any(|question| !state.running.contains(&question));
        if running < self.bounds.running && startable {
            return Err("R11: a place is free and a question that could have it waits".to_owned());
        }
        Ok(())
    }

    fn begins(&self, state: &mut State, question: u8) -> Result<(), String> {
        if state.running.contains(&question) {
            return Err(format!("R11: question {question} is looked up twice at once"));
        }
        state.running.push(question);
        state.running.sort_unstable();
        if state.running.len() > self.bounds.running {
            return Err(format!("R11: {} lookups run at once", state.running.len()));
        }
        for asker in &mut state.askers {
            if let Asker::Waits {
                question: asked,
                begun,
            } = asker
                && *asked == question
            {
                *begun = true;
            }
        }
        Ok(())
    }
}

/// What `Lookups` holds, but for its bounds: questions with those who ask them, then the queue and the count.
pub fn lookups_text(lookups: &Lookups<u8, usize>) -> String {
    let text = format!("{lookups:?}");
    let begins = text.find("questions: ").unwrap_or(0);
    sorted_map(&text[begins..])
}

/// The questions for which a lookup has yet to begin.
fn waiting(state: &State) -> Vec<u8> {
    let waits = |asker: &Asker| match asker {
        Asker::Waits {
            question,
            begun: false,
        } => Some(*question),
        _ => None,
    };
    let mut questions: Vec<u8> = state.askers.iter().filter_map(waits).collect();
    questions.sort_unstable();
    questions.dedup();
    questions
}

impl World for Asking {
    type State = State;
    type Step = Event;

    fn name(&self) -> String {
        format!(
            "lookups, {} questions of {} askers, {} running, {} waiting",
            self.questions, self.askers, self.bounds.running, self.bounds.waiting
        )
    }

    fn start(&self) -> State {
        State {
            lookups: Lookups::new(self.bounds),
            running: Vec::new(),
            askers: vec![Asker::Idle; self.askers],
        }
    }

    fn steps(&self, state: &State) -> Vec<Event> {
        let mut steps = Vec::new();
        for (asker, at) in state.askers.iter().enumerate() {
            if *at == Asker::Idle {
                steps.extend((0..self.questions).map(|question| Event::Asks { asker, question }));
            }
        }
        steps.extend(
            state
                .running
                .iter()
                .map(|question| Event::Ends { question: *question }),
        );
        steps
    }

    fn take(&self, state: &mut State, event: &Event) -> Result<(), String> {
        match *event {
            Event::Asks { asker, question } => {
                let known = waiting(state);
                let has_room = known.contains(&question) || known.len() < self.bounds.waiting;
                match (state.lookups.ask(question, asker), has_room) {
                    (Ok(()), true) => {
                        state.askers[asker] = Asker::Waits {
                            question,
                            begun: false,
                        }
                    }
                    (Err(Overloaded(back)), false) if back == asker => {}
                    (Ok(()), false) => return Err("R11: more questions wait than may".to_owned()),
                    (Err(_), _) => return Err("R11: overloaded, though there is room".to_owned()),
                }
                if self.wrong == Some(Wrong::StartsWithoutAskingForAPlace)
                    && state.askers[asker] != Asker::Idle
                    && !state.running.contains(&question)
                {
                    self.begins(state, question)?;
                }
                self.start_lookups(state)?;
            }
            Event::Ends { question } => {
                state.running.retain(|running| *running != question);
                let mut askers = state.lookups.ended(&question);
                if self.wrong == Some(Wrong::JoinsTheRunningLookup) {
                    let asks = |asker: &usize| matches!(state.askers[*asker], Asker::Waits { question: asked, .. } if asked == question);
                    askers = (0..state.askers.len()).filter(asks).collect();
                }
                for asker in askers {
                    match std::mem::replace(&mut state.askers[asker], Asker::Idle) {
                        Asker::Waits {
                            question: asked,
                            begun: true,
                        } if asked == question => {}
                        Asker::Waits { question: asked, .. } if asked != question => {
                            return Err(format!("R11: asker {asker} gets the answer to another question"));
                        }
                        Asker::Waits { .. } => {
                            return Err(format!(
                                "R11: asker {asker} is answered by a lookup that began before it asked"
                            ));
                        }
                        Asker::Idle => return Err(format!("R11: asker {asker} is answered twice")),
                    }
                }
                if self.wrong != Some(Wrong::StartsNothingAtAnEnd) {
                    self.start_lookups(state)?;
                }
            }
        }
        let numbers = (state.lookups.running(), state.lookups.waiting());
        let counted = (state.running.len(), waiting(state).len());
        if numbers != counted {
            return Err(format!(
                "R11: it says {numbers:?} run and wait, but {counted:?} do"
            ));
        }
        Ok(())
    }

    fn key(&self, state: &State, hasher: &mut impl Hasher) {
        // Nothing in it counts without end, so its own text will do.
        lookups_text(&state.lookups).hash(hasher);
        state.running.hash(hasher);
        state.askers.hash(hasher);
    }

    fn kind(&self, event: &Event) -> Kind {
        match event {
            Event::Asks { .. } => ASKS,
            Event::Ends { question } => ENDS + question,
        }
    }

    fn marks(&self, state: &State) -> Bits {
        let waits = state.askers.iter().enumerate();
        waits.fold(0, |marks, (number, asker)| {
            marks | Bits::from(*asker != Asker::Idle) << number
        })
    }
}

fn check(world: &Asking) -> Result<(), Broken> {
    let graph = explore(world)?;
    // Assumed: a lookup that runs ends some time, each by itself. Not assumed: that the others stop asking.
    let fair: Vec<Bits> = (0..world.questions)
        .map(|question| 1 << (ENDS + question))
        .collect();
    for asker in 0..world.askers {
        let waits = |marks: Bits| marks >> asker & 1 == 1;
        graph.ends(
            "R11: an asker is forgotten while others are served",
            Bits::MAX,
            waits,
            &fair,
        )?;
    }
    let ends = fair.iter().fold(0, |all, fair| all | fair);
    graph.ends("R11: lookups without end though nobody asks", ends, |_| true, &[])?;
    graph.ends_in("R11: an asker is forgotten", ends, |marks| marks == 0)
}

fn world(questions: u8, running: usize, waiting: usize) -> Asking {
    Asking {
        questions,
        askers: 3 + size(),
        bounds: Bounds { running, waiting },
        wrong: None,
    }
}

#[test]
fn r11_lookups() {
    for (questions, running, waiting) in [(2, 1, 1), (2, 1, 2), (2, 2, 1), (2, 2, 2), (3, 1, 2), (3, 2, 2)] {
        check(&world(questions, running, waiting)).unwrap_or_else(|broken| panic!("{broken}"));
    }
}

#[test]
fn r11_lookups_of_more_askers() {
    let more = Asking {
        askers: 5 + size(),
        ..world(3, 2, 2)
    };
    check(&more).unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn careless_lookups_are_found() {
    let found = |wrong, word: &str| {
        let careless = Asking {
            wrong: Some(wrong),
            ..world(2, 1, 2)
        };
        super::is_found(&format!("{wrong:?}"), check(&careless), word);
    };
    found(Wrong::JoinsTheRunningLookup, "began before it asked");
    found(Wrong::StartsNothingAtAnEnd, "forgotten");
    found(Wrong::StartsWithoutAskingForAPlace, "twice at once");
}
