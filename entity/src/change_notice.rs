//! One row for each recent change of routes or tokens, for the other nodes on this database.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "change_notices")]
pub struct Model {
    /// Of `routing_version`: no two changes have the same, and they are committed in this order.
    #[sea_orm(primary_key, auto_increment = false)]
    pub version: i64,
    /// The node that made the change.
    pub node: String,
    /// A JSON list of the channels whose routes may have changed; none where no route has.
    pub channels: Option<String>,
    /// The token that was changed.
    pub token_id: Option<i64>,
    /// Unix milliseconds; old rows are deleted.
    pub at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
