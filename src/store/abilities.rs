//! Which channel serves which model to which group.

use entity::ability;
use futures::FutureExt;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Order, Query, SelectStatement};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use serde::Serialize;

use super::change_status::ChangeError;
use super::commit::{self, Written};
use super::connect::{Database, LaneName};
use super::decode::{self, ABILITY, column, of_table};
use super::error::StoreError;
use super::locked_channel::lock_channel;
use super::paging::{Listed, Page, count};
use super::receipt::Receipt;
use super::session::{Begin, Session};
use crate::routing::closings::Closed;
use crate::routing::ids::{ChannelId, GroupName, ModelName};
use crate::routing::rows::AbilityRow;

/// An ability as the admin REST shows it; what cannot be read is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AbilityView {
    pub group: GroupName,
    pub model: ModelName,
    pub channel_id: ChannelId,
    pub enabled: Option<bool>,
    pub held: Option<bool>,
    /// Overrides the channel's, where given.
    pub priority: Option<i64>,
    pub weight: Option<u32>,
}

/// Which abilities a list shows.
#[derive(Clone, Debug, Default)]
pub struct AbilityFilter {
    pub group: Option<GroupName>,
    pub model: Option<ModelName>,
    pub channel_id: Option<ChannelId>,
}

/// The primary key of an ability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbilityKey {
    pub group: GroupName,
    pub model: ModelName,
    pub channel_id: ChannelId,
}

/// What of an ability is to change; `None` stays, an inner `None` takes the channel's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AbilityPatch {
    pub held: Option<bool>,
    pub priority: Option<Option<i64>>,
    pub weight: Option<Option<u32>>,
}

/// A page of abilities, in order of group, model, channel.
pub async fn list(
    database: &Database,
    filter: AbilityFilter,
    page: Page,
) -> Result<Listed<AbilityView>, StoreError> {
    database
        .read(LaneName::Reads, (filter, page), |session, (filter, page)| {
            read(session, filter, *page).boxed()
        })
        .await
}

async fn read(
    session: &Session,
    filter: &AbilityFilter,
    page: Page,
) -> Result<Listed<AbilityView>, StoreError> {
    session.begin(Begin::View).await?;
    let mut select = columns();
    if let Some(group) = &filter.group {
        select.and_where(ability::Column::Group.eq(group.as_str()));
    }
    if let Some(model) = &filter.model {
        select.and_where(ability::Column::Model.eq(model.as_str()));
    }
    if let Some(channel) = filter.channel_id {
        select.and_where(ability::Column::ChannelId.eq(channel.0));
    }
    let total = count(session, &select).await?;
    select
        .order_by(ability::Column::Group, Order::Asc)
        .order_by(ability::Column::Model, Order::Asc)
        .order_by(ability::Column::ChannelId, Order::Asc)
        .limit(page.limit())
        .offset(page.offset());
    let mut items = Vec::new();
    session
        .each_of(&select, |row| items.extend(decode::ability(row, 0).map(view)))
        .await?;
    session.run("COMMIT").await?;
    Ok(Listed::new(items, total, page))
}

fn columns() -> SelectStatement {
    let mut select = Query::select();
    select
        .columns(of_table("abilities", &ABILITY))
        .from(ability::Entity);
    select
}

fn view(row: AbilityRow<'_>) -> AbilityView {
    AbilityView {
        group: GroupName::new(row.group),
        model: ModelName::new(row.model),
        channel_id: row.channel,
        enabled: row.enabled.ok(),
        held: row.held.ok(),
        priority: row.priority.unwrap_or(None),
        weight: row.weight.unwrap_or(None),
    }
}

/// Changes one ability and returns it as it now is.
pub async fn patch(
    database: &Database,
    key: AbilityKey,
    patch: AbilityPatch,
) -> Result<(AbilityView, Receipt), ChangeError> {
    commit::write(database, (key, patch), |session, (key, patch)| {
        apply(session, key, patch).boxed()
    })
    .await
}

async fn apply(
    session: &Session,
    key: &AbilityKey,
    patch: &AbilityPatch,
) -> Result<Written<AbilityView>, ChangeError> {
    lock_channel(session, key.channel_id).await?;
    let mut row = ability::ActiveModel::default();
    if let Some(held) = patch.held {
        row.held = Set(held);
    }
    if let Some(priority) = patch.priority {
        row.priority = Set(priority);
    }
    if let Some(weight) = patch.weight {
        row.weight = Set(weight.map(i64::from));
    }
    if *patch != AbilityPatch::default() {
        ability::Entity::update_many()
            .set(row)
            .filter(ability::Column::ChannelId.eq(key.channel_id.0))
            .filter(ability::Column::Group.eq(key.group.as_str()))
            .filter(ability::Column::Model.eq(key.model.as_str()))
            .exec(session)
            .await?;
    }
    let mut select = columns();
    select
        .and_where(ability::Column::ChannelId.eq(key.channel_id.0))
        .and_where(ability::Column::Group.eq(key.group.as_str()))
        .and_where(ability::Column::Model.eq(key.model.as_str()));
    let found = session
        .first(&select, |row| decode::ability(row, 0).map(view))
        .await?
        .flatten();
    let found = found.ok_or(ChangeError::NotFound)?;
    let closed = Closed::Ability {
        channel: key.channel_id,
        group: key.group.clone(),
        model: key.model.clone(),
    };
    Ok(Written::routes(
        found,
        vec![key.channel_id],
        if patch.held == Some(true) {
            vec![closed]
        } else {
            Vec::new()
        },
    ))
}

/// The names of all groups that have an ability, in order.
pub async fn groups(database: &Database) -> Result<Vec<GroupName>, StoreError> {
    database
        .read(LaneName::Reads, (), |session, ()| {
            async move {
                let mut select = Query::select();
                select
                    .distinct()
                    .column(ability::Column::Group)
                    .from(ability::Entity);
                Ok(names(session, &select)
                    .await?
                    .iter()
                    .map(|name| GroupName::new(name))
                    .collect())
            }
            .boxed()
        })
        .await
}

/// Sorted here, byte for byte, as each database sorts in its own way.
async fn names(session: &Session, select: &SelectStatement) -> Result<Vec<String>, StoreError> {
    let mut names = Vec::new();
    session
        .each_of(select, |row| {
            names.extend(column(row, 0, "name").text().map(str::to_owned))
        })
        .await?;
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
