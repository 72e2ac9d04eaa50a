//! Runs that earlier releases began continue: their journals, kept in `journals/RELEASE/WORKFLOW/WHAT.journal`, are replayed by
//! the workflows of today. What stands beside each as text is for people who look at a change.
//!
//! A release records its own before it is published: `cargo test -p orchestrator --test workflows record -- --ignored`, which
//! leaves those that exist. Until then they may be deleted and recorded again. Those of published releases never change, and
//! go when no run of theirs can be in flight any more.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking, helpers of tests too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clients::guras::ai::v1::WriteTextRequest;
use clients::guras::audio::v1::DeleteUserFilesRequest;
use clients::guras::journal::v1::SaveEntryEmotionsRequest;
use clients::guras::notifications::v1::SendPushRequest;
use engine::store::{ListRuns, Store};
use engine::testing::{Probe, Recording, Reply, World};
use engine::{Code, State, Workflow};
use orchestrator::workflows::{
    AnalyzeEmotions, Erase, Onboard, RefreshRecommendations, SendDue, WeeklyDigest, WeeklyDigests, registry,
};
use uuid::Uuid;

use super::{analyze_emotions, erase, onboard, refresh_recommendations, send_due, weekly_digests};

/// The release that this is.
const RELEASE: &str = env!("CARGO_PKG_VERSION");

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workflows/journals")
}

/// All files below a folder that end so.
fn files(folder: &Path, end: &str, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, end, into);
        } else if path.extension().is_some_and(|extension| extension == end) {
            into.push(path);
        }
    }
}

fn journals(folder: &Path) -> Vec<(PathBuf, Recording)> {
    let mut paths = Vec::new();
    files(folder, "journal", &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let recording = Recording::decode(std::fs::read(&path).unwrap().into());
        let recording = recording.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, recording)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn the_workflows_of_today_go_on_with_runs_of_every_release() {
    let workflows = registry().unwrap();
    let mut misfits = Vec::new();
    for (path, recording) in journals(&folder()) {
        if let Err(misfit) = recording.fits(&workflows) {
            misfits.push(format!("{}: {misfit}", path.display()));
        }
    }
    assert!(
        misfits.is_empty(),
        "these runs would be BLOCKED; raise the workflow's VERSION and ask for it by `ctx.version_at_least` where its code changed \
         (docs/workflows.md, changing a workflow):\n{}",
        misfits.join("\n")
    );
}

#[test]
fn the_text_beside_a_journal_is_what_the_journal_says() {
    for (path, recording) in journals(&folder()) {
        let text = std::fs::read_to_string(path.with_extension("txt")).unwrap();
        assert_eq!(recording.journal().to_string(), text, "{}", path.display());
    }
}

#[test]
fn this_release_has_recorded_every_workflow() {
    let release = folder().join(RELEASE);
    assert!(release.is_dir(), "record the journals of {RELEASE}: see the head of this file");
    let recorded: BTreeSet<String> =
        journals(&release).iter().map(|(_, recording)| recording.workflow().0.to_owned()).collect();
    let registry = registry().unwrap();
    let expected: BTreeSet<String> = registry.iter().map(|workflow| workflow.name.to_owned()).collect();
    let missing: Vec<&String> = expected.difference(&recorded).collect();
    assert!(
        missing.is_empty(),
        "{missing:?} have no recorded journal. Start a run of each in the test `record` of this file, as it does for others, then: \
         cargo test -p orchestrator --test workflows record -- --ignored (what is recorded already stays as it is)"
    );
    let gone: Vec<&String> = recorded.difference(&expected).collect();
    assert!(
        gone.is_empty(),
        "{gone:?} have journals in {} and are not registered. Register them; if {RELEASE} is not published, delete their folders",
        release.display()
    );
}

#[test]
fn a_workflow_that_changed_without_a_version_is_found_out() {
    /// `users.erase`, as if somebody had made it look first.
    struct Changed;

    impl Workflow for Changed {
        const NAME: &'static str = Erase::NAME;
        type Input = <Erase as Workflow>::Input;
        type Output = <Erase as Workflow>::Output;

        async fn run(&self, ctx: &engine::Context, input: Self::Input) -> Result<Self::Output, engine::Failure> {
            ctx.record("looked", || true).await;
            Erase.run(ctx, input).await
        }
    }

    let mut workflows = engine::Registry::new();
    workflows.register(|| Changed).unwrap();
    let erased = journals(&folder().join(RELEASE).join(Erase::NAME));
    assert!(!erased.is_empty());
    for (path, recording) in erased {
        let misfit = recording.fits(&workflows).unwrap_err();
        assert!(misfit.contains("the journal has ") && misfit.contains("looked#0"), "{}: {misfit}", path.display());
    }
}

/// One run of one workflow, and what is to be seen of it.
async fn keep<W: Workflow>(world: &World, run: Uuid, what: &str) {
    let folder = folder().join(RELEASE).join(W::NAME);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{}.journal", what.replace(' ', "-")));
    if path.exists() {
        // What a release recorded never changes.
        return;
    }
    let recording = Recording::of(world, run).await;
    std::fs::write(path.with_extension("txt"), recording.journal().to_string()).unwrap();
    std::fs::write(path, recording.encode()).unwrap();
}

async fn ended<W: Workflow>(world: &World, input: W::Input, what: &str) {
    let run = world.start::<W>(input).await.unwrap();
    world.end_of(run).await;
    keep::<W>(world, run, what).await;
}

async fn stands<W: Workflow>(world: &World, input: W::Input, state: State, what: &str) {
    let run = world.start::<W>(input).await.unwrap();
    world.until(run, state).await;
    keep::<W>(world, run, what).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "writes the journals of this release"]
async fn record() {
    let counting = Probe::counting;

    let world = send_due::world_of(send_due::services(), counting());
    ended::<SendDue>(&world, Default::default(), "everybody is pushed to").await;
    let world = send_due::world_of(send_due::services(), counting());
    world.services().script::<SendPushRequest>([Reply::BreakFirst(Code::Unavailable)]);
    stands::<SendDue>(&world, Default::default(), State::BackingOff, "a push is tried again").await;

    let world = analyze_emotions::world(counting());
    world.services().script::<SaveEntryEmotionsRequest>([Reply::ActAndBreak(Code::Unavailable)]);
    ended::<AnalyzeEmotions>(&world, Default::default(), "an answer is lost").await;

    let world = erase::world(counting());
    ended::<Erase>(&world, erase::ann(), "everything is deleted").await;
    let world = erase::world(counting());
    world.services().always::<DeleteUserFilesRequest>(Some(Reply::NotSent));
    stands::<Erase>(&world, erase::ann(), State::BackingOff, "a service is away").await;
    let world = erase::world(counting());
    world.services().always::<DeleteUserFilesRequest>(Some(Reply::Refuse(Code::PermissionDenied)));
    ended::<Erase>(&world, erase::ann(), "a service refuses").await;

    let world = weekly_digests::world_of(weekly_digests::services(), counting());
    ended::<WeeklyDigests>(&world, Default::default(), "everybody is written to").await;
    let world = weekly_digests::world_of(weekly_digests::services(), counting());
    world.services().script::<WriteTextRequest>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<WeeklyDigests>(Default::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    keep::<WeeklyDigests>(&world, run, "a child waits for a decision").await;
    let rows = world.store().list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap();
    for row in rows.into_iter().filter(|row| row.parent == Some(run)) {
        match row.status.state {
            State::NeedsDecision => keep::<WeeklyDigest>(&world, row.id, "a text needs a decision").await,
            _ if row.status.steps > 6 => keep::<WeeklyDigest>(&world, row.id, "a user is written to").await,
            _ => {}
        }
    }

    let world = onboard::world_of(onboard::services(), counting());
    stands::<Onboard>(&world, onboard::ann(), State::Waiting, "waits for a signal").await;
    let world = onboard::world_of(onboard::services(), counting());
    ended::<Onboard>(&world, onboard::ann(), "is asked after three days").await;
    let world = onboard::world_of(onboard::services(), counting());
    let run = world.start::<Onboard>(onboard::ann()).await.unwrap();
    world.until(run, State::Waiting).await;
    world.signal(run, "settled-in", &onboard::settled(), None).await.unwrap();
    world.end_of(run).await;
    keep::<Onboard>(&world, run, "settles in").await;
    let world = onboard::world_of(onboard::services(), counting());
    world.services().always::<SendPushRequest>(Some(Reply::Refuse(Code::FailedPrecondition)));
    ended::<Onboard>(&world, onboard::ann(), "a welcome fails and is taken back").await;

    let everyone = refresh_recommendations::services;
    let world = refresh_recommendations::world_of(everyone(), counting());
    ended::<RefreshRecommendations>(&world, Default::default(), "everybody is looked at").await;
    let world = refresh_recommendations::world_of(everyone(), counting());
    world.services().script::<WriteTextRequest>([Reply::ActAndBreak(Code::Unavailable)]);
    let needs = State::NeedsDecision;
    stands::<RefreshRecommendations>(&world, Default::default(), needs, "a text needs a decision").await;
}
