//! The worlds of closings that are explored, and the careless variants that must be found.

use std::fmt;
use std::hash::Hasher;
use std::time::Instant;

use super::{
    Asker, Change, Event, GROUP, Houses, KEYED, MODEL, Node, Operator, Progress, Stage, State, Wrong, id,
};
use crate::explorer::{Bits, Broken, Kind, World, explore};
use crate::{is_found, size};

/// Marks: bit n, asker n asks; from here on, operators that wait for their build.
const OPERATORS: u32 = 16;
/// A node has work to do.
const RESTLESS: Bits = 1 << 32;
/// What the only node shows is not what the database has.
const DRIFTS: Bits = 1 << 33;

pub struct Named<'w>(&'w Houses, Event);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.words(&self.1))
    }
}

impl<'w> World for &'w Houses {
    type State = State;
    type Step = Named<'w>;

    fn name(&self) -> String {
        let changes = |operator: &Operator| {
            let words: Vec<String> = operator.changes.iter().map(Change::to_string).collect();
            format!("node {}: {}", operator.node, words.join(", "))
        };
        let operators: Vec<String> = self.operators.iter().map(changes).collect();
        format!("closings, {} askers, {}", self.askers.len(), operators.join("; "))
    }

    fn start(&self) -> State {
        let bits = self.open.iter().enumerate();
        let keyed = if self.keyed { KEYED } else { 0 };
        let database = bits.fold(keyed, |bits, (channel, open)| bits | u8::from(*open) << channel);
        State {
            database,
            commits: 0,
            nodes: (0..self.nodes)
                .map(|_| {
                    Node::new(
                        self.open.len(),
                        (!self.starts_cold).then_some(database),
                        self.began,
                    )
                })
                .collect(),
            operators: self.operators.iter().map(|_| Progress::default()).collect(),
            askers: self.askers.iter().map(|_| Asker::Idle).collect(),
        }
    }

    fn steps(&self, state: &State) -> Vec<Named<'w>> {
        self.events(state)
            .into_iter()
            .map(|event| Named(self, event))
            .collect()
    }

    fn take(&self, state: &mut State, step: &Named<'w>) -> Result<(), String> {
        self.take_event(state, &step.1)
    }

    fn key(&self, state: &State, hasher: &mut impl Hasher) {
        self.hash(state, hasher);
    }

    fn kind(&self, step: &Named<'w>) -> Kind {
        self.kind_of(&step.1)
    }

    fn marks(&self, state: &State) -> Bits {
        let mut marks = 0;
        for (number, asker) in state.askers.iter().enumerate() {
            marks |= Bits::from(matches!(asker, Asker::Asks(_))) << number;
        }
        for (number, operator) in state.operators.iter().enumerate() {
            marks |= Bits::from(operator.stage == Stage::AwaitsBuild) << (OPERATORS as usize + number);
        }
        let is_restless = |node: &Node| {
            node.build.is_some()
                || node.lookup.is_some()
                || !node.timers.is_empty()
                || !node.router.closings().is_empty()
        };
        if state.nodes.iter().any(is_restless) {
            marks |= RESTLESS;
        }
        let drifts = |channel: usize| {
            let shown = state.nodes[0]
                .router
                .snapshot()
                .shows_open(id(channel), GROUP, MODEL);
            shown != (state.database >> channel & 1 == 1)
        };
        if self.nodes == 1 && (0..self.open.len()).any(drifts) {
            marks |= DRIFTS;
        }
        marks
    }
}

fn check(houses: &Houses) -> Result<(), Broken> {
    let graph = explore(&houses)?;
    let fair = houses.fair();
    let asks = (0..houses.askers.len()).map(|asker| (format!("R3: asker {asker} is never answered"), asker));
    let waits = (0..houses.operators.len()).map(|operator| {
        (
            format!("R5: operator {operator} waits for ever"),
            OPERATORS as usize + operator,
        )
    });
    for (what, bit) in asks.chain(waits) {
        graph.ends(&what, Bits::MAX, |marks| marks >> bit & 1 == 1, &fair)?;
    }
    graph.ends(
        "R3, R5: work without end though all is quiet",
        houses.calm(),
        |_| true,
        &[],
    )?;
    graph.ends_in(
        "R10: all is quiet, and something is not as it should be",
        houses.calm(),
        |marks| marks == 0,
    )
}

fn holds(houses: &Houses) {
    check(houses).unwrap_or_else(|broken| panic!("{broken}"));
}

/// One node and one operator.
fn house(open: &[bool], changes: &[Change]) -> Houses {
    Houses {
        open: open.to_vec(),
        nodes: 1,
        operators: vec![Operator {
            node: 0,
            changes: changes.to_vec(),
        }],
        askers: vec![0; 2],
        syncs: size() as u32,
        build_failures_in_a_row: 1,
        gives_up: size() > 0,
        loses_answers: false,
        keyed: false,
        starts_cold: false,
        wrong: None,
        began: Instant::now(),
    }
}

fn and_operator(mut houses: Houses, node: usize, changes: &[Change]) -> Houses {
    houses.operators.push(Operator {
        node,
        changes: changes.to_vec(),
    });
    houses
}

const SWAP: Change = Change::Swap { closes: 0, opens: 1 };
const SWAP_BACK: Change = Change::Swap { closes: 1, opens: 0 };

#[test]
fn r3_r10_one_channel_is_closed_and_opened() {
    holds(&house(&[true], &[Change::Close(0), Change::Open(0)]));
}

#[test]
fn r3_r10_one_channel_is_held_and_opened_or_opened_and_closed() {
    for (open, changes) in [
        (true, [Change::Hold(0), Change::Open(0)]),
        (false, [Change::Open(0), Change::Close(0)]),
    ] {
        holds(&Houses {
            askers: vec![0; 1 + size()],
            ..house(&[open], &changes)
        });
    }
}

#[test]
fn r9_the_answers_of_commits_are_lost() {
    holds(&Houses {
        askers: vec![0],
        loses_answers: true,
        ..house(&[true], &[Change::Close(0), Change::Open(0)])
    });
}

#[test]
fn r3_r10_a_node_starts_while_channels_change() {
    holds(&Houses {
        askers: vec![0],
        starts_cold: true,
        ..house(&[true, false], &[SWAP, Change::Close(1)])
    });
}

#[test]
fn r3_r10_builds_are_given_up_and_the_timer_syncs() {
    let houses = Houses {
        gives_up: true,
        syncs: 1,
        askers: vec![0],
        ..house(&[true], &[Change::Close(0), Change::Open(0)])
    };
    holds(&houses);
}

#[test]
fn r3_r10_a_key_is_closed_opened_and_replaced() {
    let keyed = |changes: &[Change]| Houses {
        askers: vec![0],
        keyed: true,
        ..house(&[true], changes)
    };
    holds(&keyed(&[Change::CloseKey(0), Change::Open(0)]));
    holds(&keyed(&[Change::ReplaceSecret(0), Change::ReplaceSecret(0)]));
    // Two operators are enough of a crowd, however large the worlds are.
    let two = Houses {
        syncs: 0,
        gives_up: false,
        ..keyed(&[Change::ReplaceSecret(0)])
    };
    let beside = [Change::CloseKey(0), Change::Open(0)];
    holds(&and_operator(two, 0, &beside[..1 + size().min(1)]));
}

#[test]
fn r3_r10_two_operators_change_one_channel() {
    let one = Houses {
        askers: vec![0],
        ..house(&[true], &[Change::Close(0)])
    };
    holds(&and_operator(one, 0, &[Change::Open(0)]));
}

#[test]
fn r3_r10_two_channels_are_swapped_and_never_both_missing() {
    let houses = Houses {
        askers: vec![0],
        ..house(&[true, false], &[SWAP, SWAP_BACK])
    };
    holds(&houses);
}

#[test]
fn r3_r10_two_operators_swap_two_channels_each_their_way() {
    let one = || Houses {
        askers: vec![0],
        ..house(&[true, false], &[SWAP])
    };
    holds(&and_operator(one(), 0, &[SWAP_BACK]));
    let two_nodes = Houses {
        nodes: 2,
        build_failures_in_a_row: size() as u32,
        ..one()
    };
    holds(&and_operator(two_nodes, 1, &[SWAP_BACK]));
}

#[test]
fn r3_r10_one_channel_takes_over_from_another() {
    let houses = Houses {
        askers: vec![0],
        ..house(&[true, false], &[Change::Open(1), Change::Close(0)])
    };
    holds(&houses);
}

#[test]
fn r3_r10_two_nodes_that_tell_each_other_nothing() {
    let one = Houses {
        nodes: 2,
        askers: vec![0, 1],
        build_failures_in_a_row: size() as u32,
        ..house(&[true], &[Change::Close(0)])
    };
    holds(&and_operator(one, 1, &[Change::Open(0)]));
    let swap = Houses {
        nodes: 2,
        askers: vec![1],
        syncs: 1,
        build_failures_in_a_row: size() as u32,
        ..house(&[true, false], &[SWAP])
    };
    holds(&swap);
}

#[test]
fn careless_closings_are_found() {
    let close_and_open = || house(&[true], &[Change::Close(0), Change::Open(0)]);
    let alone = || Houses {
        askers: vec![0],
        ..close_and_open()
    };
    let swap = || Houses {
        askers: vec![0],
        ..house(&[true, false], &[SWAP])
    };
    let replaced = Houses {
        keyed: true,
        ..house(&[true], &[Change::ReplaceSecret(0)])
    };
    let found = |wrong: Wrong, houses: Houses, word: &str| {
        let careless = Houses {
            gives_up: wrong == Wrong::InstallsLateBuilds,
            syncs: 1,
            wrong: Some(wrong),
            ..houses
        };
        is_found(&format!("{wrong:?}"), check(&careless), word);
    };
    found(
        Wrong::DrawsBeforeTheCommit,
        alone(),
        "though its closing was told",
    );
    found(Wrong::DrawsAtTheEnd, alone(), "though its closing was told");
    found(Wrong::DoesNotClose, alone(), "though its closing was told");
    found(Wrong::DoesNotClose, replaced, "a secret that was replaced");
    found(Wrong::InstallsLateBuilds, alone(), "an older build replaces");
    found(Wrong::JoinsTheRunningLookup, close_and_open(), "R3: refused");
    found(
        Wrong::RefusesFromTheSnapshot,
        swap(),
        "R3: refused with no_available_channel",
    );
    found(Wrong::TakesFailureForNothing, swap(), "R3: refused with");
    let to_and_fro = Houses {
        askers: vec![0],
        ..house(&[true, false], &[SWAP, SWAP_BACK])
    };
    found(Wrong::ReadsInTwoViews, to_and_fro, "R3: refused with");
    found(
        Wrong::AnswersBeforeTheBuild,
        house(&[false], &[Change::Open(0)]),
        "cannot be picked",
    );
    found(
        Wrong::RefusesWhenOutdated,
        house(&[true, false], &[SWAP, SWAP_BACK]),
        "R3: refused",
    );
}
