//! What excuses a refusal: something that stands in the way of this very question, not of another.

use std::time::Duration;

use crate::judge::Case;
use crate::oracle::{LONGEST_BELIEF, Verdict, fault};
use crate::truth::Truth;
use crate::world::{ChannelRows, Version};

impl Case<'_> {
    /// R4, R13: some channel that is open for the question is full, cools or is probed.
    pub fn overloaded(&self) -> Verdict {
        let channels = self.database.channels_ever();
        let mut open = channels.filter(|id| self.versions(*id).any(|at| self.may_serve(*id, at)));
        if open.any(|id| self.is_taken(id)) {
            return Ok(());
        }
        fault(
            "R13",
            "overloaded, and nothing that serves the question is full or has failed",
        )
    }

    /// R13: the provider of a channel that is open for the question has said so, of this model and for so long.
    pub fn rate_limited(&self, retry_after: Duration) -> Verdict {
        let said_so = self.seen.words.iter().any(|word| {
            word.model == self.request.model
                && word.until.checked_duration_since(self.now) == Some(retry_after)
                && self
                    .versions(word.channel)
                    .any(|at| self.may_serve(word.channel, at))
        });
        if said_so && retry_after <= LONGEST_BELIEF {
            return Ok(());
        }
        fault(
            "R13",
            format!("rate_limited for {retry_after:?}, and no provider of this question has said so"),
        )
    }

    /// R3: where the snapshot has an open route that is only full or barred, that is the answer, also if the lookup
    /// failed.
    pub fn knows_no_route(&self) -> Verdict {
        let groups = &self.request.asked.groups;
        match (self.seen.knows.iter()).find(|(id, read)| self.serves(**id, **read, groups)) {
            None => Ok(()),
            Some((id, read)) => fault(
                "R3",
                format!("routing_unavailable, and the snapshot has channel {id}, open since v{read}"),
            ),
        }
    }

    /// Every version at which what is known of the channel may have been read.
    fn versions(&self, channel: i64) -> impl Iterator<Item = Version> {
        let read = self.seen.read.get(&channel).copied();
        (self.request.ask.version..=self.database.now()).chain(read)
    }

    fn may_serve(&self, channel: i64, at: Version) -> bool {
        let Some(rows) = self.database.at(at).channel(channel) else {
            return false;
        };
        let Some(model) = self.request.asked.model else {
            return false;
        };
        let is_open = |group: &usize| matches!(rows.truth((*group, model)), Some(Truth::Open | Truth::Maybe));
        // A last good definition may speak another protocol.
        let speaks = rows.bad_spec || rows.speaks(self.request.asked.protocol);
        speaks && self.request.asked.groups.iter().any(is_open)
    }

    fn is_taken(&self, channel: i64) -> bool {
        let in_flight = self.seen.in_flight(channel);
        let is_full =
            |rows: &ChannelRows| rows.bad_spec || rows.spec.max_in_flight.is_some_and(|max| max <= in_flight);
        let mut rows = (self.versions(channel)).filter_map(|at| self.database.at(at).channel(channel));
        !self.seen.is_blameless(channel, self.now) || (in_flight > 0 && rows.any(is_full))
    }
}
