//! A spec that was checked: gives its nominal times, forwards and backwards, each search in bounded time.

use std::time::Duration;

use uuid::Uuid;

use super::cron::Cron;
use super::local::Local;
use super::spec::{
    DstGap, DstOverlap, MAX_EXCLUDED_DATES, MAX_EXCLUDED_PATTERNS, MAX_RULES, MAX_SPAN, MIN_INTERVAL, Rule, Spec,
    SpecError,
};
use super::zone::Zone;
use crate::identity;
use crate::time::Timestamp;

const SECOND: i64 = 1_000_000;
/// Excluded times that are passed in search of one that is not, before a spec is said to have none.
const TRIED: usize = 10_000;

/// The nominal times of a schedule.
#[derive(Clone, Debug)]
pub struct Timetable {
    spec: Spec,
    zone: Zone,
    rules: Vec<Times>,
    excluded: Vec<Cron>,
}

/// A rule that was read.
#[derive(Clone, Debug)]
enum Times {
    Every { interval: i64, phase: i64 },
    Cron { cron: Box<Cron>, gap: DstGap, overlap: DstOverlap },
    At(Timestamp),
}

/// One nominal time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nominal {
    /// The nominal time.
    pub at: Timestamp,
    /// Whether the exclusions name it; nothing is started then.
    pub excluded: bool,
}

impl Timetable {
    /// Checks a spec, and says every policy that it leaves open.
    ///
    /// # Errors
    /// If it cannot be kept, with the field and what would be right.
    pub fn new(mut spec: Spec) -> Result<Self, SpecError> {
        bounded("rules", spec.rules.len(), MAX_RULES)?;
        bounded("exclude.dates", spec.exclude.dates.len(), MAX_EXCLUDED_DATES)?;
        bounded("exclude.cron", spec.exclude.patterns.len(), MAX_EXCLUDED_PATTERNS)?;
        if spec.rules.is_empty() {
            return Err(SpecError::NoRules);
        }
        if spec.jitter > MAX_SPAN {
            return Err(SpecError::Jitter { found: spec.jitter });
        }
        if let (Some(start), Some(end)) = (spec.start, spec.end)
            && start >= end
        {
            return Err(SpecError::Bounds { start, end });
        }
        let zone = Zone::named(if spec.zone.is_empty() { "UTC" } else { &spec.zone })?;
        zone.name().clone_into(&mut spec.zone);
        spec.exclude.dates.sort_unstable();
        spec.exclude.dates.dedup();
        let rules =
            spec.rules.iter_mut().enumerate().map(|(index, rule)| times(index, rule)).collect::<Result<_, _>>()?;
        let excluded = (spec.exclude.patterns.iter().enumerate())
            .map(|(index, pattern)| Cron::useful(pattern).map_err(|error| SpecError::Exclusion { index, error }))
            .collect::<Result<_, _>>()?;
        let timetable = Self { spec, zone, rules, excluded };
        if timetable.has_times() { Ok(timetable) } else { Err(SpecError::Never) }
    }

    fn has_times(&self) -> bool {
        let mut excluded = 0;
        for nominal in self.following(Timestamp::from_micros(-1)).take(TRIED) {
            if !nominal.excluded {
                return true;
            }
            excluded += 1;
        }
        // Others may follow very many.
        excluded == TRIED
    }

    /// The spec with its effective policies: this is what is stored and shown.
    pub const fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The zone of cron patterns and dates.
    pub const fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The first nominal time that is later.
    pub fn next(&self, after: Timestamp) -> Option<Nominal> {
        let after = self.spec.start.map_or(after, |start| after.max(earlier(start)));
        let at = self.rules.iter().filter_map(|rule| rule.next(after, &self.zone)).min()?;
        self.spec.end.is_none_or(|end| at < end).then(|| self.nominal(at))
    }

    /// The last nominal time that is earlier.
    pub fn previous(&self, before: Timestamp) -> Option<Nominal> {
        let before = self.spec.end.map_or(before, |end| before.min(end));
        let at = self.rules.iter().filter_map(|rule| rule.previous(before, &self.zone)).max()?;
        self.spec.start.is_none_or(|start| at >= start).then(|| self.nominal(at))
    }

    /// Nominal times one after the other, all later than this.
    pub fn following(&self, after: Timestamp) -> impl Iterator<Item = Nominal> {
        let mut last = after;
        std::iter::from_fn(move || {
            let nominal = self.next(last)?;
            last = nominal.at;
            Some(nominal)
        })
    }

    /// How long after its nominal time a tick starts its run: the same for every replica and after every restart.
    pub fn jitter(&self, schedule: Uuid, nominal: Timestamp) -> Duration {
        let most = u64::try_from(self.spec.jitter.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(identity::spread(schedule, nominal, most))
    }

    fn nominal(&self, at: Timestamp) -> Nominal {
        let local = self.zone.local_second(at.as_micros().div_euclid(SECOND));
        let excluded = self.excluded.iter().any(|cron| cron.covers(local))
            || (!self.spec.exclude.dates.is_empty()
                && super::cron::civil(local)
                    .is_some_and(|local| self.spec.exclude.dates.binary_search(&local.date()).is_ok()));
        Nominal { at, excluded }
    }
}

fn bounded(what: &'static str, found: usize, max: usize) -> Result<(), SpecError> {
    if found > max { Err(SpecError::TooMany { what, found, max }) } else { Ok(()) }
}

/// Reads a rule, and writes into it the policies that it leaves open.
fn times(index: usize, rule: &mut Rule) -> Result<Times, SpecError> {
    match rule {
        Rule::Every { interval, phase } => {
            let found = *interval;
            if !(MIN_INTERVAL..=MAX_SPAN).contains(&found) {
                return Err(SpecError::Interval { index, found });
            }
            if *phase >= found {
                return Err(SpecError::Phase { index, phase: *phase, interval: found });
            }
            Ok(Times::Every { interval: micros(found), phase: micros(*phase) })
        }
        Rule::Cron { pattern, gap, overlap } => {
            let cron = Cron::useful(pattern).map_err(|error| SpecError::Cron { index, error })?;
            let repeats = cron.repeats_within_hours();
            // A time of day stands for its day, which has one; a rhythm within hours continues as clocks do.
            let gap = *gap.get_or_insert(if repeats { DstGap::Skip } else { DstGap::EndOfGap });
            let overlap = *overlap.get_or_insert(if repeats { DstOverlap::Both } else { DstOverlap::First });
            Ok(Times::Cron { cron: Box::new(cron), gap, overlap })
        }
        Rule::At(at) => Ok(Times::At(*at)),
    }
}

impl Times {
    /// The first time that is later.
    fn next(&self, after: Timestamp, zone: &Zone) -> Option<Timestamp> {
        match self {
            Self::Every { interval, phase } => {
                let periods = (after.as_micros().saturating_sub(*phase)).div_euclid(*interval).checked_add(1)?;
                periods.checked_mul(*interval)?.checked_add(*phase).map(Timestamp::from_micros)
            }
            Self::Cron { cron, gap, overlap } => {
                let local = Local { cron, zone, gap: *gap, overlap: *overlap };
                local.at_or_after(after.as_micros().div_euclid(SECOND) + 1).map(of_second)
            }
            Self::At(at) => Some(*at).filter(|at| *at > after),
        }
    }

    /// The last time that is earlier.
    fn previous(&self, before: Timestamp, zone: &Zone) -> Option<Timestamp> {
        match self {
            Self::Every { interval, phase } => {
                let periods = earlier(before).as_micros().saturating_sub(*phase).div_euclid(*interval);
                periods.checked_mul(*interval)?.checked_add(*phase).map(Timestamp::from_micros)
            }
            Self::Cron { cron, gap, overlap } => {
                let local = Local { cron, zone, gap: *gap, overlap: *overlap };
                local.at_or_before(earlier(before).as_micros().div_euclid(SECOND)).map(of_second)
            }
            Self::At(at) => Some(*at).filter(|at| *at < before),
        }
    }
}

const fn earlier(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_sub(1))
}

const fn of_second(second: i64) -> Timestamp {
    Timestamp::from_micros(second.saturating_mul(SECOND))
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
