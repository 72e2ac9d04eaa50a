//! One run as one task: polls its code, makes its steps, keeps its journal.
//!
//! The loop has one order: code runs until it waits, what it asked for is prepared, one append carries everything
//! that was learned and everything that is about to start, and only then the starts are sent.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};
use uuid::Uuid;

use crate::authoring::workflow::Definition;
use crate::claim::Claim;
use crate::environment::Environment;
use crate::failure::{Code as StatusCode, Failure};
use crate::history::{PendingKind, PendingStep};
use crate::limits::Limit;
use crate::mailbox::{self, CANCEL, DRAIN, GIVE_UP, LOST, MESSAGE, Mailbox, PAUSE, STOP_CLOCK};
use crate::run::{Ended, Starter};
use crate::scope::{Fault, Scope};
use crate::state::State;
use crate::store::{NewRun, RunRow};
use crate::time::Timestamp;

use children::Children;
pub(crate) use dry_run::{ReplayError, dry_run};
use inbox::Inbox;
use mode::{Mode, Stop};
use poison::CrashCount;
use steps::Steps;
use undoing::Undoing;
use writes::Writes;

mod append;
mod attempt;
mod begin;
mod call_step;
mod children;
mod code;
mod commit;
mod dry_run;
mod ending;
mod foreign;
mod give_back;
mod in_flight;
mod inbox;
mod mode;
mod operator_commands;
mod outage;
mod outcome;
mod pausing;
mod plan;
mod poison;
mod races;
mod replay;
mod settle;
mod status;
mod step;
mod steps;
mod undoing;
mod writes;

/// What a run begins with.
pub(crate) enum DriverStart {
    /// A start that is not durable yet; the caller gets its answer when it is.
    New { run: Box<NewRun>, started: Starter, input: Bytes },
    /// A run that was claimed; its journal is read first, unless it was just created with this as its only entry.
    Claimed { row: Box<RunRow>, journal: Option<Bytes> },
}

impl DriverStart {
    pub(crate) fn claimed(row: RunRow) -> Self {
        Self::Claimed { row: Box::new(row), journal: None }
    }
}

/// Why a run left memory.
#[derive(Debug)]
pub(crate) enum Exit {
    /// Told to those who wait once the run has left memory: who comes later finds it in the store.
    Ended(Box<Ended>),
    /// Given back; due again at this time, or only by a command.
    Released(Option<Timestamp>),
    /// The claim or the store was lost; another claim will find the run.
    Lost,
}

/// What the driver of a run and the rest of the replica have in common.
pub(crate) struct Residence {
    pub(crate) mailbox: Arc<Mailbox>,
    /// The claim that the run was created or claimed under, or an earlier one: one that comes later is for other runs.
    pub(crate) claim: Arc<dyn Claim>,
}

pub(crate) struct Driver {
    shared: Arc<Environment>,
    mailbox: Arc<Mailbox>,
    claim: Arc<dyn Claim>,
    workflow: Arc<Definition>,
    /// The row as of the last durable append.
    row: RunRow,
    input: Bytes,
    scope: Arc<Scope>,
    mode: Mode,
    steps: Steps,
    writes: Writes,
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
    inbox: Inbox,
    children: Children,
    undoing: Undoing,
    /// What its code did to its replica.
    crashes: CrashCount,
}

impl Driver {
    fn new(
        shared: Arc<Environment>,
        residence: Residence,
        workflow: Arc<Definition>,
        row: RunRow,
        input: Bytes,
        scope: Scope,
    ) -> Self {
        let Residence { mailbox, claim } = residence;
        Self {
            shared,
            mailbox,
            claim,
            workflow,
            row,
            input,
            scope: Arc::new(scope),
            mode: Mode::NoCode,
            steps: Steps::default(),
            writes: Writes::default(),
            timer: None,
            inbox: Inbox::default(),
            children: Children::default(),
            undoing: Undoing::default(),
            crashes: CrashCount::default(),
        }
    }

    fn id(&self) -> Uuid {
        self.row.id
    }

    /// The driver of a run that begins or continues.
    pub(crate) async fn of(
        shared: Arc<Environment>,
        residence: Residence,
        workflow: Arc<Definition>,
        beginning: DriverStart,
    ) -> Result<Box<Self>, Exit> {
        // Boxed, because a future has room for everything that it ever moves, and each run in memory has this one.
        match beginning {
            DriverStart::New { run, started, input } => {
                Ok(Box::new(Self::begin(shared, residence, workflow, run, started, input)))
            }
            DriverStart::Claimed { row, journal } => {
                Box::pin(Self::load(shared, residence, workflow, *row, journal)).await
            }
        }
    }

    /// Drives the run until it ends, waits for long, or is lost.
    pub(crate) async fn drive(mut self: Box<Self>) -> Exit {
        // A cancel that came while no replica held the run goes before what became due meanwhile.
        self.handle_mail();
        self.receive();
        self.due();
        loop {
            if self.shared.quarantine.is_on() {
                // Boxed, because it is rare, and each run in memory would have room for it.
                Box::pin(self.shared.quarantine.pass(self.row.id)).await;
            }
            self.handle_mail();
            self.advance();
            self.receive();
            self.look_for_foreign_wait();
            if self.mailbox.has(LOST) {
                return Exit::Lost;
            }
            self.begin_commit();
            self.arm();
            tokio::select! {
                biased;
                () = self.mailbox.notified() => {}
                answer = commit::answer(&mut self.writes.under_way) => {
                    if let Some(exit) = self.committed(answer) {
                        return exit;
                    }
                }
                answer = inbox::looked(&mut self.inbox) => {
                    if let Some(exit) = self.found(answer) {
                        return exit;
                    }
                }
                completed = self.steps.completed() => self.on_completion(completed),
                () = wait(&mut self.timer) => {
                    self.timer = None;
                    self.due();
                }
            }
        }
    }

    /// Runs code until it waits, and begins what it asked for.
    fn advance(&mut self) {
        loop {
            let finished = self.mode.run_code();
            let intents = self.scope.take_intents();
            if let Some(fault) = self.scope.fault() {
                self.fault(fault);
                return;
            }
            if intents.is_empty() && finished.is_none() {
                return;
            }
            for intent in intents {
                // No one waits for a step any more that code came to in its last poll.
                if finished.is_none() || !intent.is_waited_for() {
                    self.start_intent(intent);
                }
            }
            if let Some(result) = finished {
                self.finished(result);
            }
        }
    }

    /// Code ended, one way or the other.
    fn finished(&mut self, result: code::Finished) {
        // Code that failed may not have come that far; what it says it did, it must have done.
        let succeeded = matches!(result, code::Finished::Returned(Ok(_)));
        let missed = |open: &&PendingStep| {
            succeeded && !matches!(open.kind, PendingKind::Call) && !self.scope.is_detached(&open.place)
        };
        let held = self.steps.held().find(missed);
        if matches!(result, code::Finished::Returned(_))
            && let Some(journal) = self.scope.unreached().or_else(|| held.map(|open| open.place.to_string()))
        {
            return self.fault(Fault::Mismatch { journal, code: "ended before it".to_owned() });
        }
        match result {
            code::Finished::Returned(Ok(output)) => {
                let limit = self.shared.limits.payload_bytes;
                if output.len() > limit {
                    let message = format!("the output has {} bytes, the limit payload_bytes is {limit}", output.len());
                    self.end(State::Failed, Err(Failure::new(StatusCode::ResourceExhausted, message)));
                } else {
                    self.scope.counts(Limit::PayloadBytes, output.len() as u64, limit as u64, "its output");
                    self.end(State::Succeeded, Ok(output));
                }
            }
            code::Finished::Returned(Err(failure)) => self.end(State::Failed, Err(failure)),
            code::Finished::Panicked(panicked) => self.panicked(panicked),
        }
    }

    fn fault(&mut self, fault: Fault) {
        self.mode.drop_code();
        if !self.mode.is_ending() && !self.mode.is_stopped() {
            self.block(fault);
        }
    }

    /// Code cannot continue: a limit ends the run, everything else stops it where it is.
    fn block(&mut self, fault: Fault) {
        let reason = match fault {
            Fault::Limit(failure) if !self.mode.is_ending() => return self.end(State::Failed, Err(failure)),
            // What stopped the code stops its undos only if they need it.
            Fault::Poison { .. } if self.mode.is_ending() => format!("{fault}; its code is needed to undo its steps"),
            fault => fault.to_string(),
        };
        tracing::error!(run = %self.id(), workflow = self.workflow.name, reason, "run blocked");
        self.stop(Stop::Blocked { reason });
    }

    /// When the run's own work must be done; what is left until its deadline is kept for undos.
    fn work_deadline(&self) -> Timestamp {
        self.row.deadline.before(self.workflow.undo_budget)
    }

    /// Stops: what is in flight settles, then the run is given back.
    fn stop(&mut self, stop: Stop) {
        self.mode.drop_code();
        self.drop_unsent();
        self.drop_unstarted_children();
        self.mode.set_stopped(stop);
        self.writes.request();
    }

    /// Does what the engine or an operator wishes.
    fn handle_mail(&mut self) {
        if self.mailbox.is_empty() {
            return;
        }
        if self.mailbox.has(CANCEL) {
            self.cancel();
        }
        if self.mailbox.take(MESSAGE) {
            self.look();
        }
        // Also a run whose code cannot continue: why, it finds again when it is resumed (S3).
        if self.mode.may_pause() && self.mailbox.has(PAUSE) {
            self.stop(Stop::Paused);
        }
        if self.mailbox.take(mailbox::FOREIGN) {
            self.foreign_wait();
        }
        if self.mailbox.has(mailbox::COMMANDED) {
            self.take_commands();
        }
        if self.mailbox.has(DRAIN | GIVE_UP) {
            self.drop_unsent();
            self.writes.request();
        }
        if self.mailbox.has(GIVE_UP) {
            self.abandon_in_flight();
        }
    }

    fn draining(&self) -> bool {
        self.mailbox.has(DRAIN | GIVE_UP)
    }

    /// The next time at which something is due, on the wall clock.
    fn next_due(&self) -> Timestamp {
        let step = self.steps.next_timer();
        let deadline = (!self.mode.is_ending() && !self.deadline_paused()).then_some(self.work_deadline());
        [step, self.writes.flush_at(), deadline].into_iter().flatten().min().unwrap_or(Timestamp::from_micros(i64::MAX))
    }

    /// Sees to it that the timer fires no later than the next due time. It may fire earlier: then it is set again.
    fn arm(&mut self) {
        let due = Instant::now() + self.next_due().since(self.shared.clock.now()).min(FAR);
        match &mut self.timer {
            Some((armed, _)) if *armed <= due => {}
            Some((armed, sleep)) => {
                *armed = due;
                sleep.as_mut().reset(due);
            }
            None => self.timer = Some((due, Box::pin(tokio::time::sleep_until(due)))),
        }
    }

    /// Does what is due.
    fn due(&mut self) {
        // A pause that stops the clock and was acknowledged before this goes before the deadline.
        self.handle_mail();
        let now = self.shared.clock.now();
        self.writes.flush_due(now);
        if !self.mode.is_ending() && !self.deadline_paused() && self.work_deadline() <= now {
            let failure = Failure::new(StatusCode::DeadlineExceeded, "the run's deadline has passed");
            self.end(State::Failed, Err(failure));
        }
        while let Some(slot) = self.steps.take_due(now) {
            self.wake(slot);
            // A replay brings every fact to code by itself, and so must this (semantics.md F2).
            self.advance();
            // A wait that began just now, and has no length, takes a message that is there already (S8).
            self.receive();
        }
    }
}

/// The timer looks again at least this often; the wall clock may have been set.
const FAR: std::time::Duration = std::time::Duration::from_secs(600);

async fn wait(timer: &mut Option<(Instant, Pin<Box<Sleep>>)>) {
    match timer {
        Some((_, sleep)) => sleep.as_mut().await,
        None => std::future::pending().await,
    }
}
