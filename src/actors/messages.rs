//! The messages of routing: who sends each, and when it is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Message;
use serde::Serialize;
use tokio::sync::oneshot;

use super::lease::Lease;
use crate::routing::closings::Closing;
use crate::routing::health::{HealthView, LeaseId};
use crate::routing::ids::{ChannelId, Generation, GroupName, ModelName};
use crate::routing::outcome::Outcome;
use crate::routing::pick::{Question, Shortage};
use crate::routing::rebuilds::{Scope, Urgency};
use crate::routing::refusal::Refusal;
use crate::routing::remembered::{Home, StateId};
use crate::routing::router::{Built, Found, NotOpen};
use crate::routing::snapshot::{Counts, Quarantined};

/// Sent by: [`Routing::pick`](super::Routing::pick), to `CacheActor`, and on a miss to `QueryActor`.
/// Answered: by `CacheActor` at once; by `QueryActor` when a lookup that began after this arrived has ended.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Answer, Unanswered>")]
pub struct Pick(pub Arc<Question>);

/// Sent by: [`Routing::pick`](super::Routing::pick), for all that ask on one thread at the same time. Answered: as each
/// [`Pick`] would be, in their order.
#[derive(Debug, Message)]
#[rtype(result = "Vec<Result<Answer, Unanswered>>")]
pub struct Several(pub Vec<Pick>);

/// What a [`Pick`] gets.
#[derive(Debug)]
pub enum Answer {
    /// From `CacheActor`: a channel and a key.
    Lease(Lease),
    /// From `QueryActor`: what the database has, to [`Choose`] from.
    Route(Arc<Found>),
}

/// Why a [`Pick`] got nothing from this actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The snapshot cannot answer with a channel: ask the `QueryActor`.
    Miss(Shortage),
    /// The database could not be asked.
    LookupFailed,
    /// Too many ask at once.
    Overloaded,
}

/// Sent by: [`Routing::pick`](super::Routing::pick), with the route that a lookup found. Answered: at once.
#[derive(Debug, Message)]
#[rtype(result = "Choice")]
pub struct Choose {
    pub question: Arc<Question>,
    /// `None`: the lookup failed, and what the snapshot has is all that is known.
    pub found: Option<Arc<Found>>,
}

/// Sent by: [`Routing::pick`](super::Routing::pick), in place of [`Choose`], by whoever would rather wait than be
/// refused. Answered through `answer`: at once if there is nothing to wait for, else when a channel is free, in
/// order of arrival. An asker that has dropped its end has left the line.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Wait {
    pub question: Arc<Question>,
    pub found: Option<Arc<Found>>,
    /// What comes only after this is not waited for. The asker goes by then.
    pub until: Instant,
    pub answer: oneshot::Sender<Choice>,
}

/// Sent by: [`Routing::remember_response`](super::Routing::remember_response). Not answered.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct Remember {
    pub id: StateId,
    pub home: Home,
}

/// What a [`Choose`] or a [`Wait`] gets.
#[derive(Debug)]
pub enum Choice {
    Lease(Lease),
    Refused(Refusal),
    /// The lookup is older than what is known by now: ask again.
    Outdated,
}

/// Sent by: admin calls after a commit, the sync timer, a choice from a lookup's route.
/// Answered: when a build that began after this arrived has ended.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Generation, BuildFailed>")]
pub struct Rebuild {
    pub scope: Scope,
    pub urgency: Urgency,
}

/// A build failed; the last good snapshot serves on (R6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{reason}")]
pub struct BuildFailed {
    /// Without secrets; for operators.
    pub reason: String,
}

/// Sent by: changes, right after their commit. Answered: at once; no later pick returns what was closed.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Close(pub Vec<Closing>);

/// Sent by: a [`Lease`], exactly once. Not answered.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Report {
    pub lease: LeaseId,
    pub outcome: Outcome,
}

/// Sent by: a [`Lease`] whose answer has begun. Not answered.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct FirstEvent {
    pub lease: LeaseId,
}

/// Sent by: `CacheActor` to itself. A build has ended, or was given up.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct BuildEnded {
    pub number: crate::routing::rebuilds::BuildNumber,
    pub result: Result<Box<Built>, BuildFailed>,
    pub counts: Counts,
    pub took: Duration,
}

/// Sent by: the admin REST, metrics, probes, tests. Answered: at once. The only window on the actor.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Box<Inspection>")]
pub struct Inspect;

/// What the `CacheActor` holds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Inspection {
    pub generation: Generation,
    /// Unix milliseconds; `None` before the first snapshot.
    pub built_at: Option<i64>,
    /// While picks go by a snapshot from a file, as the database has not been asked yet: when the database had last been
    /// read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_at: Option<i64>,
    pub age_ms: Option<u64>,
    pub build_ms: Option<u64>,
    pub counts: Counts,
    pub quarantined: Vec<Quarantined>,
    pub last_error: Option<LastError>,
    /// Builds that failed since the last that did not.
    pub failures: u32,
    /// Closings that no build has read yet.
    pub closings: usize,
    /// Leases that have not reported.
    pub leases: usize,
    /// Requests that wait for a channel.
    pub waiting: usize,
    pub health: Vec<HealthView>,
}

/// Why the last build that failed did so.
#[derive(Clone, Debug, Serialize)]
pub struct LastError {
    pub reason: String,
    /// Unix milliseconds.
    pub at: i64,
}

/// Sent by: [`Routing::knows_model`](super::Routing::knows_model). Answered: when a lookup that began after this
/// arrived has ended, with whether any of the groups has an ability for the model, open or not.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<bool, Unanswered>")]
pub struct HasModel {
    pub groups: Arc<[GroupName]>,
    pub model: ModelName,
}

/// Sent by: whoever must know of one ability whether it is open, asked of the database with the channel's
/// own status joined in. Answered: when a lookup that began after this arrived has ended.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Result<(), NotOpen>, Unanswered>")]
pub struct IsOpen {
    pub channel: ChannelId,
    pub group: GroupName,
    pub model: ModelName,
}
