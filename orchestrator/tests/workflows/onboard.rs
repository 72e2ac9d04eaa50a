//! `users.onboard`: a user is set up and greeted once, asked once how they are, and left as they were where it fails.

use std::time::Duration;

use clients::guras::meditation::v1::{
    ListRecommendationsRequest, ListRecommendationsResponse, Recommendation, SaveRecommendationsRequest,
    SaveRecommendationsResponse,
};
use clients::guras::notifications::v1::{
    DeviceToken, GetPreferencesRequest, GetPreferencesResponse, ListDeviceTokensRequest, ListDeviceTokensResponse,
    Preferences, PushOutcome, PutPreferencesRequest, PutPreferencesResponse, RemoveDeviceTokenRequest,
    RemoveDeviceTokenResponse, SendPushRequest, SendPushResponse,
};
use clients::guras::orchestration::users::v1::{OnboardOutcome, OnboardRequest, OnboardResponse, SettledIn};
use clients::guras::users::v1::{GetUserRequest, GetUserResponse, User};
use engine::testing::{Probe, Reply, Services, World, check, crash_everywhere_while, expect, replay_everywhere_while};
use engine::{Code, Failure, Limits, State};
use orchestrator::workflows::Onboard;
use prost::Message;
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(24 * 3_600);

pub(crate) fn services() -> Services {
    Services::new()
        .on::<GetUserRequest>(|request| match request.user_id.as_str() {
            "ann" => Ok(GetUserResponse { user: Some(User { user_id: request.user_id, ..User::default() }) }),
            _ => Err(Failure::new(Code::NotFound, "no such user")),
        })
        .on::<GetPreferencesRequest>(|_| Err(Failure::new(Code::NotFound, "no preferences")))
        .on::<PutPreferencesRequest>(|request| Ok(PutPreferencesResponse { preferences: request.preferences }))
        .on::<ListRecommendationsRequest>(|_| Ok(ListRecommendationsResponse::default()))
        .on::<SaveRecommendationsRequest>(|_| Ok(SaveRecommendationsResponse::default()))
        .on::<ListDeviceTokensRequest>(|_| {
            let device = |token: &str| DeviceToken { token: token.to_owned(), ..DeviceToken::default() };
            Ok(ListDeviceTokensResponse { device_tokens: vec![device("a1"), device("dead")], ..Default::default() })
        })
        .on::<SendPushRequest>(|request| {
            let outcome = if request.token == "dead" { PushOutcome::TokenUnregistered } else { PushOutcome::Delivered };
            Ok(SendPushResponse { outcome: outcome.into(), message_id: String::new() })
        })
        .on::<RemoveDeviceTokenRequest>(|_| Ok(RemoveDeviceTokenResponse {}))
}

pub(crate) fn world_of(services: Services, probe: Probe) -> World {
    World::with(services, |registry| registry.register(|| Onboard), Limits::default(), probe)
}

pub(crate) fn ann() -> OnboardRequest {
    OnboardRequest { user_id: "ann".to_owned(), teacher_id: "rumi".to_owned() }
}

fn ended(outcome: OnboardOutcome, settled_by: &str) -> OnboardResponse {
    OnboardResponse { outcome: outcome.into(), welcome_pushes: 1, settled_by: settled_by.to_owned() }
}

pub(crate) fn settled() -> SettledIn {
    SettledIn { by: "first-entry".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_user_who_settles_in_is_not_asked() {
    let world = world_of(services(), Probe::counting());
    let run = world.start::<Onboard>(ann()).await.unwrap();
    world.until(run, State::Waiting).await;
    assert_eq!(world.engine().in_flight(), 0, "three days cost no memory");
    tokio::time::sleep(DAY).await;
    world.signal(run, "settled-in", &settled(), None).await.unwrap();
    let begun = tokio::time::Instant::now();
    assert_eq!(world.result_of::<Onboard>(run).await, Ok(ended(OnboardOutcome::SettledIn, "first-entry")));
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert_eq!(world.services().effects_of::<SendPushRequest>(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_does_not_is_asked_after_three_days() {
    let world = world_of(services(), Probe::counting());
    let begun = tokio::time::Instant::now();
    assert_eq!(world.run::<Onboard>(ann()).await, Ok(ended(OnboardOutcome::CheckedIn, "")));
    assert!(begun.elapsed() >= 3 * DAY && begun.elapsed() < 3 * DAY + Duration::from_secs(60));
    assert_eq!(world.services().effects_of::<PutPreferencesRequest>(), 1);
    assert_eq!(world.services().effects_of::<SaveRecommendationsRequest>(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_onboarded_twice_is_greeted_once() {
    let world = world_of(services(), Probe::counting());
    for _ in 0..2 {
        world.run::<Onboard>(ann()).await.unwrap();
    }
    assert_eq!(world.services().arrivals_of::<SendPushRequest>(), 8);
    assert_eq!(world.services().effects_of::<SendPushRequest>(), 4, "a welcome and a check-in for each device");
}

#[tokio::test(start_paused = true)]
async fn what_a_user_has_already_is_left_alone() {
    let known = services()
        .on::<GetPreferencesRequest>(|_| {
            Ok(GetPreferencesResponse { preferences: Some(Preferences { enabled: false, ..Preferences::default() }) })
        })
        .on::<ListRecommendationsRequest>(|_| {
            let recommendations = vec![Recommendation::default()];
            Ok(ListRecommendationsResponse { recommendations, ..Default::default() })
        });
    let world = world_of(known, Probe::counting());
    world.run::<Onboard>(ann()).await.unwrap();
    assert_eq!(world.services().arrivals_of::<PutPreferencesRequest>(), 0);
    assert_eq!(world.services().arrivals_of::<SaveRecommendationsRequest>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_user_who_is_not_there_changes_nothing() {
    let world = world_of(services(), Probe::counting());
    let nobody = OnboardRequest { user_id: "bob".to_owned(), ..ann() };
    assert_eq!(world.run::<Onboard>(nobody).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.services().effects_of::<PutPreferencesRequest>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_welcome_that_fails_takes_everything_back() {
    let world = world_of(services(), Probe::counting());
    world.services().always::<SendPushRequest>(Some(Reply::Refuse(Code::FailedPrecondition)));
    assert_eq!(world.run::<Onboard>(ann()).await.unwrap_err().code(), Code::FailedPrecondition);
    let arrivals = world.services().arrivals();
    let last = arrivals.iter().rfind(|arrival| arrival.method.ends_with("/PutPreferences")).unwrap();
    let put = PutPreferencesRequest::decode(last.request.clone()).unwrap();
    assert!(!put.preferences.unwrap().enabled);
    let last = arrivals.iter().rfind(|arrival| arrival.method.ends_with("/SaveRecommendations")).unwrap();
    assert!(SaveRecommendationsRequest::decode(last.request.clone()).unwrap().recommendations.is_empty());
    assert_eq!(world.services().effects_of::<PutPreferencesRequest>(), 2);
    assert_eq!(world.services().effects_of::<SaveRecommendationsRequest>(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_check_in_that_fails_takes_nothing_back() {
    let world = world_of(services(), Probe::counting());
    let run = world.start::<Onboard>(ann()).await.unwrap();
    world.until(run, State::Waiting).await;
    world.services().always::<SendPushRequest>(Some(Reply::Refuse(Code::FailedPrecondition)));
    assert_eq!(world.result_of::<Onboard>(run).await, Ok(ended(OnboardOutcome::OutOfReach, "")));
    assert_eq!(world.services().effects_of::<PutPreferencesRequest>(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_comes_to_the_same_end_wherever_its_replica_is_killed() {
    let make = |probe| world_of(services(), probe);
    let sweep = crash_everywhere_while::<Onboard>(make, ann(), settle_soon).await;
    assert_eq!(sweep.holds(), &Ok(ended(OnboardOutcome::SettledIn, "first-entry")));
}

#[tokio::test(start_paused = true)]
async fn it_does_the_same_when_it_is_replayed_after_every_step() {
    let make = |probe| world_of(services(), probe);
    let sweep = replay_everywhere_while::<Onboard>(make, ann(), settle_soon).await;
    assert_eq!(sweep.holds(), &Ok(ended(OnboardOutcome::SettledIn, "first-entry")));
    let sweep = replay_everywhere_while::<Onboard>(make, ann(), async |_, _| ()).await;
    assert_eq!(sweep.holds(), &Ok(ended(OnboardOutcome::CheckedIn, "")));
}

#[tokio::test(start_paused = true)]
async fn a_welcome_that_fails_takes_the_same_back_wherever_its_replica_is_killed() {
    let make = |probe| world_of(services().refuses::<SendPushRequest>(Code::FailedPrecondition), probe);
    for sweep in [
        crash_everywhere_while::<Onboard>(make, ann(), async |_, _| ()).await,
        replay_everywhere_while::<Onboard>(make, ann(), async |_, _| ()).await,
    ] {
        assert_eq!(sweep.holds().as_ref().map_err(Failure::code), Err(Code::FailedPrecondition));
    }
}

#[tokio::test(start_paused = true)]
async fn the_journal_of_a_welcome_that_fails_tells_what_is_taken_back() {
    let world = world_of(services().refuses::<SendPushRequest>(Code::FailedPrecondition), Probe::counting());
    let run = world.start::<Onboard>(ann()).await.unwrap();
    world.end_of(run).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created users.onboard
        GetUser#0 done
        GetPreferences#1 failed REFUSED, NOT_FOUND: no preferences
        PutPreferences#2 started IDEMPOTENT, undone by PutPreferences
        PutPreferences#2 done
        ListRecommendations#3 done
        SaveRecommendations#4 started IDEMPOTENT, undone by SaveRecommendations
        SaveRecommendations#4 done
        ListDeviceTokens#5 done
        device#6 fans out over 2
        device[sha:f55ff16f66f43360266b95db]/SendPush#0 started IDEMPOTENT
        device[sha:28a3a5e81d1e89f0efc70b63]/SendPush#0 started IDEMPOTENT
        device[sha:f55ff16f66f43360266b95db]/SendPush#0 failed REFUSED, FAILED_PRECONDITION: refused
        device[sha:28a3a5e81d1e89f0efc70b63]/SendPush#0 failed REFUSED, FAILED_PRECONDITION: refused
        ending as FAILED: FAILED_PRECONDITION: refused
        ~undo/SaveRecommendations#4 started IDEMPOTENT, takes back SaveRecommendations#4
        ~undo/SaveRecommendations#4 done
        ~undo/PutPreferences#2 started IDEMPOTENT, takes back PutPreferences#2
        ~undo/PutPreferences#2 done
        ended FAILED: FAILED_PRECONDITION: refused
    "#]],
    );
}

#[tokio::test(start_paused = true)]
async fn a_user_who_settles_in_while_nobody_runs_is_not_asked() {
    let world = world_of(services(), Probe::counting());
    let (world, run) = world.start_as_if_crashed_after::<Onboard>(ann(), "device#6").await;
    world.signal(run, "settled-in", &settled(), None).await.unwrap();
    assert_eq!(world.result_of::<Onboard>(run).await, Ok(ended(OnboardOutcome::SettledIn, "first-entry")));
}

async fn settle_soon(world: &World, run: Uuid) {
    tokio::time::sleep(Duration::from_secs(20)).await;
    let _ended = world.signal(run, "settled-in", &settled(), Some(Uuid::from_u128(1))).await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_during_the_check_in_asks_once() {
    let whole = world_of(services(), Probe::counting());
    let run = whole.start::<Onboard>(ann()).await.unwrap();
    whole.result_of::<Onboard>(run).await.unwrap();
    // Right after the answer of the last push, and before its result is durable.
    let probe = Probe::killing_at(whole.probe().points().len() - 3);
    let world = world_of(services(), probe.clone());
    let run = world.start::<Onboard>(ann()).await.unwrap();
    probe.death().await;
    let world = world.crash(Probe::counting());
    assert_eq!(world.result_of::<Onboard>(run).await, Ok(ended(OnboardOutcome::CheckedIn, "")));
    assert_eq!(world.services().effects_of::<SendPushRequest>(), 4);
}
