use sea_orm_migration::prelude::*;

use crate::tables::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = create("channels")
            .col(id())
            .col(word("name", 255))
            .col(word("provider", 64))
            .col(maybe_text("base_url"))
            .col(word_or("status", 32, "enabled"))
            .col(maybe_text("status_reason"))
            .col(time("status_changed_at"))
            .col(integer("priority", 0))
            .col(integer("weight", 1))
            .col(maybe_word("tag", 255))
            .col(word_or("key_mode", 32, "random"))
            .col(json("model_mapping"))
            .col(json("header_override"))
            .col(json("param_override"))
            .col(json("settings"))
            .col(maybe_word("test_model", 255))
            .col(flag("auto_disable", true))
            .col(maybe_text("remark"))
            .col(maybe_integer("tested_at"))
            .col(maybe_integer("response_ms"))
            .col(time("created_at"))
            .col(time("updated_at"))
            .take();
        build(manager, table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop(manager, "channels").await
    }
}
