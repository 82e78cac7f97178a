//! `/api/channels/{id}/test`, `/api/channels/test`: asks channels themselves, whatever their status, and opens
//! nothing. `/api/channels/{id}/upstream-models`: what the upstream says that it serves.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{Body, OptionalBody};
use super::channels::channel_id;
use super::fields::{Faults, NAME_LENGTH};
use super::query::Query;
use crate::protocol::Protocol;
use crate::relay::channel_test::{NoList, NotTested, Order};
use crate::routing::ids::{ChannelId, KeyId};
use crate::routing::rows::Status;
use crate::store::channels::{self, ChannelFilter, ChannelSort};
use crate::store::paging::{Direction, Page};
use crate::web::Desk;
use crate::web::problem::{ApiError, What};

/// Channels of one call: as many as are tested in the time for which callers wait.
const MANY: usize = 100;
/// Of one call; the tests themselves are bounded beside.
const AT_ONCE: usize = 10;

/// `{"model"?, "stream"?, "protocol"?, "key_id"?}`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestBody {
    model: Option<String>,
    stream: Option<bool>,
    protocol: Option<Protocol>,
    key_id: Option<i64>,
}

/// `{"ids" | "tag" | "status", "model"?, "stream"?, "protocol"?}`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManyBody {
    ids: Option<Vec<i64>>,
    tag: Option<String>,
    status: Option<Status>,
    model: Option<String>,
    stream: Option<bool>,
    protocol: Option<Protocol>,
}

pub async fn test_one(
    desk: Data<Desk>,
    request: HttpRequest,
    OptionalBody(body): OptionalBody<TestBody>,
) -> Result<HttpResponse, ApiError> {
    let id = channel_id(&request)?;
    let mut faults = Faults::default();
    let order = Order {
        model: model(&mut faults, body.model.as_deref()),
        protocol: body.protocol,
        stream: body.stream.unwrap_or_default(),
        key: body.key_id.map(KeyId),
    };
    faults.none()?;
    let verdict = desk.tests.test(id, &order).await.map_err(not_tested)?;
    Ok(HttpResponse::Ok().json(verdict))
}

/// One that cannot be tested keeps the others from nothing.
pub async fn test_many(desk: Data<Desk>, Body(body): Body<ManyBody>) -> Result<HttpResponse, ApiError> {
    let mut faults = Faults::default();
    let order = Order {
        model: model(&mut faults, body.model.as_deref()),
        protocol: body.protocol,
        stream: body.stream.unwrap_or_default(),
        key: None,
    };
    let which = which(&mut faults, body);
    faults.none()?;
    let (ids, total) = channels(&desk, which).await?;
    let (tests, order) = (&desk.tests, &order);
    let verdicts = futures::stream::iter(ids).map(|id| async move {
        let mut item = match tests.test(id, order).await {
            Ok(verdict) => serde_json::to_value(verdict).unwrap_or_default(),
            Err(error) => untested(&error),
        };
        item["channel_id"] = json!(id);
        item
    });
    let items: Vec<Value> = verdicts.buffered(AT_ONCE).collect().await;
    Ok(HttpResponse::Ok().json(json!({"items": items, "total": total})))
}

pub async fn upstream_models(
    desk: Data<Desk>,
    request: HttpRequest,
    mut query: Query,
) -> Result<HttpResponse, ApiError> {
    let id = channel_id(&request)?;
    let protocol = query.word("protocol", "openai, anthropic, gemini", |word| word.parse().ok());
    query.done()?;
    match desk.tests.upstream_models(id, protocol).await {
        Ok(models) => Ok(HttpResponse::Ok().json(json!({"models": models}))),
        Err(NoList::NotTested(error)) => Err(not_tested(error)),
        Err(NoList::Failed(error)) => Err(ApiError::Upstream(format!("{}: {}", error.code, error.message))),
    }
}

/// An empty one is as none.
fn model(faults: &mut Faults, given: Option<&str>) -> Option<String> {
    let given = given.filter(|model| !model.trim().is_empty())?;
    faults.name("model", given, NAME_LENGTH)
}

enum Which {
    These(Vec<ChannelId>),
    Those(ChannelFilter),
}

fn which(faults: &mut Faults, body: ManyBody) -> Which {
    match (body.ids, body.tag, body.status) {
        (Some(ids), None, None) => {
            if ids.is_empty() {
                faults.add("ids", "must not be empty");
            } else if ids.len() > MANY {
                faults.add("ids", format!("must have at most {MANY} entries"));
            }
            let mut ids: Vec<ChannelId> = ids.into_iter().map(ChannelId).collect();
            ids.sort_unstable();
            ids.dedup();
            Which::These(ids)
        }
        (None, Some(tag), None) => Which::Those(ChannelFilter {
            tag: faults.name("tag", &tag, NAME_LENGTH),
            ..ChannelFilter::default()
        }),
        (None, None, Some(status)) => Which::Those(ChannelFilter {
            status: Some(status),
            ..ChannelFilter::default()
        }),
        (ids, tag, status) => {
            let given = [
                ("ids", ids.is_some()),
                ("tag", tag.is_some()),
                ("status", status.is_some()),
            ];
            let mut given = given
                .iter()
                .filter(|(_, given)| *given)
                .map(|(name, _)| *name)
                .skip(1);
            faults.add(
                given.next().unwrap_or("ids"),
                "one of ids, tag and status is to be given",
            );
            Which::These(Vec::new())
        }
    }
}

/// The channels to test, and how many there are of the kind.
async fn channels(desk: &Desk, which: Which) -> Result<(Vec<ChannelId>, u64), ApiError> {
    match which {
        Which::These(ids) => {
            let total = ids.len() as u64;
            Ok((ids, total))
        }
        Which::Those(filter) => {
            let page = Page {
                page: 1,
                page_size: MANY as u64,
            };
            let by = (ChannelSort::Id, Direction::Ascending);
            let found = channels::list(&desk.database, filter, by, page).await?;
            Ok((found.items.iter().map(|view| view.id).collect(), found.total))
        }
    }
}

fn not_tested(error: NotTested) -> ApiError {
    match error {
        NotTested::NoChannel => ApiError::NotFound(What::Channel),
        NotTested::NoKey => ApiError::NotFound(What::Key),
        NotTested::Database(error) => error.into(),
    }
}

fn untested(error: &NotTested) -> Value {
    let (code, message) = match error {
        NotTested::NoChannel | NotTested::NoKey => ("not_found", error.to_string()),
        // Its words are for the log.
        NotTested::Database(_) => ("database_unavailable", "the database did not answer".to_owned()),
    };
    json!({"ok": false, "latency_ms": 0, "status": null, "error": {"code": code, "message": message}})
}
