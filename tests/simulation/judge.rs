//! Whether a grant or a refusal was right, by all that was committed between the question and its answer.

use std::time::Instant;

use pointsman::routing::closings::Closed;
use pointsman::routing::health::HealthView;
use pointsman::routing::refusal::Refusal;
use pointsman::routing::router::Grant;

use crate::node::Tick;
use crate::oracle::{Fault, LeaseNote, Seen, Verdict, fault};
use crate::request::{Request, Stage};
use crate::tell::version_of;
use crate::truth::{Answer, Truth};
use crate::world::{Ability, ChannelRows, Database, GROUPS, Version};

/// One answer to one question.
pub struct Case<'a> {
    pub database: &'a Database,
    pub seen: &'a Seen,
    pub request: &'a Request,
    pub tick: Tick,
    pub now: Instant,
    /// What is not well on the node, after the answer.
    pub views: Vec<HealthView>,
}

impl Case<'_> {
    // ---- grants ----

    /// The lease to be noted, if the grant was right.
    pub fn grant(&self, grant: &Grant) -> Result<LeaseNote, Fault> {
        let picked = &grant.picked;
        let (channel, key) = (picked.channel.id.0, picked.key.as_ref().map(|key| key.id.0));
        let version = version_of(&picked.channel.spec);
        let group = self.group(grant)?;
        let Some(model) = self.request.asked.model else {
            return fault("R1", "a channel for a model that nobody has").map(|()| unreachable!());
        };
        let note = LeaseNote {
            channel,
            key,
            model: self.request.model.clone(),
            version,
            granted: self.tick,
            granted_at: self.now,
            probes: grant.probe,
        };
        self.was_open(grant, (group, model), version)?;
        self.is_not_closed(channel, key, (group, model), version)?;
        self.is_not_tried(channel, key)?;
        self.has_room(channel, version)?;
        self.is_not_barred(&note)?;
        self.passes_over_what_cools(&note)?;
        self.is_first_in_order(&note, (group, model))?;
        Ok(note)
    }

    fn group(&self, grant: &Grant) -> Result<usize, Fault> {
        let asked = self.request.asked.groups.iter().copied();
        asked
            .into_iter()
            .find(|group| GROUPS[*group] == grant.picked.group)
            .ok_or(Fault {
                rule: "R2",
                words: format!("group {} was not asked for", grant.picked.group),
            })
    }

    /// R1: what is granted was open when it was read, and speaks the protocol.
    fn was_open(&self, grant: &Grant, place: Ability, version: Version) -> Verdict {
        let id = grant.picked.channel.id.0;
        let is_last_good = self.rotted(id, version);
        let Some(rows) = self.database.at(version).channel(id) else {
            return fault("R1", format!("channel {id} was not there at v{version}"));
        };
        if !rows.speaks(self.request.asked.protocol) {
            return fault(
                "R2",
                format!("channel {id} of v{version} does not speak the protocol"),
            );
        }
        let is_open = |at: Version| {
            let truth = self.database.at(at).truth(id, place);
            matches!(truth, Some(Truth::Open | Truth::Maybe))
        };
        let was_open = if is_last_good {
            (version..=self.database.now()).any(is_open)
        } else {
            is_open(version)
        };
        if !was_open {
            return fault(
                "R1",
                format!("channel {id} is granted as of v{version}, where it was not open"),
            );
        }
        let Some(key) = &grant.picked.key else {
            let has_key = rows.keys.iter().any(|key| key.is_open());
            return match has_key && !is_last_good && rows.spec.needs_key {
                true => fault("R1", format!("channel {id} is granted without its key")),
                false => Ok(()),
            };
        };
        let secret = key.spec.secret.reveal();
        let had = |at: Version| {
            let rows = self.database.at(at).channel(id);
            let row = rows.and_then(|rows| rows.key(key.id.0));
            row.is_some_and(|row| row.secret.to_string() == secret && row.truth() != Truth::Closed)
        };
        // Where the definition is last good, the keys are of a later read; where the key is, it is of an earlier one.
        let is_of_later_read = |at: Version| {
            let is_bad = |at: Version| (self.database.at(at).channel(id)).is_some_and(|rows| rows.bad_spec);
            is_bad(at) && had(at)
        };
        let is_last_good_key = |at: Version| {
            let rows = self.database.at(at).channel(id);
            let row = rows.and_then(|rows| rows.key(key.id.0));
            row.is_some_and(|row| row.bad_secret) && (0..=at).any(had)
        };
        let was_there = had(version)
            || (version..=self.database.now()).any(|at| is_of_later_read(at) || is_last_good_key(at));
        if was_there {
            Ok(())
        } else {
            fault("R1", format!("key {} was not open at v{version}", key.id))
        }
    }

    /// Since that version some row of the channel could not be read, so that a last good one may stand for it.
    pub fn rotted(&self, channel: i64, since: Version) -> bool {
        let has_rot = |at: Version| {
            self.database
                .at(at)
                .channel(channel)
                .is_some_and(ChannelRows::has_rot)
        };
        (since..=self.database.now()).any(has_rot)
    }

    /// R10: nothing whose closing this node has taken note of, unless it was open again since. (The rule promises it to
    /// questions that come after; the router keeps it for every answer.)
    fn is_not_closed(&self, id: i64, key: Option<i64>, place: Ability, version: Version) -> Verdict {
        let now = self.database.now();
        for closing in &self.seen.closings {
            if closing.closed.channel().0 != id {
                continue;
            }
            let since = closing.version;
            let reopened = |open: &dyn Fn(&ChannelRows) -> bool| {
                (since..=now).any(|at| self.database.at(at).channel(id).is_some_and(open))
            };
            let is_right = match &closing.closed {
                Closed::Channel(_) => {
                    version >= since || reopened(&|rows| rows.channel_truth() != Truth::Closed)
                }
                Closed::Ability { group, .. } if *group != GROUPS[place.0] => true,
                Closed::Ability { model, .. } if *model != self.request.model => true,
                Closed::Ability { .. } => {
                    version >= since
                        || reopened(&|rows| !matches!(rows.truth(place), None | Some(Truth::Closed)))
                }
                Closed::Key { key: closed, .. } if Some(closed.0) != key => true,
                Closed::Key { .. } => {
                    let is_open = |rows: &ChannelRows| {
                        key.and_then(|key| rows.key(key))
                            .is_some_and(|key| key.truth() != Truth::Closed)
                    };
                    // A lookup lifts no key's closing: only what was read since may be used.
                    version >= since || (self.rotted(id, version) && reopened(&is_open))
                }
            };
            if !is_right {
                return fault(
                    "R10",
                    format!("channel {id} as of v{version} was picked after its closing, v{since}"),
                );
            }
        }
        Ok(())
    }

    /// R2: not where this request has been, but in the second round.
    fn is_not_tried(&self, channel: i64, key: Option<i64>) -> Verdict {
        if self.request.own.bars(channel, key, self.now) {
            return fault(
                "R2",
                format!("channel {channel}, key {key:?} was tried by this request already"),
            );
        }
        Ok(())
    }

    fn has_room(&self, channel: i64, version: Version) -> Verdict {
        let rows = self.database.at(version).channel(channel);
        let max = rows.and_then(|rows| rows.spec.max_in_flight);
        if max.is_some_and(|max| self.seen.in_flight(channel) >= max) {
            return fault("R4", format!("channel {channel} is full and was picked"));
        }
        Ok(())
    }

    /// R13: not before its provider's word is over, and not while somebody finds out.
    fn is_not_barred(&self, note: &LeaseNote) -> Verdict {
        let LeaseNote {
            channel, key, model, ..
        } = note;
        let rows = self.database.world().channel(*channel);
        let is_same_since = |version: Version, tick: Tick| {
            rows.is_some_and(|rows| rows.touched <= version)
                && !self.seen.is_closed_since(*channel, tick)
                && self.seen.read.get(channel).is_some_and(|read| *read >= version)
        };
        let barred = self.seen.words.iter().find(|word| {
            word.channel == *channel && word.key == *key && word.model == *model && word.until > self.now
        });
        if let Some(word) = barred
            && is_same_since(word.version, word.heard)
            && self.seen.knows.contains_key(channel)
        {
            return fault(
                "R13",
                format!("channel {channel} was picked before its provider's word was over"),
            );
        }
        let mut probes = self.seen.probes(*channel, self.now);
        if let Some(other) = probes.find(|other| {
            other.model == *model
                && is_same_since(other.version, other.granted)
                && (note.probes || other.key == *key)
                && rows.is_some_and(|rows| self.seen.is_blamed_only_since(*channel, rows.touched))
                && self.seen.is_unhealed_since(*channel, other.granted, self.now)
        }) {
            let (granted, at) = (other.granted, self.tick);
            return fault(
                "R13",
                format!("channel {channel} is probed since step {granted} and picked at {at}"),
            );
        }
        Ok(())
    }

    // ---- refusals ----

    pub fn refusal(&self, refusal: &Refusal) -> Verdict {
        let ask = &self.request.ask;
        let asked = &self.request.asked;
        let ever = |wanted: &dyn Fn(Answer) -> bool| {
            (ask.version..=self.database.now()).any(|at| wanted(self.database.at(at).answer(asked)))
        };
        let since = format!("from v{} to v{}", ask.version, self.database.now());
        match refusal {
            Refusal::ModelNotFound if !ever(&|answer| answer == Answer::NoAbility) => {
                return fault("R4", format!("model_not_found, and there was an ability {since}"));
            }
            Refusal::NoAvailableChannel if !ever(&|answer| answer == Answer::NoneOpen) => {
                return fault(
                    "R4",
                    format!("no_available_channel, and that was never so {since}"),
                );
            }
            Refusal::ProtocolNotServed
                if !ever(&|answer| matches!(answer, Answer::SpeaksNot | Answer::Maybe)) =>
            {
                return fault(
                    "R4",
                    format!("protocol_not_served, and that was never so {since}"),
                );
            }
            Refusal::RoutingUnavailable if self.may_be_unreadable() => {}
            Refusal::RoutingUnavailable if !ask.lookup_failed => {
                return fault("R4", "routing_unavailable, and every lookup was answered");
            }
            Refusal::RoutingUnavailable => self.knows_no_route()?,
            Refusal::Exhausted if self.request.own.is_empty() => {
                return fault("R4", "exhausted, and nothing was tried");
            }
            Refusal::RateLimited { retry_after, .. } => self.rate_limited(*retry_after)?,
            Refusal::Overloaded { .. } if !ask.by_bound => self.overloaded()?,
            _ => {}
        }
        self.had_none(refusal)
    }

    fn may_be_unreadable(&self) -> bool {
        let mut versions = self.request.ask.version..=self.database.now();
        versions.any(|at| self.database.at(at).is_unsure(&self.request.asked))
    }

    /// R3, R12: no refusal while the snapshot has an open channel that nothing speaks against, and none while the
    /// database has one from question to answer and was asked.
    fn had_none(&self, refusal: &Refusal) -> Verdict {
        let ask = &self.request.ask;
        if ask.by_bound {
            return Ok(());
        }
        for id in self.database.world().channels.keys() {
            if !self.speaks_nothing_against(*id) {
                continue;
            }
            let groups = &self.request.asked.groups;
            if let Some(read) = self.seen.knows.get(id)
                && self.serves(*id, *read, groups)
            {
                return fault(
                    "R3",
                    format!(
                        "{} though the snapshot had channel {id}, open since v{read}",
                        refusal.code()
                    ),
                );
            }
            if !ask.lookup_failed && self.serves(*id, ask.version, groups) {
                return fault(
                    "R3",
                    format!(
                        "{} though channel {id} was open since v{}",
                        refusal.code(),
                        ask.version
                    ),
                );
            }
        }
        Ok(())
    }

    /// R13: who stands in line has nothing that it could be given.
    pub fn waits(&self) -> Verdict {
        if self.request.stage != Stage::WhateverThereIs {
            return Ok(()); // it waits for its own rest only
        }
        let groups = &self.request.asked.groups;
        let is_there = |(id, read): &(&i64, &Version)| {
            let is_probed = self
                .seen
                .leases
                .values()
                .any(|note| note.channel == **id && note.probes);
            // Where one key rests after this request's own try, that rest is waited for before another key that cools.
            let rows = self.database.world().channel(**id);
            let has_tried = rows.is_some_and(|rows| {
                rows.keys
                    .iter()
                    .any(|key| self.request.own.knows(**id, Some(key.id)))
            });
            !is_probed
                && !has_tried
                && !self.seen.is_barred_by_word(**id, self.now)
                && self.serves(**id, **read, groups)
        };
        match self.seen.knows.iter().find(is_there) {
            None => Ok(()),
            Some((id, _)) => fault(
                "R13",
                format!("request {} waits, and channel {id} is there", self.request.id),
            ),
        }
    }

    /// A question that passes over what cools may be refused for that; one that takes what there is may not (R13).
    fn speaks_nothing_against(&self, channel: i64) -> bool {
        if self.seen.is_blameless(channel, self.now) {
            return true;
        }
        self.request.stage == Stage::WhateverThereIs
            && !self.seen.is_barred_by_word(channel, self.now)
            && self.seen.probes(channel, self.now).next().is_none()
    }

    /// Whether the channel was open for the question from that version to now, with one key that this request has
    /// not tried, and has room.
    pub fn serves(&self, id: i64, since: Version, groups: &[usize]) -> bool {
        let Some(model) = self.request.asked.model else {
            return false;
        };
        let own = &self.request.own;
        if own.knows(id, None) {
            return false;
        }
        let rows_at = |at: Version| self.database.at(at).channel(id);
        let is_open = |rows: &ChannelRows| {
            groups
                .iter()
                .any(|group| rows.truth((*group, model)) == Some(Truth::Open))
                && rows.speaks(self.request.asked.protocol)
                && rows
                    .spec
                    .max_in_flight
                    .is_none_or(|max| self.seen.in_flight(id) < max)
        };
        let Some(first) = rows_at(since) else {
            return false;
        };
        let versions = || (since..=self.database.now()).map(rows_at);
        let has_key = |key: &crate::world::KeyRows| {
            key.is_open()
                && !own.knows(id, Some(key.id))
                && versions().all(|rows| {
                    let row = rows.and_then(|rows| rows.key(key.id));
                    row.is_some_and(|row| row.is_open() && row.secret == key.secret)
                })
        };
        let is_keyless = || versions().all(|rows| rows.is_some_and(|rows| rows.keys.is_empty()));
        versions().all(|rows| rows.is_some_and(is_open)) && (first.keys.iter().any(has_key) || is_keyless())
    }
}
