//! The route of one (group, model): its open channels as tiers of falling priority.

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
/// Twelve bytes an open ability: its slot, and the running sum of its tier's weights, so that a draw is a
/// binary search however many channels a tier has.
#[derive(Clone, Debug, Default)]
pub struct Route {
    abilities: u32,
    tiers: Box<[TierEnd]>,
    slots: Box<[Slot]>,
    sums: Box<[u64]>,
}

#[derive(Clone, Copy, Debug)]
struct TierEnd {
    priority: i64,
    end: u32,
}

/// The channels of one priority.
#[derive(Clone, Copy, Debug)]
pub struct Tier<'a> {
    pub priority: i64,
    pub slots: &'a [Slot],
    sums: &'a [u64],
}

impl Route {
    /// Orders the candidates: higher priority first, then by slot, so that equal rows give equal routes.
    pub fn new(abilities: u32, mut candidates: Vec<Candidate>) -> Self {
        candidates.sort_unstable_by_key(|c| (std::cmp::Reverse(c.priority), c.slot));
        let mut tiers: Vec<TierEnd> = Vec::new();
        let mut sums = Vec::with_capacity(candidates.len());
        let mut sum = 0;
        for (index, candidate) in candidates.iter().enumerate() {
            let end = index as u32 + 1;
            match tiers.last_mut() {
                Some(tier) if tier.priority == candidate.priority => tier.end = end,
                _ => {
                    tiers.push(TierEnd {
                        priority: candidate.priority,
                        end,
                    });
                    sum = 0;
                }
            }
            sum += u64::from(candidate.weight);
            sums.push(sum);
        }
        Self {
            abilities,
            tiers: tiers.into(),
            slots: candidates.iter().map(|c| c.slot).collect(),
            sums: sums.into(),
        }
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
                sums: &self.sums[range],
            }
        })
    }

    /// Every open ability, in route order.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate> {
        self.tiers().flat_map(|tier| {
            (0..tier.slots.len()).map(move |index| Candidate {
                slot: tier.slots[index],
                priority: tier.priority,
                weight: tier.weight(index),
            })
        })
    }

    /// The open ability of `slot`, if it has one here.
    pub fn candidate(&self, slot: Slot) -> Option<Candidate> {
        self.candidates().find(|candidate| candidate.slot == slot)
    }

    /// The bytes that this route occupies beyond itself.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.tiers) + size_of_val(&*self.slots) + size_of_val(&*self.sums)
    }
}

impl Tier<'_> {
    /// The weight of the tier's `index`th channel.
    pub fn weight(&self, index: usize) -> u32 {
        let before = if index == 0 { 0 } else { self.sums[index - 1] };
        u32::try_from(self.sums[index] - before).unwrap_or(u32::MAX)
    }

    /// The weights of all channels together.
    pub fn total_weight(&self) -> u64 {
        self.sums.last().copied().unwrap_or(0)
    }

    /// The index of the channel on which `point` falls, of `0..total_weight()`.
    pub fn at(&self, point: u64) -> usize {
        self.sums.partition_point(|sum| *sum <= point)
    }
}
