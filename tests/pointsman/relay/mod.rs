//! What clients see of the relay, one file an endpoint or a promise.

mod sdks;
