//! What a committed change answers: 200 when picks go by it, 202 when its rebuild is still to come (R10).

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::{Value, json};

use crate::actors::changes::{RoutingState, Settled};

/// The row as it now is, and whether picks already go by it.
pub fn changed(mut row: Value, settled: Settled) -> HttpResponse {
    tell(&mut row, settled);
    HttpResponse::build(status(settled, StatusCode::OK)).json(row)
}

/// With its place: 201, or 202 when picks cannot go by it yet.
pub fn created(mut row: Value, place: &str, settled: Settled) -> HttpResponse {
    tell(&mut row, settled);
    HttpResponse::build(status(settled, StatusCode::CREATED))
        .insert_header(("location", place))
        .json(row)
}

/// 204; a deletion of which something is still to come has that to say.
pub fn deleted(settled: Settled) -> HttpResponse {
    match settled {
        Settled {
            routing: RoutingState::InPlace(_),
            kept: true,
        } => HttpResponse::NoContent().finish(),
        _ => changed(json!({}), settled),
    }
}

fn status(settled: Settled, in_place: StatusCode) -> StatusCode {
    match settled.routing {
        RoutingState::InPlace(_) => in_place,
        RoutingState::Pending => StatusCode::ACCEPTED,
    }
}

fn tell(row: &mut Value, settled: Settled) {
    match settled.routing {
        RoutingState::InPlace(generation) => {
            row["routing"] = json!("in_place");
            row["generation"] = json!(generation);
        }
        RoutingState::Pending => row["routing"] = json!("pending"),
    }
    if !settled.kept {
        // It holds here, but a node that starts without the database would not know of it.
        row["kept"] = json!(false);
    }
}
