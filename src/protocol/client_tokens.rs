//! Which tokens does a client show? In order: bearer, `x-api-key`, `api-key`, `x-goog-api-key`, `?key=`.

use std::borrow::Cow;

use http::HeaderMap;

/// Every token that the request shows, the first that is ours counts. `query` is raw, without `?`.
pub fn client_tokens<'a>(
    headers: &'a HeaderMap,
    query: Option<&'a str>,
) -> impl Iterator<Item = Cow<'a, str>> {
    let _ = (headers, query);
    std::iter::empty()
}
