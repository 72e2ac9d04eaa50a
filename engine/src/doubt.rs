//! Whether the attempts of an effect may have acted (semantics.md E6, E7): the one rule that the driver, the reader of a
//! journal, the view of a run and a retry share.

use crate::journal_v1::Outcome;
use crate::rpc::Level;
use crate::time::Timestamp;

/// What is known of all attempts that were made under the key of one effect.
///
/// Nothing but an operator's word ends a doubt: what a later attempt says is no news of an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doubt {
    known: Known,
    /// Whether an attempt was begun and its end is not known: it is under way, or a crash cut it off.
    under_way: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    /// No attempt whose end is known has acted.
    #[default]
    NotActed,
    /// One may have acted.
    MayHaveActed,
    /// One may have acted, and an operator allows the next attempt all the same.
    Allowed,
}

impl Doubt {
    /// An attempt begins. The end of the one before it, if that is not known, will not be known.
    pub(crate) fn begin(&mut self) {
        self.cut_off();
        self.under_way = true;
    }

    /// The attempt under way, if there is one, was cut off: its end will not be known.
    pub(crate) fn cut_off(&mut self) {
        if std::mem::take(&mut self.under_way) {
            self.known = Known::MayHaveActed;
        }
    }

    /// The attempt failed in this way.
    pub(crate) fn fail(&mut self, outcome: Outcome) {
        self.under_way = false;
        match outcome {
            Outcome::NotSent => {}
            // What an operator allowed was made, and says nothing of the attempts before it.
            Outcome::Refused if self.known == Known::NotActed => {}
            // Unspecified: it was answered, and the answer is of no use.
            Outcome::Refused | Outcome::Ambiguous | Outcome::Unspecified => self.known = Known::MayHaveActed,
        }
    }

    /// An operator says to make the call again, once.
    pub(crate) fn allow(&mut self) {
        *self = Self { known: Known::Allowed, under_way: false };
    }

    /// An operator says that it did not happen.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether an operator allows the next attempt.
    pub(crate) fn is_allowed(self) -> bool {
        self.known == Known::Allowed && !self.under_way
    }

    /// Whether an attempt may have acted.
    pub(crate) fn exists(self) -> bool {
        self.under_way || self.known != Known::NotActed
    }

    /// Whether only an operator can say what becomes of an effect of this level that was started then.
    pub(crate) fn needs_decision(self, level: Level, started: Option<Timestamp>, now: Timestamp) -> bool {
        (self.under_way || self.known == Known::MayHaveActed) && !level.may_repeat(started, now)
    }
}

#[cfg(test)]
mod tests {
    use super::{Doubt, Level, Outcome, Timestamp};

    fn after(steps: impl Fn(&mut Doubt)) -> Doubt {
        let mut doubt = Doubt::default();
        steps(&mut doubt);
        doubt
    }

    fn needs_decision(doubt: Doubt) -> bool {
        doubt.needs_decision(Level::Unknown, None, Timestamp::from_micros(0))
    }

    #[test]
    fn a_refusal_after_an_attempt_that_may_have_acted_leaves_the_doubt() {
        for refusal in [Outcome::Refused, Outcome::NotSent] {
            let lost = after(|doubt| {
                doubt.begin();
                doubt.fail(Outcome::Ambiguous);
                doubt.begin();
                doubt.fail(refusal);
            });
            assert!(lost.exists() && needs_decision(lost));
            let cut_off = after(|doubt| {
                doubt.begin();
                doubt.begin();
                doubt.fail(refusal);
            });
            assert!(cut_off.exists() && needs_decision(cut_off));
            let refused = after(|doubt| {
                doubt.begin();
                doubt.fail(refusal);
            });
            assert!(!refused.exists());
        }
    }

    #[test]
    fn an_operator_allows_one_attempt_and_that_leaves_the_doubt() {
        let mut doubt = after(|doubt| {
            doubt.begin();
            doubt.fail(Outcome::Ambiguous);
            doubt.allow();
        });
        assert!(doubt.exists() && !needs_decision(doubt));
        doubt.begin();
        doubt.fail(Outcome::NotSent);
        assert!(!needs_decision(doubt), "it was not made");
        doubt.begin();
        let mut refused = doubt;
        refused.fail(Outcome::Refused);
        doubt.cut_off();
        assert!(needs_decision(doubt) && needs_decision(refused));
    }

    #[test]
    fn an_operator_says_that_it_did_not_happen_and_the_doubt_is_gone() {
        let doubt = after(|doubt| {
            doubt.begin();
            doubt.clear();
        });
        assert!(!doubt.exists());
    }
}
