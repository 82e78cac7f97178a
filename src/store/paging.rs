//! One page of a list.

use sea_orm::DbBackend;
use sea_orm::sea_query::{Alias, Asterisk, Expr, ExprTrait, Func, IntoColumnRef, Query, SelectStatement};
use serde::Serialize;

use super::decode::column;
use super::error::StoreError;
use super::session::Session;

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
        Ord::min(offset, i64::MAX as u64)
    }

    pub(crate) fn limit(self) -> u64 {
        Ord::min(self.page_size, i64::MAX as u64)
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

impl<T> Listed<T> {
    pub(crate) fn new(items: Vec<T>, total: i64, page: Page) -> Self {
        Self {
            items,
            total: u64::try_from(total).unwrap_or(0),
            page: page.page,
            page_size: page.page_size,
        }
    }
}

/// Counts what the select would find.
pub(crate) async fn count(session: &Session, select: &SelectStatement) -> Result<i64, StoreError> {
    let mut counting = Query::select();
    counting
        .expr(Expr::col(Asterisk).count())
        .from_subquery(select.clone(), Alias::new("counted"));
    let total = session
        .first(&counting, |row| column(row, 0, "count").integer())
        .await?;
    Ok(total.unwrap_or(Ok(0))?)
}

/// Whether `column` has `part` in it, letters' case aside (on SQLite: ASCII letters').
pub(crate) fn contains(backend: DbBackend, column: impl IntoColumnRef, part: &str) -> Expr {
    let function = if backend == DbBackend::Postgres {
        "strpos"
    } else {
        "instr"
    };
    let lower = |expr: Expr| Expr::expr(Func::lower(expr));
    Expr::expr(
        Func::cust(Alias::new(function))
            .arg(lower(Expr::col(column)))
            .arg(lower(Expr::val(part))),
    )
    .gt(0)
}
