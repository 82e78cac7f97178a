//! A channel's groups and models, as its abilities.

use std::collections::BTreeSet;

use entity::ability;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::Query;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::change_status::ChangeError;
use super::channels::{ChannelPatch, NewChannel};
use super::decode::column;
use super::locked_channel::LockedChannel;
use super::session::Session;
use crate::routing::closings::Closed;
use crate::routing::ids::{ChannelId, GroupName, ModelName};
use crate::routing::rows::Status;

/// Rows in one INSERT: well below the number of values that a statement may have.
const ROWS_AT_ONCE: usize = 1_000;

type Pair = (GroupName, ModelName);

/// The abilities groups × models of a channel that was just created.
pub(crate) async fn insert_product(
    session: &Session,
    id: ChannelId,
    new: &NewChannel,
) -> Result<(), ChangeError> {
    let pairs = product(&new.groups, &new.models);
    insert(session, id, pairs.iter(), new.status == Status::Enabled).await
}

/// The group of a channel that has no abilities from which its groups could be read.
const FIRST_GROUP: &str = "default";

/// Makes the abilities groups × models; what is not named in the patch stays what it was.
pub(crate) async fn make_product(
    session: &Session,
    channel: &LockedChannel,
    patch: &ChannelPatch,
) -> Result<Vec<Closed>, ChangeError> {
    if patch.groups.is_none() && patch.models.is_none() {
        return Ok(Vec::new());
    }
    let present = pairs_of(session, channel.id).await?;
    let groups = patch
        .groups
        .clone()
        .unwrap_or_else(|| present.iter().map(|(group, _)| group.clone()).collect());
    let models = patch
        .models
        .clone()
        .unwrap_or_else(|| present.iter().map(|(_, model)| model.clone()).collect());
    if !groups.is_empty() && models.is_empty() && patch.models.is_none() {
        return Err(ChangeError::NoModels);
    }
    let groups = match (groups.is_empty(), &patch.groups) {
        (true, None) if !models.is_empty() => vec![GroupName::new(FIRST_GROUP)],
        _ => groups,
    };
    let wanted = product(&groups, &models);
    let mut closed = Vec::new();
    for (group, model) in present.difference(&wanted) {
        ability::Entity::delete_many()
            .filter(ability::Column::ChannelId.eq(channel.id.0))
            .filter(ability::Column::Group.eq(group.as_str()))
            .filter(ability::Column::Model.eq(model.as_str()))
            .exec(session)
            .await?;
        closed.push(Closed::Ability {
            channel: channel.id,
            group: group.clone(),
            model: model.clone(),
        });
    }
    let opens = channel.status == Some(Status::Enabled);
    insert(session, channel.id, wanted.difference(&present), opens).await?;
    Ok(closed)
}

fn product(groups: &[GroupName], models: &[ModelName]) -> BTreeSet<Pair> {
    let pairs = groups
        .iter()
        .flat_map(|group| models.iter().map(|model| (group.clone(), model.clone())));
    pairs.collect()
}

async fn pairs_of(session: &Session, channel: ChannelId) -> Result<BTreeSet<Pair>, ChangeError> {
    use ability::Column::{ChannelId, Group, Model};
    let mut select = Query::select();
    select
        .columns([Group, Model])
        .from(ability::Entity)
        .and_where(ChannelId.eq(channel.0));
    let mut pairs = BTreeSet::new();
    session
        .each_of(&select, |row| {
            if let (Ok(group), Ok(model)) = (column(row, 0, "group").text(), column(row, 1, "model").text()) {
                pairs.insert((group.into(), model.into()));
            }
        })
        .await?;
    Ok(pairs)
}

async fn insert<'a>(
    session: &Session,
    channel: ChannelId,
    pairs: impl Iterator<Item = &'a Pair> + Send,
    enabled: bool,
) -> Result<(), ChangeError> {
    let rows: Vec<ability::ActiveModel> = pairs
        .map(|(group, model)| ability::ActiveModel {
            group: Set(group.as_str().to_owned()),
            model: Set(model.as_str().to_owned()),
            channel_id: Set(channel.0),
            enabled: Set(enabled),
            held: Set(false),
            priority: Set(None),
            weight: Set(None),
        })
        .collect();
    for some in rows.chunks(ROWS_AT_ONCE) {
        ability::Entity::insert_many(some.to_vec())
            .exec_without_returning(session)
            .await?;
    }
    Ok(())
}
