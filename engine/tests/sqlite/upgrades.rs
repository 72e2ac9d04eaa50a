//! Checks of an upgrade: over files that are in use, and over those of older releases.

use engine::engine::{Engine, Parts, Start};
use engine::journal_v1 as stored;
use engine::random::RandomSource;
use engine::store::sqlite::Look;
use engine::transport::{Reserving, Transport};
use engine::upgrade::{CheckedRun, Incompatibility, UpgradeCheck};
use engine::workflow::{MissingCode, NameTaken};
use engine::{Context, Failure, Limits, Registry, Retention, Workflow};
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::*;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Empty {}

impl prost::Name for Empty {
    const NAME: &'static str = "Empty";
    const PACKAGE: &'static str = "sqlite.test";
}

/// Sleeps: in version 1 for the night, in version 2 through a day as well. Version 3 has forgotten the night.
struct Sleeper<const VERSION: u32>;

impl<const VERSION: u32> Workflow for Sleeper<VERSION> {
    const NAME: &'static str = WORKFLOW;
    const VERSION: u32 = VERSION;
    type Input = Empty;
    type Output = Empty;

    async fn run(&self, ctx: &Context, _: Empty) -> Result<Empty, Failure> {
        let name = if VERSION == 3 { "day" } else { "night" };
        ctx.sleep(name, Duration::from_secs(3_600)).await?;
        if ctx.version_at_least(2) {
            ctx.sleep("day", Duration::from_secs(3_600)).await?;
        }
        Ok(Empty {})
    }
}

fn version<const VERSION: u32>() -> Registry {
    let mut registry = Registry::new();
    let added: Result<(), NameTaken> = registry.register(|| Sleeper::<VERSION>);
    added.unwrap();
    registry
}

/// Where no call is ever made.
pub(super) struct Nowhere;

impl Transport for Nowhere {
    fn reserve(&self, _: &str, _: Uuid, _: Duration) -> Reserving {
        Box::pin(std::future::pending())
    }
}

/// A run that sleeps, in a store that stays open.
async fn asleep<const VERSION: u32>(path: &Path) -> (Uuid, Engine) {
    let engine = Engine::new(Parts {
        store: Arc::new(open(path).unwrap()),
        transport: Arc::new(Nowhere),
        workflows: version::<VERSION>(),
        clock: Clock::system(),
        random: RandomSource::system(),
        limits: Limits { linger: Duration::ZERO, ..Limits::default() },
        retention: Retention::default(),
    });
    let start = Start { workflow: WORKFLOW.to_owned(), input: Bytes::new(), asked: None, deadline: None };
    let run = engine.start(start).await.unwrap().id;
    let claims = engine.clone();
    tokio::spawn(async move { claims.claim_runs(CancellationToken::new()).await });
    while engine.in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (run, engine)
}

fn check(path: &Path, workflows: &Registry) -> Vec<CheckedRun> {
    let mut upgrade = UpgradeCheck::of(Look::at(path).unwrap(), workflows, Limits::default());
    let runs = upgrade.runs().unwrap();
    let checked: Vec<CheckedRun> = upgrade.map(Result::unwrap).collect();
    assert_eq!(checked.len() as u64, runs);
    checked
}

#[tokio::test]
async fn an_upgrade_is_checked_while_the_store_is_in_use_and_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let (run, engine) = asleep::<2>(&path).await;
    let before = engine.store().run(run).await.unwrap();
    let obstacle = |workflows: Registry| {
        let checked = check(&path, &workflows);
        let [checked] = checked.as_slice() else { panic!("{checked:?}") };
        assert_eq!((checked.run, checked.version, checked.state), (run, 2, State::Waiting));
        checked.obstacle.clone()
    };
    assert_eq!(obstacle(version::<2>()), None);
    assert_eq!(obstacle(Registry::new()), Some(MissingCode::Unknown(WORKFLOW.to_owned()).into()));
    let newer = MissingCode::Newer { workflow: WORKFLOW.to_owned(), version: 2, known: 1 };
    assert_eq!(obstacle(version::<1>()), Some(newer.into()));
    let misfit = "JOURNAL_MISMATCH: the journal has night#0, the code has day#0";
    assert_eq!(obstacle(version::<3>()), Some(Incompatibility::Blocked(misfit.to_owned())));
    assert_eq!(engine.store().run(run).await.unwrap(), before);
    assert!(engine.store().ownership().is_held());
}

#[tokio::test]
async fn runs_of_an_older_version_go_on() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let (run, engine) = asleep::<1>(&path).await;
    drop(engine);
    let checked = check(&path, &version::<2>());
    assert!(checked.iter().map(|checked| (checked.run, checked.obstacle.is_none())).eq([(run, true)]));
}

/// A run that no one has begun.
fn pending(facts: u64) -> NewRun {
    let created = stored::fact::Kind::Created(stored::Created {
        workflow: WORKFLOW.to_owned(),
        workflow_version: 1,
        ..stored::Created::default()
    });
    let entry = stored::Entry { facts: vec![stored::Fact { time_micros: 1, kind: Some(created) }] };
    NewRun { claimed: false, entry: entry.encode_to_vec().into(), facts, status: status(State::Pending), ..running() }
}

#[tokio::test]
async fn every_run_in_flight_is_checked_once_and_no_other() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).unwrap();
    let mut expected = Vec::new();
    for number in 0..1_100 {
        let state = if number % 3 == 0 { State::Waiting } else { State::Pending };
        let run = NewRun { status: status(state), ..pending(1) };
        expected.push(run.id);
        store.create(run).await.unwrap();
        store.create(NewRun { status: status(State::Succeeded), ..pending(1) }).await.unwrap();
    }
    expected.sort_unstable();
    let checked = check(&path, &version::<1>());
    assert!(checked.iter().all(|checked| checked.obstacle.is_none()));
    assert!(checked.iter().map(|checked| checked.run).eq(expected));
}

#[tokio::test]
async fn a_journal_that_is_none_is_an_obstacle_of_its_run_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let store = open(&path).unwrap();
    store.create(pending(1)).await.unwrap();
    store.create(pending(7)).await.unwrap();
    let checked = check(&path, &version::<1>());
    assert_eq!(checked[0].obstacle, None);
    let obstacle = checked[1].obstacle.as_ref().unwrap().to_string();
    assert_eq!(obstacle, "JOURNAL_UNREADABLE: the journal has 1 facts, its run says 7");
}

#[tokio::test]
async fn the_file_of_an_older_release_is_checked_and_left_in_its_schema() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(include_str!("../../src/store/sqlite/migrations/0001_runs.sql")).unwrap();
    connection.pragma_update(None, "application_id", 0x4775_7261).unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    let NewRun { id, entry, .. } = pending(1);
    connection.execute("INSERT INTO workflows (id, name, version) VALUES (1, ?1, 1)", [WORKFLOW]).unwrap();
    let run =
        "INSERT INTO runs (id, workflow, state, epoch, sequence, control, steps, created_at, updated_at, deadline,
                                 reason) VALUES (?1, 1, 1, 0, 1, 0, 0, 1, 1, 1, '')";
    connection.execute(run, [id.as_bytes()]).unwrap();
    let journal = "INSERT INTO journal (run, sequence, epoch, entry) VALUES (?1, 1, 0, ?2)";
    connection.execute(journal, rusqlite::params![id.as_bytes(), entry.as_ref()]).unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let checked = check(&path, &version::<1>());
    assert!(checked.iter().map(|checked| (checked.run, checked.obstacle.is_none())).eq([(id, true)]));
    assert!(std::fs::read(&path).unwrap() == before);
    // What was checked is what the new release then opens.
    assert_eq!(claim(&open(&path).unwrap()).await, []);
}

#[tokio::test]
async fn what_is_no_store_is_refused_and_not_made() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("store.db");
    let refused = |path: &Path| matches!(Look::at(path), Err(StoreError::Unusable(_)));
    assert!(refused(&path) && !path.exists());
    std::fs::write(&path, "not a database, whatever else it may be").unwrap();
    assert!(refused(&path));
}
