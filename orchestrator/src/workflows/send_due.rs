//! `notifications.send-due`: sends every user who is due one notification to all of their devices.

use std::time::Duration;

use clients::guras::notifications::v1::{
    DeviceToken, DueRecipient, ListDeviceTokensRequest, ListDueRecipientsRequest, MarkNotifiedRequest, PushOutcome,
    RemoveDeviceTokenRequest, SendPushRequest,
};
use clients::guras::orchestration::notifications::v1::{SendDueRequest, SendDueResponse};
use clients::guras::teachers::v1::{PickTeachingRequest, Teaching};
use engine::steps::fan_out::Outcome;
use engine::time::Timestamp;
use engine::{Context, Failure, Retry, Workflow};

use super::paging::{Page, bounded, count, read_all};

/// Finds who is due by asking the notification service, and notifies each on a branch of their own: one user who
/// cannot be reached stops nobody else, and no user gets one slot twice, whatever crashes and whoever else runs.
#[derive(Clone, Copy, Debug)]
pub struct SendDue;

/// Users that are notified at once.
const AT_ONCE: usize = 32;
const MOST_DEVICES: usize = 100;

/// What became of one user.
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

/// One user: a teaching to every device, and the slot closed once a device has it.
async fn notify(ctx: Context, recipient: DueRecipient, now: Timestamp) -> Result<Notified, Failure> {
    let devices = devices(&ctx, &recipient.user_id).await?;
    if devices.is_empty() {
        return Ok(Notified::NoDevice { removed: 0 });
    }
    let pick = PickTeachingRequest { teacher_id: recipient.teacher_id.clone() };
    let teaching = ctx.call(pick).retry(Retry::brief()).await?.teaching.unwrap_or_default();

    let (user, slot) = (recipient.user_id.clone(), recipient.slot.clone());
    let pushed = ctx
        .fan_out("device", devices, move |ctx, device| push(ctx, device, user.clone(), slot.clone(), teaching.clone()))
        .secret_key(|device| device.token.clone())
        .await;

    let (mut pushes, mut removed) = (0, 0);
    for (_, outcome) in pushed.iter() {
        match outcome {
            Outcome::Done(PushOutcome::Delivered) => pushes += 1,
            Outcome::Done(_) => removed += 1,
            Outcome::Failed(_) | Outcome::Duplicate => {}
        }
    }
    if pushes == 0 {
        // The slot stays open; the next run finds the user again.
        pushed.values()?;
        return Ok(Notified::NoDevice { removed });
    }
    let DueRecipient { user_id, slot, .. } = recipient;
    ctx.call(MarkNotifiedRequest { user_id, slot, notified_time: Some(time(now)) }).await?;
    Ok(Notified::Sent { pushes, removed })
}

async fn devices(ctx: &Context, user: &str) -> Result<Vec<DeviceToken>, Failure> {
    let request = |page_token| ListDeviceTokensRequest { user_id: user.to_owned(), page_size: 0, page_token };
    let page = |page: clients::guras::notifications::v1::ListDeviceTokensResponse| Page {
        items: page.device_tokens,
        next_token: page.next_page_token,
    };
    read_all(ctx, MOST_DEVICES, request, page).await
}

/// One device. A token that the push provider no longer knows is removed; the others still get theirs.
async fn push(
    ctx: Context,
    device: DeviceToken,
    user_id: String,
    slot: String,
    teaching: Teaching,
) -> Result<PushOutcome, Failure> {
    let token = device.token;
    let request = SendPushRequest {
        user_id: user_id.clone(),
        token: token.clone(),
        title: teaching.teacher_name,
        body: teaching.text,
        data: [("teacher_id".to_owned(), teaching.teacher_id)].into(),
        slot: slot.clone(),
    };
    // The key leaves the run out: neither a second run nor a retry can push this slot to this device again.
    let sent = ctx.call(request).once("push", [&user_id, &slot, &token]).retry(Retry::brief()).await?;
    if sent.outcome() == PushOutcome::TokenUnregistered {
        ctx.call(RemoveDeviceTokenRequest { user_id, token }).await?;
    }
    Ok(sent.outcome())
}

fn time(at: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = at.parts();
    prost_types::Timestamp { seconds, nanos }
}
