//! Whether a grant kept the order of choice: group, priority and standby (R2), and what cools only where nothing else
//! is left, the soonest due (R13).
//!
//! What cools is read off the router's own view: that the view is right is for the unit tests of `routing::health`.

use std::cmp::Reverse;

use pointsman::routing::health::{HealthPart, HealthState, HealthView};

use crate::judge::Case;
use crate::oracle::{LeaseNote, Verdict, fault};
use crate::request::Stage;
use crate::world::{Ability, ChannelRows, Version};

impl Case<'_> {
    /// R2: nothing that the snapshot shows goes before it, by group, priority, or as its standby.
    pub fn is_first_in_order(&self, note: &LeaseNote, (group, model): Ability) -> Verdict {
        let (granted, version) = (note.channel, note.version);
        let place_of = |group: usize| self.request.asked.groups.iter().position(|asked| *asked == group);
        let order = |id: i64, group: usize, version: Version| {
            let rows = self.database.at(version).channel(id)?;
            let ability = rows.abilities.get(&(group, model))?;
            let priority = ability.priority.unwrap_or(rows.spec.priority);
            let weight = ability.weight.unwrap_or(rows.spec.weight);
            Some((place_of(group)?, Reverse(priority), weight == 0))
        };
        if self.request.hints.state.is_some() {
            return Ok(()); // its home goes before
        }
        // Where nothing has rotted since, nothing of it is last good: all of it is of that version.
        let Some(of_granted) = order(granted, group, version).filter(|_| !self.rotted(granted, version))
        else {
            return Ok(());
        };
        for (other, read) in &self.seen.knows {
            if *other == granted || self.has_rot_at(*other, *read) || !self.is_well(*other) {
                continue;
            }
            for group in &self.request.asked.groups {
                let goes_before = order(*other, *group, *read).is_some_and(|other| other < of_granted);
                if goes_before && self.serves(*other, *read, &[*group]) {
                    return fault(
                        "R2",
                        format!(
                            "channel {granted} of v{version} was picked before channel {other} of v{read}"
                        ),
                    );
                }
            }
        }
        Ok(())
    }

    /// R13: what cools is passed over, in whatever tier the rest stands; where nothing else is left, the soonest due
    /// is tried, but never against its provider's word.
    pub fn passes_over_what_cools(&self, note: &LeaseNote) -> Verdict {
        let views = || {
            self.views
                .iter()
                .filter(|view| view.channel.0 == note.channel && self.touches(view, note.key))
        };
        if views().any(|view| view.state == HealthState::Barred) {
            return fault(
                "R13",
                format!("channel {} was picked against a word", note.channel),
            );
        }
        // The grant itself has made a probe of what it found cooling: what is left of the cooling stays.
        let left = views().map(|view| view.cooling_ms).max().unwrap_or_default();
        if left == 0 {
            return Ok(());
        }
        if self.request.stage != Stage::WhateverThereIs {
            return fault(
                "R13",
                format!("channel {} cools, and was not passed over", note.channel),
            );
        }
        let groups = &self.request.asked.groups;
        for (other, read) in &self.seen.knows {
            let is_rival = *other != note.channel && self.serves(*other, *read, groups);
            let due = if is_rival { self.due(*other, *read) } else { None };
            // Both are cut to whole milliseconds.
            if due.is_some_and(|due| due + 1 < left) {
                return fault(
                    "R13",
                    format!(
                        "channel {} was tried {left} ms before it is due, and channel {other} is due before",
                        note.channel
                    ),
                );
            }
        }
        Ok(())
    }

    /// Nothing speaks against any part of the channel that the question could touch.
    fn is_well(&self, channel: i64) -> bool {
        self.seen.is_blameless(channel, self.now)
            || (self.is_unprobed(channel)
                && self.views.iter().all(|view| {
                    view.channel.0 != channel || !self.touches_any_key(view) || may_be_chosen(view.state)
                }))
    }

    /// In how many milliseconds a channel that may be chosen then can be: 0 for one that is well.
    fn due(&self, channel: i64, read: Version) -> Option<u64> {
        let rows = self.database.at(read).channel(channel)?;
        if !self.is_unprobed(channel) {
            return None;
        }
        let due = |key: Option<i64>| {
            let views = self
                .views
                .iter()
                .filter(|view| view.channel.0 == channel && self.touches(view, key));
            let mut due = 0;
            for view in views {
                match view.state {
                    HealthState::Barred | HealthState::Probing => return None,
                    HealthState::Cooling => due = due.max(view.cooling_ms),
                    HealthState::Watched | HealthState::HalfOpen => {}
                }
            }
            Some(due)
        };
        if rows.keys.is_empty() {
            return due(None);
        }
        // All of them: which one the request may not use is not asked again here.
        let dues: Option<Vec<u64>> = rows.keys.iter().map(|key| due(Some(key.id))).collect();
        dues?.into_iter().max()
    }

    fn is_unprobed(&self, channel: i64) -> bool {
        self.seen.probes(channel, self.now).next().is_none()
    }

    fn touches(&self, view: &HealthView, key: Option<i64>) -> bool {
        let is_key = view.key.map(|key| key.0) == key;
        match view.part {
            HealthPart::Key | HealthPart::KeyForModel => is_key && self.touches_any_key(view),
            HealthPart::Connections | HealthPart::Model => self.touches_any_key(view),
        }
    }

    fn touches_any_key(&self, view: &HealthView) -> bool {
        view.model
            .as_ref()
            .is_none_or(|model| *model == self.request.model)
    }

    pub fn has_rot_at(&self, channel: i64, version: Version) -> bool {
        self.database
            .at(version)
            .channel(channel)
            .is_some_and(ChannelRows::has_rot)
    }
}

/// As if it were well, if nobody probes it.
fn may_be_chosen(state: HealthState) -> bool {
    matches!(state, HealthState::Watched | HealthState::HalfOpen)
}
