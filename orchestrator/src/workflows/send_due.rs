//! `notifications.send-due`: sends every user who is due one notification to all of their devices.

use clients::guras::notifications::v1::{DueRecipient, ListDueRecipientsRequest, MarkNotifiedRequest};
use clients::guras::orchestration::notifications::v1::{SendDueRequest, SendDueResponse};
use clients::guras::teachers::v1::PickTeachingRequest;
use engine::prelude::*;

use super::bounds::bounded;
use super::devices::{Push, Reached, devices, push_to_all};

/// Asks the notification service which users are due, and notifies each on a branch of its own. A user who cannot be
/// reached does not stop the others, and no user is notified twice for one slot, also after crashes and by other runs.
#[derive(Clone, Copy, Debug)]
pub struct SendDue;

/// Users who are notified at the same time.
const AT_THE_SAME_TIME: usize = 32;

impl Workflow for SendDue {
    const NAME: &'static str = "notifications.send-due";
    const DESCRIPTION: &'static str = "Sends every user who is due a notification a teaching, on all of their devices.";
    const DEADLINE: Duration = Duration::from_secs(15 * 60);
    type Input = SendDueRequest;
    type Output = SendDueResponse;

    async fn run(&self, ctx: &Context, input: SendDueRequest) -> Result<SendDueResponse, Failure> {
        let now = ctx.now();
        let limit = bounded(input.limit, 1_000, 10_000);
        let page_size = bounded(input.page_size, 200, 1_000).min(limit).into();
        let due = ListDueRecipientsRequest { as_of: Some(now.into()), page_size, ..Default::default() };
        let recipients = ctx.pages(due).up_to(limit.into()).await?;

        // A user who is listed twice is notified once.
        let notified = ctx
            .fan_out("recipient", recipients, move |ctx, recipient| notify(ctx, recipient, now))
            .key(|recipient| recipient.user_id.clone())
            .limit(AT_THE_SAME_TIME)
            .await;
        for (user, _) in notified.done().filter(|(_, reached)| reached.pushes == 0) {
            tracing::warn!(run = %ctx.run_id(), user, "user has no device to send to");
        }
        Ok(SendDueResponse {
            due: notified.unique(),
            sent: notified.count(|reached| reached.pushes > 0),
            skipped: notified.count(|reached| reached.pushes == 0),
            failed: notified.failed(),
            pushes: notified.sum(|reached| reached.pushes),
            removed_device_tokens: notified.sum(|reached| reached.removed),
        })
    }
}

/// One user: a teaching to every device, and the slot closed if a device has it.
async fn notify(ctx: Context, recipient: DueRecipient, now: Timestamp) -> Result<Reached, Failure> {
    let DueRecipient { user_id, slot, teacher_id, .. } = recipient;
    let devices = devices(&ctx, &user_id).await?;
    if devices.is_empty() {
        return Ok(Reached::default());
    }
    let teaching =
        ctx.call(PickTeachingRequest { teacher_id }).retry(Retry::brief()).await?.teaching.unwrap_or_default();
    let push = Push {
        user_id: user_id.clone(),
        name: slot.clone(),
        slot: slot.clone(),
        title: teaching.teacher_name,
        body: teaching.text,
        data: [("teacher_id".to_owned(), teaching.teacher_id)].into(),
    };
    let reached = push_to_all(&ctx, devices, push).await?;
    // If no device has it the slot stays open, and the next run finds the user again.
    if reached.pushes > 0 {
        ctx.call(MarkNotifiedRequest { user_id, slot, notified_time: Some(now.into()) }).await?;
    }
    Ok(reached)
}
