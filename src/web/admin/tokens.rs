//! `/api/tokens`: the clients' tokens. A token's key is told once, when it is made or rotated.

use std::net::IpAddr;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::body::{Body, Given, given};
use super::fields::{Faults, NAME_LENGTH};
use super::query::{Query, id};
use super::times::{self, with_times};
use crate::store::change_status::ChangeError;
use crate::store::key_hash::KeyHash;
use crate::store::tokens::{
    self, ListedToken, NewToken, TokenFilter, TokenId, TokenPatch, TokenRow, TokenStatus,
};
use crate::web::problem::{ApiError, What};
use crate::web::{Desk, new_secret};

const TIMES: [&str; 3] = ["expires_at", "created_at", "last_used_at"];
const ADDRESSES: usize = 1000;
/// No token is longer, ours or another's.
const LONGEST_KEY: usize = 512;

pub async fn list(desk: Data<Desk>, mut query: Query) -> Result<HttpResponse, ApiError> {
    let filter = TokenFilter {
        q: query.text("q"),
        status: query.word("status", "enabled, disabled", status),
    };
    let page = query.page();
    query.done()?;
    let found = tokens::list(&desk.database, filter, page).await?;
    let shown = |token: &ListedToken| with_times(token, &TIMES);
    let items: Result<Vec<Value>, _> = found.items.iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(json!({
        "items": items?,
        "total": found.total,
        "page": found.page,
        "page_size": found.page_size,
    })))
}

/// The body of `POST /api/tokens` and of `PATCH /api/tokens/{id}`. In a change what is absent stays, and
/// `null` empties the column; on creating both mean the default.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenBody {
    #[serde(deserialize_with = "given")]
    name: Given<String>,
    #[serde(deserialize_with = "given")]
    status: Given<TokenStatus>,
    #[serde(deserialize_with = "given")]
    groups: Given<Vec<String>>,
    #[serde(deserialize_with = "given")]
    models: Given<Vec<String>>,
    #[serde(deserialize_with = "given")]
    allow_ips: Given<Vec<String>>,
    #[serde(deserialize_with = "given")]
    expires_at: Given<String>,
    #[serde(deserialize_with = "given")]
    limits: Given<Map<String, Value>>,
}

pub async fn create(desk: Data<Desk>, Body(body): Body<TokenBody>) -> Result<HttpResponse, ApiError> {
    let key = new_secret("sk-");
    let new = body.into_new(&key)?;
    let database = desk.database.clone();
    let hash = new.key_hash;
    let write = async move { tokens::create(&database, new).await };
    let id = desk.write(write).await.map_err(failed)?;
    // Somebody may have tried the key's hash already; nothing that was read before holds now.
    desk.routing.forget_token(hash).await;
    let mut row = row(&desk, id).await;
    row["key"] = json!(key);
    let place = format!("/api/tokens/{id}");
    Ok(HttpResponse::Created()
        .insert_header(("location", place))
        .json(row))
}

pub async fn get(desk: Data<Desk>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let row = found(&desk, token_id(&request)?).await?;
    Ok(HttpResponse::Ok().json(with_times(&row, &TIMES)?))
}

pub async fn patch(
    desk: Data<Desk>,
    request: HttpRequest,
    Body(body): Body<TokenBody>,
) -> Result<HttpResponse, ApiError> {
    let id = token_id(&request)?;
    let patch = body.into_patch()?;
    let database = desk.database.clone();
    let write = async move { tokens::patch(&database, id, patch).await };
    write_and_forget(&desk, id, write, Some).await?;
    Ok(HttpResponse::Ok().json(row(&desk, id).await))
}

/// A new key in place of the old, which works no longer.
pub async fn rotate(desk: Data<Desk>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let id = token_id(&request)?;
    let key = new_secret("sk-");
    let (hash, hint) = (KeyHash::of(&key), hint(&key));
    let database = desk.database.clone();
    let write = async move { tokens::rotate(&database, id, hash, hint).await };
    write_and_forget(&desk, id, write, Some).await?;
    let mut row = row(&desk, id).await;
    row["key"] = json!(key);
    Ok(HttpResponse::Ok().json(row))
}

/// One that is gone already is gone; an id that never was is a mistake.
pub async fn delete(desk: Data<Desk>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let id = token_id(&request)?;
    let database = desk.database.clone();
    let write = async move { tokens::delete(&database, id).await };
    write_and_forget(&desk, id, write, |hash| hash).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `{"key": …}`: in the body, as URLs end up in logs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    key: String,
}

pub async fn find(desk: Data<Desk>, Body(shown): Body<Shown>) -> Result<HttpResponse, ApiError> {
    let key = shown.key.trim();
    let mut faults = Faults::default();
    if key.is_empty() || key.len() > LONGEST_KEY {
        faults.add("key", format!("must have 1 to {LONGEST_KEY} characters"));
    }
    faults.none()?;
    let row = tokens::find_by_hash(&desk.database, KeyHash::of(key)).await?;
    let row = row.ok_or(ApiError::NotFound(What::Token))?;
    Ok(HttpResponse::Ok().json(with_times(&row, &TIMES)?))
}

/// The write, and after it the forgetting of what was remembered by the hash that it tells: together, so that
/// a caller who goes in between leaves nothing half done.
async fn write_and_forget<T: Send + 'static>(
    desk: &Data<Desk>,
    id: TokenId,
    write: impl Future<Output = Result<T, ChangeError>> + Send + 'static,
    hash: impl FnOnce(T) -> Option<KeyHash> + Send + 'static,
) -> Result<(), ApiError> {
    let routing = desk.routing.clone();
    let both = async move {
        match write.await {
            Ok(written) => {
                if let Some(hash) = hash(written) {
                    routing.forget_token(hash).await;
                }
                Ok(())
            }
            Err(error) => {
                if let ChangeError::Unknown(_) = error {
                    routing.forget_token_id(id).await;
                }
                Err(error)
            }
        }
    };
    desk.write(both).await.map_err(failed)
}

impl TokenBody {
    fn into_new(mut self, key: &str) -> Result<NewToken, ApiError> {
        let mut faults = Faults::default();
        faults.required("name", &self.name);
        for given in [&mut self.name, &mut self.expires_at] {
            if matches!(given, Some(None)) {
                *given = None;
            }
        }
        self.status = self.status.flatten().map(Some);
        self.groups = self.groups.flatten().map(Some);
        let patch = self.checked(&mut faults);
        faults.none()?;
        Ok(NewToken {
            name: patch.name.unwrap_or_default(),
            key_hash: KeyHash::of(key),
            hint: hint(key),
            status: patch.status.unwrap_or(TokenStatus::Enabled),
            groups: patch.groups.unwrap_or_else(|| vec!["default".into()]),
            models: patch.models.flatten(),
            allow_ips: patch.allow_ips.flatten(),
            expires_at: patch.expires_at.flatten(),
            limits: patch.limits.unwrap_or(Value::Null),
        })
    }

    fn into_patch(self) -> Result<TokenPatch, ApiError> {
        let mut faults = Faults::default();
        let patch = self.checked(&mut faults);
        faults.none()?;
        Ok(patch)
    }

    fn checked(self, faults: &mut Faults) -> TokenPatch {
        let name = faults.not_null("name", self.name);
        let groups = faults.not_null("groups", self.groups);
        TokenPatch {
            name: name.and_then(|name| faults.name("name", &name, NAME_LENGTH)),
            status: faults.not_null("status", self.status),
            groups: groups.map(|list| {
                if list.is_empty() {
                    faults.add("groups", "must name a group");
                }
                faults.groups("groups", &list)
            }),
            models: self
                .models
                .map(|list| list.map(|list| faults.models("models", &list))),
            allow_ips: self
                .allow_ips
                .map(|list| list.map(|list| addresses(faults, &list))),
            expires_at: self
                .expires_at
                .map(|time| time.and_then(|time| expiry(faults, &time))),
            limits: self.limits.map(|limits| limits_of(faults, limits)),
        }
    }
}

/// Addresses and networks as they are read back: `10.1.2.3/8` is `10.0.0.0/8`.
fn addresses(faults: &mut Faults, list: &[String]) -> Vec<String> {
    if list.len() > ADDRESSES {
        faults.add("allow_ips", format!("must have at most {ADDRESSES} entries"));
        return Vec::new();
    }
    let mut addresses = Vec::new();
    for (index, text) in list.iter().enumerate() {
        let text = text.trim();
        let address = text.parse::<IpAddr>().map(|address| address.to_string());
        let network = || text.parse::<IpNet>().map(|network| network.trunc().to_string());
        match address.or_else(|_| network()) {
            Ok(address) if addresses.contains(&address) => {}
            Ok(address) => addresses.push(address),
            Err(_) => faults.add(
                format_args!("allow_ips[{index}]"),
                "must be an address or a network, such as 10.0.0.1 or 10.0.0.0/8",
            ),
        }
    }
    addresses
}

fn expiry(faults: &mut Faults, time: &str) -> Option<i64> {
    let at = times::parse(time);
    if at.is_none() {
        faults.add(
            "expires_at",
            "must be an RFC 3339 time, such as 2030-01-01T00:00:00Z",
        );
    }
    at
}

/// None is kept that nothing would hold to.
fn limits_of(faults: &mut Faults, limits: Option<Map<String, Value>>) -> Value {
    let limits = limits.unwrap_or_default();
    for name in limits.keys() {
        faults.add(format_args!("limits.{name}"), "is no limit that is known here");
    }
    match limits.is_empty() {
        true => Value::Null,
        false => Value::Object(limits),
    }
}

/// The last four characters.
fn hint(key: &str) -> String {
    let start = key.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
    key[start..].to_owned()
}

fn status(word: &str) -> Option<TokenStatus> {
    match word {
        "enabled" => Some(TokenStatus::Enabled),
        "disabled" => Some(TokenStatus::Disabled),
        _ => None,
    }
}

fn token_id(request: &HttpRequest) -> Result<TokenId, ApiError> {
    id(request, "id")
        .map(TokenId)
        .ok_or(ApiError::NotFound(What::Token))
}

fn failed(error: ChangeError) -> ApiError {
    ApiError::of_change(error, What::Token)
}

async fn found(desk: &Desk, id: TokenId) -> Result<TokenRow, ApiError> {
    tokens::get(&desk.database, id)
        .await?
        .ok_or(ApiError::NotFound(What::Token))
}

/// The token as it now is. The change is committed: if the row cannot be read, its id is all that is told.
async fn row(desk: &Desk, id: TokenId) -> Value {
    let row = found(desk, id).await;
    row.and_then(|row| with_times(&row, &TIMES))
        .unwrap_or_else(|_| json!({"id": id}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_that_does_not_fit_is_named() {
        let check = |fields: Value, names: &[&str]| {
            let body: TokenBody = serde_json::from_value(fields.clone()).expect("fits");
            let faulty: Vec<_> = match body.into_new("sk-x") {
                Ok(_) => Vec::new(),
                Err(ApiError::Invalid(errors)) => errors.into_iter().map(|error| error.field).collect(),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(faulty, names, "{fields}");
        };
        check(json!({"name": "a"}), &[]);
        check(json!({}), &["name"]);
        check(
            json!({"name": "a", "groups": [], "models": [""], "allow_ips": ["ten"]}),
            &["groups", "models[0]", "allow_ips[0]"],
        );
        check(json!({"name": "a", "expires_at": "tomorrow"}), &["expires_at"]);
        check(json!({"name": "a", "limits": {"rpm": 5}}), &["limits.rpm"]);
        check(
            json!({"name": "a", "models": null, "allow_ips": null, "expires_at": null, "limits": {}}),
            &[],
        );
    }

    #[test]
    fn networks_are_kept_as_they_mean() {
        let mut faults = Faults::default();
        let list = ["10.1.2.3/8", "10.0.0.0/8", " ::1 "].map(str::to_owned);
        assert_eq!(addresses(&mut faults, &list), ["10.0.0.0/8", "::1"]);
        assert!(faults.none().is_ok());
    }

    #[test]
    fn a_key_is_long_random_and_hinted_by_its_end() {
        let (one, other) = (new_secret("sk-"), new_secret("sk-"));
        assert!(one.starts_with("sk-") && one.len() == 51 && one != other);
        assert!(one.ends_with(&hint(&one)) && hint(&one).len() == 4);
    }
}
