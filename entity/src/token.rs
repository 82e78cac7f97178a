//! A client's API key.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tokens")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub name: String,
    /// SHA-256, 64 hex digits.
    #[sea_orm(unique)]
    pub key_hash: String,
    pub hint: String,
    pub status: String,
    /// A list of groups in order of preference.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub groups: Option<Json>,
    /// A list of models; none: every model.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub models: Option<Json>,
    /// A list of addresses and networks; none: from anywhere.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub allow_ips: Option<Json>,
    pub expires_at: Option<i64>,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub limits: Option<Json>,
    pub created_at: i64,
    pub last_used_at: Option<i64>,
}

impl ActiveModelBehavior for ActiveModel {}
