use sea_orm_migration::prelude::*;

use crate::tables::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = create("admin_tokens")
            .col(id())
            .col(word("name", 255))
            .col(word("key_hash", 64).unique_key())
            .col(word_or("role", 32, "admin"))
            .col(time("created_at"))
            .take();
        build(manager, table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop(manager, "admin_tokens").await
    }
}
