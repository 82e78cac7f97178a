//! What stands in one column of one row, whatever the driver calls its type.

use sea_orm::sqlx::mysql::MySqlRow;
use sea_orm::sqlx::postgres::{PgRow, PgValueFormat};
use sea_orm::sqlx::sqlite::SqliteRow;
use sea_orm::sqlx::{Row, TypeInfo, ValueRef};

/// A value as it came, not yet judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cell<'r> {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// Text, and JSON in whatever wrapping.
    Text(&'r str),
    /// Bytes that may or may not be text.
    Bytes(&'r [u8]),
    /// Something that no column of ours should hold.
    Other,
}

/// A row of any driver. Columns are counted from 0.
pub(crate) trait Cells {
    fn cell(&self, column: usize) -> Cell<'_>;
}

impl Cells for SqliteRow {
    fn cell(&self, column: usize) -> Cell<'_> {
        let Ok(value) = self.try_get_raw(column) else {
            return Cell::Other;
        };
        if value.is_null() {
            return Cell::Null;
        }
        let info = value.type_info();
        match info.name() {
            "INTEGER" | "BOOLEAN" => self.try_get_unchecked(column).map_or(Cell::Other, Cell::Integer),
            "REAL" => self.try_get_unchecked(column).map_or(Cell::Other, Cell::Float),
            // SQLite keeps any bytes as text.
            "TEXT" | "BLOB" => self.try_get_unchecked(column).map_or(Cell::Other, text_or_bytes),
            _ => Cell::Other,
        }
    }
}

impl Cells for PgRow {
    fn cell(&self, column: usize) -> Cell<'_> {
        let Ok(value) = self.try_get_raw(column) else {
            return Cell::Other;
        };
        let Ok(bytes) = value.as_bytes() else {
            return Cell::Null;
        };
        match value.format() {
            PgValueFormat::Text => text_or_bytes(bytes),
            PgValueFormat::Binary => from_pg_binary(value.type_info().name(), bytes),
        }
    }
}

fn from_pg_binary<'r>(kind: &str, bytes: &'r [u8]) -> Cell<'r> {
    match (kind, bytes) {
        ("BOOL", [byte]) => Cell::Bool(*byte != 0),
        ("INT2", bytes) => bytes
            .try_into()
            .map_or(Cell::Other, |b| Cell::Integer(i16::from_be_bytes(b).into())),
        ("INT4", bytes) => bytes
            .try_into()
            .map_or(Cell::Other, |b| Cell::Integer(i32::from_be_bytes(b).into())),
        ("INT8", bytes) => bytes
            .try_into()
            .map_or(Cell::Other, |b| Cell::Integer(i64::from_be_bytes(b))),
        ("FLOAT4", bytes) => bytes
            .try_into()
            .map_or(Cell::Other, |b| Cell::Float(f32::from_be_bytes(b).into())),
        ("FLOAT8", bytes) => bytes
            .try_into()
            .map_or(Cell::Other, |b| Cell::Float(f64::from_be_bytes(b))),
        // A version byte stands before the text.
        ("JSONB", [1, text @ ..]) => text_or_bytes(text),
        (
            "TEXT" | "VARCHAR" | "CHAR" | "NAME" | "UNKNOWN" | "JSON" | "\"CHAR\"" | "BYTEA" | "citext",
            bytes,
        ) => text_or_bytes(bytes),
        _ => Cell::Other,
    }
}

impl Cells for MySqlRow {
    fn cell(&self, column: usize) -> Cell<'_> {
        let Ok(value) = self.try_get_raw(column) else {
            return Cell::Other;
        };
        if value.is_null() {
            return Cell::Null;
        }
        let info = value.type_info();
        let kind = info.name();
        if kind.ends_with("UNSIGNED") {
            let number: Result<u64, _> = self.try_get_unchecked(column);
            return number
                .ok()
                .and_then(|n| i64::try_from(n).ok())
                .map_or(Cell::Other, Cell::Integer);
        }
        match kind {
            "BOOLEAN" | "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" | "YEAR" => {
                self.try_get_unchecked(column).map_or(Cell::Other, Cell::Integer)
            }
            "FLOAT" => self
                .try_get_unchecked::<f32, _>(column)
                .map_or(Cell::Other, |f| Cell::Float(f.into())),
            "DOUBLE" => self.try_get_unchecked(column).map_or(Cell::Other, Cell::Float),
            "DATE" | "TIME" | "DATETIME" | "TIMESTAMP" | "BIT" | "GEOMETRY" => Cell::Other,
            _ => self.try_get_unchecked(column).map_or(Cell::Other, text_or_bytes),
        }
    }
}

fn text_or_bytes(bytes: &[u8]) -> Cell<'_> {
    std::str::from_utf8(bytes).map_or(Cell::Bytes(bytes), Cell::Text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_values_by_type() {
        let check = |kind: &str, bytes: &'static [u8], cell: Cell<'static>| {
            assert_eq!(from_pg_binary(kind, bytes), cell, "{kind}")
        };
        check("BOOL", &[1], Cell::Bool(true));
        check("INT2", &[0xff, 0xff], Cell::Integer(-1));
        check("INT4", &[0, 0, 1, 0], Cell::Integer(256));
        check("INT8", &[0, 0, 0, 0, 0, 0, 0, 7], Cell::Integer(7));
        check("INT8", &[7], Cell::Other);
        check("JSONB", b"\x01{}", Cell::Text("{}"));
        check("JSONB", b"\x02{}", Cell::Other);
        check("JSON", b"{}", Cell::Text("{}"));
        check("BYTEA", &[0xff], Cell::Bytes(&[0xff]));
        check("BYTEA", b"{}", Cell::Text("{}"));
        check("NUMERIC", &[0], Cell::Other);
    }
}
