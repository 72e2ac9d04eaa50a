//! What a sweep saw: one run that is left alone, and how others differed from it, for people.

use std::collections::BTreeMap;
use std::fmt;

use crate::failure::{Code, Failure};

/// What a sweep saw.
#[derive(Debug)]
pub struct Sweep<O> {
    /// The result of a run that is left alone.
    pub result: Result<O, Failure>,
    /// The points at which something was done to it, in the order in which the run passed them.
    pub points: Vec<&'static str>,
    /// What happened otherwise.
    pub differences: Vec<Difference>,
}

/// How a run to which something was done differed from the one that was left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The number of the point; operations of the store come after all points.
    pub point: usize,
    /// What was done there.
    pub done: String,
    /// A sentence about how it differed.
    pub what: String,
}

impl<O: fmt::Debug> Sweep<O> {
    /// Says that the run had the same end everywhere, and every effect was applied once under one key.
    ///
    /// # Panics
    /// If it did not; the message has a sentence for each thing that differed, and where it did.
    pub fn holds(&self) -> &Result<O, Failure> {
        assert!(self.differences.is_empty(), "{}", Report(&self.differences));
        assert!(!self.points.is_empty(), "the run passed no points");
        &self.result
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Came<O> {
    Ended(Result<O, Failure>),
    /// It did not end; a sentence says why.
    Stopped(String),
}

impl<O: fmt::Debug> Came<O> {
    /// The result; a run that did not end has failed.
    pub(super) fn into_result(self) -> Result<O, Failure> {
        match self {
            Self::Ended(result) => result,
            Self::Stopped(why) => Err(Failure::new(Code::FailedPrecondition, why)),
        }
    }

    /// In a sentence.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Ended(Ok(output)) => format!("the run succeeds with {output:?}"),
            Self::Ended(Err(failure)) => format!("the run fails with {}: {}", failure.code(), failure.message()),
            Self::Stopped(why) => why.clone(),
        }
    }
}

/// Differences, those that are the same together.
struct Report<'a>(&'a [Difference]);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut same: BTreeMap<&str, Vec<&Difference>> = BTreeMap::new();
        for difference in self.0 {
            same.entry(&difference.what).or_default().push(difference);
        }
        let mut same: Vec<_> = same.into_iter().collect();
        same.sort_by_key(|(_, places)| places[0].point);
        f.write_str("the run differs from one that is left alone:")?;
        for (what, places) in same {
            let Difference { point, done, .. } = places[0];
            write!(f, "\n  {what}\n    if {done} (point {point}; points like this: {})", places.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_told_once_with_its_first_place() {
        let difference =
            |point, done: &str, what: &str| Difference { point, done: done.to_owned(), what: what.to_owned() };
        let differences = [
            difference(3, "the replica is killed before send", "Put did not happen"),
            difference(1, "the replica is killed after append", "Charge is in doubt"),
            difference(5, "the replica is killed after send", "Put did not happen"),
        ];
        assert_eq!(
            Report(&differences).to_string(),
            "the run differs from one that is left alone:\n  Charge is in doubt\n    if the replica is killed after append \
             (point 1; points like this: 1)\n  Put did not happen\n    if the replica is killed before send (point 3; points like this: 2)"
        );
    }
}
