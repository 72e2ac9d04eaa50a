//! Journals as text for people: one line a fact, without ids and times, so that a test can say what it expects.

use std::collections::HashMap;
use std::fmt;

use expect_test::Expect;
use jiff::SignedDuration;

use crate::journal::{Kind, Steps, load_failure};
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
/// If the texts differ.
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
    steps: Steps,
    /// How a fact says that a step is over without a result, by the number of its start.
    over: HashMap<u64, &'static str>,
}

impl Reader {
    fn line(&mut self, sequence: u64, fact: stored::Fact) -> String {
        let at = fact.time_micros;
        let Some(kind) = fact.kind else { return "of a kind that this release does not know".to_owned() };
        let path = match self.steps.of(sequence, &kind) {
            Ok(step) => step.unwrap_or_default().to_string(),
            Err(error) => return error.to_string(),
        };
        match kind {
            Kind::Created(created) => beginning(&created),
            Kind::StepStarted(started) => {
                let what = self.start(sequence, &started);
                self.begins(sequence, &path, "done", &what)
            }
            Kind::AttemptStarted(attempt) => format!("{path} attempt {}", attempt.attempt),
            Kind::AttemptFailed(failed) => {
                let known = short(failed.outcome().as_str_name(), "OUTCOME_");
                let then = if failed.retry_at_micros == 0 { "needs a decision" } else { "again" };
                let failure = said(failed.failure);
                format!("{path} attempt {} {known}, {failure}; {then}", failed.attempt)
            }
            Kind::StepSettled(settled) => self.end(&path, settled),
            Kind::Recorded(_) => format!("{path} recorded"),
            Kind::SleepStarted(sleep) => {
                let what = format!("sleeps for {}", span(at, sleep.until_micros));
                self.begins(sequence, &path, "woke", &what)
            }
            Kind::SignalAwaited(wait) => {
                let within = match wait.until_micros {
                    0 => String::new(),
                    until => format!(" for {}", span(at, until)),
                };
                self.begins(sequence, &path, "expired", &format!("awaits {}{within}", wait.type_name))
            }
            Kind::ChildStarted(child) => {
                let again = again(child.incarnation);
                self.begins(sequence, &path, "ended", &format!("starts {}{again}", child.workflow))
            }
            Kind::FanOutStarted(fanned) => {
                let twice = match fanned.duplicates.len() {
                    0 => String::new(),
                    duplicates => format!(", {duplicates} of them duplicates"),
                };
                format!("{path} fans out over {}{twice}", fanned.width)
            }
            Kind::BranchStarted(branched) => format!("{path} begins {}", branched.path),
            Kind::RaceDecided(raced) => {
                let withdrawn: Vec<_> = raced.withdrawn.iter().map(|step| self.path(sequence, *step)).collect();
                let without =
                    if withdrawn.is_empty() { String::new() } else { format!(", {} withdrawn", withdrawn.join(", ")) };
                format!("{path} won by step {}{without}", raced.winner)
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
                format!("{path} decided by {}, {then}: {}", decided.caller, decided.reason)
            }
            Kind::CrashRecorded(crash) => {
                let kind = short(crash.kind().as_str_name(), "CRASH_KIND_");
                if crash.message.is_empty() { kind.to_owned() } else { format!("{kind}: {}", crash.message) }
            }
            Kind::BackOffSkipped(_) => format!("{path} does not wait for its next attempt"),
        }
    }

    /// A step that later facts name by this number.
    fn begins(&mut self, sequence: u64, path: &str, over: &'static str, what: &str) -> String {
        self.over.insert(sequence, over);
        format!("{path} {what}")
    }

    fn path(&self, sequence: u64, step: u64) -> String {
        self.steps.started(sequence, step).map_or_else(|error| error.to_string(), ToString::to_string)
    }

    fn start(&self, sequence: u64, started: &stored::StepStarted) -> String {
        let mut what = format!("started {}", short(started.level().as_str_name(), "LEVEL_"));
        what += &again(started.incarnation);
        if let Some(undo) = &started.undo {
            what += &format!(", undone by {}", undo.method.rsplit('/').next().unwrap_or(&undo.method));
        }
        if started.undo_by_response {
            what += ", undone by its response";
        }
        if started.undoes != 0 {
            what += &format!(", takes back {}", self.path(sequence, started.undoes));
        }
        what
    }

    fn end(&self, path: &str, settled: stored::StepSettled) -> String {
        let known = short(settled.outcome().as_str_name(), "OUTCOME_");
        let over = self.over.get(&settled.step).copied().unwrap_or("done");
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
