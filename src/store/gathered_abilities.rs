//! Abilities, many to a row: SQLite's driver takes longer to hand a row over than SQLite takes to read six.
//!
//! One row of text holds what stands in some thousand rows that are as nearly all are: flags of 0 or 1, and neither
//! priority nor weight of their own. Where one among them is otherwise, all of these are read row by row (R7).

use sea_orm::{DbBackend, Statement};

use super::decode::{self, column};
use super::error::StoreError;
use super::session::Session;
use crate::routing::build::Draft;
use crate::routing::ids::ChannelId;
use crate::routing::rows::AbilityRow;

/// Enough that a row's own cost does not count, few enough to read again singly.
const AT_ONCE: i64 = 2_000;
/// The ASCII separators of records and of units.
const RECORD: char = '\u{1e}';
const UNIT: char = '\u{1f}';

/// The last row and how many there are, behind a row; and those that are ordinary: channel, comma, both flags as one
/// digit, group, unit separator, model.
const GATHERED: &str = r#"
SELECT max(at), count(*), group_concat(ability, char(30)) FROM (
    SELECT rowid AS at,
        CASE WHEN enabled IN (0, 1) AND held IN (0, 1) AND priority IS NULL AND weight IS NULL
            AND typeof(channel_id) = 'integer' AND typeof("group") = 'text' AND typeof(model) = 'text'
        THEN format('%d,%d%s%c%s', channel_id, enabled * 2 + held, "group", char(31), model)
        END AS ability
    FROM abilities WHERE rowid > ? ORDER BY rowid LIMIT ?
)"#;
const SINGLE: &str = r#"
SELECT "group", model, channel_id, enabled, held, priority, weight
FROM abilities WHERE rowid > ? AND rowid <= ?"#;

/// Every row of `abilities` in an SQLite database.
pub(crate) async fn read(session: &Session, draft: &mut Draft) -> Result<(), StoreError> {
    let mut behind = i64::MIN;
    loop {
        let mut gathered = None;
        let values = [behind.into(), AT_ONCE.into()];
        let statement = Statement::from_sql_and_values(DbBackend::Sqlite, GATHERED, values);
        session
            .each(statement, |row| {
                let number = |at| column(row, at, "rowid").maybe_integer().ok().flatten();
                let (Some(last), Some(count)) = (number(0), number(1)) else {
                    return;
                };
                let ordinary = column(row, 2, "abilities").text().ok();
                let ordinary = ordinary.and_then(|text| parse(text, count));
                let are_all = ordinary.map(|rows| rows.into_iter().for_each(|row| draft.ability(row)));
                gathered = Some((last, are_all.is_some()));
            })
            .await?;
        let Some((last, are_all)) = gathered else {
            return Ok(());
        };
        if !are_all {
            single(session, behind, last, draft).await?;
        }
        behind = last;
    }
}

async fn single(session: &Session, behind: i64, last: i64, draft: &mut Draft) -> Result<(), StoreError> {
    let values = [behind.into(), last.into()];
    let statement = Statement::from_sql_and_values(DbBackend::Sqlite, SINGLE, values);
    session
        .each(statement, |row| {
            if let Some(ability) = decode::ability(row, 0) {
                draft.ability(ability);
            }
        })
        .await
}

/// So many rows, or `None`: some is not ordinary. A name that holds a separator makes more of them than there should be.
fn parse(text: &str, count: i64) -> Option<Vec<AbilityRow<'_>>> {
    let rows: Option<Vec<_>> = text.split(RECORD).map(ordinary).collect();
    rows.filter(|rows| rows.len() as i64 == count)
}

fn ordinary(record: &str) -> Option<AbilityRow<'_>> {
    let (channel, rest) = record.split_once(',')?;
    let (flags, names) = rest.split_at_checked(1)?;
    let (group, model) = names.split_once(UNIT)?;
    let flags: u8 = flags.parse().ok()?;
    if model.contains(UNIT) || flags > 3 {
        return None;
    }
    Some(AbilityRow {
        group,
        model,
        channel: ChannelId(channel.parse().ok()?),
        enabled: Ok(flags & 2 != 0),
        held: Ok(flags & 1 != 0),
        priority: Ok(None),
        weight: Ok(None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, count: i64) -> Option<Vec<String>> {
        let tell = |row: AbilityRow<'_>| {
            let (enabled, held) = (row.enabled.unwrap(), row.held.unwrap());
            format!("{} {}/{} {enabled} {held}", row.channel, row.group, row.model)
        };
        Some(parse(text, count)?.into_iter().map(tell).collect())
    }

    #[test]
    fn ordinary_rows_are_told_apart() {
        let text = "7,2g\u{1f}m\u{1e}8,3a, b\u{1f}4,x\u{1e}9,0\u{1f}";
        let want = ["7 g/m true false", "8 a, b/4,x true true", "9 / false false"];
        assert_eq!(told(text, 3), Some(want.map(str::to_owned).to_vec()));
    }

    #[test]
    fn what_is_not_as_it_should_be_is_read_singly() {
        for (text, count) in [
            ("7,2g\u{1f}m", 2),
            ("7,2g\u{1f}m\u{1e}8,2g\u{1f}m", 1),
            ("7,2g\u{1f}a\u{1f}b", 1),
            ("7,2g\u{1f}a\u{1e}b", 1),
            ("7,4g\u{1f}m", 1),
            ("x,2g\u{1f}m", 1),
            ("7,2gm", 1),
            ("7,", 1),
            ("", 0),
        ] {
            assert_eq!(told(text, count), None, "{text:?}");
        }
    }
}
