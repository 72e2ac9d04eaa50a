//! What people ask of schedules: to look at them, change them, start their runs now, or those of another time.

use uuid::Uuid;

use super::rounds::Cause;
use crate::engine::{Engine, EngineError};
use crate::mailbox;
use crate::schedule::{MAX_ALLOWED, Overlap, Timetable};
use crate::store::{
    AuditedChange, BackfillRow, ListSchedules, ListTicks, Requester, Schedule, ScheduleAnswer, ScheduleCommand,
    ScheduleCommandKind, ScheduleRefusal, ScheduleRow, Tick, TickOrigin, TickOutcome, TickRow, Ticked,
};
use crate::time::Timestamp;

/// Most nominal times of one backfill.
const MAX_BACKFILL: u64 = 100_000;
/// Highest rate of one backfill.
const MAX_PER_MINUTE: u32 = 60_000;
/// A schedule that is changed while it is triggered is looked at again so often.
const TRIES: u32 = 20;

/// A range of nominal times whose runs are to be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    /// From this on,
    pub from: Timestamp,
    /// and before this.
    pub until: Timestamp,
    /// Runs of it at the same time, at most.
    pub at_once: u32,
    /// Starts in a minute, at most; 0 where there is no bound.
    pub per_minute: u32,
}

/// What came of a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Triggered {
    /// What became of the tick; none if the answer of an earlier release did not keep it.
    pub outcome: Option<TickOutcome>,
    /// The run that was started, or that it was skipped for.
    pub run: Option<Uuid>,
}

impl Engine {
    /// Creates a schedule.
    ///
    /// # Errors
    /// If it cannot be kept, its name is taken, or the store fails.
    pub async fn create_schedule(&self, schedule: Schedule, asked: Requester) -> Result<ScheduleRow, EngineError> {
        let change = asked.to("CreateSchedule", schedule.workflow.clone());
        if let Some(row) = self.schedule_of(&change).await? {
            return Ok(row);
        }
        let schedule = self.check_schedule(schedule)?;
        let name = schedule.name.clone();
        self.schedule_command(name, None, change, ScheduleCommandKind::Create(Box::new(schedule))).await
    }

    /// Gives a schedule another definition, if it is of this generation.
    ///
    /// # Errors
    /// If it cannot be kept, is unknown, was changed meanwhile, is declared elsewhere, or the store fails.
    pub async fn update_schedule(
        &self,
        schedule: Schedule,
        generation: Option<u64>,
        asked: Requester,
    ) -> Result<ScheduleRow, EngineError> {
        let change = asked.to("UpdateSchedule", "");
        if let Some(row) = self.schedule_of(&change).await? {
            return Ok(row);
        }
        let schedule = self.check_schedule(schedule)?;
        let name = schedule.name.clone();
        self.close_changed(std::iter::once(&schedule), &|_| Cause::HeldUp).await?;
        self.schedule_command(name, generation, change, ScheduleCommandKind::Update(Box::new(schedule))).await
    }

    /// What would be stored: the schedule with every policy said.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub fn check_schedule(&self, schedule: Schedule) -> Result<Schedule, EngineError> {
        self.check_rules(&schedule)?;
        self.checked(schedule)
    }

    /// Removes a schedule with its ledger. Its runs continue.
    ///
    /// # Errors
    /// If it is unknown, was changed meanwhile, is declared elsewhere, or the store fails.
    pub async fn delete_schedule(
        &self,
        name: String,
        generation: Option<u64>,
        asked: Requester,
    ) -> Result<(), EngineError> {
        let kind = ScheduleCommandKind::Delete;
        self.schedule_command(name, generation, asked.to("DeleteSchedule", ""), kind).await.map(drop)
    }

    /// Stops a schedule: its ticks start nothing, and say so.
    ///
    /// # Errors
    /// If it is unknown, or the store fails.
    pub async fn pause_schedule(&self, name: String, asked: Requester) -> Result<ScheduleRow, EngineError> {
        self.schedule_command(name, None, asked.to("PauseSchedule", ""), ScheduleCommandKind::Pause).await
    }

    /// Lets a schedule continue with its next tick.
    ///
    /// # Errors
    /// If it is unknown or not paused, or the store fails.
    pub async fn resume_schedule(&self, name: String, asked: Requester) -> Result<ScheduleRow, EngineError> {
        self.schedule_command(name, None, asked.to("ResumeSchedule", ""), ScheduleCommandKind::Resume).await
    }

    /// Starts a run of a schedule now, also where it is paused. What it does while others continue is said, or is the
    /// schedule's own policy. Every trigger is one; only a request id makes two the same.
    ///
    /// # Errors
    /// If the schedule is unknown, its run cannot be made, or the store fails.
    pub async fn trigger_schedule(
        &self,
        name: String,
        overlap: Option<Overlap>,
        asked: Requester,
    ) -> Result<Triggered, EngineError> {
        self.check_asked(&asked)?;
        let change = asked.to("TriggerSchedule", overlap.map(|overlap| format!("{overlap:?}")).unwrap_or_default());
        if let Some(ScheduleAnswer::Triggered { outcome, run }) = self.schedule_done_before(&change).await? {
            return Ok(Triggered { outcome, run });
        }
        if self.is_draining() {
            return Err(EngineError::Draining);
        }
        let mut row = self.schedule(&name).await?;
        let origin = TickOrigin::Trigger(crate::identity::run(&self.shared.random, self.shared.clock.now()));
        for _ in 0..TRIES {
            let now = self.shared.clock.wall();
            let overlap = overlap.unwrap_or(row.schedule.policy.overlap);
            let start = self.make_start(&row, now, origin, overlap, String::new());
            let start = start.map_err(|problem| EngineError::InvalidSchedule {
                name: name.clone(),
                field: "workflow",
                problem,
            })?;
            let (start, change) = (Some(start), Some(change.clone()));
            let tick = Tick { start, change, ..Tick::of(&row, origin, now) };
            match self.tick(tick).await? {
                Ticked::Done(done) => {
                    done.cancelled.iter().for_each(|run| self.shared.tell(*run, mailbox::CANCEL));
                    self.loops.bell.ended(&name);
                    tracing::info!(schedule = name, outcome = ?done.outcome, run = ?done.run, "schedule triggered");
                    return Ok(Triggered { outcome: done.outcome, run: done.run });
                }
                Ticked::Stale(changed) => row = *changed,
                Ticked::Existing { outcome, run } => return Ok(Triggered { outcome, run }),
                Ticked::Past => return Err(ScheduleRefusal::NotFound(name).into()),
            }
        }
        Err(EngineError::ScheduleBusy(name))
    }

    /// Starts the runs of a range of nominal times, beside the schedule's own ticks. Skipped and missed ones of them do not
    /// stand in its way (semantics.md T3).
    ///
    /// # Errors
    /// If the schedule is unknown, the range has no times or too many, or the store fails.
    pub async fn backfill_schedule(
        &self,
        name: String,
        backfill: Backfill,
        asked: Requester,
    ) -> Result<BackfillRow, EngineError> {
        let change = asked.to("BackfillSchedule", format!("{} to {}", backfill.from, backfill.until));
        if let Some(ScheduleAnswer::Backfill(row)) = self.schedule_done_before(&change).await? {
            return Ok(*row);
        }
        let planned = self.plan_backfill(&name, &backfill).await?;
        let kind = ScheduleCommandKind::Backfill(Box::new(planned.clone()));
        self.schedule_command(name, None, change.clone(), kind).await?;
        // The same request at the same moment may have been first.
        match self.schedule_done_before(&change).await? {
            Some(ScheduleAnswer::Backfill(row)) => Ok(*row),
            _ => Ok(planned),
        }
    }

    /// What a backfill would do.
    ///
    /// # Errors
    /// As [`Engine::backfill_schedule`].
    pub async fn plan_backfill(&self, name: &str, backfill: &Backfill) -> Result<BackfillRow, EngineError> {
        let invalid = |field: &'static str, problem: String| EngineError::InvalidSchedule {
            name: name.to_owned(),
            field,
            problem,
        };
        let Backfill { from, until, at_once, per_minute } = *backfill;
        if from >= until {
            return Err(invalid("end_time", format!("{until} is not after {from}")));
        }
        if !(1..=MAX_ALLOWED).contains(&at_once) {
            return Err(invalid("max_at_once", format!("{at_once} is not allowed; 1 to {MAX_ALLOWED} are")));
        }
        if per_minute > MAX_PER_MINUTE {
            return Err(invalid("max_per_minute", format!("{per_minute} is not allowed; at most {MAX_PER_MINUTE} is")));
        }
        let row = self.schedule(name).await?;
        let timetable =
            Timetable::new(row.schedule.spec.clone()).map_err(|error| invalid("spec", error.to_string()))?;
        let cursor = Timestamp::from_micros(from.as_micros().saturating_sub(1));
        let most = usize::try_from(MAX_BACKFILL).unwrap_or(usize::MAX) + 1;
        let times = timetable.following(cursor).take_while(|nominal| nominal.at < until).take(most);
        let total = times.count() as u64;
        if total == 0 || total > MAX_BACKFILL {
            let found = if total == 0 { "no nominal time".to_owned() } else { format!("more than {MAX_BACKFILL}") };
            return Err(invalid("start_time", format!("the range has {found}; 1 to {MAX_BACKFILL} are allowed")));
        }
        let now = self.shared.clock.wall();
        Ok(BackfillRow {
            id: crate::identity::run(&self.shared.random, now),
            from,
            until,
            spec: Some(row.schedule.spec),
            at_once,
            per_minute,
            total,
            created_at: now,
            cursor,
            started: 0,
            passed: 0,
            ended_at: None,
            cancelled: false,
            open: 0,
            last_start: None,
        })
    }

    /// Starts no more runs of a backfill; those that continue do.
    ///
    /// # Errors
    /// If it is unknown or over, or the store fails.
    pub async fn cancel_backfill(&self, name: String, id: Uuid, asked: Requester) -> Result<BackfillRow, EngineError> {
        let change = asked.to("CancelBackfill", id.to_string());
        self.schedule_command(name, None, change, ScheduleCommandKind::CancelBackfill(id)).await?;
        let row = self.shared.store.backfill(id).await?;
        Ok(row.ok_or(ScheduleRefusal::NoBackfill(id))?)
    }

    /// A schedule as it is now, with what its runs have come to.
    ///
    /// # Errors
    /// If it is unknown, or the store fails.
    pub async fn schedule(&self, name: &str) -> Result<ScheduleRow, EngineError> {
        let filter = ListSchedules { name: Some(name.to_owned()), limit: 1, ..ListSchedules::default() };
        let found = self.shared.store.schedules(filter).await?.into_iter().next();
        let row = found.ok_or_else(|| ScheduleRefusal::NotFound(name.to_owned()))?;
        if row.open.is_empty() {
            return Ok(row);
        }
        let settled = self.shared.store.settle_schedule(row.uid).await?;
        if settled.due {
            self.shared.due.notify_one();
        }
        if !settled.ready.is_empty() || settled.row.generation != row.generation {
            self.loops.bell.changed(name);
        }
        Ok(settled.row)
    }

    /// Rows of a schedule's ledger, newest first.
    ///
    /// # Errors
    /// If the schedule is unknown, or the store fails.
    pub async fn ticks(&self, name: &str, before: Option<u64>, limit: u32) -> Result<Vec<TickRow>, EngineError> {
        let row = self.schedule(name).await?;
        Ok(self.shared.store.ticks(ListTicks { schedule: row.uid, before, limit }).await?)
    }

    /// Returns the schedule that this request to a method of the admin API, for example `UpdateSchedule`, changed before.
    ///
    /// # Errors
    /// If the id is that of another request, or the store fails.
    pub async fn answered_schedule(
        &self,
        action: &'static str,
        asked: &Requester,
    ) -> Result<Option<ScheduleRow>, EngineError> {
        self.schedule_of(&asked.clone().to(action, "")).await
    }

    async fn schedule_done_before(&self, change: &AuditedChange) -> Result<Option<ScheduleAnswer>, EngineError> {
        if change.asked.request.is_none() {
            return Ok(None);
        }
        Ok(self.shared.store.schedule_answered(change.clone()).await?)
    }

    async fn schedule_of(&self, change: &AuditedChange) -> Result<Option<ScheduleRow>, EngineError> {
        Ok(match self.schedule_done_before(change).await? {
            Some(ScheduleAnswer::Schedule(row)) => Some(*row),
            _ => None,
        })
    }

    async fn schedule_command(
        &self,
        name: String,
        generation: Option<u64>,
        change: AuditedChange,
        kind: ScheduleCommandKind,
    ) -> Result<ScheduleRow, EngineError> {
        self.check_asked(&change.asked)?;
        let (action, caller) = (change.action, change.asked.caller.clone());
        let now = self.shared.clock.wall();
        let command = ScheduleCommand { name: name.clone(), now, generation, change, kind };
        let answer = self.shared.store.schedule_command(command).await;
        // Where the answer did not come it may have been done all the same.
        self.loops.bell.changed(&name);
        // One that was deleted may have cancelled a run that had not begun.
        self.shared.due.notify_one();
        let row = answer?;
        tracing::info!(schedule = name, action, caller, "schedule changed by an operator");
        Ok(row)
    }
}
