//! Every URL on one page.

use std::future::ready;

use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, ServiceConfig, delete, get, head, patch, post, put, resource, scope};
use actix_web::{Resource, Route};

use super::admin::{abilities, channel_tests, channels, groups, keys, models, routing, tokens};
use super::problem::ApiError;
use super::{Desk, auth, metrics, probes, relay};
use crate::relay::Relay;

/// The relay's own are told apart in `relay.rs`: their paths carry models, versions and actions.
pub fn configure(app: &mut ServiceConfig, desk: &Data<Desk>, relay: &Relay) {
    relay::configure(app, relay.clone());
    app.app_data(desk.clone());

    app.service(only(
        "GET, HEAD",
        resource("/livez")
            .route(get().to(probes::livez))
            .route(head().to(probes::livez)),
    ));
    app.service(only(
        "GET, HEAD",
        resource("/readyz")
            .route(get().to(probes::readyz))
            .route(head().to(probes::readyz)),
    ));
    app.service(only(
        "GET",
        resource("/metrics").route(get().to(metrics::metrics)),
    ));

    let api = scope("/api")
        .service(at(
            "/channels",
            "GET, POST",
            [get().to(channels::list), post().to(channels::create)],
        ))
        .service(at(
            "/channels/test",
            "POST",
            [post().to(channel_tests::test_many)],
        ))
        .service(at(
            "/channels/{id}/test",
            "POST",
            [post().to(channel_tests::test_one)],
        ))
        .service(at(
            "/channels/{id}/upstream-models",
            "GET",
            [get().to(channel_tests::upstream_models)],
        ))
        .service(at(
            "/channels/{id}",
            "GET, PATCH, DELETE",
            [
                get().to(channels::get),
                patch().to(channels::patch),
                delete().to(channels::delete),
            ],
        ))
        .service(at(
            "/channels/{id}/status",
            "PUT",
            [put().to(channels::set_status)],
        ))
        .service(at(
            "/channels/{id}/keys",
            "GET, POST",
            [get().to(keys::list), post().to(keys::add)],
        ))
        .service(at(
            "/channels/{id}/keys/{key_id}",
            "PUT, DELETE",
            [put().to(keys::replace), delete().to(keys::delete)],
        ))
        .service(at(
            "/channels/{id}/keys/{key_id}/status",
            "PUT",
            [put().to(keys::set_status)],
        ))
        .service(at(
            "/abilities",
            "GET, PATCH",
            [get().to(abilities::list), patch().to(abilities::patch)],
        ))
        .service(at("/groups", "GET", [get().to(groups::list)]))
        .service(at("/models", "GET", [get().to(models::list)]))
        .service(at(
            // A model's name may have slashes in it.
            "/models/{name:.+}",
            "GET, PUT, DELETE",
            [
                get().to(models::get),
                put().to(models::put),
                delete().to(models::delete),
            ],
        ))
        .service(at(
            "/tokens",
            "GET, POST",
            [get().to(tokens::list), post().to(tokens::create)],
        ))
        .service(at("/tokens/find", "POST", [post().to(tokens::find)]))
        .service(at(
            "/tokens/{id}",
            "GET, PATCH, DELETE",
            [
                get().to(tokens::get),
                patch().to(tokens::patch),
                delete().to(tokens::delete),
            ],
        ))
        .service(at("/tokens/{id}/rotate", "POST", [post().to(tokens::rotate)]))
        .service(at("/routing", "GET", [get().to(routing::get)]))
        .service(at("/routing/rebuild", "POST", [post().to(routing::rebuild)]))
        .default_service(web::to(no_such_route));
    app.service(api.wrap(from_fn(auth::require_admin)));

    app.default_service(web::to(no_such_route));
}

fn at<const N: usize>(path: &str, methods: &'static str, routes: [Route; N]) -> Resource {
    only(methods, routes.into_iter().fold(resource(path), Resource::route))
}

/// Any other method is told which there are.
fn only(methods: &'static str, resource: Resource) -> Resource {
    resource.default_service(web::to(move || {
        ready(Err::<String, _>(ApiError::MethodNotAllowed(methods)))
    }))
}

async fn no_such_route() -> Result<String, ApiError> {
    Err(ApiError::NoSuchRoute)
}
