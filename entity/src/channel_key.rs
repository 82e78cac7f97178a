//! One secret of a channel.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "channel_keys")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub channel_id: i64,
    pub secret: Sealed,
    /// The secret's last four characters.
    pub hint: String,
    pub status: String,
    #[sea_orm(column_type = "Text", nullable)]
    pub status_reason: Option<String>,
    pub status_changed_at: i64,
    #[sea_orm(belongs_to, from = "channel_id", to = "id", on_delete = "Cascade")]
    pub channel: BelongsTo<super::channel::Entity>,
}

/// A secret, which `Debug` does not show.
#[derive(Clone, PartialEq, Eq, DeriveValueType)]
pub struct Sealed(pub String);

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed(…)")
    }
}

impl ActiveModelBehavior for ActiveModel {}
