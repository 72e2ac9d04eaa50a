//! The port of the engine over our channels: which service answers a method, and one call to it in two phases.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use engine::failure::{Code, Failure};
use engine::rpc::Level;
use engine::transport::{Attempt, CALL_TIMEOUT, Outage, Outcome, Reservation, Reserved, Reserving, Transport, Unsent};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use tokio::time::Instant;
use uuid::Uuid;

use crate::channel::{
    Balancing, Channel, ChannelConfig, ChannelState, Identity, IdentityConfig, IdentityMistake, Target, TargetError,
};
use crate::contracts::Contracts;
use crate::methods::MethodEntry;
use crate::policy::{EffectivePolicy, ServicePolicy, Throttling};
use crate::stack::{Gate, GateConfig, Ready, Stack, Throttle, Wish, observer};
use crate::telemetry::Telemetry;

pub use crate::stack::{BreakerConfig, BreakerState, GateState, RateLimit, SeenError};

/// A service that we call.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// Its short name, for example `users`.
    pub name: String,
    /// The packages, or full names of single services, that it answers for, for example `guras.users.v1`.
    pub prefixes: Vec<String>,
    /// Where it listens, in one of the forms of [`Target`].
    pub address: String,
    /// Who we are to it, and how we know that it is itself.
    pub identity: IdentityConfig,
    /// How it is connected.
    pub channel: ChannelConfig,
    /// What its owner asks of those who call it.
    pub policy: ServicePolicy,
    /// How often calls of a method may be repeated, by its path, where its operator knows more than its contract says.
    pub levels: HashMap<&'static str, Level>,
    /// Time for a call where neither its step nor the policy names one.
    pub call_timeout: Duration,
    /// How often it is called at most; as often as there are calls where nothing is said.
    pub rate: Option<RateLimit>,
    /// When it counts as down, and how it is called again.
    pub breaker: BreakerConfig,
    /// Whether the limit of calls in flight counts over all replicas.
    pub is_limit_shared: bool,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            prefixes: Vec::new(),
            address: String::new(),
            identity: IdentityConfig::default(),
            channel: ChannelConfig::default(),
            policy: ServicePolicy::default(),
            levels: HashMap::new(),
            call_timeout: CALL_TIMEOUT,
            rate: None,
            breaker: BreakerConfig::default(),
            is_limit_shared: false,
        }
    }
}

/// What is wrong with the configuration of a service.
#[derive(Debug, thiserror::Error)]
pub enum ServicesError {
    /// The address of a service cannot be read.
    #[error("service {name}: {source}")]
    Address {
        /// The service.
        name: String,
        /// What is wrong with it.
        source: TargetError,
    },
    /// Its identity cannot be used.
    #[error("service {name}: {}", mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Identity {
        /// The service.
        name: String,
        /// What is wrong with it.
        mistakes: Vec<IdentityMistake>,
    },
    /// Two services answer for the same package.
    #[error("services {first} and {second} both answer for {prefix}; expected one service for each package")]
    Twice {
        /// The one.
        first: String,
        /// The other.
        second: String,
        /// The package.
        prefix: String,
    },
}

/// A service as it may be shown.
#[derive(Clone, Debug)]
pub struct ServiceState {
    /// Its short name.
    pub name: String,
    /// The packages it answers for.
    pub prefixes: Vec<String>,
    /// Where it listens.
    pub address: Target,
    /// How calls are spread over its endpoints.
    pub balancing: Balancing,
    /// How its channel is doing.
    pub channel: ChannelState,
    /// Who is let through to it, and the outcomes of that.
    pub gate: GateState,
    /// Its budget of retries, if it has one.
    pub throttling: Option<Throttling>,
    /// Tokens that are left of its budget of retries, in thousandths; none where there is no budget.
    pub retry_millitokens: Option<u32>,
    /// Why a file with a certificate or a token is not in force as it is; none while all are.
    pub identity_error: Option<String>,
}

/// A limit of calls in flight that counts over all replicas, and what this replica needs of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedLimit {
    /// The service.
    pub name: String,
    /// Calls in flight at most, over all replicas.
    pub total: usize,
    /// Those of this replica.
    pub in_flight: usize,
    /// Its calls that wait for a place.
    pub waiting: usize,
}

/// All services that we call.
#[derive(Debug)]
pub struct Services {
    contracts: Contracts,
    services: Vec<Service>,
    /// Every method that a configured service answers, by its path.
    routes: HashMap<&'static str, Arc<Stack>>,
    /// Levels that are not those of the contracts, by the path of the method.
    levels: HashMap<&'static str, Level>,
    made_at: Instant,
}

#[derive(Debug)]
struct Service {
    name: String,
    max_in_flight: usize,
    is_limit_shared: bool,
    prefixes: Vec<String>,
    channel: Channel,
    policy: ServicePolicy,
    levels: HashMap<&'static str, Level>,
    call_timeout: Duration,
    gate: Arc<Gate>,
    throttle: Option<Arc<Throttle>>,
}

struct Right {
    stack: Arc<Stack>,
    ready: Ready,
}

impl Services {
    /// The services that answer methods of these contracts, none of them connected yet. Of two prefixes that fit a method, the longer one has it.
    ///
    /// # Errors
    /// An address cannot be read, or two services have the same prefix.
    pub fn new(contracts: &Contracts, configs: impl IntoIterator<Item = ServiceConfig>) -> Result<Self, ServicesError> {
        Self::observed(contracts, configs, &Telemetry::default())
    }

    /// The same with measurements and spans of their calls.
    ///
    /// # Errors
    /// As of [`Services::new`].
    pub fn observed(
        contracts: &Contracts,
        configs: impl IntoIterator<Item = ServiceConfig>,
        telemetry: &Telemetry,
    ) -> Result<Self, ServicesError> {
        let mut services: Vec<Service> = Vec::new();
        for config in configs {
            let ServiceConfig {
                name,
                prefixes,
                address,
                identity,
                channel,
                policy,
                levels,
                call_timeout,
                rate,
                breaker,
                is_limit_shared,
            } = config;
            for prefix in &prefixes {
                if let Some(first) = services.iter().find(|service| service.prefixes.contains(prefix)) {
                    let (first, prefix) = (first.name.clone(), prefix.clone());
                    return Err(ServicesError::Twice { first, second: name, prefix });
                }
            }
            let target: Target = match address.parse() {
                Ok(target) => target,
                Err(source) => return Err(ServicesError::Address { name, source }),
            };
            let identity = match Identity::open(&identity, &target) {
                Ok(identity) => identity,
                Err(mistakes) => return Err(ServicesError::Identity { name, mistakes }),
            };
            let channel = ChannelConfig { identity, ..channel };
            let max_in_flight = channel.max_in_flight;
            let gate = GateConfig { max_in_flight, rate, breaker };
            let channel = Channel::new(&name, target, channel, policy.balancing.clone());
            let gate = Gate::new(&name, gate, {
                let channel = channel.clone();
                move || channel.capacity()
            });
            let throttle = policy.throttling.map(|settings| Arc::new(Throttle::new(settings)));
            services.push(Service {
                name,
                max_in_flight,
                is_limit_shared,
                prefixes,
                channel,
                policy,
                levels,
                call_timeout,
                gate,
                throttle,
            });
        }
        let route = |entry: &'static MethodEntry| {
            let fitting = services.iter().filter_map(|service| Some((service.fit(entry.method.service)?, service)));
            let stack = fitting.max_by_key(|(length, _)| *length)?.1.stack(entry, telemetry);
            Some((entry.method.path, Arc::new(stack)))
        };
        let routes: HashMap<&'static str, Arc<Stack>> = contracts.methods().filter_map(route).collect();
        let policies = routes.values().map(|stack| stack.policy());
        let configured = policies.filter(|policy| policy.level_is_configured());
        let levels = configured.map(|policy| (policy.method.path, policy.level)).collect();
        Ok(Self { contracts: *contracts, services, routes, levels, made_at: Instant::now() })
    }

    /// How the services are doing, in the order of configuration.
    pub fn states(&self) -> Vec<ServiceState> {
        let state = |service: &Service| ServiceState {
            name: service.name.clone(),
            prefixes: service.prefixes.clone(),
            address: service.channel.target().clone(),
            balancing: service.channel.balancing().clone(),
            channel: service.channel.state(),
            gate: service.gate.state(),
            throttling: service.policy.throttling,
            retry_millitokens: service.throttle.as_ref().map(|throttle| throttle.left()),
            identity_error: service.channel.identity().error(),
        };
        self.services.iter().map(state).collect()
    }

    /// The limits that count over all replicas, and what this one needs of each.
    pub fn shared_limits(&self) -> Vec<SharedLimit> {
        let shared = self.services.iter().filter(|service| service.is_limit_shared);
        shared
            .map(|service| {
                let GateState { in_flight, waiting_calls, .. } = service.gate.state();
                let total = service.max_in_flight;
                SharedLimit { name: service.name.clone(), total, in_flight, waiting: waiting_calls }
            })
            .collect()
    }

    /// From now on this replica has so many places of a service whose limit counts over all.
    pub fn set_share(&self, name: &str, places: usize) {
        let named = self.services.iter().find(|service| service.is_limit_shared && service.name == name);
        named.iter().for_each(|service| service.gate.set_share(places));
    }

    /// Looks again at the files with certificates and tokens. What has changed in them is in force for the next connection
    /// and the next call; what is of no use is logged, shown by [`Services::states`], and changes nothing.
    pub async fn refresh_identities(&self) {
        for service in &self.services {
            service.channel.identity().refresh(&service.name).await;
        }
    }

    /// What holds for the calls of the method; none where no configured service answers it.
    pub fn policy(&self, path: &str) -> Option<&EffectivePolicy> {
        self.routes.get(path).map(|stack| stack.policy())
    }

    /// What holds for the methods of the service with this name, by path.
    pub fn policies(&self, name: &str) -> Vec<&EffectivePolicy> {
        let stacks = self.routes.values().filter(|stack| stack.service() == name);
        let mut policies: Vec<&EffectivePolicy> = stacks.map(|stack| stack.policy()).collect();
        policies.sort_by_key(|policy| policy.method.path);
        policies
    }
}

impl Services {
    /// A service without an address is down until a configuration names one: a run waits for it, and that is no attempt.
    fn unrouted(&self, path: &str) -> Result<Reserved, Unsent> {
        let Some(entry) = self.contracts.find(path) else {
            let failure = Failure::new(Code::Unimplemented, format!("no contract has the method {path}"));
            return Err(Unsent { failure, retry_after: None });
        };
        let outage = Outage {
            service: Arc::from(entry.method.service),
            since: self.made_at,
            error: String::from("no address is configured"),
        };
        Ok(Reserved::Down(outage, std::future::pending().boxed()))
    }
}

impl Service {
    /// The length of the longest prefix that fits a service of the contracts.
    fn fit(&self, service: &str) -> Option<usize> {
        self.prefixes.iter().filter(|prefix| covers(prefix, service)).map(String::len).max()
    }

    fn stack(&self, entry: &'static MethodEntry, telemetry: &Telemetry) -> Stack {
        let level = self.levels.get(entry.method.path).copied().unwrap_or(entry.method.level);
        let policy = EffectivePolicy::new(entry.method, level, &self.policy, self.channel.config(), self.call_timeout);
        let observer = observer(telemetry, entry.method, &self.channel.target().to_string());
        Stack::new(entry, self.channel.clone(), policy, Arc::clone(&self.gate), self.throttle.clone(), observer)
    }
}

impl Transport for Services {
    fn reserve(&self, path: &str, run: Uuid, connect_within: Duration) -> Reserving {
        let Some(stack) = self.routes.get(path) else { return std::future::ready(self.unrouted(path)).boxed() };
        let stack = Arc::clone(stack);
        async move {
            let wish = Arc::clone(&stack).reserve(run, connect_within).await?;
            Ok(match wish {
                Wish::Granted(ready) => Reserved::Ready(Right::boxed(stack, ready)),
                Wish::Down(outage, back) => {
                    Reserved::Down(outage, back.map_ok(|ready| Right::boxed(stack, ready)).boxed())
                }
            })
        }
        .boxed()
    }

    fn try_reserve(&self, path: &str) -> Option<Box<dyn Reservation>> {
        let stack = self.routes.get(path)?;
        let ready = stack.try_reserve()?;
        Some(Right::boxed(Arc::clone(stack), ready))
    }

    fn level(&self, path: &str, stated: Level) -> Level {
        self.levels.get(path).copied().unwrap_or(stated)
    }

    fn call_timeout(&self, path: &str, said: Option<Duration>) -> Duration {
        match self.routes.get(path) {
            Some(stack) => stack.policy().call_timeout(said),
            None => said.unwrap_or(CALL_TIMEOUT),
        }
    }
}

impl Right {
    fn boxed(stack: Arc<Stack>, ready: Ready) -> Box<dyn Reservation> {
        Box::new(Self { stack, ready })
    }
}

impl Reservation for Right {
    fn send(self: Box<Self>, attempt: Attempt) -> BoxFuture<'static, Outcome> {
        let Self { stack, ready } = *self;
        stack.call(ready, attempt).boxed()
    }
}

/// Whether the prefix is the service or its package. Packages within it are of others.
fn covers(prefix: &str, service: &str) -> bool {
    service == prefix || service.rsplit_once('.').is_some_and(|(package, _)| package == prefix)
}
