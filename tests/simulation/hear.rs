//! What the actors answer, carried to whoever asked, and judged.

use std::sync::Arc;
use std::time::Duration;

use pointsman::routing::outcome::{Breakage, Lack, Outcome};
use pointsman::routing::rebuilds::Scope;
use pointsman::routing::refusal::Refusal;
use pointsman::routing::remembered::Home;
use pointsman::routing::router::Grant;
use pointsman::routing::rows::Status;
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::change::ChangeAt;
use crate::coverage::Happened;
use crate::edit::Edit;
use crate::judge::Case;
use crate::node::{Asker, Choice, LOOKUP_DEADLINE, LOOKUPS, LookupAsker, LookupQuestion, Told};
use crate::oracle::{Verdict, fault};
use crate::request::{At, LOOKUPS_A_PICK, Request};
use crate::run::{Run, any_state, pick_one, say};

impl Run {
    pub fn hear(&mut self, node: usize, rng: &mut SmallRng) -> Verdict {
        loop {
            let told = std::mem::take(&mut self.nodes[node].outbox);
            if told.is_empty() {
                return Ok(());
            }
            told.into_iter()
                .try_for_each(|told| self.hear_one(node, told, rng))?;
        }
    }

    fn hear_one(&mut self, node: usize, told: Told, rng: &mut SmallRng) -> Verdict {
        match told {
            Told::BuildBegan { running } => {
                self.coverage.note(Happened::Builds);
                if running > 1 {
                    return fault("R5", "two builds run at once");
                }
            }
            Told::Installed {
                scope,
                version,
                began,
                old,
                new,
            } => {
                self.coverage.note(Happened::Installed);
                if matches!(scope, Scope::Channels(_)) {
                    self.coverage.note(Happened::Patches);
                }
                if new.quarantined().iter().any(|quarantined| quarantined.last_good) {
                    self.coverage.note(Happened::LastGood);
                }
                self.seen[node].installs(
                    &self.database,
                    &scope,
                    (version, began),
                    (&old, &new),
                    self.tick,
                )?;
            }
            Told::Failed { before } => self.seen[node].build_failed(before, &self.nodes[node].router)?,
            Told::BuildAnswered {
                asker,
                generation,
                began_at,
            } => {
                self.seen[node].build_answers(asker, began_at)?;
                self.change_is_answered(node, asker.change, generation.is_some())?;
            }
            Told::LookupBegan { running } => {
                self.coverage.note(Happened::Lookups);
                let lookups = &self.nodes[node].running_lookups;
                let twice = lookups.iter().enumerate().any(|(place, lookup)| {
                    lookups[..place]
                        .iter()
                        .any(|other| other.question == lookup.question)
                });
                if running > LOOKUPS.running || twice {
                    return fault("R11", "too many lookups run, or two of one question");
                }
            }
            Told::LookedUp {
                asker: LookupAsker { asker, asked },
                began_at,
                found,
            } => {
                if found.is_some() && began_at.is_none_or(|began| began < asked) {
                    return fault(
                        "R11",
                        "an asker was answered by a lookup that began before it asked",
                    );
                }
                if let Some(request) = self.asker(asker)
                    && matches!(request.at, At::LookingUp { .. })
                {
                    request.ask.lookup_failed |= found.is_none();
                    request.at = At::ToChoose(found);
                }
            }
            Told::Chosen { asker, choice } => match self.asker(asker) {
                Some(Request {
                    at: At::Waiting { .. },
                    ..
                }) => {
                    if matches!(choice, Choice::Granted(_)) {
                        self.coverage.note(Happened::GrantedToWaiter);
                    }
                    self.is_answered(asker.request, choice)?;
                }
                _ => self.nobody_takes(node, choice, rng),
            },
            Told::MissRebuild { scope } => {
                say!(self, "node {node}: a miss asks for a build of {scope:?}");
                self.coverage.note(Happened::BuildsFromMisses);
                self.seen[node].miss_rebuilds(self.now)?;
            }
        }
        Ok(())
    }

    fn asker(&mut self, asker: Asker) -> Option<&mut Request> {
        let mut requests = self.requests.iter_mut();
        requests.find(|request| request.id == asker.request && request.ask.serial == asker.serial)
    }

    /// A lease that reaches nobody reports `gone`.
    fn nobody_takes(&mut self, node: usize, choice: Choice, rng: &mut SmallRng) {
        if let Choice::Granted(grant) = choice {
            let mut here = crate::node::Here {
                tick: self.tick,
                now: self.now,
                rng,
            };
            self.nodes[node].report(grant.lease, &Outcome::Gone, &mut here);
        }
    }

    fn change_is_answered(&mut self, node: usize, id: u64, is_built: bool) -> Verdict {
        let Some(change) = self.changes.iter_mut().find(|change| change.id == id) else {
            return fault("R5", format!("change {id} is answered twice"));
        };
        let at = std::mem::replace(&mut change.at, ChangeAt::Done);
        let ChangeAt::Rebuilding { version, touched } = at else {
            return fault("R5", format!("change {id} is answered, and had not asked"));
        };
        say!(
            self,
            "node {node}: change {id} returns: {}",
            if is_built { "in place" } else { "pending" }
        );
        self.coverage.note(if is_built {
            Happened::InPlace
        } else {
            Happened::Pending
        });
        if is_built {
            self.seen[node].is_in_place(&touched, version)
        } else {
            Ok(())
        }
    }

    // ---- requests ----

    pub fn advance_request(&mut self, id: u64, rng: &mut SmallRng) -> Verdict {
        let Some(place) = self.requests.iter().position(|request| request.id == id) else {
            return Ok(());
        };
        let request = &mut self.requests[place];
        let (node, question) = (request.node, request.question());
        let asker = Asker {
            request: id,
            serial: request.ask.serial,
        };
        match std::mem::replace(&mut request.at, At::Done) {
            At::ToCache => {
                let (grant, verdict) = self.at(node, rng, |node, here| node.pick(&question, here));
                verdict?;
                match grant {
                    Some(grant) => {
                        self.coverage.note(Happened::GrantedBySnapshot);
                        self.is_answered(id, Choice::Granted(grant))
                    }
                    None => {
                        say!(self, "node {node}: the snapshot has nothing for request {id}");
                        self.requests[place].at = At::ToQuery;
                        Ok(())
                    }
                }
            }
            At::ToQuery => self.looks_up(place, asker, rng),
            At::ToChoose(found) => match self.requests[place].patience(self.now) {
                Some(until) => {
                    self.requests[place].at = At::Waiting {
                        until,
                        found: found.clone(),
                    };
                    self.at(node, rng, |node, here| {
                        node.wait(&question, &found, until, asker, here)
                    })
                    .1
                }
                None => self.chooses(id, node, &question, found, rng),
            },
            At::ToChooseAtOnce(found) => self.chooses(id, node, &question, found, rng),
            other => {
                self.requests[place].at = other;
                Ok(())
            }
        }
    }

    fn looks_up(&mut self, place: usize, asker: Asker, rng: &mut SmallRng) -> Verdict {
        let request = &mut self.requests[place];
        let node = request.node;
        let question = LookupQuestion {
            groups: Arc::clone(&request.groups),
            model: request.model.clone(),
        };
        request.ask.lookups += 1;
        request.at = At::LookingUp {
            until: self.now + LOOKUP_DEADLINE * 2,
        };
        say!(self, "node {node}: request {} waits for a lookup", asker.request);
        let asked = LookupAsker {
            asker,
            asked: self.tick,
        };
        let (has_room, verdict) = self.at(node, rng, |node, here| node.look_up(question, asked, here));
        verdict?;
        if has_room {
            return Ok(());
        }
        self.coverage.note(Happened::LookupBound);
        self.requests[place].ask.by_bound = true;
        self.is_answered(
            asker.request,
            Choice::Refused(Refusal::Overloaded { retry_after: None }),
        )
    }

    fn chooses(
        &mut self,
        id: u64,
        node: usize,
        question: &pointsman::routing::pick::Question,
        found: Option<Arc<pointsman::routing::router::Found>>,
        rng: &mut SmallRng,
    ) -> Verdict {
        let (choice, verdict) = self.at(node, rng, |node, here| {
            node.choice(question, found.as_deref(), here).0
        });
        verdict?;
        if matches!(choice, Choice::Granted(_)) {
            self.coverage.note(Happened::GrantedByLookup);
        }
        self.is_answered(id, choice)
    }

    /// The router's answer to a request's question.
    fn is_answered(&mut self, id: u64, choice: Choice) -> Verdict {
        let Some(place) = self.requests.iter().position(|request| request.id == id) else {
            return Ok(());
        };
        match choice {
            Choice::Granted(grant) => self.is_granted(place, grant),
            Choice::Refused(refusal) => self.is_refused(place, &refusal),
            Choice::Outdated => {
                self.coverage.note(Happened::Outdated);
                say!(self, "the lookup of request {id} was overtaken");
                let request = &mut self.requests[place];
                request.at = At::ToQuery;
                if request.ask.lookups < LOOKUPS_A_PICK {
                    return Ok(());
                }
                request.ask.by_bound = true;
                self.is_refused(place, &Refusal::Overloaded { retry_after: None })
            }
        }
    }

    pub fn case(&self, place: usize) -> Case<'_> {
        let request = &self.requests[place];
        Case {
            database: &self.database,
            seen: &self.seen[request.node],
            request,
            tick: self.tick,
            now: self.now,
            views: Vec::new(),
        }
    }

    fn is_granted(&mut self, place: usize, grant: Grant) -> Verdict {
        let (id, node) = (self.requests[place].id, self.requests[place].node);
        let picked = &grant.picked;
        let key = picked.key.as_ref().map(|key| key.id.0);
        let version = crate::tell::version_of(&picked.channel.spec);
        say!(
            self,
            "node {node}: request {id} gets channel {} of v{version}, key {key:?}, for {}{}",
            picked.channel.id,
            picked.group,
            if grant.probe { ", as a probe" } else { "" }
        );
        let case = Case {
            views: self.nodes[node].router.unwell(self.now),
            ..self.case(place)
        };
        let note = case.grant(&grant)?;
        self.seen[node].grants(grant.lease, note);
        let request = &mut self.requests[place];
        let home = request
            .hints
            .state
            .and_then(|state| self.homes.get(&(node, state)));
        if home == Some(&grant.picked.channel.id.0) {
            self.coverage.note(Happened::AtHome);
        }
        if grant.probe {
            self.coverage.note(Happened::Probes);
        }
        if !request.own.is_empty() {
            self.coverage.note(Happened::SecondTries);
        }
        if request.own.second_round {
            self.coverage.note(Happened::SecondRound);
        }
        request.at = At::Leased {
            grant: Box::new(grant),
            has_spoken: false,
        };
        Ok(())
    }

    fn is_refused(&mut self, place: usize, refusal: &Refusal) -> Verdict {
        let (id, node) = (self.requests[place].id, self.requests[place].node);
        say!(self, "node {node}: request {id} is refused: {}", refusal.code());
        self.coverage.note(Happened::Refusals);
        self.coverage.note(match refusal {
            Refusal::ModelNotFound => Happened::ModelNotFound,
            Refusal::NoAvailableChannel => Happened::NoAvailableChannel,
            Refusal::ProtocolNotServed => Happened::ProtocolNotServed,
            Refusal::Overloaded { .. } => Happened::Overloaded,
            Refusal::RateLimited { .. } => Happened::RateLimited,
            Refusal::RoutingUnavailable => Happened::RoutingUnavailable,
            Refusal::Exhausted => Happened::Exhausted,
        });
        self.case(place).refusal(refusal)?;
        let version = self.database.now();
        let request = &mut self.requests[place];
        request.at = At::Done;
        if request.refused(refusal) {
            request.asks(version);
            self.coverage.note(Happened::Picks);
        }
        Ok(())
    }

    /// A lookup's asker, or one that waits, has been patient long enough.
    pub fn request_is_due(&mut self, id: u64) -> Verdict {
        let Some(request) = self.requests.iter_mut().find(|request| request.id == id) else {
            return Ok(());
        };
        match std::mem::replace(&mut request.at, At::Done) {
            At::LookingUp { .. } => {
                request.ask.lookup_failed = true;
                request.at = At::ToChoose(None);
                self.coverage.note(Happened::LookupsImpatient);
            }
            At::Waiting { found, .. } => {
                request.at = At::ToChooseAtOnce(found);
                let asker = Asker {
                    request: id,
                    serial: request.ask.serial,
                };
                self.nodes[request.node].waiting.remove(&asker);
                self.coverage.note(Happened::WaitedInVain);
            }
            other => request.at = other,
        }
        Ok(())
    }

    // ---- leases ----

    pub fn first_event(&mut self, rng: &mut SmallRng) -> Verdict {
        let silent = |request: &&Request| {
            matches!(
                request.at,
                At::Leased {
                    has_spoken: false,
                    ..
                }
            )
        };
        let ids: Vec<u64> = self
            .requests
            .iter()
            .filter(silent)
            .map(|request| request.id)
            .collect();
        let Some(id) = pick_one(&ids, rng).copied() else {
            return Ok(());
        };
        let mut requests = self.requests.iter_mut();
        let Some(Request {
            node,
            at: At::Leased { grant, has_spoken },
            ..
        }) = requests.find(|request| request.id == id)
        else {
            return Ok(());
        };
        *has_spoken = true;
        let (node, lease) = (*node, grant.lease);
        self.coverage.note(Happened::FirstEvents);
        say!(self, "node {node}: the answer to request {id} begins");
        self.seen[node].first_event(lease, self.tick);
        self.at(node, rng, |node, here| node.first_event(lease, here)).1
    }

    pub fn any_report(&mut self, rng: &mut SmallRng) -> Verdict {
        let leased = |request: &&Request| matches!(request.at, At::Leased { .. });
        let ids: Vec<u64> = self
            .requests
            .iter()
            .filter(leased)
            .map(|request| request.id)
            .collect();
        match pick_one(&ids, rng) {
            Some(id) => {
                let outcome = outcome(rng);
                self.report(*id, outcome, rng)
            }
            None => Ok(()),
        }
    }

    pub fn report(&mut self, id: u64, outcome: Outcome, rng: &mut SmallRng) -> Verdict {
        let Some(place) = self.requests.iter().position(|request| request.id == id) else {
            return Ok(());
        };
        let request = &mut self.requests[place];
        let node = request.node;
        let grant = match std::mem::replace(&mut request.at, At::Done) {
            At::Leased { grant, .. } => grant,
            other => {
                request.at = other;
                return Ok(());
            }
        };
        say!(
            self,
            "node {node}: request {id} reports of channel {}: {outcome:?}",
            grant.picked.channel.id
        );
        self.note_outcome(&outcome);
        if outcome == Outcome::Ok && rng.random_bool(0.3) {
            self.remembers(node, &grant, rng);
        }
        if matches!(outcome, Outcome::Refused { .. }) {
            self.refused.push((node, closes_what_refused(&grant)));
        }
        self.seen[node].reports(grant.lease, &outcome, self.now, self.tick);
        self.at(node, rng, |node, here| node.report(grant.lease, &outcome, here))
            .1?;
        let (version, now) = (self.database.now(), self.now);
        let request = &mut self.requests[place];
        if request.failed(&grant, &outcome, now, rng) {
            request.asks(version);
            self.coverage.note(Happened::Picks);
        }
        Ok(())
    }

    /// `Handler<Remember>`.
    fn remembers(&mut self, node: usize, grant: &Grant, rng: &mut SmallRng) {
        let (channel, key) = (
            grant.picked.channel.id,
            grant.picked.key.as_ref().map(|key| key.id),
        );
        let state = any_state(rng);
        self.nodes[node].router.remember(state, Home { channel, key });
        self.homes.insert((node, state), channel.0);
        self.coverage.note(Happened::Remembered);
    }

    fn note_outcome(&mut self, outcome: &Outcome) {
        if outcome.provider_word().is_some() {
            self.coverage.note(Happened::ProviderWords);
        }
        self.coverage.note(match outcome {
            Outcome::Ok => Happened::ReportOk,
            Outcome::Busy { .. } => Happened::ReportBusy,
            Outcome::Broken(_) => Happened::ReportBroken,
            Outcome::Silent => Happened::ReportSilent,
            Outcome::Refused { .. } => Happened::ReportRefused,
            Outcome::NotHere(_) => Happened::ReportNotHere,
            _ => Happened::ReportGone,
        });
    }
}

/// `Refusals::tell`: what the relay closes by itself, if it is still as the lease showed it.
fn closes_what_refused(grant: &Grant) -> Edit {
    let channel = &grant.picked.channel;
    let key = grant.picked.key.as_ref();
    let changed_at = key.map_or(channel.status_changed_at, |key| key.status_changed_at);
    Edit::Auto {
        channel: channel.id.0,
        key: key.map(|key| key.id.0),
        to: Status::AutoDisabled,
        seen: (Status::Enabled, changed_at),
    }
}

fn outcome(rng: &mut SmallRng) -> Outcome {
    let word = |rng: &mut SmallRng| match rng.random_range(0..5) {
        0 => Some(Duration::from_secs(2)),
        1 => Some(Duration::from_secs(30)),
        2 => Some(Duration::from_secs(7200)),
        _ => None,
    };
    match rng.random_range(0..20) {
        0..8 => Outcome::Ok,
        8..11 => Outcome::Busy {
            status: 429,
            retry_after: word(rng),
        },
        11 => Outcome::Broken(Breakage::Connect),
        12 => Outcome::Broken(Breakage::Cut),
        13 => Outcome::Broken(Breakage::Status {
            status: 503,
            retry_after: word(rng),
        }),
        14 => Outcome::Broken(Breakage::status(500)),
        15 => Outcome::Silent,
        16 => Outcome::Refused { reason: "401".into() },
        17 => Outcome::NotHere([Lack::Model, Lack::Path, Lack::State][rng.random_range(0..3)]),
        18 => Outcome::Gone,
        _ => Outcome::BadRequest,
    }
}
