//! What an outcome says of each part of a channel that its lease depended on.

use std::time::Duration;

use super::cooling::{BROKEN, BUSY, Ladder, NOT_HERE, REFUSED, SILENT};
use super::unwell::Part;
use crate::routing::outcome::{Lack, Outcome};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    Nothing,
    Fails(Blow),
    /// It answered, if not with what was asked: no longer down, not yet proven well.
    Lives,
    /// It did all that is asked of it.
    Works,
}

/// A failure of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blow {
    pub trips: Trips,
    pub ladder: Ladder,
    /// The provider's own word: how long, and under which status it was given.
    pub word: Option<(Duration, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trips {
    AtOnce,
    /// After a streak, or by the rate of the window.
    WithOthers,
}

pub fn of(outcome: &Outcome, part: &Part) -> Evidence {
    match part {
        Part::Whole => of_connection(outcome),
        Part::Key(_) => of_key(outcome),
        Part::Model(_) => of_model(outcome),
        Part::KeyForModel(..) => of_key_for_model(outcome),
    }
}

fn of_connection(outcome: &Outcome) -> Evidence {
    match outcome {
        Outcome::Broken(breakage) if breakage.is_of_whole_channel() => {
            fails(Trips::WithOthers, BROKEN, outcome)
        }
        // Any answer came over a connection.
        Outcome::Ok
        | Outcome::Busy { .. }
        | Outcome::Broken(_)
        | Outcome::Refused { .. }
        | Outcome::NotHere(_)
        | Outcome::TooLong
        | Outcome::Filtered
        | Outcome::BadRequest => Evidence::Works,
        // A kept-alive connection may have been dead all along.
        Outcome::Silent | Outcome::Gone => Evidence::Nothing,
    }
}

fn of_key(outcome: &Outcome) -> Evidence {
    match outcome {
        Outcome::Ok => Evidence::Works,
        Outcome::Refused { .. } => fails(Trips::AtOnce, REFUSED, outcome),
        // Upstreams differ in what they check before the key.
        _ => Evidence::Nothing,
    }
}

fn of_model(outcome: &Outcome) -> Evidence {
    match outcome {
        Outcome::Ok => Evidence::Works,
        Outcome::NotHere(Lack::Model) => fails(Trips::AtOnce, NOT_HERE, outcome),
        // Only who has the model can say that.
        Outcome::TooLong | Outcome::Filtered => Evidence::Lives,
        _ => Evidence::Nothing,
    }
}

fn of_key_for_model(outcome: &Outcome) -> Evidence {
    match outcome {
        Outcome::Ok => Evidence::Works,
        Outcome::Busy { .. } => fails(Trips::AtOnce, BUSY, outcome),
        Outcome::Broken(breakage) if breakage.is_of_whole_channel() => Evidence::Nothing,
        // A provider that says when it will be back need not be asked twice more before.
        Outcome::Broken(_) if outcome.provider_word().is_some() => fails(Trips::AtOnce, BROKEN, outcome),
        Outcome::Broken(_) => fails(Trips::WithOthers, BROKEN, outcome),
        Outcome::Silent => fails(Trips::WithOthers, SILENT, outcome),
        // A well-formed 4xx: whoever says no like that is up.
        Outcome::NotHere(_) | Outcome::TooLong | Outcome::Filtered | Outcome::BadRequest => Evidence::Lives,
        Outcome::Refused { .. } | Outcome::Gone => Evidence::Nothing,
    }
}

fn fails(trips: Trips, ladder: Ladder, outcome: &Outcome) -> Evidence {
    Evidence::Fails(Blow {
        trips,
        ladder,
        word: outcome.provider_word(),
    })
}
