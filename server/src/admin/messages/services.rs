//! What is known of the services that we call, as messages of the admin API.

use std::time::Duration;

use crate::proto::google::rpc;
use crate::proto::orchestrator::admin::v1::method_policy::Repeats as ShownRepeats;
use crate::proto::orchestrator::admin::v1::service::{BreakerState as ShownBreaker, ConnectionState};
use crate::proto::orchestrator::admin::v1::{self as admin, Endpoint, MethodPolicy, Service};
use engine::rpc::Level;
use engine::time::Timestamp;
use tokio::time::Instant;
use transport::channel::{Connectivity, EndpointState};
use transport::policy::{EffectivePolicy, Repeats, RetryPolicy};
use transport::{BreakerState, RateLimit, ServiceState};

use super::bounds::Room;
use super::{error, level, time};

/// Bytes of the details of the last error of a service.
const LAST_ERROR: usize = 16 << 10;

/// A service and the number of runs that wait for it without memory.
pub(in super::super) fn service(state: ServiceState, away: usize, now: Timestamp) -> Service {
    let ServiceState {
        name,
        prefixes: packages,
        address,
        balancing,
        channel,
        gate,
        throttling,
        retry_millitokens,
        identity_error,
    } = state;
    let at = |seen: Instant| time(now.before(seen.elapsed()));
    let RateLimit { per_second, burst } = gate.rate.unwrap_or(RateLimit { per_second: 0.0, burst: 0 });
    let tokens = |millitokens: u32| f64::from(millitokens) / 1_000.0;
    let last_error: Option<rpc::Status> =
        gate.last_error.as_ref().map(|seen| error(&seen.failure, &mut Room::of(LAST_ERROR)));
    Service {
        service: name,
        packages,
        address: address.to_string(),
        connection_state: connection_state(channel.connectivity).into(),
        connection_error: channel.last_error.unwrap_or_default(),
        breaker_state: breaker_state(gate.breaker).into(),
        down_time: gate.down_since.map(at),
        in_flight: count(gate.in_flight),
        max_in_flight: count(gate.max_in_flight),
        max_calls_per_second: per_second,
        burst: count(burst as usize),
        waiting_calls: count(gate.waiting_calls),
        waiting_runs: count(gate.waiting_runs),
        away_runs: count(away),
        attempts_per_second: gate.attempts_per_second,
        failures_per_second: gate.failures_per_second,
        last_error,
        last_error_time: gate.last_error.map(|seen| at(seen.at)),
        retry_tokens: retry_millitokens.map(tokens),
        max_retry_tokens: throttling.map(|throttling| tokens(throttling.max_millitokens)),
        load_balancing: balancing.policy.to_string(),
        endpoints: channel.endpoints.into_iter().map(endpoint).collect(),
        methods: Vec::new(),
        identity_error: identity_error.unwrap_or_default(),
    }
}

fn endpoint(state: EndpointState) -> Endpoint {
    let EndpointState { address, connectivity, in_flight, last_error } = state;
    Endpoint {
        address,
        connection_state: connection_state(connectivity).into(),
        in_flight: count(in_flight),
        connection_error: last_error.unwrap_or_default(),
    }
}

/// What holds for the calls of a method.
pub(in super::super) fn method(policy: &EffectivePolicy) -> MethodPolicy {
    MethodPolicy {
        method: policy.method.path.to_owned(),
        level: level(policy.level).to_owned(),
        repeats: match policy.repeats {
            Repeats::All => ShownRepeats::All,
            Repeats::Harmless => ShownRepeats::Harmless,
            Repeats::Unsent => ShownRepeats::Unsent,
        }
        .into(),
        timeout: span(policy.timeout),
        max_timeout: policy.longest.and_then(span),
        wait_for_ready: policy.wait_for_ready,
        max_request_bytes: number(policy.max_request_bytes),
        max_response_bytes: number(policy.max_response_bytes),
        attempt_header: policy.attempt_header,
        retry_policy: policy.retry.as_ref().map(retry),
        max_stream_messages: number(policy.max_stream_messages),
        level_configured: policy.level_is_configured(),
        dedupe_horizon: match policy.level {
            Level::Keyed { horizon } => span(horizon),
            Level::NoSideEffects | Level::Idempotent | Level::Unknown => None,
        },
    }
}

fn retry(policy: &RetryPolicy) -> admin::RetryPolicy {
    admin::RetryPolicy {
        max_attempts: count(policy.max_attempts as usize),
        initial_backoff: span(policy.initial_backoff),
        max_backoff: span(policy.max_backoff),
        backoff_multiplier: policy.backoff_multiplier,
        retryable_status_codes: policy.retryable.iter().map(ToString::to_string).collect(),
    }
}

const fn connection_state(connectivity: Connectivity) -> ConnectionState {
    match connectivity {
        Connectivity::Idle => ConnectionState::Idle,
        Connectivity::Connecting => ConnectionState::Connecting,
        Connectivity::Ready => ConnectionState::Ready,
        Connectivity::TransientFailure => ConnectionState::TransientFailure,
    }
}

const fn breaker_state(state: BreakerState) -> ShownBreaker {
    match state {
        BreakerState::Untried => ShownBreaker::Untried,
        BreakerState::Closed => ShownBreaker::Closed,
        BreakerState::Open => ShownBreaker::Open,
        BreakerState::HalfOpen => ShownBreaker::HalfOpen,
        BreakerState::SlowStart => ShownBreaker::SlowStart,
        BreakerState::Disabled => ShownBreaker::Disabled,
    }
}

fn span(span: Duration) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(span).ok()
}

fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
