//! Cron patterns of the Open Cron Pattern Specification, increments 1.0 to 1.4: which local times a pattern names.
//!
//! A pattern knows no zone: times here are seconds since 1970-01-01 on a local clock that never changes. Searches go by
//! fields, a month at a time, and end with the last year that a pattern can name, so each takes bounded time.

mod days;
mod error;
mod parse;
#[cfg(test)]
mod tests;

pub use error::{CronError, Field};

use days::Days;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// The years that a pattern can name, as the specification recommends.
pub const YEARS: std::ops::RangeInclusive<i16> = 1970..=2199;
/// Longest pattern, in bytes.
pub const MAX_PATTERN: usize = 1_024;

const DAY: i64 = 86_400;

/// A pattern that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    /// A bit for each value that matches.
    seconds: u64,
    minutes: u64,
    hours: u32,
    months: u16,
    days: Days,
    /// A bit for each year from the first of [`YEARS`] on; none where every year matches.
    years: Option<[u64; 4]>,
    /// Whether the pattern has a field for seconds.
    names_seconds: bool,
}

impl Cron {
    /// Reads a pattern of five to seven fields, or a nickname.
    ///
    /// # Errors
    /// If it is not one, with the field, the column and what would be right.
    pub fn parse(pattern: &str) -> Result<Self, CronError> {
        parse::cron(pattern)
    }

    /// Whether the pattern comes several times an hour, or every hour: its times follow each other, and none stands for
    /// a day.
    pub const fn repeats_within_hours(&self) -> bool {
        self.hours.count_ones() == 24 || self.minutes.count_ones() * self.seconds.count_ones() > 1
    }

    /// The same, and refuses a pattern that names no time at all.
    ///
    /// # Errors
    /// Also where no day matches, as on 31 February.
    pub fn useful(pattern: &str) -> Result<Self, CronError> {
        let cron = Self::parse(pattern)?;
        if cron.at_or_after(0).is_some() { Ok(cron) } else { Err(parse::never(pattern)) }
    }

    /// Whether this local time is one of the pattern.
    pub fn matches(&self, local: i64) -> bool {
        let (Some(at), Some([hour, minute, second])) = (civil(local), clock(local.rem_euclid(DAY))) else {
            return false;
        };
        bit(self.hours.into(), hour)
            && bit(self.minutes, minute)
            && bit(self.seconds, second)
            && self.on_day(at.year(), at.month(), at.day())
    }

    /// Whether the pattern has a time in the same minute, where it names no seconds; otherwise, whether it has this
    /// time.
    pub fn covers(&self, local: i64) -> bool {
        self.matches(if self.names_seconds { local } else { local - local.rem_euclid(60) })
    }

    /// The first local time of the pattern that is not before `from`.
    pub fn at_or_after(&self, from: i64) -> Option<i64> {
        let from = from.max(0);
        let at = civil(from)?;
        let (mut year, mut month) = (at.year(), at.month());
        let mut first_day = at.day();
        if self.on_day(year, month, first_day)
            && let Some(time) = self.time_at_or_after(from.rem_euclid(DAY))
        {
            return Some(from - from.rem_euclid(DAY) + time);
        }
        first_day += 1;
        let time = self.time_at_or_after(0)?;
        while year <= *YEARS.end() {
            if self.in_year(year) {
                while month <= 12 {
                    // The day after the 31st is no bit of these.
                    let days =
                        self.days_of(year, month) & u32::MAX.checked_shl(first_day.cast_unsigned().into()).unwrap_or(0);
                    if days != 0 {
                        return Some(start_of(year, month, days.trailing_zeros())? + time);
                    }
                    (month, first_day) = (month + 1, 1);
                }
            }
            (year, month, first_day) = (year + 1, 1, 1);
        }
        None
    }

    /// The last local time of the pattern that is not after `from`.
    pub fn at_or_before(&self, from: i64) -> Option<i64> {
        let from = from.min(start_of(*YEARS.end() + 1, 1, 1)? - 1);
        let at = civil(from)?;
        let (mut year, mut month) = (at.year(), at.month());
        let mut last_day = at.day();
        if self.on_day(year, month, last_day)
            && let Some(time) = self.time_at_or_before(from.rem_euclid(DAY))
        {
            return Some(from - from.rem_euclid(DAY) + time);
        }
        last_day -= 1;
        let time = self.time_at_or_before(DAY - 1)?;
        while year >= *YEARS.start() {
            if self.in_year(year) {
                while month >= 1 {
                    let days = self.days_of(year, month) & !(u32::MAX << 1 << last_day);
                    if days != 0 {
                        return Some(start_of(year, month, 31 - days.leading_zeros())? + time);
                    }
                    (month, last_day) = (month - 1, 31);
                }
            }
            (year, month, last_day) = (year - 1, 12, 31);
        }
        None
    }

    fn on_day(&self, year: i16, month: i8, day: i8) -> bool {
        self.in_year(year) && self.days_of(year, month) & (1 << day) != 0
    }

    /// The days of a month that match, a bit for each, the first at position 1.
    fn days_of(&self, year: i16, month: i8) -> u32 {
        if self.months & (1 << month) == 0 { 0 } else { self.days.of(year, month) }
    }

    fn in_year(&self, year: i16) -> bool {
        let Ok(position) = usize::try_from(year - YEARS.start()) else { return false };
        match &self.years {
            None => year <= *YEARS.end(),
            Some(years) => years.get(position / 64).is_some_and(|bits| bits & (1 << (position % 64)) != 0),
        }
    }

    /// The first time of day that is not before this one, in seconds.
    fn time_at_or_after(&self, time: i64) -> Option<i64> {
        let [hour, minute, second] = clock(time)?;
        if bit(self.hours.into(), hour) {
            if bit(self.minutes, minute)
                && let Some(second) = lowest_from(self.seconds, second)
            {
                return Some(of_clock(hour, minute, second));
            }
            if let Some(minute) = lowest_from(self.minutes, minute + 1) {
                return Some(of_clock(hour, minute, lowest_from(self.seconds, 0)?));
            }
        }
        let hour = lowest_from(self.hours.into(), hour + 1)?;
        Some(of_clock(hour, lowest_from(self.minutes, 0)?, lowest_from(self.seconds, 0)?))
    }

    /// The last time of day that is not after this one, in seconds.
    fn time_at_or_before(&self, time: i64) -> Option<i64> {
        let [hour, minute, second] = clock(time)?;
        if bit(self.hours.into(), hour) {
            if bit(self.minutes, minute)
                && let Some(second) = highest_below(self.seconds, second + 1)
            {
                return Some(of_clock(hour, minute, second));
            }
            if let Some(minute) = highest_below(self.minutes, minute) {
                return Some(of_clock(hour, minute, highest_below(self.seconds, 60)?));
            }
        }
        let hour = highest_below(self.hours.into(), hour)?;
        Some(of_clock(hour, highest_below(self.minutes, 60)?, highest_below(self.seconds, 60)?))
    }
}

/// The date and time that a local clock shows after this many seconds.
pub(super) fn civil(local: i64) -> Option<DateTime> {
    Some(Offset::UTC.to_datetime(jiff::Timestamp::from_second(local).ok()?))
}

/// The local second in which a day begins.
fn start_of(year: i16, month: i8, day: u32) -> Option<i64> {
    let date = jiff::civil::Date::new(year, month, i8::try_from(day).ok()?).ok()?;
    Some(Offset::UTC.to_timestamp(date.to_datetime(jiff::civil::Time::midnight())).ok()?.as_second())
}

fn clock(time: i64) -> Option<[u32; 3]> {
    let time = u32::try_from(time).ok()?;
    Some([time / 3_600, time / 60 % 60, time % 60])
}

fn of_clock(hour: u32, minute: u32, second: u32) -> i64 {
    i64::from(hour * 3_600 + minute * 60 + second)
}

const fn bit(bits: u64, position: u32) -> bool {
    bits & (1 << position) != 0
}

/// The lowest bit at or above a position, which is at most 60.
fn lowest_from(bits: u64, position: u32) -> Option<u32> {
    let rest = bits & (u64::MAX << position);
    (rest != 0).then(|| rest.trailing_zeros())
}

/// The highest bit below a position, which is at most 60.
fn highest_below(bits: u64, position: u32) -> Option<u32> {
    let rest = bits & !(u64::MAX << position);
    (rest != 0).then(|| 63 - rest.leading_zeros())
}
