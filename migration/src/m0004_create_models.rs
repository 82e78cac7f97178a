use sea_orm_migration::prelude::*;

use crate::tables::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = create("models")
            .col(word("name", 255).primary_key())
            .col(json("fallbacks"))
            .col(maybe_integer("first_token_timeout_ms"))
            .col(json("settings"))
            .col(maybe_text("remark"))
            .take();
        build(manager, table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop(manager, "models").await
    }
}
