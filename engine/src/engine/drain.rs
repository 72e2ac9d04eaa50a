//! How a replica goes: nothing new, what is in flight finishes or is given up, everything is given back.

#[cfg(feature = "testing")]
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[cfg(feature = "testing")]
use uuid::Uuid;

use super::Engine;
use crate::mailbox::{DRAIN, GIVE_UP};

/// What a drain left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Runs whose steps in flight finished within the grace period.
    pub settled: usize,
    /// Runs whose steps in flight were given up; they continue after the next start.
    pub given_up: usize,
}

/// Time for the last writes once nothing is waited for any more.
const LAST_WRITES: Duration = Duration::from_secs(5);

impl Engine {
    pub(super) fn is_draining(&self) -> bool {
        self.loops.draining.load(Ordering::Acquire)
    }

    /// Starts and claims nothing new, lets steps in flight finish for at most `grace`, and gives every run back.
    pub async fn drain(&self, grace: Duration) -> Drained {
        self.loops.draining.store(true, Ordering::Release);
        let at_first = self.send_all(DRAIN);
        let _in_time = tokio::time::timeout(grace, self.empty()).await;
        let given_up = self.send_all(GIVE_UP);
        if given_up > 0 && tokio::time::timeout(LAST_WRITES, self.empty()).await.is_err() {
            tracing::error!(runs = self.in_flight(), "runs not given back in time");
        }
        Drained { settled: at_first.saturating_sub(given_up), given_up }
    }

    /// Gives a single run back, as a drain gives back all of them; a claim finds it immediately.
    #[cfg(feature = "testing")]
    pub(crate) fn gives_back(&self) -> impl Fn(Uuid) + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move |run| {
            if let Some(mailbox) = shared.upgrade().and_then(|shared| shared.runs.mailbox(run)) {
                mailbox.send(DRAIN);
            }
        }
    }

    fn send_all(&self, mail: u16) -> usize {
        let mailboxes = self.shared.runs.mailboxes();
        mailboxes.iter().for_each(|mailbox| mailbox.send(mail));
        mailboxes.len()
    }

    async fn empty(&self) {
        loop {
            let left = self.loops.left.notified();
            tokio::pin!(left);
            left.as_mut().enable();
            if self.shared.runs.lock().is_empty() {
                return;
            }
            left.await;
        }
    }
}
