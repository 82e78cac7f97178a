//! `/api/abilities`: which channel serves which model to which group.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde::Deserialize;
use serde_json::json;

use super::body::{Body, Given, given};
use super::changed::changed;
use super::fields::{Faults, GROUP_LENGTH, NAME_LENGTH, PRIORITIES};
use super::query::Query;
use crate::routing::ids::{ChannelId, GroupName, ModelName};
use crate::store::abilities::{self, AbilityFilter, AbilityKey, AbilityPatch};
use crate::web::Desk;
use crate::web::problem::{ApiError, What};

pub async fn list(desk: Data<Desk>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let filter = AbilityFilter {
        group: query.text("group").map(|name| GroupName::new(&name)),
        model: query.text("model").map(|name| ModelName::new(&name)),
        channel_id: query.number("channel_id").map(ChannelId),
    };
    let page = query.page();
    query.done()?;
    Ok(HttpResponse::Ok().json(abilities::list(&desk.database, filter, page).await?))
}

/// The ability, and what of it is to change; `null` takes the channel's own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    group: String,
    model: String,
    channel_id: i64,
    #[serde(default, deserialize_with = "given")]
    held: Given<bool>,
    #[serde(default, deserialize_with = "given")]
    priority: Given<i64>,
    #[serde(default, deserialize_with = "given")]
    weight: Given<i64>,
}

pub async fn patch(desk: Data<Desk>, Body(change): Body<Change>) -> Result<HttpResponse, ApiError> {
    let (key, patch) = change.check()?;
    let database = desk.database.clone();
    let write = async move { abilities::patch(&database, key, patch).await };
    let done = desk.routing.changes().run(write).await;
    let done = done.map_err(|error| ApiError::of_change(error, What::Ability))?;
    Ok(changed(json!(done.value), done.settled))
}

impl Change {
    fn check(self) -> Result<(AbilityKey, AbilityPatch), ApiError> {
        let mut faults = Faults::default();
        let group = faults.name("group", &self.group, GROUP_LENGTH);
        let model = faults.name("model", &self.model, NAME_LENGTH);
        let patch = AbilityPatch {
            held: faults.not_null("held", self.held),
            priority: self
                .priority
                .map(|p| p.map(|p| faults.whole("priority", p, PRIORITIES))),
            weight: self.weight.map(|w| w.map(|w| faults.weight("weight", w))),
        };
        faults.none()?;
        let key = AbilityKey {
            group: GroupName::new(&group.unwrap_or_default()),
            model: ModelName::new(&model.unwrap_or_default()),
            channel_id: ChannelId(self.channel_id),
        };
        Ok((key, patch))
    }
}
