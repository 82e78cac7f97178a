//! Channels as an operator sees them: whatever can be read of them, and what cannot.

use std::collections::HashMap;

use entity::{ability, channel, channel_key};
use sea_orm::ColumnTrait;
use sea_orm::sea_query::{Expr, ExprTrait, Order, Query, SelectStatement};
use serde_json::{Map, Value};

use super::cells::Cells;
use super::channels::{ChannelFilter, ChannelSort, ChannelView, KeyCounts};
use super::decode::{self, Column, column};
use super::error::StoreError;
use super::paging::{Direction, Listed, Page, contains, count};
use super::session::{Begin, Session};
use crate::routing::ids::{ChannelId, GroupName, ModelName};
use crate::routing::rows::{RowFault, Status};

pub(crate) async fn one(session: &Session, id: ChannelId) -> Result<Option<ChannelView>, StoreError> {
    session.begin(Begin::View).await?;
    let mut select = columns();
    select.and_where(channel::Column::Id.eq(id.0));
    let views = read(session, &select).await?;
    session.run("COMMIT").await?;
    Ok(views.into_iter().next())
}

pub(crate) async fn page(
    session: &Session,
    filter: &ChannelFilter,
    sort: (ChannelSort, Direction),
    page: Page,
) -> Result<Listed<ChannelView>, StoreError> {
    session.begin(Begin::View).await?;
    let mut ids = Query::select();
    ids.column(channel::Column::Id).from(channel::Entity);
    narrow(&mut ids, session, filter);
    let total = count(session, &ids).await?;
    let mut select = columns();
    narrow(&mut select, session, filter);
    let (by, direction) = sort;
    select
        .order_by(sorted_by(by), direction.into())
        .order_by(channel::Column::Id, Order::Asc)
        .limit(page.limit())
        .offset(page.offset());
    let views = read(session, &select).await?;
    session.run("COMMIT").await?;
    Ok(Listed::new(views, total, page))
}

fn sorted_by(sort: ChannelSort) -> channel::Column {
    match sort {
        ChannelSort::Id => channel::Column::Id,
        ChannelSort::Name => channel::Column::Name,
        ChannelSort::Provider => channel::Column::Provider,
        ChannelSort::Status => channel::Column::Status,
        ChannelSort::Priority => channel::Column::Priority,
        ChannelSort::Weight => channel::Column::Weight,
        ChannelSort::CreatedAt => channel::Column::CreatedAt,
        ChannelSort::UpdatedAt => channel::Column::UpdatedAt,
    }
}

fn narrow(select: &mut SelectStatement, session: &Session, filter: &ChannelFilter) {
    if let Some(status) = filter.status {
        select.and_where(channel::Column::Status.eq(status.word()));
    }
    if let Some(tag) = &filter.tag {
        select.and_where(channel::Column::Tag.eq(tag.as_str()));
    }
    if let Some(provider) = &filter.provider {
        select.and_where(channel::Column::Provider.eq(provider.as_str()));
    }
    if let Some(q) = &filter.q {
        select.and_where(contains(
            session.backend(),
            (channel::Entity, channel::Column::Name),
            q,
        ));
    }
    if filter.group.is_some() || filter.model.is_some() {
        let mut serving = Query::select();
        serving.column(ability::Column::ChannelId).from(ability::Entity);
        if let Some(group) = &filter.group {
            serving.and_where(ability::Column::Group.eq(group.as_str()));
        }
        if let Some(model) = &filter.model {
            serving.and_where(ability::Column::Model.eq(model.as_str()));
        }
        select.and_where(Expr::col((channel::Entity, channel::Column::Id)).in_subquery(serving));
    }
}

/// The columns of a view, in the order in which `view` reads them.
const COLUMNS: [(&str, channel::Column); 22] = {
    use channel::Column::*;
    [
        ("id", Id),
        ("name", Name),
        ("provider", Provider),
        ("base_url", BaseUrl),
        ("status", Status),
        ("status_reason", StatusReason),
        ("status_changed_at", StatusChangedAt),
        ("priority", Priority),
        ("weight", Weight),
        ("tag", Tag),
        ("key_mode", KeyMode),
        ("model_mapping", ModelMapping),
        ("header_override", HeaderOverride),
        ("param_override", ParamOverride),
        ("settings", Settings),
        ("test_model", TestModel),
        ("auto_disable", AutoDisable),
        ("remark", Remark),
        ("tested_at", TestedAt),
        ("response_ms", ResponseMs),
        ("created_at", CreatedAt),
        ("updated_at", UpdatedAt),
    ]
};

fn columns() -> SelectStatement {
    let mut select = Query::select();
    select
        .columns(COLUMNS.map(|(_, column)| (channel::Entity, column)))
        .from(channel::Entity);
    select
}

async fn read(session: &Session, select: &SelectStatement) -> Result<Vec<ChannelView>, StoreError> {
    let mut views = Vec::new();
    session.each_of(select, |row| views.extend(view(row))).await?;
    let at: HashMap<i64, usize> = views
        .iter()
        .enumerate()
        .map(|(at, view)| (view.id.0, at))
        .collect();
    if !views.is_empty() {
        add_names(session, &mut views, &at, ability::Column::Group).await?;
        add_names(session, &mut views, &at, ability::Column::Model).await?;
        add_key_counts(session, &mut views, &at).await?;
    }
    Ok(views)
}

fn view(row: &dyn Cells) -> Option<ChannelView> {
    let get = |i: usize| column(row, i, COLUMNS[i].0);
    let id = ChannelId(get(0).integer().ok()?);
    let mut faults = Faults(Vec::new());
    Some(ChannelView {
        id,
        name: faults.note(get(1).text().map(str::to_owned)),
        provider: faults.note(get(2).text().map(str::to_owned)),
        base_url: faults.note(get(3).maybe_text()).flatten(),
        status: faults.note(get(4).status()),
        status_reason: faults.note(get(5).maybe_text()).flatten(),
        status_changed_at: get(6).integer().unwrap_or(0),
        priority: faults.note(get(7).integer()),
        weight: faults.note(get(8).weight()),
        tag: faults.note(get(9).maybe_text()).flatten(),
        key_mode: faults.note(decode::key_mode(get(10))),
        model_mapping: faults.object(get(11)),
        header_override: faults.object(get(12)),
        param_override: faults.object(get(13)),
        settings: faults.object(get(14)),
        test_model: faults.note(get(15).maybe_text()).flatten(),
        auto_disable: faults.note(get(16).flag()),
        remark: faults.note(get(17).maybe_text()).flatten(),
        tested_at: faults.note(get(18).maybe_integer()).flatten(),
        response_ms: faults.note(get(19).maybe_integer()).flatten(),
        created_at: get(20).integer().unwrap_or(0),
        updated_at: get(21).integer().unwrap_or(0),
        groups: Vec::new(),
        models: Vec::new(),
        keys: KeyCounts::default(),
        faults: faults.0,
    })
}

struct Faults(Vec<RowFault>);

impl Faults {
    fn note<T>(&mut self, read: Result<T, RowFault>) -> Option<T> {
        read.map_err(|fault| self.0.push(fault)).ok()
    }

    fn object(&mut self, column: Column<'_>) -> Value {
        match self.note(column.value()) {
            None => Value::Null,
            Some(Value::Null) => Value::Object(Map::new()),
            Some(value) => value,
        }
    }
}

fn these(at: &HashMap<i64, usize>) -> Vec<i64> {
    at.keys().copied().collect()
}

async fn add_names(
    session: &Session,
    views: &mut [ChannelView],
    at: &HashMap<i64, usize>,
    name: ability::Column,
) -> Result<(), StoreError> {
    let mut select = Query::select();
    select
        .distinct()
        .columns([ability::Column::ChannelId, name])
        .from(ability::Entity)
        .and_where(ability::Column::ChannelId.is_in(these(at)))
        .order_by(name, Order::Asc);
    session
        .each_of(&select, |row| {
            let id = column(row, 0, "channel_id").integer();
            let Some(view) = id
                .ok()
                .and_then(|id| at.get(&id))
                .and_then(|at| views.get_mut(*at))
            else {
                return;
            };
            match (column(row, 1, "name").text(), name) {
                (Ok(group), ability::Column::Group) => view.groups.push(GroupName::new(group)),
                (Ok(model), _) => view.models.push(ModelName::new(model)),
                (Err(_), _) => {}
            }
        })
        .await
}

async fn add_key_counts(
    session: &Session,
    views: &mut [ChannelView],
    at: &HashMap<i64, usize>,
) -> Result<(), StoreError> {
    let mut select = Query::select();
    select
        .columns([channel_key::Column::ChannelId, channel_key::Column::Status])
        .expr(Expr::col(channel_key::Column::Id).count())
        .from(channel_key::Entity)
        .and_where(channel_key::Column::ChannelId.is_in(these(at)))
        .group_by_columns([channel_key::Column::ChannelId, channel_key::Column::Status]);
    session
        .each_of(&select, |row| {
            let id = column(row, 0, "channel_id").integer();
            let Some(view) = id
                .ok()
                .and_then(|id| at.get(&id))
                .and_then(|at| views.get_mut(*at))
            else {
                return;
            };
            let count = u64::try_from(column(row, 2, "count").integer().unwrap_or(0)).unwrap_or(0);
            match column(row, 1, "status").status() {
                Ok(Status::Enabled) => view.keys.enabled = count,
                Ok(Status::Disabled) => view.keys.disabled = count,
                Ok(Status::AutoDisabled) => view.keys.auto_disabled = count,
                Err(_) => {}
            }
        })
        .await
}
