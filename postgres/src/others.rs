//! What other replicas do to the runs that this one holds, and what this one asks of them.
//!
//! All of it is read: a replica that changes a run writes down when, and its owner looks about every second, and when it has a hint.
//! Nothing depends on a notification.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::store::{Answer, ChangedRun, PlaceWish, Recall, RunProgress, ScheduleNews, SharedStore, StoreError};
use engine::time::Timestamp;
use futures_util::FutureExt;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::hints::Hints;
use crate::order::Order;
use crate::rows::{self, unknown};
use crate::session::{Fault, Session, now, params};
use crate::work::Work;
use crate::{places, schedules, suspects};

/// Runs that became due so long ago were claimed, or wait for something else.
const JUST_NOW: Duration = Duration::from_secs(3);

/// How long no claim takes a run that was asked for.
const RECALLED: Duration = Duration::from_secs(5);

/// What the owner of a run hears about: a run that has not changed in any of this is given to it one time.
type Signature = (u64, u64, Option<Recall>, Option<Timestamp>);

/// Asks and hears other replicas through the database.
pub(crate) struct Others {
    work: Arc<Work>,
    order: Arc<Order>,
    heard: Arc<Mutex<Heard>>,
    hints: Arc<Hints>,
}

/// What was told so far.
#[derive(Default)]
struct Heard {
    /// The database's time of the last look.
    at: i64,
    /// Runs that were told and that the next look finds again: it looks back, since a change is written down when its
    /// transaction begins, and seen when that ends.
    told: HashMap<Uuid, Signature>,
    /// Up to when runs that became due were told.
    due: Option<Timestamp>,
    /// Whether the next look comes after a pause.
    rests: bool,
}

impl Others {
    pub(crate) fn new(work: Arc<Work>, order: Arc<Order>, hints: Arc<Hints>) -> Self {
        Self { work, order, heard: Arc::default(), hints }
    }
}

impl SharedStore for Others {
    fn changed_by_others(&self) -> Answer<Vec<ChangedRun>> {
        let (work, order, heard) = (Arc::clone(&self.work), Arc::clone(&self.order), Arc::clone(&self.heard));
        let hints = Arc::clone(&self.hints);
        async move {
            // Where runs become due all the time, a look for them has its pause too.
            let rests = std::mem::take(&mut lock(&heard).rests);
            let mut hinted = rests && hints.heard_within(work.options.look_every).await;
            loop {
                if order.is_closed() {
                    return Err(StoreError::Closed);
                }
                let back = i64::try_from(work.settles_within().as_micros()).unwrap_or(i64::MAX);
                // Zero is the time of runs that no one has changed.
                let since = lock(&heard).at.saturating_sub(back).max(0);
                let (at, changed) = work
                    .repeated(&since, |session, since| changed(session, *since).boxed())
                    .await
                    .map_err(Fault::into_answer)?;
                let due = work.repeated(&(), |session, nothing| newly_due(session, nothing).boxed()).await;
                // From here on what was found is told: nothing may fail any more.
                let news = lock(&heard).news(at, changed);
                let is_due = lock(&heard).is_due(due.unwrap_or_default());
                // A run that no one holds may be due, although nothing changed that is held.
                if !news.is_empty() || hinted || is_due {
                    lock(&heard).rests = is_due;
                    return Ok(news);
                }
                hinted = hints.heard_within(work.options.look_every).await;
            }
        }
        .boxed()
    }

    fn recall(&self, run: Uuid, recall: Recall) -> Answer<()> {
        if self.order.is_closed() {
            return async { Err(StoreError::Closed) }.boxed();
        }
        let (work, hints) = (Arc::clone(&self.work), Arc::clone(&self.hints));
        async move {
            let asked = (run, recall);
            let done = work.repeated(&asked, |session, (run, recall)| ask(session, *run, *recall).boxed());
            done.await.map_err(Fault::into_answer)?;
            hints.tell([run]);
            Ok(())
        }
        .boxed()
    }

    fn accuse(&self, runs: Vec<Uuid>) -> Answer<()> {
        if self.order.is_closed() {
            return async { Err(StoreError::Closed) }.boxed();
        }
        let work = Arc::clone(&self.work);
        async move {
            work.transaction(&runs, |session, runs: &Vec<Uuid>| suspects::accuse(session, runs).boxed()).await
        }
        .boxed()
    }

    fn places(&self, wishes: Vec<PlaceWish>) -> Answer<Vec<u32>> {
        if self.order.is_closed() {
            return async { Err(StoreError::Closed) }.boxed();
        }
        let work = Arc::clone(&self.work);
        async move {
            work.transaction(&wishes, |session, wishes: &Vec<PlaceWish>| places::places(session, wishes).boxed()).await
        }
        .boxed()
    }

    fn schedule_news(&self) -> Answer<ScheduleNews> {
        if self.order.is_closed() {
            return async { Err(StoreError::Closed) }.boxed();
        }
        let work = Arc::clone(&self.work);
        async move {
            let read = work.repeated(&(), |session, nothing| schedules::news(session, nothing).boxed());
            read.await.map_err(Fault::into_answer)
        }
        .boxed()
    }

    fn progress(&self, runs: Vec<Uuid>) -> Answer<Vec<RunProgress>> {
        if self.order.is_closed() {
            return async { Err(StoreError::Closed) }.boxed();
        }
        let work = Arc::clone(&self.work);
        async move {
            let read = work.repeated(&runs, |session, runs| progress(session, runs).boxed());
            read.await.map_err(Fault::into_answer)
        }
        .boxed()
    }
}

impl Heard {
    /// Whether runs became due that were not told.
    fn is_due(&mut self, due: Option<Timestamp>) -> bool {
        let is_new = due > self.due;
        self.due = self.due.max(due);
        is_new
    }

    /// What of it was not told before.
    fn news(&mut self, at: i64, changed: Vec<(ChangedRun, Option<Timestamp>)>) -> Vec<ChangedRun> {
        self.at = self.at.max(at);
        let mut told = HashMap::with_capacity(changed.len());
        let mut news = Vec::new();
        for (run, recalled_until) in changed {
            let (id, signature) = (run.row.id, (run.row.control, run.row.messages, run.recall, recalled_until));
            if self.told.get(&id) != Some(&signature) {
                news.push(run);
            }
            told.insert(id, signature);
        }
        // What the look no longer finds, the next one does not find either.
        self.told = told;
        news
    }
}

fn lock(heard: &Mutex<Heard>) -> std::sync::MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs of this owner that were changed since then, and the time of the look.
async fn changed(session: &Session<'_>, since: i64) -> Result<(i64, Vec<(ChangedRun, Option<Timestamp>)>), Fault> {
    // The time is read before the rows: what is written down later than it is found by the next look.
    let found = session
        .rows(
            concat!(
                "WITH look AS (SELECT ",
                now!(),
                " AS at) ",
                rows::select!(
                    "look CROSS JOIN live",
                    ", look.at, runs.recall, runs.recalled_until",
                    "WHERE runs.owner = $1 AND runs.rung_at > $2"
                )
            ),
            params![session.owner, since],
        )
        .await?;
    let mut at = 0;
    let mut changed = Vec::with_capacity(found.len());
    for row in &found {
        at = row.try_get(rows::COLUMNS)?;
        changed.push((ChangedRun { row: rows::row(row)?, recall: recall(row)? }, rows::time(row, rows::COLUMNS + 2)?));
    }
    Ok((at, changed))
}

/// When the last run in this replica's buckets became due, if that was just now: others may have had it so.
async fn newly_due(session: &Session<'_>, (): &()) -> Result<Option<Timestamp>, Fault> {
    let row = session
        .one(
            concat!(
                "SELECT max(due_at) FROM live WHERE bucket = ANY($1) AND due_at > ",
                now!(),
                " - $2 AND due_at <= ",
                now!()
            ),
            params![session.buckets.to_vec(), i64::try_from(JUST_NOW.as_micros()).unwrap_or(i64::MAX)],
        )
        .await?;
    rows::time(&row, 0)
}

fn recall(row: &Row) -> Result<Option<Recall>, Fault> {
    Ok(match row.try_get::<_, Option<i16>>(rows::COLUMNS + 1)? {
        None => None,
        Some(1) => Some(Recall::Settled),
        Some(2) => Some(Recall::Now),
        Some(number) => return Err(unknown(&format!("recall {number}"))),
    })
}

const fn number(recall: Recall) -> i16 {
    match recall {
        Recall::Settled => 1,
        Recall::Now => 2,
    }
}

/// One that no replica holds stays away from claims by being due later.
async fn ask(session: &Session<'_>, run: Uuid, recall: Recall) -> Result<(), Fault> {
    session
        .execute(
            concat!(
                "UPDATE live SET recall = $2, rung_at = ",
                now!(),
                ", recalled_until = ",
                now!(),
                " + $3, due_at = CASE WHEN due_at IS NOT NULL THEN greatest(due_at, ",
                now!(),
                " + $3) END
                  WHERE id = $1"
            ),
            params![run, number(recall), i64::try_from(RECALLED.as_micros()).unwrap_or(i64::MAX)],
        )
        .await
        .map(drop)
}

async fn progress(session: &Session<'_>, runs: &[Uuid]) -> Result<Vec<RunProgress>, Fault> {
    let found = session
        .rows(
            "SELECT id, sequence, false FROM live WHERE id = ANY($1)
             UNION ALL SELECT id, sequence, true FROM ended WHERE id = ANY($1)",
            params![runs.to_vec()],
        )
        .await?;
    found
        .iter()
        .map(|row| Ok(RunProgress { run: row.try_get(0)?, sequence: rows::count(row, 1)?, ended: row.try_get(2)? }))
        .collect()
}

#[cfg(test)]
mod tests {
    use engine::store::RunRow;

    use super::*;

    fn changed(run: u128, control: u64) -> (ChangedRun, Option<Timestamp>) {
        (ChangedRun { row: row(Uuid::from_u128(run), control), recall: None }, None)
    }

    fn row(id: Uuid, control: u64) -> RunRow {
        use engine::state::State;
        use engine::store::Status;
        let status = Status {
            state: State::Running,
            reason: String::new(),
            ending_as: None,
            wake_at: None,
            awaits: Vec::new(),
            steps: 0,
            error: None,
        };
        RunRow {
            id,
            workflow: String::new(),
            workflow_version: 1,
            status,
            created_at: Timestamp::default(),
            updated_at: Timestamp::default(),
            ended_at: None,
            deadline: Timestamp::default(),
            origin: None,
            epoch: 1,
            sequence: 1,
            control,
            messages: 0,
            parent: None,
            cancel_requested: None,
            paused: None,
            pinned: false,
            owned: true,
            copied_at: None,
            set_back: None,
        }
    }

    #[test]
    fn a_change_is_told_once_and_another_one_of_the_same_run_is_told_again() {
        let mut heard = Heard::default();
        let told = |news: Vec<ChangedRun>| news.into_iter().map(|run| run.row.control).collect::<Vec<_>>();
        assert_eq!(told(heard.news(7, vec![changed(1, 1)])), [1]);
        assert_eq!(told(heard.news(8, vec![changed(1, 1), changed(2, 5)])), [5]);
        assert_eq!(told(heard.news(9, vec![changed(1, 2), changed(2, 5)])), [2]);
    }
}
