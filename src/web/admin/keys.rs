//! `/api/channels/{id}/keys`: a channel's keys. A secret goes in and never comes out.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Body;
use super::changed::{changed, deleted};
use super::channel_fields::{KEYS, secret};
use super::channels::{StatusChange, channel_id};
use super::fields::Faults;
use super::query::{Query, id, part};
use super::times::with_times;
use crate::routing::ids::{ChannelId, KeyId};
use crate::routing::rows::Secret;
use crate::store::change_status;
use crate::store::keys::{self, KeyView};
use crate::web::Desk;
use crate::web::problem::{ApiError, What};

const TIMES: [&str; 1] = ["status_changed_at"];

pub async fn list(
    desk: Data<Desk>,
    request: HttpRequest,
    mut query: Query,
) -> Result<HttpResponse, ApiError> {
    let channel = channel_id(&request)?;
    let page = query.page();
    query.done()?;
    let keys = of_channel(&desk, channel).await?;
    let total = keys.len();
    let items: Result<Vec<Value>, _> = part(page, keys)
        .iter()
        .map(|key| with_times(key, &TIMES))
        .collect();
    Ok(HttpResponse::Ok().json(json!({
        "items": items?,
        "total": total,
        "page": page.page,
        "page_size": page.page_size,
    })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKeys {
    keys: Vec<String>,
}

pub async fn add(
    desk: Data<Desk>,
    request: HttpRequest,
    Body(new): Body<NewKeys>,
) -> Result<HttpResponse, ApiError> {
    let channel = channel_id(&request)?;
    let mut faults = Faults::default();
    if new.keys.is_empty() {
        faults.add("keys", "must not be empty");
    }
    let secrets = secrets(&mut faults, &new.keys);
    faults.none()?;
    let database = desk.database.clone();
    let write = async move { keys::add(&database, channel, secrets).await };
    let done = desk.routing.changes().run(write).await;
    let done = done.map_err(|error| ApiError::of_change(error, What::Channel))?;
    let row = json!({
        "added": done.value.added.len(),
        "skipped": done.value.skipped,
        "ids": done.value.added,
    });
    let place = format!("/api/channels/{channel}/keys");
    Ok(super::changed::created(row, &place, done.settled))
}

/// `secret` is the column's name; `key` is what people call it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    #[serde(alias = "key")]
    secret: String,
}

pub async fn replace(
    desk: Data<Desk>,
    request: HttpRequest,
    Body(new): Body<Replacement>,
) -> Result<HttpResponse, ApiError> {
    let (channel, key) = key_of_channel(&request)?;
    let mut faults = Faults::default();
    let secret = secret(&mut faults, "secret", &new.secret);
    faults.none()?;
    let secret = secret.ok_or(ApiError::Internal)?;
    let database = desk.database.clone();
    let write = async move {
        let receipt = keys::replace(&database, channel, key, secret).await?;
        Ok(((), receipt))
    };
    let done = desk.routing.changes().run(write).await;
    let done = done.map_err(|error| ApiError::of_change(error, What::Key))?;
    Ok(changed(row(&desk, channel, key).await, done.settled))
}

pub async fn set_status(
    desk: Data<Desk>,
    request: HttpRequest,
    Body(change): Body<StatusChange>,
) -> Result<HttpResponse, ApiError> {
    let (channel, key) = key_of_channel(&request)?;
    let change = change.check()?;
    let database = desk.database.clone();
    let write = async move {
        let receipt = change_status::set_key(&database, channel, key, change).await?;
        Ok(((), receipt))
    };
    let done = desk.routing.changes().run(write).await;
    let done = done.map_err(|error| ApiError::of_change(error, What::Key))?;
    Ok(changed(row(&desk, channel, key).await, done.settled))
}

pub async fn delete(desk: Data<Desk>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (channel, key) = key_of_channel(&request)?;
    let database = desk.database.clone();
    let write = async move {
        let receipt = keys::delete(&database, channel, key).await?;
        Ok(((), receipt))
    };
    let done = desk.routing.changes().run(write).await;
    let done = done.map_err(|error| ApiError::of_change(error, What::Key))?;
    Ok(deleted(done.settled))
}

/// The channel's keys of a body, named one by one.
pub fn secrets(faults: &mut Faults, keys: &[String]) -> Vec<Secret> {
    if keys.len() > KEYS {
        faults.add("keys", format!("must have at most {KEYS} entries"));
        return Vec::new();
    }
    let named = keys.iter().enumerate();
    named
        .filter_map(|(index, key)| secret(faults, format_args!("keys[{index}]"), key))
        .collect()
}

async fn of_channel(desk: &Desk, channel: ChannelId) -> Result<Vec<KeyView>, ApiError> {
    let keys = keys::list(&desk.database, channel).await?;
    keys.ok_or(ApiError::NotFound(What::Channel))
}

/// The key as it now is. The change is committed: if the row cannot be read, its id is all that is told.
async fn row(desk: &Desk, channel: ChannelId, key: KeyId) -> Value {
    let keys = of_channel(desk, channel).await.unwrap_or_default();
    let view = keys.iter().find(|view| view.id == key);
    view.and_then(|view| with_times(view, &TIMES).ok())
        .unwrap_or_else(|| json!({"id": key, "channel_id": channel}))
}

fn key_of_channel(request: &HttpRequest) -> Result<(ChannelId, KeyId), ApiError> {
    let channel = channel_id(request)?;
    let key = id(request, "key_id").ok_or(ApiError::NotFound(What::Key))?;
    Ok((channel, KeyId(key)))
}
