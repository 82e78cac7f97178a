//! From samples to figures: a median and its spread over the rounds.

use std::fmt;

use serde::Serialize;

use crate::cases::Case;
use crate::memory::MemoryFigures;
use crate::rounds::Sample;

/// The median of the rounds, the least and the most of them.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().saturating_sub(1);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Spread {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            least: at(0),
            most: at(last),
        }
    }
}

/// `{:.1}` sets the digits of all three.
impl fmt::Display for Spread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = formatter.precision().unwrap_or(2);
        let text = format!(
            "{:.digits$} ({:.digits$}..{:.digits$})",
            self.median, self.least, self.most
        );
        formatter.pad_integral(true, "", &text)
    }
}

/// One case: of each round, what each target gave.
pub struct CaseFigures {
    pub case: &'static Case,
    pub rounds: Vec<Round>,
}

/// The three that were measured one right after the other.
pub struct Round {
    pub direct: Sample,
    pub nginx: Sample,
    pub pointsman: Sample,
}

/// What one of a round's targets gave.
pub type OfTarget = fn(&Round) -> &Sample;

impl CaseFigures {
    /// Any figure of a round, over the rounds. Ratios and differences are taken within each round.
    pub fn spread(&self, figure: impl Fn(&Round) -> f64) -> Spread {
        Spread::of(self.rounds.iter().map(figure))
    }

    /// CPU per request, Pointsman against nginx.
    pub fn cpu_ratio(&self) -> Spread {
        self.spread(|round| cpu(&round.pointsman) / cpu(&round.nginx))
    }
}

/// Of a relay; of the straight way there is none.
pub fn cpu(sample: &Sample) -> f64 {
    sample.cpu_us.unwrap_or(f64::NAN)
}

/// All that was found.
pub struct Figures {
    pub cases: Vec<CaseFigures>,
    pub memory: Option<MemoryFigures>,
    pub start_ms: Option<Spread>,
}

impl Figures {
    /// A case, if it was measured.
    pub fn case(&self, name: &str) -> Option<&CaseFigures> {
        self.cases
            .iter()
            .find(|figures| figures.case.name == name && !figures.rounds.is_empty())
    }
}
