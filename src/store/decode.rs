//! Columns, read one by one, so that a value which cannot be read harms only itself (R7).
//!
//! A JSON column may come as text, bytes, JSON or NULL; a number as a number or as its digits. What cannot
//! be read becomes a [`RowFault`] that names the column and what was expected, never the value.

use std::sync::Arc;

use sea_orm::sea_query::{Alias, DynIden, IntoIden};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::cells::{Cell, Cells};
use super::secrets;
use crate::routing::ids::{ChannelId, KeyId};
use crate::routing::rows::{
    AbilityRow, ChannelRow, ChannelSpec, KeyMode, KeyRow, KeySpec, ProviderLookup, RowFault, Settings, Status,
};

/// Weights above this are refused on the way in, so one found is a fault.
pub(crate) const MAX_WEIGHT: i64 = 1_000_000;

type Read<T> = Result<T, RowFault>;

/// One column of one row, and its name for what may be said of it.
#[derive(Clone, Copy)]
pub(crate) struct Column<'r> {
    name: &'static str,
    cell: Cell<'r>,
}

/// The column at `index`.
pub(crate) fn column<'r>(row: &'r dyn Cells, index: usize, name: &'static str) -> Column<'r> {
    Column {
        name,
        cell: row.cell(index),
    }
}

impl<'r> Column<'r> {
    fn fault<T>(self, expected: &str) -> Read<T> {
        Err(RowFault::new(self.name, expected))
    }

    pub fn is_null(self) -> bool {
        self.cell == Cell::Null
    }

    pub fn text(self) -> Read<&'r str> {
        match self.cell {
            Cell::Text(text) => Ok(text),
            _ => self.fault("expected text"),
        }
    }

    pub fn maybe_text(self) -> Read<Option<String>> {
        match self.cell {
            Cell::Null => Ok(None),
            _ => self.text().map(|text| Some(text.to_owned())),
        }
    }

    pub fn integer(self) -> Read<i64> {
        let number = match self.cell {
            Cell::Integer(n) => Some(n),
            // Whole numbers up to 2^53 are exact.
            Cell::Float(f) if f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0 => Some(f as i64),
            Cell::Text(digits) => digits.parse().ok(),
            _ => None,
        };
        number.map_or_else(|| self.fault("expected a whole number"), Ok)
    }

    pub fn maybe_integer(self) -> Read<Option<i64>> {
        match self.cell {
            Cell::Null => Ok(None),
            _ => self.integer().map(Some),
        }
    }

    pub fn maybe_weight(self) -> Read<Option<u32>> {
        match self.maybe_integer()? {
            None => Ok(None),
            Some(n) if (0..=MAX_WEIGHT).contains(&n) => Ok(Some(n as u32)),
            Some(_) => self.fault("expected a weight from 0 to 1000000"),
        }
    }

    pub fn weight(self) -> Read<u32> {
        self.maybe_weight()?
            .map_or_else(|| self.fault("expected a weight from 0 to 1000000"), Ok)
    }

    pub fn flag(self) -> Read<bool> {
        match self.cell {
            Cell::Bool(flag) => Ok(flag),
            Cell::Integer(n @ (0 | 1)) => Ok(n == 1),
            Cell::Text("1" | "t" | "true" | "TRUE" | "True") => Ok(true),
            Cell::Text("0" | "f" | "false" | "FALSE" | "False") => Ok(false),
            _ => self.fault("expected true or false"),
        }
    }

    pub fn status(self) -> Read<Status> {
        let word = match self.cell {
            Cell::Text(word) => Status::parse(word),
            _ => None,
        };
        word.map_or_else(|| self.fault("expected enabled, disabled or auto_disabled"), Ok)
    }

    /// NULL, an empty text and JSON's `null` are the default.
    pub fn json<T: DeserializeOwned + Default>(self, expected: &str) -> Read<T> {
        match self.cell {
            Cell::Null => Ok(T::default()),
            Cell::Text(text) if matches!(text.trim(), "" | "null") => Ok(T::default()),
            Cell::Text(text) => from_json(text).map_or_else(|| self.fault(expected), Ok),
            // SQLite: a JSON number or flag that was written without quotes.
            _ => self.fault(expected),
        }
    }

    /// Any JSON, as it stands.
    pub fn value(self) -> Read<Value> {
        self.json("expected JSON")
    }
}

/// JSON, or JSON that was once more put into a JSON string, as some tools do to text columns.
fn from_json<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok().or_else(|| {
        let inner: String = serde_json::from_str(text).ok()?;
        serde_json::from_str(&inner).ok()
    })
}

/// The columns of `channels` that a [`ChannelRow`] is read from, in order.
pub(crate) const CHANNEL: [&str; 17] = [
    "id",
    "status",
    "status_changed_at",
    "status_reason",
    "name",
    "provider",
    "base_url",
    "priority",
    "weight",
    "tag",
    "key_mode",
    "model_mapping",
    "header_override",
    "param_override",
    "settings",
    "test_model",
    "auto_disable",
];

/// The columns of `channel_keys` that a [`KeyRow`] is read from, in order.
pub(crate) const KEY: [&str; 6] = [
    "id",
    "channel_id",
    "status",
    "status_changed_at",
    "secret",
    "hint",
];

/// The columns of `abilities` that an [`AbilityRow`] is read from, in order.
pub(crate) const ABILITY: [&str; 7] = [
    "group",
    "model",
    "channel_id",
    "enabled",
    "held",
    "priority",
    "weight",
];

/// Names, each in its table.
pub(crate) fn of_table(table: &'static str, columns: &[&'static str]) -> Vec<(DynIden, DynIden)> {
    columns
        .iter()
        .map(|c| (Alias::new(table).into_iden(), Alias::new(*c).into_iden()))
        .collect()
}

/// A channel whose columns begin at `at`; `None`, and a line in the log, if not even its id can be read.
pub(crate) fn channel(row: &dyn Cells, at: usize, providers: ProviderLookup) -> Option<ChannelRow> {
    let get = |i: usize| column(row, at + i, CHANNEL[i]);
    let id = ChannelId(known(get(0), "channels")?);
    Some(ChannelRow {
        id,
        status: get(1).status(),
        status_changed_at: get(2).integer().unwrap_or(0),
        status_reason: get(3).maybe_text().unwrap_or(None),
        spec: spec(&get, providers).map(Arc::new),
    })
}

fn spec<'r>(get: &dyn Fn(usize) -> Column<'r>, providers: ProviderLookup) -> Read<ChannelSpec> {
    let provider = get(5).text()?.to_owned();
    let Some(traits) = providers(&provider) else {
        return Err(RowFault::new("provider", "expected one of the known providers"));
    };
    Ok(ChannelSpec {
        name: get(4).text()?.to_owned(),
        provider,
        traits,
        base_url: get(6).maybe_text()?.filter(|url| !url.is_empty()),
        priority: get(7).integer()?,
        weight: get(8).weight()?,
        tag: get(9).maybe_text()?,
        key_mode: key_mode(get(10))?,
        model_mapping: get(11).json("expected a JSON object of model names")?,
        header_override: get(12).json("expected a JSON object of header values")?,
        param_override: get(13).json("expected a JSON object")?,
        settings: settings(get(14))?,
        test_model: get(15).maybe_text()?.filter(|model| !model.is_empty()),
        auto_disable: get(16).flag()?,
    })
}

pub(crate) fn key_mode(column: Column<'_>) -> Read<KeyMode> {
    match column.cell {
        Cell::Text("random") => Ok(KeyMode::Random),
        Cell::Text("polling") => Ok(KeyMode::Polling),
        _ => column.fault("expected random or polling"),
    }
}

fn settings(column: Column<'_>) -> Read<Settings> {
    column.json("expected a JSON object of known settings")
}

/// A key whose columns begin at `at`; `None` if its id or channel is NULL (a channel without keys, in an
/// outer join) or cannot be read.
pub(crate) fn key(row: &dyn Cells, at: usize) -> Option<KeyRow> {
    let get = |i: usize| column(row, at + i, KEY[i]);
    if get(0).is_null() {
        return None;
    }
    let id = KeyId(known(get(0), "channel_keys")?);
    let channel = ChannelId(known(get(1), "channel_keys")?);
    Some(KeyRow {
        id,
        channel,
        status: get(2).status(),
        status_changed_at: get(3).integer().unwrap_or(0),
        key: key_spec(get(4), get(5)),
    })
}

fn key_spec(secret: Column<'_>, hint: Column<'_>) -> Read<KeySpec> {
    let secret = match secret.text()? {
        "" => return secret.fault("expected a secret"),
        sealed => secrets::open(sealed),
    };
    let hint = match hint.text() {
        Ok(hint) if !hint.is_empty() => Arc::from(hint),
        _ => secrets::hint(&secret).into(),
    };
    Ok(KeySpec { secret, hint })
}

/// An ability whose columns begin at `at`; `None` if its primary key cannot be read.
pub(crate) fn ability(row: &dyn Cells, at: usize) -> Option<AbilityRow<'_>> {
    let get = |i: usize| column(row, at + i, ABILITY[i]);
    let (Ok(group), Ok(model)) = (get(0).text(), get(1).text()) else {
        log::warn!(table = "abilities"; "row skipped: its group or model cannot be read");
        return None;
    };
    Some(AbilityRow {
        group,
        model,
        channel: ChannelId(known(get(2), "abilities")?),
        enabled: get(3).flag(),
        held: get(4).flag(),
        priority: get(5).maybe_integer(),
        weight: get(6).maybe_weight(),
    })
}

/// The id in the column `at`, if it can be read.
pub(crate) fn id(row: &dyn Cells, at: usize, table: &str) -> Option<i64> {
    known(column(row, at, "id"), table)
}

/// An id, without which a row cannot even be named.
fn known(id: Column<'_>, table: &str) -> Option<i64> {
    match id.integer() {
        Ok(id) => Some(id),
        Err(fault) => {
            log::warn!(table = table; "row skipped: {fault}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::routing::ids::{Protocol, Protocols};
    use crate::routing::rows::ProviderTraits;

    impl Cells for Vec<Cell<'static>> {
        fn cell(&self, column: usize) -> Cell<'_> {
            self.get(column).copied().unwrap_or(Cell::Other)
        }
    }

    fn providers(name: &str) -> Option<ProviderTraits> {
        let protocols: Protocols = [Protocol::OpenAi].into_iter().collect();
        (name == "openai").then_some(ProviderTraits {
            protocols,
            needs_key: true,
        })
    }

    fn good() -> Vec<Cell<'static>> {
        use Cell::{Bool, Integer, Null, Text};
        vec![
            Integer(7),
            Text("enabled"),
            Integer(5),
            Null,
            Text("a"),
            Text("openai"),
            Null,
            Integer(-3),
            Integer(2),
            Null,
            Text("polling"),
            Null,
            Null,
            Null,
            Null,
            Null,
            Bool(true),
        ]
    }

    #[test]
    fn r7_a_good_row_is_read_whole() {
        let row = channel(&good(), 0, providers).unwrap();
        assert_eq!(
            (row.id, row.status, row.status_changed_at),
            (ChannelId(7), Ok(Status::Enabled), 5)
        );
        let spec = row.spec.unwrap();
        assert_eq!(
            (spec.priority, spec.weight, spec.key_mode),
            (-3, 2, KeyMode::Polling)
        );
        assert_eq!(spec.settings, Settings::default());
    }

    #[test]
    fn r7_each_broken_column_is_named_and_its_value_is_not() {
        let broken = Cell::Text("hunter2");
        for (index, name) in CHANNEL.iter().enumerate() {
            let mut cells = good();
            cells[index] = broken;
            let row = channel(&cells, 0, providers);
            match *name {
                "id" => assert!(row.is_none()),
                "status" => assert_eq!(row.unwrap().status.unwrap_err().column, "status"),
                "provider" => assert_eq!(
                    row.unwrap().spec.unwrap_err(),
                    RowFault::new("provider", "expected one of the known providers")
                ),
                "priority" | "weight" | "key_mode" | "model_mapping" | "header_override"
                | "param_override" | "settings" | "auto_disable" => {
                    let row = row.unwrap();
                    assert_eq!(row.status, Ok(Status::Enabled), "{name}");
                    let fault = row.spec.unwrap_err();
                    assert_eq!(fault.column, *name);
                    assert!(!fault.to_string().contains("hunter2"));
                }
                _ => assert!(row.unwrap().spec.is_ok(), "{name}"),
            }
        }
    }

    #[test]
    fn r7_bytes_that_are_no_text_are_a_fault_everywhere() {
        for index in 4..17 {
            let mut cells = good();
            cells[index] = Cell::Bytes(&[0xff]);
            let fault = channel(&cells, 0, providers).unwrap().spec.unwrap_err();
            assert_eq!(fault.column, CHANNEL[index]);
        }
    }

    #[test]
    fn json_in_every_wrapping() {
        let read = |cell| Column { name: "c", cell }.json::<BTreeMap<String, String>>("expected an object");
        let one = || Ok(BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        assert_eq!(read(Cell::Text(r#"{"a":"b"}"#)), one());
        assert_eq!(read(Cell::Text(r#""{\"a\":\"b\"}""#)), one());
        for empty in [Cell::Null, Cell::Text(""), Cell::Text("null"), Cell::Text("{}")] {
            assert_eq!(read(empty), Ok(BTreeMap::new()));
        }
        for bad in [
            Cell::Text("{"),
            Cell::Text("[1]"),
            Cell::Integer(1),
            Cell::Bytes(&[0xff]),
            Cell::Other,
        ] {
            assert_eq!(read(bad), Err(RowFault::new("c", "expected an object")));
        }
    }

    #[test]
    fn numbers_and_flags_only_where_they_are_unambiguous() {
        let read = |cell| Column { name: "c", cell };
        for cell in [Cell::Integer(3), Cell::Text("3"), Cell::Float(3.0)] {
            assert_eq!(read(cell).integer(), Ok(3));
        }
        for cell in [
            Cell::Text("3 "),
            Cell::Text(""),
            Cell::Float(3.5),
            Cell::Bool(true),
            Cell::Null,
            Cell::Other,
        ] {
            assert!(read(cell).integer().is_err(), "{cell:?}");
        }
        for cell in [
            Cell::Integer(1),
            Cell::Bool(true),
            Cell::Text("1"),
            Cell::Text("true"),
        ] {
            assert_eq!(read(cell).flag(), Ok(true));
        }
        for cell in [Cell::Integer(2), Cell::Text("yes"), Cell::Null, Cell::Float(1.0)] {
            assert!(read(cell).flag().is_err(), "{cell:?}");
        }
        assert!(read(Cell::Integer(-1)).weight().is_err());
        assert!(read(Cell::Integer(MAX_WEIGHT + 1)).weight().is_err());
        assert!(read(Cell::Null).weight().is_err());
        assert_eq!(read(Cell::Null).maybe_weight(), Ok(None));
    }
}
