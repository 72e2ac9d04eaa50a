//! What the owner of a service asks of those who call it: how long, how big, how often again. Read from the service config
//! format of gRPC, so that one file serves every client of the service, whatever it is written in.

use std::fmt;
use std::time::Duration;

use engine::failure::Code;
use engine::rpc::{Level, Method};

use crate::channel::{Balancing, BalancingPolicy};

mod balancing;
mod effective;
mod json;
mod read;
#[cfg(test)]
mod tests;

pub use effective::EffectivePolicy;

/// More attempts than these are never made of one call (gRFC A6).
pub const MAX_ATTEMPTS: u32 = 5;

/// The policy of one service. Without any, calls have the time of their steps and are made once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServicePolicy {
    /// By name; a name is there once.
    methods: Vec<(MethodName, MethodPolicy)>,
    /// When retries pause for the whole service.
    pub throttling: Option<Throttling>,
    /// How calls are spread over the endpoints of the service.
    pub balancing: Balancing,
}

/// The methods that a policy is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum MethodName {
    Every,
    Service(String),
    Method { service: String, method: String },
}

/// What the policy says of one method. What it leaves open is for the step and the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodPolicy {
    /// The longest that a call may take, all its attempts together.
    pub timeout: Option<Duration>,
    /// Whether a call waits for a connection for as long as it may take, instead of failing with the connect.
    pub wait_for_ready: bool,
    /// The largest request message.
    pub max_request_bytes: Option<usize>,
    /// The largest response message.
    pub max_response_bytes: Option<usize>,
    /// When and how often a failed call is repeated within the attempt.
    pub retry: Option<RetryPolicy>,
}

/// When and how often a failed call is made again (gRFC A6).
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts of one call, the first one included; 2 to [`MAX_ATTEMPTS`].
    pub max_attempts: u32,
    /// Pause before the second attempt, a fifth up or down.
    pub initial_backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// How much longer each pause is than the one before.
    pub backoff_multiplier: f64,
    /// Statuses after which another attempt may help.
    pub retryable: Vec<Code>,
}

/// When retries pause: failures take a token each, successes give back a part of one, and no call is made again while no
/// more than half of the tokens are left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttling {
    /// Tokens at the start and at most, in thousandths.
    pub max_millitokens: u32,
    /// What a success gives back, in thousandths.
    pub millitokens_per_success: u32,
}

/// One thing to correct in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyMistake {
    /// Where in the document, for example `methodConfig[0].retryPolicy.maxAttempts`; empty for the whole.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for PolicyMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl ServicePolicy {
    /// Reads a service config as JSON.
    ///
    /// # Errors
    /// All mistakes together. What gRPC knows and we do not do is a mistake too: a policy that is not followed must not
    /// look as if it were.
    pub fn parse(json: &str) -> Result<Self, Vec<PolicyMistake>> {
        read::policy(json)
    }

    /// What is said of the method: by its own name, else by its service's, else of every method. The most specific one
    /// holds as a whole, nothing is mixed in from the others.
    pub fn of(&self, method: &Method) -> MethodPolicy {
        let fitting = self.methods.iter().filter(|(name, _)| name.covers(method));
        fitting.max_by_key(|(name, _)| name.rank()).map(|(_, policy)| policy.clone()).unwrap_or_default()
    }

    /// What is allowed and probably not meant, for the methods that the service has and the levels of their calls.
    pub fn warnings(&self, methods: &[(&'static Method, Level)]) -> Vec<String> {
        let unknown = self.methods.iter().filter(|(name, _)| !methods.iter().any(|(method, _)| name.covers(method)));
        let unknown = unknown.map(|(name, _)| format!("{name} is no method of the service that we could call"));
        let limited =
            methods.iter().filter(|(method, _)| self.of(method).retry.is_some()).filter_map(|(method, level)| {
                let only = Repeats::of(*level).limit()?;
                Some(format!("the retryPolicy for {}/{} repeats {only}", method.service, method.name))
            });
        let first = matches!(self.balancing.policy, BalancingPolicy::PickFirst { .. });
        let unused = (first && self.balancing.health_check.is_some())
            .then(|| String::from("the healthCheckConfig is not used: pick_first asks for no health (gRFC A17)"));
        unknown.chain(limited).chain(unused).collect()
    }
}

impl MethodName {
    fn covers(&self, method: &Method) -> bool {
        match self {
            Self::Every => true,
            Self::Service(service) => service == method.service,
            Self::Method { service, method: name } => service == method.service && name == method.name,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Every => 0,
            Self::Service(_) => 1,
            Self::Method { .. } => 2,
        }
    }
}

impl fmt::Display for MethodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("the name of every method"),
            Self::Service(service) => f.write_str(service),
            Self::Method { service, method } => write!(f, "{service}/{method}"),
        }
    }
}

/// What the level of a method lets us repeat by ourselves, whatever a policy says (semantics.md E5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// Any attempt.
    All,
    /// What was surely not sent or was refused. How long ago the key was first used is known to the engine alone, which
    /// repeats the others within the horizon.
    Harmless,
    /// What was surely not sent.
    Unsent,
}

impl Repeats {
    /// What this level allows.
    pub const fn of(level: Level) -> Self {
        match level {
            Level::NoSideEffects | Level::Idempotent => Self::All,
            Level::Keyed { .. } => Self::Harmless,
            Level::Unknown => Self::Unsent,
        }
    }

    fn limit(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Harmless => Some("only what was not sent or was refused: the engine keeps the horizon of the key"),
            Self::Unsent => Some("only what was surely not sent: nothing says that it may be repeated"),
        }
    }
}
