use sea_orm_migration::prelude::*;

use crate::tables::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let one = create("routing_version")
            .col(integer("id", 0).primary_key())
            .col(integer("version", 0))
            .take();
        build(manager, one).await?;
        let notices = create("change_notices")
            .col(integer("version", 0).primary_key())
            .col(word("node", 32))
            .col(maybe_text("channels"))
            .col(maybe_integer("token_id"))
            .col(time("at"))
            .take();
        build(manager, notices).await?;
        let first = Query::insert()
            .into_table(Alias::new("routing_version"))
            .columns([Alias::new("id"), Alias::new("version")])
            .values_panic([1.into(), 0.into()])
            .on_conflict(
                OnConflict::column(Alias::new("id"))
                    .do_nothing_on([Alias::new("id")])
                    .to_owned(),
            )
            .to_owned();
        manager.execute(first).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop(manager, "change_notices").await?;
        drop(manager, "routing_version").await
    }
}
