//! What is configured for a model: its fallbacks and settings.

use entity::model;
use futures::FutureExt;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{OnConflict, Order, Query, SelectStatement};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Serialize;
use serde_json::Value;

use super::cells::Cells;
use super::change_status::ChangeError;
use super::channels::json;
use super::commit::{self, Written};
use super::connect::{Database, LaneName};
use super::decode::column;
use super::error::StoreError;
use super::paging::{Listed, Page, contains, count};
use super::receipt::Receipt;
use super::session::{Begin, Session};
use crate::routing::build::Draft;
use crate::routing::ids::ModelName;
use crate::routing::rows::{ModelSettings, ModelSpec, RowFault};

/// A row of `models`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelRow {
    pub name: ModelName,
    /// Other models, tried in this order when this one cannot be served.
    pub fallbacks: Vec<ModelName>,
    pub first_token_timeout_ms: Option<i64>,
    /// An object, or `null`.
    pub settings: Value,
    pub remark: Option<String>,
}

/// Every row that can be read; one that cannot is logged and left out.
pub async fn all(database: &Database) -> Result<Vec<ModelRow>, StoreError> {
    database
        .read(LaneName::Reads, (), |session, ()| {
            async move {
                let mut rows = Vec::new();
                session
                    .each_of(&columns(), |row| rows.extend(readable(row)))
                    .await?;
                Ok(rows)
            }
            .boxed()
        })
        .await
}

/// A page of models in order of their names; `q` is a substring of the name.
pub async fn list(
    database: &Database,
    q: Option<String>,
    page: Page,
) -> Result<Listed<ModelRow>, StoreError> {
    database
        .read(LaneName::Reads, (q, page), |session, (q, page)| {
            async move {
                session.begin(Begin::View).await?;
                let mut select = columns();
                if let Some(q) = q {
                    select.and_where(contains(session.backend(), model::Column::Name, q));
                }
                let total = count(session, &select).await?;
                select
                    .order_by(model::Column::Name, Order::Asc)
                    .limit(page.limit())
                    .offset(page.offset());
                let mut rows = Vec::new();
                session.each_of(&select, |row| rows.extend(readable(row))).await?;
                session.run("COMMIT").await?;
                Ok(Listed::new(rows, total, *page))
            }
            .boxed()
        })
        .await
}

/// One model's row. One that cannot be read is an error.
pub async fn get(database: &Database, name: &ModelName) -> Result<Option<ModelRow>, StoreError> {
    database
        .read(LaneName::Reads, name.clone(), |session, name| {
            async move {
                let mut select = columns();
                select.and_where(model::Column::Name.eq(name.as_str()));
                Ok(session.first(&select, read).await?.transpose()?)
            }
            .boxed()
        })
        .await
}

fn columns() -> SelectStatement {
    use model::Column::{Fallbacks, FirstTokenTimeoutMs, Name, Remark, Settings};
    let mut select = Query::select();
    select
        .columns([Name, Fallbacks, FirstTokenTimeoutMs, Settings, Remark])
        .from(model::Entity);
    select
}

fn read(row: &dyn Cells) -> Result<ModelRow, RowFault> {
    let fallbacks: Vec<String> = column(row, 1, "fallbacks").json("expected a JSON list of models")?;
    Ok(ModelRow {
        name: ModelName::new(column(row, 0, "name").text()?),
        fallbacks: fallbacks.iter().map(|name| ModelName::new(name)).collect(),
        first_token_timeout_ms: column(row, 2, "first_token_timeout_ms").maybe_integer()?,
        settings: column(row, 3, "settings").value()?,
        remark: column(row, 4, "remark").maybe_text()?,
    })
}

fn readable(row: &dyn Cells) -> Option<ModelRow> {
    read(row)
        .inspect_err(|fault| {
            let name = column(row, 0, "name").text().unwrap_or("?");
            log::warn!(model = name; "row of models skipped: {fault}");
        })
        .ok()
}

/// Every row for a snapshot, on the build's own connection and in its view. One that cannot be read keeps its last
/// good definition (R7).
pub(super) async fn for_build(session: &Session, draft: &mut Draft) -> Result<(), StoreError> {
    session
        .each_of(&columns(), |row| {
            let Ok(name) = column(row, 0, "name").text() else {
                return;
            };
            draft.model(
                ModelName::new(name),
                read(row).and_then(|row| spec(&row)).inspect_err(|fault| {
                    log::warn!(model = name; "row of models cannot be read: {fault}");
                }),
            );
        })
        .await
}

/// What a row means for routing.
fn spec(row: &ModelRow) -> Result<ModelSpec, RowFault> {
    let settings: Option<ModelSettings> = serde_json::from_value(row.settings.clone())
        .map_err(|_| RowFault::new("settings", "expected an object of timeouts and affinity"))?;
    let settings = settings.unwrap_or_default();
    let mut timeouts = settings.timeouts;
    if let Some(limit) = row.first_token_timeout_ms {
        timeouts.first_token = Some(limit as f64 / 1000.0);
    }
    Ok(ModelSpec {
        name: row.name.clone(),
        fallbacks: row.fallbacks.clone(),
        timeouts,
        affinity: settings.affinity.unwrap_or(true),
    })
}

/// Creates or replaces; true if there was none before.
pub async fn put(database: &Database, row: ModelRow) -> Result<(bool, Receipt), ChangeError> {
    commit::write(database, row, |session, row| write(session, row).boxed()).await
}

async fn write(session: &Session, row: &ModelRow) -> Result<Written<bool>, ChangeError> {
    use model::Column::{Fallbacks, FirstTokenTimeoutMs, Name, Remark, Settings};
    let mut select = columns();
    select.and_where(Name.eq(row.name.as_str()));
    let before = session.first(&select, |_| ()).await?;
    let model = model::ActiveModel {
        name: Set(row.name.as_str().to_owned()),
        fallbacks: Set(json(&row.fallbacks)?),
        first_token_timeout_ms: Set(row.first_token_timeout_ms),
        settings: Set(json(&row.settings)?),
        remark: Set(row.remark.clone()),
    };
    let mut replace = OnConflict::column(Name);
    replace.update_columns([Fallbacks, FirstTokenTimeoutMs, Settings, Remark]);
    model::Entity::insert(model)
        .on_conflict(replace)
        .exec_without_returning(session)
        .await?;
    Ok(Written::models(before.is_none()))
}

/// True if there was one.
pub async fn delete(database: &Database, name: &ModelName) -> Result<(bool, Receipt), ChangeError> {
    commit::write(database, name.clone(), |session, name| {
        async move {
            let done = model::Entity::delete_many()
                .filter(model::Column::Name.eq(name.as_str()))
                .exec(session)
                .await?;
            Ok(Written::models(done.rows_affected > 0))
        }
        .boxed()
    })
    .await
}
