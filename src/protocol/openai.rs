//! Events of the openai streams.
