//! The query of a list, read field by field: what nobody reads is an error, so that a filter with a typing
//! mistake in it never shows everything.

use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::store::paging::Page;
use crate::web::problem::{ApiError, FieldError};

const PAGE_SIZE: u64 = 50;
const LARGEST_PAGE: u64 = 1000;
/// No name is longer.
const LONGEST_TEXT: usize = 255;

/// What stands behind the `?`.
pub struct Query {
    fields: Vec<(String, String)>,
    faults: Vec<FieldError>,
}

impl Query {
    fn read(query: &str) -> Query {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Query {
            fields: pairs
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
            faults: Vec::new(),
        }
    }

    /// A field's text, trimmed; an empty one is as none.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let value = self.take(name)?;
        if value.chars().count() > LONGEST_TEXT {
            self.fault(name, format!("must have at most {LONGEST_TEXT} characters"));
            return None;
        }
        if value.chars().any(char::is_control) {
            self.fault(name, "must have no control characters");
            return None;
        }
        Some(value)
    }

    /// One of a few words.
    pub fn word<T>(&mut self, name: &str, words: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let value = self.take(name)?;
        let word = read(&value);
        if word.is_none() {
            self.fault(name, format!("must be one of {words}"));
        }
        word
    }

    pub fn number<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let value = self.take(name)?;
        let number = value.parse().ok();
        if number.is_none() {
            self.fault(name, "must be a whole number");
        }
        number
    }

    /// `page` and `page_size`.
    pub fn page(&mut self) -> Page {
        let page = self.number("page").unwrap_or(1);
        let page_size = self.number("page_size").unwrap_or(PAGE_SIZE);
        if page < 1 {
            self.fault("page", "must be 1 or more");
        }
        if !(1..=LARGEST_PAGE).contains(&page_size) {
            self.fault("page_size", format!("must be between 1 and {LARGEST_PAGE}"));
        }
        Page { page, page_size }
    }

    /// Whether all was well, and everything was read.
    ///
    /// # Errors
    /// Names each field that does not fit or is not known.
    pub fn done(mut self) -> Result<(), ApiError> {
        for (name, _) in std::mem::take(&mut self.fields) {
            self.fault(&name, "is no field that is known here");
        }
        if self.faults.is_empty() {
            Ok(())
        } else {
            Err(ApiError::Query(self.faults))
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.fields.iter().position(|(field, _)| field == name)?;
        let (_, value) = self.fields.remove(place);
        if self.fields.iter().any(|(field, _)| field == name) {
            self.fields.retain(|(field, _)| field != name);
            self.fault(name, "is given twice");
        }
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.faults.push(FieldError::new(name, message));
    }
}

impl FromRequest for Query {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Query::read(request.query_string())))
    }
}

/// One page of a list that is at hand as a whole.
pub fn part<T>(page: Page, list: Vec<T>) -> Vec<T> {
    let start = (page.page - 1).saturating_mul(page.page_size);
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    list.into_iter()
        .skip(start)
        .take(page.page_size as usize)
        .collect()
}

/// A number in the path: what is none names no row.
pub fn id(request: &HttpRequest, name: &str) -> Option<i64> {
    request.match_info().get(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reads_is_an_error() {
        let faults = |query: &str| {
            let mut query = Query::read(query);
            let _ = (query.text("q"), query.page());
            match query.done() {
                Ok(()) => Vec::new(),
                Err(ApiError::Query(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
                Err(other) => panic!("{other:?}"),
            }
        };
        let check = |query: &str, fields: &[&str]| assert_eq!(faults(query), fields, "{query}");
        check("", &[]);
        check("q=a%20b&page=2&page_size=1000", &[]);
        check("q=&page=", &[]);
        check("page=0", &["page"]);
        check("page=x&page_size=1001", &["page", "page_size"]);
        check("q=a&q=b&q=c", &["q"]);
        check("q=%00", &["q"]);
        check("stauts=enabled", &["stauts"]);
        check(&format!("q={}", "x".repeat(256)), &["q"]);
    }
}
