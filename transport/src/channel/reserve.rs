//! The channel of one service, and the right to send a call over it: a permit, and an endpoint that is connected.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine::failure::{Code, Failure};
use engine::transport::Unsent;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::balancing::Balancing;
use super::identity::Identity;
use super::pool::{Outlook, Pool};
use super::reserved::Reserved;
use super::state::ChannelState;
use super::target::Target;
use super::{ChannelConfig, membership};

/// The channel of one service. Clones share its connections and its limits.
#[derive(Clone)]
pub struct Channel(Arc<Shared>);

struct Shared {
    pool: Arc<Pool>,
    /// Keeps the pool up to date, from the first call that has to wait.
    follow: OnceLock<AbortOnDropHandle<()>>,
}

impl Channel {
    /// A channel to the target. Nothing is resolved or connected before the first reservation.
    pub(crate) fn new(name: &str, target: Target, config: ChannelConfig, balancing: Balancing) -> Self {
        let pool = Arc::new(Pool::new(name, target, config, balancing));
        Self(Arc::new(Shared { pool, follow: OnceLock::new() }))
    }

    /// Waits for a connection and a permit, at most until the deadline.
    ///
    /// # Errors
    /// UNAVAILABLE where all that can be tried has failed, and until the next try is due, unless the call waits until the
    /// service is ready; DEADLINE_EXCEEDED.
    pub async fn reserve(&self, deadline: Instant, wait_for_ready: bool) -> Result<Reserved, Unsent> {
        if let Some(reserved) = self.try_reserve() {
            return Ok(reserved);
        }
        let pool = &self.0.pool;
        self.0.follow.get_or_init(|| {
            let follow = membership::follow(Arc::clone(pool));
            AbortOnDropHandle::new(tokio::spawn(follow))
        });
        let connected = AtomicBool::new(false);
        let reserved = timeout_at(deadline, async {
            loop {
                ready(pool, wait_for_ready).await?;
                connected.store(true, Ordering::Relaxed);
                // Only now it is known how many calls the peer allows.
                let permit = pool.permits().acquire().await;
                if let Some(reserved) = pool.take(permit) {
                    return Ok(reserved);
                }
                connected.store(false, Ordering::Relaxed);
            }
        });
        reserved.await.unwrap_or_else(|_| {
            let connected = connected.load(Ordering::Relaxed);
            let what = if connected { "a free place among the calls in flight" } else { "a connection" };
            let error = pool.state().last_error.map(|error| format!(": {error}")).unwrap_or_default();
            let message = format!("{} ({}): waited in vain for {what}{error}", pool.name(), pool.target());
            Err(Unsent { failure: Failure::new(Code::DeadlineExceeded, message), retry_after: None })
        })
    }

    /// The reservation, where an endpoint is connected and a permit is free.
    pub fn try_reserve(&self) -> Option<Reserved> {
        let permit = self.0.pool.permits().try_acquire()?;
        self.0.pool.take(permit)
    }

    /// How many calls may be in flight, as the service allows it at the moment.
    pub(crate) fn capacity(&self) -> usize {
        self.0.pool.permits().used().1
    }

    /// What may be shown.
    pub fn state(&self) -> ChannelState {
        self.0.pool.state()
    }

    /// What the service is addressed by.
    pub fn target(&self) -> &Target {
        self.0.pool.target()
    }

    /// How calls are spread over the endpoints of the service.
    pub fn balancing(&self) -> &Balancing {
        self.0.pool.balancing()
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.config().identity
    }

    pub(crate) fn config(&self) -> &ChannelConfig {
        self.0.pool.config()
    }
}

/// Waits until an endpoint is ready.
async fn ready(pool: &Pool, wait_for_ready: bool) -> Result<(), Unsent> {
    loop {
        let mut changed = pin!(pool.changed().notified());
        // From here on no notice is missed.
        changed.as_mut().enable();
        match pool.outlook() {
            Outlook::Ready => return Ok(()),
            Outlook::Failed { pause, reason } if !wait_for_ready => return Err(unavailable(pool, pause, &reason)),
            Outlook::Wait | Outlook::Idle | Outlook::Failed { .. } => changed.await,
        }
    }
}

fn unavailable(pool: &Pool, retry_after: Option<Duration>, reason: &str) -> Unsent {
    let message = format!("{} ({}): {reason}", pool.name(), pool.target());
    Unsent { failure: Failure::new(Code::Unavailable, message), retry_after }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Channel").field(&self.0.pool).finish()
    }
}
