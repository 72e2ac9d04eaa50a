//! How many calls may be in flight: the fewer of what is configured and what the peer allows at the moment.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

/// The permits of a channel. Waiting is first come, first served.
#[derive(Debug)]
pub(crate) struct Permits {
    semaphore: Semaphore,
    configured: usize,
    allowed: Mutex<usize>,
    /// Permits that were taken back while calls held them; they are not returned.
    debt: AtomicUsize,
}

impl Permits {
    pub(crate) fn new(configured: usize) -> Arc<Self> {
        let configured = configured.clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            semaphore: Semaphore::new(configured),
            configured,
            allowed: Mutex::new(configured),
            debt: AtomicUsize::new(0),
        })
    }

    pub(crate) async fn acquire(&self) -> Permit<'_> {
        // The semaphore is never closed, so there is always a permit to be had.
        if let Ok(permit) = self.semaphore.acquire().await {
            permit.forget();
        }
        Permit(self)
    }

    pub(crate) fn try_acquire(&self) -> Option<Permit<'_>> {
        self.semaphore.try_acquire().ok()?.forget();
        Some(Permit(self))
    }

    /// Takes up what the peer said it allows on a connection.
    pub(crate) fn allow(&self, peer: usize) {
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = peer.min(self.configured);
        if wanted < *allowed {
            let surplus = *allowed - wanted;
            let forgotten = self.semaphore.forget_permits(surplus);
            self.debt.fetch_add(surplus - forgotten, Ordering::AcqRel);
        } else {
            for _ in *allowed..wanted {
                self.give_back();
            }
        }
        *allowed = wanted;
    }

    /// Calls in flight, and how many may be.
    pub(crate) fn used(&self) -> (usize, usize) {
        let allowed = *self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let held = allowed + self.debt.load(Ordering::Acquire);
        (held.saturating_sub(self.semaphore.available_permits()), allowed)
    }

    /// A permit that was kept is free again.
    pub(crate) fn give_back(&self) {
        let owed = self.debt.fetch_update(Ordering::AcqRel, Ordering::Acquire, |debt| debt.checked_sub(1));
        if owed.is_err() {
            self.semaphore.add_permits(1);
        }
    }
}

/// The right to have one call in flight.
#[derive(Debug)]
pub(crate) struct Permit<'p>(&'p Permits);

impl Permit<'_> {
    /// Lets the holder give it back itself, with [`Permits::give_back`].
    pub(crate) fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_allows_fewer_takes_permits_back_as_calls_end() {
        let permits = Permits::new(3);
        let held = [permits.try_acquire().unwrap(), permits.try_acquire().unwrap()];
        permits.allow(1);
        assert_eq!(permits.used(), (2, 1));
        assert!(permits.try_acquire().is_none());
        drop(held);
        assert_eq!(permits.used(), (0, 1));
        let one = permits.try_acquire().unwrap();
        assert!(permits.try_acquire().is_none());
        permits.allow(usize::MAX);
        assert_eq!(permits.used(), (1, 3));
        drop(one);
        assert_eq!(permits.used(), (0, 3));
    }

    #[test]
    fn what_is_owed_is_forgiven_first_when_the_peer_allows_more_again() {
        let permits = Permits::new(2);
        let held = [permits.try_acquire().unwrap(), permits.try_acquire().unwrap()];
        permits.allow(0);
        permits.allow(1);
        assert!(permits.try_acquire().is_none());
        drop(held);
        assert_eq!(permits.used(), (0, 1));
        assert!(permits.try_acquire().is_some());
    }
}
