//! The loop that deals with the ticks of all schedules: it sleeps until the next one is due, or something was changed.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Engine, EngineError};
use crate::schedule::database_version;
use crate::store::{Declare, ListSchedules, Schedule, Source, StoreError};
use crate::time::Timestamp;

mod backfill;
mod bell;
mod check;
mod closing;
mod commands;
mod hand_over;
mod make;
mod others;
mod queue;
mod rewind;
mod rounds;
mod turn;

pub(super) use bell::Bell;
pub use commands::{Backfill, Triggered};
use others::Heard;
use queue::{Look, Queue};
use rounds::{Round, Rounds};
use turn::Watched;

/// The loop looks at least this often; the wall clock may have been set.
const LONGEST: Duration = Duration::from_secs(5);
/// After this long something that failed is tried again.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// Schedules that are dealt with at the same time, at most. About half of them share a commit, while the next ones are read.
const AT_ONCE: usize = 1_024;
/// Schedules that are read at the same time.
const PAGE: u32 = 1_000;

/// What code and configuration say about schedules.
#[derive(Clone, Debug, Default)]
struct Declarations {
    schedules: Vec<(Source, Schedule)>,
    /// Names of those that cannot be kept.
    kept: Vec<String>,
}

impl Engine {
    /// Starts the runs of schedules at their nominal times, until told to stop: of those that workflows declare in code, of
    /// these, and of those that were created. One of these takes the place of one in code that has its name.
    ///
    /// # Errors
    /// If one that is declared cannot be kept, or the store fails for good.
    pub async fn run_schedules(&self, declared: Vec<Schedule>, stop: CancellationToken) -> Result<(), EngineError> {
        let mut rounds = Rounds::begin(self.shared.clock.clone());
        let declared = self.declarations(declared);
        let mut heard = Heard::default();
        let mut queue = self.load(&declared, &mut heard, &mut rounds).await?;
        let mut failing = false;
        loop {
            self.loops.bump();
            if self.shared.safeguards.breadcrumbs.as_ref().is_some_and(|breadcrumbs| breadcrumbs.was_cut()) {
                tracing::error!("the trail was cut short: what the process dies of is not known to the next one");
            }
            let round = rounds.look();
            if !round.step.is_zero() {
                self.loops.clock_was_set(round.now, round.step);
            }
            if round.is_set_back() {
                queue.set_back(&round);
            }
            self.hear_of_schedules(&declared, &mut heard, &mut rounds).await;
            let failed = self.deal_with(&mut queue, &round, &rounds).await?;
            if let Some(error) = &failed
                && !failing
            {
                // Told once, however long it lasts.
                tracing::warn!(%error, "a schedule could not be dealt with, it is tried again");
            }
            failing = failed.is_some();
            rounds.store_failed(failing, &round);
            let next = queue.next().map_or(LONGEST, |due| due.since(self.shared.clock.wall()).min(LONGEST));
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.loops.bell.rung() => {}
                () = tokio::time::sleep(next) => {}
            }
        }
    }

    /// Tells of a clock that was set back while no process was there: a schedule was dealt with up to a time to come.
    fn tell_if_ahead(&self, last: Timestamp, rounds: &mut Rounds) {
        let now = rounds.wall();
        rounds.was_ahead();
        self.loops.clock_was_set(now, -SignedDuration::try_from(last.since(now)).unwrap_or(SignedDuration::MAX));
    }

    /// What code and configuration declare, checked.
    fn declarations(&self, declared: Vec<Schedule>) -> Declarations {
        let mut by_name: BTreeMap<String, (Source, Schedule)> = BTreeMap::new();
        for workflow in self.shared.workflows.iter() {
            for schedule in &workflow.schedules {
                by_name.insert(schedule.name.clone(), (Source::Code, schedule.clone()));
            }
        }
        for schedule in declared {
            by_name.insert(schedule.name.clone(), (Source::Configuration, schedule));
        }
        let mut declarations = Declarations::default();
        for (source, schedule) in by_name.into_values() {
            let name = schedule.name.clone();
            match self.checked(schedule) {
                Ok(schedule) => declarations.schedules.push((source, schedule)),
                // One that cannot be holds up no other. If a definition of it is stored, that is kept.
                Err(error) => {
                    tracing::error!(schedule = name, %error, "schedule cannot be declared, it stays as it is stored");
                    declarations.kept.push(name);
                }
            }
        }
        declarations
    }

    /// Declares what is declared, and reads everything that is stored.
    async fn load(
        &self,
        declared: &Declarations,
        heard: &mut Heard,
        rounds: &mut Rounds,
    ) -> Result<Queue, EngineError> {
        let now = rounds.wall();
        while let Err(error) = self.declare(declared, rounds).await {
            if matches!(error, StoreError::Closed | StoreError::Unusable(_)) {
                return Err(error.into());
            }
            tracing::warn!(%error, "schedules could not be declared, it is tried again");
            tokio::time::sleep(AFTER_FAILURE).await;
        }
        let mut queue = Queue::default();
        let (mut after, mut ahead) = (None, None);
        loop {
            let filter = ListSchedules { after: after.clone(), limit: PAGE, ..ListSchedules::default() };
            let rows = match self.shared.store.schedules(filter).await {
                Ok(rows) => rows,
                Err(error @ (StoreError::Closed | StoreError::Unusable(_))) => return Err(error.into()),
                Err(_) => {
                    tokio::time::sleep(AFTER_FAILURE).await;
                    continue;
                }
            };
            let Some(last) = rows.last() else { break };
            after = Some(last.schedule.name.clone());
            for row in rows {
                let watched = Watched::new(row);
                heard.read(&watched.row);
                ahead = ahead.max(watched.is_ahead(now).then_some(watched.row.high_water));
                queue.add(&watched.row.schedule.name, watched.row.uid, watched.first_look(None, now));
            }
        }
        if let Some(last) = ahead {
            self.tell_if_ahead(last, rounds);
        }
        Ok(queue)
    }

    async fn declare(&self, declared: &Declarations, rounds: &mut Rounds) -> Result<(), StoreError> {
        let definitions = declared.schedules.iter().map(|(_, schedule)| schedule);
        self.close_changed(definitions, &|due| rounds.cause(due, true)).await?;
        let (now, zone_database) = (rounds.wall(), database_version());
        let Declarations { schedules, kept } = declared.clone();
        let declared = Declare { now, zone_database, schedules, kept };
        let declared = self.shared.store.declare_schedules(declared).await?;
        rounds.were_retired(declared.returned);
        if let Some(before) = declared.zone_database.filter(|before| *before != zone_database) {
            rounds.zones_changed();
            tracing::info!(before, now = zone_database, "the zone database is another one than before");
        }
        Ok(())
    }

    /// Deals with what was changed and what is due. Everything is seen as of the same moment, however long it takes: what is
    /// due together is late together.
    async fn deal_with(
        &self,
        queue: &mut Queue,
        round: &Round,
        rounds: &Rounds,
    ) -> Result<Option<StoreError>, EngineError> {
        let now = round.now;
        let mut failed = None;
        for name in self.loops.bell.take_changed() {
            let filter = ListSchedules { name: Some(name.clone()), limit: 1, ..ListSchedules::default() };
            match self.shared.store.schedules(filter).await {
                Ok(rows) => {
                    let earlier = queue.remove(&name);
                    if let Some(row) = rows.into_iter().next() {
                        let set_back = earlier.filter(|(uid, _)| *uid == row.uid).and_then(|(_, look)| look.set_back);
                        queue.add(&name, row.uid, Watched::new(row).first_look(set_back, now));
                    }
                }
                Err(error) => {
                    self.loops.bell.changed(&name);
                    failed = Some(error);
                    break;
                }
            }
        }
        for name in self.loops.bell.take_ended() {
            queue.run_ended(&name, now);
        }
        let again = Some(now.after(AFTER_FAILURE));
        let mut turns = FuturesUnordered::new();
        loop {
            if turns.len() <= AT_ONCE / 2 {
                // Read while others are dealt with, so that no commit waits for a read.
                let due = queue.take_due(now, AT_ONCE - turns.len());
                match self.read_due(queue, &due).await {
                    Ok(read) => turns.extend(read.into_iter().map(|mut watched| async move {
                        let turned = self.turn(&mut watched, round, rounds).await;
                        (watched, turned)
                    })),
                    Err(error @ (StoreError::Closed | StoreError::Unusable(_))) => return Err(error.into()),
                    Err(error) => {
                        due.iter().for_each(|(uid, look)| queue.put(*uid, Look { due: again, ..*look }));
                        failed = Some(error);
                    }
                }
                if turns.is_empty() && !due.is_empty() {
                    continue;
                }
            }
            let Some((watched, turned)) = turns.next().await else { return Ok(failed) };
            let (uid, settles, set_back) = (watched.row.uid, watched.settles, watched.set_back);
            match turned {
                Ok(due) => queue.put(uid, Look { due, settles, set_back }),
                Err(error @ (StoreError::Closed | StoreError::Unusable(_))) => return Err(error.into()),
                Err(error) => {
                    // It may have been done all the same.
                    self.shared.due.notify_one();
                    queue.put(uid, Look { due: again, settles: true, set_back });
                    failed = Some(error);
                }
            }
        }
    }

    /// Reads the schedules that are due. Those that are gone are forgotten.
    async fn read_due(&self, queue: &mut Queue, due: &[(Uuid, Look)]) -> Result<Vec<Watched>, StoreError> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.shared.store.schedules_by_uid(due.iter().map(|(uid, _)| *uid).collect()).await?;
        let mut due: HashMap<Uuid, Look> = due.iter().copied().collect();
        let watched = rows.into_iter().filter_map(|row| {
            let Look { settles, set_back, .. } = due.remove(&row.uid)?;
            Some(Watched { settles, set_back, ..Watched::new(row) })
        });
        let watched = watched.collect();
        due.into_keys().for_each(|gone| queue.forget(gone));
        Ok(watched)
    }
}
