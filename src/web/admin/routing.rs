//! `/api/routing`: what the router holds, and rebuilding it.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::{Value, json};

use super::times::{rfc3339, with_times};
use crate::routing::rebuilds::{Scope, Urgency};
use crate::web::Desk;
use crate::web::problem::ApiError;

pub async fn get(desk: Data<Desk>) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(state(&desk).await?))
}

/// Answers when a build that began after the call is in place.
pub async fn rebuild(desk: Data<Desk>) -> Result<HttpResponse, ApiError> {
    let rebuilt = desk.routing.rebuild(Scope::Everything, Urgency::Admin).await;
    let generation = rebuilt.map_err(ApiError::RebuildFailed)?;
    let mut state = state(&desk).await?;
    // A later build may be in place by now; the caller's own is told.
    state["rebuilt"] = json!(generation);
    Ok(HttpResponse::Ok().json(state))
}

async fn state(desk: &Desk) -> Result<Value, ApiError> {
    let seen = desk.routing.inspect().await.ok_or(ApiError::Overloaded)?;
    let mut state = with_times(&seen, &["built_at", "kept_at"])?;
    if let Some(error) = &seen.last_error {
        state["last_error"]["at"] = json!(rfc3339(error.at));
    }
    Ok(state)
}
