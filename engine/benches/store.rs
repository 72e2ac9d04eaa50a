//! Figures of the SQLite store: `cargo bench -p engine --bench store -- [FOLDER] [ENDED RUNS] [CASE]`.
//!
//! The folder (by default the system's for temporary files) says which disk is measured; the second argument fills
//! the store with runs that are over before anything is measured; the third measures only cases with that in their name.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails has nothing to say")]

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::state::State;
use engine::store::sqlite::{Sqlite, SqliteOptions};
use engine::store::{Append, ClaimRuns, ListRuns, NewRun, Status, Store};
use engine::time::Clock;
use uuid::Uuid;

const SPAN: Duration = Duration::from_secs(3);
const ENTRY: [u8; 200] = [7; 200];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let parent = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let ended: usize = arguments.next().map_or(0, |number| number.parse().unwrap());
    let case = arguments.next().unwrap_or_default();
    let folder = tempfile::TempDir::new_in(parent).unwrap();
    raw_commits(&folder.path().join("raw.db"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(measure(&folder.path().join("store.db"), ended, &case));
}

/// What the disk and SQLite allow: one row a commit.
fn raw_commits(path: &Path) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE rows (entry BLOB);")
        .unwrap();
    let start = Instant::now();
    let mut commits = 0;
    while start.elapsed() < SPAN {
        connection.prepare_cached("INSERT INTO rows VALUES (?1)").unwrap().execute([&ENTRY[..]]).unwrap();
        commits += 1;
    }
    print("raw commits", commits, start.elapsed());
}

async fn measure(path: &Path, ended: usize, case: &str) {
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(path, SqliteOptions::default(), Clock::system()).unwrap());
    let start = Instant::now();
    for _ in 0..ended.div_ceil(1_000) {
        let created: Vec<_> = (0..1_000).map(|_| store.create(run(State::Succeeded))).collect();
        for answer in created {
            answer.await.unwrap();
        }
    }
    if ended > 0 {
        print("runs created, already over", ended, start.elapsed());
    }
    for callers in [1, 64, 256, 1_000] {
        let name = format!("appends by {callers}");
        if name.contains(case) {
            many(&name, callers, |deadline| appends(store.clone(), deadline)).await;
        }
        let name = format!("runs of 7 commits by {callers}");
        if name.contains(case) {
            many(&name, callers, |deadline| chains(store.clone(), deadline)).await;
        }
    }
    reads(&*store).await;
    store.close().await.unwrap();
}

/// Runs as many callers until the span is over, and prints what they did together.
async fn many<F>(name: &str, callers: usize, caller: impl Fn(Instant) -> F)
where
    F: Future<Output = usize> + Send + 'static,
{
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers).map(|_| tokio::spawn(caller(start + SPAN))).collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    print(name, done, start.elapsed());
}

async fn appends(store: Arc<dyn Store>, deadline: Instant) -> usize {
    let run = run(State::Running);
    let id = run.id;
    store.create(run).await.unwrap();
    let mut done = 0;
    while Instant::now() < deadline {
        done += 1;
        store.append(append(id, done, State::Running)).await.unwrap();
    }
    usize::try_from(done).unwrap()
}

async fn chains(store: Arc<dyn Store>, deadline: Instant) -> usize {
    let mut done = 0;
    while Instant::now() < deadline {
        let run = run(State::Pending);
        let id = run.id;
        store.create(run).await.unwrap();
        for sequence in 1..6 {
            store.append(append(id, sequence, State::Running)).await.unwrap();
        }
        store.append(append(id, 6, State::Succeeded)).await.unwrap();
        done += 1;
    }
    done
}

async fn reads(store: &dyn Store) {
    let clock = Clock::system();
    let start = Instant::now();
    for _ in 0..1_000 {
        let workflows = vec![("bench.chain".to_owned(), 1)];
        store.claim(ClaimRuns { workflows, now: clock.now(), limit: 100, held: None }).await.unwrap();
    }
    print("claims that find nothing", 1_000, start.elapsed());
    for (name, workflow, states) in [
        ("pages of 50, all", None, vec![]),
        ("pages of 50, succeeded", None, vec![State::Succeeded]),
        ("pages of 50, failed", None, vec![State::Failed, State::Blocked]),
        ("pages of 50, by workflow", Some("bench.chain".to_owned()), vec![]),
    ] {
        let start = Instant::now();
        for _ in 0..1_000 {
            let filter =
                ListRuns { workflow: workflow.clone(), states: states.clone(), limit: 50, ..ListRuns::default() };
            store.list(filter).await.unwrap();
        }
        print(name, 1_000, start.elapsed());
    }
}

fn status(state: State) -> Status {
    Status { state, reason: String::new(), ending_as: None, wake_at: None, awaits: Vec::new(), steps: 1, error: None }
}

fn run(state: State) -> NewRun {
    let now = Clock::system().now();
    NewRun {
        id: Uuid::now_v7(),
        workflow: "bench.chain".to_owned(),
        workflow_version: 1,
        created_at: now,
        deadline: now.after(Duration::from_hours(1)),
        origin: None,
        previous_success: None,
        parent: None,
        change: None,
        claimed: true,
        entry: Bytes::from_static(&ENTRY),
        facts: 1,
        status: status(state),
    }
}

fn append(run: Uuid, sequence: u64, state: State) -> Append {
    Append {
        run,
        epoch: 1,
        sequence,
        control: Some(0),
        entry: Bytes::from_static(&ENTRY),
        facts: 1,
        status: status(state),
        messages: None,
        takes: Vec::new(),
        related_runs: None,
        release: false,
        changes: Vec::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn print(name: &str, count: usize, span: Duration) {
    let each = span.as_secs_f64() / count as f64;
    println!("{name:<32} {:>12.0}/s {:>12.1} us each", 1.0 / each, each * 1e6);
}
