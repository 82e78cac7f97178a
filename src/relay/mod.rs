//! One request's way upstream and back: who asks, for what, at which channel, and what comes of it.
//!
//! `admit` → `body` → `request` → `journey`: (`failover` → router → `attempt`)* → `client_stream` → `passing`

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
mod client_stream;
mod decode;
mod journey;
mod keep_alive;
mod models;
mod passing;
mod prepare;
mod record;
mod resume;
mod rooms;
mod stream;
mod test_question;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::StatusCode;

pub use options::{RelayOptions, Timeouts};
pub use prepare::provider_traits;
pub use record::REQUESTS;

use self::answer::{Answer, Body};
use self::attempt::Served;
use self::body::BrokenOff;
use self::client_gone::ClientGone;
use self::journey::{Found, Journey};
use self::keep_alive::Quiet;
use self::record::Record;
use self::request::{Caller, Head, Request};
use crate::actors::Routing;
use crate::actors::tokens::Token;
use crate::protocol::stream::Started;
use crate::protocol::{Endpoint, ErrorAnswer};

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
        let (shape, streams) = (request.shape(), request.asked.is_stream());
        let journey = Journey::new(self.clone(), request, record.trail(), record.began());
        let keep_alive = self.options.keep_alive;
        let sign_after = keep_alive.filter(|_| streams && shape.keep_alive(Started::NotYet).is_some());
        let mut quiet = Quiet::new(sign_after);
        let mut seeking = journey.seek();
        let served = tokio::select! {
            biased;
            served = quiet.or_due(&mut seeking) => served,
            () = gone.wait() => return nobody_there(),
        };
        let answer = match (served, sign_after) {
            (Some((journey, found)), _) => answer_of(journey, found, keep_alive),
            (None, Some(every)) => client_stream::still_seeking(seeking, shape, every),
            // Without an interval nothing falls due.
            (None, None) => nobody_there(),
        };
        passing::watched(answer, gone, record)
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
}

fn answer_of(journey: Journey, found: Found, keep_alive: Option<Duration>) -> Answer {
    match found {
        Found::Served(attempts, served) => {
            let mut answer = match served {
                Served::Answer(answer) => answer,
                Served::Stream(begun) => client_stream::begun(journey, begun, keep_alive),
            };
            attempts.onto(&mut answer);
            answer
        }
        Found::Nothing(unserved) => unserved.into_answer(journey.request()),
    }
}

/// Nobody reads it.
fn nobody_there() -> Answer {
    Answer {
        status: StatusCode::SERVICE_UNAVAILABLE,
        headers: http::HeaderMap::new(),
        body: Body::Whole(Bytes::new()),
    }
}
