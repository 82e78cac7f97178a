//! What is answered until the database is open: alive, but nothing else yet.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, RETRY_AFTER};
use actix_web::{HttpRequest, HttpResponse, web};

use super::problem::ApiError;
use crate::protocol::{ErrorAnswer, Protocol};

/// The stand-in's routes.
pub fn configure(app: &mut web::ServiceConfig) {
    app.route("/livez", web::get().to(|| async { "ok" }))
        .route("/livez", web::head().to(HttpResponse::Ok))
        .default_service(web::to(not_yet));
}

async fn not_yet(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let path = request.path();
    if path == "/readyz" {
        return Ok(HttpResponse::ServiceUnavailable().body("the database is not open yet"));
    }
    if path == "/" || path == "/metrics" {
        return Ok(HttpResponse::ServiceUnavailable().finish());
    }
    if path == "/api" || path.starts_with("/api/") {
        return Err(ApiError::Starting);
    }
    let words = "the database cannot be asked yet";
    let answer = ErrorAnswer::new(
        http::StatusCode::SERVICE_UNAVAILABLE,
        "routing_unavailable",
        words,
    );
    Ok(HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE)
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((RETRY_AFTER, "1"))
        .body(answer.body(protocol_of(path))))
}

fn protocol_of(path: &str) -> Protocol {
    if path.starts_with("/v1/messages") {
        Protocol::Anthropic
    } else if path.starts_with("/v1beta/") || path.starts_with("/v1/models/") {
        Protocol::Gemini
    } else {
        Protocol::OpenAi
    }
}
