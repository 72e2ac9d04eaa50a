//! How a run begins: new, or from its journal, fact by fact in their order (semantics.md F2, F3).

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::code::{Code, replay_into};
use super::mode::{Mode, Stop};
use super::poison::{CrashCount, take_turn};
use super::steps::{Position, position};
use super::undoing::NoUndos;
use super::{CANCEL, Driver, Exit, Mailbox, PAUSE, Residence};
use crate::authoring::context::Context;
use crate::authoring::workflow::Definition;
use crate::environment::Environment;
use crate::history::{History, PendingStep, ReplayCursor, journal_within, move_facts};
use crate::journal::{JournalError, decode_entry};
use crate::journal_v1 as stored;
use crate::run::{Starter, created_fact, row_of};
use crate::scope::{Intent, RunInfo, ScheduleInfo, Scope};
use crate::store::{NewRun, RunRow};
use crate::undo::Undoable;

impl Driver {
    /// A start that is not durable yet: its first append creates it.
    pub(super) fn begin(
        shared: Arc<Environment>,
        residence: Residence,
        workflow: Arc<Definition>,
        run: Box<NewRun>,
        started: Starter,
        input: Bytes,
    ) -> Self {
        let row = row_of(&run);
        let past = ReplayCursor::none(run.created_at);
        let about = RunInfo {
            run: run.id,
            workflow: workflow.name,
            version: run.workflow_version,
            signals: workflow.signals,
            depth: run.parent.map_or(0, |parent| parent.depth),
            // A tick's run is created pending, and comes from its journal.
            schedule: None,
        };
        let scope = Scope::new(about, Arc::clone(&shared.limits), shared.clock.clone(), past);
        let mut driver = Self::new(shared, residence, workflow, row, input, scope);
        driver.record(created_fact(&run, &driver.workflow, driver.input.clone()));
        driver.writes.create(run, started);
        driver.mode = Mode::Running(driver.new_future());
        driver
    }

    /// A claimed run: reads its journal and brings its code to where it was.
    pub(super) async fn load(
        shared: Arc<Environment>,
        residence: Residence,
        workflow: Arc<Definition>,
        claimed: RunRow,
        journal: Option<Bytes>,
    ) -> Result<Box<Self>, Exit> {
        let sequence = claimed.sequence;
        let row = Self::heard(&shared, &residence.mailbox, claimed).await?;
        let read = match journal.filter(|_| row.sequence == sequence) {
            Some(entry) => Ok(known(sequence, entry)),
            None => journal_within(&*shared.store, row.id, shared.limits.journal_bytes).await,
        };
        let facts = match read {
            Ok(facts) => facts,
            Err(error) => {
                tracing::warn!(run = %row.id, %error, "journal not read");
                return Err(Exit::Lost);
            }
        };
        let mut journal_bytes = 0;
        let history = facts.and_then(|(mut facts, bytes)| {
            journal_bytes = bytes;
            move_facts(&row, &mut facts);
            let found = facts.len() as u64;
            if found == row.sequence {
                History::of(&row, facts)
            } else {
                Err(JournalError::Length { found, expected: row.sequence })
            }
        });
        let mut history = match history {
            Ok(history) => history,
            Err(error) => return Ok(Box::new(Self::unreadable(shared, residence, workflow, row, &error))),
        };
        let input = history.created.input.take().unwrap_or_default().value;
        let past = std::mem::take(&mut history.past);
        let unread = match row.messages {
            0 => Ok(Vec::new()),
            _ => shared.store.inbox(row.id, 0).await,
        };
        let unread = unread.map_err(|error| {
            tracing::warn!(run = %row.id, %error, "inbox not read");
            Exit::Lost
        })?;
        take_turn(&shared, &row, &history.crashes).await;
        let created = &history.created;
        let (version, depth) = (created.workflow_version, created.depth);
        let schedule = ScheduleInfo::of(created);
        let about =
            RunInfo { run: row.id, workflow: workflow.name, version, signals: workflow.signals, depth, schedule };
        let scope = Scope::new(about, Arc::clone(&shared.limits), shared.clock.clone(), past);
        let (cancelled, paused) = (row.cancel_requested.is_some(), row.paused.is_some());
        let mut driver = Self::new(shared, residence, workflow, row, input, scope);
        driver.writes.journal_bytes = journal_bytes;
        driver.find_inbox(std::mem::take(&mut history.returned), unread);
        if cancelled {
            driver.mailbox.send(CANCEL);
        }
        if paused {
            driver.mailbox.send(PAUSE);
        }
        driver.restore(history);
        Ok(Box::new(driver))
    }

    /// The row of a claimed run with all that it was told while the claim was on its way (S8).
    async fn heard(shared: &Environment, mailbox: &Mailbox, claimed: RunRow) -> Result<RunRow, Exit> {
        if !mailbox.take_from_outside() {
            return Ok(claimed);
        }
        match shared.store.run(claimed.id).await {
            Ok(Some(row)) if row.epoch == claimed.epoch && row.owned => Ok(row),
            Ok(_) => Err(Exit::Lost),
            Err(error) => {
                tracing::warn!(run = %claimed.id, %error, "run not read");
                Err(Exit::Lost)
            }
        }
    }

    pub(super) fn new_future(&self) -> Code {
        let ctx = Context::root(Arc::clone(&self.scope));
        let begun = self.workflow.begin(ctx, self.input.clone());
        let code = Code::new(begun, self.scope.current_run(), Arc::clone(&self.mailbox));
        code.leaving(self.shared.safeguards.breadcrumbs.clone(), self.row.id)
    }

    /// A journal that cannot be read is left unchanged, and the run is blocked.
    fn unreadable(
        shared: Arc<Environment>,
        residence: Residence,
        workflow: Arc<Definition>,
        row: RunRow,
        error: &JournalError,
    ) -> Self {
        tracing::error!(run = %row.id, %error, "journal cannot be read");
        let version = row.workflow_version;
        let (signals, schedule) = (workflow.signals, None);
        let about = RunInfo { run: row.id, workflow: workflow.name, version, signals, depth: 0, schedule };
        let scope = Scope::new(about, Arc::clone(&shared.limits), shared.clock.clone(), ReplayCursor::default());
        let mut driver = Self::new(shared, residence, workflow, row, Bytes::new(), scope);
        // Nothing ends a run whose open steps are not known; not even its deadline.
        driver.row.deadline = crate::time::Timestamp::from_micros(i64::MAX);
        driver.stop(Stop::Unreadable { reason: format!("JOURNAL_UNREADABLE: {error}") });
        driver
    }

    fn restore(&mut self, history: History) {
        let History { replay, seen, open, ending, mut undoables, crashes, .. } = history;
        self.undoing.any = !undoables.is_empty();
        if let Some(ending) = ending {
            self.resume_ending(ending);
            if self.must_undo() {
                self.undoing.plan = Some(std::mem::take(&mut undoables));
            }
        }
        self.crashes = CrashCount::of(&crashes, self.shared.clock.now());
        // What stopped the code does not stop its undos, unless code has to say them.
        let no_code = self.mode.is_ending() && !self.undoing.plan.iter().flatten().any(Undoable::needs_code);
        if self.has_crashed() && !no_code {
            self.reopen_unreached(open);
            self.stop_crashed();
            return;
        }
        if self.mode.is_ending() {
            let found = self.find_undos(replay, seen);
            self.reopen_unreached(open);
            match found {
                Ok(()) => {}
                Err(NoUndos::Fault(fault)) => return self.block(fault),
                Err(NoUndos::Panicked(panicked)) => return self.panicked(panicked),
            }
            // Sleeps were dropped when the end began; only what may have happened is waited for.
            self.cancel_waits();
            self.conclude();
            return;
        }
        let mut code = self.new_future();
        let finished = match replay_into(&self.scope, &mut code, replay, seen) {
            Ok(finished) => finished,
            Err(fault) => {
                self.reopen_unreached(open);
                self.fault(fault);
                return;
            }
        };
        let mut intents = self.scope.take_intents();
        if let Err(panicked) = self.make_missing_undos(&mut undoables, &mut intents) {
            self.reopen_unreached(open);
            return self.panicked(panicked);
        }
        self.scope.replayed();
        // Code that is about to be stopped begins nothing that its journal does not have (S6, S8).
        let begins = finished.is_some() || !self.mailbox.has(CANCEL | PAUSE);
        self.resume(open, intents, begins);
        match finished {
            Some(result) => self.finished(result),
            // What it asked for may have stopped it.
            None => match self.scope.fault() {
                Some(fault) => self.fault(fault),
                None if self.mode.is_stopped() || self.mode.is_ending() => {}
                None => self.mode.set_running(code),
            },
        }
    }

    /// Continues what is open, and begins what code asks for beyond the journal, if it may begin anything.
    fn resume(&mut self, mut open: BTreeMap<Position, PendingStep>, intents: Vec<Intent>, begins: bool) {
        for intent in intents {
            let asked = match &intent {
                Intent::Call(call) => Some((call.slot, &call.place)),
                Intent::Child(child) => Some((child.slot, &child.place)),
                Intent::Sleep { slot, place, .. } | Intent::Signal { slot, place, .. } => Some((*slot, place)),
                Intent::Fact(_) | Intent::RaceDecided { .. } => None,
            };
            let step = asked.and_then(|(slot, place)| open.remove(&position(place)).map(|step| (slot, step)));
            match (step, intent) {
                (Some((slot, step)), Intent::Call(call)) => self.reopen(slot, step, Some(*call)),
                (Some((slot, step)), _) => self.reopen(slot, step, None),
                (None, intent) if begins => self.start_intent(intent),
                (None, _) => {}
            }
        }
        if self.scope.was_reset() {
            self.steps.hold(open);
        } else {
            self.reopen_unreached(open);
        }
    }

    /// Steps that the journal has open and code did not reach: they settle all the same.
    pub(super) fn reopen_unreached(&mut self, open: BTreeMap<Position, PendingStep>) {
        for step in open.into_values() {
            // Code has no slot for them.
            let slot = self.steps.detached_slot();
            self.reopen(slot, step, None);
        }
    }
}

/// The facts of a journal that is known without reading it, and how many bytes they have.
fn known(sequence: u64, entry: Bytes) -> Result<(Vec<stored::Fact>, usize), JournalError> {
    let bytes = entry.len();
    decode_entry(sequence, entry).map(|facts| (facts, bytes))
}
