//! What must hold after every step. It knows what was committed and when, what each node has been told, and what
//! each lease has reported; of the router it looks only at answers and at installed snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pointsman::routing::closings::Closed;
use pointsman::routing::health::{HealthState, LeaseId};
use pointsman::routing::ids::{Generation, ModelName, Moment};
use pointsman::routing::outcome::Outcome;
use pointsman::routing::rebuilds::Scope;
use pointsman::routing::router::Router;
use pointsman::routing::snapshot::Snapshot;

use crate::node::{BuildAsker, PROBE_TIMEOUT, Tick};
use crate::world::{Database, GROUPS, MODELS, Version};

/// R13: nothing is believed for longer.
pub const LONGEST_BELIEF: Duration = Duration::from_secs(600);
/// After this long no failure can have left anything: a cooling of ten minutes, and ten more for its staleness.
const FORGIVEN_AFTER: Duration = Duration::from_secs(1300);

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Fault {
    pub rule: &'static str,
    pub words: String,
}

pub type Verdict = Result<(), Fault>;

pub fn fault(rule: &'static str, words: impl Into<String>) -> Verdict {
    Err(Fault {
        rule,
        words: words.into(),
    })
}

/// What one node has been told and has done.
#[derive(Default)]
pub struct Seen {
    /// Channels, and the version at which the installed snapshot has read them, if nothing was closed there since.
    pub knows: BTreeMap<i64, Version>,
    /// As `knows`, whatever was closed since.
    pub read: BTreeMap<i64, Version>,
    installed: Option<(Moment, Version)>,
    /// What the last build of everything has read, and builds of single channels after it.
    read_whole: Version,
    read_of: BTreeMap<i64, Version>,
    /// Channels that a build was asked for, and what it has to have read.
    owed: BTreeMap<i64, Version>,
    generation: Generation,
    /// What the snapshot in place showed when it was installed.
    showed: Vec<(i64, usize, usize)>,
    pub closings: Vec<KnownClosing>,
    last_close: BTreeMap<i64, Moment>,
    /// When the last closing of something of the channel was taken note of.
    closed_at: BTreeMap<i64, Tick>,
    blamed: BTreeMap<i64, Instant>,
    /// Channel, and the version under which the lease that blamed it was granted.
    blamed_as: Vec<(i64, Instant, Version)>,
    pub words: Vec<Word>,
    pub leases: BTreeMap<LeaseId, LeaseNote>,
    healed: BTreeMap<i64, Tick>,
    /// When an installed snapshot showed another channel or other keys than the one before.
    renewed: BTreeMap<i64, Tick>,
    miss_rebuilt: Option<Instant>,
}

pub struct KnownClosing {
    pub closed: Closed,
    /// Of its commit.
    pub version: Version,
}

/// A provider's word.
pub struct Word {
    pub channel: i64,
    pub key: Option<i64>,
    pub model: ModelName,
    pub until: Instant,
    /// Of the rows under which the lease was granted.
    pub version: Version,
    /// When that lease was granted.
    pub heard: Tick,
}

pub struct LeaseNote {
    pub channel: i64,
    pub key: Option<i64>,
    pub model: ModelName,
    pub version: Version,
    pub granted: Tick,
    pub granted_at: Instant,
    /// It probes, and has neither spoken nor reported.
    pub probes: bool,
}

impl Seen {
    // ---- what is told ----

    /// Closings whose commit was answered, or (no version) may have been done.
    pub fn closes(&mut self, closed: &[Closed], version: Option<Version>, at: Moment, tick: Tick) {
        for closed in closed {
            let channel = closed.channel().0;
            self.knows.remove(&channel);
            let last = self.last_close.entry(channel).or_default();
            *last = at.max(*last);
            self.closed_at.insert(channel, tick);
            if let Some(version) = version {
                self.closings.push(KnownClosing {
                    closed: closed.clone(),
                    version,
                });
            }
        }
    }

    pub fn grants(&mut self, lease: LeaseId, note: LeaseNote) {
        self.leases.insert(lease, note);
    }

    pub fn first_event(&mut self, lease: LeaseId, tick: Tick) {
        if let Some(note) = self.leases.get_mut(&lease) {
            note.probes = false;
            self.healed.insert(note.channel, tick);
        }
    }

    pub fn reports(&mut self, lease: LeaseId, outcome: &Outcome, now: Instant, tick: Tick) {
        let Some(note) = self.leases.remove(&lease) else {
            return;
        };
        self.healed.insert(note.channel, tick);
        if !matches!(outcome, Outcome::Ok | Outcome::Gone) {
            self.blamed.insert(note.channel, now);
            self.blamed_as.retain(|(_, at, _)| *at + FORGIVEN_AFTER > now);
            self.blamed_as.push((note.channel, now, note.version));
        }
        if let Some((wait, _)) = outcome.provider_word() {
            self.words.retain(|word| word.until > now);
            self.words.push(Word {
                channel: note.channel,
                key: note.key,
                model: note.model,
                until: now + wait.min(LONGEST_BELIEF),
                version: note.version,
                heard: note.granted,
            });
        }
    }

    /// Nothing that a lease of this node has reported can speak against the channel.
    pub fn is_blameless(&self, channel: i64, now: Instant) -> bool {
        self.blamed
            .get(&channel)
            .is_none_or(|at| *at + FORGIVEN_AFTER < now)
    }

    pub fn in_flight(&self, channel: i64) -> u32 {
        self.leases
            .values()
            .filter(|note| note.channel == channel)
            .count() as u32
    }

    pub fn is_barred_by_word(&self, channel: i64, now: Instant) -> bool {
        self.words
            .iter()
            .any(|word| word.channel == channel && word.until > now)
    }

    /// The leases that probe something of this channel and whose claim has not run out.
    pub fn probes(&self, channel: i64, now: Instant) -> impl Iterator<Item = &LeaseNote> {
        self.leases.values().filter(move |note| {
            note.channel == channel && note.probes && note.granted_at + PROBE_TIMEOUT > now
        })
    }

    /// A closing makes the node forget what a key has shown, also one whose commit was told of late.
    pub fn is_closed_since(&self, channel: i64, tick: Tick) -> bool {
        self.closed_at.get(&channel).is_some_and(|at| *at >= tick)
    }

    /// Whatever is held against the channel was learnt of its rows as they are since that version.
    pub fn is_blamed_only_since(&self, channel: i64, version: Version) -> bool {
        self.blamed_as
            .iter()
            .all(|(blamed, _, read)| *blamed != channel || *read >= version)
    }

    /// Nobody has shown life there since then, so that only its report ends what a probe claims.
    pub fn is_unhealed_since(&self, channel: i64, tick: Tick, now: Instant) -> bool {
        let is_fresh = self
            .blamed
            .get(&channel)
            .is_some_and(|at| *at + LONGEST_BELIEF / 2 > now);
        let since = |at: Option<&Tick>| at.is_some_and(|at| *at >= tick);
        is_fresh && !since(self.healed.get(&channel)) && !since(self.renewed.get(&channel))
    }

    // ---- builds ----

    /// R5: one at a time; R6 and R7: what is installed is what was read, and harms nothing else.
    pub fn installs(
        &mut self,
        database: &Database,
        scope: &Scope,
        (version, began): (Version, Moment),
        (old, new): (&Arc<Snapshot>, &Arc<Snapshot>),
        tick: Tick,
    ) -> Verdict {
        self.shows_what_was_installed(old)?;
        if let Some((before, read)) = self.installed
            && (before >= began || read > version)
        {
            return fault(
                "R5",
                format!("a build that read v{version} has replaced a newer one, of v{read}"),
            );
        }
        if new.generation() <= self.generation {
            return fault("R5", "the generation does not grow");
        }
        self.installed = Some((began, version));
        self.generation = new.generation();
        self.showed = shown(new);
        self.notes_renewed(old, new, tick);
        self.notes_read(database, scope, version, began);
        shows_what_was_read(database, scope, version, old, new)
    }

    /// R8: nobody changes the snapshot under those who pick from it.
    pub fn shows_what_was_installed(&self, snapshot: &Snapshot) -> Verdict {
        if snapshot.generation() == self.generation && shown(snapshot) == self.showed {
            return Ok(());
        }
        fault(
            "R8",
            "the snapshot in place was changed under those who picked from it",
        )
    }

    fn notes_renewed(&mut self, old: &Snapshot, new: &Snapshot, tick: Tick) {
        for channel in old.channels().chain(new.channels()) {
            let self_of = |snapshot: &Snapshot| {
                let channel = snapshot.channel(channel.id)?;
                let keys = channel
                    .keys
                    .iter()
                    .map(|key| (key.id, key.status_changed_at, key.spec.secret.clone()));
                Some((channel.status_changed_at, keys.collect::<Vec<_>>()))
            };
            if self_of(old) != self_of(new) {
                self.renewed.insert(channel.id.0, tick);
            }
        }
    }

    fn notes_read(&mut self, database: &Database, scope: &Scope, version: Version, began: Moment) {
        match scope {
            Scope::Everything => self.read_whole = version,
            Scope::Channels(ids) => self.read_of.extend(ids.iter().map(|id| (id.0, version))),
        }
        let covers = |channel: i64| scope.covers(pointsman::routing::ids::ChannelId(channel));
        self.knows.retain(|channel, _| !covers(*channel));
        self.read.retain(|channel, _| !covers(*channel));
        for channel in database
            .at(version)
            .channels
            .keys()
            .copied()
            .filter(|channel| covers(*channel))
        {
            self.read.insert(channel, version);
            if self.last_close.get(&channel).is_none_or(|at| *at < began) {
                self.knows.insert(channel, version);
            }
        }
    }

    /// Someone has asked for a build of these.
    pub fn owes(&mut self, channels: &[i64], version: Version) {
        self.owed
            .extend(channels.iter().map(|channel| (*channel, version)));
    }

    /// R6: a build that failed is tried again, until what was asked for is built.
    pub fn owes_nothing(&mut self) -> Verdict {
        for (channel, version) in std::mem::take(&mut self.owed) {
            if self.last_read(channel) < version {
                return fault(
                    "R6",
                    format!("channel {channel} was never read at v{version} or later"),
                );
            }
        }
        Ok(())
    }

    /// The version at which an installed build has read the channel last, whether it had a row or not.
    fn last_read(&self, channel: i64) -> Version {
        let read = self.read_of.get(&channel).copied();
        read.unwrap_or_default().max(self.read_whole)
    }

    /// R6: a build that failed leaves what was there.
    pub fn build_failed(&self, before: Generation, router: &Router) -> Verdict {
        let now = router.snapshot();
        if now.generation() != before || shown(now) != self.showed {
            return fault("R6", "a build that failed has changed the snapshot");
        }
        Ok(())
    }

    /// R5: each waiter's answer is of a build that began after it asked.
    pub fn build_answers(&self, asker: BuildAsker, began_at: Tick) -> Verdict {
        if began_at < asker.asked {
            return fault(
                "R5",
                "a waiter was answered by a build that began before it asked",
            );
        }
        Ok(())
    }

    /// R10: a change that is in place is in the snapshot.
    pub fn is_in_place(&self, touched: &[i64], version: Version) -> Verdict {
        let is_old = |channel: &&i64| self.last_read(**channel) < version;
        match touched.iter().find(is_old) {
            None => Ok(()),
            Some(channel) => fault(
                "R10",
                format!("v{version} is told to be in place, and channel {channel} was not read since"),
            ),
        }
    }

    /// R3: misses ask for a rebuild at most once a second.
    pub fn miss_rebuilds(&mut self, now: Instant) -> Verdict {
        let too_soon = self
            .miss_rebuilt
            .is_some_and(|at| now < at + Duration::from_secs(1));
        self.miss_rebuilt = Some(now);
        if too_soon {
            fault("R3", "misses asked for two rebuilds within a second")
        } else {
            Ok(())
        }
    }

    /// R13: no cooling is believed for longer than ten minutes, and no lease is lost count of.
    pub fn health_is_sane(&self, router: &Router, now: Instant) -> Verdict {
        for view in router.unwell(now) {
            let cools = matches!(view.state, HealthState::Cooling | HealthState::Barred);
            if cools && Duration::from_millis(view.cooling_ms) > LONGEST_BELIEF {
                return fault("R13", format!("{view:?} is believed for more than ten minutes"));
            }
        }
        if router.leases() != self.leases.len() {
            return fault(
                "R13",
                format!(
                    "{} leases are out, {} are counted",
                    self.leases.len(),
                    router.leases()
                ),
            );
        }
        Ok(())
    }
}

/// Every (channel, group, model) that the snapshot shows open.
pub fn shown(snapshot: &Snapshot) -> Vec<(i64, usize, usize)> {
    let mut shown = Vec::new();
    for (group, group_name) in GROUPS.iter().enumerate() {
        for (model, model_name) in MODELS.iter().enumerate() {
            for channel in snapshot.open_channels(group_name.as_str(), model_name.as_str()) {
                shown.push((channel.0, group, model));
            }
        }
    }
    shown.sort_unstable();
    shown
}

/// R1, R7: a covered channel is as its rows say, with its last good definition where they are bad; every other one is
/// as it was.
pub fn shows_what_was_read(
    database: &Database,
    scope: &Scope,
    version: Version,
    old: &Snapshot,
    new: &Snapshot,
) -> Verdict {
    let world = database.at(version);
    let before = old.channels().map(|channel| channel.id.0);
    let mut ids: Vec<i64> = world.channels.keys().copied().chain(before).collect();
    ids.sort_unstable();
    ids.dedup();
    for id in ids {
        let channel = pointsman::routing::ids::ChannelId(id);
        let rows = if scope.covers(channel) {
            world.channel(id)
        } else {
            for (group, model) in places() {
                let (group, model) = (GROUPS[group].as_str(), MODELS[model].as_str());
                if old.shows_open(channel, group, model) != new.shows_open(channel, group, model) {
                    return fault("R7", format!("a build of {scope:?} has changed channel {id}"));
                }
            }
            continue;
        };
        check::channel(rows, channel, version, old, new)?;
    }
    Ok(())
}

fn places() -> impl Iterator<Item = (usize, usize)> {
    (0..GROUPS.len()).flat_map(|group| (0..MODELS.len()).map(move |model| (group, model)))
}

mod check {
    use pointsman::routing::ids::ChannelId;
    use pointsman::routing::snapshot::Snapshot;

    use super::{GROUPS, MODELS, Verdict, Version, fault, places};
    use crate::truth::Truth;
    use crate::world::{AbilityRows, ChannelRows, KeyRows};

    /// One channel of a build's scope against the rows that it read.
    pub fn channel(
        rows: Option<&ChannelRows>,
        id: ChannelId,
        version: Version,
        old: &Snapshot,
        new: &Snapshot,
    ) -> Verdict {
        let known = new.channel(id);
        let Some(rows) = rows else {
            return match known {
                None => Ok(()),
                Some(_) => fault(
                    "R1",
                    format!("channel {id} had no row at v{version} and is in the snapshot"),
                ),
            };
        };
        let has_last_good = old.channel(id).is_some();
        if known.is_some() != (!rows.bad_spec || has_last_good) {
            return fault("R7", format!("channel {id} of v{version} is missing, or made up"));
        }
        let is_named = new
            .quarantined()
            .iter()
            .any(|quarantined| quarantined.channel == id);
        let is_bad_key = |key: &KeyRows| key.truth() == Truth::Maybe;
        let should_be_named = rows.bad_spec
            || rows.bad_status
            || rows.abilities.values().any(AbilityRows::has_rot)
            || rows.keys.iter().any(is_bad_key);
        if should_be_named != is_named {
            return fault(
                "R7",
                format!(
                    "channel {id} {} a bad row at v{version} and {} named",
                    if should_be_named { "has" } else { "has not" },
                    if is_named { "is" } else { "is not" }
                ),
            );
        }
        for key in &rows.keys {
            let shown = known.map(|known| known.keys.iter().any(|shown| shown.id.0 == key.id));
            let expected = match key.truth() {
                Truth::Open => Some(true),
                Truth::Closed => Some(false),
                Truth::Maybe if key.bad_status => Some(false),
                Truth::Maybe => None,
            };
            if let (Some(shown), Some(expected)) = (shown, expected)
                && shown != expected
            {
                return fault(
                    "R1",
                    format!("key {} of channel {id} is not as v{version} has it", key.id),
                );
            }
        }
        places().try_for_each(|place| ability(rows, place, id, version, old, new))
    }

    fn ability(
        rows: &ChannelRows,
        place: (usize, usize),
        id: ChannelId,
        version: Version,
        old: &Snapshot,
        new: &Snapshot,
    ) -> Verdict {
        let (group, model) = (GROUPS[place.0].as_str(), MODELS[place.1].as_str());
        let shown = new.shows_open(id, group, model);
        let was = old.shows_open(id, group, model);
        let expected = match rows.truth(place) {
            Some(Truth::Open) => Some(true),
            None | Some(Truth::Closed) => Some(false),
            Some(Truth::Maybe) if rows.bad_status => Some(false),
            Some(Truth::Maybe) => {
                let serves = !rows.spec.needs_key || rows.keys.iter().any(|key| key.truth() == Truth::Open);
                let row = rows.abilities.get(&place);
                let has_last_good = old.channel(id).is_some();
                match (row.is_some_and(AbilityRows::has_rot), rows.bad_spec) {
                    // Flags always hold: without them nothing is open, whatever was last good.
                    _ if row.is_some_and(|row| row.bad_enabled || row.bad_held) => Some(false),
                    (false, true) if serves => Some(has_last_good),
                    (true, false) if serves => Some(was),
                    _ => None,
                }
            }
        };
        match expected {
            Some(expected) if expected != shown => fault(
                if rows.has_rot() { "R7" } else { "R1" },
                format!(
                    "channel {id} is {} for {group}/{model} in the snapshot, and not at v{version}",
                    if shown { "open" } else { "closed" }
                ),
            ),
            _ => Ok(()),
        }
    }

    impl KeyRows {
        pub fn is_open(&self) -> bool {
            self.truth() == Truth::Open
        }
    }
}
