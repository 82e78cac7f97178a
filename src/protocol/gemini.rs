//! Events of the gemini streams.
