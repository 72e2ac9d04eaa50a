//! Journals as text for people: one line a fact, without ids and times, so that a test can say what it expects.

use std::collections::HashMap;
use std::fmt;

use expect_test::Expect;
use jiff::SignedDuration;

use crate::journal::{Kind, load_failure};
use crate::journal_v1 as stored;
use crate::step_id::path;

/// A run's journal, to be read. Each line begins with what it speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    lines: Vec<String>,
}

/// Says that a journal, or anything else that has a text, reads as expected. Where it does not, the difference is shown,
/// and `UPDATE_EXPECT=1` in the environment of the test writes what it found into the source.
///
/// # Panics
/// Where the texts differ.
pub fn check(found: &impl fmt::Display, expected: &Expect) {
    expected.assert_eq(&found.to_string());
}

impl Journal {
    /// Reads facts in their order, from the first one of the run on.
    pub fn read(facts: impl IntoIterator<Item = stored::Fact>) -> Self {
        let mut reader = Reader::default();
        let lines = (1..).zip(facts).map(|(sequence, fact)| reader.line(sequence, fact)).collect();
        Self { lines }
    }

    /// The facts, a line each.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Knows the steps that later facts name by the number of their start.
#[derive(Default)]
struct Reader {
    started: HashMap<u64, Started>,
}

struct Started {
    path: String,
    /// How a fact says that it is over without a result.
    over: &'static str,
}

impl Reader {
    fn line(&mut self, sequence: u64, fact: stored::Fact) -> String {
        let at = fact.time_micros;
        let Some(kind) = fact.kind else { return "of a kind that this release does not know".to_owned() };
        match kind {
            Kind::Created(created) => beginning(&created),
            Kind::StepStarted(started) => {
                let what = self.start(&started);
                self.begins(sequence, started.place, "done", &what)
            }
            Kind::AttemptStarted(attempt) => format!("{} attempt {}", self.path(attempt.step, None), attempt.attempt),
            Kind::AttemptFailed(failed) => {
                let path = self.path(failed.step, failed.place.as_ref());
                let known = short(failed.outcome().as_str_name(), "OUTCOME_");
                let then = if failed.retry_at_micros == 0 { "needs a decision" } else { "again" };
                let failure = said(failed.failure);
                format!("{path} attempt {} {known}, {failure}; {then}", failed.attempt)
            }
            Kind::StepSettled(settled) => self.end(settled),
            Kind::Recorded(recorded) => format!("{} recorded", of(recorded.place.as_ref())),
            Kind::SleepStarted(sleep) => {
                let what = format!("sleeps for {}", span(at, sleep.until_micros));
                self.begins(sequence, sleep.place, "woke", &what)
            }
            Kind::SignalAwaited(wait) => {
                let within = match wait.until_micros {
                    0 => String::new(),
                    until => format!(" for {}", span(at, until)),
                };
                self.begins(sequence, wait.place, "expired", &format!("awaits {}{within}", wait.type_name))
            }
            Kind::ChildStarted(child) => {
                let again = again(child.incarnation);
                self.begins(sequence, child.place, "ended", &format!("starts {}{again}", child.workflow))
            }
            Kind::FanOutStarted(fanned) => {
                let twice = match fanned.duplicates.len() {
                    0 => String::new(),
                    duplicates => format!(", {duplicates} of them duplicates"),
                };
                format!("{} fans out over {}{twice}", of(fanned.place.as_ref()), fanned.width)
            }
            Kind::BranchStarted(branched) => format!("{} begins {}", of(branched.place.as_ref()), branched.path),
            Kind::RaceDecided(raced) => {
                let withdrawn: Vec<_> = raced.withdrawn.iter().map(|step| self.path(*step, None)).collect();
                let without =
                    if withdrawn.is_empty() { String::new() } else { format!(", {} withdrawn", withdrawn.join(", ")) };
                format!("{} won by step {}{without}", of(raced.place.as_ref()), raced.winner)
            }
            Kind::Ending(ending) => {
                let state = short(ending.ending_as().as_str_name(), "END_STATE_");
                format!(
                    "ending as {state}{}",
                    ending.failure.map_or_else(String::new, |failure| format!(": {}", said(Some(failure))))
                )
            }
            Kind::Ended(ended) => {
                let state = short(ended.state().as_str_name(), "END_STATE_");
                match ended.result {
                    Some(stored::ended::Result::Failure(failure)) => format!("ended {state}: {}", said(Some(failure))),
                    _ => format!("ended {state}"),
                }
            }
            Kind::Reset(reset) => {
                let from = match &reset.place {
                    Some(place) if !place.name.is_empty() => format!(" from {}", of(Some(place))),
                    _ => String::new(),
                };
                let key = if reset.new_incarnation { ", under a new key" } else { "" };
                let ending = if reset.keeps_ending { ", to its end" } else { "" };
                format!("retried{from}{key}{ending}: {}", reset.reason)
            }
            Kind::Decided(decided) => {
                let then = if decided.ask_again { "ask again" } else { "settled" };
                let path = self.path(decided.step, None);
                format!("{path} decided by {}, {then}: {}", decided.caller, decided.reason)
            }
            Kind::CrashRecorded(crash) => {
                let kind = short(crash.kind().as_str_name(), "CRASH_KIND_");
                if crash.message.is_empty() { kind.to_owned() } else { format!("{kind}: {}", crash.message) }
            }
            Kind::BackOffSkipped(skipped) => {
                format!("{} does not wait for its next attempt", self.path(skipped.step, skipped.place.as_ref()))
            }
        }
    }

    /// A step that later facts name by this number.
    fn begins(&mut self, sequence: u64, place: Option<stored::Place>, over: &'static str, what: &str) -> String {
        let path = of(place.as_ref());
        let line = format!("{path} {what}");
        self.started.insert(sequence, Started { path, over });
        line
    }

    fn path(&self, step: u64, place: Option<&stored::Place>) -> String {
        self.started.get(&step).map_or_else(|| of(place), |started| started.path.clone())
    }

    fn start(&self, started: &stored::StepStarted) -> String {
        let mut what = format!("started {}", short(started.level().as_str_name(), "LEVEL_"));
        what += &again(started.incarnation);
        if let Some(undo) = &started.undo {
            what += &format!(", undone by {}", undo.method.rsplit('/').next().unwrap_or(&undo.method));
        }
        if started.undo_by_response {
            what += ", undone by its response";
        }
        if started.undoes != 0 {
            what += &format!(", takes back {}", self.path(started.undoes, None));
        }
        what
    }

    fn end(&self, settled: stored::StepSettled) -> String {
        let path = self.path(settled.step, settled.place.as_ref());
        let known = short(settled.outcome().as_str_name(), "OUTCOME_");
        let over = self.started.get(&settled.step).map_or("done", |started| started.over);
        let mut line = match settled.result {
            Some(stored::step_settled::Result::Failure(failure)) => {
                let known = if known == "UNSPECIFIED" { String::new() } else { format!(" {known},") };
                format!("{path} failed{known} {}", said(Some(failure)))
            }
            Some(stored::step_settled::Result::Response(_)) if over == "expired" => format!("{path} received"),
            _ => format!("{path} {over}"),
        };
        if settled.attempts > 1 {
            line += &format!(", attempt {}", settled.attempts);
        }
        if settled.repeated {
            line += ", an earlier attempt may be why";
        }
        if settled.undone {
            line += ", nothing to take back";
        }
        line
    }
}

fn beginning(created: &stored::Created) -> String {
    let mut line = format!("created {}", created.workflow);
    if created.workflow_version > 1 {
        line += &format!(" version {}", created.workflow_version);
    }
    if !created.schedule.is_empty() {
        line += &format!(" by schedule {}", created.schedule);
    }
    if !created.parent.is_empty() {
        line += " as a child";
    }
    line
}

fn of(place: Option<&stored::Place>) -> String {
    place.map_or_else(|| "a step without a place".to_owned(), |place| path(&place.branch, &place.name, place.position))
}

fn said(failure: Option<stored::Failure>) -> String {
    let Some(failure) = failure else { return "without a failure".to_owned() };
    load_failure(failure).to_string()
}

/// The time for which something waits, to the millisecond.
fn span(from: i64, until: i64) -> String {
    format!("{:#}", SignedDuration::from_millis(until.saturating_sub(from).max(0) / 1_000))
}

/// Of a step that was made before.
fn again(incarnation: u32) -> String {
    if incarnation > 1 { format!(", incarnation {incarnation}") } else { String::new() }
}

fn short(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}
