//! The route of one (group, model): its open channels as tiers of falling priority.

use std::cmp::Reverse;
use std::iter::Peekable;
use std::ops::Range;

/// Where a channel stands in its snapshot.
pub type Slot = u32;

/// One open ability before it has its place in a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub slot: Slot,
    pub priority: i64,
    pub weight: u32,
}

/// All open abilities of one (group, model), and how many abilities there are, open or not.
///
/// Four bytes an open ability where all weigh the same, as nearly everywhere; else eight: its slot, and the running sum
/// of its tier's weights, so that a draw is a binary search however many channels a tier has.
#[derive(Clone, Debug, Default)]
pub struct Route {
    abilities: u32,
    tiers: Box<[TierEnd]>,
    /// Within a tier in ascending order.
    slots: Box<[Slot]>,
    weights: Weights,
}

#[derive(Clone, Copy, Debug)]
struct TierEnd {
    priority: i64,
    end: u32,
}

#[derive(Clone, Debug)]
enum Weights {
    /// All weigh this.
    Even(u32),
    /// Running sums, anew in each tier.
    Sums(Box<[u32]>),
    /// The same, where a tier weighs more than 32 bits hold.
    Heavy(Box<[u64]>),
}

impl Default for Weights {
    fn default() -> Self {
        Weights::Even(0)
    }
}

/// The channels of one priority.
#[derive(Clone, Copy, Debug)]
pub struct Tier<'a> {
    pub priority: i64,
    pub slots: &'a [Slot],
    weights: TierWeights<'a>,
}

#[derive(Clone, Copy, Debug)]
enum TierWeights<'a> {
    Even(u32),
    Sums(&'a [u32]),
    Heavy(&'a [u64]),
}

impl Route {
    /// Orders the candidates: higher priority first, then by slot, so that equal rows give equal routes.
    pub fn new(abilities: u32, mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_unstable_by_key(Candidate::place);
        let mut draft = Draft::with_capacity(candidates.len());
        for candidate in candidates {
            draft.push(candidate);
        }
        draft.route(abilities)
    }

    /// This route without those that leave and with those that join: what stays is copied as it stands.
    pub fn edited(&self, abilities: u32, mut leave: Vec<Slot>, mut join: Vec<Candidate>) -> Self {
        leave.sort_unstable();
        join.sort_unstable_by_key(Candidate::place);
        let mut join = join.into_iter().peekable();
        let mut draft = Draft::with_capacity(self.open() + join.len());
        for tier in self.tiers() {
            while let Some(first) = join.next_if(|joins| joins.priority > tier.priority) {
                draft.push(first);
            }
            let mut from = 0;
            for (at, joins) in tier.cuts(&leave, &mut join) {
                draft.copy(&tier, from..at);
                match joins {
                    Some(joins) => {
                        draft.push(joins);
                        from = at;
                    }
                    None => from = at + 1,
                }
            }
            draft.copy(&tier, from..tier.slots.len());
        }
        for last in join {
            draft.push(last);
        }
        draft.route(abilities)
    }

    /// How many abilities this (group, model) has, open or not.
    pub fn abilities(&self) -> u32 {
        self.abilities
    }

    /// How many of them are open.
    pub fn open(&self) -> usize {
        self.slots.len()
    }

    /// The tiers, highest priority first; none is empty.
    pub fn tiers(&self) -> impl Iterator<Item = Tier<'_>> {
        let mut start = 0;
        self.tiers.iter().map(move |tier| {
            let range = start..tier.end as usize;
            start = range.end;
            Tier {
                priority: tier.priority,
                slots: &self.slots[range.clone()],
                weights: match &self.weights {
                    Weights::Even(weight) => TierWeights::Even(*weight),
                    Weights::Sums(sums) => TierWeights::Sums(&sums[range]),
                    Weights::Heavy(sums) => TierWeights::Heavy(&sums[range]),
                },
            }
        })
    }

    /// Every open ability, in route order.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate> {
        self.tiers()
            .flat_map(|tier| (0..tier.slots.len()).map(move |index| tier.candidate(index)))
    }

    /// The open ability of `slot`, if it has one here.
    pub fn candidate(&self, slot: Slot) -> Option<Candidate> {
        self.tiers().find_map(|tier| {
            let index = tier.slots.binary_search(&slot).ok()?;
            Some(tier.candidate(index))
        })
    }

    /// The bytes that this route occupies beyond itself.
    pub fn heap_bytes(&self) -> usize {
        let weights = match &self.weights {
            Weights::Even(_) => 0,
            Weights::Sums(sums) => size_of_val(&**sums),
            Weights::Heavy(sums) => size_of_val(&**sums),
        };
        size_of_val(&*self.tiers) + size_of_val(&*self.slots) + weights
    }
}

impl Candidate {
    fn place(&self) -> (Reverse<i64>, Slot) {
        (Reverse(self.priority), self.slot)
    }
}

impl Tier<'_> {
    /// The weight of the tier's `index`th channel.
    pub fn weight(&self, index: usize) -> u32 {
        let before = |index: usize| index.checked_sub(1);
        match self.weights {
            TierWeights::Even(weight) => weight,
            TierWeights::Sums(sums) => sums[index] - before(index).map_or(0, |before| sums[before]),
            TierWeights::Heavy(sums) => {
                let weight = sums[index] - before(index).map_or(0, |before| sums[before]);
                u32::try_from(weight).unwrap_or(u32::MAX)
            }
        }
    }

    /// The weights of all channels together.
    pub fn total_weight(&self) -> u64 {
        match self.weights {
            TierWeights::Even(weight) => u64::from(weight) * self.slots.len() as u64,
            TierWeights::Sums(sums) => sums.last().map_or(0, |sum| u64::from(*sum)),
            TierWeights::Heavy(sums) => sums.last().copied().unwrap_or(0),
        }
    }

    /// The index of the channel on which `point` falls, of `0..total_weight()`.
    pub fn at(&self, point: u64) -> usize {
        match self.weights {
            TierWeights::Even(weight) => (point / u64::from(weight.max(1))) as usize,
            TierWeights::Sums(sums) => sums.partition_point(|sum| u64::from(*sum) <= point),
            TierWeights::Heavy(sums) => sums.partition_point(|sum| *sum <= point),
        }
    }

    fn candidate(&self, index: usize) -> Candidate {
        Candidate {
            slot: self.slots[index],
            priority: self.priority,
            weight: self.weight(index),
        }
    }

    /// Where this tier is cut, from its beginning: a channel leaves at that index, or joins before it.
    fn cuts(
        &self,
        leave: &[Slot],
        join: &mut Peekable<impl Iterator<Item = Candidate>>,
    ) -> Vec<(usize, Option<Candidate>)> {
        let leaves = leave
            .iter()
            .filter_map(|slot| self.slots.binary_search(slot).ok());
        let mut cuts: Vec<_> = leaves.map(|index| (index, None)).collect();
        while let Some(joins) = join.next_if(|joins| joins.priority == self.priority) {
            let index = self.slots.partition_point(|slot| *slot < joins.slot);
            cuts.push((index, Some(joins)));
        }
        // Who joins at an index stands before who leaves there; among those who join their order stays.
        cuts.sort_by_key(|(index, joins)| (*index, joins.is_none()));
        cuts
    }
}

/// A route in the making: candidates come in its order.
struct Draft {
    tiers: Vec<TierEnd>,
    slots: Vec<Slot>,
    weights: DraftWeights,
}

enum DraftWeights {
    Even(u32),
    Each(Vec<u32>),
}

impl Draft {
    fn with_capacity(open: usize) -> Draft {
        Draft {
            tiers: Vec::new(),
            slots: Vec::with_capacity(open),
            weights: DraftWeights::Even(0),
        }
    }

    fn push(&mut self, candidate: Candidate) {
        self.weigh(candidate.weight, 1);
        self.slots.push(candidate.slot);
        self.reach(candidate.priority);
    }

    /// A part of a tier, as it stands.
    fn copy(&mut self, tier: &Tier<'_>, part: Range<usize>) {
        if part.is_empty() {
            return;
        }
        match tier.weights {
            TierWeights::Even(weight) => {
                self.weigh(weight, part.len());
                self.slots.extend_from_slice(&tier.slots[part]);
            }
            TierWeights::Sums(_) | TierWeights::Heavy(_) => {
                for index in part {
                    self.weigh(tier.weight(index), 1);
                    self.slots.push(tier.slots[index]);
                }
            }
        }
        self.reach(tier.priority);
    }

    /// So many that come next weigh this.
    fn weigh(&mut self, weight: u32, count: usize) {
        match &mut self.weights {
            DraftWeights::Even(even) if self.slots.is_empty() => *even = weight,
            DraftWeights::Even(even) if *even == weight => {}
            DraftWeights::Even(even) => {
                let mut each = Vec::with_capacity(self.slots.capacity());
                each.resize(self.slots.len(), *even);
                each.resize(self.slots.len() + count, weight);
                self.weights = DraftWeights::Each(each);
            }
            DraftWeights::Each(each) => each.resize(each.len() + count, weight),
        }
    }

    /// The tier of this priority reaches to the last slot.
    fn reach(&mut self, priority: i64) {
        let end = self.slots.len() as u32;
        match self.tiers.last_mut() {
            Some(tier) if tier.priority == priority => tier.end = end,
            _ => self.tiers.push(TierEnd { priority, end }),
        }
    }

    fn route(self, abilities: u32) -> Route {
        let weights = match self.weights {
            DraftWeights::Even(weight) => Weights::Even(weight),
            DraftWeights::Each(each) => {
                let sums = running_sums(&self.tiers, &each);
                match sums.iter().map(|sum| u32::try_from(*sum)).collect() {
                    Ok(sums) => Weights::Sums(sums),
                    Err(_) => Weights::Heavy(sums.into()),
                }
            }
        };
        Route {
            abilities,
            tiers: self.tiers.into(),
            slots: self.slots.into(),
            weights,
        }
    }
}

fn running_sums(tiers: &[TierEnd], weights: &[u32]) -> Vec<u64> {
    let mut sums = Vec::with_capacity(weights.len());
    let mut start = 0;
    for tier in tiers {
        let mut sum = 0;
        for weight in &weights[start..tier.end as usize] {
            sum += u64::from(*weight);
            sums.push(sum);
        }
        start = tier.end as usize;
    }
    sums
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tier: its priority, what it weighs, and its channels with their weights.
    type Told = (i64, u64, Vec<(Slot, u32)>);

    /// What can be told of a route without knowing how it is kept.
    fn told(route: &Route) -> (u32, Vec<Told>) {
        let tier = |tier: Tier<'_>| {
            let each = (0..tier.slots.len()).map(|index| (tier.slots[index], tier.weight(index)));
            (tier.priority, tier.total_weight(), each.collect())
        };
        (route.abilities(), route.tiers().map(tier).collect())
    }

    fn candidate(slot: Slot, priority: i64, weight: u32) -> Candidate {
        Candidate {
            slot,
            priority,
            weight,
        }
    }

    /// Each point of a tier's weight falls on one channel, on each as often as it weighs.
    fn falls_by_weight(route: &Route) {
        for tier in route.tiers() {
            let mut from = 0;
            for index in 0..tier.slots.len() {
                let weight = u64::from(tier.weight(index));
                if weight > 0 {
                    assert_eq!(
                        (tier.at(from), tier.at(from + weight - 1)),
                        (index, index),
                        "{tier:?}"
                    );
                }
                from += weight;
            }
            assert_eq!(from, tier.total_weight());
        }
    }

    #[test]
    fn what_all_weigh_alike_is_kept_once() {
        let of = |weights: &[u32]| {
            let candidates = weights
                .iter()
                .zip(0..)
                .map(|(weight, slot)| candidate(slot, 7, *weight));
            Route::new(9, candidates.collect())
        };
        let (even, uneven) = (of(&[3, 3, 3]), of(&[3, 4, 3]));
        assert_eq!(even.heap_bytes() + 12, uneven.heap_bytes());
        assert_eq!(told(&even), (9, vec![(7, 9, vec![(0, 3), (1, 3), (2, 3)])]));
        let heavy = of(&[u32::MAX, 1, u32::MAX]);
        assert_eq!(heavy.heap_bytes(), uneven.heap_bytes() + 12);
        for route in [&even, &uneven, &heavy, &of(&[]), &of(&[0, 0]), &of(&[0, 5, 0])] {
            falls_by_weight(route);
        }
    }

    #[test]
    fn a_candidate_is_found_in_whichever_tier_it_stands() {
        let all = [candidate(5, 1, 2), candidate(3, 9, 1), candidate(4, 9, 0)];
        let route = Route::new(3, all.to_vec());
        for candidate in all {
            assert_eq!(route.candidate(candidate.slot), Some(candidate));
        }
        assert_eq!(route.candidate(6), None);
        let order: Vec<Slot> = route.candidates().map(|candidate| candidate.slot).collect();
        assert_eq!((order, route.open()), (vec![3, 4, 5], 3));
    }

    fn candidates(slots: Range<Slot>) -> impl Strategy<Value = Vec<Candidate>> {
        let weight = prop_oneof![4 => Just(1), 1 => 0..4_u32, 1 => Just(u32::MAX)];
        let one = move |slot| (Just(slot), 0..3_i64, weight.clone());
        let each: Vec<_> = slots.map(|slot| proptest::option::of(one(slot))).collect();
        each.prop_map(|each| {
            let given = each.into_iter().flatten();
            given
                .map(|(slot, priority, weight)| candidate(slot, priority, weight))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn an_edited_route_is_as_if_made_anew(base in candidates(0..12), join in candidates(0..16)) {
            // Who joins leaves the place that it had; and some leave who were never there.
            let leave: Vec<Slot> = join.iter().map(|joins| joins.slot).chain([2, 40]).collect();
            let stays = base.iter().filter(|stays| !leave.contains(&stays.slot));
            let wanted: Vec<_> = stays.chain(&join).copied().collect();
            let edited = Route::new(5, base.clone()).edited(6, leave, join);
            prop_assert_eq!(told(&edited), told(&Route::new(6, wanted)));
            falls_by_weight(&edited);
        }
    }
}
