//! What is to be done with the nominal times that have come: which start a run, and why others do not.

use std::time::Duration;

use super::policy::{CatchUp, CatchUpMode};
use super::timetable::Timetable;
use crate::time::Timestamp;
use uuid::Uuid;

/// A tick that is dealt with this long after its time came is not late: nothing was missed.
pub(crate) const ON_TIME: Duration = Duration::from_secs(10);
/// Nominal times that are looked at one by one, at most. What lies before them is counted no more.
const COUNTED: usize = 10_000;

/// Nominal times that start nothing, one after the other, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// How many there are, at least.
    pub(crate) count: u64,
    pub(crate) why: Why,
}

/// Why a nominal time starts nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Excluded,
    /// Older than the catch-up window.
    BeforeWindow,
    /// More were missed than are made up for.
    OverLimit,
    /// Only the last one is made up for.
    NotLast,
    /// None is made up for.
    NoCatchUp,
}

/// One thing to do, in the order of the nominal times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Passed(Passed),
    Start(Timestamp),
}

/// What to do about the times after `mark` that have come by `until`, where the schedule is looked at now. A time has
/// come once its jitter is over, so that a wait for that is no lateness.
pub(crate) fn turns(
    timetable: &Timetable,
    catch_up: &CatchUp,
    uid: Uuid,
    mark: Timestamp,
    until: Timestamp,
) -> Vec<Turn> {
    let mut turns = Vec::new();
    let due = |nominal: Timestamp| nominal.after(timetable.jitter(uid, nominal));
    let oldest = until.before(catch_up.window.max(ON_TIME));
    let mut after = mark;
    // A long outage is not gone through time by time.
    if let Some(uncounted) = long_gap(timetable, mark, oldest.before(timetable.spec().jitter)) {
        after = uncounted.last;
        turns.push(Turn::Passed(uncounted));
    }
    let times: Vec<_> =
        timetable.following(after).take_while(|nominal| due(nominal.at) <= until).take(COUNTED + 1).collect();
    let starts = times.iter().filter(|nominal| !nominal.excluded && due(nominal.at) >= oldest).count();
    let late = until.before(ON_TIME);
    let mut seen = 0;
    for nominal in times {
        let why = if nominal.excluded {
            Some(Why::Excluded)
        } else if due(nominal.at) < oldest {
            Some(Why::BeforeWindow)
        } else {
            seen += 1;
            let behind = starts - seen;
            match catch_up.mode {
                // What has just come is no outage's.
                _ if due(nominal.at) >= late => None,
                CatchUpMode::None => Some(Why::NoCatchUp),
                CatchUpMode::Last => (behind > 0).then_some(Why::NotLast),
                CatchUpMode::All => (behind >= catch_up.limit as usize).then_some(Why::OverLimit),
            }
        };
        match (why, turns.last_mut()) {
            (None, _) => turns.push(Turn::Start(nominal.at)),
            (Some(why), Some(Turn::Passed(passed))) if passed.why == why => {
                passed.last = nominal.at;
                passed.count += 1;
            }
            (Some(why), _) => {
                turns.push(Turn::Passed(Passed { first: nominal.at, last: nominal.at, count: 1, why }));
            }
        }
    }
    turns
}

/// The times before the window, where there are more than are counted.
fn long_gap(timetable: &Timetable, mark: Timestamp, oldest: Timestamp) -> Option<Passed> {
    let first = timetable.next(mark)?.at;
    let last = timetable.previous(oldest)?.at;
    let counted = timetable.following(mark).take_while(|nominal| nominal.at <= last).take(COUNTED).count();
    (counted == COUNTED).then_some(Passed { first, last, count: COUNTED as u64, why: Why::BeforeWindow })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Spec;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_micros(minutes * 60_000_000)
    }

    fn minutely(mode: CatchUpMode, window: u64, limit: u32, mark: i64, until: i64) -> Vec<Turn> {
        let catch_up = CatchUp { mode, window: Duration::from_secs(window * 60), limit };
        turns(&Timetable::new(Spec::every(MINUTE)).unwrap(), &catch_up, Uuid::nil(), at(mark), at(until))
    }

    fn passed(first: i64, last: i64, why: Why) -> Turn {
        let count = u64::try_from(last - first + 1).unwrap();
        Turn::Passed(Passed { first: at(first), last: at(last), count, why })
    }

    #[test]
    fn what_has_just_come_starts_in_every_mode() {
        for mode in [CatchUpMode::All, CatchUpMode::Last, CatchUpMode::None] {
            assert_eq!(minutely(mode, 0, 0, 9, 10), [Turn::Start(at(10))], "{mode:?}");
        }
    }

    #[test]
    fn the_last_one_is_made_up_for_and_the_others_say_why_not() {
        let turns = minutely(CatchUpMode::Last, 5, 100, 0, 10);
        assert_eq!(turns, [passed(1, 4, Why::BeforeWindow), passed(5, 9, Why::NotLast), Turn::Start(at(10))]);
    }

    #[test]
    fn all_are_made_up_for_within_window_and_limit() {
        let turns = minutely(CatchUpMode::All, 5, 3, 0, 10);
        let starts = [8, 9, 10].map(|minute| Turn::Start(at(minute)));
        assert_eq!(turns, [&[passed(1, 4, Why::BeforeWindow), passed(5, 7, Why::OverLimit)][..], &starts].concat());
    }

    #[test]
    fn a_long_outage_is_one_entry_that_counts_no_further() {
        let spec = Spec::every(Duration::from_secs(1));
        let timetable = Timetable::new(spec).unwrap();
        let catch_up = CatchUp { mode: CatchUpMode::Last, window: MINUTE, limit: 1 };
        let turns = turns(&timetable, &catch_up, Uuid::nil(), at(0), at(365 * 24 * 60));
        let [Turn::Passed(long), Turn::Passed(rest), .., Turn::Start(last)] = &turns[..] else { panic!("{turns:?}") };
        assert_eq!((long.count, long.why, *last), (COUNTED as u64, Why::BeforeWindow, at(365 * 24 * 60)));
        assert!(long.last < rest.first && rest.first.since(long.last) <= Duration::from_secs(1));
    }

    #[test]
    fn a_wait_for_jitter_is_no_lateness() {
        let timetable = Timetable::new(Spec { jitter: 60 * MINUTE, ..Spec::every(24 * 60 * MINUTE) }).unwrap();
        let catch_up = CatchUp { mode: CatchUpMode::None, window: MINUTE, limit: 1 };
        let jitter = timetable.jitter(Uuid::nil(), at(24 * 60));
        assert!(jitter > MINUTE);
        let looked = |until| turns(&timetable, &catch_up, Uuid::nil(), at(0), until);
        assert_eq!(looked(at(24 * 60).after(jitter - Duration::from_secs(1))), []);
        assert_eq!(looked(at(24 * 60).after(jitter)), [Turn::Start(at(24 * 60))]);
    }

    #[test]
    fn excluded_times_are_told_apart() {
        let mut spec = Spec::every(MINUTE);
        spec.exclude.patterns.push("5 * * * *".to_owned());
        let catch_up = CatchUp { mode: CatchUpMode::All, window: 60 * MINUTE, limit: 100 };
        let turns = turns(&Timetable::new(spec).unwrap(), &catch_up, Uuid::nil(), at(3), at(6));
        assert_eq!(turns, [Turn::Start(at(4)), passed(5, 5, Why::Excluded), Turn::Start(at(6))]);
    }
}
