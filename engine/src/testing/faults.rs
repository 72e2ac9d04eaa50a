//! Store operations that time out, before or after they took effect, and answers that take their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::Probe;
use super::probe::Fault;
use crate::random::RandomSource;
use crate::store::{Answer, StoreError};

/// How the store of a world fails. Clones share everything, and replicas one after the other have the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    percent: AtomicU64,
    /// Whether operations of the test itself fail as well, not only those of the replica's own tasks.
    everybody: AtomicBool,
    random: RandomSource,
    failed: AtomicUsize,
    /// Whether claims that found runs are answered only later.
    late_claims: watch::Sender<bool>,
    /// Milliseconds that the answer to a claim or a release takes at most.
    late: AtomicU64,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            percent: AtomicU64::new(0),
            everybody: AtomicBool::new(false),
            random: RandomSource::seeded(0),
            failed: AtomicUsize::new(0),
            late_claims: watch::Sender::new(false),
            late: AtomicU64::new(0),
        }
    }
}

impl Faults {
    pub(super) fn set(&self, percent: u64, everybody: bool) {
        self.0.percent.store(percent, Ordering::SeqCst);
        self.0.everybody.store(everybody, Ordering::SeqCst);
    }

    pub(super) fn hold_claims(&self, hold: bool) {
        self.0.late_claims.send_replace(hold);
    }

    /// Waits until claims are answered.
    pub(super) async fn claims_come(&self) {
        // The sender lives as long as this.
        let mut late = self.0.late_claims.subscribe();
        drop(late.wait_for(|late| !late).await);
    }

    pub(super) fn answer_late(&self, up_to: Duration) {
        self.0.late.store(u64::try_from(up_to.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// The way of an answer to a claim or a release: what it says was true when it left.
    pub(super) async fn way(&self) {
        let late = Duration::from_millis(self.0.late.load(Ordering::SeqCst));
        if !late.is_zero() {
            tokio::time::sleep(late.mul_f64(self.0.random.share())).await;
        }
    }

    pub(super) fn failed(&self) -> usize {
        self.0.failed.load(Ordering::SeqCst)
    }

    fn next(&self) -> Option<Fault> {
        let percent = self.0.percent.load(Ordering::SeqCst);
        // The code of a test is no task; what the engine spawns is.
        if percent == 0 || !(self.0.everybody.load(Ordering::SeqCst) || tokio::task::try_id().is_some()) {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a percentage is small")]
        let fails = self.0.random.share() * 100.0 < percent as f64;
        fails.then(|| {
            self.0.failed.fetch_add(1, Ordering::SeqCst);
            if self.0.random.share() < 0.5 { Fault::Before } else { Fault::After }
        })
    }

    /// Does the operation, unless its fault comes before it; the answer is lost where there is one.
    pub(super) fn on<T: Send + 'static>(
        &self,
        probe: &Probe,
        operation: &'static str,
        operate: impl FnOnce() -> Answer<T>,
    ) -> Answer<T> {
        let fault = if tokio::task::try_id().is_some() { probe.operation(operation) } else { None };
        match fault.or_else(|| self.next()) {
            None => operate(),
            Some(Fault::Before) => Box::pin(async { Err(timed_out()) }),
            Some(Fault::After) => {
                let answer = operate();
                Box::pin(async move {
                    drop(answer.await);
                    Err(timed_out())
                })
            }
        }
    }
}

fn timed_out() -> StoreError {
    StoreError::Unavailable("a test let the operation time out".to_owned())
}
