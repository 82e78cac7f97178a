//! `/api/groups`: the groups that have an ability.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

use super::query::{Query, part};
use crate::store::abilities;
use crate::web::Desk;
use crate::web::problem::ApiError;

pub async fn list(desk: Data<Desk>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let page = query.page();
    query.done()?;
    let groups = abilities::groups(&desk.database).await?;
    Ok(HttpResponse::Ok().json(json!({
        "total": groups.len(),
        "items": part(page, groups),
        "page": page.page,
        "page_size": page.page_size,
    })))
}
