//! One model in some groups, asked of the database itself (R3, R11).
//!
//! One statement, outside any transaction, on a connection that has none unfinished: so it sees every
//! commit that was answered before it was sent. It brings abilities that are not open too, for whether one
//! is open is decided by the very code that decides it for a snapshot.

use std::collections::HashSet;

use futures::FutureExt;
use sea_orm::sea_query::{Alias, Cond, Expr, ExprTrait, JoinType, Order, Query, SelectStatement};

use super::connect::{Database, LaneName};
use super::decode::{self, ABILITY, CHANNEL, KEY, of_table};
use super::error::StoreError;
use super::session::Session;
use crate::routing::build::Draft;
use crate::routing::ids::{ChannelId, GroupName, ModelName, Moment, Moments};
use crate::routing::rows::ProviderLookup;

/// The rows that a lookup found.
#[derive(Debug)]
pub struct FoundRows {
    /// Every ability of the model in the groups, open or not, with its channel and the channel's keys.
    pub draft: Draft,
    /// Drawn before the statement was sent.
    pub began: Moment,
}

struct Question {
    groups: Vec<GroupName>,
    model: ModelName,
    moments: Moments,
    providers: ProviderLookup,
}

/// Every ability of `model` in `groups`, in one statement.
pub async fn candidates(
    database: &Database,
    groups: &[GroupName],
    model: &ModelName,
) -> Result<FoundRows, StoreError> {
    let question = Question {
        groups: groups.to_vec(),
        model: model.clone(),
        moments: database.moments().clone(),
        providers: database.providers(),
    };
    database
        .read(LaneName::Lookups, question, |session, question| {
            ask(session, question).boxed()
        })
        .await
}

async fn ask(session: &Session, question: &Question) -> Result<FoundRows, StoreError> {
    let statement = select(question);
    let mut draft = Draft::default();
    let mut known = HashSet::new();
    let began = question.moments.draw();
    session
        .each_of(&statement, |row| {
            // The join brings a channel once for each ability and key: it is decoded once.
            let Some(id) = decode::id(row, 0, "channels").map(ChannelId) else {
                return;
            };
            if !draft.knows_channel(id)
                && let Some(channel) = decode::channel(row, 0, question.providers)
            {
                draft.channel(channel);
            }
            if let Some(key) = decode::key(row, CHANNEL.len()) {
                draft.key(key);
            }
            let Some(ability) = decode::ability(row, CHANNEL.len() + KEY.len()) else {
                return;
            };
            // MySQL ignores blanks at the end when it compares; we do not.
            let asked = question
                .groups
                .iter()
                .position(|group| group.as_str() == ability.group);
            if ability.model == question.model.as_str()
                && let Some(group) = asked
                && known.insert((group, id))
            {
                draft.ability(ability);
            }
        })
        .await?;
    Ok(FoundRows { draft, began })
}

fn select(question: &Question) -> SelectStatement {
    let column = |table: &'static str, name: &'static str| Expr::col((Alias::new(table), Alias::new(name)));
    // One value for each group, in one condition: a token has a handful.
    let in_groups = question.groups.iter().fold(Cond::any(), |any, group| {
        any.add(column("abilities", "group").eq(group.as_str()))
    });
    let mut select = Query::select();
    select
        .columns(of_table("channels", &CHANNEL))
        .columns(of_table("channel_keys", &KEY))
        .columns(of_table("abilities", &ABILITY))
        .from(Alias::new("abilities"))
        .join(
            JoinType::InnerJoin,
            Alias::new("channels"),
            column("channels", "id").equals((Alias::new("abilities"), Alias::new("channel_id"))),
        )
        .join(
            JoinType::LeftJoin,
            Alias::new("channel_keys"),
            column("channel_keys", "channel_id").equals((Alias::new("channels"), Alias::new("id"))),
        )
        .and_where(column("abilities", "model").eq(question.model.as_str()))
        .cond_where(in_groups)
        .order_by((Alias::new("channel_keys"), Alias::new("id")), Order::Asc);
    select
}
