//! What other nodes on the same database have changed is read anew here: routes are rebuilt for the channels that they
//! touched, tokens forgotten.

use std::time::Duration;

use log::{debug, info};
use tokio::time::sleep;

use super::counters;
use super::routing_handle::Routing;
use crate::routing::rebuilds::{Scope, Urgency};
use crate::store::connect::Database;
use crate::store::notices::{self, Ear, News};

/// A call is answered by a question to the database; many calls at once are answered by few.
const CALLS_WITHIN: Duration = Duration::from_millis(20);

/// Hears the others for as long as there is routing. `known`: the version of the database before the first build
/// began; `None`: it could not be asked. Asks every `interval`, and whenever PostgreSQL calls; of zero, only then.
pub async fn run(routing: Routing, known: Option<i64>, interval: Duration) {
    let database = routing.database.clone();
    let mut ear = Ear::of(&database);
    if interval.is_zero() && ear.is_none() {
        return;
    }
    let mut known = known;
    loop {
        wait(ear.as_mut(), interval).await;
        match news(&database, known).await {
            Ok(news) => {
                known = Some(news.version);
                act(&routing, news).await;
            }
            Err(error) => debug!(error:%; "it is not known what other nodes have changed"),
        }
    }
}

/// Until it is time to ask, or somebody calls.
async fn wait(ear: Option<&mut Ear>, interval: Duration) {
    let time = async {
        match interval.is_zero() {
            true => std::future::pending().await,
            false => sleep(interval).await,
        }
    };
    let called = async {
        match ear {
            Some(ear) => ear.called().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = time => {}
        () = called => sleep(CALLS_WITHIN).await,
    }
}

async fn news(database: &Database, known: Option<i64>) -> Result<News, notices::Failed> {
    match known {
        Some(known) => notices::since(database, known).await,
        None => Ok(News {
            version: notices::version(database).await?,
            anything: true,
            ..News::default()
        }),
    }
}

async fn act(routing: &Routing, news: News) {
    let scope = match (news.anything, news.channels) {
        (true, _) => {
            routing.forget_all_tokens().await;
            Some(Scope::Everything)
        }
        (false, channels) => channels.map(Scope::Channels),
    };
    for token in news.tokens {
        counters::NOTICES.with_label_values(&["token"]).inc();
        routing.forget_token_id(token).await;
    }
    let Some(scope) = scope else { return };
    counters::NOTICES.with_label_values(&["routes"]).inc();
    info!(version = news.version; "another node has changed routes");
    // A build that fails is tried again by itself; other news need not wait for it.
    let routing = routing.clone();
    tokio::spawn(async move { routing.rebuild(scope, Urgency::Admin).await });
}
