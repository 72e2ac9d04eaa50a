//! What holds for the calls of one method, put together from its contract, the policy of its service and our
//! configuration.

use std::time::Duration;

use engine::rpc::{Level, Method};

use super::{MethodPolicy, Repeats, RetryPolicy, ServicePolicy, Throttling};
use crate::channel::ChannelConfig;

/// The policy of one method.
#[derive(Clone, Debug)]
pub struct EffectivePolicy {
    /// The contract.
    pub method: &'static Method,
    /// How often a call may be repeated: what is configured, else what the contract says.
    pub level: Level,
    /// Time for a call whose step names none.
    pub timeout: Duration,
    /// The longest that a call may take, whatever its step says; none where the policy is silent.
    pub longest: Option<Duration>,
    /// Whether a call waits for a connection as long as it may take.
    pub wait_for_ready: bool,
    /// The largest request message.
    pub max_request_bytes: usize,
    /// The largest response message; of a stream, all of them together.
    pub max_response_bytes: usize,
    /// The most messages of a stream that are collected.
    pub max_stream_messages: usize,
    /// Whether the service gets to know which attempt of which step of which run a call is.
    pub attempt_header: bool,
    /// When and how often a failed call is repeated within the attempt.
    pub retry: Option<RetryPolicy>,
    /// What the level allows of that.
    pub repeats: Repeats,
    /// When retries pause for the whole service.
    pub throttling: Option<Throttling>,
}

impl EffectivePolicy {
    pub(crate) fn new(
        method: &'static Method,
        level: Level,
        service: &ServicePolicy,
        channel: &ChannelConfig,
        call_timeout: Duration,
    ) -> Self {
        let MethodPolicy { timeout, wait_for_ready, max_request_bytes, max_response_bytes, retry } = service.of(method);
        let smaller = |said: Option<usize>, limit: usize| said.map_or(limit, |said| said.min(limit));
        Self {
            method,
            level,
            timeout: timeout.unwrap_or(call_timeout),
            longest: timeout,
            wait_for_ready,
            max_request_bytes: smaller(max_request_bytes, channel.max_request_bytes),
            max_response_bytes: smaller(max_response_bytes, channel.max_response_bytes),
            max_stream_messages: channel.max_stream_messages,
            attempt_header: channel.attempt_header,
            retry,
            repeats: Repeats::of(level),
            throttling: service.throttling,
        }
    }

    /// Whether the level is configured, and not the one of the contract.
    pub fn level_is_configured(&self) -> bool {
        self.level != self.method.level
    }

    /// Time for a call, all its attempts together: the smaller of what its step and what the policy says, and where
    /// neither says anything, what is configured for the service.
    pub fn call_timeout(&self, said: Option<Duration>) -> Duration {
        said.map_or(self.timeout, |said| self.longest.map_or(said, |longest| longest.min(said)))
    }
}
