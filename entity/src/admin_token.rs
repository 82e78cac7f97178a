//! An operator's token.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "admin_tokens")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub name: String,
    /// SHA-256, 64 hex digits.
    #[sea_orm(unique)]
    pub key_hash: String,
    pub role: String,
    pub created_at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
