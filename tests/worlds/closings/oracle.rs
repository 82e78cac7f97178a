//! What must hold of each pick and each refusal, told from the order of commits and reads that the world has seen and
//! not from the moments that the code draws.

use pointsman::routing::refusal::Refusal;
use pointsman::routing::router::{Found, Grant};

use super::{Asker, Houses, Node, Stage, State};
use crate::stage::{GROUP, MODEL, OPEN};

impl Houses {
    /// R10: of all closings that were told on this node, the read that granted knows.
    pub(super) fn check_grant(
        &self,
        node: &Node,
        grant: &Grant,
        found: Option<(&Found, u16)>,
    ) -> Result<(), String> {
        let granted = grant.picked.channel.id;
        let secret = grant.picked.key.as_ref().map(|key| key.spec.secret.reveal());
        if secret.is_some_and(|secret| secret.parse().is_ok_and(|version: u8| version < node.secret)) {
            return Err(format!(
                "R10: channel {granted} is picked with a secret that was replaced"
            ));
        }
        let channel = granted.0 as usize - 1;
        let closings = node.told & self.closers(channel);
        let snapshot = node.router.snapshot();
        let by_snapshot = snapshot.shows_open(granted, GROUP, MODEL);
        if by_snapshot && closings & !(node.known[channel] | node.lifted[channel]) == 0 {
            return Ok(());
        }
        let Some((found, commits)) = found else {
            return Err(format!(
                "R10: channel {granted} is picked though its closing was told"
            ));
        };
        if !found.route.shows_open(granted, GROUP, MODEL) {
            return Err(format!(
                "R3: channel {granted} is picked, and no read shows it open"
            ));
        }
        if closings & !commits != 0 {
            return Err(format!(
                "R10: channel {granted} is picked from a lookup that began before its closing, which was told"
            ));
        }
        if !by_snapshot && snapshot.read_at(granted) > found.began {
            return Err(format!(
                "R10: channel {granted} is picked though a newer read shows it closed"
            ));
        }
        Ok(())
    }

    /// R10: what was opened in place can be picked from the snapshot.
    pub(super) fn check_openings(&self, state: &State) -> Result<(), String> {
        for (number, node) in state.nodes.iter().enumerate() {
            for channel in (0..self.open.len()).filter(|channel| node.in_place >> channel & 1 == 1) {
                if !node.can_pick(channel) {
                    return Err(format!(
                        "R10: channel {} was opened in place on node {number} and cannot be picked",
                        channel + 1
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A refusal for want of a channel is right only if nothing was open at some moment since the question; one for want
/// of a database only if a lookup failed; and nothing else refuses here.
pub(super) fn judge(refusal: &Refusal, none_open: bool, failed: bool) -> Result<(), String> {
    let is_right = match refusal {
        Refusal::NoAvailableChannel | Refusal::ModelNotFound | Refusal::ProtocolNotServed => none_open,
        Refusal::RoutingUnavailable => failed,
        _ => false,
    };
    if is_right {
        return Ok(());
    }
    let code = refusal.code();
    Err(format!(
        "R3: refused with {code} though something was open at every moment since the question"
    ))
}

/// Openings of the channel that these have under way promise nothing any more.
pub(super) fn undo_openings(
    houses: &Houses,
    state: &mut State,
    channel: usize,
    operators: impl Iterator<Item = usize>,
) {
    for operator in operators {
        let progress = &mut state.operators[operator];
        let change = houses.operators[operator].changes.get(progress.change);
        if progress.stage != Stage::Ready && change.and_then(|change| change.opens()) == Some(channel) {
            progress.undone = true;
        }
    }
}

/// Those who ask now have seen whether anything is open.
pub(super) fn note_whether_open(state: &mut State) {
    if state.database & OPEN == 0 {
        for asker in &mut state.askers {
            if let Asker::Asks(asking) = asker {
                asking.none_open = true;
            }
        }
    }
}
