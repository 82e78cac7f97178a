//! What clients see of the relay, one file an endpoint or a promise.

pub mod asks;
mod bad_input;
mod bodies;
mod browsers;
mod client_gone;
mod closing;
mod endpoints;
mod failover;
mod headers;
mod heard;
mod honest_streams;
mod keep_alive;
mod look_alikes;
mod model_lists;
mod order;
mod refusals;
mod resume;
mod sdks;
mod stream_errors;
mod streams;
