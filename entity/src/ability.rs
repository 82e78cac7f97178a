//! "This channel serves this model to this group."

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "abilities")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub group: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub model: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub channel_id: i64,
    pub enabled: bool,
    /// Held by an operator: enabling the channel leaves it closed.
    pub held: bool,
    /// Overrides the channel's, where given.
    pub priority: Option<i64>,
    pub weight: Option<i64>,
    #[sea_orm(belongs_to, from = "channel_id", to = "id", on_delete = "Cascade")]
    pub channel: BelongsTo<super::channel::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}
