use super::*;
use crate::routing::rows::Status::{AutoDisabled, Disabled, Enabled};
use crate::routing::rows::{KeySpec, Secret, Status};
use crate::routing::stage::{Rows, draft, snapshot};

/// `None` cannot be read.
type Read<T> = Option<T>;

fn read<T>(column: &str, value: Read<T>) -> Result<T, RowFault> {
    value.ok_or_else(|| RowFault::new(column, "expected another"))
}

/// Channel 1, but for its keys.
fn channel(readable: bool, status: Read<Status>) -> Rows {
    Rows {
        status,
        readable,
        keys: Vec::new(),
        ..Rows::new(1)
    }
}

/// Keys by status and secret; the first is number 1.
fn with_keys(rows: &Rows, keys: &[(Read<Status>, Read<&str>)]) -> Draft {
    let mut draft = draft([rows]);
    for ((status, secret), id) in keys.iter().zip(1..) {
        let spec = |secret: &str| KeySpec {
            secret: Secret::new(secret),
            hint: "hint".into(),
        };
        draft.key(KeyRow {
            id: KeyId(id),
            channel: ChannelId(1),
            status: read("status", *status),
            status_changed_at: 0,
            key: read("secret", *secret).map(spec),
        });
    }
    draft
}

fn named(snapshot: &Snapshot) -> Vec<(i64, String, bool)> {
    let columns = |named: &Quarantined| {
        let columns: Vec<_> = named.faults.iter().map(|fault| fault.column.as_str()).collect();
        columns.join(" ")
    };
    let named = snapshot.quarantined().iter();
    named
        .map(|named| (named.channel.0, columns(named), named.last_good))
        .collect()
}

#[test]
fn r7_what_cannot_be_read_may_be_open_unless_something_else_closes_it() {
    const GOOD: (Read<Status>, Read<&str>) = (Some(Enabled), Some("sk-1"));
    const NO_SECRET: (Read<Status>, Read<&str>) = (Some(Enabled), None);
    const NO_STATUS: (Read<Status>, Read<&str>) = (None, Some("sk-1"));
    const CLOSED: (Read<Status>, Read<&str>) = (Some(Disabled), None);
    let check = |rows: &Rows, keys: &[(Read<Status>, Read<&str>)], is_open: bool, maybe_open: bool| {
        let nothing = Snapshot::default();
        let doubt = with_keys(rows, keys).doubt(&nothing).maybe_open;
        let built = with_keys(rows, keys).snapshot(&nothing, Generation(1), Moment(1));
        let seen = (built.shows_open(ChannelId(1), "g", "m"), doubt);
        assert_eq!(
            seen,
            (is_open, maybe_open),
            "{:?} {:?} {keys:?}",
            rows.status,
            rows.readable
        );
    };
    let (well, no_spec) = (channel(true, Some(Enabled)), channel(false, Some(Enabled)));
    check(&well, &[GOOD], true, false);
    check(&well, &[], false, false);
    check(&well, &[CLOSED], false, false);
    for unsure in [NO_SECRET, NO_STATUS] {
        check(&well, &[unsure], false, true);
        check(&well, &[unsure, CLOSED], false, true);
        check(&well, &[GOOD, unsure], true, false);
        check(&channel(true, Some(AutoDisabled)), &[unsure], false, false);
    }
    check(&no_spec, &[GOOD], false, true);
    check(&channel(false, Some(Disabled)), &[GOOD], false, false);
    check(&channel(true, None), &[GOOD], false, true);
    let bad_weight = Rows {
        bad_ability: Some(0),
        ..channel(true, Some(Enabled))
    };
    check(&bad_weight, &[GOOD], false, true);
    check(&bad_weight, &[CLOSED], false, false);
    let mut held = bad_weight.clone();
    held.abilities[0].3 = true;
    check(&held, &[GOOD], false, false);
}

#[test]
fn r7_what_was_good_last_serves_on() {
    let mut good = Rows::new(1).serves(&[("g", "m"), ("g", "n")]);
    good.overrides = [(0, (Some(7), Some(3)))].into();
    let base = snapshot(&[good.clone(), Rows::new(2)], 1);
    let bad = Rows {
        bad_ability: Some(0),
        ..good.clone()
    };
    // The other channel comes first now, so that nothing is where it was.
    let again = draft([&Rows::new(2), &bad]);
    assert!(!again.doubt(&base).maybe_open);
    let built = again.snapshot(&base, Generation(2), Moment(2));
    let candidate = |channel: i64| built.open_ability(ChannelId(channel), "g", "m");
    let first = candidate(1).expect("its last good ability");
    assert_eq!((first.priority, first.weight), (7, 3));
    assert_ne!(candidate(2).expect("the other").slot, first.slot);
    assert_eq!(named(&built), [(1, "weight".to_owned(), true)]);

    let known = with_keys(
        &channel(true, Some(Enabled)),
        &[(Some(Enabled), Some("sk-1")), (Some(Enabled), Some("sk-2"))],
    );
    let base = known.snapshot(&Snapshot::default(), Generation(1), Moment(1));
    let rotten = with_keys(
        &channel(false, Some(Enabled)),
        &[(Some(Enabled), Some("sk-1")), (Some(Enabled), None)],
    );
    let built = rotten.snapshot(&base, Generation(2), Moment(2));
    let secrets: Vec<_> = built
        .channel(ChannelId(1))
        .expect("its last good definition")
        .keys
        .iter()
        .map(|key| key.spec.secret.reveal())
        .collect();
    assert_eq!(secrets, ["sk-1", "sk-2"], "each key's own");
    assert_eq!(named(&built), [(1, "settings secret".to_owned(), true)]);
}

#[test]
fn r7_every_fault_is_named_once_and_one_that_nothing_stands_in_for_counts() {
    let rotten = with_keys(
        &channel(true, None),
        &[(None, Some("sk-1")), (Some(Enabled), None), (None, None)],
    );
    let built = rotten.snapshot(&Snapshot::default(), Generation(1), Moment(1));
    // The channel's status, its keys', and a secret.
    assert_eq!(named(&built), [(1, "status status secret".to_owned(), false)]);
}

#[test]
fn r7_a_patch_forgets_the_faults_of_what_it_reads_and_keeps_the_others() {
    let bad = |id| Rows {
        bad_ability: Some(0),
        ..Rows::new(id)
    };
    let base = snapshot(&[bad(1), bad(2)], 1);
    assert_eq!(named(&base).len(), 2);
    let patched = draft([&Rows::new(1)]).patch(&base, [ChannelId(1)], Generation(2), Moment(2));
    assert_eq!(named(&patched), [(2, "weight".to_owned(), false)]);
}

#[test]
fn r7_a_channel_is_left_out_only_where_it_has_abilities() {
    let unreadable = |abilities: &[(&str, &str)]| Rows {
        readable: false,
        ..Rows::new(1).serves(abilities)
    };
    for (abilities, left_out) in [(&[][..], false), (&[("g", "m")][..], true)] {
        let rows = unreadable(abilities);
        let built = draft([&rows]).snapshot(&Snapshot::default(), Generation(1), Moment(1));
        let patched = draft([&rows]).patch(&Snapshot::default(), [ChannelId(1)], Generation(1), Moment(1));
        let seen = [built, patched].map(|snapshot| snapshot.left_out(ChannelId(1)));
        assert_eq!(seen, [left_out; 2], "{abilities:?}");
    }
}
