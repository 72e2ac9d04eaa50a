//! What only the SQLite store promises: one owner, files that are not ours, broken disks, and a bounded log.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails is a test that fails")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use engine::state::State;
use engine::store::sqlite::{CommitFault, Sqlite, SqliteOptions};
use engine::store::{
    Append, Appended, AuditedChange, ClaimRuns, Created, ListRuns, NewRun, RequestKey, Requester, Status, Store,
    StoreError,
};
use engine::time::{Clock, Timestamp};
use tempfile::TempDir;
use uuid::Uuid;

mod commanded;
mod faults;
mod files;
mod growth;
mod owners;
mod poison;
mod upgrades;

const WORKFLOW: &str = "sqlite.test";

/// Names the database to a test that runs as a child process.
const CHILD: &str = "SQLITE_TEST_DATABASE";

fn open(path: &Path) -> Result<Sqlite, StoreError> {
    Sqlite::open(path, SqliteOptions::default(), Clock::system())
}

fn status(state: State) -> Status {
    Status { state, reason: String::new(), ending_as: None, wake_at: None, awaits: Vec::new(), steps: 0, error: None }
}

fn running() -> NewRun {
    let now = Clock::system().now();
    NewRun {
        id: Uuid::now_v7(),
        workflow: WORKFLOW.to_owned(),
        workflow_version: 1,
        created_at: now,
        deadline: now.after(Duration::from_secs(60)),
        origin: None,
        previous_success: None,
        parent: None,
        change: None,
        claimed: true,
        entry: Bytes::from_static(b"created"),
        facts: 1,
        status: status(State::Running),
    }
}

fn fact(run: Uuid, epoch: u64, sequence: u64, bytes: usize) -> Append {
    Append {
        run,
        epoch,
        sequence,
        control: None,
        entry: vec![7; bytes].into(),
        facts: 1,
        status: status(State::Running),
        messages: None,
        takes: Vec::new(),
        related_runs: None,
        release: false,
        changes: Vec::new(),
    }
}

async fn claim(store: &Sqlite) -> Vec<(Uuid, u64, u64)> {
    let workflows = vec![(WORKFLOW.to_owned(), 1)];
    let claimed =
        store.claim(ClaimRuns { workflows, now: Clock::system().now(), limit: 100, held: None }).await.unwrap();
    claimed.runs.into_iter().map(|run| (run.id, run.epoch, run.sequence)).collect()
}

/// Runs one ignored test of this file as a process of its own.
fn child(test: &str, database: &Path) -> Child {
    // A write beyond the limit on file sizes is to be an error, as on a full disk, and not a signal.
    Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(CHILD, database)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn database_of_child() -> PathBuf {
    std::env::var_os(CHILD).expect("run by another test").into()
}

/// The files of a folder with what is in them. Lock files, and the empty logs that looking at a database leaves, are
/// no writing to it.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file() && !path.to_string_lossy().ends_with(".lock"))
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .filter(|(path, bytes)| !bytes.is_empty() && !path.to_string_lossy().ends_with("-shm"))
        .collect();
    files.sort();
    files
}

/// Asserts that the file is refused for this reason, and is left as it was.
fn refused(path: &Path, reason: &str) {
    let before = contents(path.parent().unwrap());
    let error = open(path).unwrap_err();
    let StoreError::Unusable(why) = &error else { panic!("{error}") };
    assert!(why.contains(reason) && why.contains(&*path.file_name().unwrap().to_string_lossy()), "{why}");
    assert!(contents(path.parent().unwrap()) == before, "it was written to");
}
