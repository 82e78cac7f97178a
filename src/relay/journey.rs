//! A request on its way through attempts: until one answers, or nothing is left to try.
//!
//! It owns what it needs, so it can go on inside the answer's body, behind a keep-alive or a stream that broke off.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures::future::{FutureExt, LocalBoxFuture};
use log::info;

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
use crate::routing::outcome::{Breakage, Outcome};
use crate::routing::refusal::Refusal;
use crate::routing::rows::ModelSpec;

/// One request, what it may still spend, and what its client has of an answer.
pub struct Journey {
    relay: Relay,
    request: Request,
    failover: Failover,
    last: Last,
    /// Only a stream of events can still be of use: the client's has begun.
    wants_events: Rc<Cell<bool>>,
    pub told: Told,
    trail: Rc<Trail>,
    began: Instant,
}

/// What came of the attempts.
pub enum Found {
    Served(Attempts, Served),
    Nothing(Unserved),
}

/// What attempts left to tell of, if none answers.
#[derive(Default)]
struct Last {
    /// R4's last upstream's word.
    word: Option<(Attempts, Failure)>,
    /// What a fallback alone is to blame for: nobody has asked for that model, so it hides no other word.
    of_fallback: Option<(Attempts, Failure)>,
}

/// The attempts under way, which bring their journey back.
pub struct Seeking {
    attempts: LocalBoxFuture<'static, (Journey, Found)>,
    wants_events: Rc<Cell<bool>>,
}

impl Seeking {
    /// From now on the client has a stream that has begun: an answer in one piece cannot stand in it.
    pub fn wants_events(&self) {
        self.wants_events.set(true);
    }
}

impl Future for Seeking {
    type Output = (Journey, Found);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.attempts.as_mut().poll(cx)
    }
}

impl Journey {
    /// `began`: when the request came.
    pub fn new(relay: Relay, request: Request, trail: Rc<Trail>, began: Instant) -> Journey {
        Journey {
            failover: failover(&relay, &request),
            told: Told::new(request.shape(), &request.asked),
            last: Last::default(),
            wants_events: Rc::default(),
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
        let wants_events = Rc::clone(&self.wants_events);
        let attempts = async move {
            let found = self.attempts().await;
            (self, found)
        };
        Seeking {
            attempts: attempts.boxed_local(),
            wants_events,
        }
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
            let (place, failure) = match attempt(what, lease, &mut self.told).await {
                Ok(Served::Answer(_)) if self.client_has_a_stream() => self.in_one_piece(place),
                Ok(served) => {
                    self.remember(place, &served);
                    return Found::Served(attempts, served);
                }
                Err(failure) => (place, failure),
            };
            let of_fallback = self.failover.is_at_fallback();
            let step = self.failed(place, &failure.outcome);
            match of_fallback && is_fallbacks_own(&failure.outcome) {
                true => self.last.of_fallback = Some((attempts, failure)),
                false => self.last.word = Some((attempts, failure)),
            }
            match step {
                Step::Pick => {}
                Step::End => return Found::Nothing(self.unserved()),
            }
        }
    }

    fn client_has_a_stream(&self) -> bool {
        self.wants_events.get() || self.told.first().is_some()
    }

    /// A good answer, but no stream of events: others are asked, and this one, which would say it in one piece again,
    /// as little as after a probe that failed.
    fn in_one_piece(&self, place: Place) -> (Place, Failure) {
        let request_id = self.request.head.caller.request_id.as_str();
        info!(request_id, channel:% = place.channel; "an answer in one piece cannot go on with a stream, others are asked");
        let outcome = Outcome::Broken(Breakage::Garbage);
        (Place { probe: true, ..place }, Failure { outcome, said: None })
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
        let Last { word, of_fallback } = std::mem::take(&mut self.last);
        let refusal = self.failover.refusal();
        let is_known_to_come_back =
            matches!(refusal, Refusal::Overloaded { .. } | Refusal::RateLimited { .. });
        let by_router = || Unserved::by_router(refusal, &self.request.model);
        let mut unserved = match (word, of_fallback) {
            (Some((attempts, failure)), _) => Unserved::failed(attempts, failure),
            (None, Some((attempts, _))) if is_known_to_come_back => Unserved {
                attempts: Some(attempts),
                ..by_router()
            },
            (None, Some((attempts, failure))) => Unserved::failed(attempts, failure),
            (None, None) => by_router(),
        };
        if let Some(attempts) = &mut unserved.attempts {
            attempts.count = self.failover.attempts();
        }
        unserved
    }
}

/// Of a fallback's failures, those that say nothing about the model that was asked for.
fn is_fallbacks_own(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Refused { .. } | Outcome::NotHere(_) | Outcome::TooLong | Outcome::BadRequest => true,
        // It is down as the asked one is, or a policy forbids the answer.
        Outcome::Busy { .. } | Outcome::Broken(_) | Outcome::Silent | Outcome::Filtered => false,
        Outcome::Ok | Outcome::Gone => false,
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
