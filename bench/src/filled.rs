//! Stores with many ended runs or schedules, as after months of work.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use engine::State;
use engine::journal_v1 as stored;
use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::store::{NewRun, Status, Store};
use engine::time::{Clock, Timestamp};
use futures_util::future::try_join_all;
use prost::Message;
use stored::fact::Kind;
use uuid::Uuid;

use crate::load::{BYTES, STEPS};
use crate::workflows::payload;

pub(crate) mod database;
pub(crate) mod schedules;

/// Runs that are written at the same time.
const BATCH: usize = 1_000;

/// How long ago the runs ended: less than runs are kept where nothing is said.
pub(crate) const AGE: Duration = Duration::from_hours(48);

/// Makes a store with so many runs of `bench.chain` that have succeeded, two days ago.
pub(crate) async fn fill(path: &Path, runs: usize) -> anyhow::Result<()> {
    let clock = Clock::following_tokio(Clock::system().now().before(AGE));
    let store = Sqlite::open(path, SqliteOptions::default(), clock.clone())?;
    let (entry, facts) = journal(&clock);
    for begun in (0..runs).step_by(BATCH) {
        let batch = BATCH.min(runs - begun);
        try_join_all((0..batch).map(|_| store.create(run(&clock, entry.clone(), facts)))).await?;
    }
    store.close().await?;
    Ok(())
}

fn run(clock: &Clock, entry: Bytes, facts: u64) -> NewRun {
    let now = clock.now();
    NewRun {
        id: id(now),
        workflow: String::from("bench.chain"),
        workflow_version: 1,
        created_at: now,
        deadline: now.after(Duration::from_secs(3_600)),
        origin: None,
        previous_success: None,
        parent: None,
        change: None,
        claimed: true,
        entry,
        facts,
        status: Status {
            state: State::Succeeded,
            reason: String::new(),
            ending_as: None,
            wake_at: None,
            awaits: Vec::new(),
            steps: STEPS.unsigned_abs(),
            error: None,
        },
    }
}

/// The id of a run that was created then.
pub(crate) fn id(at: Timestamp) -> Uuid {
    let (seconds, nanos) = at.parts();
    let at = uuid::Timestamp::from_unix(uuid::NoContext, u64::try_from(seconds).unwrap_or(0), nanos.unsigned_abs());
    Uuid::new_v7(at)
}

/// The journal of such a run, and how many facts it has.
pub(crate) fn journal(clock: &Clock) -> (Bytes, u64) {
    let message = Bytes::from(crate::proto::bench::echo::v1::WriteRequest { payload: payload(BYTES) }.encode_to_vec());
    let mut kinds = vec![Kind::Created(stored::Created {
        workflow: String::from("bench.chain"),
        workflow_version: 1,
        ..stored::Created::default()
    })];
    for position in 0..STEPS.unsigned_abs() {
        let started = kinds.len() as u64 + 1;
        let name = String::from("/bench.echo.v1.EchoService/Write");
        kinds.push(Kind::StepStarted(stored::StepStarted {
            place: Some(stored::Place { branch: String::new(), position, name }),
            incarnation: 1,
            key: Uuid::new_v4().to_string(),
            level: stored::Level::Idempotent.into(),
            request: message.clone(),
            request_hash: Bytes::from_static(&[7; 32]),
            ..stored::StepStarted::default()
        }));
        kinds.push(Kind::StepSettled(stored::StepSettled {
            step: started,
            attempts: 1,
            result: Some(stored::step_settled::Result::Response(message.clone())),
            ..stored::StepSettled::default()
        }));
    }
    kinds.push(Kind::Ended(stored::Ended {
        state: stored::EndState::Succeeded.into(),
        result: Some(stored::ended::Result::Output(Bytes::new())),
    }));
    let time_micros = clock.now().as_micros();
    let facts: Vec<_> = kinds.into_iter().map(|kind| stored::Fact { time_micros, kind: Some(kind) }).collect();
    let count = facts.len() as u64;
    (Bytes::from(stored::Entry { facts }.encode_to_vec()), count)
}
