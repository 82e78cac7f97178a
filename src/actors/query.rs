//! `QueryActor`: asks the database what the snapshot does not know (R3), bounded (R11).
//!
//! Which lookup answers whom is [`Lookups`]' decision. Questions and answers pass through here; the choice
//! from what a lookup found is the `CacheActor`'s.

use std::sync::Arc;

use actix::prelude::*;
use log::warn;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::caught::caught;
use super::counters;
use super::messages::{Answer, HasModel, IsOpen, Pick, Unanswered};
use crate::routing::ids::{GroupName, ModelName};
use crate::routing::lookups::{Bounds, Lookups, Overloaded};
use crate::routing::router::{Found, NotOpen};
use crate::routing::snapshot::Snapshot;
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::find_route;

/// Waiting questions, past which the answer is *overloaded*: at a millisecond a lookup, about a second.
const WAITING_QUESTIONS: usize = 1024;

/// What one lookup asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    groups: Arc<[GroupName]>,
    model: ModelName,
}

type LookupAnswer = oneshot::Sender<Result<Arc<Found>, Unanswered>>;

pub struct QueryActor {
    database: Database,
    runtime: Handle,
    lookups: Lookups<Asked, LookupAnswer>,
    /// For rows that cannot be decoded: the last good definitions.
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl QueryActor {
    /// `connections` lookups run at once.
    pub fn new(
        database: Database,
        runtime: Handle,
        connections: usize,
        snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> QueryActor {
        let bounds = Bounds {
            running: connections,
            waiting: WAITING_QUESTIONS,
        };
        QueryActor {
            database,
            runtime,
            lookups: Lookups::new(bounds),
            snapshots,
        }
    }

    fn ask(
        &mut self,
        asked: Asked,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Result<Arc<Found>, Unanswered>> + use<> {
        let (asker, answer) = oneshot::channel();
        match caught(|| self.lookups.ask(asked, asker)) {
            Ok(Ok(())) => self.start_lookups(ctx),
            Ok(Err(Overloaded(asker))) => {
                counters::LOOKUPS.with_label_values(&["overloaded"]).inc();
                let _ = asker.send(Err(Unanswered::Overloaded));
            }
            Err(_) => {}
        }
        // Its turn and its lookup: while the database hangs, those who wait do not wait for all before them.
        let patience = self.database.options().lookup_deadline * 2;
        async move {
            match tokio::time::timeout(patience, answer).await {
                Ok(answer) => answer.unwrap_or(Err(Unanswered::Overloaded)),
                Err(_) => Err(Unanswered::LookupFailed),
            }
        }
    }

    fn start_lookups(&mut self, ctx: &mut Context<Self>) {
        while let Some(asked) = self.lookups.start_next() {
            let last_good = Arc::clone(&self.snapshots.borrow());
            let lookup = self
                .runtime
                .spawn(look_up(self.database.clone(), asked.clone(), last_good));
            ctx.spawn(lookup.into_actor(self).map(move |result, actor, ctx| {
                let answer = match result {
                    Ok(Ok(found)) => Ok(Arc::new(found)),
                    Ok(Err(error)) => actor.note_failure(&error.to_string()),
                    Err(_) => actor.note_failure("the lookup panicked"),
                };
                actor.ended(&asked, answer, ctx);
            }));
        }
    }

    fn ended(&mut self, asked: &Asked, answer: Result<Arc<Found>, Unanswered>, ctx: &mut Context<Self>) {
        if answer.is_ok() {
            counters::LOOKUPS.with_label_values(&["ok"]).inc();
        }
        for asker in self.lookups.ended(asked) {
            // An asker that has gone needs no answer.
            let _ = asker.send(answer.clone());
        }
        self.start_lookups(ctx);
    }

    fn note_failure(&self, reason: &str) -> Result<Arc<Found>, Unanswered> {
        counters::LOOKUPS.with_label_values(&["failed"]).inc();
        warn!(reason = reason; "lookup failed");
        Err(Unanswered::LookupFailed)
    }
}

async fn look_up(database: Database, asked: Asked, last_good: Arc<Snapshot>) -> Result<Found, StoreError> {
    let rows = find_route::candidates(&database, &asked.groups, &asked.model).await?;
    Ok(Found::new(rows.draft, &last_good, rows.began))
}

impl Actor for QueryActor {
    type Context = Context<Self>;
}

impl Handler<Pick> for QueryActor {
    type Result = ResponseFuture<Result<Answer, Unanswered>>;

    fn handle(&mut self, Pick(question): Pick, ctx: &mut Self::Context) -> Self::Result {
        let asked = Asked {
            groups: Arc::clone(&question.groups),
            model: question.model.clone(),
        };
        let answer = self.ask(asked, ctx);
        Box::pin(async move { answer.await.map(Answer::Route) })
    }
}

impl Handler<IsOpen> for QueryActor {
    type Result = ResponseFuture<Result<Result<(), NotOpen>, Unanswered>>;

    fn handle(
        &mut self,
        IsOpen {
            channel,
            group,
            model,
        }: IsOpen,
        ctx: &mut Self::Context,
    ) -> Self::Result {
        let answer = self.ask(
            Asked {
                groups: Arc::from([group.clone()]),
                model: model.clone(),
            },
            ctx,
        );
        Box::pin(async move { Ok(answer.await?.is_open(channel, group.as_str(), model.as_str())) })
    }
}

impl Handler<HasModel> for QueryActor {
    type Result = ResponseFuture<Result<bool, Unanswered>>;

    fn handle(&mut self, HasModel { groups, model }: HasModel, ctx: &mut Self::Context) -> Self::Result {
        let asked = Asked {
            groups: Arc::clone(&groups),
            model: model.clone(),
        };
        let answer = self.ask(asked, ctx);
        Box::pin(async move {
            let found = answer.await?;
            let has = |group: &GroupName| found.route.route(group.as_str(), model.as_str()).is_some();
            Ok(groups.iter().any(has))
        })
    }
}
