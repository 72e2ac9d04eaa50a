//! Runs whose code harms its replica: counted, tried alone, and stopped before they do it for ever (semantics.md S5).

use std::sync::PoisonError;
use std::time::Duration;

use super::Driver;
use super::mode::Stop;
use crate::environment::Environment;
use crate::journal::Kind;
use crate::journal_v1::CrashRecorded;
use crate::journal_v1::crash_recorded::CrashKind;
use crate::panics::Panicked;
use crate::run_command::PANICKED;
use crate::scope::Fault;
use crate::state::State;
use crate::store::RunRow;
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
pub(super) struct CrashCount {
    count: u32,
    last: String,
}

impl CrashCount {
    /// Those that count now. A run that was stopped is for as long as no operator takes it up.
    pub(super) fn of(crashes: &[(Timestamp, CrashRecorded)], now: Timestamp) -> Self {
        let together = |some: &&[(Timestamp, CrashRecorded)]| counts(some[0].0, some[some.len() - 1].0);
        let stopped = crashes.windows(MOST as usize).rev().find(together);
        let mut counted = Self::default();
        match stopped {
            Some(stopped) => stopped.iter().for_each(|(_, crash)| counted.add(crash)),
            None => crashes.iter().filter(|(at, _)| counts(*at, now)).for_each(|(_, crash)| counted.add(crash)),
        }
        counted
    }

    fn add(&mut self, crash: &CrashRecorded) {
        self.count += 1;
        self.last = match crash.kind() {
            CrashKind::Panicked => format!("it panicked: {}", said(crash)),
            CrashKind::Died | CrashKind::Unspecified => "its process died".to_owned(),
        };
    }
}

/// What a panic said, and where.
fn said(crash: &CrashRecorded) -> Panicked {
    Panicked { message: crash.message.clone(), location: crash.location.clone() }
}

fn counts(at: Timestamp, now: Timestamp) -> bool {
    now.since(at) < WITHIN
}

impl Driver {
    /// Code panicked: it is tried again after a pause, and not for ever.
    pub(super) fn panicked(&mut self, panicked: Panicked) {
        let Panicked { message, location } = &panicked;
        tracing::error!(run = %self.row.id, workflow = self.workflow.name, panic = message, location, "workflow panicked");
        let pause = PAUSES[(self.crashes.count as usize).min(PAUSES.len() - 1)];
        self.record_crash(CrashRecorded {
            kind: CrashKind::Panicked.into(),
            message: message.clone(),
            location: location.clone(),
        });
        if self.crashes.count >= MOST {
            return self.stop_crashed();
        }
        let at = self.shared.clock.now().after(pause);
        let (state, until) = match self.mode.end() {
            Some(_) => (State::Ending, at),
            None => (State::BackingOff, at.min(self.work_deadline())),
        };
        self.stop(Stop::BackOff { state, reason: format!("{PANICKED}: {panicked}"), until });
    }

    fn record_crash(&mut self, crash: CrashRecorded) {
        self.crashes.add(&crash);
        self.record(Kind::CrashRecorded(crash));
        self.writes.request();
    }

    /// Whether code must not run now: the process before this one may have died of it, which has to be written down first,
    /// or it did harm too often.
    pub(super) fn has_crashed(&mut self) -> bool {
        let suspect = self.shared.suspects.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.row.id);
        if suspect {
            tracing::warn!(
                run = %self.row.id, workflow = self.workflow.name, before = self.crashes.count,
                "the process died while it polled this run"
            );
            self.record_crash(CrashRecorded { kind: CrashKind::Died.into(), ..CrashRecorded::default() });
        }
        suspect || self.crashes.count >= MOST
    }

    /// Code does not run: for good where it did harm too often, otherwise until that it did is durable.
    pub(super) fn stop_crashed(&mut self) {
        if self.crashes.count >= MOST {
            let CrashCount { count: crashes, last } = std::mem::take(&mut self.crashes);
            return self.block(Fault::Poison { crashes, last });
        }
        let (state, reason, until) = (self.row.status.state, self.row.status.reason.clone(), self.shared.clock.now());
        self.stop(Stop::BackOff { state, reason, until });
    }
}

/// Waits until code of a run may run: alone, where its replica died of it before.
pub(super) async fn take_turn(shared: &Environment, row: &RunRow, crashes: &[(Timestamp, CrashRecorded)]) {
    let now = shared.clock.now();
    let deaths = crashes.iter().filter(|(at, crash)| counts(*at, now) && crash.kind() == CrashKind::Died).count();
    let is_suspect = shared.suspects.lock().unwrap_or_else(PoisonError::into_inner).contains(&row.id);
    if deaths < ALONE_FROM || is_suspect {
        return shared.quarantine.pass(row.id).await;
    }
    tracing::warn!(run = %row.id, workflow = row.workflow, deaths, "run is tried alone");
    shared.quarantine.begin(row.id).await;
}
