//! What a channel's fields may hold, on creating and on changing one.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;

use super::body::{Given, given};
use super::fields::{Faults, NAME_LENGTH, PRIORITIES, REMARK_LENGTH};
use super::keys::secrets;
use crate::protocol::{headers, providers, upstream_url};
use crate::routing::ids::GroupName;
use crate::routing::rows::{KeyMode, Secret, Settings, Status, Timeouts};
use crate::store::channels::{ChannelPatch, ChannelView, NewChannel};
use crate::web::problem::ApiError;

/// Keys of a channel in one body.
pub const KEYS: usize = 10_000;
/// Longer than any provider's.
const SECRET_LENGTH: usize = 4096;
const URL_LENGTH: usize = 2048;
const MAPPINGS: usize = 5000;
const HEADERS: usize = 100;
const PARAMS_BYTES: usize = 256 << 10;
/// Rows that one channel's groups and models may make.
const ABILITIES: usize = 200_000;
const LONGEST_TIMEOUT: f64 = 86_400.0;
const IN_FLIGHT: i64 = 1_000_000;

/// The body of `POST /api/channels` and of `PATCH /api/channels/{id}`. In a change what is absent stays, and
/// `null` empties the column; on creating both mean the default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelBody {
    #[serde(deserialize_with = "given")]
    name: Given<String>,
    #[serde(deserialize_with = "given")]
    provider: Given<String>,
    #[serde(deserialize_with = "given")]
    base_url: Given<String>,
    #[serde(deserialize_with = "given")]
    status: Given<Status>,
    #[serde(deserialize_with = "given")]
    priority: Given<i64>,
    #[serde(deserialize_with = "given")]
    weight: Given<i64>,
    #[serde(deserialize_with = "given")]
    tag: Given<String>,
    #[serde(deserialize_with = "given")]
    key_mode: Given<KeyMode>,
    #[serde(deserialize_with = "given")]
    model_mapping: Given<BTreeMap<String, String>>,
    #[serde(deserialize_with = "given")]
    header_override: Given<BTreeMap<String, Option<String>>>,
    #[serde(deserialize_with = "given")]
    param_override: Given<Map<String, Value>>,
    #[serde(deserialize_with = "given")]
    settings: Given<Settings>,
    #[serde(deserialize_with = "given")]
    test_model: Given<String>,
    #[serde(deserialize_with = "given")]
    auto_disable: Given<bool>,
    #[serde(deserialize_with = "given")]
    remark: Given<String>,
    #[serde(deserialize_with = "given")]
    keys: Given<Vec<String>>,
    #[serde(deserialize_with = "given")]
    groups: Given<Vec<String>>,
    #[serde(deserialize_with = "given")]
    models: Given<Vec<String>>,
}

impl ChannelBody {
    /// A channel to create.
    ///
    /// # Errors
    /// Names every field that does not fit.
    pub fn into_new(mut self) -> Result<NewChannel, ApiError> {
        let mut faults = Faults::default();
        let status = match self.status.take().flatten() {
            None => Status::Enabled,
            Some(status @ (Status::Enabled | Status::Disabled)) => status,
            Some(Status::AutoDisabled) => {
                faults.add("status", "must be one of `enabled`, `disabled`");
                Status::Disabled
            }
        };
        let keys = secrets(&mut faults, &self.keys.take().flatten().unwrap_or_default());
        faults.required("name", &self.name);
        faults.required("provider", &self.provider);
        self.nulls_are_absent();
        let no_models = self.models.iter().flatten().all(Vec::is_empty);
        let patch = self.checked(&mut faults);
        let named = |name: &Option<String>| name.clone().unwrap_or_default();
        let mut new = NewChannel::new(&named(&patch.name), &named(&patch.provider));
        (new.status, new.keys) = (status, keys);
        new.groups = vec![GroupName::new("default")];
        overlay(&mut new, patch);
        if let Some(provider) = providers::provider(&new.provider)
            && provider.needs_base_url()
            && new.base_url.is_none()
            && new.settings.base_urls.is_empty()
        {
            faults.add(
                "base_url",
                format!("is required for the provider {}", provider.name),
            );
        }
        product(&mut faults, new.groups.len(), new.models.len());
        // They would be lost: a channel's groups are those of its abilities.
        if no_models && new.groups != [GroupName::new("default")] {
            faults.add("groups", "a channel without models cannot have groups");
        }
        faults.none()?;
        Ok(new)
    }

    /// A change of the channel that is `now`.
    ///
    /// # Errors
    /// Names every field that does not fit.
    pub fn into_patch(mut self, now: &ChannelView) -> Result<ChannelPatch, ApiError> {
        let mut faults = Faults::default();
        if self.status.take().is_some() {
            faults.add("status", "is changed by PUT /api/channels/{id}/status");
        }
        if self.keys.take().is_some() {
            faults.add("keys", "are changed at /api/channels/{id}/keys");
        }
        let patch = self.checked(&mut faults);
        let provider = patch.provider.as_deref().or(now.provider.as_deref());
        let has_base_url = match &patch.base_url {
            Some(base_url) => base_url.is_some(),
            None => now.base_url.is_some(),
        };
        let has_base_urls = match &patch.settings {
            Some(settings) => !settings.base_urls.is_empty(),
            None => now.settings.get("base_urls").is_some(),
        };
        let touches = patch.provider.is_some() || patch.base_url.is_some() || patch.settings.is_some();
        if let Some(provider) = provider.and_then(providers::provider)
            && touches
            && provider.needs_base_url()
            && !has_base_url
            && !has_base_urls
        {
            faults.add(
                "base_url",
                format!("is required for the provider {}", provider.name),
            );
        }
        let groups = patch.groups.as_ref().map_or(now.groups.len(), Vec::len);
        let models = patch.models.as_ref().map_or(now.models.len(), Vec::len);
        if patch.groups.is_some() || patch.models.is_some() {
            product(&mut faults, groups, models);
        }
        faults.none()?;
        Ok(patch)
    }

    /// On creating, `null` means the default.
    fn nulls_are_absent(&mut self) {
        fn absent<T>(given: &mut Given<T>) {
            if matches!(given, Some(None)) {
                *given = None;
            }
        }
        absent(&mut self.name);
        absent(&mut self.provider);
        absent(&mut self.priority);
        absent(&mut self.weight);
        absent(&mut self.key_mode);
        absent(&mut self.auto_disable);
        absent(&mut self.groups);
        absent(&mut self.models);
    }

    fn checked(self, faults: &mut Faults) -> ChannelPatch {
        let line = |faults: &mut Faults, field: &'static str, given: Given<String>, longest| {
            given.map(|text| text.and_then(|text| faults.name(field, &text, longest)))
        };
        let name = faults.not_null("name", self.name);
        let provider = faults.not_null("provider", self.provider);
        ChannelPatch {
            name: name.and_then(|name| faults.name("name", &name, NAME_LENGTH)),
            provider: provider.and_then(|name| known_provider(faults, &name)),
            base_url: self
                .base_url
                .map(|url| url.and_then(|url| base_url(faults, "base_url", &url))),
            priority: faults
                .not_null("priority", self.priority)
                .map(|priority| faults.whole("priority", priority, PRIORITIES)),
            weight: faults
                .not_null("weight", self.weight)
                .map(|weight| faults.weight("weight", weight)),
            tag: line(faults, "tag", self.tag, NAME_LENGTH),
            key_mode: faults.not_null("key_mode", self.key_mode),
            model_mapping: self
                .model_mapping
                .map(|mapping| model_mapping(faults, mapping.unwrap_or_default())),
            header_override: self
                .header_override
                .map(|headers| header_override(faults, headers.unwrap_or_default())),
            param_override: self
                .param_override
                .map(|params| param_override(faults, params.unwrap_or_default())),
            settings: self
                .settings
                .map(|given| settings(faults, given.unwrap_or_default())),
            test_model: line(faults, "test_model", self.test_model, NAME_LENGTH),
            auto_disable: faults.not_null("auto_disable", self.auto_disable),
            remark: self
                .remark
                .map(|text| text.and_then(|text| faults.text("remark", &text, REMARK_LENGTH))),
            groups: faults
                .not_null("groups", self.groups)
                .map(|groups| faults.groups("groups", &groups)),
            models: faults
                .not_null("models", self.models)
                .map(|models| faults.models("models", &models)),
        }
    }
}

fn overlay(new: &mut NewChannel, patch: ChannelPatch) {
    fn put<T>(place: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *place = value;
        }
    }
    put(&mut new.base_url, patch.base_url);
    put(&mut new.priority, patch.priority);
    put(&mut new.weight, patch.weight);
    put(&mut new.tag, patch.tag);
    put(&mut new.key_mode, patch.key_mode);
    put(&mut new.model_mapping, patch.model_mapping);
    put(&mut new.header_override, patch.header_override);
    put(&mut new.param_override, patch.param_override);
    put(&mut new.settings, patch.settings);
    put(&mut new.test_model, patch.test_model);
    put(&mut new.auto_disable, patch.auto_disable);
    put(&mut new.remark, patch.remark);
    put(&mut new.groups, patch.groups);
    put(&mut new.models, patch.models);
}

fn product(faults: &mut Faults, groups: usize, models: usize) {
    if groups.saturating_mul(models) > ABILITIES {
        faults.add(
            "models",
            format!("groups times models must be at most {ABILITIES}"),
        );
    }
}

fn known_provider(faults: &mut Faults, name: &str) -> Option<String> {
    let name = name.trim();
    if let Some(provider) = providers::provider(name) {
        return Some(provider.name.to_owned());
    }
    let names: Vec<_> = providers::all().map(|provider| provider.name).collect();
    faults.add("provider", format!("must be one of {}", names.join(", ")));
    None
}

/// A key as it goes into a header.
pub fn secret(faults: &mut Faults, field: impl Display, key: &str) -> Option<Secret> {
    let key = key.trim();
    let message = if key.is_empty() {
        "must not be empty".to_owned()
    } else if key.len() > SECRET_LENGTH {
        format!("must have at most {SECRET_LENGTH} characters")
    } else if !key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        "must have only printable ASCII characters, as it is sent in a header".to_owned()
    } else {
        return Some(Secret::new(key));
    };
    faults.add(field, message);
    None
}

fn base_url(faults: &mut Faults, field: impl Display, url: &str) -> Option<String> {
    let url = url.trim();
    if url.len() > URL_LENGTH {
        faults.add(field, format!("must have at most {URL_LENGTH} characters"));
    } else if let Err(bad) = upstream_url::check_base_url(url) {
        faults.add(field, bad.to_string());
    } else {
        return Some(url.to_owned());
    }
    None
}

fn model_mapping(faults: &mut Faults, mapping: BTreeMap<String, String>) -> BTreeMap<String, String> {
    if mapping.len() > MAPPINGS {
        faults.add("model_mapping", format!("must have at most {MAPPINGS} entries"));
        return BTreeMap::new();
    }
    let mut checked = BTreeMap::new();
    for (from, to) in mapping {
        let from = faults.name("model_mapping", &from, NAME_LENGTH);
        let Some(from) = from else { continue };
        if let Some(to) = faults.name(format_args!("model_mapping.{from}"), &to, NAME_LENGTH) {
            checked.insert(from, to);
        }
    }
    checked
}

fn header_override(
    faults: &mut Faults,
    headers: BTreeMap<String, Option<String>>,
) -> BTreeMap<String, Option<String>> {
    if headers.len() > HEADERS {
        faults.add("header_override", format!("must have at most {HEADERS} entries"));
        return BTreeMap::new();
    }
    let mut seen = std::collections::HashSet::new();
    for (name, value) in &headers {
        let field = format!("header_override.{name}");
        let one = Map::from_iter([(name.clone(), Value::from(value.clone()))]);
        if let Err(bad) = headers::check_header_override(&one) {
            faults.add(field, bad.to_string());
        } else if !seen.insert(name.to_ascii_lowercase()) {
            faults.add(
                field,
                "is given twice: letters' case makes no difference in a header's name",
            );
        }
    }
    headers
}

fn param_override(faults: &mut Faults, params: Map<String, Value>) -> Map<String, Value> {
    let params = Value::Object(params);
    faults.json("param_override", &params, PARAMS_BYTES);
    match params {
        Value::Object(params) => params,
        _ => Map::new(),
    }
}

fn settings(faults: &mut Faults, mut settings: Settings) -> Settings {
    timeouts(faults, "settings.timeouts", &settings.timeouts);
    if let Some(proxy) = settings.proxy.take() {
        settings.proxy = proxy_url(faults, &proxy);
    }
    if let Some(most) = settings.max_in_flight {
        faults.whole("settings.max_in_flight", most.into(), 1..=IN_FLIGHT);
    }
    if let Some(protocols) = &mut settings.protocols {
        protocols.sort_unstable();
        protocols.dedup();
        if protocols.is_empty() {
            faults.add("settings.protocols", "must name a protocol, or be left out");
        }
    }
    for (protocol, url) in &mut settings.base_urls {
        let field = format!("settings.base_urls.{}", protocol.word());
        if let Some(checked) = base_url(faults, field, url) {
            *url = checked;
        }
    }
    if let Some(version) = &mut settings.api_version {
        *version = version.trim().to_owned();
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if !(1..=64).contains(&version.len()) || !version.chars().all(fits) {
            faults.add("settings.api_version", "must be a version such as 2024-10-21");
        }
    }
    settings
}

/// Of a channel's or a model's settings.
pub fn timeouts(faults: &mut Faults, field: &str, timeouts: &Timeouts) {
    let Timeouts {
        connect,
        first_byte,
        first_token,
        idle_before_text,
        idle,
        total,
    } = timeouts;
    for (name, seconds) in [
        ("connect", connect),
        ("first_byte", first_byte),
        ("first_token", first_token),
        ("idle_before_text", idle_before_text),
        ("idle", idle),
        ("total", total),
    ] {
        if seconds.is_some_and(|seconds| !(seconds > 0.0 && seconds <= LONGEST_TIMEOUT)) {
            faults.add(
                format_args!("{field}.{name}"),
                "must be more than 0 and at most 86400 seconds",
            );
        }
    }
}

fn proxy_url(faults: &mut Faults, text: &str) -> Option<String> {
    let text = text.trim();
    let url = Url::parse(text).ok();
    let fits = |url: &Url| {
        matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h")
            && url.has_host()
            && text.len() <= URL_LENGTH
    };
    if url.as_ref().is_some_and(fits) && text.contains("://") {
        return Some(text.to_owned());
    }
    faults.add(
        "settings.proxy",
        "must be a URL that begins with http://, https://, socks5:// or socks5h://",
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(fields: Value) -> ChannelBody {
        let mut all = json!({"name": "a", "provider": "openai"});
        all.as_object_mut()
            .expect("an object")
            .extend(fields.as_object().expect("an object").clone());
        serde_json::from_value(all).expect("fits")
    }

    fn faulty(fields: Value) -> Vec<String> {
        match body(fields).into_new() {
            Ok(_) => Vec::new(),
            Err(ApiError::Invalid(errors)) => errors.into_iter().map(|error| error.field).collect(),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_field_that_does_not_fit_is_named() {
        let check = |fields: Value, names: &[&str]| {
            let shown = fields.to_string();
            assert_eq!(faulty(fields), names, "{}", &shown[..shown.len().min(200)]);
        };
        check(json!({}), &[]);
        check(json!({"name": null, "provider": null}), &["name", "provider"]);
        check(json!({"name": "  "}), &["name"]);
        check(json!({"name": "x".repeat(256)}), &["name"]);
        check(json!({"remark": "a\u{0}"}), &["remark"]);
        check(json!({"remark": "two\nlines"}), &[]);
        check(json!({"provider": "opnai"}), &["provider"]);
        check(json!({"provider": "custom"}), &["base_url"]);
        check(
            json!({"provider": "custom", "base_url": "https://x.test/v1"}),
            &[],
        );
        check(
            json!({"provider": "custom", "settings": {"base_urls": {"anthropic": "https://x.test"}}}),
            &[],
        );
        check(json!({"base_url": "x.test"}), &["base_url"]);
        check(json!({"base_url": "https://user:password@x.test"}), &["base_url"]);
        check(json!({"status": "auto_disabled"}), &["status"]);
        check(
            json!({"weight": -1, "priority": i64::MAX}),
            &["priority", "weight"],
        );
        check(json!({"weight": 1_000_001}), &["weight"]);
        check(json!({"weight": 0, "priority": -5}), &[]);
        check(
            json!({"keys": ["a", "", "ä", "x".repeat(5000)]}),
            &["keys[1]", "keys[2]", "keys[3]"],
        );
        check(
            json!({"groups": ["x".repeat(65)], "models": ["", "a\nb"]}),
            &["groups[0]", "models[0]", "models[1]"],
        );
        check(
            json!({"header_override": {"x y": "a", "X-A": "b\n"}}),
            &["header_override.X-A", "header_override.x y"],
        );
        check(
            json!({"header_override": {"X-A": "a", "x-a": null}}),
            &["header_override.x-a"],
        );
        check(
            json!({"param_override": {"a": {"b": "\u{0}"}}}),
            &["param_override"],
        );
        check(json!({"groups": ["vip"]}), &["groups"]);
        check(json!({"groups": ["vip"], "models": ["m"]}), &[]);
        check(json!({"model_mapping": {"a": ""}}), &["model_mapping.a"]);
        check(
            json!({"settings": {"timeouts": {"connect": 0, "idle": -1, "total": 600.5}}}),
            &["settings.timeouts.connect", "settings.timeouts.idle"],
        );
        check(
            json!({"settings": {"proxy": "ftp://x", "max_in_flight": 0, "protocols": [], "api_version": "a b"}}),
            &[
                "settings.proxy",
                "settings.max_in_flight",
                "settings.protocols",
                "settings.api_version",
            ],
        );
        check(
            json!({"settings": {"proxy": "socks5h://user:pw@127.0.0.1:1080"}}),
            &[],
        );
    }

    #[test]
    fn names_are_trimmed_and_doubles_folded() {
        let new = body(json!({"name": " a ", "models": ["m ", "m", " n"], "groups": null}))
            .into_new()
            .expect("fits");
        assert_eq!(new.name, "a");
        assert_eq!(
            new.models.iter().map(|m| m.as_str()).collect::<Vec<_>>(),
            ["m", "n"]
        );
        assert_eq!(new.groups, [GroupName::new("default")]);
    }

    fn view() -> ChannelView {
        ChannelView {
            id: crate::routing::ids::ChannelId(1),
            name: Some("a".to_owned()),
            provider: Some("custom".to_owned()),
            base_url: Some("https://x.test".to_owned()),
            status: Some(Status::Enabled),
            status_reason: None,
            status_changed_at: 0,
            priority: Some(0),
            weight: Some(1),
            tag: None,
            key_mode: Some(KeyMode::Random),
            model_mapping: json!({}),
            header_override: json!({}),
            param_override: json!({}),
            settings: json!({}),
            test_model: None,
            auto_disable: Some(true),
            remark: None,
            tested_at: None,
            response_ms: None,
            created_at: 0,
            updated_at: 0,
            groups: Vec::new(),
            models: Vec::new(),
            keys: Default::default(),
            faults: Vec::new(),
        }
    }

    #[test]
    fn a_change_tells_null_from_absent() {
        let patch = |fields: Value| {
            let body: ChannelBody = serde_json::from_value(fields).expect("fits");
            body.into_patch(&view())
        };
        let cleared = patch(json!({"tag": null, "settings": null, "remark": " "})).expect("fits");
        assert_eq!(
            (cleared.tag, cleared.settings, cleared.remark),
            (Some(None), Some(Settings::default()), Some(None))
        );
        let untouched = patch(json!({})).expect("fits");
        assert!(untouched.tag.is_none() && untouched.settings.is_none() && untouched.groups.is_none());
        let check = |fields: Value, names: &[&str]| match patch(fields) {
            Err(ApiError::Invalid(errors)) => {
                assert_eq!(
                    errors
                        .iter()
                        .map(|error| error.field.as_str())
                        .collect::<Vec<_>>(),
                    names
                );
            }
            other => panic!("{other:?}"),
        };
        check(
            json!({"name": null, "weight": null, "models": null}),
            &["name", "weight", "models"],
        );
        check(json!({"status": "enabled", "keys": []}), &["status", "keys"]);
        check(json!({"base_url": null}), &["base_url"]);
        assert!(patch(json!({"base_url": null, "provider": "openai"})).is_ok());
    }
}
