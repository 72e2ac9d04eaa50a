//! Runs whose code harms its replica: counted, tried alone, and stopped before they do it for ever (semantics.md S5).

use std::sync::PoisonError;
use std::time::Duration;

use super::Driver;
use crate::environment::Environment;
use crate::journal::Kind;
use crate::journal_v1::Struck;
use crate::journal_v1::struck::Harm;
use crate::panics::Panicked;
use crate::scope::Fault;
use crate::state::State;
use crate::store::{RunRow, Status};
use crate::time::Timestamp;

/// A run is stopped once its code did harm so often,
const MOST: u32 = 3;
/// within such a time.
const WITHIN: Duration = Duration::from_secs(24 * 3_600);
/// From so many deaths on, no other code runs beside it for a while.
const ALONE_FROM: usize = 2;
/// Pauses after the first panic, and the next.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// What a run's code did, as far as it counts.
#[derive(Debug, Default)]
pub(super) struct Strikes {
    count: u32,
    last: String,
}

impl Strikes {
    /// Those that count now. A run that was stopped is for as long as no operator takes it up.
    pub(super) fn of(strikes: &[(Timestamp, Struck)], now: Timestamp) -> Self {
        let together = |some: &&[(Timestamp, Struck)]| counts(some[0].0, some[some.len() - 1].0);
        let stopped = strikes.windows(MOST as usize).rev().find(together);
        let mut counted = Self::default();
        match stopped {
            Some(stopped) => stopped.iter().for_each(|(_, struck)| counted.add(struck)),
            None => strikes.iter().filter(|(at, _)| counts(*at, now)).for_each(|(_, struck)| counted.add(struck)),
        }
        counted
    }

    fn add(&mut self, struck: &Struck) {
        self.count += 1;
        self.last = match struck.harm() {
            Harm::Panicked => format!("it panicked: {}", said(struck)),
            Harm::Died | Harm::Unspecified => "its process died".to_owned(),
        };
    }
}

/// What a panic said, and where.
fn said(struck: &Struck) -> Panicked {
    Panicked { message: struck.message.clone(), location: struck.location.clone() }
}

fn counts(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < WITHIN
}

const PANICKED: &str = "PANICKED";

/// Whether a run waits because its code panicked.
pub(crate) fn backs_off_after_panic(status: &Status) -> bool {
    status.reason.split(':').next() == Some(PANICKED)
}

impl Driver {
    /// Code panicked: it is tried again after a pause, and not for ever.
    pub(super) fn panicked(&mut self, panicked: Panicked) {
        let Panicked { message, location } = &panicked;
        tracing::error!(run = %self.row.id, workflow = self.workflow.name, panic = message, location, "workflow panicked");
        let pause = PAUSES[(self.strikes.count as usize).min(PAUSES.len() - 1)];
        self.strike(Struck { harm: Harm::Panicked.into(), message: message.clone(), location: location.clone() });
        if self.strikes.count >= MOST {
            return self.stop_struck();
        }
        let at = self.shared.clock.now().after(pause);
        let (state, at) = match &self.ending {
            Some(_) => (State::Ending, at),
            None => (State::BackingOff, at.min(self.work_deadline())),
        };
        self.park(state, format!("{PANICKED}: {panicked}"));
        self.goes_on_at = Some(at);
    }

    fn strike(&mut self, struck: Struck) {
        self.strikes.add(&struck);
        self.learn(Kind::Struck(struck));
        self.flush = true;
    }

    /// Whether code must not run now: the process before this one may have died of it, which has to be written down first,
    /// or it did harm too often.
    pub(super) fn is_struck(&mut self) -> bool {
        let suspect = self.shared.suspects.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.row.id);
        if suspect {
            tracing::warn!(
                run = %self.row.id, workflow = self.workflow.name, before = self.strikes.count,
                "the process died while it polled this run"
            );
            self.strike(Struck { harm: Harm::Died.into(), ..Struck::default() });
        }
        suspect || self.strikes.count >= MOST
    }

    /// Code does not run: for good where it did harm too often, otherwise until that it did is durable.
    pub(super) fn stop_struck(&mut self) {
        if self.strikes.count >= MOST {
            let Strikes { count: strikes, last } = std::mem::take(&mut self.strikes);
            return self.block(Fault::Poison { strikes, last });
        }
        self.park(self.row.status.state, self.row.status.reason.clone());
        self.goes_on_at = Some(self.shared.clock.now());
    }
}

/// Waits until code of a run may run: alone, where its replica died of it before.
pub(super) async fn take_turn(shared: &Environment, row: &RunRow, strikes: &[(Timestamp, Struck)]) {
    let now = shared.clock.now();
    let deaths = strikes.iter().filter(|(at, struck)| counts(*at, now) && struck.harm() == Harm::Died).count();
    let is_suspect = shared.suspects.lock().unwrap_or_else(PoisonError::into_inner).contains(&row.id);
    if deaths < ALONE_FROM || is_suspect {
        return shared.quarantine.pass(row.id).await;
    }
    tracing::warn!(run = %row.id, workflow = row.workflow, deaths, "run is tried alone");
    shared.quarantine.begin(row.id).await;
}
