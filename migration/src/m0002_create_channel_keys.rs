use sea_orm_migration::prelude::*;

use crate::tables::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = create("channel_keys")
            .col(id())
            .col(ColumnDef::new(Alias::new("channel_id")).big_integer().not_null())
            .col(text("secret"))
            .col(word_or("hint", 16, ""))
            .col(word_or("status", 32, "enabled"))
            .col(maybe_text("status_reason"))
            .col(time("status_changed_at"))
            .foreign_key(&mut of_channel("channel_keys_channel", "channel_keys"))
            .take();
        build(manager, table).await?;
        index_of_foreign_key(manager, "channel_keys_by_channel", "channel_keys", "channel_id").await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop(manager, "channel_keys").await
    }
}
