//! What is answered until the database is open: alive, but nothing else yet.

use actix_web::{HttpRequest, HttpResponse, web};

use super::problem::ApiError;
use super::relay;

/// The stand-in's routes.
pub fn configure(app: &mut web::ServiceConfig) {
    app.route("/livez", web::get().to(|| async { "ok" }))
        .route("/livez", web::head().to(HttpResponse::Ok))
        .configure(|app| relay::everywhere(app, || web::to(relay::not_yet)))
        .default_service(web::to(not_yet));
}

async fn not_yet(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    match request.path() {
        "/readyz" => Ok(HttpResponse::ServiceUnavailable().body("the database is not open yet")),
        "/metrics" => Ok(HttpResponse::ServiceUnavailable().finish()),
        path if path == "/api" || path.starts_with("/api/") => Err(ApiError::Starting),
        _ => Err(ApiError::NoSuchRoute),
    }
}
