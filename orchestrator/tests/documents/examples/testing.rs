//! The tests of the page on workflows.

use clients::acme::billing::v1::{ListOverdueRequest, ListOverdueResponse, SendReminderRequest};
use clients::acme::orchestration::billing::v1::{RemindRequest, RemindResponse};
use engine::testing::{Probe, Reply, Services, World, check, crash_everywhere, expect, replay_everywhere};
use engine::{Code, Limits};
use orchestrator::workflows::Remind;

fn world(probe: Probe) -> World {
    let services = Services::new()
        .on::<ListOverdueRequest>(|_| Ok(ListOverdueResponse { invoice_ids: vec!["a".into(), "b".into()] }))
        .grants::<SendReminderRequest>();
    World::with(services, |registry| registry.register(|| Remind), Limits::default(), probe)
}

#[tokio::test(start_paused = true)]
async fn a_reminder_whose_answer_is_lost_is_sent_once() {
    let world = world(Probe::counting());
    world.services().script::<SendReminderRequest>([Reply::ActAndBreak(Code::Unavailable)]);
    assert_eq!(world.run::<Remind>(RemindRequest {}).await, Ok(RemindResponse { reminded: 2, failed: 0 }));
    assert_eq!(world.services().effects_of::<SendReminderRequest>(), 2);
}

#[tokio::test(start_paused = true)]
async fn it_ends_the_same_wherever_it_is_killed_and_whenever_it_is_replayed() {
    let reminded = Ok(RemindResponse { reminded: 2, failed: 0 });
    assert_eq!(crash_everywhere::<Remind>(world, RemindRequest {}).await.holds(), &reminded);
    assert_eq!(replay_everywhere::<Remind>(world, RemindRequest {}).await.holds(), &reminded);
}

#[tokio::test(start_paused = true)]
async fn the_journal_says_what_happened() {
    let world = world(Probe::counting());
    world.services().script::<SendReminderRequest>([Reply::ActAndBreak(Code::Unavailable)]);
    let run = world.start::<Remind>(RemindRequest {}).await.unwrap();
    world.end_of(run).await;
    check(
        &world.journal(run).await,
        &expect![[r#"
            created billing.remind
            ListOverdue#0 done
            invoice#1 fans out over 2
            invoice[a]/SendReminder#0 started IDEMPOTENT
            invoice[b]/SendReminder#0 started IDEMPOTENT
            invoice[a]/SendReminder#0 attempt 1 AMBIGUOUS, UNAVAILABLE: scripted: answer lost; again
            invoice[b]/SendReminder#0 done
            invoice[a]/SendReminder#0 attempt 2
            invoice[a]/SendReminder#0 done, attempt 2
            ended SUCCEEDED
        "#]],
    );
}
