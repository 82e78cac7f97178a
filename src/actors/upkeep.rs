//! What the relay closes and reopens by itself, and what it must know for it. An operator's word always goes
//! before: each change holds only for the very state that was judged (R9).

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc;

use super::routing_handle::Routing;
use crate::routing::ids::ChannelId;
use crate::routing::rebuilds::{Scope, Urgency};
use crate::routing::rows::{ChannelRows, Status};
use crate::routing::snapshot::{Channel, Key};
pub use crate::store::change_status::Seen;
use crate::store::change_status::{self, Change, ChangeError};
pub use crate::store::channels_to_test::Judged;
pub use crate::store::error::StoreError;
use crate::store::{channels, channels_to_test};

/// A provider has refused a key, or a channel that has none.
#[derive(Clone, Debug)]
pub struct Refused {
    /// As the lease's snapshot or lookup showed it.
    pub judged: Judged,
    /// Kept in the row, for operators; without a secret.
    pub reason: Arc<str>,
    /// The key's last characters.
    pub hint: Arc<str>,
    /// Whether the channel allowed to be closed when it was leased.
    pub may_close: bool,
}

/// Where leases tell what was refused: nowhere, until somebody listens.
#[derive(Clone, Default)]
pub(super) struct Refusals(Arc<OnceLock<mpsc::Sender<Refused>>>);

impl Refusals {
    /// One that finds no room is forgotten: the key cools all the same, and will be refused again.
    pub fn tell(&self, channel: &Channel, key: Option<&Key>, reason: &Arc<str>) {
        let Some(ear) = self.0.get() else { return };
        let (status, status_changed_at) = match key {
            // A snapshot has enabled keys only.
            Some(key) => (Some(Status::Enabled), key.status_changed_at),
            None => (channel.status, channel.status_changed_at),
        };
        let Some(status) = status else { return };
        let seen = Seen {
            status,
            status_changed_at,
        };
        let _ = ear.try_send(Refused {
            judged: Judged {
                channel: channel.id,
                key: key.map(|key| key.id),
                seen,
            },
            reason: Arc::clone(reason),
            hint: key.map_or_else(|| Arc::from(""), |key| Arc::clone(&key.spec.hint)),
            may_close: channel.spec.auto_disable,
        });
    }
}

/// What has become of a change that the relay wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    Done,
    /// Somebody was faster, or it is gone: nothing was written, and nothing is to be.
    Moot,
    /// Not done, or not known to be: worth another try.
    NotNow(String),
}

impl Routing {
    /// From now on the refusals of all leases are told there. Only the first who listens is heard.
    pub fn tell_refusals(&self, ear: mpsc::Sender<Refused>) {
        let _ = self.refusals.0.set(ear);
    }

    /// Closes what was refused, if it still is as it was judged.
    pub async fn auto_disable(&self, judged: Judged, reason: &str) -> Written {
        let reason = reason.to_owned();
        let seen = judged.seen;
        self.change(judged, Change::AutoDisable { reason, seen }).await
    }

    /// Opens what works again, if it still is as it was judged.
    pub async fn reopen(&self, judged: Judged) -> Written {
        let seen = judged.seen;
        self.change(judged, Change::Reopen { seen }).await
    }

    async fn change(&self, judged: Judged, change: Change) -> Written {
        let database = self.database.clone();
        let write = async move {
            let receipt = match judged.key {
                Some(key) => change_status::set_key(&database, judged.channel, key, change).await?,
                None => change_status::set_channel(&database, judged.channel, change).await?,
            };
            Ok(((), receipt))
        };
        match self.changes().run(write).await {
            Ok(_) => Written::Done,
            Err(
                ChangeError::Superseded
                | ChangeError::NotFound
                | ChangeError::NoEnabledKey
                | ChangeError::NoModels,
            ) => {
                // Another node may have done it: then the sooner this one knows, the better.
                let routing = self.clone();
                let scope = Scope::Channels([judged.channel].into_iter().collect());
                tokio::spawn(async move { routing.rebuild(scope, Urgency::Background).await });
                Written::Moot
            }
            Err(ChangeError::NotDone(error) | ChangeError::Unknown(error)) => {
                Written::NotNow(error.to_string())
            }
        }
    }

    /// What the relay has closed by itself and not reopened yet.
    pub async fn auto_disabled(&self) -> Result<Vec<Judged>, StoreError> {
        channels_to_test::auto_disabled(&self.database).await
    }

    /// A channel as the database has it now, whatever its status. Holds secrets.
    pub async fn channel_rows(&self, channel: ChannelId) -> Result<Option<ChannelRows>, StoreError> {
        channels_to_test::one(&self.database, channel).await
    }

    /// Keeps what a test has measured.
    pub async fn record_test(
        &self,
        channel: ChannelId,
        tested_at: i64,
        response_ms: Option<i64>,
    ) -> Result<(), ChangeError> {
        channels::record_test(&self.database, channel, tested_at, response_ms).await
    }
}
