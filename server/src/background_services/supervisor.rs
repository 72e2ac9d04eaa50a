//! Starts background services, restarts those that fail, and stops all of them.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::BackgroundService;

/// Pauses between runs of a service that fails: doubling from the first to the last, each shortened by up to half.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The running background services.
pub struct Supervisor {
    stop: CancellationToken,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
}

impl Supervisor {
    /// Starts every service as a task of its own.
    pub fn start(services: Vec<Box<dyn BackgroundService>>) -> Self {
        let stop = CancellationToken::new();
        let start = |service: Box<dyn BackgroundService>| {
            let name = service.name();
            (name, tokio::spawn(keep_running(Arc::from(service), stop.clone())))
        };
        let tasks = services.into_iter().map(start).collect();
        Self { stop, tasks }
    }

    /// Asks all services to stop; they finish what they must finish.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Asks all services to stop and waits for them. Those that take longer are aborted, and their names returned.
    pub async fn join(self, within: Duration) -> Vec<&'static str> {
        self.stop.cancel();
        let deadline = Instant::now() + within;
        let mut late = Vec::new();
        for (name, mut task) in self.tasks {
            if timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
                late.push(name);
            }
        }
        late
    }
}

async fn keep_running(service: Arc<dyn BackgroundService>, stop: CancellationToken) {
    let name = service.name();
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let run = AssertUnwindSafe(async { service.run(stop.child_token()).await });
        match run.catch_unwind().await {
            _ if stop.is_cancelled() => break,
            Ok(Ok(())) => warn!(name, "background service returned early"),
            Ok(Err(error)) => error!(name, error = &*error, "background service failed"),
            Err(panic) => error!(name, panic = panic_message(&*panic), "background service panicked"),
        }
        // One that worked for long enough starts over with short pauses.
        if started.elapsed() >= LAST_PAUSE {
            pause = FIRST_PAUSE;
        }
        let jittered = pause.mul_f64(rand::random_range(0.5..=1.0));
        if stop.run_until_cancelled(tokio::time::sleep(jittered)).await.is_none() {
            break;
        }
        pause = (pause * 2).min(LAST_PAUSE);
    }
    debug!(name, "background service stopped");
}

/// The text of a panic, if it has one.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::BoxFuture;

    use super::super::{Periodic, ServiceError};
    use super::*;

    /// Does something else on each run, and counts its runs.
    struct Script<F>(Arc<AtomicU32>, F);

    impl<F> BackgroundService for Script<F>
    where
        F: Fn(u32, CancellationToken) -> BoxFuture<'static, Result<(), ServiceError>> + Send + Sync + 'static,
    {
        fn name(&self) -> &'static str {
            "script"
        }

        fn run(&self, stop: CancellationToken) -> BoxFuture<'_, Result<(), ServiceError>> {
            let run = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            (self.1)(run, stop)
        }
    }

    fn script<F>(behave: F) -> (Arc<AtomicU32>, Supervisor)
    where
        F: Fn(u32, CancellationToken) -> BoxFuture<'static, Result<(), ServiceError>> + Send + Sync + 'static,
    {
        let runs = Arc::new(AtomicU32::new(0));
        let supervisor = Supervisor::start(vec![Box::new(Script(runs.clone(), behave))]);
        (runs, supervisor)
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_runs_again_after_an_error_a_panic_and_an_early_return() {
        let (runs, supervisor) = script(|run, stop| {
            Box::pin(async move {
                match run {
                    1 => Err("out of luck".into()),
                    2 => panic!("out of bounds"),
                    3 => Ok(()),
                    _ => {
                        stop.cancelled().await;
                        Ok(())
                    }
                }
            })
        });
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(runs.load(Ordering::SeqCst), 4);
        assert!(supervisor.join(Duration::from_secs(1)).await.is_empty());
        assert_eq!(runs.load(Ordering::SeqCst), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_are_bounded() {
        let (runs, _supervisor) = script(|_, _| Box::pin(async { Err("always".into()) }));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let first_minute = runs.load(Ordering::SeqCst);
        assert!((9..=14).contains(&first_minute), "{first_minute} runs in the first minute");
        tokio::time::sleep(Duration::from_secs(600)).await;
        let later = runs.load(Ordering::SeqCst) - first_minute;
        assert!((19..=41).contains(&later), "{later} runs in ten minutes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_does_not_stop_is_aborted_and_named() {
        let (_, supervisor) = script(|_, _| Box::pin(std::future::pending()));
        tokio::task::yield_now().await;
        assert_eq!(supervisor.join(Duration::from_secs(2)).await, ["script"]);
    }

    #[tokio::test(start_paused = true)]
    async fn stopping_ends_a_pause_at_once() {
        let (_, supervisor) = script(|_, _| Box::pin(async { Err("always".into()) }));
        tokio::time::sleep(Duration::from_secs(300)).await;
        let before = Instant::now();
        assert!(supervisor.join(Duration::from_secs(60)).await.is_empty());
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_periodic_service_makes_a_fresh_round_each_period_and_survives_a_bad_one() {
        let rounds = Arc::new(AtomicU32::new(0));
        let count = rounds.clone();
        let periodic = Periodic::new("count", Duration::from_secs(10), move || {
            let round = count.fetch_add(1, Ordering::SeqCst) + 1;
            async move { if round == 2 { Err("second round".into()) } else { Ok(()) } }
        });
        let supervisor = Supervisor::start(vec![Box::new(periodic)]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(rounds.load(Ordering::SeqCst), 1);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(rounds.load(Ordering::SeqCst), 5);
        assert!(supervisor.join(Duration::from_secs(1)).await.is_empty());
    }
}
