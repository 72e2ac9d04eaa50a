//! What the echo service was asked to do: every call by the effect that it names, before anything is deduplicated.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::proto::bench::echo::v1::{ActRequest, ReadAccountResponse};

/// All effects and all calls for them.
#[derive(Default)]
pub(super) struct Account {
    effects: HashMap<String, Effect>,
    calls: Vec<Call>,
    answered: usize,
    doubled: u64,
}

struct Effect {
    /// Under which it was asked for first.
    key: Option<Box<[u8]>>,
    doubled: bool,
    answered: bool,
}

struct Call {
    at: i64,
    /// How much later than it should have been made.
    late: Option<i64>,
    repeated: bool,
    after_answer: bool,
}

impl Account {
    /// Writes a call down.
    pub(super) fn begun(&mut self, request: &ActRequest, key: Option<&[u8]>) {
        let at = now();
        let (mut repeated, mut after_answer) = (false, false);
        if let Some(effect) = self.effects.get_mut(&request.effect) {
            (repeated, after_answer) = (true, effect.answered);
            if !effect.doubled && effect.key.as_deref() != key {
                effect.doubled = true;
                self.doubled += 1;
            }
        } else {
            let effect = Effect { key: key.map(Into::into), doubled: false, answered: false };
            self.effects.insert(request.effect.clone(), effect);
        }
        let late = (request.due_micros != 0).then(|| at - request.due_micros);
        self.calls.push(Call { at, late, repeated, after_answer });
    }

    /// The call is about to be answered.
    pub(super) fn answered(&mut self, effect: &str) {
        if let Some(effect) = self.effects.get_mut(effect)
            && !std::mem::replace(&mut effect.answered, true)
        {
            self.answered += 1;
        }
    }

    /// Effects that were answered.
    pub(super) fn count_answered(&self) -> usize {
        self.answered
    }

    /// What became of the calls since then, in microseconds since the Unix epoch.
    pub(super) fn read(&self, since: i64) -> ReadAccountResponse {
        let calls = || self.calls.iter().filter(|call| call.at >= since);
        let mut late: Vec<i64> = calls().filter_map(|call| call.late).collect();
        late.sort_unstable();
        let at = |per_cent: usize| {
            let index = (late.len() * per_cent / 100).min(late.len().saturating_sub(1));
            late.get(index).copied().unwrap_or_default()
        };
        ReadAccountResponse {
            effects: self.effects.len() as u64,
            answered: self.answered as u64,
            doubled: self.doubled,
            calls: calls().count() as u64,
            repeated: calls().filter(|call| call.repeated).count() as u64,
            repeated_after_answer: calls().filter(|call| call.after_answer).count() as u64,
            first_micros: calls().map(|call| call.at).min().unwrap_or_default(),
            last_micros: calls().map(|call| call.at).max().unwrap_or_default(),
            late_p50_micros: at(50),
            late_p99_micros: at(99),
            late_max_micros: late.last().copied().unwrap_or_default(),
            busiest_second: busiest(calls().map(|call| call.at).collect()),
        }
    }
}

/// The most of these times, in microseconds, that lie within one second.
fn busiest(mut times: Vec<i64>) -> u64 {
    times.sort_unstable();
    let mut begin = 0;
    let mut most = 0;
    for (end, time) in times.iter().enumerate() {
        while time - times[begin] >= 1_000_000 {
            begin += 1;
        }
        most = most.max(end - begin + 1);
    }
    most as u64
}

/// Microseconds since the Unix epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The time from one moment to a later one, both in microseconds since the Unix epoch.
pub(crate) fn span(earlier: i64, later: i64) -> Duration {
    Duration::from_micros(u64::try_from(later - earlier).unwrap_or(0))
}
