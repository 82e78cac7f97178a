//! Who may call the admin REST: whoever shows an operator's token as bearer.
//!
//! A token that was found is believed for a short while, so that a panel's burst of calls asks the database
//! once. One that was found before is believed also while the database cannot be asked: what the node still
//! knows can be looked at then. Wrong tokens get one question at a time, so that a flood of them leaves
//! connections to the relay.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;
use actix_web::web::Data;
use futures::FutureExt;
use log::warn;
use lru::LruCache;
use tokio::sync::Semaphore;

use super::Desk;
use super::problem::ApiError;
use crate::store::admin_tokens;
use crate::store::connect::Database;
use crate::store::key_hash::KeyHash;

/// A token that was deleted works on for so long at most.
const BELIEVED_FOR: Duration = Duration::from_secs(10);
/// Operators are few.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
/// Questions under way or waiting; more are told that it is too much.
const WAITING: usize = 64;
/// No token is longer; hashing more would only cost time.
const LONGEST: usize = 512;

/// The operators' tokens that were seen lately.
pub struct Admins {
    database: Database,
    /// When each was last found in the database.
    found: Mutex<LruCache<KeyHash, Instant>>,
    waiting: Semaphore,
    asking: Semaphore,
}

impl Admins {
    pub fn new(database: Database) -> Admins {
        Admins {
            database,
            found: Mutex::new(LruCache::new(REMEMBERED)),
            waiting: Semaphore::new(WAITING),
            asking: Semaphore::new(1),
        }
    }

    /// Whether this is an operator's token.
    ///
    /// # Errors
    /// It is not, or the database could not be asked about one that was never seen.
    pub async fn check(&self, token: &str) -> Result<(), ApiError> {
        let hash = KeyHash::of(token);
        let seen = self.found().get(&hash).copied();
        if seen.is_some_and(|at| at.elapsed() < BELIEVED_FOR) {
            return Ok(());
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| ApiError::Overloaded)?;
        let _asking = self.asking.acquire().await.map_err(|_| ApiError::Internal)?;
        match admin_tokens::find_by_hash(&self.database, hash).await {
            Ok(Some(_)) => {
                self.found().put(hash, Instant::now());
                Ok(())
            }
            Ok(None) => {
                self.found().pop(&hash);
                Err(ApiError::Unauthorized)
            }
            Err(error) if seen.is_some() => {
                warn!(error:% = error; "an admin token is believed unasked");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn found(&self) -> MutexGuard<'_, LruCache<KeyHash, Instant>> {
        // A cache is whole at every moment.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets operators through. A handler that panics is answered as a fault of our own.
pub async fn require_admin(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let desk = request
        .app_data::<Data<Desk>>()
        .cloned()
        .ok_or(ApiError::Internal)?;
    let token = bearer(&request).ok_or(ApiError::Unauthorized)?;
    desk.admins.check(&token).await?;
    let handled = std::panic::AssertUnwindSafe(next.call(request))
        .catch_unwind()
        .await;
    handled.unwrap_or_else(|_| Err(ApiError::Internal.into()))
}

/// The scheme's case does not matter (RFC 9110, 11.1).
fn bearer(request: &ServiceRequest) -> Option<String> {
    let header = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    let fits = scheme.eq_ignore_ascii_case("bearer") && (1..=LONGEST).contains(&token.len());
    fits.then(|| token.to_owned())
}
