//! HTTP: relay routes, admin REST, probes.

/// The relay's routes.
pub mod relay;
/// Has the client gone?
pub mod connection;
