//! Pushes to all devices of a user: each on a branch of its own, each once.

use std::collections::BTreeMap;

use clients::guras::notifications::v1::{
    DeviceToken, ListDeviceTokensRequest, PushOutcome, RemoveDeviceTokenRequest, SendPushRequest,
};
use engine::prelude::*;

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

/// How a push reached the devices of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// Pushes that the push provider accepted.
    pub(super) pushes: u32,
    /// Device tokens that the push provider no longer knows, and that are removed.
    pub(super) removed: u32,
}

pub(super) async fn devices(ctx: &Context, user: &str) -> Result<Vec<DeviceToken>, Failure> {
    let list = ListDeviceTokensRequest { user_id: user.to_owned(), ..Default::default() };
    ctx.pages(list).up_to(MOST_DEVICES).await
}

/// Pushes to every device.
///
/// # Errors
/// Returns the first failure of a device if no device was reached.
pub(super) async fn push_to_all(ctx: &Context, devices: Vec<DeviceToken>, push: Push) -> Result<Reached, Failure> {
    let pushed = ctx
        .fan_out("device", devices, move |ctx, device| push_to(ctx, device, push.clone()))
        .secret_key(|device| device.token.clone())
        .await;
    let pushes = pushed.count(|taken| *taken);
    let reached = Reached { pushes, removed: pushed.succeeded() - pushes };
    if pushes == 0 {
        pushed.values()?;
    }
    Ok(reached)
}

/// One device: returns whether the push provider took the push. A token that the provider no longer knows is removed; the
/// other devices still get theirs.
async fn push_to(ctx: Context, device: DeviceToken, push: Push) -> Result<bool, Failure> {
    let token = device.token;
    let Push { user_id, name, slot, title, body, data } = push;
    let request = SendPushRequest { user_id: user_id.clone(), token: token.clone(), title, body, data, slot };
    // The key leaves the run out: neither a second run nor a retry can push this to this device again.
    let sent = ctx.call(request).idempotency_key("push", [&user_id, &name, &token]).retry(Retry::brief()).await?;
    match PushOutcome::try_from(sent.outcome) {
        Ok(PushOutcome::Delivered) => Ok(true),
        Ok(PushOutcome::TokenUnregistered) => {
            ctx.call(RemoveDeviceTokenRequest { user_id, token }).await?;
            Ok(false)
        }
        // Nothing is known of the push, so the token stays.
        Ok(PushOutcome::Unspecified) | Err(_) => {
            let message = format!("the push was answered with outcome {}, which is not known here", sent.outcome);
            Err(Failure::new(Code::Unknown, message))
        }
    }
}
