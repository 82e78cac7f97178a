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

/// A number in (0, 1) from the upper 53 bits of a hash.
fn unit(hash: u64) -> f64 {
    ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64
}
