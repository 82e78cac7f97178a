//! One upstream account.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "channels")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub name: String,
    pub provider: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub base_url: Option<String>,
    pub status: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub status_reason: Option<String>,
    pub status_changed_at: i64,
    pub priority: i64,
    pub weight: i64,
    pub tag: Option<String>,
    pub key_mode: String,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub model_mapping: Option<Json>,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub header_override: Option<Json>,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub param_override: Option<Json>,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub settings: Option<Json>,
    pub test_model: Option<String>,
    pub auto_disable: bool,
    #[sea_orm(column_type = "Text", nullable)]
    pub remark: Option<String>,
    pub tested_at: Option<i64>,
    pub response_ms: Option<i64>,
    pub created_at: i64,
    pub updated_at: i64,
    #[sea_orm(has_many)]
    pub channel_keys: HasMany<super::channel_key::Entity>,
    #[sea_orm(has_many)]
    pub abilities: HasMany<super::ability::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
