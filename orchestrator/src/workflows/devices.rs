//! Pushes to all devices of a user: each on a branch of its own, each once.

use std::collections::BTreeMap;

use clients::guras::notifications::v1::{
    DeviceToken, ListDeviceTokensRequest, ListDeviceTokensResponse, PushOutcome, RemoveDeviceTokenRequest,
    SendPushRequest,
};
use engine::steps::fan_out::Outcome;
use engine::{Code, Context, Failure, Retry};

use super::paging::{Page, read_all};

const MOST_DEVICES: usize = 100;

/// The content of a push to a user.
#[derive(Clone, Debug)]
pub(super) struct Push {
    pub(super) user_id: String,
    /// Identifies the push among all pushes to the user: no device gets it twice, whichever run sends it.
    pub(super) name: String,
    /// The notification slot that it fills; empty for a push outside the user's frequency.
    pub(super) slot: String,
    pub(super) title: String,
    pub(super) body: String,
    pub(super) data: BTreeMap<String, String>,
}

/// The result for the devices of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// Pushes that the push provider accepted.
    pub(super) pushes: i32,
    /// Invalid tokens that were removed.
    pub(super) removed: i32,
}

pub(super) async fn devices(ctx: &Context, user: &str) -> Result<Vec<DeviceToken>, Failure> {
    let request = |page_token| ListDeviceTokensRequest { user_id: user.to_owned(), page_size: 0, page_token };
    let page = |page: ListDeviceTokensResponse| Page { items: page.device_tokens, next_token: page.next_page_token };
    read_all(ctx, MOST_DEVICES, request, page).await
}

/// Pushes to every device. Fails if a device failed and no other was reached.
pub(super) async fn push_to_all(ctx: &Context, devices: Vec<DeviceToken>, push: Push) -> Result<Reached, Failure> {
    let pushed = ctx
        .fan_out("device", devices, move |ctx, device| push_to(ctx, device, push.clone()))
        .secret_key(|device| device.token.clone())
        .await;
    let mut reached = Reached::default();
    for (_, outcome) in pushed.iter() {
        match outcome {
            Outcome::Done(Pushed::Delivered) => reached.pushes += 1,
            Outcome::Done(Pushed::Removed) => reached.removed += 1,
            Outcome::Failed(_) | Outcome::Duplicate => {}
        }
    }
    if reached.pushes == 0 {
        pushed.values()?;
    }
    Ok(reached)
}

/// What became of one device.
#[derive(Clone, Copy, Debug)]
enum Pushed {
    Delivered,
    Removed,
}

/// One device. A token that the push provider no longer knows is removed; the others still get theirs.
async fn push_to(ctx: Context, device: DeviceToken, push: Push) -> Result<Pushed, Failure> {
    let token = device.token;
    let Push { user_id, name, slot, title, body, data } = push;
    let request = SendPushRequest { user_id: user_id.clone(), token: token.clone(), title, body, data, slot };
    // The key leaves the run out: neither a second run nor a retry can push this to this device again.
    let sent = ctx.call(request).once("push", [&user_id, &name, &token]).retry(Retry::brief()).await?;
    match sent.outcome() {
        PushOutcome::Delivered => Ok(Pushed::Delivered),
        PushOutcome::TokenUnregistered => {
            ctx.call(RemoveDeviceTokenRequest { user_id, token }).await?;
            Ok(Pushed::Removed)
        }
        PushOutcome::Unspecified => {
            let message = format!("the push was answered with outcome {}, which is not known here", sent.outcome);
            Err(Failure::new(Code::Unknown, message))
        }
    }
}
