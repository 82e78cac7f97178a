//! Which tokens does a client show? In order: bearer, `x-api-key`, `api-key`, `x-goog-api-key`, `?key=`.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;

/// The headers that may hold a client's token, but for `Authorization`.
pub(super) const TOKEN_HEADERS: [&str; 3] = ["x-api-key", "api-key", "x-goog-api-key"];

/// Every token that the request shows; the first that is ours counts. `query` is raw, without `?`.
pub fn client_tokens<'a>(
    headers: &'a HeaderMap,
    query: Option<&'a str>,
) -> impl Iterator<Item = Cow<'a, str>> {
    let bearer = headers
        .get_all(AUTHORIZATION)
        .iter()
        .filter_map(|value| bearer(value.to_str().ok()?));
    let named = TOKEN_HEADERS.into_iter().flat_map(|name| headers.get_all(name));
    let named = named.filter_map(|value| value.to_str().ok()).map(str::trim);
    bearer
        .chain(named)
        .map(Cow::Borrowed)
        .chain(query.into_iter().flat_map(keys))
        .filter(|token| !token.is_empty())
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn keys(query: &str) -> impl Iterator<Item = Cow<'_, str>> {
    query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let is_key = percent_decode_str(name).eq(b"key".iter().copied());
        is_key.then(|| percent_decode_str(value).decode_utf8().ok())?
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn tokens_come_in_the_order_of_the_rule() {
        let tokens = |headers: &[(&'static str, &'static str)], query: Option<&str>| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            client_tokens(&map, query).collect::<Vec<_>>().join(" ")
        };
        let all = [
            ("x-goog-api-key", "d"),
            ("api-key", "c"),
            ("x-api-key", "b"),
            ("authorization", "Bearer a"),
            ("authorization", "bearer  a2 "),
        ];
        assert_eq!(tokens(&all, Some("alt=sse&key=e")), "a a2 b c d e");
        assert_eq!(tokens(&[("authorization", "Basic dTpw")], None), "");
        assert_eq!(
            tokens(&[("authorization", "Bearer"), ("x-api-key", " ")], Some("key=")),
            ""
        );
        assert_eq!(tokens(&[], Some("k%65y=a%2Bb&monkey=x&key=c")), "a+b c");
        assert_eq!(tokens(&[], Some("key=%ff")), "");
    }
}
