//! What a committed change answers: 200 when picks go by it, 202 when its rebuild is still to come (R10).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

use crate::actors::changes::RoutingState;

/// The row as it now is, and whether picks already go by it.
pub fn changed(mut row: Value, routing: RoutingState) -> HttpResponse {
    tell(&mut row, routing);
    HttpResponse::build(status(routing)).json(row)
}

/// With its place: 201, or 202 when picks cannot go by it yet.
pub fn created(mut row: Value, place: &str, routing: RoutingState) -> HttpResponse {
    tell(&mut row, routing);
    let status = match routing {
        RoutingState::InPlace(_) => StatusCode::CREATED,
        RoutingState::Pending => StatusCode::ACCEPTED,
    };
    HttpResponse::build(status)
        .insert_header(("location", place))
        .json(row)
}

/// 204; a deletion whose rebuild is still to come has something to say.
pub fn deleted(routing: RoutingState) -> HttpResponse {
    match routing {
        RoutingState::InPlace(_) => HttpResponse::NoContent().finish(),
        RoutingState::Pending => changed(json!({}), routing),
    }
}

fn status(routing: RoutingState) -> StatusCode {
    match routing {
        RoutingState::InPlace(_) => StatusCode::OK,
        RoutingState::Pending => StatusCode::ACCEPTED,
    }
}

fn tell(row: &mut Value, routing: RoutingState) {
    match routing {
        RoutingState::InPlace(generation) => {
            row["routing"] = json!("in_place");
            row["generation"] = json!(generation);
        }
        RoutingState::Pending => row["routing"] = json!("pending"),
    }
}
