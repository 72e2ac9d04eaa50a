//! What becomes of a tick while earlier runs continue, and of ticks that no one was there for.

use std::time::Duration;

use super::spec::MAX_SPAN;

/// Most ticks that wait for a run to end.
pub const MAX_BUFFERED: u32 = 400;
/// Most runs that a schedule may have at the same time by `AllowN`.
pub const MAX_ALLOWED: u32 = 10_000;
/// Most ticks that are made up for after an outage.
pub const MAX_CATCH_UP: u32 = 1_000;

/// How the ticks of a schedule are dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What a tick does while earlier runs have not ended.
    pub overlap: Overlap,
    /// Which ticks are made up for after an outage.
    pub catch_up: CatchUp,
    /// After so many runs that its ticks started the schedule is over.
    pub run_limit: Option<u64>,
    /// Whether a run that fails pauses the schedule.
    pub pause_on_failure: bool,
    /// How long a run may take; the workflow's own where none is said. It is never without end (semantics.md S3).
    pub deadline: Option<Duration>,
}

impl Policy {
    /// Checks the bounds of a policy.
    ///
    /// # Errors
    /// The first field that is out of bounds, and what is allowed.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let Self { overlap, catch_up, run_limit, deadline, .. } = self;
        let beyond = |field, value: String, allowed: String| Err((field, format!("{value} is not allowed; {allowed}")));
        match overlap {
            Overlap::AllowN(most) if !(1..=MAX_ALLOWED).contains(most) => {
                return beyond("overlap_limit", most.to_string(), format!("1 to {MAX_ALLOWED} are"));
            }
            Overlap::BufferAll(most) if !(1..=MAX_BUFFERED).contains(most) => {
                return beyond("overlap_limit", most.to_string(), format!("1 to {MAX_BUFFERED} are"));
            }
            _ => {}
        }
        if !(1..=MAX_CATCH_UP).contains(&catch_up.limit) {
            return beyond("catch_up_limit", catch_up.limit.to_string(), format!("1 to {MAX_CATCH_UP} are"));
        }
        if catch_up.window > MAX_SPAN {
            return beyond("catch_up_window", format!("{:?}", catch_up.window), format!("at most {MAX_SPAN:?} is"));
        }
        if *run_limit == Some(0) {
            return beyond("run_limit", "0".to_owned(), "1 and more are".to_owned());
        }
        match deadline {
            Some(time) if !(Duration::from_millis(1)..=MAX_SPAN).contains(time) => {
                beyond("deadline", format!("{deadline:?}"), format!("1ms to {MAX_SPAN:?} are"))
            }
            _ => Ok(()),
        }
    }
}

/// Longest name of a schedule, in bytes.
pub const MAX_NAME_BYTES: usize = 63;

/// What a tick does while runs of its schedule have not ended. One that is paused, blocked or needs a decision has not
/// (semantics.md S3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Overlap {
    /// It starts nothing.
    Skip,
    /// It waits for their end. Where one waits already, it starts nothing.
    BufferOne,
    /// It waits for their end, behind those that wait already; where so many do, it starts nothing.
    BufferAll(u32),
    /// It starts its run beside them.
    AllowAll,
    /// It starts its run beside them, where fewer than so many continue.
    AllowN(u32),
    /// It asks them to end, and its run waits for that.
    CancelOther,
}

/// Which ticks are made up for that came while no replica was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatchUp {
    /// All, the last one, or none.
    pub mode: CatchUpMode,
    /// Only those that are not older than this,
    pub window: Duration,
    /// and at most so many, the latest.
    pub limit: u32,
}

/// How many of the ticks that were missed are made up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CatchUpMode {
    /// Every one within the window and the limit.
    All,
    /// Only the latest.
    Last,
    /// None.
    None,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            overlap: Overlap::Skip,
            catch_up: CatchUp::default(),
            run_limit: None,
            pause_on_failure: false,
            deadline: None,
        }
    }
}

impl Default for CatchUp {
    /// The last one, if it is less than a day old.
    fn default() -> Self {
        Self { mode: CatchUpMode::Last, window: Duration::from_secs(24 * 3_600), limit: 100 }
    }
}

/// What is to be done with a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start its run.
    Start,
    /// Start nothing.
    Skip,
    /// Wait for the end of a run.
    Buffer,
    /// Start nothing, because no more may wait.
    BufferFull,
    /// Ask the others to end, and start behind them.
    Replace,
}

/// Decides by the number of runs that have not ended and of ticks that wait.
pub(crate) const fn decide(overlap: Overlap, open: usize, buffered: u32) -> Verdict {
    match overlap {
        Overlap::AllowAll => Verdict::Start,
        Overlap::AllowN(most) => {
            if open < most as usize {
                Verdict::Start
            } else {
                Verdict::Skip
            }
        }
        _ if open == 0 && buffered == 0 => Verdict::Start,
        Overlap::Skip => Verdict::Skip,
        Overlap::BufferOne => {
            if buffered == 0 {
                Verdict::Buffer
            } else {
                Verdict::BufferFull
            }
        }
        Overlap::BufferAll(most) => {
            if buffered < most {
                Verdict::Buffer
            } else {
                Verdict::BufferFull
            }
        }
        Overlap::CancelOther => Verdict::Replace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_that_meets_nothing_starts_under_every_policy() {
        for overlap in [
            Overlap::Skip,
            Overlap::BufferOne,
            Overlap::BufferAll(3),
            Overlap::AllowAll,
            Overlap::AllowN(1),
            Overlap::CancelOther,
        ] {
            assert_eq!(decide(overlap, 0, 0), Verdict::Start, "{overlap:?}");
        }
    }

    #[test]
    fn a_tick_that_meets_runs_does_as_its_policy_says() {
        assert_eq!(decide(Overlap::Skip, 1, 0), Verdict::Skip);
        assert_eq!(
            [0, 1].map(|buffered| decide(Overlap::BufferOne, 1, buffered)),
            [Verdict::Buffer, Verdict::BufferFull]
        );
        assert_eq!(
            [2, 3].map(|buffered| decide(Overlap::BufferAll(3), 1, buffered)),
            [Verdict::Buffer, Verdict::BufferFull]
        );
        // What waits comes first, also where the run before it has just ended.
        assert_eq!(decide(Overlap::BufferAll(3), 0, 1), Verdict::Buffer);
        assert_eq!(decide(Overlap::AllowAll, 900, 0), Verdict::Start);
        assert_eq!([1, 2].map(|open| decide(Overlap::AllowN(2), open, 0)), [Verdict::Start, Verdict::Skip]);
        assert_eq!(decide(Overlap::CancelOther, 1, 0), Verdict::Replace);
    }
}
