//! What may happen in the world of closings, and when.

use std::fmt;

use super::{Asker, At, Change, Dice, Houses, Stage, State, Wrong};
use crate::explorer::{Bits, Kind};

#[derive(Clone, Copy, Debug)]
pub enum Event {
    DrawsEarly { operator: usize },
    Commits { operator: usize },
    IsAnswered { operator: usize, lost: bool },
    CloseArrives { operator: usize },
    RebuildArrives { operator: usize },
    Syncs { node: usize },
    TimePasses { node: usize },
    BuildReads { node: usize },
    BuildSucceeds { node: usize },
    BuildFails { node: usize },
    BuildIsGivenUp { node: usize },
    LateBuildEnds { node: usize },
    Picks { asker: usize },
    MissArrives { asker: usize },
    LookupReads { node: usize },
    LookupEnds { node: usize },
    LookupFails { node: usize },
    Chooses { asker: usize, dice: Dice },
}

pub const OPERATES: Kind = 0;
pub const PICKS: Kind = 1;
pub const SYNCS: Kind = 2;
/// And of each further node the next; so with those below.
pub const BUILDS: Kind = 4;
pub const BUILD_FAILS: Kind = 8;
pub const LOOKS_UP: Kind = 12;
pub const LOOKUP_FAILS: Kind = 16;
pub const TIME_PASSES: Kind = 20;
pub const LATE: Kind = 24;
/// And of each further asker the next.
pub const MESSAGES: Kind = 28;

impl Houses {
    pub(super) fn events(&self, state: &State) -> Vec<Event> {
        let mut events = Vec::new();
        for operator in 0..self.operators.len() {
            events.extend(self.events_of_operator(state, operator));
        }
        for node in 0..self.nodes {
            self.events_of_node(state, node, &mut events);
        }
        let mut nodes_asked = Vec::new();
        for (asker, at) in state.askers.iter().enumerate() {
            match at {
                // Askers of one node are alike: the first idle one asks.
                Asker::Idle if nodes_asked.contains(&self.askers[asker]) => {}
                Asker::Idle => {
                    nodes_asked.push(self.askers[asker]);
                    events.push(Event::Picks { asker });
                }
                Asker::Asks(asking) => match asking.at {
                    At::Missed => events.push(Event::MissArrives { asker }),
                    At::Waits => {}
                    At::Found(..) if self.open.len() > 1 => {
                        events.extend([Dice::Low, Dice::High].map(|dice| Event::Chooses { asker, dice }));
                    }
                    At::Found(..) | At::Failed => {
                        let dice = Dice::Low;
                        events.push(Event::Chooses { asker, dice });
                    }
                },
            }
        }
        events
    }

    fn events_of_operator(&self, state: &State, operator: usize) -> Vec<Event> {
        let progress = &state.operators[operator];
        let Some(change) = self.operators[operator].changes.get(progress.change) else {
            return Vec::new();
        };
        let draws_early = self.wrong == Some(Wrong::DrawsBeforeTheCommit) && progress.early.is_none();
        let answer = |lost| Event::IsAnswered { operator, lost };
        match progress.stage {
            Stage::Ready if draws_early => vec![Event::DrawsEarly { operator }],
            Stage::Ready => vec![Event::Commits { operator }],
            Stage::Committed if self.loses_answers => vec![answer(false), answer(true)],
            Stage::Committed => vec![answer(false)],
            Stage::Answered(_) if !matches!(change, Change::Open(_)) => {
                vec![Event::CloseArrives { operator }]
            }
            Stage::Answered(_) | Stage::Closed => vec![Event::RebuildArrives { operator }],
            Stage::AwaitsBuild => Vec::new(),
        }
    }

    fn events_of_node(&self, state: &State, number: usize, events: &mut Vec<Event>) {
        let node = &state.nodes[number];
        let at = number;
        match &node.build {
            Some(build) if build.read.is_none() => events.push(Event::BuildReads { node: at }),
            Some(_) => events.push(Event::BuildSucceeds { node: at }),
            None => {}
        }
        if node.build.is_some() && node.rebuilds.failures() < self.build_failures_in_a_row {
            events.push(Event::BuildFails { node: at });
            if self.gives_up && node.late.is_none() {
                events.push(Event::BuildIsGivenUp { node: at });
            }
        }
        if node.late.is_some() {
            events.push(Event::LateBuildEnds { node: at });
        }
        if let Some(lookup) = &node.lookup {
            let ends = Event::LookupEnds { node: at };
            events.push(lookup.read.map_or(Event::LookupReads { node: at }, |_| ends));
            events.push(Event::LookupFails { node: at });
        }
        if !node.timers.is_empty() || node.asked_lately.is_some() {
            events.push(Event::TimePasses { node: at });
        }
        if node.syncs < self.syncs {
            events.push(Event::Syncs { node: at });
        }
    }

    pub(super) fn kind_of(&self, event: &Event) -> Kind {
        match *event {
            Event::DrawsEarly { .. }
            | Event::Commits { .. }
            | Event::IsAnswered { .. }
            | Event::CloseArrives { .. }
            | Event::RebuildArrives { .. } => OPERATES,
            Event::Syncs { .. } => SYNCS,
            Event::TimePasses { node } => TIME_PASSES + node as Kind,
            Event::BuildReads { node } | Event::BuildSucceeds { node } => BUILDS + node as Kind,
            Event::BuildFails { node } | Event::BuildIsGivenUp { node } => BUILD_FAILS + node as Kind,
            Event::LateBuildEnds { node } => LATE + node as Kind,
            Event::Picks { .. } => PICKS,
            Event::LookupReads { node } | Event::LookupEnds { node } => LOOKS_UP + node as Kind,
            Event::LookupFails { node } => LOOKUP_FAILS + node as Kind,
            Event::MissArrives { asker } | Event::Chooses { asker, .. } => MESSAGES + asker as Kind,
        }
    }

    /// Which sets of steps are taken some time when they could be all along: builds and lookups end (both have
    /// deadlines), messages arrive, time passes. Nothing is assumed of how builds and lookups end, nor that the
    /// other askers ever stop.
    pub(super) fn fair(&self) -> Vec<Bits> {
        let of_node = |node: usize| {
            let bit = |kind: Kind| 1 << (kind + node as Kind);
            [
                bit(BUILDS) | bit(BUILD_FAILS),
                bit(LOOKS_UP) | bit(LOOKUP_FAILS),
                bit(TIME_PASSES),
            ]
        };
        let messages = (0..self.askers.len()).map(|asker| 1 << (MESSAGES + asker as Kind));
        (0..self.nodes).flat_map(of_node).chain(messages).collect()
    }

    /// Nobody asks anew, nothing fails.
    pub(super) fn calm(&self) -> Bits {
        let bits = self
            .fair()
            .into_iter()
            .fold(1 << OPERATES, |all, fair| all | fair);
        let fails =
            (0..self.nodes as Kind).map(|node| 1 << (BUILD_FAILS + node) | 1 << (LOOKUP_FAILS + node));
        fails.fold(bits, |bits, fails: Bits| bits & !fails)
    }

    pub(super) fn words(&self, event: &Event) -> String {
        let change = |operator: usize, at: &str| {
            let operator_at = &self.operators[operator];
            let changes: Vec<String> = operator_at
                .changes
                .iter()
                .map(|change| change.to_string())
                .collect();
            let many = if changes.len() > 1 { "each of " } else { "" };
            format!(
                "operator {operator} on node {} ({many}{}): {at}",
                operator_at.node,
                changes.join(", ")
            )
        };
        let at = |asker: &usize| self.askers[*asker];
        match event {
            Event::Commits { operator } => change(*operator, "the next change is committed"),
            Event::IsAnswered {
                operator,
                lost: false,
            } => change(*operator, "the commit's answer comes"),
            Event::IsAnswered { operator, .. } => change(*operator, "the commit's answer is lost for good"),
            Event::DrawsEarly { operator } => change(*operator, "the closing's moment is drawn"),
            Event::CloseArrives { operator } => change(*operator, "Close is handled"),
            Event::RebuildArrives { operator } => change(*operator, "the rebuild is asked for"),
            Event::Syncs { node } => format!("node {node}: the sync timer asks for everything"),
            Event::TimePasses { node } => format!("node {node}: time passes"),
            Event::BuildReads { node } => format!("node {node}: the build reads the database"),
            Event::BuildSucceeds { node } => format!("node {node}: the build ends and is installed"),
            Event::BuildFails { node } => format!("node {node}: the build fails"),
            Event::BuildIsGivenUp { node } => format!("node {node}: the build is given up at its deadline"),
            Event::LateBuildEnds { node } => format!("node {node}: the build that was given up ends late"),
            Event::Picks { asker } => format!("asker {asker} picks on node {}", at(asker)),
            Event::MissArrives { asker } => {
                format!("asker {asker}'s miss comes to node {}'s lookups", at(asker))
            }
            Event::LookupReads { node } => format!("node {node}: the lookup reads the database"),
            Event::LookupEnds { node } => format!("node {node}: the lookup ends"),
            Event::LookupFails { node } => format!("node {node}: the lookup fails"),
            Event::Chooses { asker, .. } => format!("asker {asker} chooses from what was found"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Close(channel) => write!(f, "close channel {}", channel + 1),
            Change::Hold(channel) => write!(f, "hold channel {}", channel + 1),
            Change::CloseKey(channel) => write!(f, "close the key of channel {}", channel + 1),
            Change::ReplaceSecret(channel) => write!(f, "replace the secret of channel {}", channel + 1),
            Change::Open(channel) => write!(f, "open channel {}", channel + 1),
            Change::Swap { closes, opens } => write!(f, "swap {} for {}", closes + 1, opens + 1),
        }
    }
}
