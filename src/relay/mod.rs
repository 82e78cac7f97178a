//! One request's way upstream and back: who asks, for what, at which channel, and what comes of it.
//!
//! `admit` → `body` → `request` → (`failover` → router → `attempt`)* → `stream` → `passing`

/// Bounds, budgets and timeouts.
pub mod options;
/// What the client asked for.
pub mod request;
/// A request's body within its bound.
pub mod body;
/// Which attempt comes next, or none.
pub mod failover;
/// Status, words and transport to outcome.
pub mod classify;
/// Why there is no answer.
pub mod refusal;
/// What goes back to the client.
pub mod answer;
/// Closes what its provider refuses.
pub mod closing;
/// One small request straight to one channel.
pub mod channel_test;
/// Tests what was closed, and reopens what works.
pub mod schedule;
/// When the client has gone.
pub mod client_gone;
/// What the relay counts.
pub mod counters;

mod admit;
mod affinity;
mod attempt;
mod decode;
mod models;
mod passing;
mod prepare;
mod record;
mod rooms;
mod stream;
mod test_question;
mod upstream;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::Stream;
use http::StatusCode;

pub use options::{RelayOptions, Timeouts};
pub use prepare::provider_traits;

use self::answer::{Answer, Body};
use self::attempt::{Failure, attempt};
use self::body::BrokenOff;
use self::client_gone::ClientGone;
use self::failover::{Budget, Failover, Place, Step, Wanted};
use self::record::Record;
use self::request::{Caller, Head, Request};
use self::rooms::to_routing;
use crate::actors::Routing;
use crate::actors::lease::Lease;
use crate::actors::tokens::Token;
use crate::protocol::{Endpoint, ErrorAnswer};
use crate::routing::ids::ModelName;
use crate::routing::refusal::Refusal;
use crate::routing::rows::ModelSpec;

/// The relay, cloned into every web worker.
#[derive(Clone)]
pub struct Relay {
    routing: Routing,
    options: Arc<RelayOptions>,
}

impl Relay {
    pub fn new(routing: Routing, options: RelayOptions) -> Relay {
        Relay {
            routing,
            options: Arc::new(options),
        }
    }

    /// Brings a request to an upstream and its answer back. `watch` makes of the payload, once it is read, what tells
    /// that the client has gone.
    pub async fn answer<P>(&self, head: Head, mut payload: P, watch: impl FnOnce(P) -> ClientGone) -> Answer
    where
        P: Stream<Item = Result<Bytes, BrokenOff>> + Unpin,
    {
        let protocol = head.endpoint.protocol();
        let request_id = head.caller.request_id.clone();
        let mut record = Record::new(&request_id, &head.caller.headers, head.endpoint);
        let request = match self.read(head, &mut payload, &mut record).await {
            Ok(request) => request,
            Err(error) => {
                let refused = refusal::answer(error, protocol, &request_id);
                return passing::watched(refused, ClientGone::never(), record);
            }
        };
        let mut gone = watch(payload);
        let served = tokio::select! {
            biased;
            served = self.serve(&request, &mut record) => served,
            () = gone.wait() => return nobody_there(),
        };
        match served {
            Ok(answer) => passing::watched(answer, gone, record),
            Err(Unserved { error, attempts }) => {
                let mut answer = refusal::answer(*error, protocol, &request_id);
                if let Some(told) = attempts {
                    told.onto(&mut answer);
                }
                passing::watched(answer, gone, record)
            }
        }
    }

    async fn admit(&self, caller: &Caller) -> Result<Arc<Token>, ErrorAnswer> {
        let address = admit::client_address(caller.peer, &caller.headers, &self.options.trusted_proxies);
        admit::admit(&self.routing, &caller.headers, caller.query.as_deref(), address).await
    }

    /// The token comes first: nobody unknown makes us read a body.
    async fn read<P>(&self, head: Head, payload: &mut P, record: &mut Record) -> Result<Request, ErrorAnswer>
    where
        P: Stream<Item = Result<Bytes, BrokenOff>> + Unpin,
    {
        let token = self.admit(&head.caller).await?;
        record.token = Some(token.id.0);
        record.model.clone_from(&head.path_model);
        let body = body::read(payload, &head.caller.headers, self.options.max_body).await?;
        let default_model = self.default_model(head.endpoint);
        let request = Request::read(head, token, body, default_model)?;
        record.model = Some(request.model.clone());
        record.stream = request.asked.is_stream();
        Ok(request)
    }

    fn default_model(&self, endpoint: Endpoint) -> Option<&str> {
        match endpoint {
            Endpoint::Moderations => Some(&self.options.moderation_model),
            Endpoint::ImagesGenerations | Endpoint::ImagesEdits | Endpoint::ImagesVariations => {
                Some(&self.options.image_model)
            }
            _ => endpoint.default_model(),
        }
    }

    /// The models that may serve the request, and what it may spend on them.
    fn failover(&self, request: &Request) -> Failover {
        let snapshot = self.routing.snapshot();
        let spec = |name: &ModelName| match snapshot.model(name.as_str()) {
            Some(spec) => Arc::clone(spec),
            None => Arc::new(ModelSpec::plain(name.clone())),
        };
        let asked = spec(&ModelName::new(&request.model));
        let fallbacks: Vec<_> = asked.fallbacks.iter().map(spec).collect();
        let wanted = Wanted {
            groups: Arc::clone(&request.token.groups),
            protocol: to_routing(request.head.endpoint.protocol()),
            models: std::iter::once(asked).chain(fallbacks).collect(),
            conversation: affinity::conversation(request),
            state: affinity::state(request),
        };
        let budget = Budget {
            retries: self.options.retries,
            retry_wait: self.options.retry_wait,
            deadline: Instant::now() + self.options.deadline,
        };
        Failover::new(wanted, budget)
    }

    /// Attempts until one answers or nothing is left to try.
    async fn serve(&self, request: &Request, record: &mut Record) -> Result<Answer, Unserved> {
        let mut failover = self.failover(request);
        let mut last: Option<(Attempts, Failure)> = None;
        loop {
            let now = Instant::now();
            let patience = failover.patience(now);
            let lease = match self.routing.pick(failover.question(), patience).await {
                Ok(lease) => lease,
                Err(refusal) => match (failover.refused(refusal, Instant::now()), last) {
                    (Step::Pick, kept) => {
                        last = kept;
                        continue;
                    }
                    (Step::End, Some(last)) => return last_word(last),
                    (Step::End, None) => {
                        return Err(Unserved::by_router(failover.refusal(), &request.model));
                    }
                },
            };
            failover.begins();
            let model = Arc::clone(failover.model());
            let told = Attempts::new(&lease, model.name.as_str(), &failover);
            record.channel = Some(lease.channel().id);
            record.attempts = failover.attempts();
            let place = Place::of(&lease);
            let timeouts = self
                .options
                .timeouts
                .overridden_by(&lease.channel().spec.settings.timeouts)
                .overridden_by(&model.timeouts);
            let failure = match attempt(request, &model, lease, timeouts, failover.deadline().into()).await {
                Ok(mut answer) => {
                    affinity::remember_whole(&self.routing, request, place, &answer);
                    told.onto(&mut answer);
                    return Ok(answer);
                }
                Err(failure) => failure,
            };
            let step = failover.failed(place, &failure.outcome, Instant::now(), &mut rand::rng());
            match step {
                Step::Pick => last = Some((told, failure)),
                Step::End => return last_word((told, failure)),
            }
        }
    }
}

/// No answer but an error of our own.
struct Unserved {
    error: Box<ErrorAnswer>,
    /// What was tried, if anything.
    attempts: Option<Attempts>,
}

impl Unserved {
    fn by_router(refusal: &Refusal, model: &str) -> Unserved {
        Unserved {
            error: Box::new(refusal::of_router(refusal, model)),
            attempts: None,
        }
    }
}

/// What an answer tells of the attempts behind it.
struct Attempts {
    channel: String,
    model: String,
    count: u32,
}

impl Attempts {
    fn new(lease: &Lease, model: &str, failover: &Failover) -> Attempts {
        Attempts {
            channel: lease.channel().id.to_string(),
            model: model.to_owned(),
            count: failover.attempts(),
        }
    }

    fn onto(&self, answer: &mut Answer) {
        answer.set("x-pointsman-channel", &self.channel);
        answer.set("x-pointsman-model", &self.model);
        answer.set("x-pointsman-attempts", &self.count.to_string());
    }
}

/// The last upstream's own error, in the protocol that both sides speak; ours where it left none (R4).
fn last_word((told, failure): (Attempts, Failure)) -> Result<Answer, Unserved> {
    let Some(said) = failure.said else {
        return Err(Unserved {
            error: Box::new(refusal::of_attempt(&failure.outcome)),
            attempts: Some(told),
        });
    };
    let mut answer = said.into_answer();
    told.onto(&mut answer);
    if refusal::is_final(&failure.outcome) {
        refusal::forbid_repeat(&mut answer);
    }
    Ok(answer)
}

/// Nobody reads it.
fn nobody_there() -> Answer {
    Answer {
        status: StatusCode::SERVICE_UNAVAILABLE,
        headers: http::HeaderMap::new(),
        body: Body::Whole(Bytes::new()),
    }
}
