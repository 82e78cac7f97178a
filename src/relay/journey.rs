//! A request on its way through attempts: until one answers, or nothing is left to try.
//!
//! It owns what it needs, so it can go on inside the answer's body, behind a keep-alive or a stream that broke off.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::future::{FutureExt, LocalBoxFuture};

use super::Relay;
use super::affinity;
use super::answer::Answer;
use super::attempt::{Failure, Said, Served, Try, attempt};
use super::counters;
use super::failover::{Budget, Failover, Place, Step, Wanted};
use super::options::Timeouts;
use super::record::Trail;
use super::refusal;
use super::request::Request;
use super::resume::Told;
use super::rooms::to_routing;
use crate::actors::lease::Lease;
use crate::protocol::ErrorAnswer;
use crate::protocol::stream::StreamReader;
use crate::routing::ids::ModelName;
use crate::routing::outcome::Outcome;
use crate::routing::refusal::Refusal;
use crate::routing::rows::ModelSpec;

/// One request, what it may still spend, and what its client has of an answer.
pub struct Journey {
    relay: Relay,
    request: Request,
    failover: Failover,
    last: Option<(Attempts, Failure)>,
    pub told: Told,
    trail: Rc<Trail>,
    began: Instant,
}

/// What came of the attempts.
pub enum Found {
    Served(Attempts, Served),
    Nothing(Unserved),
}

/// The attempts under way, which bring their journey back.
pub type Seeking = LocalBoxFuture<'static, (Journey, Found)>;

impl Journey {
    /// `began`: when the request came.
    pub fn new(relay: Relay, request: Request, trail: Rc<Trail>, began: Instant) -> Journey {
        Journey {
            failover: failover(&relay, &request),
            told: Told::new(request.shape(), &request.asked),
            last: None,
            relay,
            request,
            trail,
            began,
        }
    }

    pub fn request(&self) -> &Request {
        &self.request
    }

    /// Attempts until one answers or nothing is left to try.
    pub fn seek(mut self) -> Seeking {
        async move {
            let found = self.attempts().await;
            (self, found)
        }
        .boxed_local()
    }

    /// An attempt failed behind its beginning. Whether there may be another: then [`Journey::seek`] makes it.
    pub fn failed(&mut self, place: Place, outcome: &Outcome) -> Step {
        self.failover
            .failed(place, outcome, Instant::now(), &mut rand::rng())
    }

    /// The body is not sent again.
    pub fn forget_request(&mut self) {
        self.request.body = Bytes::new();
    }

    /// The first real event of the answer has come.
    pub fn first_token(&self) {
        counters::FIRST_TOKEN_SECONDS.observe(self.began.elapsed().as_secs_f64());
    }

    /// A reader of the client's stream, for an error before any upstream's has begun.
    pub fn reader(&self) -> StreamReader {
        StreamReader::new(self.request.shape(), &self.request.asked)
    }

    async fn attempts(&mut self) -> Found {
        loop {
            let patience = self.failover.patience(Instant::now());
            let lease = match self.relay.routing.pick(self.failover.question(), patience).await {
                Ok(lease) => lease,
                Err(refusal) => match self.failover.refused(refusal, Instant::now()) {
                    Step::Pick => continue,
                    Step::End => return Found::Nothing(self.unserved()),
                },
            };
            self.failover.begins();
            let model = Arc::clone(self.failover.model());
            let attempts = Attempts::new(&lease, &model, &self.failover);
            self.trail.attempt(lease.channel().id, self.failover.attempts());
            let place = Place::of(&lease);
            let what = Try {
                request: &self.request,
                model: model.name.as_str(),
                timeouts: self.timeouts(&lease, &model),
                deadline: self.failover.deadline().into(),
            };
            let failure = match attempt(what, lease, &mut self.told).await {
                Ok(served) => {
                    self.remember(place, &served);
                    return Found::Served(attempts, served);
                }
                Err(failure) => failure,
            };
            let step = self.failed(place, &failure.outcome);
            self.last = Some((attempts, failure));
            match step {
                Step::Pick => {}
                Step::End => return Found::Nothing(self.unserved()),
            }
        }
    }

    /// A later request that builds on this answer goes where it is kept.
    fn remember(&self, place: Place, served: &Served) {
        let (routing, request) = (&self.relay.routing, &self.request);
        match served {
            Served::Answer(answer) => affinity::remember_whole(routing, request, place, answer),
            Served::Stream(begun) => {
                let first = begun.opening.held.front().cloned().unwrap_or_default();
                affinity::remember_stream(routing, request, place, first);
            }
        }
    }

    /// The model's own go before the channel's, those before the relay's: who sets a limit for a model knows how long
    /// that thinks, wherever it is served.
    fn timeouts(&self, lease: &Lease, model: &ModelSpec) -> Timeouts {
        let relays = self.relay.options.timeouts;
        let of_channel = &lease.channel().spec.settings.timeouts;
        relays.overridden_by(of_channel).overridden_by(&model.timeouts)
    }

    fn unserved(&mut self) -> Unserved {
        match self.last.take() {
            Some((attempts, failure)) => Unserved::failed(attempts, failure),
            None => Unserved::by_router(self.failover.refusal(), &self.request.model),
        }
    }
}

/// The models that may serve the request, and what it may spend on them.
fn failover(relay: &Relay, request: &Request) -> Failover {
    let snapshot = relay.routing.snapshot();
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
        retries: relay.options.retries,
        retry_wait: relay.options.retry_wait,
        deadline: Instant::now() + relay.options.deadline,
    };
    Failover::new(wanted, budget)
}

/// Nobody has answered.
pub struct Unserved {
    /// What was tried last, if anything.
    attempts: Option<Attempts>,
    /// The last upstream's own error, where it left one that may go on.
    said: Option<Box<Said>>,
    /// Ours.
    error: Box<ErrorAnswer>,
    /// A repeat of the request would fare no better.
    is_final: bool,
}

impl Unserved {
    fn by_router(refusal: &Refusal, model: &str) -> Unserved {
        Unserved {
            attempts: None,
            said: None,
            error: Box::new(refusal::of_router(refusal, model)),
            is_final: false,
        }
    }

    fn failed(attempts: Attempts, failure: Failure) -> Unserved {
        Unserved {
            attempts: Some(attempts),
            error: Box::new(refusal::of_attempt(&failure.outcome)),
            is_final: refusal::is_final(&failure.outcome),
            said: failure.said,
        }
    }

    /// The last upstream's own error, in the protocol that both sides speak; ours where it left none (R4).
    pub fn into_answer(self, request: &Request) -> Answer {
        let mut answer = match self.said {
            Some(said) => said.into_answer(),
            None => refusal::answer(
                *self.error,
                request.head.endpoint.protocol(),
                &request.head.caller.request_id,
            ),
        };
        if let Some(attempts) = self.attempts {
            attempts.onto(&mut answer);
        }
        if self.is_final {
            refusal::forbid_repeat(&mut answer);
        }
        answer
    }

    /// The same as the last event of a stream that has begun without it.
    pub fn into_event(self, reader: &StreamReader, request: &Request) -> Bytes {
        let said = self.said.and_then(|said| said.as_event(reader));
        said.unwrap_or_else(|| reader.error_event(&self.error.request_id(&request.head.caller.request_id)))
    }
}

/// What an answer tells of the attempts behind it.
pub struct Attempts {
    channel: String,
    model: String,
    count: u32,
}

impl Attempts {
    fn new(lease: &Lease, model: &ModelSpec, failover: &Failover) -> Attempts {
        Attempts {
            channel: lease.channel().id.to_string(),
            model: model.name.as_str().to_owned(),
            count: failover.attempts(),
        }
    }

    pub fn onto(&self, answer: &mut Answer) {
        answer.set("x-pointsman-channel", &self.channel);
        answer.set("x-pointsman-model", &self.model);
        answer.set("x-pointsman-attempts", &self.count.to_string());
    }
}
