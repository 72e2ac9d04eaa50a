//! The first lines of the README.

use clients::acme::billing::v1::{SendReminderRequest, SendReminderResponse};
use engine::testing::{Probe, Services, World};
use engine::{Context, Failure, Limits, Workflow};

struct Remind;

impl Workflow for Remind {
    const NAME: &'static str = "billing.remind-one";
    type Input = SendReminderRequest;
    type Output = SendReminderResponse;

    async fn run(&self, ctx: &Context, input: SendReminderRequest) -> Result<SendReminderResponse, Failure> {
        let invoice_id = input.invoice_id;
        ctx.call(SendReminderRequest { invoice_id: invoice_id.clone() })
            .idempotency_key("reminder", [&invoice_id])
            .await?;
        Ok(SendReminderResponse {})
    }
}

#[tokio::test(start_paused = true)]
async fn two_runs_remind_of_one_invoice_once() {
    let services = Services::new().grants::<SendReminderRequest>();
    let world = World::with(services, |registry| registry.register(|| Remind), Limits::default(), Probe::counting());
    for _ in 0..2 {
        let input = SendReminderRequest { invoice_id: String::from("a") };
        assert_eq!(world.run::<Remind>(input).await, Ok(SendReminderResponse {}));
    }
    assert_eq!(world.services().effects_of::<SendReminderRequest>(), 1);
}
