//! How every table and column of ours begins, on all three databases.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::DbBackend;

/// A new table. Every step is written so that it can be run again: MySQL commits each statement by
/// itself, so a node that dies in the middle of a step leaves its beginning behind.
pub fn create(name: &'static str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).if_not_exists().take()
}

/// Creates it. On MySQL text is UTF-8 whatever the database's default, and compared byte for byte.
pub async fn build(manager: &SchemaManager<'_>, mut table: TableCreateStatement) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::MySql {
        table
            .engine("InnoDB")
            .character_set("utf8mb4")
            .collate("utf8mb4_bin");
    }
    manager.create_table(table).await
}

/// An index. InnoDB makes one for each foreign key by itself, and cannot be asked for one "if not exists".
pub async fn index_of_foreign_key(
    manager: &SchemaManager<'_>,
    name: &'static str,
    table: &'static str,
    column: &'static str,
) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::MySql {
        return Ok(());
    }
    let index = Index::create()
        .name(name)
        .table(Alias::new(table))
        .col(Alias::new(column))
        .if_not_exists()
        .take();
    manager.create_index(index).await
}

pub async fn drop(manager: &SchemaManager<'_>, name: &'static str) -> Result<(), DbErr> {
    manager
        .drop_table(Table::drop().table(Alias::new(name)).if_exists().take())
        .await
}

/// Ids are never used twice: AUTOINCREMENT on SQLite, a sequence on PostgreSQL, a persistent counter on
/// InnoDB.
pub fn id() -> ColumnDef {
    ColumnDef::new(Alias::new("id"))
        .big_integer()
        .not_null()
        .auto_increment()
        .primary_key()
        .take()
}

/// Unix milliseconds.
pub fn time(name: &'static str) -> ColumnDef {
    integer(name, 0)
}

pub fn integer(name: &'static str, default: i64) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .big_integer()
        .not_null()
        .default(default)
        .take()
}

pub fn maybe_integer(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).big_integer().null().take()
}

pub fn flag(name: &'static str, default: bool) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .boolean()
        .not_null()
        .default(default)
        .take()
}

pub fn word(name: &'static str, length: u32) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .string_len(length)
        .not_null()
        .take()
}

pub fn word_or(name: &'static str, length: u32, default: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name))
        .string_len(length)
        .not_null()
        .default(default)
        .take()
}

pub fn maybe_word(name: &'static str, length: u32) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).string_len(length).null().take()
}

pub fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).text().not_null().take()
}

pub fn maybe_text(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).text().null().take()
}

pub fn json(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).json_binary().null().take()
}

/// `channel_id`, whose row goes when its channel goes.
pub fn of_channel(name: &'static str, table: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(name)
        .from(Alias::new(table), Alias::new("channel_id"))
        .to(Alias::new("channels"), Alias::new("id"))
        .on_delete(ForeignKeyAction::Cascade)
        .take()
}
