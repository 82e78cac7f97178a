//! Alive, ready: plain words, or with `?verbose` JSON by part.
//!
//! `/livez` says that the process turns over and depends on nothing. `/readyz` says that a snapshot is held
//! and nobody has asked the process to end; the database may be away.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Desk;
use super::admin::times::rfc3339;

/// A probe that hangs is worse than one that says less.
const INSPECT_WITHIN: Duration = Duration::from_secs(1);

/// `GET /livez`
pub async fn livez(request: HttpRequest) -> HttpResponse {
    if is_verbose(&request) {
        return answer(StatusCode::OK).json(json!({"status": "ok"}));
    }
    plain(StatusCode::OK, "ok")
}

/// `GET /readyz`
pub async fn readyz(request: HttpRequest, desk: Data<Desk>) -> HttpResponse {
    let reason = not_ready(&desk);
    let status = match reason {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    if is_verbose(&request) {
        return answer(status).json(parts(&desk, reason).await);
    }
    plain(status, reason.unwrap_or("ok"))
}

fn not_ready(desk: &Desk) -> Option<&'static str> {
    if desk.node.is_draining() {
        Some("draining")
    } else if !desk.routing.is_alive() {
        Some("an actor is gone")
    } else if !desk.routing.is_ready() {
        Some("no snapshot yet")
    } else {
        None
    }
}

async fn parts(desk: &Desk, reason: Option<&'static str>) -> Value {
    let mut parts = json!({
        "status": reason.unwrap_or("ok"),
        "draining": desk.node.is_draining(),
        "snapshot": {"ok": desk.routing.is_ready(), "generation": desk.routing.snapshot().generation()},
    });
    let Ok(Some(seen)) = timeout(INSPECT_WITHIN, desk.routing.inspect()).await else {
        parts["router"] = json!({"ok": false, "reason": "did not answer in time"});
        return parts;
    };
    parts["router"] = json!({"ok": true});
    parts["snapshot"]["generation"] = json!(seen.generation);
    parts["snapshot"]["age_ms"] = json!(seen.age_ms);
    parts["snapshot"]["built_at"] = json!(seen.built_at.and_then(rfc3339));
    parts["snapshot"]["counts"] = json!(seen.counts);
    parts["snapshot"]["from_file"] = json!(seen.kept_at.is_some());
    if let Some(at) = seen.kept_at {
        parts["snapshot"]["kept_at"] = json!(rfc3339(at));
    }
    // The last build is the last word of the database: a probe does not ask it anew.
    parts["database"] = json!({"ok": seen.failures == 0, "failed_builds": seen.failures});
    parts["last_error"] = match &seen.last_error {
        Some(error) => json!({"reason": "a build failed", "at": rfc3339(error.at)}),
        None => Value::Null,
    };
    parts["quarantined"] = json!(seen.quarantined.len());
    parts["unwell"] = json!(seen.health.len());
    parts
}

fn is_verbose(request: &HttpRequest) -> bool {
    url::form_urlencoded::parse(request.query_string().as_bytes())
        .any(|(name, value)| name == "verbose" && !matches!(&*value, "0" | "false"))
}

fn answer(status: StatusCode) -> actix_web::HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    answer.insert_header((CACHE_CONTROL, "no-store"));
    answer
}

fn plain(status: StatusCode, words: &'static str) -> HttpResponse {
    answer(status).insert_header(ContentType::plaintext()).body(words)
}
