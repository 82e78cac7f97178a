//! What may happen, and how often: a schedule is a list of choices, drawn from a seed beforehand.
//!
//! A choice holds its own dice, and all else that it needs is read off the state in which it comes, so that a history
//! stays a history when some of its choices are taken out.

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub kind: Kind,
    pub dice: u64,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $often:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        const KINDS: &[(Kind, u32)] = &[$((Kind::$kind, $often),)*];
    };
}

kinds! {
    /// A client asks.
    Ask: 60,
    /// A request's next message is handled.
    Request: 160,
    /// A lease's answer begins.
    FirstEvent: 12,
    /// A lease reports.
    Report: 60,
    /// Many ask for models that nobody has, or that are closed.
    Flood: 1,
    /// An operator's call, or the relay's own closing or reopening.
    Change: 30,
    /// A change's next step.
    Write: 100,
    /// A transaction whose fate nobody on any node knows is done after all.
    Ghost: 4,
    /// A commit that no node makes.
    Stranger: 6,
    Rot: 3,
    Repair: 4,
    /// A node's timer asks for a build of everything.
    Timer: 6,
    /// A build sends its first statement.
    BuildReads: 40,
    BuildEnds: 45,
    /// A build that was given up arrives.
    LateBuild: 6,
    LookupBegins: 50,
    LookupReads: 50,
    LookupEnds: 60,
    Outage: 2,
    Back: 20,
    Moment: 25,
    Seconds: 8,
    Minutes: 2,
}

/// The choices of one seed. Each seed has its own mood: what happens often in one hardly happens in another.
pub fn choices(seed: u64, length: usize) -> Vec<Choice> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let weights: Vec<u32> = KINDS
        .iter()
        .map(|(_, often)| often * [0, 1, 1, 2, 2, 3, 4, 8][rng.random_range(0..8)])
        .collect();
    let total: u32 = weights.iter().sum::<u32>().max(1);
    (0..length)
        .map(|_| {
            let mut point = rng.random_range(0..total);
            let kind = KINDS
                .iter()
                .zip(&weights)
                .find(|(_, weight)| match point.checked_sub(**weight) {
                    Some(rest) => {
                        point = rest;
                        false
                    }
                    None => true,
                });
            Choice {
                kind: kind.map_or(Kind::Request, |((kind, _), _)| *kind),
                dice: rng.next_u64(),
            }
        })
        .collect()
}
