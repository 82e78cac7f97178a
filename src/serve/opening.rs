//! The database, opened however long it takes, and the operator's token in it.

use std::cell::Cell;
use std::io::Write as _;
use std::time::Duration;

use log::{info, warn};
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::config::Settings;
use crate::relay::provider_traits;
use crate::routing::rows::Secret;
use crate::store::admin_tokens;
use crate::store::change_status::ChangeError;
use crate::store::connect::{Database, Options};
use crate::store::error::StoreError;
use crate::store::key_hash::KeyHash;
use crate::web::new_secret;

/// A database that just starts deserves a quick second try; one that is away is not to be hammered.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
const AGAIN_LONGEST: Duration = Duration::from_secs(5);

/// Puts into the database what must be there before anything else uses it.
pub trait Furnish: AsyncFnOnce(&Database) -> Result<(), StoreError> {}

impl<F: AsyncFnOnce(&Database) -> Result<(), StoreError>> Furnish for F {}

/// Nothing but what is there.
pub async fn as_it_is(_: &Database) -> Result<(), StoreError> {
    Ok(())
}

/// The database that the settings name, not yet asked.
pub fn unopened(settings: &Settings) -> Result<Database, StoreError> {
    let mut options = Options::new(provider_traits, Handle::current());
    options.lookup_connections = settings.lookup_connections;
    options.lookup_deadline = settings.lookup_timeout;
    options.admin_deadline = settings.admin_timeout;
    Database::unopened(&settings.database_url, options)
}

/// Whether requests are served from what was kept, while the database is not ready: then nothing that it says ends the
/// node.
#[derive(Default)]
pub struct Meanwhile(Cell<bool>);

impl Meanwhile {
    pub fn serves(&self) {
        self.0.set(true);
    }
}

/// Makes it ready, again and again while it is away; any other error is final, unless requests are served meanwhile.
pub async fn prepare(
    database: &Database,
    settings: &Settings,
    meanwhile: &Meanwhile,
    furnish: impl Furnish,
) -> Result<(), StoreError> {
    persistently(meanwhile, async || database.prepare().await).await?;
    match &settings.admin_token {
        Some(token) => given(database, token, meanwhile).await?,
        None => made(database, meanwhile).await?,
    }
    furnish(database).await
}

async fn given(database: &Database, token: &Secret, meanwhile: &Meanwhile) -> Result<(), StoreError> {
    let hash = KeyHash::of(token.reveal());
    persistently(meanwhile, async || {
        let ensured = admin_tokens::ensure(database, hash, "admin").await;
        ensured.map_err(of_change)
    })
    .await
}

/// Of two nodes that start at once one makes it, and only that one prints it.
async fn made(database: &Database, meanwhile: &Meanwhile) -> Result<(), StoreError> {
    let token = new_secret("pm-");
    let hash = KeyHash::of(&token);
    let made = async || {
        let inserted = admin_tokens::insert_if_none(database, hash, "admin").await;
        Ok(match inserted.map_err(of_change)? {
            true => true,
            // An earlier try may have done it whose commit was not confirmed.
            false => admin_tokens::find_by_hash(database, hash).await?.is_some(),
        })
    };
    if !persistently(meanwhile, made).await? {
        return Ok(());
    }
    let shown = writeln!(
        std::io::stdout(),
        "admin token (shown this once; kept hashed): {token}"
    );
    if let Err(error) = shown {
        // Nobody has seen it: the next start makes another.
        let unmade = async || admin_tokens::delete(database, hash).await.map_err(of_change);
        persistently(meanwhile, unmade).await?;
        let words = format!("the admin token that was made cannot be printed on stdout: {error}");
        return Err(StoreError::Internal(words));
    }
    info!("an admin token was made and printed on stdout");
    Ok(())
}

async fn persistently<T>(
    meanwhile: &Meanwhile,
    mut question: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut wait = AGAIN_FIRST;
    loop {
        match question().await {
            Err(error) if is_away(&error) || meanwhile.0.get() => {
                warn!(error:% = error, again_ms = wait.as_millis() as u64; "the database cannot be used yet");
                sleep(wait).await;
                wait = (wait * 2).min(AGAIN_LONGEST);
            }
            answered => return answered,
        }
    }
}

fn of_change(error: ChangeError) -> StoreError {
    match error {
        ChangeError::NotDone(error) | ChangeError::Unknown(error) => error,
        ChangeError::NotFound
        | ChangeError::NoEnabledKey
        | ChangeError::NoModels
        | ChangeError::Superseded => StoreError::Internal(error.to_string()),
    }
}

/// Whether it may well answer later: gone, starting, stopping, or full.
fn is_away(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(_) | StoreError::TimedOut => true,
        StoreError::Database { code, .. } => {
            // PostgreSQL: class 08 connection, 57P0x shutting down or starting, 53300 too many connections.
            // MySQL: 1040 and 1203 too many connections, 1053 shutting down.
            code.starts_with("08")
                || matches!(
                    code.as_str(),
                    "57P01" | "57P02" | "57P03" | "53300" | "1040" | "1203" | "1053"
                )
                || error.is_worth_a_repeat()
        }
        StoreError::Url(_) | StoreError::BadRow(_) | StoreError::Internal(_) => false,
    }
}
