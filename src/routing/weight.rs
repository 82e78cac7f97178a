//! One choice by weight, among those of a tier that may be used now.
//!
//! The rule (R2): a channel is drawn in proportion to its weight. One of weight 0 is a standby, drawn only
//! when the tier has nothing else left; standbys among themselves are drawn evenly.

use rand::{Rng, RngExt};

use super::ids::{ChannelId, KeyId};
use super::route::Tier;

/// After so many draws that fell on unusable channels the tier is scanned instead. Rejection keeps a draw
/// at O(log n) while most of a tier is usable and does not change the distribution.
const DRAWS_BEFORE_SCAN: usize = 4;

/// Draws the index of a channel of `tier` for which `usable` holds, or none if there is none.
pub fn draw(tier: Tier<'_>, mut usable: impl FnMut(usize) -> bool, rng: &mut impl Rng) -> Option<usize> {
    let total = tier.total_weight();
    if total > 0 {
        for _ in 0..DRAWS_BEFORE_SCAN {
            let index = tier.at(rng.random_range(0..total));
            if usable(index) {
                return Some(index);
            }
        }
    }
    let left: Vec<(usize, u64)> = (0..tier.slots.len())
        .filter(|index| usable(*index))
        .map(|index| (index, u64::from(tier.weight(index))))
        .collect();
    let total: u64 = left.iter().map(|(_, weight)| weight).sum();
    if left.is_empty() {
        return None;
    }
    if total == 0 {
        return Some(left[rng.random_range(0..left.len())].0);
    }
    let mut point = rng.random_range(0..total);
    left.iter()
        .find(|(_, weight)| match point.checked_sub(*weight) {
            Some(rest) => {
                point = rest;
                false
            }
            None => true,
        })
        .map(|(index, _)| *index)
}

/// Chooses as [`draw`] does over many conversations, but for one conversation always the same: weighted
/// rendezvous hashing. Each channel draws its own point from the conversation and its id; the lowest
/// `-ln(point) / weight` wins, so a channel that goes moves only its own conversations.
pub fn rendezvous(
    tier: Tier<'_>,
    conversation: u64,
    id: impl Fn(usize) -> ChannelId,
    mut usable: impl FnMut(usize) -> bool,
) -> Option<usize> {
    let mut best: Option<(bool, f64, usize)> = None;
    for index in 0..tier.slots.len() {
        let weight = tier.weight(index);
        let standby = weight == 0;
        let score = -unit(mix(conversation, id(index).0 as u64)).ln() / f64::from(weight.max(1));
        let better = best.is_none_or(|(was_standby, lowest, _)| (standby, score) < (was_standby, lowest));
        if better && usable(index) {
            best = Some((standby, score, index));
        }
    }
    best.map(|(_, _, index)| index)
}

/// The key on which a conversation falls: all keys of a channel weigh the same.
pub fn rendezvous_key(conversation: u64, keys: impl Iterator<Item = KeyId>) -> Option<KeyId> {
    keys.max_by_key(|key| mix(conversation, !(key.0 as u64)))
}

/// A well mixed 64-bit hash of two numbers: the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.rotate_left(32) ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for _ in 0..2 {
        z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
    }
    z
}

/// A number in (0, 1) from the upper 52 bits of a hash: with one more, the half would round the greatest up to 1.
fn unit(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::stage::{snapshot, tiers};

    /// Which channel each of many conversations gets, and which of keys of the same numbers, in all pairs.
    fn pairs(picture: &str) -> Vec<(i64, i64, usize)> {
        let snapshot = snapshot(&tiers(picture), 1);
        let route = snapshot.route("g", "m").expect("a route");
        let tier = route.tiers().next().expect("a tier");
        let mut counts = std::collections::BTreeMap::new();
        for conversation in 0..4_000 {
            let id = |index: usize| ChannelId(index as i64 + 1);
            let index = rendezvous(tier, mix(conversation, 0), id, |_| true).expect("a channel");
            let keys = (1..=2).map(KeyId);
            let key = rendezvous_key(mix(conversation, 0), keys).expect("a key");
            *counts.entry((id(index).0, key.0)).or_insert(0) += 1;
        }
        counts
            .into_iter()
            .map(|((channel, key), count)| (channel, key, count))
            .collect()
    }

    #[test]
    fn r2_keys_are_chosen_whatever_the_channel_is() {
        let pairs = pairs("10: 1*1 2*1");
        assert_eq!(pairs.len(), 4, "{pairs:?}");
        for (.., count) in &pairs {
            assert!((900..1_100).contains(count), "{pairs:?}");
        }
    }

    #[test]
    fn r2_a_conversation_goes_to_a_standby_only_where_nothing_else_is_left() {
        let snapshot = snapshot(&tiers("10: 1*0 2*1"), 1);
        let tier = snapshot
            .route("g", "m")
            .and_then(|route| route.tiers().next())
            .expect("a tier");
        let standby = (0..2).find(|index| tier.weight(*index) == 0).expect("a standby");
        let id = |index: usize| ChannelId(index as i64 + 1);
        for conversation in 0..100 {
            let with = |usable: &dyn Fn(usize) -> bool| rendezvous(tier, conversation, id, usable);
            assert_eq!(with(&|_| true), Some(1 - standby));
            assert_eq!(with(&|index| index == standby), Some(standby));
            assert_eq!(with(&|_| false), None);
        }
    }

    /// A conversation that changes its channel with a new version loses its prompt cache, so these stay as they are.
    #[test]
    fn the_hash_is_the_same_in_every_version() {
        for (a, b, want) in [
            (0, 0, 0xa706_dd2f_4d19_7e6f),
            (1, 2, 0xc689_bb32_1ddc_0f61),
            (0xDEAD_BEEF_1234_5678, 7, 0xe0de_3ba9_d02f_6f8b),
            (u64::MAX, u64::MAX, 0x7f46_a57c_92db_ee5f),
        ] {
            assert_eq!(mix(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn a_unit_lies_between_its_ends() {
        assert!(unit(0) > 0.0 && unit(0) < 1e-15);
        assert!(unit(u64::MAX) < 1.0 && unit(u64::MAX) > 1.0 - 1e-15);
        assert!((unit(1 << 63) - 0.5).abs() < 1e-15);
    }
}
