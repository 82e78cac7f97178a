//! What has really happened in a run, counted: a simulation in which something never happens says nothing of it.

macro_rules! events {
    ($($event:ident: $words:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Happened { $($event,)* }

        const EVENTS: &[(Happened, &str)] = &[$((Happened::$event, $words),)*];
    };
}

events! {
    Steps: "steps",
    Picks: "questions to the router",
    GrantedBySnapshot: "granted from the snapshot",
    GrantedByLookup: "granted after a lookup",
    GrantedToWaiter: "granted to one that waited",
    Probes: "half-open probes",
    SecondTries: "granted to a request that had tried",
    SecondRound: "granted in the second round",
    Refusals: "refusals checked",
    ModelNotFound: "refused: model_not_found",
    NoAvailableChannel: "refused: no_available_channel",
    ProtocolNotServed: "refused: protocol_not_served",
    Overloaded: "refused: overloaded",
    RateLimited: "refused: rate_limited",
    RoutingUnavailable: "refused: routing_unavailable",
    Exhausted: "refused: exhausted",
    Outdated: "lookups overtaken by a change",
    LookupBound: "lookups past their bound",
    WaitedInVain: "waits in vain",
    Builds: "builds begun",
    Installed: "builds installed",
    Patches: "builds of named channels installed",
    BuildErrors: "builds that erred",
    BuildPanics: "builds that panicked",
    BuildsLate: "builds given up at their deadline",
    LateArrivals: "builds that arrived after that",
    BuildsFromMisses: "builds asked for by misses",
    Wakes: "builds after a backoff",
    Lookups: "lookups begun",
    LookupErrors: "lookups that erred or panicked",
    LookupsLate: "lookups past their deadline",
    LookupsImpatient: "askers whose patience ended",
    Commits: "commits",
    NotDone: "commits that certainly failed",
    LostDone: "answers lost, and done",
    LostNotDone: "answers lost, and not done",
    Unknown: "answers lost, and never told",
    Ghosts: "commits done after nobody waited",
    Moot: "changes with nothing to do",
    InPlace: "changes in place",
    Pending: "changes pending",
    Closings: "closings",
    AutoClosed: "closed by the relay",
    Reopened: "reopened by the relay",
    Deleted: "channels deleted",
    Created: "channels created",
    Held: "abilities held or let go",
    Moved: "models moved between groups",
    Swapped: "channels swapped in one commit",
    KeysReplaced: "keys replaced",
    KeysDeleted: "keys deleted",
    KeysClosed: "keys closed by an operator",
    Strangers: "commits that no node made",
    ByHand: "statuses written by hand",
    Rotted: "rows that rotted",
    Repaired: "rows repaired",
    LastGood: "installed with a row that could not be read",
    Floods: "floods of misses",
    Outages: "outages",
    ReportOk: "reported: ok",
    ReportBusy: "reported: busy",
    ReportBroken: "reported: broken",
    ReportSilent: "reported: silent",
    ReportRefused: "reported: refused",
    ReportNotHere: "reported: not_here",
    ReportGone: "reported: gone",
    ProviderWords: "providers' own words",
    FirstEvents: "first events",
    Remembered: "answers remembered",
    AtHome: "granted where an answer was remembered",
    Calms: "runs that came to rest",
}

#[derive(Clone, Debug)]
pub struct Coverage([u64; EVENTS.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Coverage([0; EVENTS.len()])
    }
}

impl Coverage {
    pub fn note(&mut self, happened: Happened) {
        self.0[happened as usize] += 1;
    }

    pub fn add(&mut self, other: &Coverage) {
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(sum, more)| *sum += more);
    }

    pub fn missing(&self) -> Vec<&'static str> {
        let never = EVENTS.iter().filter(|(event, _)| self.0[*event as usize] == 0);
        never.map(|(_, words)| *words).collect()
    }

    pub fn print(&self) {
        for (event, words) in EVENTS {
            println!("{:>14}  {words}", self.0[*event as usize]);
        }
    }
}
