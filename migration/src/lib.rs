//! The tables' history: one step each, frozen once released.

pub use sea_orm_migration::prelude::MigratorTrait;
use sea_orm_migration::prelude::*;

mod m0001_create_channels;
mod m0002_create_channel_keys;
mod m0003_create_abilities;
mod m0004_create_models;
mod m0005_create_tokens;
mod m0006_create_admin_tokens;
mod m0007_create_commit_marks;
mod m0008_create_notices;
mod tables;

pub struct Migrator;

/// The names of all steps, as `seaql_migrations` keeps those that were taken.
pub fn steps() -> Vec<String> {
    let steps = Migrator::migrations();
    steps.iter().map(|step| step.name().to_owned()).collect()
}

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_create_channels::Migration),
            Box::new(m0002_create_channel_keys::Migration),
            Box::new(m0003_create_abilities::Migration),
            Box::new(m0004_create_models::Migration),
            Box::new(m0005_create_tokens::Migration),
            Box::new(m0006_create_admin_tokens::Migration),
            Box::new(m0007_create_commit_marks::Migration),
            Box::new(m0008_create_notices::Migration),
        ]
    }
}
