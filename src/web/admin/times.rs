//! Unix milliseconds in the tables, RFC 3339 in the REST.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::web::problem::ApiError;

/// `2026-01-01T00:00:00.000Z`; `None` for what no calendar has.
pub fn rfc3339(milliseconds: i64) -> Option<String> {
    let time = Timestamp::from_millisecond(milliseconds).ok()?;
    Some(format!("{time:.3}"))
}

/// Unix milliseconds of an RFC 3339 time with its offset.
pub fn parse(text: &str) -> Option<i64> {
    let time: Timestamp = text.trim().parse().ok()?;
    Some(time.as_millisecond())
}

/// A row as JSON, the columns that are named as times written as such. A time that could not be read is
/// kept as 0 by the store, and shown as `null`.
pub fn with_times(row: &impl Serialize, times: &[&str]) -> Result<Value, ApiError> {
    let mut row = serde_json::to_value(row).map_err(|_| ApiError::Internal)?;
    for name in times {
        if let Some(time) = row.get_mut(*name) {
            *time = json!(time.as_i64().filter(|at| *at != 0).and_then(rfc3339));
        }
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_there_and_back() {
        assert_eq!(
            rfc3339(1_767_225_600_000).as_deref(),
            Some("2026-01-01T00:00:00.000Z")
        );
        assert_eq!(parse("2026-01-01T01:00:00.5+01:00"), Some(1_767_225_600_500));
        for bad in ["2026-01-01", "2026-01-01T00:00:00", "tomorrow", "1767225600", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(rfc3339(i64::MAX), None);
    }
}
