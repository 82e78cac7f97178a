//! What of a state what follows can depend on. Moments are told by rank, and closings by what they bar.

use std::hash::{Hash, Hasher};

use pointsman::routing::ids::Moment;
use pointsman::routing::snapshot::Snapshot;

use super::{Asker, At, Build, GROUP, Houses, KEY, MODEL, Node, Stage, State, id};
use crate::lookups::lookups_text;
use crate::relative::relative;

impl Houses {
    pub(super) fn hash(&self, state: &State, hasher: &mut impl Hasher) {
        state.database.hash(hasher);
        for (number, node) in state.nodes.iter().enumerate() {
            self.hash_node(state, number, node, hasher);
        }
        let all = self.all_closers();
        for (operator, progress) in state.operators.iter().enumerate() {
            let ranks = self.ranks(state, self.operators[operator].node);
            (progress.change, progress.undone, progress.lost, progress.secret).hash(hasher);
            progress.early.map(|early| rank(&ranks, early)).hash(hasher);
            std::mem::discriminant(&progress.stage).hash(hasher);
            if let Stage::Answered(at) = progress.stage {
                rank(&ranks, at).hash(hasher);
            }
        }
        for (asker, at) in state.askers.iter().enumerate() {
            let Asker::Asks(asking) = at else {
                0u8.hash(hasher);
                continue;
            };
            (1u8, asking.none_open, asking.failed, asking.lookups).hash(hasher);
            std::mem::discriminant(&asking.at).hash(hasher);
            if let At::Found(found, commits) = &asking.at {
                let ranks = self.ranks(state, self.askers[asker]);
                (rank(&ranks, found.began), commits & all).hash(hasher);
                self.hash_snapshot(&found.route, &ranks, hasher);
            }
        }
    }

    fn hash_node(&self, state: &State, number: usize, node: &Node, hasher: &mut impl Hasher) {
        let ranks = self.ranks(state, number);
        self.hash_snapshot(node.router.snapshot(), &ranks, hasher);
        for channel in 0..self.open.len() {
            rank(&ranks, node.closed_at(channel)).hash(hasher);
            rank(&ranks, node.key_closed_at()).hash(hasher);
            let closers = self.closers(channel);
            (
                (node.known[channel] | node.lifted[channel]) & closers,
                node.lifted[channel] & closers,
            )
                .hash(hasher);
        }
        relative(&format!("{:?}", node.rebuilds), node.newest_build, node.now).hash(hasher);
        lookups_text(&node.lookups).hash(hasher);
        (node.timers.is_empty(), node.asked_lately.is_some(), node.syncs).hash(hasher);
        (node.told, node.in_place, node.secret).hash(hasher);
        for build in [&node.build, &node.late] {
            build.is_some().hash(hasher);
            if let Some(build) = build {
                self.hash_build(node, build, &ranks, hasher);
            }
        }
        let lookup = node.lookup.as_ref();
        let all = self.all_closers();
        lookup
            .map(|l| (rank(&ranks, l.began), l.commits & all, l.read, l.joined, l.half))
            .hash(hasher);
    }

    fn hash_build(&self, node: &Node, build: &Build, ranks: &[Moment], hasher: &mut impl Hasher) {
        // One that was given up is only told from the one that runs.
        (node.newest_build - build.number.0).min(1).hash(hasher);
        for channel in 0..self.open.len() {
            build.scope.covers(id(channel)).hash(hasher);
        }
        (
            rank(ranks, build.began),
            build.commits & self.all_closers(),
            build.read,
        )
            .hash(hasher);
        self.hash_snapshot(&build.base, ranks, hasher);
    }

    fn hash_snapshot(&self, snapshot: &Snapshot, ranks: &[Moment], hasher: &mut impl Hasher) {
        for channel in (0..self.open.len()).map(id) {
            rank(ranks, snapshot.read_at(channel)).hash(hasher);
            snapshot.shows_open(channel, GROUP, MODEL).hash(hasher);
            let keys = snapshot
                .channel(channel)
                .into_iter()
                .flat_map(|channel| &channel.keys);
            keys.for_each(|key| key.spec.secret.reveal().hash(hasher));
        }
    }

    fn all_closers(&self) -> u16 {
        (0..self.open.len()).fold(0, |all, channel| all | self.closers(channel))
    }

    /// Every moment of the node that something still knows, in order.
    fn ranks(&self, state: &State, number: usize) -> Vec<Moment> {
        let node = &state.nodes[number];
        let mut ranks = vec![Moment(0)];
        let builds = [&node.build, &node.late].into_iter().flatten();
        let snapshots = builds
            .clone()
            .map(|build| &*build.base)
            .chain([&**node.router.snapshot()]);
        for snapshot in snapshots {
            ranks.extend((0..self.open.len()).map(|channel| snapshot.read_at(id(channel))));
        }
        ranks.extend(builds.map(|build| build.began));
        ranks.extend((0..self.open.len()).map(|channel| node.closed_at(channel)));
        ranks.push(node.key_closed_at());
        ranks.extend(node.lookup.iter().map(|lookup| lookup.began));
        for (asker, at) in state.askers.iter().enumerate() {
            if let (true, Asker::Asks(asking)) = (self.askers[asker] == number, at)
                && let At::Found(found, _) = &asking.at
            {
                ranks.push(found.began);
                ranks.extend((0..self.open.len()).map(|channel| found.route.read_at(id(channel))));
            }
        }
        for (operator, progress) in state.operators.iter().enumerate() {
            if self.operators[operator].node == number {
                ranks.extend(progress.early);
                ranks.extend(match progress.stage {
                    Stage::Answered(at) => Some(at),
                    _ => None,
                });
            }
        }
        ranks.sort_unstable();
        ranks.dedup();
        ranks
    }
}

fn rank(ranks: &[Moment], moment: Moment) -> usize {
    ranks.binary_search(&moment).expect("every moment has its rank")
}

impl Node {
    /// The moment of the newest closing of the channel, found by what it bars; 0 if there is none.
    pub(super) fn closed_at(&self, channel: usize) -> Moment {
        let closings = self.router.closings();
        let (group, model) = (GROUP.into(), MODEL.into());
        let bars = |read_at: u64| closings.bars_ability(id(channel), &group, &model, Moment(read_at));
        self.newest_barred(bars)
    }

    /// The same of the one key that there may be.
    pub(super) fn key_closed_at(&self) -> Moment {
        let closings = self.router.closings();
        self.newest_barred(|read_at| closings.bars_key(KEY, Moment(read_at)))
    }

    fn newest_barred(&self, bars: impl Fn(u64) -> bool) -> Moment {
        if self.router.closings().is_empty() || !bars(0) {
            return Moment(0);
        }
        let (mut barred, mut free) = (0, self.moments + 1);
        while free - barred > 1 {
            let middle = (barred + free) / 2;
            if bars(middle) {
                barred = middle;
            } else {
                free = middle;
            }
        }
        Moment(free)
    }
}
