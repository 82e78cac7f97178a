//! What names, lists and numbers may hold. Each check names the field, and gathers what it finds, so that a
//! form can show all of it at once.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::body::Given;
use crate::routing::ids::{GroupName, ModelName};
use crate::web::problem::{ApiError, FieldError};

/// The columns' lengths.
pub const NAME_LENGTH: usize = 255;
pub const GROUP_LENGTH: usize = 64;
/// As much as anyone reads.
pub const REASON_LENGTH: usize = 1000;
pub const REMARK_LENGTH: usize = 10_000;
/// Standby to a million times another's share.
pub const WEIGHTS: RangeInclusive<i64> = 0..=1_000_000;
/// Readable, and exact in every client's numbers.
pub const PRIORITIES: RangeInclusive<i64> = -1_000_000_000..=1_000_000_000;
/// Bounds on lists, far above what is run.
pub const GROUPS: usize = 1000;
pub const MODELS: usize = 20_000;

/// What was found so far.
#[derive(Debug, Default)]
pub struct Faults(Vec<FieldError>);

impl Faults {
    pub fn add(&mut self, field: impl Display, message: impl Into<String>) {
        self.0.push(FieldError::new(field.to_string(), message));
    }

    /// Whether nothing was found.
    ///
    /// # Errors
    /// What was found.
    pub fn none(self) -> Result<(), ApiError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ApiError::Invalid(self.0))
        }
    }

    /// The value of a field that a column must have.
    pub fn not_null<T>(&mut self, field: &str, given: Given<T>) -> Option<T> {
        match given {
            None => None,
            Some(None) => {
                self.add(field, "must not be null");
                None
            }
            Some(value) => value,
        }
    }

    /// A field that must be given; `null` is as absent.
    pub fn required<T>(&mut self, field: &str, given: &Given<T>) {
        if !matches!(given, Some(Some(_))) {
            self.add(field, "is required");
        }
    }

    /// A name: trimmed, not empty, on one line.
    pub fn name(&mut self, field: impl Display, text: &str, longest: usize) -> Option<String> {
        let text = text.trim();
        let message = if text.is_empty() {
            "must not be empty".to_owned()
        } else if text.chars().count() > longest {
            format!("must have at most {longest} characters")
        } else if text.chars().any(char::is_control) {
            "must have no control characters".to_owned()
        } else {
            return Some(text.to_owned());
        };
        self.add(field, message);
        None
    }

    /// A text of some lines; an empty one is as none.
    pub fn text(&mut self, field: &str, text: &str, longest: usize) -> Option<String> {
        let text = text.trim();
        if text.chars().count() > longest {
            self.add(field, format!("must have at most {longest} characters"));
        } else if text.contains('\0') {
            self.add(field, "must have no control characters");
        }
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Names, each once, in the order in which they came first.
    pub fn names(&mut self, field: &str, list: &[String], longest: usize, most: usize) -> Vec<String> {
        if list.len() > most {
            self.add(field, format!("must have at most {most} entries"));
            return Vec::new();
        }
        let mut seen = HashSet::new();
        let mut names = Vec::with_capacity(list.len());
        for (index, name) in list.iter().enumerate() {
            if let Some(name) = self.name(format_args!("{field}[{index}]"), name, longest)
                && seen.insert(name.clone())
            {
                names.push(name);
            }
        }
        names
    }

    pub fn groups(&mut self, field: &str, list: &[String]) -> Vec<GroupName> {
        let names = self.names(field, list, GROUP_LENGTH, GROUPS);
        names.iter().map(|name| GroupName::new(name)).collect()
    }

    pub fn models(&mut self, field: &str, list: &[String]) -> Vec<ModelName> {
        let names = self.names(field, list, NAME_LENGTH, MODELS);
        names.iter().map(|name| ModelName::new(name)).collect()
    }

    pub fn whole(&mut self, field: &str, number: i64, range: RangeInclusive<i64>) -> i64 {
        if !range.contains(&number) {
            self.add(
                field,
                format!("must be between {} and {}", range.start(), range.end()),
            );
        }
        number
    }

    pub fn weight(&mut self, field: &str, weight: i64) -> u32 {
        u32::try_from(self.whole(field, weight, WEIGHTS)).unwrap_or_default()
    }

    /// A JSON value as it stands, if a database can keep it.
    pub fn json(&mut self, field: &str, value: &Value, longest: usize) {
        if value.to_string().len() > longest {
            self.add(field, format!("must have at most {longest} bytes"));
        } else if has_nul(value) {
            self.add(field, "must have no NUL characters");
        }
    }
}

/// PostgreSQL keeps none.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(list) => list.iter().any(has_nul),
        Value::Object(map) => map
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
