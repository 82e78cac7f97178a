//! `/api/models`: what is configured for a model.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Body;
use super::changed::{changed, created, deleted};
use super::channel_fields::timeouts;
use super::fields::{Faults, NAME_LENGTH, REMARK_LENGTH};
use super::query::Query;
use crate::actors::changes::Changed;
use crate::routing::ids::ModelName;
use crate::routing::rows::ModelSettings;
use crate::store::models::{self, ModelRow};
use crate::web::Desk;
use crate::web::problem::{ApiError, What};

/// More than anyone waits for.
const FALLBACKS: usize = 16;
const LONGEST_MS: i64 = 86_400_000;

pub async fn list(desk: Data<Desk>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let q = query.text("q");
    let page = query.page();
    query.done()?;
    Ok(HttpResponse::Ok().json(models::list(&desk.database, q, page).await?))
}

pub async fn get(desk: Data<Desk>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let row = models::get(&desk.database, &known_name(&request)?).await?;
    Ok(HttpResponse::Ok().json(row.ok_or(ApiError::NotFound(What::Model))?))
}

/// The whole of a model; what is absent is the default.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelBody {
    fallbacks: Option<Vec<String>>,
    first_token_timeout_ms: Option<i64>,
    settings: Option<ModelSettings>,
    remark: Option<String>,
}

/// Creates or replaces.
pub async fn put(
    desk: Data<Desk>,
    request: HttpRequest,
    Body(body): Body<ModelBody>,
) -> Result<HttpResponse, ApiError> {
    let row = body.check(name(&request)?)?;
    let database = desk.database.clone();
    let answer = json!(row);
    let write = async move { models::put(&database, row).await };
    let put = desk.routing.changes().run(write).await;
    let Changed {
        value: is_new,
        settled,
    } = put.map_err(|error| ApiError::of_change(error, What::Model))?;
    Ok(match is_new {
        true => created(answer, request.path(), settled),
        false => changed(answer, settled),
    })
}

pub async fn delete(desk: Data<Desk>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let name = match known_name(&request) {
        Ok(name) => name,
        // No row has it.
        Err(_) => return Ok(HttpResponse::NoContent().finish()),
    };
    let database = desk.database.clone();
    let write = async move { models::delete(&database, &name).await };
    let gone = desk.routing.changes().run(write).await;
    let Changed { settled, .. } = gone.map_err(|error| ApiError::of_change(error, What::Model))?;
    Ok(deleted(settled))
}

impl ModelBody {
    fn check(self, name: ModelName) -> Result<ModelRow, ApiError> {
        let mut faults = Faults::default();
        let fallbacks = self.fallbacks.unwrap_or_default();
        let fallbacks = faults.names("fallbacks", &fallbacks, NAME_LENGTH, FALLBACKS);
        if fallbacks.iter().any(|fallback| fallback == name.as_str()) {
            faults.add("fallbacks", "must not have the model itself");
        }
        if let Some(limit) = self.first_token_timeout_ms {
            faults.whole("first_token_timeout_ms", limit, 1..=LONGEST_MS);
        }
        let settings = self.settings.unwrap_or_default();
        timeouts(&mut faults, "settings.timeouts", &settings.timeouts);
        let remark = self
            .remark
            .and_then(|text| faults.text("remark", &text, REMARK_LENGTH));
        faults.none()?;
        Ok(ModelRow {
            name,
            fallbacks: fallbacks.iter().map(|name| ModelName::new(name)).collect(),
            first_token_timeout_ms: self.first_token_timeout_ms,
            settings: serde_json::to_value(settings).unwrap_or(Value::Null),
            remark,
        })
    }
}

/// What stands behind `/api/models/`, slashes included.
fn name(request: &HttpRequest) -> Result<ModelName, ApiError> {
    let path = request.uri().path();
    let raw = path.split_once("/api/models/").map_or("", |(_, name)| name);
    let mut faults = Faults::default();
    let name = match percent_decode_str(raw).decode_utf8() {
        Ok(name) => faults.name("name", &name, NAME_LENGTH),
        Err(_) => {
            faults.add("name", "must be UTF-8");
            None
        }
    };
    faults.none()?;
    name.map(|name| ModelName::new(&name)).ok_or(ApiError::Internal)
}

/// A name that no row can have names none.
fn known_name(request: &HttpRequest) -> Result<ModelName, ApiError> {
    name(request).map_err(|_| ApiError::NotFound(What::Model))
}
