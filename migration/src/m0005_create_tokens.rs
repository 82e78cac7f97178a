use sea_orm_migration::prelude::*;

use crate::tables::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = create("tokens")
            .col(id())
            .col(word("name", 255))
            .col(word("key_hash", 64).unique_key())
            .col(word_or("hint", 16, ""))
            .col(word_or("status", 32, "enabled"))
            .col(json("groups"))
            .col(json("models"))
            .col(json("allow_ips"))
            .col(maybe_integer("expires_at"))
            .col(json("limits"))
            .col(time("created_at"))
            .col(maybe_integer("last_used_at"))
            .take();
        build(manager, table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop(manager, "tokens").await
    }
}
