//! What other nodes on the same database have changed is read anew here: routes are rebuilt for the channels that they
//! touched, tokens forgotten. When to ask, and from which version on, is `routing::hearing`'s to say.

use std::time::{Duration, Instant};

use log::{debug, info};
use tokio::time::sleep_until;

use super::counters;
use super::routing_handle::Routing;
use crate::routing::hearing::{Answer, Hearing, Outdated, Wanted};
use crate::routing::rebuilds::Urgency;
use crate::store::connect::Database;
use crate::store::error::StoreError;
use crate::store::notices::{self, Ear, News};
use crate::store::tokens::TokenId;

/// Hears the others for as long as there is routing. `known`: the version of the database before the first build
/// began; `None`: it could not be asked. Asks every `interval`, and whenever PostgreSQL calls; of zero, only then.
pub async fn run(routing: Routing, known: Option<i64>, interval: Duration) {
    let database = routing.database.clone();
    let mut ear = Ear::of(&database);
    if interval.is_zero() && ear.is_none() {
        return;
    }
    let mut hearing = Hearing::new(known, interval, Instant::now());
    loop {
        wait(ear.as_mut(), &mut hearing).await;
        match news(&database, hearing.asks()).await {
            Ok(news) => {
                let News {
                    version,
                    channels,
                    tokens,
                    anything,
                } = news;
                let answer = Answer {
                    version,
                    channels,
                    anything,
                };
                let outdated = hearing.answered(answer, Instant::now());
                act(&routing, version, outdated, tokens).await;
            }
            Err(error) => {
                hearing.failed(Instant::now());
                debug!(error:%; "it is not known what other nodes have changed");
            }
        }
    }
}

/// Until it is time to ask; calls bring that forward.
async fn wait(mut ear: Option<&mut Ear>, hearing: &mut Hearing) {
    loop {
        let at = hearing.ask_at();
        let time = async {
            match at {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let called = async {
            match ear.as_deref_mut() {
                Some(ear) => ear.called().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => return,
            () = called => hearing.called(Instant::now()),
        }
    }
}

async fn news(database: &Database, wanted: Wanted) -> Result<News, StoreError> {
    match wanted {
        Wanted::Since(known) => notices::since(database, known).await,
        Wanted::Version => Ok(News {
            version: notices::version(database).await?,
            ..News::default()
        }),
    }
}

async fn act(routing: &Routing, version: i64, outdated: Outdated, tokens: impl IntoIterator<Item = TokenId>) {
    if outdated.all_tokens {
        routing.forget_all_tokens().await;
    }
    for token in tokens {
        counters::NOTICES.with_label_values(&["token"]).inc();
        routing.forget_token_id(token).await;
    }
    let Some(scope) = outdated.routes else { return };
    counters::NOTICES.with_label_values(&["routes"]).inc();
    info!(version = version; "another node has changed routes");
    // A build that fails is tried again by itself; other news need not wait for it.
    let routing = routing.clone();
    tokio::spawn(async move { routing.rebuild(scope, Urgency::Admin).await });
}
