//! The test of the README.

use clients::acme::billing::v1::{ListOverdueRequest, ListOverdueResponse, SendReminderRequest};
use clients::acme::orchestration::billing::v1::{RemindRequest, RemindResponse};
use engine::Limits;
use engine::testing::{Probe, Services, World, crash_everywhere};
use orchestrator::workflows::Remind;

fn world(probe: Probe) -> World {
    let services = Services::new()
        .on::<ListOverdueRequest>(|_| Ok(ListOverdueResponse { invoice_ids: vec!["a".into(), "b".into()] }))
        .grants::<SendReminderRequest>();
    World::with(services, |registry| registry.register(|| Remind), Limits::default(), probe)
}

#[tokio::test(start_paused = true)]
async fn every_overdue_invoice_is_reminded_once_wherever_the_process_dies() {
    let sweep = crash_everywhere::<Remind>(world, RemindRequest {}).await;
    assert_eq!(sweep.holds(), &Ok(RemindResponse { reminded: 2, failed: 0 }));
}
