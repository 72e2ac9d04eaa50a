//! What is wrong with the code of a seed until somebody mends it: it panics, waits for signals that it does not declare,
//! builds steps that it must not, or does something else when it is run again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::{Context, Failure, Workflow};

use crate::messages::{Input, Output};
use crate::program::Flaw;

/// More beginnings of code than any seed needs.
const ENDLESS: u64 = 2_000;

/// What every panic of the model says.
pub(crate) const PANIC: &str = "the model wants a panic";

/// The code that the replicas of a world have, beside the program. Clones share everything, and it outlives replicas.
#[derive(Clone, Debug, Default)]
pub(crate) struct Code(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rolls: AtomicU64,
    /// How often code of a run was begun.
    begun: AtomicU64,
    mended: AtomicBool,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// How often code came to a flaw, by the path of the flaw.
    visits: BTreeMap<String, u32>,
    /// The reasons for which runs may be blocked.
    provoked: BTreeSet<&'static str>,
}

impl Code {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Code of a run begins, for the first time or again. Where it does so without an end it stands still from then on.
    pub(crate) async fn begin(&self) {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        if self.is_endless() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether code was begun more often than any seed needs.
    pub(crate) fn is_endless(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed) > ENDLESS
    }

    /// A value that no call before had.
    pub(crate) fn roll(&self) -> u64 {
        self.0.rolls.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on nothing is wrong any more.
    pub(crate) fn mend(&self) {
        self.0.mended.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_mended(&self) -> bool {
        self.0.mended.load(Ordering::Relaxed)
    }

    /// Whether a run may be blocked for this reason.
    pub(crate) fn explains(&self, reason: &str) -> bool {
        self.known().provoked.iter().any(|provoked| reason.starts_with(provoked))
    }

    /// Panics where the code that makes an undo is wrong.
    #[expect(clippy::panic, reason = "the seed wants code that panics")]
    pub(crate) fn make_undo(&self, panics: bool) {
        if panics && !self.is_mended() {
            self.known().provoked.insert("POISON");
            std::panic::panic_any(PANIC);
        }
    }

    /// Counts a visit; says how many there were.
    fn visit(&self, flaw: Flaw, path: String) -> u32 {
        let mut known = self.known();
        if !self.is_mended() {
            known.provoked.insert(flaw.reason());
        }
        let visits = known.visits.entry(path).or_default();
        *visits += 1;
        *visits
    }

    /// Comes to a flaw of the program.
    #[expect(clippy::panic, reason = "the seed wants code that panics")]
    pub(crate) async fn stumble(&self, ctx: &Context, flaw: Flaw, path: String) -> Result<(), Failure> {
        let moment = Duration::from_millis(5);
        let wrong = !self.is_mended();
        let visits = self.visit(flaw, path);
        match flaw {
            Flaw::Panics { times } if wrong && visits <= times => std::panic::panic_any(PANIC),
            Flaw::Undeclared if wrong => ctx.signal::<Input>("undeclared").within(moment).await.map(drop),
            Flaw::NoWorkflow if wrong => ctx.child::<Missing>("missing", Input::default()).await.map(drop),
            Flaw::Panics { .. } | Flaw::Undeclared | Flaw::NoWorkflow => Ok(()),
            Flaw::NoBranch => {
                let mut nap = ctx.sleep("flaw", moment);
                if wrong && futures_util::poll!(&mut nap).is_pending() {
                    ctx.sleep("another", moment).await?;
                }
                nap.await
            }
            Flaw::Changes => ctx.sleep(if wrong && visits > 1 { "changed" } else { "flaw" }, moment).await,
        }
    }
}

/// A workflow that no replica has.
struct Missing;

impl Workflow for Missing {
    const NAME: &'static str = "model.missing";
    type Input = Input;
    type Output = Output;

    async fn run(&self, _ctx: &Context, _input: Input) -> Result<Output, Failure> {
        Ok(Output::default())
    }
}

/// Panics that a seed wants are not told.
pub(crate) fn expect_panics() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&PANIC) {
            told(panic);
        }
    }));
}
