//! `notifications.send-due`: sends every user who is due one notification to all of their devices.

use std::time::Duration;

use clients::guras::notifications::v1::{DueRecipient, ListDueRecipientsRequest, MarkNotifiedRequest};
use clients::guras::orchestration::notifications::v1::{SendDueRequest, SendDueResponse};
use clients::guras::teachers::v1::PickTeachingRequest;
use engine::steps::fan_out::Outcome;
use engine::time::Timestamp;
use engine::{Context, Failure, Retry, Workflow};

use super::devices::{Push, Reached, devices, push_to_all};
use super::paging::{Page, bounded, count, read_all};
use super::times::time;

/// Asks the notification service which users are due, and notifies each on a branch of its own. A user who cannot be
/// reached does not stop the others, and no user is notified twice for one slot, also after crashes and by other runs.
#[derive(Clone, Copy, Debug)]
pub struct SendDue;

/// Users who are notified at the same time.
const AT_ONCE: usize = 32;

/// The result for one user.
enum Notified {
    Sent { pushes: i32, removed: i32 },
    NoDevice { removed: i32 },
}

impl Workflow for SendDue {
    const NAME: &'static str = "notifications.send-due";
    const DESCRIPTION: &'static str = "Sends every user who is due a notification a teaching, on all of their devices.";
    const DEADLINE: Duration = Duration::from_secs(15 * 60);
    type Input = SendDueRequest;
    type Output = SendDueResponse;

    async fn run(&self, ctx: &Context, input: SendDueRequest) -> Result<SendDueResponse, Failure> {
        let now = ctx.now();
        let recipients = due(ctx, &input, now).await?;
        let found = recipients.len();
        let notified = ctx
            .fan_out("recipient", recipients, move |ctx, recipient| notify(ctx, recipient, now))
            .key(|recipient| recipient.user_id.clone())
            .limit(AT_ONCE)
            .await;

        let mut output = SendDueResponse { due: count(found), ..SendDueResponse::default() };
        for (user, outcome) in notified.iter() {
            match outcome {
                Outcome::Done(Notified::Sent { pushes, removed }) => {
                    output.sent += 1;
                    output.pushes += pushes;
                    output.removed_device_tokens += removed;
                }
                Outcome::Done(Notified::NoDevice { removed }) => {
                    output.skipped += 1;
                    output.removed_device_tokens += removed;
                    tracing::warn!(run = %ctx.run_id(), user, "user has no device to send to");
                }
                // A user who is listed twice is notified once.
                Outcome::Duplicate => output.due -= 1,
                Outcome::Failed(_) => output.failed += 1,
            }
        }
        Ok(output)
    }
}

async fn due(ctx: &Context, input: &SendDueRequest, now: Timestamp) -> Result<Vec<DueRecipient>, Failure> {
    let limit = bounded(input.limit, 1_000, 10_000);
    let page_size = bounded(input.page_size, 200, 1_000).min(limit);
    let request =
        |page_token| ListDueRecipientsRequest { as_of: Some(time(now)), page_size: page_size.into(), page_token };
    read_all(ctx, limit.into(), request, |page| Page { items: page.recipients, next_token: page.next_page_token }).await
}

/// One user: sends a teaching to every device, and closes the slot when a device has it.
async fn notify(ctx: Context, recipient: DueRecipient, now: Timestamp) -> Result<Notified, Failure> {
    let devices = devices(&ctx, &recipient.user_id).await?;
    if devices.is_empty() {
        return Ok(Notified::NoDevice { removed: 0 });
    }
    let pick = PickTeachingRequest { teacher_id: recipient.teacher_id.clone() };
    let teaching = ctx.call(pick).retry(Retry::brief()).await?.teaching.unwrap_or_default();

    let push = Push {
        user_id: recipient.user_id.clone(),
        name: recipient.slot.clone(),
        slot: recipient.slot.clone(),
        title: teaching.teacher_name,
        body: teaching.text,
        data: [("teacher_id".to_owned(), teaching.teacher_id)].into(),
    };
    // Where no device has it the slot stays open, and the next run finds the user again.
    let Reached { pushes, removed } = push_to_all(&ctx, devices, push).await?;
    if pushes == 0 {
        return Ok(Notified::NoDevice { removed });
    }
    let DueRecipient { user_id, slot, .. } = recipient;
    ctx.call(MarkNotifiedRequest { user_id, slot, notified_time: Some(time(now)) }).await?;
    Ok(Notified::Sent { pushes, removed })
}
