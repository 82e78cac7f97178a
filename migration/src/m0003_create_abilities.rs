use sea_orm_migration::prelude::*;

use crate::tables::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = create("abilities")
            .col(word("group", 64))
            .col(word("model", 255))
            .col(ColumnDef::new(Alias::new("channel_id")).big_integer().not_null())
            .col(flag("enabled", true))
            .col(flag("held", false))
            .col(maybe_integer("priority"))
            .col(maybe_integer("weight"))
            // In this order: a lookup knows group and model.
            .primary_key(
                Index::create()
                    .col(Alias::new("group"))
                    .col(Alias::new("model"))
                    .col(Alias::new("channel_id")),
            )
            .foreign_key(&mut of_channel("abilities_channel", "abilities"))
            .take();
        build(manager, table).await?;
        index_of_foreign_key(manager, "abilities_by_channel", "abilities", "channel_id").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop(manager, "abilities").await
    }
}
