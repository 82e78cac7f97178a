//! One row for each recent write, written in its transaction: whoever lost the answer to a COMMIT asks
//! here whether it was done.

use sea_orm::entity::prelude::*;

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "commit_marks")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub mark: String,
    /// Unix milliseconds; old rows are deleted.
    pub at: i64,
}

impl ActiveModelBehavior for ActiveModel {}
