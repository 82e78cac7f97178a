//! Who is on the way, and how much each still has to say.

use std::time::Instant;

use rustc_hash::FxHashMap;

use super::LeaseId;
use super::unwell::Part;
use crate::routing::ids::{ChannelId, KeyId, ModelName};

/// A place in the order of grants and reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Order(u64);

/// Leases that have not reported.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    order: Order,
    known: FxHashMap<LeaseId, Leased>,
    in_flight: FxHashMap<ChannelId, u32>,
}

#[derive(Clone, Debug)]
pub struct Leased {
    pub channel: ChannelId,
    pub key: Option<KeyId>,
    pub model: ModelName,
    pub granted: Order,
    pub granted_at: Instant,
    /// Its channel or key is gone: whatever it reports leaves no mark.
    pub is_deaf: bool,
    /// Parts whose cooling a lease granted later has ended: of these it has no news.
    outdated: Vec<Part>,
}

impl Leased {
    pub fn parts(&self) -> [Part; 4] {
        Part::touched(self.key, &self.model)
    }

    pub fn depends_on(&self, part: &Part) -> bool {
        part.touches(self.key, &self.model)
    }

    pub fn is_outdated(&self, part: &Part) -> bool {
        self.outdated.contains(part)
    }
}

impl Leases {
    /// A place in the order after every one before.
    pub fn next(&mut self) -> Order {
        self.order.0 += 1;
        self.order
    }

    pub fn add(
        &mut self,
        lease: LeaseId,
        channel: ChannelId,
        key: Option<KeyId>,
        model: &ModelName,
        now: Instant,
    ) {
        self.take(lease); // numbers are never used twice; if one were, its count would stay for ever
        *self.in_flight.entry(channel).or_insert(0) += 1;
        let leased = Leased {
            channel,
            key,
            model: model.clone(),
            granted: self.next(),
            granted_at: now,
            is_deaf: false,
            outdated: Vec::new(),
        };
        self.known.insert(lease, leased);
    }

    pub fn len(&self) -> usize {
        self.known.len()
    }

    pub fn get(&self, lease: LeaseId) -> Option<&Leased> {
        self.known.get(&lease)
    }

    /// Ends the lease and its count in flight.
    pub fn take(&mut self, lease: LeaseId) -> Option<Leased> {
        let leased = self.known.remove(&lease)?;
        if let Some(count) = self.in_flight.get_mut(&leased.channel) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(&leased.channel);
            }
        }
        Some(leased)
    }

    pub fn in_flight(&self, channel: ChannelId) -> u32 {
        self.in_flight.get(&channel).copied().unwrap_or(0)
    }

    /// A lease granted at `before` has ended the cooling of these parts: what was granted earlier has no
    /// news of them. Walks all leases, which is fine as recoveries are rare.
    pub fn outdate(&mut self, channel: ChannelId, before: Order, healed: &[Part]) {
        if healed.is_empty() {
            return;
        }
        let earlier = |leased: &&mut Leased| leased.channel == channel && leased.granted < before;
        for leased in self.known.values_mut().filter(earlier) {
            for part in healed {
                if leased.depends_on(part) && !leased.is_outdated(part) {
                    leased.outdated.push(part.clone());
                }
            }
        }
    }

    pub fn deafen(&mut self, mut gone: impl FnMut(&Leased) -> bool) {
        for leased in self.known.values_mut() {
            leased.is_deaf |= gone(leased);
        }
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.in_flight.is_empty()
    }
}
