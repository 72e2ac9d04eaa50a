//! `commit`: what the safety of the store and of the listeners costs, each part beside the same without it.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::State;
use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::store::{NewRun, Status, Store};
use engine::time::Clock;
use rusqlite::{Connection, params};

use crate::How;
use crate::filled::{fill, id};
use crate::process::{Echo, Options, Orchestrator, STORE, temporary};
use crate::proto::bench::echo::v1::ReadRequest;
use crate::proto::bench::echo::v1::echo_service_client::EchoServiceClient;
use crate::report::{Figure, Report};
use crate::sample::{Sample, count, median};

/// A part of a commit may cost this much of it, and the same work with a safety may take this much longer.
const SHARE: f64 = 0.05;
/// Looks at files that are measured together: one is too short.
const LOOKS: u32 = 10_000;
/// Files of an open store, each of which is looked at before and after a commit.
const FILES: [&str; 3] = [STORE, "store.db-wal", "store.db-shm"];
/// Runs that are changed and removed, and how many of them in one commit.
const RUNS: usize = 20_000;
const BATCH: usize = 100;

pub(crate) async fn measure(how: &How, report: &mut Report) -> anyhow::Result<()> {
    let mut commits = Vec::new();
    let mut checks = Vec::new();
    let [mut append, mut append_plain, mut remove, mut remove_plain] = [const { Vec::new() }; 4];
    for _ in 0..how.rounds {
        let folder = temporary(how.folder.as_deref())?;
        let path = folder.path().join(STORE);
        let store = Sqlite::open(&path, SqliteOptions::default(), Clock::system())?;
        commits.push(of_store(&store, how.window()).await?);
        checks.push(file_checks(folder.path())?);
        store.close().await?;
        drop(store);
        fill(&path, RUNS).await?;
        let copy = folder.path().join("plain.db");
        std::fs::copy(&path, &copy)?;
        for (path, secure, appends, removals) in
            [(&copy, "OFF", &mut append_plain, &mut remove_plain), (&path, "ON", &mut append, &mut remove)]
        {
            let (appended, removed) = changes(path, secure)?;
            appends.push(appended);
            removals.push(removed);
        }
    }
    let commit = Sample::median(&commits);
    report.add(Figure::new("commit", "store, one run a commit, p50", commit.p50, "us"));
    let checks = Figure::new("commit", "file checks of a commit", median(checks), "us").beside(commit.p50);
    report.add(checks.at_most(SHARE));
    for (name, with, without) in [("append", append, append_plain), ("removal of a run", remove, remove_plain)] {
        let figure = Figure::new("commit", format!("{name}, what is deleted is written over"), median(with), "us");
        report.add(figure.beside(median(without)).at_most(1.0 + SHARE));
    }
    listeners(how, report).await
}

/// Commits of one run each, one after the other.
async fn of_store(store: &Sqlite, window: Duration) -> anyhow::Result<Sample> {
    let clock = Clock::system();
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < window {
        let started = Instant::now();
        store.create(pending(&clock)).await?;
        times.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(Sample::of(times, begun.elapsed()))
}

fn pending(clock: &Clock) -> NewRun {
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
        claimed: false,
        entry: Bytes::from_static(&[7; 200]),
        facts: 1,
        status: Status {
            state: State::Pending,
            reason: String::new(),
            ending_as: None,
            wake_at: None,
            awaits: Vec::new(),
            steps: 0,
            error: None,
        },
    }
}

/// Microseconds of the looks at the files of an open store that one commit makes.
fn file_checks(folder: &Path) -> anyhow::Result<f64> {
    let files = FILES.map(|name| folder.join(name));
    let begun = Instant::now();
    for _ in 0..LOOKS {
        // Before the commit and after it.
        for file in files.iter().chain(&files) {
            std::hint::black_box(std::fs::metadata(file)?);
        }
    }
    Ok((begun.elapsed() / LOOKS).as_secs_f64() * 1e6)
}

/// Microseconds of one append and of one removal, where this many share a commit, as the store makes them.
fn changes(path: &Path, secure_delete: &str) -> anyhow::Result<(f64, f64)> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;
         PRAGMA secure_delete = {secure_delete}; PRAGMA cache_size = -16384;"
    ))?;
    let runs: Vec<Vec<u8>> =
        connection.prepare("SELECT id FROM runs")?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let entry = [7_u8; 250];
    let begun = Instant::now();
    for batch in runs.chunks(BATCH) {
        let transaction = connection.transaction()?;
        for run in batch {
            transaction
                .prepare_cached("INSERT INTO journal (run, sequence, epoch, entry) VALUES (?1, 1000, 1, ?2)")?
                .execute(params![run, entry])?;
            transaction
                .prepare_cached(
                    "UPDATE runs SET sequence = 1000, steps = steps + 1, updated_at = updated_at + 1 WHERE id = ?1",
                )?
                .execute([run])?;
        }
        transaction.commit()?;
    }
    let append = begun.elapsed();
    let begun = Instant::now();
    for batch in runs.chunks(BATCH) {
        let transaction = connection.transaction()?;
        for run in batch {
            transaction.prepare_cached("DELETE FROM journal WHERE run = ?1")?.execute([run])?;
            transaction.prepare_cached("DELETE FROM runs WHERE id = ?1")?.execute([run])?;
        }
        transaction.commit()?;
    }
    let each = |took: Duration| took.as_secs_f64() * 1e6 / count(runs.len());
    Ok((each(append), each(begun.elapsed())))
}

/// A connection with one call, to the admin API and to a server of tonic's own.
async fn listeners(how: &How, report: &mut Report) -> anyhow::Result<()> {
    let echo = Echo::start(Duration::ZERO)?;
    let options = Options { folder: how.folder.clone(), ..Options::default() };
    let orchestrator = Orchestrator::start(&echo, &options).await?;
    let (mut own, mut tonic) = (Vec::new(), Vec::new());
    for _ in 0..how.rounds {
        own.push(connections(&orchestrator.admin, how.window()).await?.p50);
        tonic.push(connections(&echo.address, how.window()).await?.p50);
    }
    orchestrator.stop().await?;
    let figure = Figure::new("commit", "connection to the admin API with one call, p50", median(own), "us");
    report.add(figure.beside(median(tonic)));
    Ok(())
}

async fn connections(address: &str, window: Duration) -> anyhow::Result<Sample> {
    let mut times = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < window {
        let started = Instant::now();
        let mut client = EchoServiceClient::new(transport::channel::connect(address)?);
        // The admin API does not know the method; that it says so is as good as an answer.
        match client.read(ReadRequest::default()).await {
            Ok(_) => {}
            Err(status) if status.code() == tonic::Code::Unimplemented => {}
            Err(status) => return Err(status.into()),
        }
        times.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(Sample::of(times, begun.elapsed()))
}
