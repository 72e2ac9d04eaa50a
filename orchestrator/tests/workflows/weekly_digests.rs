//! `digests.weekly`: a child run for each user, one text and one push per device, whatever fails beside it.

use std::time::Duration;

use clients::guras::ai::v1::{WriteTextRequest, WriteTextResponse};
use clients::guras::emotions::v1::{BatchGetEmotionsRequest, BatchGetEmotionsResponse, Emotion};
use clients::guras::journal::v1::{CountEmotionsRequest, CountEmotionsResponse, EmotionCount};
use clients::guras::meditation::v1::{GetStatisticsRequest, GetStatisticsResponse};
use clients::guras::notifications::v1::{
    DeviceToken, GetPreferencesRequest, GetPreferencesResponse, ListDeviceTokensRequest, ListDeviceTokensResponse,
    Preferences, PushOutcome, QuietHours, SendPushRequest, SendPushResponse,
};
use clients::guras::orchestration::digests::v1::{WeeklyOutcome, WeeklyRequest, WeeklyResponse, WeeklyUserRequest};
use clients::guras::users::v1::{ListUsersRequest, ListUsersResponse, User};
use engine::decision::{Decision, Verdict};
use engine::engine::Backfill;
use engine::schedule::Spec;
use engine::store::{ListRuns, RequestKey, Requester, Schedule, Store as _};
use engine::testing::{Probe, Reply, Services, World, check, crash_everywhere, expect, replay_everywhere};
use engine::view::StepState;
use engine::{Code, Failure, Limits, State, Workflow as _};
use orchestrator::workflows::{WeeklyDigest, WeeklyDigests};
use prost::Message;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Two to a page. `cyd` wants nothing, `dan` has no device, `eve` did nothing.
const USERS: [&str; 5] = ["ann", "bob", "cyd", "dan", "eve"];

pub(crate) fn services() -> Services {
    Services::new()
        .on::<ListUsersRequest>(|request| {
            let from: usize = request.page_token.parse().unwrap_or(0);
            let user = |id: &&str| User { user_id: (*id).to_owned(), ..User::default() };
            let next_page_token = if from + 2 < USERS.len() { (from + 2).to_string() } else { String::new() };
            Ok(ListUsersResponse { users: USERS.iter().skip(from).take(2).map(user).collect(), next_page_token })
        })
        .on::<GetPreferencesRequest>(|request| {
            if request.user_id == "cyd" {
                return Err(Failure::new(Code::NotFound, "no preferences"));
            }
            // The world begins at midnight: the push waits until five past.
            let quiet_hours = Some(QuietHours { start_minute: 23 * 60, end_minute: 4 });
            let preferences = Some(Preferences { enabled: true, quiet_hours, ..Preferences::default() });
            Ok(GetPreferencesResponse { preferences })
        })
        .on::<ListDeviceTokensRequest>(|request| {
            let token = format!("{}'s phone", request.user_id);
            let devices = vec![DeviceToken { token, ..DeviceToken::default() }];
            let device_tokens = if request.user_id == "dan" { Vec::new() } else { devices };
            Ok(ListDeviceTokensResponse { device_tokens, ..Default::default() })
        })
        .on::<CountEmotionsRequest>(|request| {
            if request.user_id == "eve" {
                return Ok(CountEmotionsResponse::default());
            }
            let counts = vec![EmotionCount { emotion_id: "joy".to_owned(), entries: 2 }];
            Ok(CountEmotionsResponse { counts, entries: 3 })
        })
        .on::<GetStatisticsRequest>(|_| Ok(GetStatisticsResponse::default()))
        .on::<BatchGetEmotionsRequest>(|_| {
            Ok(BatchGetEmotionsResponse { emotions: vec![Emotion { name: "Joy".to_owned(), ..Emotion::default() }] })
        })
        .on::<WriteTextRequest>(|request| {
            Ok(WriteTextResponse { text: format!("{}: {}", request.user_id, request.prompt) })
        })
        .on::<SendPushRequest>(|request| {
            assert!(request.body.contains("Felt most often: Joy."), "{}", request.body);
            Ok(SendPushResponse { outcome: PushOutcome::Delivered.into(), message_id: String::new() })
        })
}

pub(crate) fn world_of(services: Services, probe: Probe) -> World {
    let register = |registry: &mut engine::Registry| {
        registry.register(|| WeeklyDigests)?;
        registry.register(|| WeeklyDigest)
    };
    World::with(services, register, Limits::default(), probe)
}

fn everyone() -> WeeklyResponse {
    WeeklyResponse { users: 5, sent: 2, skipped: 3, failed: 0 }
}

#[tokio::test(start_paused = true)]
async fn everybody_with_a_week_to_tell_of_gets_one_digest_after_quiet_hours() {
    let world = world_of(services(), Probe::counting());
    let begun = tokio::time::Instant::now();
    let run = world.start::<WeeklyDigests>(WeeklyRequest::default()).await.unwrap();
    assert_eq!(world.result_of::<WeeklyDigests>(run).await, Ok(everyone()));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(5 * 60) && took < Duration::from_secs(6 * 60), "{took:?}");
    assert_eq!(world.services().effects_of::<WriteTextRequest>(), 2);
    assert_eq!(world.services().effects_of::<SendPushRequest>(), 2);
    let rows = world.store().list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.parent == Some(run)).count(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_week_is_told_once_however_often_it_is_triggered() {
    let world = world_of(services(), Probe::counting());
    let week_end_time = Some(prost_types::Timestamp { seconds: 1_767_225_600, nanos: 0 });
    let request = WeeklyRequest { week_end_time, ..WeeklyRequest::default() };
    for _ in 0..2 {
        world.run::<WeeklyDigests>(request).await.unwrap();
    }
    assert_eq!(world.services().effects_of::<SendPushRequest>(), 2, "one for every user, week and device");
}

#[tokio::test(start_paused = true)]
async fn a_backfill_tells_of_each_week_that_it_stands_for() {
    let world = world_of(services(), Probe::counting());
    let weekly = Schedule::new("weekly", WeeklyDigests::NAME, Spec::every(Duration::from_hours(7 * 24)));
    let (engine, stop) = (world.engine().clone(), CancellationToken::new());
    let stopped = stop.clone();
    tokio::spawn(async move { engine.run_schedules(vec![weekly], stopped).await.unwrap() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let now = world.clock().now();
    let (from, until) = (now.before(Duration::from_hours(3 * 7 * 24)), now.before(Duration::from_hours(7 * 24)));
    let backfill = Backfill { from, until, at_once: 2, per_minute: 0 };
    let asked = Requester {
        request: Some(RequestKey { id: Uuid::from_u128(1), hash: [1; 32] }),
        ..Requester::new("test", "late")
    };
    world.engine().backfill_schedule("weekly".to_owned(), backfill, asked).await.unwrap();
    tokio::time::sleep(Duration::from_hours(12)).await;
    // Two users have a week to tell of.
    assert_eq!(world.services().effects_of::<WriteTextRequest>(), 4);
    assert_eq!(world.services().effects_of::<SendPushRequest>(), 4, "one for every user, week and device");
    stop.cancel();
}

#[tokio::test(start_paused = true)]
async fn one_bad_user_never_stops_the_others() {
    let failing = services().on::<WriteTextRequest>(|request| match request.user_id.as_str() {
        "ann" => Err(Failure::new(Code::FailedPrecondition, "no allowance left")),
        _ => Ok(WriteTextResponse { text: request.prompt }),
    });
    let world = world_of(failing, Probe::counting());
    let output = world.run::<WeeklyDigests>(WeeklyRequest::default()).await.unwrap();
    assert_eq!((output.sent, output.failed, output.skipped), (1, 1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_text_whose_answer_is_lost_is_not_written_twice_and_asks_for_a_decision() {
    let world = world_of(services(), Probe::counting());
    world.services().script::<WriteTextRequest>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<WeeklyDigests>(WeeklyRequest::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(world.services().arrivals_of::<WriteTextRequest>(), 2);
    let rows = world.store().list(ListRuns { limit: 100, ..ListRuns::default() }).await.unwrap();
    let states: Vec<State> = rows.iter().filter(|row| row.parent == Some(run)).map(|row| row.status.state).collect();
    assert_eq!(states.iter().filter(|state| **state == State::Succeeded).count(), 4, "{states:?}");
    assert_eq!(states.iter().filter(|state| **state == State::NeedsDecision).count(), 1, "{states:?}");
    assert_eq!(world.detail(run).await.row.status.state, State::Waiting);
}

/// A crash between the start of a text and its answer asks for a decision; that is tried above.
#[tokio::test(start_paused = true)]
async fn it_comes_to_the_same_end_wherever_its_replica_is_killed() {
    // No one is written a text: their weeks are quiet, and all else continues.
    let quiet = |probe| {
        let services = services().on::<CountEmotionsRequest>(|_| Ok(CountEmotionsResponse::default()));
        world_of(services, probe)
    };
    let sweep = crash_everywhere::<WeeklyDigests>(quiet, WeeklyRequest::default()).await;
    assert_eq!(sweep.holds(), &Ok(WeeklyResponse { sent: 0, skipped: 5, ..everyone() }));
    assert!(sweep.points.len() > 60, "{} points", sweep.points.len());
}

#[tokio::test(start_paused = true)]
async fn no_kill_writes_a_text_or_sends_a_push_twice() {
    let whole = world_of(services(), Probe::counting());
    whole.run::<WeeklyDigests>(WeeklyRequest::default()).await.unwrap();
    let points = whole.probe().points().len();
    for point in (0..points).step_by(7) {
        let (probe, services) = (Probe::killing_at(point), services());
        let first = world_of(services.clone(), probe.clone());
        tokio::select! {
            () = probe.death() => {}
            run = first.run::<WeeklyDigests>(WeeklyRequest::default()) => drop(run),
        }
        let _second = first.crash(Probe::counting());
        tokio::time::sleep(Duration::from_secs(1_000)).await;
        let (texts, pushes) = (services.arrivals_of::<WriteTextRequest>(), services.effects_of::<SendPushRequest>());
        assert!(texts <= 2 && pushes <= texts, "killed at point {point}: {texts} texts, {pushes} pushes");
    }
}

#[tokio::test(start_paused = true)]
async fn it_does_the_same_when_it_is_replayed_after_every_step() {
    let make = |probe| world_of(services(), probe);
    let sweep = replay_everywhere::<WeeklyDigests>(make, WeeklyRequest::default()).await;
    assert_eq!(sweep.holds(), &Ok(everyone()));
}

fn anns_week() -> WeeklyUserRequest {
    WeeklyUserRequest { user_id: "ann".to_owned(), ..WeeklyUserRequest::default() }
}

#[tokio::test(start_paused = true)]
async fn the_journal_of_a_user_tells_how_they_came_by_their_digest() {
    let world = world_of(services(), Probe::counting());
    let run = world.start::<WeeklyDigest>(anns_week()).await.unwrap();
    world.end_of(run).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created digests.weekly-user version 2
        GetPreferences#0 done
        ListDeviceTokens#1 done
        CountEmotions#2 done
        GetStatistics#3 done
        BatchGetEmotions#4 done
        WriteText#5 started UNKNOWN
        WriteText#5 done
        now#6 recorded
        quiet hours#7 sleeps for 5m
        quiet hours#7 woke
        device#8 fans out over 1
        device[sha:4525d5af35c4aa66fd1dc9b0]/SendPush#0 started IDEMPOTENT
        device[sha:4525d5af35c4aa66fd1dc9b0]/SendPush#0 done
        ended SUCCEEDED
    "#]],
    );
}

#[tokio::test(start_paused = true)]
async fn a_user_whose_devices_all_refuse_has_no_digest() {
    let world = world_of(services().refuses::<SendPushRequest>(Code::InvalidArgument), Probe::counting());
    let output = world.run::<WeeklyDigests>(WeeklyRequest::default()).await;
    assert_eq!(output, Ok(WeeklyResponse { sent: 0, failed: 2, ..everyone() }));
}

#[tokio::test(start_paused = true)]
async fn a_lost_text_that_an_operator_has_found_is_pushed() {
    let world = world_of(services(), Probe::counting());
    world.services().script::<WriteTextRequest>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<WeeklyDigest>(anns_week()).await.unwrap();
    let steps = world.until(run, State::NeedsDecision).await.steps;
    let step = steps.iter().find(|step| step.state == StepState::NeedsDecision).unwrap();
    let text = WriteTextResponse { text: "Felt most often: Joy. Says the ledger.".to_owned() };
    let verdict = Verdict::Happened(text.encode_to_vec().into());
    let decision = Decision { step: step.path(), incarnation: step.incarnation, attempt: step.attempts, verdict };
    world.engine().resolve(run, decision, Requester::new("test", "found it")).await.unwrap();
    let ended = world.result_of::<WeeklyDigest>(run).await.unwrap();
    assert_eq!((ended.outcome(), ended.pushes), (WeeklyOutcome::Sent, 1));
    assert_eq!(world.services().arrivals_of::<WriteTextRequest>(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_quiet_hours_pushes_once_and_after_them() {
    let world = world_of(services(), Probe::counting());
    let begun = tokio::time::Instant::now();
    let (world, run) = world.start_as_if_crashed_after::<WeeklyDigest>(anns_week(), "WriteText#5").await;
    let pushes = world.result_of::<WeeklyDigest>(run).await.map(|ended| ended.pushes);
    assert_eq!((pushes, world.services().arrivals_of::<SendPushRequest>()), (Ok(1), 1));
    assert!(begun.elapsed() >= Duration::from_secs(5 * 60));
}
