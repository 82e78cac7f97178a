//! What is configured for a model.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "models")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub name: String,
    /// A list of models.
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub fallbacks: Option<Json>,
    pub first_token_timeout_ms: Option<i64>,
    #[sea_orm(column_type = "JsonBinary", nullable)]
    pub settings: Option<Json>,
    #[sea_orm(column_type = "Text", nullable)]
    pub remark: Option<String>,
}

impl ActiveModelBehavior for ActiveModel {}
