//! How long does an upstream ask to be left alone?

use std::time::{Duration, SystemTime};

use http::HeaderMap;

use super::upstream_error::UpstreamError;

/// The provider's word, unbounded: `retry-after-ms`, `Retry-After`, Gemini's `RetryInfo`. `None`: it did not say.
#[must_use]
pub fn retry_after(headers: &HeaderMap, error: Option<&UpstreamError>, now: SystemTime) -> Option<Duration> {
    let milliseconds = || from_milliseconds(number(text(headers, "retry-after-ms")?)?);
    let seconds_or_date = || seconds_or_date(text(headers, "retry-after")?, now);
    milliseconds()
        .or_else(seconds_or_date)
        .or_else(|| error.and_then(|error| error.retry_delay))
}

fn seconds_or_date(value: &str, now: SystemTime) -> Option<Duration> {
    match number(value) {
        Some(seconds) => from_seconds(seconds),
        None => httpdate::parse_http_date(value).ok().map(|date| until(date, now)),
    }
}

/// The latest reset of the limits whose `remaining` is 0. They stand beside every answer, also beside an error that has
/// nothing to do with them. OpenAI: `x-ratelimit-remaining-tokens` and `x-ratelimit-reset-tokens`; Anthropic:
/// `anthropic-ratelimit-tokens-remaining` and `anthropic-ratelimit-tokens-reset`.
#[must_use]
pub fn reset_of_spent_limits(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let spent = headers.iter().filter(|(name, value)| {
        let is_limit = name.as_str().contains("ratelimit") && name.as_str().contains("remaining");
        is_limit
            && value
                .to_str()
                .ok()
                .and_then(number)
                .is_some_and(|remaining| remaining <= 0.0)
    });
    let resets = spent.filter_map(|(name, _)| text(headers, &name.as_str().replace("remaining", "reset")));
    resets.filter_map(|value| reset(value, now)).max()
}

fn reset(value: &str, now: SystemTime) -> Option<Duration> {
    // Above these a number is a moment since 1970 (all counts of seconds until a reset are below).
    const MOMENT_IN_SECONDS: f64 = 1e9;
    const MOMENT_IN_MILLISECONDS: f64 = 1e12;
    let since_1970 = |moment: Option<Duration>| SystemTime::UNIX_EPOCH.checked_add(moment?);
    match number(value) {
        Some(moment) if moment >= MOMENT_IN_MILLISECONDS => {
            Some(until(since_1970(from_milliseconds(moment))?, now))
        }
        Some(moment) if moment >= MOMENT_IN_SECONDS => Some(until(since_1970(from_seconds(moment))?, now)),
        Some(seconds) => from_seconds(seconds),
        None => duration(value).or_else(|| {
            let moment: jiff::Timestamp = value.parse().ok()?;
            // Before 1970 is as long ago as 1970.
            let moment = Duration::from_millis(u64::try_from(moment.as_millisecond()).unwrap_or(0));
            Some(until(since_1970(Some(moment))?, now))
        }),
    }
}

/// `1s`, `6m0s`, `12ms`, `1h2m3.5s`
pub(super) fn duration(value: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    let mut rest = value.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| letter != '.' && !letter.is_ascii_digit())?;
        let count: f64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..]
            .find(|letter: char| letter.is_ascii_digit())
            .map_or(rest.len(), |at| digits + at);
        seconds += count
            * match &rest[digits..unit] {
                "ns" => 1e-9,
                "us" | "µs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    from_seconds(seconds)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn number(value: &str) -> Option<f64> {
    value.parse().ok().filter(|number: &f64| number.is_finite())
}

/// Below zero is zero; beyond what a `Duration` holds is the longest.
fn from_seconds(seconds: f64) -> Option<Duration> {
    Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX))
}

fn from_milliseconds(milliseconds: f64) -> Option<Duration> {
    from_seconds(milliseconds / 1000.0)
}

fn until(moment: SystemTime, now: SystemTime) -> Duration {
    moment.duration_since(now).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    /// 2026-01-01T00:00:00Z
    const NOW_SECONDS: u64 = 1_767_225_600;

    fn wait(lines: &str) -> Option<u128> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines.split('|').filter_map(|line| line.trim().split_once(": ")) {
            headers.append(
                HeaderName::try_from(name).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW_SECONDS);
        let wait = retry_after(&headers, None, now);
        wait.or_else(|| reset_of_spent_limits(&headers, now))
            .map(|wait| wait.as_millis())
    }

    #[test]
    fn the_providers_word_in_all_its_forms() {
        for (headers, milliseconds) in [
            ("", None),
            ("retry-after: 2", Some(2000)),
            ("retry-after: 0", Some(0)),
            ("retry-after: 1.5", Some(1500)),
            ("retry-after: -3", Some(0)),
            ("retry-after: soon", None),
            ("retry-after: NaN", None),
            ("retry-after: Thu, 01 Jan 2026 00:00:30 GMT", Some(30_000)),
            ("retry-after: Wed, 31 Dec 2025 23:59:00 GMT", Some(0)),
            ("retry-after-ms: 250 | retry-after: 9", Some(250)),
            ("retry-after-ms: x | retry-after: 9", Some(9000)),
            (
                "x-ratelimit-remaining-requests: 0 | x-ratelimit-reset-requests: 1s",
                Some(1000),
            ),
            (
                "x-ratelimit-remaining-requests: 0 | x-ratelimit-reset-requests: 6m0s",
                Some(360_000),
            ),
            (
                "x-ratelimit-remaining-tokens: 0 | x-ratelimit-reset-tokens: 12ms",
                Some(12),
            ),
            (
                "x-ratelimit-remaining-tokens: 0 | x-ratelimit-reset-tokens: 1h2m3.5s",
                Some(3_723_500),
            ),
            (
                "x-ratelimit-remaining-tokens: 5 | x-ratelimit-reset-tokens: 1s",
                None,
            ),
            (
                "x-ratelimit-remaining-requests: 9 | x-ratelimit-reset-requests: 9s | x-ratelimit-remaining-tokens: 0 | x-ratelimit-reset-tokens: 2s",
                Some(2000),
            ),
            (
                "x-ratelimit-remaining-requests: 0 | x-ratelimit-reset-requests: 9s | x-ratelimit-remaining-tokens: 0 | x-ratelimit-reset-tokens: 2s",
                Some(9000),
            ),
            (
                "anthropic-ratelimit-tokens-remaining: 0 | anthropic-ratelimit-tokens-reset: 2026-01-01T00:01:00Z",
                Some(60_000),
            ),
            (
                "anthropic-ratelimit-input-tokens-remaining: 0 | anthropic-ratelimit-input-tokens-reset: 2026-01-01T01:00:00+01:00",
                Some(0),
            ),
            (
                "x-ratelimit-remaining: 0 | x-ratelimit-reset: 1767225660000",
                Some(60_000),
            ),
            (
                "x-ratelimit-remaining: 0 | x-ratelimit-reset: 1767225660",
                Some(60_000),
            ),
            ("x-ratelimit-remaining: 0 | x-ratelimit-reset: 60", Some(60_000)),
            ("x-ratelimit-remaining: 0 | x-ratelimit-reset: tomorrow", None),
            ("x-ratelimit-remaining: 0", None),
            (
                "retry-after: 1 | x-ratelimit-remaining: 0 | x-ratelimit-reset: 60",
                Some(1000),
            ),
        ] {
            assert_eq!(wait(headers), milliseconds, "{headers}");
        }
        assert_eq!(wait("retry-after: 1e300"), Some(Duration::MAX.as_millis()));
    }

    #[test]
    fn a_spent_limit_asks_nothing_by_itself() {
        let headers = [
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "6h"),
        ];
        let headers =
            headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let headers: HeaderMap = headers.into_iter().collect();
        let now = SystemTime::UNIX_EPOCH;
        assert_eq!(retry_after(&headers, None, now), None);
        let six_hours = Duration::from_secs(6 * 3600);
        assert_eq!(reset_of_spent_limits(&headers, now), Some(six_hours));
    }

    #[test]
    fn retry_info_is_the_providers_word() {
        let error = UpstreamError {
            retry_delay: duration("34s"),
            ..UpstreamError::default()
        };
        let wait = retry_after(&HeaderMap::new(), Some(&error), SystemTime::UNIX_EPOCH);
        assert_eq!(wait, Some(Duration::from_secs(34)));
    }

    #[test]
    fn what_is_no_duration_is_none() {
        for text in ["", "s", "5", "5 parsecs", "1s2", "..s", "é"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
