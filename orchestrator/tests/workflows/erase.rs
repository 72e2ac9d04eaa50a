//! `users.erase`: it finishes, whatever is away for however long.

use std::time::Duration;

use clients::guras::orchestration::users::v1::{EraseRequest, EraseResponse};
use clients::guras::users::v1::{DeleteUserRequest, DeleteUserResponse};
use clients::guras::{audio, journal, meditation, notifications};
use engine::store::Requester;
use engine::testing::{Probe, Reply, Services, World, check, crash_everywhere, expect, replay_everywhere};
use engine::{Code, Failure, Limits, State};
use orchestrator::workflows::Erase;

pub(crate) fn services() -> Services {
    Services::new()
        .on::<journal::v1::DeleteUserDataRequest>(|_| Ok(journal::v1::DeleteUserDataResponse { deleted_entries: 12 }))
        .on::<meditation::v1::DeleteUserDataRequest>(|_| {
            Ok(meditation::v1::DeleteUserDataResponse { deleted_sessions: 3 })
        })
        .on::<audio::v1::DeleteUserFilesRequest>(|_| Ok(audio::v1::DeleteUserFilesResponse { deleted_files: 2 }))
        .on::<notifications::v1::DeleteUserDataRequest>(|_| {
            Ok(notifications::v1::DeleteUserDataResponse { deleted_device_tokens: 1 })
        })
        .on::<DeleteUserRequest>(|_| Ok(DeleteUserResponse {}))
}

pub(crate) fn world(probe: Probe) -> World {
    World::with(services(), |registry| registry.register(|| Erase), Limits::default(), probe)
}

pub(crate) fn ann() -> EraseRequest {
    EraseRequest { user_id: "ann".to_owned() }
}

fn report() -> EraseResponse {
    EraseResponse {
        user_id: "ann".to_owned(),
        deleted_entries: 12,
        deleted_sessions: 3,
        deleted_files: 2,
        deleted_device_tokens: 1,
        user_deleted: true,
        unknown_to: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn everything_is_deleted_and_the_user_last() {
    let world = world(Probe::counting());
    assert_eq!(world.run::<Erase>(ann()).await, Ok(report()));
    let arrivals = world.services().arrivals();
    assert_eq!(arrivals.len(), 5);
    assert_eq!(arrivals[4].method, "/guras.users.v1.UserService/DeleteUser");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_away_for_days_keeps_only_the_user_from_being_deleted() {
    let world = world(Probe::counting());
    world.services().always::<audio::v1::DeleteUserFilesRequest>(Some(Reply::NotSent));
    let run = world.start::<Erase>(ann()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3 * 24 * 3_600)).await;
    let world = world.crash(Probe::counting());
    assert_eq!(world.services().effects_of::<journal::v1::DeleteUserDataRequest>(), 1);
    assert_eq!(world.services().arrivals_of::<DeleteUserRequest>(), 0);
    world.services().always::<audio::v1::DeleteUserFilesRequest>(None);
    assert_eq!(world.result_of::<Erase>(run).await, Ok(report()));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_there_after_a_lost_answer_was_deleted_by_us() {
    let world = world(Probe::counting());
    let gone = [Reply::BreakFirst(Code::Unavailable), Reply::Refuse(Code::NotFound)];
    world.services().script::<DeleteUserRequest>(gone.clone());
    world.services().script::<journal::v1::DeleteUserDataRequest>(gone);
    let expected = EraseResponse { deleted_entries: 0, ..report() };
    assert_eq!(world.run::<Erase>(ann()).await, Ok(expected));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_there_after_a_refusal_and_a_retry_was_deleted_by_us() {
    let world = world(Probe::counting());
    world.services().script::<DeleteUserRequest>([
        Reply::ActAndBreak(Code::Unavailable),
        Reply::Refuse(Code::Unauthenticated),
        Reply::Refuse(Code::NotFound),
    ]);
    let run = world.start::<Erase>(ann()).await.unwrap();
    assert_eq!(world.result_of::<Erase>(run).await.unwrap_err().code(), Code::Unauthenticated);
    world.engine().retry(run, Requester::new("ann", "the token is renewed")).await.unwrap();
    assert_eq!(world.result_of::<Erase>(run).await, Ok(report()));
    assert_eq!(world.services().effects_of::<DeleteUserRequest>(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_was_never_there_is_reported_and_the_rest_is_deleted() {
    let world = world(Probe::counting());
    world.services().script::<DeleteUserRequest>([Reply::Refuse(Code::NotFound)]);
    world.services().script::<audio::v1::DeleteUserFilesRequest>([Reply::Refuse(Code::NotFound)]);
    let expected =
        EraseResponse { user_deleted: false, deleted_files: 0, unknown_to: vec!["audio".to_owned()], ..report() };
    assert_eq!(world.run::<Erase>(ann()).await, Ok(expected));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_refuses_fails_the_run_and_a_retry_asks_only_it() {
    let world = world(Probe::counting());
    world.services().script::<meditation::v1::DeleteUserDataRequest>([Reply::Refuse(Code::PermissionDenied)]);
    let run = world.start::<Erase>(ann()).await.unwrap();
    let ended = world.end_of(run).await;
    assert_eq!(ended.row.status.state, State::Failed);
    assert_eq!(ended.failure.as_ref().map(Failure::code), Some(Code::PermissionDenied));
    assert_eq!(world.services().arrivals_of::<DeleteUserRequest>(), 0);
    world.engine().retry(run, Requester::new("test", "allowed by now")).await.unwrap();
    assert_eq!(world.result_of::<Erase>(run).await, Ok(report()));
    assert_eq!(world.services().arrivals().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_input_without_a_user_is_refused() {
    let world = world(Probe::counting());
    let failure = world.run::<Erase>(EraseRequest::default()).await.unwrap_err();
    assert_eq!(failure.code(), Code::InvalidArgument);
    assert_eq!(world.services().arrivals().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_comes_to_the_same_end_wherever_its_replica_is_killed() {
    let make = |probe| {
        let world = world(probe);
        world.services().script::<audio::v1::DeleteUserFilesRequest>([Reply::NotSent]);
        world
    };
    let sweep = crash_everywhere::<Erase>(make, ann()).await;
    assert_eq!(sweep.holds(), &Ok(report()));
    assert!(sweep.points.len() > 15, "{} points", sweep.points.len());
}

#[tokio::test(start_paused = true)]
async fn it_does_the_same_when_it_is_replayed_after_every_step() {
    let sweep = replay_everywhere::<Erase>(world, ann()).await;
    assert_eq!(sweep.holds(), &Ok(report()));
}

#[tokio::test(start_paused = true)]
async fn its_journal_tells_what_was_deleted_where() {
    let world = world(Probe::counting());
    world.services().script::<audio::v1::DeleteUserFilesRequest>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<Erase>(ann()).await.unwrap();
    world.end_of(run).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created users.erase
        service#0 fans out over 4
        service[journal]/DeleteUserData#0 started IDEMPOTENT
        service[meditation]/DeleteUserData#0 started IDEMPOTENT
        service[audio]/DeleteUserFiles#0 started IDEMPOTENT
        service[notifications]/DeleteUserData#0 started IDEMPOTENT
        service[journal]/DeleteUserData#0 done
        service[meditation]/DeleteUserData#0 done
        service[audio]/DeleteUserFiles#0 attempt 1 AMBIGUOUS, UNAVAILABLE: scripted: answer lost; again
        service[notifications]/DeleteUserData#0 done
        service[audio]/DeleteUserFiles#0 attempt 2
        service[audio]/DeleteUserFiles#0 done, attempt 2
        DeleteUser#1 started IDEMPOTENT
        DeleteUser#1 done
        ended SUCCEEDED
    "#]],
    );
}
