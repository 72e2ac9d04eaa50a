//! Disks that are full, read-only or damaged: what was acknowledged stays, nothing happens twice, and it continues by itself
//! when it can, or says why it cannot.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use server::proto::orchestrator::admin::v1::ListRunsRequest;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

use crate::disk::{Disk, contents, limit_files, minding_limits};
use crate::load::{Load, invite};
use crate::process::Orchestrator;
use crate::world::World;
use crate::{SETTLED, WITHOUT_SCHEDULES, audit};

/// How long there is no room.
const FULL: Duration = Duration::from_secs(8);
/// Looks at its readiness often.
const WATCHFUL: [&str; 2] = ["--set", "health.interval=100ms"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_full_for_a_while_loses_nothing_and_doubles_nothing() {
    let world = World::unreliable().await;
    let mut orchestrator = Orchestrator::over(&world);
    let Some(disk) = Disk::small(&orchestrator.store(), 48) else { return };
    orchestrator.launched_by(disk.launcher());
    goes_on_after(&world, orchestrator, |_| disk.fill(), |_| disk.make_room()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_may_not_grow_for_a_while_lose_nothing_and_double_nothing() {
    let world = World::unreliable().await;
    let mut orchestrator = Orchestrator::over(&world);
    orchestrator.launched_by(minding_limits());
    // Less than the database has by now: its log cannot be brought back into it.
    goes_on_after(
        &world,
        orchestrator,
        |process| limit_files(process, Some(32 << 10)),
        |process| limit_files(process, None),
    )
    .await;
}

/// Under load, takes all room away and gives it back. Says what clients and probes see meanwhile, and that the log tells it
/// once.
async fn goes_on_after(world: &World, mut orchestrator: Orchestrator, fill: impl Fn(u32), make_room: impl Fn(u32)) {
    orchestrator.start(&WATCHFUL).await;
    let load = Load::begin(orchestrator.runs(), 21);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    fill(orchestrator.id());
    orchestrator.says(ServingStatus::NotServing).await;

    let mut runs = orchestrator.runs();
    let refused = runs.start_run(invite(uuid::Uuid::new_v4())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().starts_with("the store is unavailable: "), "{refused}");
    // What is there is still shown.
    assert!(!runs.list_runs(ListRunsRequest::default()).await.unwrap().into_inner().runs.is_empty());
    tokio::time::sleep(FULL).await;
    assert_eq!(orchestrator.status("liveness").await, Some(ServingStatus::Serving), "a restart would not help");
    let mut told: BTreeMap<String, usize> = BTreeMap::new();
    for line in orchestrator.logged(&["WARN", "ERROR"]) {
        *told.entry(line["message"].to_string()).or_default() += 1;
    }
    // This is about calls, not about the disk.
    told.retain(|message, _| !message.contains("attempt failed"));
    assert!(told.keys().any(|message| message.contains("store lost")), "{told:?}");
    assert!(told.values().all(|times| *times <= 4), "a flood of messages: {told:#?}");

    make_room(orchestrator.id());
    orchestrator.ready().await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let started = load.end().await;
    orchestrator.kill().await;
    orchestrator.start(&WITHOUT_SCHEDULES).await;
    println!("{}", audit::settle(world, orchestrator.runs(), &started, SETTLED).await);
}

/// Runs `serve`, which must end by itself as a failure; returns the last line that it says.
fn refused(orchestrator: &Orchestrator) -> String {
    let output = orchestrator.command(&[]).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let last = said.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("error: ") && last.contains("orchestrator.db"), "{last}");
    last
}

/// An orchestrator that has a store already, and does not run.
async fn stopped() -> Orchestrator {
    let world = World::good().await;
    let mut orchestrator = Orchestrator::over(&world);
    orchestrator.start(&[]).await;
    orchestrator.stop(Duration::from_secs(30)).await;
    orchestrator
}

type Damage = fn(&mut Vec<u8>);

#[tokio::test]
async fn a_damaged_store_is_refused_and_not_written_to() {
    let orchestrator = stopped().await;
    let path = orchestrator.store().join("orchestrator.db");
    let whole = std::fs::read(&path).unwrap();
    let damage: [(&str, Damage); 4] = [
        ("is not a SQLite database", |bytes| bytes[..16].copy_from_slice(b"garbage, garbage")),
        ("is not a SQLite database", |bytes| bytes.truncate(50)),
        ("malformed", |bytes| bytes[100..8_192].fill(0xAB)),
        ("malformed", |bytes| bytes.truncate(4_096)),
    ];
    for (reason, damage) in damage {
        let mut damaged = whole.clone();
        damage(&mut damaged);
        std::fs::write(&path, &damaged).unwrap();
        let before = contents(&orchestrator.store());
        let said = refused(&orchestrator);
        assert!(said.contains(reason), "{reason:?} is missing: {said}");
        assert!(contents(&orchestrator.store()) == before, "it was written to: {said}");
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_refused_and_left_as_it_was() {
    let mut orchestrator = stopped().await;
    let before = contents(&orchestrator.store());
    for read_only in [orchestrator.store(), orchestrator.store().join("orchestrator.db")] {
        let Some(disk) = Disk::read_only(&read_only) else { return };
        orchestrator.launched_by(disk.launcher());
        let said = refused(&orchestrator);
        assert!(said.contains("Read-only file system"), "{said}");
        assert!(contents(&orchestrator.store()) == before, "it was written to: {said}");
    }
}

#[tokio::test]
async fn a_new_store_in_a_folder_that_cannot_be_written_is_refused() {
    let world = World::good().await;
    let mut orchestrator = Orchestrator::over(&world);
    let Some(disk) = Disk::read_only(&orchestrator.store()) else { return };
    orchestrator.launched_by(disk.launcher());
    let said = refused(&orchestrator);
    assert!(said.contains("Read-only file system"), "{said}");
    assert_eq!(contents(&orchestrator.store()), []);
}

#[tokio::test]
async fn a_store_on_a_full_disk_is_refused() {
    let world = World::good().await;
    let mut orchestrator = Orchestrator::over(&world);
    let Some(disk) = Disk::small(&orchestrator.store(), 1) else { return };
    disk.fill();
    orchestrator.launched_by(disk.launcher());
    let said = refused(&orchestrator);
    assert!(said.contains("full") || said.contains("No space left"), "{said}");
    disk.make_room();
    orchestrator.start(&[]).await;
}
