//! A picked channel and key, which reports its outcome exactly once.

use std::sync::Arc;

use actix::Addr;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::cache::CacheActor;
use super::good_news::GoodNews;
use super::messages::{FirstEvent, Report};
use super::upkeep::Refusals;
use crate::routing::ids::{Generation, GroupName};
use crate::routing::outcome::Outcome;
use crate::routing::pick::Picked;
use crate::routing::router::Grant;
use crate::routing::snapshot::{Channel, Key};

/// One attempt's right to one channel and one key. Dropped without a report, whether the request went away
/// or the answer to the `Pick` reached nobody, it reports [`Outcome::Gone`], which marks nothing.
#[must_use = "a lease is reported on, or counts as gone"]
pub struct Lease {
    grant: Grant,
    /// `None` once it has reported.
    owner: Option<Owner>,
    /// One of the leases that may be out at once.
    _permit: Option<OwnedSemaphorePermit>,
}

enum Owner {
    Actor {
        actor: Addr<CacheActor>,
        /// Where an end in good order can be left: nothing that it touches is anything but well.
        good_news: Option<GoodNews>,
        refusals: Option<Refusals>,
    },
    /// Whoever asks a channel by itself: its word goes to no health.
    Asker(oneshot::Sender<Outcome>),
}

impl Lease {
    pub(super) fn new(grant: Grant, actor: Addr<CacheActor>, good_news: &GoodNews) -> Lease {
        let good_news = grant.is_quiet().then(|| good_news.clone());
        let owner = Owner::Actor {
            actor,
            good_news,
            refusals: None,
        };
        Lease {
            grant,
            owner: Some(owner),
            _permit: None,
        }
    }

    /// A lease that no pick has given: of this one channel, whatever its status. How it ended is told to the
    /// asker and nobody else.
    pub fn detached(channel: Channel) -> (Lease, oneshot::Receiver<Outcome>) {
        let (asker, outcome) = oneshot::channel();
        let key = channel.keys.first().cloned();
        let grant = Grant::detached(Picked {
            channel: Arc::new(channel),
            key,
            group: GroupName::new(""),
        });
        let lease = Lease {
            grant,
            owner: Some(Owner::Asker(asker)),
            _permit: None,
        };
        (lease, outcome)
    }

    pub(super) fn with(self, permit: OwnedSemaphorePermit, told: &Refusals) -> Lease {
        let mut lease = self;
        lease._permit = Some(permit);
        if let Some(Owner::Actor { refusals, .. }) = &mut lease.owner {
            *refusals = Some(told.clone());
        }
        lease
    }

    pub fn channel(&self) -> &Channel {
        &self.grant.picked.channel
    }

    /// `None` for a channel whose provider needs none.
    pub fn key(&self) -> Option<&Key> {
        self.grant.picked.key.as_ref()
    }

    /// The token's group whose route gave this channel.
    pub fn group(&self) -> &str {
        self.grant.picked.group.as_str()
    }

    /// It finds out whether something that cooled works again: when it fails, its request goes elsewhere.
    pub fn is_probe(&self) -> bool {
        self.grant.probe
    }

    /// The snapshot under which it was picked.
    pub fn generation(&self) -> Generation {
        self.grant.generation
    }

    /// The answer's first real event has come: what this lease probed is well again. Where all was well there is nothing
    /// to tell.
    pub fn first_event(&self) {
        if let Some(Owner::Actor {
            actor,
            good_news: None,
            ..
        }) = &self.owner
        {
            actor.do_send(FirstEvent {
                lease: self.grant.lease,
            });
        }
    }

    /// How the attempt ended.
    pub fn report(mut self, outcome: Outcome) {
        self.send(outcome);
    }

    fn send(&mut self, outcome: Outcome) {
        match self.owner.take() {
            Some(Owner::Actor {
                actor,
                good_news,
                refusals,
            }) => {
                let lease = self.grant.lease;
                if let (Outcome::Refused { reason }, Some(refusals)) = (&outcome, refusals) {
                    refusals.tell(self.channel(), self.key(), reason);
                }
                match (&outcome, good_news) {
                    (Outcome::Ok, Some(good_news)) => good_news.leave(lease),
                    _ => actor.do_send(Report { lease, outcome }),
                }
            }
            // An asker that has gone wants to know nothing.
            Some(Owner::Asker(asker)) => drop(asker.send(outcome)),
            None => {}
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.send(Outcome::Gone);
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("lease", &self.grant.lease)
            .field("channel", &self.channel().id)
            .field("key", &self.key().map(|key| key.id))
            .finish()
    }
}
