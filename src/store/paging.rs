//! One page of a list.

use serde::Serialize;

/// Which page, counted from 1, and how many items a page has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub page: u64,
    pub page_size: u64,
}

impl Default for Page {
    fn default() -> Self {
        Self {
            page: 1,
            page_size: 50,
        }
    }
}

impl Page {
    pub(crate) fn offset(self) -> u64 {
        // Databases take signed offsets.
        let offset = self.page.saturating_sub(1).saturating_mul(self.page_size);
        offset.min(i64::MAX as u64)
    }

    pub(crate) fn limit(self) -> u64 {
        self.page_size.min(i64::MAX as u64)
    }
}

/// Which way a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    #[default]
    Ascending,
    Descending,
}

impl From<Direction> for sea_orm::Order {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ascending => sea_orm::Order::Asc,
            Direction::Descending => sea_orm::Order::Desc,
        }
    }
}

/// A page of a list, and how many items the whole list has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Listed<T> {
    pub items: Vec<T>,
    pub total: u64,
    pub page: u64,
    pub page_size: u64,
}
