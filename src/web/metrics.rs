//! `GET /metrics`: what the rooms count, and what the router holds at the moment of the scrape.

use std::sync::LazyLock;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use log::error;
use prometheus::{Encoder, IntGauge, Registry, TextEncoder};
use tokio::time::timeout;

use super::Desk;
use super::problem::ApiError;
use crate::actors::counters;
use crate::actors::messages::Inspection;

/// A scrape that hangs is worse than one that says less.
const INSPECT_WITHIN: Duration = Duration::from_secs(2);

/// `GET /metrics`
pub async fn metrics(desk: Data<Desk>) -> Result<HttpResponse, ApiError> {
    count_from_zero();
    let mut families = prometheus::gather();
    if let Ok(Some(seen)) = timeout(INSPECT_WITHIN, desk.routing.inspect()).await {
        families.extend(
            of_the_moment(&seen, desk.tasks(), desk.node.is_draining())
                .map_err(internal)?
                .gather(),
        );
    }
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&families, &mut text)
        .map_err(internal)?;
    Ok(HttpResponse::Ok()
        .content_type(prometheus::TEXT_FORMAT)
        .body(text))
}

/// A counter that has never counted is shown too: an alert cannot tell absent from broken.
fn count_from_zero() {
    LazyLock::force(&counters::MISSES);
    LazyLock::force(&counters::REBUILD_SECONDS);
    for scope in ["full", "channels"] {
        for result in ["ok", "failed"] {
            counters::REBUILDS.with_label_values(&[scope, result]);
        }
    }
    for result in ["ok", "failed", "overloaded"] {
        counters::LOOKUPS.with_label_values(&[result]);
    }
}

fn of_the_moment(seen: &Inspection, tasks: usize, is_draining: bool) -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    let gauge = |name: &str, help: &str, value: u64| {
        let gauge = IntGauge::new(name, help)?;
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(Box::new(gauge))
    };
    if let Some(age_ms) = seen.age_ms {
        let age = prometheus::Gauge::new("pointsman_snapshot_age_seconds", "Age of the routing snapshot.")?;
        age.set(Duration::from_millis(age_ms).as_secs_f64());
        registry.register(Box::new(age))?;
    }
    let counts = seen.counts;
    let rows: [(&str, &str, usize); 12] = [
        (
            "pointsman_tasks",
            "Tasks on the runtime that builds, lookups and changes share.",
            tasks,
        ),
        (
            "pointsman_snapshot_from_file",
            "1 while picks go by a snapshot from a file, as the database has not been asked yet.",
            usize::from(seen.kept_at.is_some()),
        ),
        (
            "pointsman_snapshot_channels",
            "Channels in the snapshot.",
            counts.channels,
        ),
        (
            "pointsman_snapshot_groups",
            "Groups in the snapshot.",
            counts.groups,
        ),
        (
            "pointsman_snapshot_models",
            "Models in the snapshot.",
            counts.models,
        ),
        (
            "pointsman_snapshot_routes",
            "Routes in the snapshot.",
            counts.routes,
        ),
        (
            "pointsman_snapshot_abilities",
            "Abilities in the snapshot, open or not.",
            counts.abilities,
        ),
        (
            "pointsman_snapshot_open_abilities",
            "Open abilities in the snapshot.",
            counts.open_abilities,
        ),
        (
            "pointsman_quarantined_channels",
            "Channels of which something cannot be read.",
            seen.quarantined.len(),
        ),
        (
            "pointsman_unwell",
            "Channels, keys and models of them that are not well.",
            seen.health.len(),
        ),
        (
            "pointsman_leases",
            "Attempts that have not reported.",
            seen.leases,
        ),
        (
            "pointsman_closings",
            "Closings that no build has read yet.",
            seen.closings,
        ),
    ];
    for (name, help, value) in rows {
        gauge(name, help, value as u64)?;
    }
    gauge(
        "pointsman_snapshot_generation",
        "Number of the routing snapshot.",
        seen.generation.0,
    )?;
    gauge(
        "pointsman_rebuild_failures_in_a_row",
        "Builds that failed since the last that did not.",
        seen.failures.into(),
    )?;
    gauge(
        "pointsman_draining",
        "1 while the process is asked to end.",
        is_draining.into(),
    )?;
    Ok(registry)
}

fn internal(error: prometheus::Error) -> ApiError {
    error!(error:% = error; "metrics could not be written");
    ApiError::Internal
}
