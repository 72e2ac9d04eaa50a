//! What is to be done with the nominal times that have come: which start a run, and why others do not.

use std::time::Duration;

use super::policy::{CatchUp, CatchUpMode};
use super::timetable::{Nominal, Timetable};
use crate::time::Timestamp;
use uuid::Uuid;

/// A tick that is dealt with this long after its time came is not late: nothing was missed.
pub(crate) const ON_TIME: Duration = Duration::from_secs(10);
/// Nominal times that are looked at one by one, at most. What lies before them is counted no more.
const COUNTED: usize = 10_000;
/// Nominal times of one look, at most.
const LOOKED_AT: usize = 3 * COUNTED;

/// Nominal times that start nothing, one after the other, for one reason and from one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed<C> {
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
    /// How many there are, at least.
    pub(crate) count: u64,
    pub(crate) why: Why,
    /// What they were late for.
    pub(crate) cause: C,
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
pub(crate) enum Turn<C> {
    Passed(Passed<C>),
    Start(Timestamp),
    /// The time started its run before the clock was set back: nothing is left to do about it.
    Known(Timestamp),
}

/// The times of a schedule that are to be dealt with.
pub(crate) struct Come<'a> {
    pub(crate) timetable: &'a Timetable,
    pub(crate) catch_up: &'a CatchUp,
    pub(crate) uid: Uuid,
    /// They are later than this,
    pub(crate) mark: Timestamp,
    /// and have come by this: a time has come once its jitter is over, so that a wait for that is no lateness.
    pub(crate) until: Timestamp,
    /// Later times than the mark that have started their runs already, in order.
    pub(crate) known: &'a [Timestamp],
}

impl Come<'_> {
    fn due(&self, nominal: Timestamp) -> Timestamp {
        nominal.after(self.timetable.jitter(self.uid, nominal))
    }

    fn is_known(&self, nominal: Timestamp) -> bool {
        self.known.binary_search(&nominal).is_ok()
    }

    /// What to do about them. `cause` says what a time that came at this moment is late for.
    pub(crate) fn turns<C: PartialEq>(&self, cause: impl Fn(Timestamp) -> C) -> Vec<Turn<C>> {
        let Self { catch_up, until, .. } = *self;
        let oldest = until.before(catch_up.window.max(ON_TIME));
        let mut turns = Vec::new();
        let mut times = self.times(self.mark, COUNTED + 1);
        if times.len() > COUNTED {
            let after = self.pass_in_bulk(oldest, &mut turns, &cause);
            times = self.times(after, LOOKED_AT);
        }
        // The last of those that are looked at is not the last that came.
        let others_follow = times.len() == LOOKED_AT;
        let may_start =
            |nominal: &Nominal| !nominal.excluded && !self.is_known(nominal.at) && self.due(nominal.at) >= oldest;
        let starts = times.iter().filter(|nominal| may_start(nominal)).count();
        let late = until.before(ON_TIME);
        let mut seen = 0;
        for nominal in times {
            let due = self.due(nominal.at);
            if self.is_known(nominal.at) {
                turns.push(Turn::Known(nominal.at));
                continue;
            }
            let why = if nominal.excluded {
                Some(Why::Excluded)
            } else if due < oldest {
                Some(Why::BeforeWindow)
            } else {
                seen += 1;
                let behind = if others_follow { usize::MAX } else { starts - seen };
                match catch_up.mode {
                    // What has just come is no outage's.
                    _ if due >= late => None,
                    CatchUpMode::None => Some(Why::NoCatchUp),
                    CatchUpMode::Last => (behind > 0).then_some(Why::NotLast),
                    CatchUpMode::All => (behind >= catch_up.limit as usize).then_some(Why::OverLimit),
                }
            };
            let Some(why) = why else {
                turns.push(Turn::Start(nominal.at));
                continue;
            };
            let cause = cause(due);
            match turns.last_mut() {
                Some(Turn::Passed(passed)) if passed.why == why && passed.cause == cause => {
                    passed.last = nominal.at;
                    passed.count += 1;
                }
                _ => turns.push(Turn::Passed(Passed { first: nominal.at, last: nominal.at, count: 1, why, cause })),
            }
        }
        turns
    }

    fn times(&self, after: Timestamp, most: usize) -> Vec<Nominal> {
        let times = self.timetable.following(after);
        times.take_while(|nominal| self.due(nominal.at) <= self.until).take(most).collect()
    }

    /// A long outage is not gone through time by time: neither what lies before the window, nor what lies before those that
    /// may be made up for. Says after which time the others are.
    fn pass_in_bulk<C>(
        &self,
        oldest: Timestamp,
        turns: &mut Vec<Turn<C>>,
        cause: &impl Fn(Timestamp) -> C,
    ) -> Timestamp {
        let mut after = self.mark;
        let outside = oldest.before(self.timetable.spec().jitter);
        let inside = match self.catch_up.mode {
            CatchUpMode::All => Why::OverLimit,
            CatchUpMode::Last => Why::NotLast,
            CatchUpMode::None => Why::NoCatchUp,
        };
        for (before, why) in [(outside, Why::BeforeWindow), (self.tail(), inside)] {
            if let Some((first, last)) = self.long_gap(after, before) {
                after = last;
                let cause = cause(self.due(last));
                turns.push(Turn::Passed(Passed { first, last, count: COUNTED as u64, why, cause }));
            }
        }
        after
    }

    /// The first of those late times that may be made up for.
    fn tail(&self) -> Timestamp {
        let mut tail = self.until.before(ON_TIME).before(self.timetable.spec().jitter);
        let most = match self.catch_up.mode {
            CatchUpMode::All => self.catch_up.limit,
            CatchUpMode::Last => 1,
            CatchUpMode::None => 0,
        };
        let mut starts = 0;
        for _ in 0..COUNTED {
            let Some(nominal) = self.timetable.previous(tail).filter(|_| starts < most) else { break };
            tail = nominal.at;
            starts += u32::from(!nominal.excluded && !self.is_known(nominal.at));
        }
        tail
    }

    /// The first and the last time between these two, if there are more than are counted.
    fn long_gap(&self, after: Timestamp, before: Timestamp) -> Option<(Timestamp, Timestamp)> {
        // A row does not stand for a time that has one already.
        let before = self.known.iter().find(|known| **known > after).map_or(before, |known| before.min(*known));
        let first = self.timetable.next(after)?.at;
        let last = self.timetable.previous(before)?.at;
        let counted = self.timetable.following(after).take_while(|nominal| nominal.at <= last).take(COUNTED);
        (counted.count() == COUNTED).then_some((first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Spec;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_micros(minutes * 60_000_000)
    }

    fn minutely(mode: CatchUpMode, window: u64, limit: u32, mark: i64, until: i64) -> Vec<Turn<()>> {
        let catch_up = CatchUp { mode, window: Duration::from_secs(window * 60), limit };
        turns(&Timetable::new(Spec::every(MINUTE)).unwrap(), &catch_up, at(mark), at(until))
    }

    fn turns(timetable: &Timetable, catch_up: &CatchUp, mark: Timestamp, until: Timestamp) -> Vec<Turn<()>> {
        Come { timetable, catch_up, uid: Uuid::nil(), mark, until, known: &[] }.turns(|_| ())
    }

    fn passed(first: i64, last: i64, why: Why) -> Turn<()> {
        let count = u64::try_from(last - first + 1).unwrap();
        Turn::Passed(Passed { first: at(first), last: at(last), count, why, cause: () })
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
        let turns = turns(&timetable, &catch_up, at(0), at(365 * 24 * 60));
        let [Turn::Passed(long), Turn::Passed(rest), .., Turn::Start(last)] = &turns[..] else { panic!("{turns:?}") };
        assert_eq!((long.count, long.why, *last), (COUNTED as u64, Why::BeforeWindow, at(365 * 24 * 60)));
        assert!(long.last < rest.first && rest.first.since(long.last) <= Duration::from_secs(1));
    }

    #[test]
    fn a_long_outage_within_the_window_is_made_up_for_as_a_short_one() {
        let timetable = Timetable::new(Spec::every(Duration::from_secs(1))).unwrap();
        for (mode, limit, why, late) in [
            (CatchUpMode::Last, 7, Why::NotLast, 0),
            (CatchUpMode::All, 7, Why::OverLimit, 0),
            (CatchUpMode::None, 7, Why::NoCatchUp, 0),
            (CatchUpMode::All, 100, Why::OverLimit, 89),
        ] {
            let catch_up = CatchUp { mode, window: 24 * 60 * MINUTE, limit };
            let turns = turns(&timetable, &catch_up, at(0), at(20 * 60));
            let starts = turns.iter().filter(|turn| matches!(turn, Turn::Start(_))).count();
            // Those of the last ten seconds are not late.
            assert_eq!(starts, 11 + late, "{mode:?} {limit}");
            let Turn::Passed(first) = &turns[0] else { panic!("{turns:?}") };
            assert_eq!((first.first, first.why), (at(0).after(Duration::from_secs(1)), why));
            assert!(turns.len() < 120, "{mode:?}: {}", turns.len());
        }
    }

    #[test]
    fn what_started_before_the_clock_was_set_back_has_its_row() {
        let timetable = Timetable::new(Spec::every(MINUTE)).unwrap();
        let catch_up = CatchUp { mode: CatchUpMode::Last, window: 60 * MINUTE, limit: 1 };
        let known = [3, 10].map(at);
        let come = Come {
            timetable: &timetable,
            catch_up: &catch_up,
            uid: Uuid::nil(),
            mark: at(0),
            until: at(10),
            known: &known,
        };
        let late = |at: Timestamp| at.as_micros() / 60_000_000 < 5;
        let told = |first, last, cause| {
            let count = u64::try_from(last - first + 1).unwrap();
            Turn::Passed(Passed { first: at(first), last: at(last), count, why: Why::NotLast, cause })
        };
        let expected = [
            told(1, 2, true),
            Turn::Known(at(3)),
            told(4, 4, true),
            told(5, 8, false),
            Turn::Start(at(9)),
            Turn::Known(at(10)),
        ];
        assert_eq!(come.turns(late), expected);
    }

    #[test]
    fn a_wait_for_jitter_is_no_lateness() {
        let timetable = Timetable::new(Spec { jitter: 60 * MINUTE, ..Spec::every(24 * 60 * MINUTE) }).unwrap();
        let catch_up = CatchUp { mode: CatchUpMode::None, window: MINUTE, limit: 1 };
        let jitter = timetable.jitter(Uuid::nil(), at(24 * 60));
        assert!(jitter > MINUTE);
        let looked = |until| turns(&timetable, &catch_up, at(0), until);
        assert_eq!(looked(at(24 * 60).after(jitter - Duration::from_secs(1))), []);
        assert_eq!(looked(at(24 * 60).after(jitter)), [Turn::Start(at(24 * 60))]);
    }

    #[test]
    fn excluded_times_are_told_apart() {
        let mut spec = Spec::every(MINUTE);
        spec.exclude.patterns.push("5 * * * *".to_owned());
        let catch_up = CatchUp { mode: CatchUpMode::All, window: 60 * MINUTE, limit: 100 };
        let turns = turns(&Timetable::new(spec).unwrap(), &catch_up, at(3), at(6));
        assert_eq!(turns, [Turn::Start(at(4)), passed(5, 5, Why::Excluded), Turn::Start(at(6))]);
    }
}
