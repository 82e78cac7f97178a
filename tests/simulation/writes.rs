//! Who writes: changes through the admin REST or by the relay itself, step by step, and others whom no node hears of.

use pointsman::routing::rebuilds::{Scope, Urgency};
use pointsman::routing::rows::Status;
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::change::{Change, ChangeAt, Lost, closings, scope_of};
use crate::coverage::Happened;
use crate::draw;
use crate::edit::{Applied, Edit, Moot};
use crate::node::BuildAsker;
use crate::oracle::{Fault, Verdict, fault};
use crate::run::{Run, pick_one, say};
use crate::world::{Version, World};

impl Run {
    /// A commit, as whoever makes it.
    pub fn commit(&mut self, edit: &Edit) -> Result<(Version, Applied), Moot> {
        let at_ms = self.now_ms();
        self.database.commit(edit, at_ms)
    }

    /// R9: a channel's abilities are enabled as it is, whoever has written last.
    fn database_is_whole(&self) -> Verdict {
        for rows in self.database.world().channels.values() {
            let enabled = rows.status == Status::Enabled;
            let agrees = rows.abilities.values().all(|ability| ability.enabled == enabled);
            if !agrees && !rows.by_hand {
                return fault(
                    "R9",
                    format!("channel {} is {:?}, its abilities are not", rows.id, rows.status),
                );
            }
        }
        Ok(())
    }

    pub fn any_change(&mut self, rng: &mut SmallRng) {
        let node = self.any_node(rng);
        let edit = if !self.refused.is_empty() && rng.random_bool(0.5) {
            let place = rng.random_range(0..self.refused.len());
            let (of, edit) = self.refused.swap_remove(place);
            return self.change(of, edit);
        } else {
            draw::edit(self.database.world(), self.size, rng)
        };
        self.change(node, edit);
    }

    fn change(&mut self, node: usize, edit: Edit) {
        let id = self.new_id();
        say!(self, "node {node}: change {id} begins: {edit:?}");
        self.changes.push(Change {
            id,
            node,
            edit,
            at: ChangeAt::Writing,
        });
    }

    pub fn any_write(&mut self, rng: &mut SmallRng) -> Verdict {
        let ready = |change: &&Change| !matches!(change.at, ChangeAt::Rebuilding { .. } | ChangeAt::Done);
        let ids: Vec<u64> = self
            .changes
            .iter()
            .filter(ready)
            .map(|change| change.id)
            .collect();
        match pick_one(&ids, rng) {
            Some(id) => self.advance_change(*id, rng),
            None => Ok(()),
        }
    }

    pub fn advance_change(&mut self, id: u64, rng: &mut SmallRng) -> Verdict {
        let Some(place) = self.changes.iter().position(|change| change.id == id) else {
            return Ok(());
        };
        let (node, edit) = (self.changes[place].node, self.changes[place].edit.clone());
        let at = std::mem::replace(&mut self.changes[place].at, ChangeAt::Done);
        let next = match at {
            ChangeAt::Writing => self.writes(id, node, &edit, rng)?,
            ChangeAt::Committed { version, applied } => {
                let at = self.nodes[node].moments.draw();
                say!(self, "node {node}: change {id} is told that it is done");
                ChangeAt::Closing { version, applied, at }
            }
            ChangeAt::Lost(lost) => self.settles(id, node, &edit, lost, rng)?,
            ChangeAt::Closing { version, applied, at } => {
                say!(self, "node {node}: change {id} closes {:?}", applied.closed);
                applied
                    .closed
                    .iter()
                    .for_each(|_| self.coverage.note(Happened::Closings));
                self.nodes[node].close(closings(&applied.closed, at));
                self.seen[node].closes(&applied.closed, Some(version), at, self.tick);
                ChangeAt::ToRebuild {
                    version,
                    touched: applied.touched,
                }
            }
            ChangeAt::ToRebuild { version, touched } => {
                say!(self, "node {node}: change {id} asks for a rebuild");
                let asker = BuildAsker {
                    change: id,
                    asked: self.tick,
                };
                self.changes[place].at = ChangeAt::Rebuilding {
                    version,
                    touched: touched.clone(),
                };
                self.seen[node].owes(&touched, version);
                let scope = scope_of(&touched);
                return self
                    .at(node, rng, |node, here| {
                        node.ask(scope, Urgency::Admin, Some(asker), here)
                    })
                    .1;
            }
            other @ (ChangeAt::Rebuilding { .. } | ChangeAt::Done) => other,
        };
        self.changes[place].at = next;
        Ok(())
    }

    /// `store::commit::attempt`, up to the answer to COMMIT.
    fn writes(&mut self, id: u64, node: usize, edit: &Edit, rng: &mut SmallRng) -> Result<ChangeAt, Fault> {
        let before = self.database.now();
        let fate = match (self.database.is_up, rng.random_range(0..20)) {
            (true, 0..15) => Fate::Done,
            (false, 0..12) | (true, 15..17) => Fate::NotDone,
            (true, 17) => Fate::LostDone,
            (false, 12..14) | (true, 18) => Fate::LostNotDone,
            _ => Fate::LostInFlight,
        };
        let next = match fate {
            Fate::Done | Fate::LostDone => match self.commit(edit) {
                Err(moot) => {
                    say!(self, "node {node}: change {id} has nothing to do: {moot:?}");
                    self.coverage.note(Happened::Moot);
                    if let Edit::Auto { channel, .. } = edit {
                        // `Routing::change`: another node may have done it.
                        self.seen[node].owes(&[*channel], before);
                        let scope = scope_of(&[*channel]);
                        self.at(node, rng, |node, here| {
                            node.ask(scope, Urgency::Background, None, here)
                        })
                        .1?;
                    }
                    ChangeAt::Done
                }
                Ok((version, applied)) => {
                    self.coverage.note(Happened::Commits);
                    self.note_edit(edit);
                    say!(
                        self,
                        "node {node}: change {id} is committed as v{version}{}",
                        fate.words()
                    );
                    match fate {
                        Fate::LostDone => ChangeAt::Lost(Lost::Done { version, applied }),
                        _ => ChangeAt::Committed { version, applied },
                    }
                }
            },
            Fate::NotDone => {
                self.fails(edit);
                say!(self, "node {node}: change {id} certainly failed");
                self.coverage.note(Happened::NotDone);
                if self.database.now() != before {
                    return fault("R9", "a change that certainly failed has written something")
                        .map(|()| ChangeAt::Done);
                }
                ChangeAt::Done
            }
            Fate::LostNotDone | Fate::LostInFlight => {
                say!(
                    self,
                    "node {node}: the answer to change {id} is lost{}",
                    fate.words()
                );
                ChangeAt::Lost(if fate == Fate::LostNotDone {
                    Lost::NotDone
                } else {
                    Lost::InFlight
                })
            }
        };
        self.database_is_whole()?;
        Ok(next)
    }

    /// A transaction that fails leaves nothing.
    fn fails(&mut self, _edit: &Edit) {}

    /// `store::commit::was_done`: the mark tells, or nobody ever does.
    fn settles(
        &mut self,
        id: u64,
        node: usize,
        edit: &Edit,
        lost: Lost,
        rng: &mut SmallRng,
    ) -> Result<ChangeAt, Fault> {
        let is_given_up = rng.random_range(0..if self.database.is_up { 12 } else { 4 }) == 0;
        if !is_given_up && !self.database.is_up {
            return Ok(ChangeAt::Lost(lost));
        }
        // The mark waits for the lost transaction, which ends one way or the other.
        let lost = match lost {
            Lost::InFlight if !is_given_up && rng.random_bool(0.5) => match self.commit(edit) {
                Ok((version, applied)) => {
                    self.note_edit(edit);
                    Lost::Done { version, applied }
                }
                Err(_) => Lost::NotDone,
            },
            Lost::InFlight if !is_given_up => Lost::NotDone,
            lost => lost,
        };
        let at = self.nodes[node].moments.draw();
        if is_given_up {
            return self
                .never_told(id, node, edit, lost, rng)
                .map(|()| ChangeAt::Done);
        }
        match lost {
            Lost::Done { version, applied } => {
                say!(self, "node {node}: the mark tells that change {id} was done");
                self.coverage.note(Happened::LostDone);
                Ok(ChangeAt::Closing { version, applied, at })
            }
            Lost::NotDone | Lost::InFlight => {
                say!(self, "node {node}: the mark tells that change {id} was not done");
                self.coverage.note(Happened::LostNotDone);
                self.seen[node].owes(&edit.channels(), self.database.now());
                let scope = scope_of(&edit.channels());
                self.at(node, rng, |node, here| {
                    node.ask(scope, Urgency::Admin, None, here)
                })
                .1?;
                Ok(ChangeAt::Done)
            }
        }
    }

    /// The receipt is dropped, which rings (`Changes::ring`), and `Changes::run` asks for everything.
    fn never_told(&mut self, id: u64, node: usize, edit: &Edit, lost: Lost, rng: &mut SmallRng) -> Verdict {
        say!(self, "node {node}: nobody can tell whether change {id} was done");
        self.coverage.note(Happened::Unknown);
        let at = self.nodes[node].moments.draw();
        let closed = match &lost {
            Lost::Done { applied, .. } => applied.closed.clone(),
            // What it would have closed, had it been done.
            Lost::NotDone | Lost::InFlight => {
                let mut world = World::clone(self.database.world());
                let applied = world.apply(edit, 0, &mut 1_000_000, 0);
                applied.map(|applied| applied.closed).unwrap_or_default()
            }
        };
        if matches!(lost, Lost::InFlight) {
            self.ghosts.push(edit.clone());
        }
        self.nodes[node].close(closings(&closed, at));
        self.seen[node].closes(&closed, None, at, self.tick);
        self.seen[node].owes(&edit.channels(), self.database.now());
        let scope = scope_of(&edit.channels());
        self.at(node, rng, |node, here| {
            node.ask(scope, Urgency::Admin, None, here);
            node.ask(Scope::Everything, Urgency::Admin, None, here);
        })
        .1
    }

    pub fn ghost(&mut self, rng: &mut SmallRng) -> Verdict {
        if self.ghosts.is_empty() || !self.database.is_up {
            return Ok(());
        }
        let edit = self.ghosts.swap_remove(rng.random_range(0..self.ghosts.len()));
        if let Ok((version, _)) = self.commit(&edit) {
            self.coverage.note(Happened::Ghosts);
            say!(self, "{edit:?} was done after all, as v{version}");
        }
        self.database_is_whole()
    }

    pub fn stranger(&mut self, rng: &mut SmallRng) -> Verdict {
        let edit = draw::by_hand(self.database.world(), self.size, rng);
        if let Ok((version, _)) = self.commit(&edit) {
            self.note_edit(&edit);
            self.coverage.note(Happened::Strangers);
            say!(self, "somebody commits v{version}: {edit:?}");
        }
        self.database_is_whole()
    }

    pub fn rot(&mut self, rng: &mut SmallRng) -> Verdict {
        if let Some(edit) = draw::rot(self.database.world(), rng)
            && let Ok((version, _)) = self.commit(&edit)
        {
            self.coverage.note(Happened::Rotted);
            say!(self, "v{version}: {edit:?}");
        }
        Ok(())
    }

    pub fn repair(&mut self, rng: &mut SmallRng) -> Verdict {
        let rotten = self
            .database
            .world()
            .channels
            .values()
            .filter(|rows| rows.has_rot());
        let rotten: Vec<i64> = rotten.map(|rows| rows.id).collect();
        if let Some(channel) = pick_one(&rotten, rng)
            && let Ok((version, _)) = self.commit(&Edit::Repair { channel: *channel })
        {
            self.coverage.note(Happened::Repaired);
            say!(self, "v{version}: channel {channel} is repaired");
        }
        Ok(())
    }

    fn note_edit(&mut self, edit: &Edit) {
        let happened = match edit {
            Edit::Auto {
                to: Status::AutoDisabled,
                ..
            } => Happened::AutoClosed,
            Edit::Auto { .. } => Happened::Reopened,
            Edit::Delete { .. } => Happened::Deleted,
            Edit::Create { .. } => Happened::Created,
            Edit::Hold { .. } => Happened::Held,
            Edit::Abilities { .. } => Happened::Moved,
            Edit::Swap { .. } => Happened::Swapped,
            Edit::ByHand { .. } => Happened::ByHand,
            Edit::ReplaceKey { .. } => Happened::KeysReplaced,
            Edit::DeleteKey { .. } => Happened::KeysDeleted,
            Edit::Key { .. } => Happened::KeysClosed,
            _ => return,
        };
        self.coverage.note(happened);
    }
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Done,
    NotDone,
    LostDone,
    LostNotDone,
    LostInFlight,
}

impl Fate {
    fn words(self) -> &'static str {
        match self {
            Fate::Done => "",
            Fate::NotDone | Fate::LostNotDone => ", and not done",
            Fate::LostDone => ", and its answer lost",
            Fate::LostInFlight => ", and it may be done yet",
        }
    }
}
