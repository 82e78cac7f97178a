//! Why a call of the admin REST failed, as `application/problem+json` (RFC 9457): the one place where
//! statuses and codes are decided. The database's own words go to the log, not to the caller.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use log::{error, warn};
use serde::Serialize;

use crate::actors::messages::BuildFailed;
use crate::routing::rows::RowFault;
use crate::store::change_status::ChangeError;
use crate::store::error::StoreError;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiError {
    /// No admin token, or one that is not ours.
    Unauthorized,
    /// The row that the URL or the body names is not there.
    NotFound(What),
    NoSuchRoute,
    /// The methods that the route has.
    MethodNotAllowed(&'static str),
    /// The query does not fit.
    Query(Vec<FieldError>),
    /// The body is no JSON.
    NotJson(String),
    /// The body is JSON, but does not fit.
    Invalid(Vec<FieldError>),
    /// The body did not arrive whole.
    BodyCut,
    /// More bytes than this.
    BodyTooLarge(usize),
    /// Something else than uncompressed JSON was sent.
    ContentType,
    /// A channel cannot be enabled without an enabled key.
    NoEnabledKey,
    /// The row has changed meanwhile.
    Superseded,
    /// A write that certainly was not done.
    NotDone(StoreError),
    /// A write that may have been done.
    CommitUnknown(StoreError),
    /// A read that failed.
    Database(StoreError),
    /// The one row that was asked for cannot be read.
    UnreadableRow(RowFault),
    RebuildFailed(BuildFailed),
    /// An upstream did not answer what it was asked for an operator; without secrets.
    Upstream(String),
    Overloaded,
    /// The database is not open yet.
    Starting,
    /// A fault of our own.
    Internal,
}

/// What was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Channel,
    Key,
    Ability,
    Model,
    Token,
}

/// One field that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Its path in the body (`settings.timeouts.connect`, `keys[2]`) or its name in the query.
    pub field: String,
    pub message: String,
}

/// The body of an error (RFC 9457).
#[derive(Debug, Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl ApiError {
    /// A failed write to a row of this kind.
    pub fn of_change(error: ChangeError, what: What) -> ApiError {
        match error {
            ChangeError::NotFound => ApiError::NotFound(what),
            ChangeError::NoEnabledKey => ApiError::NoEnabledKey,
            ChangeError::Superseded => ApiError::Superseded,
            ChangeError::NoModels => {
                let message = "a channel without models cannot have groups";
                ApiError::Invalid(vec![FieldError::new("groups", message)])
            }
            ChangeError::NotDone(StoreError::BadRow(fault)) => ApiError::UnreadableRow(fault),
            ChangeError::NotDone(error) => ApiError::NotDone(error),
            ChangeError::Unknown(error) => ApiError::CommitUnknown(error),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            ApiError::Query(_) | ApiError::NotJson(_) | ApiError::BodyCut => StatusCode::BAD_REQUEST,
            ApiError::Unauthorized => StatusCode::UNAUTHORIZED,
            ApiError::NotFound(_) | ApiError::NoSuchRoute => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::NoEnabledKey | ApiError::Superseded => StatusCode::CONFLICT,
            ApiError::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            ApiError::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ApiError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            ApiError::UnreadableRow(_) | ApiError::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            ApiError::Upstream(_) => StatusCode::BAD_GATEWAY,
            ApiError::NotDone(_)
            | ApiError::CommitUnknown(_)
            | ApiError::Database(_)
            | ApiError::RebuildFailed(_)
            | ApiError::Overloaded
            | ApiError::Starting => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What programs tell problems apart by; its words beside it.
    fn code(&self) -> (&'static str, &'static str) {
        match self {
            ApiError::Unauthorized => ("unauthorized", "An admin token is needed"),
            ApiError::NotFound(_) => ("not_found", "There is no such thing"),
            ApiError::NoSuchRoute => ("no_such_route", "There is no such URL"),
            ApiError::MethodNotAllowed(_) => ("method_not_allowed", "This URL does not take that method"),
            ApiError::Query(_) => ("invalid_query", "The query does not fit"),
            ApiError::NotJson(_) => ("malformed_json", "The body is not JSON"),
            ApiError::Invalid(_) => ("invalid_fields", "Fields of the body do not fit"),
            ApiError::BodyCut => ("body_cut_short", "The body did not arrive whole"),
            ApiError::BodyTooLarge(_) => ("body_too_large", "The body is too large"),
            ApiError::ContentType => ("unsupported_media_type", "The body must be JSON"),
            ApiError::NoEnabledKey => ("no_enabled_key", "The channel would have no enabled key"),
            ApiError::Superseded => ("superseded", "It has changed meanwhile"),
            ApiError::NotDone(_) => ("not_done", "Nothing was changed"),
            ApiError::CommitUnknown(_) => ("commit_unknown", "The change may or may not have been done"),
            ApiError::Database(_) => ("database_unavailable", "The database did not answer"),
            ApiError::UnreadableRow(_) => ("unreadable_row", "The row cannot be read"),
            ApiError::Upstream(_) => ("upstream_failed", "The upstream did not answer as it should"),
            ApiError::RebuildFailed(_) => ("rebuild_failed", "The routing snapshot could not be rebuilt"),
            ApiError::Overloaded => ("overloaded", "Too much is asked at once"),
            ApiError::Starting => ("starting", "The database is not open yet"),
            ApiError::Internal => ("internal", "A fault of our own"),
        }
    }

    fn detail(&self) -> String {
        match self {
            ApiError::Unauthorized => "send `Authorization: Bearer` with an admin token".to_owned(),
            ApiError::NotFound(what) => format!("no such {}", what.word()),
            ApiError::NoSuchRoute => "nothing is served at this path".to_owned(),
            ApiError::MethodNotAllowed(methods) => format!("it takes {methods}"),
            ApiError::Query(errors) | ApiError::Invalid(errors) => match errors.as_slice() {
                [only] => format!("{}: {}", only.field, only.message),
                several => format!("{} fields do not fit", several.len()),
            },
            ApiError::NotJson(detail) => detail.clone(),
            ApiError::BodyCut => "the connection ended before the body did".to_owned(),
            ApiError::BodyTooLarge(limit) => format!("at most {limit} bytes are taken"),
            ApiError::ContentType => "send `Content-Type: application/json`, uncompressed".to_owned(),
            ApiError::NoEnabledKey => "enable or add a key first; nothing was changed".to_owned(),
            ApiError::Superseded => "somebody else was faster; nothing was changed".to_owned(),
            ApiError::NotDone(_) => "the database did not take the change; try again".to_owned(),
            ApiError::CommitUnknown(_) => {
                "the database broke off while it committed; read again before you repeat it".to_owned()
            }
            ApiError::Database(_) => "try again; the log has its words".to_owned(),
            ApiError::UnreadableRow(fault) => fault.to_string(),
            ApiError::Upstream(words) => words.clone(),
            ApiError::RebuildFailed(failed) => {
                format!("the last good snapshot serves on: {}", failed.reason)
            }
            ApiError::Overloaded | ApiError::Starting => "try again in a moment".to_owned(),
            ApiError::Internal => "the log has more".to_owned(),
        }
    }

    fn errors(&self) -> &[FieldError] {
        match self {
            ApiError::Query(errors) | ApiError::Invalid(errors) => errors,
            _ => &[],
        }
    }

    fn log(&self) {
        match self {
            ApiError::NotDone(cause) | ApiError::CommitUnknown(cause) | ApiError::Database(cause) => {
                warn!(code = self.code().0, error:% = cause; "an admin call failed at the database");
            }
            ApiError::UnreadableRow(fault) => {
                error!(error:% = fault; "an admin call found an unreadable row")
            }
            ApiError::Internal => error!("an admin call failed by a fault of our own"),
            _ => {}
        }
    }
}

impl What {
    fn word(self) -> &'static str {
        match self {
            What::Channel => "channel",
            What::Key => "key of this channel",
            What::Ability => "ability",
            What::Model => "model",
            What::Token => "token",
        }
    }
}

impl FieldError {
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> FieldError {
        FieldError {
            field: field.into(),
            message: message.into(),
        }
    }
}

/// A failed read.
impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BadRow(fault) => ApiError::UnreadableRow(fault),
            StoreError::Internal(words) => {
                error!(error = words.as_str(); "a question to the database failed by a fault of our own");
                ApiError::Internal
            }
            StoreError::Url(_)
            | StoreError::Unavailable(_)
            | StoreError::TimedOut
            | StoreError::Database { .. } => ApiError::Database(error),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code().0)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.log();
        let (code, title) = self.code();
        let status = self.status();
        let problem = Problem {
            r#type: format!("urn:pointsman:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: self.detail(),
            code,
            errors: self.errors(),
        };
        let mut answer = HttpResponse::build(status);
        answer.insert_header((CONTENT_TYPE, "application/problem+json"));
        match self {
            ApiError::Unauthorized => {
                answer.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"pointsman admin\""));
            }
            ApiError::MethodNotAllowed(methods) => {
                answer.insert_header((ALLOW, HeaderValue::from_static(methods)));
            }
            _ if status == StatusCode::SERVICE_UNAVAILABLE => {
                answer.insert_header((RETRY_AFTER, "1"));
            }
            _ => {}
        }
        answer.body(serde_json::to_vec(&problem).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::MessageBody as _;

    fn body(error: &ApiError) -> serde_json::Value {
        let Ok(bytes) = error.error_response().into_body().try_into_bytes() else {
            panic!("a body at hand");
        };
        serde_json::from_slice(&bytes).expect("JSON")
    }

    #[test]
    fn fields_are_named_in_the_problem() {
        let error = ApiError::Invalid(vec![FieldError::new("keys[2]", "must not be empty")]);
        insta::assert_snapshot!(body(&error), @r#"{"type":"urn:pointsman:problem:invalid_fields","title":"Fields of the body do not fit","status":422,"detail":"keys[2]: must not be empty","code":"invalid_fields","errors":[{"field":"keys[2]","message":"must not be empty"}]}"#);
    }

    #[test]
    fn the_words_of_the_database_stay_in_the_log() {
        let words = StoreError::Database {
            code: "42P01".to_owned(),
            message: "relation does not exist".to_owned(),
        };
        for error in [
            ApiError::NotDone(words.clone()),
            ApiError::CommitUnknown(words.clone()),
            ApiError::from(words),
        ] {
            let body = body(&error).to_string();
            assert!(!body.contains("relation") && body.contains("503"), "{body}");
        }
    }

    #[test]
    fn changes_that_fail_tell_what_may_have_happened() {
        let check = |error: ChangeError, status: u16, code: &str| {
            let body = body(&ApiError::of_change(error, What::Channel));
            assert_eq!(
                (body["status"].as_u64(), body["code"].as_str()),
                (Some(status.into()), Some(code))
            );
        };
        check(ChangeError::NotFound, 404, "not_found");
        check(ChangeError::NoEnabledKey, 409, "no_enabled_key");
        check(ChangeError::Superseded, 409, "superseded");
        check(ChangeError::NotDone(StoreError::TimedOut), 503, "not_done");
        check(ChangeError::Unknown(StoreError::TimedOut), 503, "commit_unknown");
    }
}
