//! One node: router, rebuilds and lookups, driven as the actors drive them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use pointsman::routing::ids::{Generation, Moment};
use pointsman::routing::lookups::{Bounds, Lookups};
use pointsman::routing::outcome::Outcome;
use pointsman::routing::rebuilds::{Rebuilds, Scope, Step, Urgency};
use pointsman::routing::router::{Built, Grant, Router};
use pointsman::routing::snapshot::{Key, Snapshot};

use super::{A_WHILE, Build, Lookup, Node, id};
use crate::dice::Dice;
use crate::stage::{GROUP, MODEL, draft};

impl Node {
    /// A node whose snapshot shows this; or that has none yet.
    pub(super) fn new(channels: usize, database: Option<u8>, now: Instant) -> Node {
        let mut node = Node {
            router: Router::new(A_WHILE),
            rebuilds: Rebuilds::default(),
            lookups: Lookups::new(Bounds {
                running: 1,
                waiting: 1,
            }),
            moments: 0,
            now,
            timers: BTreeSet::new(),
            newest_build: 0,
            build: None,
            late: None,
            lookup: None,
            syncs: 0,
            asked_lately: None,
            told: 0,
            known: vec![0; channels],
            lifted: vec![0; channels],
            secret: 0,
            in_place: 0,
        };
        if let Some(database) = database {
            let began = node.draw();
            let rows = draft(channels, database, |_| true);
            let built = Built::new(
                rows,
                &Snapshot::default(),
                Scope::Everything,
                Generation(1),
                began,
            );
            drop(node.router.install(built, now));
        } else {
            let asked = node.ask(Scope::Everything, Urgency::Background, None, 0);
            asked.expect("the first build is the only one");
        }
        node
    }

    pub(super) fn draw(&mut self) -> Moment {
        self.moments += 1;
        Moment(self.moments)
    }

    pub(super) fn ask(
        &mut self,
        scope: Scope,
        urgency: Urgency,
        operator: Option<usize>,
        commits: u16,
    ) -> Result<(), String> {
        let step = self.rebuilds.ask(scope, urgency, operator, self.now);
        self.follow(step, commits)
    }

    pub(super) fn follow(&mut self, step: Step, commits: u16) -> Result<(), String> {
        match step {
            Step::Rest => Ok(()),
            Step::WakeAt(at) => {
                self.timers.insert(at);
                Ok(())
            }
            Step::Start { number, scope } => {
                if self.build.is_some() {
                    return Err("R5: two builds run at once".to_owned());
                }
                self.newest_build = number.0;
                let began = self.draw();
                self.build = Some(Build {
                    number,
                    scope,
                    base: Arc::clone(self.router.snapshot()),
                    began,
                    commits,
                    read: None,
                });
                Ok(())
            }
        }
    }

    pub(super) fn install(&mut self, build: Build) -> Result<(), String> {
        let Some(read) = build.read else {
            return Err("a build ends that has read nothing".to_owned());
        };
        let channels = self.known.len();
        let rows = draft(channels, read, |channel| build.scope.covers(id(channel)));
        let number = Generation(build.number.0 + 1);
        let before: Vec<Moment> = (0..channels)
            .map(|c| self.router.snapshot().read_at(id(c)))
            .collect();
        let built = Built::new(rows, &build.base, build.scope.clone(), number, build.began);
        drop(self.router.install(built, self.now));
        for (channel, before) in before.into_iter().enumerate() {
            if self.router.snapshot().read_at(id(channel)) < before {
                return Err(format!(
                    "R5: an older build replaces what is known of channel {}",
                    channel + 1
                ));
            }
            if build.scope.covers(id(channel)) {
                self.known[channel] = build.commits;
            }
        }
        Ok(())
    }

    pub(super) fn start_lookups(&mut self, commits: u16) {
        while self.lookups.start_next().is_some() {
            let began = self.draw();
            self.lookup = Some(Lookup {
                began,
                commits,
                read: None,
                joined: 0,
                half: None,
            });
        }
    }

    /// An attempt that is over at once: health is not what is explored here.
    pub(super) fn hand_back(&mut self, grant: &Grant) {
        let now = self.now;
        let _ = self.router.report(grant.lease, &Outcome::Ok, now, &mut Dice::Low);
    }

    pub(super) fn can_pick(&self, channel: usize) -> bool {
        let (snapshot, id) = (self.router.snapshot(), id(channel));
        let read_at = snapshot.read_at(id);
        let is_barred = self
            .router
            .closings()
            .bars_ability(id, &GROUP.into(), &MODEL.into(), read_at);
        let is_key_barred = |key: &Key| self.router.closings().bars_key(key.id, read_at);
        let keys = snapshot.channel(id).map(|channel| &channel.keys);
        let has_key = keys.is_some_and(|keys| keys.is_empty() || !keys.iter().all(is_key_barred));
        snapshot.shows_open(id, GROUP, MODEL) && !is_barred && has_key
    }
}
