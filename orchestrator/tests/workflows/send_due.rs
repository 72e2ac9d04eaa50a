//! `notifications.send-due`: everybody who is due gets one notification, whatever happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clients::guras::notifications::v1::{
    DeviceToken, DueRecipient, ListDeviceTokensRequest, ListDeviceTokensResponse, ListDueRecipientsRequest,
    ListDueRecipientsResponse, MarkNotifiedRequest, MarkNotifiedResponse, PushOutcome, RemoveDeviceTokenRequest,
    RemoveDeviceTokenResponse, SendPushRequest, SendPushResponse,
};
use clients::guras::orchestration::notifications::v1::{SendDueRequest, SendDueResponse};
use clients::guras::teachers::v1::{PickTeachingRequest, PickTeachingResponse, Teaching};
use engine::testing::{Probe, Reply, Services, World, check, crash_everywhere, expect, replay_everywhere};
use engine::{Code, Failure, Limits};
use orchestrator::workflows::SendDue;

/// Users and their devices, two to a page.
const USERS: [(&str, &[&str]); 5] =
    [("ann", &["a1", "a2"]), ("bob", &["b1"]), ("cyd", &[]), ("dan", &["dead"]), ("eve", &["e1", "dead"])];

pub(crate) fn services() -> Services {
    let quotes = AtomicUsize::new(0);
    Services::new()
        .on::<ListDueRecipientsRequest>(|request| {
            let from: usize = request.page_token.parse().unwrap_or(0);
            let recipient = |(user, _): &(&str, &[&str])| DueRecipient {
                user_id: (*user).to_owned(),
                slot: format!("{user}-9:00"),
                teacher_id: String::new(),
            };
            let recipients = USERS.iter().skip(from).take(2).map(recipient).collect();
            let next_page_token = if from + 2 < USERS.len() { (from + 2).to_string() } else { String::new() };
            Ok(ListDueRecipientsResponse { recipients, next_page_token })
        })
        .on::<ListDeviceTokensRequest>(|request| {
            let devices =
                USERS.iter().find(|(user, _)| *user == request.user_id).map_or(&[][..], |(_, devices)| devices);
            let device = |token: &&str| DeviceToken { token: (*token).to_owned(), ..DeviceToken::default() };
            Ok(ListDeviceTokensResponse { device_tokens: devices.iter().map(device).collect(), ..Default::default() })
        })
        .on::<PickTeachingRequest>(move |_| {
            // Another one each time: what is pushed must not depend on how often it was asked for.
            let text = format!("quote {}", quotes.fetch_add(1, Ordering::Relaxed));
            Ok(PickTeachingResponse { teaching: Some(Teaching { text, ..Teaching::default() }) })
        })
        .on::<SendPushRequest>(|request| {
            let outcome = if request.token == "dead" { PushOutcome::TokenUnregistered } else { PushOutcome::Delivered };
            Ok(SendPushResponse { outcome: outcome.into(), message_id: String::new() })
        })
        .on::<RemoveDeviceTokenRequest>(|_| Ok(RemoveDeviceTokenResponse {}))
        .on::<MarkNotifiedRequest>(|_| Ok(MarkNotifiedResponse { closed: true }))
}

/// The same with one quote, so that runs can be compared to the letter.
fn quiet_services() -> Services {
    services().on::<PickTeachingRequest>(|_| Ok(PickTeachingResponse { teaching: Some(Teaching::default()) }))
}

pub(crate) fn world_of(services: Services, probe: Probe) -> World {
    World::with(services, |registry| registry.register(|| SendDue), Limits::default(), probe)
}

fn everyone() -> SendDueResponse {
    SendDueResponse { due: 5, sent: 3, skipped: 2, failed: 0, pushes: 4, removed_device_tokens: 2 }
}

#[tokio::test(start_paused = true)]
async fn everybody_who_is_due_gets_a_push_on_every_device_that_lives() {
    let world = world_of(services(), Probe::counting());
    assert_eq!(world.run::<SendDue>(SendDueRequest::default()).await, Ok(everyone()));
    assert_eq!(world.services().effects_of::<SendPushRequest>(), 6);
    assert_eq!(world.services().effects_of::<MarkNotifiedRequest>(), 3);
    assert_eq!(world.services().effects_of::<RemoveDeviceTokenRequest>(), 2);
}

#[tokio::test(start_paused = true)]
async fn one_bad_user_never_stops_the_others() {
    let failing = services().on::<MarkNotifiedRequest>(|request| {
        if request.user_id == "ann" {
            return Err(Failure::new(Code::FailedPrecondition, "ann is special"));
        }
        Ok(MarkNotifiedResponse { closed: true })
    });
    let world = world_of(failing, Probe::counting());
    let output = world.run::<SendDue>(SendDueRequest::default()).await.unwrap();
    assert_eq!((output.sent, output.failed, output.skipped), (2, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_pushed_twice_however_often_it_is_triggered() {
    let world = world_of(services(), Probe::counting());
    for _ in 0..3 {
        assert_eq!(world.run::<SendDue>(SendDueRequest::default()).await.map(|output| output.sent), Ok(3));
    }
    assert_eq!(world.services().arrivals_of::<SendPushRequest>(), 18);
    assert_eq!(world.services().effects_of::<SendPushRequest>(), 6, "one for every user, slot and device");
}

#[tokio::test(start_paused = true)]
async fn a_push_with_an_outcome_that_is_not_known_is_no_dead_token_and_no_push() {
    let newer = services().on::<SendPushRequest>(|_| Ok(SendPushResponse { outcome: 77, message_id: String::new() }));
    let world = world_of(newer, Probe::counting());
    let output = world.run::<SendDue>(SendDueRequest::default()).await.unwrap();
    assert_eq!((output.sent, output.pushes, output.removed_device_tokens, output.failed), (0, 0, 0, 4));
    assert_eq!(world.services().arrivals_of::<RemoveDeviceTokenRequest>(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_bounds_how_many_are_found() {
    let world = world_of(services(), Probe::counting());
    let output = world.run::<SendDue>(SendDueRequest { limit: 2, page_size: 2 }).await.unwrap();
    assert_eq!((output.due, output.sent), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_push_service_that_loses_answers_pushes_once() {
    let world = world_of(services(), Probe::counting());
    world.services().script::<SendPushRequest>(std::iter::repeat_n(Reply::ActAndBreak(Code::Unavailable), 6));
    assert_eq!(world.run::<SendDue>(SendDueRequest::default()).await, Ok(everyone()));
    assert_eq!(world.services().effects_of::<SendPushRequest>(), 6);
}

#[tokio::test(start_paused = true)]
async fn device_tokens_are_shown_nowhere() {
    let world = world_of(services(), Probe::counting());
    let run = world.start::<SendDue>(SendDueRequest::default()).await.unwrap();
    world.end_of(run).await;
    let detail = world.detail(run).await;
    let paths: Vec<_> = detail.steps.iter().map(engine::view::StepView::path).collect();
    assert!(paths.iter().any(|path| path.contains("recipient[ann]/device[sha:")), "{paths:?}");
    assert!(!paths.iter().any(|path| path.contains("a1") || path.contains("dead")), "{paths:?}");
}

#[tokio::test(start_paused = true)]
async fn it_comes_to_the_same_end_wherever_its_replica_is_killed() {
    let make = |probe| world_of(quiet_services(), probe);
    let sweep = crash_everywhere::<SendDue>(make, SendDueRequest::default()).await;
    assert_eq!(sweep.holds(), &Ok(everyone()));
    assert!(sweep.points.len() > 60, "{} points", sweep.points.len());
}

#[tokio::test(start_paused = true)]
async fn a_kill_never_pushes_twice_even_if_the_quote_changes() {
    let whole = world_of(services(), Probe::counting());
    whole.run::<SendDue>(SendDueRequest::default()).await.unwrap();
    let points = whole.probe().points().len();
    for point in 0..points {
        let probe = Probe::killing_at(point);
        let services = Arc::new(services());
        let first = world_of((*services).clone(), probe.clone());
        tokio::select! {
            () = probe.death() => {}
            run = first.run::<SendDue>(SendDueRequest::default()) => drop(run),
        }
        let second = first.crash(Probe::counting());
        // The run that was cut off continues, and somebody triggers another one beside it.
        second.run::<SendDue>(SendDueRequest::default()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert_eq!(services.effects_of::<SendPushRequest>(), 6, "killed at point {point}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_does_the_same_when_it_is_replayed_after_every_step() {
    let make = |probe| world_of(quiet_services(), probe);
    let sweep = replay_everywhere::<SendDue>(make, SendDueRequest::default()).await;
    assert_eq!(sweep.holds(), &Ok(everyone()));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_between_pushes_pushes_once() {
    let world = world_of(services(), Probe::counting());
    world.services().script::<SendPushRequest>([Reply::Hang, Reply::Hang, Reply::AnswerAndBreak]);
    assert_eq!(world.run::<SendDue>(SendDueRequest::default()).await, Ok(everyone()));
    assert_eq!(world.services().effects_of::<SendPushRequest>(), 6);
}

#[tokio::test(start_paused = true)]
async fn without_teachings_nobody_is_pushed_to_and_all_stay_due() {
    let world = world_of(services().refuses::<PickTeachingRequest>(Code::NotFound), Probe::counting());
    let output = world.run::<SendDue>(SendDueRequest::default()).await;
    assert_eq!(output, Ok(SendDueResponse { due: 5, skipped: 1, failed: 4, ..SendDueResponse::default() }));
    let services = world.services();
    let told = (services.arrivals_of::<SendPushRequest>(), services.arrivals_of::<MarkNotifiedRequest>());
    assert_eq!(told, (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_journal_of_two_users_tells_what_they_were_sent() {
    let world = world_of(services(), Probe::counting());
    let run = world.start::<SendDue>(SendDueRequest { limit: 2, page_size: 2 }).await.unwrap();
    world.end_of(run).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
        created notifications.send-due
        now#0 recorded
        ListDueRecipients#1 done
        recipient#2 fans out over 2
        recipient[ann]/ListDeviceTokens#0 done
        recipient[bob]/ListDeviceTokens#0 done
        recipient[ann]/PickTeaching#1 done
        recipient[ann]/device#2 fans out over 2
        recipient[bob]/PickTeaching#1 done
        recipient[bob]/device#2 fans out over 1
        recipient[ann]/device[sha:f55ff16f66f43360266b95db]/SendPush#0 started IDEMPOTENT
        recipient[ann]/device[sha:2c3a4249d77070058649dbd8]/SendPush#0 started IDEMPOTENT
        recipient[bob]/device[sha:7dc96f776c8423e57a278548]/SendPush#0 started IDEMPOTENT
        recipient[ann]/device[sha:f55ff16f66f43360266b95db]/SendPush#0 done
        recipient[ann]/device[sha:2c3a4249d77070058649dbd8]/SendPush#0 done
        recipient[bob]/device[sha:7dc96f776c8423e57a278548]/SendPush#0 done
        recipient[ann]/MarkNotified#3 started IDEMPOTENT
        recipient[bob]/MarkNotified#3 started IDEMPOTENT
        recipient[ann]/MarkNotified#3 done
        recipient[bob]/MarkNotified#3 done
        ended SUCCEEDED
    "#]],
    );
}
