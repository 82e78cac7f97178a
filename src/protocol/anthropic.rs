//! Events of the anthropic streams.
