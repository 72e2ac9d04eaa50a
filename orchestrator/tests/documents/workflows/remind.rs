//! `billing.remind`: sends a reminder for every overdue invoice.

use clients::acme::billing::v1::{ListOverdueRequest, SendReminderRequest};
use clients::acme::orchestration::billing::v1::{RemindRequest, RemindResponse};
use engine::{Context, Failure, Workflow};

pub struct Remind;

impl Workflow for Remind {
    const NAME: &'static str = "billing.remind";
    type Input = RemindRequest;
    type Output = RemindResponse;

    async fn run(&self, ctx: &Context, _input: RemindRequest) -> Result<RemindResponse, Failure> {
        let overdue = ctx.call(ListOverdueRequest {}).await?.invoice_ids;
        let reminders = ctx
            .fan_out("invoice", overdue, |ctx, invoice_id| async move {
                let reminder = SendReminderRequest { invoice_id };
                ctx.call(reminder).await
            })
            .key(|invoice_id| invoice_id.clone())
            .limit(16)
            .await;
        Ok(RemindResponse { reminded: reminders.succeeded(), failed: reminders.failed() })
    }
}
