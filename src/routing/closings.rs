//! What a commit on this node has closed: it takes channels out of picks at once, before any build has
//! read the commit, and however builds fare (R10).
//!
//! The newest read wins. A closing bars what was read before it and nothing that was read after: a read
//! draws its moment before its first statement, a closing draws one after its commit was answered.

use rustc_hash::FxHashMap;

use super::ids::{ChannelId, GroupName, KeyId, ModelName, Moment};

/// What a committed change has taken from routes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Closed {
    /// The whole channel: closed, deleted, or without an enabled key.
    Channel(ChannelId),
    /// One ability: held, or its group or model was removed from the channel.
    Ability {
        channel: ChannelId,
        group: GroupName,
        model: ModelName,
    },
    /// One key: closed, deleted, or its secret replaced.
    Key { channel: ChannelId, key: KeyId },
}

/// A closing and the moment at which its commit was known to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    pub closed: Closed,
    pub at: Moment,
}

impl Closed {
    pub fn channel(&self) -> ChannelId {
        match self {
            Closed::Channel(channel) | Closed::Ability { channel, .. } | Closed::Key { channel, .. } => {
                *channel
            }
        }
    }
}

/// The closings that no build has read yet: empty most of the time.
#[derive(Clone, Debug, Default)]
pub struct Closings {
    channels: FxHashMap<ChannelId, Moment>,
    abilities: FxHashMap<(ChannelId, GroupName, ModelName), Moment>,
    keys: FxHashMap<KeyId, (ChannelId, Moment)>,
}

impl Closings {
    pub fn add(&mut self, closing: Closing) {
        let Closing { closed, at } = closing;
        match closed {
            Closed::Channel(channel) => raise(self.channels.entry(channel).or_default(), at),
            Closed::Ability {
                channel,
                group,
                model,
            } => {
                raise(self.abilities.entry((channel, group, model)).or_default(), at);
            }
            Closed::Key { channel, key } => raise(&mut self.keys.entry(key).or_insert((channel, at)).1, at),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.abilities.is_empty() && self.keys.is_empty()
    }

    pub fn len(&self) -> usize {
        self.channels.len() + self.abilities.len() + self.keys.len()
    }

    /// Whether a closing after `read_at` bars the channel's ability.
    pub fn bars_ability(
        &self,
        channel: ChannelId,
        group: &GroupName,
        model: &ModelName,
        read_at: Moment,
    ) -> bool {
        if self.channels.is_empty() && self.abilities.is_empty() {
            return false;
        }
        let later = |at: Option<&Moment>| at.is_some_and(|at| *at > read_at);
        later(self.channels.get(&channel))
            || (!self.abilities.is_empty()
                && later(self.abilities.get(&(channel, group.clone(), model.clone()))))
    }

    /// Whether a closing after `read_at` bars the key.
    pub fn bars_key(&self, key: KeyId, read_at: Moment) -> bool {
        !self.keys.is_empty() && self.keys.get(&key).is_some_and(|(_, at)| *at > read_at)
    }

    /// A build that began at `began` and read these channels (`None`: all) is installed.
    pub fn read_by_build(&mut self, began: Moment, covers: impl Fn(ChannelId) -> bool) {
        let stays = |channel: ChannelId, at: Moment| at > began || !covers(channel);
        self.channels.retain(|channel, at| stays(*channel, *at));
        self.abilities.retain(|(channel, ..), at| stays(*channel, *at));
        self.keys.retain(|_, (channel, at)| stays(*channel, *at));
    }

    /// A lookup that began at `began` found this ability of the channel open. Closings of keys stay: the
    /// snapshot, which serves this channel again from now on, may still hold a secret that was replaced.
    pub fn found_open(&mut self, channel: ChannelId, group: &GroupName, model: &ModelName, began: Moment) {
        if self.is_empty() {
            return;
        }
        let older = |at: Option<&Moment>| at.is_some_and(|at| *at < began);
        if older(self.channels.get(&channel)) {
            self.channels.remove(&channel);
        }
        let ability = (channel, group.clone(), model.clone());
        if older(self.abilities.get(&ability)) {
            self.abilities.remove(&ability);
        }
    }
}

fn raise(known: &mut Moment, at: Moment) {
    *known = (*known).max(at);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(at: u64) -> Closings {
        let mut closings = Closings::default();
        closings.add(Closing {
            closed: Closed::Channel(ChannelId(1)),
            at: Moment(at),
        });
        closings
    }

    fn bars(closings: &Closings, read_at: u64) -> bool {
        closings.bars_ability(ChannelId(1), &"g".into(), &"m".into(), Moment(read_at))
    }

    #[test]
    fn closings_are_counted_until_they_are_read() {
        let mut closings = Closings::default();
        assert_eq!((closings.len(), closings.is_empty()), (0, true));
        let channel = ChannelId(1);
        let ability = |model: &str| Closed::Ability {
            channel,
            group: "g".into(),
            model: model.into(),
        };
        let key = Closed::Key {
            channel,
            key: KeyId(1),
        };
        for closed in [Closed::Channel(channel), ability("m"), ability("n"), key] {
            closings.add(Closing {
                closed,
                at: Moment(5),
            });
        }
        assert_eq!((closings.len(), closings.is_empty()), (4, false));
        closings.read_by_build(Moment(6), |_| true);
        assert_eq!((closings.len(), closings.is_empty()), (0, true));
    }

    #[test]
    fn r10_closing_bars_what_was_read_before_it() {
        let closings = closed(5);
        assert!(bars(&closings, 4));
        assert!(!bars(&closings, 6));
    }

    #[test]
    fn r10_closing_outlasts_a_build_that_began_before_it() {
        let mut closings = closed(5);
        closings.read_by_build(Moment(4), |_| true);
        assert!(bars(&closings, 4));
        closings.read_by_build(Moment(6), |id| id != ChannelId(1));
        assert!(bars(&closings, 4), "a patch of other channels has not read it");
        closings.read_by_build(Moment(6), |_| true);
        assert!(closings.is_empty());
    }

    #[test]
    fn r10_newest_read_wins() {
        let mut closings = closed(5);
        let (group, model) = ("g".into(), "m".into());
        closings.found_open(ChannelId(1), &group, &model, Moment(4));
        assert!(
            bars(&closings, 4),
            "a lookup that began before the closing says nothing of it"
        );
        closings.found_open(ChannelId(1), &group, &model, Moment(6));
        assert!(closings.is_empty());
        closings.add(Closing {
            closed: Closed::Channel(ChannelId(1)),
            at: Moment(9),
        });
        closings.add(Closing {
            closed: Closed::Channel(ChannelId(1)),
            at: Moment(7),
        });
        closings.read_by_build(Moment(8), |_| true);
        assert!(
            bars(&closings, 8),
            "an older closing does not shorten a newer one"
        );
    }
}
