//! Answers a repeat as the first call with the same idempotency key was answered, and does nothing.
//!
//! The key alone says what is the same: a caller whose keys name what it wants done, and not how it put it, may repeat
//! in other words.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;
use tonic::Status;

use crate::shared::Shared;

/// What was answered, for as long as the horizon says. Only successes are kept: a refused call did nothing.
pub(crate) struct Memory<A> {
    kept: Shared<Kept<A>>,
    horizon: Duration,
}

struct Kept<A> {
    answers: HashMap<Name, Arc<OnceCell<A>>>,
    by_age: VecDeque<(Instant, Name)>,
}

/// Method path and key.
type Name = (String, String);

/// Whether a call was the first of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    First,
    Repeat,
}

impl<A: Clone> Memory<A> {
    pub(crate) fn new(horizon: Duration) -> Self {
        Self { kept: Shared::new(Kept { answers: HashMap::new(), by_age: VecDeque::new() }), horizon }
    }

    /// Acts, unless a call of this method with this key acted before. A call that comes while the first is under way
    /// waits for it; where the first fails, the next one acts.
    ///
    /// # Errors
    /// What `act` fails with.
    pub(crate) async fn once<F>(&self, path: &str, key: &str, act: impl FnOnce() -> F) -> Result<(A, Turn), Status>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let answered = self.look_up((path.to_owned(), key.to_owned()));
        let mut turn = Turn::Repeat;
        let first = || {
            turn = Turn::First;
            act()
        };
        let answer = answered.get_or_try_init(first).await?;
        Ok((answer.clone(), turn))
    }

    fn look_up(&self, name: Name) -> Arc<OnceCell<A>> {
        let now = Instant::now();
        self.kept.with(|kept| {
            while kept.by_age.front().is_some_and(|(kept_since, _)| now.duration_since(*kept_since) >= self.horizon) {
                if let Some((_, oldest)) = kept.by_age.pop_front() {
                    kept.answers.remove(&oldest);
                }
            }
            let Kept { answers, by_age } = kept;
            let answered = answers.entry(name).or_insert_with_key(|name| {
                by_age.push_back((now, name.clone()));
                Arc::default()
            });
            Arc::clone(answered)
        })
    }

    pub(crate) fn clear(&self) {
        self.kept.with(|kept| {
            kept.answers.clear();
            kept.by_age.clear();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tonic::Code;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    async fn call(memory: &Memory<u32>, key: &str, answer: u32) -> Result<(u32, Turn), Code> {
        memory.once("/s/Do", key, || async { Ok(answer) }).await.map_err(|status| status.code())
    }

    #[tokio::test]
    async fn a_repeat_is_answered_as_the_first_call_was() {
        let memory = Memory::new(HOUR);
        assert_eq!(call(&memory, "k", 1).await, Ok((1, Turn::First)));
        assert_eq!(call(&memory, "k", 2).await, Ok((1, Turn::Repeat)));
        assert_eq!(call(&memory, "other", 3).await, Ok((3, Turn::First)));
    }

    #[tokio::test]
    async fn a_call_that_failed_is_made_again() {
        let memory = Memory::new(HOUR);
        let failing = || async { Err(Status::not_found("no such user")) };
        memory.once("/s/Do", "k", failing).await.unwrap_err();
        assert_eq!(call(&memory, "k", 2).await, Ok((2, Turn::First)));
    }

    #[tokio::test]
    async fn calls_at_the_same_time_act_once() {
        let memory = Memory::new(HOUR);
        let acts = AtomicU32::new(0);
        let act = || async {
            tokio::task::yield_now().await;
            acts.fetch_add(1, Ordering::Relaxed);
            Ok(1)
        };
        let (first, second) = tokio::join!(memory.once("/s/Do", "k", act), memory.once("/s/Do", "k", act));
        assert_eq!((first.unwrap().1, second.unwrap().1), (Turn::First, Turn::Repeat));
        assert_eq!(acts.into_inner(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_is_forgotten_after_the_horizon() {
        let memory = Memory::new(HOUR);
        call(&memory, "k", 1).await.unwrap();
        tokio::time::advance(HOUR).await;
        assert_eq!(call(&memory, "k", 2).await, Ok((2, Turn::First)));
    }
}
