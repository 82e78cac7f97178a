//! `/api/channels`: what an operator sees of a channel, and changes.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Body;
use super::changed::{changed, created, deleted};
use super::channel_fields::ChannelBody;
use super::fields::{Faults, REASON_LENGTH};
use super::query::{Query, id};
use super::times::with_times;
use crate::routing::ids::{ChannelId, GroupName, ModelName};
use crate::routing::rows::Status;
use crate::store::change_status::{self, Change, OperatorStatus};
use crate::store::channels::{self, ChannelFilter, ChannelSort, ChannelView};
use crate::store::paging::Direction;
use crate::web::Desk;
use crate::web::problem::{ApiError, What};

const TIMES: [&str; 4] = ["status_changed_at", "tested_at", "created_at", "updated_at"];

pub async fn list(desk: Data<Desk>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let filter = ChannelFilter {
        group: query.text("group").map(|name| GroupName::new(&name)),
        model: query.text("model").map(|name| ModelName::new(&name)),
        status: query.word("status", "enabled, disabled, auto_disabled", Status::parse),
        tag: query.text("tag"),
        provider: query.text("provider"),
        q: query.text("q"),
    };
    let words = "id, name, provider, status, priority, weight, created_at, updated_at, each also with a minus before it";
    let sort = query.word("sort", words, sort).unwrap_or_default();
    let page = query.page();
    query.done()?;
    let found = channels::list(&desk.database, filter, sort, page).await?;
    let items: Result<Vec<Value>, _> = found.items.iter().map(|view| with_times(view, &TIMES)).collect();
    Ok(HttpResponse::Ok().json(json!({
        "items": items?,
        "total": found.total,
        "page": found.page,
        "page_size": found.page_size,
    })))
}

pub async fn create(desk: Data<Desk>, Body(body): Body<ChannelBody>) -> Result<HttpResponse, ApiError> {
    let new = body.into_new()?;
    let database = desk.database.clone();
    let write = async move { channels::create(&database, new).await };
    let done = desk.routing.changes().run(write).await;
    let done = done.map_err(|error| ApiError::of_change(error, What::Channel))?;
    let place = format!("/api/channels/{}", done.value);
    Ok(created(row(&desk, done.value).await, &place, done.settled))
}

pub async fn get(desk: Data<Desk>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let view = find(&desk, channel_id(&request)?).await?;
    Ok(HttpResponse::Ok().json(with_times(&view, &TIMES)?))
}

pub async fn patch(
    desk: Data<Desk>,
    request: HttpRequest,
    Body(body): Body<ChannelBody>,
) -> Result<HttpResponse, ApiError> {
    let id = channel_id(&request)?;
    let now = find(&desk, id).await?;
    let patch = body.into_patch(&now)?;
    let database = desk.database.clone();
    let write = async move {
        let receipt = channels::patch(&database, id, patch).await?;
        Ok(((), receipt))
    };
    let done = desk.routing.changes().run(write).await;
    let done = done.map_err(|error| ApiError::of_change(error, What::Channel))?;
    Ok(changed(row(&desk, id).await, done.settled))
}

/// One that is gone already is gone; an id that never was is a mistake.
pub async fn delete(desk: Data<Desk>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let id = channel_id(&request)?;
    let database = desk.database.clone();
    let write = async move {
        let receipt = channels::delete(&database, id).await?;
        Ok(((), receipt))
    };
    let done = desk.routing.changes().run(write).await;
    let done = done.map_err(|error| ApiError::of_change(error, What::Channel))?;
    Ok(deleted(done.settled))
}

/// `{"status": "enabled" | "disabled", "reason"?}`, of a channel or a key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatusChange {
    status: OperatorWord,
    #[serde(default)]
    reason: Option<String>,
}

/// What an operator can say; `auto_disabled` is the relay's own word.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OperatorWord {
    Enabled,
    Disabled,
}

impl StatusChange {
    /// # Errors
    /// The reason is too long.
    pub fn check(self) -> Result<Change, ApiError> {
        let mut faults = Faults::default();
        let reason = self
            .reason
            .and_then(|reason| faults.text("reason", &reason, REASON_LENGTH));
        faults.none()?;
        let to = match self.status {
            OperatorWord::Enabled => OperatorStatus::Enabled,
            OperatorWord::Disabled => OperatorStatus::Disabled,
        };
        Ok(Change::ByOperator { to, reason })
    }
}

pub async fn set_status(
    desk: Data<Desk>,
    request: HttpRequest,
    Body(change): Body<StatusChange>,
) -> Result<HttpResponse, ApiError> {
    let id = channel_id(&request)?;
    let change = change.check()?;
    let database = desk.database.clone();
    let write = async move {
        let receipt = change_status::set_channel(&database, id, change).await?;
        Ok(((), receipt))
    };
    let done = desk.routing.changes().run(write).await;
    let done = done.map_err(|error| ApiError::of_change(error, What::Channel))?;
    Ok(changed(row(&desk, id).await, done.settled))
}

/// The channel that the path names.
///
/// # Errors
/// What is no number names no channel.
pub fn channel_id(request: &HttpRequest) -> Result<ChannelId, ApiError> {
    id(request, "id")
        .map(ChannelId)
        .ok_or(ApiError::NotFound(What::Channel))
}

async fn find(desk: &Desk, id: ChannelId) -> Result<ChannelView, ApiError> {
    let view = channels::get(&desk.database, id).await?;
    view.ok_or(ApiError::NotFound(What::Channel))
}

/// The channel as it now is. The change is committed: if the row cannot be read, its id is all that is told.
async fn row(desk: &Desk, id: ChannelId) -> Value {
    let view = find(desk, id).await;
    view.and_then(|view| with_times(&view, &TIMES))
        .unwrap_or_else(|_| json!({"id": id}))
}

fn sort(word: &str) -> Option<(ChannelSort, Direction)> {
    let (word, direction) = match word.strip_prefix('-') {
        Some(word) => (word, Direction::Descending),
        None => (word, Direction::Ascending),
    };
    let sort = match word {
        "id" => ChannelSort::Id,
        "name" => ChannelSort::Name,
        "provider" => ChannelSort::Provider,
        "status" => ChannelSort::Status,
        "priority" => ChannelSort::Priority,
        "weight" => ChannelSort::Weight,
        "created_at" => ChannelSort::CreatedAt,
        "updated_at" => ChannelSort::UpdatedAt,
        _ => return None,
    };
    Some((sort, direction))
}
