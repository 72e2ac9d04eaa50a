//! Decides whether a service is called: not while it is seen to be down, by a few calls to find out whether it is back,
//! and then by more and more.

use std::time::Duration;

use engine::failure::{Code, Failure};
use engine::transport::Outcome;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::window::{Counts, Window};
use crate::channel::{End, Origin, Verdict};

/// When a service counts as down, and how it is called again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Without it a service is called whatever the outcomes are.
    pub enabled: bool,
    /// So many failures one after the other. Those of calls that were under way together count as one.
    pub consecutive_failures: u32,
    /// Or this share of the attempts in the window, in percent,
    pub failure_percent: u32,
    /// where they are at least so many.
    pub min_attempts: u32,
    /// The window.
    pub window: Duration,
    /// Pause before it is called again; twice as long each time that it is still down, a fifth up or down.
    pub pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
    /// Calls at a time that find out whether it is back, and answers after which it is.
    pub probes: u32,
    /// Time from then on until it is called as much as ever.
    pub slow_start: Duration,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            consecutive_failures: 5,
            failure_percent: 50,
            min_attempts: 20,
            window: Duration::from_secs(10),
            pause: Duration::from_secs(5),
            max_pause: Duration::from_secs(60),
            probes: 4,
            slow_start: Duration::from_secs(10),
        }
    }
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// The service has not answered yet; a few calls at a time find out whether it does.
    Untried,
    /// All is well.
    Closed,
    /// The service is down and not called.
    Open,
    /// A few calls at a time find out whether the service is back.
    HalfOpen,
    /// The service is back and called more and more.
    SlowStart,
    /// There is no breaker: the service is called whatever the outcomes are.
    Disabled,
}

/// What an attempt says of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// It answers, be it with a refusal.
    Well,
    /// It does not answer in time, says that it is unavailable, or breaks off.
    Unwell,
    /// It cannot be reached, so nothing was sent.
    Unreachable,
    /// Neither: we ended it ourselves, or one request failed.
    Neither,
}

impl Sign {
    /// What the end of an attempt says.
    pub(crate) fn of(verdict: &Verdict) -> Self {
        let failure = match &verdict.outcome {
            Outcome::Done(_) | Outcome::Refused(_) => return Self::Well,
            Outcome::NotSent(unsent) => &unsent.failure,
            Outcome::Ambiguous { failure, .. } => failure,
        };
        if verdict.end == End::LeftOut {
            return Self::Neither;
        }
        match (failure.code(), verdict.origin) {
            (Code::Unavailable, _) | (Code::DeadlineExceeded, Origin::Stated | Origin::Inferred) => Self::Unwell,
            // A handler that failed says nothing of others, a quota is mostly one caller's.
            (_, Origin::Stated | Origin::Proven) => Self::Neither,
            // Something on the way refuses us; to wait would not help.
            (Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented | Code::ResourceExhausted, _) => {
                Self::Neither
            }
            // The response had begun: what is wrong with it is wrong with this method.
            (_, Origin::Inferred) if verdict.end == End::Committed => Self::Neither,
            (_, Origin::Inferred) => Self::Unwell,
        }
    }

    /// What it says that no connection was to be had.
    pub(crate) fn of_connect(failure: &Failure) -> Self {
        match failure.code() {
            Code::Unavailable | Code::DeadlineExceeded => Self::Unreachable,
            _ => Self::Neither,
        }
    }
}

/// Whether one more attempt may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Now,
    /// Perhaps then, or when an attempt ends.
    At(Instant),
    /// When an attempt ends.
    WhenOneEnds,
}

/// What the breaker said when an attempt began. Its outcome counts only while that still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admitted {
    generation: u32,
    failures: u32,
}

/// A move that others are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Opened {
        pause: Duration,
    },
    /// It answers again, and is called more and more.
    Answers,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    config: BreakerConfig,
    phase: Phase,
    /// Counts phases.
    generation: u32,
    consecutive: u32,
    /// Counts the failures that counted.
    failures: u32,
    /// Times that it was found down without having been well in between.
    opened: u32,
    down_since: Option<Instant>,
    /// Answers a second at its best before it was found down.
    best_rate: f64,
}

#[derive(Debug)]
enum Phase {
    Untried { probing: u32 },
    Closed,
    Open { until: Instant },
    HalfOpen { probing: u32, answers: u32 },
    SlowStart { since: Instant, bucket: Bucket, full_rate: f64 },
}

/// Share of everything with which a slow start begins.
const FIRST_SHARE: f64 = 0.1;
/// Steps in which a slow start is looked at.
const STEPS: u32 = 50;

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        let phase = if config.enabled { Phase::Untried { probing: 0 } } else { Phase::Closed };
        let (generation, consecutive, failures, opened) = (0, 0, 0, 0);
        Self { config, phase, generation, consecutive, failures, opened, down_since: None, best_rate: 0.0 }
    }

    pub(crate) fn state(&mut self, now: Instant) -> BreakerState {
        self.finish_slow_start(now);
        match self.phase {
            _ if !self.config.enabled => BreakerState::Disabled,
            Phase::Untried { .. } => BreakerState::Untried,
            Phase::Closed => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
            Phase::SlowStart { .. } => BreakerState::SlowStart,
        }
    }

    /// Since when the service has been down; none where it is not.
    pub(crate) fn down_since(&self) -> Option<Instant> {
        self.down_since
    }

    /// Whether everything may begin that the limits allow.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Whether the next attempt is one to find out how the service is.
    pub(crate) fn probes(&self) -> bool {
        matches!(self.phase, Phase::Untried { .. } | Phase::HalfOpen { .. })
    }

    /// Whether one more attempt may begin beside those in flight, of which `limit` are allowed when all is well.
    pub(crate) fn room(&mut self, now: Instant, in_flight: usize, limit: usize) -> Room {
        if let Phase::Open { until } = self.phase {
            if now < until {
                return Room::At(until);
            }
            self.enter(Phase::HalfOpen { probing: 0, answers: 0 });
        }
        self.finish_slow_start(now);
        let probes = self.config.probes;
        match &mut self.phase {
            Phase::Closed | Phase::Open { .. } => Room::Now,
            Phase::Untried { probing } | Phase::HalfOpen { probing, .. } => {
                if *probing < probes {
                    Room::Now
                } else {
                    Room::WhenOneEnds
                }
            }
            Phase::SlowStart { since, bucket, full_rate } => {
                let span = self.config.slow_start;
                let passed = now.saturating_duration_since(*since).as_secs_f64() / span.as_secs_f64();
                let share = FIRST_SHARE + (1.0 - FIRST_SHARE) * passed;
                if in_flight >= share_of(limit, share).max(probes as usize) {
                    return Room::At(now + (span / STEPS).max(Duration::from_millis(1)));
                }
                bucket.next_token(now, share * *full_rate).map_or(Room::Now, Room::At)
            }
        }
    }

    /// An attempt begins, for which there was room.
    pub(crate) fn admit(&mut self) -> Admitted {
        match &mut self.phase {
            Phase::Untried { probing } | Phase::HalfOpen { probing, .. } => *probing += 1,
            Phase::SlowStart { bucket, .. } => bucket.take(),
            Phase::Closed | Phase::Open { .. } => {}
        }
        Admitted { generation: self.generation, failures: self.failures }
    }

    /// An attempt has ended. `not_before` is when the service can or wants to be called again, at the earliest; `rate` is
    /// how many attempts a second are allowed when all is well.
    pub(crate) fn ended(
        &mut self,
        admitted: Admitted,
        sign: Sign,
        window: &mut Window,
        now: Instant,
        not_before: Option<Duration>,
        rate: f64,
    ) -> Option<Move> {
        if admitted.generation != self.generation || !self.config.enabled {
            return None;
        }
        self.finish_slow_start(now);
        if let Phase::Untried { probing } | Phase::HalfOpen { probing, .. } = &mut self.phase {
            *probing = probing.saturating_sub(1);
        }
        match (&mut self.phase, sign) {
            (_, Sign::Neither) | (Phase::Open { .. }, _) => None,
            (Phase::Untried { .. }, Sign::Well) => {
                self.enter(Phase::Closed);
                None
            }
            (Phase::HalfOpen { answers, .. }, Sign::Well) => {
                *answers += 1;
                (*answers >= self.config.probes).then(|| self.start_slowly(window, now, rate))
            }
            (Phase::Closed | Phase::SlowStart { .. }, Sign::Well) => {
                self.consecutive = 0;
                None
            }
            (Phase::HalfOpen { .. }, _) | (Phase::Untried { .. }, Sign::Unreachable) => {
                Some(self.open(window, now, not_before))
            }
            (Phase::Untried { .. } | Phase::Closed | Phase::SlowStart { .. }, Sign::Unwell | Sign::Unreachable) => {
                // Calls that were under way when the last failure was seen may have failed of the same cause.
                if self.consecutive == 0 || admitted.failures == self.failures {
                    self.consecutive += 1;
                    self.failures = self.failures.wrapping_add(1);
                }
                self.is_too_much(window.sum(now)).then(|| self.open(window, now, not_before))
            }
        }
    }

    /// A place was given back before its attempt ended.
    pub(crate) fn withdrawn(&mut self, admitted: Admitted) {
        if admitted.generation != self.generation {
            return;
        }
        match &mut self.phase {
            Phase::Untried { probing } | Phase::HalfOpen { probing, .. } => *probing = probing.saturating_sub(1),
            Phase::SlowStart { bucket, .. } => bucket.give_back(),
            Phase::Closed | Phase::Open { .. } => {}
        }
    }

    fn is_too_much(&self, Counts { well, unwell, .. }: Counts) -> bool {
        let told = u64::from(well) + u64::from(unwell);
        let share = told >= u64::from(self.config.min_attempts)
            && u64::from(unwell) * 100 >= u64::from(self.config.failure_percent) * told;
        share || self.consecutive >= self.config.consecutive_failures
    }

    fn open(&mut self, window: &Window, now: Instant, not_before: Option<Duration>) -> Move {
        if matches!(self.phase, Phase::Closed) {
            self.best_rate = window.best_rate();
        }
        let BreakerConfig { pause, max_pause, .. } = self.config;
        let grown = pause.saturating_mul(1 << self.opened.min(16)).min(max_pause);
        let jittered = grown.mul_f64(rand::random_range(0.8..1.2));
        let pause = jittered.max(not_before.unwrap_or_default().min(max_pause));
        self.enter(Phase::Open { until: now + pause });
        self.opened = self.opened.saturating_add(1);
        self.down_since.get_or_insert(now);
        Move::Opened { pause }
    }

    fn start_slowly(&mut self, window: &mut Window, now: Instant, rate: f64) -> Move {
        let bucket = Bucket::new(f64::from(self.config.probes), now);
        self.enter(Phase::SlowStart { since: now, bucket, full_rate: rate.max(self.best_rate).max(1.0) });
        window.forget();
        self.down_since = None;
        Move::Answers
    }

    fn finish_slow_start(&mut self, now: Instant) {
        if let Phase::SlowStart { since, .. } = self.phase
            && now >= since + self.config.slow_start
        {
            // Its attempts continue and tell as much as others, so that this is no new generation.
            self.phase = Phase::Closed;
            self.opened = 0;
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.generation = self.generation.wrapping_add(1);
        self.consecutive = 0;
    }
}

/// A share of a limit, rounded up.
fn share_of(limit: usize, share: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a usize is one")]
    let share = (limit as f64 * share).ceil() as usize;
    share
}

#[cfg(test)]
mod tests;
